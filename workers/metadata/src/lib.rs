//! Metadata: describes each asset in `out/{asset}/metadata.json`, wakes what was stranded, finds what was lost.
//!
//! Guarantees:
//! - the file describes one version of the asset's row and never an older one than was there: it is written with a
//!   condition, and whoever loses reads again ([`describe`]);
//! - an event only says that there may be something new; an asset whose event was lost is found by its row;
//! - a task whose message was lost, or whose worker died, is woken again by its row;
//! - what a campaign is to make anew is handed out a few assets at a time ([`campaigns`]);
//! - an object whose notification was lost is found in its bucket and announced again ([`scan`]), and whatever else does not
//!   fit together is told ([`audit`]).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod announce;
pub mod audit;
mod campaigns;
pub mod describe;
pub mod document;
mod events;
mod reconcile;
mod scan;

use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use reelfleet_catalog::Catalog;
use reelfleet_fleet::{Context, QueueName, Settings};
use reelfleet_objects::ObjectWriter;

use crate::campaigns::Campaigns;
use crate::describe::Describer;
use crate::events::Events;
use crate::reconcile::Reconciler;
use crate::scan::Scanner;

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
    /// Seconds after which an object that no asset knows counts as one whose notification was lost
    #[arg(long, env = "REELFLEET_LOST_NOTIFICATION_SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    lost_notification_seconds: u64,
    /// Seconds between two scans of the upload buckets for such objects; each lists them whole
    #[arg(long, env = "REELFLEET_SCAN_UPLOADS_SECONDS", default_value_t = 3_600, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    scan_uploads_seconds: u64,
    /// Seconds between two scans of the outputs bucket for objects that no row names; each lists it whole
    #[arg(long, env = "REELFLEET_SCAN_OUTPUTS_SECONDS", default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    scan_outputs_seconds: u64,
}

/// Runs until the context's shutdown, with this many events at work at once.
pub async fn run(context: Context, catalog: Catalog, slots: usize) -> anyhow::Result<()> {
    let options =
        Options::try_parse_from(std::iter::empty::<String>()).context("configuration of the metadata worker")?;
    let outputs = ObjectWriter::new(context.clients.s3.clone(), &context.config.outputs_bucket);
    let describer = Describer::new(catalog.clone(), context.clients.s3.clone(), outputs);
    let consumer = context.consumer(QueueName::Metadata, Settings { slots, ..Settings::default() }).await?;
    let scanner = Scanner::new(context.clone(), catalog.clone(), &options);
    let campaigns = Campaigns::new(context.clone(), catalog.clone());
    let reconciler = Reconciler::new(context, catalog, describer.clone(), &options);
    tokio::join!(consumer.run(Arc::new(Events::new(describer))), reconciler.run(), scanner.run(), campaigns.run());
    Ok(())
}
