//! `/v1/webhooks`: endpoints of one's own software that hear of events.
//!
//! Guarantees: a webhook hears of its owner's assets, or for administrators of the tenant's, and of nothing else; its URL
//! leads to the public internet or to a host that the operator has named ([`target`]); its secret is shown to its
//! owner alone. What is sent, and when again, is the notifier's.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use reelfleet_access::targets::target;
use reelfleet_access::{Principal, Scope, WebhookKey};
use reelfleet_catalog::deliveries::{Delivery, NewDelivery};
use reelfleet_catalog::events::user_stream;
use reelfleet_catalog::webhooks::{Change, Webhook, of_tenant};
use reelfleet_domain::webhook::PING;
use reelfleet_messages::{Event, EventId, WebhookId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::{App, rfc3339};
use crate::auth::{name, person};
use crate::caller::{Caller, Payload};
use crate::paging::Page;
use crate::problem::{Code, Problem};

/// Webhooks of one user; two made at the same moment may both get the last place.
const MOST: i64 = 20;
/// More than there can be of one user.
const ALL: i64 = 1_000;
/// Tries by hand of one webhook that wait at once.
const PINGS: i64 = 10;

#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    name: String,
    url: String,
    /// Types; none or left out: all.
    #[serde(default)]
    events: Vec<String>,
    /// Of the whole tenant; for administrators.
    #[serde(default)]
    tenant: bool,
}

/// What is left out stays as it is.
#[derive(Debug, Deserialize)]
pub(crate) struct Wish {
    name: Option<String>,
    url: Option<String>,
    events: Option<Vec<String>>,
    enabled: Option<bool>,
}

/// One's webhooks, newest first.
pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, Problem> {
    let principal = admitted(caller)?;
    let found = app.catalog.webhooks_of(&principal.tenant, principal.user(), ALL).await?;
    Ok(Json(json!({ "webhooks": found.iter().map(shown).collect::<Vec<_>>(), "types": Event::LOGGED })))
}

/// A new one, with its secret. It hears of what happens from now on.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Payload(wanted): Payload<Wanted>,
) -> Result<Response, Problem> {
    let principal = admitted(caller)?;
    let key = app.webhook_key()?;
    if wanted.tenant {
        principal.require(Scope::Admin)?;
    }
    let held = app.catalog.webhooks_of(&principal.tenant, principal.user(), MOST).await?;
    if held.len() as i64 >= MOST {
        return Err(Problem::new(Code::TooManyWebhooks, format!("at most {MOST}: delete one first")));
    }
    let stream = if wanted.tenant { of_tenant().to_owned() } else { user_stream(&principal.tenant, principal.user()) };
    let webhook = Webhook {
        id: WebhookId::from_uuid(app.context.ids.uuid()),
        tenant: principal.tenant.clone(),
        owner: principal.owner.clone(),
        name: name(&wanted.name)?,
        url: url(&app, &wanted.url)?,
        events: types(&wanted.events)?,
        stream,
        position: 0,
        enabled: true,
        reason: None,
        secret_version: 1,
        rotated_at: app.now(),
        created_at: app.now(),
        user: None,
    };
    let detail = json!({ "name": webhook.name, "url": webhook.url, "tenant": wanted.tenant });
    app.catalog.audit(&[app.deed(&webhook.tenant, principal.user(), "webhook.created", webhook.id, &detail)]).await?;
    app.catalog.add_webhook(app.now(), &webhook).await?;
    Ok((StatusCode::CREATED, Json(with_secret(&webhook, key))).into_response())
}

/// One of them.
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(shown(&controlled(&app, &admitted(caller)?, &id).await?)))
}

/// Its secret, as often as its owner asks.
pub(crate) async fn secret(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let webhook = own(&app, &admitted(caller)?, &id).await?;
    Ok(Json(with_secret(&webhook, app.webhook_key()?)))
}

/// Another name, URL or choice of types; off and on.
pub(crate) async fn change(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Payload(wish): Payload<Wish>,
) -> Result<Json<Value>, Problem> {
    let principal = admitted(caller)?;
    let before = controlled(&app, &principal, &id).await?;
    // Where it goes is its owner's to say; an administrator may turn it off.
    let only_off = wish.name.is_none() && wish.url.is_none() && wish.events.is_none() && wish.enabled == Some(false);
    if before.owner != principal.user() && !only_off {
        return Err(Problem::not_found());
    }
    if wish.enabled == Some(true) {
        may_hear(&principal, &before)?;
    }
    let named = wish.name.as_deref().map(name).transpose()?.unwrap_or_else(|| before.name.clone());
    let to = wish.url.as_deref().map(|text| url(&app, text)).transpose()?.unwrap_or_else(|| before.url.clone());
    let events = wish.events.as_deref().map(types).transpose()?.unwrap_or_else(|| before.events.clone());
    let enabled = wish.enabled.unwrap_or(before.enabled);
    let detail = json!({ "name": named, "url": to, "events": events, "enabled": enabled });
    app.catalog.audit(&[app.deed(&before.tenant, principal.user(), "webhook.changed", before.id, &detail)]).await?;
    let change = Change { name: &named, url: &to, events: &events, enabled };
    if !app.catalog.change_webhook(app.now(), &before.id, &change).await? {
        return Err(Problem::not_found());
    }
    Ok(Json(shown(&found(&app, &id).await?)))
}

/// Takes it away. May be repeated.
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let principal = admitted(caller)?;
    let webhook = controlled(&app, &principal, &id).await?;
    let detail = json!({ "name": webhook.name, "owner": webhook.owner });
    app.catalog.audit(&[app.deed(&webhook.tenant, principal.user(), "webhook.deleted", webhook.id, &detail)]).await?;
    app.catalog.remove_webhook(&webhook.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Another secret; the one before signs beside it for a day.
pub(crate) async fn rotate(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let principal = admitted(caller)?;
    let webhook = own(&app, &principal, &id).await?;
    let key = app.webhook_key()?;
    let detail = json!({ "name": webhook.name });
    app.catalog.audit(&[app.deed(&webhook.tenant, principal.user(), "webhook.rotated", webhook.id, &detail)]).await?;
    if !app.catalog.rotate_webhook(app.now(), &webhook.id, webhook.secret_version).await? {
        return Err(Problem::new(Code::EditedMeanwhile, "somebody else gave it another secret just now"));
    }
    Ok(Json(with_secret(&found(&app, &id).await?, key)))
}

/// Sends an event of no asset, to see whether the endpoint takes it.
pub(crate) async fn ping(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let webhook = controlled(&app, &admitted(caller)?, &id).await?;
    app.webhook_key()?;
    if !webhook.enabled {
        return Err(Problem::new(Code::WebhookOff, "turn it on first"));
    }
    if app.catalog.pending_of(&webhook.id, PING, PINGS).await? >= PINGS {
        return Err(Problem::new(Code::RateLimited, format!("{PINGS} tries wait already")).after(30));
    }
    let (event, now) = (EventId::from_uuid(app.context.ids.uuid()), rfc3339(app.now()));
    let body = json!({
        "specversion": "1.0",
        "id": event.to_string(),
        "source": format!("/reelfleet/{}", webhook.tenant),
        "subject": webhook.id.to_string(),
        "type": PING,
        "time": now,
        "timestamp": now,
        "datacontenttype": "application/json",
        "tenant": webhook.tenant,
        "data": { "webhook": webhook.id.to_string() },
    });
    // Beside all assets: it waits for none.
    let made =
        NewDelivery { event, position: 0, asset: event.to_string(), kind: PING.to_owned(), body: body.to_string() };
    app.catalog.try_webhook(app.now(), &webhook.id, made).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "id": event.to_string() }))))
}

/// What was sent, and what came of it: the latest event first, kept for a week.
pub(crate) async fn deliveries(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    page: Page,
) -> Result<Json<Value>, Problem> {
    let principal = admitted(caller)?;
    let webhook = controlled(&app, &principal, &id).await?;
    may_hear(&principal, &webhook)?;
    let before = page.after::<EventId>()?;
    let found = app.catalog.deliveries_of(&webhook.id, before.as_ref(), page.one_more()).await?;
    let (found, next) = page.cut(found, |delivery| delivery.event.to_string());
    Ok(Json(json!({ "deliveries": found.iter().map(line).collect::<Vec<_>>(), "next_cursor": next })))
}

/// Sends one that has ended once more.
pub(crate) async fn redeliver(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((id, event)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let principal = admitted(caller)?;
    let webhook = controlled(&app, &principal, &id).await?;
    may_hear(&principal, &webhook)?;
    let event: EventId = event.parse().map_err(|_| Problem::not_found())?;
    if app.catalog.redeliver(app.now(), &webhook.id, &event).await? {
        return Ok(StatusCode::ACCEPTED);
    }
    match app.catalog.delivery(&webhook.id, &event).await? {
        // It is on its way.
        Some(_) => Ok(StatusCode::ACCEPTED),
        None => Err(Problem::not_found()),
    }
}

impl App {
    fn webhook_key(&self) -> Result<&WebhookKey, Problem> {
        self.options.webhooks.as_ref().ok_or_else(|| {
            Problem::new(Code::WebhooksOff, "the operator has set no REELFLEET_WEBHOOK_SECRET: there are no webhooks")
        })
    }
}

/// An endpoint hears on after the credential that made it has ended: so it takes a person, as a key does.
fn admitted(caller: Caller) -> Result<Principal, Problem> {
    let principal = caller.anybody();
    person(&principal)?;
    Ok(principal)
}

async fn found(app: &App, id: &str) -> Result<Webhook, Problem> {
    let id: WebhookId = id.parse().map_err(|_| Problem::not_found())?;
    app.catalog.webhook(&id).await?.ok_or_else(Problem::not_found)
}

/// One's own, or as an administrator one of the tenant's.
async fn controlled(app: &App, principal: &Principal, id: &str) -> Result<Webhook, Problem> {
    let webhook = found(app, id).await?;
    if principal.controls(&webhook.tenant, &webhook.owner) { Ok(webhook) } else { Err(Problem::not_found()) }
}

/// What a webhook of the whole tenant was sent is for administrators, whoever made it when they were one.
fn may_hear(principal: &Principal, webhook: &Webhook) -> Result<(), Problem> {
    if webhook.is_of_tenant() {
        principal.require(Scope::Admin)?;
    }
    Ok(())
}

/// One's own: whoever has the secret can speak as we do.
async fn own(app: &App, principal: &Principal, id: &str) -> Result<Webhook, Problem> {
    let webhook = found(app, id).await?;
    let own = webhook.tenant == principal.tenant && webhook.owner == principal.user();
    if own { Ok(webhook) } else { Err(Problem::not_found()) }
}

fn url(app: &App, text: &str) -> Result<String, Problem> {
    let url = target(text.trim(), &app.options.webhook_allow);
    url.map(String::from).map_err(|error| Problem::new(Code::WebhookUrl, error.to_string()))
}

/// Types as the row holds them.
fn types(wanted: &[String]) -> Result<String, Problem> {
    for kind in wanted {
        if !Event::LOGGED.contains(&kind.as_str()) {
            let known = Event::LOGGED.join(", ");
            return Err(Problem::new(Code::InvalidRequest, format!("{kind:?} is no type of event: {known}")));
        }
    }
    let mut wanted = wanted.to_vec();
    wanted.sort();
    wanted.dedup();
    Ok(wanted.join(" "))
}

pub(crate) fn shown(webhook: &Webhook) -> Value {
    json!({
        "id": webhook.id.to_string(),
        "name": webhook.name,
        "url": webhook.url,
        "events": webhook.events.split_whitespace().collect::<Vec<_>>(),
        "tenant": webhook.is_of_tenant(),
        "enabled": webhook.enabled,
        "reason": webhook.reason,
        "created_at": rfc3339(webhook.created_at),
    })
}

fn with_secret(webhook: &Webhook, key: &WebhookKey) -> Value {
    let mut shown = shown(webhook);
    shown["secret"] = key.secret(&webhook.id, webhook.secret_version).into();
    shown
}

fn line(delivery: &Delivery) -> Value {
    json!({
        "id": delivery.event.to_string(),
        "type": delivery.kind,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "next_at": (delivery.state == "pending").then(|| rfc3339(delivery.next_at)),
        "status": delivery.status,
        "error": delivery.error,
        "took_ms": delivery.took_ms,
        "body": serde_json::from_str::<Value>(&delivery.body).unwrap_or(Value::Null),
        "created_at": rfc3339(delivery.created_at),
        "updated_at": rfc3339(delivery.updated_at),
    })
}
