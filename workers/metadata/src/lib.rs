//! Metadata: describes each asset in `out/{asset}/metadata.json`, and wakes what was stranded.
//!
//! Guarantees:
//! - the file describes one version of the asset's row and never an older one than was there: it is written with a
//!   condition, and whoever loses reads again ([`describe`]);
//! - an event only says that there may be something new; an asset whose event was lost is found by its row;
//! - a task whose message was lost, or whose worker died, is woken again by its row.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod describe;
pub mod document;
mod events;
mod reconcile;

use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use reelfleet_catalog::Catalog;
use reelfleet_fleet::{Context, QueueName, Settings};
use reelfleet_objects::ObjectWriter;

use crate::describe::Describer;
use crate::events::Events;
use crate::reconcile::Reconciler;

/// What the metadata worker alone needs to know.
#[derive(Parser, Clone, Debug)]
#[command(no_binary_name = true)]
struct Options {
    /// Seconds between two looks for assets without a description and for stranded tasks
    #[arg(long, env = "REELFLEET_RECONCILE_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    reconcile_seconds: u64,
    /// Seconds after which a task that is due and was not taken is woken again
    #[arg(long, env = "REELFLEET_STRANDED_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    stranded_seconds: u64,
}

/// Runs until the context's shutdown, with this many events at work at once.
pub async fn run(context: Context, catalog: Catalog, slots: usize) -> anyhow::Result<()> {
    let options =
        Options::try_parse_from(std::iter::empty::<String>()).context("configuration of the metadata worker")?;
    let outputs = ObjectWriter::new(context.clients.s3.clone(), &context.config.outputs_bucket);
    let describer = Describer::new(catalog.clone(), context.clients.s3.clone(), outputs);
    let consumer = context.consumer(QueueName::Metadata, Settings { slots, ..Settings::default() }).await?;
    let reconciler = Reconciler::new(context, catalog, describer.clone(), &options);
    tokio::join!(consumer.run(Arc::new(Events::new(describer))), reconciler.run());
    Ok(())
}
