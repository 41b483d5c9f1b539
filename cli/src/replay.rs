//! `reelfleet retry` and `replay`: one asset again.
//!
//! Guarantees: whatever is done leaves an audit line first. Retrying revives what failed, once, as far as it had come;
//! replaying a ready asset never takes it away from who plays it: renditions are made in a new generation beside the
//! present one.

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use reelfleet_catalog::assets::Asset;
use reelfleet_catalog::remake::Remake;
use reelfleet_catalog::tasks::NewTask;
use reelfleet_domain::AssetState;
use reelfleet_messages::event::JobFact;
use reelfleet_messages::task::{AssetTask, Task, TaskEnvelope, VERSION};
use reelfleet_messages::{AssetId, Event, JobId, TaskId};
use serde_json::json;

use crate::operator::{Operator, OperatorArgs};

/// Seconds of work to expect of planning and of pictures.
const SMALL_COST_S: f64 = 1.0;

/// Options of `retry`.
#[derive(Args)]
pub struct RetryArgs {
    /// The asset, which has failed
    asset: AssetId,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Options of `replay`.
#[derive(Args)]
pub struct ReplayArgs {
    /// The asset, which is ready
    asset: AssetId,
    /// The first step that is done again
    #[arg(long, value_enum, value_name = "STEP")]
    from: Step,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// A step of processing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Look at the source again, and make anew what follows from it
    Probe,
    /// Plan, encode and publish, in a new generation
    Transcode,
    /// Write the playlists of the present generation
    Publish,
    /// Poster and storyboard, or the sizes of a still image
    Pictures,
    /// Describe it in metadata.json
    Metadata,
}

/// Revives what ended an asset.
pub async fn retry(args: RetryArgs) -> anyhow::Result<()> {
    let operator = args.operator.enter().await?;
    let asset = operator.asset(&args.asset).await?;
    if asset.state != AssetState::Failed {
        bail!("{} is {}: only what has failed is retried", asset.id, asset.state.as_str());
    }
    let Some((body, token)) = operator.catalog.ended_by(&asset.id).await? else {
        bail!("{} was not ended by a task: upload it again", asset.id);
    };
    let envelope = TaskEnvelope::parse(&body)?;
    operator.catalog.audit(&[operator.deed("retry", &asset.id.to_string(), &json!({ "task": envelope.task }))]).await?;
    let failed = operator.catalog.failed_task(&envelope.task, token).await?.context("somebody else was first")?;
    let queued = Event::JobQueued(JobFact { asset: asset.id, job: envelope.job, code: None });
    let emission = operator.context.emission(&asset.tenant, &asset.owner, envelope.traceparent.clone(), queued);
    let step = operator.context.step();
    operator.catalog.revive_and_wake(&step, &envelope, &failed, &[emission]).await?;
    eprintln!("{}: {} is tried again", asset.id, envelope.work.kind());
    Ok(())
}

/// Does a step of a ready asset again, and what follows from it.
pub async fn replay(args: ReplayArgs) -> anyhow::Result<()> {
    let operator = args.operator.enter().await?;
    let asset = operator.asset(&args.asset).await?;
    if asset.state != AssetState::Ready {
        bail!("{} is {}: only what is ready is replayed (what has failed is retried)", asset.id, asset.state.as_str());
    }
    let still = asset.media.as_deref() == Some("image");
    match (args.from, asset.media.as_deref()) {
        (Step::Transcode | Step::Publish, Some("image")) => bail!("{} is a still image: replay its pictures", asset.id),
        (Step::Pictures, Some("audio")) => bail!("{} has no pictures", asset.id),
        _ => {}
    }
    let name = args.from.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    let deed = operator.deed("replay", &asset.id.to_string(), &json!({ "from": name }));
    operator.catalog.audit(&[deed]).await?;
    match args.from {
        Step::Probe if still => operator.add(&asset, Task::ProbeSource).await?,
        Step::Probe => operator.make_anew(&asset, Task::ProbeSource).await?,
        Step::Transcode => operator.make_anew(&asset, Task::PlanRenditions).await?,
        Step::Publish => operator.add(&asset, Task::PublishPlaylist).await?,
        Step::Pictures => operator.add(&asset, Task::RenderThumbnails).await?,
        Step::Metadata => {
            if !operator.catalog.describe_again(operator.context.clock.now_ms(), &asset.id).await? {
                bail!("{} goes", asset.id);
            }
        }
    }
    let what = if still && args.from == Step::Pictures { "its sizes" } else { name.as_str() };
    eprintln!("{}: again from {what}", asset.id);
    Ok(())
}

impl Operator {
    async fn asset(&self, id: &AssetId) -> anyhow::Result<Asset> {
        self.catalog.asset(id).await?.with_context(|| format!("there is no asset {id}"))
    }

    /// It goes on in the trace of the upload.
    async fn task(&self, asset: &Asset, job: JobId, work: Task) -> anyhow::Result<NewTask> {
        let envelope = TaskEnvelope {
            v: VERSION,
            task: TaskId::from_uuid(self.context.ids.uuid()),
            job,
            tenant: asset.tenant.clone(),
            cost_s: SMALL_COST_S,
            traceparent: self.catalog.trace_of(&asset.id).await?,
            work,
        };
        Ok(NewTask { envelope, place: None, armed: true, backfill: false })
    }

    /// A new generation, beside the present one.
    async fn make_anew(&self, asset: &Asset, first: impl FnOnce(AssetTask) -> Task) -> anyhow::Result<()> {
        let number = self.catalog.next_generation(&asset.id).await?;
        let job = JobId::from_uuid(self.context.ids.uuid());
        let target = AssetTask { asset: asset.id, generation: u32::try_from(number)? };
        let first = self.task(asset, job, first(target)).await?;
        let remake = Remake { asset: asset.id, job, generation: number, first: &first };
        let queued = Event::JobQueued(JobFact { asset: asset.id, job, code: None });
        let trace = first.envelope.traceparent.clone();
        let emissions = [self.context.emission(&asset.tenant, &asset.owner, trace, queued)];
        let begun = self.catalog.remake(&self.context.step(), &remake, Vec::new(), &emissions).await;
        match begun {
            Err(error) if error.is_conflict() => bail!("{} is being made anew already", asset.id),
            begun => Ok(begun?),
        }
    }

    /// One task more of the present generation.
    async fn add(&self, asset: &Asset, work: impl FnOnce(AssetTask) -> Task) -> anyhow::Result<()> {
        let job = self.catalog.present_job(&asset.id).await?.context("its job is gone")?;
        let target = AssetTask { asset: asset.id, generation: u32::try_from(asset.generation)? };
        let task = self.task(asset, job, work(target)).await?;
        Ok(self.catalog.add_task(&self.context.step(), &asset.id, &task).await?)
    }
}
