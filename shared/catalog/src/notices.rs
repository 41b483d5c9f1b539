//! Mails to uploaders about what became of their uploads: how far the event log has been told, and who wants them.
//!
//! Guarantee: every event is told of at most once and, while the log keeps it, at least once: the mails of a stretch of
//! the operators' stream and the position after it are one transaction, won by whoever moves the position on.

use reelfleet_messages::UserId;

use crate::Step;
use crate::error::CatalogError;
use crate::log_cursor;
use crate::mail::{self, NewMail};
use crate::statement::{Params, Statement};
use crate::store::{Catalog, first_int};

const CURSOR: &str = "notices";

/// What somebody wants to be written to about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wishes {
    /// An upload is ready.
    pub ready: bool,
    /// An upload failed, was refused or rejected.
    pub failed: bool,
    /// Once a week, what the week brought.
    pub weekly: bool,
}

impl Default for Wishes {
    fn default() -> Self {
        Self { ready: true, failed: true, weekly: false }
    }
}

impl Catalog {
    /// What a user wants to be written to about.
    pub async fn wishes(&self, user: &UserId) -> Result<Wishes, CatalogError> {
        let rows = self
            .read(
                Statement::new("SELECT ready, failed, weekly FROM mail_wish WHERE user_id = :user")
                    .text("user", user.to_string()),
            )
            .await?;
        rows.first().map_or(Ok(Wishes::default()), |row| {
            Ok(Wishes { ready: row.bool(0)?, failed: row.bool(1)?, weekly: row.bool(2)? })
        })
    }

    /// Sets it. Who wants weekly mails from now on hears of `week`, the present one, first.
    pub async fn wish(&self, user: &UserId, wishes: Wishes, week: i64) -> Result<(), CatalogError> {
        let wished = Params::new().bool("ready", wishes.ready).bool("failed", wishes.failed);
        self.write(
            Statement::new(
                "INSERT INTO mail_wish (user_id, ready, failed, weekly, week, op_id) VALUES (:user, :ready, :failed, :weekly, :week, '') \
                 ON CONFLICT (user_id) DO UPDATE SET ready = :ready, failed = :failed, \
                 week = CASE WHEN mail_wish.weekly THEN mail_wish.week ELSE :week END, weekly = :weekly",
            )
            .text("user", user.to_string())
            .with(wished.bool("weekly", wishes.weekly))
            .int("week", week - 1),
        )
        .await
        .map(drop)
    }

    /// How far the operators' stream has been told.
    pub async fn told_until(&self) -> Result<i64, CatalogError> {
        let rows = self.read(log_cursor::position(CURSOR)).await?;
        Ok(first_int(&rows)?.unwrap_or(0))
    }

    /// Writes the mails of a stretch of the stream.
    ///
    /// # Errors
    /// Conflict: another process told it.
    pub async fn tell(&self, step: &Step, from: i64, to: i64, mails: &[NewMail<'_>]) -> Result<(), CatalogError> {
        let mails = mails.iter().map(|mail| mail::enqueue(step, mail));
        self.commit(log_cursor::moved(step, "telling uploaders", CURSOR, (from, to), mails)).await
    }
}
