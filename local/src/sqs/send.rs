//! SendMessage and its batch: checked, then one insert.
//!
//! Guarantee: an accepted message is in the queue with the commit that answered; the sleeping receivers of the queue
//! are woken by that commit. In a batch each entry stands or falls alone.

use std::{collections::HashSet, sync::Arc};

use rusqlite::{Connection, params};
use serde_json::{Value, json};

use super::{
    Answer, SqsError,
    attributes::{MAX_DELAY_S, no_fifo},
    message::{self, MessageAttributes},
    parse,
    queues::Queue,
    wire::{self, Batch, Entry, Outgoing, arn_of_url},
};
use crate::{
    faults::{Call, Service},
    state::{Endpoint, Ids, Wake},
};

/// Most bytes of a batch.
const MAX_BATCH_BYTES: usize = 1_048_576;
/// Most entries of a batch.
const MAX_ENTRIES: usize = 10;

/// A message to be put into a queue.
pub struct NewMessage<'a> {
    /// Text of the message.
    pub body: &'a str,
    /// Its attributes.
    pub attributes: &'a MessageAttributes,
    /// `MessageGroupId`, the tenant of a fair queue.
    pub group: Option<&'a str>,
    /// `AWSTraceHeader`.
    pub trace_header: Option<&'a str>,
    /// Delay in seconds; the queue's own if absent.
    pub delay_s: Option<i64>,
}

/// Puts a message into the queue of that ARN, within the caller's transaction.
///
/// The caller wakes the queue by the answer. Refuses what the queue's attributes do not allow.
pub fn deliver(conn: &Connection, queue_arn: &str, message: &NewMessage<'_>, now: i64) -> Result<Wake, SqsError> {
    let queue = Queue::load(conn, queue_arn)?;
    insert(conn, &queue, message, now)?;
    Ok(Wake(queue.arn))
}

/// Checks and stores; answers the message's id.
pub fn insert(conn: &Connection, queue: &Queue, new: &NewMessage<'_>, now: i64) -> Result<String, SqsError> {
    message::check_body(new.body)?;
    message::check_attributes(new.attributes)?;
    let largest = queue.attributes.max_size();
    if message::size(new.body, new.attributes) > largest {
        return Err(SqsError::InvalidParameterValue(format!(
            "One or more parameters are invalid. Reason: Message must be shorter than {largest} bytes."
        )));
    }
    let delay_s = match new.delay_s {
        None => queue.attributes.delay_s(),
        Some(delay @ 0..=MAX_DELAY_S) => delay,
        Some(other) => {
            return Err(SqsError::InvalidParameterValue(format!(
                "Value {other} for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= {MAX_DELAY_S}."
            )));
        }
    };
    let group = new.group.unwrap_or_default();
    if new.group.is_some() && (group.is_empty() || group.len() > 128 || !group.bytes().all(|b| b.is_ascii_graphic())) {
        return Err(SqsError::InvalidParameterValue(format!(
            "Value {group} for parameter MessageGroupId is invalid. Reason: MessageGroupId can only include alphanumeric \
             and punctuation characters. 1 to 128 in length."
        )));
    }
    let id = Ids.uuid();
    let attributes = serde_json::to_string(new.attributes).map_err(|e| SqsError::Serialization(e.to_string()))?;
    conn.prepare_cached(
        "INSERT INTO sqs_message (queue_id, group_id, visible_ms, sent_ms, message_id, trace_header, attributes, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![queue.id, group, now + delay_s * 1_000, now, id, new.trace_header, attributes, new.body])?;
    Ok(id)
}

fn accept(conn: &Connection, queue: &Queue, message: &Outgoing, now: i64) -> Result<Value, SqsError> {
    if message.message_deduplication_id.is_some() {
        return Err(no_fifo());
    }
    let none = MessageAttributes::new();
    let attributes = message.message_attributes.as_ref().unwrap_or(&none);
    let system = message.message_system_attributes.as_ref().unwrap_or(&none);
    if let Some(name) = system.keys().find(|name| *name != "AWSTraceHeader") {
        return Err(SqsError::InvalidParameterValue(format!(
            "Message system attribute name '{name}' is invalid; AWSTraceHeader is the only one that may be sent."
        )));
    }
    let trace_header = system.get("AWSTraceHeader").and_then(|attribute| attribute.string_value.as_deref());
    let body = message.message_body.as_deref().unwrap_or_default();
    let group = message.message_group_id.as_deref();
    let new = NewMessage { body, attributes, group, trace_header, delay_s: message.delay_seconds };
    let id = insert(conn, queue, &new, now)?;
    let mut answer = json!({ "MessageId": id, "MD5OfMessageBody": message::md5_hex(body.as_bytes()) });
    if let Some(md5) = message::md5_of_attributes(attributes) {
        answer["MD5OfMessageAttributes"] = md5.into();
    }
    if let Some(md5) = message::md5_of_attributes(system) {
        answer["MD5OfMessageSystemAttributes"] = md5.into();
    }
    Ok(answer)
}

pub async fn one(state: &Arc<Endpoint>, body: &[u8]) -> Answer {
    let request: wire::Send = parse(body)?;
    let arn = arn_of_url(state, request.queue_url.as_deref())?;
    let now = state.now();
    state
        .db
        .write(move |tx| {
            let queue = Queue::load(tx, &arn)?;
            let answer = accept(tx, &queue, &request.message, now)?;
            tx.wake(Wake(arn));
            Ok(answer)
        })
        .await
}

pub async fn batch(state: &Arc<Endpoint>, body: &[u8]) -> Answer {
    let request: Batch<Outgoing> = parse(body)?;
    let arn = arn_of_url(state, request.queue_url.as_deref())?;
    let entries = check_entries(request.entries, "SendMessageBatchRequest")?;
    let none = MessageAttributes::new();
    let bytes = entries.iter().map(|entry| {
        let attributes = entry.of.message_attributes.as_ref().unwrap_or(&none);
        message::size(entry.of.message_body.as_deref().unwrap_or_default(), attributes)
    });
    let bytes = bytes.sum();
    if bytes > MAX_BATCH_BYTES {
        return Err(SqsError::BatchRequestTooLong(bytes));
    }
    let now = state.now();
    let failing = failing(state, "SendMessageBatch", &arn, entries.len());
    state
        .db
        .write(move |tx| {
            let queue = Queue::load(tx, &arn)?;
            let mut outcome = Outcome::default();
            for (entry, fails) in entries.iter().zip(failing) {
                outcome.add(&entry.id, fails, || accept(tx, &queue, &entry.of, now))?;
            }
            if outcome.any_successful() {
                tx.wake(Wake(arn));
            }
            Ok(outcome.into_answer())
        })
        .await
}

/// The entries of a batch, if SQS would look at them at all.
pub fn check_entries<T>(entries: Option<Vec<Entry<T>>>, kind: &'static str) -> Result<Vec<Entry<T>>, SqsError> {
    let entries = entries.unwrap_or_default();
    if entries.is_empty() {
        return Err(SqsError::EmptyBatchRequest(kind));
    }
    if entries.len() > MAX_ENTRIES {
        return Err(SqsError::TooManyEntriesInBatchRequest(entries.len()));
    }
    let mut ids = HashSet::new();
    for Entry { id, .. } in &entries {
        let plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if id.is_empty() || id.len() > 80 || !plain {
            return Err(SqsError::InvalidBatchEntryId);
        }
        if !ids.insert(id.as_str()) {
            return Err(SqsError::BatchEntryIdsNotDistinct(id.clone()));
        }
    }
    Ok(entries)
}

/// Which entries of a batch fail on purpose.
pub fn failing(state: &Endpoint, operation: &str, queue_arn: &str, entries: usize) -> Vec<bool> {
    let call = Call { service: Service::Sqs, operation, method: "POST", path: queue_arn };
    state.faults.fail_entries(&call, entries)
}

/// What became of the entries of a batch.
#[derive(Default)]
pub struct Outcome {
    successful: Vec<Value>,
    failed: Vec<Value>,
}

impl Outcome {
    /// Does one entry's work, unless it fails on purpose, and books what came of it. A failure of the database is not
    /// the entry's: it ends the batch.
    pub fn add(&mut self, id: &str, fails: bool, work: impl FnOnce() -> Answer) -> Result<(), SqsError> {
        match if fails { Err(SqsError::Injected) } else { work() } {
            Ok(mut answer) => {
                answer["Id"] = id.into();
                self.successful.push(answer);
            }
            Err(SqsError::Db(error)) => return Err(SqsError::Db(error)),
            Err(error) => self.failed.push(json!({
                "Id": id, "SenderFault": error.is_senders(), "Code": error.code(), "Message": error.to_string(),
            })),
        }
        Ok(())
    }

    /// Whether any entry succeeded.
    pub fn any_successful(&self) -> bool {
        !self.successful.is_empty()
    }

    /// The answer, lists that are empty left out, as SQS does.
    pub fn into_answer(self) -> Value {
        let lists = [("Successful", self.successful), ("Failed", self.failed)];
        lists
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(name, list)| (name.to_owned(), list.into()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}
