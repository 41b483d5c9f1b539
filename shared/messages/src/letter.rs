//! Dead letters: a message that will not be worked on again, as it was, with what is known of its end as message
//! attributes.
//!
//! Guarantee: at most ten attributes, each a text that SQS takes (no control characters, never empty) and bounded, so
//! that a letter is never refused for what it quotes. A letter with a token, sent back to its queue by whatever means,
//! revives its task once.
//!
//! Source: SQS Developer Guide, "Message metadata": ten attributes, characters as in XML 1.0.

use std::collections::BTreeMap;

/// Why, as `code: detail`.
pub const REASON: &str = "reelfleet-reason";
/// The queue that it came from, by its full name.
pub const QUEUE: &str = "reelfleet-queue";
/// Attempts that were counted.
pub const ATTEMPTS: &str = "reelfleet-attempts";
/// Crashes of the decoder among them.
pub const CRASHES: &str = "reelfleet-crashes";
/// The last error.
pub const ERROR: &str = "reelfleet-error";
/// How the decoder ended: its signal, exit code or limit.
pub const EXIT: &str = "reelfleet-exit";
/// The lease token of the task's row as it failed.
pub const TOKEN: &str = "reelfleet-token";
/// Where the input lies and what was asked of it (JSON).
pub const REPRODUCER: &str = "reelfleet-reproducer";
/// The asset.
pub const ASSET: &str = "reelfleet-asset";
/// When, in epoch milliseconds.
pub const AT: &str = "reelfleet-at";

/// Bytes of a reason and of an error; what does not fit is cut.
const MAX_TEXT: usize = 1_024;
/// Bytes of a pointer: an S3 key alone may have 1,024, and JSON may double them.
const MAX_POINTER: usize = 3_072;

/// What is known of a message's end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Letter {
    /// `decoder_crashed: the decoder gave up 3 times: …`.
    pub reason: String,
    /// The queue that it came from, by its full name.
    pub queue: String,
    /// Attempts that were counted; of a message that is no task, its receives.
    pub attempts: Option<i64>,
    /// Crashes of the decoder among them.
    pub crashes: Option<i64>,
    /// The last error.
    pub error: Option<String>,
    /// `signal SIGSEGV`, `exit code 3`, `limit: …`, `stall: …`, `timeout: …`.
    pub exit: Option<String>,
    /// The lease token of the task's row as it failed.
    pub token: Option<i64>,
    /// Where the input lies and what was asked of it (JSON).
    pub reproducer: Option<String>,
    /// The asset.
    pub asset: Option<String>,
    /// Epoch milliseconds.
    pub at: Option<i64>,
}

impl Letter {
    /// As message attributes of type String.
    pub fn attributes(&self) -> BTreeMap<String, String> {
        let number = |value: Option<i64>| value.map(|value| value.to_string());
        let text = |value: &Option<String>, most| value.as_deref().map(|value| printable(value, most));
        [
            (REASON, Some(printable(&self.reason, MAX_TEXT))),
            (QUEUE, Some(self.queue.clone())),
            (ATTEMPTS, number(self.attempts)),
            (CRASHES, number(self.crashes)),
            (ERROR, text(&self.error, MAX_TEXT)),
            (EXIT, text(&self.exit, MAX_TEXT)),
            (TOKEN, number(self.token)),
            (REPRODUCER, text(&self.reproducer, MAX_POINTER)),
            (ASSET, self.asset.clone()),
            (AT, number(self.at)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.filter(|value| !value.is_empty())?)))
        .collect()
    }

    /// Reads what [`Self::attributes`] wrote; what is missing or no number is missing.
    pub fn read(attributes: &BTreeMap<String, String>) -> Self {
        let text = |name: &str| attributes.get(name).cloned();
        let number = |name: &str| attributes.get(name).and_then(|value| value.parse().ok());
        Self {
            reason: text(REASON).unwrap_or_default(),
            queue: text(QUEUE).unwrap_or_default(),
            attempts: number(ATTEMPTS),
            crashes: number(CRASHES),
            error: text(ERROR),
            exit: text(EXIT),
            token: number(TOKEN),
            reproducer: text(REPRODUCER),
            asset: text(ASSET),
            at: number(AT),
        }
    }

    /// The reason without its detail: `decoder_crashed`.
    pub fn code(&self) -> &str {
        self.reason.split(':').next().unwrap_or_default().trim()
    }
}

/// A text as SQS takes it, at most `most` bytes.
fn printable(text: &str, most: usize) -> String {
    let mut short = String::new();
    for c in text.chars() {
        let c = if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') { ' ' } else { c };
        if short.len() + c.len_utf8() > most {
            break;
        }
        short.push(c);
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_reads_back_and_has_at_most_ten_attributes() {
        let letter = Letter {
            reason: "decoder_crashed: it gave up: 3 times".into(),
            queue: "reelfleet-transcode".into(),
            attempts: Some(3),
            crashes: Some(3),
            error: Some("the decoder crashed".into()),
            exit: Some("signal SIGSEGV".into()),
            token: Some(4),
            reproducer: Some("{}".into()),
            asset: Some("ast_1".into()),
            at: Some(5),
        };
        let attributes = letter.attributes();
        assert_eq!(attributes.len(), 10);
        assert_eq!(Letter::read(&attributes), letter);
        assert_eq!(letter.code(), "decoder_crashed");
        assert_eq!(Letter::read(&BTreeMap::new()), Letter::default());
    }

    #[test]
    fn whatever_it_quotes_sqs_takes_it() {
        let letter = Letter {
            reason: format!("line\u{0}one \u{FFFF}{}", "ü".repeat(5_000)),
            error: Some(String::new()),
            ..Letter::default()
        };
        let attributes = letter.attributes();
        assert_eq!(attributes.keys().collect::<Vec<_>>(), [REASON], "an empty value is refused by SQS");
        assert!(attributes[REASON].starts_with("line one  ü"));
        assert!((MAX_TEXT - 1..=MAX_TEXT).contains(&attributes[REASON].len()));
    }
}
