//! What leaves the fleet: events, pushes, webhooks, HTTP answers.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// Rows of the outbox were sent. `lane` is task, letter, event or mail; `path` is own (right after the commit) or leftover.
#[derive(Debug)]
pub struct OutboxRelayed {
    pub lane: &'static str,
    pub path: &'static str,
    pub count: u64,
    /// Age of the oldest row when it was sent.
    pub lag_seconds: f64,
}

impl OutboxRelayed {
    pub fn emit(&self) {
        counter!("reelfleet_outbox_relayed_total", "lane" => self.lane, "path" => self.path).increment(self.count);
        histogram!("reelfleet_outbox_lag_seconds", "lane" => self.lane, "path" => self.path).record(self.lag_seconds);
        tracing::debug!(
            lane = self.lane,
            path = self.path,
            count = self.count,
            lag_seconds = self.lag_seconds,
            "outbox relayed"
        );
    }
}

/// An event was published. `event` is its type, such as `asset.playable.v1`.
#[derive(Debug)]
pub struct EventPublished<'a> {
    pub event: &'static str,
    pub id: &'a str,
    pub subject: &'a str,
}

impl EventPublished<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_events_published_total", "event" => self.event).increment(1);
        tracing::debug!(event = self.event, id = self.id, subject = self.subject, "event published");
    }
}

/// A duplicate did no harm: the effect was there already. `place` is intake, task, event, webhook or publish.
#[derive(Debug)]
pub struct DuplicateSuppressed<'a> {
    pub place: &'static str,
    pub what: &'a str,
}

impl DuplicateSuppressed<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_duplicate_effects_suppressed_total", "place" => self.place).increment(1);
        tracing::debug!(place = self.place, what = self.what, "duplicate suppressed");
    }
}

/// How many clients listen. `transport` is websocket or sse.
#[derive(Debug)]
pub struct RealtimeClients {
    pub transport: &'static str,
    pub connected: usize,
}

impl RealtimeClients {
    pub fn emit(&self) {
        gauge!("reelfleet_realtime_clients", "transport" => self.transport).set(self.connected as f64);
        tracing::trace!(transport = self.transport, connected = self.connected, "realtime clients");
    }
}

/// Events were pushed to a client. `source` is live, replay or snapshot.
#[derive(Debug)]
pub struct EventPushed {
    pub transport: &'static str,
    pub source: &'static str,
    pub count: u64,
}

impl EventPushed {
    pub fn emit(&self) {
        counter!("reelfleet_events_pushed_total", "transport" => self.transport, "source" => self.source)
            .increment(self.count);
        tracing::trace!(transport = self.transport, source = self.source, count = self.count, "events pushed");
    }
}

/// A webhook was tried. `outcome` is delivered, retry, disabled or refused.
#[derive(Debug)]
pub struct WebhookAttempted<'a> {
    pub outcome: &'static str,
    pub endpoint: &'a str,
    pub status: Option<u16>,
    pub seconds: f64,
}

impl WebhookAttempted<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_webhook_attempts_total", "outcome" => self.outcome).increment(1);
        histogram!("reelfleet_webhook_duration_seconds", "outcome" => self.outcome).record(self.seconds);
        tracing::debug!(
            outcome = self.outcome,
            endpoint = self.endpoint,
            status = self.status,
            seconds = self.seconds,
            "webhook attempted"
        );
    }
}

/// An HTTP request was answered. `route` is the route's pattern, never the path.
#[derive(Debug)]
pub struct HttpServed<'a> {
    pub route: &'a str,
    pub method: &'a str,
    pub status: u16,
    pub seconds: f64,
}

impl HttpServed<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_http_requests_total", "route" => self.route.to_owned(), "method" => self.method.to_owned(), "status" => self.status.to_string())
            .increment(1);
        histogram!("reelfleet_http_duration_seconds", "route" => self.route.to_owned()).record(self.seconds);
        tracing::debug!(
            route = self.route,
            method = self.method,
            status = self.status,
            seconds = self.seconds,
            "request answered"
        );
    }
}

/// What a queue holds, as its attributes say.
#[derive(Debug)]
pub struct QueueDepth<'a> {
    pub queue: &'a str,
    pub visible: u64,
    pub in_flight: u64,
    pub delayed: u64,
}

impl QueueDepth<'_> {
    pub fn emit(&self) {
        gauge!("reelfleet_queue_messages_visible", "queue" => self.queue.to_owned()).set(self.visible as f64);
        gauge!("reelfleet_queue_messages_in_flight", "queue" => self.queue.to_owned()).set(self.in_flight as f64);
        gauge!("reelfleet_queue_messages_delayed", "queue" => self.queue.to_owned()).set(self.delayed as f64);
        tracing::trace!(
            queue = self.queue,
            visible = self.visible,
            in_flight = self.in_flight,
            delayed = self.delayed,
            "queue depth"
        );
    }
}

/// Whether an operator has paused a queue.
#[derive(Debug)]
pub struct QueuePaused<'a> {
    pub queue: &'a str,
    pub paused: bool,
}

impl QueuePaused<'_> {
    pub fn emit(&self) {
        let value = if self.paused { 1.0 } else { 0.0 };
        gauge!("reelfleet_queue_paused", "queue" => self.queue.to_owned()).set(value);
        tracing::trace!(queue = self.queue, paused = self.paused, "queue pause");
    }
}

/// The work of a queue that waits, as rows say it, or, where messages have none, its depths.
#[derive(Debug)]
pub struct QueueWork<'a> {
    pub queue: &'a str,
    /// Of the oldest task or message that waits; 0 where none does.
    pub oldest_seconds: f64,
    /// Estimated, of all that wait.
    pub work_seconds: f64,
}

impl QueueWork<'_> {
    pub fn emit(&self) {
        gauge!("reelfleet_queue_oldest_task_age_seconds", "queue" => self.queue.to_owned()).set(self.oldest_seconds);
        gauge!("reelfleet_queue_work_seconds", "queue" => self.queue.to_owned()).set(self.work_seconds);
        tracing::trace!(queue = self.queue, oldest = self.oldest_seconds, work = self.work_seconds, "queue work");
    }
}

pub(super) fn describe() {
    describe_counter!("reelfleet_outbox_relayed_total", "Rows of the outbox sent, by lane and path.");
    describe_histogram!("reelfleet_outbox_lag_seconds", "Age of the oldest outbox row when it was sent.");
    describe_counter!("reelfleet_events_published_total", "Events published, by type.");
    describe_counter!(
        "reelfleet_duplicate_effects_suppressed_total",
        "Duplicates whose effect was there already, by place."
    );
    describe_gauge!("reelfleet_realtime_clients", "Clients connected, by transport.");
    describe_counter!("reelfleet_events_pushed_total", "Events pushed to clients, by transport and source.");
    describe_counter!("reelfleet_webhook_attempts_total", "Webhook attempts, by outcome.");
    describe_histogram!("reelfleet_webhook_duration_seconds", "Duration of a webhook attempt.");
    describe_counter!("reelfleet_http_requests_total", "HTTP requests answered, by route, method and status.");
    describe_histogram!("reelfleet_http_duration_seconds", "Duration of an HTTP request, by route.");
    describe_gauge!(
        "reelfleet_queue_oldest_task_age_seconds",
        "Time for which the oldest task of a queue has waited; without tasks: what lies in it."
    );
    describe_gauge!("reelfleet_queue_paused", "1 while an operator has paused a queue.");
    describe_gauge!("reelfleet_queue_work_seconds", "Estimated seconds of work of the tasks that wait.");
    describe_gauge!("reelfleet_queue_messages_visible", "Messages waiting in a queue.");
    describe_gauge!("reelfleet_queue_messages_in_flight", "Messages received and not yet answered.");
    describe_gauge!("reelfleet_queue_messages_delayed", "Messages of a queue that are delayed.");
}
