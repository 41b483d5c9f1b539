//! How a process ends: it drains, then interrupts, and at a second signal stops at once.
//!
//! Guarantees: the phases only move forward, and every clone of a [`Shutdown`] sees the same phase.
//! 1. *draining*: no new message is received; handlers go on with their heartbeat for up to the grace;
//! 2. *interrupted*: the grace is over; handlers checkpoint and give their messages back;
//! 3. *aborted*: a second signal; handlers are dropped where they are and messages given back if that takes a second.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// The longest grace: Fargate kills a task 120 s after SIGTERM at the latest (`stopTimeout`).
pub const MAX_GRACE: Duration = Duration::from_secs(110);

/// The end of the process, as everyone in it sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown {
    draining: CancellationToken,
    interrupted: CancellationToken,
    aborted: CancellationToken,
    grace: Duration,
}

impl Shutdown {
    /// A process that runs; `grace` is cut to [`MAX_GRACE`].
    pub fn new(grace: Duration) -> Self {
        Self {
            draining: CancellationToken::new(),
            interrupted: CancellationToken::new(),
            aborted: CancellationToken::new(),
            grace: grace.min(MAX_GRACE),
        }
    }

    /// Begins to drain; interrupts when the grace is over. Later calls change nothing. Call it inside a tokio runtime.
    pub fn begin(&self) {
        if self.draining.is_cancelled() {
            return;
        }
        self.draining.cancel();
        let (interrupted, grace) = (self.interrupted.clone(), self.grace);
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            interrupted.cancel();
        });
    }

    /// Ends the process at once.
    pub fn abort(&self) {
        self.draining.cancel();
        self.interrupted.cancel();
        self.aborted.cancel();
    }

    /// Cancelled when draining begins. `shutdown.draining().cancelled().await` waits for it.
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Cancelled when the grace is over.
    pub fn interrupted(&self) -> &CancellationToken {
        &self.interrupted
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

    /// Listens for SIGTERM and SIGINT from now on: the first drains, the second aborts, the third exits with code 130.
    pub fn listen(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};

        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
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
        assert_eq!(began.elapsed(), MAX_GRACE);
        assert!(!shutdown.aborted().is_cancelled());
    }
}
