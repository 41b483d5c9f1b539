//! What waits in the queues, for metrics.
//!
//! Guarantee: one look asks each queue once and the catalog once; a queue that can't be asked is logged and left out, the
//! others are told. Several janitors say the same: take the maximum.

use std::time::Duration;

use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::types::QueueAttributeName as Name;
use reelfleet_catalog::Catalog;
use reelfleet_fleet::{Context, QueueName};
use reelfleet_telemetry::{QueueDepth, QueueWork};
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
    for queue in QueueName::ALL {
        for name in [context.queues.name(queue), context.queues.dlq_name(queue)] {
            if let Err(why) = depth(context, &name).await {
                tracing::warn!(queue = name, why, "a queue's depth is not known");
            }
        }
    }
    let now = context.clock.now_ms();
    match catalog.queue_figures(now).await {
        // A queue without tasks has no row: its figures are 0.
        Ok(found) => QueueName::ALL.iter().for_each(|queue| {
            let figures = found.iter().find(|figures| figures.queue == queue.as_str());
            let oldest = figures.and_then(|figures| figures.oldest_at).map_or(0, |at| now.saturating_sub(at).max(0));
            let name = context.queues.name(*queue);
            let work_seconds = figures.map_or(0.0, |figures| figures.seconds);
            QueueWork { queue: &name, oldest_seconds: oldest as f64 / 1_000.0, work_seconds }.emit();
        }),
        Err(error) => tracing::warn!(%error, "what waits is not known"),
    }
}

async fn depth(context: &Context, name: &str) -> Result<(), String> {
    const ASKED: [Name; 3] = [
        Name::ApproximateNumberOfMessages,
        Name::ApproximateNumberOfMessagesNotVisible,
        Name::ApproximateNumberOfMessagesDelayed,
    ];
    let url = context.queues.url_of(name).await.map_err(|error| error.to_string())?;
    let asked = context.clients.sqs.get_queue_attributes().queue_url(url).set_attribute_names(Some(ASKED.to_vec()));
    let answer = asked.send().await.map_err(|error| DisplayErrorContext(&error).to_string())?;
    let [visible, in_flight, delayed] = ASKED.map(|attribute| {
        let text = answer.attributes().and_then(|all| all.get(&attribute));
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    });
    QueueDepth { queue: name, visible, in_flight, delayed }.emit();
    Ok(())
}
