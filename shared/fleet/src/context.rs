//! What a role is started with: everything it may use of the outside world.
//!
//! Guarantee: a role that is given a [`Context`] needs nothing global, so several roles live in one process, and a test
//! can replace clock, endpoint and shutdown.

use std::sync::Arc;

use reelfleet_telemetry::{Metrics, MetricsError};

use crate::aws::Clients;
use crate::clock::{Clock, Ids};
use crate::config::{Config, ConfigError};
use crate::consumer::{Consumer, Settings};
use crate::health::Health;
use crate::pause::Paused;
use crate::protection::ScaleInProtection;
use crate::queues::{QueueName, Queues, QueuesError};
use crate::shutdown::Shutdown;
use crate::sqs::SqsQueue;

/// Why a role could not be given its context.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The configuration does not fit together.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// Metrics could not be set up.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

/// The outside world of a role. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Context {
    /// The configuration, validated.
    pub config: Arc<Config>,
    /// AWS clients.
    pub clients: Clients,
    /// Names and URLs of queues.
    pub queues: Queues,
    /// The wall clock.
    pub clock: Clock,
    /// Random ids.
    pub ids: Ids,
    /// The name of this process in leases, logs and dead letters.
    pub instance: Arc<str>,
    /// The end of the process.
    pub shutdown: Shutdown,
    /// The health of the process.
    pub health: Health,
    /// Scale-in protection, on ECS.
    pub protection: Option<ScaleInProtection>,
    /// Queues of which nothing is taken.
    pub paused: Paused,
}

impl Context {
    /// The context of `service`. It listens for no signal: the program does, by `context.shutdown.listen()`.
    pub async fn from_config(config: Config, service: &str) -> Result<Self, ContextError> {
        config.validate()?;
        let clients = Clients::connect(&config).await;
        Self::with_clients(config, service, clients, Clock::system())
    }

    /// The same with clients and clock made elsewhere. Call it inside a tokio runtime.
    pub fn with_clients(config: Config, service: &str, clients: Clients, clock: Clock) -> Result<Self, ContextError> {
        config.validate()?;
        let ids = Ids::new(clock.clone());
        let instance = config.instance.clone().unwrap_or_else(|| instance_name(&ids));
        let shutdown = Shutdown::new(config.grace());
        let health = Health::new(service, shutdown.clone(), Some(Metrics::install()?));
        Ok(Self {
            queues: Queues::new(clients.sqs.clone(), &config.prefix),
            config: Arc::new(config),
            clients,
            clock,
            ids,
            instance: instance.into(),
            shutdown,
            health,
            protection: ScaleInProtection::from_env(),
            paused: Paused::default(),
        })
    }

    /// The same process as seen by another role in it.
    #[must_use]
    pub fn with_instance(&self, instance: &str) -> Self {
        Self { instance: instance.into(), ..self.clone() }
    }

    /// A consumer of one of the fleet's queues, with the visibility of the configuration.
    pub async fn consumer(&self, queue: QueueName, settings: Settings) -> Result<Consumer, QueuesError> {
        let sqs =
            SqsQueue::new(self.clients.sqs.clone(), self.queues.url(queue).await?, self.queues.dlq_url(queue).await?);
        Ok(Consumer::new(
            self.queues.name(queue),
            Arc::new(sqs),
            Settings { visibility: self.config.visibility(), ..settings },
            self.clock.clone(),
            self.shutdown.clone(),
            &self.health,
        )
        .with_protection(self.protection.clone())
        .with_gate(self.paused.gate(queue)))
    }
}

/// `host-pid-random`: tells processes apart on one machine and after a restart, in at most 40 characters.
fn instance_name(ids: &Ids) -> String {
    let random: String = ids.token().chars().take(6).collect();
    format!("{}-{}-{random}", host_name(20), std::process::id())
}

/// The name of this machine, as far as it is letters, digits and `-`; at most so many of them.
pub(crate) fn host_name(most: usize) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(most).collect();
    if host.is_empty() { "host".to_owned() } else { host }
}
