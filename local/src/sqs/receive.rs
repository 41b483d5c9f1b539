//! ReceiveMessage: the long poll, the fair choice, the move to the dead-letter queue.
//!
//! Guarantee: an empty poll reads only; a poll that waits is woken by the commit that put a message into its queue, or
//! when the next delayed or invisible message becomes visible. A message received `maxReceiveCount` times moves on the
//! next receive, keeping its id and time of sending. A message past its retention is deleted when it is met, so a
//! poll never spins on it.

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    Answer, SqsError,
    attributes::{MAX_VISIBILITY_S, MAX_WAIT_S},
    fair::{FairOrder, Group},
    message::{MessageAttributes, asked_for, md5_hex, md5_of_attributes},
    parse,
    queues::Queue,
    settle::Receipt,
    wire::{self, arn_of_url},
};
use crate::{
    db::Tx,
    faults::{Call, Fault, Service, Stage},
    state::{Endpoint, Ids, Wake},
};

/// Messages of one queue that may be in flight.
const MAX_IN_FLIGHT: u64 = 120_000;
/// Dead letters that one receive moves at most; more are moved by the next.
const MAX_MOVES: usize = 1_000;
const SYSTEM_ATTRIBUTES: [&str; 10] = [
    "All",
    "SenderId",
    "SentTimestamp",
    "ApproximateReceiveCount",
    "ApproximateFirstReceiveTimestamp",
    "SequenceNumber",
    "MessageDeduplicationId",
    "MessageGroupId",
    "AWSTraceHeader",
    "DeadLetterQueueSourceArn",
];

struct Wanted {
    state: Arc<Endpoint>,
    most: usize,
    visibility_s: Option<i64>,
    system: Vec<String>,
    attributes: Vec<String>,
}

pub async fn receive(state: &Arc<Endpoint>, body: &[u8]) -> Answer {
    let request: wire::Receive = parse(body)?;
    let arn = arn_of_url(state, request.queue_url.as_deref())?;
    let within = |name: &str, value: Option<i64>, low: i64, high: i64| match value {
        Some(n) if !(low..=high).contains(&n) => Err(SqsError::InvalidParameterValue(format!(
            "Value {n} for parameter {name} is invalid. Reason: Must be >= {low} and <= {high}, if provided."
        ))),
        value => Ok(value),
    };
    let most = within("MaxNumberOfMessages", request.max_number_of_messages, 1, 10)?.unwrap_or(1);
    let wait_s = within("WaitTimeSeconds", request.wait_time_seconds, 0, MAX_WAIT_S)?;
    let visibility_s = within("VisibilityTimeout", request.visibility_timeout, 0, MAX_VISIBILITY_S)?;
    let mut system = request.message_system_attribute_names.unwrap_or_default();
    system.extend(request.attribute_names.unwrap_or_default());
    if let Some(unknown) = system.iter().find(|name| !SYSTEM_ATTRIBUTES.contains(&name.as_str())) {
        return Err(SqsError::InvalidAttributeName(unknown.clone()));
    }
    let wanted = Arc::new(Wanted {
        state: Arc::clone(state),
        most: usize::try_from(most).unwrap_or(1),
        visibility_s,
        system,
        attributes: request.message_attribute_names.unwrap_or_default(),
    });
    let messages = poll(state, &arn, wait_s, &wanted).await?;
    Ok(if messages.is_empty() { json!({}) } else { json!({ "Messages": messages }) })
}

async fn poll(state: &Endpoint, arn: &str, wait_s: Option<i64>, wanted: &Arc<Wanted>) -> Result<Vec<Value>, SqsError> {
    let started = Instant::now();
    let signal = state.wakes.of(arn);
    loop {
        let mut woken = pin!(signal.notified());
        // Armed before the look: a message committed after the look still wakes.
        woken.as_mut().enable();
        let (now, for_look) = (state.now(), arn.to_owned());
        let look = state.db.read(move |conn| look(conn, &for_look, now)).await?;
        if look.due {
            let (now, arn, wanted) = (state.now(), arn.to_owned(), Arc::clone(wanted));
            let messages = state.db.write(move |tx| take(tx, &arn, &wanted, now)).await?;
            if !messages.is_empty() {
                return Ok(messages);
            }
        }
        let wait = Duration::from_secs(wait_s.unwrap_or(look.wait_s).unsigned_abs());
        let left = wait.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Ok(Vec::new());
        }
        if look.due {
            // What was due was taken by another, moved or deleted: look again before sleeping.
            continue;
        }
        let until = look.next_ms.map_or(left, |next| left.min(Duration::from_millis((next - now).unsigned_abs())));
        tokio::select! {
            () = woken => {}
            () = tokio::time::sleep(until) => {}
            () = state.shutdown.cancelled() => return Ok(Vec::new()),
        }
    }
}

struct Look {
    due: bool,
    next_ms: Option<i64>,
    wait_s: i64,
}

/// What a poll finds without writing.
fn look(conn: &Connection, arn: &str, now: i64) -> Result<Look, SqsError> {
    let queue = Queue::load(conn, arn)?;
    let first: Option<i64> = conn
        .prepare_cached("SELECT min(visible_ms) FROM sqs_message WHERE queue_id = ?1")?
        .query_row([queue.id], |row| row.get(0))?;
    let due = first.is_some_and(|first| first <= now);
    Ok(Look { due, next_ms: first.filter(|_| !due), wait_s: queue.attributes.wait_s() })
}

/// Takes up to the wanted number of messages, fairly.
fn take(tx: &Tx<'_>, arn: &str, wanted: &Wanted, now: i64) -> Result<Vec<Value>, SqsError> {
    let queue = Queue::load(tx, arn)?;
    let redrive = match queue.attributes.redrive() {
        Some(redrive) => {
            // A dead-letter queue that was deleted holds nothing: the message then stays here.
            let target: Option<i64> = tx
                .prepare_cached("SELECT id FROM sqs_queue WHERE arn = ?1")?
                .query_row([&redrive.target], |row| row.get(0))
                .optional()?;
            target.map(|id| (id, redrive))
        }
        None => None,
    };
    let groups = groups(tx, queue.id, now)?;
    if groups.iter().map(|group| group.in_flight).sum::<u64>() >= MAX_IN_FLIGHT {
        return Err(SqsError::OverLimit);
    }
    let several = groups.len() > 1;
    let mut order = FairOrder::new(groups);
    let call = Call { service: Service::Sqs, operation: "ReceiveMessage", method: "POST", path: arn };
    // Drawn once, when there is a message that it can befall.
    let mut mishap: Option<Option<Fault>> = None;
    let mut newest_first = false;
    let (mut messages, mut postponed, mut moves) = (Vec::new(), 0, 0);
    let mut handed_out = Vec::new();
    // A visibility timeout of 0 leaves a message visible, but one receive hands it out once.
    let mut last: HashMap<String, i64> = HashMap::new();
    while messages.len() + postponed < wanted.most && moves < MAX_MOVES {
        let Some(group) = order.pick() else { break };
        let group = group.to_owned();
        let Some(row) = next_of(tx, queue.id, &group, last.get(&group), newest_first, now)? else {
            order.exhausted();
            continue;
        };
        if row.sent_ms <= queue.cutoff(now) {
            expire(tx, &queue, now)?;
        } else if let Some((target, redrive)) = redrive.as_ref().filter(|(_, r)| row.receives >= r.max_receive_count) {
            bury(tx, row.seq, *target, &queue.arn, now)?;
            tx.wake(Wake(redrive.target.clone()));
            moves += 1;
        } else {
            if mishap.is_none() {
                mishap = Some(wanted.state.faults.befall(Stage::Messages, &call));
                newest_first = mishap == Some(Some(Fault::Reorder));
                if newest_first {
                    continue;
                }
            }
            last.insert(group.clone(), row.seq);
            if let Some(Some(Fault::Postpone { ms })) = mishap {
                postpone(tx, row.seq, now + ms.cast_signed())?;
                postponed += 1;
                continue;
            }
            handed_out.push(row.seq);
            messages.push(hand_out(tx, &queue, row, wanted, now)?);
            let turn = order.served();
            if several {
                tx.prepare_cached("INSERT OR REPLACE INTO sqs_turn (queue_id, group_id, turn) VALUES (?1, ?2, ?3)")?
                    .execute(params![queue.id, group, i64::try_from(turn).unwrap_or(i64::MAX)])?;
            }
        }
    }
    if mishap == Some(Some(Fault::Duplicate)) {
        for seq in handed_out {
            duplicate(tx, seq, now)?;
        }
        tx.wake(Wake(queue.arn));
    }
    Ok(messages)
}

/// Leaves a second message in the queue, visible: the copy that a server of SQS still has. Its handle is its own.
fn duplicate(conn: &Connection, seq: i64, now: i64) -> Result<(), SqsError> {
    conn.prepare_cached(
        "INSERT INTO sqs_message (queue_id, group_id, visible_ms, sent_ms, receives, total_receives, first_received_ms,
           message_id, origin, trace_header, attributes, body)
         SELECT queue_id, group_id, ?2, sent_ms, receives, total_receives, first_received_ms, message_id, origin,
           trace_header, attributes, body FROM sqs_message WHERE seq = ?1",
    )?
    .execute([seq, now])?;
    Ok(())
}

/// Holds a message back that nobody was given: no receive is counted.
fn postpone(conn: &Connection, seq: i64, until: i64) -> Result<(), SqsError> {
    conn.prepare_cached("UPDATE sqs_message SET visible_ms = ?2 WHERE seq = ?1")?.execute([seq, until])?;
    Ok(())
}

/// All groups that have messages, found by leaps over the index: one step per group, not per message.
fn groups(conn: &Connection, queue_id: i64, now: i64) -> Result<Vec<Group>, SqsError> {
    let mut select = conn.prepare_cached(
        "WITH RECURSIVE leap (id) AS (
           SELECT min(group_id) FROM sqs_message WHERE queue_id = ?1
           UNION ALL
           SELECT (SELECT min(group_id) FROM sqs_message WHERE queue_id = ?1 AND group_id > leap.id)
           FROM leap WHERE leap.id IS NOT NULL),
         held (id, n) AS (
           SELECT group_id, count(*) FROM sqs_message
           WHERE queue_id = ?1 AND visible_ms > ?2 AND receives > 0 GROUP BY group_id)
         SELECT leap.id, coalesce(held.n, 0), coalesce(t.turn, 0) FROM leap
         LEFT JOIN held ON held.id = leap.id
         LEFT JOIN sqs_turn t ON t.queue_id = ?1 AND t.group_id = leap.id
         WHERE leap.id IS NOT NULL",
    )?;
    let rows = select.query_map([queue_id, now], |row| {
        let (in_flight, turn): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok(Group { id: row.get(0)?, in_flight: in_flight.unsigned_abs(), turn: turn.unsigned_abs() })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

macro_rules! next_of {
    () => {
        "SELECT seq, group_id, sent_ms, receives, total_receives, first_received_ms, message_id, origin, trace_header,
           attributes, body
         FROM sqs_message INDEXED BY sqs_message_group
         WHERE queue_id = ?1 AND group_id = ?2 AND visible_ms <= ?3 "
    };
}

struct Row {
    seq: i64,
    group: String,
    sent_ms: i64,
    receives: i64,
    total_receives: i64,
    first_received_ms: Option<i64>,
    message_id: String,
    origin: Option<String>,
    trace_header: Option<String>,
    attributes: String,
    body: String,
}

/// The oldest visible message of a group that this receive has not met, or on purpose the newest.
fn next_of(
    conn: &Connection,
    queue_id: i64,
    group: &str,
    last: Option<&i64>,
    newest_first: bool,
    now: i64,
) -> Result<Option<Row>, SqsError> {
    let mut select = conn.prepare_cached(if newest_first {
        concat!(next_of!(), "AND seq < ?4 ORDER BY seq DESC LIMIT 1")
    } else {
        concat!(next_of!(), "AND seq > ?4 ORDER BY seq LIMIT 1")
    })?;
    let border = last.copied().unwrap_or(if newest_first { i64::MAX } else { 0 });
    let row = select.query_row(params![queue_id, group, now, border], |row| {
        Ok(Row {
            seq: row.get(0)?,
            group: row.get(1)?,
            sent_ms: row.get(2)?,
            receives: row.get(3)?,
            total_receives: row.get(4)?,
            first_received_ms: row.get(5)?,
            message_id: row.get(6)?,
            origin: row.get(7)?,
            trace_header: row.get(8)?,
            attributes: row.get(9)?,
            body: row.get(10)?,
        })
    });
    Ok(row.optional()?)
}

/// Deletes what is past the queue's retention; answers how many messages that were.
pub fn expire(conn: &Connection, queue: &Queue, now: i64) -> Result<usize, SqsError> {
    let mut delete = conn.prepare_cached("DELETE FROM sqs_message WHERE queue_id = ?1 AND sent_ms <= ?2")?;
    Ok(delete.execute([queue.id, queue.cutoff(now)])?)
}

/// Moves a message to the dead-letter queue: same id and time of sending, the source noted, the count of receives
/// beginning anew for a policy that the dead-letter queue itself may have.
fn bury(conn: &Connection, seq: i64, target: i64, source_arn: &str, now: i64) -> Result<(), SqsError> {
    conn.prepare_cached(
        "INSERT INTO sqs_message (queue_id, group_id, visible_ms, sent_ms, total_receives, first_received_ms,
           message_id, origin, trace_header, attributes, body)
         SELECT ?2, group_id, ?4, sent_ms, total_receives, first_received_ms, message_id, ?3, trace_header, attributes,
           body FROM sqs_message WHERE seq = ?1",
    )?
    .execute(params![seq, target, source_arn, now])?;
    conn.prepare_cached("DELETE FROM sqs_message WHERE seq = ?1")?.execute([seq])?;
    Ok(())
}

fn hand_out(conn: &Connection, queue: &Queue, row: Row, wanted: &Wanted, now: i64) -> Result<Value, SqsError> {
    let visibility_s = wanted.visibility_s.unwrap_or_else(|| queue.attributes.visibility_s());
    let receipt = Receipt { queue_id: queue.id, seq: row.seq, nonce: Ids.hex() };
    let first = row.first_received_ms.unwrap_or(now);
    conn.prepare_cached(
        "UPDATE sqs_message SET visible_ms = ?2, receives = receives + 1, total_receives = total_receives + 1,
           first_received_ms = ?3, receipt = ?4 WHERE seq = ?1",
    )?
    .execute(params![row.seq, now + visibility_s * 1_000, first, receipt.nonce])?;
    let mut message = json!({
        "MessageId": row.message_id,
        "ReceiptHandle": receipt.to_string(),
        "MD5OfBody": md5_hex(row.body.as_bytes()),
        "Body": row.body,
    });
    let system = [
        ("SenderId", Some(wanted.state.account_id.clone())),
        ("SentTimestamp", Some(row.sent_ms.to_string())),
        ("ApproximateReceiveCount", Some((row.total_receives + 1).to_string())),
        ("ApproximateFirstReceiveTimestamp", Some(first.to_string())),
        ("MessageGroupId", Some(row.group).filter(|group| !group.is_empty())),
        ("AWSTraceHeader", row.trace_header),
        ("DeadLetterQueueSourceArn", row.origin),
    ];
    let system: Map<String, Value> = system
        .into_iter()
        .filter(|(name, _)| asked_for(&wanted.system, name))
        .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
        .collect();
    if !system.is_empty() {
        message["Attributes"] = system.into();
    }
    let mut attributes: MessageAttributes =
        serde_json::from_str(&row.attributes).map_err(|e| SqsError::Serialization(e.to_string()))?;
    attributes.retain(|name, _| asked_for(&wanted.attributes, name));
    if let Some(md5) = md5_of_attributes(&attributes) {
        message["MD5OfMessageAttributes"] = md5.into();
        message["MessageAttributes"] = json!(attributes);
    }
    Ok(message)
}
