//! What jobs are expected to take, and what they took; the speeds that are measured by it.
//!
//! Guarantee: what an attempt used is added in the transaction that commits its work, so it counts once, as its result
//! does; an attempt that comes to nothing adds nothing. The estimate is written with the probe that it was made from.

use reelfleet_domain::price_budget::day;
use reelfleet_domain::price_estimate::{Speed, Speeds};
use reelfleet_domain::price_work::{Amounts, Kind, Model};
use reelfleet_messages::{AssetId, JobId};

use crate::Step;
use crate::error::CatalogError;
use crate::statement::{Params, Row, Statement};
use crate::store::Catalog;
use crate::tasks::Lease;

/// No job counts for more (millionths of the currency): what is added up stays within a row.
const MOST_MICROS: u64 = 1_000_000_000_000_000;

/// What an attempt used since its last commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// What kind of work it was, if its speed tells something of other work.
    pub kind: Option<Kind>,
    /// What the model says of the same work.
    pub model: Model,
    /// What it used.
    pub amounts: Amounts,
}

/// What a job is expected to cost, and whether it may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// The estimate (JSON).
    pub estimate: String,
    /// Millionths of the currency.
    pub micros: u64,
    /// Whether it starts.
    pub start: Started,
}

/// Whether a job starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// On this day's budget. Conflict if that does not hold it.
    On(i64),
    /// It waits for a budget, and why, for a person.
    Parked(String),
}

/// What a job was expected to take, and took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobCost {
    /// The estimate (JSON); one that was made anew has none.
    pub estimate: Option<String>,
    /// What it used.
    pub used: Amounts,
}

/// What a tenant started on a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// The tenant.
    pub tenant: String,
    /// The day (UTC), counted from the epoch.
    pub day: i64,
    /// Jobs.
    pub jobs: i64,
    /// What they were expected to cost (millionths of the currency).
    pub estimated_micros: i64,
    /// What they used so far.
    pub used: Amounts,
}

impl Lease {
    /// The same lease, whose next commit adds what was used.
    #[must_use]
    pub fn having_used(&self, used: Used) -> Self {
        Self { used: Some(Box::new(used)), ..self.clone() }
    }
}

fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX).min(1 << 56)
}

/// Adds what the lease's attempt used, to its job and to the speed of that kind of work.
pub(crate) fn used(step: &Step, lease: &Lease) -> Vec<Statement> {
    let Some(used) = &lease.used else { return Vec::new() };
    let (amounts, model) = (&used.amounts, &used.model);
    let mut statements = vec![
        Statement::new(
            "INSERT INTO job_cost (job_id, asset_id, tenant, micros, day, cpu_ms, output_bytes, puts, gets, tasks, created_at, updated_at) \
             VALUES (:job, :asset, :tenant, 0, :day, :cpu, :bytes, :puts, :gets, :tasks, :now, :now) ON CONFLICT (job_id) DO UPDATE SET \
             cpu_ms = job_cost.cpu_ms + :cpu, output_bytes = job_cost.output_bytes + :bytes, puts = job_cost.puts + :puts, \
             gets = job_cost.gets + :gets, tasks = job_cost.tasks + :tasks, updated_at = :now",
        )
        .text("job", lease.envelope.job.to_string())
        .text("asset", lease.envelope.work.asset().to_string())
        .text("tenant", &lease.envelope.tenant)
        .int("day", day(step.now))
        .int("cpu", whole(amounts.cpu_ms))
        .int("bytes", whole(amounts.output_bytes))
        .int("puts", whole(amounts.puts))
        .int("gets", whole(amounts.gets))
        .int("tasks", whole(amounts.tasks))
        .int("now", step.now),
    ];
    if let Some(kind) = used.kind {
        // The older the less: half of it is forgotten after eleven pieces of work.
        statements.push(
            Statement::new(
                "INSERT INTO speed (kind, samples, cpu_ms, model_ms, bytes, model_bytes, updated_at) \
                 VALUES (:kind, 1, :cpu, :model_ms, :bytes, :model_bytes, :now) ON CONFLICT (kind) DO UPDATE SET \
                 samples = speed.samples + 1, cpu_ms = speed.cpu_ms * 15 / 16 + :cpu, model_ms = speed.model_ms * 15 / 16 + :model_ms, \
                 bytes = speed.bytes * 15 / 16 + :bytes, model_bytes = speed.model_bytes * 15 / 16 + :model_bytes, updated_at = :now",
            )
            .text("kind", kind.as_str())
            .int("cpu", whole(amounts.cpu_ms))
            .int("model_ms", whole(model.cpu_ms))
            .int("bytes", whole(amounts.output_bytes))
            .int("model_bytes", whole(model.bytes))
            .int("now", step.now),
        );
    }
    statements
}

/// Writes a job's estimate; it is not started by it.
pub(crate) fn estimated(step: &Step, lease: &Lease, cost: &Cost) -> Statement {
    Statement::new(
        "INSERT INTO job_cost (job_id, asset_id, tenant, estimate, source_bytes, micros, cpu_ms, output_bytes, puts, gets, tasks, created_at, updated_at) \
         SELECT :job, id, tenant, :estimate, size, :micros, 0, 0, 0, 0, 0, :now, :now FROM asset WHERE id = :asset \
         ON CONFLICT (job_id) DO UPDATE SET estimate = :estimate, source_bytes = excluded.source_bytes, micros = :micros, day = NULL, updated_at = :now",
    )
    .text("job", lease.envelope.job.to_string())
    .text("asset", lease.envelope.work.asset().to_string())
    .text("estimate", &cost.estimate)
    .int("micros", whole(cost.micros.min(MOST_MICROS)))
    .int("now", step.now)
    .expect(1)
}

impl Catalog {
    /// The speeds of the fleet.
    pub async fn speeds(&self) -> Result<Speeds, CatalogError> {
        let sql = "SELECT kind, samples, cpu_ms, model_ms, bytes, model_bytes FROM speed ORDER BY kind";
        let mut speeds = Speeds::new();
        for row in &self.read(Statement::new(sql)).await? {
            if let Some(kind) = Kind::parse(&row.text(0)?) {
                let [samples, cpu_ms, model_ms, bytes, model_bytes] = numbers(row, 1)?;
                speeds.insert(kind, Speed { samples, cpu_ms, model_ms, bytes, model_bytes });
            }
        }
        Ok(speeds)
    }

    /// What an asset's present generation was expected to take, and took.
    pub async fn cost_of(&self, asset: &AssetId) -> Result<Option<JobCost>, CatalogError> {
        let sql = "SELECT c.estimate, c.cpu_ms, c.source_bytes, c.output_bytes, c.puts, c.gets, c.tasks FROM asset a \
                   JOIN job j ON j.asset_id = a.id AND j.generation = a.generation JOIN job_cost c ON c.job_id = j.id WHERE a.id = :asset";
        let rows = self.read(Statement::new(sql).text("asset", asset.to_string())).await?;
        rows.first().map(|row| Ok(JobCost { estimate: row.opt_text(0)?, used: amounts(row, 1)? })).transpose()
    }

    /// What a job is expected to cost (millionths of the currency); none: nobody has estimated it.
    pub async fn estimate_of(&self, job: &JobId) -> Result<Option<u64>, CatalogError> {
        let sql = "SELECT micros FROM job_cost WHERE job_id = :job AND estimate IS NOT NULL";
        let rows = self.read(Statement::new(sql).text("job", job.to_string())).await?;
        rows.first().map(|row| Ok(row.int(0)?.unsigned_abs())).transpose()
    }

    /// What was started on each day from the given one on, by tenant, the latest first; an empty tenant: of all.
    pub async fn spent(&self, tenant: &str, from: i64, limit: i64) -> Result<Vec<Spent>, CatalogError> {
        let sql = "SELECT tenant, day, count(*), CAST(sum(micros) AS BIGINT), CAST(sum(cpu_ms) AS BIGINT), CAST(sum(source_bytes) AS BIGINT), \
                   CAST(sum(output_bytes) AS BIGINT), CAST(sum(puts) AS BIGINT), CAST(sum(gets) AS BIGINT), CAST(sum(tasks) AS BIGINT) \
                   FROM job_cost WHERE day >= :from AND (:tenant = '' OR tenant = :tenant) GROUP BY tenant, day ORDER BY day DESC, tenant LIMIT :limit";
        let statement = Statement::new(sql).int("from", from).text("tenant", tenant).int("limit", limit);
        let rows = self.read(statement).await?;
        rows.iter()
            .map(|row| {
                Ok(Spent {
                    tenant: row.text(0)?,
                    day: row.int(1)?,
                    jobs: row.int(2)?,
                    estimated_micros: row.int(3)?,
                    used: amounts(row, 4)?,
                })
            })
            .collect()
    }

    /// Adds objects that were written for a job outside of its committed work. They are no measure of speed, and need not
    /// be exact to the object where the writing process dies.
    pub async fn wrote_objects(&self, now: i64, job: &JobId, objects: u64) -> Result<(), CatalogError> {
        if objects == 0 {
            return Ok(());
        }
        let sql = "UPDATE job_cost SET puts = puts + :puts, tasks = tasks + 1, updated_at = :now WHERE job_id = :job";
        let params = Params::new().int("puts", whole(objects)).int("now", now).text("job", job.to_string());
        self.write(Statement::new(sql).with(params)).await.map(drop)
    }
}

fn numbers<const N: usize>(row: &Row, from: usize) -> Result<[u64; N], CatalogError> {
    let mut numbers = [0; N];
    for (index, number) in numbers.iter_mut().enumerate() {
        *number = row.int(from + index)?.unsigned_abs();
    }
    Ok(numbers)
}

fn amounts(row: &Row, from: usize) -> Result<Amounts, CatalogError> {
    let [cpu_ms, source_bytes, output_bytes, puts, gets, tasks] = numbers(row, from)?;
    Ok(Amounts { cpu_ms, source_bytes, output_bytes, puts, gets, tasks, egress_bytes: 0 })
}
