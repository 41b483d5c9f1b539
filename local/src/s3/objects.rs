//! PutObject, and what all writes share.
//!
//! Order of a PUT: bytes to a new blob, compare, sync; then one transaction that checks the condition, writes the row
//! and the events, and discards what was there.

use std::sync::Arc;

use s3s::{S3ErrorCode, S3Request, S3Response, S3Result, dto::*};

use super::{
    Store,
    digest::{Algorithm, Expect, fill_sums, given_sums},
    error::Fault,
    events::{self, Fact},
    rows::{self, BucketRow, NewVersion},
    tagging,
};
use crate::{db::Tx, timestamp::utc};

/// A timestamp of S3's XML and headers.
pub(crate) fn stamp(epoch_ms: i64) -> Timestamp {
    utc(epoch_ms).into()
}

/// An ETag of S3's XML and headers.
pub(crate) fn strong(etag: &str) -> ETag {
    ETag::Strong(etag.to_owned())
}

/// Takes the headers that are stored with an object out of an input that has them.
macro_rules! meta_of {
    ($input:expr) => {
        $crate::s3::rows::Meta {
            content_type: $input.content_type.clone(),
            content_encoding: $input.content_encoding.clone().and_then($crate::s3::objects::stored_encoding),
            content_disposition: $input.content_disposition.clone(),
            content_language: $input.content_language.clone(),
            cache_control: $input.cache_control.clone(),
            expires: $input.expires.clone().map(|at| $crate::timestamp::epoch_ms(at.into())),
            website_redirect: $input.website_redirect_location.clone(),
            storage_class: $input.storage_class.as_ref().map(|class| class.as_str().to_owned()),
            user: $input.metadata.clone().into_iter().flatten().collect(),
        }
    };
}
pub(crate) use meta_of;

/// `aws-chunked` describes the transfer, not the object.
pub(crate) fn stored_encoding(encoding: String) -> Option<String> {
    let kept: Vec<_> = encoding.split(',').map(str::trim).filter(|e| !e.is_empty() && *e != "aws-chunked").collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// Encryption with the customer's key is a promise this store cannot keep.
pub(crate) fn refuse_customer_key(algorithm: Option<&String>) -> Result<(), Fault> {
    match algorithm {
        None => Ok(()),
        Some(_) => {
            Err(Fault::new(S3ErrorCode::NotImplemented, "Server-side encryption with customer keys is not offered."))
        }
    }
}

/// Writes a version and tells of it: the second half of every write.
pub(crate) fn publish(
    tx: &Tx<'_>,
    store: &Store,
    bucket: &BucketRow,
    event: &'static str,
    new: &NewVersion<'_>,
) -> Result<String, Fault> {
    let version = rows::insert(tx, bucket, new, store.state.now())?;
    let fact = Fact {
        name: event,
        key: new.key,
        size: (!new.marker).then_some(new.size),
        etag: Some(new.etag),
        version: bucket.shown(&version),
    };
    events::emit(tx, &store.state, &bucket.name, &fact)?;
    Ok(version)
}

pub(crate) async fn put(
    store: &Arc<Store>,
    mut req: S3Request<PutObjectInput>,
    event: &'static str,
) -> S3Result<S3Response<PutObjectOutput>> {
    let input = &mut req.input;
    refuse_customer_key(input.sse_customer_algorithm.as_ref())?;
    let meta = meta_of!(input);
    let tags = tagging::parse_header(input.tagging.as_deref())?;
    let length = input.content_length.map(i64::cast_unsigned);
    let expect = Expect::new(
        input.content_md5.as_deref(),
        given_sums!(input),
        input.checksum_algorithm.as_ref(),
        &req.headers,
        req.trailing_headers.clone(),
        Some(Algorithm::Crc64Nvme),
    )?;
    let (bucket, key) = (input.bucket.clone(), input.key.clone());
    store.bucket(&bucket).await?;
    let got = store.blobs.receive(input.body.take(), length, expect).await?;
    let (if_match, if_none_match) = (input.if_match.take(), input.if_none_match.take());

    let shared = Arc::clone(store);
    let mut output = PutObjectOutput { e_tag: Some(strong(&got.digests.etag())), ..Default::default() };
    fill_sums!(output, got.digests.sums);
    output.checksum_type = got.digests.sums.kind();
    output.version_id = store
        .state
        .db
        .write(move |tx| {
            let bucket = rows::bucket(tx, &bucket)?;
            rows::check_write(
                rows::latest(tx, &bucket.name, &key)?.as_ref(),
                if_match.as_ref(),
                if_none_match.as_ref(),
            )?;
            let new = NewVersion {
                key: &key,
                marker: false,
                size: got.size,
                etag: &got.digests.etag(),
                parts: None,
                meta: &meta,
                sums: &got.digests.sums,
                tags: &tags,
                pieces: &[(1, got.blob.id().to_owned(), got.size)],
            };
            let version = publish(tx, &shared, &bucket, event, &new)?;
            got.blob.keep();
            Ok::<_, Fault>(bucket.shown(&version))
        })
        .await?;
    Ok(S3Response::new(output))
}
