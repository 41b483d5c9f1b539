//! `GET /v1/ops`: queues, pools and what is at work, as they are now; `GET /v1/ops/audit`: who did what.
//!
//! Guarantees: workers are counted by their own signs of life, wherever they run and whoever scales them; what was decided or
//! asked for is told apart. Tasks are counted by their rows; queues whose messages are no tasks by themselves, and one that can't
//! be looked at is told as not known, never as empty. The queue that needs its operator most is first: what no worker takes before what will take
//! longest.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use reelfleet_access::Scope;
use reelfleet_catalog::figures::{AtWork, QueueFigures};
use reelfleet_catalog::processes::Process;
use reelfleet_catalog::scaling::{Decided, Desired};
use reelfleet_domain::backlog::Backlog;
use reelfleet_domain::scaling::{POOLS, Pool};
use reelfleet_fleet::{Depth, QueueName};
use serde_json::{Value, json};

use crate::app::{App, rfc3339};
use crate::auth::audit;
use crate::caller::Caller;
use crate::paging::Page;
use crate::problem::Problem;

/// Tasks at work that are shown.
const MOST: i64 = 500;
/// Decisions of a pool that are shown.
const DECISIONS: i64 = 20;
/// Processes that are shown.
const PROCESSES: i64 = 500;

/// How many processes are there to take work, by role and pool.
struct There(Vec<(String, Option<String>, u32)>);

impl There {
    fn in_pool(&self, pool: &str) -> u32 {
        self.0.iter().filter(|(_, of, _)| of.as_deref() == Some(pool)).map(|(.., count)| count).sum()
    }

    /// Those that take from a queue: its pool, or the worker that it is named after.
    fn at_queue(&self, queue: &str, pool: Option<&str>) -> u32 {
        match pool {
            Some(pool) => self.in_pool(pool),
            None => self.0.iter().filter(|(role, ..)| role == queue).map(|(.., count)| count).sum(),
        }
    }
}

/// All of it at once, so that a page shows one moment.
pub(crate) async fn show(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, Problem> {
    caller.with(Scope::Ops)?;
    let (now, catalog) = (app.now(), &app.catalog);
    let (mut figures, at_work, desired, paused, counts, processes, backlogs) = tokio::try_join!(
        catalog.queue_figures(now),
        catalog.at_work(now, MOST),
        catalog.desired(),
        catalog.paused(),
        catalog.process_counts(now),
        catalog.processes(PROCESSES),
        catalog.backlogs(),
    )?;
    let mut unknown = Vec::new();
    for (queue, depth) in app.depths().await {
        let since = backlogs.iter().find(|(name, _)| name == queue.as_str()).map(|(_, backlog)| *backlog);
        match depth {
            Some(depth) => figures.push(without_tasks(queue, depth, since)),
            None => unknown.push(queue),
        }
    }
    let there = There(counts);
    let mut decisions: BTreeMap<&str, Vec<Decided>> = BTreeMap::new();
    for pool in POOLS.keys() {
        decisions.insert(pool, catalog.decisions(pool, DECISIONS).await?);
    }
    let mut queues: Vec<(f64, Value)> = QueueName::ALL
        .iter()
        .map(|name| {
            let of = figures.iter().find(|figures| figures.queue == name.as_str());
            let pool = POOLS.iter().find(|(_, pool)| pool.seconds.contains_key(name.as_str()));
            let workers = there.at_queue(name.as_str(), pool.map(|(pool, _)| pool.as_str()));
            let stopped = paused.iter().find(|paused| paused.queue == name.as_str());
            let mut shown = queue(now, name.as_str(), of, pool, workers);
            if unknown.contains(name) {
                for figure in ["waiting", "running", "delayed", "work_seconds"] {
                    shown[figure] = Value::Null;
                }
            }
            shown["paused"] = stopped.map_or(Value::Null, |p| json!({ "by": p.by, "at": rfc3339(p.at) }));
            (urgency(of, workers), shown)
        })
        .collect();
    queues.sort_by(|a, b| b.0.total_cmp(&a.0));
    let pools: Vec<Value> = POOLS
        .iter()
        .map(|(name, bounds)| {
            let asked = desired.iter().find(|desired| desired.pool == *name);
            let decisions = decisions.get(name.as_str()).map_or(&[][..], Vec::as_slice);
            let between = app.context.config.ecs_services.bounds(name).unwrap_or((bounds.min, bounds.max));
            pool(name, bounds, between, there.in_pool(name), asked, decisions)
        })
        .collect();
    let at_work: Vec<Value> = at_work.iter().map(|work| self::at_work(now, work)).collect();
    Ok(Json(json!({
        "at": rfc3339(now),
        "queues": queues.into_iter().map(|(_, shown)| shown).collect::<Vec<_>>(),
        "pools": pools,
        "processes": processes.iter().map(|one| process(now, one, &at_work)).collect::<Vec<_>>(),
        "at_work": at_work,
    })))
}

/// What operators did, the latest first.
pub(crate) async fn audit(State(app): State<Arc<App>>, caller: Caller, page: Page) -> Result<Json<Value>, Problem> {
    caller.with(Scope::Ops)?;
    audit::page(&app, None, None, &page).await
}

impl App {
    /// What lies in the queues whose messages are no tasks, as far as they say so.
    async fn depths(&self) -> Vec<(QueueName, Option<Depth>)> {
        let queues = &self.context.queues;
        let ask = async |queue: QueueName| match queues.depth(&queues.name(queue)).await {
            Ok(depth) => (queue, Some(depth)),
            Err(error) => {
                tracing::warn!(%error, "a queue's depth is not known");
                (queue, None)
            }
        };
        let [intake, janitor, metadata] = QueueName::WITHOUT_TASKS;
        <[_; 3]>::from(tokio::join!(ask(intake), ask(janitor), ask(metadata))).to_vec()
    }
}

/// Figures of a queue whose messages no row stands for; since when they wait the janitor has noted.
fn without_tasks(queue: QueueName, depth: Depth, backlog: Option<Backlog>) -> QueueFigures {
    let count = |number| i64::try_from(number).unwrap_or(i64::MAX);
    let seconds = POOLS.values().find_map(|pool| pool.seconds.get(queue.as_str())).copied().unwrap_or(0.0);
    QueueFigures {
        queue: queue.as_str().to_owned(),
        waiting: count(depth.visible),
        running: count(depth.in_flight),
        delayed: count(depth.delayed),
        oldest_at: backlog.and_then(|backlog| backlog.since).filter(|_| depth.visible > 0),
        seconds: seconds * depth.visible as f64,
    }
}

/// Seconds until the queue is empty at the present pace; what nobody works on comes first.
fn urgency(figures: Option<&QueueFigures>, workers: u32) -> f64 {
    let Some(figures) = figures.filter(|figures| figures.waiting > 0) else { return 0.0 };
    match workers.max(u32::try_from(figures.running).unwrap_or(0)) {
        0 => f64::MAX,
        workers => figures.seconds.max(0.001) / f64::from(workers),
    }
}

fn queue(now: i64, name: &str, figures: Option<&QueueFigures>, pool: Option<(&String, &Pool)>, workers: u32) -> Value {
    let count = |of: fn(&QueueFigures) -> i64| figures.map_or(0, of);
    let seconds = figures.map_or(0.0, |figures| figures.seconds);
    let slots = f64::from(workers) * pool.map_or(1.0, |(_, pool)| f64::from(pool.slots));
    let drain = (seconds > 0.0 && slots > 0.0).then(|| (seconds / slots).ceil());
    let oldest = figures.and_then(|figures| figures.oldest_at).map(|at| now.saturating_sub(at).max(0) / 1_000);
    json!({
        "queue": name,
        "pool": pool.map(|(name, _)| name),
        "workers": workers,
        "waiting": count(|f| f.waiting),
        "running": count(|f| f.running),
        "delayed": count(|f| f.delayed),
        "oldest_seconds": oldest,
        "work_seconds": seconds,
        "drain_seconds": drain,
    })
}

/// What there is, and apart from it what there is to be: as an operator said, or as a scaler decided last.
fn pool(
    name: &str,
    bounds: &Pool,
    (min, max): (u32, u32),
    there: u32,
    asked: Option<&Desired>,
    decisions: &[Decided],
) -> Value {
    let decided = |decided: &Decided| {
        json!({
            "at": rfc3339(decided.at),
            "from": decided.running,
            "to": decided.workers,
            "needed": decided.needed,
            "reason": decided.reason,
            "words": decided.words,
        })
    };
    json!({
        "pool": name,
        "queues": bounds.seconds.keys().collect::<Vec<_>>(),
        "min": min,
        "max": max,
        "slots": bounds.slots,
        "target_seconds": bounds.target_latency_s,
        "asked": asked.map(|asked| json!({ "workers": asked.workers, "by": asked.by, "at": rfc3339(asked.at) })),
        "workers": there,
        "desired": asked.and_then(|asked| asked.workers).or_else(|| decisions.first().map(|last| last.workers)),
        "decisions": decisions.iter().map(decided).collect::<Vec<_>>(),
    })
}

fn process(now: i64, process: &Process, at_work: &[Value]) -> Value {
    let tasks: Vec<&Value> = at_work.iter().filter(|work| work["instance"] == process.instance.as_str()).collect();
    let state = match (process.is_fresh(now), process.leaving, tasks.is_empty()) {
        (false, ..) => "silent",
        (true, true, _) => "leaving",
        (true, false, true) => "idle",
        (true, false, false) => "busy",
    };
    json!({
        "instance": process.instance,
        "role": process.role,
        "pool": process.pool,
        "host": process.host,
        "version": process.version,
        "state": state,
        "started_at": rfc3339(process.started_at),
        "seen_at": rfc3339(process.seen_at),
        "tasks": tasks.iter().map(|task| &task["task"]).collect::<Vec<_>>(),
    })
}

fn at_work(now: i64, work: &AtWork) -> Value {
    json!({
        "instance": work.instance,
        "task": work.task,
        "queue": work.queue,
        "kind": work.kind,
        "asset": work.asset,
        "track": work.track,
        "chunk": work.chunk,
        "attempts": work.attempts,
        "seconds": work.started_at.map(|at| now.saturating_sub(at).max(0) as f64 / 1_000.0),
        "expected_seconds": work.cost_s,
        "lease_until": rfc3339(work.lease_until),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(waiting: i64, running: i64, seconds: f64) -> QueueFigures {
        QueueFigures { queue: "q".into(), waiting, running, delayed: 0, oldest_at: Some(1_000), seconds }
    }

    #[test]
    fn what_nobody_works_on_is_first() {
        let stuck = urgency(Some(&figures(1, 0, 1.0)), 0);
        let long = urgency(Some(&figures(100, 2, 2_000.0)), 2);
        let short = urgency(Some(&figures(100, 2, 20.0)), 2);
        assert!(stuck > long && long > short && short > urgency(Some(&figures(0, 2, 0.0)), 2));
        assert!(stuck > urgency(Some(&figures(1, 1, 1.0)), 0), "somebody is at it, whose sign of life is late");
    }

    #[test]
    fn a_queue_says_when_it_will_be_empty() {
        let pool = Pool {
            seconds: BTreeMap::from([("q".to_owned(), 20.0)]),
            slots: 4,
            target_latency_s: 60.0,
            scale_in_after_s: 1,
            min: 0,
            max: 9,
        };
        let name = "p".to_owned();
        let shown = queue(61_000, "q", Some(&figures(10, 1, 200.0)), Some((&name, &pool)), 5);
        assert_eq!((&shown["drain_seconds"], &shown["oldest_seconds"]), (&json!(10.0), &json!(60)));
        assert_eq!(queue(0, "q", Some(&figures(10, 1, 200.0)), None, 0)["drain_seconds"], Value::Null);
        assert_eq!(queue(0, "q", None, None, 1)["waiting"], 0);
    }

    #[test]
    fn what_has_no_rows_is_counted_on_its_queue() {
        let depth = Depth { visible: 40, in_flight: 4, delayed: 1 };
        let backlog = Backlog { since: Some(5_000), ahead: 3, depth: 9 };
        let found = without_tasks(QueueName::Intake, depth, Some(backlog));
        assert_eq!((found.waiting, found.running, found.delayed, found.oldest_at), (40, 4, 1, Some(5_000)));
        assert!((found.seconds - 40.0 * POOLS["intake"].seconds["intake"]).abs() < 1e-9);
        let taken = Depth { visible: 0, ..depth };
        assert_eq!(without_tasks(QueueName::Intake, taken, Some(backlog)).oldest_at, None, "nothing waits");
        assert_eq!(without_tasks(QueueName::Metadata, depth, None).oldest_at, None, "nobody has looked yet");
    }

    #[test]
    fn what_there_is_and_what_there_is_to_be_are_two_things() {
        let of = |role: &str, pool: Option<&str>, count| (role.to_owned(), pool.map(str::to_owned), count);
        let there = There(vec![
            of("metadata", None, 1),
            of("transcoder", Some("backfill"), 3),
            of("transcoder", Some("transcoder"), 2),
        ]);
        assert_eq!((there.at_queue("express", Some("transcoder")), there.in_pool("backfill")), (2, 3));
        assert_eq!((there.at_queue("metadata", None), there.at_queue("janitor", None)), (1, 0));
        let bounds = &POOLS["transcoder"];
        let shown = pool("transcoder", bounds, (bounds.min, bounds.max), 2, None, &[]);
        assert_eq!((&shown["workers"], &shown["desired"]), (&json!(2), &Value::Null), "nobody decided anything");
        let asked = Desired { pool: "transcoder".into(), workers: Some(4), by: "ann".into(), at: 0 };
        let shown = pool("transcoder", bounds, (bounds.min, bounds.max), 2, Some(&asked), &[]);
        assert_eq!((&shown["workers"], &shown["desired"]), (&json!(2), &json!(4)));
    }

    #[test]
    fn a_process_is_idle_busy_leaving_or_silent() {
        let there = |seen_at, leaving| Process {
            instance: "t-1".into(),
            role: "transcoder".into(),
            pool: Some("transcoder".into()),
            host: "box".into(),
            version: "1".into(),
            started_at: 0,
            seen_at,
            leaving,
        };
        let work = [json!({ "instance": "t-1", "task": "tsk_1" }), json!({ "instance": "t-2", "task": "tsk_2" })];
        let state = |seen_at, leaving, work: &[Value]| {
            let shown = process(100_000, &there(seen_at, leaving), work);
            (shown["state"].as_str().unwrap_or_default().to_owned(), shown["tasks"].clone())
        };
        assert_eq!(state(99_000, false, &[]), ("idle".into(), json!([])));
        assert_eq!(state(99_000, false, &work), ("busy".into(), json!(["tsk_1"])));
        assert_eq!(state(99_000, true, &work).0, "leaving");
        assert_eq!(state(0, false, &work).0, "silent");
    }
}
