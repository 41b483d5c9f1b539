//! `/v1/me`: one's own account.
//!
//! Guarantee: a new password needs the old one, and ends every other session.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use reelfleet_access::{Principal, Via};
use reelfleet_catalog::accounts::{User, UserChange};
use reelfleet_messages::UserId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::limits::too_often;
use super::{name, password, shown};
use crate::app::App;
use crate::caller::{Caller, Payload};
use crate::problem::{Code, Problem};

/// Who one is, and what one may do. An API key that was made for a name rather than an account has neither e-mail nor
/// roles.
pub(crate) async fn show(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, Problem> {
    let principal = caller.anybody();
    let mut body = match account(&app, &principal).await? {
        Some(user) => shown(&user),
        None => json!({
            "id": principal.user(),
            "tenant": principal.tenant,
            "email": null,
            "name": principal.user(),
            "roles": [],
            "state": "active",
        }),
    };
    body["scopes"] = principal.scopes.iter().map(|scope| scope.as_str()).collect();
    body["by"] = match principal.via {
        Via::Session(_) => "session",
        Via::Key(_) => "key",
    }
    .into();
    Ok(Json(body))
}

#[derive(Deserialize)]
pub(crate) struct Change {
    name: String,
}

/// Another name.
pub(crate) async fn rename(
    State(app): State<Arc<App>>,
    caller: Caller,
    Payload(change): Payload<Change>,
) -> Result<Json<Value>, Problem> {
    let (principal, user) = signed_in(&app, caller.anybody()).await?;
    let name = name(&change.name)?;
    let to = UserChange { version: user.version, name: &name, roles: &user.roles, state: &user.state };
    let noted = app.deed(&user.tenant, principal.user(), "user.renamed", user.id, &json!({ "name": name }));
    app.catalog.change_user(&app.context.step(), &user.id, &to, &noted).await?;
    let user = app.catalog.user(&user.id).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(shown(&user)))
}

#[derive(Deserialize)]
pub(crate) struct NewPassword {
    current: String,
    new: String,
}

/// Another password. Every other session ends.
pub(crate) async fn change_password(
    State(app): State<Arc<App>>,
    caller: Caller,
    Payload(asked): Payload<NewPassword>,
) -> Result<StatusCode, Problem> {
    let accounts = app.accounts()?;
    let (principal, user) = signed_in(&app, caller.anybody()).await?;
    accounts.by_email.take(&user.email, Instant::now()).map_err(too_often)?;
    if user.password_hash.is_empty() {
        let detail = "there is no password yet: ask for a link by mail, at the sign-in page";
        return Err(Problem::new(Code::InvalidCredentials, detail));
    }
    if !accounts.hasher.verify(asked.current, Some(user.password_hash.clone())).await? {
        return Err(Problem::new(Code::InvalidCredentials, "current is not the password of this account"));
    }
    accounts.by_email.give_back(&user.email);
    password::check(&asked.new, &user.email, &user.name)?;
    let hash = accounts.hasher.hash(asked.new, app.salt()?).await?;
    let own = match &principal.via {
        Via::Session(id) => Some(id),
        Via::Key(_) => None,
    };
    let noted = app.deed(&user.tenant, principal.user(), "user.password_changed", user.id, &json!({}));
    app.catalog.change_password(&app.context.step(), &user, &hash, own, &noted).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn account(app: &App, principal: &Principal) -> Result<Option<User>, Problem> {
    match principal.user().parse::<UserId>() {
        Ok(id) => Ok(app.catalog.user(&id).await?),
        Err(_) => Ok(None),
    }
}

/// The account of somebody who has signed in; a key does not change the account that it belongs to.
pub(super) async fn signed_in(app: &App, principal: Principal) -> Result<(Principal, User), Problem> {
    let user = match principal.via {
        Via::Session(_) => account(app, &principal).await?,
        Via::Key(_) => None,
    };
    let user = user.ok_or_else(|| Problem::new(Code::SessionNeeded, "sign in: an API key may not do this"))?;
    Ok((principal, user))
}
