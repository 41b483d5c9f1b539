//! Whether an upload waits for people's verdict, and asking for it.
//!
//! Guarantee: policy is asked once, when the probe is known; review, mails and facts are in the probe's own transaction,
//! so nothing waits that nobody was told of.

use std::collections::BTreeSet;

use reelfleet_catalog::approval::NewReview;
use reelfleet_catalog::assets::{Asset, Probed};
use reelfleet_catalog::review_links::NewLink;
use reelfleet_catalog::tasks::NewTask;
use reelfleet_catalog::{Catalog, CatalogError, Lease};
use reelfleet_domain::approval::{Facts, Terms};
use reelfleet_domain::review_mail::Occasion;
use reelfleet_fleet::reviews::Asked;
use reelfleet_fleet::{Attempt, Context};
use reelfleet_messages::event::ApprovalRequested;
use reelfleet_messages::{Event, ReviewId, SourceIdentity};

/// What is about to be asked.
pub(crate) struct Question<'q> {
    context: &'q Context,
    asset: &'q Asset,
    terms: Terms,
    /// Who uploaded it, for people.
    owner: String,
    duration_ms: Option<u64>,
}

/// None: nobody needs to decide.
pub(crate) async fn ask<'q>(
    context: &'q Context,
    catalog: &Catalog,
    asset: &'q Asset,
    duration_ms: Option<u64>,
) -> Result<Option<Question<'q>>, CatalogError> {
    let policy = &context.config.approval;
    let approved_before =
        if policy.asks_for_history() { catalog.approved_of(&asset.tenant, &asset.owner).await? } else { 0 };
    let facts = Facts {
        tenant: &asset.tenant,
        owner: &asset.owner,
        key: &asset.key,
        bytes: asset.size.unsigned_abs(),
        duration_ms,
        approved_before: approved_before.unsigned_abs(),
    };
    let Some(terms) = policy.terms(&facts) else { return Ok(None) };
    let owner = catalog.reviewer_of(&asset.owner).await?.unwrap_or_else(|| asset.owner.clone());
    Ok(Some(Question { context, asset, terms, owner, duration_ms }))
}

impl Question<'_> {
    /// Asks it, in the step of the probe.
    pub(crate) async fn commit(
        self,
        attempt: &Attempt,
        lease: &Lease,
        catalog: &Catalog,
        probed: &Probed<'_>,
        next: &[NewTask],
        found: Event,
    ) -> Result<(), CatalogError> {
        let (asset, terms, step) = (self.asset, &self.terms, attempt.step("probed"));
        let id = ReviewId::from_uuid(self.context.ids.uuid());
        let expires_at = step.now.saturating_add(terms.expires_ms);
        let links = self.links(expires_at);
        let source = SourceIdentity::of(&asset.bucket, &asset.key, asset.version_id.as_deref(), &asset.etag);
        let escalates = terms.remind_ms.filter(|_| !terms.escalate_to.is_empty());
        let review = NewReview {
            id,
            tenant: &asset.tenant,
            owner: &asset.owner,
            source: source.as_str(),
            needed: i64::from(terms.votes),
            on_reject: terms.on_reject,
            expires_at,
            remind_at: terms.remind_ms.map(|ms| step.now.saturating_add(ms)),
            escalate_at: escalates.map(|ms| step.now.saturating_add(ms.saturating_mul(2))),
            escalate_to: &terms.escalate_to,
            links: &links,
        };
        let requested = Event::ApprovalRequested(ApprovalRequested {
            asset: asset.id,
            review: id,
            votes: u32::from(terms.votes),
            expires_at_ms: expires_at.unsigned_abs(),
            link: format!("{}/reviews/{id}", self.context.config.public_url),
        });
        let emissions =
            [attempt.emission(&asset.owner, found), attempt.emission(&asset.owner, requested).to_reviewers()];
        catalog.probed_and_waiting(&step, lease, probed, &review, next, &emissions).await?;
        tracing::info!(review = %id, votes = terms.votes, mails = links.len(), "it waits for a verdict");
        Ok(())
    }

    /// One for each reviewer who is written to.
    fn links(&self, expires_at: i64) -> Vec<NewLink> {
        let named = &self.terms.reviewers;
        let addresses = if named.is_empty() { &self.context.config.reviewers } else { named };
        let asked = Asked {
            tenant: &self.asset.tenant,
            owner: &self.owner,
            name: &self.asset.name,
            bytes: self.asset.size.unsigned_abs(),
            duration_ms: self.duration_ms,
            votes: self.terms.votes,
            expires_at,
        };
        // An uploader who is a reviewer too is not asked about the own upload.
        let others: BTreeSet<String> = addresses.iter().map(|address| address.to_lowercase()).collect();
        let others = others.iter().filter(|address| !address.eq_ignore_ascii_case(&self.owner));
        others.map(|address| self.context.review_link(Occasion::Asked, &asked, address)).collect()
    }
}
