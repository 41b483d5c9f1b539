//! Falling back: where chunks do not fit together, one chain that decodes from the beginning makes the rest; where the
//! chain does not fit either, what is published is wrong, and a new generation is made. So it is where a stream that was to
//! be copied turns out to be none that can.
//!
//! Guarantee: the proved beginning is never touched. Only the publisher falls back to a chain, so nobody publishes meanwhile. A
//! job falls back once; a generation after one that copied does not copy, and one after one that did not is a chain from its
//! beginning, so this ends.

use reelfleet_catalog::assets::Asset;
use reelfleet_catalog::fallback::Fallback;
use reelfleet_catalog::jobs::Job;
use reelfleet_catalog::runs::Run;
use reelfleet_domain::joint::Misfit;
use reelfleet_domain::policy::Refusal;
use reelfleet_domain::{AssetState, retry};
use reelfleet_fleet::{Attempt, WorkError, Worked};
use reelfleet_messages::event::{JobFact, ReasonCode};
use reelfleet_messages::task::{AssetTask, ChunkTask, Task};
use reelfleet_messages::{Event, JobId};

use crate::Transcoder;
use crate::recipe::{Recipe, VideoRecipe};

/// Seconds of work to expect of planning and of pictures.
const SMALL_COST_S: f64 = 1.0;

impl Transcoder {
    /// Goes on as a chain behind `last`, the last run that is proved.
    pub(crate) async fn fall_back(
        &self,
        attempt: &Attempt,
        job: &Job,
        recipe: &Recipe,
        last: &Run,
        misfit: Misfit,
    ) -> Result<(), WorkError> {
        let video = recipe.video.as_ref().ok_or_else(|| WorkError::again("the plan has no pictures"))?;
        tracing::warn!(
            chunk = last.chunk,
            run = last.run,
            "the chunks do not fit together ({misfit}): one chain makes the rest from {} µs on",
            last.end_us
        );
        let (chunk, run) = if last.is_last { (last.chunk + 1, 0) } else { (last.chunk, last.run + 1) };
        let chunk = u32::try_from(chunk).unwrap_or(u32::MAX);
        let plan = Recipe {
            video: Some(VideoRecipe { sequential: true, seam: Some((chunk, run)), chunks: chunk + 1, ..video.clone() }),
            ..recipe.clone()
        };
        let work = Task::EncodeChunk(ChunkTask {
            asset: job.asset,
            generation: attempt.lease.envelope.work.generation(),
            chunk,
            start_us: last.end_us,
            end_us: None,
            cuts_us: Vec::new(),
        });
        let seconds = job.total_us.saturating_sub(last.end_us).max(0) as f64 / 1e6;
        let cost = retry::encode_cost_s(seconds, video.pixels_per_s());
        let chain = self.new_task(attempt, work, cost, Some(("video", i64::from(chunk))), true);
        let plan = serde_json::to_string(&plan).map_err(WorkError::again)?;
        let fallback = Fallback { plan: &plan, keep: (last.chunk, last.run), chain: &chain };
        Ok(self.catalog.fall_back(&attempt.step("fallback"), &attempt.lease, &fallback).await?)
    }

    /// Makes anew, without copying, what was to be copied and can't be.
    pub(crate) async fn encode_instead(
        &self,
        attempt: &Attempt,
        asset: &Asset,
        why: &str,
    ) -> Result<Worked, WorkError> {
        self.regenerate(attempt, asset, &format!("its stream can't be copied: {why}")).await?;
        Ok(Worked::Committed)
    }

    /// Starts the next generation, which is planned anew.
    pub(crate) async fn regenerate(&self, attempt: &Attempt, asset: &Asset, why: &str) -> Result<(), WorkError> {
        if asset.state == AssetState::Ready {
            let why = format!("it was made anew and is wrong ({why}): the present generation stays");
            return Err(WorkError::Failed(Refusal::new(ReasonCode::DecodeFailed, why)));
        }
        let old = attempt.lease.envelope.job;
        let job = JobId::from_uuid(self.context.ids.uuid());
        let generation = attempt.lease.envelope.work.generation() + 1;
        tracing::warn!(generation, %job, "it is made anew: {why}");
        let target = AssetTask { asset: asset.id, generation };
        let next = [Task::PlanRenditions(target.clone()), Task::RenderThumbnails(target)].map(|work| {
            let mut task = self.new_task(attempt, work, SMALL_COST_S, None, true);
            task.envelope.job = job;
            task
        });
        let emissions = [
            Event::JobCancelled(JobFact { asset: asset.id, job: old, code: None }),
            Event::JobQueued(JobFact { asset: asset.id, job, code: None }),
        ]
        .map(|fact| attempt.emission(&asset.owner, fact));
        let step = attempt.step("regenerate");
        let (lease, generation) = (&attempt.lease, i64::from(generation));
        Ok(self.catalog.regenerate(&step, lease, &job, generation, &next, &emissions).await?)
    }
}
