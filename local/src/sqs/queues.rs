//! Queues themselves: made, found, listed, described, tagged, purged, deleted.
//!
//! Guarantee: creating is idempotent; what was set is returned as it was set; the counts are exact at the snapshot
//! they were taken from and leave out what is past its retention, because a fleet is scaled by them.

use std::{collections::BTreeMap, sync::Arc};

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};

use super::{
    Answer, SqsError,
    attributes::{QueueAttributes, check_asked, no_fifo},
    parse,
    wire::{self, arn_of_url, page_size},
};
use crate::state::{Endpoint, Wake};

/// A queue may be purged once in this many milliseconds.
const PURGE_PAUSE_MS: i64 = 60_000;

/// One queue, as stored.
pub struct Queue {
    pub id: i64,
    pub arn: String,
    pub name: String,
    pub attributes: QueueAttributes,
    pub created_ms: i64,
    pub modified_ms: i64,
    purged_ms: Option<i64>,
}

impl Queue {
    /// The queue of that ARN.
    pub fn load(conn: &Connection, arn: &str) -> Result<Self, SqsError> {
        Self::find(conn, arn)?.ok_or(SqsError::QueueDoesNotExist)
    }

    fn find(conn: &Connection, arn: &str) -> Result<Option<Self>, SqsError> {
        let mut select = conn.prepare_cached(
            "SELECT id, arn, name, attributes, created_ms, modified_ms, purged_ms FROM sqs_queue WHERE arn = ?1",
        )?;
        Ok(select.query_row([arn], Self::from_row).optional()?)
    }

    fn from_row(row: &rusqlite::Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            id: row.get(0)?,
            arn: row.get(1)?,
            name: row.get(2)?,
            attributes: QueueAttributes::from_json(&row.get::<_, String>(3)?),
            created_ms: row.get(4)?,
            modified_ms: row.get(5)?,
            purged_ms: row.get(6)?,
        })
    }

    /// The queues whose dead-letter queue is this ARN, by name.
    pub fn sources_of(conn: &Connection, dead_letter_arn: &str) -> Result<Vec<Self>, SqsError> {
        let mut select = conn.prepare_cached(
            "SELECT id, arn, name, attributes, created_ms, modified_ms, purged_ms FROM sqs_queue
             WHERE attributes LIKE '%RedrivePolicy%' ORDER BY name",
        )?;
        let mut sources = Vec::new();
        for queue in select.query_map([], Self::from_row)? {
            let queue = queue?;
            if queue.attributes.redrive().is_some_and(|redrive| redrive.target == dead_letter_arn) {
                sources.push(queue);
            }
        }
        Ok(sources)
    }

    /// Messages sent at or before this time are past their retention.
    pub fn cutoff(&self, now: i64) -> i64 {
        now - self.attributes.retention_ms()
    }
}

fn check_name(name: &str) -> Result<(), SqsError> {
    if name.ends_with(".fifo") {
        return Err(no_fifo());
    }
    if name.is_empty()
        || name.len() > 80
        || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    {
        return Err(SqsError::InvalidParameterValue(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length".into(),
        ));
    }
    Ok(())
}

/// A redrive policy must name a queue that exists and lets this one in.
fn check_redrive(conn: &Connection, arn: &str, attributes: &QueueAttributes) -> Result<(), SqsError> {
    let Some(redrive) = attributes.redrive() else {
        return Ok(());
    };
    let refuse = |reason: &str| {
        SqsError::InvalidParameterValue(format!(
            "Value {} for parameter RedrivePolicy is invalid. Reason: {reason}",
            redrive.target
        ))
    };
    let target = Queue::find(conn, &redrive.target)?.ok_or_else(|| refuse("Dead letter target does not exist."))?;
    if target.attributes.allows_source(arn) {
        Ok(())
    } else {
        Err(refuse("The dead-letter queue's RedriveAllowPolicy does not allow this queue as a source."))
    }
}

pub async fn create(state: &Arc<Endpoint>, body: &[u8]) -> Answer {
    let request: wire::CreateQueue = parse(body)?;
    let name = request.queue_name.ok_or(SqsError::MissingParameter("QueueName"))?;
    check_name(&name)?;
    let wanted = request.attributes.unwrap_or_default();
    let mut attributes = QueueAttributes::default();
    attributes.set(&wanted)?;
    let (arn, url, now) = (state.queue_arn(&name), state.queue_url(&name), state.now());
    state
        .db
        .write(move |tx| {
            if let Some(queue) = Queue::find(tx, &arn)? {
                return match queue.attributes.differs(&wanted) {
                    None => Ok(()),
                    Some(attribute) => Err(SqsError::QueueNameExists(attribute)),
                };
            }
            check_redrive(tx, &arn, &attributes)?;
            tx.prepare_cached(
                "INSERT INTO sqs_queue (arn, name, attributes, created_ms, modified_ms) VALUES (?1, ?2, ?3, ?4, ?4)",
            )?
            .execute(params![arn, name, attributes.to_json(), now])?;
            put_tags(tx, tx.last_insert_rowid(), &request.tags.unwrap_or_default())
        })
        .await?;
    Ok(json!({ "QueueUrl": url }))
}

pub async fn url(state: &Arc<Endpoint>, body: &[u8]) -> Answer {
    let request: wire::GetQueueUrl = parse(body)?;
    let name = request.queue_name.ok_or(SqsError::MissingParameter("QueueName"))?;
    if request.owner.is_some_and(|owner| owner != state.account_id) {
        return Err(SqsError::QueueDoesNotExist);
    }
    let (arn, url) = (state.queue_arn(&name), state.queue_url(&name));
    state.db.read(move |conn| Queue::load(conn, &arn)).await?;
    Ok(json!({ "QueueUrl": url }))
}

/// One page of sorted names after the token, and the token of the next page.
fn page(names: Vec<String>, size: usize, token: Option<&str>) -> (Vec<String>, Option<String>) {
    let mut names: Vec<String> = names.into_iter().filter(|n| token.is_none_or(|t| n.as_str() > t)).collect();
    let more = names.len() > size;
    names.truncate(size);
    let next = names.last().filter(|_| more).map(hex::encode);
    (names, next)
}

fn read_token(token: Option<String>) -> Result<Option<String>, SqsError> {
    let invalid = || SqsError::InvalidParameterValue("Invalid or expired next token.".into());
    token.map(|t| hex::decode(t).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(invalid)).transpose()
}

pub async fn list(state: &Arc<Endpoint>, body: &[u8]) -> Answer {
    let request: wire::ListQueues = parse(body)?;
    let size = page_size(request.max_results, 1_000, 1_000)?;
    let token = read_token(request.next_token)?;
    let prefix = request.queue_name_prefix.unwrap_or_default();
    let all = state.queue_arn("");
    let names: Vec<String> = state
        .db
        .read(move |conn| {
            let mut select = conn.prepare_cached("SELECT name FROM sqs_queue WHERE arn = ?1 || name ORDER BY name")?;
            let names = select.query_map([all], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
            Ok::<_, SqsError>(names)
        })
        .await?;
    let names = names.into_iter().filter(|name| name.starts_with(&prefix)).collect();
    let (names, next) = page(names, size, token.as_deref());
    Ok(urls(state, "QueueUrls", &names, next.filter(|_| request.max_results.is_some())))
}

fn urls(state: &Endpoint, list: &str, names: &[String], next: Option<String>) -> Value {
    let mut answer = serde_json::Map::new();
    if !names.is_empty() || list == "queueUrls" {
        answer.insert(list.into(), names.iter().map(|name| state.queue_url(name)).collect());
    }
    if let Some(next) = next {
        answer.insert("NextToken".into(), next.into());
    }
    answer.into()
}

pub async fn list_sources(state: &Arc<Endpoint>, body: &[u8]) -> Answer {
    let request: wire::ListSources = parse(body)?;
    let arn = arn_of_url(state, request.queue_url.as_deref())?;
    let size = page_size(request.max_results, 1_000, 1_000)?;
    let token = read_token(request.next_token)?;
    let sources = state
        .db
        .read(move |conn| {
            Queue::load(conn, &arn)?;
            Queue::sources_of(conn, &arn)
        })
        .await?;
    let (names, next) = page(sources.into_iter().map(|queue| queue.name).collect(), size, token.as_deref());
    Ok(urls(state, "queueUrls", &names, next.filter(|_| request.max_results.is_some())))
}

pub async fn delete(state: &Arc<Endpoint>, body: &[u8]) -> Answer {
    let request: wire::OfQueue = parse(body)?;
    let arn = arn_of_url(state, request.queue_url.as_deref())?;
    state
        .db
        .write(move |tx| {
            if tx.prepare_cached("DELETE FROM sqs_queue WHERE arn = ?1")?.execute([&arn])? == 0 {
                return Err(SqsError::QueueDoesNotExist);
            }
            // Long polls learn that there is nothing to wait for.
            tx.wake(Wake(arn));
            Ok(())
        })
        .await?;
    Ok(json!({}))
}

pub async fn purge(state: &Arc<Endpoint>, body: &[u8]) -> Answer {
    let request: wire::OfQueue = parse(body)?;
    let arn = arn_of_url(state, request.queue_url.as_deref())?;
    let now = state.now();
    state
        .db
        .write(move |tx| {
            let queue = Queue::load(tx, &arn)?;
            if queue.purged_ms.is_some_and(|purged| now < purged + PURGE_PAUSE_MS) {
                return Err(SqsError::PurgeQueueInProgress(queue.name));
            }
            tx.prepare_cached("DELETE FROM sqs_message WHERE queue_id = ?1")?.execute([queue.id])?;
            tx.prepare_cached("UPDATE sqs_queue SET purged_ms = ?2 WHERE id = ?1")?.execute([queue.id, now])?;
            Ok(())
        })
        .await?;
    Ok(json!({}))
}

pub async fn set_attributes(state: &Arc<Endpoint>, body: &[u8]) -> Answer {
    let request: wire::SetAttributes = parse(body)?;
    let arn = arn_of_url(state, request.queue_url.as_deref())?;
    let changes = request.attributes.ok_or(SqsError::MissingParameter("Attributes"))?;
    let now = state.now();
    state
        .db
        .write(move |tx| {
            let mut queue = Queue::load(tx, &arn)?;
            queue.attributes.set(&changes)?;
            if changes.contains_key("RedrivePolicy") {
                check_redrive(tx, &arn, &queue.attributes)?;
            }
            tx.prepare_cached("UPDATE sqs_queue SET attributes = ?2, modified_ms = ?3 WHERE id = ?1")?
                .execute(params![queue.id, queue.attributes.to_json(), now])?;
            Ok::<_, SqsError>(())
        })
        .await?;
    Ok(json!({}))
}

/// Visible, in flight, delayed.
fn counts(conn: &Connection, queue: &Queue, now: i64) -> Result<[i64; 3], SqsError> {
    let mut select = conn.prepare_cached(
        "SELECT count(*) FILTER (WHERE visible_ms <= ?2),
                count(*) FILTER (WHERE visible_ms > ?2 AND receives > 0),
                count(*) FILTER (WHERE visible_ms > ?2 AND receives = 0)
         FROM sqs_message WHERE queue_id = ?1 AND sent_ms > ?3",
    )?;
    Ok(select.query_row([queue.id, now, queue.cutoff(now)], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))?)
}

pub async fn get_attributes(state: &Arc<Endpoint>, body: &[u8]) -> Answer {
    let request: wire::GetAttributes = parse(body)?;
    let arn = arn_of_url(state, request.queue_url.as_deref())?;
    let asked = request.attribute_names.unwrap_or_default();
    asked.iter().try_for_each(|name| check_asked(name))?;
    let now = state.now();
    let (queue, counts) = state
        .db
        .read(move |conn| {
            let queue = Queue::load(conn, &arn)?;
            let counts = counts(conn, &queue, now)?;
            Ok::<_, SqsError>((queue, counts))
        })
        .await?;
    let mut all = queue.attributes.all();
    all.extend([
        ("QueueArn", queue.arn.clone()),
        ("CreatedTimestamp", (queue.created_ms / 1_000).to_string()),
        ("LastModifiedTimestamp", (queue.modified_ms / 1_000).to_string()),
        ("ApproximateNumberOfMessages", counts[0].to_string()),
        ("ApproximateNumberOfMessagesNotVisible", counts[1].to_string()),
        ("ApproximateNumberOfMessagesDelayed", counts[2].to_string()),
    ]);
    all.retain(|name, _| asked.iter().any(|asked| asked == "All" || asked == name));
    Ok(if all.is_empty() { json!({}) } else { json!({ "Attributes": all }) })
}

fn put_tags(conn: &Connection, queue_id: i64, tags: &BTreeMap<String, String>) -> Result<(), SqsError> {
    for (key, value) in tags {
        conn.prepare_cached("INSERT OR REPLACE INTO sqs_tag (queue_id, key, value) VALUES (?1, ?2, ?3)")?
            .execute(params![queue_id, key, value])?;
    }
    let tags: i64 = conn
        .prepare_cached("SELECT count(*) FROM sqs_tag WHERE queue_id = ?1")?
        .query_row([queue_id], |row| row.get(0))?;
    if tags > 50 {
        return Err(SqsError::InvalidParameterValue("Too many tags added for queue: at most 50.".into()));
    }
    Ok(())
}

pub async fn tag(state: &Arc<Endpoint>, body: &[u8]) -> Answer {
    let request: wire::Tag = parse(body)?;
    let arn = arn_of_url(state, request.queue_url.as_deref())?;
    let tags = request.tags.ok_or(SqsError::MissingParameter("Tags"))?;
    state.db.write(move |tx| put_tags(tx, Queue::load(tx, &arn)?.id, &tags)).await?;
    Ok(json!({}))
}

pub async fn untag(state: &Arc<Endpoint>, body: &[u8]) -> Answer {
    let request: wire::Untag = parse(body)?;
    let arn = arn_of_url(state, request.queue_url.as_deref())?;
    let keys = request.tag_keys.ok_or(SqsError::MissingParameter("TagKeys"))?;
    state
        .db
        .write(move |tx| {
            let queue = Queue::load(tx, &arn)?;
            for key in &keys {
                tx.prepare_cached("DELETE FROM sqs_tag WHERE queue_id = ?1 AND key = ?2")?
                    .execute(params![queue.id, key])?;
            }
            Ok::<_, SqsError>(())
        })
        .await?;
    Ok(json!({}))
}

pub async fn list_tags(state: &Arc<Endpoint>, body: &[u8]) -> Answer {
    let request: wire::OfQueue = parse(body)?;
    let arn = arn_of_url(state, request.queue_url.as_deref())?;
    let tags = state
        .db
        .read(move |conn| {
            let queue = Queue::load(conn, &arn)?;
            let mut select = conn.prepare_cached("SELECT key, value FROM sqs_tag WHERE queue_id = ?1")?;
            let rows = select.query_map([queue.id], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok::<_, SqsError>(rows.collect::<Result<BTreeMap<String, String>, _>>()?)
        })
        .await?;
    Ok(if tags.is_empty() { json!({}) } else { json!({ "Tags": tags }) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(check_name("reelfleet-probe_dlq").is_ok());
        for bad in ["", "a b", "a.fifo", "a/b", &"x".repeat(81)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pages_follow_one_another() {
        let names = || ["a", "b", "c"].map(String::from).to_vec();
        let (first, next) = page(names(), 2, None);
        assert_eq!(first, ["a", "b"]);
        let token = read_token(next).unwrap();
        assert_eq!(page(names(), 2, token.as_deref()), (vec!["c".to_owned()], None));
    }
}
