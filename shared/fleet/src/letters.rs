//! What a task leaves behind when it is given up, and how it comes back.
//!
//! Guarantee: a letter says why, how often, the last error, how the decoder ended, and what to give to which decoder to
//! see it again. A redriven one revives its task once; what was refused or is being deleted stays as it is; and what
//! waits for another letter first goes back to the dead-letter queue as it was, never away.

use std::time::Duration;

use reelfleet_catalog::assets::Asset;
use reelfleet_catalog::{CatalogError, Lease};
use reelfleet_domain::AssetState;
use reelfleet_domain::policy::Refusal;
use reelfleet_messages::event::JobFact;
use reelfleet_messages::task::{Task, TaskEnvelope};
use reelfleet_messages::{Event, Letter};
use reelfleet_telemetry::TaskRevived;
use serde_json::json;

use crate::outcome::Outcome;
use crate::task::{TaskHandler, TaskRunner};

/// A letter that needs another one first waits so often and so long: both may have been sent back together.
const WAITS: u32 = 2;
const WAIT: Duration = Duration::from_secs(5);

impl<H: TaskHandler> TaskRunner<H> {
    /// The letter of a task that is given up. `error`: the last one, where the reason is another.
    pub(crate) async fn letter(
        &self,
        lease: &Lease,
        asset: &Asset,
        why: &Refusal,
        error: Option<String>,
    ) -> Result<Letter, CatalogError> {
        Ok(Letter {
            reason: format!("{}: {}", why.code.as_str(), why.detail),
            queue: format!("{}-{}", self.context.config.prefix, lease.queue),
            attempts: Some(lease.attempts),
            crashes: Some(lease.crashes),
            error: Some(error.unwrap_or_else(|| why.detail.clone())),
            exit: lease.last_exit.clone(),
            token: Some(lease.token),
            reproducer: Some(self.reproducer(&lease.envelope, asset).await?),
            asset: Some(asset.id.to_string()),
            at: Some(self.context.clock.now_ms()),
        })
    }

    /// The very bytes, what was asked of them, and how far earlier attempts had come.
    async fn reproducer(&self, envelope: &TaskEnvelope, asset: &Asset) -> Result<String, CatalogError> {
        let span = match &envelope.work {
            Task::EncodeChunk(chunk) => Some(("video", chunk.chunk)),
            Task::EncodeAudio(chunk) => Some(("audio", chunk.chunk)),
            _ => None,
        };
        let last = match span {
            Some((track, chunk)) => self.catalog.last_run(&envelope.job, track, i64::from(chunk)).await?,
            None => None,
        };
        let mut pointer = json!({
            "source": format!("s3://{}/{}", asset.bucket, asset.key),
            "etag": asset.etag,
            "bytes": asset.size,
            "task": envelope.work,
        });
        if let Some(version) = &asset.version_id {
            pointer["version_id"] = json!(version);
        }
        if let Some(run) = last {
            pointer["after_run"] = json!({ "run": run.run, "end_us": run.end_us });
        }
        Ok(pointer.to_string())
    }

    /// Revives the task of a redriven letter, unless it is no longer as the letter says. `Some`: there is nothing to be
    /// worked on.
    pub(crate) async fn revive(
        &self,
        envelope: &TaskEnvelope,
        token: i64,
        receive_count: u32,
    ) -> Result<Option<Outcome>, CatalogError> {
        let Some(failed) = self.catalog.failed_task(&envelope.task, token).await? else {
            tracing::info!(token, "a redriven letter finds its task revived: an ordinary wake-up");
            return Ok(None);
        };
        let id = envelope.work.asset();
        let Some(asset) = self.catalog.asset(&id).await? else { return Ok(None) };
        match asset.state {
            AssetState::Refused | AssetState::Deleting | AssetState::Deleted => {
                tracing::warn!(state = asset.state.as_str(), "the asset of a redriven letter stays as it is");
                return Ok(Some(Outcome::Done));
            }
            AssetState::Failed if !failed.with_asset => {
                let why = "its asset failed by another task, whose letter comes first";
                return Ok(Some(match receive_count {
                    ..=WAITS => Outcome::Retry { after: WAIT, why: why.to_owned() },
                    _ => Outcome::reject(why),
                }));
            }
            _ => {}
        }
        let step = reelfleet_catalog::Step { op: format!("{}/{token}/revive", envelope.task), ..self.context.step() };
        let mut emissions = Vec::new();
        if failed.with_asset {
            let fact = Event::JobQueued(JobFact { asset: id, job: envelope.job, code: None });
            emissions.push(self.context.emission(&envelope.tenant, &asset.owner, envelope.traceparent.clone(), fact));
        }
        match self.catalog.revive(&step, envelope, &failed, &emissions).await {
            Ok(()) => TaskRevived { kind: envelope.work.kind(), with_asset: failed.with_asset }.emit(),
            Err(error) if error.is_conflict() => tracing::info!(token, "another copy of the letter was first"),
            Err(error) => return Err(error),
        }
        Ok(None)
    }
}
