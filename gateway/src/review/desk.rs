//! `/v1/reviews`: the desk of whoever is signed in, or shows a key, with the scope `reviews`.
//!
//! Guarantee: only reviews of the caller's tenant exist; the original is handed out by a link of five minutes.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use reelfleet_access::{Principal, Scope};
use reelfleet_catalog::approval::Review;
use reelfleet_catalog::assets::Asset;
use reelfleet_domain::AssetState;
use reelfleet_messages::{AssetId, ReviewId};
use serde_json::{Value, json};

use super::{Sent, Voter, brief, cast, shown};
use crate::app::{App, rfc3339};
use crate::asset_view::listed;
use crate::caller::{Caller, Payload, text_of};
use crate::details;
use crate::paging::Page;
use crate::problem::{Code, Problem};

/// How long a reviewer may read the original by one link.
const ORIGINAL: Duration = Duration::from_secs(300);

/// What waits, oldest first.
pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller, page: Page) -> Result<Response, Problem> {
    let principal = caller.with(Scope::Reviews)?;
    let after = page.after::<ReviewId>()?.map_or(String::new(), |id| id.to_string());
    let reviews = app.catalog.reviews_waiting(&principal.tenant, &after, page.one_more()).await?;
    let (reviews, next) = page.cut(reviews, |review| review.id.to_string());
    let found = reviews.iter().map(|review| app.catalog.asset(&review.asset));
    let found = futures::future::try_join_all(found).await?;
    let ids: Vec<AssetId> = reviews.iter().map(|review| review.asset).collect();
    let pictures = app.catalog.pictures_of_each(&ids).await?;
    let rows = reviews.iter().zip(&found).filter_map(|(review, asset)| Some((review, asset.as_ref()?)));
    let rows: Vec<Value> = rows
        .map(|(review, asset)| {
            let its: Vec<_> = pictures.iter().filter(|(id, _)| *id == asset.id).map(|(_, picture)| picture).collect();
            let mut row = brief(review, asset);
            row["asset"] = listed(row["asset"].take(), &its, app.playback(asset).as_ref());
            row
        })
        .collect();
    Ok(Json(json!({ "reviews": rows, "next_cursor": next })).into_response())
}

/// One review, with all that a verdict needs.
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let principal = caller.with(Scope::Reviews)?;
    let review = known(&app, &principal, &id).await?;
    told(&app, &review).await
}

/// The verdict of whoever is signed in.
pub(crate) async fn decide(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Payload(sent): Payload<Sent>,
) -> Result<Response, Problem> {
    let principal = caller.with(Scope::Reviews)?;
    let review = known(&app, &principal, &id).await?;
    let meant = sent.meant()?;
    let version = version(&headers)?;
    let key = app.catalog.reviewer_of(&principal.owner).await?.unwrap_or_else(|| principal.owner.clone());
    let voter = Voter { key, link: None, is_admin: principal.scopes.hold(Scope::Admin) };
    let review = cast(&app, &review.id, &voter, &meant, Some(version)).await?;
    told(&app, &review).await
}

/// The version in `If-Match`, which says what was decided on.
fn version(headers: &HeaderMap) -> Result<i64, Problem> {
    if !headers.contains_key(header::IF_MATCH) {
        return Err(Problem::new(Code::PreconditionRequired, "send If-Match: the ETag of the review that you saw"));
    }
    let text = text_of(headers, header::IF_MATCH.as_str()).unwrap_or_default().trim();
    let number = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).and_then(|inner| inner.parse().ok());
    number.ok_or_else(|| Problem::new(Code::InvalidRequest, "If-Match is the ETag of the review"))
}

/// A review of the caller's tenant.
async fn known(app: &App, principal: &Principal, id: &str) -> Result<Review, Problem> {
    let id: ReviewId = id.parse().map_err(|_| Problem::not_found())?;
    let review = app.catalog.review(&id).await?;
    review.filter(|review| principal.sees(&review.tenant)).ok_or_else(Problem::not_found)
}

async fn told(app: &App, review: &Review) -> Result<Response, Problem> {
    let asset = app.catalog.asset(&review.asset).await?.ok_or_else(Problem::not_found)?;
    let mut body = shown(app, review, &asset).await?;
    body["original"] = original(app, &asset).await?;
    let mut response = Json(body).into_response();
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", review.version)) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

/// A link to the source, for reading in ranges, while it waits; null once it is gone.
async fn original(app: &App, asset: &Asset) -> Result<Value, Problem> {
    if asset.state != AssetState::AwaitingApproval || !details::original_is_there(app, asset).await? {
        return Ok(Value::Null);
    }
    let expires_at = app.now().saturating_add(300_000);
    let link = app
        .presigner
        .get(&asset.bucket, &asset.key, asset.version_id.as_deref(), None, Some("attachment"), ORIGINAL)
        .await?;
    Ok(json!({ "url": link.url, "expires_at": rfc3339(expires_at) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_decided_on_has_to_be_said() {
        let of = |value: Option<&'static str>| {
            let values = value.map(|value| (header::IF_MATCH, HeaderValue::from_static(value)));
            version(&values.into_iter().collect()).map_err(|problem| problem.code)
        };
        assert_eq!(of(Some("\"7\"")), Ok(7));
        assert_eq!(of(None), Err(Code::PreconditionRequired));
        for wrong in ["*", "7", "\"\"", "\"x\"", "\"7\", \"8\"", "W/\"7\""] {
            assert_eq!(of(Some(wrong)), Err(Code::InvalidRequest), "{wrong}");
        }
    }
}
