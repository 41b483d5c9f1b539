//! Errors as Problem Details (RFC 9457), in the same form as the gateway's: `type` is `urn:reelfleet:problem:<code>`, and
//! `request_id` is the one that the gateway's logs name.
//!
//! Guarantee: what went wrong inside is logged, not told.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::hub::Hub;
use crate::session::Refusal;

/// The gateway's name for a request, which it passes on.
const REQUEST_ID: &str = "x-request-id";

/// An error on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    /// Stable: programs branch on it.
    pub(crate) code: &'static str,
    title: &'static str,
    pub(crate) detail: String,
}

impl Problem {
    /// A request that can't be understood.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(400, "invalid_request", "The request can't be understood", detail)
    }

    /// This process takes no more; another one may.
    pub(crate) fn draining() -> Self {
        Self::new(503, "draining", "This process ends", "try again: another process takes over")
    }

    /// It could not be found out, or there is no room.
    pub(crate) fn unavailable() -> Self {
        Self::new(503, "unavailable", "A service behind this one does not answer", "try again in a moment")
    }

    fn new(status: u16, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, code, title, detail: detail.into() }
    }

    /// The answer to the request with these headers.
    pub(crate) fn respond(&self, hub: &Hub, headers: &HeaderMap) -> Response {
        let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(|id| id.len() <= 64);
        let id = given.map_or_else(|| hub.0.ids.token(), str::to_owned);
        let mut response = (self.status, self.document(&id)).into_response();
        let set = response.headers_mut();
        set.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        set.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            set.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            set.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"reelfleet\""));
        }
        response
    }

    fn document(&self, request_id: &str) -> String {
        json!({
            "type": format!("urn:reelfleet:problem:{}", self.code),
            "code": self.code,
            "title": self.title,
            "detail": self.detail,
            "status": self.status.as_u16(),
            "request_id": request_id,
        })
        .to_string()
    }
}

impl From<&Refusal> for Problem {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Unauthenticated => Self::new(
                401,
                "unauthenticated",
                "A valid ticket or API key is needed",
                "a ticket is good once, for 30 s",
            ),
            Refusal::Forbidden(why) => Self::new(403, "forbidden", "This may not be listened to", why.as_str()),
            Refusal::TooManyTopics(most) => Self::new(
                422,
                "too_many_topics",
                "Too many topics for one connection",
                format!("at most {most} topics: open another connection"),
            ),
            Refusal::TooMany => {
                Self::new(429, "too_many", "Too many connections", "this user has too many open connections: close one")
            }
            Refusal::Draining => Self::draining(),
            Refusal::Internal(why) => {
                tracing::warn!(why, "a client could not be let in");
                Self::unavailable()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_form_of_the_gateways() {
        for (refusal, status, code) in [
            (Refusal::Unauthenticated, 401, "unauthenticated"),
            (Refusal::Forbidden("not yours".into()), 403, "forbidden"),
            (Refusal::TooManyTopics(64), 422, "too_many_topics"),
            (Refusal::TooMany, 429, "too_many"),
            (Refusal::Draining, 503, "draining"),
            (Refusal::Internal("a secret of ours".into()), 503, "unavailable"),
        ] {
            let document = Problem::from(&refusal).document("r1");
            assert!(!document.contains("secret"), "{document}");
            let document: serde_json::Value = serde_json::from_str(&document).unwrap();
            assert_eq!(document["type"], format!("urn:reelfleet:problem:{code}"));
            assert_eq!((&document["status"], &document["code"]), (&json!(status), &json!(code)));
            assert_eq!(document["request_id"], "r1");
            assert!(document["title"].as_str().is_some_and(|title| title.len() > 5), "{document}");
            assert!(document["detail"].as_str().is_some_and(|detail| detail.len() > 5), "{document}");
        }
    }
}
