//! `/v1/assets`: what the caller has.
//!
//! Guarantee: only what the caller may see is seen ([`Sight`]); a page is at most [`MAX_PAGE`] and its cursor stays good
//! while assets come and go.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reelfleet_access::{Principal, Scope, Sight};
use reelfleet_catalog::assets::{Asset, Listing};
use reelfleet_domain::AssetState;
use reelfleet_messages::AssetId;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::asset_view::{full, listed, summary};
use crate::caller::{Caller, text_of};
use crate::captions;
use crate::deletion::deletion;
use crate::explore;
use crate::problem::{Code, Problem};

const PAGE: u32 = 25;
const MAX_PAGE: u32 = 100;
/// Characters that can be looked for.
const MAX_TEXT: usize = 200;

#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    cursor: Option<String>,
    limit: Option<u32>,
    state: Option<String>,
    q: Option<String>,
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
        invalid(format!("the query holds limit (1 to {MAX_PAGE}), cursor, state, q, bucket and key, each at most once"))
    })?;
    let limit = limit(wanted.limit)?;
    match (&wanted.bucket, &wanted.key) {
        (Some(bucket), Some(key)) => {
            let mut found = app.catalog.assets_of_key(&principal.tenant, bucket, key, i64::from(limit)).await?;
            found.retain(|asset| principal.may_see(&Sight::of(asset)));
            return Ok(Json(page(&app, &found, None, summary).await?).into_response());
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
    let before = before(wanted.cursor.as_deref())?;
    let assets = app.catalog.assets(Listing {
        tenant: &principal.tenant,
        owner: principal.lists_of(),
        before: before.as_deref(),
        state,
        text: text(wanted.q.as_deref())?,
        limit: one_more(limit),
    });
    let (assets, next) = cut(assets.await?, limit);
    let page = page(&app, &assets, next.as_deref(), summary).await?;
    let mut query = form_urlencoded::Serializer::new(format!("limit={limit}"));
    query.extend_pairs(state.map(|state| ("state", state.as_str())));
    query.extend_pairs(wanted.q.as_deref().map(|text| ("q", text)));
    Ok(paged("/v1/assets", query, next.as_deref(), page))
}

/// How many a page is asked to hold.
pub(crate) fn limit(asked: Option<u32>) -> Result<u32, Problem> {
    let limit = asked.unwrap_or(PAGE);
    if (1..=MAX_PAGE).contains(&limit) {
        Ok(limit)
    } else {
        Err(Problem::new(Code::InvalidRequest, format!("limit is 1 to {MAX_PAGE}")))
    }
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

/// The id that a cursor stands for.
pub(crate) fn before(cursor: Option<&str>) -> Result<Option<String>, Problem> {
    let known =
        |cursor| read_cursor(cursor).ok_or_else(|| Problem::new(Code::InvalidRequest, "cursor is not one of ours"));
    Ok(cursor.map(known).transpose()?.map(|id| id.to_string()))
}

/// One more than asked for tells whether there is another page.
pub(crate) fn one_more(limit: u32) -> i64 {
    i64::from(limit) + 1
}

/// A page of what was read, and the cursor of the next one.
pub(crate) fn cut(mut assets: Vec<Asset>, limit: u32) -> (Vec<Asset>, Option<String>) {
    let more = assets.len() > limit as usize;
    assets.truncate(limit as usize);
    let next = assets.last().filter(|_| more).map(|asset| cursor(&asset.id));
    (assets, next)
}

/// The answer, with a link to the next page (RFC 8288).
pub(crate) fn paged(
    path: &str,
    mut query: form_urlencoded::Serializer<'_, String>,
    next: Option<&str>,
    page: Value,
) -> Response {
    let mut response = Json(page).into_response();
    if let Some(next) = next {
        let link = format!("<{path}?{}>; rel=\"next\"", query.append_pair("cursor", next).finish());
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    response
}

/// Assets as they are shown, with pictures.
pub(crate) async fn page(
    app: &App,
    assets: &[Asset],
    next: Option<&str>,
    show: fn(&Asset) -> Value,
) -> Result<Value, Problem> {
    let ids: Vec<AssetId> = assets.iter().map(|asset| asset.id).collect();
    let pictures = app.catalog.pictures_of_each(&ids).await?;
    let shown = assets.iter().map(|asset| {
        let its: Vec<_> = pictures.iter().filter(|(id, _)| *id == asset.id).map(|(_, picture)| picture).collect();
        listed(show(asset), &its, app.playback(asset).as_ref())
    });
    Ok(json!({ "assets": shown.collect::<Vec<_>>(), "next_cursor": next }))
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
    shown["captions"] = captions::of(&app, &asset).await?;
    shown["deletion"] = deletion(&app, &asset).await?;
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
