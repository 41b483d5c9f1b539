//! What SNS answers when it refuses.

use http::StatusCode;

use crate::{db::DbError, sqs::SqsError};

/// A refusal of SNS. The text is what the caller reads.
#[derive(Debug, thiserror::Error)]
pub enum SnsError {
    /// A parameter is missing or its value is not taken; the text names it and the reason.
    #[error("Invalid parameter: {0}")]
    InvalidParameter(String),
    /// A topic or subscription that is not there.
    #[error("{0} does not exist")]
    NotFound(&'static str),
    /// A tag's resource that is not there.
    #[error("Resource does not exist")]
    ResourceNotFound,
    /// A batch without entries.
    #[error("The batch request doesn't contain any entries.")]
    EmptyBatchRequest,
    /// A batch of more than ten.
    #[error("The batch request contains more entries than permissible: {0} of at most 10.")]
    TooManyEntriesInBatchRequest(usize),
    /// Two entries of a batch bear the same id.
    #[error("Two or more batch entries in the request have the same Id.")]
    BatchEntryIdsNotDistinct,
    /// An entry's id has other characters, or is too long.
    #[error("The Id of a batch entry in a batch request doesn't abide by the specification.")]
    InvalidBatchEntryId,
    /// The messages of a batch exceed the limit together.
    #[error("The length of all the batch messages put together is more than the limit.")]
    BatchRequestTooLong,
    /// The action is not one of SNS, or not offered here.
    #[error("The action {0} is not valid for this endpoint.")]
    InvalidAction(String),
    /// A fault on purpose: the entry of a batch was not looked at.
    #[error("We encountered an internal error. Please try again.")]
    Injected,
    /// The database failed; nothing was changed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<rusqlite::Error> for SnsError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Db(error.into())
    }
}

impl From<SqsError> for SnsError {
    fn from(error: SqsError) -> Self {
        match error {
            SqsError::Db(error) => Self::Db(error),
            other => Self::InvalidParameter(other.to_string()),
        }
    }
}

impl SnsError {
    /// Status and code.
    pub fn wire(&self) -> (StatusCode, &'static str) {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        match self {
            Self::InvalidParameter(_) => (BAD, "InvalidParameter"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "NotFound"),
            Self::ResourceNotFound => (StatusCode::NOT_FOUND, "ResourceNotFound"),
            Self::EmptyBatchRequest => (BAD, "EmptyBatchRequest"),
            Self::TooManyEntriesInBatchRequest(_) => (BAD, "TooManyEntriesInBatchRequest"),
            Self::BatchEntryIdsNotDistinct => (BAD, "BatchEntryIdsNotDistinct"),
            Self::InvalidBatchEntryId => (BAD, "InvalidBatchEntryId"),
            Self::BatchRequestTooLong => (BAD, "BatchRequestTooLong"),
            Self::InvalidAction(_) => (BAD, "InvalidAction"),
            Self::Db(error) if error.is_locked() || matches!(error, DbError::Closed) => {
                (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable")
            }
            Self::Injected | Self::Db(_) => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        }
    }
}
