//! Walking through dead-letter queues.
//!
//! Guarantee: nothing is lost, hidden or changed by looking: what is received is given back at once when the walk is over,
//! and comes back by itself should this process die; a dead-letter queue has no redrive policy of its own, so no count of
//! receives moves a letter on.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context as _;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, Message, MessageAttributeValue, MessageSystemAttributeName,
    QueueAttributeName,
};
use reelfleet_fleet::{Context, QueueName};
use reelfleet_messages::{Letter, TaskEnvelope};

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
pub async fn through(context: &Context, queues: &[QueueName]) -> anyhow::Result<Held> {
    let walks = queues.iter().map(|queue| one(context, *queue));
    let walks = futures::future::join_all(walks).await;
    let mut held = Held { context: context.clone(), found: Vec::new() };
    let mut failed = None;
    for (found, outcome) in walks {
        held.found.extend(found);
        failed = failed.or(outcome.err());
    }
    if let Some(error) = failed {
        held.give_back(|_| true).await;
        return Err(error);
    }
    held.found.sort_by(|a, b| (a.sent_ms, &a.id).cmp(&(b.sent_ms, &b.id)));
    Ok(held)
}

/// What was received of one queue, and whether that was all.
async fn one(context: &Context, queue: QueueName) -> (Vec<Found>, anyhow::Result<()>) {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    let outcome = receive_all(context, queue, &mut found).await;
    let name = context.queues.dlq_name(queue);
    (found.into_values().collect(), outcome.with_context(|| format!("queue {name}")))
}

async fn receive_all(context: &Context, queue: QueueName, found: &mut BTreeMap<String, Found>) -> anyhow::Result<()> {
    let url = context.queues.dlq_url(queue).await?;
    loop {
        let receive = context.clients.sqs.receive_message().queue_url(&url);
        let answer = receive
            .max_number_of_messages(10)
            .visibility_timeout(HOLD_S)
            .wait_time_seconds(WAIT_S)
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .send()
            .await?;
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
    let answer = asked.attribute_names(hidden.clone()).send().await?;
    let hidden = answer.attributes().and_then(|all| all.get(&hidden)).and_then(|text| text.parse::<usize>().ok());
    let others = hidden.unwrap_or(0).saturating_sub(found.len());
    if others > 0 {
        let name = context.queues.dlq_name(queue);
        eprintln!("{others} more letters of {name} are held by somebody else just now; ask again in a minute");
    }
    Ok(())
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
                if let Err(error) = self.show(queue, batch).await {
                    let name = self.context.queues.dlq_name(queue);
                    eprintln!("{} letters of {name} come back in a minute: {error:#}", batch.len());
                }
            }
        }
    }

    async fn show(&self, queue: QueueName, letters: &[Found]) -> anyhow::Result<()> {
        let url = self.context.queues.dlq_url(queue).await?;
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
        let change = self.context.clients.sqs.change_message_visibility_batch();
        let answer = change.queue_url(url).set_entries(Some(entries?)).send().await?;
        anyhow::ensure!(answer.successful.len() == letters.len(), "not all of them were taken");
        Ok(())
    }
}
