//! What is kept of one person, for that person.
//!
//! Guarantee: pages in the order of ids, so that a long export is read bit by bit and each row once; no secret, hash or mail's
//! text is in any of it.

use reelfleet_messages::UserId;

use crate::error::CatalogError;
use crate::statement::{Row, Statement};
use crate::store::Catalog;

/// A device that is, or was, signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownSession {
    /// Its id.
    pub id: String,
    /// Epoch milliseconds.
    pub created_at: i64,
    /// When it was last refreshed (epoch milliseconds).
    pub refreshed_at: i64,
    /// Epoch milliseconds.
    pub expires_at: i64,
    /// Epoch milliseconds.
    pub ended_at: Option<i64>,
}

/// A vote that somebody gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenVote {
    /// On which review.
    pub review: String,
    /// Of which asset.
    pub asset: String,
    /// Yes or no.
    pub approves: bool,
    /// Why.
    pub reason: Option<String>,
    /// Epoch milliseconds.
    pub at: i64,
}

/// A mail to somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentMail {
    /// Its id.
    pub id: String,
    /// What it was about.
    pub kind: String,
    /// Its subject.
    pub subject: String,
    /// Where it is on its way.
    pub state: String,
    /// Epoch milliseconds.
    pub created_at: i64,
}

impl Catalog {
    /// Sessions of a user, as far as they are not forgotten.
    pub async fn sessions_of(&self, user: &UserId, after: &str, limit: i64) -> Result<Vec<KnownSession>, CatalogError> {
        let sql = "SELECT id, created_at, rotated_at, expires_at, revoked_at FROM session \
                   WHERE user_id = :who AND id > :after ORDER BY id LIMIT :limit";
        self.page(sql, &user.to_string(), after, limit, |row| {
            Ok(KnownSession {
                id: row.text(0)?,
                created_at: row.int(1)?,
                refreshed_at: row.int(2)?,
                expires_at: row.int(3)?,
                ended_at: row.opt_int(4)?,
            })
        })
        .await
    }

    /// Votes of a reviewer, in the order of reviews.
    pub async fn votes_of(&self, reviewer: &str, after: &str, limit: i64) -> Result<Vec<GivenVote>, CatalogError> {
        let sql = "SELECT v.review_id, r.asset_id, v.approves, v.reason, v.at FROM vote v JOIN approval r ON r.id = v.review_id \
                   WHERE v.reviewer = :who AND v.review_id > :after ORDER BY v.review_id LIMIT :limit";
        self.page(sql, reviewer, after, limit, |row| {
            Ok(GivenVote {
                review: row.text(0)?,
                asset: row.text(1)?,
                approves: row.bool(2)?,
                reason: row.opt_text(3)?,
                at: row.int(4)?,
            })
        })
        .await
    }

    /// Mails to an address, as far as they are kept.
    pub async fn mails_to(&self, address: &str, after: &str, limit: i64) -> Result<Vec<SentMail>, CatalogError> {
        let sql = "SELECT id, kind, subject, state, created_at FROM mail \
                   WHERE to_address = :who AND id > :after ORDER BY id LIMIT :limit";
        self.page(sql, address, after, limit, |row| {
            Ok(SentMail {
                id: row.text(0)?,
                kind: row.text(1)?,
                subject: row.text(2)?,
                state: row.text(3)?,
                created_at: row.int(4)?,
            })
        })
        .await
    }

    async fn page<T>(
        &self,
        sql: &'static str,
        who: &str,
        after: &str,
        limit: i64,
        read: impl Fn(&Row) -> Result<T, CatalogError>,
    ) -> Result<Vec<T>, CatalogError> {
        let statement = Statement::new(sql).text("who", who).text("after", after).int("limit", limit);
        self.read(statement).await?.iter().map(read).collect()
    }
}
