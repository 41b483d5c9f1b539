//! What happens to one message between receive and acknowledgement.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// A message came out of a queue and was given to a handler.
#[derive(Debug)]
pub struct MessageReceived<'a> {
    pub queue: &'a str,
    pub message_id: &'a str,
    /// ApproximateReceiveCount: 1 on the first delivery.
    pub receive_count: u32,
    /// Time between send and this receive, where the queue says when it was sent.
    pub wait_seconds: Option<f64>,
}

impl MessageReceived<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_messages_received_total", "queue" => self.queue.to_owned()).increment(1);
        if self.receive_count > 1 {
            counter!("reelfleet_messages_redelivered_total", "queue" => self.queue.to_owned()).increment(1);
        }
        if let Some(seconds) = self.wait_seconds {
            histogram!("reelfleet_message_wait_seconds", "queue" => self.queue.to_owned()).record(seconds);
        }
        tracing::debug!(
            queue = self.queue,
            message = self.message_id,
            receive_count = self.receive_count,
            wait_seconds = self.wait_seconds,
            "message received"
        );
    }
}

/// The handler is through with a message; `outcome` is done, retry, release, reject or lost.
#[derive(Debug)]
pub struct MessageFinished<'a> {
    pub queue: &'a str,
    pub message_id: &'a str,
    pub outcome: &'static str,
    /// From receive to the end of the handler.
    pub seconds: f64,
    /// Empty unless there is something to explain.
    pub why: &'a str,
}

impl MessageFinished<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_messages_finished_total", "queue" => self.queue.to_owned(), "outcome" => self.outcome)
            .increment(1);
        histogram!("reelfleet_message_duration_seconds", "queue" => self.queue.to_owned(), "outcome" => self.outcome)
            .record(self.seconds);
        if self.why.is_empty() {
            tracing::debug!(
                queue = self.queue,
                message = self.message_id,
                outcome = self.outcome,
                seconds = self.seconds,
                "message finished"
            );
        } else {
            tracing::info!(
                queue = self.queue,
                message = self.message_id,
                outcome = self.outcome,
                seconds = self.seconds,
                why = self.why,
                "message finished"
            );
        }
    }
}

/// A message went to the dead-letter queue with a reason.
#[derive(Debug)]
pub struct MessageRejected<'a> {
    pub queue: &'a str,
    pub message_id: &'a str,
    pub reason: &'a str,
}

impl MessageRejected<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_messages_rejected_total", "queue" => self.queue.to_owned()).increment(1);
        tracing::warn!(
            queue = self.queue,
            message = self.message_id,
            reason = self.reason,
            "message sent to the dead-letter queue"
        );
    }
}

/// A task was given up: its row has failed and its dead letter is in the outbox.
#[derive(Debug)]
pub struct TaskDead<'a> {
    pub queue: &'a str,
    /// Stable code of the reason.
    pub code: &'static str,
    pub reason: &'a str,
}

impl TaskDead<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_tasks_dead_total", "queue" => self.queue.to_owned(), "code" => self.code).increment(1);
        tracing::warn!(queue = self.queue, reason = self.reason, "task given up");
    }
}

/// A redriven dead letter revived its task, and its asset if that had ended with it.
#[derive(Debug)]
pub struct TaskRevived {
    pub kind: &'static str,
    pub with_asset: bool,
}

impl TaskRevived {
    pub fn emit(&self) {
        counter!("reelfleet_tasks_revived_total", "kind" => self.kind).increment(1);
        tracing::info!(kind = self.kind, with_asset = self.with_asset, "task revived by its dead letter");
    }
}

/// A message stopped being ours while a handler worked on it; nothing of that handler is committed or acknowledged.
#[derive(Debug)]
pub struct LeaseLost<'a> {
    pub queue: &'a str,
    pub message_id: &'a str,
    /// expired, refused, fenced, stalled, start_to_close or receive_cap.
    pub cause: &'static str,
}

impl LeaseLost<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_leases_lost_total", "queue" => self.queue.to_owned(), "cause" => self.cause).increment(1);
        tracing::warn!(
            queue = self.queue,
            message = self.message_id,
            cause = self.cause,
            "lease lost, handler cancelled"
        );
    }
}

/// A compare-and-set of an attempt was refused: its task belongs to somebody else by now, or has ended. What the attempt
/// made is garbage, and nothing else came of it.
#[derive(Debug)]
pub struct CommitRefused<'a> {
    /// What the write would have done.
    pub what: &'static str,
    /// The lease token that it compared.
    pub token: i64,
    pub task: &'a str,
}

impl CommitRefused<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_lease_commits_refused_total", "what" => self.what).increment(1);
        tracing::warn!(
            what = self.what,
            task = self.task,
            token = self.token,
            "a late write was refused: the task is somebody else's, or has ended"
        );
    }
}

/// The visibility of a message was extended.
#[derive(Debug)]
pub struct VisibilityExtended<'a> {
    pub queue: &'a str,
    pub message_id: &'a str,
    /// Seconds from the start of the request until the message would come back.
    pub seconds: u64,
}

impl VisibilityExtended<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_visibility_extensions_total", "queue" => self.queue.to_owned()).increment(1);
        tracing::trace!(queue = self.queue, message = self.message_id, seconds = self.seconds, "visibility extended");
    }
}

/// A receive failed; the loop backs off.
#[derive(Debug)]
pub struct PollFailed<'a> {
    pub queue: &'a str,
    /// over_limit or error.
    pub cause: &'static str,
    pub detail: &'a str,
    pub retry_in_seconds: f64,
}

impl PollFailed<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_polls_failed_total", "queue" => self.queue.to_owned(), "cause" => self.cause).increment(1);
        tracing::warn!(
            queue = self.queue,
            cause = self.cause,
            detail = self.detail,
            retry_in_seconds = self.retry_in_seconds,
            "receive failed"
        );
    }
}

/// The answer of a handler could not be told to the queue; the message will come back by itself.
#[derive(Debug)]
pub struct AckFailed<'a> {
    pub queue: &'a str,
    pub message_id: &'a str,
    /// delete, change_visibility or dead_letter.
    pub call: &'static str,
    pub detail: &'a str,
}

impl AckFailed<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_acks_failed_total", "queue" => self.queue.to_owned(), "call" => self.call).increment(1);
        tracing::warn!(
            queue = self.queue,
            message = self.message_id,
            call = self.call,
            detail = self.detail,
            "the queue did not take the answer; the message will come back"
        );
    }
}

/// A handler panicked. The panic stays with its message.
#[derive(Debug)]
pub struct HandlerPanicked<'a> {
    pub queue: &'a str,
    pub message_id: &'a str,
    pub detail: &'a str,
}

impl HandlerPanicked<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_handler_panics_total", "queue" => self.queue.to_owned()).increment(1);
        tracing::error!(queue = self.queue, message = self.message_id, detail = self.detail, "handler panicked");
    }
}

/// How many slots of a consumer are at work.
#[derive(Debug)]
pub struct SlotsBusy<'a> {
    pub queue: &'a str,
    pub busy: usize,
    pub slots: usize,
}

impl SlotsBusy<'_> {
    pub fn emit(&self) {
        gauge!("reelfleet_slots_busy", "queue" => self.queue.to_owned()).set(self.busy as f64);
        gauge!("reelfleet_slots", "queue" => self.queue.to_owned()).set(self.slots as f64);
        tracing::trace!(queue = self.queue, busy = self.busy, slots = self.slots, "slots");
    }
}

/// Scale-in protection of this ECS task was asked for or dropped.
#[derive(Debug)]
pub struct ScaleInProtected<'a> {
    pub on: bool,
    /// Empty when the agent took it.
    pub problem: &'a str,
}

impl ScaleInProtected<'_> {
    pub fn emit(&self) {
        if self.problem.is_empty() {
            gauge!("reelfleet_scale_in_protected").set(if self.on { 1.0 } else { 0.0 });
            tracing::debug!(on = self.on, "scale-in protection");
        } else {
            counter!("reelfleet_scale_in_protection_failures_total").increment(1);
            tracing::warn!(on = self.on, problem = self.problem, "scale-in protection was not changed");
        }
    }
}

pub(super) fn describe() {
    describe_gauge!("reelfleet_scale_in_protected", "1 while this ECS task is protected from scale-in.");
    describe_counter!(
        "reelfleet_scale_in_protection_failures_total",
        "Changes of the scale-in protection that failed."
    );
    describe_counter!("reelfleet_messages_received_total", "Messages given to a handler.");
    describe_counter!(
        "reelfleet_messages_redelivered_total",
        "Messages given to a handler that had been delivered before."
    );
    describe_histogram!("reelfleet_message_wait_seconds", "Time between the send of a message and its receive.");
    describe_counter!("reelfleet_messages_finished_total", "Messages a handler is through with, by outcome.");
    describe_histogram!("reelfleet_message_duration_seconds", "Time between receive and the end of the handler.");
    describe_counter!("reelfleet_messages_rejected_total", "Messages sent to a dead-letter queue with a reason.");
    describe_counter!("reelfleet_tasks_dead_total", "Tasks given up, by queue and reason; each has a dead letter.");
    describe_counter!("reelfleet_tasks_revived_total", "Tasks revived by a redriven dead letter.");
    describe_counter!(
        "reelfleet_lease_commits_refused_total",
        "Writes of attempts that were refused because their lease was no longer theirs, by what they would have done."
    );
    describe_counter!("reelfleet_leases_lost_total", "Messages whose lease was lost during work, by cause.");
    describe_counter!("reelfleet_visibility_extensions_total", "Successful extensions of a message's visibility.");
    describe_counter!("reelfleet_polls_failed_total", "Receive calls that failed, by cause.");
    describe_counter!("reelfleet_acks_failed_total", "Answers of a handler that the queue did not take, by call.");
    describe_counter!("reelfleet_handler_panics_total", "Panics of handlers, each caught at its own message.");
    describe_gauge!("reelfleet_slots_busy", "Slots of a consumer at work.");
    describe_gauge!("reelfleet_slots", "Slots a consumer has.");
}
