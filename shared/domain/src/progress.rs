//! How far a job is, and how often that is said.
//!
//! Guarantee: a percentage is in 0..=100 and 100 only when nothing remains; the first and the last push always go out,
//! others at most twice a second per asset over all processes (the right is won in the catalog).

/// At least this long between two pushes of one asset (milliseconds).
pub const INTERVAL_MS: i64 = 500;

/// Percent of the media that is encoded, never 100 before the end.
pub fn percent(committed_us: i64, in_hand_us: i64, total_us: i64) -> f64 {
    if total_us <= 0 {
        return 0.0;
    }
    let share = (committed_us.max(0) + in_hand_us.max(0)) as f64 / total_us as f64;
    (share * 1000.0).floor().clamp(0.0, 999.0) / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_below_the_end() {
        assert_eq!(percent(5, 5, 20), 50.0);
        assert_eq!(percent(20, 5, 20), 99.9);
        assert_eq!(percent(1, 0, 0), 0.0);
    }
}
