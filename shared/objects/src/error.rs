//! What can go wrong with an object, told apart by what the caller does next.

use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

/// A failed call on an object. Every variant names the bucket and the key (or prefix).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// The object is not the one that was pinned any more (412 on a read).
    #[error("s3://{bucket}/{key} was replaced while it was read")]
    Changed { bucket: String, key: String },
    /// There is no such object (404).
    #[error("s3://{bucket}/{key} does not exist")]
    Gone { bucket: String, key: String },
    /// There is no such multipart upload: completed, aborted or never begun (404 NoSuchUpload).
    #[error("the multipart upload of s3://{bucket}/{key} does not exist any more")]
    NoUpload { bucket: String, key: String },
    /// There is no such bucket.
    #[error("bucket {bucket} does not exist")]
    NoBucket { bucket: String },
    /// The condition of a write did not hold (412, or 409 when another write was under way). An earlier attempt of the
    /// same write may be what is there: read it before deciding.
    #[error("s3://{bucket}/{key} was not written: its condition did not hold")]
    Precondition { bucket: String, key: String },
    /// The service refused what was sent (400): bad digest, bad part, too small.
    #[error("{call} on s3://{bucket}/{key} was refused: {code}: {message}")]
    Refused { call: &'static str, bucket: String, key: String, code: String, message: String },
    /// The fleet may not do this (403).
    #[error("{call} on s3://{bucket}/{key} is not allowed: {detail}")]
    Denied { call: &'static str, bucket: String, key: String, detail: String },
    /// The body broke off again and again, or the answer was not the range that was asked for.
    #[error("reading s3://{bucket}/{key} at {offset} failed: {detail}")]
    Io { bucket: String, key: String, offset: u64, detail: String },
    /// Some of the objects of a batch were not deleted.
    #[error("{failed} objects under s3://{bucket}/{prefix} were not deleted, {deleted} were; first: {first}")]
    Partial { bucket: String, prefix: String, deleted: u64, failed: u64, first: String },
    /// The arguments make no sense; nothing was sent.
    #[error("{0}")]
    Invalid(String),
    /// The call failed otherwise: no connection, no answer in time, a server error after the SDK's retries.
    #[error("{call} on s3://{bucket}/{key} failed: {detail}")]
    Call { call: &'static str, bucket: String, key: String, detail: String },
}

impl ObjectError {
    /// Sorts an SDK error by status and code.
    pub(crate) fn of<E>(call: &'static str, bucket: &str, key: &str, error: SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let service = error.as_service_error();
        let code = service.and_then(|error| error.code()).unwrap_or_default().to_owned();
        let message = service.and_then(|error| error.message()).unwrap_or_default().to_owned();
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        match (status, code.as_str()) {
            (_, "NoSuchUpload") => Self::NoUpload { bucket, key },
            (_, "NoSuchBucket") => Self::NoBucket { bucket },
            (Some(404), _) => Self::Gone { bucket, key },
            (Some(412), _) | (Some(409), "ConditionalRequestConflict") => Self::Precondition { bucket, key },
            (Some(403), _) => Self::Denied { call, bucket, key, detail: DisplayErrorContext(&error).to_string() },
            (Some(400), code) if !code.is_empty() && code != "RequestTimeout" => {
                Self::Refused { call, bucket, key, code: code.to_owned(), message }
            }
            _ => Self::Call { call, bucket, key, detail: DisplayErrorContext(&error).to_string() },
        }
    }

    /// The same error on a read, where a lost condition means that the object was replaced.
    pub(crate) fn on_read(self) -> Self {
        match self {
            Self::Precondition { bucket, key } => Self::Changed { bucket, key },
            other => other,
        }
    }
}

/// An ETag without its quotes.
pub(crate) fn bare(etag: Option<String>) -> String {
    etag.map(|etag| etag.trim_matches('"').to_owned()).unwrap_or_default()
}

/// An ETag as headers carry it.
pub(crate) fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}
