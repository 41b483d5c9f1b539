//! Sweeping: what a crash left behind is found by its row and taken up again, or cleared away.

use reelfleet_messages::TaskId;

use crate::Step;
use crate::error::CatalogError;
use crate::outbox;
use crate::statement::Statement;
use crate::store::{Atomic, Catalog};

/// An attempt that ended without committing all that it wrote.
#[derive(Debug, Clone)]
pub struct Loser {
    /// Its task.
    pub task: String,
    /// Its token.
    pub token: i64,
    /// Keys under it are its own.
    pub prefix: String,
}

impl Catalog {
    /// Wakes tasks again whose message may be lost: due for `overdue_ms`, or leased by somebody who fell silent.
    /// Each is pushed `overdue_ms` ahead, so a sweep that finds it again waits; those of a paused queue wait for its end.
    /// Returns how many.
    pub async fn wake_stranded(&self, step: &Step, overdue_ms: i64, limit: i64) -> Result<usize, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT id FROM task WHERE ((state = 'pending' AND next_at < :due AND updated_at < :due) OR \
                     (state = 'leased' AND lease_until < :stale AND updated_at < :due)) \
                     AND NOT EXISTS (SELECT 1 FROM paused_queue p WHERE p.queue = task.queue) ORDER BY updated_at LIMIT :limit",
                )
                .int("due", step.now.saturating_sub(overdue_ms))
                .int("stale", step.now.saturating_sub(self.takeover_grace_ms))
                .int("limit", limit),
            )
            .await?;
        for row in &rows {
            let task: TaskId = row.parsed(0, "a task's id")?;
            let step = Step { op: format!("{}/{task}", step.op), ..step.clone() };
            let statements = vec![
                Statement::new("UPDATE task SET updated_at = :now WHERE id = :id")
                    .int("now", step.now)
                    .text("id", task.to_string()),
                outbox::wake_up_stored(&step, &task),
            ];
            let settled =
                Statement::new("SELECT id FROM outbox WHERE id = :id").text("id", format!("{}/{task}", step.op));
            self.commit(Atomic { what: "waking a stranded task", statements, settled }).await?;
        }
        Ok(rows.len())
    }

    /// Attempts that are fenced and older than `before`, whose objects were not swept yet.
    pub async fn losers(&self, before: i64, limit: i64) -> Result<Vec<Loser>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT a.task_id, a.token, a.prefix FROM attempt a JOIN task t ON t.id = a.task_id \
                     WHERE a.swept_at IS NULL AND a.started_at < :before AND (t.lease_token > a.token OR t.state IN ('done', 'failed', 'cancelled')) \
                     ORDER BY a.started_at LIMIT :limit",
                )
                .int("before", before)
                .int("limit", limit),
            )
            .await?;
        rows.iter().map(|row| Ok(Loser { task: row.text(0)?, token: row.int(1)?, prefix: row.text(2)? })).collect()
    }

    /// Notes that an attempt's garbage is gone.
    pub async fn swept(&self, now: i64, loser: &Loser) -> Result<(), CatalogError> {
        self.write(
            Statement::new("UPDATE attempt SET swept_at = :now WHERE task_id = :task AND token = :token")
                .int("now", now)
                .text("task", &loser.task)
                .int("token", loser.token),
        )
        .await
        .map(drop)
    }

    /// Forgets what lets nobody in any more: tickets, sessions, wishes for a new password and invitations out of date.
    pub async fn trim_credentials(&self, now: i64) -> Result<(), CatalogError> {
        for sql in [
            "DELETE FROM ticket WHERE expires_at < :now",
            "DELETE FROM session WHERE expires_at < :now",
            "DELETE FROM password_reset WHERE expires_at < :now",
            "DELETE FROM invitation WHERE expires_at < :now",
            "DELETE FROM used_once WHERE expires_at < :now",
        ] {
            self.write(Statement::new(sql).int("now", now)).await?;
        }
        Ok(())
    }

    /// Unfinished and failed tasks: (queue, kind, state, count).
    pub async fn task_counts(&self) -> Result<Vec<(String, String, String, i64)>, CatalogError> {
        let rows = self
            .read(Statement::new(
                "SELECT queue, kind, state, count(*) FROM task WHERE state IN ('pending', 'leased', 'failed') \
                 GROUP BY queue, kind, state ORDER BY queue, kind, state",
            ))
            .await?;
        rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?, row.text(2)?, row.int(3)?))).collect()
    }

    /// Who holds how many rows of the outbox: (instance, count). Rows that nobody claims have an empty instance.
    pub async fn outbox_holders(&self) -> Result<Vec<(String, i64)>, CatalogError> {
        let rows = self
            .read(Statement::new("SELECT claimed_by, count(*) FROM outbox GROUP BY claimed_by ORDER BY claimed_by"))
            .await?;
        rows.iter().map(|row| Ok((row.text(0)?, row.int(1)?))).collect()
    }

    /// Assets of all tenants by state: (state, count).
    pub async fn asset_counts(&self) -> Result<Vec<(String, i64)>, CatalogError> {
        let rows = self.read(Statement::new("SELECT state, count(*) FROM asset GROUP BY state ORDER BY state")).await?;
        rows.iter().map(|row| Ok((row.text(0)?, row.int(1)?))).collect()
    }
}
