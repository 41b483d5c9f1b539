//! `POST /v1/assets/{id}/review`: its owner asks again for the verdict that nobody gave in time.
//!
//! Guarantee: only a review that expired is opened again, with the votes that it has, for as long as it was open before;
//! whoever was written to then is written to anew. What was decided stays decided. How a review went is in [`story`].

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use reelfleet_access::{Principal, Scope};
use reelfleet_catalog::CatalogError;
use reelfleet_catalog::approval::{EXPIRED, Review, WAITING};
use reelfleet_catalog::assets::Asset;
use reelfleet_catalog::audit::AuditEntry;
use reelfleet_domain::AssetState;
use reelfleet_domain::review_mail::Occasion;
use reelfleet_fleet::reviews::Asked;
use reelfleet_messages::Event;
use reelfleet_messages::event::ApprovalRequested;
use serde_json::{Value, json};

use super::{outcome, story};
use crate::app::App;
use crate::caller::Caller;
use crate::deletion;
use crate::problem::{Code, Problem};

/// May be repeated: a review that waits is answered as it stands.
pub(crate) async fn ask(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let principal = caller.with(Scope::AssetsWrite)?;
    let asset = deletion::own(&app, &principal, &id).await?;
    if matches!(asset.state, AssetState::Deleting | AssetState::Deleted) {
        return Err(Problem::new(Code::AssetGone, "it is deleted"));
    }
    let review = app.catalog.review_of(&asset.id).await?.ok_or_else(Problem::not_found)?;
    if asset.state == AssetState::AwaitingApproval && review.state == EXPIRED {
        match open(&app, &principal, &asset, &review).await {
            // Somebody else has asked, or deleted it; what stands now tells.
            Err(error) if error.is_conflict() => {}
            opened => opened?,
        }
    }
    let review = app.catalog.review_of(&asset.id).await?.ok_or_else(Problem::not_found)?;
    if review.state != WAITING {
        // Who decided is for reviewers to know.
        return Err(Problem::new(Code::ReviewDecided, outcome(&Review { decided_by: None, ..review })));
    }
    Ok(Json(story::told(&app, &principal, &review).await?))
}

async fn open(app: &App, principal: &Principal, asset: &Asset, review: &Review) -> Result<(), CatalogError> {
    let step = app.context.step();
    let length = review.expires_at.saturating_sub(review.requested_at).max(0);
    let (remind_at, expires_at) = (step.now.saturating_add(length / 2), step.now.saturating_add(length));
    let votes = u8::try_from(review.needed).unwrap_or(1);
    let owner = app.catalog.reviewer_of(&review.owner).await?.unwrap_or_else(|| review.owner.clone());
    let asked = Asked {
        tenant: &review.tenant,
        owner: &owner,
        name: &asset.name,
        bytes: asset.size.unsigned_abs(),
        duration_ms: asset.duration_ms.map(i64::unsigned_abs),
        votes,
        expires_at,
    };
    let addresses = app.catalog.addresses_of(&review.id).await?;
    let others = addresses.iter().filter(|address| !address.eq_ignore_ascii_case(&owner));
    let links: Vec<_> = others.map(|address| app.context.review_link(Occasion::Again, &asked, address)).collect();
    let fact = Event::ApprovalRequested(ApprovalRequested {
        asset: asset.id,
        review: review.id,
        votes: u32::from(votes),
        expires_at_ms: expires_at.unsigned_abs(),
        link: app.url(&format!("/reviews/{}", review.id)),
    });
    let noted = AuditEntry {
        id: app.context.ids.token(),
        at: step.now,
        who: principal.user().to_owned(),
        what: "review.asked_again".to_owned(),
        subject: review.id.to_string(),
        detail: json!({ "asset": asset.id.to_string() }).to_string(),
        tenant: Some(review.tenant.clone()),
    };
    let emissions = [app.context.emission(&asset.tenant, &asset.owner, None, fact).to_reviewers()];
    app.catalog.ask_again(&step, review, (remind_at, expires_at), &links, noted, &emissions).await
}
