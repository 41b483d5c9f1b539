//! Batch calls whose answers are looked at.
//!
//! Guarantees: the result has one entry for each thing sent, in its order; an entry the answer says nothing about counts
//! as failed; a batch never exceeds ten entries or the service's size (SQS 1 MiB, SNS 256 KiB).

use std::collections::HashMap;

use aws_sdk_sns::types::{MessageAttributeValue as SnsAttribute, PublishBatchRequestEntry};
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, MessageAttributeValue as SqsAttribute, SendMessageBatchRequestEntry,
};
use reelfleet_telemetry::BatchShortfall;

use aws_sdk_sqs::error::DisplayErrorContext;

const MAX_ENTRIES: usize = 10;
const SQS_BYTES: usize = 1 << 20;
const SNS_BYTES: usize = 256 << 10;

/// A message to send or publish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The body.
    pub body: String,
    /// MessageGroupId: the tenant (fair queues). SQS only.
    pub group: Option<String>,
    /// String attributes, at most ten.
    pub attributes: Vec<(String, String)>,
}

/// Why an entry was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The service refused this entry.
    #[error("refused: {code}: {message}{}", if *.sender_fault { " (sender's fault)" } else { "" })]
    Refused {
        /// The service's error code.
        code: String,
        /// The service's message.
        message: String,
        /// True when sending it again unchanged will fail again.
        sender_fault: bool,
    },
    /// The answer named this entry neither as taken nor as failed.
    #[error("the answer did not account for this entry")]
    Unaccounted,
    /// The whole call failed; the entry may have been taken all the same.
    #[error("the call failed: {0}")]
    Call(String),
}

/// One result for each entry, in the order sent.
pub type BatchResult = Vec<Result<(), EntryError>>;

/// Sends messages to a queue, ten at a time.
pub async fn send(sqs: &aws_sdk_sqs::Client, queue_url: &str, entries: &[Entry]) -> BatchResult {
    let mut results = Vec::with_capacity(entries.len());
    for chunk in chunks(entries, SQS_BYTES) {
        let built: Result<Vec<_>, _> = chunk
            .iter()
            .enumerate()
            .map(|(index, entry)| {
                SendMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .message_body(&entry.body)
                    .set_message_group_id(entry.group.clone())
                    .set_message_attributes(sqs_attributes(&entry.attributes)?)
                    .build()
            })
            .collect();
        let answer = match built {
            Ok(built) => sqs
                .send_message_batch()
                .queue_url(queue_url)
                .set_entries(Some(built))
                .send()
                .await
                .map_err(|error| DisplayErrorContext(&error).to_string()),
            Err(error) => Err(error.to_string()),
        };
        let answer = answer.map(|answer| Answer {
            taken: answer.successful.into_iter().map(|entry| entry.id).collect(),
            failed: answer.failed.into_iter().map(sqs_failure).collect(),
        });
        results.extend(settle("send", queue_url, chunk.len(), answer));
    }
    results
}

/// Deletes messages by receipt, ten at a time.
pub async fn delete(sqs: &aws_sdk_sqs::Client, queue_url: &str, receipts: &[String]) -> BatchResult {
    let mut results = Vec::with_capacity(receipts.len());
    for chunk in receipts.chunks(MAX_ENTRIES) {
        let built: Result<Vec<_>, _> = chunk
            .iter()
            .enumerate()
            .map(|(index, receipt)| {
                DeleteMessageBatchRequestEntry::builder().id(index.to_string()).receipt_handle(receipt).build()
            })
            .collect();
        let answer = match built {
            Ok(built) => sqs
                .delete_message_batch()
                .queue_url(queue_url)
                .set_entries(Some(built))
                .send()
                .await
                .map_err(|error| DisplayErrorContext(&error).to_string()),
            Err(error) => Err(error.to_string()),
        };
        let answer = answer.map(|answer| Answer {
            taken: answer.successful.into_iter().map(|entry| entry.id).collect(),
            failed: answer.failed.into_iter().map(sqs_failure).collect(),
        });
        results.extend(settle("delete", queue_url, chunk.len(), answer));
    }
    results
}

/// Publishes messages to a topic, ten at a time.
pub async fn publish(sns: &aws_sdk_sns::Client, topic_arn: &str, entries: &[Entry]) -> BatchResult {
    let mut results = Vec::with_capacity(entries.len());
    for chunk in chunks(entries, SNS_BYTES) {
        let built: Result<Vec<_>, _> = chunk
            .iter()
            .enumerate()
            .map(|(index, entry)| {
                PublishBatchRequestEntry::builder()
                    .id(index.to_string())
                    .message(&entry.body)
                    .set_message_attributes(sns_attributes(&entry.attributes)?)
                    .build()
            })
            .collect();
        let answer = match built {
            Ok(built) => sns
                .publish_batch()
                .topic_arn(topic_arn)
                .set_publish_batch_request_entries(Some(built))
                .send()
                .await
                .map_err(|error| DisplayErrorContext(&error).to_string()),
            Err(error) => Err(error.to_string()),
        };
        let answer = answer.map(|answer| Answer {
            taken: answer.successful.unwrap_or_default().into_iter().filter_map(|entry| entry.id).collect(),
            failed: answer
                .failed
                .unwrap_or_default()
                .into_iter()
                .map(|entry| {
                    (
                        entry.id,
                        EntryError::Refused {
                            code: entry.code,
                            message: entry.message.unwrap_or_default(),
                            sender_fault: entry.sender_fault,
                        },
                    )
                })
                .collect(),
        });
        results.extend(settle("publish", topic_arn, chunk.len(), answer));
    }
    results
}

struct Answer {
    taken: Vec<String>,
    failed: Vec<(String, EntryError)>,
}

/// One result for each of `sent` entries, whose ids are their positions.
fn settle(call: &'static str, target: &str, sent: usize, answer: Result<Answer, String>) -> BatchResult {
    let answer = match answer {
        Ok(answer) => answer,
        Err(detail) => {
            BatchShortfall { call, target, failed: sent, unaccounted: 0, sent }.emit();
            return vec![Err(EntryError::Call(detail)); sent];
        }
    };
    let mut results = vec![Err(EntryError::Unaccounted); sent];
    let mut put = |id: &str, result| {
        if let Some(slot) = id.parse::<usize>().ok().and_then(|n| results.get_mut(n)) {
            *slot = result;
        }
    };
    for id in &answer.taken {
        put(id, Ok(()));
    }
    // An entry that is named twice counts as failed.
    let failed = answer.failed.len();
    for (id, error) in answer.failed {
        put(&id, Err(error));
    }
    let unaccounted = results.iter().filter(|result| matches!(result, Err(EntryError::Unaccounted))).count();
    if failed > 0 || unaccounted > 0 {
        BatchShortfall { call, target, failed, unaccounted, sent }.emit();
    }
    results
}

/// Consecutive runs of at most ten entries and `bytes` bytes; an entry too large for any batch goes alone and is refused.
fn chunks(entries: &[Entry], bytes: usize) -> Vec<&[Entry]> {
    let mut chunks = Vec::new();
    let (mut start, mut size) = (0, 0_usize);
    for (index, entry) in entries.iter().enumerate() {
        let own = entry.body.len()
            + entry.attributes.iter().map(|(name, value)| name.len() + value.len() + "String".len()).sum::<usize>();
        if index > start && (index - start == MAX_ENTRIES || size + own > bytes) {
            chunks.push(&entries[start..index]);
            (start, size) = (index, 0);
        }
        size += own;
    }
    if start < entries.len() {
        chunks.push(&entries[start..]);
    }
    chunks
}

fn sqs_failure(entry: aws_sdk_sqs::types::BatchResultErrorEntry) -> (String, EntryError) {
    (
        entry.id,
        EntryError::Refused {
            code: entry.code,
            message: entry.message.unwrap_or_default(),
            sender_fault: entry.sender_fault,
        },
    )
}

type Built<T> = Result<Option<HashMap<String, T>>, aws_sdk_sqs::error::BuildError>;

fn sqs_attributes(attributes: &[(String, String)]) -> Built<SqsAttribute> {
    let built: Result<HashMap<_, _>, _> = attributes
        .iter()
        .map(|(name, value)| {
            SqsAttribute::builder().data_type("String").string_value(value).build().map(|value| (name.clone(), value))
        })
        .collect();
    built.map(|map| (!map.is_empty()).then_some(map))
}

fn sns_attributes(attributes: &[(String, String)]) -> Built<SnsAttribute> {
    let built: Result<HashMap<_, _>, _> = attributes
        .iter()
        .map(|(name, value)| {
            SnsAttribute::builder().data_type("String").string_value(value).build().map(|value| (name.clone(), value))
        })
        .collect();
    built.map(|map| (!map.is_empty()).then_some(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_accounted_for() {
        let refused = EntryError::Refused { code: "InternalError".into(), message: String::new(), sender_fault: false };
        let answer = Answer {
            taken: vec!["0".into(), "2".into(), "99".into()],
            failed: vec![("1".into(), refused.clone()), ("2".into(), refused.clone())],
        };
        assert_eq!(
            settle("send", "q", 4, Ok(answer)),
            [Ok(()), Err(refused.clone()), Err(refused), Err(EntryError::Unaccounted)]
        );
        assert_eq!(
            settle("send", "q", 2, Err("down".into())),
            [Err(EntryError::Call("down".into())), Err(EntryError::Call("down".into()))]
        );
    }

    #[test]
    fn batches_keep_to_ten_entries_and_to_the_size() {
        let entry = |size| Entry { body: "x".repeat(size), ..Entry::default() };
        let sizes =
            |entries: &[Entry]| -> Vec<usize> { chunks(entries, 1000).iter().map(|chunk| chunk.len()).collect() };
        assert_eq!(sizes(&vec![entry(1); 23]), [10, 10, 3]);
        assert_eq!(sizes(&[entry(600), entry(600), entry(400), entry(2000), entry(1)]), [1, 2, 1, 1]);
        assert!(sizes(&[]).is_empty());
    }
}
