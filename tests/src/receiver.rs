//! A receiver of webhooks for tests: it keeps every request, and answers by the path as it is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// One request, and how it was answered.
#[derive(Debug, Clone)]
pub struct Request {
    /// `/flaky`.
    pub path: String,
    /// `webhook-id`.
    pub id: String,
    /// All headers.
    pub headers: HeaderMap,
    /// As it came.
    pub body: Bytes,
    /// None: it was left without an answer.
    pub status: Option<u16>,
}

impl Request {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Answers by path, the id, and how often that came to this path before.
type Rule = fn(&str, usize) -> Answer;

/// How a request is answered.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// This status.
    Status(u16),
    /// A redirect to this place.
    To(&'static str),
    /// Nothing, for longer than anybody waits.
    Silence,
}

/// Where webhooks arrive.
#[derive(Clone)]
pub struct Receiver {
    /// `127.0.0.1:port`.
    pub address: String,
    kept: Arc<Mutex<Vec<Request>>>,
    arrived: Arc<Notify>,
    rule: Rule,
}

impl Receiver {
    /// Listens on a port of its own.
    pub async fn start(rule: Rule) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let receiver = Self { address, kept: Arc::default(), arrived: Arc::default(), rule };
        let app = Router::new().fallback(take).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        receiver
    }

    /// A URL of it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What came to a path, in order.
    pub fn of(&self, path: &str) -> Vec<Request> {
        self.kept.lock().unwrap().iter().filter(|request| request.path == path).cloned().collect()
    }

    /// Waits until what came to a path is as wanted.
    pub async fn wait(&self, path: &str, within: Duration, wanted: impl Fn(&[Request]) -> bool) -> Vec<Request> {
        let found = async {
            loop {
                let arrived = self.arrived.notified();
                let kept = self.of(path);
                if wanted(&kept) {
                    return kept;
                }
                arrived.await;
            }
        };
        let found = tokio::time::timeout(within, found).await;
        found.unwrap_or_else(|_| panic!("{path} within {within:?}; there are:\n{:#?}", self.of(path)))
    }
}

async fn take(State(receiver): State<Receiver>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let path = uri.path().to_owned();
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let answer = {
        let mut kept = receiver.kept.lock().unwrap();
        let before = kept.iter().filter(|request| request.path == path && request.id == id).count();
        let answer = (receiver.rule)(&path, before);
        let status = match answer {
            Answer::Status(status) => Some(status),
            Answer::To(_) => Some(302),
            Answer::Silence => None,
        };
        kept.push(Request { path, id, headers, body, status });
        answer
    };
    receiver.arrived.notify_waiters();
    match answer {
        Answer::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Answer::To(place) => (StatusCode::FOUND, [("location", place)]).into_response(),
        Answer::Silence => std::future::pending().await,
    }
}
