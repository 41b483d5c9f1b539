//! The event stream as a client sees it: what tests wait for.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use reelfleet_messages::realtime::{ClientFrame, SUBPROTOCOL, ServerFrame};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::clients::Clients;

/// One logged event, or a push of progress.
#[derive(Debug, Clone, PartialEq)]
pub struct Pushed {
    /// The stream that it came by.
    pub stream: String,
    /// Its position there.
    pub position: i64,
    /// Its id.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// The asset.
    pub subject: String,
    /// Its data.
    pub data: Value,
}

/// A WebSocket connection to the notifier.
pub struct Events {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// The `welcome`.
    pub welcome: ServerFrame,
    /// Everything that came, in order.
    pub seen: Vec<Pushed>,
}

impl Events {
    /// Connects with a fresh ticket. `since` maps streams to positions of the given epoch.
    pub async fn connect(
        clients: &Clients,
        topics: &[&str],
        epoch: Option<String>,
        since: BTreeMap<String, i64>,
    ) -> Self {
        let (status, ticket) = clients.api(reqwest::Method::POST, "/v1/realtime/tickets", Some(json!({}))).await;
        assert!(status.is_success(), "{ticket}");
        let mut request = ticket["url"].as_str().unwrap().into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let hello = ClientFrame::Hello { ticket: None, epoch, since, topics };
        socket.send(Message::text(serde_json::to_string(&hello).unwrap())).await.unwrap();
        let welcome = loop {
            match frame(&mut socket).await {
                Some(welcome @ ServerFrame::Welcome { .. }) => break welcome,
                Some(ServerFrame::Ping) => {}
                other => panic!("welcome was expected, got {other:?}"),
            }
        };
        Self { socket, welcome, seen: Vec::new() }
    }

    /// The operators' stream from its beginning: everything that happens.
    pub async fn of_everything(clients: &Clients) -> Self {
        Self::connect(clients, &["ops"], None, BTreeMap::from([("ops".to_owned(), 0)])).await
    }

    /// The epoch of positions.
    pub fn epoch(&self) -> String {
        match &self.welcome {
            ServerFrame::Welcome { epoch, .. } => epoch.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// The next event; panics when none comes in time.
    pub async fn next(&mut self, within: Duration) -> Pushed {
        let next = async {
            loop {
                match frame(&mut self.socket).await {
                    Some(ServerFrame::Event { stream, position, id, kind, subject, data, .. }) => {
                        return Pushed { stream, position, id, kind, subject, data };
                    }
                    Some(ServerFrame::Ping) => {
                        let pong = serde_json::to_string(&ClientFrame::Pong).unwrap();
                        self.socket.send(Message::text(pong)).await.unwrap();
                    }
                    Some(ServerFrame::Pong) => {}
                    other => panic!("an event was expected, got {other:?}"),
                }
            }
        };
        let Ok(pushed) = tokio::time::timeout(within, next).await else {
            let kinds: Vec<String> = self.seen.iter().map(|e| format!("{} {}", e.kind, e.subject)).collect();
            panic!("no further event within {within:?}; seen:\n{}", kinds.join("\n"));
        };
        self.seen.push(pushed.clone());
        pushed
    }

    /// Waits for the first event that fits, among those seen and those to come.
    pub async fn wait(&mut self, within: Duration, fits: impl Fn(&Pushed) -> bool) -> Pushed {
        if let Some(seen) = self.seen.iter().find(|event| fits(event)) {
            return seen.clone();
        }
        let end = tokio::time::Instant::now() + within;
        loop {
            let next = self.next(end.saturating_duration_since(tokio::time::Instant::now())).await;
            if fits(&next) {
                return next;
            }
        }
    }

    /// Waits until an asset has ended: `asset.ready.v1`, `asset.refused.v1` or `asset.failed.v1`.
    pub async fn ended(&mut self, asset: &str, within: Duration) -> Pushed {
        const ENDS: [&str; 3] = ["asset.ready.v1", "asset.refused.v1", "asset.failed.v1"];
        self.wait(within, |event| event.subject == asset && ENDS.contains(&event.kind.as_str())).await
    }

    /// Waits for the asset that landed under this name.
    pub async fn landed(&mut self, name: &str, within: Duration) -> String {
        self.wait(within, |event| event.kind == "asset.uploaded.v1" && event.data["name"] == name).await.subject
    }

    /// How many events of a type an asset has had so far.
    pub fn count(&self, asset: &str, kind: &str) -> usize {
        self.seen.iter().filter(|event| event.subject == asset && event.kind == kind).count()
    }

    /// Goes away as a closed laptop does: without a word.
    pub fn vanish(self) {
        drop(self.socket);
    }
}

async fn frame(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>) -> Option<ServerFrame> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                return Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")));
            }
            Some(Ok(Message::Close(reason))) => panic!("closed: {reason:?}"),
            Some(Ok(_)) => {}
            Some(Err(error)) => panic!("{error}"),
            None => return None,
        }
    }
}
