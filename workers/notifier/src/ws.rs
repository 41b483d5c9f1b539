//! The WebSocket: `GET /v1/realtime`, subprotocol `reelfleet.v1`.
//!
//! Guarantee: one task per connection, which never waits for a client longer than two heartbeats; what a refused client
//! is told, it is told after the upgrade, since browsers hide the answer to a failed one. An idle connection costs below
//! 10 KiB: buffers of 4 KiB instead of 128 KiB.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reelfleet_access::Principal;
use reelfleet_messages::realtime::{ClientFrame, MAX_FRAME_BYTES, SUBPROTOCOL, ServerFrame, close};
use reelfleet_telemetry::{EventPushed, RealtimeClients};
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior, timeout};

use crate::frame;
use crate::hub::Hub;
use crate::queue::{End, Entry};
use crate::session::{self, Credential, Refusal, Session, Wish};

const BUFFER: usize = 4_096;
/// A client says who it is and what it wants within this time.
const HELLO: Duration = Duration::from_secs(10);
/// A goodbye is waited for this long.
const GOODBYE: Duration = Duration::from_secs(3);
const TRANSPORT: &str = "websocket";
/// RFC 6455, section 7.4.1.
const PROTOCOL_ERROR: u16 = 1002;
/// IANA WebSocket Close Code Number Registry.
const SERVICE_RESTART: u16 = 1012;

#[derive(Deserialize)]
pub(crate) struct Asked {
    ticket: Option<String>,
}

/// How a connection ended.
enum Over {
    /// The client is gone, or silent.
    Gone,
    /// We end it.
    Ended(End),
    /// The client does not keep to the protocol.
    Protocol(&'static str),
}

/// Accepts a connection.
pub(crate) async fn upgrade(
    State(hub): State<Hub>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    ws: WebSocketUpgrade,
) -> Response {
    if hub.0.draining.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response();
    }
    let Ok(handshake) = hub.0.handshakes.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "2")]).into_response();
    };
    let offered = ws.requested_protocols().count() > 0;
    let ws = ws
        .protocols([SUBPROTOCOL])
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_message_size(MAX_FRAME_BYTES)
        .max_frame_size(MAX_FRAME_BYTES);
    if offered && ws.selected_protocol().is_none() {
        return (StatusCode::BAD_REQUEST, format!("the subprotocol is {SUBPROTOCOL}\n")).into_response();
    }
    let origin = session::origin(&headers);
    let credential = Credential::of_request(asked.ticket, &headers);
    ws.on_upgrade(async move |mut socket| {
        // Boxed: what greeting needs is not kept for the life of the connection.
        let greeted = Box::pin(greet(&hub, &mut socket, credential, origin)).await;
        drop(handshake);
        match greeted {
            Ok(Some(session)) => {
                show(&hub, 1);
                let over = serve(&hub, &mut socket, &session).await;
                tracing::debug!(session = session.id, "client disconnected");
                end(&mut socket, over).await;
                show(&hub, -1);
            }
            Ok(None) => {}
            Err(Greeting::Refused(refusal)) => refuse(&mut socket, &refusal).await,
            Err(Greeting::Protocol(why)) => end(&mut socket, Over::Protocol(why)).await,
        }
    })
}

enum Greeting {
    Refused(Refusal),
    Protocol(&'static str),
}

impl From<Refusal> for Greeting {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// From the upgrade to the session. `None`: the client went away.
async fn greet(
    hub: &Hub,
    socket: &mut WebSocket,
    credential: Option<Credential>,
    origin: Option<String>,
) -> Result<Option<Session>, Greeting> {
    let known = match credential {
        Some(credential) => Some(credential.verify(hub, origin.as_deref()).await?),
        None => None,
    };
    let frame = match timeout(HELLO, hello(socket)).await {
        Ok(Some(frame)) => frame,
        Ok(None) => return Ok(None),
        Err(_) => return Err(Greeting::Protocol("hello did not come in time")),
    };
    let ClientFrame::Hello { ticket, epoch, since, topics } = frame? else {
        return Err(Greeting::Protocol("the first frame is hello"));
    };
    let who: Principal = match (known, ticket) {
        (Some(who), _) => who,
        (None, Some(ticket)) => Credential::Ticket(ticket).verify(hub, origin.as_deref()).await?,
        (None, None) => return Err(Refusal::Unauthenticated.into()),
    };
    Ok(Some(session::open(hub, who, Wish { epoch, since, topics }).await?))
}

/// The first text frame.
async fn hello(socket: &mut WebSocket) -> Option<Result<ClientFrame, Greeting>> {
    loop {
        match socket.recv().await?.ok()? {
            Message::Text(text) => {
                return Some(serde_json::from_str(&text).map_err(|_| Greeting::Protocol("hello can't be read")));
            }
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Binary(_) => return Some(Err(Greeting::Protocol("frames are text"))),
            Message::Close(_) => return None,
        }
    }
}

async fn serve(hub: &Hub, socket: &mut WebSocket, session: &Session) -> Over {
    let heartbeat = hub.0.settings.heartbeat();
    let mut tick = tokio::time::interval_at(Instant::now() + heartbeat, heartbeat);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        let text = tokio::select! {
            end = session.queue.ended() => return Over::Ended(end),
            () = hub.0.draining.cancelled() => return Over::Ended(End::Draining),
            message = socket.recv() => {
                heard = Instant::now();
                match message {
                    Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                        Ok(ClientFrame::Ping) => frame::text(&ServerFrame::Pong),
                        Ok(ClientFrame::Pong) => continue,
                        Ok(ClientFrame::Hello { .. }) => return Over::Protocol("hello comes once"),
                        Err(_) => return Over::Protocol("the frame can't be read"),
                    },
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Binary(_))) => return Over::Protocol("frames are text"),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Over::Gone,
                }
            }
            entry = session.queue.next() => take(entry),
            _ = tick.tick() => {
                if heard.elapsed() > heartbeat * 2 {
                    return Over::Gone;
                }
                frame::text(&ServerFrame::Ping)
            }
        };
        let sent = tokio::select! {
            sent = socket.send(Message::Text(text)) => sent.is_ok(),
            end = session.queue.ended() => return Over::Ended(end),
            () = tokio::time::sleep(heartbeat * 2) => false,
        };
        if !sent {
            return Over::Gone;
        }
    }
}

/// The text of an entry that is about to be sent.
fn take(entry: Entry) -> Utf8Bytes {
    let (text, source) = match entry {
        Entry::Frame(text) => return text,
        Entry::Event { text, replayed: true, .. } => (text, "replay"),
        Entry::Event { text, .. } | Entry::Progress { text, .. } => (text, "live"),
    };
    EventPushed { transport: TRANSPORT, source, count: 1 }.emit();
    text
}

fn show(hub: &Hub, change: isize) {
    RealtimeClients { transport: TRANSPORT, connected: hub.count_websockets(change) }.emit();
}

/// Says why, closes, and lets the client answer.
async fn end(socket: &mut WebSocket, over: Over) {
    let (goodbye, code, reason) = match over {
        Over::Gone | Over::Ended(End::Gone) => return,
        Over::Protocol(why) => (None, PROTOCOL_ERROR, why),
        Over::Ended(end) => {
            let (code, reason) = match end {
                End::Slow => (close::SLOW_CONSUMER, "slow_consumer"),
                End::Draining => (SERVICE_RESTART, "draining"),
                End::Internal | End::Gone => (close::INTERNAL, "internal"),
            };
            (session::goodbye(end).map(|(text, _)| text), code, reason)
        }
    };
    close_with(socket, goodbye, code, reason).await;
}

async fn refuse(socket: &mut WebSocket, refusal: &Refusal) {
    let (goodbye, code, reason) = match refusal {
        Refusal::Unauthenticated => (Some("unauthenticated"), close::UNAUTHENTICATED, "unauthenticated"),
        Refusal::Forbidden(why) => (Some("forbidden"), close::FORBIDDEN, why.as_str()),
        Refusal::TooMany => (Some("too_many"), close::TOO_MANY, "too_many"),
        Refusal::Draining => return end(socket, Over::Ended(End::Draining)).await,
        Refusal::Internal(why) => {
            tracing::warn!(why, "a client could not be let in");
            (None, close::INTERNAL, "internal")
        }
    };
    let again = reelfleet_fleet::full_jitter(Duration::from_secs(30), Duration::from_secs(30), 0);
    close_with(socket, goodbye.map(|code| session::bye(code, again)), code, reason).await;
}

async fn close_with(socket: &mut WebSocket, goodbye: Option<Utf8Bytes>, code: u16, reason: &str) {
    // RFC 6455, section 5.5: a control frame has at most 125 bytes, two of them the code.
    let reason: String = reason.chars().filter(char::is_ascii).take(120).collect();
    let farewell = async {
        if let Some(text) = goodbye {
            socket.send(Message::Text(text)).await?;
        }
        socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await?;
        while let Some(Ok(_)) = socket.recv().await {}
        Ok::<_, axum::Error>(())
    };
    // A client that is gone, or does not read, is not waited for.
    let _ = timeout(GOODBYE, farewell).await;
}
