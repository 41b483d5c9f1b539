//! Webhooks: endpoints that hear of events, and how far each has read its stream.
//!
//! Guarantees: a webhook hears of everything from its making on, in the order of its stream; the deliveries of a stretch
//! and the position after it are one transaction, won by whoever moves the position on. No secret is in these rows.

use reelfleet_messages::WebhookId;

use crate::Step;
use crate::deliveries::{self, NewDelivery};
use crate::error::CatalogError;
use crate::events::OPS_STREAM;
use crate::mail::{self, NewMail};
use crate::statement::{Params, Row, Statement};
use crate::store::{Atomic, Catalog};

/// A webhook and the account that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Whose events.
    pub tenant: String,
    /// Who made it.
    pub owner: String,
    /// For people.
    pub name: String,
    /// Where to.
    pub url: String,
    /// Types, separated by spaces; none: all.
    pub events: String,
    /// What it reads: its owner's stream, or [`of_tenant`].
    pub stream: String,
    /// How far it has read.
    pub position: i64,
    /// Whether anything is sent.
    pub enabled: bool,
    /// Why it was turned off, if not by hand.
    pub reason: Option<String>,
    /// Counts the secrets, from 1.
    pub secret_version: i64,
    /// When the newest secret was made (epoch milliseconds).
    pub rotated_at: i64,
    /// Epoch milliseconds.
    pub created_at: i64,
    /// Roles and state of the owner's account, where it is an account.
    pub user: Option<(String, String)>,
}

impl Webhook {
    /// Whether it hears of the whole tenant.
    pub fn is_of_tenant(&self) -> bool {
        self.stream == OPS_STREAM
    }

    /// Whether it asked for this type.
    pub fn wants(&self, kind: &str) -> bool {
        self.events.is_empty() || self.events.split(' ').any(|wanted| wanted == kind)
    }
}

/// The stream of a webhook that hears of its whole tenant: that of all events, of which it takes its tenant's.
pub fn of_tenant() -> &'static str {
    OPS_STREAM
}

/// What may be changed of a webhook.
#[derive(Debug, Clone)]
pub struct Change<'c> {
    /// For people.
    pub name: &'c str,
    /// Where to.
    pub url: &'c str,
    /// Types, separated by spaces.
    pub events: &'c str,
    /// Turned on again, it goes on where it stood, as far as the log reaches back.
    pub enabled: bool,
}

macro_rules! webhook_columns {
    () => {
        "SELECT w.id, w.tenant, w.owner, w.name, w.url, w.events, w.stream, w.position, w.enabled, w.reason, w.secret_version, \
         w.rotated_at, w.created_at, u.roles, u.state FROM webhook w LEFT JOIN user_account u ON u.id = w.owner "
    };
}

impl Catalog {
    /// Stores a new webhook. It begins where its stream stands.
    pub async fn add_webhook(&self, now: i64, webhook: &Webhook) -> Result<(), CatalogError> {
        self.write(
            Statement::new(
                "INSERT INTO webhook (id, tenant, owner, name, url, events, stream, position, enabled, secret_version, rotated_at, op_id, created_at, updated_at) \
                 VALUES (:id, :tenant, :owner, :name, :url, :events, :stream, coalesce((SELECT position FROM stream WHERE name = :stream), 0), \
                 :enabled, 1, :now, '', :now, :now) ON CONFLICT (id) DO NOTHING",
            )
            .text("id", webhook.id.to_string())
            .text("tenant", &webhook.tenant)
            .text("owner", &webhook.owner)
            .text("name", &webhook.name)
            .text("url", &webhook.url)
            .text("events", &webhook.events)
            .text("stream", &webhook.stream)
            .with(Params::new().bool("enabled", webhook.enabled))
            .int("now", now),
        )
        .await
        .map(drop)
    }

    /// One webhook.
    pub async fn webhook(&self, id: &WebhookId) -> Result<Option<Webhook>, CatalogError> {
        let sql = concat!(webhook_columns!(), "WHERE w.id = :id");
        let rows = self.read(Statement::new(sql).text("id", id.to_string())).await?;
        rows.first().map(webhook_from).transpose()
    }

    /// A user's webhooks, newest first.
    pub async fn webhooks_of(&self, tenant: &str, owner: &str, limit: i64) -> Result<Vec<Webhook>, CatalogError> {
        let sql = concat!(
            webhook_columns!(),
            "WHERE w.tenant = :tenant AND w.owner = :owner ORDER BY w.id DESC LIMIT :limit"
        );
        let statement = Statement::new(sql).text("tenant", tenant).text("owner", owner).int("limit", limit);
        self.read(statement).await?.iter().map(webhook_from).collect()
    }

    /// Changes it; what waits for a webhook that is turned on is due at once. `false`: it is gone.
    pub async fn change_webhook(&self, now: i64, id: &WebhookId, change: &Change<'_>) -> Result<bool, CatalogError> {
        let on = Params::new().bool("enabled", change.enabled);
        let (_, changed) = self
            .write(
                Statement::new(
                    "UPDATE webhook SET name = :name, url = :url, events = :events, enabled = :enabled, reason = NULL, updated_at = :now WHERE id = :id",
                )
                .text("name", change.name)
                .text("url", change.url)
                .text("events", change.events)
                .with(on)
                .int("now", now)
                .text("id", id.to_string()),
            )
            .await?;
        if changed == 1 && change.enabled {
            self.write(
                Statement::new(
                    "UPDATE webhook_delivery SET next_at = :now WHERE webhook_id = :id AND state = 'pending' AND next_at > :now AND op_id = ''",
                )
                .int("now", now)
                .text("id", id.to_string()),
            )
            .await?;
        }
        Ok(changed == 1)
    }

    /// Takes it away, with the log of its deliveries. May be repeated.
    pub async fn remove_webhook(&self, id: &WebhookId) -> Result<(), CatalogError> {
        self.write(Statement::new("DELETE FROM webhook WHERE id = :id").text("id", id.to_string())).await?;
        let rest = Statement::new("DELETE FROM webhook_delivery WHERE webhook_id = :id").text("id", id.to_string());
        self.write(rest).await.map(drop)
    }

    /// Another secret: version `from + 1`. `false`: somebody was first.
    pub async fn rotate_webhook(&self, now: i64, id: &WebhookId, from: i64) -> Result<bool, CatalogError> {
        let sql = "UPDATE webhook SET secret_version = :next, rotated_at = :now, updated_at = :now WHERE id = :id AND secret_version = :from";
        let statement = Statement::new(sql).int("next", from + 1).int("now", now).text("id", id.to_string());
        let (_, changed) = self.write(statement.int("from", from)).await?;
        Ok(changed == 1)
    }

    /// Whether there are any.
    pub async fn has_webhooks(&self) -> Result<bool, CatalogError> {
        Ok(!self.read(Statement::new("SELECT 1 FROM webhook LIMIT 1")).await?.is_empty())
    }

    /// Webhooks whose stream has gone on, those first that have waited longest for their turn.
    pub async fn webhooks_behind(&self, limit: i64) -> Result<Vec<Webhook>, CatalogError> {
        let sql = concat!(
            webhook_columns!(),
            "JOIN stream s ON s.name = w.stream WHERE w.enabled = :yes AND s.position > w.position ORDER BY w.updated_at, w.id LIMIT :limit"
        );
        let statement = Statement::new(sql).with(Params::new().bool("yes", true)).int("limit", limit);
        self.read(statement).await?.iter().map(webhook_from).collect()
    }

    /// Webhooks with deliveries that can be sent now, the oldest first: what is due behind an older one of its asset can't.
    pub async fn webhooks_due(&self, now: i64, limit: i64) -> Result<Vec<Webhook>, CatalogError> {
        let sql = concat!(
            webhook_columns!(),
            "JOIN (SELECT o.webhook_id, min(o.next_at) AS due FROM webhook_delivery o WHERE o.state = 'pending' AND o.next_at <= :now \
             AND NOT EXISTS (SELECT 1 FROM webhook_delivery e WHERE e.webhook_id = o.webhook_id AND e.asset_id = o.asset_id \
               AND e.state = 'pending' AND e.position < o.position) \
             GROUP BY o.webhook_id) d ON d.webhook_id = w.id WHERE w.enabled = :yes ORDER BY d.due, w.id LIMIT :limit"
        );
        let statement = Statement::new(sql).int("now", now).with(Params::new().bool("yes", true)).int("limit", limit);
        self.read(statement).await?.iter().map(webhook_from).collect()
    }

    /// Moves a webhook on in its stream, and writes the deliveries of that stretch.
    ///
    /// # Errors
    /// Conflict: another process did it, or the webhook is gone.
    pub async fn fan_out(
        &self,
        step: &Step,
        webhook: &Webhook,
        to: i64,
        made: &[NewDelivery],
    ) -> Result<(), CatalogError> {
        let id = webhook.id.to_string();
        let mut statements = vec![
            Statement::new(
                "UPDATE webhook SET position = :to, op_id = :op, updated_at = :now WHERE id = :id AND position = :from",
            )
            .int("to", to)
            .text("op", &step.op)
            .int("now", step.now)
            .text("id", &id)
            .int("from", webhook.position)
            .expect(1),
        ];
        if !made.is_empty() {
            statements.push(deliveries::insert(step.now, &webhook.id, made));
        }
        self.commit(Atomic { what: "handing events to a webhook", statements, settled: settled(&id, &step.op) }).await
    }

    /// Turns a webhook off, says why, and tells its owner. Nothing if it is off, gone, or took something since `silent_since`.
    pub async fn give_up_webhook(
        &self,
        step: &Step,
        id: &WebhookId,
        reason: &str,
        silent_since: i64,
        mail: Option<&NewMail<'_>>,
    ) -> Result<(), CatalogError> {
        let id = id.to_string();
        let mut statements = vec![
            Statement::new(
                "UPDATE webhook SET enabled = :no, reason = :reason, op_id = :op, updated_at = :now WHERE id = :id AND enabled = :yes \
                 AND NOT EXISTS (SELECT 1 FROM webhook_delivery WHERE webhook_id = :id AND state = 'delivered' AND updated_at >= :since)",
            )
            .with(Params::new().bool("no", false).bool("yes", true))
            .text("reason", reason)
            .text("op", &step.op)
            .int("now", step.now)
            .text("id", &id)
            .int("since", silent_since)
            .expect(1),
        ];
        statements.extend(mail.map(|mail| mail::enqueue(step, mail)));
        let atomic = Atomic { what: "turning off a webhook", statements, settled: settled(&id, &step.op) };
        match self.commit(atomic).await {
            Err(error) if error.is_conflict() => Ok(()),
            other => other,
        }
    }
}

fn settled(id: &str, op: &str) -> Statement {
    Statement::new("SELECT id FROM webhook WHERE id = :id AND op_id = :op").text("id", id).text("op", op)
}

fn webhook_from(row: &Row) -> Result<Webhook, CatalogError> {
    Ok(Webhook {
        id: row.parsed(0, "a webhook's id")?,
        tenant: row.text(1)?,
        owner: row.text(2)?,
        name: row.text(3)?,
        url: row.text(4)?,
        events: row.text(5)?,
        stream: row.text(6)?,
        position: row.int(7)?,
        enabled: row.bool(8)?,
        reason: row.opt_text(9)?,
        secret_version: row.int(10)?,
        rotated_at: row.int(11)?,
        created_at: row.int(12)?,
        user: row.opt_text(13)?.zip(row.opt_text(14)?),
    })
}
