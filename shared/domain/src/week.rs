//! Weeks, as weekly mails count them: from Monday, 06:00 UTC.
//!
//! Guarantee: every moment lies in one week, and weeks follow one another without a gap.

const WEEK_MS: i64 = 7 * 86_400_000;
/// The first Monday of the epoch, 1970-01-05, at 06:00.
const FIRST_MS: i64 = (4 * 24 + 6) * 3_600_000;

/// The number of the week that a moment lies in (epoch milliseconds).
pub fn number(at_ms: i64) -> i64 {
    at_ms.saturating_sub(FIRST_MS).div_euclid(WEEK_MS)
}

/// When a week begins (epoch milliseconds).
pub fn begins(number: i64) -> i64 {
    number.saturating_mul(WEEK_MS).saturating_add(FIRST_MS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_week_begins_on_monday_morning() {
        // 2026-11-23 is a Monday.
        let monday = 1_795_413_600_000;
        assert_eq!(begins(number(monday)), monday);
        assert_eq!(number(monday - 1), number(monday) - 1);
    }

    proptest! {
        #[test]
        fn every_moment_lies_in_one_week(at in -10_000_000_000_000i64..10_000_000_000_000) {
            prop_assert!(begins(number(at)) <= at && at < begins(number(at) + 1));
        }
    }
}
