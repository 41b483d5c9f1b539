//! The wall clock and random ids, made here and passed on.
//!
//! Guarantee: nobody else asks the system for the time of day or for an id, so a test that holds the [`Clock`] holds
//! time. Monotonic timers are free to everyone.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::RngCore;
use uuid::{ContextV7, Timestamp, Uuid};

/// The time of day in milliseconds since 1970-01-01T00:00:00Z. Cheap to clone; clones share their time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<AtomicI64>),
    /// Follows tokio's time, which tests may pause.
    Tokio {
        base_ms: i64,
        start: tokio::time::Instant,
    },
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `now_ms` until it is moved.
    pub fn manual(now_ms: i64) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(now_ms))))
    }

    /// A clock that begins at `now_ms` and moves with tokio's time, paused or not.
    pub fn following_tokio(now_ms: i64) -> Self {
        Self(Source::Tokio { base_ms: now_ms, start: tokio::time::Instant::now() })
    }

    /// Now, in epoch milliseconds.
    #[allow(clippy::disallowed_methods, reason = "this is the one place that asks the system")]
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            // A clock before 1970 reads as 0: every comparison with a stored time then fails on the safe side.
            Source::System => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis),
            Source::Manual(now) => now.load(Ordering::SeqCst),
            Source::Tokio { base_ms, start } => base_ms.saturating_add(millis(start.elapsed())),
        }
    }

    /// Moves a manual clock forward or back, as setting a system's clock does.
    #[cfg(test)]
    pub(crate) fn jump(&self, by_ms: i64) {
        if let Source::Manual(now) = &self.0 {
            now.fetch_add(by_ms, Ordering::SeqCst);
        }
    }

    /// Moves a manual clock forward. The other clocks move by themselves and ignore it.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(now) = &self.0 {
            now.fetch_add(millis(by), Ordering::SeqCst);
        }
    }
}

/// A duration as whole milliseconds, saturating.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Random ids and tokens. Clones share the counter that keeps UUIDs of one process in order.
#[derive(Clone, Debug)]
pub struct Ids {
    clock: Clock,
    sequence: Arc<Mutex<ContextV7>>,
}

impl Ids {
    /// Ids whose time comes from `clock`.
    pub fn new(clock: Clock) -> Self {
        Self { clock, sequence: Arc::new(Mutex::new(ContextV7::new())) }
    }

    /// A UUID version 7 (RFC 9562 section 5.7); those of one process ascend, within one millisecond too.
    pub fn uuid(&self) -> Uuid {
        let now_ms = u64::try_from(self.clock.now_ms()).unwrap_or(0);
        let nanos = u32::try_from(now_ms % 1000).unwrap_or(0) * 1_000_000;
        let sequence = self.sequence.lock().unwrap_or_else(PoisonError::into_inner);
        Uuid::new_v7(Timestamp::from_unix(&*sequence, now_ms / 1000, nanos))
    }

    /// 128 random bits in 32 lower-case hexadecimal digits: lease tokens, key parts. Not a secret's length.
    pub fn token(&self) -> String {
        let mut bytes = [0; 16];
        rand::rng().fill_bytes(&mut bytes);
        hex(&bytes)
    }

    /// A random number in 0..1, for jitter.
    pub fn unit(&self) -> f64 {
        rand::random()
    }

    /// 256 random bits in 64 lower-case hexadecimal digits, for secrets.
    pub fn secret(&self) -> String {
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        hex(&bytes)
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_millisecond_ascend_and_carry_the_clock() {
        let ids = Ids::new(Clock::manual(1_700_000_000_123));
        let drawn: Vec<Uuid> = (0..500).map(|_| ids.uuid()).collect();
        assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]));
        let (seconds, nanos) = drawn[0].get_timestamp().unwrap().to_unix();
        assert_eq!((seconds, nanos / 1_000_000), (1_700_000_000, 123));
    }

    #[test]
    fn tokens_have_their_length_and_differ() {
        let ids = Ids::new(Clock::system());
        assert_eq!(ids.token().len(), 32);
        assert_eq!(ids.secret().len(), 64);
        assert_ne!(ids.token(), ids.token());
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_may_follow_paused_time() {
        let clock = Clock::following_tokio(5);
        tokio::time::advance(Duration::from_secs(43_200)).await;
        assert_eq!(clock.now_ms(), 43_200_005);
    }
}
