//! What operators look at: queues, what is at work, jobs, and how an asset came about.
//!
//! Guarantee: reads alone, each bounded. Rows are the truth, so the figures hold whatever became of messages; a task whose
//! holder fell silent counts as one that waits.

use reelfleet_messages::{AssetId, JobId};

use crate::error::CatalogError;
use crate::statement::{Row, Statement};
use crate::store::Catalog;

/// Tasks of one queue.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueFigures {
    /// Its short name.
    pub queue: String,
    /// Due, and in nobody's hands.
    pub waiting: i64,
    /// In a worker's hands.
    pub running: i64,
    /// To be tried again later.
    pub delayed: i64,
    /// When the oldest that waits became due (epoch milliseconds).
    pub oldest_at: Option<i64>,
    /// Estimated seconds of all that wait.
    pub seconds: f64,
}

/// A task in a worker's hands.
#[derive(Debug, Clone, PartialEq)]
pub struct AtWork {
    /// The process.
    pub instance: String,
    /// Its id.
    pub task: String,
    /// Short name of its queue.
    pub queue: String,
    /// `encode_chunk`, `probe`, …
    pub kind: String,
    /// The asset.
    pub asset: String,
    /// `video`, `audio`; none for what encodes nothing.
    pub track: Option<String>,
    /// Number of the chunk.
    pub chunk: Option<i64>,
    /// Attempts, this one among them.
    pub attempts: i64,
    /// When this attempt began, where it may write objects (epoch milliseconds).
    pub started_at: Option<i64>,
    /// The lease ends then, unless it is extended (epoch milliseconds).
    pub lease_until: i64,
    /// Seconds it was expected to take.
    pub cost_s: f64,
}

/// One processing of an asset.
#[derive(Debug, Clone, PartialEq)]
pub struct JobLine {
    /// Its id.
    pub id: JobId,
    /// The asset.
    pub asset: String,
    /// The asset's name.
    pub name: String,
    /// Whose.
    pub tenant: String,
    /// The asset's state.
    pub asset_state: String,
    /// The job's state.
    pub state: String,
    /// Outputs lie under it.
    pub generation: i64,
    /// 0 to 100.
    pub percent: f64,
    /// Why it ended without a result.
    pub reason: Option<String>,
    /// Epoch milliseconds.
    pub created_at: i64,
    /// Epoch milliseconds.
    pub updated_at: i64,
}

/// A task in the history of an asset.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskLine {
    /// Its id.
    pub task: String,
    /// What it does.
    pub kind: String,
    /// Short name of its queue.
    pub queue: String,
    /// `video`, `audio`; none for what encodes nothing.
    pub track: Option<String>,
    /// Number of the chunk.
    pub chunk: Option<i64>,
    /// Its state.
    pub state: String,
    /// Attempts so far.
    pub attempts: i64,
    /// Crashes of the decoder among them.
    pub crashes: i64,
    /// Who has it, or had it last.
    pub instance: Option<String>,
    /// What went wrong last.
    pub error: Option<String>,
    /// How the decoder ended last.
    pub exit: Option<String>,
    /// Seconds it was expected to take.
    pub cost_s: f64,
    /// Epoch milliseconds.
    pub created_at: i64,
    /// When the latest attempt began, where it may write objects.
    pub started_at: Option<i64>,
    /// When its row changed last: if it has ended, its end.
    pub updated_at: i64,
}

/// Tasks of an asset that are shown.
const TASKS: i64 = 2_000;

impl Catalog {
    /// The queues that have something to do.
    pub async fn queue_figures(&self, now: i64) -> Result<Vec<QueueFigures>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT queue, sum(CASE WHEN kept = 0 AND next_at <= :now THEN 1 ELSE 0 END), sum(kept), \
                     sum(CASE WHEN kept = 0 AND next_at > :now THEN 1 ELSE 0 END), \
                     min(CASE WHEN kept = 0 AND next_at <= :now THEN next_at END), \
                     sum(CASE WHEN kept = 0 AND next_at <= :now THEN cost_s ELSE 0.0 END) FROM \
                     (SELECT queue, next_at, cost_s, CASE WHEN state = 'leased' AND lease_until >= :now THEN 1 ELSE 0 END AS kept \
                      FROM task WHERE state IN ('pending', 'leased')) open GROUP BY queue ORDER BY queue",
                )
                .int("now", now),
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(QueueFigures {
                    queue: row.text(0)?,
                    waiting: row.int(1)?,
                    running: row.int(2)?,
                    delayed: row.int(3)?,
                    oldest_at: row.opt_int(4)?,
                    seconds: row.float(5)?,
                })
            })
            .collect()
    }

    /// What is in workers' hands, by worker.
    pub async fn at_work(&self, now: i64, limit: i64) -> Result<Vec<AtWork>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT t.lease_owner, t.id, t.queue, t.kind, t.asset_id, t.track, t.chunk, t.attempts, a.started_at, t.lease_until, t.cost_s \
                     FROM task t LEFT JOIN attempt a ON a.task_id = t.id AND a.token = t.lease_token \
                     WHERE t.state = 'leased' AND t.lease_until >= :now AND t.lease_owner IS NOT NULL ORDER BY t.lease_owner, t.id LIMIT :limit",
                )
                .int("now", now)
                .int("limit", limit),
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(AtWork {
                    instance: row.text(0)?,
                    task: row.text(1)?,
                    queue: row.text(2)?,
                    kind: row.text(3)?,
                    asset: row.text(4)?,
                    track: row.opt_text(5)?,
                    chunk: row.opt_int(6)?,
                    attempts: row.int(7)?,
                    started_at: row.opt_int(8)?,
                    lease_until: row.int(9)?,
                    cost_s: row.float(10)?,
                })
            })
            .collect()
    }

    /// Jobs, the latest first, from before a job's id; `state` and `text` (lower case, part of what is said of the asset, or
    /// its id) narrow them down, empty ones do not.
    pub async fn job_lines(
        &self,
        state: &str,
        text: &str,
        before: Option<&JobId>,
        limit: i64,
    ) -> Result<Vec<JobLine>, CatalogError> {
        let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        let rows = self
            .read(
                Statement::new(
                    "SELECT j.id, j.asset_id, a.name, j.tenant, a.state, j.state, j.generation, j.percent, j.reason_code, j.created_at, j.updated_at \
                     FROM job j JOIN asset a ON a.id = j.asset_id WHERE (:first = 1 OR j.id < :before) AND (:state = '' OR j.state = :state) \
                     AND (:text = '' OR j.asset_id = :text OR a.search LIKE :like ESCAPE '\\') ORDER BY j.id DESC LIMIT :limit",
                )
                .int("first", i64::from(before.is_none()))
                .text("before", before.map_or(String::new(), ToString::to_string))
                .text("state", state)
                .text("text", text)
                .text("like", format!("%{escaped}%"))
                .int("limit", limit),
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(JobLine {
                    id: row.parsed(0, "a job's id")?,
                    asset: row.text(1)?,
                    name: row.text(2)?,
                    tenant: row.text(3)?,
                    asset_state: row.text(4)?,
                    state: row.text(5)?,
                    generation: row.int(6)?,
                    percent: row.float(7)?,
                    reason: row.opt_text(8)?,
                    created_at: row.int(9)?,
                    updated_at: row.int(10)?,
                })
            })
            .collect()
    }

    /// Every task of an asset, in the order of their making.
    pub async fn task_lines(&self, asset: &AssetId) -> Result<Vec<TaskLine>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT t.id, t.kind, t.queue, t.track, t.chunk, t.state, t.attempts, t.crashes, t.lease_owner, t.last_error, t.last_exit, \
                     t.cost_s, t.created_at, (SELECT max(a.started_at) FROM attempt a WHERE a.task_id = t.id), t.updated_at \
                     FROM task t WHERE t.asset_id = :asset ORDER BY t.created_at, t.id LIMIT :limit",
                )
                .text("asset", asset.to_string())
                .int("limit", TASKS),
            )
            .await?;
        rows.iter().map(task_from).collect()
    }
}

fn task_from(row: &Row) -> Result<TaskLine, CatalogError> {
    Ok(TaskLine {
        task: row.text(0)?,
        kind: row.text(1)?,
        queue: row.text(2)?,
        track: row.opt_text(3)?,
        chunk: row.opt_int(4)?,
        state: row.text(5)?,
        attempts: row.int(6)?,
        crashes: row.int(7)?,
        instance: row.opt_text(8)?,
        error: row.opt_text(9)?,
        exit: row.opt_text(10)?,
        cost_s: row.float(11)?,
        created_at: row.int(12)?,
        started_at: row.opt_int(13)?,
        updated_at: row.int(14)?,
    })
}
