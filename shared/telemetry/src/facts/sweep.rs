//! What is cleared away, and what could not be.

use metrics::{counter, describe_counter};

/// A sweep cleared something away. `what` names the sweep: losers, uploads, multiparts, events, tickets, doorbells,
/// stranded_tasks (woken), descriptions (written).
#[derive(Debug)]
pub struct Swept {
    pub what: &'static str,
    pub count: u64,
}

impl Swept {
    pub fn emit(&self) {
        counter!("reelfleet_swept_total", "what" => self.what).increment(self.count);
        if self.count > 0 {
            tracing::info!(what = self.what, count = self.count, "swept");
        }
    }
}

/// A sweep, or one item of it, failed; the next round tries again.
#[derive(Debug)]
pub struct SweepFailed<'a> {
    pub what: &'static str,
    /// What was not swept, where it is one thing.
    pub item: &'a str,
    pub detail: &'a str,
}

impl SweepFailed<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_sweeps_failed_total", "what" => self.what).increment(1);
        tracing::warn!(what = self.what, item = self.item, detail = self.detail, "sweep failed");
    }
}

pub(super) fn describe() {
    describe_counter!("reelfleet_swept_total", "Things cleared away, by sweep.");
    describe_counter!("reelfleet_sweeps_failed_total", "Things that could not be cleared away, by sweep.");
}
