//! `POST /v1/sources/{name}`: notifications of S3 servers that tell by webhook rather than by queue (MinIO, Ceph and
//! the like), turned into messages of the intake queue.
//!
//! Guarantees: each source has a secret of its own, compared in constant time, and names buckets of its own: a body that
//! mentions another is refused whole. An answer of success means that the queue has it; anything else, and the server
//! that sent it sends it again. What a notification says is a hint: intake asks the server for the object.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reelfleet_access::secret::same;
use reelfleet_fleet::QueueName;
use reelfleet_messages::notification::{Notification, parse};
use serde::Deserialize;

use crate::app::App;
use crate::auth::limits::{Buckets, too_often};
use crate::caller::authorization;
use crate::problem::{Code, Problem};

/// A message of SQS has at most 256 KiB, wherever the limit was not raised.
const MAX_BODY: usize = 256 * 1_024;
/// Notifications of a source: a second, and at once.
const RATE: (f64, f64) = (200.0, 2_000.0);
/// Bytes of the shortest secret that is taken.
const MIN_SECRET: usize = 32;

/// One S3 server.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    name: String,
    secret: String,
    buckets: Vec<String>,
}

/// The S3 servers that may tell, as `REELFLEET_SOURCES` says.
#[derive(Clone, Default)]
pub struct Sources(Vec<Source>);

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|source| &source.name)).finish()
    }
}

impl FromStr for Sources {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The parser's own words might quote a secret.
        let shape =
            || r#"expected [{"name": "minio", "secret": "at least 32 bytes", "buckets": ["uploads"]}]"#.to_owned();
        let sources: Vec<Source> = serde_json::from_str(text).map_err(|_| shape())?;
        for (index, source) in sources.iter().enumerate() {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if source.name.is_empty() || source.name.len() > 64 || !source.name.chars().all(plain) {
                return Err("a source's name is 1 to 64 letters, digits, - and _".to_owned());
            }
            if source.secret.len() < MIN_SECRET || source.buckets.is_empty() {
                return Err(format!(
                    "source {}: a secret of {MIN_SECRET} bytes or more, and at least one bucket",
                    source.name
                ));
            }
            if sources.iter().take(index).any(|other| other.name == source.name) {
                return Err(format!("source {} is there twice", source.name));
            }
        }
        Ok(Self(sources))
    }
}

impl Sources {
    /// Whether one of them tells of this bucket.
    pub fn tell_of(&self, bucket: &str) -> bool {
        self.0.iter().any(|source| source.buckets.iter().any(|own| own == bucket))
    }
}

/// The sources and how often each has told.
#[derive(Debug)]
pub(crate) struct Doors {
    sources: Sources,
    told: Buckets,
}

impl Doors {
    pub(crate) fn new(sources: Sources) -> Self {
        Self { sources, told: Buckets::new(RATE.0, RATE.1) }
    }

    /// The source of this name, by its secret. A name that is not there takes as long, and says as little.
    fn open(&self, name: &str, headers: &HeaderMap) -> Result<&Source, Problem> {
        let shown = secret(headers).unwrap_or_default();
        let found = self.sources.0.iter().find(|source| source.name == name);
        let wanted = found.map_or("", |source| source.secret.as_str());
        let fits = same(&shown, wanted.as_bytes());
        found.filter(|_| fits).ok_or_else(|| Problem::new(Code::Unauthenticated, "no such source, or not its secret"))
    }
}

/// A bearer token, as MinIO sends it, or the password of Basic (RFC 7617), which is all that Ceph has: from the URL that it is given.
fn secret(headers: &HeaderMap) -> Option<Vec<u8>> {
    let (scheme, shown) = authorization(headers)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(shown.as_bytes().to_vec());
    }
    let pair = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(shown).ok()).flatten()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    pair.get(colon + 1..).map(<[u8]>::to_vec)
}

/// Takes a notification.
pub(crate) async fn tell(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let source = app.doors.open(&name, &headers)?;
    app.doors.told.take(&source.name, Instant::now()).map_err(too_often)?;
    let too_large = |_| Problem::new(Code::BodyTooLarge, format!("a notification has at most {MAX_BODY} bytes"));
    let bytes = axum::body::to_bytes(body, MAX_BODY).await.map_err(too_large)?;
    let invalid = |detail: String| Problem::new(Code::InvalidRequest, detail);
    let text = std::str::from_utf8(&bytes).map_err(|_| invalid("the notification is not UTF-8".to_owned()))?;
    let events = match parse(text).map_err(|error| invalid(error.to_string()))? {
        Notification::Objects(events) => events,
        // Nothing is to be done, and the server learns that it is heard.
        Notification::Test { .. } => return Ok(StatusCode::OK),
    };
    if let Some(other) = events.iter().find(|event| !source.buckets.contains(&event.bucket)) {
        return Err(Problem::new(
            Code::BucketForbidden,
            format!("{} does not speak for the bucket {}", source.name, other.bucket),
        ));
    }
    let url = app.context.queues.url(QueueName::Intake).await.map_err(|error| {
        tracing::error!(%error, "the intake queue");
        Problem::new(Code::Unavailable, "try again in a moment")
    })?;
    let sent = app.context.clients.sqs.send_message().queue_url(url).message_body(text).send().await;
    sent.map_err(|error| {
        tracing::warn!(error = %error.into_service_error(), "a notification was not queued");
        Problem::new(Code::Unavailable, "it is not queued: send it again")
    })?;
    Ok(StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_safe_is_refused_and_no_secret_is_shown() {
        let of = |secret: &str, name: &str, buckets: &str| {
            format!(r#"[{{"name": "{name}", "secret": "{secret}", "buckets": [{buckets}]}}]"#).parse::<Sources>()
        };
        let long = "0123456789abcdef0123456789abcdef";
        let good = of(long, "minio", r#""uploads""#).unwrap();
        assert_eq!(format!("{good:?}"), "[\"minio\"]");
        for bad in
            [of("short", "minio", r#""u""#), of(long, "", r#""u""#), of(long, "a/b", r#""u""#), of(long, "minio", "")]
        {
            assert!(!bad.unwrap_err().contains(long));
        }
        let quoted = format!("[{{\"secret\": \"{long}\", \"x\": 1}}]").parse::<Sources>().unwrap_err();
        assert!(!quoted.contains(long), "{quoted}");
        assert!("[]".parse::<Sources>().is_ok());
    }
}
