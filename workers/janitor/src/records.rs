//! Rows whose time is over.

use std::time::Duration;

use crate::Janitor;

/// Long enough to answer "was it sent?"; addresses are kept no longer.
const MAILS_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// As long as a webhook's owner can see what was sent, and send it again.
const DELIVERIES_KEPT: Duration = Duration::from_secs(7 * 86_400);

/// So long operators see that a process fell silent.
const SILENT_SHOWN: Duration = Duration::from_secs(600);

impl Janitor {
    /// The event log is kept for a time; positions go on, and a client that comes later is told to start anew.
    pub(crate) async fn trim_events(&self) -> anyhow::Result<u64> {
        let kept = Duration::from_secs(u64::from(self.options.event_log_hours) * 3_600);
        let own = Duration::from_secs(u64::from(self.options.user_events_days) * 86_400);
        // Nobody's own is kept shorter than everybody's.
        Ok(self.catalog.trim_events(self.before(kept), self.before(own.max(kept))).await?)
    }

    /// Tickets, sessions, invitations and wishes for a password that let nobody in any more. They are not counted.
    pub(crate) async fn trim_credentials(&self) -> anyhow::Result<u64> {
        self.catalog.trim_credentials(self.context.clock.now_ms()).await?;
        Ok(0)
    }

    /// Mails that nobody sent in time are blanked; those that ended are forgotten after a while.
    pub(crate) async fn trim_mails(&self) -> anyhow::Result<u64> {
        let expired = self.catalog.expire_mail(self.context.clock.now_ms()).await?;
        Ok(expired + self.catalog.trim_mail(self.before(MAILS_KEPT)).await?)
    }

    /// Deliveries to webhooks, whatever became of them.
    pub(crate) async fn trim_deliveries(&self) -> anyhow::Result<u64> {
        Ok(self.catalog.trim_deliveries(self.before(DELIVERIES_KEPT)).await?)
    }

    /// Processes that died without a word.
    pub(crate) async fn forget_silent(&self) -> anyhow::Result<u64> {
        Ok(self.catalog.forget_silent(self.before(SILENT_SHOWN)).await?)
    }
}
