//! `GET /v1/openapi.json`: the API as OpenAPI 3.1.
//!
//! Guarantee: it names every route under `/v1` but the realtime ones, and no other, each with the scope that its handler
//! asks for; a test holds it against the table of routes.

use axum::http::header;
use axum::response::IntoResponse;

pub(crate) const DOCUMENT: &str = include_str!("../../schema/openapi.json");

/// The document.
pub(crate) async fn show() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "application/vnd.oai.openapi+json;version=3.1"),
        (header::CACHE_CONTROL, "public, max-age=3600"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    (headers, DOCUMENT)
}
