//! The web app: the files that `vite build` made, embedded in the executable.
//!
//! Guarantees: a page loads nothing but what this gateway serves and talks to nobody but this gateway and the storage that
//! pre-signed URLs point to (Content-Security-Policy, nothing inline); no other site can frame it, but for the player of
//! what is open to everybody, which is nobody's session; a file whose name holds the hash of its content is kept by
//! browsers for ever, anything else is asked for again by its ETag.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reelfleet_objects::PutTerms;
use rust_embed::{Embed, EmbeddedFile};

use crate::app::App;
use crate::caller::text_of;
use crate::problem::Problem;

/// Without `web/dist` nothing is embedded, and pages say how it is made.
#[derive(Embed)]
#[folder = "../web/dist"]
#[allow_missing = true]
struct Dist;

/// Paths that a person may open or reload; everything below is decided by the app itself.
pub(crate) const PAGES: [&str; 19] = [
    "/sign-in",
    "/sign-up",
    "/forgot",
    "/reset",
    "/explore",
    "/watch/{id}",
    "/review",
    "/review/{token}",
    "/reviews/{id}",
    "/keys",
    "/notifications",
    "/webhooks",
    "/operations",
    "/operations/{tab}",
    "/operations/assets/{id}",
    "/users",
    "/audit",
    "/settings",
    "/docs",
];
const INDEX: &str = "index.html";
const MISSING: &str = "The web app is not part of this build.\n\n    make web build\n\nbuilds it (Node 20 or later) and embeds it. \
                       The API is at /v1, and works without it.\n";
const POLICY: HeaderName = HeaderName::from_static("content-security-policy");
const PERMISSIONS: HeaderName = HeaderName::from_static("permissions-policy");
const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// `GET /`: the app for browsers, a word about the service for programs.
pub(crate) async fn root(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let mut response = if prefers_html(&headers) {
        page(State(app), headers).await
    } else {
        Json(serde_json::json!({
            "service": "reelfleet",
            "version": env!("CARGO_PKG_VERSION"),
            "api": app.url("/v1"),
        }))
        .into_response()
    };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// A page: always the same document, which looks at its address.
pub(crate) async fn page(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let Some(index) = Dist::get(INDEX) else {
        let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        return (StatusCode::SERVICE_UNAVAILABLE, kind, MISSING).into_response();
    };
    let policy = match app.web_policy.get_or_try_init(|| policy(&app)).await {
        Ok(policy) => policy.clone(),
        Err(problem) => return problem.into_response(),
    };
    let mut response = file(INDEX, index, &headers, "no-cache");
    let extra = response.headers_mut();
    extra.insert(POLICY, policy);
    extra.insert(PERMISSIONS, HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"));
    extra.insert(OPENER, HeaderValue::from_static("same-origin"));
    response
}

/// `GET /embed/{id}`: the player alone, for any page to frame. It signs nobody in and has nothing to press but the player.
pub(crate) async fn embed(state: State<Arc<App>>, headers: HeaderMap) -> Response {
    let mut response = page(state, headers).await;
    let policy = response.headers().get(POLICY).and_then(|policy| policy.to_str().ok()).map(framed);
    if let Some(policy) = policy.and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.headers_mut().insert(POLICY, policy);
    }
    response
}

/// A page's policy, for one that others may frame.
fn framed(policy: &str) -> String {
    policy.replace("frame-ancestors 'none'", "frame-ancestors *").replace("form-action 'self'", "form-action 'none'")
}

/// `GET /assets/{name}`: named by the hash of what they hold.
pub(crate) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let path = format!("assets/{name}");
    match Dist::get(&path).filter(|_| !name.ends_with(".gz")) {
        Some(found) => file(&path, found, &headers, "public, max-age=31536000, immutable"),
        None => Problem::not_found().into_response(),
    }
}

/// `GET /favicon.svg`.
pub(crate) async fn icon(headers: HeaderMap) -> Response {
    match Dist::get("favicon.svg") {
        Some(found) => file("favicon.svg", found, &headers, "public, max-age=86400"),
        None => Problem::not_found().into_response(),
    }
}

fn file(path: &str, found: EmbeddedFile, headers: &HeaderMap, cache: &'static str) -> Response {
    let packed = Dist::get(&format!("{path}.gz")).filter(|_| takes_gzip(headers));
    let zipped = packed.is_some();
    let found = packed.unwrap_or(found);
    let etag = format!("\"{}\"", hex::encode(&found.metadata.sha256_hash()[..16]));
    let has_it = text_of(headers, header::IF_NONE_MATCH.as_str())
        .is_some_and(|list| list.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag));
    let mut response = if has_it {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let body = match found.data {
            Cow::Borrowed(bytes) => Body::from(bytes),
            Cow::Owned(bytes) => Body::from(bytes),
        };
        ([(header::CONTENT_TYPE, content_type(path))], body).into_response()
    };
    let extra = response.headers_mut();
    extra.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    extra.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        extra.insert(header::ETAG, etag);
    }
    if zipped && !has_it {
        extra.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}

/// Whether HTML is named before JSON; `*/*` alone is a program.
fn prefers_html(headers: &HeaderMap) -> bool {
    let accept = text_of(headers, header::ACCEPT.as_str()).unwrap_or_default();
    let at = |kind: &str| accept.find(kind);
    match (at("text/html"), at("application/json")) {
        (Some(html), Some(json)) => html < json,
        (html, _) => html.is_some(),
    }
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = text_of(headers, header::ACCEPT_ENCODING.as_str()).unwrap_or_default();
    accepted.split(',').any(|one| {
        let (name, weight) = one.split_once(';').unwrap_or((one, ""));
        name.trim() == "gzip" && !matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")
    })
}

/// The policy of every page. Where storage lies is what a signed URL says, whatever the configuration looks like.
async fn policy(app: &App) -> Result<HeaderValue, Problem> {
    let route = app.context.config.uploads.first();
    let bucket = &route.ok_or_else(|| Problem::internal("no upload bucket"))?.bucket;
    let terms = PutTerms { content_length: 1, content_type: "application/octet-stream".into(), sha256: None };
    let signed = app.presigner.put(bucket, "any", &terms, std::time::Duration::from_secs(60)).await?;
    let public = &app.context.config.public_url;
    let text = policy_text(public, origin(&signed.url).unwrap_or_default());
    HeaderValue::from_str(&text).map_err(Problem::internal)
}

fn policy_text(public_url: &str, storage: &str) -> String {
    let public = origin(public_url).unwrap_or_default();
    let socket = public.replacen("http", "ws", 1);
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' blob: data: {public} {storage}; \
         media-src 'self' blob: {public} {storage}; connect-src 'self' {public} {socket} {storage}; worker-src 'self'; \
         manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    )
}

/// Scheme, host and port of a URL.
fn origin(url: &str) -> Option<&str> {
    let host = url.find("://")? + 3;
    let end = url[host..].find('/').map_or(url.len(), |slash| host + slash);
    Some(&url[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn browsers_get_the_app_and_programs_get_json() {
        let html = |value| prefers_html(&with(header::ACCEPT, value));
        assert!(html("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(html("text/html, application/json;q=0.5"));
        for program in ["application/json", "*/*", "application/json, text/html;q=0.1"] {
            assert!(!html(program), "{program}");
        }
        assert!(!prefers_html(&HeaderMap::new()));
    }

    #[test]
    fn a_page_may_talk_to_us_and_to_storage_alone() {
        let text = policy_text("https://reel.example", "https://bucket.s3.example:9000");
        assert!(
            text.contains("connect-src 'self' https://reel.example wss://reel.example https://bucket.s3.example:9000;")
        );
        assert!(text.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{text}");
        assert!(!text.contains("unsafe") && !text.contains('*'), "{text}");
        let embedded = framed(&text);
        assert!(embedded.contains("; frame-ancestors *;") && embedded.ends_with("form-action 'none'"), "{embedded}");
        assert_eq!(embedded.matches('*').count(), 1, "nothing else is opened");
        assert_eq!(origin("http://127.0.0.1:9000/bucket/key?X=1"), Some("http://127.0.0.1:9000"));
        assert_eq!(origin("http://h"), Some("http://h"));
        assert_eq!(origin("h/p"), None);
    }

    #[test]
    fn what_is_unchanged_is_not_sent_again() {
        let found = || EmbeddedFile {
            data: Cow::Borrowed(b"<!doctype html>"),
            metadata: rust_embed::Metadata::__rust_embed_new([7; 32], None, None),
        };
        let first = file("nowhere.html", found(), &HeaderMap::new(), "no-cache");
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()["content-type"], "text/html; charset=utf-8");
        let mut again = HeaderMap::new();
        again.insert(header::IF_NONE_MATCH, first.headers()["etag"].clone());
        assert_eq!(file("nowhere.html", found(), &again, "no-cache").status(), StatusCode::NOT_MODIFIED);
    }

    #[test]
    fn compression_is_used_where_it_is_taken() {
        let takes = |value| takes_gzip(&with(header::ACCEPT_ENCODING, value));
        assert!(takes("gzip, deflate, br") && takes("br, gzip;q=0.5"));
        assert!(!takes("br") && !takes("gzip;q=0") && !takes("x-gzip"));
    }
}
