//! CompleteMultipartUpload: the parts' blobs become pieces of the object. It happens whole, or the upload stays as it
//! was; asked again after a lost answer, it answers the same.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result, dto::*};

use super::{
    Store,
    digest::{Sums, fill_sums, given_sums, multipart_etag, multipart_sums},
    error::Fault,
    multipart::{forget, upload},
    objects::{publish, strong},
    rows::{self, NewVersion, json_column},
};

/// Smallest part that is not the last: 5 MiB, as on S3.
const MIN_PART: u64 = 5 << 20;

struct PartRow {
    blob: String,
    size: u64,
    etag: String,
    sums: Sums,
}

fn part(conn: &Connection, upload: &str, n: i32) -> Result<Option<PartRow>, Fault> {
    let mut select = conn.prepare_cached("SELECT blob, size, etag, sums FROM part WHERE upload = ?1 AND n = ?2")?;
    let found = select.query_row(params![upload, n], |row| {
        Ok(PartRow {
            blob: row.get(0)?,
            size: row.get::<_, i64>(1)?.cast_unsigned(),
            etag: row.get(2)?,
            sums: json_column(row, "sums")?,
        })
    });
    Ok(found.optional()?)
}

/// The parts a completion names, each compared with what was uploaded.
fn named_parts(conn: &Connection, upload: &str, named: &[CompletedPart]) -> Result<Vec<(i32, PartRow)>, Fault> {
    let invalid = || {
        Fault::new(
            S3ErrorCode::InvalidPart,
            "One or more of the specified parts could not be found. The part may not have been uploaded, or the \
             specified entity tag may not match the part's entity tag.",
        )
    };
    let mut parts: Vec<(i32, PartRow)> = Vec::with_capacity(named.len());
    for named in named {
        let n = named.part_number.ok_or_else(Fault::malformed_xml)?;
        if parts.last().is_some_and(|(last, _)| *last >= n) {
            let message = "The list of parts was not in ascending order. Parts must be ordered by part number.";
            return Err(Fault::new(S3ErrorCode::InvalidPartOrder, message));
        }
        let row = part(conn, upload, n)?.ok_or_else(invalid)?;
        if named.e_tag.as_ref().is_none_or(|etag| etag.value() != row.etag) {
            return Err(invalid());
        }
        if given_sums!(named).into_iter().any(|(algorithm, sum)| row.sums.value(algorithm) != Some(sum)) {
            return Err(invalid());
        }
        parts.push((n, row));
    }
    let all_but_last = &parts[..parts.len().saturating_sub(1)];
    if all_but_last.iter().any(|(_, part)| part.size < MIN_PART) {
        let message = "Your proposed upload is smaller than the minimum allowed size";
        return Err(Fault::new(S3ErrorCode::EntityTooSmall, message));
    }
    Ok(parts)
}

pub(crate) async fn complete(
    store: &Arc<Store>,
    req: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let (input, shared) = (req.input, Arc::clone(store));
    let named = input.multipart_upload.as_ref().and_then(|list| list.parts.clone()).unwrap_or_default();
    if named.is_empty() || named.len() > 10_000 {
        return Err(Fault::malformed_xml().into());
    }
    let location = format!("{}/{}/{}", store.state.base_url, input.bucket, input.key);
    let write = store.state.db.write(move |tx| complete_in(tx, &shared, &input, &named));
    let mut output = write.await?;
    output.location = Some(location);
    Ok(S3Response::new(output))
}

fn complete_in(
    tx: &crate::db::Tx<'_>,
    store: &Store,
    input: &CompleteMultipartUploadInput,
    named: &[CompletedPart],
) -> Result<CompleteMultipartUploadOutput, Fault> {
    let now = store.state.now();
    let bucket = rows::bucket(tx, &input.bucket)?;
    let upload = match upload(tx, &input.bucket, &input.key, &input.upload_id) {
        Ok(upload) => upload,
        Err(missing) => return completed_before(tx, input)?.ok_or(missing),
    };
    let parts = named_parts(tx, &upload.id, named)?;
    let size: u64 = parts.iter().map(|(_, part)| part.size).sum();
    if input.mpu_object_size.is_some_and(|said| said.cast_unsigned() != size) {
        let message = "The provided 'x-amz-mp-object-size' header value does not match what was computed.";
        return Err(Fault::new(S3ErrorCode::InvalidRequest, message));
    }
    let etag = multipart_etag(parts.iter().map(|(_, part)| part.etag.as_str()));
    let of_parts: Vec<_> = parts.iter().map(|(_, part)| (&part.sums, part.size)).collect();
    let sums = upload.algorithm.and_then(|a| multipart_sums(a, upload.composite, &of_parts)).unwrap_or_default();
    for (algorithm, said) in given_sums!(input) {
        // A composite checksum is also accepted without its number of parts.
        let known = sums.value(algorithm);
        let bare = known.as_deref().and_then(|value| value.split_once('-')).map(|(bare, _)| bare);
        if known.as_deref() != Some(&said) && bare != Some(&said) {
            let message = format!("The {} you specified did not match the calculated checksum.", algorithm.name());
            return Err(Fault::new(S3ErrorCode::BadDigest, message));
        }
    }
    let current = rows::latest(tx, &bucket.name, &input.key)?;
    rows::check_write(current.as_ref(), input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let pieces: Vec<_> = parts.iter().map(|(n, part)| (*n, part.blob.clone(), part.size)).collect();
    let new = NewVersion {
        key: &input.key,
        marker: false,
        size,
        etag: &etag,
        parts: i32::try_from(parts.len()).ok(),
        meta: &upload.meta,
        sums: &sums,
        tags: &upload.tags,
        pieces: &pieces,
    };
    let version = publish(tx, store, &bucket, "ObjectCreated:CompleteMultipartUpload", &new)?;
    let version_id = bucket.shown(&version);
    // Parts that were not named go; those that were are pieces of the object by now.
    forget(tx, &upload.id, now)?;
    tx.prepare_cached(
        "INSERT INTO completed_upload (id, bucket, key, etag, version, sums, completed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![upload.id, bucket.name, input.key, etag, version_id, serde_json::to_string(&sums)?, now])?;
    Ok(answer(input, &etag, version_id, &sums))
}

fn answer(
    input: &CompleteMultipartUploadInput,
    etag: &str,
    version_id: Option<String>,
    sums: &Sums,
) -> CompleteMultipartUploadOutput {
    let mut output = CompleteMultipartUploadOutput {
        bucket: Some(input.bucket.clone()),
        key: Some(input.key.clone()),
        e_tag: Some(strong(etag)),
        version_id,
        ..Default::default()
    };
    fill_sums!(output, sums);
    output.checksum_type = sums.kind();
    output
}

/// S3 answers a repeated Complete as it did the first time; the client may have lost the first answer.
fn completed_before(
    conn: &Connection,
    input: &CompleteMultipartUploadInput,
) -> Result<Option<CompleteMultipartUploadOutput>, Fault> {
    let sql = "SELECT etag, version, sums FROM completed_upload WHERE id = ?1 AND bucket = ?2 AND key = ?3";
    let found = conn.prepare_cached(sql)?.query_row([&input.upload_id, &input.bucket, &input.key], |row| {
        Ok((row.get::<_, String>(0)?, row.get(1)?, json_column::<Sums>(row, "sums")?))
    });
    Ok(found.optional()?.map(|(etag, version, sums)| answer(input, &etag, version, &sums)))
}
