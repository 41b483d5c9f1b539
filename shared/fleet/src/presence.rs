//! Presence: a row of the catalog by which operators see that this process is there, idle or not.
//!
//! Guarantees: one statement each [`EVERY`] and one more when the process begins to leave; nothing waits for it, and a
//! catalog that does not answer costs nothing but the row's freshness. The row goes with an orderly end; that of a process
//! that died grows old, counts no more after [`reelfleet_catalog::processes::FRESH_MS`], and the janitor sweeps it.

use std::time::Duration;

use reelfleet_catalog::Catalog;
use reelfleet_catalog::processes::Process;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::context::{Context, host_name};

/// Between two signs of life.
pub const EVERY: Duration = Duration::from_secs(15);
/// The end of the process waits no longer for its row's.
const LAST_WORD: Duration = Duration::from_secs(1);
/// Longest name of a machine that is kept.
const HOST: usize = 60;

/// Gives signs of life until `end`. `pool`: the one that it belongs to, where it is scaled.
pub async fn keep(context: Context, catalog: Catalog, role: &str, pool: Option<&str>, end: CancellationToken) {
    let now = context.clock.now_ms();
    let mut process = Process {
        instance: context.instance.to_string(),
        role: role.to_owned(),
        pool: pool.map(str::to_owned),
        host: host_name(HOST),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: now,
        seen_at: now,
        leaving: context.shutdown.is_draining(),
    };
    let mut due = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = end.cancelled() => break,
            () = context.shutdown.draining().cancelled(), if !process.leaving => process.leaving = true,
            () = tokio::time::sleep_until(due) => {}
        }
        due = Instant::now() + EVERY;
        process.seen_at = context.clock.now_ms();
        tokio::select! {
            biased;
            () = end.cancelled() => break,
            told = catalog.alive(&process) => if let Err(error) = told {
                tracing::debug!(%error, "a sign of life was not kept");
            },
        }
    }
    // At a second signal nothing is waited for.
    if !context.shutdown.aborted().is_cancelled() {
        match timeout(LAST_WORD, catalog.ended(&process)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the row of this process stays until it is swept"),
            Err(_) => tracing::debug!("the row of this process stays until it is swept"),
        }
    }
}
