//! `/v1/keys`: one's own API keys.
//!
//! Guarantees: the secret is shown once, when it is made or rotated, and never to anybody but its owner; a key holds no
//! scope that its maker lacks. What is revoked or rotated works nowhere after [`reelfleet_access::REVOCATION_BOUND`].

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use reelfleet_access::keys::{self, IssueError};
use reelfleet_access::{NewKey, Principal, Scope, Scopes};
use reelfleet_catalog::access::ApiKeyRow;
use reelfleet_messages::ApiKeyId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{name, person};
use crate::app::{App, rfc3339};
use crate::caller::{Caller, Payload};
use crate::problem::{Code, Problem};

/// Keys of one user; two made at the same moment may both get the last place.
const MOST: i64 = 100;
/// More than there can be of one user: what works is seen, and can be ended.
const ALL: i64 = 1_000;

/// One's keys, newest first.
pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, Problem> {
    let principal = caller.anybody();
    person(&principal)?;
    let keys = app.catalog.api_keys_of(&principal.tenant, principal.user(), ALL).await?;
    Ok(Json(json!({ "keys": keys.iter().map(shown).collect::<Vec<_>>() })))
}

#[derive(Deserialize)]
pub(crate) struct Wanted {
    name: String,
    scopes: Vec<String>,
    /// RFC 3339; left out: it does not expire.
    expires_at: Option<String>,
}

/// A new key; its text is in the answer, once.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Payload(wanted): Payload<Wanted>,
) -> Result<Response, Problem> {
    let principal = caller.anybody();
    person(&principal)?;
    let name = name(&wanted.name)?;
    let scopes = scopes(&principal, &wanted.scopes)?;
    let expires_at = wanted.expires_at.as_deref().map(|text| end(text, app.now())).transpose()?;
    let held = app.catalog.api_keys_of(&principal.tenant, principal.user(), MOST).await?;
    if held.len() as i64 >= MOST {
        return Err(Problem::new(Code::TooManyKeys, format!("at most {MOST}: delete one first")));
    }
    let (id, secret) = (ApiKeyId::from_uuid(app.context.ids.uuid()), app.draw()?);
    let detail = json!({ "name": name, "scopes": scopes.to_string() });
    app.catalog.audit(&[app.deed(&principal.tenant, principal.user(), "key.created", id, &detail)]).await?;
    let key =
        NewKey { id, secret, tenant: &principal.tenant, owner: principal.user(), name: &name, scopes, expires_at };
    let text = keys::issue(&app.catalog, app.now(), &key).await.map_err(|error| match error {
        IssueError::Catalog(error) => error.into(),
        name => Problem::internal(name),
    })?;
    let row = app.catalog.api_key(&id).await?.ok_or_else(|| Problem::internal("a key that was made is gone"))?;
    Ok((StatusCode::CREATED, Json(with_text(&row, &text))).into_response())
}

/// Another secret for the same key: the old one is no good any more.
pub(crate) async fn rotate(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let principal = caller.anybody();
    person(&principal)?;
    let row = found(&app, &id).await?;
    // Its owner alone: whoever gets the secret gets the key's rights.
    let own = row.tenant == principal.tenant && row.owner == principal.user() && row.revoked_at.is_none();
    if !own {
        return Err(Problem::not_found());
    }
    if Scopes::stored(&row.scopes).within(principal.scopes) != Scopes::stored(&row.scopes) {
        return Err(Problem::new(Code::ScopeMissing, "the key holds more than you do"));
    }
    let secret = app.draw()?;
    let detail = json!({ "name": row.name });
    app.catalog.audit(&[app.deed(&row.tenant, principal.user(), "key.rotated", row.id, &detail)]).await?;
    if !app.catalog.rotate_api_key(app.now(), &row.id, &secret.hash()).await? {
        return Err(Problem::not_found());
    }
    app.keys.forget(&row.id);
    Ok(Json(with_text(&row, &keys::text(&row.id, &secret))))
}

/// Ends a key: one's own, or as an administrator one of the tenant's. May be repeated.
pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let principal = caller.anybody();
    person(&principal)?;
    let row = found(&app, &id).await?;
    if !principal.controls(&row.tenant, &row.owner) {
        return Err(Problem::not_found());
    }
    if row.revoked_at.is_none() {
        let detail = json!({ "name": row.name, "owner": row.owner });
        app.catalog.audit(&[app.deed(&row.tenant, principal.user(), "key.revoked", row.id, &detail)]).await?;
        app.catalog.revoke_api_key(app.now(), &row.id).await?;
        app.keys.forget(&row.id);
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn found(app: &App, id: &str) -> Result<ApiKeyRow, Problem> {
    let id: ApiKeyId = id.parse().map_err(|_| Problem::not_found())?;
    app.catalog.api_key(&id).await?.ok_or_else(Problem::not_found)
}

/// The scopes of a new key: known ones, at least one, none that its maker lacks.
fn scopes(principal: &Principal, words: &[String]) -> Result<Scopes, Problem> {
    let known = || Scope::ALL.map(Scope::as_str).join(", ");
    let scopes = Scopes::parse(&words.join(" "))
        .map_err(|word| Problem::new(Code::InvalidRequest, format!("{word:?} is no scope: {}", known())))?;
    if scopes == Scopes::default() {
        return Err(Problem::new(Code::InvalidRequest, format!("scopes holds at least one of {}", known())));
    }
    for scope in scopes.iter() {
        principal.require(scope)?;
    }
    Ok(scopes)
}

fn end(text: &str, now: i64) -> Result<i64, Problem> {
    let at = humantime::parse_rfc3339_weak(text).ok();
    let at = at.and_then(|at| i64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok());
    at.filter(|at| *at > now)
        .ok_or_else(|| Problem::new(Code::InvalidRequest, "expires_at is a time to come, as 2030-01-31T12:00:00Z"))
}

pub(super) fn shown(key: &ApiKeyRow) -> Value {
    json!({
        "id": key.id.to_string(),
        "name": key.name,
        "prefix": keys::public_part(&key.id),
        "scopes": Scopes::stored(&key.scopes).iter().map(Scope::as_str).collect::<Vec<_>>(),
        "created_at": rfc3339(key.created_at),
        "expires_at": key.expires_at.map(rfc3339),
        "last_used_at": key.last_used_at.map(rfc3339),
    })
}

fn with_text(key: &ApiKeyRow, text: &str) -> Value {
    let mut shown = shown(key);
    shown["key"] = text.into();
    shown
}
