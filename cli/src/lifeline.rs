//! The lifeline: how a child learns that its supervisor is gone, even when that was killed.
//!
//! Guarantee: a process that was started with the lifeline begins its shutdown when its standard input ends, and is gone
//! at the latest a little after its grace. The supervisor holds the other end of the pipe and never writes to it; the
//! kernel closes it when the supervisor ends, however it ends.

use std::io::Read;
use std::time::Duration;

use reelfleet_fleet::Shutdown;
use tokio_util::sync::CancellationToken;

/// Set to `stdin` for children whose standard input is the lifeline.
pub const VARIABLE: &str = "REELFLEET_LIFELINE";
/// Beyond the grace: handing back messages, the last flush of the outbox.
const AFTER_GRACE: Duration = Duration::from_secs(10);

/// Watches standard input if this process was started with the lifeline. Call it inside a tokio runtime.
pub fn watch(shutdown: &Shutdown) -> std::io::Result<()> {
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
        shutdown.begin();
        tokio::time::sleep(shutdown.grace() + AFTER_GRACE).await;
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
