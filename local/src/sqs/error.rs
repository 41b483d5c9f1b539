//! What SQS answers when it refuses, in the two forms its clients read: the JSON `__type` and the older query code.

use http::{HeaderValue, StatusCode, header};

use crate::{
    db::DbError,
    state::{Ids, Response},
};

/// A refusal of SQS. The text is what the caller reads.
#[derive(Debug, thiserror::Error)]
pub enum SqsError {
    /// No queue of that name or ARN.
    #[error("The specified queue does not exist.")]
    QueueDoesNotExist,
    /// CreateQueue met a queue of that name with other attributes.
    #[error("A queue already exists with the same name and a different value for attribute {0}")]
    QueueNameExists(String),
    /// An attribute that does not exist, or may not be set.
    #[error("Unknown Attribute {0}.")]
    InvalidAttributeName(String),
    /// An attribute's value is out of range.
    #[error("Invalid value for the parameter {0}.")]
    InvalidAttributeValue(String),
    /// A parameter's value is out of range; the text names both.
    #[error("{0}")]
    InvalidParameterValue(String),
    /// A parameter is missing.
    #[error("The request must contain the parameter {0}.")]
    MissingParameter(&'static str),
    /// The body holds characters that XML 1.0 does not allow.
    #[error(
        "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF"
    )]
    InvalidMessageContents,
    /// A handle that this queue never gave.
    #[error("The input receipt handle is invalid.")]
    ReceiptHandleIsInvalid,
    /// ChangeMessageVisibility of a message that nobody holds.
    #[error("The specified message isn't in flight.")]
    MessageNotInflight,
    /// 120,000 messages of the queue are in flight.
    #[error("The number of messages in flight has reached its limit.")]
    OverLimit,
    /// A queue may be purged once in 60 seconds.
    #[error("Only one PurgeQueue operation on {0} is allowed every 60 seconds.")]
    PurgeQueueInProgress(String),
    /// A batch without entries.
    #[error("There should be at least one {0}Entry in the request.")]
    EmptyBatchRequest(&'static str),
    /// A batch of more than ten.
    #[error("Maximum number of entries per request are 10. You have sent {0}.")]
    TooManyEntriesInBatchRequest(usize),
    /// Two entries of a batch bear the same id.
    #[error("Id {0} repeated.")]
    BatchEntryIdsNotDistinct(String),
    /// An entry's id has other characters, or is too long.
    #[error(
        "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long."
    )]
    InvalidBatchEntryId,
    /// The entries of a batch exceed 1 MiB together.
    #[error("Batch requests cannot be longer than 1048576 bytes. You have sent {0} bytes.")]
    BatchRequestTooLong(usize),
    /// A queue or move task that a move names does not exist.
    #[error("{0}")]
    ResourceNotFound(String),
    /// The action is not one of SQS, or not offered here.
    #[error("The action {0} is not valid for this endpoint.")]
    UnknownAction(String),
    /// The request is not the JSON that the action takes.
    #[error("The request could not be read: {0}")]
    Serialization(String),
    /// A fault on purpose: the entry of a batch was not looked at.
    #[error("We encountered an internal error. Please try again.")]
    Injected,
    /// The database failed; nothing was changed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<rusqlite::Error> for SqsError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Db(error.into())
    }
}

impl SqsError {
    /// Status, JSON error type, and query code.
    fn wire(&self) -> (StatusCode, &'static str, &'static str) {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        match self {
            Self::QueueDoesNotExist => {
                (BAD, "com.amazonaws.sqs#QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue")
            }
            Self::QueueNameExists(_) => (BAD, "com.amazonaws.sqs#QueueNameExists", "QueueAlreadyExists"),
            Self::InvalidAttributeName(_) => (BAD, "com.amazonaws.sqs#InvalidAttributeName", "InvalidAttributeName"),
            Self::InvalidAttributeValue(_) => (BAD, "com.amazonaws.sqs#InvalidAttributeValue", "InvalidAttributeValue"),
            Self::InvalidParameterValue(_) => {
                (BAD, "com.amazon.coral.service#InvalidParameterValueException", "InvalidParameterValue")
            }
            Self::MissingParameter(_) => {
                (BAD, "com.amazon.coral.service#MissingRequiredParameterException", "MissingParameter")
            }
            Self::InvalidMessageContents => (BAD, "com.amazonaws.sqs#InvalidMessageContents", "InvalidMessageContents"),
            Self::ReceiptHandleIsInvalid => (BAD, "com.amazonaws.sqs#ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid"),
            Self::MessageNotInflight => {
                (BAD, "com.amazonaws.sqs#MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight")
            }
            Self::OverLimit => (StatusCode::FORBIDDEN, "com.amazonaws.sqs#OverLimit", "OverLimit"),
            Self::PurgeQueueInProgress(_) => (
                StatusCode::FORBIDDEN,
                "com.amazonaws.sqs#PurgeQueueInProgress",
                "AWS.SimpleQueueService.PurgeQueueInProgress",
            ),
            Self::EmptyBatchRequest(_) => {
                (BAD, "com.amazonaws.sqs#EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest")
            }
            Self::TooManyEntriesInBatchRequest(_) => (
                BAD,
                "com.amazonaws.sqs#TooManyEntriesInBatchRequest",
                "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            ),
            Self::BatchEntryIdsNotDistinct(_) => {
                (BAD, "com.amazonaws.sqs#BatchEntryIdsNotDistinct", "AWS.SimpleQueueService.BatchEntryIdsNotDistinct")
            }
            Self::InvalidBatchEntryId => {
                (BAD, "com.amazonaws.sqs#InvalidBatchEntryId", "AWS.SimpleQueueService.InvalidBatchEntryId")
            }
            Self::BatchRequestTooLong(_) => {
                (BAD, "com.amazonaws.sqs#BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong")
            }
            Self::ResourceNotFound(_) => {
                (BAD, "com.amazonaws.sqs#ResourceNotFoundException", "ResourceNotFoundException")
            }
            Self::UnknownAction(_) => (BAD, "com.amazon.coral.service#UnknownOperationException", "InvalidAction"),
            Self::Serialization(_) => (BAD, "com.amazon.coral.service#SerializationException", "MalformedInput"),
            Self::Db(error) if error.is_locked() || matches!(error, DbError::Closed) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "com.amazon.coral.service#ServiceUnavailableException",
                "ServiceUnavailable",
            ),
            Self::Injected | Self::Db(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "com.amazon.coral.service#InternalFailure", "InternalFailure")
            }
        }
    }

    /// Whether the caller is at fault.
    pub fn is_senders(&self) -> bool {
        self.wire().0.is_client_error()
    }

    /// The code as batch results and older clients name it.
    pub fn code(&self) -> &'static str {
        self.wire().2
    }

    pub(super) fn respond(&self, ids: Ids) -> Response {
        let (status, kind, code) = self.wire();
        if !self.is_senders() {
            tracing::error!(error = %self, "SQS request failed");
        }
        let fault = if self.is_senders() { "Sender" } else { "Receiver" };
        let body = serde_json::json!({ "__type": kind, "message": self.to_string() });
        let mut response = json(status, &body, ids);
        if let Ok(value) = HeaderValue::from_str(&format!("{code};{fault}")) {
            response.headers_mut().insert("x-amzn-query-error", value);
        }
        response
    }
}

/// An answer in AWS JSON 1.0 with a request id of its own.
pub(super) fn json(status: StatusCode, body: &serde_json::Value, ids: Ids) -> Response {
    let mut response = Response::new(axum::body::Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.0"));
    if let Ok(id) = HeaderValue::from_str(&ids.uuid()) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}
