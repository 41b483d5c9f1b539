//! `GET /v1/limits`: what the caller's tenant may upload, and what it has; checked before anything is reserved.
//!
//! Guarantee: what is shown here is what `POST /v1/uploads` and the probe decide by. Two who reserve the last room at once
//! may both be let in; the probe then refuses what landed last.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use reelfleet_access::Scope;
use reelfleet_domain::tenants::{DAY_MS, Room, Use};
use serde_json::{Value, json};

use crate::app::App;
use crate::caller::Caller;
use crate::problem::Problem;

/// The limits of the caller's tenant.
pub(crate) async fn show(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, Problem> {
    let principal = caller.with(Scope::UploadsWrite)?;
    let policy = app.context.config.policy(&principal.tenant);
    let room = app.context.config.tenant_limits.room(&principal.tenant);
    let used = if room.is_limited() { used(&app, &principal.tenant).await? } else { Use::default() };
    Ok(Json(json!({
        "max_bytes": policy.max_bytes,
        "max_seconds": policy.max_duration_ms / 1_000,
        "max_pixels": policy.max_pixels,
        "kinds": policy.kinds,
        "stored": room.stored_bytes.map(|most| json!({ "bytes": used.stored_bytes, "most": most })),
        "today": room.assets_a_day.map(|most| json!({ "assets": used.assets_today, "most": most })),
    })))
}

/// Whether a tenant has room for one more of so many bytes.
pub(crate) async fn check_room(app: &App, tenant: &str, bytes: u64) -> Result<(), Problem> {
    let room: Room = app.context.config.tenant_limits.room(tenant);
    if room.is_limited() {
        room.check(bytes, &used(app, tenant).await?)?;
    }
    Ok(())
}

async fn used(app: &App, tenant: &str) -> Result<Use, Problem> {
    let now = app.now();
    let usage = app.catalog.usage(now, tenant, now.saturating_sub(DAY_MS)).await?;
    Ok(Use { stored_bytes: usage.bytes.unsigned_abs(), assets_today: usage.recent.unsigned_abs() })
}
