//! Backlogs of queues whose messages are no tasks, as the janitors saw them last.
//!
//! Guarantee: what an earlier look found never takes the place of what a later one did; both statements may be repeated.

use reelfleet_domain::backlog::Backlog;

use crate::error::CatalogError;
use crate::statement::{Params, Statement};
use crate::store::Catalog;

impl Catalog {
    /// By the queues' short names; those that nobody has looked at yet are not there.
    pub async fn backlogs(&self) -> Result<Vec<(String, Backlog)>, CatalogError> {
        let rows =
            self.read(Statement::new("SELECT queue, since, ahead, depth FROM queue_backlog ORDER BY queue")).await?;
        let count = |number| u64::try_from(number).unwrap_or(0);
        rows.iter()
            .map(|row| {
                let (ahead, depth) = (count(row.int(2)?), count(row.int(3)?));
                Ok((row.text(0)?, Backlog { since: row.opt_int(1)?, ahead, depth }))
            })
            .collect()
    }

    /// Keeps what a look found.
    pub async fn keep_backlogs(&self, now: i64, found: &[(&str, Backlog)]) -> Result<(), CatalogError> {
        if found.is_empty() {
            return Ok(());
        }
        let count = |number| i64::try_from(number).unwrap_or(i64::MAX);
        let sets = found.iter().map(|(queue, backlog)| {
            let numbers = Params::new().int("depth", count(backlog.depth)).int("ahead", count(backlog.ahead));
            numbers.text("queue", queue).opt_int("since", backlog.since).int("now", now)
        });
        let sql = "INSERT INTO queue_backlog (queue, depth, since, ahead, looked_at) VALUES (:queue, :depth, :since, :ahead, :now) \
                   ON CONFLICT (queue) DO UPDATE SET depth = :depth, since = :since, ahead = :ahead, looked_at = :now \
                   WHERE queue_backlog.looked_at < :now";
        self.write(Statement::batch(sql, sets)).await.map(drop)
    }
}
