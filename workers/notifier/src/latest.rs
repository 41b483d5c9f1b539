//! The latest progress of each asset: what comes late is told apart from what is new.
//!
//! Guarantee: within one process the progress of an asset is passed on in ascending (job, sequence), and not after the
//! end of its job was pushed. Job ids sort by the time of their making, so a new generation starts anew.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Assets remembered. Forgetting lets at most one late push through.
const KEPT: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Latest(Mutex<HashMap<String, (String, u64)>>);

impl Latest {
    /// Whether this push is newer than all before it.
    pub(crate) fn accept(&self, asset: &str, job: &str, sequence: u64) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.get(asset) {
            Some((last_job, last)) if (job, sequence) <= (last_job.as_str(), *last) => false,
            _ => {
                if kept.len() >= KEPT {
                    kept.clear();
                }
                kept.insert(asset.to_owned(), (job.to_owned(), sequence));
                true
            }
        }
    }

    /// The asset's job has ended.
    pub(crate) fn end(&self, asset: &str) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, last)) = kept.get_mut(asset) {
            *last = u64::MAX;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_regresses_or_comes_after_the_end_is_dropped() {
        let latest = Latest::default();
        assert!(latest.accept("a", "job_1", 1));
        assert!(latest.accept("a", "job_1", 3));
        assert!(!latest.accept("a", "job_1", 2));
        assert!(!latest.accept("a", "job_1", 3), "a duplicate");
        assert!(latest.accept("b", "job_0", 1), "another asset");
        latest.end("a");
        assert!(!latest.accept("a", "job_1", 4));
        assert!(latest.accept("a", "job_2", 1), "a new generation");
        assert!(!latest.accept("a", "job_1", 9));
    }
}
