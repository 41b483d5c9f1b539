//! One message from receive to answer.
//!
//! Guarantee: whatever the handler does (answers, panics, ignores its cancellation), the message ends in exactly one way:
//! answered after its keeper has stopped, or, when its lease was lost, not answered at all.

use std::sync::Arc;
use std::time::Duration;

use reelfleet_messages::Letter;
use reelfleet_telemetry::trace::Span;
use reelfleet_telemetry::{
    AckFailed, HandlerPanicked, LeaseLost, MessageFinished, MessageReceived, MessageRejected, SlotsBusy,
};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinError;
use tokio::time::{Instant, timeout};

use super::{Consumer, Handler};
use crate::heart::{Heart, WorkLimits};
use crate::keeper::{Held, Keeper, left_of, receive_cap};
use crate::outcome::Outcome;
use crate::protection::ScaleInProtection;
use crate::queue::{BoxFuture, Delivery, QueueError};
use crate::trace;

/// How long an interrupted handler may take to checkpoint before it is dropped.
pub(super) const CHECKPOINT: Duration = Duration::from_secs(3);
/// How long a handler's last step or an answer may take once the grace is over, or a second signal came.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Consumer {
    /// One message from receive to answer. Holds its slot until the queue has heard the answer.
    pub(super) async fn serve(
        self,
        handler: Arc<dyn Handler>,
        delivery: Delivery,
        asked_at: Instant,
        permit: OwnedSemaphorePermit,
    ) {
        let _working = self.protection.as_ref().map(ScaleInProtection::work);
        let now_ms = self.clock.now_ms();
        MessageReceived {
            queue: &self.name,
            message_id: &delivery.message_id,
            receive_count: delivery.receive_count,
            wait_seconds: (delivery.sent_ms > 0)
                .then(|| now_ms.saturating_sub(delivery.sent_ms).max(0) as f64 / 1000.0),
        }
        .emit();
        self.show_slots(0);
        let began = Instant::now();
        let cap = receive_cap(delivery.first_received_ms, now_ms, asked_at);
        let heart = Heart::new(
            self.settings.visibility,
            WorkLimits { stall: self.settings.stall, start_to_close: self.settings.start_to_close },
            self.shutdown.draining().clone(),
        );
        let keeper = Keeper::start(Held {
            queue: Arc::clone(&self.queue),
            queue_name: self.name.to_string(),
            message_id: delivery.message_id.clone(),
            receipt: delivery.receipt.clone(),
            visibility: self.settings.visibility,
            received_at: asked_at,
            cap,
            clock: self.clock.clone(),
            heart: heart.clone(),
        });
        let span = if handler.begins_spans() { Span::none() } else { trace::consumer(&self.name, &delivery) };
        let answer = self.work(handler, &delivery, &heart, &span).await;
        keeper.stop(self.hurry()).await;
        let (label, why) = if let Some(cause) = heart.lost_cause() {
            LeaseLost { queue: &self.name, message_id: &delivery.message_id, cause: cause.label() }.emit();
            ("lost", String::new())
        } else {
            let outcome = after_interrupt(answer, heart.interrupted().is_cancelled());
            self.answer(&delivery, &outcome, cap).await;
            (outcome.label(), outcome.why().to_owned())
        };
        span.set("reelfleet.outcome", label);
        if matches!(label, "lost" | "retry" | "reject") {
            span.fail(label);
        }
        MessageFinished {
            queue: &self.name,
            message_id: &delivery.message_id,
            outcome: label,
            seconds: began.elapsed().as_secs_f64(),
            why: &why,
        }
        .emit();
        self.show_slots(1);
        drop(permit);
    }

    /// Runs the handler on a task of its own; `None` when it had to be dropped.
    async fn work(
        &self,
        handler: Arc<dyn Handler>,
        delivery: &Delivery,
        heart: &Heart,
        span: &Span,
    ) -> Option<Outcome> {
        let (given, held) = (delivery.clone(), heart.clone());
        let mut work = tokio::spawn(span.clone().within(async move { handler.handle(given, held).await }));
        let lost = heart.lost();
        let ended = tokio::select! {
            biased;
            ended = &mut work => Some(ended),
            () = lost.cancelled() => None,
            () = self.shutdown.interrupted().cancelled() => {
                heart.interrupt();
                None
            }
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                let given_time = tokio::select! {
                    biased;
                    ended = timeout(CHECKPOINT, &mut work) => ended.ok(),
                    () = self.hurry() => None,
                };
                match given_time {
                    Some(ended) => ended,
                    None => {
                        work.abort();
                        work.await
                    }
                }
            }
        };
        match ended {
            Ok(outcome) => Some(outcome),
            Err(error) => self.failed(delivery, error),
        }
    }

    /// What a handler that did not return stands for: a panic is a retry, a dropped one has no answer.
    fn failed(&self, delivery: &Delivery, error: JoinError) -> Option<Outcome> {
        let panic = error.try_into_panic().ok()?;
        let detail = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic without a message".to_owned());
        HandlerPanicked { queue: &self.name, message_id: &delivery.message_id, detail: &detail }.emit();
        Some(Outcome::retry(delivery.receive_count, format_args!("the handler panicked: {detail}")))
    }

    async fn answer(&self, delivery: &Delivery, outcome: &Outcome, cap: Instant) {
        match outcome {
            Outcome::Done => self.delete(delivery).await,
            Outcome::Retry { after, .. } | Outcome::Release { after } => {
                // Beyond the twelve hours the queue would refuse the call, and the message come back early.
                self.give_back(delivery, (*after).min(left_of(cap))).await;
            }
            Outcome::Reject { why } => self.reject(delivery, why).await,
        }
    }

    async fn delete(&self, delivery: &Delivery) {
        let call = self.queue.delete(&delivery.receipt);
        self.say("delete", delivery, call).await;
    }

    pub(super) async fn give_back(&self, delivery: &Delivery, after: Duration) {
        let call = self.queue.change_visibility(&delivery.receipt, after);
        self.say("change_visibility", delivery, call).await;
    }

    async fn reject(&self, delivery: &Delivery, why: &str) {
        let letter = Letter {
            reason: why.to_owned(),
            queue: self.name.to_string(),
            attempts: Some(i64::from(delivery.receive_count)),
            at: Some(self.clock.now_ms()),
            ..Letter::default()
        };
        let sent = self.queue.send_dead_letter(delivery, &letter);
        if self.say("dead_letter", delivery, sent).await {
            MessageRejected { queue: &self.name, message_id: &delivery.message_id, reason: why }.emit();
            self.delete(delivery).await;
        }
    }

    /// Makes a call and says whether the queue took it. Once the grace is over it gets one second.
    async fn say(
        &self,
        call: &'static str,
        delivery: &Delivery,
        request: BoxFuture<'_, Result<(), QueueError>>,
    ) -> bool {
        let failure = tokio::select! {
            biased;
            answer = request => match answer {
                Ok(()) => return true,
                Err(error) => error.to_string(),
            },
            () = self.hurry() => "no answer before the process ended".to_owned(),
        };
        AckFailed { queue: &self.name, message_id: &delivery.message_id, call, detail: &failure }.emit();
        false
    }

    /// Completes a second after the grace, or after a second signal: nothing is waited for longer.
    async fn hurry(&self) {
        self.shutdown.over().cancelled().await;
        tokio::time::sleep(LAST_WORDS).await;
    }

    fn show_slots(&self, freed: usize) {
        SlotsBusy {
            queue: &self.name,
            busy: self.settings.slots.saturating_sub(self.slots.available_permits() + freed),
            slots: self.settings.slots,
        }
        .emit();
    }
}

/// An interrupted handler's answer counts only if it finished: an error may be the interruption itself.
fn after_interrupt(answer: Option<Outcome>, interrupted: bool) -> Outcome {
    match answer {
        Some(outcome @ (Outcome::Done | Outcome::Release { .. })) => outcome,
        Some(outcome) if !interrupted => outcome,
        Some(_) | None => Outcome::Release { after: Duration::ZERO },
    }
}
