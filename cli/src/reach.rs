//! The first call to the other side: whether it answers, and if not, why not.
//!
//! Guarantee: a wrong clock is told as a wrong clock, whatever the service calls it: SQS and its like speak of signatures, S3
//! of request times. Where there was an answer, what it says of the time is compared, whether or not it was a refusal.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_sqs::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_sqs::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sqs::error::{BoxError, SdkError};
use reelfleet_fleet::{Clients, Clock, Context};

/// Codes by which services refuse who asks, or what it is signed with.
const CREDENTIALS: [&str; 13] = [
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

/// The other side, which answers.
#[derive(Debug)]
pub struct Reached {
    /// Clients of it.
    pub context: Context,
    /// Where: a URL, or `AWS`.
    pub place: String,
    /// So many seconds this clock is ahead of its; nothing where it did not say.
    pub ahead_s: Option<i64>,
}

/// Why it can't be reached.
#[derive(Debug, thiserror::Error)]
pub enum Unreached {
    /// No endpoint and no credentials.
    #[error(
        "where to look? Give --data DIR of a running `reelfleet up` (or eval its `reelfleet env --data DIR`); \
         on AWS, set credentials"
    )]
    Nowhere,
    /// No answer.
    #[error("{0} does not answer: is `reelfleet up` running?")]
    Silent(String),
    /// This clock is wrong, so every signature is.
    #[error("{place} refuses the time of these requests: {message} ({code}){}", off(*ahead_s))]
    Clock {
        /// Where.
        place: String,
        /// Its word for it.
        code: String,
        /// Its sentence.
        message: String,
        /// So many seconds this clock is ahead of its.
        ahead_s: Option<i64>,
    },
    /// Nobody that it knows, or that may ask.
    #[error("{place} refuses these credentials: {message} ({code})")]
    Credentials {
        /// Where.
        place: String,
        /// Its word for it.
        code: String,
        /// Its sentence.
        message: String,
    },
    /// Anything else: an outage, a limit, another service.
    #[error("{place} can't answer: {message} ({code})")]
    Unable {
        /// Where.
        place: String,
        /// Its word for it.
        code: String,
        /// Its sentence.
        message: String,
    },
}

/// What a difference of clocks is called.
pub fn off(ahead_s: Option<i64>) -> String {
    match ahead_s {
        Some(seconds) if seconds >= 0 => format!("; this clock is {seconds} s ahead of its"),
        Some(seconds) => format!("; this clock is {} s behind its", seconds.unsigned_abs()),
        None => String::new(),
    }
}

/// One call that everybody may make, or that says why it may not. Gives how many seconds this clock is ahead.
pub async fn must_answer(
    clients: &Clients,
    clock: &Clock,
    place: &str,
    patience: Duration,
) -> Result<Option<i64>, Unreached> {
    let dated = Dated::default();
    let call = clients.sqs.list_queues().max_results(1).customize().interceptor(dated.clone()).send();
    let asked = tokio::time::timeout(patience, call).await;
    let ahead_s = dated.theirs().map(|theirs| (clock.now_ms() / 1_000).saturating_sub(theirs));
    let error = match asked {
        Ok(Ok(_)) => return Ok(ahead_s),
        Ok(Err(SdkError::ServiceError(error))) => error,
        Ok(Err(_)) | Err(_) => return Err(Unreached::Silent(place.to_owned())),
    };
    let (status, told) = (error.raw().status().as_u16(), error.err().meta());
    judge(place, status, told.code().unwrap_or("no code"), told.message().unwrap_or("without a reason"), ahead_s)?;
    Ok(ahead_s)
}

/// What a refusal means. Whoever may not list may still read.
fn judge(place: &str, status: u16, code: &str, message: &str, ahead_s: Option<i64>) -> Result<(), Unreached> {
    let (place, message) = (place.to_owned(), message.to_owned());
    let of_time = matches!(code, "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture")
        || message.contains("Signature expired")
        || message.contains("Signature not yet current");
    match code {
        _ if of_time => Err(Unreached::Clock { place, code: code.to_owned(), message, ahead_s }),
        "AccessDenied" | "AccessDeniedException" => Ok(()),
        _ if matches!(status, 401 | 403) || CREDENTIALS.contains(&code) => {
            Err(Unreached::Credentials { place, code: code.to_owned(), message })
        }
        _ => Err(Unreached::Unable { place, code: code.to_owned(), message }),
    }
}

/// Notes what time the other side says it is.
#[derive(Clone, Debug, Default)]
struct Dated(Arc<Mutex<Option<SystemTime>>>);

impl Dated {
    /// Epoch seconds.
    fn theirs(&self) -> Option<i64> {
        let at = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        at.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok())
    }
}

impl Intercept for Dated {
    fn name(&self) -> &'static str {
        "Dated"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date").and_then(|date| httpdate::parse_http_date(date).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_is_no_wrong_key() {
        let of = |status, code: &str, message: &str| judge("AWS", status, code, message, Some(-3_600));
        for (status, code, message) in [
            (403, "SignatureDoesNotMatch", "Signature expired: 20260101T000000Z is now earlier than 20260101T005500Z"),
            (400, "InvalidSignatureException", "Signature not yet current: 20260101T010000Z is still later than"),
            (403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."),
        ] {
            let error = of(status, code, message).unwrap_err();
            assert!(matches!(error, Unreached::Clock { .. }), "{error}");
            assert!(error.to_string().ends_with("; this clock is 3600 s behind its"), "{error}");
        }
        for (status, code) in [(403, "InvalidClientTokenId"), (400, "UnrecognizedClientException"), (403, "Other")] {
            assert!(matches!(of(status, code, "no"), Err(Unreached::Credentials { .. })), "{code}");
        }
        for (status, code) in [(503, "ServiceUnavailable"), (400, "ThrottlingException")] {
            assert!(matches!(of(status, code, "later"), Err(Unreached::Unable { .. })), "{code}");
        }
        assert!(of(403, "AccessDenied", "not you").is_ok());
        assert_eq!((off(Some(5)), off(None)), ("; this clock is 5 s ahead of its".into(), String::new()));
    }
}
