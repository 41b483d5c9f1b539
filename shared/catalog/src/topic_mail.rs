//! Mails by a topic: how far the event log has been told there.
//!
//! Guarantee: every event of the operators' stream is told of at most once and, while the log keeps it, at least once: the
//! outbox's rows of a stretch and the position after it are one transaction, won by whoever moves the position on. What
//! happened before this was turned on for the first time is no news.

use crate::Step;
use crate::error::CatalogError;
use crate::events::OPS_STREAM;
use crate::outbox;
use crate::statement::Statement;
use crate::store::{Atomic, Catalog, first_int};

const CURSOR: &str = "topic mails";

/// A mail to whoever has subscribed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicMail {
    /// The event that it tells of.
    pub event: String,
    /// Its type: subscriptions filter by it.
    pub kind: String,
    /// Whose it is: the same.
    pub tenant: String,
    /// One line of printable ASCII, at most 100 characters.
    pub subject: String,
    /// Plain text.
    pub text: String,
}

impl Catalog {
    /// How far the stream has been told; the first who asks begins at its head.
    pub async fn topic_told_until(&self, step: &Step) -> Result<i64, CatalogError> {
        let cursor = || Statement::new("SELECT position FROM log_cursor WHERE name = :name").text("name", CURSOR);
        if let Some(position) = first_int(&self.read(cursor()).await?)? {
            return Ok(position);
        }
        let (head, _) = self.stream_bounds(OPS_STREAM).await?;
        let begin =
            "INSERT INTO log_cursor (name, position, op_id) VALUES (:name, :head, :op) ON CONFLICT (name) DO NOTHING";
        self.write(Statement::new(begin).text("name", CURSOR).int("head", head).text("op", &step.op)).await?;
        Ok(first_int(&self.read(cursor()).await?)?.unwrap_or(head))
    }

    /// Sends the mails of a stretch of the stream.
    ///
    /// # Errors
    /// Conflict: another process told it.
    pub async fn tell_topic(&self, step: &Step, from: i64, to: i64, mails: &[TopicMail]) -> Result<(), CatalogError> {
        let mut statements = vec![
            Statement::new("UPDATE log_cursor SET position = :to, op_id = :op WHERE name = :name AND position = :from")
                .int("to", to)
                .text("op", &step.op)
                .text("name", CURSOR)
                .int("from", from)
                .expect(1),
        ];
        for (ord, mail) in mails.iter().enumerate() {
            statements.push(outbox::topic_mail(step, mail, ord as i64)?);
        }
        let settled = Statement::new("SELECT name FROM log_cursor WHERE name = :name AND op_id = :op")
            .text("name", CURSOR)
            .text("op", &step.op);
        self.commit(Atomic { what: "telling the topic of mails", statements, settled }).await
    }
}
