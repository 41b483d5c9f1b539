//! Tags of objects: from the `x-amz-tagging` header and by the tagging calls.

use std::sync::Arc;

use percent_encoding::percent_decode_str;
use rusqlite::params;
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result, dto::*};

use super::{
    Store,
    error::Fault,
    rows::{self, ObjectRow, Tags},
};

const MAX_TAGS: usize = 10;

/// Checks the limits of object tags: at most 10, distinct keys of 1–128 characters, values up to 256.
fn check(tags: Tags) -> Result<Tags, Fault> {
    if tags.len() > MAX_TAGS {
        let message = "Object tags cannot be greater than 10";
        return Err(Fault::custom("BadRequest", http::StatusCode::BAD_REQUEST, message));
    }
    for (at, (key, value)) in tags.iter().enumerate() {
        if key.is_empty() || key.chars().count() > 128 {
            return Err(Fault::new(S3ErrorCode::InvalidTag, "The TagKey you have provided is invalid"));
        }
        if value.chars().count() > 256 {
            return Err(Fault::new(S3ErrorCode::InvalidTag, "The TagValue you have provided is invalid"));
        }
        if tags[..at].iter().any(|(other, _)| other == key) {
            return Err(Fault::new(S3ErrorCode::InvalidTag, "Cannot provide multiple Tags with the same key"));
        }
    }
    Ok(tags)
}

/// Tags of an `x-amz-tagging` header, which is form-url-encoded.
pub(crate) fn parse_header(header: Option<&str>) -> Result<Tags, Fault> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8().map(|text| text.into_owned())
    };
    let pairs = header.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let tags = pairs.map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(key)?, decode(value)?))
    });
    let tags = tags.collect::<Result<Tags, std::str::Utf8Error>>();
    check(tags.map_err(|_| Fault::invalid_argument("The header 'x-amz-tagging' shall be encoded as UTF-8"))?)
}

fn from_dto(set: TagSet) -> Tags {
    set.into_iter().map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default())).collect()
}

fn to_dto(tags: Tags) -> TagSet {
    tags.into_iter().map(|(key, value)| Tag { key: Some(key), value: Some(value) }).collect()
}

fn find(conn: &rusqlite::Connection, bucket: &str, key: &str, version: Option<&str>) -> Result<ObjectRow, Fault> {
    let row = match version {
        None => rows::latest(conn, bucket, key)?,
        Some(version) => rows::by_version(conn, bucket, key, version)?,
    };
    row.filter(|row| !row.marker).ok_or_else(Fault::no_such_key)
}

pub(crate) async fn get(
    store: &Store,
    req: S3Request<GetObjectTaggingInput>,
) -> S3Result<S3Response<GetObjectTaggingOutput>> {
    let input = req.input;
    let output = store.state.db.read(move |conn| {
        let bucket = rows::bucket(conn, &input.bucket)?;
        let row = find(conn, &input.bucket, &input.key, input.version_id.as_deref())?;
        let version_id = bucket.shown(&row.version);
        Ok::<_, Fault>(GetObjectTaggingOutput { tag_set: to_dto(row.tags), version_id })
    });
    Ok(S3Response::new(output.await?))
}

/// Sets the tags of an object and answers the version they were set on.
async fn set(
    store: &Store,
    bucket: String,
    key: String,
    version: Option<String>,
    tags: Tags,
) -> Result<Option<String>, Fault> {
    let write = store.state.db.write(move |tx| {
        let bucket = rows::bucket(tx, &bucket)?;
        let row = find(tx, &bucket.name, &key, version.as_deref())?;
        tx.prepare_cached("UPDATE object SET tags = ?2 WHERE id = ?1")?
            .execute(params![row.id, serde_json::to_string(&tags)?])?;
        Ok(bucket.shown(&row.version))
    });
    write.await
}

pub(crate) async fn put(
    store: &Arc<Store>,
    req: S3Request<PutObjectTaggingInput>,
) -> S3Result<S3Response<PutObjectTaggingOutput>> {
    let input = req.input;
    let tags = check(from_dto(input.tagging.tag_set))?;
    let version_id = set(store, input.bucket, input.key, input.version_id, tags).await?;
    Ok(S3Response::new(PutObjectTaggingOutput { version_id }))
}

pub(crate) async fn delete(
    store: &Arc<Store>,
    req: S3Request<DeleteObjectTaggingInput>,
) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
    let input = req.input;
    let version_id = set(store, input.bucket, input.key, input.version_id, Tags::new()).await?;
    let output = DeleteObjectTaggingOutput { version_id };
    Ok(S3Response::with_status(output, http::StatusCode::NO_CONTENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_form_encoded() {
        let tags = parse_header(Some("a=1&b%20c=x+y&d")).unwrap();
        assert_eq!(tags, [("a", "1"), ("b c", "x y"), ("d", "")].map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert!(parse_header(Some("a=1&a=2")).is_err());
        assert!(parse_header(Some("=1")).is_err());
        assert!(parse_header(Some(&(0..11).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join("&"))).is_err());
    }
}
