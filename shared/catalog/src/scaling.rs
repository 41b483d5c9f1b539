//! What operators ask of the workers, what the scaler decided, and what there is to do.
//!
//! Guarantee: an operator's word stands until the next one, whatever restarts meanwhile; each is an upsert that may be
//! repeated, and who gave it is in its row and in the audit. Decisions are kept for [`KEPT_MS`].

use crate::audit::AuditEntry;
use crate::error::CatalogError;
use crate::statement::{Params, Row, Statement};
use crate::store::Catalog;

/// Decisions are kept for a week (milliseconds).
pub const KEPT_MS: i64 = 7 * 24 * 3_600_000;

/// An operator's word about a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The pool: the name of its worker.
    pub pool: String,
    /// So many; `None`: as the formula says.
    pub workers: Option<u32>,
    /// Who said so.
    pub by: String,
    /// When (epoch milliseconds).
    pub at: i64,
}

/// A queue of which no new tasks are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PausedQueue {
    /// Its short name.
    pub queue: String,
    /// Who said so.
    pub by: String,
    /// When (epoch milliseconds).
    pub at: i64,
}

/// What a scaler decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The pool.
    pub pool: String,
    /// When (epoch milliseconds).
    pub at: i64,
    /// Workers that were there.
    pub running: u32,
    /// Workers from then on.
    pub workers: u32,
    /// What the formula said of that moment.
    pub needed: u32,
    /// What decided: `work`, `held`, …
    pub reason: String,
    /// The same in words.
    pub words: String,
}

/// Tasks of one queue that are to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// Its short name.
    pub queue: String,
    /// Whether a worker holds them.
    pub in_flight: bool,
    /// How many.
    pub count: u64,
    /// Mean of their estimated seconds.
    pub seconds: f64,
}

fn count(row: &Row, column: usize) -> Result<u32, CatalogError> {
    Ok(u32::try_from(row.int(column)?).unwrap_or(0))
}

impl Catalog {
    /// Notes an operator's word about a pool, and who gave it.
    pub async fn desire(&self, desired: &Desired, audit: AuditEntry) -> Result<(), CatalogError> {
        self.audit(&[audit]).await?;
        self.write(
            Statement::new(
                "INSERT INTO desired_workers (pool, workers, changed_by, changed_at) VALUES (:pool, :workers, :by, :at) \
                 ON CONFLICT (pool) DO UPDATE SET workers = :workers, changed_by = :by, changed_at = :at",
            )
            .text("pool", &desired.pool)
            .with(Params::new().opt_int("workers", desired.workers.map(i64::from)))
            .text("by", &desired.by)
            .int("at", desired.at),
        )
        .await
        .map(drop)
    }

    /// What operators have said; pools of which nobody said anything are not there.
    pub async fn desired(&self) -> Result<Vec<Desired>, CatalogError> {
        let sql = "SELECT pool, workers, changed_by, changed_at FROM desired_workers ORDER BY pool";
        let rows = self.read(Statement::new(sql)).await?;
        rows.iter()
            .map(|row| {
                let workers = row.opt_int(1)?.map(|count| u32::try_from(count).unwrap_or(0));
                Ok(Desired { pool: row.text(0)?, workers, by: row.text(2)?, at: row.int(3)? })
            })
            .collect()
    }

    /// Pauses queues; those that are paused already stay as they are.
    pub async fn pause(&self, queues: &[PausedQueue], audit: &[AuditEntry]) -> Result<(), CatalogError> {
        self.audit(audit).await?;
        let sets = queues.iter().map(|p| Params::new().text("queue", &p.queue).text("by", &p.by).int("at", p.at));
        let sql = "INSERT INTO paused_queue (queue, paused_by, paused_at) VALUES (:queue, :by, :at) ON CONFLICT (queue) DO NOTHING";
        self.write(Statement::batch(sql, sets)).await.map(drop)
    }

    /// Lets workers take tasks of these queues again.
    pub async fn resume(&self, queues: &[String], audit: &[AuditEntry]) -> Result<(), CatalogError> {
        self.audit(audit).await?;
        let sets = queues.iter().map(|queue| Params::new().text("queue", queue));
        self.write(Statement::batch("DELETE FROM paused_queue WHERE queue = :queue", sets)).await.map(drop)
    }

    /// The queues that are paused.
    pub async fn paused(&self) -> Result<Vec<PausedQueue>, CatalogError> {
        let sql = "SELECT queue, paused_by, paused_at FROM paused_queue ORDER BY queue";
        let rows = self.read(Statement::new(sql)).await?;
        rows.iter().map(|row| Ok(PausedQueue { queue: row.text(0)?, by: row.text(1)?, at: row.int(2)? })).collect()
    }

    /// Tasks that are due or in hand. One whose holder fell silent counts as one that waits.
    pub async fn waiting(&self, now: i64) -> Result<Vec<Waiting>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT queue, CASE WHEN state = 'leased' AND lease_until >= :now THEN 1 ELSE 0 END, count(*), avg(cost_s) \
                     FROM task WHERE state = 'leased' OR (state = 'pending' AND next_at <= :now) GROUP BY 1, 2 ORDER BY 1, 2",
                )
                .int("now", now),
            )
            .await?;
        rows.iter()
            .map(|row| {
                let count = u64::try_from(row.int(2)?).unwrap_or(0);
                Ok(Waiting { queue: row.text(0)?, in_flight: row.int(1)? == 1, count, seconds: row.float(3)? })
            })
            .collect()
    }

    /// The processes that hold a task, by their instance.
    pub async fn busy_instances(&self, now: i64) -> Result<Vec<String>, CatalogError> {
        let sql = "SELECT DISTINCT lease_owner FROM task WHERE state = 'leased' AND lease_until >= :now \
                   AND lease_owner IS NOT NULL ORDER BY lease_owner";
        let rows = self.read(Statement::new(sql).int("now", now)).await?;
        rows.iter().map(|row| row.text(0)).collect()
    }

    /// Keeps a decision, and forgets those that are too old.
    pub async fn decide(&self, decided: &Decided) -> Result<(), CatalogError> {
        self.write(
            Statement::new(
                "INSERT INTO scaling_decision (pool, at, running, workers, needed, reason, words) \
                 VALUES (:pool, :at, :running, :workers, :needed, :reason, :words) ON CONFLICT (pool, at) DO NOTHING",
            )
            .text("pool", &decided.pool)
            .int("at", decided.at)
            .int("running", i64::from(decided.running))
            .int("workers", i64::from(decided.workers))
            .int("needed", i64::from(decided.needed))
            .text("reason", &decided.reason)
            .text("words", &decided.words),
        )
        .await?;
        let old = Statement::new("DELETE FROM scaling_decision WHERE pool = :pool AND at < :before")
            .text("pool", &decided.pool)
            .int("before", decided.at.saturating_sub(KEPT_MS));
        self.write(old).await.map(drop)
    }

    /// The decisions about a pool, the latest first.
    pub async fn decisions(&self, pool: &str, limit: i64) -> Result<Vec<Decided>, CatalogError> {
        let sql = "SELECT pool, at, running, workers, needed, reason, words FROM scaling_decision WHERE pool = :pool \
                   ORDER BY at DESC LIMIT :limit";
        let rows = self.read(Statement::new(sql).text("pool", pool).int("limit", limit)).await?;
        rows.iter()
            .map(|row| {
                Ok(Decided {
                    pool: row.text(0)?,
                    at: row.int(1)?,
                    running: count(row, 2)?,
                    workers: count(row, 3)?,
                    needed: count(row, 4)?,
                    reason: row.text(5)?,
                    words: row.text(6)?,
                })
            })
            .collect()
    }
}
