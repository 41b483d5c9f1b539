//! Budgets: what a tenant may start within a day.
//!
//! Guarantee: a day's estimates never pass its budget; a budget of nothing starts nothing; without a budget everything
//! starts. Who waits longest starts first, unless it would never fit: that holds nobody up.

use crate::price::shown;

/// A day, in milliseconds.
const DAY_MS: i64 = 86_400_000;

/// The day (UTC) of an instant, counted from the epoch.
pub fn day(epoch_ms: i64) -> i64 {
    epoch_ms.div_euclid(DAY_MS)
}

/// When a day begins (epoch milliseconds).
pub fn begins(day: i64) -> i64 {
    day.saturating_mul(DAY_MS)
}

/// Whether an estimate fits beside what was started today (millionths of the currency).
pub fn fits(budget: Option<u64>, started: u64, estimate: u64) -> bool {
    budget.is_none_or(|most| most > 0 && started.saturating_add(estimate) <= most)
}

/// Why it waits, for a person.
pub fn why(budget: u64, started: u64, estimate: u64, currency: &str) -> String {
    let money = |micros| shown(micros, currency);
    if budget == 0 {
        return "the budget is nothing: it starts when an operator raises the budget".to_owned();
    }
    if estimate > budget {
        let (cost, most) = (money(estimate), money(budget));
        return format!(
            "it will cost about {cost}, and the budget is {most} a day: it starts when an operator raises the budget"
        );
    }
    let (cost, most, gone) = (money(estimate), money(budget), money(started));
    format!(
        "it will cost about {cost}, and of today's budget of {most} {gone} are taken: \
         it starts tomorrow (UTC), or when an operator raises the budget"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_starts_nothing_and_no_budget_starts_all() {
        assert!(!fits(Some(0), 0, 0), "not even what costs nothing");
        assert!(fits(None, u64::MAX, u64::MAX));
        assert!(fits(Some(10), 4, 6) && !fits(Some(10), 5, 6));
        assert!(!fits(Some(u64::MAX - 1), u64::MAX, u64::MAX), "no overflow");
        assert_eq!((day(-1), day(0), day(86_399_999), day(86_400_000)), (-1, 0, 0, 1));
        assert_eq!(begins(day(1_790_000_000_000)), 1_789_948_800_000);
    }

    #[test]
    fn whoever_waits_hears_why() {
        assert!(why(0, 0, 5, "USD").starts_with("the budget is nothing"));
        assert!(
            why(1_000_000, 0, 2_000_000, "USD")
                .starts_with("it will cost about 2.00 USD, and the budget is 1.00 USD a day")
        );
        let full = why(1_000_000, 900_000, 500_000, "EUR");
        assert!(
            full.contains("of today's budget of 1.00 EUR 0.90 EUR are taken") && full.contains("tomorrow"),
            "{full}"
        );
    }

    proptest! {
        #[test]
        fn a_raised_budget_takes_nothing_away(budget in any::<u64>(), more in any::<u64>(), started in any::<u64>(), estimate in any::<u64>()) {
            prop_assert!(!fits(Some(budget), started, estimate) || fits(Some(budget.saturating_add(more)), started, estimate));
            prop_assert!(!fits(Some(budget), started, estimate) || fits(Some(budget), 0, estimate), "it fits on a day of its own");
        }
    }
}
