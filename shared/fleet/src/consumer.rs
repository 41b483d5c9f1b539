//! The at-least-once consumer of one queue.
//!
//! Guarantees:
//! - a slot is taken first, then exactly as many messages are received as there are free slots: nothing waits in this
//!   process while its visibility runs out;
//! - each message has a tokio task and a keeper of its own; a panic or an error of one never touches another;
//! - the keeper has stopped, and its last request has ended, before the message is deleted, given back or dead-lettered;
//! - a message whose lease was lost is not answered at all;
//! - while its queue is paused nothing new is taken, and what is at work goes on;
//! - at a shutdown, parked receives end within a second, handlers finish within the grace with their heartbeat on, and
//!   what remains is given back with visibility 0, never deleted; all has ended when the grace has, but for last calls
//!   that are not answered, which get a second each.
//!
//! What it does not promise: that a message is delivered once. Handlers are idempotent by compare-and-set.

mod message;
#[cfg(test)]
mod proofs;

use std::sync::Arc;
use std::time::Duration;

use backon::BackoffBuilder;
use reelfleet_telemetry::PollFailed;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::health::{Beat, Flag, Health};
use crate::heart::Heart;
use crate::outcome::{Outcome, full_jitter};
use crate::pause::Gate;
use crate::protection::ScaleInProtection;
use crate::queue::{BoxFuture, Delivery, Queue, QueueError};
use crate::shutdown::Shutdown;

/// One ReceiveMessage hands out at most ten messages.
const MAX_RECEIVE: usize = 10;
/// How long a parked receive may still bring something after draining began.
const PARKED_RECEIVE: Duration = Duration::from_secs(1);
/// The loop shows that it is alive at least this often while it waits for a slot.
const BEAT: Duration = Duration::from_secs(5);
/// Ceilings of the back-off after a failed receive.
const POLL_BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Works on one message at a time; called from many tasks at once.
pub trait Handler: Send + Sync + 'static {
    /// Does the work and answers. Dropped where it stands when it ignores [`Heart::interrupted`] for three seconds.
    fn handle(&self, delivery: Delivery, heart: Heart) -> BoxFuture<'_, Outcome>;

    /// Whether it begins the spans of its messages itself, since no message says what trace it belongs to.
    fn begins_spans(&self) -> bool {
        false
    }
}

/// How a consumer takes and holds messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Messages at work at once, at least 1.
    pub slots: usize,
    /// Visibility asked for on each receive and extension, whole seconds, 60–120 s in production.
    pub visibility: Duration,
    /// Long poll, up to 20 s; cut to a third of the visibility, since its time counts against the lease.
    pub wait: Duration,
    /// Limits until the handler sets those of its task kind by [`Heart::set_limits`].
    pub stall: Duration,
    /// As `stall`, for the whole attempt.
    pub start_to_close: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            slots: 1,
            visibility: Duration::from_secs(90),
            wait: Duration::from_secs(20),
            stall: Duration::from_secs(60),
            start_to_close: Duration::from_secs(15 * 60),
        }
    }
}

/// A consumer of one queue. Clones share their slots.
#[derive(Clone)]
pub struct Consumer {
    name: Arc<str>,
    queue: Arc<dyn Queue>,
    settings: Settings,
    clock: Clock,
    shutdown: Shutdown,
    slots: Arc<Semaphore>,
    running: TaskTracker,
    beat: Beat,
    reachable: Flag,
    protection: Option<ScaleInProtection>,
    gate: Gate,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("queue", &self.name).field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Consumer {
    /// A consumer of `queue`, called `name` in logs, metrics and dead letters.
    pub fn new(
        name: impl Into<Arc<str>>,
        queue: Arc<dyn Queue>,
        mut settings: Settings,
        clock: Clock,
        shutdown: Shutdown,
        health: &Health,
    ) -> Self {
        let name = name.into();
        settings.slots = settings.slots.max(1);
        settings.wait = settings.wait.min(Duration::from_secs(20)).min(settings.visibility / 3);
        Self {
            beat: health.beat(&format!("{name} poll loop")),
            reachable: health.flag(&format!("{name} queue reachable")),
            slots: Arc::new(Semaphore::new(settings.slots)),
            running: TaskTracker::new(),
            name,
            queue,
            settings,
            clock,
            shutdown,
            protection: None,
            gate: Gate::open(),
        }
    }

    /// Takes nothing while the gate is closed.
    #[must_use]
    pub fn with_gate(mut self, gate: Gate) -> Self {
        self.gate = gate;
        self
    }

    /// Protects this ECS task while a message is at work.
    #[must_use]
    pub fn with_protection(mut self, protection: Option<ScaleInProtection>) -> Self {
        self.protection = protection;
        self
    }

    /// The queue's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Receives and handles until the shutdown; returns when the last message is answered.
    pub async fn run(self, handler: Arc<dyn Handler>) {
        let draining = self.shutdown.draining().clone();
        let mut ceilings = poll_ceilings();
        // The first receive, and the first after a failure, does not wait: it shows at once whether the queue is there.
        let mut wait = Duration::ZERO;
        while let Some(mut permits) = self.free_slots().await {
            self.beat.tick();
            if self.gate.is_closed() {
                drop(permits);
                self.opened().await;
                wait = Duration::ZERO;
                continue;
            }
            let asked_at = Instant::now();
            let Some(answer) = self.receive(permits.len(), wait).await else {
                break;
            };
            match answer {
                Ok(deliveries) => {
                    self.reachable.set(true);
                    ceilings = poll_ceilings();
                    wait = self.settings.wait;
                    for delivery in deliveries {
                        match permits.pop() {
                            Some(permit) if !draining.is_cancelled() && !self.gate.is_closed() => {
                                self.running.spawn(self.clone().serve(
                                    Arc::clone(&handler),
                                    delivery,
                                    asked_at,
                                    permit,
                                ));
                            }
                            // Not begun: straight back to the others.
                            _ => self.give_back(&delivery, Duration::ZERO).await,
                        }
                    }
                }
                Err(error) => {
                    drop(permits);
                    self.reachable.set(false);
                    wait = Duration::ZERO;
                    self.back_off(&error, ceilings.next()).await;
                }
            }
        }
        // From here on handlers have their own limits; the loop itself has ended as it should.
        self.beat.end();
        self.running.close();
        self.running.wait().await;
    }

    /// Waits for one free slot and takes up to ten that are free; `None` once draining.
    async fn free_slots(&self) -> Option<Vec<OwnedSemaphorePermit>> {
        let first = loop {
            tokio::select! {
                biased;
                () = self.shutdown.draining().cancelled() => return None,
                permit = Arc::clone(&self.slots).acquire_owned() => break permit.ok()?,
                () = tokio::time::sleep(BEAT) => self.beat.tick(),
            }
        };
        let mut permits = vec![first];
        while permits.len() < MAX_RECEIVE
            && let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned()
        {
            permits.push(permit);
        }
        Some(permits)
    }

    /// Waits until the queue is no longer paused, or the process drains.
    async fn opened(&self) {
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.draining().cancelled() => return,
                () = self.gate.opened() => return,
                () = tokio::time::sleep(BEAT) => self.beat.tick(),
            }
        }
    }

    /// One receive; when draining begins it may still bring something for a second, then it is dropped (`None`); at a
    /// pause the same, with an answer of nothing. A message that the queue hands to a dropped receive comes back after its
    /// visibility.
    async fn receive(&self, max: usize, wait: Duration) -> Option<Result<Vec<Delivery>, QueueError>> {
        let mut receiving = self.queue.receive(max, self.settings.visibility, wait);
        loop {
            tokio::select! {
                biased;
                answer = &mut receiving => return Some(answer),
                () = self.shutdown.draining().cancelled() => return timeout(PARKED_RECEIVE, receiving).await.ok(),
                () = self.gate.closed() => {
                    return Some(timeout(PARKED_RECEIVE, receiving).await.unwrap_or_else(|_elapsed| Ok(Vec::new())));
                }
                // A queue that is slow to answer is no reason to restart this process.
                () = tokio::time::sleep(BEAT) => self.beat.tick(),
            }
        }
    }

    async fn back_off(&self, error: &QueueError, ceiling: Option<Duration>) {
        let ceiling = ceiling.unwrap_or(POLL_BACKOFF.1);
        let delay = full_jitter(ceiling, ceiling, 0);
        PollFailed {
            queue: &self.name,
            cause: match error {
                QueueError::OverLimit => "over_limit",
                QueueError::NotInFlight(_) | QueueError::Call { .. } => "error",
            },
            detail: &error.to_string(),
            retry_in_seconds: delay.as_secs_f64(),
        }
        .emit();
        tokio::select! {
            () = self.shutdown.draining().cancelled() => {}
            () = tokio::time::sleep(delay) => self.beat.tick(),
        }
    }
}

fn poll_ceilings() -> impl Iterator<Item = Duration> {
    backon::ExponentialBuilder::new()
        .with_min_delay(POLL_BACKOFF.0)
        .with_max_delay(POLL_BACKOFF.1)
        .without_max_times()
        .build()
}
