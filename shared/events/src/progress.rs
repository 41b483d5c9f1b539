//! Progress: how far a job is, said often enough to watch and seldom enough not to matter.
//!
//! Guarantees: [`Progress::say`] returns at once and never fails the work; a process says at most one thing per job and
//! [`INTERVAL`], the newest, and the last one that it was told is not dropped; over all processes the right to push is
//! won in the catalog, which also keeps percentages from falling. Pushes are CloudEvents on the events topic; they are
//! not logged, so a client that missed some takes the snapshot.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_sqs::error::DisplayErrorContext;
use reelfleet_messages::event::JobProgressed;
use reelfleet_messages::trace::TraceParent;
use reelfleet_messages::{AssetId, CloudEvent, Event, JobId};
use reelfleet_telemetry::EventPublished;

use crate::batch;
use crate::outlet::Outlet;

/// Two pushes of one job lie at least this far apart; the catalog's own interval is the same over all processes.
pub const INTERVAL: Duration = Duration::from_millis(500);

/// How far a job is.
#[derive(Debug, Clone, PartialEq)]
pub struct Advance {
    /// The job.
    pub job: JobId,
    /// Its asset.
    pub asset: AssetId,
    /// Whose it is.
    pub tenant: String,
    /// 0 to 100.
    pub percent: f64,
    /// Of the task that tells it.
    pub trace: Option<TraceParent>,
}

/// Says how far jobs are. Cheap to clone; clones share their throttle.
#[derive(Debug, Clone)]
pub struct Progress {
    outlet: Outlet,
    /// Jobs about which something was said within the last interval, and what is to be said next.
    next: Arc<Mutex<HashMap<JobId, Option<Advance>>>>,
}

impl Progress {
    /// Progress by way of `outlet`.
    pub fn new(outlet: Outlet) -> Self {
        Self { outlet, next: Arc::default() }
    }

    /// Says how far a job is, now or when the interval since the last push is over. Call it inside a tokio runtime.
    pub fn say(&self, advance: Advance) {
        let mut next = self.lock();
        if let Some(waiting) = next.get_mut(&advance.job) {
            *waiting = Some(advance);
            return;
        }
        next.insert(advance.job, None);
        drop(next);
        tokio::spawn(self.clone().speak(advance));
    }

    /// Pushes, waits, pushes what came meanwhile; ends when nothing came.
    async fn speak(self, first: Advance) {
        let job = first.job;
        let mut advance = Some(first);
        while let Some(now) = advance {
            if let Err(why) = self.push(&now).await {
                tracing::debug!(job = %job, why, "progress was not pushed");
            }
            tokio::time::sleep(INTERVAL).await;
            let mut next = self.lock();
            advance = next.get_mut(&job).and_then(Option::take);
            if advance.is_none() {
                next.remove(&job);
            }
        }
    }

    async fn push(&self, advance: &Advance) -> Result<(), String> {
        let now = self.outlet.now();
        let won = self
            .outlet
            .catalog
            .win_progress(now, &advance.job, advance.percent)
            .await
            .map_err(|error| error.to_string())?;
        // Another process spoke for this job a moment ago, or the job has ended.
        let Some((percent, sequence)) = won else { return Ok(()) };
        let sequence = u64::try_from(sequence).unwrap_or(0);
        let event = Event::JobProgressed(JobProgressed { asset: advance.asset, job: advance.job, percent, sequence });
        let event = CloudEvent::new(self.outlet.event_id(), &advance.tenant, now, advance.trace.clone(), event);
        let body = event.to_json();
        let publish = self.outlet.sns.publish().topic_arn(&self.outlet.topic_arn);
        let publish = publish.set_message_attributes(Some(batch::attributes(&body)?)).message(body);
        publish.send().await.map_err(|error| DisplayErrorContext(&error).to_string())?;
        EventPublished { event: event.event.type_name(), id: &event.id.to_string(), subject: &event.subject }.emit();
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Option<Advance>>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
