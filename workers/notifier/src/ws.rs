//! The WebSocket: `GET /v1/realtime`, subprotocol `reelfleet.v1`.
//!
//! Guarantee: one task per connection, which never waits for a client longer than two heartbeats; what a refused client
//! is told, it is told after the upgrade, since browsers hide the answer to a failed one. An idle connection costs below
//! 10 KiB: it reads by 1 KiB instead of 128, which holds what clients say.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use reelfleet_access::Principal;
use reelfleet_messages::realtime::{ClientFrame, MAX_FRAME_BYTES, SUBPROTOCOL, ServerFrame, close};
use reelfleet_telemetry::{EventPushed, RealtimeClients};
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::error::ProtocolError;

use crate::frame;
use crate::hub::Hub;
use crate::problem::Problem;
use crate::queue::{End, Entry};
use crate::session::{self, Credential, Refusal, Session, Wish};

/// Of one read; a frame that is larger is read by several.
const READ_BUFFER: usize = 1_024;
const WRITE_BUFFER: usize = 4_096;
/// A client says who it is and what it wants within this time.
const HELLO: Duration = Duration::from_secs(10);
/// A goodbye is waited for this long.
const GOODBYE: Duration = Duration::from_secs(3);
const TRANSPORT: &str = "websocket";
/// RFC 6455, section 7.4.1: what breaks the WebSocket protocol itself.
const PROTOCOL_ERROR: u16 = 1002;
const UNSUPPORTED_DATA: u16 = 1003;
const INVALID_DATA: u16 = 1007;
const TOO_BIG: u16 = 1009;
/// Frames up to this are read whole, so that a client that sends too much can be told so; beyond it, it is cut off.
const READ_LIMIT: usize = 8 * MAX_FRAME_BYTES;
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
    /// The client does not keep to the protocol: close code and reason.
    Protocol(u16, &'static str),
}

/// A client that breaks our protocol, not WebSocket's.
fn bad(reason: &'static str) -> Over {
    Over::Protocol(close::BAD_REQUEST, reason)
}

/// What a failed read means.
fn broken(error: axum::Error) -> Over {
    match error.into_inner().downcast_ref::<tungstenite::Error>() {
        Some(tungstenite::Error::Capacity(_)) => too_big(),
        Some(tungstenite::Error::Utf8(_)) => Over::Protocol(INVALID_DATA, "text is UTF-8"),
        Some(tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) | None => Over::Gone,
        Some(tungstenite::Error::Protocol(_)) => Over::Protocol(PROTOCOL_ERROR, "not as RFC 6455 says"),
        Some(_) => Over::Gone,
    }
}

fn too_big() -> Over {
    Over::Protocol(TOO_BIG, "a frame has at most 32 KiB")
}

fn binary() -> Over {
    Over::Protocol(UNSUPPORTED_DATA, "frames are text")
}

/// A text that a client sent, as a frame.
fn read(text: &str) -> Result<ClientFrame, Over> {
    if text.len() > MAX_FRAME_BYTES {
        return Err(too_big());
    }
    serde_json::from_str(text).map_err(|_| bad("the frame can't be read"))
}

/// Accepts a connection.
pub(crate) async fn upgrade(
    State(hub): State<Hub>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
    ws: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let answer = |problem: Problem| problem.respond(&hub, &headers);
    let Ok(Query(asked)) = asked else { return answer(Problem::invalid("the query holds ticket, once")) };
    let Ok(ws) = ws else { return answer(Problem::invalid("open it as a WebSocket (RFC 6455)")) };
    if hub.0.draining.is_cancelled() {
        return answer(Problem::draining());
    }
    let Ok(handshake) = hub.0.handshakes.clone().try_acquire_owned() else {
        return answer(Problem::unavailable());
    };
    let offered = ws.requested_protocols().count() > 0;
    let ws = ws
        .protocols([SUBPROTOCOL])
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(READ_LIMIT)
        .max_frame_size(READ_LIMIT);
    if offered && ws.selected_protocol().is_none() {
        return answer(Problem::invalid(format!("the subprotocol is {SUBPROTOCOL}")));
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
            Err(Greeting::Over(over)) => end(&mut socket, over).await,
        }
    })
}

enum Greeting {
    Refused(Refusal),
    Over(Over),
}

impl From<Over> for Greeting {
    fn from(over: Over) -> Self {
        Self::Over(over)
    }
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
        Err(_) => return Err(bad("hello did not come in time").into()),
    };
    let ClientFrame::Hello { ticket, epoch, since, topics } = frame? else {
        return Err(bad("the first frame is hello").into());
    };
    let who: Principal = match (known, ticket) {
        (Some(who), _) => who,
        (None, Some(ticket)) => Credential::Ticket(ticket).verify(hub, origin.as_deref()).await?,
        (None, None) => return Err(Refusal::Unauthenticated.into()),
    };
    Ok(Some(session::open(hub, who, Wish { epoch, since, topics }).await?))
}

/// The first text frame. `None`: the client went away.
async fn hello(socket: &mut WebSocket) -> Option<Result<ClientFrame, Over>> {
    loop {
        match socket.recv().await? {
            Ok(Message::Text(text)) => return Some(read(&text)),
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(Message::Binary(_)) => return Some(Err(binary())),
            Ok(Message::Close(_)) => return None,
            Err(error) => return Some(Err(broken(error))),
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
                    Some(Ok(Message::Text(text))) => match read(&text) {
                        Ok(ClientFrame::Ping) => frame::text(&ServerFrame::Pong),
                        Ok(ClientFrame::Pong) => continue,
                        Ok(ClientFrame::Hello { .. }) => return bad("hello comes once"),
                        Err(over) => return over,
                    },
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Binary(_))) => return binary(),
                    Some(Ok(Message::Close(_))) | None => return Over::Gone,
                    Some(Err(error)) => return broken(error),
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
        Over::Protocol(code, why) => (None, code, why),
        Over::Ended(end) => {
            let (code, reason) = match end {
                End::Slow => (close::SLOW_CONSUMER, "slow_consumer"),
                End::Draining => (SERVICE_RESTART, "draining"),
                End::Over => (close::UNAUTHENTICATED, "unauthenticated"),
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
        Refusal::TooManyTopics(_) => (Some("too_many_topics"), close::BAD_REQUEST, "too_many_topics"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_what_it_did_wrong() {
        let code = |over: Over| match over {
            Over::Protocol(code, reason) => (code, reason.len() < 120),
            Over::Gone | Over::Ended(_) => (0, true),
        };
        let failed = |error: tungstenite::Error| code(broken(axum::Error::new(error)));
        let capacity = tungstenite::error::CapacityError::MessageTooLong { size: 9, max_size: 8 };
        assert_eq!(failed(capacity.into()), (1009, true));
        assert_eq!(failed(tungstenite::Error::Utf8("x".into())), (1007, true));
        assert_eq!(failed(ProtocolError::UnmaskedFrameFromClient.into()), (1002, true));
        assert_eq!(failed(ProtocolError::ResetWithoutClosingHandshake.into()), (0, true), "nobody is there to be told");
        let read = |text: &str| read(text).map_err(code);
        assert_eq!(read("{\"op\":\"ping\"}"), Ok(ClientFrame::Ping));
        assert_eq!(read("{\"op\":\"sing\"}"), Err((4400, true)));
        assert_eq!(read(&" ".repeat(MAX_FRAME_BYTES + 1)), Err((1009, true)));
    }
}
