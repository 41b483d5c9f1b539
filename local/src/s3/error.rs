//! Errors of the S3 handlers: one type that database closures and handlers share, turned into S3's XML at the edge.

use std::borrow::Cow;

use http::StatusCode;
use s3s::{S3Error, S3ErrorCode};

use crate::db::DbError;

/// An S3 answer that is not a success.
#[derive(Debug)]
pub(crate) struct Fault(pub(crate) S3Error);

impl Fault {
    pub(crate) fn new(code: S3ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self(S3Error::with_message(code, message))
    }

    /// A code that s3s does not know, or knows with another status than S3's.
    pub(crate) fn custom(code: &'static str, status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
        error.set_status_code(status);
        Self(error)
    }

    pub(crate) fn internal(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        tracing::error!(error = %cause, "an S3 request failed");
        Self::new(S3ErrorCode::InternalError, "We encountered an internal error. Please try again.")
    }

    pub(crate) fn no_such_bucket() -> Self {
        Self::new(S3ErrorCode::NoSuchBucket, "The specified bucket does not exist")
    }

    pub(crate) fn no_such_key() -> Self {
        Self::new(S3ErrorCode::NoSuchKey, "The specified key does not exist.")
    }

    pub(crate) fn no_such_upload() -> Self {
        Self::new(
            S3ErrorCode::NoSuchUpload,
            "The specified multipart upload does not exist. The upload ID may be invalid, or the upload may have \
             been aborted or completed.",
        )
    }

    pub(crate) fn precondition() -> Self {
        Self::new(S3ErrorCode::PreconditionFailed, "At least one of the pre-conditions you specified did not hold")
    }

    pub(crate) fn invalid_argument(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(S3ErrorCode::InvalidArgument, message)
    }

    pub(crate) fn malformed_xml() -> Self {
        Self::new(
            S3ErrorCode::MalformedXML,
            "The XML you provided was not well-formed or did not validate against our published schema",
        )
    }

    /// The data folder has no room. S3 has no such code; 507 is retried by SDKs and says what is wrong.
    pub(crate) fn full() -> Self {
        tracing::warn!("the device of the data folder has not enough room left: an S3 request is refused");
        Self::custom(
            "InsufficientStorage",
            StatusCode::INSUFFICIENT_STORAGE,
            "The device of the data folder has not enough room left.",
        )
    }

    pub(crate) fn io(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::full(),
            _ => Self::internal(error),
        }
    }
}

impl From<Fault> for S3Error {
    fn from(fault: Fault) -> Self {
        fault.0
    }
}

impl From<S3Error> for Fault {
    fn from(error: S3Error) -> Self {
        Self(error)
    }
}

impl From<DbError> for Fault {
    fn from(error: DbError) -> Self {
        match error {
            error if error.is_full() => Self::full(),
            error if error.is_locked() => {
                tracing::error!(%error, "an S3 request failed");
                Self::new(S3ErrorCode::ServiceUnavailable, "The endpoint's database is locked by another process.")
            }
            DbError::Closed => Self::new(S3ErrorCode::ServiceUnavailable, "The endpoint is shutting down."),
            error => Self::internal(error),
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        DbError::Sqlite(error).into()
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::internal(error)
    }
}
