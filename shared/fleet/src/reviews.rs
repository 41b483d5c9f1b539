//! Personal links to a review, as intake sends them first and the janitor again.
//!
//! Guarantee: token and code are drawn anew for every mail, and leave this function only in the mail's text and as hashes.

use std::time::{Duration, UNIX_EPOCH};

use reelfleet_catalog::review_links::{LIFE_MS, NewLink, code_hash, link_hash};
use reelfleet_domain::review_mail::{Occasion, ReviewMail};
use reelfleet_messages::MailId;

use crate::context::Context;

/// What a reviewer is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Whose it is.
    pub tenant: &'a str,
    /// Who uploaded it, for people.
    pub owner: &'a str,
    /// The asset's name.
    pub name: &'a str,
    /// Its bytes.
    pub bytes: u64,
    /// A still image has none.
    pub duration_ms: Option<u64>,
    /// Approvals that are needed.
    pub votes: u8,
    /// When the review expires (epoch milliseconds).
    pub expires_at: i64,
}

impl Context {
    /// A link of somebody's own, and the mail that brings it.
    pub fn review_link(&self, occasion: Occasion, asked: &Asked<'_>, address: &str) -> NewLink {
        let token = self.ids.secret();
        let code = six_digits(&self.ids.secret());
        let expires_at = asked.expires_at.min(self.clock.now_ms().saturating_add(LIFE_MS));
        let until = UNIX_EPOCH + Duration::from_secs(u64::try_from(expires_at / 1_000).unwrap_or(0));
        let mail = ReviewMail {
            occasion,
            name: asked.name,
            owner: asked.owner,
            bytes: asked.bytes,
            duration_ms: asked.duration_ms,
            votes: asked.votes,
            link: &format!("{}/review/{token}", self.config.public_url),
            code: &code,
            until: &humantime::format_rfc3339_seconds(until).to_string(),
        };
        NewLink {
            hash: link_hash(&token),
            code_hash: code_hash(&token, &code),
            address: address.to_owned(),
            expires_at,
            mail: MailId::from_uuid(self.ids.uuid()),
            tenant: asked.tenant.to_owned(),
            subject: mail.subject(),
            text: mail.text(),
        }
    }
}

/// Six digits of 64 random bits.
fn six_digits(secret: &str) -> String {
    let bits = secret.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0);
    format!("{:06}", bits % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Ids};

    #[test]
    fn a_code_has_six_digits_and_is_another_each_time() {
        assert_eq!(six_digits(&format!("{:016x}{}", 7, "0".repeat(48))), "000007");
        let ids = Ids::new(Clock::manual(0));
        let codes: std::collections::HashSet<String> = (0..20).map(|_| six_digits(&ids.secret())).collect();
        assert!(codes.len() > 10 && codes.iter().all(|code| code.len() == 6), "{codes:?}");
    }
}
