//! Reviews that nobody decides: reviewers are reminded, then it is escalated, then it expires and stays blocked. And the
//! sources of what was rejected into quarantine are tagged.
//!
//! Guarantees: whoever is written to again gets a new link, and the one before ends in the same transaction; each
//! reminder goes out once, however many janitors look; only a review whose asset still waits is touched; each of it has
//! its line in the audit.

use std::collections::BTreeSet;

use aws_sdk_s3::types::{Tag, Tagging};
use reelfleet_catalog::CatalogError;
use reelfleet_catalog::approval::Review;
use reelfleet_catalog::audit::AuditEntry;
use reelfleet_catalog::review_links::NewLink;
use reelfleet_domain::review_mail::Occasion;
use reelfleet_fleet::reviews::Asked;
use reelfleet_messages::Event;
use reelfleet_messages::event::ApprovalFact;
use serde_json::json;

use crate::{Janitor, passed_over};

/// Who does it, in the audit.
const WHO: &str = "janitor";
/// Reviews of one round.
const PAGE: i64 = 50;
/// A source with this tag is held back, by a bucket policy that denies reading it.
const QUARANTINE: (&str, &str) = ("reelfleet", "quarantine");

impl Janitor {
    /// Answers how many expired, and how many were written about again.
    pub(crate) async fn sweep_reviews(&self) -> anyhow::Result<u64> {
        let now = self.context.clock.now_ms();
        let mut count = 0;
        for review in self.catalog.reviews_to_expire(now, PAGE).await? {
            self.beat.tick();
            let fact = Event::ApprovalExpired(ApprovalFact { asset: review.asset, review: review.id });
            let emission = self.context.emission(&review.tenant, &review.owner, None, fact).to_reviewers();
            let noted = self.noted(&review, "review.expired", None);
            count += done(&review, self.catalog.expire_review(&self.context.step(), &review, noted, &[emission]).await);
        }
        for review in self.catalog.reviews_to_remind(now, PAGE).await? {
            self.beat.tick();
            count += done(&review, self.remind(&review).await);
        }
        Ok(count)
    }

    async fn remind(&self, review: &Review) -> Result<(), CatalogError> {
        let step = self.context.step();
        let Some(asset) = self.catalog.asset(&review.asset).await? else { return Ok(()) };
        let owner = self.catalog.reviewer_of(&review.owner).await?.unwrap_or_else(|| review.owner.clone());
        let asked = Asked {
            tenant: &review.tenant,
            owner: &owner,
            name: &asset.name,
            bytes: asset.size.unsigned_abs(),
            duration_ms: asset.duration_ms.map(i64::unsigned_abs),
            votes: u8::try_from(review.needed).unwrap_or(1),
            expires_at: review.expires_at,
        };
        let open = self.catalog.open_links(&review.id).await?;
        let is_due = |at: Option<i64>| at.is_some_and(|at| at <= step.now);
        let mut occasions: Vec<(Occasion, BTreeSet<String>)> = Vec::new();
        if is_due(review.remind_at) {
            occasions.push((Occasion::Reminded, open.iter().map(|link| link.address.clone()).collect()));
        }
        if is_due(review.escalate_at) {
            occasions.push((Occasion::Escalated, review.escalate_to.iter().map(|to| to.to_lowercase()).collect()));
        }
        let mut written = BTreeSet::new();
        let mut links: Vec<NewLink> = Vec::new();
        let mut noted = Vec::new();
        for (occasion, addresses) in occasions {
            let mut to = Vec::new();
            for address in addresses.into_iter().filter(|address| *address != owner) {
                if written.insert(address.clone()) {
                    links.push(self.context.review_link(occasion, &asked, &address));
                    to.push(address);
                }
            }
            let what = if occasion == Occasion::Escalated { "review.escalated" } else { "review.reminded" };
            // Where nobody is written to, nothing happens.
            noted.extend((!to.is_empty()).then(|| self.noted(review, what, Some(&to))));
        }
        let replaced = open.into_iter().filter(|link| written.contains(&link.address));
        let replaced: Vec<String> = replaced.map(|link| link.hash).collect();
        self.catalog.remind(&step, review, &replaced, &links, &noted).await
    }

    /// A line of the tenant's audit.
    fn noted(&self, review: &Review, what: &str, to: Option<&[String]>) -> AuditEntry {
        let mut detail = json!({ "asset": review.asset.to_string() });
        if let Some(to) = to {
            detail["to"] = json!(to);
        }
        AuditEntry {
            id: self.context.ids.token(),
            at: self.context.clock.now_ms(),
            who: WHO.to_owned(),
            what: what.to_owned(),
            subject: review.id.to_string(),
            detail: detail.to_string(),
            tenant: Some(review.tenant.clone()),
        }
    }

    /// Tags sources that were rejected into quarantine; one that is gone needs no tag.
    pub(crate) async fn sweep_quarantine(&self) -> anyhow::Result<u64> {
        let tag = Tag::builder().key(QUARANTINE.0).value(QUARANTINE.1).build()?;
        let tagging = Tagging::builder().tag_set(tag).build()?;
        let mut count = 0;
        for (review, bucket, key, version) in self.catalog.to_quarantine(PAGE).await? {
            self.beat.tick();
            let call = self.context.clients.s3.put_object_tagging().bucket(&bucket).key(&key);
            let sent = call.set_version_id(version).tagging(tagging.clone()).send().await;
            match sent {
                Ok(_) => count += 1,
                Err(error) if error.raw_response().is_some_and(|raw| raw.status().as_u16() == 404) => {}
                Err(error) => {
                    let error = aws_sdk_s3::error::DisplayErrorContext(error);
                    passed_over("quarantine", &review.to_string(), error);
                    continue;
                }
            }
            self.catalog.quarantined(self.context.clock.now_ms(), &review).await?;
        }
        Ok(count)
    }
}

/// 1 if it is done; somebody else's being first is no failure.
fn done(review: &Review, outcome: Result<(), CatalogError>) -> u64 {
    match outcome {
        Ok(()) => 1,
        Err(error) if error.is_conflict() => 0,
        Err(error) => {
            passed_over("reviews", &review.id.to_string(), error);
            0
        }
    }
}
