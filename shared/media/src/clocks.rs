//! How long a session may take.
//!
//! Guarantee: the no-progress clock runs only while the decoder owes us something. While a read of the source is being
//! answered, or the consumer has not taken the last output, it stands still: those have clocks of their own.

use std::future::Future;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

/// Limits of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// From opening to the last output, waiting for the consumer included.
    pub wall: Duration,
    /// Between two signs of progress: an output, media time that moves on, an answered read.
    pub no_progress: Duration,
    /// All outputs together, in bytes.
    pub max_output_bytes: u64,
}

impl Default for Clocks {
    /// 2 minutes, 30 seconds, 1 GiB: a task of the usual length.
    fn default() -> Self {
        Self { wall: Duration::from_secs(120), no_progress: Duration::from_secs(30), max_output_bytes: 1 << 30 }
    }
}

/// The no-progress clock.
#[derive(Debug)]
pub(crate) struct Meter(Mutex<State>);

#[derive(Debug)]
struct State {
    last: Instant,
    outside: u32,
    /// When the first of those that wait outside began.
    since: Instant,
}

impl Meter {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self(Mutex::new(State { last: now, outside: 0, since: now }))
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Something moved.
    pub(crate) fn progress(&self) {
        self.with(|state| state.last = Instant::now());
    }

    /// Waits for something that the decoder has no hand in. It is no progress by itself.
    pub(crate) async fn outside<T>(&self, wait: impl Future<Output = T>) -> T {
        self.with(|state| {
            if state.outside == 0 {
                state.since = Instant::now();
            }
            state.outside += 1;
        });
        let result = wait.await;
        self.with(|state| {
            state.outside -= 1;
            if state.outside == 0 {
                let now = Instant::now();
                state.last = now.min(state.last + (now - state.since));
            }
        });
        result
    }

    /// Returns when there was no progress for `limit`. A decoder that floods its pipe uses up the budget of polls that
    /// the runtime gives the whole task; this clock needs none, so it runs all the same.
    pub(crate) async fn stalled(&self, limit: Duration) {
        let clock = async {
            loop {
                let now = Instant::now();
                let waited = |state: &State| if state.outside > 0 { now - state.since } else { Duration::ZERO };
                let until = self.with(|state| state.last + waited(state)) + limit;
                if until <= now {
                    return;
                }
                tokio::time::sleep_until(until).await;
            }
        };
        tokio::task::unconstrained(clock).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_stands_still_while_others_are_waited_for() {
        let (meter, limit) = (Meter::new(), Duration::from_secs(10));
        let long = meter.outside(tokio::time::sleep(Duration::from_secs(25)));
        let began = Instant::now();
        tokio::join!(long, async {
            meter.stalled(limit).await;
            assert_eq!(began.elapsed(), Duration::from_secs(35));
        });
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_others_is_no_progress() {
        let (meter, limit) = (Meter::new(), Duration::from_secs(10));
        let began = Instant::now();
        tokio::join!(meter.stalled(limit), async {
            tokio::time::sleep(Duration::from_secs(7)).await;
            for _ in 0..3 {
                meter.outside(tokio::time::sleep(Duration::from_secs(1))).await;
            }
        });
        assert_eq!(began.elapsed(), Duration::from_secs(13));
    }

    #[tokio::test(start_paused = true)]
    async fn progress_starts_it_again() {
        let (meter, limit) = (Meter::new(), Duration::from_secs(10));
        let began = Instant::now();
        tokio::join!(meter.stalled(limit), async {
            tokio::time::sleep(Duration::from_secs(7)).await;
            meter.progress();
        });
        assert_eq!(began.elapsed(), Duration::from_secs(17));
    }
}
