//! Deleting messages in batches whose answers are looked at.
//!
//! Guarantee: every message that the answer did not name as deleted is counted and logged; it comes back after its
//! visibility timeout. A batch never exceeds ten entries.

use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
use reelfleet_telemetry::BatchShortfall;

const MAX_ENTRIES: usize = 10;

/// Deletes messages by receipt, ten at a time. Returns how many the service said it deleted.
pub async fn delete(sqs: &aws_sdk_sqs::Client, queue_url: &str, receipts: &[String]) -> usize {
    let mut deleted = 0;
    for chunk in receipts.chunks(MAX_ENTRIES) {
        let (taken, failed) = delete_ten(sqs, queue_url, chunk).await;
        if taken != chunk.len() {
            let unaccounted = chunk.len().saturating_sub(taken + failed);
            BatchShortfall { call: "delete", target: queue_url, failed, unaccounted, sent: chunk.len() }.emit();
        }
        deleted += taken;
    }
    deleted
}

/// (Taken, failed) as the answer says.
async fn delete_ten(sqs: &aws_sdk_sqs::Client, queue_url: &str, receipts: &[String]) -> (usize, usize) {
    let entries: Result<Vec<_>, _> = receipts
        .iter()
        .enumerate()
        .map(|(index, receipt)| {
            DeleteMessageBatchRequestEntry::builder().id(index.to_string()).receipt_handle(receipt).build()
        })
        .collect();
    let answer = match entries {
        Ok(entries) => sqs.delete_message_batch().queue_url(queue_url).set_entries(Some(entries)).send().await,
        Err(error) => {
            tracing::warn!(%error, "a batch could not be built");
            return (0, receipts.len());
        }
    };
    match answer {
        Ok(answer) => (answer.successful.len(), answer.failed.len()),
        Err(error) => {
            tracing::warn!(error = %DisplayErrorContext(&error), queue_url, "messages were not deleted");
            (0, receipts.len())
        }
    }
}
