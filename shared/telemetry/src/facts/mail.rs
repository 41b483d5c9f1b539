//! What became of mails.

use metrics::{counter, describe_counter};

/// One attempt to hand a mail over ended. `kind` is one of a closed set: `review`, `password_reset` and the like.
#[derive(Debug)]
pub struct MailAttempted<'a> {
    pub id: &'a str,
    pub kind: &'a str,
    pub attempt: i64,
    /// `sent`, `put_off` or `given_up`.
    pub outcome: &'static str,
    /// What the server said; empty where it was sent.
    pub detail: &'a str,
}

impl MailAttempted<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_mails_total", "kind" => self.kind.to_owned(), "outcome" => self.outcome).increment(1);
        if self.outcome == "sent" {
            tracing::info!(mail = self.id, kind = self.kind, attempt = self.attempt, "a mail is sent");
        } else {
            let (outcome, detail) = (self.outcome, self.detail);
            tracing::warn!(
                mail = self.id,
                kind = self.kind,
                attempt = self.attempt,
                outcome,
                detail,
                "a mail is not sent"
            );
        }
    }
}

pub(super) fn describe() {
    describe_counter!("reelfleet_mails_total", "Attempts to hand a mail over, by kind and outcome.");
}
