//! Votes of reviewers, and what the last of them decides.
//!
//! Guarantees:
//! - a vote is unique per (review, reviewer), and counts only while asset and review both wait: whatever else ends the
//!   asset (deletion, a replaced source) or the review (another verdict, its expiry) was first, and the vote is nothing;
//! - the vote that decides, the asset's change of state, the job's next task and the facts are one transaction.

use reelfleet_domain::approval::OnReject;
use reelfleet_messages::event::ReasonCode;
use reelfleet_messages::{AssetId, JobId, ReviewId};

use crate::Step;
use crate::approval::{DECLINED, GRANTED, Review, WAITING, settled};
use crate::audit::{self, AuditEntry};
use crate::budgets;
use crate::error::CatalogError;
use crate::events::{self, Emission};
use crate::review_links;
use crate::statement::{Params, Statement};
use crate::store::{Atomic, Catalog};
use crate::tasks::{self, NewTask};

/// A vote that somebody gives.
#[derive(Debug)]
pub struct Ballot<'b> {
    /// Who, once per review: an e-mail where it is known, else a user.
    pub reviewer: &'b str,
    /// The same for other reviewers to read.
    pub shown: &'b str,
    /// Why; needed to reject.
    pub reason: Option<&'b str>,
    /// The personal link that it came by, by its hash.
    pub link: Option<&'b str>,
    /// Its line in the audit.
    pub noted: AuditEntry,
}

/// What follows an approval.
#[derive(Debug)]
pub enum Next {
    /// The job starts with this task, on this day's budget if it was estimated.
    Starts(Box<NewTask>, Option<i64>),
    /// It waits for a budget, and why.
    Parked(String),
}

/// A vote that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// Who.
    pub reviewer: String,
    /// The same for other reviewers to read.
    pub shown: String,
    /// Whether it approves.
    pub approves: bool,
    /// Why.
    pub reason: Option<String>,
    /// Epoch milliseconds.
    pub at: i64,
}

impl Catalog {
    /// Votes of a review, in their order.
    pub async fn votes(&self, review: &ReviewId) -> Result<Vec<Vote>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT reviewer, shown, approves, reason, at FROM vote WHERE review_id = :review ORDER BY at, reviewer",
                )
                .text("review", review.to_string()),
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Vote {
                    reviewer: row.text(0)?,
                    shown: row.text(1)?,
                    approves: row.bool(2)?,
                    reason: row.opt_text(3)?,
                    at: row.int(4)?,
                })
            })
            .collect()
    }

    /// Whether somebody voted on an asset.
    pub async fn voted_on(&self, asset: &AssetId, reviewer: &str) -> Result<bool, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT v.reviewer FROM vote v JOIN approval r ON r.id = v.review_id WHERE r.asset_id = :asset AND v.reviewer = :reviewer",
                )
                .text("asset", asset.to_string())
                .text("reviewer", reviewer),
            )
            .await?;
        Ok(!rows.is_empty())
    }

    /// How many uploads of a user were approved.
    pub async fn approved_of(&self, tenant: &str, owner: &str) -> Result<i64, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT count(*) FROM approval WHERE tenant = :tenant AND owner = :owner AND state = 'granted'",
                )
                .text("tenant", tenant)
                .text("owner", owner),
            )
            .await?;
        Ok(crate::store::first_int(&rows)?.unwrap_or(0))
    }

    /// Counts an approval that does not decide yet.
    pub async fn count_approval(&self, step: &Step, review: &Review, ballot: &Ballot<'_>) -> Result<(), CatalogError> {
        let mut statements = vec![
            advance(step, review, None, ballot),
            // The asset's row is locked: whoever ends it now comes before or after.
            Statement::new("UPDATE asset SET updated_at = :now WHERE id = :id AND state = 'awaiting_approval' AND identity = :source")
                .int("now", step.now)
                .text("id", review.asset.to_string())
                .text("source", &review.source)
                .expect(1),
            cast(step, review, ballot, true),
            audit::note(std::slice::from_ref(&ballot.noted)),
        ];
        statements.extend(ballot.link.map(|hash| review_links::used(step, hash)));
        self.commit(Atomic { what: "counting an approval", statements, settled: settled(step, review) }).await
    }

    /// Counts the approval that decides: the job goes on with its next task, or waits for a budget. Conflict, too, if the
    /// day's budget does not hold it.
    #[allow(clippy::too_many_arguments, reason = "one transaction, each value named at its single call")]
    pub async fn grant(
        &self,
        step: &Step,
        review: &Review,
        ballot: &Ballot<'_>,
        job: &JobId,
        next: Next,
        emissions: &[Emission],
    ) -> Result<(), CatalogError> {
        let mut statements = vec![
            advance(step, review, Some(GRANTED), ballot),
            Statement::new(
                "UPDATE asset SET state = :state, version = version + 1, op_id = :op, updated_at = :now \
                 WHERE id = :id AND state = 'awaiting_approval' AND identity = :source",
            )
            .text("state", if matches!(next, Next::Parked(_)) { "parked" } else { "processing" })
            .text("op", &step.op)
            .int("now", step.now)
            .text("id", review.asset.to_string())
            .text("source", &review.source)
            .expect(1),
            cast(step, review, ballot, true),
            audit::note(std::slice::from_ref(&ballot.noted)),
        ];
        statements.extend(ballot.link.map(|hash| review_links::used(step, hash)));
        statements.push(review_links::revoke_all(step, &review.id));
        match next {
            Next::Starts(task, day) => {
                statements.extend(day.into_iter().flat_map(|day| budgets::take(step, &job.to_string(), day)));
                statements.extend(tasks::insert(step, &[*task]));
            }
            Next::Parked(why) => {
                statements.extend(budgets::park(step, &job.to_string(), &review.asset.to_string(), &why));
            }
        }
        statements.extend(events::emit(step, emissions));
        self.commit(Atomic { what: "granting an approval", statements, settled: settled(step, review) }).await
    }

    /// Counts a rejection, which decides. `purge_at`: until then what is deleted by it can be restored, as refused.
    pub async fn decline(
        &self,
        step: &Step,
        review: &Review,
        ballot: &Ballot<'_>,
        purge_at: i64,
        emissions: &[Emission],
    ) -> Result<(), CatalogError> {
        let id = review.asset.to_string();
        let deletes = review.on_reject == OnReject::Delete;
        let mut statements = vec![
            advance(step, review, Some(DECLINED), ballot),
            Statement::new(
                "UPDATE asset SET state = :state, reason_code = :code, reason_detail = :detail, version = version + 1, op_id = :op, \
                 updated_at = :now WHERE id = :id AND state = 'awaiting_approval' AND identity = :source",
            )
            .text("state", if deletes { "deleting" } else { "refused" })
            .text("code", ReasonCode::Rejected.as_str())
            .text("detail", ballot.reason.unwrap_or_default())
            .text("op", &step.op)
            .int("now", step.now)
            .text("id", &id)
            .text("source", &review.source)
            .expect(1),
            cast(step, review, ballot, false),
            audit::note(std::slice::from_ref(&ballot.noted)),
            Statement::new(
                "UPDATE job SET state = 'failed', reason_code = :code, updated_at = :now WHERE asset_id = :id AND state IN ('queued', 'running')",
            )
            .text("code", ReasonCode::Rejected.as_str())
            .int("now", step.now)
            .text("id", &id),
            Statement::new(
                "UPDATE task SET state = 'cancelled', op_id = :op, updated_at = :now WHERE asset_id = :id AND state IN ('pending', 'leased')",
            )
            .text("op", &step.op)
            .int("now", step.now)
            .text("id", &id),
        ];
        if deletes {
            // Restored, it is what it would be without the deletion: refused. No task was called off by this name.
            statements.push(
                Statement::new(
                    "INSERT INTO deletion (asset_id, requested_by, requested_at, purge_at, state_before, ended_by) \
                     VALUES (:id, :by, :now, :purge, 'refused', :ended)",
                )
                .text("id", &id)
                .text("by", ballot.reviewer)
                .int("now", step.now)
                .int("purge", purge_at)
                .text("ended", format!("{}/declined", step.op)),
            );
        }
        statements.extend(ballot.link.map(|hash| review_links::used(step, hash)));
        statements.push(review_links::revoke_all(step, &review.id));
        statements.extend(events::emit(step, emissions));
        self.commit(Atomic { what: "declining an approval", statements, settled: settled(step, review) }).await
    }
}

/// The guard of every verdict: the review still stands as it was read. Opens the transaction.
fn advance(step: &Step, review: &Review, to: Option<&str>, ballot: &Ballot<'_>) -> Statement {
    let approves = to != Some(DECLINED);
    Statement::new(
        "UPDATE approval SET state = :state, version = version + :moves, given = given + :counts, reason = :reason, \
         decided_by = :by, decided_at = :at, op_id = :op \
         WHERE id = :id AND state = 'waiting' AND version = :version AND given = :given AND expires_at > :now",
    )
    .text("state", to.unwrap_or(WAITING))
    .int("moves", i64::from(to.is_some()))
    .int("counts", i64::from(approves))
    .with(
        Params::new()
            .opt_text("reason", ballot.reason.filter(|_| to.is_some()))
            .opt_text("by", to.map(|_| ballot.shown))
            .opt_int("at", to.map(|_| step.now)),
    )
    .text("op", &step.op)
    .text("id", review.id.to_string())
    .int("version", review.version)
    .int("given", review.given)
    .int("now", step.now)
    .expect(1)
}

fn cast(step: &Step, review: &Review, ballot: &Ballot<'_>, approves: bool) -> Statement {
    Statement::new(
        "INSERT INTO vote (review_id, reviewer, shown, approves, reason, at) VALUES (:review, :reviewer, :shown, :approves, :reason, :now) \
         ON CONFLICT (review_id, reviewer) DO NOTHING",
    )
    .text("review", review.id.to_string())
    .text("reviewer", ballot.reviewer)
    .text("shown", ballot.shown)
    .with(Params::new().bool("approves", approves).opt_text("reason", ballot.reason))
    .int("now", step.now)
    .expect(1)
}
