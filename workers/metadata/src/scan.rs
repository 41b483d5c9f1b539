//! Scans of the buckets in the background: objects whose notification was lost are announced, orphans are noted.
//!
//! Guarantee: one process at a time scans a bucket, a page at a time with a pause after each, and the place is a row: who
//! comes after a crash goes on there. Between two passes a scan costs one small statement a minute and no listing.

use std::time::Duration;

use anyhow::Context as _;
use reelfleet_catalog::Catalog;
use reelfleet_catalog::holdings::place_of;
use reelfleet_catalog::scan::{Orphan, Turn};
use reelfleet_fleet::Context;
use reelfleet_fleet::clock::millis;
use reelfleet_fleet::health::Beat;
use reelfleet_telemetry::{AuditFound, SweepFailed, Swept};
use tokio::time::{Instant, MissedTickBehavior};

use crate::Options;
use crate::announce::announce;
use crate::audit::{self, AuditContext, AuditOptions, Finding};

/// A sign of life.
const BEAT: Duration = Duration::from_secs(10);
/// After each page.
const PAUSE: Duration = Duration::from_secs(1);
/// Whether a pass is due is asked this often at most.
const ASK: Duration = Duration::from_secs(60);
/// Findings of one page that are logged one by one.
const LOGGED: usize = 50;

pub(crate) struct Scanner {
    context: Context,
    catalog: Catalog,
    audit: AuditContext,
    uploads_every: Duration,
    outputs_every: Duration,
    grace: Duration,
    beat: Beat,
}

impl Scanner {
    pub(crate) fn new(context: Context, catalog: Catalog, options: &Options) -> Self {
        Self {
            audit: AuditContext::new(&context, catalog.clone()),
            beat: context.health.beat("metadata scanner"),
            uploads_every: Duration::from_secs(options.scan_uploads_seconds),
            outputs_every: Duration::from_secs(options.scan_outputs_seconds),
            grace: Duration::from_secs(options.lost_notification_seconds),
            context,
            catalog,
        }
    }

    /// Goes round until draining.
    pub(crate) async fn run(self) {
        let draining = self.context.shutdown.draining().clone();
        let ask = ASK.min(self.uploads_every).min(self.outputs_every);
        let mut tick = tokio::time::interval(BEAT.min(ask));
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
            due = Instant::now() + ask;
            // Dropped at a drain: the page in hand is looked at again by whoever takes the next turn.
            tokio::select! {
                biased;
                () = draining.cancelled() => break,
                () = self.round() => {}
            }
        }
        self.beat.end();
    }

    async fn round(&self) {
        told("rows", self.rows().await);
        let buckets: std::collections::BTreeSet<&str> =
            self.context.config.uploads.iter().map(|route| route.bucket.as_str()).collect();
        for bucket in buckets {
            told("lost_notifications", self.uploads(bucket).await);
        }
        told("orphans_found", self.outputs().await);
    }

    async fn turn(&self, name: &str) -> anyhow::Result<Option<Turn>> {
        self.beat.tick();
        Ok(self.catalog.take_turn(&self.context.step(), name).await?)
    }

    /// The page is through: the next one after a pause, or the end of the pass.
    async fn go_on(&self, turn: Turn, next: Option<&str>, every: Duration) -> anyhow::Result<Option<Turn>> {
        let Some(after) = next else {
            let again = turn.begun_at.saturating_add(millis(every));
            self.catalog.end_turn(turn, again).await?;
            return Ok(None);
        };
        let turn = self.catalog.turn_page(self.context.clock.now_ms(), turn, after).await?;
        self.beat.tick();
        tokio::time::sleep(PAUSE).await;
        Ok(turn)
    }

    fn before(&self) -> i64 {
        self.context.clock.now_ms().saturating_sub(millis(self.grace))
    }

    /// What rows say of one another, as often as the uploads are scanned. Answers how many findings there are.
    async fn rows(&self) -> anyhow::Result<u64> {
        let Some(turn) = self.turn("rows").await? else { return Ok(0) };
        let options = AuditOptions { grace: self.grace, ..AuditOptions::default() };
        let found = audit::rows_twice(&self.audit, &options).await?;
        tell(&found);
        self.go_on(turn, None, self.uploads_every).await?;
        Ok(found.len() as u64)
    }

    /// Answers how many objects were announced.
    async fn uploads(&self, bucket: &str) -> anyhow::Result<u64> {
        let mut turn = self.turn(&format!("uploads:{bucket}")).await?;
        let mut announced = 0;
        while let Some(own) = turn {
            let page = audit::sources_page(&self.audit, bucket, &own.after, self.before()).await?;
            for lost in &page.lost {
                tell(&[lost.finding()]);
                announce(&self.context, lost).await.with_context(|| format!("announcing {}", lost.object.key))?;
                announced += 1;
            }
            turn = self.go_on(own, page.next.as_deref(), self.uploads_every).await?;
        }
        Ok(announced)
    }

    /// Answers how many orphans were found; the janitor removes them when their grace is over.
    async fn outputs(&self) -> anyhow::Result<u64> {
        let mut turn = self.turn("outputs").await?;
        let mut count = 0;
        while let Some(own) = turn {
            let page = audit::outputs_page(&self.audit, &own.after, self.before()).await?;
            tell(&page.findings);
            let now = self.context.clock.now_ms();
            // What lies outside the folders of assets is not ours to remove.
            let ours = page.orphans.into_iter().filter(|object| place_of(&object.key).is_some());
            let orphans: Vec<Orphan> =
                ours.map(|object| Orphan { key: object.key, etag: object.etag, found_at: now }).collect();
            count += orphans.len() as u64;
            self.catalog.note_orphans(&orphans).await?;
            turn = self.go_on(own, page.next.as_deref(), self.outputs_every).await?;
        }
        Ok(count)
    }
}

fn tell(findings: &[Finding]) {
    for (index, finding) in findings.iter().filter(|finding| !finding.code.is_note()).enumerate() {
        let logged = index < LOGGED;
        AuditFound { code: finding.code.as_str(), subject: &finding.subject, detail: &finding.detail, logged }.emit();
    }
}

fn told(what: &'static str, came_to: anyhow::Result<u64>) {
    match came_to {
        Ok(count) => Swept { what, count }.emit(),
        Err(error) => SweepFailed { what, item: "", detail: &format!("{error:#}") }.emit(),
    }
}
