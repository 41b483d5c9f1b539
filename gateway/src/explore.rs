//! `/v1/explore`: what was made public, for everybody, with or without an account.
//!
//! Guarantee: only assets that their owners have opened and that play are shown, and of them nothing that is not meant for
//! strangers; an unlisted one to whoever has its id. How often one address may ask is limited.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use reelfleet_access::Sight;
use reelfleet_catalog::assets::Asset;
use reelfleet_messages::AssetId;
use serde::Deserialize;
use serde_json::Value;

use crate::app::App;
use crate::asset_view::{open, with_playback};
use crate::assets::{shown, text, with_etag};
use crate::captions;
use crate::paging::{self, Page};
use crate::problem::Problem;
use crate::serve::Peer;

#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    q: Option<String>,
}

impl paging::Wanted for Wanted {
    const FIELDS: &'static [&'static str] = &["q"];
}

/// Counts the calls of an address, whoever it is.
pub(crate) async fn count(
    State(app): State<Arc<App>>,
    peer: Option<Extension<Peer>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    app.count_stranger(&app.address(peer, request.headers()))?;
    Ok(next.run(request).await)
}

/// A page of public assets, newest first.
pub(crate) async fn list(State(app): State<Arc<App>>, page: Page<Wanted>) -> Result<Response, Problem> {
    let before = page.after::<AssetId>()?.map(|id| id.to_string());
    let q = page.wanted.q.as_deref();
    let found = app.catalog.public_assets(before.as_deref(), text(q)?, page.one_more()).await?;
    let (assets, next) = page.cut(found, |asset| asset.id.to_string());
    let body = shown(&app, &assets, next.as_deref(), open, App::open_playback).await?;
    Ok(page.answer("/v1/explore", &[("q", q)], next.as_deref(), body))
}

/// One that is public or unlisted.
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id: AssetId = id.parse().map_err(|_| Problem::not_found())?;
    let asset = app.catalog.asset(&id).await?;
    let asset = asset.filter(|asset| Sight::of(asset).is_open()).ok_or_else(Problem::not_found)?;
    Ok(with_etag(&headers, opened(&app, &asset).await?.to_string()))
}

/// What strangers see of one.
pub(crate) async fn opened(app: &App, asset: &Asset) -> Result<Value, Problem> {
    let pictures = app.catalog.pictures(&asset.id, asset.generation).await?;
    let playback = app.open_playback(asset);
    let mut shown = with_playback(open(asset), asset, &pictures, playback.as_ref());
    shown["captions"] = captions::of(app, asset, playback.as_ref()).await?;
    Ok(shown)
}
