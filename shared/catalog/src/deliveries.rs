//! Deliveries of events to webhooks, and the log of them.
//!
//! Guarantees:
//! - an event is one delivery per webhook, whatever is repeated: its id is the key;
//! - an attempt is counted and leased before it starts, one at a time per webhook and asset, the oldest event first; a
//!   sender that dies leaves a lease that ends by itself;
//! - what was delivered is sent again only if a person asks for it.

use reelfleet_messages::{EventId, WebhookId};

use crate::Step;
use crate::error::CatalogError;
use crate::statement::{Params, Row, Statement};
use crate::store::Catalog;

/// A delivery to be written.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// The event; receivers deduplicate by it.
    pub event: EventId,
    /// Its place in the webhook's stream.
    pub position: i64,
    /// Events of one asset stay in order; empty: of none.
    pub asset: String,
    /// The event's type.
    pub kind: String,
    /// What is sent.
    pub body: String,
}

/// A delivery that this process may attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// The event.
    pub event: EventId,
    /// The event's type.
    pub kind: String,
    /// What is sent.
    pub body: String,
    /// This attempt's number, from 1.
    pub attempt: i64,
    /// Compared by what ends the attempt.
    pub op: String,
    /// When the delivery was made, or asked for again (epoch milliseconds).
    pub since: i64,
}

/// What an attempt came to.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The status code, if there was an answer.
    pub status: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
    /// Milliseconds it took.
    pub took_ms: i64,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The event.
    pub event: EventId,
    /// The event's type.
    pub kind: String,
    /// The asset; empty: of none.
    pub asset: String,
    /// `pending`, `delivered` or `failed`.
    pub state: String,
    /// Attempts so far.
    pub attempts: i64,
    /// When it is due next (epoch milliseconds); counts while it is pending.
    pub next_at: i64,
    /// The last answer's status code.
    pub status: Option<i64>,
    /// What went wrong last.
    pub error: Option<String>,
    /// Milliseconds that the last attempt took.
    pub took_ms: Option<i64>,
    /// What is sent.
    pub body: String,
    /// Epoch milliseconds.
    pub created_at: i64,
    /// Epoch milliseconds.
    pub updated_at: i64,
}

macro_rules! columns {
    () => {
        "SELECT event_id, kind, asset_id, state, attempts, next_at, status, error, took_ms, body, created_at, updated_at FROM webhook_delivery "
    };
}

/// Longest error that is kept (characters).
const ERROR_CHARS: usize = 500;

/// Writes deliveries.
pub(crate) fn insert(now: i64, webhook: &WebhookId, made: &[NewDelivery]) -> Statement {
    let sets = made.iter().map(|delivery| {
        Params::new()
            .text("webhook", webhook.to_string())
            .text("event", delivery.event.to_string())
            .int("position", delivery.position)
            .text("asset", &delivery.asset)
            .text("kind", &delivery.kind)
            .text("body", &delivery.body)
            .int("now", now)
    });
    Statement::batch(
        "INSERT INTO webhook_delivery (webhook_id, event_id, position, asset_id, kind, body, state, attempts, next_at, since, op_id, created_at, updated_at) \
         VALUES (:webhook, :event, :position, :asset, :kind, :body, 'pending', 0, :now, :now, '', :now, :now) ON CONFLICT (webhook_id, event_id) DO NOTHING",
        sets,
    )
}

impl Catalog {
    /// Writes a delivery that has no event: a person tries the webhook.
    pub async fn try_webhook(&self, now: i64, webhook: &WebhookId, made: NewDelivery) -> Result<(), CatalogError> {
        self.write(insert(now, webhook, &[made])).await.map(drop)
    }

    /// How many deliveries of a type wait for a webhook; counted up to `most`.
    pub async fn pending_of(&self, webhook: &WebhookId, kind: &str, most: i64) -> Result<i64, CatalogError> {
        let sql = "SELECT count(*) FROM (SELECT event_id FROM webhook_delivery WHERE webhook_id = :webhook AND state = 'pending' \
                   AND kind = :kind LIMIT :most) found";
        let statement = Statement::new(sql).text("webhook", webhook.to_string()).text("kind", kind).int("most", most);
        Ok(crate::store::first_int(&self.read(statement).await?)?.unwrap_or(0))
    }

    /// Takes deliveries of a webhook that are due, for `lease_ms` each: of every asset the oldest that is open.
    pub async fn lease_deliveries(
        &self,
        step: &Step,
        webhook: &WebhookId,
        lease_ms: i64,
        limit: i64,
    ) -> Result<Vec<Leased>, CatalogError> {
        let (rows, _) = self
            .write(
                Statement::new(
                    "UPDATE webhook_delivery SET attempts = attempts + 1, next_at = :until, op_id = :op, updated_at = :now \
                     WHERE webhook_id = :webhook AND state = 'pending' AND next_at <= :now AND event_id IN \
                     (SELECT d.event_id FROM webhook_delivery d WHERE d.webhook_id = :webhook AND d.state = 'pending' AND d.next_at <= :now \
                      AND NOT EXISTS (SELECT 1 FROM webhook_delivery e WHERE e.webhook_id = :webhook AND e.asset_id = d.asset_id \
                        AND e.state = 'pending' AND e.position < d.position) \
                      AND EXISTS (SELECT 1 FROM webhook w WHERE w.id = :webhook AND w.enabled = :yes) \
                      ORDER BY d.next_at, d.position LIMIT :limit) \
                     RETURNING event_id, kind, body, attempts, op_id, since",
                )
                .int("until", step.now.saturating_add(lease_ms))
                .text("op", &step.op)
                .int("now", step.now)
                .text("webhook", webhook.to_string())
                .with(Params::new().bool("yes", true))
                .int("limit", limit),
            )
            .await?;
        rows.iter().map(leased_from).collect()
    }

    /// Notes that it was taken.
    pub async fn delivered(
        &self,
        now: i64,
        webhook: &WebhookId,
        leased: &Leased,
        answer: &Answer,
    ) -> Result<(), CatalogError> {
        self.end_attempt(now, webhook, leased, answer, "delivered", now).await
    }

    /// Notes why an attempt failed. With `next_at` it is tried again then; without, it is given up.
    pub async fn not_delivered(
        &self,
        now: i64,
        webhook: &WebhookId,
        leased: &Leased,
        answer: &Answer,
        next_at: Option<i64>,
    ) -> Result<(), CatalogError> {
        let state = if next_at.is_some() { "pending" } else { "failed" };
        self.end_attempt(now, webhook, leased, answer, state, next_at.unwrap_or(now)).await
    }

    async fn end_attempt(
        &self,
        now: i64,
        webhook: &WebhookId,
        leased: &Leased,
        answer: &Answer,
        state: &str,
        next_at: i64,
    ) -> Result<(), CatalogError> {
        let error: Option<String> = answer.error.as_ref().map(|error| error.chars().take(ERROR_CHARS).collect());
        self.write(
            Statement::new(
                "UPDATE webhook_delivery SET state = :state, next_at = :next, status = :status, error = :error, took_ms = :took, \
                 op_id = '', updated_at = :now WHERE webhook_id = :webhook AND event_id = :event AND state = 'pending' AND op_id = :op",
            )
            .text("state", state)
            .int("next", next_at)
            .with(Params::new().opt_int("status", answer.status.map(i64::from)).opt_text("error", error))
            .int("took", answer.took_ms)
            .int("now", now)
            .text("webhook", webhook.to_string())
            .text("event", leased.event.to_string())
            .text("op", &leased.op),
        )
        .await
        .map(drop)
    }

    /// Sends one that has ended once more, from the first attempt. `false`: there is none, or it is under way.
    pub async fn redeliver(&self, now: i64, webhook: &WebhookId, event: &EventId) -> Result<bool, CatalogError> {
        let sql = "UPDATE webhook_delivery SET state = 'pending', attempts = 0, next_at = :now, since = :now, updated_at = :now \
                   WHERE webhook_id = :webhook AND event_id = :event AND state <> 'pending'";
        let statement = Statement::new(sql).int("now", now).text("webhook", webhook.to_string());
        let (_, changed) = self.write(statement.text("event", event.to_string())).await?;
        Ok(changed == 1)
    }

    /// The log of a webhook, the latest event first, from before an event's id.
    pub async fn deliveries_of(
        &self,
        webhook: &WebhookId,
        before: Option<&EventId>,
        limit: i64,
    ) -> Result<Vec<Delivery>, CatalogError> {
        let sql = concat!(
            columns!(),
            "WHERE webhook_id = :webhook AND (:first = 1 OR event_id < :before) ORDER BY event_id DESC LIMIT :limit"
        );
        let statement =
            Statement::new(sql).text("webhook", webhook.to_string()).int("first", i64::from(before.is_none()));
        let statement = statement.text("before", before.map_or(String::new(), ToString::to_string)).int("limit", limit);
        self.read(statement).await?.iter().map(delivery_from).collect()
    }

    /// One line of it.
    pub async fn delivery(&self, webhook: &WebhookId, event: &EventId) -> Result<Option<Delivery>, CatalogError> {
        let sql = concat!(columns!(), "WHERE webhook_id = :webhook AND event_id = :event");
        let statement = Statement::new(sql).text("webhook", webhook.to_string()).text("event", event.to_string());
        self.read(statement).await?.first().map(delivery_from).transpose()
    }

    /// Forgets deliveries that ended, or could not even be tried, before `before` (epoch milliseconds), and those of
    /// webhooks that are gone.
    pub async fn trim_deliveries(&self, before: i64) -> Result<u64, CatalogError> {
        let sql = "DELETE FROM webhook_delivery WHERE updated_at < :before";
        let (_, changed) = self.write(Statement::new(sql).int("before", before)).await?;
        Ok(changed)
    }
}

fn leased_from(row: &Row) -> Result<Leased, CatalogError> {
    Ok(Leased {
        event: row.parsed(0, "an event's id")?,
        kind: row.text(1)?,
        body: row.text(2)?,
        attempt: row.int(3)?,
        op: row.text(4)?,
        since: row.int(5)?,
    })
}

fn delivery_from(row: &Row) -> Result<Delivery, CatalogError> {
    Ok(Delivery {
        event: row.parsed(0, "an event's id")?,
        kind: row.text(1)?,
        asset: row.text(2)?,
        state: row.text(3)?,
        attempts: row.int(4)?,
        next_at: row.int(5)?,
        status: row.opt_int(6)?,
        error: row.opt_text(7)?,
        took_ms: row.opt_int(8)?,
        body: row.text(9)?,
        created_at: row.int(10)?,
        updated_at: row.int(11)?,
    })
}
