//! `/v1/explore`: what was made public, for everybody, with or without an account.
//!
//! Guarantee: only assets that their owners have opened and that play are shown, and of them nothing that is not meant for
//! strangers; an unlisted one to whoever has its id.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use reelfleet_access::Sight;
use reelfleet_catalog::assets::Asset;
use reelfleet_messages::AssetId;
use serde::Deserialize;
use serde_json::Value;

use crate::app::App;
use crate::asset_view::{open, with_playback};
use crate::assets::{before, cut, limit, one_more, page, paged, text, with_etag};
use crate::captions;
use crate::problem::{Code, Problem};

#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    cursor: Option<String>,
    limit: Option<u32>,
    q: Option<String>,
}

/// A page of public assets, newest first.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(wanted) = wanted
        .map_err(|_| Problem::new(Code::InvalidRequest, "the query holds limit, cursor and q, each at most once"))?;
    let (limit, before) = (limit(wanted.limit)?, before(wanted.cursor.as_deref())?);
    let found = app.catalog.public_assets(before.as_deref(), text(wanted.q.as_deref())?, one_more(limit)).await?;
    let (assets, next) = cut(found, limit);
    let page = page(&app, &assets, next.as_deref(), open).await?;
    let mut query = form_urlencoded::Serializer::new(format!("limit={limit}"));
    query.extend_pairs(wanted.q.as_deref().map(|text| ("q", text)));
    Ok(paged("/v1/explore", query, next.as_deref(), page))
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
    let mut shown = with_playback(open(asset), asset, &pictures, app.playback(asset).as_ref());
    shown["captions"] = captions::of(app, asset).await?;
    Ok(shown)
}
