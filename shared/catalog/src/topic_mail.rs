//! Mails by a topic: how far the event log has been told there.
//!
//! Guarantee: every event of the operators' stream is told of at most once and, while the log keeps it, at least once: the
//! outbox's rows of a stretch and the position after it are one transaction, won by whoever moves the position on. What
//! happened before this was turned on for the first time is no news.

use crate::Step;
use crate::error::CatalogError;
use crate::events::OPS_STREAM;
use crate::log_cursor;
use crate::outbox;
use crate::statement::Statement;
use crate::store::{Catalog, first_int};

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
        if let Some(position) = first_int(&self.read(log_cursor::position(CURSOR)).await?)? {
            return Ok(position);
        }
        let (head, _) = self.stream_bounds(OPS_STREAM).await?;
        let begin =
            "INSERT INTO log_cursor (name, position, op_id) VALUES (:name, :head, :op) ON CONFLICT (name) DO NOTHING";
        self.write(Statement::new(begin).text("name", CURSOR).int("head", head).text("op", &step.op)).await?;
        Ok(first_int(&self.read(log_cursor::position(CURSOR)).await?)?.unwrap_or(head))
    }

    /// Sends the mails of a stretch of the stream.
    ///
    /// # Errors
    /// Conflict: another process told it.
    pub async fn tell_topic(&self, step: &Step, from: i64, to: i64, mails: &[TopicMail]) -> Result<(), CatalogError> {
        let mails = mails.iter().enumerate().map(|(ord, mail)| outbox::topic_mail(step, mail, ord as i64));
        let mails = mails.collect::<Result<Vec<_>, _>>()?;
        self.commit(log_cursor::moved(step, "telling the topic of mails", CURSOR, (from, to), mails)).await
    }
}
