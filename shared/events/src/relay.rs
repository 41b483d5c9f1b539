//! The relay: sends what this process committed at once, and what others left behind after a while.
//!
//! Guarantee: every committed row leaves at least once, whichever process dies. A row that a service refuses is logged,
//! let go for [`PUT_OFF_MS`] and tried again by whoever finds it; rows behind it are not held up.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use rand::Rng as _;
use reelfleet_catalog::CatalogError;
use reelfleet_catalog::outbox::{self, Outgoing};
use reelfleet_messages::CloudEvent;
use reelfleet_telemetry::{EventPublished, OutboxRelayed};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::batch;
use crate::outlet::Outlet;

/// A row that could not be sent rests this long (milliseconds).
pub const PUT_OFF_MS: i64 = 2_000;
/// What could not be read or sent is tried again after this time; otherwise the bell says when there is something.
const AGAIN: Duration = Duration::from_secs(1);
/// Seconds until a process looks for rows of others again, drawn anew each time: the processes of a fleet take turns, so
/// that somebody looks every other second, and one that is idle is hardly awake.
const LEFTOVERS_S: std::ops::Range<f64> = 5.0..15.0;
/// The last look at shutdown takes no longer; what it leaves is taken over by others.
const LAST_FLUSH: Duration = Duration::from_secs(5);
/// Rows of one page: bodies are at most 8 KiB, a letter's attributes some 5 KiB more, an answer of the Data API at most
/// 1 MiB.
const PAGE: i64 = 60;

/// When this process looks for rows of others again.
fn turn() -> Instant {
    Instant::now() + Duration::from_secs_f64(rand::rng().random_range(LEFTOVERS_S))
}

/// Relays the outbox. One per process, beside its roles.
#[derive(Debug)]
pub struct Relay {
    outlet: Outlet,
    urls: HashMap<String, String>,
    /// Whether own rows may wait that no ring will tell of.
    owes: bool,
}

impl Relay {
    /// A relay for what `outlet.instance` commits through `outlet.catalog`.
    pub fn new(outlet: Outlet) -> Self {
        Self { outlet, urls: HashMap::new(), owes: true }
    }

    /// Relays until `stop` is cancelled, then once more. Cancel it when the roles of the process have ended, not when
    /// they begin to drain: they commit until their end.
    pub async fn run(mut self, stop: CancellationToken) {
        let bell = self.outlet.catalog.bell();
        let mut leftovers_at = turn();
        loop {
            let next = if self.owes { leftovers_at.min(Instant::now() + AGAIN) } else { leftovers_at };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = bell.heard() => self.owes = true,
                () = tokio::time::sleep_until(next) => {}
            }
            // A round that hangs must not keep the process from ending.
            let round = self.round(&mut leftovers_at);
            tokio::select! {
                biased;
                () = async { stop.cancelled().await; tokio::time::sleep(LAST_FLUSH).await; } => return,
                () = round => {}
            }
        }
        match tokio::time::timeout(LAST_FLUSH, self.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last rows of the outbox are left to others"),
            Err(_) => tracing::warn!("the last rows of the outbox are left to others: no answer in time"),
        }
    }

    async fn round(&mut self, leftovers_at: &mut Instant) {
        if self.owes {
            match self.flush().await {
                Ok(()) => self.owes = false,
                Err(error) => tracing::warn!(%error, "the outbox could not be relayed; trying again"),
            }
        }
        if Instant::now() >= *leftovers_at {
            *leftovers_at = turn();
            if let Err(error) = self.take_leftovers().await {
                tracing::warn!(%error, "leftovers of the outbox could not be taken over; trying again");
            }
        }
    }

    /// Sends this process's rows, page after page.
    async fn flush(&mut self) -> Result<(), CatalogError> {
        loop {
            let rows = self.outlet.catalog.own_outgoing(&self.outlet.instance, PAGE).await?;
            self.relay("own", &rows).await?;
            if (rows.len() as i64) < PAGE {
                return Ok(());
            }
        }
    }

    async fn take_leftovers(&mut self) -> Result<(), CatalogError> {
        let rows = self.outlet.catalog.claim_leftovers(&self.outlet.step(), PAGE).await?;
        self.relay("leftover", &rows).await
    }

    /// Sends rows by target; deletes what was taken and lets go of what was not.
    async fn relay(&mut self, path: &'static str, rows: &[Outgoing]) -> Result<(), CatalogError> {
        let mut by_target: BTreeMap<&str, Vec<&Outgoing>> = BTreeMap::new();
        for row in rows {
            by_target.entry(&row.target).or_default().push(row);
        }
        for (target, rows) in by_target {
            let is_event = target == outbox::EVENTS;
            let is_mail = target == outbox::MAILS;
            for run in batch::runs(&rows, if is_event || is_mail { batch::SNS_BYTES } else { batch::SQS_BYTES }) {
                let (taken, left) = if is_event {
                    let answer = batch::publish(&self.outlet.sns, &self.outlet.topic_arn, &run).await;
                    batch::settle("publish", &self.outlet.topic_arn, &run, answer)
                } else if is_mail {
                    let answer = batch::mail(&self.outlet.sns, &self.outlet.mails_arn, &run).await;
                    batch::settle("publish", &self.outlet.mails_arn, &run, answer)
                } else {
                    let answer = match self.url(target).await {
                        Ok(url) => batch::send(&self.outlet.sqs, &url, &run).await,
                        Err(why) => Err(why),
                    };
                    if answer.is_err() {
                        // The queue may have been made anew elsewhere.
                        self.urls.remove(target);
                    }
                    batch::settle("send", target, &run, answer)
                };
                self.outlet.catalog.sent(&taken).await?;
                self.tell(path, is_event, &run, &taken);
                if !left.is_empty() {
                    for (id, why) in &left {
                        tracing::warn!(
                            row = id,
                            target_name = target,
                            why,
                            "a row of the outbox was not taken; trying again"
                        );
                    }
                    let ids: Vec<String> = left.into_iter().map(|(id, _)| id).collect();
                    self.outlet.catalog.put_off(self.outlet.now().saturating_add(PUT_OFF_MS), &ids).await?;
                }
            }
        }
        Ok(())
    }

    fn tell(&self, path: &'static str, is_event: bool, run: &[&Outgoing], taken: &[String]) {
        if taken.is_empty() {
            return;
        }
        let oldest = run.iter().map(|row| row.created_at).min().unwrap_or(0);
        let lag_seconds = self.outlet.now().saturating_sub(oldest).max(0) as f64 / 1_000.0;
        let lane = match run.first() {
            Some(row) if row.target.ends_with("-dlq") => "letter",
            Some(row) if row.target == outbox::MAILS => "mail",
            _ if is_event => "event",
            _ => "task",
        };
        OutboxRelayed { lane, path, count: taken.len() as u64, lag_seconds }.emit();
        if is_event {
            for row in run.iter().filter(|row| taken.contains(&row.id)) {
                let event = serde_json::from_str::<CloudEvent>(&row.body);
                let (kind, subject) =
                    event.map_or_else(|_| ("unknown", String::new()), |e| (e.event.type_name(), e.subject));
                EventPublished { event: kind, id: &row.id, subject: &subject }.emit();
            }
        }
    }

    /// The URL of a task queue, asked for once.
    async fn url(&mut self, target: &str) -> Result<String, String> {
        if let Some(url) = self.urls.get(target) {
            return Ok(url.clone());
        }
        let name = format!("{}-{target}", self.outlet.queue_prefix);
        let answer = self.outlet.sqs.get_queue_url().queue_name(&name).send().await;
        let answer =
            answer.map_err(|error| format!("queue {name}: {}", aws_sdk_sqs::error::DisplayErrorContext(&error)))?;
        let url = answer.queue_url.ok_or_else(|| format!("queue {name} has no URL"))?;
        self.urls.insert(target.to_owned(), url.clone());
        Ok(url)
    }
}
