//! The queues of the fleet by name, and their URLs.
//!
//! Guarantee: a URL comes from the service (GetQueueUrl), once per process, and is never put together by hand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::types::QueueAttributeName as Attribute;

/// A queue with one kind of consumer. Each has a dead-letter queue, `-dlq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueName {
    /// Storage notifications.
    Intake,
    /// Probing of sources.
    Probe,
    /// Encoding.
    Transcode,
    /// Planning, the opening of a stream, publishing: short, and never behind the encoding of something else.
    Express,
    /// What campaigns hand out: done by workers of its own, so that no upload ever waits behind it.
    Backfill,
    /// Posters, storyboards, stills.
    Thumbnail,
    /// Deletion and sweeps.
    Janitor,
    /// Events for the metadata worker.
    Metadata,
}

impl QueueName {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Intake,
        Self::Probe,
        Self::Transcode,
        Self::Express,
        Self::Backfill,
        Self::Thumbnail,
        Self::Janitor,
        Self::Metadata,
    ];

    /// Those whose messages are no tasks: no row stands for them, so they are counted on their queue.
    pub const WITHOUT_TASKS: [Self; 3] = [Self::Intake, Self::Janitor, Self::Metadata];

    /// The name without the prefix: `intake`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Probe => "probe",
            Self::Transcode => "transcode",
            Self::Express => "express",
            Self::Backfill => "backfill",
            Self::Thumbnail => "thumbnail",
            Self::Janitor => "janitor",
            Self::Metadata => "metadata",
        }
    }
}

impl std::str::FromStr for QueueName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|name| name.as_str() == text).ok_or_else(|| format!("unknown queue {text:?}"))
    }
}

impl std::fmt::Display for QueueName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a queue's URL is not known.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueuesError {
    /// There is no such queue.
    #[error("there is no queue {0}: create it, or set REELFLEET_PREFIX and AWS_REGION to where it is")]
    Missing(String),
    /// The service did not say.
    #[error("queue {name} could not be looked at: {detail}")]
    Call {
        /// The queue's full name.
        name: String,
        /// The error with all its causes.
        detail: String,
    },
}

/// Messages of a queue, approximately, as SQS says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Can be received.
    pub visible: u64,
    /// Received, and not deleted yet.
    pub in_flight: u64,
    /// Not to be received yet.
    pub delayed: u64,
}

impl Depth {
    /// All that are there.
    pub fn all(&self) -> u64 {
        self.visible.saturating_add(self.in_flight).saturating_add(self.delayed)
    }
}

/// Looks URLs up and remembers them. Cheap to clone; clones share what they know.
#[derive(Clone, Debug)]
pub struct Queues {
    sqs: aws_sdk_sqs::Client,
    prefix: Arc<str>,
    known: Arc<Mutex<HashMap<String, String>>>,
}

impl Queues {
    /// Queues whose names begin with `prefix` and a hyphen.
    pub fn new(sqs: aws_sdk_sqs::Client, prefix: &str) -> Self {
        Self { sqs, prefix: prefix.into(), known: Arc::default() }
    }

    /// The full name: `reelfleet-intake`.
    pub fn name(&self, queue: QueueName) -> String {
        format!("{}-{queue}", self.prefix)
    }

    /// The full name of its dead-letter queue: `reelfleet-intake-dlq`.
    pub fn dlq_name(&self, queue: QueueName) -> String {
        format!("{}-{queue}-dlq", self.prefix)
    }

    /// The queue's URL.
    pub async fn url(&self, queue: QueueName) -> Result<String, QueuesError> {
        self.url_of(&self.name(queue)).await
    }

    /// The URL of its dead-letter queue.
    pub async fn dlq_url(&self, queue: QueueName) -> Result<String, QueuesError> {
        self.url_of(&self.dlq_name(queue)).await
    }

    /// The URL of any queue by its full name.
    pub async fn url_of(&self, full_name: &str) -> Result<String, QueuesError> {
        if let Some(url) = self.known().get(full_name) {
            return Ok(url.clone());
        }
        let answer = self.sqs.get_queue_url().queue_name(full_name).send().await.map_err(|error| {
            if error.as_service_error().is_some_and(|service| service.is_queue_does_not_exist()) {
                QueuesError::Missing(full_name.to_owned())
            } else {
                QueuesError::Call { name: full_name.to_owned(), detail: DisplayErrorContext(&error).to_string() }
            }
        })?;
        let url = answer.queue_url.ok_or_else(|| QueuesError::Missing(full_name.to_owned()))?;
        self.known().insert(full_name.to_owned(), url.clone());
        Ok(url)
    }

    /// How many messages a queue holds, by its full name.
    pub async fn depth(&self, full_name: &str) -> Result<Depth, QueuesError> {
        const ASKED: [Attribute; 3] = [
            Attribute::ApproximateNumberOfMessages,
            Attribute::ApproximateNumberOfMessagesNotVisible,
            Attribute::ApproximateNumberOfMessagesDelayed,
        ];
        let failed = |detail| QueuesError::Call { name: full_name.to_owned(), detail };
        let url = self.url_of(full_name).await?;
        let asked = self.sqs.get_queue_attributes().queue_url(url).set_attribute_names(Some(ASKED.to_vec()));
        let answer = asked.send().await.map_err(|error| failed(DisplayErrorContext(&error).to_string()))?;
        let count = |attribute| {
            let text = answer.attributes().and_then(|all| all.get(&attribute));
            let text = text.ok_or_else(|| failed(format!("{attribute} is not told")))?;
            text.parse().map_err(|_| failed(format!("{attribute} is {text:?}")))
        };
        let [visible, in_flight, delayed] = ASKED;
        Ok(Depth { visible: count(visible)?, in_flight: count(in_flight)?, delayed: count(delayed)? })
    }

    /// Forgets a queue that was deleted.
    pub fn forget(&self, full_name: &str) {
        self.known().remove(full_name);
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
