//! Listening to what happens: the WebSocket `reelfleet.v1`.
//!
//! Guarantee: a connection that breaks is made anew with the positions that were seen, so what happened meanwhile comes
//! then, in order; where it can't (a new epoch, a log that was trimmed), or where only a snapshot tells (progress), the
//! listener is told to look. Nothing that is logged is told twice.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::{SinkExt, StreamExt};
use http::{Request, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use reelfleet_fleet::full_jitter;
use reelfleet_messages::realtime::{ClientFrame, MAX_FRAME_BYTES, SUBPROTOCOL, ServerFrame};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use super::client::Api;
use crate::http_client::empty;

const CONNECT: Duration = Duration::from_secs(10);
/// How long a start waits for the first welcome before it goes on without.
const WELCOME: Duration = Duration::from_secs(5);
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Until the server says otherwise.
const HEARTBEAT: Duration = Duration::from_secs(25);
const PROGRESS: &str = "job.progressed.v1";

/// An open connection.
pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Something to know.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// An event about an asset.
    Event {
        /// Type with its version.
        kind: String,
        /// Its id.
        asset: String,
        /// The event's data.
        data: Value,
    },
    /// Something may have been missed: look by REST.
    Look,
}

/// A listener. Dropping it ends the connection.
#[derive(Debug)]
pub struct Watch {
    facts: mpsc::Receiver<Fact>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Listens to these topics from now on. If that does not work at once it goes on being tried.
    pub async fn start(api: &Api, topics: Vec<String>) -> Self {
        let (sender, facts) = mpsc::channel(256);
        let (greeted, mut welcome) = watch::channel(false);
        let listener = Listener { api: api.clone(), topics, facts: sender, greeted, seen: Seen::default() };
        let task = tokio::spawn(listener.run());
        if timeout(WELCOME, welcome.wait_for(|greeted| *greeted)).await.is_err() {
            tracing::warn!("realtime is not available at the moment: progress may come late");
        }
        Self { facts, task }
    }

    /// The next thing to know.
    pub async fn next(&mut self) -> Fact {
        match self.facts.recv().await {
            Some(fact) => fact,
            // The listener never ends by itself.
            None => std::future::pending().await,
        }
    }
}

/// What was seen, to go on from.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    epoch: Option<String>,
    positions: BTreeMap<String, i64>,
}

impl Seen {
    /// The server stands at these positions; streams that were not listened to before begin there.
    fn welcome(&mut self, epoch: String, positions: BTreeMap<String, i64>) {
        if self.epoch.as_ref() != Some(&epoch) {
            self.positions.clear();
        }
        self.epoch = Some(epoch);
        for (stream, position) in positions {
            self.positions.entry(stream).or_insert(position);
        }
    }

    /// Whether this is new. Progress is not logged and always is.
    fn is_new(&mut self, stream: &str, position: i64, kind: &str) -> bool {
        if kind == PROGRESS {
            return true;
        }
        let seen = self.positions.entry(stream.to_owned()).or_insert(i64::MIN);
        let new = position > *seen;
        *seen = position.max(*seen);
        new
    }
}

struct Listener {
    api: Api,
    topics: Vec<String>,
    facts: mpsc::Sender<Fact>,
    greeted: watch::Sender<bool>,
    seen: Seen,
}

/// How a connection ended.
enum Over {
    /// Come back when it suits, but not before that.
    Later(Duration),
    /// Nobody listens any more.
    Unheard,
}

impl Listener {
    async fn run(mut self) {
        let mut failures = 0;
        loop {
            self.greeted.send_replace(false);
            let pause = match self.connection().await {
                Ok(Over::Unheard) => return,
                Ok(Over::Later(pause)) => pause,
                Err(error) => {
                    failures = if *self.greeted.borrow() { 0 } else { failures + 1 };
                    tracing::debug!(%error, "the realtime connection broke off");
                    full_jitter(SHORTEST_PAUSE, LONGEST_PAUSE, failures)
                }
            };
            sleep(pause).await;
        }
    }

    async fn connection(&mut self) -> anyhow::Result<Over> {
        let ticket = self.api.ticket().await?;
        let mut socket = timeout(CONNECT, connect(&self.api)).await.context("connecting took too long")??;
        let hello = ClientFrame::Hello {
            ticket: Some(ticket),
            epoch: self.seen.epoch.clone(),
            since: self.seen.positions.clone(),
            topics: self.topics.clone(),
        };
        say(&mut socket, &hello).await?;
        let mut heartbeat = HEARTBEAT;
        loop {
            // The server speaks at least once a heartbeat.
            let message = timeout(heartbeat * 2, socket.next()).await.context("no sign of life")?;
            let text = match message.context("the server hung up")?? {
                Message::Text(text) => text,
                Message::Close(frame) => bail!("closed: {}", frame.map_or_else(String::new, |frame| frame.to_string())),
                _ => continue,
            };
            // Frames of a later version are not for us.
            let Ok(frame) = serde_json::from_str::<ServerFrame>(&text) else { continue };
            let fact = match frame {
                ServerFrame::Welcome { epoch, positions, heartbeat_ms, .. } => {
                    self.seen.welcome(epoch, positions);
                    heartbeat = Duration::from_millis(heartbeat_ms).max(Duration::from_secs(1));
                    self.greeted.send_replace(true);
                    Fact::Look
                }
                ServerFrame::Event { stream, position, kind, subject, data, .. } => {
                    if !self.seen.is_new(&stream, position, &kind) {
                        continue;
                    }
                    Fact::Event { kind, asset: subject, data }
                }
                ServerFrame::Reset { stream, position, .. } => {
                    self.seen.positions.insert(stream, position);
                    Fact::Look
                }
                ServerFrame::Ping => {
                    say(&mut socket, &ClientFrame::Pong).await?;
                    continue;
                }
                ServerFrame::Pong => continue,
                ServerFrame::Bye { retry_after_ms, code } => {
                    tracing::debug!(code, "the server says goodbye");
                    return Ok(Over::Later(Duration::from_millis(retry_after_ms).min(LONGEST_PAUSE)));
                }
            };
            if self.facts.send(fact).await.is_err() {
                return Ok(Over::Unheard);
            }
        }
    }
}

/// Sends a frame.
pub async fn say(socket: &mut Socket, frame: &ClientFrame) -> anyhow::Result<()> {
    let text = serde_json::to_string(frame)?;
    timeout(CONNECT, socket.send(Message::text(text))).await.context("sending took too long")??;
    Ok(())
}

/// The opening handshake (RFC 6455, section 4.1), over the same HTTP client as all else.
pub async fn connect(api: &Api) -> anyhow::Result<Socket> {
    let key = generate_key();
    let request = Request::get(format!("{}/v1/realtime", api.base()))
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
        .header(header::SEC_WEBSOCKET_KEY, &key)
        .body(empty())?;
    let answer = api.http().send(request).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        bail!("the gateway answered {}", answer.status());
    }
    let accepted = answer.headers().get(header::SEC_WEBSOCKET_ACCEPT).map(|value| value.as_bytes());
    if accepted != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
        bail!("what answered is no WebSocket");
    }
    let stream = hyper::upgrade::on(answer).await?;
    let limits = WebSocketConfig::default()
        .max_message_size(Some(2 * MAX_FRAME_BYTES))
        .max_frame_size(Some(2 * MAX_FRAME_BYTES));
    Ok(WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Client, Some(limits)).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(pairs: &[(&str, i64)]) -> BTreeMap<String, i64> {
        pairs.iter().map(|(name, position)| ((*name).to_owned(), *position)).collect()
    }

    #[test]
    fn a_stream_begins_now_and_then_goes_on_where_it_was() {
        let mut seen = Seen::default();
        seen.welcome("e1".into(), at(&[("user:t/o", 5)]));
        assert!(seen.is_new("user:t/o", 6, "asset.ready.v1"));
        assert!(!seen.is_new("user:t/o", 6, "asset.ready.v1"), "nothing twice");
        assert!(seen.is_new("user:t/o", 6, PROGRESS), "progress carries the last position");
        // Back after a while: what was missed follows from 6, though the server stands at 9.
        seen.welcome("e1".into(), at(&[("user:t/o", 9), ("asset:a", 3)]));
        assert_eq!(seen.positions, at(&[("user:t/o", 6), ("asset:a", 3)]));
        assert!(seen.is_new("user:t/o", 7, "asset.ready.v1"));
        // Positions began anew.
        seen.welcome("e2".into(), at(&[("user:t/o", 1)]));
        assert!(seen.is_new("user:t/o", 2, "asset.ready.v1"));
    }
}
