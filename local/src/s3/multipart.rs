//! Multipart uploads: parts are rows, completion names their blobs as pieces of the object. No byte is copied, and a
//! completion either happens whole or leaves the upload as it was.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result, dto::*};

use super::{
    Store,
    copies::{copy_source, source_conditions},
    digest::{Algorithm, Expect, Sums, fill_sums, given_sums},
    error::Fault,
    objects::{meta_of, refuse_customer_key, stamp, strong},
    rows::{self, Meta, Tags, json_column},
    tagging,
};

/// How long a completed upload is remembered for a repeated Complete.
pub(crate) const REMEMBERED_MS: i64 = 24 * 3_600_000;

pub(crate) struct UploadRow {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) initiated: i64,
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) composite: bool,
    pub(super) meta: Meta,
    pub(super) tags: Tags,
}

impl UploadRow {
    pub(crate) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let algorithm: Option<String> = row.get("algorithm")?;
        Ok(Self {
            id: row.get("id")?,
            key: row.get("key")?,
            initiated: row.get("initiated")?,
            algorithm: algorithm.and_then(|name| Algorithm::parse(&name).ok()),
            composite: row.get("composite")?,
            meta: json_column(row, "meta")?,
            tags: json_column(row, "tags")?,
        })
    }

    pub(crate) fn algorithm_dto(&self) -> Option<ChecksumAlgorithm> {
        self.algorithm.map(|algorithm| ChecksumAlgorithm::from_static(algorithm.name()))
    }

    pub(crate) fn type_dto(&self) -> Option<ChecksumType> {
        let kind = if self.composite { ChecksumType::COMPOSITE } else { ChecksumType::FULL_OBJECT };
        self.algorithm.map(|_| ChecksumType::from_static(kind))
    }
}

/// The upload, or NoSuchUpload.
pub(crate) fn upload(conn: &Connection, bucket: &str, key: &str, id: &str) -> Result<UploadRow, Fault> {
    let mut select = conn.prepare_cached("SELECT * FROM upload WHERE id = ?1 AND bucket = ?2 AND key = ?3")?;
    select.query_row([id, bucket, key], UploadRow::from_row).optional()?.ok_or_else(Fault::no_such_upload)
}

/// Pieces of an object, as a copy names them again.
pub(crate) fn pieces_of(conn: &Connection, object: i64) -> Result<Vec<(i32, String, u64)>, Fault> {
    let mut select = conn.prepare_cached("SELECT n, blob, size FROM piece WHERE object = ?1 ORDER BY n")?;
    let rows =
        select.query_map([object], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?.cast_unsigned())))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(crate) async fn create(
    store: &Arc<Store>,
    req: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    let input = req.input;
    refuse_customer_key(input.sse_customer_algorithm.as_ref())?;
    let algorithm = input.checksum_algorithm.as_ref().map(|a| Algorithm::parse(a.as_str())).transpose()?;
    let composite = match (algorithm, input.checksum_type.as_ref().map(|t| t.as_str())) {
        (None, _) => false,
        (Some(algorithm), None) => algorithm.composite_by_default(),
        (Some(Algorithm::Sha1 | Algorithm::Sha256), Some(ChecksumType::FULL_OBJECT))
        | (Some(Algorithm::Crc64Nvme), Some(ChecksumType::COMPOSITE)) => {
            let message = "The checksum type is not supported for the checksum algorithm of the request.";
            return Err(Fault::new(S3ErrorCode::InvalidRequest, message).into());
        }
        (Some(_), Some(kind)) => kind == ChecksumType::COMPOSITE,
    };
    let meta = serde_json::to_string(&meta_of!(input)).map_err(Fault::from)?;
    let tags = serde_json::to_string(&tagging::parse_header(input.tagging.as_deref())?).map_err(Fault::from)?;
    let (id, now) = (store.state.ids.hex(), store.state.now());
    let mut output = CreateMultipartUploadOutput {
        bucket: Some(input.bucket.clone()),
        key: Some(input.key.clone()),
        upload_id: Some(id.clone()),
        checksum_algorithm: input.checksum_algorithm,
        ..Default::default()
    };
    if algorithm.is_some() {
        let kind = if composite { ChecksumType::COMPOSITE } else { ChecksumType::FULL_OBJECT };
        output.checksum_type = Some(ChecksumType::from_static(kind));
    }
    let write = store.state.db.write(move |tx| {
        rows::bucket(tx, &input.bucket)?;
        // Without an algorithm, S3 makes a CRC64NVME of the full object.
        let algorithm = algorithm.unwrap_or(Algorithm::Crc64Nvme).name();
        tx.prepare_cached(
            "INSERT INTO upload (id, bucket, key, initiated, algorithm, composite, meta, tags)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![id, input.bucket, input.key, now, algorithm, composite, meta, tags])?;
        Ok::<_, Fault>(())
    });
    write.await?;
    Ok(S3Response::new(output))
}

fn check_part_number(n: i32) -> Result<(), Fault> {
    match n {
        1..=10_000 => Ok(()),
        _ => Err(Fault::invalid_argument("Part number must be an integer between 1 and 10000, inclusive")),
    }
}

/// A part that is on disk, on its way into its row.
struct NewPart {
    bucket: String,
    key: String,
    upload: String,
    n: i32,
    got: super::blobs::Received,
}

/// Writes the part's row, in place of one that was sent earlier under this number.
async fn store_part(store: &Store, part: NewPart) -> Result<i64, Fault> {
    let now = store.state.now();
    let write = store.state.db.write(move |tx| {
        upload(tx, &part.bucket, &part.key, &part.upload)?;
        let old = tx
            .prepare_cached("DELETE FROM part WHERE upload = ?1 AND n = ?2 RETURNING blob")?
            .query_row(params![part.upload, part.n], |row| row.get::<_, String>(0))
            .optional()?;
        rows::discard(tx, old.as_slice(), now)?;
        tx.prepare_cached(
            "INSERT INTO part (upload, n, blob, size, etag, modified, sums) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            part.upload,
            part.n,
            part.got.blob.id(),
            part.got.size.cast_signed(),
            part.got.digests.etag(),
            now,
            serde_json::to_string(&part.got.digests.sums)?,
        ])?;
        part.got.blob.keep();
        Ok(now)
    });
    write.await
}

pub(crate) async fn upload_part(
    store: &Arc<Store>,
    mut req: S3Request<UploadPartInput>,
) -> S3Result<S3Response<UploadPartOutput>> {
    let input = &mut req.input;
    check_part_number(input.part_number)?;
    refuse_customer_key(input.sse_customer_algorithm.as_ref())?;
    let mut expect = Expect::new(
        input.content_md5.as_deref(),
        given_sums!(input),
        input.checksum_algorithm.as_ref(),
        &req.headers,
        req.trailing_headers.clone(),
        None,
    )?;
    let found = store.find_upload(&input.bucket, &input.key, &input.upload_id).await?;
    if let Some(algorithm) = found.algorithm {
        expect.also(algorithm);
    }
    let length = input.content_length.map(i64::cast_unsigned);
    let got = store.blobs.receive(input.body.take(), length, expect).await?;
    let mut output = UploadPartOutput { e_tag: Some(strong(&got.digests.etag())), ..Default::default() };
    fill_sums!(output, got.digests.sums);
    let part = NewPart {
        bucket: input.bucket.clone(),
        key: input.key.clone(),
        upload: input.upload_id.clone(),
        n: input.part_number,
        got,
    };
    store_part(store, part).await?;
    Ok(S3Response::new(output))
}

/// The bytes must be read for the part's MD5, so the part gets a blob of its own.
pub(crate) async fn upload_part_copy(
    store: &Arc<Store>,
    req: S3Request<UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let input = req.input;
    check_part_number(input.part_number)?;
    refuse_customer_key(input.sse_customer_algorithm.as_ref())?;
    let from = copy_source(&input.copy_source)?;
    let conditions = source_conditions!(input);
    let range = input.copy_source_range.as_deref().map(Range::parse).transpose();
    let range = range.map_err(|_| Fault::invalid_argument("The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy"))?;
    let found = store.find_upload(&input.bucket, &input.key, &input.upload_id).await?;
    let read = store.state.db.read(move |conn| {
        let (bucket, row) = conditions.find(conn, &from)?;
        let span = match range {
            None => 0..row.size,
            // S3 refuses a range that goes beyond the source, rather than cutting it.
            Some(Range::Int { first, last: Some(last) }) if first <= last && last < row.size => first..last + 1,
            Some(_) => {
                return Err(Fault::invalid_argument("Range specified is not valid for source object"));
            }
        };
        Ok((bucket.shown(&row.version), row.extents(conn, span)?))
    });
    let (source_version, extents) = read.await?;
    let mut expect = Expect::default();
    if let Some(algorithm) = found.algorithm {
        expect.also(algorithm);
    }
    let body = StreamingBlob::new(store.blobs.read(extents, |_| ()));
    let got = store.blobs.receive(Some(body), None, expect).await?;
    let mut result = CopyPartResult { e_tag: Some(strong(&got.digests.etag())), ..Default::default() };
    fill_sums!(result, got.digests.sums);
    let part = NewPart { bucket: input.bucket, key: input.key, upload: input.upload_id, n: input.part_number, got };
    result.last_modified = Some(stamp(store_part(store, part).await?));
    Ok(S3Response::new(UploadPartCopyOutput {
        copy_part_result: Some(result),
        copy_source_version_id: source_version,
        ..Default::default()
    }))
}

/// Removes an upload and its parts; blobs that no object names become garbage.
pub(crate) fn forget(conn: &Connection, upload: &str, now: i64) -> Result<(), Fault> {
    let blobs: Vec<String> = conn
        .prepare_cached("DELETE FROM part WHERE upload = ?1 RETURNING blob")?
        .query_map([upload], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    rows::discard(conn, &blobs, now)?;
    conn.prepare_cached("DELETE FROM upload WHERE id = ?1")?.execute([upload])?;
    Ok(())
}

pub(crate) async fn abort(
    store: &Arc<Store>,
    req: S3Request<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let (input, now) = (req.input, store.state.now());
    let write = store.state.db.write(move |tx| {
        rows::bucket(tx, &input.bucket)?;
        let upload = upload(tx, &input.bucket, &input.key, &input.upload_id)?;
        forget(tx, &upload.id, now)
    });
    write.await?;
    Ok(S3Response::with_status(AbortMultipartUploadOutput::default(), http::StatusCode::NO_CONTENT))
}

pub(crate) async fn list_parts(store: &Store, req: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
    let input = req.input;
    let max = input.max_parts.unwrap_or(1000).clamp(0, 1000);
    let marker = input.part_number_marker.unwrap_or(0);
    let owner = store.owner();
    let read = store.state.db.read(move |conn| {
        rows::bucket(conn, &input.bucket)?;
        let upload = upload(conn, &input.bucket, &input.key, &input.upload_id)?;
        let sql = "SELECT n, size, etag, modified, sums FROM part WHERE upload = ?1 AND n > ?2 ORDER BY n LIMIT ?3";
        let mut select = conn.prepare_cached(sql)?;
        let parts = select.query_map(params![upload.id, marker, max + 1], |row| {
            let mut part = Part {
                part_number: row.get(0)?,
                size: row.get(1)?,
                e_tag: Some(strong(&row.get::<_, String>(2)?)),
                last_modified: Some(stamp(row.get(3)?)),
                ..Default::default()
            };
            fill_sums!(part, json_column::<Sums>(row, "sums")?);
            Ok(part)
        })?;
        let mut parts = parts.collect::<Result<Vec<_>, _>>()?;
        let truncated = parts.len() > max.cast_unsigned() as usize;
        parts.truncate(max.cast_unsigned() as usize);
        Ok::<_, Fault>(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            is_truncated: Some(truncated),
            max_parts: Some(max),
            part_number_marker: Some(marker),
            next_part_number_marker: parts.last().and_then(|part| part.part_number).filter(|_| truncated),
            checksum_algorithm: upload.algorithm_dto(),
            checksum_type: upload.type_dto(),
            parts: (!parts.is_empty()).then_some(parts),
            initiator: Some(Initiator { id: owner.id.clone(), display_name: owner.display_name.clone() }),
            owner: Some(owner),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            ..Default::default()
        })
    });
    Ok(S3Response::new(read.await?))
}
