//! Intake: S3 notification → asset → probe → policy → job.
//!
//! Guarantee: whatever lands in an uploads bucket becomes one asset, however often and in whatever order it is
//! announced, but for what lands by an upload that was aborted or has expired: that is removed; an asset is probed by
//! range through the jail, and refused with a code and a sentence where policy says so.
//! What policy wants people to decide waits in a state of its own, with its pictures made and nothing encoded.
//! One bad message or record never touches its neighbour.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod landing;
mod probe;
mod review;

use std::sync::Arc;

use reelfleet_catalog::Catalog;
use reelfleet_fleet::{Context, QueueName, Settings, TaskRunner};
use reelfleet_media::{DecoderConfig, Decoders};

/// Runs until the context's shutdown: one consumer of notifications, one of probing tasks.
pub async fn run(context: Context, catalog: Catalog, slots: usize) -> anyhow::Result<()> {
    let decoders = Arc::new(Decoders::start(DecoderConfig::default())?);
    let notifications = context.consumer(QueueName::Intake, Settings { slots: 4, ..Settings::default() }).await?;
    let probes = context.consumer(QueueName::Probe, Settings { slots, ..Settings::default() }).await?;
    let landing = landing::Landing::new(context.clone(), catalog.clone());
    let prober = TaskRunner::new(context.clone(), catalog.clone(), probe::Prober::new(context, catalog, decoders));
    tokio::join!(notifications.run(Arc::new(landing)), probes.run(Arc::new(prober)));
    Ok(())
}
