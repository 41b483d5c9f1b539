//! How old a queue's backlog is where no row stands for its messages: read from depths alone, look by look.
//!
//! Guarantees: an empty queue has no age; while nothing leaves, the age is the time since messages were first seen there, so
//! a consumer that is gone or only takes and drops is seen at once; where messages leave, the age begins anew whenever as many
//! have left as were there when it began, so a queue that is busy and well never looks old. It is never more than the truth by
//! more than the time between two looks, where a queue is served in order.

/// A queue as it was at the last look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Since when what is there has been waiting (epoch milliseconds).
    pub since: Option<i64>,
    /// Of those that were there then, so many have not been seen to leave.
    pub ahead: u64,
    /// Messages that were there, in somebody's hands or not.
    pub depth: u64,
}

impl Backlog {
    /// After another look, which found `depth` messages.
    #[must_use]
    pub fn look(self, now: i64, depth: u64) -> Self {
        if depth == 0 {
            return Self::default();
        }
        // What came meanwhile hides as many that left: then it looks older, never younger.
        let left = self.depth.saturating_sub(depth);
        match (self.since, self.ahead.saturating_sub(left)) {
            (Some(since), ahead) if ahead > 0 => Self { since: Some(since), ahead, depth },
            _ => Self { since: Some(now), ahead: depth, depth },
        }
    }

    /// For how long what is there has waited (milliseconds).
    pub fn age_ms(&self, now: i64) -> Option<i64> {
        self.since.map(|since| now.saturating_sub(since).max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ages after looks a second apart.
    fn ages(depths: &[u64]) -> Vec<i64> {
        let mut backlog = Backlog::default();
        let looks = depths.iter().zip(0_i64..);
        looks
            .map(|(depth, second)| {
                backlog = backlog.look(second * 1_000, *depth);
                backlog.age_ms(second * 1_000).map_or(-1, |age| age / 1_000)
            })
            .collect()
    }

    #[test]
    fn what_nobody_takes_grows_old_and_an_empty_queue_has_no_age() {
        assert_eq!(ages(&[0, 0, 3, 3, 5, 9, 0, 1]), [-1, -1, 0, 1, 2, 3, -1, 0]);
    }

    #[test]
    fn a_busy_queue_that_is_well_does_not_look_old() {
        assert!(ages(&[2, 1, 3, 2, 1, 2, 1, 2, 3, 1, 2, 1, 1, 2, 1]).into_iter().all(|age| age <= 4));
    }

    #[test]
    fn a_large_backlog_is_as_old_as_what_was_there_first_until_that_has_left() {
        assert_eq!(ages(&[10, 8, 6, 4, 2, 1]), [0, 1, 2, 3, 4, 5]);
        // Ten more came when the first half had left: those that were there first go on ageing until they are gone.
        assert_eq!(ages(&[10, 5, 15, 11, 10, 9]), [0, 1, 2, 3, 0, 1]);
    }
}
