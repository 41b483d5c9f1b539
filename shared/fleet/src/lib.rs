//! The worker runtime: what every long-running process of the fleet stands on.
//!
//! Guarantees:
//! - a message is received only into a free slot, and answered (deleted, given back, dead-lettered) only by the process
//!   that still holds it ([`consumer`]);
//! - holding a message is earned by progress and ends by itself when progress, time or the queue say so; the handler is
//!   cancelled before anybody else can get the message ([`keeper`]);
//! - a signal ends the process within its grace without losing work and without charging an attempt ([`shutdown`]);
//! - wall clock and random ids are made here and passed on ([`clock`]); no other crate asks the system for them;
//! - a message is worked on in the trace that it came with, and what comes of it goes on with that trace ([`trace`]);
//! - every call of an AWS client has an attempt timeout ([`aws`]).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod aws;
pub mod batch;
pub mod budgets;
pub mod clock;
pub mod config;
pub mod consumer;
pub mod context;
pub mod dead_letters;
pub mod health;
pub mod heart;
mod keeper;
mod letters;
#[cfg(test)]
mod memory;
pub mod outcome;
pub mod pause;
pub mod presence;
pub mod protection;
pub mod queue;
pub mod queues;
pub mod reviews;
pub mod services;
pub mod shutdown;
mod sqs;
pub mod task;
pub mod trace;

pub use aws::Clients;
pub use clock::{Clock, Ids};
pub use config::{Config, Limits, MediaKind, UploadRoute};
pub use consumer::{Consumer, Handler, Settings};
pub use context::{Context, ContextError};
pub use health::Health;
pub use heart::{Heart, Lease, LeaseState, LostCause};
pub use outcome::{Outcome, full_jitter};
pub use pause::Paused;
pub use protection::ScaleInProtection;
pub use queue::{BoxFuture, Delivery, Queue, QueueError};
pub use queues::{Depth, QueueName, Queues, QueuesError};
pub use shutdown::Shutdown;
pub use sqs::SqsQueue;
pub use task::{Attempt, TaskHandler, TaskRunner, WorkError, Worked};
