//! How an asset's review went, step by step, for whoever sees the asset: as long as the review is kept, so after its
//! verdict too.
//!
//! Guarantee: who voted, and what a reviewer noted beside an approval, is told to whoever may review in the tenant; its
//! uploader is told that it happened, and why it was rejected.

use reelfleet_access::{Principal, Scope};
use reelfleet_catalog::approval::Review;
use reelfleet_catalog::assets::Asset;
use reelfleet_catalog::audit::AuditEntry;
use reelfleet_catalog::votes::Vote;
use serde_json::{Value, json};

use crate::app::{App, rfc3339};
use crate::problem::Problem;

/// What the audit says of a review and the votes do not.
const EVENTS: [&str; 4] = ["reminded", "escalated", "expired", "asked_again"];
/// Lines of the audit that are read, the latest.
const LINES: i64 = 100;

/// The review of an asset, if it has one.
pub(crate) async fn of(app: &App, principal: &Principal, asset: &Asset) -> Result<Value, Problem> {
    match app.catalog.review_of(&asset.id).await? {
        Some(review) => told(app, principal, &review).await,
        None => Ok(Value::Null),
    }
}

/// How it stands, and how it came to that.
pub(super) async fn told(app: &App, principal: &Principal, review: &Review) -> Result<Value, Problem> {
    let subject = review.id.to_string();
    let (votes, lines) = tokio::try_join!(app.catalog.votes(&review.id), app.catalog.audit_of(&subject, LINES))?;
    let reviews = principal.sees(&review.tenant) && principal.scopes.hold(Scope::Reviews);
    Ok(json!({
        "state": review.state,
        "needed": review.needed,
        "given": review.given,
        "requested_at": rfc3339(review.requested_at),
        "expires_at": rfc3339(review.expires_at),
        "decided_at": review.decided_at.map(rfc3339),
        "steps": steps(&votes, &lines, reviews),
    }))
}

/// Votes and what else happened, in their order.
fn steps(votes: &[Vote], lines: &[AuditEntry], reviews: bool) -> Vec<Value> {
    let given = votes.iter().map(|vote| {
        let step = json!({
            "what": if vote.approves { "approved" } else { "rejected" },
            "at": rfc3339(vote.at),
            "by": reviews.then_some(&vote.shown),
            "reason": vote.reason.as_ref().filter(|_| reviews || !vote.approves),
        });
        (vote.at, step)
    });
    let happened = lines.iter().filter_map(|line| {
        let what = line.what.strip_prefix("review.").filter(|what| EVENTS.contains(what))?;
        Some((line.at, json!({ "what": what, "at": rfc3339(line.at), "by": null, "reason": null })))
    });
    let mut all: Vec<_> = given.chain(happened).collect();
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, step)| step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uploader_hears_what_happened_and_not_by_whom() {
        let vote = |approves, at| Vote {
            reviewer: "bob@example.com".into(),
            shown: "bob@example.com".into(),
            approves,
            reason: Some("why".into()),
            at,
        };
        let line = |what: &str, at| AuditEntry {
            id: "a".into(),
            at,
            who: "janitor".into(),
            what: what.into(),
            subject: "rev".into(),
            detail: "{}".into(),
            tenant: None,
        };
        // As they are read: votes from the oldest, the audit from the latest; a vote is in both.
        let votes = [vote(true, 2_000), vote(false, 5_000)];
        let lines = [
            line("review.rejected", 5_000),
            line("review.asked_again", 4_000),
            line("review.expired", 3_000),
            line("review.approved", 2_000),
            line("review.reminded", 1_000),
            line("user.reminded", 1),
        ];
        let words = |steps: &[Value]| {
            let of = |step: &Value, field: &str| step[field].as_str().unwrap_or("-").to_owned();
            steps.iter().map(|s| [of(s, "what"), of(s, "by"), of(s, "reason")].join(" ")).collect::<Vec<_>>()
        };
        let uploader = steps(&votes, &lines, false);
        assert_eq!(
            words(&uploader),
            ["reminded - -", "approved - -", "expired - -", "asked_again - -", "rejected - why"]
        );
        assert_eq!(uploader[0]["at"], "1970-01-01T00:00:01.000Z");
        let reviewer = words(&steps(&votes, &lines, true));
        assert_eq!(reviewer[1], "approved bob@example.com why");
        assert_eq!(reviewer[4], "rejected bob@example.com why");
    }
}
