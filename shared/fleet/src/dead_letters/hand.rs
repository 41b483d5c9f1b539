//! Sending letters back, and throwing them away.
//!
//! Guarantee: the audit says who did it to which letter before it is done.

use reelfleet_catalog::Catalog;
use reelfleet_catalog::audit::AuditEntry;
use serde_json::json;

use super::{DeadLetterError, Found};
use crate::Context;

/// What the audit keeps of a discarded body (bytes); rows stay far below 64 KiB.
const MAX_BODY: usize = 16 << 10;

/// Who does it, and where.
pub struct Hand {
    /// The installation.
    pub context: Context,
    /// Its truth.
    pub catalog: Catalog,
    /// The person, for the audit.
    pub who: String,
}

impl std::fmt::Debug for Hand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hand").field("who", &self.who).finish_non_exhaustive()
    }
}

impl Hand {
    /// Sends a letter back to its queue: its task is revived.
    ///
    /// # Errors
    /// It stays where it is, or (the message says so) lies in both queues.
    pub async fn send_back(&self, letter: &Found) -> Result<(), DeadLetterError> {
        self.note("dlq.redrive", letter, json!({ "reason": letter.letter.reason })).await?;
        let url = self.context.queues.url(letter.queue).await?;
        let send = self.context.clients.sqs.send_message().queue_url(url).message_body(&letter.body);
        let send = send.set_message_group_id(letter.group.clone());
        let attributes = Some(letter.attributes.clone()).filter(|attributes| !attributes.is_empty());
        let sent = send.set_message_attributes(attributes).send().await;
        let what = || format!("letter {} was not sent and stays where it is", letter.id);
        sent.map_err(|error| DeadLetterError::sqs(what(), &error))?;
        self.delete(letter, || format!("letter {} was sent, and stays here too", letter.id)).await
    }

    /// Throws a letter away; the audit keeps what it said.
    ///
    /// # Errors
    /// It stays where it is.
    pub async fn discard(&self, letter: &Found, reason: &str) -> Result<(), DeadLetterError> {
        let attributes: serde_json::Map<String, serde_json::Value> = letter
            .attributes
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), json!(value.string_value()?))))
            .collect();
        let cut = letter.body.floor_char_boundary(MAX_BODY.min(letter.body.len()));
        let body = letter.body.get(..cut).unwrap_or_default();
        let detail = json!({ "reason": reason, "attributes": attributes, "body": body });
        self.note("dlq.discard", letter, detail).await?;
        self.delete(letter, || format!("letter {} was not deleted", letter.id)).await
    }

    async fn delete(&self, letter: &Found, what: impl Fn() -> String) -> Result<(), DeadLetterError> {
        let url = self.context.queues.dlq_url(letter.queue).await?;
        let deleted = self.context.clients.sqs.delete_message().queue_url(url).receipt_handle(&letter.receipt);
        deleted.send().await.map(drop).map_err(|error| DeadLetterError::sqs(what(), &error))
    }

    async fn note(&self, what: &str, letter: &Found, mut detail: serde_json::Value) -> Result<(), DeadLetterError> {
        detail["queue"] = json!(letter.queue.as_str());
        detail["message"] = json!(letter.id);
        let entry = AuditEntry {
            id: self.context.ids.token(),
            at: self.context.clock.now_ms(),
            who: self.who.clone(),
            what: what.to_owned(),
            subject: letter.subject(),
            detail: detail.to_string(),
            tenant: None,
        };
        Ok(self.catalog.audit(std::slice::from_ref(&entry)).await?)
    }
}
