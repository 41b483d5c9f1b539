//! `reelfleet worker <role>`, `gateway` and `migrate`: one role of the fleet in this process.
//!
//! Guarantees: a role starts only on the schema of this build; what it commits is relayed by the same process until the
//! role has ended and once more after that; the health listener lives from the first moment to the last.

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use reelfleet_catalog::Catalog;
use reelfleet_domain::scaling::POOLS;
use reelfleet_events::{Outlet, Progress, Relay};
use reelfleet_fleet::clock::millis;
use reelfleet_fleet::{Config, Context, presence};
use reelfleet_gateway::{GatewayOptions, Sources};
use reelfleet_telemetry::{Format, Tracing};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::lifeline;

/// How long an endpoint may take to start, and when it is asked again.
const ENDPOINT: Duration = Duration::from_secs(60);
const STARTING: Duration = Duration::from_millis(200);

/// The niceness of a campaign's workers.
const LOWEST: i32 = 19;

/// The pool of a campaign's workers; all others are in the pool that has their role's name, if there is one.
const BACKFILL: &str = "backfill";

/// A worker of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Storage notifications become assets; probes and applies policy
    Intake,
    /// Plans, encodes, publishes playlists
    Transcoder,
    /// Posters, storyboards, sizes of still images
    Thumbnailer,
    /// Describes assets, sweeps stranded tasks
    Metadata,
    /// Pushes progress over WebSockets and server-sent events
    Notifier,
    /// Deletes what nobody needs any more
    Janitor,
}

impl Role {
    /// As on the command line and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Transcoder => "transcoder",
            Self::Thumbnailer => "thumbnailer",
            Self::Metadata => "metadata",
            Self::Notifier => "notifier",
            Self::Janitor => "janitor",
        }
    }
}

/// Options of every process of the fleet.
#[derive(Args)]
struct Process {
    /// How log lines look: pretty or json
    #[arg(long, env = "REELFLEET_LOG_FORMAT", default_value = "pretty")]
    log_format: Format,
    #[command(flatten)]
    config: Config,
}

/// Options of `worker`.
#[derive(Args)]
pub struct WorkerArgs {
    /// What it does
    #[arg(value_enum)]
    role: Role,
    /// Tasks at work at once [default: 1, intake and metadata 4]
    #[arg(long, env = "REELFLEET_SLOTS", value_parser = clap::value_parser!(u16).range(1..=256))]
    slots: Option<u16>,
    /// Transcoder: do what campaigns hand out, at the lowest priority of this machine, and nothing else
    #[arg(long, env = "REELFLEET_BACKFILL")]
    backfill: bool,
    /// Thumbnailer: make no storyboards
    #[arg(long, env = "REELFLEET_NO_STORYBOARD")]
    no_storyboard: bool,
    #[command(flatten)]
    process: Process,
}

/// Options of `gateway`.
#[derive(Args)]
pub struct GatewayArgs {
    #[command(flatten)]
    gateway: GatewayOptions,
    #[command(flatten)]
    process: Process,
}

/// Options of `migrate`.
#[derive(Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    config: Config,
}

/// Options of `provision`.
#[derive(Args)]
pub struct ProvisionArgs {
    /// S3 servers that tell by webhook, as the gateway has them: their buckets get no notifications
    #[arg(long, env = "REELFLEET_SOURCES", default_value = "[]", hide_env_values = true)]
    sources: Sources,
    #[command(flatten)]
    config: Config,
}

/// Runs a worker until it has drained.
pub async fn run(args: WorkerArgs) -> anyhow::Result<()> {
    let WorkerArgs { role, slots, backfill, no_storyboard, process } = args;
    if backfill {
        // Its decoders inherit it. Refused or not, it works.
        let _ = rustix::process::nice(LOWEST);
    }
    let pool = if backfill { BACKFILL } else { role.as_str() };
    let running = Running::start(process, role.as_str(), Some(pool)).await?;
    let (context, catalog) = (running.context.clone(), running.catalog.clone());
    let outlet = running.outlet.clone();
    let slots_or = |default: u16| usize::from(slots.unwrap_or(default));
    let work = async move {
        match role {
            Role::Intake => reelfleet_intake::run(context, catalog, slots_or(4)).await,
            Role::Transcoder => {
                reelfleet_transcoder::run(context, catalog, Progress::new(outlet), slots_or(1), backfill).await
            }
            Role::Thumbnailer => {
                let options = reelfleet_thumbnailer::Options { slots: slots_or(1), storyboard: !no_storyboard };
                reelfleet_thumbnailer::run(context, catalog, options).await
            }
            Role::Metadata => reelfleet_metadata::run(context, catalog, slots_or(4)).await,
            Role::Notifier => reelfleet_notifier::run(context, catalog).await,
            Role::Janitor => reelfleet_janitor::run(context, catalog).await,
        }
    };
    running.until_drained(work).await
}

/// Runs the gateway until it has drained.
pub async fn gateway(args: GatewayArgs) -> anyhow::Result<()> {
    let running = Running::start(args.process, "gateway", None).await?;
    let (context, catalog) = (running.context.clone(), running.catalog.clone());
    running.until_drained(async move { Ok(reelfleet_gateway::run(context, catalog, args.gateway).await?) }).await
}

/// Migrates and says how many migrations ran.
pub async fn migrate(args: MigrateArgs) -> anyhow::Result<()> {
    let context = Context::from_config(args.config, "migrate").await?;
    let ran = catalog(&context).migrate(context.clock.now_ms()).await?;
    println!("{ran} migrations ran");
    Ok(())
}

/// Makes buckets, queues, topics and the schema on the endpoint of the environment, once it answers.
pub async fn provision(args: ProvisionArgs) -> anyhow::Result<()> {
    let context = Context::from_config(args.config, "provision").await?;
    let answers = async {
        while let Err(error) = context.clients.sqs.list_queues().max_results(1).send().await {
            // Anything but an answer: it has not started yet.
            if error.raw_response().is_some() {
                return Err(anyhow::Error::new(error).context("the endpoint refuses"));
            }
            tokio::time::sleep(STARTING).await;
        }
        Ok(())
    };
    tokio::time::timeout(ENDPOINT, answers)
        .await
        .context("the endpoint does not answer: is AWS_ENDPOINT_URL right?")??;
    crate::up::provision::provision(&context.clients, &context.config, &args.sources).await?;
    let ran = catalog(&context).migrate(context.clock.now_ms()).await?;
    println!("buckets, queues and topics are there; {ran} migrations ran");
    Ok(())
}

/// The catalog of this process.
pub fn catalog(context: &Context) -> Catalog {
    Catalog::new(
        context.clients.rds.clone(),
        context.config.db_resource_arn.clone(),
        context.config.db_secret_arn.clone(),
        Some(context.config.db_name.clone()),
    )
    .with_takeover_grace(millis(context.config.takeover_grace()))
}

/// Relay and progress of this process, by the same catalog, so that its bell rings for them.
fn outlet(context: &Context, catalog: &Catalog) -> Outlet {
    let (clock, ids) = (context.clock.clone(), context.ids.clone());
    Outlet {
        catalog: catalog.clone(),
        sqs: context.clients.sqs.clone(),
        sns: context.clients.sns.clone(),
        topic_arn: context.config.topic_arn("events"),
        mails_arn: context.config.topic_arn("mails"),
        queue_prefix: context.config.prefix.clone(),
        instance: context.instance.to_string(),
        now: std::sync::Arc::new(move || clock.now_ms()),
        uuid: std::sync::Arc::new(move || ids.uuid()),
    }
}

/// What surrounds a role.
struct Running {
    context: Context,
    catalog: Catalog,
    outlet: Outlet,
    relay: tokio::task::JoinHandle<()>,
    /// Reads what is paused; ends with this.
    paused: AbortOnDropHandle<()>,
    /// Says that this process is there; ends with `stop`.
    presence: tokio::task::JoinHandle<()>,
    /// Stops relay, presence and health listener, after the role.
    stop: CancellationToken,
    /// Spans; the last of them leave at the end.
    tracing: Tracing,
}

impl Running {
    async fn start(process: Process, name: &'static str, pool: Option<&'static str>) -> anyhow::Result<Self> {
        reelfleet_telemetry::init(name, process.log_format)?;
        let context = Context::from_config(process.config, name).await?;
        let tracing = Tracing::start(name, &context.instance)?;
        context.shutdown.listen()?;
        lifeline::watch(&context.shutdown, lifeline::Then::Abort)?;
        let catalog = catalog(&context);
        catalog.check_schema().await?;
        context.paused.refresh(&catalog).await?;
        let paused = AbortOnDropHandle::new(tokio::spawn(context.paused.clone().follow(catalog.clone())));
        let outlet = outlet(&context, &catalog);
        let stop = CancellationToken::new();
        let relay = tokio::spawn(Relay::new(outlet.clone()).run(stop.clone()));
        let pool = pool.filter(|pool| POOLS.contains_key(*pool));
        let presence = tokio::spawn(presence::keep(context.clone(), catalog.clone(), name, pool, stop.clone()));
        Ok(Self { context, catalog, outlet, relay, paused, presence, stop, tracing })
    }

    /// Does the work, then lets the surroundings end.
    async fn until_drained(self, work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
        let Self { context, relay, presence, stop, paused: _paused, tracing, .. } = self;
        let address = context.config.health_listen;
        let (health, until) = (context.health.clone(), stop.clone());
        let listener = async move {
            match address {
                Some(address) => health
                    .serve(address, until.cancelled_owned())
                    .await
                    .with_context(|| format!("REELFLEET_HEALTH_LISTEN: {address} can't be listened on")),
                None => {
                    until.cancelled().await;
                    Ok(())
                }
            }
        };
        let mut listener = tokio::spawn(listener);
        let outcome = tokio::select! {
            outcome = work => outcome,
            failed = &mut listener => failed.map_err(anyhow::Error::new).and_then(|outcome| outcome),
        };
        let ended_by_itself = outcome.is_ok() && !context.shutdown.is_draining();
        stop.cancel();
        let (relayed, told) = tokio::join!(relay, presence);
        tracing.end().await;
        relayed?;
        told?;
        outcome?;
        if ended_by_itself {
            bail!("it ended although nobody asked it to");
        }
        tracing::info!("drained");
        Ok(())
    }
}
