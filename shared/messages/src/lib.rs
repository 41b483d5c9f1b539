//! The common message crate: what travels between the processes of the fleet.
//!
//! Guarantee: pure serde types. No async, no AWS, no clock, no randomness: ids are made from a UUID that is passed in.
//!
//! Three families, never mixed (and [`letter`], what becomes of a message that nobody can work on):
//! - [`notification`]: foreign and untrusted in shape, parsed once at intake;
//! - [`task`]: private commands, one queue and one consumer each;
//! - [`event`]: public facts in the past tense, CloudEvents 1.0.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod event;
#[cfg(any(test, fuzzing))]
pub mod fuzzed;
pub mod id;
pub mod letter;
pub mod notification;
pub mod object;
pub mod realtime;
pub mod task;
pub mod trace;

pub use event::{CloudEvent, Event};
pub use id::{
    ApiKeyId, AssetId, EventId, InvitationId, JobId, MailId, ReviewId, SessionId, TaskId, UploadId, UserId, WebhookId,
};
pub use letter::Letter;
pub use notification::{Notification, NotificationError, ObjectChange, ObjectEvent};
pub use object::{ObjectRef, SourceIdentity};
pub use task::{Task, TaskEnvelope};
