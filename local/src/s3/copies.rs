//! CopyObject: the new row names the same blobs again; no byte moves. The ETag stays that of the source.

use std::sync::Arc;

use s3s::{S3ErrorCode, S3Request, S3Response, S3Result, dto::*};

use super::{
    Store,
    digest::fill_sums,
    error::Fault,
    multipart::pieces_of,
    objects::{meta_of, publish, refuse_customer_key, stamp, strong},
    reads::{self, ReadConditions},
    rows::{self, BucketRow, Meta, NewVersion, ObjectRow},
    tagging,
};
use crate::db::Tx;

/// Largest source of CopyObject: 5 GiB, as on S3.
const MAX_COPY: u64 = 5 << 30;

/// The source of a copy, as bucket, key and version.
pub(crate) fn copy_source(source: &CopySource) -> Result<(String, String, Option<String>), Fault> {
    match source {
        CopySource::Bucket { bucket, key, version_id } => {
            Ok((bucket.to_string(), key.to_string(), version_id.as_ref().map(ToString::to_string)))
        }
        _ => Err(Fault::new(S3ErrorCode::NotImplemented, "A copy source must be given as bucket and key.")),
    }
}

/// Conditions of a copy on its source.
macro_rules! source_conditions {
    ($input:expr) => {
        $crate::s3::copies::SourceConditions::new(
            $input.copy_source_if_match.clone(),
            $input.copy_source_if_none_match.clone(),
            $input.copy_source_if_modified_since.clone(),
            $input.copy_source_if_unmodified_since.clone(),
        )
    };
}

pub(crate) use source_conditions;

/// Conditions of a copy on its source.
pub(crate) struct SourceConditions(ReadConditions);

impl SourceConditions {
    pub(crate) fn new(
        if_match: Option<ETagCondition>,
        if_none_match: Option<ETagCondition>,
        if_modified_since: Option<Timestamp>,
        if_unmodified_since: Option<Timestamp>,
    ) -> Self {
        Self(ReadConditions { if_match, if_none_match, if_modified_since, if_unmodified_since })
    }

    /// The row of the source, if the conditions hold.
    pub(crate) fn find(
        &self,
        conn: &rusqlite::Connection,
        (bucket, key, version): &(String, String, Option<String>),
    ) -> Result<(BucketRow, ObjectRow), Fault> {
        let bucket = rows::bucket(conn, bucket)?;
        let row = reads::find(conn, &bucket, key, version.as_deref())?;
        self.0.check_source(&row)?;
        Ok((bucket, row))
    }
}

pub(crate) async fn copy(
    store: &Arc<Store>,
    req: S3Request<CopyObjectInput>,
) -> S3Result<S3Response<CopyObjectOutput>> {
    let (input, shared) = (req.input, Arc::clone(store));
    refuse_customer_key(input.sse_customer_algorithm.as_ref())?;
    let from = copy_source(&input.copy_source)?;
    let conditions = source_conditions!(input);
    let replace = |directive: Option<&str>| directive == Some(MetadataDirective::REPLACE);
    let new_meta = replace(input.metadata_directive.as_ref().map(|d| d.as_str())).then(|| meta_of!(input));
    let new_tags = match replace(input.tagging_directive.as_ref().map(|d| d.as_str())) {
        true => Some(tagging::parse_header(input.tagging.as_deref())?),
        false => None,
    };
    let in_place =
        (from.0.as_str(), from.1.as_str(), from.2.is_none()) == (input.bucket.as_str(), input.key.as_str(), true);
    if in_place && new_meta.is_none() && new_tags.is_none() && input.storage_class.is_none() {
        let message = "This copy request is illegal because it is trying to copy an object to itself without changing \
                       the object's metadata, storage class, website redirect location or encryption attributes.";
        return Err(Fault::new(S3ErrorCode::InvalidRequest, message).into());
    }
    let output = store
        .state
        .db
        .write(move |tx| {
            let bucket = rows::bucket(tx, &input.bucket)?;
            let (source_bucket, source) = conditions.find(tx, &from)?;
            if source.size > MAX_COPY {
                return Err(Fault::new(
                    S3ErrorCode::InvalidRequest,
                    "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120",
                ));
            }
            let mut meta = new_meta.unwrap_or_else(|| Meta { storage_class: None, ..source.meta.clone() });
            if let Some(class) = &input.storage_class {
                meta.storage_class = Some(class.as_str().to_owned());
            }
            let pieces = pieces_of(tx, source.id)?;
            let new = NewVersion {
                key: &input.key,
                marker: false,
                size: source.size,
                etag: &source.etag,
                parts: source.parts,
                meta: &meta,
                sums: &source.sums,
                tags: new_tags.as_ref().unwrap_or(&source.tags),
                pieces: &pieces,
            };
            let version = publish_copy(tx, &shared, &bucket, &new)?;
            let mut result = CopyObjectResult {
                e_tag: Some(strong(&source.etag)),
                last_modified: Some(stamp(shared.state.now())),
                ..Default::default()
            };
            fill_sums!(result, source.sums);
            result.checksum_type = source.sums.kind();
            Ok(CopyObjectOutput {
                copy_object_result: Some(result),
                copy_source_version_id: source_bucket.shown(&source.version),
                version_id: bucket.shown(&version),
                ..Default::default()
            })
        })
        .await?;
    Ok(S3Response::new(output))
}

/// Publishes a copy and takes its blobs back from the garbage, where a copy onto itself has just put them.
fn publish_copy(tx: &Tx<'_>, store: &Store, bucket: &BucketRow, new: &NewVersion<'_>) -> Result<String, Fault> {
    let version = publish(tx, store, bucket, "ObjectCreated:Copy", new)?;
    let mut rescue = tx.prepare_cached("DELETE FROM garbage WHERE blob = ?1")?;
    for (_, blob, _) in new.pieces {
        rescue.execute([blob])?;
    }
    Ok(version)
}
