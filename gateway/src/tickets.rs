//! `POST /v1/realtime/tickets`: how a browser gets into a WebSocket without a header.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reelfleet_access::{Scope, Secret, tickets};
use serde::Deserialize;
use serde_json::json;

use crate::app::{App, rfc3339};
use crate::caller::{Caller, Payload, text_of};
use crate::options::is_origin;
use crate::problem::{Code, Problem};

#[derive(Deserialize)]
pub(crate) struct NewTicket {
    /// The origin of the page that will use it, where a server asks on a page's behalf.
    origin: Option<String>,
}

/// A ticket: once, within 30 s, from the page of the given origin. The URL holds it.
pub(crate) async fn issue(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    Payload(asked): Payload<NewTicket>,
) -> Result<Response, Problem> {
    let principal = caller.with(Scope::Realtime)?;
    if let Some(origin) = asked.origin.as_deref().filter(|origin| !is_origin(origin)) {
        let detail = format!("{origin:?} is not an origin: https://host[:port], no path");
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    // A page asks for itself, whatever its body says.
    let origin = text_of(&headers, header::ORIGIN.as_str()).or(asked.origin.as_deref());
    let secret = Secret::from_hex(&app.context.ids.secret())
        .ok_or_else(|| Problem::internal("a secret is not 64 hexadecimal digits"))?;
    let ticket = tickets::issue(&app.catalog, app.now(), &secret, &principal, origin).await?;
    let answer = Json(json!({
        "ticket": ticket.text,
        "url": websocket(&app.url(&format!("/v1/realtime?ticket={}", ticket.text))),
        "events_url": app.url(&format!("/v1/events?ticket={}", ticket.text)),
        "expires_at": rfc3339(ticket.expires_at),
    }));
    Ok((StatusCode::CREATED, answer).into_response())
}

/// An http(s) URL as ws(s).
fn websocket(url: &str) -> String {
    url.replacen("http", "ws", 1)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_scheme_follows_that_of_the_public_url() {
        assert_eq!(super::websocket("http://h:1/v1"), "ws://h:1/v1");
        assert_eq!(super::websocket("https://http.example/"), "wss://http.example/");
    }
}
