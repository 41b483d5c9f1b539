//! `reelfleet scale`, `pause`, `resume` and `drain`: how many workers there are, and whether they take new tasks.
//!
//! Guarantees: each is a row that the fleet follows, so it holds through restarts and for every host; each leaves an audit
//! line. On AWS the service of a pool is scaled besides. A pause stops nothing that is at work; a drain returns only when nothing is at work any more.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use reelfleet_catalog::scaling::{Desired, PausedQueue};
use reelfleet_domain::scaling::POOLS;
use reelfleet_fleet::pause::NOTICED_WITHIN;
use reelfleet_fleet::{QueueName, services};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::operator::{Operator, OperatorArgs};
use crate::status::PoolState;
use crate::{status, table};

/// How often a drain looks.
const LOOK: Duration = Duration::from_millis(500);

/// Options of `scale`.
#[derive(Args)]
pub struct ScaleArgs {
    /// So many workers, or `auto`: as many as the work needs [default: show how it stands]
    #[arg(value_name = "WORKER=NUMBER|auto", value_parser = wish)]
    wishes: Vec<(String, Option<u32>)>,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Options of `pause` and `resume`.
#[derive(Args)]
pub struct PauseArgs {
    /// Workers or queues, or `all`
    #[arg(required = true, value_name = "WORKER|QUEUE|all", value_parser = queues)]
    of: Vec<Queues>,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Options of `drain`.
#[derive(Args)]
pub struct DrainArgs {
    #[command(flatten)]
    pause: PauseArgs,
    /// How long what is at work is waited for, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(..=604_800))]
    timeout: u64,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Queues(Vec<QueueName>);

fn wish(text: &str) -> Result<(String, Option<u32>), String> {
    let (name, count) = text.split_once('=').ok_or("say WORKER=NUMBER or WORKER=auto")?;
    let pool = POOLS.get(name).ok_or_else(|| {
        let names: Vec<&str> = POOLS.keys().map(String::as_str).collect();
        format!("{name:?} is not scaled: {} are", names.join(", "))
    })?;
    if count == "auto" {
        return Ok((name.to_owned(), None));
    }
    let number = count.parse().ok().filter(|number| *number <= pool.max);
    let number = number.ok_or_else(|| format!("{count:?} is neither auto nor a number up to {}", pool.max))?;
    Ok((name.to_owned(), Some(number)))
}

fn queues(text: &str) -> Result<Queues, String> {
    let of_pool = |name: &str| POOLS.get(name).map(|pool| pool.seconds.keys().cloned().collect::<Vec<_>>());
    let names = match text {
        "all" => POOLS.keys().filter_map(|name| of_pool(name)).flatten().collect(),
        name => of_pool(name).unwrap_or_else(|| vec![name.to_owned()]),
    };
    names.iter().map(|name| name.parse()).collect::<Result<_, _>>().map(Queues)
}

/// Notes what is wanted and has it followed; says how it stands.
pub async fn scale(args: ScaleArgs) -> anyhow::Result<()> {
    let operator = args.operator.enter().await?;
    for (pool, workers) in args.wishes {
        let deed = operator.deed("scale", &pool, &json!({ "workers": workers }));
        let desired = Desired { pool, workers, by: operator.who.clone(), at: deed.at };
        services::scale(&operator.context, &operator.catalog, &desired, deed).await?;
    }
    let rows: Vec<Vec<String>> =
        status::pools(&operator.catalog, operator.context.clock.now_ms()).await?.iter().map(PoolState::row).collect();
    print!("{}", table::render(&PoolState::HEADINGS, &rows));
    Ok(())
}

/// Pauses.
pub async fn pause(args: PauseArgs) -> anyhow::Result<()> {
    let (operator, queues) = args.enter().await?;
    operator.pause(&queues, "pause").await?;
    eprintln!("paused: {}; what is at work goes on (`reelfleet resume` lets them take tasks again)", listed(&queues));
    Ok(())
}

/// Ends a pause.
pub async fn resume(args: PauseArgs) -> anyhow::Result<()> {
    let (operator, queues) = args.enter().await?;
    let deeds: Vec<_> = queues.iter().map(|queue| operator.deed("resume", queue.as_str(), &json!({}))).collect();
    let names: Vec<String> = queues.iter().map(ToString::to_string).collect();
    operator.catalog.resume(&names, &deeds).await?;
    eprintln!("resumed: {}", listed(&queues));
    Ok(())
}

/// Pauses, and waits until nothing is at work.
pub async fn drain(args: DrainArgs) -> anyhow::Result<()> {
    let (operator, queues) = args.pause.enter().await?;
    operator.pause(&queues, "drain").await?;
    // Until all have noticed, one that is idle may still take a task.
    let (noticed, until) = (Instant::now() + NOTICED_WITHIN, Instant::now() + Duration::from_secs(args.timeout));
    let mut shown = None;
    loop {
        let at_work = operator.at_work(&queues).await?;
        if at_work == 0 && Instant::now() >= noticed {
            eprintln!("drained: {}; nothing is at work", listed(&queues));
            return Ok(());
        }
        if shown.replace(at_work) != Some(at_work) && at_work > 0 {
            eprintln!("{at_work} at work");
        }
        if Instant::now() >= until {
            bail!("{at_work} tasks are still at work after {} s; their queues stay paused", args.timeout);
        }
        sleep(LOOK).await;
    }
}

impl PauseArgs {
    async fn enter(self) -> anyhow::Result<(Operator, Vec<QueueName>)> {
        let mut queues: Vec<QueueName> = self.of.into_iter().flat_map(|queues| queues.0).collect();
        queues.sort_unstable_by_key(|queue| queue.as_str());
        queues.dedup();
        Ok((self.operator.enter().await?, queues))
    }
}

impl Operator {
    async fn pause(&self, queues: &[QueueName], what: &str) -> anyhow::Result<()> {
        let deeds: Vec<_> = queues.iter().map(|queue| self.deed(what, queue.as_str(), &json!({}))).collect();
        let at = self.context.clock.now_ms();
        let paused = |queue: &QueueName| PausedQueue { queue: queue.to_string(), by: self.who.clone(), at };
        let paused: Vec<PausedQueue> = queues.iter().map(paused).collect();
        Ok(self.catalog.pause(&paused, &deeds).await?)
    }

    /// Tasks of these queues that somebody holds. What has no rows is counted on its queue.
    async fn at_work(&self, queues: &[QueueName]) -> anyhow::Result<u64> {
        let waiting = self.catalog.waiting(self.context.clock.now_ms()).await?;
        let held = waiting.iter().filter(|w| w.in_flight && queues.iter().any(|queue| queue.as_str() == w.queue));
        let mut count = held.map(|w| w.count).sum();
        for queue in QueueName::WITHOUT_TASKS {
            if queues.contains(&queue) {
                count += self.context.queues.depth(&self.context.queues.name(queue)).await?.in_flight;
            }
        }
        Ok(count)
    }
}

fn listed(queues: &[QueueName]) -> String {
    queues.iter().map(|queue| queue.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_numbers_of_workers_that_are_scaled() {
        assert_eq!(wish("transcoder=4"), Ok(("transcoder".into(), Some(4))));
        assert_eq!(wish("thumbnailer=auto"), Ok(("thumbnailer".into(), None)));
        for (wrong, why) in [
            ("transcoder", "WORKER=NUMBER"),
            ("notifier=2", "intake, thumbnailer, transcoder are"),
            ("transcoder=-1", "neither auto nor a number"),
            ("transcoder=1000000", "up to 2000"),
        ] {
            let error = wish(wrong).unwrap_err();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }

    #[test]
    fn workers_stand_for_their_queues() {
        let of = |name: &str| queues(name).map(|queues| listed(&queues.0));
        assert_eq!(of("transcoder"), Ok("express, transcode".into()));
        assert_eq!(of("express"), Ok("express".into()));
        assert_eq!(of("metadata"), Ok("metadata".into()));
        assert_eq!(of("all"), Ok("backfill, intake, probe, thumbnail, express, transcode".into()));
        assert!(of("gateway").is_err());
    }
}
