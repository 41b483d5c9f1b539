//! Who calls, and what they send.
//!
//! Guarantee: a handler that takes a [`Caller`] runs only behind [`authenticate`]; a body is JSON of at most 64 KiB.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use reelfleet_access::keys::PREFIX;
use reelfleet_access::{AccessError, Principal, Scope};
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::problem::{Code, Problem};

/// Largest JSON body (bytes).
const MAX_BODY: usize = 64 * 1024;

/// Lets a request through that shows a valid access token or API key, as long as there are not too many of them.
pub(crate) async fn authenticate(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let principal = principal(&app, request.headers()).await?;
    app.count(&principal)?;
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}

/// Whose API key (`rf_…`) or access token the request shows.
pub(crate) async fn principal(app: &App, headers: &HeaderMap) -> Result<Principal, Problem> {
    let token = bearer(headers).ok_or(AccessError::Unauthenticated)?;
    if token.starts_with(PREFIX) {
        return Ok(app.keys.verify(app.now(), token).await?);
    }
    let accounts = app.accounts.as_ref().ok_or(AccessError::Unauthenticated)?;
    Ok(accounts.sessions.verify(app.now(), token).await?)
}

/// Scheme and credentials of the one Authorization header (RFC 9110 section 11.6.2); of two, none.
pub(crate) fn authorization(headers: &HeaderMap) -> Option<(&str, &str)> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    value.split_once(' ').map(|(scheme, shown)| (scheme, shown.trim()))
}

/// The bearer token (RFC 6750 section 2.1).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    authorization(headers).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token)
}

/// Whoever was authenticated.
#[derive(Debug)]
pub(crate) struct Caller(Principal);

impl Caller {
    /// The caller, whatever it may do.
    pub(crate) fn anybody(self) -> Principal {
        self.0
    }

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
        read(text).map(Self).map_err(|what| Problem::new(Code::InvalidRequest, what))
    }
}

/// A JSON object as what the caller asks for; or which field is wrong, and what is expected there.
fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    let value: serde_json::Value = serde_json::from_slice(text).map_err(|error| {
        format!("the body is not JSON: it breaks at line {}, column {}", error.line(), error.column())
    })?;
    if holds_nul(&value) {
        return Err("a text holds a NUL".to_owned());
    }
    if !value.is_object() {
        return Err("the body is a JSON object: {…}".to_owned());
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let at = error.path().to_string();
        let said = error.inner().to_string();
        if let Some(field) = said.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            let inside = if at == "." { String::new() } else { format!("{at}.") };
            return format!("{inside}{field} is missing");
        }
        match said.rsplit_once("expected ").map(|(_, wanted)| expected(wanted)) {
            Some(wanted) => format!("{at} is {wanted}"),
            None => format!("{at} can't be read"),
        }
    })
}

/// Whether any text in it holds a NUL, which is no character to PostgreSQL.
fn holds_nul(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => text.contains('\0'),
        serde_json::Value::Array(list) => list.iter().any(holds_nul),
        serde_json::Value::Object(map) => map.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)),
        _ => false,
    }
}

/// What is expected, for people.
fn expected(wanted: &str) -> &str {
    match wanted {
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i32" | "i64" => "a whole number",
        "a sequence" => "a list",
        "a string" => "a text",
        other if other.starts_with("struct ") || other == "a map" => "an object",
        other => other,
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
    fn a_body_that_does_not_fit_names_the_field_and_what_belongs_there() {
        #[derive(Debug, serde::Deserialize)]
        #[allow(dead_code, reason = "only read")]
        struct Part {
            n: u16,
        }
        #[derive(Debug, serde::Deserialize)]
        #[allow(dead_code, reason = "only read")]
        struct Body {
            size: u64,
            name: Option<String>,
            parts: Option<Vec<Part>>,
        }
        for (text, wanted) in [
            ("{\"size\": 1,", "the body is not JSON: it breaks at line 1, column 11"),
            ("{\"size\": 1, \"name\": \"a\\u0000b\"}", "a text holds a NUL"),
            ("[1]", "the body is a JSON object: {…}"),
            ("[]", "the body is a JSON object: {…}"),
            ("{}", "size is missing"),
            ("{\"size\": \"1\"}", "size is a whole number, 0 or more"),
            ("{\"size\": -1}", "size is a whole number, 0 or more"),
            ("{\"size\": 1.5}", "size is a whole number, 0 or more"),
            ("{\"size\": 1, \"name\": 5}", "name is a text"),
            ("{\"size\": 1, \"parts\": {}}", "parts is a list"),
            ("{\"size\": 1, \"parts\": [{\"n\": 1}, {\"n\": 70000}]}", "parts[1].n is a whole number from 0 to 65535"),
            ("{\"size\": 1, \"parts\": [{}]}", "parts[0].n is missing"),
            ("{\"size\": 1, \"parts\": [7]}", "parts[0] is an object"),
        ] {
            assert_eq!(read::<Body>(text.as_bytes()).unwrap_err(), wanted, "{text}");
        }
        assert!(read::<Body>(b"{\"size\": 1, \"unknown\": 2}").is_ok());
    }

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
