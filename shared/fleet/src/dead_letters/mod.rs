//! Dead letters: walking through their queues, sending them back, throwing them away.
//!
//! Guarantees: nothing is lost, hidden or changed by looking: what is received is given back at once when the walk is over,
//! and comes back by itself should this process die; a dead-letter queue has no redrive policy of its own, so no count of
//! receives moves a letter on. A letter leaves only after its queue has taken a copy that says the same, or after the audit
//! holds it ([`Hand`]); a crash between the two leaves it twice, which revives once.

mod fate;
mod filter;
mod hand;

use std::collections::{BTreeMap, HashMap};

use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, Message, MessageAttributeValue, MessageSystemAttributeName,
    QueueAttributeName,
};
use reelfleet_catalog::CatalogError;
use reelfleet_messages::{Letter, TaskEnvelope};

use crate::Context;
use crate::queues::{QueueName, QueuesError};

pub use fate::Fate;
pub use filter::Filter;
pub use hand::Hand;

/// Letters are held this long (seconds): longer than a walk takes, short enough should this process die.
const HOLD_S: i32 = 60;
/// A receive that waits asks all servers of a queue: an empty answer then means that nothing is there.
const WAIT_S: i32 = 1;
/// A batch has at most ten entries, a receive at most ten messages.
const BATCH: usize = 10;

/// A letter in its queue.
#[derive(Debug, Clone)]
pub struct Found {
    /// The queue that it came from and goes back to.
    pub queue: QueueName,
    /// Names it for as long as it lies there.
    pub id: String,
    /// As sent.
    pub body: String,
    /// As sent.
    pub attributes: HashMap<String, MessageAttributeValue>,
    /// As sent.
    pub group: Option<String>,
    /// When it came here, in epoch milliseconds.
    pub sent_ms: i64,
    /// What its attributes say.
    pub letter: Letter,
    /// What its body says, if it is a task that this build knows.
    pub task: Option<TaskEnvelope>,
    /// Holds it for this walk.
    pub receipt: String,
}

/// All letters of some queues, held until they are given back.
pub struct Held {
    context: Context,
    /// Oldest first.
    pub found: Vec<Found>,
    /// Letters that somebody else holds just now, by queue: ask again in a minute.
    pub elsewhere: Vec<(QueueName, usize)>,
}

/// Why dead letters can't be looked at or moved.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// A queue is not there, or nobody says where.
    #[error(transparent)]
    Queue(#[from] QueuesError),
    /// A call of SQS was not carried out.
    #[error("{what}: {detail}")]
    Sqs {
        /// What was to be done, to what.
        what: String,
        /// The error with all its causes.
        detail: String,
    },
    /// The audit was not written, so nothing was done.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl DeadLetterError {
    fn sqs(what: impl Into<String>, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Sqs { what: what.into(), detail: DisplayErrorContext(error).to_string() }
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("found", &self.found.len()).finish_non_exhaustive()
    }
}

impl Found {
    /// Why it is here, as a stable code.
    pub fn code(&self) -> &str {
        match (self.letter.reason.is_empty(), self.letter.token) {
            (true, _) => "max_receive_count",
            (false, None) => "malformed",
            (false, Some(_)) => self.letter.code(),
        }
    }

    /// What the task is to do; nothing for what is no task.
    pub fn kind(&self) -> &str {
        self.task.as_ref().map_or("", |task| task.work.kind())
    }

    /// The asset, by its attributes or its body.
    pub fn asset(&self) -> String {
        let of_task = || self.task.as_ref().map(|task| task.work.asset().to_string());
        self.letter.asset.clone().or_else(of_task).unwrap_or_default()
    }

    /// What an audit line is about: the task, or the message where there is none.
    pub fn subject(&self) -> String {
        self.task.as_ref().map_or_else(|| self.id.clone(), |task| task.task.to_string())
    }

    /// When the task ended, in epoch milliseconds.
    pub fn at(&self) -> i64 {
        self.letter.at.unwrap_or(self.sent_ms)
    }

    fn read(queue: QueueName, message: Message) -> Option<Self> {
        let system = message.attributes.unwrap_or_default();
        let attributes = message.message_attributes.unwrap_or_default();
        let texts: BTreeMap<String, String> =
            attributes.iter().filter_map(|(name, value)| Some((name.clone(), value.string_value.clone()?))).collect();
        let body = message.body.unwrap_or_default();
        let sent = system.get(&MessageSystemAttributeName::SentTimestamp);
        Some(Self {
            queue,
            id: message.message_id?,
            receipt: message.receipt_handle?,
            letter: Letter::read(&texts),
            task: TaskEnvelope::parse(&body).ok(),
            group: system.get(&MessageSystemAttributeName::MessageGroupId).cloned(),
            sent_ms: sent.and_then(|text| text.parse().ok()).unwrap_or(0),
            attributes,
            body,
        })
    }
}

/// Receives all letters of these queues.
///
/// # Errors
/// A queue that can't be received from; what was received is given back.
pub async fn through(context: &Context, queues: &[QueueName]) -> Result<Held, DeadLetterError> {
    let walks = queues.iter().map(|queue| one(context, *queue));
    let walks = futures::future::join_all(walks).await;
    let mut held = Held { context: context.clone(), found: Vec::new(), elsewhere: Vec::new() };
    let mut failed = None;
    for (queue, (found, outcome)) in queues.iter().zip(walks) {
        held.found.extend(found);
        match outcome {
            Ok(0) => {}
            Ok(others) => held.elsewhere.push((*queue, others)),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    if let Some(error) = failed {
        held.give_back(|_| true).await;
        return Err(error);
    }
    held.found.sort_by(|a, b| (a.sent_ms, &a.id).cmp(&(b.sent_ms, &b.id)));
    Ok(held)
}

/// What was received of one queue, and how many others hold.
async fn one(context: &Context, queue: QueueName) -> (Vec<Found>, Result<usize, DeadLetterError>) {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    let outcome = receive_all(context, queue, &mut found).await;
    (found.into_values().collect(), outcome)
}

async fn receive_all(
    context: &Context,
    queue: QueueName,
    found: &mut BTreeMap<String, Found>,
) -> Result<usize, DeadLetterError> {
    let (url, name) = (context.queues.dlq_url(queue).await?, context.queues.dlq_name(queue));
    loop {
        let receive = context.clients.sqs.receive_message().queue_url(&url);
        let answer = receive
            .max_number_of_messages(10)
            .visibility_timeout(HOLD_S)
            .wait_time_seconds(WAIT_S)
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .send()
            .await
            .map_err(|error| DeadLetterError::sqs(&name, &error))?;
        let before = found.len();
        for letter in answer.messages.unwrap_or_default().into_iter().filter_map(|message| Found::read(queue, message))
        {
            // The walk took longer than the hold: the later receipt is the one that holds it.
            found.insert(letter.id.clone(), letter);
        }
        if found.len() == before {
            break;
        }
    }
    let asked = context.clients.sqs.get_queue_attributes().queue_url(&url);
    let hidden = QueueAttributeName::ApproximateNumberOfMessagesNotVisible;
    let answer = asked.attribute_names(hidden.clone()).send().await;
    let answer = answer.map_err(|error| DeadLetterError::sqs(&name, &error))?;
    let hidden = answer.attributes().and_then(|all| all.get(&hidden)).and_then(|text| text.parse::<usize>().ok());
    Ok(hidden.unwrap_or(0).saturating_sub(found.len()))
}

impl Held {
    /// Gives back at once those that fit; they are held no longer.
    pub async fn give_back(&mut self, fits: impl Fn(&Found) -> bool) {
        let (back, kept) = std::mem::take(&mut self.found).into_iter().partition(fits);
        self.found = kept;
        let mut by_queue: HashMap<QueueName, Vec<Found>> = HashMap::new();
        let back: Vec<Found> = back;
        for letter in back {
            by_queue.entry(letter.queue).or_default().push(letter);
        }
        for (queue, letters) in by_queue {
            for batch in letters.chunks(BATCH) {
                if let Err(why) = self.show(queue, batch).await {
                    let queue = self.context.queues.dlq_name(queue);
                    tracing::warn!(queue, letters = batch.len(), why, "letters come back in a minute only");
                }
            }
        }
    }

    async fn show(&self, queue: QueueName, letters: &[Found]) -> Result<(), String> {
        let url = self.context.queues.dlq_url(queue).await.map_err(|error| error.to_string())?;
        let entries: Result<Vec<_>, _> = letters
            .iter()
            .enumerate()
            .map(|(n, letter)| {
                ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(n.to_string())
                    .receipt_handle(&letter.receipt)
                    .visibility_timeout(0)
                    .build()
            })
            .collect();
        let entries = entries.map_err(|error| error.to_string())?;
        let change = self.context.clients.sqs.change_message_visibility_batch();
        let answer = change.queue_url(url).set_entries(Some(entries)).send().await;
        let answer = answer.map_err(|error| DisplayErrorContext(&error).to_string())?;
        if answer.successful.len() == letters.len() { Ok(()) } else { Err("not all of them were taken".to_owned()) }
    }
}
