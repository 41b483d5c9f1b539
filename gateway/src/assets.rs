//! `/v1/assets`: what a tenant has.
//!
//! Guarantee: only assets of the caller's tenant are seen; a page is at most [`MAX_PAGE`] and its cursor stays good while
//! assets come and go.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reelfleet_access::Scope;
use reelfleet_catalog::assets::Asset;
use reelfleet_domain::AssetState;
use reelfleet_messages::AssetId;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::asset_view::{Playback, full, summary};
use crate::caller::{Caller, text_of};
use crate::deletion::deletion;
use crate::problem::{Code, Problem};

const PAGE: u32 = 25;
const MAX_PAGE: u32 = 100;

#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    cursor: Option<String>,
    limit: Option<u32>,
    state: Option<String>,
    bucket: Option<String>,
    key: Option<String>,
}

/// A page, newest first, of what is not deleted (`state=deleting` shows what can be restored); or with `bucket` and `key` the assets of one object's versions.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let principal = caller.with(Scope::AssetsRead)?;
    let invalid = |detail: String| Problem::new(Code::InvalidRequest, detail);
    let Query(wanted) = wanted.map_err(|_| {
        invalid(format!("the query holds limit (1 to {MAX_PAGE}), cursor, state, bucket and key, each at most once"))
    })?;
    let limit = wanted.limit.unwrap_or(PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(invalid(format!("limit is 1 to {MAX_PAGE}")));
    }
    match (&wanted.bucket, &wanted.key) {
        (Some(bucket), Some(key)) => {
            let found = app.catalog.assets_of_key(&principal.tenant, bucket, key, i64::from(limit));
            return Ok(Json(page(&found.await?, None)).into_response());
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
    let before = match wanted.cursor.as_deref() {
        None => None,
        Some(cursor) => {
            let id = read_cursor(cursor).ok_or_else(|| invalid("cursor is not one of ours".to_owned()))?;
            Some(id.to_string())
        }
    };
    // One more than asked for tells whether there is another page.
    let rows = i64::from(limit) + 1;
    let mut assets = app.catalog.assets(&principal.tenant, before.as_deref(), state, rows).await?;
    let more = assets.len() > limit as usize;
    assets.truncate(limit as usize);
    let next = assets.last().filter(|_| more).map(|asset| cursor(&asset.id));
    let mut response = Json(page(&assets, next.as_deref())).into_response();
    if let Some(next) = next {
        let state = state.map_or(String::new(), |state| format!("&state={}", state.as_str()));
        let link = format!("</v1/assets?limit={limit}{state}&cursor={next}>; rel=\"next\"");
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    Ok(response)
}

fn page(assets: &[Asset], next: Option<&str>) -> Value {
    json!({ "assets": assets.iter().map(summary).collect::<Vec<_>>(), "next_cursor": next })
}

/// A cursor: the last id of a page, in a form that says "do not look inside".
fn cursor(id: &AssetId) -> String {
    URL_SAFE_NO_PAD.encode(id.to_string())
}

fn read_cursor(text: &str) -> Option<AssetId> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    std::str::from_utf8(&bytes).ok()?.parse().ok()
}

/// One asset, with an ETag.
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let principal = caller.with(Scope::AssetsRead)?;
    let id: AssetId = id.parse().map_err(|_| Problem::not_found())?;
    let asset = app.catalog.asset(&id).await?;
    let asset = asset.filter(|asset| principal.sees(&asset.tenant)).ok_or_else(Problem::not_found)?;
    let (job, renditions, pictures) = tokio::try_join!(
        app.catalog.job_of(&id),
        app.catalog.renditions(&id, asset.generation),
        app.catalog.pictures(&id, asset.generation),
    )?;
    let playback = Playback::of(
        &asset,
        &app.options.playback,
        &app.context.config.public_url,
        app.now(),
        app.options.playback_ttl_s,
    );
    let mut shown = full(&asset, job.as_ref(), &renditions, &pictures, playback.as_ref());
    shown["deletion"] = deletion(&app, &asset).await?;
    Ok(with_etag(&headers, shown.to_string()))
}

/// The body, or 304 if the caller has it (RFC 9110 section 13.1.2).
fn with_etag(headers: &HeaderMap, body: String) -> Response {
    let etag = format!("\"{}\"", hex::encode(&Sha256::digest(&body)[..16]));
    let common = [(header::ETAG, etag.as_str()), (header::CACHE_CONTROL, "private, no-cache")];
    let has_it = text_of(headers, header::IF_NONE_MATCH.as_str()).is_some_and(|list| {
        let tags = list.split(',').map(|tag| tag.trim());
        list.trim() == "*" || tags.map(|tag| tag.trim_start_matches("W/")).any(|tag| tag == etag)
    });
    if has_it {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        let id: AssetId = "ast_01h455vb4pex5vsknk084sn02q".parse().unwrap();
        assert_eq!(read_cursor(&cursor(&id)), Some(id));
        let job = URL_SAFE_NO_PAD.encode("job_01h455vb4pex5vsknk084sn02q");
        for bad in ["", "ast_01h455vb4pex5vsknk084sn02q", job.as_str(), "%"] {
            assert_eq!(read_cursor(bad), None, "{bad}");
        }
    }

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
