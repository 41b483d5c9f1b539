//! The outbox: what has to leave, written in the transaction of its change.
//!
//! Guarantee: a row is claimed by the process that wrote it for [`CLAIM_MS`]; after that any process may take it over.
//! A crash between sending and deleting sends twice: receivers dedup by event id or task state.

use std::collections::BTreeMap;
use std::sync::Arc;

use reelfleet_messages::{CloudEvent, EventId, Letter, TaskId};
use tokio::sync::Notify;

use crate::Step;
use crate::error::CatalogError;
use crate::statement::{Params, Statement};
use crate::store::Catalog;
use crate::tasks::{Lease, NewTask};
use crate::topic_mail::TopicMail;

/// The writer's own process has this long to send (milliseconds).
pub const CLAIM_MS: i64 = 5_000;
/// The target of events.
pub const EVENTS: &str = "events";
/// The target of mails to subscribers of a topic.
pub const MAILS: &str = "mails";
/// The attribute of such a mail that is its subject.
pub const SUBJECT: &str = "subject";

/// Rings when this process committed rows that it should send at once.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Notify>);

/// A row to be sent.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Id of the row: the event's id, or a wake-up's.
    pub id: String,
    /// `events`, `mails`, or the queue's short name (`transcode`, `transcode-dlq`).
    pub target: String,
    /// What is sent.
    pub body: String,
    /// Message attributes: dead letters and mails have them.
    pub attributes: BTreeMap<String, String>,
    /// Message group of tasks, attribute of events.
    pub tenant: String,
    /// Epoch milliseconds.
    pub created_at: i64,
}

const INSERT: &str = "INSERT INTO outbox (id, target, body, tenant, ord, claimed_by, claimed_until, created_at) \
     VALUES (:id, :target, :body, :tenant, :ord, :instance, :until, :now) ON CONFLICT (id) DO NOTHING";

fn row(step: &Step, id: &str, target: &str, body: &str, tenant: &str, ord: i64) -> Params {
    Params::new()
        .text("id", id)
        .text("target", target)
        .text("body", body)
        .text("tenant", tenant)
        .int("ord", ord)
        .text("instance", &step.instance)
        .int("until", step.now.saturating_add(CLAIM_MS))
        .int("now", step.now)
}

/// Wakes the workers of these tasks. The row's id is that of the operation and the task: a repeated call adds nothing.
pub(crate) fn wake_up(step: &Step, tasks: &[&NewTask]) -> Statement {
    Statement::batch(
        INSERT,
        tasks.iter().enumerate().map(|(ord, task)| {
            let (queue, task) = (task.queue(), &task.envelope);
            let id = format!("{}/{}", step.op, task.task);
            row(step, &id, queue.as_str(), &task.to_json(), &task.tenant, ord as i64)
        }),
    )
}

/// Wakes the worker of a task whose envelope is only in its row.
pub(crate) fn wake_up_stored(step: &Step, task: &TaskId) -> Statement {
    Statement::new(
        "INSERT INTO outbox (id, target, body, tenant, ord, claimed_by, claimed_until, created_at) \
         SELECT :id, queue, body, tenant, 0, :instance, :until, :now FROM task WHERE id = :task \
         ON CONFLICT (id) DO NOTHING",
    )
    .text("id", format!("{}/{task}", step.op))
    .text("task", task.to_string())
    .text("instance", &step.instance)
    .int("until", step.now.saturating_add(CLAIM_MS))
    .int("now", step.now)
}

/// Wakes the workers of all tasks that were called off in the operation `ended_by`.
pub(crate) fn wake_up_called_off(step: &Step, asset: &str, ended_by: &str) -> Statement {
    Statement::new(
        "INSERT INTO outbox (id, target, body, tenant, ord, claimed_by, claimed_until, created_at) \
         SELECT CAST(:op AS TEXT) || '/' || id, queue, body, tenant, coalesce(chunk, 0), :instance, :until, :now FROM task \
         WHERE asset_id = :asset AND state = 'cancelled' AND op_id = :ended ON CONFLICT (id) DO NOTHING",
    )
    .text("op", &step.op)
    .text("asset", asset)
    .text("ended", ended_by)
    .text("instance", &step.instance)
    .int("until", step.now.saturating_add(CLAIM_MS))
    .int("now", step.now)
}

/// Sends the envelope of a task that failed, with what is known of its end, to its dead-letter queue.
pub(crate) fn dead_letter(step: &Step, lease: &Lease, letter: &Letter) -> Result<Statement, CatalogError> {
    let attributes = serde_json::to_string(&letter.attributes());
    let attributes = attributes.map_err(|source| CatalogError::Stored { what: "letter", source })?;
    let envelope = &lease.envelope;
    Ok(Statement::new(
        "INSERT INTO outbox (id, target, body, attributes, tenant, ord, claimed_by, claimed_until, created_at) \
         VALUES (:id, :target, :body, :attributes, :tenant, 0, :instance, :until, :now) ON CONFLICT (id) DO NOTHING",
    )
    .text("id", format!("{}/letter", step.op))
    .text("target", format!("{}-dlq", lease.queue))
    .text("body", envelope.to_json())
    .text("attributes", attributes)
    .text("tenant", &envelope.tenant)
    .text("instance", &step.instance)
    .int("until", step.now.saturating_add(CLAIM_MS))
    .int("now", step.now))
}

/// Writes to the subscribers of a topic, once per event.
pub(crate) fn topic_mail(step: &Step, mail: &TopicMail, ord: i64) -> Result<Statement, CatalogError> {
    let attributes = BTreeMap::from([("type", &mail.kind), ("tenant", &mail.tenant), (SUBJECT, &mail.subject)]);
    let attributes = serde_json::to_string(&attributes);
    let attributes = attributes.map_err(|source| CatalogError::Stored { what: "mail", source })?;
    Ok(Statement::new(
        "INSERT INTO outbox (id, target, body, attributes, tenant, ord, claimed_by, claimed_until, created_at) \
         VALUES (:id, :target, :body, :attributes, :tenant, :ord, :instance, :until, :now) ON CONFLICT (id) DO NOTHING",
    )
    .with(row(step, &format!("{}/mail", mail.event), MAILS, &mail.text, &mail.tenant, ord))
    .text("attributes", attributes))
}

/// Publishes events.
pub(crate) fn publish(step: &Step, events: &[&CloudEvent]) -> Statement {
    Statement::batch(
        INSERT,
        events.iter().enumerate().map(|(ord, event)| {
            let id: EventId = event.id;
            row(step, &id.to_string(), EVENTS, &event.to_json(), &event.tenant, ord as i64)
        }),
    )
}

impl Bell {
    /// Says that there is something to send.
    pub fn ring(&self) {
        self.0.notify_one();
    }

    /// Waits for the next ring; one that came before is not lost.
    pub async fn heard(&self) {
        self.0.notified().await;
    }
}

impl Catalog {
    /// The bell of this process's outbox.
    pub fn bell(&self) -> Bell {
        self.relay.clone()
    }

    /// This process's own rows, oldest first.
    pub async fn own_outgoing(&self, instance: &str, limit: i64) -> Result<Vec<Outgoing>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT id, target, body, attributes, tenant, created_at FROM outbox WHERE claimed_by = :instance ORDER BY created_at, ord, id LIMIT :limit",
                )
                .text("instance", instance)
                .int("limit", limit),
            )
            .await?;
        rows.iter().map(outgoing).collect()
    }

    /// Takes over rows whose writer did not send them in time.
    pub async fn claim_leftovers(&self, step: &Step, limit: i64) -> Result<Vec<Outgoing>, CatalogError> {
        let (rows, _) = self
            .write(
                Statement::new(
                    "UPDATE outbox SET claimed_by = :instance, claimed_until = :until WHERE id IN \
                     (SELECT id FROM outbox WHERE claimed_until < :now ORDER BY created_at, ord LIMIT :limit) \
                     AND claimed_until < :now RETURNING id, target, body, attributes, tenant, created_at",
                )
                .text("instance", &step.instance)
                .int("until", step.now.saturating_add(CLAIM_MS))
                .int("now", step.now)
                .int("limit", limit),
            )
            .await?;
        rows.iter().map(outgoing).collect()
    }

    /// Lets go of rows that could not be sent: any process may take them over from `until` on (epoch milliseconds). Rows
    /// behind them are not held up.
    pub async fn put_off(&self, until: i64, ids: &[String]) -> Result<(), CatalogError> {
        let sets = ids.iter().map(|id| Params::new().text("id", id).int("until", until));
        self.write(Statement::batch("UPDATE outbox SET claimed_by = '', claimed_until = :until WHERE id = :id", sets))
            .await
            .map(drop)
    }

    /// Forgets what was sent.
    pub async fn sent(&self, ids: &[String]) -> Result<(), CatalogError> {
        let sets = ids.iter().map(|id| Params::new().text("id", id));
        self.write(Statement::batch("DELETE FROM outbox WHERE id = :id", sets)).await.map(drop)
    }
}

fn outgoing(row: &crate::statement::Row) -> Result<Outgoing, CatalogError> {
    Ok(Outgoing {
        id: row.text(0)?,
        target: row.text(1)?,
        body: row.text(2)?,
        attributes: match row.opt_text(3)? {
            Some(text) => {
                serde_json::from_str(&text).map_err(|source| CatalogError::Stored { what: "letter", source })?
            }
            None => BTreeMap::new(),
        },
        tenant: row.text(4)?,
        created_at: row.int(5)?,
    })
}
