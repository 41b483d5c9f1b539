//! How many workers there are to be.

use metrics::{describe_gauge, gauge};

/// The scaler decided otherwise than before.
#[derive(Debug)]
pub struct ScalingDecided<'a> {
    pub pool: &'static str,
    pub running: u32,
    pub workers: u32,
    /// Why, in words.
    pub words: &'a str,
}

impl ScalingDecided<'_> {
    pub fn emit(&self) {
        gauge!("reelfleet_desired_workers", "pool" => self.pool).set(f64::from(self.workers));
        tracing::info!(
            pool = self.pool,
            running = self.running,
            workers = self.workers,
            why = self.words,
            "workers of a pool"
        );
    }
}

pub(super) fn describe() {
    describe_gauge!("reelfleet_desired_workers", "Workers that there are to be, by pool.");
}
