//! Webhooks: events to endpoints of other software, by Standard Webhooks 1.0.0.
//!
//! Guarantees:
//! - every event that an endpoint asked for is sent until it is taken or nine waits are over; every attempt carries the
//!   event's id as `webhook-id`, and nothing is sent after a 2xx (unless this process dies between the answer and its
//!   note: then once more, with the same id);
//! - events of one asset arrive in their order: the next is not begun before the one before it has ended;
//! - an endpoint that is slow or down delays no other: each has its own turn, with [`TOGETHER`] attempts at once;
//! - 410 turns an endpoint off, and so does taking nothing over all the attempts of an event; its owner is told;
//! - several notifiers send beside each other by leases.

mod client;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use reelfleet_access::WebhookKey;
use reelfleet_access::webhooks::may_hear;
use reelfleet_catalog::deliveries::{Answer, Leased, NewDelivery};
use reelfleet_catalog::mail::NewMail;
use reelfleet_catalog::webhooks::Webhook;
use reelfleet_catalog::{Catalog, CatalogError};
use reelfleet_domain::webhook::{PING, Verdict, pause_ms, verdict};
use reelfleet_fleet::Context;
use reelfleet_fleet::clock::millis;
use reelfleet_fleet::health::Beat;
use reelfleet_fleet::trace;
use reelfleet_messages::trace::TraceParent;
use reelfleet_messages::{CloudEvent, MailId, UserId, WebhookId};
use reelfleet_telemetry::WebhookAttempted;
use reelfleet_telemetry::trace::Span;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::settings::Settings;
use client::{Letter, Post};

/// Attempts at once to one endpoint.
pub(crate) const TOGETHER: i64 = 4;
/// Endpoints at once.
const ENDPOINTS: usize = 32;
/// Events of a stream that are handed over at once.
const PAGE: i64 = 100;
/// What is older than this is not made up for, where a webhook was off: streams of users are kept longer.
const MADE_UP_FOR: Duration = Duration::from_secs(86_400);
/// Webhooks that are looked at in one round.
const WEBHOOKS: i64 = 200;
/// A lease is this much longer than an attempt may take.
const SPARE: Duration = Duration::from_secs(30);
/// A mail that nobody sends in this time is out of date (milliseconds).
const MAIL_LIFE_MS: i64 = 7 * 86_400_000;

/// Sends what is due.
pub(crate) struct Sender {
    context: Context,
    catalog: Catalog,
    key: WebhookKey,
    post: Post,
    pauses_s: Vec<u64>,
    lease: Duration,
}

impl Sender {
    /// None: the installation has no webhooks.
    pub(crate) fn new(context: &Context, catalog: &Catalog, settings: &Settings) -> anyhow::Result<Option<Arc<Self>>> {
        let Some(secret) = settings.webhook_secret.as_ref().filter(|secret| !secret.is_empty()) else {
            return Ok(None);
        };
        let limit = Duration::from_secs(settings.webhook_timeout_seconds);
        Ok(Some(Arc::new(Self {
            context: context.clone(),
            catalog: catalog.clone(),
            key: WebhookKey::new(secret).context("REELFLEET_WEBHOOK_SECRET")?,
            post: Post::new(settings.webhook_allow.clone(), limit),
            pauses_s: settings.webhook_pauses.clone(),
            lease: limit + SPARE,
        })))
    }

    /// Until the process drains; attempts that have begun are finished.
    pub(crate) async fn run(self: Arc<Self>, every: Duration, news: Arc<Notify>, beat: Beat) {
        let draining = self.context.shutdown.draining().clone();
        let mut tick = tokio::time::interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut at_work: JoinSet<(WebhookId, bool)> = JoinSet::new();
        let mut busy: HashSet<WebhookId> = HashSet::new();
        let mut any = false;
        loop {
            tokio::select! {
                biased;
                () = draining.cancelled() => break,
                Some(done) = at_work.join_next() => {
                    match done {
                        Ok((id, sent)) => {
                            busy.remove(&id);
                            // What could not be sent now can't a moment later either.
                            if !sent { continue; }
                        }
                        // Which one it was is not known: all of them are looked at again.
                        Err(error) => { tracing::error!(%error, "a webhook's turn broke off"); busy.clear(); }
                    }
                }
                () = news.notified() => {}
                _ = tick.tick() => match self.catalog.has_webhooks().await {
                    Ok(some) => any = some,
                    Err(error) => tracing::warn!(%error, "webhooks can't be looked at now"),
                },
            }
            beat.tick();
            // Where there are none no event is looked at for them; a new one hears of what was before it was noticed too.
            if !any {
                continue;
            }
            match self.round(&busy).await {
                Ok(due) => {
                    for webhook in due.into_iter().take(ENDPOINTS.saturating_sub(at_work.len())) {
                        busy.insert(webhook.id);
                        at_work.spawn(self.clone().turn(webhook.id));
                    }
                }
                Err(error) => tracing::warn!(%error, "webhooks can't be looked at now"),
            }
        }
        beat.end();
        while at_work.join_next().await.is_some() {}
    }

    /// Hands on what has happened; answers the webhooks that have something to send and nobody at it.
    async fn round(&self, busy: &HashSet<WebhookId>) -> Result<Vec<Webhook>, CatalogError> {
        for webhook in self.catalog.webhooks_behind(WEBHOOKS).await? {
            match self.hand_on(webhook).await {
                // Another process was first.
                Err(error) if error.is_conflict() => {}
                other => other?,
            }
        }
        let mut due = self.catalog.webhooks_due(self.context.clock.now_ms(), WEBHOOKS).await?;
        due.retain(|webhook| !busy.contains(&webhook.id));
        Ok(due)
    }

    /// Makes deliveries of the next stretch of the webhook's stream.
    async fn hand_on(&self, webhook: Webhook) -> Result<(), CatalogError> {
        if !may_hear(&webhook) {
            return self.not_allowed(&webhook).await;
        }
        let step = self.context.step();
        let page = self.catalog.events_since(&webhook.stream, webhook.position, PAGE).await?;
        let to = match page.last() {
            Some(last) => last.position,
            // What the log no longer keeps is passed over.
            None => self.catalog.stream_bounds(&webhook.stream).await?.0,
        };
        let since = step.now.saturating_sub(millis(MADE_UP_FOR));
        let made: Vec<NewDelivery> =
            page.iter().filter_map(|logged| delivery(&webhook, logged.position, &logged.body, since)).collect();
        self.catalog.fan_out(&step, &webhook, to, &made).await
    }

    /// Sends what is due to one endpoint, until nothing is; answers whether there was anything.
    async fn turn(self: Arc<Self>, id: WebhookId) -> (WebhookId, bool) {
        let mut sent = false;
        while !self.context.shutdown.draining().is_cancelled() {
            match self.batch(&id).await {
                Ok(true) => sent = true,
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(webhook = %id, %error, "a webhook's deliveries can't be looked at now");
                    break;
                }
            }
        }
        (id, sent)
    }

    /// Answers whether there was anything to send.
    async fn batch(&self, id: &WebhookId) -> Result<bool, CatalogError> {
        // Read anew for each batch: URL, secret and rights may have changed.
        let Some(webhook) = self.catalog.webhook(id).await? else { return Ok(false) };
        if !may_hear(&webhook) {
            self.not_allowed(&webhook).await?;
            return Ok(false);
        }
        let step = self.context.step();
        let leased = self.catalog.lease_deliveries(&step, id, millis(self.lease), TOGETHER).await?;
        for settled in futures::future::join_all(leased.iter().map(|leased| self.one(&webhook, leased))).await {
            settled?;
        }
        Ok(!leased.is_empty())
    }

    async fn one(&self, webhook: &Webhook, leased: &Leased) -> Result<(), CatalogError> {
        let (id, sent_at) = (leased.event.to_string(), self.context.clock.now_ms());
        let timestamp = sent_at.div_euclid(1_000);
        let signature = self.key.sign(webhook, sent_at, &id, timestamp, &leased.body);
        let letter = Letter { url: &webhook.url, id: &id, timestamp, signature: &signature, body: &leased.body };
        let began = trace::of_body(&leased.body);
        let span = Span::client("deliver webhook", began.as_ref().map(TraceParent::as_str));
        let reply = span.clone().within(self.post.send(&letter)).await;
        let now = self.context.clock.now_ms();
        let verdict = reply.status.map_or(Verdict::Again, verdict);
        // A try by hand is one try.
        let pauses_s = if leased.kind == PING { &[][..] } else { &self.pauses_s };
        let pause = pause_ms(pauses_s, leased.attempt, self.context.ids.unit(), reply.retry_after_s);
        let outcome = match (verdict, pause) {
            (Verdict::Taken, _) => "delivered",
            (Verdict::Gone, _) => "gone",
            (Verdict::Again, Some(_)) => "put_off",
            (Verdict::Again, None) => "given_up",
        };
        let (endpoint, seconds) = (webhook.id.to_string(), reply.took.as_secs_f64());
        tell(&span, &endpoint, leased, reply.status, outcome);
        WebhookAttempted { outcome, endpoint: &endpoint, status: reply.status, seconds }.emit();
        let error = match (verdict, reply.said.is_empty()) {
            (Verdict::Taken, _) => None,
            (_, true) => Some(String::new()),
            (_, false) => Some(reply.said),
        };
        let answer = Answer { status: reply.status, error, took_ms: millis(reply.took) };
        match (verdict, pause) {
            (Verdict::Taken, _) => self.catalog.delivered(now, &webhook.id, leased, &answer).await,
            (Verdict::Gone, _) => {
                self.catalog.not_delivered(now, &webhook.id, leased, &answer, None).await?;
                self.give_up(webhook, "the endpoint answered 410 Gone: it wants nothing more", i64::MAX).await
            }
            (Verdict::Again, Some(pause)) => {
                let next = Some(now.saturating_add(pause));
                self.catalog.not_delivered(now, &webhook.id, leased, &answer, next).await
            }
            (Verdict::Again, None) => {
                self.catalog.not_delivered(now, &webhook.id, leased, &answer, None).await?;
                if leased.kind == PING {
                    return Ok(());
                }
                let reason = "every attempt of an event failed, and nothing else was taken meanwhile";
                self.give_up(webhook, reason, leased.since).await
            }
        }
    }

    async fn not_allowed(&self, webhook: &Webhook) -> Result<(), CatalogError> {
        self.give_up(webhook, "whose it is may not hear these events any more", i64::MAX).await
    }

    /// Turns a webhook off that took nothing since then, and writes to its owner.
    async fn give_up(&self, webhook: &Webhook, reason: &str, silent_since: i64) -> Result<(), CatalogError> {
        let step = self.context.step();
        let owner = match webhook.owner.parse::<UserId>() {
            Ok(id) => self.catalog.user(&id).await?,
            Err(_) => None,
        };
        let subject = format!("Webhook turned off: {}", webhook.name);
        let text = format!(
            "The webhook \u{201c}{}\u{201d} to\n{}\nis turned off: {reason}.\n\nWhat waits for it is sent when you turn it on again:\n{}/webhooks\n",
            webhook.name, webhook.url, self.context.config.public_url
        );
        let mail = owner.as_ref().map(|owner| NewMail {
            id: MailId::from_uuid(self.context.ids.uuid()),
            tenant: &owner.tenant,
            to: &owner.email,
            kind: "webhook",
            subject: &subject,
            text: &text,
            expires_at: step.now.saturating_add(MAIL_LIFE_MS),
        });
        self.catalog.give_up_webhook(&step, &webhook.id, reason, silent_since, mail.as_ref()).await
    }
}

/// The span of an attempt says no URL: it may hold a secret of its owner's.
fn tell(span: &Span, endpoint: &str, leased: &Leased, status: Option<u16>, outcome: &'static str) {
    span.set("reelfleet.webhook.id", endpoint);
    span.set("reelfleet.event.type", leased.kind.as_str());
    span.set("reelfleet.attempt", leased.attempt);
    span.set("reelfleet.outcome", outcome);
    if let Some(status) = status {
        span.set("http.response.status_code", u32::from(status));
    }
    if outcome != "delivered" {
        span.fail(outcome);
    }
}

/// What an event becomes for a webhook; none: it did not ask for it, it is another tenant's, or from before `since`
/// (epoch milliseconds).
///
/// The body is the event as every channel carries it (CloudEvents 1.0), with the `timestamp` of Standard Webhooks.
fn delivery(webhook: &Webhook, position: i64, body: &str, since: i64) -> Option<NewDelivery> {
    let event: CloudEvent = serde_json::from_str(body).ok()?;
    if event.tenant != webhook.tenant
        || !webhook.wants(event.event.type_name())
        || event.at_ms().is_some_and(|at| at < since)
    {
        return None;
    }
    let mut sent: Value = serde_json::from_str(body).ok()?;
    sent["timestamp"] = event.time.clone().into();
    Some(NewDelivery {
        event: event.id,
        position,
        asset: event.subject.clone(),
        kind: event.event.type_name().to_owned(),
        body: sent.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use reelfleet_catalog::webhooks::of_tenant;
    use reelfleet_messages::event::AssetOnly;
    use reelfleet_messages::{AssetId, Event, EventId};
    use uuid::Uuid;

    use super::*;

    fn webhook(events: &str) -> Webhook {
        Webhook {
            id: WebhookId::from_uuid(Uuid::from_u128(1)),
            tenant: "t".into(),
            owner: "ann".into(),
            name: "mine".into(),
            url: "https://example.com".into(),
            events: events.into(),
            stream: of_tenant().into(),
            position: 0,
            enabled: true,
            reason: None,
            secret_version: 1,
            rotated_at: 0,
            created_at: 0,
            user: None,
        }
    }

    #[test]
    fn it_gets_what_it_asked_for_of_its_own_tenant() {
        let asset = AssetId::from_uuid(Uuid::from_u128(2));
        let of = |tenant: &str| {
            let id = EventId::from_uuid(Uuid::from_u128(3));
            CloudEvent::new(id, tenant, 1_000, None, Event::AssetDeleted(AssetOnly { asset })).to_json()
        };
        for (events, tenant, wanted) in [
            ("", "t", true),
            ("asset.deleted.v1", "t", true),
            ("asset.ready.v1 asset.deleted.v1", "t", true),
            ("asset.ready.v1", "t", false),
            ("asset.deleted.v", "t", false),
            ("", "other", false),
        ] {
            assert_eq!(delivery(&webhook(events), 7, &of(tenant), 1_000).is_some(), wanted, "{events:?} {tenant}");
        }
        assert!(delivery(&webhook(""), 7, &of("t"), 1_001).is_none(), "what is too old is not made up for");
        let made = delivery(&webhook(""), 7, &of("t"), 0).unwrap();
        let body: Value = serde_json::from_str(&made.body).unwrap();
        assert_eq!((made.position, made.asset.as_str()), (7, asset.to_string().as_str()));
        assert_eq!((&body["type"], &body["timestamp"]), (&Value::from("asset.deleted.v1"), &body["time"]));
        assert!(delivery(&webhook(""), 7, "no event", 0).is_none());
    }
}
