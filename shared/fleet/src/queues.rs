//! The queues of the fleet by name, and their URLs.
//!
//! Guarantee: a URL comes from the service (GetQueueUrl), once per process, and is never put together by hand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_sqs::error::DisplayErrorContext;

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
    #[error("the URL of queue {name} could not be looked up: {detail}")]
    Call {
        /// The queue's full name.
        name: String,
        /// The error with all its causes.
        detail: String,
    },
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

    /// Forgets a queue that was deleted.
    pub fn forget(&self, full_name: &str) {
        self.known().remove(full_name);
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
