//! The listings: current objects (v2 and v1), versions, open uploads. Each reads one snapshot of the database.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use rusqlite::{Connection, params};
use s3s::{S3Request, S3Response, S3Result, dto::*};

use super::{
    Store,
    error::Fault,
    multipart::UploadRow,
    objects::{stamp, strong},
    rows::{self, ObjectRow},
    walk::{Encode, Entry, From, Listed, MAX_KEYS, Walk, last_name},
};

impl Listed for ObjectRow {
    fn key(&self) -> &str {
        &self.key
    }
}

impl Listed for UploadRow {
    fn key(&self) -> &str {
        &self.key
    }
}

fn from_sql(from: &From) -> (&'static str, &str) {
    match from {
        From::At(key) => (">=", key),
        From::After(key) => (">", key),
    }
}

fn current(
    conn: &Connection,
    bucket: &str,
    from: &From,
    end: Option<&str>,
    limit: i64,
) -> Result<Vec<ObjectRow>, Fault> {
    let (op, key) = from_sql(from);
    let until = if end.is_some() { "AND key < ?3" } else { "AND ?3 IS NULL" };
    let sql = format!(
        "SELECT * FROM object WHERE bucket = ?1 AND key {op} ?2 {until} AND latest = 1 AND marker = 0
         ORDER BY key LIMIT ?4"
    );
    let mut select = conn.prepare_cached(&sql)?;
    let rows = select.query_map(params![bucket, key, end, limit], ObjectRow::from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn object(row: &ObjectRow, encode: &Encode, owner: Option<Owner>) -> Object {
    Object {
        key: Some(encode.key(&row.key)),
        size: Some(row.size.cast_signed()),
        e_tag: Some(strong(&row.etag)),
        last_modified: Some(stamp(row.modified)),
        checksum_algorithm: row.sums.algorithms(),
        checksum_type: row.sums.kind(),
        storage_class: Some(
            row.meta.storage_class.clone().unwrap_or_else(|| ObjectStorageClass::STANDARD.into()).into(),
        ),
        owner,
        ..Default::default()
    }
}

pub(crate) async fn objects_v2(
    store: &Store,
    req: S3Request<ListObjectsV2Input>,
) -> S3Result<S3Response<ListObjectsV2Output>> {
    let input = req.input;
    let encode = Encode::new(input.encoding_type.as_ref())?;
    let walk = Walk::new(input.prefix.clone(), input.delimiter.clone(), input.max_keys)?;
    let token = input.continuation_token.as_deref().map(|token| {
        let bytes = BASE64.decode(token).ok()?;
        String::from_utf8(bytes).ok()
    });
    let marker = match token {
        Some(None) => {
            return Err(Fault::invalid_argument("The continuation token provided is incorrect").into());
        }
        Some(Some(key)) => Some(key),
        None => input.start_after.clone(),
    };
    let owner = input.fetch_owner.unwrap_or(false).then(|| store.owner());
    let read = store.state.db.read(move |conn| {
        rows::bucket(conn, &input.bucket)?;
        let page =
            walk.page(walk.start(marker.as_deref()), |from, end, n| current(conn, &input.bucket, from, end, n))?;
        let contents: Vec<_> = page.rows().map(|row| object(row, &encode, owner.clone())).collect();
        Ok::<_, Fault>(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encode.key(&walk.prefix)),
            delimiter: walk.delimiter.as_deref().map(|d| encode.key(d)),
            start_after: input.start_after.as_deref().map(|key| encode.key(key)),
            max_keys: Some(i32::try_from(walk.max).unwrap_or(MAX_KEYS)),
            key_count: i32::try_from(page.entries.len()).ok(),
            is_truncated: Some(page.truncated),
            continuation_token: input.continuation_token,
            next_continuation_token: last_name(&page).map(|name| BASE64.encode(name)),
            common_prefixes: page.prefixes(&encode),
            contents: (!contents.is_empty()).then_some(contents),
            encoding_type: encode.dto(),
            request_charged: None,
        })
    });
    Ok(S3Response::new(read.await?))
}

pub(crate) async fn objects_v1(
    store: &Store,
    req: S3Request<ListObjectsInput>,
) -> S3Result<S3Response<ListObjectsOutput>> {
    let input = req.input;
    let encode = Encode::new(input.encoding_type.as_ref())?;
    let walk = Walk::new(input.prefix.clone(), input.delimiter.clone(), input.max_keys)?;
    let owner = store.owner();
    let read = store.state.db.read(move |conn| {
        rows::bucket(conn, &input.bucket)?;
        let start = walk.start(input.marker.as_deref());
        let page = walk.page(start, |from, end, n| current(conn, &input.bucket, from, end, n))?;
        let contents: Vec<_> = page.rows().map(|row| object(row, &encode, Some(owner.clone()))).collect();
        Ok::<_, Fault>(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encode.key(&walk.prefix)),
            delimiter: walk.delimiter.as_deref().map(|d| encode.key(d)),
            marker: Some(encode.key(input.marker.as_deref().unwrap_or_default())),
            max_keys: Some(i32::try_from(walk.max).unwrap_or(MAX_KEYS)),
            is_truncated: Some(page.truncated),
            // As on S3, given with a delimiter only; without one the last key is the next marker.
            next_marker: last_name(&page).filter(|_| walk.delimiter.is_some()).map(|name| encode.key(name)),
            common_prefixes: page.prefixes(&encode),
            contents: (!contents.is_empty()).then_some(contents),
            encoding_type: encode.dto(),
            request_charged: None,
        })
    });
    Ok(S3Response::new(read.await?))
}

/// All versions of keys from a position on, newest first within a key. `rest_of` are the versions of one key that are
/// older than a row id, and come before everything else.
fn history(
    conn: &Connection,
    bucket: &str,
    rest_of: Option<&(String, i64)>,
    from: &From,
    end: Option<&str>,
    limit: i64,
) -> Result<Vec<ObjectRow>, Fault> {
    let mut found = Vec::new();
    if let Some((key, id)) = rest_of {
        let sql = "SELECT * FROM object WHERE bucket = ?1 AND key = ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4";
        let mut select = conn.prepare_cached(sql)?;
        let rows = select.query_map(params![bucket, key, id, limit], ObjectRow::from_row)?;
        found = rows.collect::<Result<_, _>>()?;
    }
    let (op, key) = from_sql(from);
    let until = if end.is_some() { "AND key < ?3" } else { "AND ?3 IS NULL" };
    let sql = format!("SELECT * FROM object WHERE bucket = ?1 AND key {op} ?2 {until} ORDER BY key, id DESC LIMIT ?4");
    let mut select = conn.prepare_cached(&sql)?;
    let rows = select.query_map(params![bucket, key, end, limit - found.len() as i64], ObjectRow::from_row)?;
    for row in rows {
        found.push(row?);
    }
    Ok(found)
}

pub(crate) async fn versions(
    store: &Store,
    req: S3Request<ListObjectVersionsInput>,
) -> S3Result<S3Response<ListObjectVersionsOutput>> {
    let input = req.input;
    let encode = Encode::new(input.encoding_type.as_ref())?;
    let walk = Walk::new(input.prefix.clone(), input.delimiter.clone(), input.max_keys)?;
    if input.version_id_marker.is_some() && input.key_marker.is_none() {
        return Err(Fault::invalid_argument("A version-id marker cannot be specified without a key marker.").into());
    }
    let owner = store.owner();
    let read = store.state.db.read(move |conn| {
        rows::bucket(conn, &input.bucket)?;
        // The marker's own row may be gone by now; then the page begins with the next key.
        let mut rest_of = match (&input.key_marker, &input.version_id_marker) {
            (Some(key), Some(version)) => {
                rows::by_version(conn, &input.bucket, key, version)?.map(|row| (key.clone(), row.id))
            }
            _ => None,
        };
        let start = walk.start(input.key_marker.as_deref());
        let page =
            walk.page(start, |from, end, n| history(conn, &input.bucket, rest_of.take().as_ref(), from, end, n))?;
        let (mut found, mut markers) = (Vec::new(), Vec::new());
        for row in page.rows() {
            if row.marker {
                markers.push(DeleteMarkerEntry {
                    is_latest: Some(row.latest),
                    key: Some(encode.key(&row.key)),
                    last_modified: Some(stamp(row.modified)),
                    owner: Some(owner.clone()),
                    version_id: Some(row.version.clone()),
                });
            } else {
                let class = row.meta.storage_class.clone();
                found.push(ObjectVersion {
                    checksum_algorithm: row.sums.algorithms(),
                    checksum_type: row.sums.kind(),
                    e_tag: Some(strong(&row.etag)),
                    is_latest: Some(row.latest),
                    key: Some(encode.key(&row.key)),
                    last_modified: Some(stamp(row.modified)),
                    owner: Some(owner.clone()),
                    size: Some(row.size.cast_signed()),
                    storage_class: Some(class.unwrap_or_else(|| ObjectVersionStorageClass::STANDARD.into()).into()),
                    version_id: Some(row.version.clone()),
                    ..Default::default()
                });
            }
        }
        let next_version = page.entries.last().filter(|_| page.truncated).and_then(|entry| match entry {
            Entry::Row(row) => Some(row.version.clone()),
            Entry::Prefix(_) => None,
        });
        Ok::<_, Fault>(ListObjectVersionsOutput {
            name: Some(input.bucket),
            prefix: Some(encode.key(&walk.prefix)),
            delimiter: walk.delimiter.as_deref().map(|d| encode.key(d)),
            key_marker: Some(encode.key(input.key_marker.as_deref().unwrap_or_default())),
            version_id_marker: input.version_id_marker,
            max_keys: Some(i32::try_from(walk.max).unwrap_or(MAX_KEYS)),
            is_truncated: Some(page.truncated),
            next_key_marker: last_name(&page).map(|name| encode.key(name)),
            next_version_id_marker: next_version,
            common_prefixes: page.prefixes(&encode),
            versions: (!found.is_empty()).then_some(found),
            delete_markers: (!markers.is_empty()).then_some(markers),
            encoding_type: encode.dto(),
            request_charged: None,
        })
    });
    Ok(S3Response::new(read.await?))
}

/// Uploads of keys from a position on, by id within a key; those of the marker's key beyond the marker's id first.
fn open_uploads(
    conn: &Connection,
    bucket: &str,
    rest_of: Option<&(String, String)>,
    from: &From,
    end: Option<&str>,
    limit: i64,
) -> Result<Vec<UploadRow>, Fault> {
    let mut found = Vec::new();
    if let Some((key, id)) = rest_of {
        let sql = "SELECT * FROM upload WHERE bucket = ?1 AND key = ?2 AND id > ?3 ORDER BY id LIMIT ?4";
        let mut select = conn.prepare_cached(sql)?;
        let rows = select.query_map(params![bucket, key, id, limit], UploadRow::from_row)?;
        found = rows.collect::<Result<_, _>>()?;
    }
    let (op, key) = from_sql(from);
    let until = if end.is_some() { "AND key < ?3" } else { "AND ?3 IS NULL" };
    let sql = format!("SELECT * FROM upload WHERE bucket = ?1 AND key {op} ?2 {until} ORDER BY key, id LIMIT ?4");
    let mut select = conn.prepare_cached(&sql)?;
    let rows = select.query_map(params![bucket, key, end, limit - found.len() as i64], UploadRow::from_row)?;
    for row in rows {
        found.push(row?);
    }
    Ok(found)
}

pub(crate) async fn uploads(
    store: &Arc<Store>,
    req: S3Request<ListMultipartUploadsInput>,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let input = req.input;
    let encode = Encode::new(input.encoding_type.as_ref())?;
    let walk = Walk::new(input.prefix.clone(), input.delimiter.clone(), input.max_uploads)?;
    let owner = store.owner();
    let read = store.state.db.read(move |conn| {
        rows::bucket(conn, &input.bucket)?;
        let mut rest_of = input.key_marker.clone().zip(input.upload_id_marker.clone());
        let start = walk.start(input.key_marker.as_deref());
        let page =
            walk.page(start, |from, end, n| open_uploads(conn, &input.bucket, rest_of.take().as_ref(), from, end, n))?;
        let found = page.rows().map(|row| MultipartUpload {
            key: Some(encode.key(&row.key)),
            upload_id: Some(row.id.clone()),
            initiated: Some(stamp(row.initiated)),
            checksum_algorithm: row.algorithm_dto(),
            checksum_type: row.type_dto(),
            initiator: Some(Initiator { id: owner.id.clone(), display_name: owner.display_name.clone() }),
            owner: Some(owner.clone()),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        });
        let found: Vec<_> = found.collect();
        let next_upload = page.entries.last().filter(|_| page.truncated).and_then(|entry| match entry {
            Entry::Row(row) => Some(row.id.clone()),
            Entry::Prefix(_) => None,
        });
        Ok::<_, Fault>(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: Some(encode.key(&walk.prefix)),
            delimiter: walk.delimiter.as_deref().map(|d| encode.key(d)),
            key_marker: Some(encode.key(input.key_marker.as_deref().unwrap_or_default())),
            upload_id_marker: Some(input.upload_id_marker.unwrap_or_default()),
            max_uploads: Some(i32::try_from(walk.max).unwrap_or(MAX_KEYS)),
            is_truncated: Some(page.truncated),
            next_key_marker: last_name(&page).map(|name| encode.key(name)),
            next_upload_id_marker: next_upload,
            common_prefixes: page.prefixes(&encode),
            uploads: (!found.is_empty()).then_some(found),
            encoding_type: encode.dto(),
            request_charged: None,
        })
    });
    Ok(S3Response::new(read.await?))
}
