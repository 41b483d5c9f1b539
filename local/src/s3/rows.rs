//! Rows of buckets and objects, and the two changes that everything else is made of: a version comes, a version goes.
//!
//! All functions run inside the caller's transaction.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use s3s::dto::ETagCondition;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{blob_stream::Extent, digest::Sums, error::Fault};
use crate::state::Ids;

/// The version id of objects in buckets without versioning.
pub(crate) const NULL_VERSION: &str = "null";

/// Whether a bucket keeps versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Versioning {
    /// Was never switched on.
    Never,
    Enabled,
    Suspended,
}

/// A bucket.
#[derive(Clone, Debug)]
pub(crate) struct BucketRow {
    pub(crate) name: String,
    pub(crate) created: i64,
    pub(crate) versioning: Versioning,
}

impl BucketRow {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let versioning = match row.get_ref("versioning")?.as_str_or_null()? {
            Some("Enabled") => Versioning::Enabled,
            Some("Suspended") => Versioning::Suspended,
            _ => Versioning::Never,
        };
        Ok(Self { name: row.get("name")?, created: row.get("created")?, versioning })
    }

    /// The version id an answer carries: none in a bucket that never had versioning.
    pub(crate) fn shown(&self, version: &str) -> Option<String> {
        (self.versioning != Versioning::Never).then(|| version.to_owned())
    }
}

/// The bucket, or NoSuchBucket.
pub(crate) fn bucket(conn: &Connection, name: &str) -> Result<BucketRow, Fault> {
    let mut select = conn.prepare_cached("SELECT * FROM bucket WHERE name = ?1")?;
    select.query_row([name], BucketRow::from_row).optional()?.ok_or_else(Fault::no_such_bucket)
}

/// All buckets by name, after `after`, at most `limit`.
pub(crate) fn buckets(conn: &Connection, prefix: &str, after: &str, limit: i64) -> Result<Vec<BucketRow>, Fault> {
    let sql = "SELECT * FROM bucket WHERE name > ?1 AND substr(name, 1, length(?2)) = ?2 ORDER BY name LIMIT ?3";
    let rows = conn
        .prepare_cached(sql)?
        .query_map(params![after, prefix, limit], BucketRow::from_row)?
        .collect::<Result<_, _>>()?;
    Ok(rows)
}

/// A configuration of the bucket, if it has been set.
pub(crate) fn config<T: DeserializeOwned>(conn: &Connection, bucket: &str, kind: &str) -> Result<Option<T>, Fault> {
    let mut select = conn.prepare_cached("SELECT body FROM bucket_config WHERE bucket = ?1 AND kind = ?2")?;
    let body: Option<String> = select.query_row([bucket, kind], |row| row.get(0)).optional()?;
    Ok(body.map(|body| serde_json::from_str(&body)).transpose()?)
}

/// Headers of an object that are given back as they came, and its user metadata.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Meta {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_control: Option<String>,
    /// Epoch ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) website_redirect: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) storage_class: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) user: BTreeMap<String, String>,
}

/// Tags in the order they were given.
pub(crate) type Tags = Vec<(String, String)>;

/// One version of an object, or a delete marker.
#[derive(Clone, Debug)]
pub(crate) struct ObjectRow {
    pub(crate) id: i64,
    pub(crate) key: String,
    pub(crate) version: String,
    pub(crate) latest: bool,
    pub(crate) marker: bool,
    pub(crate) size: u64,
    pub(crate) etag: String,
    /// Epoch ms.
    pub(crate) modified: i64,
    pub(crate) noncurrent_since: Option<i64>,
    pub(crate) parts: Option<i32>,
    pub(crate) meta: Meta,
    pub(crate) sums: Sums,
    pub(crate) tags: Tags,
}

impl ObjectRow {
    /// Reads a row of `SELECT * FROM object`.
    pub(crate) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            key: row.get("key")?,
            version: row.get("version")?,
            latest: row.get("latest")?,
            marker: row.get("marker")?,
            size: row.get::<_, i64>("size")?.cast_unsigned(),
            etag: row.get("etag")?,
            modified: row.get("modified")?,
            noncurrent_since: row.get("noncurrent_since")?,
            parts: row.get("parts")?,
            meta: json_column(row, "meta")?,
            sums: json_column(row, "sums")?,
            tags: json_column(row, "tags")?,
        })
    }

    /// Bytes `range` of the object as runs of blobs.
    pub(crate) fn extents(&self, conn: &Connection, range: std::ops::Range<u64>) -> Result<Vec<Extent>, Fault> {
        let sql =
            "SELECT blob, start, size FROM piece WHERE object = ?1 AND start < ?2 AND start + size > ?3 ORDER BY n";
        let mut select = conn.prepare_cached(sql)?;
        let rows = select.query_map(params![self.id, range.end.cast_signed(), range.start.cast_signed()], |row| {
            let (start, size) = (row.get::<_, i64>(1)?.cast_unsigned(), row.get::<_, i64>(2)?.cast_unsigned());
            let from = range.start.saturating_sub(start);
            Ok(Extent { blob: row.get(0)?, from, len: (range.end - start).min(size) - from })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Where part `n` lies in the object.
    pub(crate) fn part_range(&self, conn: &Connection, n: i32) -> Result<Option<std::ops::Range<u64>>, Fault> {
        let sql = "SELECT start, size FROM piece WHERE object = ?1 ORDER BY n LIMIT 1 OFFSET ?2";
        let found = conn.prepare_cached(sql)?.query_row(params![self.id, n - 1], |row| {
            let (start, size) = (row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(1)?.cast_unsigned());
            Ok(start..start + size)
        });
        Ok(found.optional()?)
    }
}

pub(crate) fn json_column<T: DeserializeOwned>(row: &Row<'_>, name: &str) -> rusqlite::Result<T> {
    let value = row.get_ref(name)?;
    serde_json::from_str(value.as_str()?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, value.data_type(), Box::new(error)))
}

/// The newest version of a key, delete markers included.
pub(crate) fn latest(conn: &Connection, bucket: &str, key: &str) -> Result<Option<ObjectRow>, Fault> {
    let sql = "SELECT * FROM object WHERE bucket = ?1 AND key = ?2 AND latest = 1";
    Ok(conn.prepare_cached(sql)?.query_row([bucket, key], ObjectRow::from_row).optional()?)
}

/// A version of a key by its id.
pub(crate) fn by_version(
    conn: &Connection,
    bucket: &str,
    key: &str,
    version: &str,
) -> Result<Option<ObjectRow>, Fault> {
    let sql = "SELECT * FROM object WHERE bucket = ?1 AND key = ?2 AND version = ?3";
    Ok(conn.prepare_cached(sql)?.query_row([bucket, key, version], ObjectRow::from_row).optional()?)
}

/// A version that is about to be.
pub(crate) struct NewVersion<'a> {
    pub(crate) key: &'a str,
    pub(crate) marker: bool,
    pub(crate) size: u64,
    pub(crate) etag: &'a str,
    pub(crate) parts: Option<i32>,
    pub(crate) meta: &'a Meta,
    pub(crate) sums: &'a Sums,
    pub(crate) tags: &'a Tags,
    /// Part number, blob and size, in order.
    pub(crate) pieces: &'a [(i32, String, u64)],
}

/// Makes a version the newest of its key; what it replaces goes to the garbage, or becomes noncurrent. Answers the
/// version id.
pub(crate) fn insert(conn: &Connection, bucket: &BucketRow, new: &NewVersion<'_>, now: i64) -> Result<String, Fault> {
    let version = match bucket.versioning {
        Versioning::Enabled => Ids.hex(),
        Versioning::Never | Versioning::Suspended => {
            if let Some(old) = by_version(conn, &bucket.name, new.key, NULL_VERSION)? {
                remove_row(conn, old.id, now)?;
            }
            NULL_VERSION.to_owned()
        }
    };
    conn.prepare_cached(
        "UPDATE object SET latest = 0, noncurrent_since = ?3 WHERE bucket = ?1 AND key = ?2 AND latest = 1",
    )?
    .execute(params![bucket.name, new.key, now])?;
    conn.prepare_cached(
        "INSERT INTO object (bucket, key, version, latest, marker, size, etag, modified, parts, meta, sums, tags)
         VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        bucket.name,
        new.key,
        version,
        new.marker,
        new.size.cast_signed(),
        new.etag,
        now,
        new.parts,
        serde_json::to_string(new.meta)?,
        serde_json::to_string(new.sums)?,
        serde_json::to_string(new.tags)?,
    ])?;
    let id = conn.last_insert_rowid();
    let mut piece =
        conn.prepare_cached("INSERT INTO piece (object, n, blob, start, size) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    let mut start = 0_u64;
    for (n, blob, size) in new.pieces {
        piece.execute(params![id, n, blob, start.cast_signed(), size.cast_signed()])?;
        start += size;
    }
    Ok(version)
}

/// Deletes one version for good; the newest of those that stay becomes the current one.
pub(crate) fn remove(conn: &Connection, bucket: &str, row: &ObjectRow, now: i64) -> Result<(), Fault> {
    remove_row(conn, row.id, now)?;
    if row.latest {
        conn.prepare_cached(
            "UPDATE object SET latest = 1, noncurrent_since = NULL WHERE id =
                (SELECT id FROM object WHERE bucket = ?1 AND key = ?2 ORDER BY id DESC LIMIT 1)",
        )?
        .execute([bucket, &row.key])?;
    }
    Ok(())
}

fn remove_row(conn: &Connection, id: i64, now: i64) -> Result<(), Fault> {
    let blobs: Vec<String> = conn
        .prepare_cached("DELETE FROM piece WHERE object = ?1 RETURNING blob")?
        .query_map([id], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    conn.prepare_cached("DELETE FROM object WHERE id = ?1")?.execute([id])?;
    discard(conn, &blobs, now)
}

/// Puts those of the blobs that no row names any longer to the garbage.
pub(crate) fn discard(conn: &Connection, blobs: &[String], now: i64) -> Result<(), Fault> {
    let mut insert = conn.prepare_cached(
        "INSERT OR IGNORE INTO garbage SELECT ?1, ?2
         WHERE NOT EXISTS (SELECT 1 FROM piece WHERE blob = ?1) AND NOT EXISTS (SELECT 1 FROM part WHERE blob = ?1)",
    )?;
    for blob in blobs {
        insert.execute(params![blob, now])?;
    }
    Ok(())
}

/// Whether a row names the blob.
pub(crate) fn is_named(conn: &Connection, blob: &str) -> rusqlite::Result<bool> {
    conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM piece WHERE blob = ?1) OR EXISTS (SELECT 1 FROM part WHERE blob = ?1)",
    )?
    .query_row([blob], |row| row.get(0))
}

/// If-Match and If-None-Match of a write, against what the key holds now.
pub(crate) fn check_write(
    current: Option<&ObjectRow>,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> Result<(), Fault> {
    let current = current.filter(|row| !row.marker);
    match (if_match, current) {
        (None, _) => {}
        (Some(_), None) => return Err(Fault::no_such_key()),
        (Some(condition), Some(row)) if !holds(condition, row) => return Err(Fault::precondition()),
        _ => {}
    }
    match (if_none_match, current) {
        (Some(condition), Some(row)) if holds(condition, row) => Err(Fault::precondition()),
        _ => Ok(()),
    }
}

/// Whether the condition names the row's ETag.
pub(crate) fn holds(condition: &ETagCondition, row: &ObjectRow) -> bool {
    condition.as_etag().is_none_or(|etag| etag.value() == row.etag)
}
