//! The lease keeper: one task per message, which holds it while the holding is earned.
//!
//! Guarantees:
//! - the message is extended by the full visibility, at a third of it; the deadline is measured from the start of the
//!   request that extended it, so it is never later than the queue's own;
//! - it is extended only while beats come within the stall timeout, never past start-to-close, and never beyond twelve
//!   hours from the first receive (SQS refuses more: "Total VisibilityTimeout for the message is beyond the limit");
//! - all of that is measured by the monotonic clock: a wall clock that jumps changes nothing;
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
const RECEIVE_CAP: Duration = Duration::from_secs(12 * 3600);
/// Distance kept from that cap: clocks of two hosts are compared.
const CAP_MARGIN: Duration = Duration::from_secs(60);

/// What the keeper needs to know about the message it holds.
pub(crate) struct Held {
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) queue_name: String,
    pub(crate) message_id: String,
    pub(crate) receipt: String,
    pub(crate) visibility: Duration,
    /// Start of the receive request.
    pub(crate) received_at: Instant,
    /// When the queue begins to refuse to extend.
    pub(crate) cap: Instant,
    pub(crate) clock: Clock,
    pub(crate) heart: Heart,
}

/// When the twelve hours end. The wall clock is asked once, for the age of the first receive; a message first received
/// so long ago that nothing would be left (or in the future: clocks differ) is counted from this receive, since the queue
/// handed it out: its answer to an extension decides.
pub(crate) fn receive_cap(first_received_ms: i64, now_ms: i64, received_at: Instant) -> Instant {
    let age = u64::try_from(now_ms.saturating_sub(first_received_ms)).map_or(Duration::ZERO, Duration::from_millis);
    let known = first_received_ms > 0 && age.saturating_add(2 * CAP_MARGIN) < RECEIVE_CAP;
    saturating_add(received_at, RECEIVE_CAP.saturating_sub(if known { age } else { Duration::ZERO }))
}

/// What the twelve hours leave for an extension or a delay.
pub(crate) fn left_of(cap: Instant) -> Duration {
    cap.saturating_duration_since(Instant::now()).saturating_sub(CAP_MARGIN)
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
            Some(match self.extension() {
                Some(_) => LostCause::Expired,
                None => LostCause::ReceiveCap,
            })
        } else {
            None
        }
    }

    /// How far to extend: the full visibility, or what the twelve hours leave; `None` when that is too little to tick in.
    fn extension(&self) -> Option<Duration> {
        // SQS counts whole seconds.
        let extension = Duration::from_secs(self.visibility.min(left_of(self.cap)).as_secs());
        (extension > self.visibility / 3).then_some(extension)
    }

    async fn extend(&self, deadline: Instant) -> Result<Extended, LostCause> {
        let began = Instant::now();
        let Some(extension) = self.extension() else {
            return Err(LostCause::ReceiveCap);
        };
        let until = saturating_add(began, extension);
        // A request must end before the handler has to be cancelled.
        let patience = (self.visibility / 6).min(self.give_up_at(deadline).saturating_duration_since(began));
        let attached = self.heart.attached();
        let (message, lease) = tokio::join!(
            tokio::time::timeout(patience, self.queue.change_visibility(&self.receipt, extension)),
            self.extend_lease(attached, self.clock.now_ms().saturating_add(millis(extension)), until, patience),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn twelve_hours_count_from_the_first_receive_and_nothing_overflows() {
        const NOW: i64 = 1_700_000_000_000;
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let at = Instant::now();
        let left = |first| receive_cap(first, NOW, at).duration_since(at);
        assert_eq!(left(NOW), hours(12));
        assert_eq!(left(NOW - millis(hours(11))), hours(1));
        // Nothing would be left, nothing is known, or the clocks differ: the queue decides.
        for unknown in
            [NOW - millis(hours(12)), NOW - millis(hours(48)), NOW + millis(hours(1)), 0, -5, i64::MIN, i64::MAX]
        {
            assert_eq!(left(unknown), hours(12), "{unknown}");
        }
        assert_eq!(receive_cap(i64::MIN, i64::MAX, at), at + hours(12));
        assert_eq!(left_of(at + hours(1)), hours(1) - CAP_MARGIN);
        assert_eq!(left_of(at), Duration::ZERO);
    }
}
