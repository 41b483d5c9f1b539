//! What the notifier alone needs to know.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;

/// Settings of the notifier. Flags and environment say the same things; a flag wins.
#[derive(Parser, Clone, Debug)]
#[command(no_binary_name = true)]
pub struct Settings {
    /// Address for WebSockets, server-sent events and health
    #[arg(long = "notifier-listen", env = "REELFLEET_NOTIFIER_LISTEN", default_value = "127.0.0.1:8081")]
    pub listen: SocketAddr,
    /// Connections that one user may hold at once
    #[arg(long, env = "REELFLEET_NOTIFIER_CONNECTIONS_PER_USER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections_per_user: u32,
    /// Seconds between two signs of life on a connection
    #[arg(long, env = "REELFLEET_NOTIFIER_HEARTBEAT_SECONDS", default_value_t = 25, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub heartbeat_seconds: u64,
    /// Seconds between two looks at the event log for doorbells that were lost
    #[arg(long, env = "REELFLEET_NOTIFIER_CHECK_SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=20))]
    pub check_seconds: u64,
}

impl Settings {
    /// The settings from environment variables alone.
    pub fn from_env() -> Result<Self, clap::Error> {
        Self::try_parse_from(std::iter::empty::<String>())
    }

    pub(crate) fn heartbeat(&self) -> Duration {
        Duration::from_secs(self.heartbeat_seconds)
    }

    pub(crate) fn check(&self) -> Duration {
        Duration::from_secs(self.check_seconds)
    }
}
