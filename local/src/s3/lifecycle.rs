//! What happens to objects without a request: expiry by lifecycle rules, the end of stale uploads, and the deletion of
//! blobs that no row names.
//!
//! Source: "Managing the lifecycle of objects" of the S3 user guide. As there, a rule of days is due at the midnight
//! (UTC) that follows; a deletion tells `LifecycleExpiration` events. Transitions are stored and not acted on: there
//! is one class of storage.

use std::{sync::Arc, time::Duration};

use rusqlite::{Connection, params};
use s3s::dto::{BucketLifecycleConfiguration, ExpirationStatus, LifecycleRule, Tag};

use super::{
    Store,
    buckets::kind,
    deletes::delete_in,
    error::Fault,
    multipart,
    rows::{self, ObjectRow},
};
use crate::timestamp::epoch_ms;

const DAY_MS: i64 = 24 * 3_600_000;
/// A blob may still be opened by an answer that has just read its row.
const GRACE_MS: i64 = 60_000;
/// Rows looked at, and changes made, in one go.
const BATCH: i64 = 500;
const EVENTS: [&str; 2] = ["LifecycleExpiration:Delete", "LifecycleExpiration:DeleteMarkerCreated"];

/// Runs until the endpoint shuts down.
pub(crate) async fn run(store: Arc<Store>) {
    let mut collect = tokio::time::interval(Duration::from_secs(30));
    let mut expire = tokio::time::interval(Duration::from_secs(3600));
    loop {
        let outcome = tokio::select! {
            () = store.state.shutdown.cancelled() => return,
            _ = collect.tick() => collect_garbage(&store).await,
            _ = expire.tick() => expire_all(&store).await,
        };
        if let Err(fault) = outcome {
            tracing::error!(error = ?fault.0, "the upkeep of the object store failed; it is tried again");
        }
    }
}

/// Deletes blobs that have been garbage for the grace and that nobody reads.
pub(crate) async fn collect_garbage(store: &Arc<Store>) -> Result<(), Fault> {
    let before = store.state.now() - GRACE_MS;
    let mut after = String::new();
    loop {
        let from = after.clone();
        let due = store.state.db.read(move |conn| {
            let sql = "SELECT blob FROM garbage WHERE since <= ?1 AND blob > ?2 ORDER BY blob LIMIT ?3";
            let mut select = conn.prepare_cached(sql)?;
            let blobs = select.query_map(params![before, from, BATCH], |row| row.get(0))?;
            Ok::<Vec<String>, Fault>(blobs.collect::<Result<_, _>>()?)
        });
        let due = due.await?;
        let Some(last) = due.last().cloned() else {
            break;
        };
        let shared = Arc::clone(store);
        let gone = tokio::task::spawn_blocking(move || {
            let gone = due.into_iter().filter(|blob| match shared.blobs.collect(blob) {
                Ok(gone) => gone,
                Err(error) => {
                    tracing::warn!(%error, blob, "a blob could not be deleted; it is tried again");
                    false
                }
            });
            gone.collect::<Vec<String>>()
        });
        let gone = gone.await.map_err(Fault::internal)?;
        let forget = store.state.db.write(move |tx| {
            let mut delete = tx.prepare_cached("DELETE FROM garbage WHERE blob = ?1")?;
            for blob in &gone {
                delete.execute([blob])?;
            }
            Ok::<_, Fault>(())
        });
        forget.await?;
        after = last;
    }
    let remembered = store.state.now() - multipart::REMEMBERED_MS;
    let forget = store.state.db.write(move |tx| {
        tx.prepare_cached("DELETE FROM completed_upload WHERE completed < ?1")?.execute([remembered])?;
        Ok::<_, Fault>(())
    });
    forget.await
}

/// Applies the rules of all buckets.
pub(crate) async fn expire_all(store: &Arc<Store>) -> Result<(), Fault> {
    let read = store.state.db.read(|conn| {
        let sql = "SELECT bucket FROM bucket_config WHERE kind = ?1";
        let mut select = conn.prepare_cached(sql)?;
        let buckets = select.query_map([kind::LIFECYCLE], |row| row.get(0))?;
        Ok::<Vec<String>, Fault>(buckets.collect::<Result<_, _>>()?)
    });
    for bucket in read.await? {
        let config: Option<BucketLifecycleConfiguration> = store.get_config(bucket.clone(), kind::LIFECYCLE).await?;
        for rule in config.map(|config| config.rules).unwrap_or_default() {
            if rule.status.as_str() == ExpirationStatus::ENABLED {
                apply(store, &bucket, &rule).await?;
            }
        }
    }
    Ok(())
}

/// Whether `days` after `since` is past, counted to the next midnight.
fn is_due(since: i64, days: i32, now: i64) -> bool {
    let due = since + i64::from(days) * DAY_MS;
    let midnight = due.div_euclid(DAY_MS) * DAY_MS + if due.rem_euclid(DAY_MS) == 0 { 0 } else { DAY_MS };
    midnight <= now
}

/// What a rule applies to.
#[derive(Clone)]
struct Scope {
    prefix: String,
    tags: Vec<Tag>,
    larger_than: Option<i64>,
    smaller_than: Option<i64>,
}

impl Scope {
    fn of(rule: &LifecycleRule) -> Self {
        let filter = rule.filter.clone().unwrap_or_default();
        let and = filter.and.unwrap_or_default();
        let prefix = filter.prefix.or(and.prefix).or_else(|| rule.prefix.clone());
        Self {
            prefix: prefix.unwrap_or_default(),
            tags: and.tags.into_iter().flatten().chain(filter.tag).collect(),
            larger_than: filter.object_size_greater_than.or(and.object_size_greater_than),
            smaller_than: filter.object_size_less_than.or(and.object_size_less_than),
        }
    }

    fn holds(&self, row: &ObjectRow) -> bool {
        let tagged = |tag: &Tag| {
            let (key, value) = (tag.key.as_deref().unwrap_or_default(), tag.value.as_deref().unwrap_or_default());
            row.tags.iter().any(|(k, v)| k == key && v == value)
        };
        row.key.starts_with(&self.prefix)
            && self.tags.iter().all(tagged)
            && self.larger_than.is_none_or(|size| row.size.cast_signed() > size)
            && self.smaller_than.is_none_or(|size| row.size.cast_signed() < size)
    }
}

/// What becomes of a row.
#[derive(Clone, Copy)]
enum Fate {
    /// A marker comes, or the object goes where there is no versioning.
    Expire,
    /// This version goes for good.
    Remove,
}

struct Verdict {
    now: i64,
    rule: LifecycleRule,
    scope: Scope,
}

impl Verdict {
    fn of(&self, conn: &Connection, bucket: &str, row: &ObjectRow) -> Result<Option<Fate>, Fault> {
        if !self.scope.holds(row) {
            return Ok(None);
        }
        let expiration = self.rule.expiration.clone().unwrap_or_default();
        let noncurrent = self.rule.noncurrent_version_expiration.clone();
        Ok(match (row.latest, row.marker) {
            (true, true) => {
                let alone = || -> Result<bool, Fault> {
                    let sql = "SELECT count(*) = 1 FROM object WHERE bucket = ?1 AND key = ?2";
                    Ok(conn.prepare_cached(sql)?.query_row([bucket, &row.key], |r| r.get(0))?)
                };
                let wanted = expiration.expired_object_delete_marker == Some(true);
                (wanted && alone()?).then_some(Fate::Remove)
            }
            (true, false) => {
                let by_days = expiration.days.is_some_and(|days| is_due(row.modified, days, self.now));
                let by_date = expiration.date.is_some_and(|date| epoch_ms(date.into()) <= self.now);
                (by_days || by_date).then_some(Fate::Expire)
            }
            (false, _) => {
                let Some(noncurrent) = noncurrent else {
                    return Ok(None);
                };
                let since = row.noncurrent_since.unwrap_or(row.modified);
                let due = noncurrent.noncurrent_days.is_none_or(|days| is_due(since, days, self.now));
                let sql = "SELECT count(*) FROM object WHERE bucket = ?1 AND key = ?2 AND latest = 0 AND id > ?3";
                let newer: i32 = conn.prepare_cached(sql)?.query_row(params![bucket, row.key, row.id], |r| r.get(0))?;
                let kept = noncurrent.newer_noncurrent_versions.unwrap_or(0);
                (due && newer >= kept).then_some(Fate::Remove)
            }
        })
    }
}

async fn apply(store: &Arc<Store>, bucket: &str, rule: &LifecycleRule) -> Result<(), Fault> {
    let verdict = Arc::new(Verdict { now: store.state.now(), rule: rule.clone(), scope: Scope::of(rule) });
    if rule.expiration.is_some() || rule.noncurrent_version_expiration.is_some() {
        let mut after = 0_i64;
        loop {
            let (name, judge) = (bucket.to_owned(), Arc::clone(&verdict));
            let read = store.state.db.read(move |conn| {
                let sql = "SELECT * FROM object WHERE id > ?1 AND bucket = ?2 ORDER BY id LIMIT ?3";
                let mut select = conn.prepare_cached(sql)?;
                let rows = select.query_map(params![after, name, BATCH], ObjectRow::from_row)?;
                let (mut due, mut last) = (Vec::new(), None);
                for row in rows {
                    let row = row?;
                    last = Some(row.id);
                    if judge.of(conn, &name, &row)?.is_some() {
                        due.push(row.id);
                    }
                }
                Ok::<_, Fault>((due, last))
            });
            let (due, last) = read.await?;
            let Some(last) = last else { break };
            after = last;
            if !due.is_empty() {
                carry_out(store, bucket, Arc::clone(&verdict), due).await?;
            }
        }
    }
    let days = rule.abort_incomplete_multipart_upload.as_ref().and_then(|abort| abort.days_after_initiation);
    match days {
        Some(days) => end_stale_uploads(store, bucket, &verdict.scope.prefix, days).await,
        None => Ok(()),
    }
}

/// Looks at the rows again inside of the write; what has changed since is left alone.
async fn carry_out(store: &Arc<Store>, bucket: &str, verdict: Arc<Verdict>, due: Vec<i64>) -> Result<(), Fault> {
    let (name, shared) = (bucket.to_owned(), Arc::clone(store));
    let write = store.state.db.write(move |tx| {
        let bucket = rows::bucket(tx, &name)?;
        for id in due {
            let mut select = tx.prepare_cached("SELECT * FROM object WHERE id = ?1")?;
            let Some(row) = select.query_map([id], ObjectRow::from_row)?.next().transpose()? else {
                continue;
            };
            match verdict.of(tx, &name, &row)? {
                None => {}
                Some(Fate::Expire) => {
                    delete_in(tx, &shared, &bucket, &row.key, None, EVENTS)?;
                }
                Some(Fate::Remove) => {
                    delete_in(tx, &shared, &bucket, &row.key, Some(&row.version), EVENTS)?;
                }
            }
        }
        Ok::<_, Fault>(())
    });
    write.await
}

async fn end_stale_uploads(store: &Store, bucket: &str, prefix: &str, days: i32) -> Result<(), Fault> {
    let (bucket, prefix, now) = (bucket.to_owned(), prefix.to_owned(), store.state.now());
    let write = store.state.db.write(move |tx| {
        let mut select = tx.prepare_cached("SELECT id, key, initiated FROM upload WHERE bucket = ?1")?;
        let rows = select.query_map([&bucket], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
        })?;
        for (id, key, initiated) in rows.collect::<Result<Vec<_>, _>>()? {
            if key.starts_with(&prefix) && is_due(initiated, days, now) {
                multipart::forget(tx, &id, now)?;
            }
        }
        Ok::<_, Fault>(())
    });
    write.await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_to_the_next_midnight() {
        let noon = 10 * DAY_MS + DAY_MS / 2;
        assert!(!is_due(noon, 1, 12 * DAY_MS - 1));
        assert!(is_due(noon, 1, 12 * DAY_MS));
        assert!(is_due(10 * DAY_MS, 1, 11 * DAY_MS));
    }
}
