//! Requests of SQS as AWS JSON 1.0 spells them. Absent and null are the same; unknown members are ignored.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{MessageAttributes, SqsError};
use crate::state::Endpoint;

/// A queue by its URL, for the requests that name nothing else.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OfQueue {
    pub queue_url: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateQueue {
    pub queue_name: Option<String>,
    pub attributes: Option<BTreeMap<String, String>>,
    #[serde(rename = "tags")]
    pub tags: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetQueueUrl {
    pub queue_name: Option<String>,
    #[serde(rename = "QueueOwnerAWSAccountId")]
    pub owner: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListQueues {
    pub queue_name_prefix: Option<String>,
    pub max_results: Option<i64>,
    pub next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListSources {
    pub queue_url: Option<String>,
    pub max_results: Option<i64>,
    pub next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SetAttributes {
    pub queue_url: Option<String>,
    pub attributes: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetAttributes {
    pub queue_url: Option<String>,
    pub attribute_names: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    pub queue_url: Option<String>,
    pub tags: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Untag {
    pub queue_url: Option<String>,
    pub tag_keys: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Send {
    pub queue_url: Option<String>,
    #[serde(flatten)]
    pub message: Outgoing,
}

/// What SendMessage and an entry of SendMessageBatch have in common.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Outgoing {
    pub message_body: Option<String>,
    pub delay_seconds: Option<i64>,
    pub message_attributes: Option<MessageAttributes>,
    pub message_system_attributes: Option<MessageAttributes>,
    pub message_group_id: Option<String>,
    pub message_deduplication_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Batch<T> {
    pub queue_url: Option<String>,
    pub entries: Option<Vec<Entry<T>>>,
}

#[derive(Deserialize)]
pub struct Entry<T> {
    #[serde(rename = "Id")]
    pub id: String,
    #[serde(flatten)]
    pub of: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Receive {
    pub queue_url: Option<String>,
    pub attribute_names: Option<Vec<String>>,
    pub message_system_attribute_names: Option<Vec<String>>,
    pub message_attribute_names: Option<Vec<String>>,
    pub max_number_of_messages: Option<i64>,
    pub visibility_timeout: Option<i64>,
    pub wait_time_seconds: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Handle {
    pub receipt_handle: Option<String>,
    pub visibility_timeout: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Settle {
    pub queue_url: Option<String>,
    #[serde(flatten)]
    pub handle: Handle,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StartMove {
    pub source_arn: Option<String>,
    pub destination_arn: Option<String>,
    pub max_number_of_messages_per_second: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CancelMove {
    pub task_handle: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListMoves {
    pub source_arn: Option<String>,
    pub max_results: Option<i64>,
}

/// ARN of the queue that a URL names: its last two segments are account and name, whatever host stands before.
pub fn arn_of_url(state: &Endpoint, url: Option<&str>) -> Result<String, SqsError> {
    let url = url.filter(|url| !url.is_empty()).ok_or(SqsError::MissingParameter("QueueUrl"))?;
    let mut segments = url.trim_end_matches('/').rsplit('/');
    let name = segments.next().unwrap_or_default();
    match segments.next() {
        None => Ok(state.queue_arn(name)),
        Some(account) if account == state.account_id => Ok(state.queue_arn(name)),
        Some(_) => Err(SqsError::QueueDoesNotExist),
    }
}

/// A page size within its bounds, or the refusal.
pub fn page_size(asked: Option<i64>, largest: i64, default: i64) -> Result<usize, SqsError> {
    let size = asked.unwrap_or(default);
    if !(1..=largest).contains(&size) {
        return Err(SqsError::InvalidParameterValue(format!(
            "Value {size} for parameter MaxResults is invalid. Reason: MaxResults must be an integer between 1 and {largest}."
        )));
    }
    Ok(usize::try_from(size).unwrap_or(1))
}
