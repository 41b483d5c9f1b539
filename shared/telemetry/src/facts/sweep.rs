//! What is cleared away, and what could not be.

use metrics::{counter, describe_counter};

/// A sweep cleared something away. `what` names the sweep: losers, uploads, multiparts, events, tickets, doorbells,
/// mails, reviews (expired, written about again), quarantine (tagged), stranded_tasks (woken), descriptions (written),
/// campaigns (handed out).
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

/// Something does not fit together. `code` is one of the audit's stable codes.
#[derive(Debug)]
pub struct AuditFound<'a> {
    pub code: &'static str,
    pub subject: &'a str,
    pub detail: &'a str,
    /// Of very many only the first are logged; all are counted.
    pub logged: bool,
}

impl AuditFound<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_audit_findings_total", "code" => self.code).increment(1);
        if self.logged {
            tracing::warn!(code = self.code, subject = self.subject, detail = self.detail, "something is off");
        }
    }
}

pub(super) fn describe() {
    describe_counter!(
        "reelfleet_audit_findings_total",
        "Things that do not fit together, as scans find them, by code."
    );
    describe_counter!("reelfleet_swept_total", "Things cleared away, by sweep.");
    describe_counter!("reelfleet_sweeps_failed_total", "Things that could not be cleared away, by sweep.");
}
