//! What all handlers of the endpoint share. Time and ids come from here alone, so that a test can set both.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{db::Db, faults::Faults};

/// The answer type of every handler.
pub type Response = http::Response<axum::body::Body>;

/// State of the endpoint, shared as `Arc<Endpoint>`.
pub struct Endpoint {
    /// Objects, queues and topics: one file, one commit.
    pub db: Db,
    /// Wall clock.
    pub clock: Clock,
    /// Source of random ids.
    pub ids: Ids,
    /// Region that ARNs carry.
    pub region: String,
    /// Account that ARNs and queue URLs carry, 12 digits.
    pub account_id: String,
    /// Base of queue URLs, without a slash at its end, for instance `http://127.0.0.1:4566`.
    pub base_url: String,
    /// Wakes long polls; writes do so through [`crate::db::Tx::wake`].
    pub wakes: Arc<QueueWakes>,
    /// Cancelled when the endpoint shuts down: long polls answer at once with what they have.
    pub shutdown: CancellationToken,
    /// What goes wrong on purpose.
    pub(crate) faults: Faults,
}

impl Endpoint {
    /// Now, in milliseconds since the epoch.
    pub fn now(&self) -> i64 {
        self.clock.now()
    }

    /// ARN of a queue of this endpoint.
    pub fn queue_arn(&self, name: &str) -> String {
        format!("arn:aws:sqs:{}:{}:{name}", self.region, self.account_id)
    }

    /// ARN of a topic of this endpoint.
    pub fn topic_arn(&self, name: &str) -> String {
        format!("arn:aws:sns:{}:{}:{name}", self.region, self.account_id)
    }

    /// URL of a queue of this endpoint.
    pub fn queue_url(&self, name: &str) -> String {
        format!("{}/{}/{name}", self.base_url, self.account_id)
    }
}

/// Wall clock in epoch milliseconds.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    /// The machine's clock.
    #[expect(clippy::disallowed_methods, reason = "the one place where the endpoint reads the wall clock")]
    pub fn system() -> Self {
        Self::from_fn(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
    }

    /// A clock of the caller's, for tests.
    pub fn from_fn(now: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Now, in milliseconds since the epoch.
    pub fn now(&self) -> i64 {
        (self.0)()
    }
}

/// Source of random ids.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ids;

#[expect(clippy::disallowed_methods, reason = "the one place where the endpoint makes random ids")]
impl Ids {
    /// A UUID in its hyphenated form, as message ids are.
    pub fn uuid(self) -> String {
        Uuid::new_v4().to_string()
    }

    /// 32 hexadecimal digits, 122 bits of them random.
    pub fn hex(self) -> String {
        Uuid::new_v4().simple().to_string()
    }
}

/// A queue, by ARN, whose long polls should look again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wake(pub String);

/// One signal per queue, keyed by queue ARN.
///
/// A poller must arm its `Notified` (by `enable`) before it looks at the database; then no message slips between
/// the look and the wait.
#[derive(Default)]
pub struct QueueWakes(Mutex<HashMap<String, Arc<Notify>>>);

impl QueueWakes {
    /// The signal of a queue, made if there is none.
    pub fn of(&self, queue_arn: &str) -> Arc<Notify> {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(notify) = map.get(queue_arn) {
            return Arc::clone(notify);
        }
        // Signals that nobody waits on go, so that the map never outgrows the queues that are polled.
        map.retain(|_, notify| Arc::strong_count(notify) > 1);
        Arc::clone(map.entry(queue_arn.to_owned()).or_default())
    }

    /// Wakes every poller of the queue.
    pub fn wake(&self, wake: &Wake) {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(notify) = map.get(&wake.0) {
            notify.notify_waiters();
        }
    }
}
