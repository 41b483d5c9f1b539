//! The processes of the fleet, by their signs of life.
//!
//! Guarantee: a row says that its process lived at `seen_at`, and no more: leases decide who works, and nothing is done or
//! left undone because of a row here. Each statement may be repeated, and one of an earlier life changes nothing of a later.

use crate::error::CatalogError;
use crate::statement::{Params, Row, Statement};
use crate::store::Catalog;

/// Who gave no sign of life for so long is not counted any more (milliseconds): two signs may be missed.
pub const FRESH_MS: i64 = 50_000;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its name in leases and logs.
    pub instance: String,
    /// `transcoder`, `gateway`, …
    pub role: String,
    /// The pool that it is one of, where it is scaled.
    pub pool: Option<String>,
    /// The machine.
    pub host: String,
    /// Of the program.
    pub version: String,
    /// When it began (epoch milliseconds).
    pub started_at: i64,
    /// Its latest sign of life (epoch milliseconds).
    pub seen_at: i64,
    /// It takes nothing new, and ends when what it has is done.
    pub leaving: bool,
}

impl Process {
    /// Whether it gave a sign of life lately.
    pub fn is_fresh(&self, now: i64) -> bool {
        self.seen_at >= now.saturating_sub(FRESH_MS)
    }
}

impl Catalog {
    /// A sign of life.
    pub async fn alive(&self, process: &Process) -> Result<(), CatalogError> {
        self.write(
            Statement::new(
                "INSERT INTO process (instance, role, pool, host, version, started_at, seen_at, leaving) \
                 VALUES (:instance, :role, :pool, :host, :version, :started_at, :seen_at, :leaving) \
                 ON CONFLICT (instance) DO UPDATE SET role = :role, pool = :pool, host = :host, version = :version, \
                 started_at = :started_at, seen_at = :seen_at, leaving = :leaving WHERE process.started_at <= :started_at",
            )
            .text("instance", &process.instance)
            .text("role", &process.role)
            .with(Params::new().opt_text("pool", process.pool.as_deref()).bool("leaving", process.leaving))
            .text("host", &process.host)
            .text("version", &process.version)
            .int("started_at", process.started_at)
            .int("seen_at", process.seen_at),
        )
        .await
        .map(drop)
    }

    /// It has ended.
    pub async fn ended(&self, process: &Process) -> Result<(), CatalogError> {
        let sql = "DELETE FROM process WHERE instance = :instance AND started_at = :started_at";
        let gone = Statement::new(sql).text("instance", &process.instance).int("started_at", process.started_at);
        self.write(gone).await.map(drop)
    }

    /// All that are known, those that fell silent among them.
    pub async fn processes(&self, limit: i64) -> Result<Vec<Process>, CatalogError> {
        let sql = "SELECT instance, role, pool, host, version, started_at, seen_at, leaving FROM process \
                   ORDER BY role, instance LIMIT :limit";
        let rows = self.read(Statement::new(sql).int("limit", limit)).await?;
        rows.iter().map(process).collect()
    }

    /// So many processes are there to take work, by role and pool: (role, pool, count).
    pub async fn process_counts(&self, now: i64) -> Result<Vec<(String, Option<String>, u32)>, CatalogError> {
        let sql = "SELECT role, pool, count(*) FROM process WHERE seen_at >= :since AND leaving = :leaving \
                   GROUP BY role, pool ORDER BY role, pool";
        let asked = Statement::new(sql).int("since", now.saturating_sub(FRESH_MS));
        let rows = self.read(asked.with(Params::new().bool("leaving", false))).await?;
        rows.iter().map(|row| Ok((row.text(0)?, row.opt_text(1)?, u32::try_from(row.int(2)?).unwrap_or(0)))).collect()
    }

    /// Forgets those that have been silent since before `before`. Returns how many.
    pub async fn forget_silent(&self, before: i64) -> Result<u64, CatalogError> {
        let sql = "DELETE FROM process WHERE seen_at < :before";
        Ok(self.write(Statement::new(sql).int("before", before)).await?.1)
    }
}

fn process(row: &Row) -> Result<Process, CatalogError> {
    Ok(Process {
        instance: row.text(0)?,
        role: row.text(1)?,
        pool: row.opt_text(2)?,
        host: row.text(3)?,
        version: row.text(4)?,
        started_at: row.int(5)?,
        seen_at: row.int(6)?,
        leaving: row.bool(7)?,
    })
}
