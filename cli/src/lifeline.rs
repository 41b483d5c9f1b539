//! The lifeline: how a child learns that its supervisor is gone, even when that was killed.
//!
//! Guarantee: a process that was started with the lifeline ends when its standard input does: at once, with what it holds
//! given back, where it is a worker; a little later where it is the endpoint, which they need for that; by an orderly
//! drain where it is a supervisor itself. The owner holds the other end of the pipe and never writes to it; the kernel
//! closes it when the owner ends, however it ends.

use std::io::Read;
use std::time::Duration;

use reelfleet_fleet::Shutdown;
use tokio_util::sync::CancellationToken;

/// Set to `stdin` for children whose standard input is the lifeline.
pub const VARIABLE: &str = "REELFLEET_LIFELINE";
/// Beyond the grace: the last flush of the outbox.
const AFTER_GRACE: Duration = Duration::from_secs(10);
/// What workers take to give back what they hold.
const LAST_WORDS: Duration = Duration::from_secs(4);

/// How a process ends when its owner is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It drains.
    Drain,
    /// It stops as at a second signal: without the endpoint, which ends too, nothing more can be finished.
    Abort,
    /// It serves its clients' last words first.
    Linger,
}

/// Watches standard input if this process was started with the lifeline. Call it inside a tokio runtime.
pub fn watch(shutdown: &Shutdown, then: Then) -> std::io::Result<()> {
    if std::env::var_os(VARIABLE).is_none_or(|value| value != "stdin") {
        return Ok(());
    }
    let (ended, shutdown) = (CancellationToken::new(), shutdown.clone());
    let seen = ended.clone();
    std::thread::Builder::new().name("lifeline".into()).spawn(move || {
        wait_for_end(&mut std::io::stdin().lock());
        ended.cancel();
    })?;
    tokio::spawn(async move {
        seen.cancelled().await;
        let grace = match then {
            Then::Drain => {
                shutdown.begin();
                shutdown.grace()
            }
            Then::Abort => {
                shutdown.abort();
                Duration::ZERO
            }
            Then::Linger => {
                tokio::time::sleep(LAST_WORDS).await;
                shutdown.begin();
                Duration::ZERO
            }
        };
        tokio::time::sleep(grace + AFTER_GRACE).await;
        eprintln!("reelfleet: the supervisor is gone and the grace is over");
        std::process::exit(1);
    });
    Ok(())
}

/// Returns when nothing more will come.
fn wait_for_end(input: &mut impl Read) {
    let mut ignored = [0; 64];
    loop {
        match input.read(&mut ignored) {
            Ok(0) => return,
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return,
            _ => {}
        }
    }
}
