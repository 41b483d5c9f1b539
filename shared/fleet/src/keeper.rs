//! The lease keeper: one task per message, which holds it while the holding is earned.
//!
//! Guarantees:
//! - the message is extended by the full visibility, at a third of it; the deadline is measured from the start of the
//!   request that extended it, so it is never later than the queue's own;
//! - it is extended only while beats come within the stall timeout, never past start-to-close, and never beyond twelve
//!   hours from the first receive (SQS refuses more: "Total VisibilityTimeout for the message is beyond the limit");
//! - the handler is cancelled before the deadline, by a margin, when extensions fail;
//! - after [`Keeper::stop`] (but for a second signal) no request of the keeper is under way, so none can overwrite an answer.

use std::sync::Arc;
use std::time::Duration;

use reelfleet_telemetry::VisibilityExtended;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, millis};
use crate::heart::{Attached, Heart, LeaseState, LostCause, saturating_add};
use crate::queue::{Queue, QueueError};

/// A message is in flight for at most 12 h from its first receive (SQS, "Amazon SQS visibility timeout").
pub(crate) const RECEIVE_CAP: Duration = Duration::from_secs(12 * 3600);
/// Distance kept from that cap: clocks of two hosts are compared.
pub(crate) const CAP_MARGIN: Duration = Duration::from_secs(60);

/// What the keeper needs to know about the message it holds.
pub(crate) struct Held {
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) queue_name: String,
    pub(crate) message_id: String,
    pub(crate) receipt: String,
    pub(crate) visibility: Duration,
    /// Start of the receive request.
    pub(crate) received_at: Instant,
    /// Epoch milliseconds after which the queue refuses to extend.
    pub(crate) cap_ms: i64,
    pub(crate) clock: Clock,
    pub(crate) heart: Heart,
}

/// When the twelve hours end, in epoch milliseconds. A message first received so long ago that nothing would be left
/// is counted from this receive: the queue handed it out, so its answer to an extension decides.
pub(crate) fn receive_cap_ms(first_received_ms: i64, now_ms: i64) -> i64 {
    let cap = millis(RECEIVE_CAP);
    let from_first = first_received_ms.saturating_add(cap);
    if first_received_ms > 0 && from_first.saturating_sub(2 * millis(CAP_MARGIN)) > now_ms {
        from_first
    } else {
        now_ms.saturating_add(cap)
    }
}

/// A running keeper.
pub(crate) struct Keeper {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Keeper {
    pub(crate) fn start(held: Held) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        Self { stop, task: tokio::spawn(async move { held.keep(stopped).await }) }
    }

    /// Stops the keeper and waits until its last request has ended; `hurry` cuts the wait short.
    pub(crate) async fn stop(mut self, hurry: impl Future<Output = ()>) {
        self.stop.cancel();
        let ended = tokio::select! {
            biased;
            ended = &mut self.task => ended,
            () = hurry => {
                self.task.abort();
                return;
            }
        };
        if let Err(error) = ended {
            tracing::error!(%error, "the lease keeper failed");
        }
    }
}

impl Held {
    async fn keep(self, stop: CancellationToken) {
        let lost = self.heart.lost();
        let mut deadline = saturating_add(self.received_at, self.visibility);
        let mut tick = saturating_add(self.received_at, self.visibility / 3);
        loop {
            let give_up = self.give_up_at(deadline);
            let wake = tick.min(give_up).min(self.heart.stalls_at()).min(self.heart.closes_at());
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = lost.cancelled() => return,
                () = self.heart.changed() => continue,
                () = tokio::time::sleep_until(wake) => {}
            }
            if let Some(cause) = self.verdict(Instant::now(), deadline) {
                self.heart.lose(cause);
                return;
            }
            if Instant::now() < tick {
                continue;
            }
            match self.extend(deadline).await {
                Ok(Extended::All { began, until }) => {
                    deadline = until;
                    tick = saturating_add(began, self.visibility / 3);
                }
                // Try again soon; the deadline of what was not extended stands.
                Ok(Extended::Part(until)) => {
                    deadline = until.unwrap_or(deadline);
                    tick = saturating_add(Instant::now(), self.visibility / 9);
                }
                Err(cause) => {
                    self.heart.lose(cause);
                    return;
                }
            }
        }
    }

    /// The moment to cancel the handler when nothing was extended: a margin before the earlier of both deadlines.
    fn give_up_at(&self, deadline: Instant) -> Instant {
        let earliest = match self.heart.attached() {
            Some(attached) => deadline.min(attached.deadline),
            None => deadline,
        };
        earliest.checked_sub(self.visibility / 9).unwrap_or(earliest)
    }

    fn verdict(&self, now: Instant, deadline: Instant) -> Option<LostCause> {
        if now >= self.heart.closes_at() {
            Some(LostCause::StartToClose)
        } else if now >= self.heart.stalls_at() {
            Some(LostCause::Stalled)
        } else if now >= self.give_up_at(deadline) {
            Some(match self.extension(self.clock.now_ms()) {
                Some(_) => LostCause::Expired,
                None => LostCause::ReceiveCap,
            })
        } else {
            None
        }
    }

    /// How far to extend: the full visibility, or what the twelve hours leave; `None` when that is too little to tick in.
    fn extension(&self, now_ms: i64) -> Option<Duration> {
        let left_ms = self.cap_ms.saturating_sub(now_ms).saturating_sub(millis(CAP_MARGIN));
        let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
        // SQS counts whole seconds.
        let extension = Duration::from_secs(self.visibility.min(left).as_secs());
        (extension > self.visibility / 3).then_some(extension)
    }

    async fn extend(&self, deadline: Instant) -> Result<Extended, LostCause> {
        let began = Instant::now();
        let now_ms = self.clock.now_ms();
        let Some(extension) = self.extension(now_ms) else {
            return Err(LostCause::ReceiveCap);
        };
        let until = saturating_add(began, extension);
        // A request must end before the handler has to be cancelled.
        let patience = (self.visibility / 6).min(self.give_up_at(deadline).saturating_duration_since(began));
        let attached = self.heart.attached();
        let (message, lease) = tokio::join!(
            tokio::time::timeout(patience, self.queue.change_visibility(&self.receipt, extension)),
            self.extend_lease(attached, now_ms.saturating_add(millis(extension)), until, patience),
        );
        lease.map_or(Ok(()), |state| match state {
            LeaseState::Lost => Err(LostCause::Fenced),
            LeaseState::Held | LeaseState::Unknown => Ok(()),
        })?;
        match message {
            Ok(Ok(())) => {
                VisibilityExtended {
                    queue: &self.queue_name,
                    message_id: &self.message_id,
                    seconds: extension.as_secs(),
                }
                .emit();
                Ok(if lease == Some(LeaseState::Unknown) {
                    Extended::Part(Some(until))
                } else {
                    Extended::All { began, until }
                })
            }
            Ok(Err(QueueError::NotInFlight(_))) => Err(LostCause::Refused),
            Ok(Err(error)) => {
                tracing::warn!(queue = self.queue_name, message = self.message_id, %error, "visibility not extended");
                Ok(Extended::Part(None))
            }
            Err(_elapsed) => {
                tracing::warn!(
                    queue = self.queue_name,
                    message = self.message_id,
                    "visibility not extended: no answer in time"
                );
                Ok(Extended::Part(None))
            }
        }
    }

    /// Extends the attached lease; `None` when there is none, or when it was detached meanwhile.
    async fn extend_lease(
        &self,
        attached: Option<Attached>,
        until_ms: i64,
        until: Instant,
        patience: Duration,
    ) -> Option<LeaseState> {
        let Attached { lease, .. } = attached?;
        let state = tokio::time::timeout(patience, lease.extend(until_ms)).await.unwrap_or(LeaseState::Unknown);
        if state == LeaseState::Held {
            self.heart.held_until(&lease, until);
        }
        self.heart.is_attached(&lease).then_some(state)
    }
}

enum Extended {
    /// Message and lease, by a request that began then, until that moment.
    All { began: Instant, until: Instant },
    /// Not all of it; the message until this moment, if it was extended.
    Part(Option<Instant>),
}
