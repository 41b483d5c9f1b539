//! The embedded AWS-compatible endpoint: S3, SQS, SNS and RDS Data in one process and one folder.
//!
//! Guarantee: what was answered is on disk; an object, its notification and the queue entry are one commit. Only the
//! operations that the fleet, an operator's `aws` CLI and Terraform's AWS provider need are offered, each with the
//! semantics AWS documents. It shares no type with the rest of the product: an emitter and a parser that share a type
//! agree on the same mistake.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod auth;
mod backup;
mod cors;
mod db;
mod faults;
mod front;
#[cfg(any(test, fuzzing))]
pub mod fuzzed;
mod guard;
mod line;
mod rds;
mod refusals;
mod s3;
mod serve;
mod sns;
mod sqs;
mod state;
mod stats;
mod timestamp;

pub use backup::{BackupError, Copied, backup};
pub use db::DbError;
pub use rds::{RdsBackend, RdsOpenError};
pub use serve::{Bound, LocalConfig, LocalError, bind, serve};
