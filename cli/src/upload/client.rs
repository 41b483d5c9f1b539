//! The gateway's API, as a client sees it.
//!
//! Guarantee: every call may be repeated and is, with full jitter, while the gateway or what is behind it does not
//! answer; a refusal is told as the gateway said it (Problem Details, RFC 9457). The API key is in no error.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::{Method, Request, Response, StatusCode, header};
use reelfleet_fleet::full_jitter;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::http_client::{Http, empty, full};

/// What a call may take.
const LIMIT: Duration = Duration::from_secs(35);
/// S3 puts the parts of the largest objects together for minutes.
const COMPLETION_LIMIT: Duration = Duration::from_secs(210);
/// Assets in one answer, at most.
const PAGE: usize = 100;
/// Tries of one call, over a minute or so.
const TRIES: u32 = 8;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The gateway refused it.
    #[error("{} ({code})", sentence(.title, .detail))]
    Refused {
        /// HTTP status.
        status: u16,
        /// Stable code.
        code: String,
        /// For a person.
        title: String,
        /// For a person.
        detail: String,
    },
    /// It was not answered, or not in a form that is understood.
    #[error("{0:#}")]
    Unanswered(anyhow::Error),
}

/// Title and detail, without saying the same thing twice.
fn sentence(title: &str, detail: &str) -> String {
    if detail.is_empty() || title.eq_ignore_ascii_case(detail) {
        title.to_owned()
    } else {
        format!("{title}: {detail}")
    }
}

impl ApiError {
    /// Whether the gateway gave this code.
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == wanted)
    }

    fn may_pass(&self) -> bool {
        match self {
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            Self::Unanswered(_) => true,
        }
    }
}

/// The API with somebody's key. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    http: Arc<Http>,
    base: String,
    key: String,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("base", &self.base).finish_non_exhaustive()
    }
}

/// An upload as the API shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct Upload {
    /// Its id.
    pub id: String,
    /// The asset that it becomes.
    pub asset: String,
    /// `open`, `completed`, `landed`, `aborted`.
    pub state: String,
    /// `multipart` or `single`.
    pub mode: String,
    /// Bytes of each part but the last.
    pub part_size: u64,
    /// Parts.
    pub parts_total: u16,
    /// What S3 has.
    #[serde(default)]
    pub parts: Vec<ArrivedPart>,
}

/// A part that S3 has.
#[derive(Debug, Clone, Deserialize)]
pub struct ArrivedPart {
    /// From 1.
    pub n: u16,
    /// Bytes.
    pub size: u64,
    /// Base64.
    pub sha256: Option<String>,
}

/// Where to send a part.
#[derive(Debug, Clone, Deserialize)]
pub struct SignedPart {
    /// From 1.
    pub n: u16,
    /// Bytes.
    pub len: u64,
    /// PUT.
    pub method: String,
    /// A secret while it lives.
    pub url: String,
    /// To send exactly so.
    pub headers: BTreeMap<String, String>,
}

/// What is said of a file when its upload is reserved.
#[derive(Debug, Clone)]
pub struct NewUpload<'u> {
    /// For people.
    pub name: &'u str,
    /// Bytes.
    pub size: u64,
    /// A hint.
    pub content_type: &'u str,
    /// Tells the file from others.
    pub fingerprint: &'u str,
    /// The Idempotency-Key: the same one finds the same upload.
    pub request_key: &'u str,
}

impl Api {
    /// The API at `base` (`https://host[:port]`), as the holder of `key`.
    pub fn new(http: Arc<Http>, base: &str, key: &str) -> Self {
        Self { http, base: base.trim_end_matches('/').to_owned(), key: key.trim().to_owned() }
    }

    /// The HTTP client below.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// The base URL.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A random pause before try `failures + 1`.
    pub fn pause(&self, failures: u32) -> Duration {
        full_jitter(Duration::from_millis(250), Duration::from_secs(15), failures)
    }

    /// Reserves an upload, or finds the one that this request key reserved.
    pub async fn create(&self, new: &NewUpload<'_>) -> Result<Upload, ApiError> {
        let body = json!({
            "name": new.name,
            "size": new.size,
            "type": new.content_type,
            "fingerprint": new.fingerprint,
            "checksum": "sha256",
        });
        self.call(Method::POST, "/v1/uploads", Some(&body), Some(new.request_key), LIMIT).await
    }

    /// URLs for parts, each with its SHA-256 in base64.
    pub async fn sign(&self, upload: &str, parts: &[(u16, u64, String)]) -> Result<Vec<SignedPart>, ApiError> {
        let parts: Vec<Value> =
            parts.iter().map(|(n, len, sha256)| json!({ "n": n, "len": len, "sha256": sha256 })).collect();
        let path = format!("/v1/uploads/{upload}/parts");
        self.call(Method::POST, &path, Some(&json!({ "parts": parts })), None, LIMIT).await
    }

    /// Completes an upload; with the SHA-256 over the SHA-256 of its parts, where there are parts.
    pub async fn complete(&self, upload: &str, sha256_of_parts: Option<&str>) -> Result<Value, ApiError> {
        let path = format!("/v1/uploads/{upload}/complete");
        self.call(Method::POST, &path, Some(&json!({ "sha256_of_parts": sha256_of_parts })), None, COMPLETION_LIMIT)
            .await
    }

    /// One asset, all of it; `None` while it is not there.
    pub async fn asset(&self, id: &str) -> Result<Option<Value>, ApiError> {
        match self.call(Method::GET, &format!("/v1/assets/{id}"), None, None, LIMIT).await {
            Ok(asset) => Ok(Some(asset)),
            Err(error) if error.is("not_found") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The id of the newest asset of an object; `None` while there is none.
    pub async fn asset_of_object(&self, bucket: &str, key: &str) -> Result<Option<String>, ApiError> {
        let path = format!("/v1/assets?bucket={}&key={}", encoded(bucket), encoded(key));
        let found: Value = self.call(Method::GET, &path, None, None, LIMIT).await?;
        Ok(found["assets"][0]["id"].as_str().map(str::to_owned))
    }

    /// Assets, newest first, at most so many; and whether there are more.
    pub async fn assets(&self, state: Option<&str>, most: usize) -> Result<(Vec<Value>, bool), ApiError> {
        let mut assets = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut path = format!("/v1/assets?limit={}", (most - assets.len()).clamp(1, PAGE));
            for (name, value) in [("state", state), ("cursor", cursor.as_deref())] {
                if let Some(value) = value {
                    path.push_str(&format!("&{name}={}", encoded(value)));
                }
            }
            let page: Value = self.call(Method::GET, &path, None, None, LIMIT).await?;
            assets.extend(page["assets"].as_array().cloned().unwrap_or_default());
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() || assets.len() >= most {
                return Ok((assets, cursor.is_some()));
            }
        }
    }

    /// What an upload of these facts will take and cost.
    pub async fn estimate(&self, facts: &Value) -> Result<Value, ApiError> {
        self.call(Method::POST, "/v1/estimates", Some(facts), None, LIMIT).await
    }

    /// Invites somebody; said twice it makes two links, and the one that nobody was told lets nobody in.
    pub async fn invite(&self, wanted: &Value) -> Result<Value, ApiError> {
        self.call(Method::POST, "/v1/invitations", Some(wanted), None, LIMIT).await
    }

    /// A ticket for one WebSocket.
    pub async fn ticket(&self) -> Result<String, ApiError> {
        let answer: Value = self.call(Method::POST, "/v1/realtime/tickets", Some(&json!({})), None, LIMIT).await?;
        let ticket = answer["ticket"].as_str().context("the ticket is missing");
        ticket.map(str::to_owned).map_err(ApiError::Unanswered)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        request_key: Option<&str>,
        limit: Duration,
    ) -> Result<T, ApiError> {
        let mut failures = 0;
        loop {
            let error = match self.once(&method, path, body, request_key, limit).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            failures += 1;
            if failures >= TRIES || !error.may_pass() {
                return Err(error);
            }
            tracing::debug!(path, %error, "asking again");
            tokio::time::sleep(self.pause(failures)).await;
        }
    }

    async fn once<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        request_key: Option<&str>,
        limit: Duration,
    ) -> Result<T, ApiError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .header(header::ACCEPT, "application/json");
        if let Some(key) = request_key {
            request = request.header("idempotency-key", key);
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(body.map_or_else(empty, |body| full(body.to_string())));
        let request =
            request.with_context(|| format!("{} is no URL of a gateway, or the API key is no key", self.base));
        let answer =
            self.http.fetch(request.map_err(ApiError::Unanswered)?, limit).await.map_err(ApiError::Unanswered)?;
        if answer.status().is_success() {
            let parsed = serde_json::from_slice(answer.body());
            return parsed
                .with_context(|| format!("the answer of {path} is not understood"))
                .map_err(ApiError::Unanswered);
        }
        Err(refused(&answer))
    }
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The problem that an answer holds.
fn refused(answer: &Response<bytes::Bytes>) -> ApiError {
    let status: StatusCode = answer.status();
    let problem: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    let text = |field: &str| problem[field].as_str().unwrap_or_default().to_owned();
    match problem["code"].as_str() {
        Some(code) => ApiError::Refused {
            status: status.as_u16(),
            code: code.to_owned(),
            title: text("title"),
            detail: text("detail"),
        },
        None => ApiError::Refused {
            status: status.as_u16(),
            code: format!("http_{}", status.as_u16()),
            title: "The gateway refused".to_owned(),
            detail: status.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_as_the_gateway_said_it() {
        let body = r#"{"code":"too_large","title":"The file is too large","detail":"at most 5 bytes","status":422}"#;
        let answer = Response::builder().status(422).body(bytes::Bytes::from(body)).unwrap();
        let error = refused(&answer);
        assert_eq!(error.to_string(), "The file is too large: at most 5 bytes (too_large)");
        assert!(error.is("too_large") && !error.may_pass());
        let body = r#"{"code":"empty","title":"The file is empty","detail":"the file is empty","status":422}"#;
        let answer = Response::builder().status(422).body(bytes::Bytes::from(body)).unwrap();
        assert_eq!(refused(&answer).to_string(), "The file is empty (empty)");
        let answer = Response::builder().status(502).body(bytes::Bytes::from("<html>")).unwrap();
        assert!(refused(&answer).may_pass());
    }
}
