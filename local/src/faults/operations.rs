//! The operations of the services by the names that AWS gives them, so that a rule can name them and a typing error is
//! refused.

use http::request::Parts;
use serde::{Deserialize, Serialize};

/// The operation whose messages can be befallen.
pub(super) const RECEIVE: &str = "ReceiveMessage";

/// A service of the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Service {
    S3,
    Sqs,
    Sns,
    RdsData,
}

const S3: [&str; 27] = [
    "GET",
    "HEAD",
    "PUT",
    "POST",
    "DELETE",
    "OPTIONS",
    "GetObject",
    "HeadObject",
    "PutObject",
    "PostObject",
    "CopyObject",
    "DeleteObject",
    "DeleteObjects",
    "CreateMultipartUpload",
    "UploadPart",
    "UploadPartCopy",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
    "ListParts",
    "ListMultipartUploads",
    "ListObjects",
    "ListObjectsV2",
    "ListObjectVersions",
    "ListBuckets",
    "GetObjectTagging",
    "PutObjectTagging",
    "DeleteObjectTagging",
];
const SQS: [&str; 21] = [
    "CreateQueue",
    "GetQueueUrl",
    "ListQueues",
    "DeleteQueue",
    "PurgeQueue",
    "SetQueueAttributes",
    "GetQueueAttributes",
    "ListDeadLetterSourceQueues",
    "TagQueue",
    "UntagQueue",
    "ListQueueTags",
    "SendMessage",
    "SendMessageBatch",
    RECEIVE,
    "DeleteMessage",
    "DeleteMessageBatch",
    "ChangeMessageVisibility",
    "ChangeMessageVisibilityBatch",
    "StartMessageMoveTask",
    "CancelMessageMoveTask",
    "ListMessageMoveTasks",
];
const SNS: [&str; 17] = [
    "CreateTopic",
    "DeleteTopic",
    "ListTopics",
    "GetTopicAttributes",
    "SetTopicAttributes",
    "TagResource",
    "UntagResource",
    "ListTagsForResource",
    "Subscribe",
    "ConfirmSubscription",
    "Unsubscribe",
    "ListSubscriptions",
    "ListSubscriptionsByTopic",
    "GetSubscriptionAttributes",
    "SetSubscriptionAttributes",
    "Publish",
    "PublishBatch",
];
/// Paths of the Data API and the operations behind them.
const RDS_DATA: [(&str, &str); 5] = [
    ("/Execute", "ExecuteStatement"),
    ("/BatchExecute", "BatchExecuteStatement"),
    ("/BeginTransaction", "BeginTransaction"),
    ("/CommitTransaction", "CommitTransaction"),
    ("/RollbackTransaction", "RollbackTransaction"),
];

impl Service {
    /// The name by which requests are signed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Sqs => "sqs",
            Self::Sns => "sns",
            Self::RdsData => "rds-data",
        }
    }

    pub(super) fn operations(self) -> impl Iterator<Item = &'static str> {
        let paths = RDS_DATA.iter().map(|(_, operation)| *operation).filter(move |_| self == Self::RdsData);
        let names: &[&str] = match self {
            Self::S3 => &S3,
            Self::Sqs => &SQS,
            Self::Sns => &SNS,
            Self::RdsData => &[],
        };
        names.iter().copied().chain(paths)
    }

    /// Operations whose entries stand or fall alone.
    pub(super) fn batches(self) -> &'static [&'static str] {
        match self {
            Self::Sqs => &["SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"],
            Self::Sns => &["PublishBatch"],
            Self::S3 | Self::RdsData => &[],
        }
    }
}

/// The operation at a path of the Data API; the path itself if there is none.
pub(crate) fn of_rds_data(path: &str) -> &str {
    RDS_DATA.iter().find(|(known, _)| *known == path).map_or(path, |(_, operation)| operation)
}

/// The operation of an S3 request; of a bucket's configuration, the method.
pub(crate) fn of_s3(parts: &Parts) -> &str {
    let path = parts.uri.path().trim_start_matches('/');
    let has_key = path.split_once('/').is_some_and(|(_, key)| !key.is_empty());
    let query = parts.uri.query().unwrap_or_default();
    let asks = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    let copies = parts.headers.contains_key("x-amz-copy-source");
    let method = parts.method.as_str();
    match (method, has_key) {
        ("GET", true) if asks("uploadId") => "ListParts",
        ("GET", true) if asks("tagging") => "GetObjectTagging",
        ("GET", true) => "GetObject",
        ("HEAD", true) => "HeadObject",
        ("PUT", true) if asks("partNumber") && copies => "UploadPartCopy",
        ("PUT", true) if asks("partNumber") => "UploadPart",
        ("PUT", true) if asks("tagging") => "PutObjectTagging",
        ("PUT", true) if copies => "CopyObject",
        ("PUT", true) => "PutObject",
        ("POST", true) if asks("uploads") => "CreateMultipartUpload",
        ("POST", true) if asks("uploadId") => "CompleteMultipartUpload",
        ("DELETE", true) if asks("uploadId") => "AbortMultipartUpload",
        ("DELETE", true) if asks("tagging") => "DeleteObjectTagging",
        ("DELETE", true) => "DeleteObject",
        ("POST", false) if asks("delete") => "DeleteObjects",
        ("POST", false) => "PostObject",
        ("GET", false) if path.is_empty() => "ListBuckets",
        ("GET", false) if asks("list-type") => "ListObjectsV2",
        ("GET", false) if asks("versions") => "ListObjectVersions",
        ("GET", false) if asks("uploads") => "ListMultipartUploads",
        // A bucket's configuration is asked for by one word.
        ("GET", false) if query.is_empty() || asks("prefix") || asks("delimiter") || asks("max-keys") => "ListObjects",
        _ => method,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_requests_have_the_names_of_aws() {
        for (method, uri, name) in [
            ("GET", "/b/k?x-id=GetObject", "GetObject"),
            ("PUT", "/b/k/l", "PutObject"),
            ("PUT", "/b/k?partNumber=1&uploadId=u", "UploadPart"),
            ("POST", "/b/k?uploads", "CreateMultipartUpload"),
            ("POST", "/b/k?uploadId=u", "CompleteMultipartUpload"),
            ("DELETE", "/b/k?uploadId=u", "AbortMultipartUpload"),
            ("GET", "/b?list-type=2&prefix=a%2F", "ListObjectsV2"),
            ("GET", "/b/?versions", "ListObjectVersions"),
            ("POST", "/b?delete", "DeleteObjects"),
            ("GET", "/b?cors", "GET"),
            ("PUT", "/b", "PUT"),
            ("GET", "/", "ListBuckets"),
        ] {
            let (parts, ()) = http::Request::builder().method(method).uri(uri).body(()).unwrap().into_parts();
            assert_eq!(of_s3(&parts), name, "{method} {uri}");
            assert!(Service::S3.operations().any(|known| known == name));
        }
        assert_eq!(of_rds_data("/BatchExecute"), "BatchExecuteStatement");
    }
}
