//! Jobs: the plan, the count of what remains, and the right to say how far it is.

use reelfleet_domain::{TaskState, progress};
use reelfleet_messages::{AssetId, JobId, TaskId};

use crate::Step;
use crate::costs;
use crate::error::CatalogError;
use crate::events::{self, Emission};
use crate::statement::{Params, Statement};
use crate::store::{Atomic, Catalog};
use crate::tasks::{self, Lease, NewTask};

/// A job's row.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What it processes.
    pub asset: AssetId,
    /// `queued`, `running`, …
    pub state: String,
    /// Encoding tasks that are not done.
    pub remaining: i64,
    /// Media to encode, all tracks together (microseconds).
    pub total_us: i64,
    /// The plan (JSON); none before planning.
    pub plan: Option<String>,
    /// The task that publishes.
    pub publish_task: Option<TaskId>,
}

impl Catalog {
    /// One job.
    pub async fn job(&self, id: &JobId) -> Result<Option<Job>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT id, asset_id, state, remaining, total_us, plan, publish_task FROM job WHERE id = :id",
                )
                .text("id", id.to_string()),
            )
            .await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let publish = row.opt_text(6)?;
        let publish_task = publish
            .map(|text| {
                text.parse().map_err(|_| CatalogError::Column { column: 6, wanted: "a task's id", found: text })
            })
            .transpose()?;
        Ok(Some(Job {
            id: row.parsed(0, "a job's id")?,
            asset: row.parsed(1, "an asset's id")?,
            state: row.text(2)?,
            remaining: row.int(3)?,
            total_us: row.int(4)?,
            plan: row.opt_text(5)?,
            publish_task,
        }))
    }

    /// Writes the plan and its tasks in the step of the planning task.
    #[allow(clippy::too_many_arguments, reason = "one transaction, each value named at its single call")]
    pub async fn planned(
        &self,
        step: &Step,
        lease: &Lease,
        plan: &str,
        total_us: i64,
        publish: &NewTask,
        encode: &[NewTask],
        emissions: &[Emission],
    ) -> Result<(), CatalogError> {
        let job = lease.envelope.job.to_string();
        let mut statements = vec![
            tasks::settle(step, lease, TaskState::Done),
            Statement::new(
                "UPDATE job SET state = 'running', plan = :plan, remaining = :remaining, total_us = :total, publish_task = :publish, updated_at = :now \
                 WHERE id = :id AND state = 'queued'",
            )
            .text("plan", plan)
            .int("remaining", encode.len() as i64)
            .int("total", total_us)
            .text("publish", publish.envelope.task.to_string())
            .int("now", step.now)
            .text("id", job)
            .expect(1),
        ];
        statements.extend(tasks::insert(step, std::slice::from_ref(publish)));
        statements.extend(tasks::insert(step, encode));
        statements.extend(costs::used(step, lease));
        statements.extend(events::emit(step, emissions));
        let settled = tasks::settled(step, &lease.envelope.task);
        self.commit(Atomic { what: "writing a plan", statements, settled }).await
    }

    /// Wins, or not, the right to publish progress of a job: (percent, sequence). At most one winner per
    /// [`progress::INTERVAL_MS`] over all processes; percentages never fall.
    pub async fn win_progress(&self, now: i64, job: &JobId, percent: f64) -> Result<Option<(f64, i64)>, CatalogError> {
        let (rows, _) = self
            .write(
                Statement::new(
                    "UPDATE job SET progress_seq = progress_seq + 1, progress_at = :now, percent = CASE WHEN percent < :percent THEN :percent ELSE percent END \
                     WHERE id = :id AND progress_at <= :before AND state = 'running' RETURNING percent, progress_seq",
                )
                .int("now", now)
                .with(Params::new().float("percent", percent))
                .text("id", job.to_string())
                .int("before", now.saturating_sub(progress::INTERVAL_MS)),
            )
            .await?;
        rows.first().map(|row| Ok((row.float(0)?, row.int(1)?))).transpose()
    }
}
