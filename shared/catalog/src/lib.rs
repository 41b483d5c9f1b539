//! The catalog: durable truth through the RDS Data API.
//!
//! Guarantee: every write is a compare-and-set that stores its operation id; an answer that was lost is settled by
//! reading that id back, so nothing happens twice. State, event log and outbox change in one transaction.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod access;
pub mod accounts;
pub mod approval;
pub mod assets;
pub mod audit;
pub mod backlogs;
pub mod budgets;
pub mod campaigns;
pub mod captions;
pub mod costs;
pub mod deletion;
pub mod deliveries;
pub mod details;
pub mod error;
pub mod events;
pub mod export;
pub mod fallback;
pub mod figures;
pub mod holdings;
pub mod identities;
pub mod invariants;
pub mod jobs;
pub mod landing;
pub mod letters;
mod log_cursor;
pub mod mail;
mod migrate;
pub mod notices;
pub mod outbox;
pub mod pictures;
pub mod processes;
pub mod publishing;
pub mod remake;
pub mod review_links;
pub mod runs;
pub mod scaling;
pub mod scan;
pub mod sessions;
pub mod statement;
pub mod store;
pub mod sweep;
pub mod tasks;
pub mod topic_mail;
pub mod uploads;
pub mod usage;
pub mod votes;
pub mod webhooks;
pub mod weekly;

pub use error::CatalogError;
pub use events::Emission;
pub use statement::{Params, Row, Statement};
pub use store::{Atomic, Catalog};
pub use tasks::Lease;

/// Who does a thing, and when: made by `fleet` for each step, so that nothing here reads a clock.
#[derive(Debug, Clone)]
pub struct Step {
    /// Epoch milliseconds.
    pub now: i64,
    /// Names this very operation; a repeated call carries the same.
    pub op: String,
    /// The process, as in `task.lease_owner` and `outbox.claimed_by`.
    pub instance: String,
}
