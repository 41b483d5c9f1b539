//! Reviews: what waits for people's verdict, and the verdicts.
//!
//! Guarantees:
//! - a GET or HEAD never decides anything; a verdict is a POST by somebody who is known: signed in with the right to
//!   review ([`desk`]), or holding a personal link and the code that came beside it ([`link`]);
//! - a verdict is for the very bytes that were shown: the review is bound to them, and whatever happened meanwhile is
//!   answered by 409 or 412, with who decided and when;
//! - repeating a verdict changes nothing and answers the same; nobody votes twice on one review, by whatever way, nor,
//!   but for administrators, on an upload of their own.

pub(crate) mod again;
pub(crate) mod desk;
pub(crate) mod link;
pub(crate) mod story;

use reelfleet_catalog::approval::{DECLINED, EXPIRED, GRANTED, Review, WAITING};
use reelfleet_catalog::assets::Asset;
use reelfleet_catalog::audit::AuditEntry;
use reelfleet_catalog::costs::Started;
use reelfleet_catalog::votes::{Ballot, Next, Vote};
use reelfleet_catalog::{CatalogError, Emission};
use reelfleet_domain::AssetState;
use reelfleet_domain::approval::OnReject;
use reelfleet_messages::event::{ApprovalDeclined, ApprovalFact, AssetDeleting, AssetStopped, JobFact, ReasonCode};
use reelfleet_messages::{Event, JobId, ReviewId};
use reelfleet_telemetry::trace::link;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::{App, rfc3339};
use crate::asset_view::with_playback;
use crate::problem::{Code, Problem};

/// A review that changes under the voter's hands is read this often.
const TRIES: u32 = 5;
/// Characters of a reason.
const MAX_REASON: usize = 1_000;

/// A verdict as it is sent.
#[derive(Debug, Deserialize)]
pub(crate) struct Sent {
    verdict: String,
    reason: Option<String>,
    /// Of a personal link alone.
    code: Option<String>,
}

/// A verdict as it is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Meant {
    approves: bool,
    reason: Option<String>,
}

impl Sent {
    fn meant(&self) -> Result<Meant, Problem> {
        let invalid = |detail: String| Problem::new(Code::InvalidRequest, detail);
        let approves = match self.verdict.as_str() {
            "approve" => true,
            "reject" => false,
            _ => return Err(invalid("verdict is approve or reject".to_owned())),
        };
        let reason: String =
            self.reason.iter().flat_map(|text| text.chars()).filter(|c| !c.is_control() || *c == '\n').collect();
        let reason = reason.trim().to_owned();
        if reason.chars().count() > MAX_REASON {
            return Err(invalid(format!("reason has at most {MAX_REASON} characters")));
        }
        if !approves && reason.is_empty() {
            return Err(invalid("reason is missing: the uploader is told why".to_owned()));
        }
        Ok(Meant { approves, reason: (!reason.is_empty()).then_some(reason) })
    }
}

/// Who votes.
struct Voter<'v> {
    /// Once per review: an e-mail where it is known, else a user.
    key: String,
    /// The hash of the personal link that it comes by.
    link: Option<&'v str>,
    /// May decide on an upload of its own.
    is_admin: bool,
}

/// Counts a verdict, or finds that it was counted before. `version`: of the review that was shown, where it was said.
async fn cast(
    app: &App,
    id: &ReviewId,
    voter: &Voter<'_>,
    meant: &Meant,
    version: Option<i64>,
) -> Result<Review, Problem> {
    for _ in 0..TRIES {
        let review = app.catalog.review(id).await?.ok_or_else(Problem::not_found)?;
        let votes = app.catalog.votes(id).await?;
        if let Some(vote) = votes.iter().find(|vote| vote.reviewer == voter.key) {
            return repeated(review, vote, meant);
        }
        if version.is_some_and(|version| version != review.version) {
            return Err(Problem::new(Code::ReviewChanged, outcome(&review)));
        }
        if !voter.is_admin && is_own(app, &review, &voter.key).await? {
            return Err(Problem::new(Code::OwnUpload, "somebody else decides on it"));
        }
        let asset = app.catalog.asset(&review.asset).await?.ok_or_else(Problem::not_found)?;
        let over = review.expires_at <= app.now();
        if review.state != WAITING || asset.state != AssetState::AwaitingApproval || over {
            return Err(Problem::new(Code::ReviewDecided, outcome(&review)));
        }
        match decide(app, &review, &asset, voter, meant).await {
            Err(CatalogError::Conflict { .. }) => {}
            decided => {
                decided?;
                return app.catalog.review(id).await?.ok_or_else(Problem::not_found);
            }
        }
    }
    Err(Problem::new(Code::Unavailable, "the review changes too fast: try again"))
}

/// Whoever voted hears the same again; another verdict than one's first is refused.
fn repeated(review: Review, vote: &Vote, meant: &Meant) -> Result<Review, Problem> {
    if vote.approves == meant.approves {
        return Ok(review);
    }
    let verdict = if vote.approves { "approved" } else { "rejected" };
    Err(Problem::new(Code::ReviewDecided, format!("you {verdict} it at {}", rfc3339(vote.at))))
}

/// Whether the voter uploaded it.
async fn is_own(app: &App, review: &Review, key: &str) -> Result<bool, Problem> {
    Ok(review.owner == key || app.catalog.reviewer_of(&review.owner).await?.is_some_and(|email| email == key))
}

async fn decide(
    app: &App,
    review: &Review,
    asset: &Asset,
    voter: &Voter<'_>,
    meant: &Meant,
) -> Result<(), CatalogError> {
    let step = app.context.step();
    let noted = AuditEntry {
        id: app.context.ids.token(),
        at: step.now,
        who: voter.key.clone(),
        what: if meant.approves { "review.approved" } else { "review.rejected" }.to_owned(),
        subject: review.id.to_string(),
        detail: json!({
            "asset": asset.id.to_string(),
            "reason": meant.reason,
            "by": if voter.link.is_some() { "link" } else { "desk" },
        })
        .to_string(),
        tenant: Some(review.tenant.clone()),
    };
    let reason = meant.reason.as_deref();
    let ballot = Ballot { reviewer: &voter.key, shown: &voter.key, reason, link: voter.link, noted };
    let job = app.catalog.job_of(&asset.id).await?.map(|(job, ..)| job);
    let job = job.ok_or(CatalogError::Conflict { what: "deciding on an asset without a job" })?;
    if !meant.approves {
        let purge_at = step.now.saturating_add(app.options.restore_ms);
        let emissions = declined(app, review, asset, job, reason.unwrap_or_default(), purge_at);
        return app.catalog.decline(&step, review, &ballot, purge_at, &emissions).await;
    }
    if review.given.saturating_add(1) < review.needed {
        return app.catalog.count_approval(&step, review, &ballot).await;
    }
    // The upload's trace goes on; the reviewer's is another, and knows of it.
    let began = app.catalog.trace_of(&asset.id).await?;
    if let Some(began) = &began {
        link(began.as_str());
    }
    let micros = app.catalog.estimate_of(&job).await?;
    let mut start = match micros {
        Some(micros) => Some(app.context.may_start(&app.catalog, &asset.tenant, micros).await?),
        None => None,
    };
    loop {
        let granted = Event::ApprovalGranted(ApprovalFact { asset: asset.id, review: review.id });
        let starts = |day| Next::Starts(Box::new(app.context.first_task(asset, job, began.clone())), day);
        let queued = || emission(app, asset, Event::JobQueued(JobFact { asset: asset.id, job, code: None }));
        let (next, second) = match &start {
            Some(Started::Parked(why)) => (Next::Parked(why.clone()), app.context.parked_fact(asset, why)),
            Some(Started::On(day)) => (starts(Some(*day)), queued()),
            None => (starts(None), queued()),
        };
        let emissions = [emission(app, asset, granted).to_reviewers(), second];
        match app.catalog.grant(&step, review, &ballot, &job, next, &emissions).await {
            // Others have taken the rest of the day's budget meanwhile; or somebody has decided, which shows again.
            Err(error) if error.is_conflict() && matches!(start, Some(Started::On(_))) => {
                let why = app.context.parked(&app.catalog, &asset.tenant, micros.unwrap_or(0)).await?;
                start = Some(Started::Parked(why));
            }
            outcome => return outcome,
        }
    }
}

fn emission(app: &App, asset: &Asset, fact: Event) -> Emission {
    app.context.emission(&asset.tenant, &asset.owner, None, fact)
}

fn declined(app: &App, review: &Review, asset: &Asset, job: JobId, reason: &str, purge_at: i64) -> [Emission; 3] {
    let (id, code) = (asset.id, ReasonCode::Rejected);
    let said = ApprovalDeclined { asset: id, review: review.id, reason: reason.to_owned() };
    let ended = if review.on_reject == OnReject::Delete {
        Event::AssetDeleting(AssetDeleting { asset: id, purge_at_ms: purge_at.unsigned_abs() })
    } else {
        Event::AssetRefused(AssetStopped { asset: id, code, detail: reason.to_owned() })
    };
    [
        emission(app, asset, Event::ApprovalDeclined(said)).to_reviewers(),
        emission(app, asset, Event::JobFailed(JobFact { asset: id, job, code: Some(code) })),
        emission(app, asset, ended),
    ]
}

/// How it ended, or why nobody can vote, for a person.
fn outcome(review: &Review) -> String {
    let (by, at) = (review.decided_by.as_deref().unwrap_or("a reviewer"), review.decided_at.map(rfc3339));
    let at = at.unwrap_or_default();
    match review.state.as_str() {
        GRANTED => format!("already approved by {by} at {at}"),
        DECLINED => format!("already rejected by {by} at {at}"),
        EXPIRED => format!("it expired at {at} without a verdict"),
        _ => "it does not wait for a verdict any more".to_owned(),
    }
}

/// What reviewers see of a review. Links to pictures are for whoever reads this alone.
async fn shown(app: &App, review: &Review, asset: &Asset) -> Result<Value, Problem> {
    let (votes, pictures, uploader, approved) = tokio::try_join!(
        app.catalog.votes(&review.id),
        app.catalog.pictures(&asset.id, asset.generation),
        app.catalog.reviewer_of(&review.owner),
        app.catalog.approved_of(&review.tenant, &review.owner),
    )?;
    let mut shown = brief(review, asset);
    shown["asset"] = with_playback(shown["asset"].take(), asset, &pictures, app.playback(asset).as_ref());
    let probe = asset.probe.as_deref().map(serde_json::from_str::<Value>);
    shown["asset"]["probe"] = probe.and_then(Result::ok).unwrap_or(Value::Null);
    shown["uploader"] = json!({ "id": review.owner, "email": uploader, "approved_before": approved });
    shown["votes"] = votes
        .iter()
        .map(|vote| {
            json!({
                "by": vote.shown,
                "verdict": if vote.approves { "approve" } else { "reject" },
                "reason": vote.reason,
                "at": rfc3339(vote.at),
            })
        })
        .collect();
    Ok(shown)
}

/// The same in a list.
fn brief(review: &Review, asset: &Asset) -> Value {
    let decided = review.decided_at.map(|at| json!({ "by": review.decided_by, "at": rfc3339(at) }));
    json!({
        "id": review.id.to_string(),
        "state": review.state,
        "version": review.version,
        "needed": review.needed,
        "given": review.given,
        "on_reject": review.on_reject.as_str(),
        "reason": review.reason,
        "decided": decided,
        "requested_at": rfc3339(review.requested_at),
        "expires_at": rfc3339(review.expires_at),
        "asset": {
            "id": asset.id.to_string(),
            "name": asset.name,
            "description": asset.description,
            "state": asset.state.as_str(),
            "media": asset.media,
            "duration_ms": asset.duration_ms,
            "width": asset.width,
            "height": asset.height,
            "size": asset.size,
            "owner": asset.owner,
            "landed_at": rfc3339(asset.landed_at),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(verdict: &str, reason: Option<&str>) -> Result<Meant, Problem> {
        Sent { verdict: verdict.into(), reason: reason.map(str::to_owned), code: None }.meant()
    }

    #[test]
    fn a_rejection_says_why() {
        assert!(sent("approve", None).unwrap().approves);
        assert_eq!(sent("approve", Some("  ")).unwrap().reason, None);
        assert_eq!(sent("reject", Some(" no\u{7} sound \n")).unwrap().reason.as_deref(), Some("no sound"));
        for (verdict, reason) in [("reject", None), ("reject", Some(" \n")), ("maybe", Some("x")), ("", None)] {
            assert_eq!(sent(verdict, reason).unwrap_err().code, Code::InvalidRequest, "{verdict} {reason:?}");
        }
        assert!(sent("reject", Some(&"x".repeat(MAX_REASON + 1))).is_err());
    }
}
