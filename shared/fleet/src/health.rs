//! The health of a process over HTTP: `/livez`, `/readyz`, `/healthz`, `/metrics`.
//!
//! Guarantees:
//! - `/livez` is 200 while every registered loop has beaten within 30 s: a process that hangs is restarted;
//! - `/readyz` is 200 once a role has begun, while every registered flag is up and the process does not drain: nothing is
//!   routed to it otherwise;
//! - `/healthz` is `/livez` with all details, for a load balancer and for people;
//! - no answer holds a secret or an id.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use reelfleet_telemetry::Metrics;
use tokio::time::Instant;

use crate::shutdown::Shutdown;

/// A loop that has not beaten for so long is taken for stuck.
const STUCK: Duration = Duration::from_secs(30);

/// The health of this process. Cheap to clone; clones share what is registered.
#[derive(Clone, Debug)]
pub struct Health {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    service: String,
    started: Instant,
    shutdown: Shutdown,
    metrics: Option<Metrics>,
    beats: Mutex<Vec<(String, Beat)>>,
    flags: Mutex<Vec<(String, Flag)>>,
}

/// A loop's sign of life. A loop that has ended says so by dropping out: see [`Beat::end`].
#[derive(Clone, Debug)]
pub struct Beat {
    started: Instant,
    /// Milliseconds from `started` to the last tick; `u64::MAX` when the loop has ended by itself.
    last: Arc<AtomicU64>,
}

impl Beat {
    /// The loop has come round.
    pub fn tick(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.last.store(elapsed, Ordering::SeqCst);
    }

    /// The loop has ended as it should and is no longer watched.
    pub fn end(&self) {
        self.last.store(u64::MAX, Ordering::SeqCst);
    }

    fn age(&self) -> Option<Duration> {
        match self.last.load(Ordering::SeqCst) {
            u64::MAX => None,
            last => Some(self.started.elapsed().saturating_sub(Duration::from_millis(last))),
        }
    }
}

/// Something that must be so before work is routed here.
#[derive(Clone, Debug)]
pub struct Flag(Arc<AtomicBool>);

impl Flag {
    /// Raises or lowers the flag.
    pub fn set(&self, up: bool) {
        self.0.store(up, Ordering::SeqCst);
    }

    fn is_up(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Health {
    /// Health of `service`; without `metrics` there is no `/metrics`.
    pub fn new(service: impl Into<String>, shutdown: Shutdown, metrics: Option<Metrics>) -> Self {
        Self {
            inner: Arc::new(Inner {
                service: service.into(),
                started: Instant::now(),
                shutdown,
                metrics,
                beats: Mutex::default(),
                flags: Mutex::default(),
            }),
        }
    }

    /// Registers a loop, which must tick within 30 s from now and from each tick.
    pub fn beat(&self, name: &str) -> Beat {
        let beat = Beat { started: self.inner.started, last: Arc::default() };
        beat.tick();
        lock(&self.inner.beats).push((name.to_owned(), beat.clone()));
        beat
    }

    /// Registers a flag, lowered at first.
    pub fn flag(&self, name: &str) -> Flag {
        let flag = Flag(Arc::default());
        lock(&self.inner.flags).push((name.to_owned(), flag.clone()));
        flag
    }

    /// Names of loops that are stuck.
    pub fn stuck(&self) -> Vec<String> {
        lock(&self.inner.beats)
            .iter()
            .filter(|(_, beat)| beat.age().is_some_and(|age| age > STUCK))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Why nothing should be routed here: the flags that are down, and "draining".
    pub fn not_ready(&self) -> Vec<String> {
        let mut names: Vec<String> =
            lock(&self.inner.flags).iter().filter(|(_, flag)| !flag.is_up()).map(|(name, _)| name.clone()).collect();
        // A role registers what it has when it begins; until then nothing is known of it.
        if lock(&self.inner.flags).is_empty() && lock(&self.inner.beats).is_empty() {
            names.push("starting".to_owned());
        }
        if self.inner.shutdown.is_draining() {
            names.push("draining".to_owned());
        }
        names
    }

    /// The routes, to be merged into a server that has others.
    pub fn router(&self) -> Router {
        let router =
            Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).route("/healthz", get(healthz));
        let router = if self.inner.metrics.is_some() { router.route("/metrics", get(metrics)) } else { router };
        router.with_state(self.clone())
    }

    /// Serves the routes on `address` until the process has drained and `until` completes.
    pub async fn serve(
        &self,
        address: SocketAddr,
        until: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let listener = tokio::net::TcpListener::bind(address).await?;
        tracing::info!(address = %listener.local_addr()?, "health listens");
        axum::serve(listener, self.router()).with_graceful_shutdown(until).await
    }
}

async fn livez(State(health): State<Health>) -> Response {
    verdict(&health.stuck())
}

async fn readyz(State(health): State<Health>) -> Response {
    verdict(&health.not_ready())
}

async fn healthz(State(health): State<Health>) -> Response {
    let (stuck, not_ready) = (health.stuck(), health.not_ready());
    let status = if stuck.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({
        "service": health.inner.service,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": health.inner.started.elapsed().as_secs(),
        "stuck": stuck,
        "not_ready": not_ready,
    });
    (status, Json(body)).into_response()
}

async fn metrics(State(health): State<Health>) -> Response {
    match &health.inner.metrics {
        Some(metrics) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render()).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn verdict(complaints: &[String]) -> Response {
    if complaints.is_empty() {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", complaints.join("\n"))).into_response()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_loop_is_stuck_and_a_drain_is_not_ready() {
        let shutdown = Shutdown::new(Duration::from_secs(1));
        let health = Health::new("test", shutdown.clone(), None);
        assert_eq!(health.not_ready(), ["starting"]);
        let beat = health.beat("poll");
        let flag = health.flag("queue");
        assert_eq!(health.not_ready(), ["queue"]);
        flag.set(true);
        assert!(health.not_ready().is_empty());
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(health.stuck(), ["poll"]);
        assert_eq!(livez(State(health.clone())).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        beat.tick();
        assert_eq!(healthz(State(health.clone())).await.status(), StatusCode::OK);
        beat.end();
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(health.stuck().is_empty());
        shutdown.begin();
        assert_eq!(health.not_ready(), ["draining"]);
        assert_eq!(readyz(State(health)).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
