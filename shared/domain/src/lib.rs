//! The rules of the fleet as pure functions: what may follow what, which renditions, which chunks, when to try again.
//!
//! Guarantee: no async, no AWS, no clock, no randomness. `now` and random numbers are arguments.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod approval;
pub mod backlog;
pub mod captions;
#[cfg(any(test, fuzzing))]
pub mod fuzzed;
pub mod invariants;
pub mod joint;
pub mod ladder;
pub mod plan;
pub mod playlist;
pub mod policy;
pub mod price;
pub mod price_budget;
pub mod price_estimate;
mod price_upload;
pub mod price_work;
pub mod progress;
pub mod retry;
pub mod review_mail;
pub mod scaling;
pub mod state;
pub mod tenants;
pub mod upload;
pub mod webhook;
pub mod week;

pub use ladder::{Rung, ladder};
pub use plan::{Chunk, chunks};
pub use state::{AssetState, JobState, TaskState};
