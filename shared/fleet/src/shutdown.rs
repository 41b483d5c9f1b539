//! How a process ends: it drains, then interrupts, and at a second signal stops at once.
//!
//! Guarantees: the phases only move forward, every clone of a [`Shutdown`] sees the same phase, and the grace is the
//! whole of it: a process has ended when it is over, but for a last call that is not answered.
//! 1. *draining*: no new message is received; handlers go on with their heartbeat for most of the grace;
//! 2. *interrupted*: handlers checkpoint and give their messages back;
//! 3. *over*: the grace is over, or a second signal came (*aborted*); each last word takes at most a second.
//!
//! A process that *retires* (SIGUSR1) drains without a grace: nobody waits for its end, so it finishes what it has, however
//! long that is within the limits of its tasks. A SIGTERM meanwhile starts the grace.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// The longest grace: Fargate kills a task 120 s after SIGTERM at the latest (`stopTimeout`).
pub const MAX_GRACE: Duration = Duration::from_secs(110);
/// Kept of the grace for checkpoints and for giving back; of a short grace, a quarter.
const WIND_UP: Duration = Duration::from_secs(5);

/// The end of the process, as everyone in it sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown {
    draining: CancellationToken,
    begun: CancellationToken,
    interrupted: CancellationToken,
    over: CancellationToken,
    aborted: CancellationToken,
    grace: Duration,
}

impl Shutdown {
    /// A process that runs; `grace` is cut to [`MAX_GRACE`].
    pub fn new(grace: Duration) -> Self {
        Self {
            draining: CancellationToken::new(),
            begun: CancellationToken::new(),
            interrupted: CancellationToken::new(),
            over: CancellationToken::new(),
            aborted: CancellationToken::new(),
            grace: grace.min(MAX_GRACE),
        }
    }

    /// Begins to drain; interrupts shortly before the grace is over. Later calls change nothing. Call it inside a tokio
    /// runtime.
    pub fn begin(&self) {
        if self.begun.is_cancelled() {
            return;
        }
        self.begun.cancel();
        self.draining.cancel();
        let (shutdown, wind_up) = (self.clone(), WIND_UP.min(self.grace / 4));
        tokio::spawn(async move {
            tokio::time::sleep(shutdown.grace.saturating_sub(wind_up)).await;
            shutdown.interrupted.cancel();
            tokio::time::sleep(wind_up).await;
            shutdown.over.cancel();
        });
    }

    /// Drains without a grace: whatever is at work is finished.
    pub fn retire(&self) {
        self.draining.cancel();
    }

    /// Ends the process at once.
    pub fn abort(&self) {
        self.begun.cancel();
        self.draining.cancel();
        self.interrupted.cancel();
        self.over.cancel();
        self.aborted.cancel();
    }

    /// Cancelled when draining begins. `shutdown.draining().cancelled().await` waits for it.
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Cancelled when work must end, so that the process has ended within the grace.
    pub fn interrupted(&self) -> &CancellationToken {
        &self.interrupted
    }

    /// Cancelled when the grace is over, or at a second signal: no call is waited for much longer.
    pub fn over(&self) -> &CancellationToken {
        &self.over
    }

    /// Cancelled at a second signal.
    pub fn aborted(&self) -> &CancellationToken {
        &self.aborted
    }

    /// Whether draining has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// The grace.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// Listens for SIGTERM and SIGINT from now on: the first drains, the second aborts, the third exits with code 130. SIGUSR1
    /// retires.
    pub fn listen(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};

        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut retire = signal(SignalKind::user_defined1())?;
        let retired = self.clone();
        tokio::spawn(async move {
            if retire.recv().await.is_some() {
                tracing::info!(signal = "SIGUSR1", "retiring: what is at work is finished");
                retired.retire();
            }
        });
        let shutdown = self.clone();
        tokio::spawn(async move {
            for count in 1_u32.. {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                match count {
                    1 => {
                        tracing::info!(signal = name, grace_seconds = shutdown.grace.as_secs(), "draining");
                        shutdown.begin();
                    }
                    2 => {
                        tracing::warn!(signal = name, "second signal: stopping at once");
                        shutdown.abort();
                    }
                    _ => std::process::exit(130),
                }
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_grace_runs_from_the_first_signal_and_is_capped() {
        let shutdown = Shutdown::new(Duration::from_secs(600));
        assert_eq!(shutdown.grace(), MAX_GRACE);
        let began = tokio::time::Instant::now();
        shutdown.begin();
        shutdown.begin();
        assert!(shutdown.is_draining() && !shutdown.interrupted().is_cancelled());
        shutdown.clone().interrupted().cancelled().await;
        assert_eq!(began.elapsed(), MAX_GRACE - WIND_UP);
        shutdown.over().cancelled().await;
        assert_eq!(began.elapsed(), MAX_GRACE);
        assert!(!shutdown.aborted().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn who_retires_has_all_the_time_until_somebody_waits_for_the_end() {
        let shutdown = Shutdown::new(Duration::from_secs(20));
        shutdown.retire();
        assert!(shutdown.is_draining());
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert!(!shutdown.interrupted().is_cancelled());
        let began = tokio::time::Instant::now();
        shutdown.begin();
        shutdown.interrupted().cancelled().await;
        assert_eq!(began.elapsed(), Duration::from_secs(15));
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_short_grace_most_is_for_work_and_of_none_nothing() {
        for (grace, for_work) in [(4, 3_000), (1, 750), (0, 0)] {
            let shutdown = Shutdown::new(Duration::from_secs(grace));
            let began = tokio::time::Instant::now();
            shutdown.begin();
            shutdown.interrupted().cancelled().await;
            assert_eq!(began.elapsed(), Duration::from_millis(for_work));
            shutdown.over().cancelled().await;
            assert_eq!(began.elapsed(), Duration::from_secs(grace));
        }
    }
}
