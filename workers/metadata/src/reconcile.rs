//! Reconciling: what no message speaks of any more is found by its row.
//!
//! Guarantee: both sweeps are harmless to repeat and to run in several processes at once; an asset that can't be
//! described holds up no other.

use std::time::Duration;

use reelfleet_catalog::Catalog;
use reelfleet_fleet::Context;
use reelfleet_fleet::clock::millis;
use reelfleet_fleet::health::Beat;
use reelfleet_telemetry::{SweepFailed, Swept};
use tokio::time::{Instant, MissedTickBehavior};

use crate::Options;
use crate::describe::Describer;

/// Assets and tasks of one round.
const PAGE: i64 = 50;
/// A sign of life between rounds.
const BEAT: Duration = Duration::from_secs(10);

pub(crate) struct Reconciler {
    context: Context,
    catalog: Catalog,
    describer: Describer,
    every: Duration,
    stranded: Duration,
    beat: Beat,
}

impl Reconciler {
    pub(crate) fn new(context: Context, catalog: Catalog, describer: Describer, options: &Options) -> Self {
        Self {
            beat: context.health.beat("metadata reconciler"),
            every: Duration::from_secs(options.reconcile_seconds),
            stranded: Duration::from_secs(options.stranded_seconds),
            context,
            catalog,
            describer,
        }
    }

    /// Goes round until draining.
    pub(crate) async fn run(self) {
        let draining = self.context.shutdown.draining().clone();
        let mut tick = tokio::time::interval(BEAT.min(self.every));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut due = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = draining.cancelled() => break,
                _ = tick.tick() => self.beat.tick(),
            }
            if Instant::now() < due {
                continue;
            }
            due = Instant::now() + self.every;
            // Dropped at a drain: every step is one statement or one transaction.
            tokio::select! {
                biased;
                () = draining.cancelled() => break,
                () = self.round() => {}
            }
        }
        self.beat.end();
    }

    async fn round(&self) {
        match self.catalog.wake_stranded(&self.context.step(), millis(self.stranded), PAGE).await {
            Ok(count) => Swept { what: "stranded_tasks", count: count as u64 }.emit(),
            Err(error) => {
                SweepFailed { what: "stranded_tasks", item: "", detail: &error.to_string() }.emit();
            }
        }
        self.beat.tick();
        let assets = match self.catalog.undescribed(PAGE).await {
            Ok(assets) => assets,
            Err(error) => {
                SweepFailed { what: "descriptions", item: "", detail: &error.to_string() }.emit();
                return;
            }
        };
        let mut count = 0;
        for asset in assets {
            self.beat.tick();
            match self.describer.describe(&asset).await {
                Ok(()) => count += 1,
                Err(error) => {
                    let (item, detail) = (asset.to_string(), error.to_string());
                    SweepFailed { what: "descriptions", item: &item, detail: &detail }.emit();
                }
            }
        }
        Swept { what: "descriptions", count }.emit();
    }
}
