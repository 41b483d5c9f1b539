//! `/v1/users`: the people of a tenant, for its administrators.
//!
//! Guarantees: people of another tenant don't exist; a change replaces exactly the version that its author has seen;
//! nobody takes the administrator's role from oneself, or disables oneself, so there is always one left; nobody gives or
//! takes a role that reaches further than one's own rights.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use reelfleet_access::{Principal, Roles, Scope};
use reelfleet_catalog::accounts::{ACTIVE, DISABLED, User, UserChange};
use reelfleet_messages::UserId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{may_grant, name, roles, shown};
use crate::app::App;
use crate::caller::{Caller, Payload, text_of};
use crate::paging::Page;
use crate::problem::{Code, Problem};

/// A page of people, in the order in which they came.
pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller, page: Page) -> Result<Json<Value>, Problem> {
    let principal = caller.with(Scope::Admin)?;
    let after = page.after::<UserId>()?.map_or(String::new(), |id| id.to_string());
    let users = app.catalog.users(&principal.tenant, &after, page.one_more()).await?;
    let (users, next) = page.cut(users, |user| user.id.to_string());
    Ok(Json(json!({ "users": users.iter().map(shown).collect::<Vec<_>>(), "next_cursor": next })))
}

/// One of them.
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let principal = caller.with(Scope::Admin)?;
    Ok(tagged(&found(&app, &principal, &id).await?))
}

#[derive(Deserialize)]
pub(crate) struct Change {
    name: Option<String>,
    roles: Option<Vec<String>>,
    state: Option<String>,
}

/// Other roles, another name; lets somebody in or shuts somebody out.
pub(crate) async fn change(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Payload(wanted): Payload<Change>,
) -> Result<Response, Problem> {
    let principal = caller.with(Scope::Admin)?;
    let user = found(&app, &principal, &id).await?;
    let seen = text_of(&headers, header::IF_MATCH.as_str());
    let seen = seen.ok_or_else(|| Problem::new(Code::PreconditionRequired, "send If-Match: \"<version>\""))?;
    let moved = || Problem::new(Code::EditedMeanwhile, "read it again, then change it");
    if seen.trim() != etag(&user) {
        return Err(moved());
    }
    let (before, after) = match &wanted.roles {
        Some(list) => (Roles::stored(&user.roles), roles(list)?),
        None => (Roles::stored(&user.roles), Roles::stored(&user.roles)),
    };
    let state = match wanted.state.as_deref() {
        None => user.state.as_str(),
        Some(ACTIVE) => ACTIVE,
        Some(DISABLED) => DISABLED,
        Some(_) => return Err(Problem::new(Code::InvalidRequest, "state is active or disabled")),
    };
    let name = wanted.name.as_deref().map(name).transpose()?.unwrap_or_else(|| user.name.clone());
    let oneself = user.id.to_string() == principal.user();
    if oneself && (state != ACTIVE || !after.scopes().hold(Scope::Admin)) {
        let detail = "somebody else has to take your administrator's role or shut you out";
        return Err(Problem::new(Code::NotOneself, detail));
    }
    may_grant(&principal, before, after)?;
    let roles = after.to_string();
    let to = UserChange { version: user.version, name: &name, roles: &roles, state };
    let detail = json!({
        "roles": { "from": user.roles, "to": roles },
        "state": { "from": user.state, "to": state },
        "name": { "from": user.name, "to": name },
    });
    let noted = app.deed(&user.tenant, principal.user(), "user.changed", user.id, &detail);
    match app.catalog.change_user(&app.context.step(), &user.id, &to, &noted).await {
        Err(error) if error.is_conflict() => return Err(moved()),
        changed => changed?,
    }
    Ok(tagged(&found(&app, &principal, &id).await?))
}

async fn found(app: &App, principal: &Principal, id: &str) -> Result<User, Problem> {
    let id: UserId = id.parse().map_err(|_| Problem::not_found())?;
    let user = app.catalog.user(&id).await?;
    user.filter(|user| principal.sees(&user.tenant)).ok_or_else(Problem::not_found)
}

fn etag(user: &User) -> String {
    format!("\"{}\"", user.version)
}

fn tagged(user: &User) -> Response {
    ([(header::ETAG, etag(user))], Json(shown(user))).into_response()
}
