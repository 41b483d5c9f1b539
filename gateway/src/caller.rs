//! Who calls, and what they send.
//!
//! Guarantee: a handler that takes a [`Caller`] runs only behind [`authenticate`]; a body is JSON of at most 64 KiB.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use reelfleet_access::{AccessError, Principal, Scope};
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::problem::{Code, Problem};

/// Largest JSON body (bytes).
const MAX_BODY: usize = 64 * 1024;

/// Lets a request through that shows a valid API key.
pub(crate) async fn authenticate(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let key = bearer(request.headers()).ok_or(AccessError::Unauthenticated)?;
    let principal = app.keys.verify(key).await?;
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}

/// The bearer token (RFC 6750 section 2.1) of the one Authorization header; of two, none.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whoever was authenticated.
#[derive(Debug)]
pub(crate) struct Caller(Principal);

impl Caller {
    /// The caller, if it holds the scope.
    pub(crate) fn with(self, scope: Scope) -> Result<Principal, Problem> {
        self.0.require(scope)?;
        Ok(self.0)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let principal = parts.extensions.get::<Principal>().cloned();
        principal.map(Self).ok_or_else(|| AccessError::Unauthenticated.into())
    }
}

/// A JSON body; an empty one counts as `{}`.
#[derive(Debug)]
pub(crate) struct Payload<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Payload<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, MAX_BODY)
            .await
            .map_err(|_| Problem::new(Code::BodyTooLarge, format!("at most {MAX_BODY} bytes are read")))?;
        let text = if body.is_empty() {
            &b"{}"[..]
        } else if is_json(&parts.headers) {
            &body[..]
        } else {
            return Err(Problem::new(Code::UnsupportedMediaType, "send Content-Type: application/json"));
        };
        serde_json::from_slice(text).map(Self).map_err(|error| Problem::new(Code::InvalidRequest, error.to_string()))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// A header's text, if it is there once and readable.
pub(crate) fn text_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn one_bearer_token_is_read() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(of(&["Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(of(&["bearer  abc"]).as_deref(), Some("abc"));
        for none in [&[][..], &["abc"], &["Basic abc"], &["Bearer"], &["Bearer a", "Bearer b"]] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }
}
