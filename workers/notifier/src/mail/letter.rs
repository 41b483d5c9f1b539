//! A mail as it goes over the wire.
//!
//! Guarantee: plain text and nothing else; what people chose (names, reasons) stands only in the subject, encoded, and in
//! the body, so it can add no header. Robots are told not to answer.

use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use reelfleet_catalog::mail::Mail;

/// Or why no server could take it.
pub(super) fn compose(mail: &Mail, from: &Mailbox) -> Result<Message, String> {
    let to: Mailbox = mail.to.parse().map_err(|error| format!("{:?} is not a mail address: {error}", mail.to))?;
    let sent = UNIX_EPOCH + Duration::from_millis(u64::try_from(mail.created_at).unwrap_or(0));
    Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to.email))
        .subject(mail.subject.as_str())
        .date(sent)
        .message_id(Some(format!("<{}@{}>", mail.id, from.email.domain())))
        // RFC 3834: no out-of-office answers.
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()))
        .header(ContentType::TEXT_PLAIN)
        .body(mail.text.clone())
        .map_err(|error| error.to_string())
}
