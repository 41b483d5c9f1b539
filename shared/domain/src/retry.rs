//! When a task is tried again, and when it is given up.
//!
//! Guarantee: attempts are counted before the work starts, so that a task which kills its worker ends too.

use std::time::Duration;

/// Attempts of one task, all reasons together.
pub const MAX_ATTEMPTS: i64 = 8;
/// Crashes of the decoder on one task: the third is the last.
pub const MAX_CRASHES: i64 = 3;
/// A lease of another is taken over this long after its end (milliseconds) unless configuration says otherwise, because
/// the clocks of two hosts are compared. Correctness rests on the token alone.
pub const TAKEOVER_GRACE_MS: i64 = 30_000;
/// An unknown version of a task is put back for this long.
pub const UNKNOWN_TASK_DELAY: Duration = Duration::from_secs(300);

/// Back-off before attempt `attempts + 1`: 1 s doubled per attempt up to 60 s, with full jitter.
///
/// `random` is in 0..=1. Source: "Exponential Backoff And Jitter", AWS Architecture Blog.
pub fn backoff(attempts: i64, random: f64) -> Duration {
    let doublings = attempts.clamp(0, 6) as u32;
    let ceiling = (1_u64 << doublings).min(60) as f64;
    Duration::from_secs_f64((ceiling * random.clamp(0.0, 1.0)).max(0.1))
}

/// Seconds of work to expect of encoding `media_s` seconds into `pixels_per_s` encoded pixels per second.
///
/// Measured: 0.64 CPU seconds per second of 1080p24 into 720p, 480p and 240p with x264 veryfast on 2 cores.
pub fn encode_cost_s(media_s: f64, pixels_per_s: f64) -> f64 {
    const CPU_S_PER_PIXEL: f64 = 0.64 / ((1280.0 * 720.0 + 854.0 * 480.0 + 426.0 * 240.0) * 24.0);
    (media_s * pixels_per_s * CPU_S_PER_PIXEL).max(0.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_a_minute_and_never_is_zero() {
        assert_eq!(backoff(0, 1.0), Duration::from_secs(1));
        assert_eq!(backoff(3, 1.0), Duration::from_secs(8));
        assert_eq!(backoff(100, 1.0), Duration::from_secs(60));
        assert_eq!(backoff(5, 0.0), Duration::from_millis(100));
    }
}
