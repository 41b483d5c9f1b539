//! The scaler of `up`: as many workers of a pool as its tasks need, or as many as an operator says.
//!
//! Guarantees: no task is killed or given back by a scale-in: idle workers go first, by the formula only those, and whoever
//! goes is retired, which finishes what it has. An operator's word is read from its row every two seconds and stands through
//! restarts; without one a pool is as `up` was told. What was decided, and why, is kept when it changes.

use std::collections::BTreeMap;

use reelfleet_catalog::Catalog;
use reelfleet_catalog::scaling::{Decided, Desired};
use reelfleet_domain::scaling::{Decision, Load, POOLS, Pool, Reason, Scaler};
use reelfleet_fleet::{Context, QueueName};
use reelfleet_telemetry::ScalingDecided;
use tokio_util::sync::CancellationToken;

use super::supervise::{Health, Spec, Supervisor};
use crate::worker::Role;

/// The pool that has what the uploads' transcoders leave of this machine.
const CAMPAIGN: &str = "backfill";

/// What `up` was told about one pool.
#[derive(Clone, Debug)]
pub struct Told {
    /// The pool.
    pub pool: &'static str,
    /// Its worker.
    pub role: Role,
    /// So many processes, or, where the formula decides, at most so many.
    pub count: u32,
    /// Arguments beyond the role.
    pub args: Vec<String>,
    /// Without an operator's word: by the formula, or as told.
    pub auto: bool,
    /// In place of the formula's own delay of a scale-in.
    pub scale_in_after_s: Option<u32>,
    /// In place of the formula's own target.
    pub target_latency_s: Option<u32>,
}

/// The pools of this machine.
pub struct Scaling {
    pools: Vec<Managed>,
    /// Stops every worker.
    workers: CancellationToken,
    catalog: Catalog,
    context: Context,
}

struct Managed {
    told: Told,
    pool: Pool,
    scaler: Scaler,
    /// Those that are to stay, by name, each with what retires it.
    workers: BTreeMap<String, CancellationToken>,
    /// Number of workers and kind of reason of the last decision.
    last: Option<(u32, &'static str)>,
}

impl Scaling {
    /// Pools as `up` was told.
    pub fn new(context: Context, catalog: Catalog, workers: CancellationToken, told: Vec<Told>) -> Self {
        let managed = |told: Told| {
            let mut pool = POOLS.get(told.pool)?.clone();
            pool.max = told.count;
            pool.min = pool.min.min(pool.max);
            pool.scale_in_after_s = told.scale_in_after_s.unwrap_or(pool.scale_in_after_s);
            pool.target_latency_s = told.target_latency_s.map_or(pool.target_latency_s, f64::from);
            Some(Managed { told, pool, scaler: Scaler::default(), workers: BTreeMap::new(), last: None })
        };
        Self { pools: told.into_iter().filter_map(managed).collect(), workers, catalog, context }
    }

    /// One look: reads what is wanted and what there is to do, and starts and retires workers.
    pub async fn look(&mut self, supervisor: &mut Supervisor) -> anyhow::Result<()> {
        let now = self.context.clock.now_ms();
        let desired = self.catalog.desired().await?;
        let word = |managed: &Managed| desired.iter().find(|word| word.pool == managed.told.pool);
        let by_formula = |managed: &Managed| word(managed).map_or(managed.told.auto, |word| word.workers.is_none());
        // Numbers that a person said need no more than that word: an idle fleet asks one thing at each look.
        let (loads, paused) = if self.pools.iter().any(by_formula) {
            (self.loads(now).await?, self.catalog.paused().await?)
        } else {
            Default::default()
        };
        let mut left = None;
        for managed in &mut self.pools {
            let running = u32::try_from(managed.workers.len()).unwrap_or(u32::MAX);
            let said = desired.iter().find(|word| word.pool == managed.told.pool);
            let is_paused = managed.pool.seconds.keys().all(|queue| paused.iter().any(|p| p.queue == *queue));
            let is_campaign = managed.told.pool == CAMPAIGN;
            if let (true, Some(left)) = (is_campaign, left) {
                managed.pool.max = left;
            }
            let mut decision = match said {
                Some(Desired { workers: Some(count), .. }) => managed.scaler.told(&managed.pool, &loads, *count),
                None if !managed.told.auto => managed.scaler.told(&managed.pool, &loads, managed.told.count),
                _ if is_paused => managed.scaler.paused(&managed.pool, &loads, running),
                _ => managed.scaler.decide(&managed.pool, &loads, running, now),
            };
            if let Some(left) = left
                && is_campaign
                && decision.reason != Reason::Told
                && decision.workers > left
            {
                // It makes room: whoever goes finishes what it has.
                (decision.workers, decision.reason) = (left, Reason::AtMax { wanted: decision.workers.into() });
            }
            if managed.told.role == Role::Transcoder && managed.told.auto && !is_campaign {
                left = Some(managed.told.count.saturating_sub(decision.workers));
            }
            let noted = said.is_some() || managed.told.auto;
            let busy = match decision.workers < running {
                true => self.catalog.busy_instances(now).await?,
                false => Vec::new(),
            };
            managed.follow(&decision, supervisor, &self.workers, &busy);
            let told = (decision.workers, decision.reason.kind());
            if managed.last.replace(told) != Some(told) && noted {
                let (pool, words) = (managed.told.pool, decision.to_string());
                ScalingDecided { pool, running, workers: decision.workers, words: &words }.emit();
                let decided = Decided {
                    pool: pool.to_owned(),
                    at: now,
                    running,
                    workers: decision.workers,
                    needed: decision.needed,
                    reason: decision.reason.kind().to_owned(),
                    words,
                };
                self.catalog.decide(&decided).await?;
            }
        }
        Ok(())
    }

    /// Tasks by their rows, which are the truth; notifications have none, so they are counted on their queue.
    async fn loads(&self, now: i64) -> anyhow::Result<Vec<Load>> {
        let mut loads: BTreeMap<String, (Load, f64)> = BTreeMap::new();
        for waiting in self.catalog.waiting(now).await? {
            let empty = || (Load { queue: waiting.queue.clone(), visible: 0, in_flight: 0, seconds: None }, 0.0);
            let (load, seconds) = loads.entry(waiting.queue.clone()).or_insert_with(empty);
            let part = if waiting.in_flight { &mut load.in_flight } else { &mut load.visible };
            *part += waiting.count;
            *seconds += waiting.seconds * waiting.count as f64;
        }
        let notifications = self.context.queues.depth(&self.context.queues.name(QueueName::Intake)).await?;
        let tasks = loads.into_values().map(|(mut load, seconds)| {
            load.seconds = Some(seconds / (load.visible + load.in_flight).max(1) as f64);
            load
        });
        let intake = Load {
            queue: QueueName::Intake.as_str().to_owned(),
            visible: notifications.visible,
            in_flight: notifications.in_flight,
            seconds: None,
        };
        Ok(tasks.chain([intake]).collect())
    }
}

impl Managed {
    /// Starts and retires.
    fn follow(&mut self, decision: &Decision, supervisor: &mut Supervisor, stop: &CancellationToken, busy: &[String]) {
        let wanted = usize::try_from(decision.workers).unwrap_or(usize::MAX);
        let pool = self.told.pool;
        let kept = supervisor.kept(pool);
        while self.workers.len() < wanted {
            let free = |name: &String| !kept.contains_key(name) && !self.workers.contains_key(name);
            let Some(name) = (1_u32..).map(|number| format!("{pool}-{number}")).find(free) else { break };
            let mut args = vec!["worker".to_owned(), self.told.role.as_str().to_owned()];
            args.extend(self.told.args.iter().cloned());
            let spec = Spec { role: pool, name: name.clone(), args, env: Vec::new(), health: Health::Drawn };
            self.workers.insert(name, supervisor.keep(spec, stop));
        }
        let is_busy = |name: &str| kept.get(name).is_some_and(|instance| busy.contains(instance));
        let mut leaving: Vec<(bool, String)> = self.workers.keys().map(|name| (is_busy(name), name.clone())).collect();
        leaving.sort_by_key(|(busy, name)| (*busy, std::cmp::Reverse(name.len()), std::cmp::Reverse(name.clone())));
        // By the formula as many stay as tasks are in flight, so the rest is idle; who is not yet goes at another look.
        let by_formula = decision.reason != Reason::Told && pool != CAMPAIGN;
        leaving.retain(|(busy, _)| !(by_formula && *busy));
        for (_, name) in leaving.into_iter().take(self.workers.len().saturating_sub(wanted)) {
            if let Some(retired) = self.workers.remove(&name) {
                retired.cancel();
            }
        }
    }
}
