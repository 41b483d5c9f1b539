//! Rows kept in the process for a moment, so that a caller who asks a hundred times a second is looked up once.
//!
//! Guarantee: a row is believed for [`REVOCATION_BOUND`] at most, counted from before the question was asked, and the
//! store does not grow beyond [`KEPT`].

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a revoked key, an ended session or a disabled user may still work.
pub const REVOCATION_BOUND: Duration = Duration::from_secs(5);
/// Rows kept; a process serves fewer callers within five seconds than this, or it does without.
const KEPT: usize = 4_096;

/// The store.
#[derive(Debug)]
pub(crate) struct Kept<I, R>(Mutex<HashMap<I, (Instant, R)>>);

impl<I, R> Default for Kept<I, R> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<I: Eq + Hash, R: Clone> Kept<I, R> {
    pub(crate) fn get(&self, id: &I, now: Instant) -> Option<R> {
        let rows = self.lock();
        let (asked, row) = rows.get(id)?;
        fresh(*asked, now).then(|| row.clone())
    }

    /// Keeps an answer; `asked` is from before the question.
    pub(crate) fn put(&self, id: I, row: R, asked: Instant) {
        let mut rows = self.lock();
        if rows.len() >= KEPT {
            rows.retain(|_, (other, _)| fresh(*other, asked));
        }
        if rows.len() < KEPT {
            rows.insert(id, (asked, row));
        }
    }

    /// Forgets a row that this process has just changed.
    pub(crate) fn forget(&self, id: &I) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<I, (Instant, R)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fresh(asked: Instant, now: Instant) -> bool {
    now.saturating_duration_since(asked) < REVOCATION_BOUND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_kept_for_the_bound_and_the_store_does_not_grow() {
        let (kept, start) = (Kept::default(), Instant::now());
        kept.put(1, "a", start);
        let just_before = start + REVOCATION_BOUND - Duration::from_millis(1);
        assert!(kept.get(&1, just_before).is_some());
        assert!(kept.get(&1, start + REVOCATION_BOUND).is_none());
        assert!(kept.get(&2, start).is_none());
        kept.forget(&1);
        assert!(kept.get(&1, start).is_none());
        for n in 0..2 * KEPT {
            kept.put(n, "a", start);
        }
        assert_eq!(kept.lock().len(), KEPT);
        kept.put(99_999, "a", start + REVOCATION_BOUND);
        assert_eq!(kept.lock().len(), 1, "what is stale made room");
    }
}
