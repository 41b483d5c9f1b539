//! What leaves the catalog: the outbox's relay, and progress.
//!
//! Guarantees:
//! - a row of the outbox is deleted only after the service said that it took it; a crash in between sends twice, and
//!   receivers deduplicate by event id or task state ([`relay`]);
//! - progress is pushed at most twice a second per asset over all processes, and never fails or delays the work that it
//!   tells of ([`progress`]);
//! - clock and ids are lent by the process ([`Outlet`]): nothing here asks the system for them.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod batch;
pub mod doorbell;
mod outlet;
pub mod progress;
pub mod relay;

pub use outlet::Outlet;
pub use progress::{Advance, Progress};
pub use relay::Relay;
