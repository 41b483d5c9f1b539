//! SQS: standard queues over SQLite, spoken as AWS JSON 1.0.
//!
//! Guarantee: a message that was accepted is on disk and is delivered until it is deleted, purged, past its retention
//! or moved to its dead-letter queue; never by two holders at once within one visibility timeout. An empty poll writes
//! nothing. FIFO queues are refused.

mod attributes;
mod error;
mod fair;
#[cfg(any(test, fuzzing))]
mod fuzzed;
mod message;
mod moves;
mod queues;
mod receive;
mod send;
mod settle;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use rusqlite::{Connection, OptionalExtension};
use serde::de::DeserializeOwned;

use crate::state::{Endpoint, Response, Wake};

pub use error::SqsError;
#[cfg(any(test, fuzzing))]
pub(crate) use fuzzed::fuzzed;
pub use message::{MessageAttribute, MessageAttributes, check_attribute, is_xml_char};
pub use moves::run;
pub use send::{NewMessage, deliver};

/// Makes the tables of queues, messages and move tasks.
pub fn migrate(conn: &Connection) -> Result<(), rusqlite::Error> {
    conn.execute_batch(
        "CREATE TABLE IF NOT EXISTS sqs_queue (
           id INTEGER PRIMARY KEY AUTOINCREMENT,
           arn TEXT NOT NULL UNIQUE,
           name TEXT NOT NULL,
           attributes TEXT NOT NULL,
           created_ms INTEGER NOT NULL,
           modified_ms INTEGER NOT NULL,
           purged_ms INTEGER
         ) STRICT;
         CREATE TABLE IF NOT EXISTS sqs_tag (
           queue_id INTEGER NOT NULL REFERENCES sqs_queue ON DELETE CASCADE,
           key TEXT NOT NULL,
           value TEXT NOT NULL,
           PRIMARY KEY (queue_id, key)
         ) STRICT, WITHOUT ROWID;
         -- A message is visible when visible_ms has come; before it, it is in flight if this queue has handed it out
         -- (receives > 0), else delayed. seq is the order of arrival in this queue. The body stands last, so that
         -- counting does not read it.
         CREATE TABLE IF NOT EXISTS sqs_message (
           seq INTEGER PRIMARY KEY AUTOINCREMENT,
           queue_id INTEGER NOT NULL REFERENCES sqs_queue ON DELETE CASCADE,
           group_id TEXT NOT NULL,
           visible_ms INTEGER NOT NULL,
           sent_ms INTEGER NOT NULL,
           receives INTEGER NOT NULL DEFAULT 0,
           total_receives INTEGER NOT NULL DEFAULT 0,
           first_received_ms INTEGER,
           receipt TEXT,
           message_id TEXT NOT NULL,
           origin TEXT,
           trace_header TEXT,
           attributes TEXT NOT NULL,
           body TEXT NOT NULL
         ) STRICT;
         CREATE INDEX IF NOT EXISTS sqs_message_due ON sqs_message (queue_id, visible_ms, sent_ms, receives, group_id);
         CREATE INDEX IF NOT EXISTS sqs_message_group ON sqs_message (queue_id, group_id, seq, visible_ms);
         CREATE TABLE IF NOT EXISTS sqs_turn (
           queue_id INTEGER NOT NULL REFERENCES sqs_queue ON DELETE CASCADE,
           group_id TEXT NOT NULL,
           turn INTEGER NOT NULL,
           PRIMARY KEY (queue_id, group_id)
         ) STRICT, WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS sqs_move (
           id TEXT PRIMARY KEY,
           source_arn TEXT NOT NULL,
           destination_arn TEXT,
           rate INTEGER,
           status TEXT NOT NULL,
           border INTEGER NOT NULL,
           moved INTEGER NOT NULL,
           to_move INTEGER NOT NULL,
           failure TEXT,
           started_ms INTEGER NOT NULL
         ) STRICT;",
    )
}

/// Answers one request of AWS JSON 1.0; `action` is what follows `AmazonSQS.` in `X-Amz-Target`.
pub async fn handle(state: &Arc<Endpoint>, action: &str, body: Bytes) -> Response {
    let outcome = match action {
        "CreateQueue" => queues::create(state, &body).await,
        "GetQueueUrl" => queues::url(state, &body).await,
        "ListQueues" => queues::list(state, &body).await,
        "DeleteQueue" => queues::delete(state, &body).await,
        "PurgeQueue" => queues::purge(state, &body).await,
        "SetQueueAttributes" => queues::set_attributes(state, &body).await,
        "GetQueueAttributes" => queues::get_attributes(state, &body).await,
        "ListDeadLetterSourceQueues" => queues::list_sources(state, &body).await,
        "TagQueue" => queues::tag(state, &body).await,
        "UntagQueue" => queues::untag(state, &body).await,
        "ListQueueTags" => queues::list_tags(state, &body).await,
        "SendMessage" => send::one(state, &body).await,
        "SendMessageBatch" => send::batch(state, &body).await,
        "ReceiveMessage" => receive::receive(state, &body).await,
        "DeleteMessage" => settle::delete(state, &body).await,
        "DeleteMessageBatch" => settle::delete_batch(state, &body).await,
        "ChangeMessageVisibility" => settle::change(state, &body).await,
        "ChangeMessageVisibilityBatch" => settle::change_batch(state, &body).await,
        "StartMessageMoveTask" => moves::start(state, &body).await,
        "CancelMessageMoveTask" => moves::cancel(state, &body).await,
        "ListMessageMoveTasks" => moves::list(state, &body).await,
        other => Err(SqsError::UnknownAction(other.to_owned())),
    };
    match outcome {
        Ok(body) => error::json(StatusCode::OK, &body, state.ids),
        Err(error) => error.respond(state.ids),
    }
}

/// ARN of the queue that a request names.
pub(crate) fn queue_of(state: &Endpoint, body: &[u8]) -> Option<String> {
    let named: wire::OfQueue = parse(body).ok()?;
    wire::arn_of_url(state, named.queue_url.as_deref()).ok()
}

type Answer = Result<serde_json::Value, SqsError>;

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, SqsError> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|e| SqsError::Serialization(e.to_string()))
}

/// Puts a message into a queue, within the caller's transaction; the caller wakes the queue by the answer.
pub fn enqueue(
    conn: &Connection,
    queue_arn: &str,
    body: &str,
    attributes: &MessageAttributes,
    now: i64,
) -> Result<Wake, SqsError> {
    let message = NewMessage { body, attributes, group: None, trace_header: None, delay_s: None };
    deliver(conn, queue_arn, &message, now)
}

/// Whether a queue has this ARN.
pub fn queue_exists(conn: &Connection, queue_arn: &str) -> Result<bool, rusqlite::Error> {
    let found =
        conn.prepare_cached("SELECT 1 FROM sqs_queue WHERE arn = ?1")?.query_row([queue_arn], |_| Ok(())).optional()?;
    Ok(found.is_some())
}
