//! What waits in the queues, for metrics, and since when, for the operations page.
//!
//! Guarantees: one look asks each queue once and the catalog a few times; a queue that can't be asked is logged and left out,
//! the others are told. Queues of tasks are told by their rows, which are the truth; those without tasks by their depths, look
//! by look, which a row keeps through restarts. Several janitors say the same: take the maximum.

use std::collections::BTreeMap;
use std::time::Duration;

use reelfleet_catalog::Catalog;
use reelfleet_domain::backlog::Backlog;
use reelfleet_domain::scaling::POOLS;
use reelfleet_fleet::{Context, Depth, QueueName};
use reelfleet_telemetry::{QueueDepth, QueuePaused, QueueWork};
use tokio::time::MissedTickBehavior;

/// Until the process drains.
pub(crate) async fn run(context: Context, catalog: Catalog, every: Duration) {
    let draining = context.shutdown.draining().clone();
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = draining.cancelled() => return,
            _ = tick.tick() => {}
        }
        tokio::select! {
            biased;
            () = draining.cancelled() => return,
            () = look(&context, &catalog) => {}
        }
    }
}

async fn look(context: &Context, catalog: &Catalog) {
    let mut depths = BTreeMap::new();
    for queue in QueueName::ALL {
        if let Some(depth) = depth(context, &context.queues.name(queue)).await {
            depths.insert(queue.as_str(), depth);
        }
        depth(context, &context.queues.dlq_name(queue)).await;
    }
    let now = context.clock.now_ms();
    match catalog.queue_figures(now).await {
        // A queue without tasks to do has no row: its figures are 0.
        Ok(found) => {
            QueueName::ALL.iter().filter(|queue| !QueueName::WITHOUT_TASKS.contains(queue)).for_each(|queue| {
                let figures = found.iter().find(|figures| figures.queue == queue.as_str());
                let oldest =
                    figures.and_then(|figures| figures.oldest_at).map_or(0, |at| now.saturating_sub(at).max(0));
                told(context, *queue, oldest, figures.map_or(0.0, |figures| figures.seconds));
            })
        }
        Err(error) => tracing::warn!(%error, "what waits is not known"),
    }
    if let Err(error) = without_tasks(context, catalog, now, &depths).await {
        tracing::warn!(%error, "since when notifications and events wait is not known");
    }
    match catalog.paused().await {
        Ok(paused) => QueueName::ALL.iter().for_each(|queue| {
            let paused = paused.iter().any(|paused| paused.queue == queue.as_str());
            QueuePaused { queue: &context.queues.name(*queue), paused }.emit();
        }),
        Err(error) => tracing::warn!(%error, "what is paused is not known"),
    }
}

/// Those whose messages no row stands for.
async fn without_tasks(
    context: &Context,
    catalog: &Catalog,
    now: i64,
    depths: &BTreeMap<&str, Depth>,
) -> anyhow::Result<()> {
    let before: BTreeMap<String, Backlog> = catalog.backlogs().await?.into_iter().collect();
    let mut changed = Vec::new();
    for queue in QueueName::WITHOUT_TASKS {
        let name = queue.as_str();
        let Some(depth) = depths.get(name) else { continue };
        let known = before.get(name).copied().unwrap_or_default();
        let seen = known.look(now, depth.all());
        if seen != known {
            changed.push((name, seen));
        }
        let seconds = POOLS.values().find_map(|pool| pool.seconds.get(name)).copied().unwrap_or(0.0);
        told(context, queue, seen.age_ms(now).unwrap_or(0), seconds * depth.visible as f64);
    }
    catalog.keep_backlogs(now, &changed).await?;
    Ok(())
}

fn told(context: &Context, queue: QueueName, oldest_ms: i64, work_seconds: f64) {
    let (queue, oldest_seconds) = (context.queues.name(queue), oldest_ms as f64 / 1_000.0);
    QueueWork { queue: &queue, oldest_seconds, work_seconds }.emit();
}

async fn depth(context: &Context, name: &str) -> Option<Depth> {
    match context.queues.depth(name).await {
        Ok(depth) => {
            let Depth { visible, in_flight, delayed } = depth;
            QueueDepth { queue: name, visible, in_flight, delayed }.emit();
            Some(depth)
        }
        Err(error) => {
            tracing::warn!(queue = name, %error, "a queue's depth is not known");
            None
        }
    }
}
