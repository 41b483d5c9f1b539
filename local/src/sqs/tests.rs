//! Rules that need a clock of their own: retention, the twelve hours, delay; and a poll that must not spin.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::handle;
use crate::{
    db::{Db, DbError},
    faults::Faults,
    state::{Clock, Endpoint, Ids, QueueWakes},
};

struct Fixture {
    state: Arc<Endpoint>,
    now: Arc<AtomicI64>,
    _dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let wakes = Arc::new(QueueWakes::default());
        let db =
            Db::open::<DbError>(&dir.path().join("t.sqlite"), Arc::clone(&wakes), |conn| Ok(super::migrate(conn)?));
        let now = Arc::new(AtomicI64::new(1_800_000_000_000));
        let clock = Arc::clone(&now);
        let state = Endpoint {
            db: db.unwrap(),
            clock: Clock::from_fn(move || clock.load(Ordering::SeqCst)),
            ids: Ids,
            region: "us-east-1".into(),
            account_id: "000000000000".into(),
            base_url: "http://endpoint".into(),
            wakes,
            shutdown: CancellationToken::new(),
            faults: Faults::default(),
        };
        Self { state: Arc::new(state), now, _dir: dir }
    }

    fn pass(&self, seconds: i64) {
        self.now.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }

    /// Status and body of a call on the queue `q`.
    async fn call(&self, action: &str, mut request: Value) -> (u16, Value) {
        request["QueueUrl"] = "http://endpoint/000000000000/q".into();
        request["QueueName"] = "q".into();
        let response = handle(&self.state, action, Bytes::from(request.to_string())).await;
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn ok(&self, action: &str, request: Value) -> Value {
        let (status, body) = self.call(action, request).await;
        assert_eq!(status, 200, "{action}: {body}");
        body
    }

    async fn rows(&self) -> i64 {
        let count = |conn: &rusqlite::Connection| {
            Ok::<_, DbError>(conn.query_row("SELECT count(*) FROM sqs_message", [], |row| row.get(0))?)
        };
        self.state.db.read(count).await.unwrap()
    }

    /// The last change that the database saw; an empty poll must leave it as it is.
    async fn version(&self) -> i64 {
        let version = |conn: &rusqlite::Connection| {
            Ok::<_, DbError>(conn.query_row("PRAGMA data_version", [], |row| row.get(0))?)
        };
        self.state.db.read(version).await.unwrap()
    }
}

#[tokio::test]
async fn past_its_retention_a_message_is_deleted_by_the_poll_that_meets_it() {
    let f = Fixture::new();
    f.ok("CreateQueue", json!({ "Attributes": { "MessageRetentionPeriod": "60" } })).await;
    for n in 0..3 {
        f.ok("SendMessage", json!({ "MessageBody": n.to_string(), "MessageGroupId": n.to_string() })).await;
    }
    f.pass(60);
    let counts = f.ok("GetQueueAttributes", json!({ "AttributeNames": ["ApproximateNumberOfMessages"] })).await;
    assert_eq!(counts["Attributes"]["ApproximateNumberOfMessages"], "0");
    assert_eq!(f.rows().await, 3);
    assert_eq!(f.ok("ReceiveMessage", json!({ "WaitTimeSeconds": 1 })).await, json!({}));
    assert_eq!(f.rows().await, 0);
}

#[tokio::test]
async fn queues_that_nobody_polls_are_swept() {
    let f = Fixture::new();
    f.ok("CreateQueue", json!({ "Attributes": { "MessageRetentionPeriod": "60" } })).await;
    f.ok("SendMessage", json!({ "MessageBody": "x" })).await;
    f.pass(61);
    super::moves::sweep(&f.state).await.unwrap();
    assert_eq!(f.rows().await, 0);
}

#[tokio::test]
async fn an_empty_poll_writes_nothing() {
    let f = Fixture::new();
    f.ok("CreateQueue", json!({})).await;
    f.ok("SendMessage", json!({ "MessageBody": "x", "DelaySeconds": 900 })).await;
    let before = f.version().await;
    for _ in 0..5 {
        assert_eq!(f.ok("ReceiveMessage", json!({})).await, json!({}));
    }
    assert_eq!(f.version().await, before);
    f.pass(900);
    assert_eq!(f.ok("ReceiveMessage", json!({})).await["Messages"][0]["Body"], "x");
    assert_ne!(f.version().await, before);
}

#[tokio::test]
async fn twelve_hours_count_from_the_first_receive() {
    let f = Fixture::new();
    f.ok("CreateQueue", json!({})).await;
    f.ok("SendMessage", json!({ "MessageBody": "x" })).await;
    let got = f.ok("ReceiveMessage", json!({ "VisibilityTimeout": 43_200 })).await;
    let change =
        |seconds: i64| json!({ "ReceiptHandle": got["Messages"][0]["ReceiptHandle"], "VisibilityTimeout": seconds });
    f.pass(43_100);
    f.ok("ChangeMessageVisibility", change(100)).await;
    let (status, error) = f.call("ChangeMessageVisibility", change(101)).await;
    assert_eq!(status, 400);
    assert!(error["message"].as_str().unwrap().contains("beyond the limit [43200 seconds]"), "{error}");
    f.ok("ChangeMessageVisibility", change(0)).await;
    let (_, error) = f.call("ChangeMessageVisibility", change(10)).await;
    assert_eq!(error["__type"], "com.amazonaws.sqs#MessageNotInflight");
}

#[tokio::test]
async fn one_receive_hands_a_message_out_once() {
    let f = Fixture::new();
    f.ok("CreateQueue", json!({})).await;
    for n in 0..3 {
        f.ok("SendMessage", json!({ "MessageBody": n.to_string() })).await;
    }
    let got = f.ok("ReceiveMessage", json!({ "MaxNumberOfMessages": 10, "VisibilityTimeout": 0 })).await;
    let bodies: Vec<_> = got["Messages"].as_array().unwrap().iter().map(|m| m["Body"].clone()).collect();
    assert_eq!(bodies, ["0", "1", "2"]);
}

#[tokio::test]
async fn a_shutdown_ends_long_polls() {
    let f = Fixture::new();
    f.ok("CreateQueue", json!({})).await;
    let (poll, ()) = tokio::join!(f.ok("ReceiveMessage", json!({ "WaitTimeSeconds": 20 })), async {
        f.state.shutdown.cancel();
    });
    assert_eq!(poll, json!({}));
}
