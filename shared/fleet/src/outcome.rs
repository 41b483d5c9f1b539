//! What a handler answers: four words, so that every case is decided by the handler and none by accident.

use std::time::Duration;

use rand::Rng;

/// The answer of a handler about one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Finished, or found finished: the message is deleted.
    Done,
    /// It may work later: the message comes back after `after`. Draw `after` with [`full_jitter`].
    Retry {
        /// Time until the message is visible again.
        after: Duration,
        /// What went wrong, for the log.
        why: String,
    },
    /// Nobody's fault (drain, a version too new, leased elsewhere): the message comes back, nothing is counted.
    Release {
        /// Time until the message is visible again; zero gives it to another worker at once.
        after: Duration,
    },
    /// It will never work: the message goes to the dead-letter queue now, with the reason.
    Reject {
        /// The reason, in words for the person who looks at the dead-letter queue.
        why: String,
    },
}

impl Outcome {
    /// A retry whose delay grows with the receive count: full jitter below 2 s · 2ⁿ, at most 5 min.
    pub fn retry(receive_count: u32, why: impl std::fmt::Display) -> Self {
        Self::Retry {
            after: full_jitter(Duration::from_secs(2), Duration::from_secs(300), receive_count.saturating_sub(1)),
            why: why.to_string(),
        }
    }

    /// A rejection with its reason.
    pub fn reject(why: impl std::fmt::Display) -> Self {
        Self::Reject { why: why.to_string() }
    }

    /// done, retry, release or reject: the metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retry { .. } => "retry",
            Self::Release { .. } => "release",
            Self::Reject { .. } => "reject",
        }
    }

    /// The explanation, empty where there is none.
    pub fn why(&self) -> &str {
        match self {
            Self::Retry { why, .. } | Self::Reject { why } => why,
            Self::Done | Self::Release { .. } => "",
        }
    }
}

/// A random delay up to `base` · 2^`exponent`, never above `cap` ("full jitter", AWS Architecture Blog, "Exponential
/// Backoff And Jitter"). Never below 100 ms, so that a retry does not spin.
pub fn full_jitter(base: Duration, cap: Duration, exponent: u32) -> Duration {
    let factor = 2_u32.checked_pow(exponent).unwrap_or(u32::MAX);
    let ceiling = base.saturating_mul(factor).min(cap);
    let least = Duration::from_millis(100).min(ceiling);
    rand::rng().random_range(least..=ceiling)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_between_its_bounds_and_never_overflows() {
        for exponent in [0, 1, 5, 40, u32::MAX] {
            for _ in 0..50 {
                let drawn = full_jitter(Duration::from_secs(2), Duration::from_secs(300), exponent);
                assert!(drawn >= Duration::from_millis(100) && drawn <= Duration::from_secs(300));
                if exponent == 0 {
                    assert!(drawn <= Duration::from_secs(2));
                }
            }
        }
        assert_eq!(full_jitter(Duration::ZERO, Duration::ZERO, 3), Duration::ZERO);
    }
}
