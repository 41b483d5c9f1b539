//! Personal links to a review: who holds one, and types the code that came with it, may vote once.
//!
//! Guarantees:
//! - of token and code only hashes are stored; the code's is bound to the token, which nobody but the mail holds;
//! - a try is counted before its code is compared, and the fifth is the last;
//! - a link is good for one review and one person, until it is used, replaced, out of date, or the review ends.

use reelfleet_messages::{MailId, ReviewId};
use sha2::{Digest, Sha256};

use crate::Step;
use crate::error::CatalogError;
use crate::mail::{self, NewMail};
use crate::statement::{Params, Row, Statement};
use crate::store::Catalog;

/// Tries of the code.
pub const MAX_TRIES: i64 = 5;
/// A link lives no longer (milliseconds).
pub const LIFE_MS: i64 = 7 * 86_400_000;

/// A link to be sent, with its mail.
#[derive(Debug, Clone)]
pub struct NewLink {
    /// [`link_hash`] of its token.
    pub hash: String,
    /// [`code_hash`] of its token and code.
    pub code_hash: String,
    /// Who gets it.
    pub address: String,
    /// Epoch milliseconds.
    pub expires_at: i64,
    /// The mail's id.
    pub mail: MailId,
    /// On whose behalf.
    pub tenant: String,
    /// The mail's subject.
    pub subject: String,
    /// The mail's text, with link and code.
    pub text: String,
}

/// A link's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// By which it is found.
    pub hash: String,
    /// What it leads to.
    pub review: ReviewId,
    /// Who got it.
    pub address: String,
    /// `open`, `used` or `revoked`.
    pub state: String,
    /// How often a code was tried.
    pub tries: i64,
    /// Epoch milliseconds.
    pub expires_at: i64,
    code_hash: String,
}

/// What a code came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// It is the right one.
    Right,
    /// It is not; so many tries are left.
    Wrong(i64),
    /// The link is used, revoked, out of date, or its tries are used up.
    Closed,
}

/// What is stored of a token.
pub fn link_hash(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

/// What is stored of a code.
pub fn code_hash(token: &str, code: &str) -> String {
    hex::encode(Sha256::digest(format!("{token}:{code}").as_bytes()))
}

/// Rows of new links, and their mails.
pub(crate) fn open(step: &Step, review: &ReviewId, links: &[NewLink]) -> Vec<Statement> {
    if links.is_empty() {
        return Vec::new();
    }
    let sets = links.iter().map(|link| {
        Params::new()
            .text("hash", &link.hash)
            .text("review", review.to_string())
            .text("address", &link.address)
            .text("code", &link.code_hash)
            .int("expires", link.expires_at)
            .int("now", step.now)
    });
    let rows = Statement::batch(
        "INSERT INTO review_link (hash, review_id, address, code_hash, state, tries, expires_at, created_at) \
         VALUES (:hash, :review, :address, :code, 'open', 0, :expires, :now)",
        sets,
    );
    let mails = links.iter().map(|link| {
        mail::enqueue(
            step,
            &NewMail {
                id: link.mail,
                tenant: &link.tenant,
                to: &link.address,
                kind: "review",
                subject: &link.subject,
                text: &link.text,
                expires_at: link.expires_at,
            },
        )
    });
    std::iter::once(rows).chain(mails).collect()
}

/// In the transaction of the vote that came by it.
pub(crate) fn used(step: &Step, hash: &str) -> Statement {
    Statement::new("UPDATE review_link SET state = 'used', used_at = :now WHERE hash = :hash AND state = 'open'")
        .int("now", step.now)
        .text("hash", hash)
        .expect(1)
}

/// Another has taken its place.
pub(crate) fn revoke(step: &Step, hash: &str) -> Statement {
    Statement::new("UPDATE review_link SET state = 'revoked', used_at = :now WHERE hash = :hash AND state = 'open'")
        .int("now", step.now)
        .text("hash", hash)
}

/// The review has ended.
pub(crate) fn revoke_all(step: &Step, review: &ReviewId) -> Statement {
    Statement::new(
        "UPDATE review_link SET state = 'revoked', used_at = :now WHERE review_id = :review AND state = 'open'",
    )
    .int("now", step.now)
    .text("review", review.to_string())
}

macro_rules! columns {
    () => {
        "hash, review_id, address, state, tries, expires_at, code_hash"
    };
}

impl Catalog {
    /// The link of a token. Reading it changes nothing.
    pub async fn review_link(&self, token: &str) -> Result<Option<Link>, CatalogError> {
        let sql = concat!("SELECT ", columns!(), " FROM review_link WHERE hash = :hash");
        let rows = self.read(Statement::new(sql).text("hash", link_hash(token))).await?;
        rows.first().map(link_from).transpose()
    }

    /// Links of a review that are still good.
    pub async fn open_links(&self, review: &ReviewId) -> Result<Vec<Link>, CatalogError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM review_link WHERE review_id = :review AND state = 'open' ORDER BY address, hash"
        );
        self.read(Statement::new(sql).text("review", review.to_string())).await?.iter().map(link_from).collect()
    }

    /// Everybody who ever got a link to a review.
    pub async fn addresses_of(&self, review: &ReviewId) -> Result<Vec<String>, CatalogError> {
        let sql = "SELECT DISTINCT address FROM review_link WHERE review_id = :review ORDER BY address";
        let rows = self.read(Statement::new(sql).text("review", review.to_string())).await?;
        rows.iter().map(|row| row.text(0)).collect()
    }

    /// Tries a code. The try is counted first.
    pub async fn try_code(&self, now: i64, token: &str, code: &str) -> Result<Tried, CatalogError> {
        let (rows, _) = self
            .write(
                Statement::new(
                    "UPDATE review_link SET tries = tries + 1 WHERE hash = :hash AND state = 'open' AND tries < :max AND expires_at > :now \
                     RETURNING hash, review_id, address, state, tries, expires_at, code_hash",
                )
                .text("hash", link_hash(token))
                .int("max", MAX_TRIES)
                .int("now", now),
            )
            .await?;
        let Some(link) = rows.first().map(link_from).transpose()? else { return Ok(Tried::Closed) };
        // Hashes of a secret that the caller does not choose: nothing is learnt from the time a comparison takes.
        if link.code_hash == code_hash(token, code) {
            return Ok(Tried::Right);
        }
        Ok(Tried::Wrong(MAX_TRIES.saturating_sub(link.tries)))
    }
}

fn link_from(row: &Row) -> Result<Link, CatalogError> {
    Ok(Link {
        hash: row.text(0)?,
        review: row.parsed(1, "a review's id")?,
        address: row.text(2)?,
        state: row.text(3)?,
        tries: row.int(4)?,
        expires_at: row.int(5)?,
        code_hash: row.text(6)?,
    })
}
