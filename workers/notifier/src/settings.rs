//! What the notifier alone needs to know.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use lettre::message::Mailbox;
use reelfleet_access::targets::Exceptions;
use reelfleet_domain::webhook::PAUSES_S;

use crate::mail::SmtpServer;

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
    /// SMTP server for mails to one person: `smtps://user:password@host`, `smtp://host:587` (STARTTLS); `smtp://localhost` and `?tls=none` are plain
    #[arg(long, env = "REELFLEET_SMTP_URL", hide_env_values = true)]
    pub smtp_url: Option<SmtpServer>,
    /// Sender of mails: `Reelfleet <noreply@example.com>`
    #[arg(long, env = "REELFLEET_MAIL_FROM")]
    pub mail_from: Option<Mailbox>,
    /// Seconds between two looks for mails that are due
    #[arg(long, env = "REELFLEET_MAIL_SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub mail_seconds: u64,
    /// Seconds for which what is ready or failed is gathered into one mail per uploader
    #[arg(long, env = "REELFLEET_NOTICE_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub notice_seconds: u64,
    /// Whether subscribers of the topic `mails` are written to (SNS delivers); looked at as often as notices are gathered
    #[arg(long, env = "REELFLEET_TOPIC_MAILS", default_value_t = false, action = clap::ArgAction::Set)]
    pub topic_mails: bool,
    /// Secret that the secrets of webhooks are made of, at least 32 bytes; the same for all gateways and notifiers. Without it no webhook is sent
    #[arg(long, env = "REELFLEET_WEBHOOK_SECRET", hide_env_values = true)]
    pub webhook_secret: Option<String>,
    /// Hosts that webhooks may go to though they are private or without TLS: `host` or `host:port`, separated by commas
    #[arg(long, env = "REELFLEET_WEBHOOK_ALLOW", default_value = "")]
    pub webhook_allow: Exceptions,
    /// Seconds that a webhook's endpoint may take to answer
    #[arg(long, env = "REELFLEET_WEBHOOK_TIMEOUT_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=30))]
    pub webhook_timeout_seconds: u64,
    /// Seconds before the second, third … attempt of a webhook's delivery
    #[arg(long, env = "REELFLEET_WEBHOOK_PAUSES", value_delimiter = ',', default_values_t = PAUSES_S)]
    pub webhook_pauses: Vec<u64>,
    /// Seconds between two looks for webhooks' deliveries that are due
    #[arg(long, env = "REELFLEET_WEBHOOK_SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub webhook_seconds: u64,
}

impl Settings {
    /// The settings from environment variables alone.
    pub fn from_env() -> Result<Self, clap::Error> {
        Self::try_parse_from(std::iter::empty::<String>())
    }

    /// Where mails go, and from whom; none: nobody is written to.
    pub(crate) fn mail(&self) -> anyhow::Result<Option<(&SmtpServer, &Mailbox)>> {
        let Some(server) = &self.smtp_url else { return Ok(None) };
        let from = self.mail_from.as_ref().context("REELFLEET_SMTP_URL is set: set REELFLEET_MAIL_FROM too")?;
        Ok(Some((server, from)))
    }

    pub(crate) fn heartbeat(&self) -> Duration {
        Duration::from_secs(self.heartbeat_seconds)
    }

    pub(crate) fn check(&self) -> Duration {
        Duration::from_secs(self.check_seconds)
    }
}
