//! Redriven dead letters: a task that failed is revived, once.
//!
//! Guarantee: reviving is a compare-and-set on the lease token that the letter carries, so a letter that comes twice, or
//! late, is an ordinary wake-up. Whatever ended in the same step as the task comes back with it in one transaction: the
//! asset as far as it had come, its job, and the tasks that were called off; nothing else does.

use reelfleet_domain::{AssetState, TaskState};
use reelfleet_messages::TaskId;
use reelfleet_messages::task::TaskEnvelope;

use crate::Step;
use crate::error::CatalogError;
use crate::events::{self, Emission};
use crate::outbox;
use crate::statement::Statement;
use crate::store::{Atomic, Catalog};
use crate::tasks;

/// A task that failed, as its letter knows it.
#[derive(Debug, Clone)]
pub struct Failed {
    /// Its lease token.
    pub token: i64,
    /// The operation that ended it.
    ended_by: String,
    /// Whether its asset ended with it.
    pub with_asset: bool,
}

/// How a task stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its state.
    pub state: TaskState,
    /// Its lease token.
    pub token: i64,
    /// The last error.
    pub error: Option<String>,
    /// Its asset's state.
    pub asset: AssetState,
}

impl Catalog {
    /// The task of a letter, if it is still as it was when the letter was written.
    pub async fn failed_task(&self, task: &TaskId, token: i64) -> Result<Option<Failed>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT t.op_id, a.ended_by, a.state FROM task t JOIN asset a ON a.id = t.asset_id \
                     WHERE t.id = :id AND t.state = 'failed' AND t.lease_token = :token",
                )
                .text("id", task.to_string())
                .int("token", token),
            )
            .await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let ended_by = row.text(0)?;
        let with_asset = row.opt_text(1)?.as_ref() == Some(&ended_by) && row.text(2)? == AssetState::Failed.as_str();
        Ok(Some(Failed { token, ended_by, with_asset }))
    }

    /// Revives a task, and its asset if that ended with it. Conflict: somebody else was first.
    pub async fn revive(
        &self,
        step: &Step,
        envelope: &TaskEnvelope,
        failed: &Failed,
        emissions: &[Emission],
    ) -> Result<(), CatalogError> {
        let asset = envelope.work.asset().to_string();
        let mut statements = vec![
            Statement::new(
                "UPDATE task SET state = 'pending', attempts = 0, crashes = 0, lease_token = lease_token + 1, next_at = :now, \
                 last_error = NULL, last_exit = NULL, op_id = :op, updated_at = :now \
                 WHERE id = :id AND state = 'failed' AND lease_token = :token AND op_id = :ended",
            )
            .int("now", step.now)
            .text("op", &step.op)
            .text("id", envelope.task.to_string())
            .int("token", failed.token)
            .text("ended", &failed.ended_by)
            .expect(1),
        ];
        if failed.with_asset {
            statements.extend([
                Statement::new(
                    "UPDATE asset SET state = CASE WHEN playable_at IS NOT NULL THEN 'playable' WHEN media IS NULL THEN 'uploaded' \
                     WHEN EXISTS (SELECT 1 FROM approval r WHERE r.asset_id = asset.id AND r.state <> 'granted') THEN 'awaiting_approval' \
                     WHEN EXISTS (SELECT 1 FROM job_cost c WHERE c.job_id = :job AND c.parked_at IS NOT NULL) THEN 'parked' \
                     ELSE 'processing' END, reason_code = NULL, reason_detail = NULL, ended_by = NULL, version = version + 1, op_id = :op, \
                     updated_at = :now WHERE id = :id AND state = 'failed' AND ended_by = :ended",
                )
                .text("op", &step.op)
                .int("now", step.now)
                .text("id", &asset)
                .text("job", envelope.job.to_string())
                .text("ended", &failed.ended_by)
                .expect(1),
                Statement::new(
                    "UPDATE job SET state = CASE WHEN plan IS NULL THEN 'queued' ELSE 'running' END, reason_code = NULL, \
                     updated_at = :now WHERE id = :id AND state = 'failed'",
                )
                .int("now", step.now)
                .text("id", envelope.job.to_string())
                .expect(1),
                outbox::wake_up_called_off(step, &asset, &failed.ended_by),
                Statement::new(
                    "UPDATE task SET state = 'pending', attempts = 0, crashes = 0, next_at = :now, op_id = :op, updated_at = :now \
                     WHERE asset_id = :asset AND state = 'cancelled' AND op_id = :ended",
                )
                .int("now", step.now)
                .text("op", &step.op)
                .text("asset", &asset)
                .text("ended", &failed.ended_by),
            ]);
        }
        statements.extend(events::emit(step, emissions));
        let settled = tasks::settled(step, &envelope.task);
        self.commit(Atomic { what: "reviving a task", statements, settled }).await
    }

    /// The same where no letter comes back to wake its worker.
    pub async fn revive_and_wake(
        &self,
        step: &Step,
        envelope: &TaskEnvelope,
        failed: &Failed,
        emissions: &[Emission],
    ) -> Result<(), CatalogError> {
        self.revive(step, envelope, failed, emissions).await?;
        // The sweeper would find it too.
        self.write(outbox::wake_up_stored(step, &envelope.task)).await?;
        self.relay.ring();
        Ok(())
    }

    /// How a task and its asset stand; `None`: there is no such task.
    pub async fn standing(&self, task: &TaskId) -> Result<Option<Standing>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT t.state, t.lease_token, t.last_error, a.state FROM task t JOIN asset a ON a.id = t.asset_id \
                     WHERE t.id = :id",
                )
                .text("id", task.to_string()),
            )
            .await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (state, asset) = (row.text(0)?, row.text(3)?);
        let unknown = |column, wanted, found| CatalogError::Column { column, wanted, found };
        Ok(Some(Standing {
            state: TaskState::parse(&state).ok_or_else(|| unknown(0, "a task's state", state))?,
            token: row.int(1)?,
            error: row.opt_text(2)?,
            asset: AssetState::parse(&asset).ok_or_else(|| unknown(3, "an asset's state", asset))?,
        }))
    }
}
