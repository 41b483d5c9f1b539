//! Deletion of a key, of one version, of up to 1,000 keys. Deleting what is not there is no error.

use std::sync::Arc;

use s3s::{S3Request, S3Response, S3Result, dto::*};

use super::{
    Store,
    digest::Sums,
    error::Fault,
    events::{self, Fact},
    objects::publish,
    rows::{self, BucketRow, Meta, NULL_VERSION, NewVersion, Tags, Versioning},
};
use crate::db::Tx;

/// MD5 of nothing, the ETag of a delete marker.
const EMPTY_MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// Event names of a deletion that a client asked for.
pub(crate) const REMOVED: [&str; 2] = ["ObjectRemoved:Delete", "ObjectRemoved:DeleteMarkerCreated"];

/// What a deletion did.
pub(crate) struct Deleted {
    /// The version that is gone, or the marker that came.
    pub(crate) version: Option<String>,
    /// Whether a marker was made or removed.
    pub(crate) marker: bool,
}

/// Deletes a key (or one version of it) and tells of it. Deleting what is not there is no error.
pub(crate) fn delete_in(
    tx: &Tx<'_>,
    store: &Store,
    bucket: &BucketRow,
    key: &str,
    version: Option<&str>,
    events: [&'static str; 2],
) -> Result<Deleted, Fault> {
    let now = store.state.now();
    let [removed, marked] = events;
    let tell = |version: Option<String>| {
        let fact = Fact { name: removed, key, size: None, etag: None, version };
        events::emit(tx, &store.state, &bucket.name, &fact)
    };
    if let Some(version) = version {
        let Some(row) = rows::by_version(tx, &bucket.name, key, version)? else {
            return Ok(Deleted { version: Some(version.to_owned()), marker: false });
        };
        rows::remove(tx, &bucket.name, &row, now)?;
        tell(bucket.shown(version))?;
        return Ok(Deleted { version: Some(version.to_owned()), marker: row.marker });
    }
    if bucket.versioning == Versioning::Never {
        if let Some(row) = rows::by_version(tx, &bucket.name, key, NULL_VERSION)? {
            rows::remove(tx, &bucket.name, &row, now)?;
            tell(None)?;
        }
        return Ok(Deleted { version: None, marker: false });
    }
    let (meta, sums, tags) = (Meta::default(), Sums::default(), Tags::new());
    let marker = NewVersion {
        key,
        marker: true,
        size: 0,
        etag: EMPTY_MD5,
        parts: None,
        meta: &meta,
        sums: &sums,
        tags: &tags,
        pieces: &[],
    };
    let version = publish(tx, store, bucket, marked, &marker)?;
    Ok(Deleted { version: Some(version), marker: true })
}

pub(crate) async fn delete(
    store: &Arc<Store>,
    req: S3Request<DeleteObjectInput>,
) -> S3Result<S3Response<DeleteObjectOutput>> {
    let (input, shared) = (req.input, Arc::clone(store));
    let deleted = store
        .state
        .db
        .write(move |tx| {
            let bucket = rows::bucket(tx, &input.bucket)?;
            if let Some(condition) = &input.if_match {
                let current = rows::latest(tx, &bucket.name, &input.key)?;
                rows::check_write(current.as_ref(), Some(condition), None)?;
            }
            delete_in(tx, &shared, &bucket, &input.key, input.version_id.as_deref(), REMOVED)
        })
        .await?;
    let output = DeleteObjectOutput {
        delete_marker: deleted.marker.then_some(true),
        version_id: deleted.version,
        request_charged: None,
    };
    Ok(S3Response::with_status(output, http::StatusCode::NO_CONTENT))
}

/// Up to 1,000 keys in one transaction; each key fails for itself.
pub(crate) async fn delete_many(
    store: &Arc<Store>,
    req: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let (input, shared) = (req.input, Arc::clone(store));
    if input.delete.objects.is_empty() || input.delete.objects.len() > 1000 {
        return Err(Fault::malformed_xml().into());
    }
    let output = store
        .state
        .db
        .write(move |tx| {
            let bucket = rows::bucket(tx, &input.bucket)?;
            let quiet = input.delete.quiet.unwrap_or(false);
            let (mut deleted, mut errors) = (Vec::new(), Vec::new());
            for object in input.delete.objects {
                match delete_named(tx, &shared, &bucket, &object) {
                    Ok(_) if quiet => {}
                    Ok(done) => deleted.push(done),
                    Err(fault) => errors.push(Error {
                        code: Some(fault.0.code().as_str().to_owned()),
                        message: fault.0.message().map(str::to_owned),
                        key: Some(object.key),
                        version_id: object.version_id,
                    }),
                }
            }
            let list = |deleted: Vec<_>| (!deleted.is_empty()).then_some(deleted);
            Ok::<_, Fault>(DeleteObjectsOutput {
                deleted: list(deleted),
                errors: (!errors.is_empty()).then_some(errors),
                request_charged: None,
            })
        })
        .await?;
    Ok(S3Response::new(output))
}

fn delete_named(
    tx: &Tx<'_>,
    store: &Store,
    bucket: &BucketRow,
    object: &ObjectIdentifier,
) -> Result<DeletedObject, Fault> {
    if object.key.is_empty() {
        return Err(Fault::invalid_argument("The key must not be empty"));
    }
    if let Some(etag) = &object.e_tag {
        let current = rows::latest(tx, &bucket.name, &object.key)?;
        rows::check_write(current.as_ref(), Some(&ETagCondition::ETag(etag.clone())), None)?;
    }
    let done = delete_in(tx, store, bucket, &object.key, object.version_id.as_deref(), REMOVED)?;
    Ok(DeletedObject {
        key: Some(object.key.clone()),
        version_id: object.version_id.clone(),
        delete_marker: done.marker.then_some(true),
        delete_marker_version_id: done.version.filter(|_| done.marker),
    })
}
