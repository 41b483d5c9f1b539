//! Server-sent events: `GET /v1/events?topics=me,asset:…`, for those who can't have a WebSocket.
//!
//! Guarantee: the same frames as over the WebSocket, as unnamed events. The `id` of each holds the positions of all
//! streams, so that `Last-Event-ID` (or `?last_event_id=`) resumes by itself.
//!
//! Source: WHATWG HTML, "Server-sent events".

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use reelfleet_telemetry::{EventPushed, RealtimeClients};
use serde::Deserialize;

use crate::hub::Hub;
use crate::problem::Problem;
use crate::queue::{End, Entry};
use crate::session::{self, Credential, Refusal, Session, Wish};

/// Below the idle time of usual proxies.
const KEEPALIVE: Duration = Duration::from_secs(15);
const TRANSPORT: &str = "sse";

#[derive(Deserialize)]
pub(crate) struct Asked {
    ticket: Option<String>,
    topics: Option<String>,
    last_event_id: Option<String>,
}

/// Opens a stream of events.
pub(crate) async fn open(
    State(hub): State<Hub>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let Ok(Query(asked)) = asked else {
        return Problem::invalid("the query holds ticket, topics and last_event_id, each once").respond(&hub, &headers);
    };
    let origin = session::origin(&headers);
    let with_ticket = asked.ticket.is_some();
    let session = Box::pin(greet(&hub, asked, &headers, origin.as_deref())).await;
    let session = match session {
        Ok(session) => session,
        Err(refusal) => return Problem::from(&refusal).respond(&hub, &headers),
    };
    let positions = Positions { epoch: hub.0.epoch.clone(), seen: session.positions.clone() };
    let feed = Feed { connected: Connected::new(hub.clone()), hub, session, positions, over: false };
    let body = Body::from_stream(futures::stream::unfold(feed, async |mut feed: Feed| {
        let chunk = feed.next().await?;
        Some((Ok::<_, Infallible>(chunk), feed))
    }));
    let mut response = Response::new(body);
    let set = response.headers_mut();
    set.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    set.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    set.insert("x-accel-buffering", HeaderValue::from_static("no"));
    // The ticket was drawn by this very origin, or the request has none.
    if with_ticket && let Some(Ok(origin)) = origin.map(HeaderValue::try_from) {
        set.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        set.insert(header::VARY, HeaderValue::from_static("origin"));
    }
    response
}

async fn greet(hub: &Hub, asked: Asked, headers: &HeaderMap, origin: Option<&str>) -> Result<Session, Refusal> {
    let credential = Credential::of_request(asked.ticket, headers).ok_or(Refusal::Unauthenticated)?;
    let who = credential.verify(hub, origin).await?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let seen = last.or(asked.last_event_id).and_then(|id| Positions::parse(&id));
    let (epoch, since) = seen.map_or_else(Default::default, |seen| (Some(seen.epoch), seen.seen));
    let topics = asked.topics.unwrap_or_default();
    let topics = topics.split(',').filter(|topic| !topic.is_empty()).map(str::to_owned).collect();
    session::open(hub, who, Wish { epoch, since, topics }).await
}

/// Positions of all streams of a connection as one event id: `<epoch>;<stream>=<position>;…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Positions {
    epoch: String,
    seen: BTreeMap<String, i64>,
}

impl Positions {
    pub(crate) fn parse(id: &str) -> Option<Self> {
        let mut parts = id.split(';');
        let epoch = parts.next().filter(|epoch| !epoch.is_empty())?.to_owned();
        let seen = parts
            .map(|part| {
                let (stream, position) = part.rsplit_once('=')?;
                Some((stream.to_owned(), position.parse().ok()?))
            })
            .collect::<Option<_>>()?;
        Some(Self { epoch, seen })
    }
}

impl std::fmt::Display for Positions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.epoch)?;
        // Names of tenants and owners hold neither `;` nor `=`.
        self.seen.iter().try_for_each(|(stream, position)| write!(f, ";{stream}={position}"))
    }
}

/// A connected client, counted.
struct Connected(Hub);

impl Connected {
    fn new(hub: Hub) -> Self {
        RealtimeClients { transport: TRANSPORT, connected: hub.count_event_streams(1) }.emit();
        Self(hub)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        RealtimeClients { transport: TRANSPORT, connected: self.0.count_event_streams(-1) }.emit();
    }
}

/// What the body is made of.
struct Feed {
    hub: Hub,
    session: Session,
    positions: Positions,
    over: bool,
    #[allow(dead_code, reason = "counts by being there")]
    connected: Connected,
}

impl Feed {
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let queue = self.session.queue.clone();
        let end = tokio::select! {
            end = queue.ended() => end,
            () = self.hub.0.draining.cancelled() => End::Draining,
            entry = queue.next() => return Some(self.chunk(entry)),
            () = tokio::time::sleep(KEEPALIVE) => return Some(Bytes::from_static(b": keepalive\n\n")),
        };
        self.over = true;
        let (text, after) = session::goodbye(end)?;
        Some(format!("retry: {}\ndata: {text}\n\n", after.as_millis()).into())
    }

    fn chunk(&mut self, entry: Entry) -> Bytes {
        let mut chunk = String::new();
        let (text, source) = match entry {
            Entry::Frame(text) => (text, None),
            Entry::Progress { text, .. } => (text, Some("live")),
            Entry::Event { stream, position, text, replayed } => {
                self.positions.seen.insert(stream.to_string(), position);
                (text, Some(if replayed { "replay" } else { "live" }))
            }
        };
        if let Some(source) = source {
            EventPushed { transport: TRANSPORT, source, count: 1 }.emit();
        }
        // JSON holds no raw newline. Writing into a String can't fail.
        let _ = write!(chunk, "id: {}\ndata: {text}\n\n", self.positions);
        chunk.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_id_reads_back() {
        let positions = Positions {
            epoch: "e1".into(),
            seen: [("user:t/a@b.example".to_owned(), 7), ("asset:ast_1".to_owned(), 0)].into(),
        };
        let id = positions.to_string();
        assert_eq!(id, "e1;asset:ast_1=0;user:t/a@b.example=7");
        assert_eq!(Positions::parse(&id), Some(positions));
        for bad in ["", ";a=1", "e;a", "e;a=x"] {
            assert_eq!(Positions::parse(bad), None, "{bad}");
        }
        assert!(Positions::parse("e").unwrap().seen.is_empty());
    }
}
