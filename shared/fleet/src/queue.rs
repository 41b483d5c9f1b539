//! The seam between the consumer and the queue service: four verbs.
//!
//! Contract of an implementation:
//! - `receive` hands out at most `max` messages and hides each for `visibility`, asked for on the call itself; from then
//!   on the caller keeps the message or answers it;
//! - `delete` and `change_visibility` speak about one receipt of one receive; an answer [`QueueError::NotInFlight`] means
//!   that the receipt no longer holds the message;
//! - `send_dead_letter` returns only when the dead-letter queue has taken the message. It does not delete the original.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use reelfleet_messages::Letter;

/// A boxed future, as async methods of object-safe traits return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One delivery of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The body as sent.
    pub body: String,
    /// MessageId. A redrive gives a new one: never deduplicate on it.
    pub message_id: String,
    /// The receipt handle of this receive.
    pub receipt: String,
    /// ApproximateReceiveCount, 1 on the first delivery.
    pub receive_count: u32,
    /// ApproximateFirstReceiveTimestamp in epoch milliseconds; 0 where the queue does not say.
    pub first_received_ms: i64,
    /// SentTimestamp in epoch milliseconds; 0 where the queue does not say.
    pub sent_ms: i64,
    /// Message attributes of type String and Number, and `AWSTraceHeader`.
    pub attributes: BTreeMap<String, String>,
    /// MessageGroupId: the tenant, for fair queues.
    pub group: Option<String>,
}

/// What can go wrong with a queue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// Too many messages of this queue are in flight (SQS `OverLimit`).
    #[error("too many messages of the queue are in flight (OverLimit)")]
    OverLimit,
    /// The receipt no longer holds the message.
    #[error("the receipt no longer holds the message: {0}")]
    NotInFlight(String),
    /// The call failed, or its answer did not come in time; it may have taken effect all the same.
    #[error("{call} failed: {detail}")]
    Call {
        /// The operation's name.
        call: &'static str,
        /// The error with all its causes.
        detail: String,
    },
}

/// A queue as the consumer needs it. See the module for the contract.
pub trait Queue: Send + Sync + 'static {
    /// Up to `max` messages (1–10), each hidden for `visibility`; waits up to `wait` for the first.
    fn receive(
        &self,
        max: usize,
        visibility: Duration,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Vec<Delivery>, QueueError>>;

    /// Deletes the message the receipt holds.
    fn delete<'a>(&'a self, receipt: &'a str) -> BoxFuture<'a, Result<(), QueueError>>;

    /// Hides the message the receipt holds for `visibility`, counted from this call; zero shows it at once.
    fn change_visibility<'a>(&'a self, receipt: &'a str, visibility: Duration)
    -> BoxFuture<'a, Result<(), QueueError>>;

    /// Sends a copy of the message to the dead-letter queue, with the letter as message attributes.
    fn send_dead_letter<'a>(
        &'a self,
        delivery: &'a Delivery,
        letter: &'a Letter,
    ) -> BoxFuture<'a, Result<(), QueueError>>;
}
