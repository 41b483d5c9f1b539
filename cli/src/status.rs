//! `reelfleet status`: assets by state, tasks by queue and state, depths of queues, processes.
//!
//! Guarantee: it only reads. With `--data` it reads what a running `reelfleet up` serves; without, what the environment
//! names, as a worker would.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use clap::Args;
use reelfleet_catalog::Catalog;
use reelfleet_domain::scaling::POOLS;
use reelfleet_fleet::aws::timeouts;
use reelfleet_fleet::{Clients, Clock, Config, Context, QueueName};
use serde::Serialize;

use crate::reach::{Reached, Unreached, must_answer};
use crate::table;
use crate::up::ready::{self, Ready};
use crate::worker;

/// Attempt timeout of every call.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Nobody waits longer to hear that there is nobody.
const PATIENCE: Duration = Duration::from_secs(6);

/// Options of `status`.
#[derive(Args)]
pub struct StatusArgs {
    /// Folder of a running `reelfleet up` [default: the environment]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// How it stands.
#[derive(Debug, Serialize)]
struct Status {
    /// Assets by state.
    assets: BTreeMap<String, i64>,
    /// Tasks that are not over, and those that failed, by queue and state.
    tasks: Vec<Tasks>,
    queues: Vec<Depth>,
    /// Short names of queues of which no new tasks are taken.
    paused: Vec<String>,
    /// Pools that are scaled: what was asked of them, what there is, and what was decided last.
    pools: Vec<PoolState>,
    /// By role; empty without `--data`.
    processes: BTreeMap<String, Vec<Process>>,
}

/// A pool of workers that is scaled.
#[derive(Debug, Serialize)]
pub struct PoolState {
    pool: String,
    /// What an operator asked for: a number, `auto`; nothing: as `up` was told.
    asked: Option<String>,
    by: Option<String>,
    /// Workers that there are, by their own signs of life.
    workers: u32,
    /// Workers that there are to be, and why, where that was decided.
    decided: Option<u32>,
    why: Option<String>,
}

#[derive(Debug, Serialize)]
struct Tasks {
    queue: String,
    kind: String,
    state: String,
    count: i64,
}

/// Messages of a queue, approximately, as SQS says.
#[derive(Debug, Serialize)]
pub struct Depth {
    /// Full name.
    pub queue: String,
    /// Can be received.
    pub visible: u64,
    /// Received, and not deleted yet.
    pub in_flight: u64,
    /// Not to be received yet.
    pub delayed: u64,
}

#[derive(Debug, Serialize)]
struct Process {
    pid: u32,
    running: bool,
}

/// Prints the status.
pub async fn run(args: StatusArgs) -> anyhow::Result<()> {
    let ready = args.data.as_deref().map(|folder| Ready::read(&ready::in_folder(folder))).transpose()?;
    let context = context(ready.as_ref()).await?;
    let catalog = worker::catalog(&context);
    let status = Status {
        assets: catalog.asset_counts().await?.into_iter().collect(),
        tasks: catalog.task_counts().await?.into_iter().map(tasks).collect(),
        queues: depths(&context).await?,
        paused: catalog.paused().await?.into_iter().map(|paused| paused.queue).collect(),
        pools: pools(&catalog, context.clock.now_ms()).await?,
        processes: ready.map(|ready| processes(&ready)).unwrap_or_default(),
    };
    if args.json {
        println!("{}", serde_json::to_string(&status)?);
    } else {
        print!("{}", text(&status));
    }
    Ok(())
}

/// A context that reads what the ready file names, or what the environment does. Refused at once, in one line, where
/// nobody answers there or there are no credentials.
pub async fn context(ready: Option<&Ready>) -> anyhow::Result<Context> {
    Ok(reach(ready).await?.context)
}

/// The same, with what the other side's first answer said besides.
pub async fn reach(ready: Option<&Ready>) -> anyhow::Result<Reached> {
    let config = Config::from_env()?;
    let sdk = match ready {
        Some(ready) => {
            let credentials =
                Credentials::new(&ready.access_key_id, &ready.secret_access_key, None, None, "ready file");
            SdkConfig::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new(ready.region.clone()))
                .endpoint_url(&ready.aws_endpoint)
                .credentials_provider(SharedCredentialsProvider::new(credentials))
                .timeout_config(timeouts(ATTEMPT))
                .retry_config(RetryConfig::standard())
                .build()
        }
        None => from_environment(&config).await?,
    };
    let (clients, clock) = (Clients::from_sdk(&sdk, &config), Clock::system());
    let place = sdk.endpoint_url().unwrap_or("AWS").to_owned();
    let ahead_s = must_answer(&clients, &clock, &place, PATIENCE).await?;
    let context = Context::with_clients(config, "status", clients, clock)?;
    Ok(Reached { context, place, ahead_s })
}

/// What the SDK finds in the environment, looked for no longer than [`PATIENCE`].
async fn from_environment(config: &Config) -> Result<SdkConfig, Unreached> {
    let looking = async {
        let sdk = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(config.region.clone()))
            .timeout_config(timeouts(ATTEMPT))
            .retry_config(RetryConfig::standard())
            .load()
            .await;
        let found = match sdk.credentials_provider() {
            Some(provider) => provider.provide_credentials().await.is_ok(),
            None => false,
        };
        found.then_some(sdk)
    };
    tokio::time::timeout(PATIENCE, looking).await.ok().flatten().ok_or(Unreached::Nowhere)
}

fn tasks((queue, kind, state, count): (String, String, String, i64)) -> Tasks {
    Tasks { queue, kind, state, count }
}

/// Messages of every queue and its dead-letter queue.
pub async fn depths(context: &Context) -> anyhow::Result<Vec<Depth>> {
    let mut depths = Vec::new();
    for queue in QueueName::ALL {
        for name in [context.queues.name(queue), context.queues.dlq_name(queue)] {
            depths.push(depth(context, &name).await?);
        }
    }
    Ok(depths)
}

/// Messages of one queue, by its full name.
async fn depth(context: &Context, name: &str) -> anyhow::Result<Depth> {
    let reelfleet_fleet::Depth { visible, in_flight, delayed } = context.queues.depth(name).await?;
    Ok(Depth { queue: name.to_owned(), visible, in_flight, delayed })
}

/// The pools that are scaled, as operators and the scaler have said.
pub async fn pools(catalog: &Catalog, now: i64) -> anyhow::Result<Vec<PoolState>> {
    let (desired, there, mut pools) = (catalog.desired().await?, catalog.process_counts(now).await?, Vec::new());
    for pool in POOLS.keys() {
        let asked = desired.iter().find(|desired| desired.pool == *pool);
        let decided = catalog.decisions(pool, 1).await?.pop();
        pools.push(PoolState {
            pool: pool.clone(),
            asked: asked.map(|asked| asked.workers.map_or_else(|| "auto".to_owned(), |count| count.to_string())),
            by: asked.map(|asked| asked.by.clone()),
            workers: there.iter().filter(|(_, of, _)| of.as_ref() == Some(pool)).map(|(.., count)| count).sum(),
            decided: decided.as_ref().map(|decided| decided.workers),
            why: decided.map(|decided| decided.words),
        });
    }
    Ok(pools)
}

impl PoolState {
    /// Headings of a table of pools.
    pub const HEADINGS: [&str; 5] = ["pool", "asked for", "workers", "decided", "why"];

    /// Its row of that table.
    pub fn row(&self) -> Vec<String> {
        let asked = match (&self.asked, &self.by) {
            (Some(asked), Some(by)) => format!("{asked} ({by})"),
            _ => "as started".to_owned(),
        };
        let decided = self.decided.map_or_else(|| "—".to_owned(), |count| count.to_string());
        vec![self.pool.clone(), asked, self.workers.to_string(), decided, self.why.clone().unwrap_or_default()]
    }
}

fn processes(ready: &Ready) -> BTreeMap<String, Vec<Process>> {
    let running = |pid: u32| std::path::Path::new("/proc").join(pid.to_string()).exists();
    let each = |pids: &Vec<u32>| pids.iter().map(|pid| Process { pid: *pid, running: running(*pid) }).collect();
    ready.pids.iter().map(|(role, pids)| (role.clone(), each(pids))).collect()
}

fn text(status: &Status) -> String {
    let assets = status.assets.iter().map(|(state, count)| vec![state.clone(), count.to_string()]);
    let tasks =
        status.tasks.iter().map(|t| vec![t.queue.clone(), t.kind.clone(), t.state.clone(), t.count.to_string()]);
    // Empty dead-letter queues are no news.
    let queues = status.queues.iter().filter(|q| !q.queue.ends_with("-dlq") || q.visible + q.in_flight > 0);
    let queues =
        queues.map(|q| vec![q.queue.clone(), q.visible.to_string(), q.in_flight.to_string(), q.delayed.to_string()]);
    let processes = status.processes.iter().map(|(role, processes)| {
        let each = processes.iter().map(|p| if p.running { p.pid.to_string() } else { format!("{} (gone)", p.pid) });
        vec![role.clone(), each.collect::<Vec<_>>().join(" ")]
    });
    // A pool that nobody scales and that has no workers is no news.
    let pools = status.pools.iter().filter(|pool| pool.asked.is_some() || pool.decided.is_some() || pool.workers > 0);
    let mut text = String::new();
    for (headings, rows) in [
        (&["assets", "count"][..], assets.collect::<Vec<_>>()),
        (&["tasks in", "kind", "state", "count"], tasks.collect()),
        (&["queue", "visible", "in flight", "delayed"], queues.collect()),
        (&["paused queue"], status.paused.iter().map(|queue| vec![queue.clone()]).collect()),
        (&PoolState::HEADINGS, pools.map(PoolState::row).collect()),
        (&["process", "pid"], processes.collect()),
    ] {
        if !rows.is_empty() {
            text.push_str(&table::render(headings, &rows));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::ports::Held;

    #[test]
    fn empty_sections_and_empty_dead_letter_queues_are_left_out() {
        let depth = |queue: &str, visible| Depth { queue: queue.into(), visible, in_flight: 0, delayed: 0 };
        let pool = |pool: &str, workers| {
            let (pool, asked) = (pool.to_owned(), None);
            PoolState { pool, asked, by: None, workers, decided: None, why: None }
        };
        let status = Status {
            assets: BTreeMap::from([("ready".into(), 2)]),
            tasks: Vec::new(),
            queues: vec![depth("q", 0), depth("q-dlq", 0), depth("r-dlq", 3)],
            paused: vec!["transcode".into()],
            pools: vec![pool("transcoder", 2), pool("backfill", 0)],
            processes: BTreeMap::from([("gateway".into(), vec![Process { pid: 7, running: false }])]),
        };
        let text = text(&status);
        assert!(text.contains("ready") && text.contains("7 (gone)") && text.contains("r-dlq"));
        assert!(text.contains("paused queue\n────────────\ntranscode"), "{text}");
        assert!(text.contains("transcoder  as started") && !text.contains("backfill"), "{text}");
        assert!(!text.contains("q-dlq  0") && !text.contains("tasks in"), "{text}");
    }

    #[tokio::test]
    async fn nobody_at_the_endpoint_is_said_in_one_line() {
        let held = Held::loopback(0).unwrap();
        let free = held.address;
        let ready: Ready = serde_json::from_value(serde_json::json!({
            "gateway": "", "api_key": "", "aws_endpoint": format!("http://{free}"), "region": "us-east-1",
            "uploads_bucket": "", "outputs_bucket": "", "access_key_id": "RF1", "secret_access_key": "s",
            "notifier": "", "pids": {}, "supervisor": 1,
        }))
        .unwrap();
        let error = format!("{:#}", context(Some(&ready)).await.unwrap_err());
        assert_eq!(error, format!("http://{free} does not answer: is `reelfleet up` running?"));
    }
}
