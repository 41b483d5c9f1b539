//! Errors as Problem Details (RFC 9457).
//!
//! Guarantee: every error of the gateway has a stable `code` and `type` (`urn:reelfleet:problem:<code>`), a sentence for
//! a person, and the request's id. What went wrong inside is logged, not told.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reelfleet_access::AccessError;
use reelfleet_catalog::CatalogError;
use reelfleet_domain::policy::Refusal;
use reelfleet_messages::event::ReasonCode;
use reelfleet_objects::ObjectError;

macro_rules! codes {
    ($($variant:ident = $status:literal $code:literal $title:literal;)*) => {
        /// What went wrong. The texts are stable: programs branch on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code { $($variant),* }

        impl Code {
            fn facts(self) -> (u16, &'static str, &'static str) {
                match self { $(Self::$variant => ($status, $code, $title)),* }
            }
        }
    };
}

codes! {
    InvalidRequest = 400 "invalid_request" "The request can't be understood";
    Unauthenticated = 401 "unauthenticated" "A valid access token or API key is needed";
    InvalidCredentials = 401 "invalid_credentials" "E-mail or password is wrong";
    ScopeMissing = 403 "scope_missing" "This is not allowed to you";
    SessionNeeded = 403 "session_needed" "Only somebody who has signed in may do this";
    OriginForbidden = 403 "origin_forbidden" "The request comes from another site";
    BucketForbidden = 403 "bucket_forbidden" "This bucket is not the source's";
    SignUpClosed = 403 "sign_up_closed" "Signing up is not open";
    InvitationInvalid = 403 "invitation_invalid" "The invitation is not valid";
    ResetInvalid = 403 "reset_invalid" "The link for a new password is not valid";
    OwnUpload = 403 "own_upload" "Nobody decides on an upload of their own";
    ReviewCodeInvalid = 403 "review_code_invalid" "The code is not right";
    TokenInvalid = 403 "playback_token_invalid" "The playback URL is not valid";
    TokenExpired = 403 "playback_token_expired" "The playback URL has expired";
    Quarantined = 403 "quarantined" "The original is in quarantine";
    NotFound = 404 "not_found" "There is nothing here";
    MethodNotAllowed = 405 "method_not_allowed" "This can't be done here";
    EmailTaken = 409 "email_taken" "This e-mail has an account already";
    NotOneself = 409 "not_oneself" "Nobody does this to oneself";
    WebhookOff = 409 "webhook_off" "The webhook is turned off";
    ScaledElsewhere = 409 "scaled_elsewhere" "The number of workers is not decided here";
    TooManyWebhooks = 409 "too_many_webhooks" "There are too many webhooks";
    TooManyKeys = 409 "too_many_keys" "There are too many keys";
    ReviewDecided = 409 "review_decided" "It has been decided already";
    UploadEnded = 409 "upload_ended" "The upload has ended";
    UploadIncomplete = 409 "upload_incomplete" "Parts of the upload are missing";
    UploadMismatch = 409 "upload_mismatch" "What was sent is not what was announced";
    ReviewLinkOver = 410 "review_link_over" "The link is over";
    UploadExpired = 410 "upload_expired" "The upload has expired";
    AssetGone = 410 "asset_gone" "The asset has been deleted";
    OriginalGone = 410 "original_gone" "The original is not kept any more";
    EditedMeanwhile = 412 "edited_meanwhile" "Somebody else has edited it since";
    ReviewChanged = 412 "review_changed" "The review has changed since";
    BodyTooLarge = 413 "body_too_large" "The request is too large";
    UnsupportedMediaType = 415 "unsupported_media_type" "The request is not JSON";
    RangeNotSatisfiable = 416 "range_not_satisfiable" "The object has no such range";
    Empty = 422 "empty" "The file is empty";
    TooLarge = 422 "too_large" "The file is too large";
    TypeNotAllowed = 422 "type_not_allowed" "This type of file is not taken";
    StorageFull = 422 "storage_full" "There is no room for it";
    TooManyToday = 422 "too_many_today" "There were too many within a day";
    IdempotencyKeyReused = 422 "idempotency_key_reused" "The Idempotency-Key belongs to another request";
    InvalidPart = 422 "invalid_part" "There is no such part";
    InvalidCaptions = 422 "invalid_captions" "These are no captions";
    ChecksumRequired = 422 "checksum_required" "A part comes without its SHA-256";
    ChecksumMismatch = 422 "checksum_mismatch" "The checksum does not match";
    WebhookUrl = 422 "webhook_url" "The webhook can't be sent there";
    PasswordWeak = 422 "password_weak" "The password is not good enough";
    PreconditionRequired = 428 "precondition_required" "Say which version is to be changed";
    RateLimited = 429 "rate_limited" "Too many calls";
    Internal = 500 "internal" "Something went wrong here";
    AccountsOff = 503 "accounts_off" "There are no accounts here";
    WebhooksOff = 503 "webhooks_off" "There are no webhooks here";
    Busy = 503 "busy" "Too much at once";
    Unavailable = 503 "unavailable" "A service behind this one does not answer";
    Timeout = 504 "timeout" "It took too long";
}

/// An error on its way out.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    detail: String,
    retry_after: Option<u32>,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let retry_after = matches!(code, Code::Unavailable | Code::Timeout).then_some(2);
        Self { code, detail, retry_after }
    }

    /// The same, to be tried again in so many seconds.
    #[must_use]
    pub(crate) fn after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds.max(1)), ..self }
    }

    /// Something that is not there, or not the caller's.
    pub(crate) fn not_found() -> Self {
        Self::new(Code::NotFound, "it does not exist, or it is not yours")
    }

    /// Our own mistake; `what` goes to the log.
    pub(crate) fn internal(what: impl std::fmt::Display) -> Self {
        tracing::error!(error = %what, "request failed");
        Self::new(Code::Internal, "the request id names it in our logs")
    }

    fn unavailable(what: impl std::fmt::Display) -> Self {
        tracing::warn!(error = %what, "request failed");
        Self::new(Code::Unavailable, "try again in a moment")
    }

    /// The document.
    pub(crate) fn render(&self, request_id: &str) -> Vec<u8> {
        let (status, code, title) = self.code.facts();
        serde_json::json!({
            "type": format!("urn:reelfleet:problem:{code}"),
            "code": code,
            "title": title,
            "detail": self.detail,
            "status": status,
            "request_id": request_id,
        })
        .to_string()
        .into_bytes()
    }
}

impl IntoResponse for Problem {
    /// The head; the body is written where the request's id is known.
    fn into_response(self) -> Response {
        let (status, ..) = self.code.facts();
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.code == Code::Unauthenticated {
            let challenge = HeaderValue::from_static("Bearer realm=\"reelfleet\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Unauthenticated => {
                Self::new(Code::Unauthenticated, "send Authorization: Bearer <access token or API key>")
            }
            AccessError::ScopeMissing(_) => Self::new(Code::ScopeMissing, error.to_string()),
            AccessError::NotYours => Self::not_found(),
            AccessError::Catalog(error) => error.into(),
        }
    }
}

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Unavailable(_) | CatalogError::Conflict { .. } => Self::unavailable(error),
            other => Self::internal(other),
        }
    }
}

impl From<ObjectError> for Problem {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::Call { .. } | ObjectError::Io { .. } => Self::unavailable(error),
            other => Self::internal(other),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.code {
            ReasonCode::Empty => Code::Empty,
            ReasonCode::TooLarge => Code::TooLarge,
            ReasonCode::TypeNotAllowed => Code::TypeNotAllowed,
            ReasonCode::StorageFull => Code::StorageFull,
            ReasonCode::TooManyToday => Code::TooManyToday,
            _ => Code::InvalidRequest,
        };
        Self::new(code, refusal.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_itself_and_the_request() {
        let problem = Problem::new(Code::TooLarge, "the file has 2 bytes");
        let document: serde_json::Value = serde_json::from_slice(&problem.render("r1")).unwrap();
        assert_eq!(document["type"], "urn:reelfleet:problem:too_large");
        assert_eq!((&document["status"], &document["request_id"]), (&422.into(), &"r1".into()));
        let response = problem.into_response();
        assert_eq!(response.status(), 422);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }

    #[test]
    fn what_went_wrong_inside_is_not_told() {
        let secret = CatalogError::Refused { sql: "SELECT hash".into(), message: "secret".into() };
        let text = String::from_utf8(Problem::from(secret).render("r")).unwrap();
        assert!(!text.contains("hash") && !text.contains("secret"), "{text}");
    }
}
