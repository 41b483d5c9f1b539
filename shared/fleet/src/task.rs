//! Tasks: a message wakes somebody up, the lease of its row decides who works.
//!
//! Guarantees:
//! - a handler runs only while this process holds both the message and the row's lease; both are extended together, and
//!   when either is lost the handler's future is dropped (its decoder dies with it) and nothing more is committed;
//! - the attempt is counted before the work starts; a task whose attempts or crashes are spent ends with a reason, by
//!   whichever process finds it; its dead letter is written in the same transaction, so the message itself is done;
//! - a drain gives the task back at once and charges nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reelfleet_catalog::assets::{Asset, End};
use reelfleet_catalog::tasks::Leased;
use reelfleet_catalog::{Catalog, CatalogError, Emission, Lease as TaskLease, Step};
use reelfleet_domain::policy::{Refusal, Verdict};
use reelfleet_domain::retry;
use reelfleet_messages::event::{AssetStopped, JobFact, ReasonCode, TaskDeadLettered};
use reelfleet_messages::task::{Task, TaskEnvelope, TaskError};
use reelfleet_messages::trace::TraceParent;
use reelfleet_messages::{Event, EventId, Letter};
use reelfleet_telemetry::trace::{Span, is_on};
use reelfleet_telemetry::{CommitRefused, DuplicateSuppressed, JobFinished, TaskDead, TaskFinished, TaskStarted};
use tracing::Instrument as _;

use crate::clock::{Clock, millis};
use crate::consumer::Handler;
use crate::context::Context;
use crate::heart::{Heart, Lease, LeaseState, LostCause};
use crate::outcome::{Outcome, full_jitter};
use crate::queue::{BoxFuture, Delivery};
use crate::trace;

/// A task that found no room for its decoder is due again within so long, for whoever has some.
const NO_ROOM: Duration = Duration::from_secs(10);

/// What came of an attempt that went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worked {
    /// The handler committed the task's end itself.
    Committed,
    /// Runs are committed; the rest is for a continuation.
    Continue,
}

/// What came of one that did not.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The source is not what we take: the asset is refused.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// No other attempt will fare better: the asset fails.
    #[error("failed: {0}")]
    Failed(Refusal),
    /// Another attempt may.
    #[error("{why}")]
    Again {
        /// What went wrong.
        why: String,
        /// How the decoder ended, if it crashed, hung or reached a limit: counted apart.
        exit: Option<String>,
    },
    /// Nothing was tried, for lack of room: the attempt is not charged.
    #[error("{0}")]
    Later(String),
    /// The catalog: a conflict means that the lease is lost.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl From<Verdict> for WorkError {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Refuse(why) => Self::Refused(why),
            Verdict::Fail(why) => Self::Failed(why),
            Verdict::Again { why, exit } => Self::Again { why, exit },
            Verdict::Later { why } => Self::Later(why),
        }
    }
}

impl WorkError {
    /// Something outside failed that another attempt may find well.
    pub fn again(why: impl std::fmt::Display) -> Self {
        Self::Again { why: why.to_string(), exit: None }
    }
}

/// One lease of a task, in the hands of a handler.
#[derive(Debug)]
pub struct Attempt {
    /// The lease; its token is compared by every write.
    pub lease: TaskLease,
    /// Beaten as work progresses.
    pub heart: Heart,
    context: Context,
}

/// The work of one worker.
pub trait TaskHandler: Send + Sync + 'static {
    /// Does the task and commits its end.
    fn work<'a>(&'a self, attempt: &'a Attempt) -> BoxFuture<'a, Result<Worked, WorkError>>;

    /// Whether the asset is lost when this task is given up.
    fn is_vital(&self, _asset: &Asset, _task: &Task) -> bool {
        true
    }
}

/// Runs tasks that a consumer delivers.
pub struct TaskRunner<H> {
    pub(crate) context: Context,
    pub(crate) catalog: Catalog,
    handler: H,
}

impl Attempt {
    /// A step of this attempt; the same name always is the same operation.
    pub fn step(&self, name: impl std::fmt::Display) -> Step {
        Step {
            now: self.context.clock.now_ms(),
            op: format!("{}/{}/{name}", self.lease.envelope.task, self.lease.token),
            instance: self.context.instance.to_string(),
        }
    }

    /// States the end of this task's job; `state` is `succeeded` or `failed`.
    pub fn job_ended(&self, asset: &Asset, state: &'static str) {
        let (job, asset_id) = (self.lease.envelope.job.to_string(), asset.id.to_string());
        let seconds = self.context.clock.now_ms().saturating_sub(asset.landed_at).max(0) as f64 / 1_000.0;
        JobFinished { job: &job, asset: &asset_id, state, seconds }.emit();
    }

    /// The event of a fact about this task's asset.
    pub fn emission(&self, owner: &str, event: Event) -> Emission {
        let envelope = &self.lease.envelope;
        self.context.emission(&envelope.tenant, owner, envelope.traceparent.clone(), event)
    }

    /// The trace that what this attempt makes goes on with.
    pub fn traceparent(&self) -> Option<TraceParent> {
        trace::going_on(self.lease.envelope.traceparent.as_ref())
    }
}

impl Context {
    /// A step that belongs to no task.
    pub fn step(&self) -> Step {
        Step { now: self.clock.now_ms(), op: self.ids.token(), instance: self.instance.to_string() }
    }

    /// The event of a fact. `trace`: what it belongs to, where no span is at work.
    pub fn emission(&self, tenant: &str, owner: &str, trace: Option<TraceParent>, event: Event) -> Emission {
        let trace = trace::going_on(trace.as_ref());
        Emission::new(EventId::from_uuid(self.ids.uuid()), self.clock.now_ms(), tenant, owner, trace, event)
    }
}

/// (Without progress for this long it is stuck, at most this long in all), by kind.
fn limits(task: &Task) -> (Duration, Duration) {
    let seconds = |stall, all| (Duration::from_secs(stall), Duration::from_secs(all));
    match task {
        Task::ProbeSource(_) | Task::PlanRenditions(_) | Task::PublishPlaylist(_) => seconds(60, 180),
        Task::EncodeChunk(_) | Task::EncodeAudio(_) => seconds(120, 1_800),
        Task::RenderThumbnails(_) => seconds(120, 600),
    }
}

/// The span of an attempt.
fn span(envelope: &TaskEnvelope, attempt: u32) -> Span {
    let span = Span::child(envelope.work.kind());
    if !is_on() {
        return span;
    }
    span.set("reelfleet.task.id", envelope.task.to_string());
    span.set("reelfleet.job.id", envelope.job.to_string());
    span.set("reelfleet.asset.id", envelope.work.asset().to_string());
    span.set("reelfleet.task.attempt", attempt);
    if let Task::EncodeChunk(chunk) | Task::EncodeAudio(chunk) = &envelope.work {
        span.set("reelfleet.chunk", chunk.chunk);
    }
    span
}

impl<H: TaskHandler> TaskRunner<H> {
    /// A runner over one catalog.
    pub fn new(context: Context, catalog: Catalog, handler: H) -> Self {
        Self { context, catalog, handler }
    }

    async fn run(&self, delivery: &Delivery, heart: Heart) -> Outcome {
        let envelope = match TaskEnvelope::parse(&delivery.body) {
            Ok(envelope) => envelope,
            Err(TaskError::Unknown { v, kind }) => {
                tracing::warn!(v, kind, "a task for a newer build is put back");
                return Outcome::Release { after: retry::UNKNOWN_TASK_DELAY };
            }
            Err(error) => return Outcome::reject(error),
        };
        let (task, job, asset) = (envelope.task, envelope.job, envelope.work.asset());
        let span = tracing::info_span!("task", kind = envelope.work.kind(), %task, %job, %asset);
        let redriven = Letter::read(&delivery.attributes).token;
        async {
            match redriven {
                Some(token) => match self.revive(&envelope, token, delivery.receive_count).await {
                    Ok(None) => self.leased(envelope, heart).await,
                    Ok(Some(outcome)) => outcome,
                    Err(error) => self.unsettled(&error),
                },
                None => self.leased(envelope, heart).await,
            }
        }
        .instrument(span)
        .await
    }

    /// A row's lease lasts as long as its message is hidden: the keeper extends both by the same tick.
    fn lease_ms(&self) -> i64 {
        millis(self.context.config.visibility())
    }

    async fn leased(&self, envelope: TaskEnvelope, heart: Heart) -> Outcome {
        match self.catalog.lease(&self.context.step(), &envelope.task, self.lease_ms()).await {
            Ok(Leased::Mine(lease)) => self.told_of(*lease, heart).await,
            Ok(Leased::Over) => {
                DuplicateSuppressed { place: "task", what: &envelope.task.to_string() }.emit();
                Outcome::Done
            }
            // Its holder looks for commits that came meanwhile before it ends; should it die, its own message returns.
            Ok(Leased::Later(_)) if matches!(envelope.work, Task::PublishPlaylist(_)) => Outcome::Done,
            Ok(Leased::Later(ms)) => Outcome::Release { after: Duration::from_millis(ms.unsigned_abs()) },
            Ok(Leased::Exhausted(lease, error)) => {
                let why = if lease.crashes >= retry::MAX_CRASHES {
                    Refusal::new(
                        ReasonCode::DecoderCrashed,
                        format!("the decoder gave up {} times: {error}", lease.crashes),
                    )
                } else {
                    Refusal::new(
                        ReasonCode::AttemptsExhausted,
                        format!("{} attempts were used up: {error}", lease.attempts),
                    )
                };
                let attempt = Attempt { lease: *lease, heart, context: self.context.clone() };
                self.end(&attempt, End::Failed, why, Some(error)).await
            }
            Err(error) => self.unsettled(&error),
        }
    }

    /// An attempt, with its beginning and its end in log and metrics.
    async fn told_of(&self, lease: TaskLease, heart: Heart) -> Outcome {
        let (envelope, began) = (lease.envelope.clone(), Instant::now());
        let (kind, task, job) = (envelope.work.kind(), envelope.task.to_string(), envelope.job.to_string());
        let attempt = u32::try_from(lease.attempts).unwrap_or(u32::MAX);
        TaskStarted { kind, task: &task, job: &job, attempt }.emit();
        let span = span(&envelope, attempt);
        let lost = heart.lost();
        let outcome = span.clone().within(self.attempt(lease, heart)).await;
        let label = if lost.is_cancelled() { "lost" } else { outcome.label() };
        span.set("reelfleet.outcome", label);
        if matches!(label, "lost" | "retry" | "reject") {
            span.fail(label);
        }
        let seconds = began.elapsed().as_secs_f64();
        TaskFinished { kind, task: &task, job: &job, outcome: label, seconds, why: outcome.why() }.emit();
        outcome
    }

    async fn attempt(&self, lease: TaskLease, heart: Heart) -> Outcome {
        let (stall, start_to_close) = limits(&lease.envelope.work);
        heart.set_limits(stall, start_to_close);
        heart.beat();
        heart.attach(Arc::new(Row {
            catalog: self.catalog.clone(),
            lease: lease.clone(),
            clock: self.context.clock.clone(),
            lease_ms: self.lease_ms(),
        }));
        let attempt = Attempt { lease, heart, context: self.context.clone() };
        let (lost, interrupted) = (attempt.heart.lost(), attempt.heart.interrupted());
        let worked = tokio::select! {
            biased;
            () = lost.cancelled() => return self.lost(&attempt).await,
            () = interrupted.cancelled() => None,
            worked = self.handler.work(&attempt) => Some(worked),
        };
        match worked {
            Some(Ok(Worked::Committed)) => Outcome::Done,
            Some(Ok(Worked::Continue)) => {
                let continued = self.catalog.continue_later(&attempt.step("continue"), &attempt.lease).await;
                self.told(&attempt, continued, Outcome::Done)
            }
            Some(Err(WorkError::Refused(why))) => self.end(&attempt, End::Refused, why, None).await,
            Some(Err(WorkError::Failed(why))) => self.end(&attempt, End::Failed, why, None).await,
            Some(Err(WorkError::Again { why, exit })) => self.again(&attempt, &why, exit.as_deref()).await,
            Some(Err(WorkError::Later(why))) => {
                tracing::info!("{why}");
                // Another message is sent: each return of this one would bring it nearer to the dead letters.
                let step = attempt.step("wait");
                let due = step.now.saturating_add(millis(full_jitter(NO_ROOM, NO_ROOM, 0)));
                let given = self.catalog.wait(&step, &attempt.lease, due).await;
                self.told(&attempt, given, Outcome::Done)
            }
            Some(Err(WorkError::Catalog(error))) => self.told(&attempt, Err(error), Outcome::Done),
            None => self.give_back(&attempt).await,
        }
    }

    /// Nothing more is committed. Where the row is still ours (this attempt hung, or only its message was lost) others may
    /// have it now; the attempt stays charged. The message is not answered, whatever is said here.
    async fn lost(&self, attempt: &Attempt) -> Outcome {
        let cause = attempt.heart.lost_cause().map_or("unknown", LostCause::label);
        tracing::warn!(cause, "the lease is lost: nothing is committed");
        let (step, why) = (attempt.step("lost"), format!("its worker lost the lease: {cause}"));
        let given = self.catalog.retry(&step, &attempt.lease, step.now, &why, None).await;
        self.told(attempt, given, Outcome::Release { after: Duration::from_secs(1) })
    }

    /// Shortly before the end of a drain's grace: nothing charged.
    async fn give_back(&self, attempt: &Attempt) -> Outcome {
        let step = attempt.step("release");
        let again = Outcome::Release { after: Duration::ZERO };
        // Refused: what ended it was under way when the grace ran out, and was committed.
        let given = self.catalog.release(&step, &attempt.lease, step.now).await;
        self.told(attempt, given, again.clone());
        again
    }

    async fn again(&self, attempt: &Attempt, why: &str, exit: Option<&str>) -> Outcome {
        let lease = &attempt.lease;
        let is_last =
            lease.attempts >= retry::MAX_ATTEMPTS || lease.crashes + i64::from(exit.is_some()) >= retry::MAX_CRASHES;
        // Nothing is tried again: the message comes back only to end the task.
        let backoff = || retry::backoff(lease.attempts, self.context.ids.unit());
        let after = if is_last { Duration::ZERO } else { backoff() };
        let step = attempt.step("retry");
        tracing::warn!(attempt = attempt.lease.attempts, exit, "{why}");
        let next_at = step.now.saturating_add(millis(after));
        let given = self.catalog.retry(&step, &attempt.lease, next_at, why, exit).await;
        let after = after.saturating_add(Duration::from_millis(10));
        self.told(attempt, given, Outcome::Retry { after, why: why.to_owned() })
    }

    /// The outcome of a step of an attempt; a refusal is a fact of its own.
    fn told(&self, attempt: &Attempt, step: Result<(), CatalogError>, outcome: Outcome) -> Outcome {
        let Err(error) = step else { return outcome };
        if let CatalogError::Conflict { what } = error {
            let task = attempt.lease.envelope.task.to_string();
            CommitRefused { what, token: attempt.lease.token, task: &task }.emit();
        }
        self.unsettled(&error)
    }

    /// The catalog's word is missing: the message comes back when the row's lease is over, and the row decides then.
    fn unsettled(&self, error: &CatalogError) -> Outcome {
        if error.is_conflict() {
            tracing::info!(%error, "somebody else was first");
            return Outcome::Release { after: Duration::from_secs(1) };
        }
        tracing::error!(%error, "the catalog did not settle a step");
        Outcome::Retry { after: Duration::from_secs(5), why: error.to_string() }
    }

    /// Ends the task, and its asset if it can't do without. `error`: the last one, where the reason is another.
    async fn end(&self, attempt: &Attempt, end: End, why: Refusal, error: Option<String>) -> Outcome {
        let ended = self.try_end(attempt, end, &why, error).await;
        self.told(attempt, ended, Outcome::Done)
    }

    async fn try_end(
        &self,
        attempt: &Attempt,
        end: End,
        why: &Refusal,
        error: Option<String>,
    ) -> Result<(), CatalogError> {
        let envelope = &attempt.lease.envelope;
        let id = envelope.work.asset();
        let Some(asset) = self.catalog.asset(&id).await? else {
            return Err(CatalogError::Conflict { what: "ending a task whose asset is gone" });
        };
        tracing::warn!(code = why.code.as_str(), "{}", why.detail);
        let mut facts = Vec::new();
        let letter = match end {
            End::Failed => Some(self.letter(&attempt.lease, &asset, why, error).await?),
            End::Refused => None,
        };
        if let Some(letter) = &letter {
            let (kind, reason) = (envelope.work.kind().to_owned(), letter.reason.clone());
            facts.push(Event::TaskDeadLettered(TaskDeadLettered { asset: id, job: envelope.job, kind, reason }));
        }
        let vital = self.handler.is_vital(&asset, &envelope.work) && asset.state.is_live();
        if vital {
            let stopped = AssetStopped { asset: id, code: why.code, detail: why.detail.clone() };
            facts.push(Event::JobFailed(JobFact { asset: id, job: envelope.job, code: Some(why.code) }));
            facts.push(if end == End::Refused { Event::AssetRefused(stopped) } else { Event::AssetFailed(stopped) });
        }
        let emissions: Vec<Emission> = facts.into_iter().map(|fact| attempt.emission(&asset.owner, fact)).collect();
        let step = attempt.step("end");
        if vital {
            let task = Some((&attempt.lease, letter.as_ref()));
            self.catalog.end_asset(&step, &asset, task, end, why, &emissions).await?;
            attempt.job_ended(&asset, "failed");
        } else {
            self.catalog.give_up(&step, &attempt.lease, letter.as_ref(), &emissions).await?;
        }
        if let Some(letter) = &letter {
            TaskDead { queue: &letter.queue, code: why.code.as_str(), reason: &letter.reason }.emit();
        }
        Ok(())
    }
}

impl<H: TaskHandler> Handler for TaskRunner<H> {
    fn handle(&self, delivery: Delivery, heart: Heart) -> BoxFuture<'_, Outcome> {
        Box::pin(async move { self.run(&delivery, heart).await })
    }
}

/// The row's side of a heart.
struct Row {
    catalog: Catalog,
    lease: TaskLease,
    clock: Clock,
    lease_ms: i64,
}

impl Lease for Row {
    fn extend(&self, _until_ms: i64) -> BoxFuture<'_, LeaseState> {
        Box::pin(async move {
            match self.catalog.extend(self.clock.now_ms(), &self.lease, self.lease_ms).await {
                Ok(true) => LeaseState::Held,
                Ok(false) => LeaseState::Lost,
                Err(_) => LeaseState::Unknown,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::Settings;
    use reelfleet_messages::AssetId;
    use reelfleet_messages::task::{AssetTask, ChunkTask};

    /// Terraform's visibility is longer than what it says a task may take; so it must say the truth.
    #[test]
    fn the_topology_knows_the_limits_of_tasks() {
        let topology: serde_json::Value = serde_json::from_str(include_str!("../../../schema/topology.json")).unwrap();
        let limit = |queue: &str| topology["queues"][queue]["task_limit_seconds"].as_u64().unwrap();
        let asset = AssetTask { asset: AssetId::from_uuid(uuid::Uuid::nil()), generation: 1 };
        let chunk = |chunk| ChunkTask {
            asset: asset.asset,
            generation: 1,
            chunk,
            start_us: 0,
            end_us: None,
            cuts_us: Vec::new(),
        };
        for task in [
            Task::ProbeSource(asset.clone()),
            Task::PlanRenditions(asset.clone()),
            Task::PublishPlaylist(asset.clone()),
            Task::RenderThumbnails(asset.clone()),
            Task::EncodeChunk(chunk(0)),
            Task::EncodeChunk(chunk(1)),
            Task::EncodeAudio(chunk(1)),
        ] {
            let all = limits(&task).1.as_secs();
            assert!(all <= limit(task.queue().as_str()), "{}: {all} s", task.kind());
            assert!(all <= limit("backfill") || task.kind() == "probe_source", "{}: {all} s", task.kind());
        }
        for queue in ["intake", "metadata"] {
            assert_eq!(limit(queue), Settings::default().start_to_close.as_secs(), "{queue}");
        }
    }
}
