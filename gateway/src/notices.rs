//! `/v1/me/notices`: what one wants to be written to about.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use reelfleet_access::Principal;
use reelfleet_catalog::notices::Wishes;
use reelfleet_domain::week;
use reelfleet_messages::UserId;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::caller::{Caller, Payload};
use crate::problem::Problem;

/// What is left out stays as it is.
#[derive(Debug, Deserialize)]
pub(crate) struct Change {
    ready: Option<bool>,
    failed: Option<bool>,
    weekly: Option<bool>,
}

/// As it stands.
pub(crate) async fn show(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, Problem> {
    let user = account(&caller.anybody())?;
    Ok(shown(app.catalog.wishes(&user).await?))
}

/// Another choice.
pub(crate) async fn change(
    State(app): State<Arc<App>>,
    caller: Caller,
    Payload(change): Payload<Change>,
) -> Result<Json<Value>, Problem> {
    let user = account(&caller.anybody())?;
    let before = app.catalog.wishes(&user).await?;
    let wishes = Wishes {
        ready: change.ready.unwrap_or(before.ready),
        failed: change.failed.unwrap_or(before.failed),
        weekly: change.weekly.unwrap_or(before.weekly),
    };
    app.catalog.wish(&user, wishes, week::number(app.now())).await?;
    Ok(shown(wishes))
}

/// Only accounts have an address.
fn account(principal: &Principal) -> Result<UserId, Problem> {
    principal.user().parse().map_err(|_| Problem::not_found())
}

fn shown(wishes: Wishes) -> Json<Value> {
    Json(json!({ "ready": wishes.ready, "failed": wishes.failed, "weekly": wishes.weekly }))
}
