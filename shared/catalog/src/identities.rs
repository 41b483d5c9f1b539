//! Accounts as other providers know them, and things that are good once.
//!
//! Guarantees: an identity (issuer and subject) belongs to one account for ever; it gets there with the account that is made
//! for it, or by a link that is in the audit in the same transaction and of which the account's own address is told.

use reelfleet_messages::UserId;

use crate::Step;
use crate::accounts::User;
use crate::audit::{self, AuditEntry};
use crate::error::CatalogError;
use crate::mail::{self, NewMail};
use crate::statement::Statement;
use crate::store::{Atomic, Catalog};

/// Whom a provider vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity<'i> {
    /// The provider.
    pub issuer: &'i str,
    /// The provider's own name for the person, which never changes.
    pub subject: &'i str,
}

impl Catalog {
    /// The account of an identity.
    pub async fn user_of_identity(&self, identity: &Identity<'_>) -> Result<Option<UserId>, CatalogError> {
        let statement =
            Statement::new("SELECT user_id FROM user_identity WHERE issuer = :issuer AND subject = :subject")
                .text("issuer", identity.issuer)
                .text("subject", identity.subject);
        self.read(statement).await?.first().map(|row| row.parsed(0, "a user's id")).transpose()
    }

    /// The providers that vouch for an account: issuer and since when (epoch milliseconds).
    pub async fn identities_of(&self, user: &UserId) -> Result<Vec<(String, i64)>, CatalogError> {
        let statement = Statement::new(
            "SELECT issuer, linked_at FROM user_identity WHERE user_id = :user ORDER BY issuer, subject",
        )
        .text("user", user.to_string());
        self.read(statement).await?.iter().map(|row| Ok((row.text(0)?, row.int(1)?))).collect()
    }

    /// Links an identity to an account that was there before. `Conflict`: it belongs to another.
    pub async fn link_identity(
        &self,
        step: &Step,
        user: &User,
        identity: &Identity<'_>,
        mail: &NewMail<'_>,
        noted: &AuditEntry,
    ) -> Result<(), CatalogError> {
        let statements =
            vec![add(step, &user.id, identity), mail::enqueue(step, mail), audit::note(std::slice::from_ref(noted))];
        let settled = Statement::new(
            "SELECT user_id FROM user_identity WHERE issuer = :issuer AND subject = :subject AND op_id = :op",
        )
        .text("issuer", identity.issuer)
        .text("subject", identity.subject)
        .text("op", &step.op);
        self.atomic(Atomic { what: "linking an identity", statements, settled }).await
    }

    /// Uses a thing up; `false`: it was used before. Who it was is forgotten after `expires_at`, when it is no good anyway.
    pub async fn use_once(&self, step: &Step, hash: &str, expires_at: i64) -> Result<bool, CatalogError> {
        // The same use, asked again after a lost answer, is the same use.
        let (_, changed) = self
            .write(
                Statement::new(
                    "INSERT INTO used_once (hash, op_id, expires_at) VALUES (:hash, :op, :expires) \
                     ON CONFLICT (hash) DO UPDATE SET expires_at = excluded.expires_at WHERE used_once.op_id = excluded.op_id",
                )
                .text("hash", hash)
                .text("op", &step.op)
                .int("expires", expires_at),
            )
            .await?;
        Ok(changed == 1)
    }
}

/// The statement that gives an account an identity which nobody has.
pub(crate) fn add(step: &Step, user: &UserId, identity: &Identity<'_>) -> Statement {
    Statement::new(
        "INSERT INTO user_identity (issuer, subject, user_id, op_id, linked_at) VALUES (:issuer, :subject, :user, :op, :now) \
         ON CONFLICT (issuer, subject) DO NOTHING",
    )
    .text("issuer", identity.issuer)
    .text("subject", identity.subject)
    .text("user", user.to_string())
    .text("op", &step.op)
    .int("now", step.now)
    .expect(1)
}
