//! `reelfleet up`: the whole fleet on this machine.
//!
//! Guarantees: one folder has one supervisor; secrets and ports stay those of the folder; the ready file appears when
//! everything answers and goes when the supervisor ends; workers end before the endpoint that they need.

pub mod child;
pub mod disk;
mod locks;
mod logs;
mod metrics;
pub mod ports;
pub mod provision;
pub mod ready;
mod scale;
mod secrets;
mod supervise;
pub mod topology;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use clap::Args;
use reelfleet_access::{NewKey, Scope, Secret, principal::Scopes};
use reelfleet_fleet::{Clients, Clock, Config, Context, Ids};
use reelfleet_gateway::Sources;
use reelfleet_telemetry::Format;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::locks::Locks;
use self::logs::Logs;
use self::ports::Held;
use self::ready::{Places, Ready};
use self::scale::{Scaling, Told};
use self::secrets::Secrets;
use self::supervise::{Health, Patience, Spec, Supervisor};
use crate::listen::{self, dialled};
use crate::place::program;
use crate::worker::{self, Role};
use crate::{lifeline, private_file};

/// From the start to everything ready.
const STARTUP: Duration = Duration::from_secs(120);
/// A worker's last flush and goodbye, beyond its grace.
const AFTER_GRACE: Duration = Duration::from_secs(10);
/// Between two looks at what there is to do.
const LOOK: Duration = Duration::from_secs(2);
/// Attempt timeout of the calls that provision.
const ATTEMPT: Duration = Duration::from_secs(10);

/// Options of `up`. Everything else is set by the environment, which all processes inherit.
#[derive(Args)]
pub struct UpArgs {
    /// Folder of everything: objects, databases, secrets, logs
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Address of the gateway
    #[arg(long, default_value = "127.0.0.1:8080", value_parser = listen::address, value_name = "ADDR:PORT")]
    pub listen: SocketAddr,
    /// Address of the embedded endpoint [default: a loopback port that the folder keeps]
    #[arg(long, value_parser = listen::address, value_name = "ADDR:PORT")]
    pub aws_listen: Option<SocketAddr>,
    /// URL at which people reach the gateway [default: from --listen]
    #[arg(long, env = "REELFLEET_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// Transcoder processes; with --autoscale at most so many [default: one for each core]
    #[arg(long)]
    pub transcoders: Option<u32>,
    /// Thumbnailer processes; with --autoscale at most so many
    #[arg(long, default_value_t = 1)]
    pub thumbnailers: u32,
    /// Intake processes; with --autoscale at most so many
    #[arg(long, default_value_t = 1)]
    pub intakes: u32,
    /// As many transcoders, thumbnailers and intakes as there is work for
    #[arg(long, env = "REELFLEET_AUTOSCALE")]
    pub autoscale: bool,
    /// With --autoscale: seconds for which fewer have been enough before there are fewer [default: that of schema/scaling.json]
    #[arg(long, value_name = "SECONDS")]
    pub scale_in_after: Option<u32>,
    /// With --autoscale: seconds within which what waits is to be done [default: those of schema/scaling.json]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub target_latency: Option<u32>,
    /// Make no storyboards
    #[arg(long)]
    pub no_storyboard: bool,
    /// URL of a PostgreSQL server for the catalog, instead of SQLite in the folder
    #[arg(long, env = "REELFLEET_LOCAL_POSTGRES", hide_env_values = true, value_name = "URL")]
    pub postgres: Option<String>,
    /// Longest pause before a process that ended is started again; pauses double up to it
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=300), value_name = "SECONDS")]
    pub restart_pause_seconds: u64,
    /// Seconds between two looks whether a process still lives; one that is silent three times is started again
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60), value_name = "SECONDS")]
    pub liveness_seconds: u64,
    /// Write a JSON object here once everything is healthy (mode 0600)
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Show the log lines of all processes
    #[arg(long, short)]
    pub verbose: bool,
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(args: UpArgs) -> anyhow::Result<()> {
    // A person at a terminal is told by sentences, not by log lines.
    let watched = std::io::stderr().is_terminal();
    let init = if watched { reelfleet_telemetry::init_quiet } else { reelfleet_telemetry::init };
    init("up", Format::Pretty)?;
    // Before anything is made: the refusals that people meet most leave no folder behind.
    let gateway = Held::new(args.listen)?;
    let aws = args.aws_listen.map(Held::new).transpose()?;
    Config::from_env()?;
    private_file::make_folder(&args.data)?;
    let folder = args.data.canonicalize().with_context(|| format!("{} can't be used", args.data.display()))?;
    let _locks = Locks::of(&folder).await?;
    let plan = Plan::new(args, folder, gateway, aws)?;
    let context = plan.context()?;
    context.shutdown.listen()?;
    lifeline::watch(&context.shutdown, lifeline::Then::Drain)?;
    let mut supervisor = Supervisor::new(
        plan.environment(),
        Logs::new(&plan.folder.join("logs"), plan.args.verbose)?,
        context.ids.clone(),
        Patience {
            drain: context.config.grace() + AFTER_GRACE,
            longest_pause: Duration::from_secs(plan.args.restart_pause_seconds),
            live_every: Duration::from_secs(plan.args.liveness_seconds),
        },
        context.shutdown.aborted().clone(),
    )?;
    let (workers, endpoint) = (CancellationToken::new(), CancellationToken::new());
    let outcome = tokio::select! {
        outcome = plan.serve(&context, &mut supervisor, &workers, &endpoint) => outcome,
        () = context.shutdown.draining().cancelled() => Ok(()),
    };
    if outcome.is_ok() {
        eprintln!(
            "stopping: running tasks get up to {} s to end; Ctrl-C once more stops at once, and loses nothing",
            context.config.grace_seconds
        );
    }
    supervisor.stop(&workers).await;
    supervisor.stop(&endpoint).await;
    if outcome.is_ok() {
        eprintln!("stopped");
    }
    outcome
}

/// What is to run, and where.
struct Plan {
    args: UpArgs,
    folder: PathBuf,
    config: Config,
    places: Places,
    secrets: Secrets,
    gateway: Held,
    public_url: String,
    aws: Held,
    notifier: Held,
}

impl Plan {
    fn new(args: UpArgs, folder: PathBuf, gateway: Held, aws: Option<Held>) -> anyhow::Result<Self> {
        let places = Places::new(&folder, args.ready_file.clone())?;
        let (aws, notifier) = ports::of_folder(&folder, aws)?;
        let (secrets, _) = Secrets::of(&folder, &Ids::new(Clock::system()))?;
        let public_url = args.public_url.clone().unwrap_or_else(|| format!("http://{}", dialled(gateway.address)));
        let config = Config { public_url: public_url.clone(), ..Config::from_env()? };
        Ok(Self { args, folder, config, places, secrets, gateway, public_url, aws, notifier })
    }

    fn aws_endpoint(&self) -> String {
        format!("http://{}", dialled(self.aws.address))
    }

    /// The supervisor's own context: by the same credentials, whatever the caller's shell holds.
    fn context(&self) -> anyhow::Result<Context> {
        let Secrets { access_key_id, secret_access_key, .. } = &self.secrets;
        let credentials = Credentials::new(access_key_id, secret_access_key, None, None, "reelfleet up");
        let sdk = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.config.region.clone()))
            .endpoint_url(self.aws_endpoint())
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .timeout_config(reelfleet_fleet::aws::timeouts(ATTEMPT))
            .retry_config(RetryConfig::standard())
            .build();
        let clients = Clients::from_sdk(&sdk, &self.config);
        Ok(Context::with_clients(self.config.clone(), "up", clients, Clock::system())?)
    }

    /// What every process gets.
    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.aws_endpoint()),
            ("AWS_REGION", self.config.region.clone()),
            ("AWS_ACCESS_KEY_ID", self.secrets.access_key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secrets.secret_access_key.clone()),
            // No look for credentials anywhere else.
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("REELFLEET_PUBLIC_URL", self.public_url.clone()),
        ]
    }

    /// Starts everything, says so, and keeps the ready file true.
    async fn serve(
        &self,
        context: &Context,
        supervisor: &mut Supervisor,
        workers: &CancellationToken,
        endpoint: &CancellationToken,
    ) -> anyhow::Result<()> {
        if let Some(warning) = disk::warning(&self.folder) {
            eprintln!("{warning}");
        }
        supervisor.keep(self.endpoint(), endpoint);
        supervisor.ready(STARTUP).await?;
        provision::provision(&context.clients, &context.config, &Sources::default()).await?;
        let catalog = worker::catalog(context);
        catalog.migrate(context.clock.now_ms()).await?;
        let api_key = self.first_api_key(context, &catalog).await?;
        let kept = self.folder.join("api-key");
        let is_new = !kept.exists();
        secrets::keep_api_key(&self.folder, &api_key)?;
        for spec in self.fleet() {
            supervisor.keep(spec, workers);
        }
        let mut scaling = Scaling::new(context.clone(), catalog, workers.clone(), self.pools());
        scaling.look(supervisor).await?;
        supervisor.ready(STARTUP).await?;
        let mut ready = Ready {
            gateway: self.public_url.clone(),
            aws_endpoint: self.aws_endpoint(),
            region: self.config.region.clone(),
            uploads_bucket: self.config.uploads.first().map(|route| route.bucket.clone()).unwrap_or_default(),
            outputs_bucket: self.config.outputs_bucket.clone(),
            access_key_id: self.secrets.access_key_id.clone(),
            secret_access_key: self.secrets.secret_access_key.clone(),
            api_key,
            notifier: format!("http://{}", self.notifier.address),
            pids: supervisor.pids(),
            supervisor: std::process::id(),
        };
        let mut changes = supervisor.changes();
        self.places.write(&ready)?;
        metrics::write(&self.folder, &supervisor.metrics())?;
        self.greet(&ready, is_new);
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // The supervisor holds the sender.
                changed = changes.changed() => changed?,
                _ = looks.tick() => {
                    if let Err(error) = scaling.look(supervisor).await {
                        tracing::warn!("scaling: {error:#}");
                    }
                }
            }
            let pids = supervisor.pids();
            if pids != ready.pids {
                ready.pids = pids;
                self.places.write(&ready)?;
                metrics::write(&self.folder, &supervisor.metrics())?;
            }
        }
    }

    fn endpoint(&self) -> Spec {
        let mut args = vec!["local".to_owned(), "--data".to_owned(), self.folder.join("aws").display().to_string()];
        args.extend(["--listen".to_owned(), self.aws.address.to_string()]);
        // By the environment, since a URL may hold a password and arguments are seen by everyone on the machine.
        let env = self.args.postgres.iter().map(|url| ("REELFLEET_LOCAL_POSTGRES", url.clone())).collect();
        let health = Health::Url(format!("{}/_reelfleet/health", self.aws_endpoint()));
        Spec { role: "local", name: "local".to_owned(), args, env, health }
    }

    /// The workers whose number may change.
    fn pools(&self) -> Vec<Told> {
        let cores = std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
        let transcoders = self.args.transcoders.unwrap_or(cores);
        let pictures = if self.args.no_storyboard { vec!["--no-storyboard".to_owned()] } else { Vec::new() };
        [
            ("intake", Role::Intake, self.args.intakes, Vec::new()),
            ("transcoder", Role::Transcoder, transcoders, Vec::new()),
            ("thumbnailer", Role::Thumbnailer, self.args.thumbnailers, pictures),
            // There is one while a campaign runs, whatever the others are.
            (
                "backfill",
                Role::Transcoder,
                if self.args.autoscale { transcoders } else { 1 },
                vec!["--backfill".to_owned()],
            ),
        ]
        .into_iter()
        .map(|(pool, role, count, args)| Told {
            pool,
            role,
            count,
            args,
            auto: self.args.autoscale || pool == "backfill",
            scale_in_after_s: self.args.scale_in_after,
            target_latency_s: self.args.target_latency,
        })
        .collect()
    }

    /// The other workers and the gateway: one each.
    fn fleet(&self) -> Vec<Spec> {
        let mut specs: Vec<Spec> = [Role::Metadata, Role::Janitor]
            .map(Role::as_str)
            .map(|role| Spec {
                role,
                name: role.to_owned(),
                args: vec!["worker".to_owned(), role.to_owned()],
                env: Vec::new(),
                health: Health::Drawn,
            })
            .into();
        let notifier = format!("http://{}", self.notifier.address);
        specs.push(Spec {
            role: Role::Notifier.as_str(),
            name: Role::Notifier.as_str().to_owned(),
            args: vec!["worker".to_owned(), Role::Notifier.as_str().to_owned()],
            env: vec![
                ("REELFLEET_NOTIFIER_LISTEN", self.notifier.address.to_string()),
                ("REELFLEET_WEBHOOK_SECRET", self.secrets.webhook_secret.clone()),
            ],
            health: Health::At(notifier.clone()),
        });
        specs.push(Spec {
            role: "gateway",
            name: "gateway".to_owned(),
            args: vec!["gateway".to_owned()],
            env: vec![
                ("REELFLEET_GATEWAY_LISTEN", self.gateway.address.to_string()),
                ("REELFLEET_NOTIFIER_URL", notifier),
                ("REELFLEET_PLAYBACK_SECRET", self.secrets.playback_secret.clone()),
                ("REELFLEET_SESSION_SECRET", self.secrets.session_secret.clone()),
                ("REELFLEET_WEBHOOK_SECRET", self.secrets.webhook_secret.clone()),
                // On one's own machine whoever comes first is who runs it.
                ("REELFLEET_SIGN_UP", std::env::var("REELFLEET_SIGN_UP").unwrap_or_else(|_| "open".to_owned())),
            ],
            // The public port has neither health nor metrics.
            health: Health::Drawn,
        });
        specs
    }

    /// The folder's first API key, which may do everything. Issuing it again changes nothing.
    async fn first_api_key(&self, context: &Context, catalog: &reelfleet_catalog::Catalog) -> anyhow::Result<String> {
        let secret =
            Secret::from_hex(&self.secrets.api_key_secret).context("secrets.json: api_key_secret is damaged")?;
        let tenant = self.config.uploads.first().map_or("default", |route| route.tenant.as_str());
        let key = NewKey {
            id: self.secrets.api_key_id,
            secret,
            tenant,
            owner: "operator",
            expires_at: None,
            name: "first key, made by `reelfleet up`",
            scopes: Scopes::of(&[Scope::Admin, Scope::Ops]),
        };
        Ok(reelfleet_access::keys::issue(catalog, context.clock.now_ms(), &key).await?)
    }

    /// What a person needs to know. The API key is shown once; later it is in its file.
    fn greet(&self, ready: &Ready, key_is_new: bool) {
        let (folder, program) = (self.folder.display(), program());
        let processes: Vec<String> = ready.pids.iter().map(|(role, pids)| format!("{} {role}", pids.len())).collect();
        let key = if key_is_new {
            format!("{} (shown once; kept in {folder}/api-key)", ready.api_key)
        } else {
            format!("in {folder}/api-key")
        };
        let gateway = &ready.gateway;
        let text = format!(
            "reelfleet is up: {}\n\n  \
             web app    {gateway} (who signs up first administers it)\n  \
             API        {gateway}/v1\n  \
             API key    {key}\n  \
             S3         {} (whatever lands in {} is processed)\n  \
             keys       in {folder}/ready.json\n  \
             logs       {folder}/logs\n  \
             try        {program} upload --data {folder} FILE\n  \
             shell      eval \"$({program} env --data {folder})\"   (endpoint, keys and gateway for this shell)\n  \
             stop       Ctrl-C\n",
            processes.join(", "),
            ready.aws_endpoint,
            ready.uploads_bucket,
        );
        // Nobody may be reading.
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }
}
