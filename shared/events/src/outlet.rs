//! What relay and progress are given of the process they run in.

use std::sync::Arc;

use reelfleet_catalog::{Catalog, Step};
use reelfleet_messages::EventId;
use uuid::Uuid;

/// The process's means of sending. Cheap to clone.
#[derive(Clone)]
pub struct Outlet {
    /// The process's one catalog: its bell rings for what this process commits.
    pub catalog: Catalog,
    /// Sends tasks.
    pub sqs: aws_sdk_sqs::Client,
    /// Publishes events.
    pub sns: aws_sdk_sns::Client,
    /// ARN of the events topic.
    pub topic_arn: String,
    /// ARN of the topic of mails.
    pub mails_arn: String,
    /// A task for `transcode` goes to the queue `{queue_prefix}-transcode`.
    pub queue_prefix: String,
    /// The name under which this process commits ([`Step::instance`]).
    pub instance: String,
    /// Epoch milliseconds.
    pub now: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// Fresh UUIDs, version 7.
    pub uuid: Arc<dyn Fn() -> Uuid + Send + Sync>,
}

impl std::fmt::Debug for Outlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outlet")
            .field("topic_arn", &self.topic_arn)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

impl Outlet {
    pub(crate) fn now(&self) -> i64 {
        (self.now)()
    }

    pub(crate) fn event_id(&self) -> EventId {
        EventId::from_uuid((self.uuid)())
    }

    pub(crate) fn step(&self) -> Step {
        Step { now: self.now(), op: format!("relay/{}", (self.uuid)()), instance: self.instance.clone() }
    }
}
