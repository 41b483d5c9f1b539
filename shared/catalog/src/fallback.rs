//! Falling back: what was planned in chunks goes on as one chain, or is made anew.
//!
//! Guarantee: only the publisher falls back to a chain, under its lease, so nothing that a playlist names is ever taken away: runs
//! behind the kept one are forgotten in the transaction that calls off the tasks which made them, and their objects
//! become garbage like a loser's.

use reelfleet_domain::TaskState;
use reelfleet_messages::JobId;

use crate::Step;
use crate::error::CatalogError;
use crate::events::{self, Emission};
use crate::statement::Statement;
use crate::store::{Atomic, Catalog};
use crate::tasks::{self, Lease, NewTask};

/// How a job goes on.
#[derive(Debug)]
pub struct Fallback<'f> {
    /// The plan from now on (JSON).
    pub plan: &'f str,
    /// The last run of the pictures that stays: (chunk, run).
    pub keep: (i64, i64),
    /// The task that makes the rest, in its place.
    pub chain: &'f NewTask,
}

impl Catalog {
    /// Goes on from the kept run as one chain. `lease` is the publisher's, which stays leased.
    pub async fn fall_back(&self, step: &Step, lease: &Lease, fallback: &Fallback<'_>) -> Result<(), CatalogError> {
        let job = lease.envelope.job.to_string();
        let (chunk, run) = fallback.keep;
        let behind = |statement: Statement| statement.text("job", &job).int("chunk", chunk).int("run", run);
        let mut statements = vec![
            Statement::new(
                "UPDATE task SET op_id = :op, updated_at = :now WHERE id = :id AND lease_token = :token AND state = 'leased'",
            )
            .text("op", &step.op)
            .int("now", step.now)
            .text("id", lease.envelope.task.to_string())
            .int("token", lease.token)
            .expect(1),
            Statement::new("UPDATE job SET plan = :plan, updated_at = :now WHERE id = :id AND state = 'running'")
                .text("plan", fallback.plan)
                .int("now", step.now)
                .text("id", &job)
                .expect(1),
            Statement::new(
                "UPDATE task SET state = 'cancelled', op_id = :op, updated_at = :now \
                 WHERE job_id = :job AND track = 'video' AND state IN ('pending', 'leased')",
            )
            .text("op", &step.op)
            .int("now", step.now)
            .text("job", &job),
            // What these attempts wrote is swept again, now that no run names it.
            behind(Statement::new(
                "UPDATE attempt SET swept_at = NULL WHERE EXISTS (SELECT 1 FROM run r WHERE r.task_id = attempt.task_id \
                 AND r.token = attempt.token AND r.job_id = :job AND r.track = 'video' \
                 AND (r.chunk > :chunk OR (r.chunk = :chunk AND r.run > :run)))",
            )),
            behind(Statement::new(
                "DELETE FROM run WHERE job_id = :job AND track = 'video' AND (chunk > :chunk OR (chunk = :chunk AND run > :run))",
            )),
        ];
        statements.extend(tasks::insert(step, std::slice::from_ref(fallback.chain)));
        statements.push(
            Statement::new(
                "UPDATE job SET remaining = (SELECT count(*) FROM task t WHERE t.job_id = job.id AND t.track IS NOT NULL \
                 AND t.state IN ('pending', 'leased')) WHERE id = :id",
            )
            .text("id", &job),
        );
        let settled = tasks::settled(step, &lease.envelope.task);
        self.commit(Atomic { what: "falling back to a chain", statements, settled }).await
    }

    /// Gives up a generation whose published beginning is wrong, or that can't be made as it was planned, and starts the next:
    /// the old job is called off, the new one begins with `next`. `lease` is of the old job's task that found it, which ends.
    pub async fn regenerate(
        &self,
        step: &Step,
        lease: &Lease,
        job: &JobId,
        generation: i64,
        next: &[NewTask],
        emissions: &[Emission],
    ) -> Result<(), CatalogError> {
        let (asset, old) = (lease.envelope.work.asset().to_string(), lease.envelope.job.to_string());
        let mut statements = vec![
            tasks::settle(step, lease, TaskState::Done),
            Statement::new(
                "UPDATE asset SET state = 'processing', generation = :generation, playable_at = NULL, version = version + 1, op_id = :op, \
                 updated_at = :now WHERE id = :id AND generation = :generation - 1 AND state IN ('processing', 'playable')",
            )
            .int("generation", generation)
            .text("op", &step.op)
            .int("now", step.now)
            .text("id", &asset)
            .expect(1),
            Statement::new("UPDATE job SET state = 'cancelled', updated_at = :now WHERE id = :id AND state = 'running'")
                .int("now", step.now)
                .text("id", &old)
                .expect(1),
            Statement::new(
                "UPDATE task SET state = 'cancelled', op_id = :op, updated_at = :now WHERE job_id = :job AND state IN ('pending', 'leased')",
            )
            .text("op", &step.op)
            .int("now", step.now)
            .text("job", &old),
            Statement::new(
                "INSERT INTO job (id, asset_id, tenant, generation, state, remaining, total_us, percent, progress_seq, progress_at, created_at, updated_at) \
                 VALUES (:job, :asset, :tenant, :generation, 'queued', 0, 0, 0.0, 0, 0, :now, :now)",
            )
            .text("job", job.to_string())
            .text("asset", &asset)
            .text("tenant", &lease.envelope.tenant)
            .int("generation", generation)
            .int("now", step.now)
            .expect(1),
        ];
        statements.extend(tasks::insert(step, next));
        statements.extend(events::emit(step, emissions));
        let settled = tasks::settled(step, &lease.envelope.task);
        self.commit(Atomic { what: "starting a new generation", statements, settled }).await
    }
}
