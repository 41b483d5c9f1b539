//! Making anew what is ready: a newer generation beside the present one.
//!
//! Guarantee: the asset stays ready, and is played in its present generation, until the newer one is whole; the change is
//! one compare-and-set in the transaction that ends the newer job. Of an asset one generation at a time is made; one that
//! came to nothing leaves the asset as it was, and does not stand in the way of the next.

use reelfleet_domain::TaskState;
use reelfleet_messages::task::TaskEnvelope;
use reelfleet_messages::trace::TraceParent;
use reelfleet_messages::{AssetId, JobId};

use crate::Step;
use crate::error::CatalogError;
use crate::events::{self, Emission};
use crate::pictures::Picture;
use crate::publishing::Rendition;
use crate::statement::{Params, Statement};
use crate::store::{Atomic, Catalog, first_int};
use crate::tasks::{self, Lease, NewTask};

/// A generation that is to be made.
#[derive(Debug, Clone)]
pub struct Remake<'r> {
    /// The asset, which is ready.
    pub asset: AssetId,
    /// The job that makes it.
    pub job: JobId,
    /// From [`Catalog::next_generation`].
    pub generation: i64,
    /// Its first task.
    pub first: &'r NewTask,
}

fn ended(asset: &str, step: &Step) -> Statement {
    Statement::new("SELECT id FROM asset WHERE id = :id AND op_id = :op").text("id", asset).text("op", &step.op)
}

impl Catalog {
    /// The number of the generation that would be made next.
    pub async fn next_generation(&self, asset: &AssetId) -> Result<i64, CatalogError> {
        let sql = "SELECT max(generation) FROM job WHERE asset_id = :asset";
        let rows = self.read(Statement::new(sql).text("asset", asset.to_string())).await?;
        Ok(first_int(&rows)?.unwrap_or(0) + 1)
    }

    /// The plan by which the present generation was made.
    pub async fn present_plan(&self, asset: &AssetId) -> Result<Option<String>, CatalogError> {
        let sql = "SELECT j.plan FROM asset a JOIN job j ON j.asset_id = a.id AND j.generation = a.generation WHERE a.id = :asset";
        let rows = self.read(Statement::new(sql).text("asset", asset.to_string())).await?;
        rows.first().map_or(Ok(None), |row| row.opt_text(0))
    }

    /// The plan of another generation, by its number.
    pub async fn plan_of(&self, asset: &AssetId, generation: i64) -> Result<Option<String>, CatalogError> {
        let sql = "SELECT plan FROM job WHERE asset_id = :asset AND generation = :generation";
        let statement = Statement::new(sql).text("asset", asset.to_string()).int("generation", generation);
        let rows = self.read(statement).await?;
        rows.first().map_or(Ok(None), |row| row.opt_text(0))
    }

    /// Starts it. Conflict: the asset is not ready, or a newer generation of it is being made. `more`: what changes with it.
    pub async fn remake(
        &self,
        step: &Step,
        remake: &Remake<'_>,
        more: Vec<Statement>,
        emissions: &[Emission],
    ) -> Result<(), CatalogError> {
        let (asset, job) = (remake.asset.to_string(), remake.job.to_string());
        let mut statements = vec![
            Statement::new(
                "UPDATE asset SET op_id = :op WHERE id = :id AND state = 'ready' AND media IN ('video', 'audio') AND generation < :generation",
            )
            .text("op", &step.op)
            .text("id", &asset)
            .int("generation", remake.generation)
            .expect(1),
            // One that came to nothing: none of its tasks goes on.
            Statement::new(
                "UPDATE job SET state = 'cancelled', updated_at = :now WHERE asset_id = :asset AND state IN ('queued', 'running') \
                 AND NOT EXISTS (SELECT 1 FROM task t WHERE t.job_id = job.id AND t.state IN ('pending', 'leased'))",
            )
            .int("now", step.now)
            .text("asset", &asset),
            Statement::new(
                "INSERT INTO job (id, asset_id, tenant, generation, state, remaining, total_us, percent, progress_seq, progress_at, created_at, updated_at) \
                 SELECT :job, id, tenant, :generation, 'queued', 0, 0, 0.0, 0, 0, :now, :now FROM asset WHERE id = :asset \
                 AND NOT EXISTS (SELECT 1 FROM job j WHERE j.asset_id = asset.id AND j.state IN ('queued', 'running'))",
            )
            .text("job", &job)
            .int("generation", remake.generation)
            .int("now", step.now)
            .text("asset", &asset)
            .expect(1),
        ];
        statements.extend(tasks::insert(step, std::slice::from_ref(remake.first)));
        statements.extend(more);
        statements.extend(events::emit(step, emissions));
        self.commit(Atomic { what: "making an asset anew", statements, settled: ended(&asset, step) }).await
    }

    /// The newer generation is whole: from now on it is the asset's. `lease` is its publisher's.
    pub async fn remade(
        &self,
        step: &Step,
        lease: &Lease,
        generation: i64,
        renditions: &[Rendition],
        pictures: &[Picture],
        emissions: &[Emission],
    ) -> Result<(), CatalogError> {
        let (asset, job) = (lease.envelope.work.asset().to_string(), lease.envelope.job.to_string());
        let mut statements = vec![
            tasks::settle(step, lease, TaskState::Done),
            Statement::new(
                "UPDATE asset SET generation = :generation, version = version + 1, op_id = :op, updated_at = :now \
                 WHERE id = :id AND state = 'ready' AND generation < :generation",
            )
            .int("generation", generation)
            .text("op", &step.op)
            .int("now", step.now)
            .text("id", &asset)
            .expect(1),
            Statement::new(
                "UPDATE job SET state = 'succeeded', percent = 100.0, progress_seq = progress_seq + 1, updated_at = :now \
                 WHERE id = :id AND state IN ('queued', 'running') AND remaining = 0",
            )
            .int("now", step.now)
            .text("id", &job)
            .expect(1),
            crate::publishing::insert_renditions(&asset, renditions),
        ];
        if !pictures.is_empty() {
            statements.push(crate::pictures::insert(&asset, pictures));
        }
        statements.extend(events::emit(step, emissions));
        let settled = tasks::settled(step, &lease.envelope.task);
        self.commit(Atomic { what: "changing to a newer generation", statements, settled }).await
    }

    /// Adds a task to the present job of an asset that is ready. Conflict: it is not.
    pub async fn add_task(&self, step: &Step, asset: &AssetId, task: &NewTask) -> Result<(), CatalogError> {
        let id = asset.to_string();
        let mut statements = vec![
            Statement::new(
                "UPDATE asset SET op_id = :op WHERE id = :id AND state = 'ready' AND generation = :generation",
            )
            .text("op", &step.op)
            .text("id", &id)
            .int("generation", i64::from(task.envelope.work.generation()))
            .expect(1),
        ];
        statements.extend(tasks::insert(step, std::slice::from_ref(task)));
        self.commit(Atomic { what: "adding a task", statements, settled: ended(&id, step) }).await
    }

    /// The job of the present generation.
    pub async fn present_job(&self, asset: &AssetId) -> Result<Option<JobId>, CatalogError> {
        let sql = "SELECT j.id FROM asset a JOIN job j ON j.asset_id = a.id AND j.generation = a.generation WHERE a.id = :asset";
        let rows = self.read(Statement::new(sql).text("asset", asset.to_string())).await?;
        rows.first().map(|row| row.parsed(0, "a job's id")).transpose()
    }

    /// The trace of its upload, as its first task names it.
    pub async fn trace_of(&self, asset: &AssetId) -> Result<Option<TraceParent>, CatalogError> {
        let sql = "SELECT body FROM task WHERE asset_id = :asset ORDER BY created_at, id LIMIT 1";
        let rows = self.read(Statement::new(sql).text("asset", asset.to_string())).await?;
        let first = rows.first().map(|row| row.text(0)).transpose()?;
        Ok(first.and_then(|body| TaskEnvelope::parse(&body).ok()).and_then(|task| task.traceparent))
    }

    /// Has an asset described again, as if it had just changed. `false`: it is not there, or goes.
    pub async fn describe_again(&self, now: i64, asset: &AssetId) -> Result<bool, CatalogError> {
        let sql = "UPDATE asset SET version = version + 1, updated_at = :now WHERE id = :id AND state NOT IN ('deleting', 'deleted')";
        let (_, changed) = self.write(Statement::new(sql).int("now", now).text("id", asset.to_string())).await?;
        Ok(changed == 1)
    }

    /// The task that ended an asset which failed: its envelope (JSON), its queue and its lease token.
    pub async fn ended_by(&self, asset: &AssetId) -> Result<Option<(String, i64)>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT t.body, t.lease_token FROM asset a JOIN task t ON t.asset_id = a.id AND t.op_id = a.ended_by \
                     WHERE a.id = :asset AND a.state = 'failed' AND t.state = 'failed'",
                )
                .with(Params::new().text("asset", asset.to_string())),
            )
            .await?;
        rows.first().map(|row| Ok((row.text(0)?, row.int(1)?))).transpose()
    }
}
