//! The operational facts, grouped by who states them. Each is a struct with an `emit` that writes log and metric.
//!
//! Labels are values of a closed set (a queue name, a task kind, an outcome, a rendition name): ids go to the log only.

mod mail;
mod media;
mod message;
mod publish;
mod scaling;
mod storage;
mod sweep;
mod traces;

pub use mail::MailAttempted;
pub use media::{
    DecoderCrashed, EncodeFinished, JailClosed, JobFinished, MemoryAwaited, SegmentBytes, TaskFinished, TaskStarted,
};
pub use message::{
    AckFailed, CommitRefused, HandlerPanicked, LeaseLost, MessageFinished, MessageReceived, MessageRejected,
    PollFailed, ScaleInProtected, SlotsBusy, TaskDead, TaskRevived, VisibilityExtended,
};
pub use publish::{
    DuplicateSuppressed, EventPublished, EventPushed, HttpServed, OutboxRelayed, QueueDepth, QueuePaused, QueueWork,
    RealtimeClients, WebhookAttempted,
};
pub use scaling::ScalingDecided;
pub use storage::{BatchShortfall, ObjectBytes, ObjectReadResumed};
pub use sweep::{AuditFound, SweepFailed, Swept};
pub use traces::{SpanDropped, SpansSent};

/// Registers a HELP text for every metric of this crate with the installed recorder.
pub(crate) fn describe() {
    message::describe();
    mail::describe();
    media::describe();
    publish::describe();
    scaling::describe();
    storage::describe();
    sweep::describe();
    traces::describe();
}
