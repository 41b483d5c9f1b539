//! Mails: written in the transaction of their cause, sent later by whoever leases them.
//!
//! Guarantees:
//! - a mail exists if, and only if, its cause does ([`enqueue`] is a statement of the cause's transaction);
//! - it is sent at least once: an attempt is counted and leased before it starts, and a sender that dies leaves a lease
//!   that ends by itself. Every attempt carries the same id, so a mailbox can tell repetitions;
//! - its text, which may hold a code or a link, stands in the row until it is sent, given up or out of date, and is
//!   blanked in the same statement;
//! - neither subject nor address can hold a line break: no mail gains a header.

use reelfleet_messages::MailId;

use crate::Step;
use crate::error::CatalogError;
use crate::statement::{Row, Statement};
use crate::store::Catalog;

/// Subjects are cut here (characters).
const SUBJECT_CHARS: usize = 150;

/// A mail to be written.
#[derive(Debug, Clone)]
pub struct NewMail<'m> {
    /// Its own; the Message-ID is made of it.
    pub id: MailId,
    /// On whose behalf.
    pub tenant: &'m str,
    /// The one person's address.
    pub to: &'m str,
    /// What it is for, as metrics and people name it: `password_reset`, `review`.
    pub kind: &'m str,
    /// One line.
    pub subject: &'m str,
    /// Plain text; lines end with `\n`.
    pub text: &'m str,
    /// Not sent after this (epoch milliseconds): a link that is over helps nobody.
    pub expires_at: i64,
}

/// A mail that this process may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Its own; the Message-ID is made of it.
    pub id: MailId,
    /// The one person's address.
    pub to: String,
    /// What it is for.
    pub kind: String,
    /// One line.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// This attempt's number, from 1: compared by what ends it.
    pub attempt: i64,
    /// When its cause happened (epoch milliseconds).
    pub created_at: i64,
}

/// How a mail stands. The text is never part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailState {
    /// `unsent`, `sent` or `failed`.
    pub state: String,
    /// Attempts so far.
    pub attempts: i64,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// Whether the text is gone.
    pub blank: bool,
}

/// Writes a mail; goes into the transaction of its cause.
pub fn enqueue(step: &Step, mail: &NewMail<'_>) -> Statement {
    Statement::new(
        "INSERT INTO mail (id, tenant, to_address, kind, subject, text, state, attempts, next_at, expires_at, op_id, created_at, updated_at) \
         VALUES (:id, :tenant, :to, :kind, :subject, :text, 'unsent', 0, :now, :expires, :op, :now, :now) ON CONFLICT (id) DO NOTHING",
    )
    .text("id", mail.id.to_string())
    .text("tenant", mail.tenant)
    .text("to", one_line(mail.to, usize::MAX))
    .text("kind", mail.kind)
    .text("subject", one_line(mail.subject, SUBJECT_CHARS))
    .text("text", mail.text)
    .int("now", step.now)
    .int("expires", mail.expires_at)
    .text("op", &step.op)
}

/// Without control characters, so that a name which somebody chose adds no header.
fn one_line(text: &str, longest: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(longest).collect()
}

impl Catalog {
    /// Takes mails that are due, for `lease_ms` each; the attempt is counted.
    pub async fn lease_mail(&self, step: &Step, lease_ms: i64, limit: i64) -> Result<Vec<Mail>, CatalogError> {
        let (rows, _) = self
            .write(
                Statement::new(
                    "UPDATE mail SET attempts = attempts + 1, next_at = :until, op_id = :op, updated_at = :now WHERE id IN \
                     (SELECT id FROM mail WHERE state = 'unsent' AND next_at <= :now AND expires_at > :now ORDER BY next_at, id LIMIT :limit) \
                     AND state = 'unsent' AND next_at <= :now \
                     RETURNING id, to_address, kind, subject, text, attempts, created_at",
                )
                .int("until", step.now.saturating_add(lease_ms))
                .text("op", &step.op)
                .int("now", step.now)
                .int("limit", limit),
            )
            .await?;
        rows.iter().map(mail_from).collect()
    }

    /// Notes that a mail was handed over, and blanks it.
    pub async fn mail_sent(&self, now: i64, mail: &Mail) -> Result<(), CatalogError> {
        self.write(
            Statement::new(
                "UPDATE mail SET state = 'sent', text = '', updated_at = :now WHERE id = :id AND state = 'unsent' AND attempts = :attempt",
            )
            .int("now", now)
            .text("id", mail.id.to_string())
            .int("attempt", mail.attempt),
        )
        .await
        .map(drop)
    }

    /// Notes why an attempt failed. With `next_at` it is tried again then; without, it is given up and blanked.
    pub async fn mail_failed(
        &self,
        now: i64,
        mail: &Mail,
        next_at: Option<i64>,
        error: &str,
    ) -> Result<(), CatalogError> {
        let error: String = error.chars().take(2_000).collect();
        self.write(
            Statement::new(
                "UPDATE mail SET state = :state, text = CASE WHEN :state = 'failed' THEN '' ELSE text END, next_at = :next, \
                 last_error = :error, updated_at = :now WHERE id = :id AND state = 'unsent' AND attempts = :attempt",
            )
            .text("state", if next_at.is_some() { "unsent" } else { "failed" })
            .int("next", next_at.unwrap_or(now))
            .text("error", error)
            .int("now", now)
            .text("id", mail.id.to_string())
            .int("attempt", mail.attempt),
        )
        .await
        .map(drop)
    }

    /// Blanks what nobody sent in time. Answers how many.
    pub async fn expire_mail(&self, now: i64) -> Result<u64, CatalogError> {
        let (_, changed) = self
            .write(
                Statement::new(
                    "UPDATE mail SET state = 'failed', text = '', last_error = coalesce(last_error, 'it was not sent in time'), \
                     updated_at = :now WHERE state = 'unsent' AND expires_at <= :now",
                )
                .int("now", now),
            )
            .await?;
        Ok(changed)
    }

    /// Forgets mails that ended before `before` (epoch milliseconds): an address is kept no longer than it serves.
    pub async fn trim_mail(&self, before: i64) -> Result<u64, CatalogError> {
        let (_, changed) = self
            .write(
                Statement::new("DELETE FROM mail WHERE state <> 'unsent' AND updated_at < :before")
                    .int("before", before),
            )
            .await?;
        Ok(changed)
    }

    /// How many mails wait.
    pub async fn unsent_mail(&self) -> Result<i64, CatalogError> {
        let rows = self.read(Statement::new("SELECT count(*) FROM mail WHERE state = 'unsent'")).await?;
        Ok(crate::store::first_int(&rows)?.unwrap_or(0))
    }

    /// How one mail stands.
    pub async fn mail_state(&self, id: &MailId) -> Result<Option<MailState>, CatalogError> {
        let rows = self
            .read(
                Statement::new("SELECT state, attempts, last_error, length(text) FROM mail WHERE id = :id")
                    .text("id", id.to_string()),
            )
            .await?;
        rows.first()
            .map(|row| {
                Ok(MailState {
                    state: row.text(0)?,
                    attempts: row.int(1)?,
                    last_error: row.opt_text(2)?,
                    blank: row.int(3)? == 0,
                })
            })
            .transpose()
    }

    /// Writes mails that have no other cause than this call.
    pub async fn post(&self, step: &Step, mail: &NewMail<'_>) -> Result<(), CatalogError> {
        self.write(enqueue(step, mail)).await.map(drop)
    }
}

fn mail_from(row: &Row) -> Result<Mail, CatalogError> {
    Ok(Mail {
        id: row.parsed(0, "a mail's id")?,
        to: row.text(1)?,
        kind: row.text(2)?,
        subject: row.text(3)?,
        text: row.text(4)?,
        attempt: row.int(5)?,
        created_at: row.int(6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_line_break_becomes_a_space() {
        assert_eq!(one_line("film\r\nBcc: all@example.com", 99), "film  Bcc: all@example.com");
        assert_eq!(one_line(&"ü".repeat(400), 150).chars().count(), 150);
    }
}
