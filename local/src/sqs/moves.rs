//! Move tasks (the redrive of dead letters), and the sweep of what is past its retention.
//!
//! Guarantee: a move task that runs is taken up again after a restart; it moves what lay in the dead-letter queue when
//! it started, each message in one commit, never more per second than asked. A moved message is a new one: new id, new
//! time of sending, no receives. Without a destination it goes back to the queue it came from.

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    Answer, SqsError, parse, queue_exists,
    queues::Queue,
    receive::expire,
    wire::{self, page_size},
};
use crate::{
    db::Tx,
    state::{Endpoint, Ids, Wake},
};

/// Fastest rate that may be asked for, messages per second.
const MAX_RATE: i64 = 500;
/// Messages of one step of a task without a rate.
const STEP: i64 = 100;
/// How often a task looks again at messages that a receiver of the dead-letter queue holds.
const HELD: Duration = Duration::from_secs(1);
/// How often queues that nobody polls are swept.
const SWEEP: Duration = Duration::from_secs(60);
/// The signal of [`run`]: no queue has this for an ARN.
const SIGNAL: &str = "move-tasks";

fn missing(what: &str) -> SqsError {
    SqsError::ResourceNotFound(format!("The resource that you specified for the {what} parameter doesn't exist."))
}

fn handle_of(id: &str, source_arn: &str) -> String {
    STANDARD.encode(json!({ "taskId": id, "sourceArn": source_arn }).to_string())
}

pub async fn start(state: &Arc<Endpoint>, body: &[u8]) -> Answer {
    let request: wire::StartMove = parse(body)?;
    let source = request.source_arn.ok_or(SqsError::MissingParameter("SourceArn"))?;
    let (destination, rate) = (request.destination_arn, request.max_number_of_messages_per_second);
    if rate.is_some_and(|rate| !(1..=MAX_RATE).contains(&rate)) {
        return Err(SqsError::InvalidParameterValue(format!(
            "Value for parameter MaxNumberOfMessagesPerSecond is invalid. Reason: You can specify a value between 1 and {MAX_RATE}."
        )));
    }
    let (id, now) = (state.ids.uuid(), state.now());
    let handle = handle_of(&id, &source);
    state
        .db
        .write(move |tx| {
            let queue = Queue::load(tx, &source).map_err(|e| match e {
                SqsError::QueueDoesNotExist => missing("SourceArn"),
                other => other,
            })?;
            if let Some(arn) = &destination
                && !queue_exists(tx, arn)?
            {
                return Err(missing("DestinationArn"));
            }
            if Queue::sources_of(tx, &source)?.is_empty() {
                return Err(SqsError::InvalidParameterValue(
                    "Source queue must be configured as a Dead Letter Queue.".into(),
                ));
            }
            let running: i64 = tx
                .prepare_cached("SELECT count(*) FROM sqs_move WHERE source_arn = ?1 AND status = 'RUNNING'")?
                .query_row([&source], |row| row.get(0))?;
            if running > 0 {
                return Err(SqsError::InvalidParameterValue(
                    "There is already a task running. Only one active task is allowed for a source queue arn at a given time."
                        .into(),
                ));
            }
            tx.prepare_cached(
                "INSERT INTO sqs_move (id, source_arn, destination_arn, rate, status, border, moved, to_move, started_ms)
                 SELECT ?1, ?2, ?3, ?4, 'RUNNING', coalesce(max(seq), 0), 0, count(*), ?6
                 FROM sqs_message WHERE queue_id = ?5",
            )?
            .execute(params![id, source, destination, rate, queue.id, now])?;
            tx.wake(Wake(SIGNAL.into()));
            Ok(())
        })
        .await?;
    Ok(json!({ "TaskHandle": handle }))
}

pub async fn cancel(state: &Arc<Endpoint>, body: &[u8]) -> Answer {
    let request: wire::CancelMove = parse(body)?;
    let handle = request.task_handle.ok_or(SqsError::MissingParameter("TaskHandle"))?;
    let named = STANDARD.decode(&handle).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let id = named.and_then(|task| task["taskId"].as_str().map(str::to_owned)).ok_or_else(|| missing("TaskHandle"))?;
    let moved = state
        .db
        .write(move |tx| {
            let task = task(tx, &id)?.ok_or_else(|| missing("TaskHandle"))?;
            if task.status != "RUNNING" {
                return Err(SqsError::InvalidParameterValue("Only active tasks can be cancelled.".into()));
            }
            end(tx, &id, "CANCELLED", None)?;
            Ok(task.moved)
        })
        .await?;
    Ok(json!({ "ApproximateNumberOfMessagesMoved": moved }))
}

pub async fn list(state: &Arc<Endpoint>, body: &[u8]) -> Answer {
    let request: wire::ListMoves = parse(body)?;
    let source = request.source_arn.ok_or(SqsError::MissingParameter("SourceArn"))?;
    let size = page_size(request.max_results, 10, 1)?;
    let tasks = state
        .db
        .read(move |conn| {
            if !queue_exists(conn, &source)? {
                return Err(missing("SourceArn"));
            }
            let mut select = conn.prepare_cached(
                "SELECT id, source_arn, destination_arn, rate, status, border, moved, to_move, failure, started_ms
                 FROM sqs_move WHERE source_arn = ?1 ORDER BY rowid DESC LIMIT ?2",
            )?;
            let rows = select.query_map(params![source, i64::try_from(size).unwrap_or(1)], Task::from_row)?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })
        .await?;
    Ok(json!({ "Results": tasks.iter().map(Task::describe).collect::<Vec<_>>() }))
}

struct Task {
    id: String,
    source_arn: String,
    destination_arn: Option<String>,
    rate: Option<i64>,
    status: String,
    /// The last message that was there when the task started.
    border: i64,
    moved: i64,
    to_move: i64,
    failure: Option<String>,
    started_ms: i64,
}

impl Task {
    fn from_row(row: &rusqlite::Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            id: row.get(0)?,
            source_arn: row.get(1)?,
            destination_arn: row.get(2)?,
            rate: row.get(3)?,
            status: row.get(4)?,
            border: row.get(5)?,
            moved: row.get(6)?,
            to_move: row.get(7)?,
            failure: row.get(8)?,
            started_ms: row.get(9)?,
        })
    }

    fn describe(&self) -> Value {
        let handle = (self.status == "RUNNING").then(|| handle_of(&self.id, &self.source_arn));
        let members: Map<String, Value> = [
            ("TaskHandle", handle.map(Value::from)),
            ("Status", Some(self.status.as_str().into())),
            ("SourceArn", Some(self.source_arn.as_str().into())),
            ("DestinationArn", self.destination_arn.as_deref().map(Value::from)),
            ("MaxNumberOfMessagesPerSecond", self.rate.map(Value::from)),
            ("ApproximateNumberOfMessagesMoved", Some(self.moved.into())),
            ("ApproximateNumberOfMessagesToMove", Some(self.to_move.into())),
            ("FailureReason", self.failure.as_deref().map(Value::from)),
            ("StartedTimestamp", Some(self.started_ms.into())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
        members.into()
    }

    /// Messages of one step, and how long after a full step the next may come.
    fn pace(&self) -> (i64, Duration) {
        match self.rate {
            None => (STEP, Duration::ZERO),
            Some(rate) => {
                let step = (rate / 10).max(1);
                (step, Duration::from_secs_f64(step as f64 / rate.max(1) as f64))
            }
        }
    }
}

fn task(conn: &Connection, id: &str) -> Result<Option<Task>, SqsError> {
    let mut select = conn.prepare_cached(
        "SELECT id, source_arn, destination_arn, rate, status, border, moved, to_move, failure, started_ms
         FROM sqs_move WHERE id = ?1",
    )?;
    Ok(select.query_row([id], Task::from_row).optional()?)
}

fn end(conn: &Connection, id: &str, status: &str, failure: Option<&str>) -> Result<(), SqsError> {
    conn.prepare_cached("UPDATE sqs_move SET status = ?2, failure = ?3 WHERE id = ?1")?
        .execute(params![id, status, failure])?;
    // The list shows the last ten of a source; older ones go.
    conn.prepare_cached(
        "DELETE FROM sqs_move WHERE status <> 'RUNNING' AND rowid NOT IN (
           SELECT rowid FROM sqs_move m WHERE m.source_arn = sqs_move.source_arn ORDER BY rowid DESC LIMIT 10)",
    )?
    .execute([])?;
    Ok(())
}

/// When a task wants its next step; `None` when it has ended.
fn step(tx: &Tx<'_>, id: &str, now: i64) -> Result<Option<Duration>, SqsError> {
    let Some(task) = task(tx, id)?.filter(|task| task.status == "RUNNING") else {
        return Ok(None);
    };
    let queue = match Queue::load(tx, &task.source_arn) {
        Ok(queue) => queue,
        Err(SqsError::QueueDoesNotExist) => {
            return end(tx, id, "FAILED", Some("AWS.SimpleQueueService.NonExistentQueue")).map(|()| None);
        }
        Err(other) => return Err(other),
    };
    expire(tx, &queue, now)?;
    let (most, pause) = task.pace();
    let rows: Vec<(i64, Option<String>)> = tx
        .prepare_cached(
            "SELECT seq, origin FROM sqs_message WHERE queue_id = ?1 AND seq <= ?2 AND visible_ms <= ?3 ORDER BY seq LIMIT ?4",
        )?
        .query_map([queue.id, task.border, now, most], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let full = i64::try_from(rows.len()).unwrap_or(most) == most;
    let mut moved = 0;
    let mut failure = None;
    for (seq, origin) in rows {
        let Some(target) = task.destination_arn.clone().or(origin) else {
            failure = Some("CouldNotDetermineMessageSource");
            break;
        };
        if resurrect(tx, seq, &target, now)? {
            tx.wake(Wake(target));
            moved += 1;
        } else {
            failure = Some("AWS.SimpleQueueService.NonExistentQueue");
            break;
        }
    }
    tx.prepare_cached("UPDATE sqs_move SET moved = moved + ?2 WHERE id = ?1")?.execute(params![id, moved])?;
    if failure.is_some() {
        return end(tx, id, "FAILED", failure).map(|()| None);
    }
    if full {
        return Ok(Some(pause));
    }
    let left: i64 = tx
        .prepare_cached("SELECT count(*) FROM sqs_message WHERE queue_id = ?1 AND seq <= ?2")?
        .query_row([queue.id, task.border], |row| row.get(0))?;
    if left > 0 {
        return Ok(Some(HELD));
    }
    end(tx, id, "COMPLETED", None).map(|()| None)
}

/// Makes a dead letter a new message of the target; false if there is no such queue.
fn resurrect(conn: &Connection, seq: i64, target_arn: &str, now: i64) -> Result<bool, SqsError> {
    let inserted = conn
        .prepare_cached(
            "INSERT INTO sqs_message (queue_id, group_id, visible_ms, sent_ms, message_id, trace_header, attributes, body)
             SELECT q.id, m.group_id, ?3, ?3, ?4, m.trace_header, m.attributes, m.body
             FROM sqs_message m, sqs_queue q WHERE m.seq = ?1 AND q.arn = ?2",
        )?
        .execute(params![seq, target_arn, now, Ids.uuid()])?;
    if inserted == 1 {
        conn.prepare_cached("DELETE FROM sqs_message WHERE seq = ?1")?.execute([seq])?;
    }
    Ok(inserted == 1)
}

/// Runs move tasks and sweeps, until the endpoint shuts down. To be started once, with the endpoint.
pub async fn run(state: Arc<Endpoint>) {
    let signal = state.wakes.of(SIGNAL);
    let mut due: HashMap<String, Instant> = HashMap::new();
    let mut sweep_at = Instant::now();
    loop {
        let mut woken = pin!(signal.notified());
        woken.as_mut().enable();
        if let Err(error) = pass(&state, &mut due, &mut sweep_at).await {
            tracing::error!(%error, "SQS: move tasks or retention could not go on; tried again later");
            due.values_mut().for_each(|at| *at = Instant::now() + HELD);
            sweep_at = Instant::now() + SWEEP;
        }
        let next = due.values().copied().min().map_or(sweep_at, |at| at.min(sweep_at));
        tokio::select! {
            () = woken => {}
            () = tokio::time::sleep_until(next) => {}
            () = state.shutdown.cancelled() => return,
        }
    }
}

async fn pass(state: &Endpoint, due: &mut HashMap<String, Instant>, sweep_at: &mut Instant) -> Result<(), SqsError> {
    let running: Vec<String> = state
        .db
        .read(|conn| {
            let mut select = conn.prepare_cached("SELECT id FROM sqs_move WHERE status = 'RUNNING'")?;
            Ok::<_, SqsError>(select.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?)
        })
        .await?;
    due.retain(|id, _| running.contains(id));
    for id in running {
        if *due.entry(id.clone()).or_insert_with(Instant::now) > Instant::now() {
            continue;
        }
        let (task, now) = (id.clone(), state.now());
        match state.db.write(move |tx| step(tx, &task, now)).await? {
            Some(pause) => due.insert(id, Instant::now() + pause),
            None => due.remove(&id),
        };
    }
    if *sweep_at <= Instant::now() {
        sweep(state).await?;
        *sweep_at = Instant::now() + SWEEP;
    }
    Ok(())
}

/// Deletes what is past its retention in queues that nobody polls, and the turns of groups that are gone. Looks
/// before it writes, so that an idle endpoint causes no fsync.
pub(super) async fn sweep(state: &Endpoint) -> Result<(), SqsError> {
    let now = state.now();
    let stale = state
        .db
        .read(move |conn| {
            let mut select = conn.prepare_cached("SELECT arn FROM sqs_queue")?;
            let arns = select.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
            let mut stale = Vec::new();
            for arn in arns {
                let queue = Queue::load(conn, &arn)?;
                let old: Option<i64> = conn
                    .prepare_cached("SELECT min(sent_ms) FROM sqs_message WHERE queue_id = ?1")?
                    .query_row([queue.id], |row| row.get(0))?;
                if old.is_some_and(|old| old <= queue.cutoff(now)) {
                    stale.push(arn);
                }
            }
            Ok::<_, SqsError>(stale)
        })
        .await?;
    if stale.is_empty() {
        return Ok(());
    }
    state
        .db
        .write(move |tx| {
            for arn in stale {
                let queue = Queue::load(tx, &arn)?;
                let deleted = expire(tx, &queue, now)?;
                tracing::info!(queue = queue.name, deleted, "SQS: deleted messages past their retention");
            }
            tx.execute(
                "DELETE FROM sqs_turn WHERE NOT EXISTS (SELECT 1 FROM sqs_message m
                   WHERE m.queue_id = sqs_turn.queue_id AND m.group_id = sqs_turn.group_id)",
                [],
            )?;
            Ok::<_, SqsError>(())
        })
        .await
}
