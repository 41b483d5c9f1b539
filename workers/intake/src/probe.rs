//! Probing: by range, through the jail, then policy.

use std::sync::Arc;
use std::time::Duration;

use reelfleet_catalog::assets::{Asset, Probed};
use reelfleet_catalog::costs::{Started, Used};
use reelfleet_catalog::tasks::NewTask;
use reelfleet_catalog::{Catalog, Lease};
use reelfleet_domain::AssetState;
use reelfleet_domain::policy::{Policy, Refusal, Verdict};
use reelfleet_domain::price_work::{Amounts, Kind, looked};
use reelfleet_domain::tenants::{DAY_MS, Use};
use reelfleet_fleet::{Attempt, BoxFuture, Context, TaskHandler, WorkError, Worked};
use reelfleet_media::wire::{MediaKind, MediaLimits, OutputHeader, ProbeReport, Request};
use reelfleet_media::{Clocks, Decoders, Source, Usage, facts as facts_of};
use reelfleet_messages::event::{AssetProbed, JobFact, ReasonCode};
use reelfleet_messages::task::{AssetTask, Task, TaskEnvelope, VERSION};
use reelfleet_messages::{Event, TaskId};
use reelfleet_objects::RangedReader;
use reelfleet_telemetry::trace::Span;

use crate::review;

/// A probe takes milliseconds; a minute means that something hangs.
const CLOCKS: Clocks =
    Clocks { wall: Duration::from_secs(60), no_progress: Duration::from_secs(20), max_output_bytes: 4 << 20 };
/// Seconds of work to expect of a thumbnailing task, and of planning.
const SMALL_COST_S: f64 = 1.0;

/// The handler of probing tasks.
pub(crate) struct Prober {
    context: Context,
    catalog: Catalog,
    decoders: Arc<Decoders>,
}

impl Prober {
    pub(crate) fn new(context: Context, catalog: Catalog, decoders: Arc<Decoders>) -> Self {
        Self { context, catalog, decoders }
    }

    async fn probe(&self, attempt: &Attempt) -> Result<Worked, WorkError> {
        let asset = self.asset(attempt).await?;
        let policy = self.context.config.policy(&asset.tenant);
        policy.check_size(asset.size.unsigned_abs()).map_err(WorkError::Refused)?;
        let again = asset.state == AssetState::Ready;
        if !again {
            self.check_room(&asset).await?;
        }
        let (report, usage) = Span::child("look at the source").within(self.look(attempt, &asset, &policy)).await?;
        attempt.heart.beat();
        let (media, pixels) = facts(&report);
        policy.check_media(media, report.duration_ms, pixels).map_err(WorkError::Refused)?;
        if again {
            self.record_again(attempt, &asset, &report, usage, media).await?;
        } else {
            self.record(attempt, &asset, &report, usage, media).await?;
        }
        Ok(Worked::Committed)
    }

    /// A ready asset stays what it is; what follows from another look is made beside it, or in its place if it is a picture.
    async fn record_again(
        &self,
        attempt: &Attempt,
        asset: &Asset,
        report: &ProbeReport,
        usage: Usage,
        media: &str,
    ) -> Result<(), WorkError> {
        let was = asset.media.as_deref().unwrap_or_default();
        if was != media {
            let why = format!("it was processed as {was} and is {media} by another look: upload it again");
            return Err(WorkError::Failed(Refusal::new(ReasonCode::DecodeFailed, why)));
        }
        let text = serde_json::to_string(report).map_err(WorkError::again)?;
        let target = AssetTask { asset: asset.id, generation: attempt.lease.envelope.work.generation() };
        let next = match report.kind {
            MediaKind::Image => Task::RenderThumbnails(target),
            MediaKind::Video | MediaKind::Audio => Task::PlanRenditions(target),
        };
        let next = self.task(attempt, next);
        let (step, lease) = (attempt.step("probed again"), used(attempt, usage));
        self.catalog.probed_again(&step, &lease, &probed(report, media, &text), &next).await?;
        tracing::info!(media, container = report.container, "probed again");
        Ok(())
    }

    /// Whether its tenant had room for it when it landed: what came by the API was let in before, what was dropped was not.
    async fn check_room(&self, asset: &Asset) -> Result<(), WorkError> {
        let room = self.context.config.tenant_limits.room(&asset.tenant);
        if !room.is_limited() {
            return Ok(());
        }
        let since = asset.landed_at.saturating_sub(DAY_MS);
        let before = self.catalog.usage_before(&asset.tenant, &asset.id, asset.landed_at, since).await?;
        let used = Use { stored_bytes: before.bytes.unsigned_abs(), assets_today: before.recent.unsigned_abs() };
        room.check(asset.size.unsigned_abs(), &used).map_err(WorkError::Refused)
    }

    /// What has landed, or is ready and is looked at again.
    async fn asset(&self, attempt: &Attempt) -> Result<Asset, WorkError> {
        let work = &attempt.lease.envelope.work;
        match self.catalog.asset(&work.asset()).await? {
            Some(asset) if asset.state == AssetState::Uploaded => Ok(asset),
            Some(asset) if asset.state == AssetState::Ready && asset.generation <= i64::from(work.generation()) => {
                Ok(asset)
            }
            _ => Err(WorkError::Catalog(reelfleet_catalog::CatalogError::Conflict { what: "probing an asset" })),
        }
    }

    async fn look(&self, attempt: &Attempt, asset: &Asset, policy: &Policy) -> Result<(ProbeReport, Usage), WorkError> {
        let size = asset.size.unsigned_abs();
        let request = Request::Probe {
            size,
            limits: MediaLimits {
                max_pixels: policy.max_pixels,
                max_streams: self.context.config.limits.max_streams,
                max_duration_ms: policy.max_duration_ms,
                ..MediaLimits::default()
            },
        };
        let reader = RangedReader::pinned(
            self.context.clients.s3.clone(),
            &asset.bucket,
            &asset.key,
            asset.version_id.as_deref(),
            &asset.etag,
            size,
        );
        let mut session =
            self.decoders.open(request, Source::of_object(reader), CLOCKS).await.map_err(Verdict::from)?;
        // It may have waited for memory; from here on its own clocks count.
        attempt.heart.beat();
        let mut report = None;
        while let Some(output) = session.next().await.map_err(Verdict::from)? {
            if let OutputHeader::Probed(probed) = output.header {
                report = Some(*probed);
            }
        }
        let report = report.ok_or_else(|| WorkError::again("the decoder ended without a report"))?;
        Ok((report, session.usage().await))
    }

    async fn record(
        &self,
        attempt: &Attempt,
        asset: &Asset,
        report: &ProbeReport,
        usage: Usage,
        media: &str,
    ) -> Result<(), WorkError> {
        let text = serde_json::to_string(report).map_err(WorkError::again)?;
        let known = facts_of(asset.size.unsigned_abs(), report, None);
        let mut cost = self.context.cost(&self.catalog, &asset.tenant, &known).await?;
        let lease = used(attempt, usage);
        let probed = probed(report, media, &text);
        let id = asset.id;
        let target = AssetTask { asset: id, generation: 1 };
        let mut next: Vec<NewTask> = Vec::new();
        if report.kind != MediaKind::Audio {
            next.push(self.task(attempt, Task::RenderThumbnails(target.clone())));
        }
        let found = Event::AssetProbed(AssetProbed {
            asset: id,
            media: media.to_owned(),
            duration_ms: report.duration_ms,
            width: report.video.as_ref().map(|v| v.display_width),
            height: report.video.as_ref().map(|v| v.display_height),
        });
        if let Some(asked) = review::ask(&self.context, &self.catalog, asset, report.duration_ms).await? {
            let probed = Probed { cost: Some(&cost), ..probed };
            asked.commit(attempt, &lease, &self.catalog, &probed, &next, found).await?;
            tracing::info!(media, container = report.container, "probed");
            return Ok(());
        }
        let step = attempt.step("probed");
        loop {
            let mut tasks = next.clone();
            let second = match &cost.start {
                Started::Parked(why) => self.context.parked_fact(asset, why),
                Started::On(_) => {
                    if report.kind != MediaKind::Image {
                        tasks.insert(0, self.task(attempt, Task::PlanRenditions(target.clone())));
                    }
                    let job = attempt.lease.envelope.job;
                    attempt.emission(&asset.owner, Event::JobQueued(JobFact { asset: id, job, code: None }))
                }
            };
            let emissions = [attempt.emission(&asset.owner, found.clone()), second];
            let priced = Probed { cost: Some(&cost), ..probed };
            match self.catalog.probed(&step, &lease, &priced, &tasks, &emissions).await {
                // Others have taken the rest of the day's budget meanwhile; or the lease is lost, which shows again.
                Err(error) if error.is_conflict() && matches!(cost.start, Started::On(_)) => {
                    let why = self.context.parked(&self.catalog, &asset.tenant, cost.micros).await?;
                    cost.start = Started::Parked(why);
                }
                outcome => {
                    outcome?;
                    break;
                }
            }
        }
        tracing::info!(media, container = report.container, "probed");
        Ok(())
    }

    fn task(&self, attempt: &Attempt, work: Task) -> NewTask {
        let from = &attempt.lease.envelope;
        let envelope = TaskEnvelope {
            v: VERSION,
            task: TaskId::from_uuid(self.context.ids.uuid()),
            job: from.job,
            tenant: from.tenant.clone(),
            cost_s: SMALL_COST_S,
            traceparent: attempt.traceparent(),
            work,
        };
        NewTask { envelope, place: None, armed: true, backfill: false }
    }
}

impl TaskHandler for Prober {
    fn work<'a>(&'a self, attempt: &'a Attempt) -> BoxFuture<'a, Result<Worked, WorkError>> {
        Box::pin(async move {
            match &attempt.lease.envelope.work {
                Task::ProbeSource(_) => self.probe(attempt).await,
                other => Err(WorkError::Failed(Refusal::new(
                    ReasonCode::DecodeFailed,
                    format!("a task of kind {} lies on the wrong queue", other.kind()),
                ))),
            }
        })
    }
}

/// The lease, with what the look has used.
fn used(attempt: &Attempt, usage: Usage) -> Lease {
    let amounts = Amounts { cpu_ms: usage.cpu_ms, gets: usage.reads, tasks: 1, ..Amounts::default() };
    attempt.lease.having_used(Used { kind: Some(Kind::Probe), model: looked(), amounts })
}

/// `text`: the report as JSON.
fn probed<'p>(report: &ProbeReport, media: &'p str, text: &'p str) -> Probed<'p> {
    let video = report.video.as_ref();
    Probed {
        media,
        report: text,
        duration_ms: report.duration_ms.and_then(|ms| i64::try_from(ms).ok()),
        width: video.map(|v| i64::from(v.display_width)),
        height: video.map(|v| i64::from(v.display_height)),
        cost: None,
    }
}

/// (Kind, pixels of a picture as coded).
fn facts(report: &ProbeReport) -> (&'static str, Option<u64>) {
    let pixels = report.video.as_ref().map(|v| u64::from(v.width) * u64::from(v.height));
    match report.kind {
        MediaKind::Video => ("video", pixels),
        MediaKind::Audio => ("audio", None),
        MediaKind::Image => ("image", pixels),
    }
}
