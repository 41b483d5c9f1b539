//! `DELETE /v1/assets/{id}` and `POST /v1/assets/{id}/restore`.
//!
//! Guarantees: an asset that is marked as deleted plays for nobody from the next request on; until its purge begins it
//! can be restored to what it was; both are safe to repeat. Only its owner, or an administrator of the tenant, may.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use reelfleet_access::{Principal, Scope};
use reelfleet_catalog::assets::Asset;
use reelfleet_domain::AssetState;
use reelfleet_messages::event::{AssetDeleting, AssetRestored, JobFact};
use reelfleet_messages::{AssetId, Event};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::{App, rfc3339};
use crate::asset_view::summary;
use crate::caller::Caller;
use crate::problem::{Code, Problem};

/// An asset that keeps changing its state under the caller's hands is read this often.
const TRIES: u32 = 5;

#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    /// `now`: nothing to restore, its objects go at once.
    purge: Option<String>,
}

/// Marks it; again: says how it stands.
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let principal = caller.with(Scope::AssetsWrite)?;
    let Query(wanted) = wanted.map_err(|error| Problem::new(Code::InvalidRequest, error.body_text()))?;
    let at_once = match wanted.purge.as_deref() {
        None => false,
        Some("now") => true,
        Some(_) => return Err(Problem::new(Code::InvalidRequest, "purge is now, or left out")),
    };
    for _ in 0..TRIES {
        let asset = own(&app, &principal, &id).await?;
        match asset.state {
            AssetState::Deleting if at_once => {
                app.catalog.purge_now(app.now(), &asset.id).await?;
                return told(&app, &asset).await;
            }
            AssetState::Deleting | AssetState::Deleted => return told(&app, &asset).await,
            _ => {}
        }
        match mark(&app, &principal, &asset, at_once).await {
            Err(error) if error.is_conflict() => continue,
            marked => marked?,
        }
    }
    let asset = own(&app, &principal, &id).await?;
    if asset.state == AssetState::Deleting {
        return told(&app, &asset).await;
    }
    Err(Problem::new(Code::Unavailable, "the asset changes too fast: try again"))
}

/// Takes the mark away; an asset that has none is answered as it is.
pub(crate) async fn restore(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let principal = caller.with(Scope::AssetsWrite)?;
    let gone = || Problem::new(Code::AssetGone, "its objects are gone, or going");
    let asset = own(&app, &principal, &id).await?;
    match asset.state {
        AssetState::Deleted => return Err(gone()),
        AssetState::Deleting => {}
        _ => return Ok(Json(summary(&asset)).into_response()),
    }
    let deletion = app.catalog.deletion(&asset.id).await?.ok_or_else(gone)?;
    let state = deletion.state_before.as_str().to_owned();
    let fact = Event::AssetRestored(AssetRestored { asset: asset.id, state });
    let emissions = [app.context.emission(&asset.tenant, &asset.owner, None, fact)];
    match app.catalog.restore(&app.context.step(), &asset, &deletion, &emissions).await {
        Err(error) if error.is_conflict() => {
            let asset = own(&app, &principal, &id).await?;
            if matches!(asset.state, AssetState::Deleting | AssetState::Deleted) {
                return Err(gone());
            }
        }
        restored => restored?,
    }
    Ok(Json(summary(&own(&app, &principal, &id).await?)).into_response())
}

/// An asset that the caller controls.
pub(crate) async fn own(app: &App, principal: &Principal, id: &str) -> Result<Asset, Problem> {
    let id: AssetId = id.parse().map_err(|_| Problem::not_found())?;
    let asset = app.catalog.asset(&id).await?;
    asset.filter(|asset| principal.controls(&asset.tenant, &asset.owner)).ok_or_else(Problem::not_found)
}

async fn mark(
    app: &App,
    principal: &Principal,
    asset: &Asset,
    at_once: bool,
) -> Result<(), reelfleet_catalog::CatalogError> {
    let step = app.context.step();
    let purge_at = if at_once { step.now } else { step.now.saturating_add(app.options.restore_ms) };
    let mut facts = vec![Event::AssetDeleting(AssetDeleting { asset: asset.id, purge_at_ms: purge_at.unsigned_abs() })];
    if asset.state.is_live()
        && let Some((job, ..)) = app.catalog.job_of(&asset.id).await?
    {
        facts.insert(0, Event::JobCancelled(JobFact { asset: asset.id, job, code: None }));
    }
    let emissions: Vec<_> =
        facts.into_iter().map(|fact| app.context.emission(&asset.tenant, &asset.owner, None, fact)).collect();
    app.catalog.mark_deleted(&step, asset, &principal.owner, purge_at, &emissions).await
}

/// 202: it is accepted, and goes on after the answer.
async fn told(app: &App, asset: &Asset) -> Result<Response, Problem> {
    let mut shown = summary(asset);
    shown["deletion"] = deletion(app, asset).await?;
    Ok((StatusCode::ACCEPTED, Json(shown)).into_response())
}

/// What is shown of an asset's deletion; null: there is none.
pub(crate) async fn deletion(app: &App, asset: &Asset) -> Result<Value, Problem> {
    if !matches!(asset.state, AssetState::Deleting | AssetState::Deleted) {
        return Ok(Value::Null);
    }
    let deletion = app.catalog.deletion(&asset.id).await?;
    Ok(json!(deletion.map(|deletion| json!({
        "requested_by": deletion.requested_by,
        "requested_at": rfc3339(deletion.requested_at),
        "restorable_until": rfc3339(deletion.purge_at),
        "proof": deletion.proof.and_then(|proof| serde_json::from_str::<Value>(&proof).ok()),
    }))))
}
