//! Leases of tasks: rows are the truth, messages are wake-ups.
//!
//! Guarantee: a lease is a token that only grows; every later write compares it. A lease is taken over only
//! [`Catalog::with_takeover_grace`] after its end. The attempt is counted before the work starts.

use reelfleet_domain::{TaskState, retry};
use reelfleet_messages::task::{TaskEnvelope, TaskQueue};
use reelfleet_messages::{Letter, TaskId};

use crate::Step;
use crate::costs::Used;
use crate::error::CatalogError;
use crate::outbox;
use crate::statement::{Params, Row, Statement};
use crate::store::{Atomic, Catalog};

/// A task that this process may work on.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The task.
    pub envelope: TaskEnvelope,
    /// Compared by every write of this attempt.
    pub token: i64,
    /// This attempt's number, from 1.
    pub attempts: i64,
    /// Crashes of the decoder on this task so far.
    pub crashes: i64,
    /// For publishing: how often it has been asked for.
    pub wanted: i64,
    /// The queue that it lies on, by its short name: a continuation has moved to `transcode`.
    pub queue: String,
    /// How the decoder ended when it last crashed on this task.
    pub last_exit: Option<String>,
    /// What its attempt used since its last commit: the next one adds it.
    pub used: Option<Box<Used>>,
}

/// What asking for a lease came to.
#[derive(Debug)]
pub enum Leased {
    /// It is ours.
    Mine(Box<Lease>),
    /// The task has ended, or is not there: acknowledge the message.
    Over,
    /// Somebody else holds it, or its time has not come: ask again after so many milliseconds.
    Later(i64),
    /// Its attempts are used up; the last error.
    Exhausted(Box<Lease>, String),
}

/// A task to be written, with the place in its track if it encodes.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// The task.
    pub envelope: TaskEnvelope,
    /// `video` or `audio`, and the chunk.
    pub place: Option<(&'static str, i64)>,
    /// False for publishing, which the first commit arms.
    pub armed: bool,
    /// Made for a campaign: it waits among its like.
    pub backfill: bool,
}

impl NewTask {
    /// The queue that it starts on.
    pub fn queue(&self) -> TaskQueue {
        if self.backfill { TaskQueue::Backfill } else { self.envelope.work.queue() }
    }
}

/// Rows of new tasks, and their wake-ups.
pub(crate) fn insert(step: &Step, tasks: &[NewTask]) -> Vec<Statement> {
    if tasks.is_empty() {
        return Vec::new();
    }
    let sets = tasks.iter().map(|task| {
        let e = &task.envelope;
        Params::new()
            .text("id", e.task.to_string())
            .text("job", e.job.to_string())
            .text("asset", e.work.asset().to_string())
            .text("tenant", &e.tenant)
            .text("kind", e.work.kind())
            .text("queue", task.queue().as_str())
            .text("body", e.to_json())
            .opt_text("track", task.place.map(|(track, _)| track))
            .opt_int("chunk", task.place.map(|(_, chunk)| chunk))
            .text("state", if task.armed { "pending" } else { "done" })
            .float("cost", e.cost_s)
            .text("op", &step.op)
            .int("now", step.now)
    });
    let rows = Statement::batch(
        "INSERT INTO task (id, job_id, asset_id, tenant, kind, queue, body, track, chunk, state, attempts, crashes, wanted, \
         lease_token, lease_until, next_at, cost_s, op_id, created_at, updated_at) VALUES (:id, :job, :asset, :tenant, :kind, \
         :queue, :body, :track, :chunk, :state, 0, 0, 0, 0, 0, :now, :cost, :op, :now, :now)",
        sets,
    );
    let armed: Vec<&NewTask> = tasks.iter().filter(|task| task.armed).collect();
    if armed.is_empty() { vec![rows] } else { vec![rows, outbox::wake_up(step, &armed)] }
}

/// The guard of every step of a leased task: still mine, still leased; becomes `state`.
pub(crate) fn settle(step: &Step, lease: &Lease, state: TaskState) -> Statement {
    Statement::new(
        "UPDATE task SET state = :state, op_id = :op, updated_at = :now WHERE id = :id AND lease_token = :token AND state = 'leased'",
    )
    .text("state", state.as_str())
    .text("op", &step.op)
    .int("now", step.now)
    .text("id", lease.envelope.task.to_string())
    .int("token", lease.token)
    .expect(1)
}

/// The same for a task that is given up: its row keeps the last error, and its dead letter goes out.
pub(crate) fn fail(step: &Step, lease: &Lease, letter: &Letter) -> Result<Vec<Statement>, CatalogError> {
    Ok(vec![
        settle(step, lease, TaskState::Failed),
        Statement::new("UPDATE task SET last_error = coalesce(:error, last_error) WHERE id = :id")
            .with(Params::new().opt_text("error", letter.error.as_deref().map(cut)))
            .text("id", lease.envelope.task.to_string()),
        outbox::dead_letter(step, lease, letter)?,
    ])
}

/// Whether this very step of a task was committed.
pub(crate) fn settled(step: &Step, task: &TaskId) -> Statement {
    Statement::new("SELECT id FROM task WHERE id = :id AND op_id = :op")
        .text("id", task.to_string())
        .text("op", &step.op)
}

impl Catalog {
    /// Takes the lease of a task for `lease_ms`, if it is due and free.
    pub async fn lease(&self, step: &Step, task: &TaskId, lease_ms: i64) -> Result<Leased, CatalogError> {
        let (rows, _) = self
            .write(
                Statement::new(
                    "UPDATE task SET state = 'leased', lease_token = lease_token + 1, lease_owner = :instance, lease_until = :until, \
                     attempts = attempts + 1, op_id = :op, updated_at = :now WHERE id = :id AND attempts < :max AND crashes < :crashes AND \
                     ((state = 'pending' AND next_at <= :now) OR (state = 'leased' AND lease_until < :stale)) \
                     RETURNING body, lease_token, attempts, crashes, wanted, queue, last_exit",
                )
                .text("instance", &step.instance)
                .int("until", step.now.saturating_add(lease_ms))
                .text("op", &step.op)
                .int("now", step.now)
                .text("id", task.to_string())
                .int("max", retry::MAX_ATTEMPTS)
                .int("crashes", retry::MAX_CRASHES)
                .int("stale", step.now.saturating_sub(self.takeover_grace_ms)),
            )
            .await?;
        if let Some(row) = rows.first() {
            return Ok(Leased::Mine(Box::new(lease_from(row)?)));
        }
        self.why_not(step, task, lease_ms).await
    }

    async fn why_not(&self, step: &Step, task: &TaskId, lease_ms: i64) -> Result<Leased, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT body, lease_token, attempts, crashes, wanted, queue, last_exit, state, lease_until, next_at, op_id, last_error \
                     FROM task WHERE id = :id",
                )
                .text("id", task.to_string()),
            )
            .await?;
        let Some(row) = rows.first() else { return Ok(Leased::Over) };
        let lease = lease_from(row)?;
        let (state, until, next_at) = (row.text(7)?, row.int(8)?, row.int(9)?);
        if row.text(10)? == step.op {
            // My own update whose answer was lost.
            return Ok(Leased::Mine(Box::new(lease)));
        }
        let free_at = match TaskState::parse(&state) {
            Some(TaskState::Pending) => next_at,
            Some(TaskState::Leased) => until.saturating_add(self.takeover_grace_ms).saturating_add(1),
            _ => return Ok(Leased::Over),
        };
        if free_at > step.now {
            return Ok(Leased::Later(free_at - step.now));
        }
        if lease.attempts >= retry::MAX_ATTEMPTS || lease.crashes >= retry::MAX_CRASHES {
            let error = row.opt_text(11)?.unwrap_or_else(|| "its workers died without a word".into());
            return self.take_exhausted(step, lease, error, lease_ms).await;
        }
        Ok(Leased::Later(1_000))
    }

    /// Fences the last attempt, so that the task can be failed by whoever found it.
    async fn take_exhausted(
        &self,
        step: &Step,
        lease: Lease,
        error: String,
        lease_ms: i64,
    ) -> Result<Leased, CatalogError> {
        let (rows, _) = self
            .write(
                Statement::new(
                    "UPDATE task SET state = 'leased', lease_token = lease_token + 1, lease_owner = :instance, lease_until = :until, \
                     op_id = :op, updated_at = :now WHERE id = :id AND lease_token = :token AND state IN ('pending', 'leased') \
                     RETURNING body, lease_token, attempts, crashes, wanted, queue, last_exit",
                )
                .text("instance", &step.instance)
                .int("until", step.now.saturating_add(lease_ms))
                .text("op", &step.op)
                .int("now", step.now)
                .text("id", lease.envelope.task.to_string())
                .int("token", lease.token),
            )
            .await?;
        match rows.first() {
            Some(row) => Ok(Leased::Exhausted(Box::new(lease_from(row)?), error)),
            None => Ok(Leased::Later(1_000)),
        }
    }

    /// Extends a lease to `lease_ms` from now. `false`: it is no longer ours.
    pub async fn extend(&self, now: i64, lease: &Lease, lease_ms: i64) -> Result<bool, CatalogError> {
        let (_, changed) = self
            .write(
                Statement::new(
                    "UPDATE task SET lease_until = :until, updated_at = :now WHERE id = :id AND lease_token = :token AND state = 'leased'",
                )
                .int("until", now.saturating_add(lease_ms))
                .int("now", now)
                .text("id", lease.envelope.task.to_string())
                .int("token", lease.token),
            )
            .await?;
        Ok(changed == 1)
    }

    /// Notes the prefix under which this attempt writes, before it writes.
    pub async fn open_attempt(&self, step: &Step, lease: &Lease, prefix: &str) -> Result<(), CatalogError> {
        self.write(
            Statement::new(
                "INSERT INTO attempt (task_id, token, asset_id, prefix, owner, started_at) \
                 VALUES (:task, :token, :asset, :prefix, :instance, :now) ON CONFLICT (task_id, token) DO NOTHING",
            )
            .text("task", lease.envelope.task.to_string())
            .int("token", lease.token)
            .text("asset", lease.envelope.work.asset().to_string())
            .text("prefix", prefix)
            .text("instance", &step.instance)
            .int("now", step.now),
        )
        .await
        .map(drop)
    }

    /// Gives a task back for another attempt at `next_at`, with what went wrong. `exit`: how the decoder ended, if it
    /// crashed; that is counted.
    pub async fn retry(
        &self,
        step: &Step,
        lease: &Lease,
        next_at: i64,
        error: &str,
        exit: Option<&str>,
    ) -> Result<(), CatalogError> {
        self.hand_back(step, lease, next_at, Some((error, exit)), 0).await
    }

    /// Gives a task back without charging the attempt: nobody's fault.
    pub async fn release(&self, step: &Step, lease: &Lease, next_at: i64) -> Result<(), CatalogError> {
        self.hand_back(step, lease, next_at, None, 1).await
    }

    async fn hand_back(
        &self,
        step: &Step,
        lease: &Lease,
        next_at: i64,
        wrong: Option<(&str, Option<&str>)>,
        uncharge: i64,
    ) -> Result<(), CatalogError> {
        let (error, exit) = wrong.map_or((None, None), |(error, exit)| (Some(cut(error)), exit));
        let (_, changed) = self
            .write(
                Statement::new(
                    "UPDATE task SET state = 'pending', next_at = :next, attempts = attempts - :uncharge, crashes = crashes + :crashes, \
                     last_error = coalesce(:error, last_error), last_exit = coalesce(:exit, last_exit), op_id = :op, updated_at = :now \
                     WHERE id = :id AND lease_token = :token AND state = 'leased'",
                )
                .int("next", next_at)
                .int("uncharge", uncharge)
                .int("crashes", i64::from(exit.is_some()))
                .with(Params::new().opt_text("error", error).opt_text("exit", exit))
                .text("op", &step.op)
                .int("now", step.now)
                .text("id", lease.envelope.task.to_string())
                .int("token", lease.token),
            )
            .await?;
        if changed == 1 || !self.read(settled(step, &lease.envelope.task)).await?.is_empty() {
            return Ok(());
        }
        Err(CatalogError::Conflict { what: "giving a task back" })
    }

    /// Gives a task back uncharged until it is due, and wakes its worker anew: the message that led to it has done its part.
    pub async fn wait(&self, step: &Step, lease: &Lease, next_at: i64) -> Result<(), CatalogError> {
        let statements = vec![
            Statement::new(
                "UPDATE task SET state = 'pending', next_at = :next, attempts = attempts - 1, op_id = :op, updated_at = :now \
                 WHERE id = :id AND lease_token = :token AND state = 'leased'",
            )
            .int("next", next_at)
            .text("op", &step.op)
            .int("now", step.now)
            .text("id", lease.envelope.task.to_string())
            .int("token", lease.token)
            .expect(1),
            outbox::wake_up_stored(step, &lease.envelope.task),
        ];
        let settled = settled(step, &lease.envelope.task);
        self.commit(Atomic { what: "giving a task back", statements, settled }).await
    }

    /// Ends a chain's attempt whose runs are committed and wakes its continuation, which waits among the other encoding
    /// tasks. No attempt is charged.
    pub async fn continue_later(&self, step: &Step, lease: &Lease) -> Result<(), CatalogError> {
        let statements = vec![
            Statement::new(
                "UPDATE task SET state = 'pending', queue = CASE WHEN queue = 'backfill' THEN queue ELSE :queue END, next_at = :now, attempts = 0, op_id = :op, updated_at = :now \
                 WHERE id = :id AND lease_token = :token AND state = 'leased'",
            )
            .text("queue", TaskQueue::Transcode.as_str())
            .int("now", step.now)
            .text("op", &step.op)
            .text("id", lease.envelope.task.to_string())
            .int("token", lease.token)
            .expect(1),
            outbox::wake_up_stored(step, &lease.envelope.task),
        ];
        let settled = settled(step, &lease.envelope.task);
        self.commit(Atomic { what: "continuing a chain", statements, settled }).await
    }
}

fn lease_from(row: &Row) -> Result<Lease, CatalogError> {
    let body = row.text(0)?;
    let envelope = serde_json::from_str(&body).map_err(|source| CatalogError::Stored { what: "task", source })?;
    Ok(Lease {
        envelope,
        token: row.int(1)?,
        attempts: row.int(2)?,
        crashes: row.int(3)?,
        wanted: row.int(4)?,
        queue: row.text(5)?,
        last_exit: row.opt_text(6)?,
        used: None,
    })
}

/// An error as a row keeps it.
fn cut(error: &str) -> String {
    error.chars().take(2_000).collect()
}
