//! What happens to every request: an id, a time limit, the log line, the security headers, CORS.
//!
//! Guarantee: the log line names the route's pattern and, for the API, the path; never a query string, a header or the
//! token of a playback URL or a review link. A page of another origin may call the API only if its origin is configured.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use reelfleet_telemetry::HttpServed;
use reelfleet_telemetry::trace::Span;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::app::App;
use crate::problem::{Code, Problem};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C Trace Context.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Until the head of the answer; bodies have their own watch.
const LIMIT: Duration = Duration::from_secs(30);
/// S3 puts the parts of the largest objects together for minutes.
const COMPLETION_LIMIT: Duration = Duration::from_secs(200);
pub(crate) const COMPLETION_ROUTE: &str = "/v1/uploads/{id}/complete";

/// The request's id, for whoever passes it on.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) Arc<str>);

/// The outermost layer: a call of the API is a span, of the caller's trace if it names one. Playback is not: every segment
/// would be one.
pub(crate) async fn front(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().filter(|route| route.as_str().starts_with("/v1/"));
    let span = match route {
        Some(route) => {
            let from = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
            Span::server(known(request.method()), route.as_str(), from)
        }
        None => Span::none(),
    };
    let response = span.clone().within(answer(app, request, next)).await;
    let status = response.status();
    span.set("http.response.status_code", u32::from(status.as_u16()));
    if status.is_server_error() {
        span.fail("server_error");
    }
    response
}

async fn answer(app: Arc<App>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id: Arc<str> = app.context.ids.token().into();
    request.extensions_mut().insert(RequestId(id.clone()));
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let method = known(request.method());
    let told = route.starts_with("/v1/") && !route.contains("{token}");
    let path = if told { request.uri().path().to_owned() } else { route.to_owned() };
    let limit = if route == COMPLETION_ROUTE { COMPLETION_LIMIT } else { LIMIT };
    let span = tracing::info_span!("request", request_id = %id);
    // A NUL is no character of a text to PostgreSQL.
    let holds_nul = request.uri().path_and_query().is_some_and(|target| target.as_str().contains("%00"));
    let readable = !holds_nul && percent_decode_str(request.uri().path()).decode_utf8().is_ok();
    let answer = async {
        if readable {
            next.run(request).await
        } else {
            Problem::new(Code::InvalidRequest, "the path is not UTF-8 in percent-encoding, or the URL holds a NUL")
                .into_response()
        }
    };
    let answer = tokio::time::timeout(limit, answer).instrument(span);
    let mut response = answer.await.unwrap_or_else(|_| {
        Problem::new(Code::Timeout, "whether it happened is not known: ask, then repeat").into_response()
    });
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let body = problem.render(&id);
        response.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
        *response.body_mut() = if method == "HEAD" { Body::empty() } else { body.into() };
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let (status, seconds) = (response.status().as_u16(), started.elapsed().as_secs_f64());
    HttpServed { route, method, status, seconds }.emit();
    tracing::info!(request_id = %id, method, path, status, ms = (seconds * 1e3).round(), "http");
    response
}

/// A method's name from a closed set: it becomes a metric's label.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// CORS for the API (WHATWG Fetch): configured origins only, and no cookies.
pub(crate) async fn cors(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with("/v1/") {
        return next.run(request).await;
    }
    let allowed = allowed_origin(&app.options.web_origins, request.headers());
    let preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match (&allowed, preflight) {
        (Some(_), true) => {
            let mut response = StatusCode::NO_CONTENT.into_response();
            let headers = response.headers_mut();
            for (name, value) in [
                (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PATCH, PUT, DELETE"),
                (
                    header::ACCESS_CONTROL_ALLOW_HEADERS,
                    "authorization, content-type, idempotency-key, if-match, if-none-match, traceparent",
                ),
                (header::ACCESS_CONTROL_MAX_AGE, "600"),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
            response
        }
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let exposed = HeaderValue::from_static("etag, link, location, retry-after, x-request-id");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    response
}

fn allowed_origin(origins: &[String], headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    let known = origins.iter().any(|known| known.as_bytes() == origin.as_bytes());
    known.then(|| origin.clone())
}
