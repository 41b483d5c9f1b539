//! Rows whose time is over.

use std::time::Duration;

use crate::Janitor;

impl Janitor {
    /// The event log is kept for a time; positions go on, and a client that comes later is told to start anew.
    pub(crate) async fn trim_events(&self) -> anyhow::Result<u64> {
        let kept = Duration::from_secs(u64::from(self.options.event_log_hours) * 3_600);
        Ok(self.catalog.trim_events(self.before(kept)).await?)
    }

    /// Realtime tickets that can't be redeemed any more. They live for seconds and are not counted.
    pub(crate) async fn trim_tickets(&self) -> anyhow::Result<u64> {
        self.catalog.trim_tickets(self.context.clock.now_ms()).await?;
        Ok(0)
    }
}
