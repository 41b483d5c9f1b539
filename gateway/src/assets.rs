//! `/v1/assets`: what the caller has.
//!
//! Guarantee: only what the caller may see is seen ([`Sight`]), and a page's cursor stays good while assets come and go.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reelfleet_access::{Principal, Scope, Sight};
use reelfleet_catalog::assets::{Asset, Listing, Order};
use reelfleet_domain::AssetState;
use reelfleet_messages::AssetId;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::asset_view::{Playback, full, listed, summary};
use crate::caller::{Caller, text_of};
use crate::captions;
use crate::deletion::deletion;
use crate::paging::{self, Page};
use crate::problem::{Code, Problem};
use crate::review::story;
use crate::{estimates, explore};

/// Characters that can be looked for.
const MAX_TEXT: usize = 200;

#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    state: Option<String>,
    sort: Option<String>,
    q: Option<String>,
    owner: Option<String>,
    bucket: Option<String>,
    key: Option<String>,
}

impl paging::Wanted for Wanted {
    const FIELDS: &'static [&'static str] = &["state", "sort", "q", "owner", "bucket", "key"];
}

/// A page, newest first unless asked otherwise, of what is not deleted (`state=deleting` shows what can be restored; `owner=me` an administrator's own); or with `bucket` and `key` the assets of one object's versions.
pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller, page: Page<Wanted>) -> Result<Response, Problem> {
    let principal = caller.with(Scope::AssetsRead)?;
    let invalid = |detail: String| Problem::new(Code::InvalidRequest, detail);
    let wanted = &page.wanted;
    match (&wanted.bucket, &wanted.key) {
        (Some(bucket), Some(key)) => {
            let limit = i64::from(page.limit());
            let mut found = app.catalog.assets_of_key(&principal.tenant, bucket, key, limit).await?;
            // Where an object lies is nothing for those to whom its asset is merely open.
            found.retain(|asset| principal.may_see(&Sight { open: false, ..Sight::of(asset) }));
            return Ok(Json(shown(&app, &found, None, summary, App::playback).await?).into_response());
        }
        (None, None) => {}
        _ => return Err(invalid("bucket and key come together".to_owned())),
    }
    let state = match wanted.state.as_deref() {
        None => None,
        Some(text) => Some(AssetState::parse(text).ok_or_else(|| {
            let known: Vec<_> = AssetState::ALL.iter().map(|state| state.as_str()).collect();
            invalid(format!("state is one of {}", known.join(", ")))
        })?),
    };
    let order = match wanted.sort.as_deref() {
        None => Order::default(),
        Some(text) => Order::ALL
            .into_iter()
            .find(|order| order.as_str() == text)
            .ok_or_else(|| invalid(format!("sort is one of {}", Order::ALL.map(Order::as_str).join(", "))))?,
    };
    let owner = match wanted.owner.as_deref() {
        None => principal.lists_of(),
        Some("me") => Some(principal.owner.as_str()),
        Some(_) => return Err(invalid("owner is me, or left out".to_owned())),
    };
    let before = page.after::<AssetId>()?.map(|id| id.to_string());
    let assets = app.catalog.assets(Listing {
        tenant: &principal.tenant,
        owner,
        order,
        before: before.as_deref(),
        state,
        text: text(wanted.q.as_deref())?,
        limit: page.one_more(),
    });
    let (assets, next) = page.cut(assets.await?, |asset| asset.id.to_string());
    let body = shown(&app, &assets, next.as_deref(), summary, App::playback).await?;
    let query = [
        ("state", state.map(AssetState::as_str)),
        ("sort", wanted.sort.as_deref()),
        ("q", wanted.q.as_deref()),
        ("owner", wanted.owner.as_deref()),
    ];
    Ok(page.answer("/v1/assets", &query, next.as_deref(), body))
}

/// What is looked for.
pub(crate) fn text(asked: Option<&str>) -> Result<Option<&str>, Problem> {
    match asked {
        Some(text) if text.chars().count() > MAX_TEXT || text.contains('\0') => {
            Err(Problem::new(Code::InvalidRequest, format!("q is a text of at most {MAX_TEXT} characters")))
        }
        other => Ok(other),
    }
}

/// Assets as they are shown, with pictures, to those who play them so.
pub(crate) async fn shown(
    app: &App,
    assets: &[Asset],
    next: Option<&str>,
    show: fn(&Asset) -> Value,
    play: fn(&App, &Asset) -> Option<Playback>,
) -> Result<Value, Problem> {
    let ids: Vec<AssetId> = assets.iter().map(|asset| asset.id).collect();
    let pictures = app.catalog.pictures_of_each(&ids).await?;
    let shown = assets.iter().map(|asset| {
        let its: Vec<_> = pictures.iter().filter(|(id, _)| *id == asset.id).map(|(_, picture)| picture).collect();
        listed(show(asset), &its, play(app, asset).as_ref())
    });
    Ok(json!({ "assets": shown.collect::<Vec<_>>(), "next_cursor": next }))
}

/// One asset, with an ETag.
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let principal = caller.with(Scope::AssetsRead)?;
    let asset = seen(&app, &principal, &id).await?;
    let id = asset.id;
    if Sight::of(&asset).is_open() && !principal.controls(&asset.tenant, &asset.owner) {
        // To whoever looks at what somebody has opened, with an account or without.
        return Ok(with_etag(&headers, explore::opened(&app, &asset).await?.to_string()));
    }
    let (job, renditions, pictures) = tokio::try_join!(
        app.catalog.job_of(&id),
        app.catalog.renditions(&id, asset.generation),
        app.catalog.pictures(&id, asset.generation),
    )?;
    let playback = app.playback(&asset);
    let mut shown = full(&asset, job.as_ref(), &renditions, &pictures, playback.as_ref());
    shown["captions"] = captions::of(&app, &asset, playback.as_ref()).await?;
    shown["deletion"] = deletion(&app, &asset).await?;
    shown["review"] = story::of(&app, &principal, &asset).await?;
    (shown["estimate"], shown["spent"]) = estimates::beside(&app, &asset).await?;
    Ok(with_etag(&headers, shown.to_string()))
}

/// An asset, if it exists for the caller.
pub(crate) async fn seen(app: &App, principal: &Principal, id: &str) -> Result<Asset, Problem> {
    let id: AssetId = id.parse().map_err(|_| Problem::not_found())?;
    let asset = app.catalog.asset(&id).await?.ok_or_else(Problem::not_found)?;
    if !reelfleet_access::sight::sees(&app.catalog, principal, &asset).await? {
        return Err(Problem::not_found());
    }
    Ok(asset)
}

/// The body, or 304 if the caller has it (RFC 9110 section 13.1.2).
pub(crate) fn with_etag(headers: &HeaderMap, body: String) -> Response {
    let etag = format!("\"{}\"", hex::encode(&Sha256::digest(&body)[..16]));
    let common = [(header::ETAG, etag.as_str()), (header::CACHE_CONTROL, "private, no-cache")];
    if is_known(headers, &etag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Whether If-None-Match names this tag (RFC 9110, section 13.1.2).
pub(crate) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    text_of(headers, header::IF_NONE_MATCH.as_str()).is_some_and(|list| {
        let mut tags = list.split(',').map(|tag| tag.trim().trim_start_matches("W/"));
        list.trim() == "*" || tags.any(|tag| tag == etag)
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn an_unchanged_body_is_not_sent_again() {
        let first = with_etag(&HeaderMap::new(), "{}".into());
        assert_eq!(first.status(), StatusCode::OK);
        let etag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
        for (sent, status) in [
            (etag.clone(), 304),
            (format!("W/{etag}"), 304),
            (format!("\"x\", {etag}"), 304),
            ("*".into(), 304),
            ("\"x\"".into(), 200),
        ] {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_str(&sent).unwrap())]);
            assert_eq!(with_etag(&headers, "{}".into()).status().as_u16(), status, "{sent}");
        }
    }
}
