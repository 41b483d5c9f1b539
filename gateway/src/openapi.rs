//! `GET /v1/openapi.json` and `GET /v1/asyncapi.json`: what can be asked for, as OpenAPI 3.1, and what is said by itself, as
//! AsyncAPI 3.0.
//!
//! Guarantees: the first names every route under `/v1` but the realtime ones and the documents, and no other, each with
//! the scope that its handler asks for; a test holds it against the table of routes. The second is made of the messages.

use axum::http::header;
use axum::response::IntoResponse;

pub(crate) const DOCUMENT: &str = include_str!("../../schema/openapi.json");

const REALTIME: &str = include_str!("../../schema/asyncapi.json");

/// What can be asked for.
pub(crate) async fn show() -> impl IntoResponse {
    document("application/vnd.oai.openapi+json;version=3.1", DOCUMENT)
}

/// What is said by itself.
pub(crate) async fn show_realtime() -> impl IntoResponse {
    document("application/vnd.aai.asyncapi+json;version=3.0.0", REALTIME)
}

fn document(content_type: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "public, max-age=3600"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    (headers, text)
}
