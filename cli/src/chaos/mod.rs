//! `reelfleet chaos`: a storm over a whole fleet, and whether every promise holds after it.
//!
//! Guarantee: exit code 0 only if no promise is broken; the blows follow from the seed; nothing that it started stays
//! behind, and where something is broken, logs, databases and objects stay as evidence.

mod boxes;
mod decode;
mod inputs;
mod judge;
mod listen;
mod load;
mod playback;
mod processes;
mod quiet;
mod schedule;
mod storm;
mod verdict;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use reelfleet_catalog::Catalog;
use reelfleet_fleet::{Clock, Context, Ids};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::inputs::{Input, Inputs};
use self::judge::{Baseline, Judge};
use self::listen::Listener;
use self::load::{Fate, Load, Sent};
use self::processes::Processes;
use self::quiet::{Level, Waited};
use self::schedule::Schedule;
use self::storm::{Faults, Storm, Struck};
use self::verdict::{Check, Report};
use crate::up::child::Fleet;
use crate::up::ready::Ready;
use crate::upload::client::Api;
use crate::{http_client::Http, private_file, status, worker};

/// Leases, and what follows from them, as short as the slowest machine lets them be.
const VISIBILITY_S: u64 = 9;
const TAKEOVER_GRACE_S: u64 = 2;
/// Longer than any pause: whoever was paused may write until it learns that it lost.
const LOSER_AGE_S: u64 = 30;
const GREETING: Duration = Duration::from_secs(30);

/// Options of `chaos`.
#[derive(Args)]
pub struct ChaosArgs {
    /// Uploads
    #[arg(long, default_value_t = 40, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=99_999))]
    assets: usize,
    /// Processes killed at least
    #[arg(long, default_value_t = 20, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    kills: usize,
    /// The same seed gives the same blows
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Clients that upload, and as many that listen
    #[arg(long, default_value_t = 4, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=16))]
    clients: usize,
    /// Media files, or folders of them; the first .mp4 is also made hostile
    #[arg(long, required = true, num_args = 1.., value_name = "DIR|FILE")]
    media: Vec<PathBuf>,
    /// Faults of the endpoint during the storm: a file of rules, `default` or `none`
    #[arg(long, default_value = "default", value_name = "FILE")]
    faults: String,
    /// Milliseconds between two blows, on average
    #[arg(long, default_value_t = 2_500, value_parser = clap::value_parser!(u64).range(100..=600_000), value_name = "MS")]
    every_ms: u64,
    /// Folder of everything; it must be empty [default: one that is deleted if all promises hold]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Keep the folder in any case
    #[arg(long)]
    keep: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Raises a storm.
pub async fn run(args: ChaosArgs) -> anyhow::Result<ExitCode> {
    let folder = match &args.data {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("reelfleet-chaos-{}", &Ids::new(Clock::system()).token()[..8])),
    };
    private_file::make_folder(&folder)?;
    let folder = folder.canonicalize()?;
    let is_empty = std::fs::read_dir(&folder)?.next().is_none();
    ensure!(is_empty, "{} is not empty: a storm needs a fleet of its own", folder.display());
    let rules = storm::rules(&args.faults, args.seed)?;
    let inputs = Arc::new(Inputs::gather(&args.media, &folder.join("hostile"))?);
    eprintln!("chaos: seed {}, everything in {}", args.seed, folder.display());
    let mut fleet = Fleet::start(&folder, &up_args(), &timings(args.assets))?;
    let storm = async {
        let ready = fleet.ready(&folder).await?;
        Run::new(&args, &folder, &ready, inputs).await?.all(rules).await
    };
    let outcome = tokio::select! {
        outcome = storm => outcome,
        stop = tokio::signal::ctrl_c() => stop.map_err(Into::into).and_then(|()| bail!("interrupted")),
    };
    fleet.stop().await;
    let report = match outcome {
        Ok(report) => report,
        Err(error) => return Err(error.context(format!("evidence is in {}", folder.display()))),
    };
    let broken = report.violations() > 0;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{}", report.text());
    }
    if broken || args.keep {
        eprintln!("chaos: evidence is in {}", folder.display());
    } else if args.data.is_none() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("{} can't be removed", folder.display()))?;
    }
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn up_args() -> Vec<String> {
    ["--transcoders", "2", "--restart-pause-seconds", "2"].map(str::to_owned).to_vec()
}

/// What a crash leaves is taken up within seconds instead of minutes. Whole buckets are read more seldom the more there
/// is to read.
fn timings(assets: usize) -> Vec<(&'static str, String)> {
    let scan = (assets as u64 / 8).clamp(10, 90);
    [
        ("REELFLEET_VISIBILITY_SECONDS", VISIBILITY_S),
        ("REELFLEET_TAKEOVER_GRACE_SECONDS", TAKEOVER_GRACE_S),
        ("REELFLEET_STRANDED_SECONDS", VISIBILITY_S),
        ("REELFLEET_RECONCILE_SECONDS", 3),
        ("REELFLEET_JANITOR_SECONDS", 3),
        ("REELFLEET_LOSER_AGE_SECONDS", LOSER_AGE_S),
        ("REELFLEET_ORPHAN_GRACE_SECONDS", LOSER_AGE_S),
        ("REELFLEET_LOST_NOTIFICATION_SECONDS", 60),
        ("REELFLEET_SCAN_UPLOADS_SECONDS", scan),
        ("REELFLEET_SCAN_OUTPUTS_SECONDS", scan),
    ]
    .map(|(name, seconds)| (name, seconds.to_string()))
    .to_vec()
}

/// One storm.
struct Run<'r> {
    args: &'r ChaosArgs,
    folder: &'r Path,
    ready: &'r Ready,
    api: Api,
    context: Context,
    catalog: Catalog,
    inputs: Arc<Inputs>,
}

impl<'r> Run<'r> {
    async fn new(args: &'r ChaosArgs, folder: &'r Path, ready: &'r Ready, inputs: Arc<Inputs>) -> anyhow::Result<Self> {
        let api = Api::new(Arc::new(Http::new()), &ready.gateway, &ready.api_key);
        let context = status::context(Some(ready)).await?;
        let catalog = worker::catalog(&context);
        Ok(Self { args, folder, ready, api, context, catalog, inputs })
    }

    fn load(&self, gate: &Arc<Semaphore>) -> Load {
        Load {
            api: self.api.clone(),
            s3: self.context.clients.s3.clone(),
            bucket: self.ready.uploads_bucket.clone(),
            folder: self.folder.join("clients"),
            inputs: self.inputs.clone(),
            gate: gate.clone(),
        }
    }

    async fn all(&self, rules: Option<String>) -> anyhow::Result<Report> {
        let began = Instant::now();
        let mut listeners = self.listen().await?;
        let baselines = self.baselines().await?;
        let calm = began.elapsed();
        let faults = Faults::new(Arc::new(Http::new()), &self.ready.aws_endpoint, rules);
        let began = Instant::now();
        let (sent, (diary, befallen)) = self.storm(&faults).await?;
        let befallen = befallen + faults.befallen().await?;
        faults.end().await?;
        let raged = began.elapsed();
        let began = Instant::now();
        let expected = self.inputs.0.len() + acknowledged(&sent);
        note(&format!("the storm is over after {} s: {}", raged.as_secs(), shown(&storm::tally(&diary))));
        let waited = quiet::quiet(&self.context, &self.catalog, expected, told).await;
        let settled = began.elapsed();
        let mut checks = vec![self.quiet(&waited)];
        let processes = Processes::new(self.folder.to_owned(), self.ready);
        let judge = Judge {
            api: &self.api,
            context: &self.context,
            catalog: &self.catalog,
            inputs: &self.inputs,
            baselines: &baselines,
            sent: &sent,
            seed: self.args.seed,
            notifiers: processes.role("notifier"),
            janitor: Duration::from_secs(2 * LOSER_AGE_S + 90),
        };
        note("the judge looks");
        checks.extend(judge.judge(&mut listeners).await);
        let seconds = |time: Duration| json!((time.as_secs_f64() * 10.0).round() / 10.0);
        let figures = BTreeMap::from([
            ("baseline s", seconds(calm)),
            ("storm s", seconds(raged)),
            ("until quiet s", seconds(settled)),
            ("assets", json!(self.args.assets)),
            ("acknowledged", json!(acknowledged(&sent))),
            ("client tries", json!(sent.iter().map(|sent| sent.tries).sum::<u32>())),
            ("requests befallen by faults", json!(befallen)),
            ("kills", json!(storm::kills(&diary))),
            ("blows", json!(storm::tally(&diary))),
        ]);
        let report = Report { command: self.command(), seed: self.args.seed, checks, figures };
        let fates: Vec<Value> = sent
            .iter()
            .map(|s| json!({ "number": s.cargo.number, "name": s.cargo.name, "tries": s.tries, "fate": s.fate }))
            .collect();
        let more = [("blows.json", json!(diary)), ("uploads.json", json!(fates)), ("baseline.json", json!(baselines))];
        report.keep(&self.folder.join("evidence"), &more)?;
        Ok(report)
    }

    /// Clients that listen to everything, to what is theirs, or to both.
    async fn listen(&self) -> anyhow::Result<Vec<Listener>> {
        let topics = [&["ops"][..], &["me"], &["ops", "me"]];
        let mut listeners: Vec<Listener> = (0..self.args.clients)
            .zip(topics.into_iter().cycle())
            .map(|(number, topics)| {
                let name = format!("listener {number} of {}", topics.join(" and "));
                Listener::start(self.api.clone(), name, topics.iter().map(|topic| (*topic).to_owned()).collect())
            })
            .collect();
        for listener in &mut listeners {
            ensure!(
                listener.until(GREETING, |memory| memory.connections > 0).await,
                "{} is not greeted",
                listener.name
            );
        }
        Ok(listeners)
    }

    /// What each input becomes undisturbed, by the same fleet.
    async fn baselines(&self) -> anyhow::Result<Vec<Baseline>> {
        let load = self.load(&Arc::new(Semaphore::new(0)));
        let key = |input: &Input| format!("baseline/{}", input.name);
        for input in &self.inputs.0 {
            load.put_in_bucket(&input.path, &key(input)).await?;
        }
        note(&format!("{} inputs go through undisturbed", self.inputs.0.len()));
        if let Waited::Stuck(level) = quiet::quiet(&self.context, &self.catalog, self.inputs.0.len(), |_| {}).await {
            bail!("without any disturbance the fleet is stuck: {}", serde_json::to_string(&level)?);
        }
        let mut baselines = Vec::new();
        for input in &self.inputs.0 {
            let id = self.api.asset_of_object(&load.bucket, &key(input)).await?;
            let id = id.with_context(|| format!("{} did not become an asset", input.name))?;
            let detail = self.api.asset(&id).await?.with_context(|| format!("{} has no detail", input.name))?;
            let baseline = Baseline::of(&self.api, &detail).await.with_context(|| input.name.clone())?;
            let wanted = if input.refused.is_some() { "refused" } else { "ready" };
            ensure!(
                baseline.state == wanted && baseline.code.as_deref() == input.refused,
                "{} ends {} {:?} undisturbed, {wanted} {:?} was expected",
                input.name,
                baseline.state,
                baseline.code,
                input.refused
            );
            baselines.push(baseline);
        }
        Ok(baselines)
    }

    async fn storm(&self, faults: &Faults) -> anyhow::Result<(Vec<Sent>, (Vec<Struck>, u64))> {
        let gate = Arc::new(Semaphore::new(0));
        let storm = Storm {
            processes: Processes::new(self.folder.to_owned(), self.ready),
            catalog: self.catalog.clone(),
            faults: faults.clone(),
            gate: gate.clone(),
        };
        let past_lease = Duration::from_secs(VISIBILITY_S + TAKEOVER_GRACE_S);
        let schedule = Schedule::new(self.args.seed, Duration::from_millis(self.args.every_ms), past_lease);
        let cargo = self.inputs.cargo(self.args.seed, self.args.assets);
        note(&format!("the storm begins: {} uploads, {} kills", cargo.len(), self.args.kills));
        faults.begin().await?;
        let load = self.load(&gate);
        let blows = async { Ok(storm.rage(schedule, self.args.kills, self.args.assets).await) };
        tokio::try_join!(load.run(cargo, self.args.clients), blows)
    }

    fn quiet(&self, waited: &Waited) -> Check {
        let mut check = Check::new("everything comes to its end").over("assets, tasks, outbox, queues");
        if let Waited::Stuck(level) = waited {
            check.violated("the fleet", format!("is stuck: {}", json!(level)));
        }
        check
    }

    fn command(&self) -> String {
        let ChaosArgs { assets, kills, seed, clients, faults, every_ms, .. } = self.args;
        format!(
            "reelfleet chaos --assets {assets} --kills {kills} --seed {seed} --clients {clients} --faults {faults} \
             --every-ms {every_ms} --media …"
        )
    }
}

fn acknowledged(sent: &[Sent]) -> usize {
    sent.iter().filter(|sent| matches!(sent.fate, Fate::Acknowledged { .. })).count()
}

fn note(what: &str) {
    eprintln!("chaos: {what}");
}

fn told(level: &Level) {
    let counts =
        |map: &BTreeMap<String, i64>| map.iter().map(|(k, v)| format!("{v} {k}")).collect::<Vec<_>>().join(", ");
    note(&format!("assets: {}; tasks: {}; outbox {}", counts(&level.assets), counts(&level.tasks), level.outbox));
}

fn shown(tally: &BTreeMap<String, usize>) -> String {
    tally.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}
