//! The janitor: clears away what nobody needs any more.
//!
//! Guarantees:
//! - an object is deleted only if its attempt is fenced, older than the longest task, and no committed run names it
//!   ([`losers`]), or if its asset is deleted for good ([`deletions`]),
//!   or if nothing can name it any more ([`orphans`]);
//! - each sweep stands for itself: one that fails is counted and logged, and the others go on; each is harmless to repeat
//!   and to run in several processes at once;
//! - an idle fleet is asked for its rows, and seldom for a listing of its buckets, which costs money;
//! - what waits in queues is in the metrics ([`watch`]): dead-letter queues too, which nobody else looks at;
//! - nothing here is needed for an upload to end well: a fleet without a janitor only grows.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod budgets;
mod deletions;
mod doorbells;
mod losers;
mod orphans;
mod records;
mod reviews;
mod uploads;
mod watch;

use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use reelfleet_catalog::Catalog;
use reelfleet_fleet::Context;
use reelfleet_fleet::health::Beat;
use reelfleet_objects::ObjectTree;
use reelfleet_telemetry::{SweepFailed, Swept};
use tokio::time::{Instant, MissedTickBehavior};

/// A sign of life between rounds.
const BEAT: Duration = Duration::from_secs(10);

/// What the janitor alone needs to know.
#[derive(Parser, Clone, Debug)]
#[command(no_binary_name = true)]
struct Options {
    /// Seconds between two rounds
    #[arg(long, env = "REELFLEET_JANITOR_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    every_seconds: u64,
    /// Seconds after its start until what a fenced attempt wrote is deleted; more than the longest task takes
    #[arg(long, env = "REELFLEET_LOSER_AGE_SECONDS", default_value_t = 2_100)]
    loser_age_seconds: u32,
    /// Hours that the event log is kept, but for the streams of users
    #[arg(long, env = "REELFLEET_EVENT_LOG_HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..))]
    event_log_hours: u32,
    /// Days that the streams of users are kept: what the notifications page shows
    #[arg(long, env = "REELFLEET_USER_EVENTS_DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3_650))]
    user_events_days: u32,
    /// Seconds after which an output object that no row names is deleted, counted from when it was found
    #[arg(long, env = "REELFLEET_ORPHAN_GRACE_SECONDS", default_value_t = 86_400)]
    orphan_grace_seconds: u32,
    /// Seconds between two listings of the buckets' open multipart uploads
    #[arg(long, env = "REELFLEET_MULTIPART_SECONDS", default_value_t = 3_600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    multipart_seconds: u64,
    /// Days after which a multipart upload that nobody finished is aborted, whoever began it
    #[arg(long, env = "REELFLEET_MULTIPART_DAYS", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    multipart_days: u32,
    /// Seconds between two looks at the queues, for metrics
    #[arg(long, env = "REELFLEET_WATCH_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=300))]
    watch_seconds: u64,
}

/// Doorbells are looked at this often; they die of age after ten minutes.
const DOORBELLS: Duration = Duration::from_secs(300);

/// When what costs a call per bucket or queue is due again.
struct Seldom {
    multiparts: Instant,
    doorbells: Instant,
}

/// What every sweep works with.
struct Janitor {
    context: Context,
    catalog: Catalog,
    outputs: ObjectTree,
    options: Options,
    beat: Beat,
}

/// Runs until the context's shutdown.
pub async fn run(context: Context, catalog: Catalog) -> anyhow::Result<()> {
    let options = Options::try_parse_from(std::iter::empty::<String>()).context("configuration of the janitor")?;
    let draining = context.shutdown.draining().clone();
    let janitor = Janitor {
        outputs: ObjectTree::new(context.clients.s3.clone(), &context.config.outputs_bucket),
        beat: context.health.beat("janitor"),
        context,
        catalog,
        options,
    };
    let watching = tokio::spawn(watch::run(
        janitor.context.clone(),
        janitor.catalog.clone(),
        Duration::from_secs(janitor.options.watch_seconds),
    ));
    let every = Duration::from_secs(janitor.options.every_seconds);
    let mut tick = tokio::time::interval(BEAT.min(every));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut due = Instant::now();
    let mut seldom = Seldom { multiparts: due, doorbells: due };
    loop {
        tokio::select! {
            biased;
            () = draining.cancelled() => break,
            _ = tick.tick() => janitor.beat.tick(),
        }
        if Instant::now() < due {
            continue;
        }
        due = Instant::now() + every;
        // Dropped at a drain: every sweep goes on where it was, by the rows.
        tokio::select! {
            biased;
            () = draining.cancelled() => break,
            () = janitor.round(&mut seldom) => {}
        }
    }
    janitor.beat.end();
    watching.await?;
    Ok(())
}

impl Janitor {
    async fn round(&self, seldom: &mut Seldom) {
        told("losers", self.sweep_losers().await);
        self.beat.tick();
        told("deletions", self.sweep_deletions().await);
        self.beat.tick();
        told("uploads", self.sweep_uploads().await);
        self.beat.tick();
        told("orphans", self.sweep_orphans().await);
        self.beat.tick();
        told("reviews", self.sweep_reviews().await);
        told("budgets", self.sweep_parked().await);
        told("quarantine", self.sweep_quarantine().await);
        self.beat.tick();
        told("events", self.trim_events().await);
        told("mails", self.trim_mails().await);
        told("deliveries", self.trim_deliveries().await);
        told("credentials", self.trim_credentials().await);
        told("processes", self.forget_silent().await);
        self.beat.tick();
        if Instant::now() >= seldom.doorbells {
            seldom.doorbells = Instant::now() + DOORBELLS;
            told("doorbells", self.sweep_doorbells().await);
            self.beat.tick();
        }
        if Instant::now() >= seldom.multiparts {
            seldom.multiparts = Instant::now() + Duration::from_secs(self.options.multipart_seconds);
            told("multiparts", self.sweep_multiparts().await);
        }
    }

    /// Epoch milliseconds, `ago` back.
    fn before(&self, ago: Duration) -> i64 {
        self.context.clock.now_ms().saturating_sub(reelfleet_fleet::clock::millis(ago))
    }
}

/// States what a sweep came to.
fn told(what: &'static str, came_to: anyhow::Result<u64>) {
    match came_to {
        Ok(count) => Swept { what, count }.emit(),
        Err(error) => SweepFailed { what, item: "", detail: &format!("{error:#}") }.emit(),
    }
}

/// One item of a sweep failed; the others go on.
fn passed_over(what: &'static str, item: &str, error: impl std::fmt::Display) {
    SweepFailed { what, item, detail: &error.to_string() }.emit();
}
