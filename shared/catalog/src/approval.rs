//! Approval: assets that wait for people's verdict. The votes are in [`crate::votes`].
//!
//! Guarantees:
//! - an asset that waits has one review, made in the transaction of its probe; while it waits no task of it encodes;
//! - when a review ends, every link to it ends in the same transaction;
//! - whatever happens to it, by people or by time, has its line in the audit, in the same transaction.

use reelfleet_domain::approval::OnReject;
use reelfleet_domain::{AssetState, TaskState};
use reelfleet_messages::{AssetId, ReviewId};

use crate::Step;
use crate::assets::{Probed, record_probe};
use crate::audit::{self, AuditEntry};
use crate::error::CatalogError;
use crate::events::{self, Emission};
use crate::review_links::{self, NewLink};
use crate::statement::{Params, Row, Statement};
use crate::store::{Atomic, Catalog};
use crate::tasks::{self, Lease, NewTask};

/// A review's state: waits for votes.
pub const WAITING: &str = "waiting";
/// Enough approved.
pub const GRANTED: &str = "granted";
/// Somebody rejected.
pub const DECLINED: &str = "declined";
/// Nobody decided in time.
pub const EXPIRED: &str = "expired";

/// A review to be asked for.
#[derive(Debug)]
pub struct NewReview<'r> {
    /// Its id.
    pub id: ReviewId,
    /// Whose the asset is.
    pub tenant: &'r str,
    /// Who uploaded it.
    pub owner: &'r str,
    /// The identity of the very bytes that are asked about.
    pub source: &'r str,
    /// Approvals that are needed.
    pub needed: i64,
    /// What happens to what is rejected.
    pub on_reject: OnReject,
    /// Epoch milliseconds.
    pub expires_at: i64,
    /// When reviewers are reminded (epoch milliseconds).
    pub remind_at: Option<i64>,
    /// When it is escalated (epoch milliseconds), and to whom.
    pub escalate_at: Option<i64>,
    /// Addresses.
    pub escalate_to: &'r [String],
    /// Who is written to at once.
    pub links: &'r [NewLink],
}

/// A review's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// Its id.
    pub id: ReviewId,
    /// What it is about.
    pub asset: AssetId,
    /// Whose.
    pub tenant: String,
    /// Who uploaded it.
    pub owner: String,
    /// The identity of the very bytes that are asked about.
    pub source: String,
    /// [`WAITING`], [`GRANTED`], [`DECLINED`], [`EXPIRED`].
    pub state: String,
    /// Grows when its state changes.
    pub version: i64,
    /// Approvals that are needed.
    pub needed: i64,
    /// Approvals so far.
    pub given: i64,
    /// What happens to what is rejected.
    pub on_reject: OnReject,
    /// Why it was declined.
    pub reason: Option<String>,
    /// Who decided, for reviewers to read.
    pub decided_by: Option<String>,
    /// Epoch milliseconds.
    pub decided_at: Option<i64>,
    /// Epoch milliseconds.
    pub requested_at: i64,
    /// Epoch milliseconds.
    pub expires_at: i64,
    /// When reviewers are reminded (epoch milliseconds).
    pub remind_at: Option<i64>,
    /// When it is escalated (epoch milliseconds).
    pub escalate_at: Option<i64>,
    /// To whom.
    pub escalate_to: Vec<String>,
}

macro_rules! columns {
    () => {
        "r.id, r.asset_id, r.tenant, r.owner, r.source, r.state, r.version, r.needed, r.given, r.on_reject, r.reason, r.decided_by, r.decided_at, \
         r.requested_at, r.expires_at, r.remind_at, r.escalate_at, r.escalate_to"
    };
}

impl Catalog {
    /// What the probe found, of an asset that waits for a verdict: the review, its mails and the tasks that make the
    /// pictures; all in the step of the probing task.
    #[allow(clippy::too_many_arguments, reason = "one transaction, each value named at its single call")]
    pub async fn probed_and_waiting(
        &self,
        step: &Step,
        lease: &Lease,
        probed: &Probed<'_>,
        review: &NewReview<'_>,
        next: &[NewTask],
        emissions: &[Emission],
    ) -> Result<(), CatalogError> {
        let mut statements = vec![tasks::settle(step, lease, TaskState::Done)];
        statements.extend(record_probe(step, lease, probed, AssetState::Uploaded, AssetState::AwaitingApproval));
        statements.push(request(step, &lease.envelope.work.asset(), review)?);
        statements.extend(review_links::open(step, &review.id, review.links));
        statements.extend(tasks::insert(step, next));
        statements.extend(events::emit(step, emissions));
        let settled = tasks::settled(step, &lease.envelope.task);
        self.commit(Atomic { what: "asking for a review", statements, settled }).await
    }

    /// One review.
    pub async fn review(&self, id: &ReviewId) -> Result<Option<Review>, CatalogError> {
        let sql = concat!("SELECT ", columns!(), " FROM approval r WHERE r.id = :id");
        let rows = self.read(Statement::new(sql).text("id", id.to_string())).await?;
        rows.first().map(review_from).transpose()
    }

    /// The review of an asset.
    pub async fn review_of(&self, asset: &AssetId) -> Result<Option<Review>, CatalogError> {
        let sql = concat!("SELECT ", columns!(), " FROM approval r WHERE r.asset_id = :asset");
        let rows = self.read(Statement::new(sql).text("asset", asset.to_string())).await?;
        rows.first().map(review_from).transpose()
    }

    /// What waits in a tenant, oldest first, after the given id.
    pub async fn reviews_waiting(&self, tenant: &str, after: &str, limit: i64) -> Result<Vec<Review>, CatalogError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM approval r JOIN asset a ON a.id = r.asset_id WHERE r.tenant = :tenant AND r.state = 'waiting' AND r.id > :after \
             AND a.state = 'awaiting_approval' ORDER BY r.id LIMIT :limit"
        );
        let statement = Statement::new(sql).text("tenant", tenant).text("after", after).int("limit", limit);
        self.read(statement).await?.iter().map(review_from).collect()
    }

    /// Reviews whose assets wait and whose time is over.
    pub async fn reviews_to_expire(&self, now: i64, limit: i64) -> Result<Vec<Review>, CatalogError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM approval r JOIN asset a ON a.id = r.asset_id WHERE r.state = 'waiting' AND r.expires_at <= :now \
             AND a.state = 'awaiting_approval' ORDER BY r.expires_at LIMIT :limit"
        );
        self.read(Statement::new(sql).int("now", now).int("limit", limit)).await?.iter().map(review_from).collect()
    }

    /// Ends a review that nobody decided. Its asset goes on waiting: for its deletion.
    pub async fn expire_review(
        &self,
        step: &Step,
        review: &Review,
        noted: AuditEntry,
        emissions: &[Emission],
    ) -> Result<(), CatalogError> {
        let mut statements = vec![
            Statement::new(
                "UPDATE approval SET state = 'expired', version = version + 1, decided_at = :now, op_id = :op WHERE id = :id \
                 AND state = 'waiting' AND expires_at <= :now AND EXISTS (SELECT 1 FROM asset a WHERE a.id = approval.asset_id AND a.state = 'awaiting_approval')",
            )
            .int("now", step.now)
            .text("op", &step.op)
            .text("id", review.id.to_string())
            .expect(1),
            Statement::new("UPDATE asset SET version = version + 1, updated_at = :now WHERE id = :id AND state = 'awaiting_approval'")
                .int("now", step.now)
                .text("id", review.asset.to_string()),
            review_links::revoke_all(step, &review.id),
            audit::note(&[noted]),
        ];
        statements.extend(events::emit(step, emissions));
        self.commit(Atomic { what: "expiring a review", statements, settled: settled(step, review) }).await
    }

    /// Asks again for a verdict that nobody gave in time, until `expires_at`; reviewers are reminded at `remind_at`. Votes
    /// that were given count.
    ///
    /// # Errors
    /// Conflict: it has not expired, was asked for again by somebody else, or its asset does not wait any more.
    pub async fn ask_again(
        &self,
        step: &Step,
        review: &Review,
        (remind_at, expires_at): (i64, i64),
        links: &[NewLink],
        noted: AuditEntry,
        emissions: &[Emission],
    ) -> Result<(), CatalogError> {
        let mut statements = vec![
            Statement::new(
                "UPDATE approval SET state = 'waiting', version = version + 1, decided_at = NULL, requested_at = :now, \
                 expires_at = :expires, remind_at = :remind, op_id = :op WHERE id = :id AND state = 'expired' AND version = :version",
            )
            .int("now", step.now)
            .int("expires", expires_at)
            .int("remind", remind_at)
            .text("op", &step.op)
            .text("id", review.id.to_string())
            .int("version", review.version)
            .expect(1),
            Statement::new("UPDATE asset SET version = version + 1, updated_at = :now WHERE id = :id AND state = 'awaiting_approval'")
                .int("now", step.now)
                .text("id", review.asset.to_string())
                .expect(1),
            audit::note(&[noted]),
        ];
        statements.extend(review_links::open(step, &review.id, links));
        statements.extend(events::emit(step, emissions));
        self.commit(Atomic { what: "asking again for a review", statements, settled: settled(step, review) }).await
    }

    /// Reviews whose reviewers are to be reminded, or which are to be escalated.
    pub async fn reviews_to_remind(&self, now: i64, limit: i64) -> Result<Vec<Review>, CatalogError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM approval r JOIN asset a ON a.id = r.asset_id WHERE r.state = 'waiting' AND r.expires_at > :now \
             AND (r.remind_at <= :now OR r.escalate_at <= :now) AND a.state = 'awaiting_approval' ORDER BY r.id LIMIT :limit"
        );
        self.read(Statement::new(sql).int("now", now).int("limit", limit)).await?.iter().map(review_from).collect()
    }

    /// Writes to reviewers again, by new links: those that they replace end. What was due at `step.now` is done with it.
    pub async fn remind(
        &self,
        step: &Step,
        review: &Review,
        replaced: &[String],
        links: &[NewLink],
        noted: &[AuditEntry],
    ) -> Result<(), CatalogError> {
        let mut statements = vec![
            Statement::new(
                "UPDATE approval SET remind_at = CASE WHEN remind_at <= :now THEN NULL ELSE remind_at END, \
                 escalate_at = CASE WHEN escalate_at <= :now THEN NULL ELSE escalate_at END, op_id = :op \
                 WHERE id = :id AND state = 'waiting' AND version = :version AND (remind_at <= :now OR escalate_at <= :now)",
            )
            .int("now", step.now)
            .text("op", &step.op)
            .text("id", review.id.to_string())
            .int("version", review.version)
            .expect(1),
        ];
        statements.extend(replaced.iter().map(|hash| review_links::revoke(step, hash)));
        statements.extend(review_links::open(step, &review.id, links));
        if !noted.is_empty() {
            statements.push(audit::note(noted));
        }
        self.commit(Atomic { what: "reminding reviewers", statements, settled: settled(step, review) }).await
    }

    /// Declined assets whose source is still to be tagged: (review, bucket, key, version).
    pub async fn to_quarantine(
        &self,
        limit: i64,
    ) -> Result<Vec<(ReviewId, String, String, Option<String>)>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT r.id, a.bucket, a.object_key, a.version_id FROM approval r JOIN asset a ON a.id = r.asset_id \
                     WHERE r.state = 'declined' AND r.on_reject = 'quarantine' AND r.quarantined_at IS NULL ORDER BY r.id LIMIT :limit",
                )
                .int("limit", limit),
            )
            .await?;
        rows.iter()
            .map(|row| Ok((row.parsed(0, "a review's id")?, row.text(1)?, row.text(2)?, row.opt_text(3)?)))
            .collect()
    }

    /// Notes that the source is tagged, or gone.
    pub async fn quarantined(&self, now: i64, review: &ReviewId) -> Result<(), CatalogError> {
        self.write(
            Statement::new("UPDATE approval SET quarantined_at = :now WHERE id = :id AND quarantined_at IS NULL")
                .int("now", now)
                .text("id", review.to_string()),
        )
        .await
        .map(drop)
    }

    /// Who a user is among reviewers: the e-mail, by which links are sent too, so that nobody votes twice.
    pub async fn reviewer_of(&self, user: &str) -> Result<Option<String>, CatalogError> {
        let rows = self.read(Statement::new("SELECT email FROM user_account WHERE id = :id").text("id", user)).await?;
        rows.first().map(|row| row.text(0)).transpose()
    }
}

fn request(step: &Step, asset: &AssetId, review: &NewReview<'_>) -> Result<Statement, CatalogError> {
    let escalate_to = serde_json::to_string(review.escalate_to);
    let escalate_to = escalate_to.map_err(|source| CatalogError::Stored { what: "addresses", source })?;
    Ok(Statement::new(
        "INSERT INTO approval (id, asset_id, tenant, owner, source, state, version, needed, given, on_reject, requested_at, \
         expires_at, remind_at, escalate_at, escalate_to, op_id) VALUES (:id, :asset, :tenant, :owner, :source, 'waiting', 1, \
         :needed, 0, :on_reject, :now, :expires, :remind, :escalate, :escalate_to, :op)",
    )
    .text("id", review.id.to_string())
    .text("asset", asset.to_string())
    .text("tenant", review.tenant)
    .text("owner", review.owner)
    .text("source", review.source)
    .int("needed", review.needed)
    .text("on_reject", review.on_reject.as_str())
    .int("now", step.now)
    .int("expires", review.expires_at)
    .with(Params::new().opt_int("remind", review.remind_at).opt_int("escalate", review.escalate_at))
    .text("escalate_to", escalate_to)
    .text("op", &step.op))
}

pub(crate) fn settled(step: &Step, review: &Review) -> Statement {
    Statement::new("SELECT id FROM approval WHERE id = :id AND op_id = :op")
        .text("id", review.id.to_string())
        .text("op", &step.op)
}

fn review_from(row: &Row) -> Result<Review, CatalogError> {
    let on_reject = row.text(9)?;
    let escalate_to = row.text(17)?;
    Ok(Review {
        id: row.parsed(0, "a review's id")?,
        asset: row.parsed(1, "an asset's id")?,
        tenant: row.text(2)?,
        owner: row.text(3)?,
        source: row.text(4)?,
        state: row.text(5)?,
        version: row.int(6)?,
        needed: row.int(7)?,
        given: row.int(8)?,
        on_reject: OnReject::parse(&on_reject).ok_or(CatalogError::Column {
            column: 9,
            wanted: "what follows a rejection",
            found: on_reject,
        })?,
        reason: row.opt_text(10)?,
        decided_by: row.opt_text(11)?,
        decided_at: row.opt_int(12)?,
        requested_at: row.int(13)?,
        expires_at: row.int(14)?,
        remind_at: row.opt_int(15)?,
        escalate_at: row.opt_int(16)?,
        escalate_to: serde_json::from_str(&escalate_to)
            .map_err(|source| CatalogError::Stored { what: "addresses", source })?,
    })
}
