//! `/v1/reviews/link/{token}`: review by whoever was sent a personal link and a code.
//!
//! Guarantees:
//! - reading (GET, HEAD) changes nothing, however often a mail scanner does it; a verdict without the code, or with a
//!   wrong one, decides nothing, and after five wrong ones the link is over;
//! - the link is used up by its verdict, and ends when somebody else decides; afterwards it tells who decided and when;
//! - the token stands in no log line, and a page that holds it is kept by no cache and sends no referrer.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use reelfleet_access::Secret;
use reelfleet_catalog::approval::{Review, WAITING};
use reelfleet_catalog::review_links::{Link, MAX_TRIES, Tried};
use serde_json::json;

use super::{Sent, Voter, cast, outcome, shown};
use crate::app::{App, rfc3339};
use crate::caller::Payload;
use crate::problem::{Code, Problem};

/// What the link leads to.
pub(crate) async fn show(State(app): State<Arc<App>>, Path(token): Path<String>) -> Result<Response, Problem> {
    let (link, review) = known(&app, &token).await?;
    told(&app, &link, &review).await
}

/// The verdict of whoever holds the link and types the code.
pub(crate) async fn decide(
    State(app): State<Arc<App>>,
    Path(token): Path<String>,
    Payload(sent): Payload<Sent>,
) -> Result<Response, Problem> {
    let (link, review) = known(&app, &token).await?;
    let meant = sent.meant()?;
    let voter = Voter { key: link.address.clone(), link: Some(&link.hash), is_admin: false };
    // A used link only hears again what it was used for.
    if link.state != "used" {
        if review.state != WAITING {
            return Err(Problem::new(Code::ReviewDecided, outcome(&review)));
        }
        let code = sent.code.as_deref().map(str::trim).unwrap_or_default();
        if code.len() != 6 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Problem::new(Code::ReviewCodeInvalid, "type the six digits that stand in the mail"));
        }
        match app.catalog.try_code(app.now(), &token, code).await? {
            Tried::Right => {}
            Tried::Wrong(left) => {
                let detail = format!("it is not the code of this mail; {left} tries are left");
                return Err(Problem::new(Code::ReviewCodeInvalid, detail));
            }
            Tried::Closed => return Err(over()),
        }
    }
    let review = cast(&app, &review.id, &voter, &meant, None).await?;
    let (link, _) = known(&app, &token).await?;
    told(&app, &link, &review).await
}

fn over() -> Problem {
    Problem::new(
        Code::ReviewLinkOver,
        "it was replaced, is out of date, or its code was tried too often: sign in instead",
    )
}

async fn known(app: &App, token: &str) -> Result<(Link, Review), Problem> {
    // One spelling, and nothing else is looked up.
    Secret::from_hex(token).ok_or_else(Problem::not_found)?;
    let link = app.catalog.review_link(token).await?.ok_or_else(Problem::not_found)?;
    let review = app.catalog.review(&link.review).await?.ok_or_else(Problem::not_found)?;
    Ok((link, review))
}

async fn told(app: &App, link: &Link, review: &Review) -> Result<Response, Problem> {
    let asset = app.catalog.asset(&review.asset).await?.ok_or_else(Problem::not_found)?;
    let open = link.state == "open" && link.tries < MAX_TRIES && link.expires_at > app.now();
    let body = if review.state == WAITING && (open || link.state == "used") {
        shown(app, review, &asset).await?
    } else if review.state == WAITING {
        return Err(over());
    } else {
        // Afterwards only the outcome: the link is no key to the pictures for ever.
        let decided = review.decided_at.map(|at| json!({ "by": review.decided_by, "at": rfc3339(at) }));
        json!({
            "id": review.id.to_string(),
            "state": review.state,
            "detail": outcome(review),
            "reason": review.reason,
            "decided": decided,
            "asset": { "name": asset.name },
        })
    };
    let mut body = body;
    body["link"] = json!({
        "address": link.address,
        "state": link.state,
        "tries_left": MAX_TRIES.saturating_sub(link.tries),
        "expires_at": rfc3339(link.expires_at),
    });
    let mut response = Json(body).into_response();
    response.headers_mut().insert(HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex"));
    Ok(response)
}
