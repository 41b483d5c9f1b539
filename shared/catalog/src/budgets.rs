//! Budgets of tenants: what may start on a day, and what waits for one.
//!
//! Guarantees:
//! - a job starts in the transaction that takes its estimate from its tenant's day, and only if the day's budget, as it
//!   stands in that transaction, holds it: two that start at once never pass it together;
//! - a parked asset has no task that encodes, whatever restarts; it starts once.

use reelfleet_domain::price_budget::fits;
use reelfleet_messages::event::ReasonCode;
use reelfleet_messages::{AssetId, JobId};

use crate::Step;
use crate::audit::AuditEntry;
use crate::error::CatalogError;
use crate::events::{self, Emission};
use crate::statement::{Params, Statement};
use crate::store::{Atomic, Catalog, first_int};
use crate::tasks::{self, NewTask};

/// A tenant's budget of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Whose.
    pub tenant: String,
    /// Millionths of the currency, a day.
    pub micros: u64,
    /// Who said so.
    pub by: String,
    /// When (epoch milliseconds).
    pub at: i64,
}

/// How a tenant stands on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// None: it may start everything.
    pub budget: Option<u64>,
    /// Estimates of what was started (millionths of the currency).
    pub started: u64,
}

/// A job that waits for a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// The job.
    pub job: JobId,
    /// Its asset.
    pub asset: AssetId,
    /// Whose.
    pub tenant: String,
    /// What it is expected to cost (millionths of the currency).
    pub micros: u64,
}

/// The asset waits for its tenant's budget, and says why.
pub(crate) fn park(step: &Step, job: &str, asset: &str, why: &str) -> [Statement; 2] {
    [
        Statement::new(
            "UPDATE asset SET reason_code = :code, reason_detail = :why WHERE id = :id AND state = 'parked'",
        )
        .text("code", ReasonCode::BudgetReached.as_str())
        .text("why", why)
        .text("id", asset)
        .expect(1),
        Statement::new("UPDATE job_cost SET parked_at = :now, updated_at = :now WHERE job_id = :job AND day IS NULL")
            .int("now", step.now)
            .text("job", job)
            .expect(1),
    ]
}

/// Takes a job's estimate from its tenant's day. Conflict: the day does not hold it, or it was started before.
pub(crate) fn take(step: &Step, job: &str, day: i64) -> [Statement; 3] {
    [
        Statement::new(
            "INSERT INTO tenant_day (tenant, day, started) SELECT tenant, :day, 0 FROM job_cost WHERE job_id = :job \
             ON CONFLICT (tenant, day) DO NOTHING",
        )
        .int("day", day)
        .text("job", job),
        Statement::new(
            "UPDATE tenant_day SET started = started + (SELECT c.micros FROM job_cost c WHERE c.job_id = :job) \
             WHERE day = :day AND tenant = (SELECT c.tenant FROM job_cost c WHERE c.job_id = :job) \
             AND NOT EXISTS (SELECT 1 FROM budget b JOIN job_cost c ON c.tenant = b.tenant WHERE c.job_id = :job \
             AND (b.micros = 0 OR tenant_day.started + c.micros > b.micros))",
        )
        .int("day", day)
        .text("job", job)
        .expect(1),
        Statement::new(
            "UPDATE job_cost SET day = :day, parked_at = NULL, updated_at = :now WHERE job_id = :job AND day IS NULL",
        )
        .int("day", day)
        .int("now", step.now)
        .text("job", job)
        .expect(1),
    ]
}

impl Catalog {
    /// Gives a tenant a budget, or (none) takes it away.
    pub async fn set_budget(&self, tenant: &str, micros: Option<u64>, audit: AuditEntry) -> Result<(), CatalogError> {
        let (by, at) = (audit.who.clone(), audit.at);
        self.audit(&[audit]).await?;
        let statement = match micros {
            Some(micros) => Statement::new(
                "INSERT INTO budget (tenant, micros, changed_by, changed_at) VALUES (:tenant, :micros, :by, :at) \
                 ON CONFLICT (tenant) DO UPDATE SET micros = :micros, changed_by = :by, changed_at = :at",
            )
            .int("micros", i64::try_from(micros).unwrap_or(i64::MAX))
            .text("by", by)
            .int("at", at),
            None => Statement::new("DELETE FROM budget WHERE tenant = :tenant"),
        };
        self.write(statement.text("tenant", tenant)).await.map(drop)
    }

    /// Every budget there is.
    pub async fn budgets(&self) -> Result<Vec<Budget>, CatalogError> {
        let sql = "SELECT tenant, micros, changed_by, changed_at FROM budget ORDER BY tenant";
        let rows = self.read(Statement::new(sql)).await?;
        rows.iter()
            .map(|row| {
                let micros = row.int(1)?.unsigned_abs();
                Ok(Budget { tenant: row.text(0)?, micros, by: row.text(2)?, at: row.int(3)? })
            })
            .collect()
    }

    /// How a tenant stands on a day.
    pub async fn standing_of(&self, tenant: &str, day: i64) -> Result<Standing, CatalogError> {
        let budget = Statement::new("SELECT micros FROM budget WHERE tenant = :tenant").text("tenant", tenant);
        let started = Statement::new("SELECT started FROM tenant_day WHERE tenant = :tenant AND day = :day")
            .text("tenant", tenant)
            .int("day", day);
        Ok(Standing {
            budget: first_int(&self.read(budget).await?)?.map(i64::unsigned_abs),
            started: first_int(&self.read(started).await?)?.unwrap_or(0).unsigned_abs(),
        })
    }

    /// Whether a job may start at once: the day holds it, and nobody of its tenant waits who could start on some day.
    pub async fn may_start(&self, tenant: &str, standing: &Standing, micros: u64) -> Result<bool, CatalogError> {
        if !fits(standing.budget, standing.started, micros) {
            return Ok(false);
        }
        if standing.budget.is_none() {
            return Ok(true);
        }
        Ok(self.parked_of(tenant, 1).await?.is_empty())
    }

    /// What waits in a tenant, the longest first, and would fit on a day of its own. What never would holds nobody up.
    pub async fn parked_of(&self, tenant: &str, limit: i64) -> Result<Vec<Parked>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT c.job_id, c.asset_id, c.tenant, c.micros FROM job_cost c JOIN asset a ON a.id = c.asset_id \
                     LEFT JOIN budget b ON b.tenant = c.tenant \
                     WHERE c.tenant = :tenant AND c.parked_at IS NOT NULL AND a.state = 'parked' \
                     AND (b.micros IS NULL OR (b.micros > 0 AND c.micros <= b.micros)) \
                     ORDER BY c.parked_at, c.job_id LIMIT :limit",
                )
                .text("tenant", tenant)
                .int("limit", limit),
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Parked {
                    job: row.parsed(0, "a job's id")?,
                    asset: row.parsed(1, "an asset's id")?,
                    tenant: row.text(2)?,
                    micros: row.int(3)?.unsigned_abs(),
                })
            })
            .collect()
    }

    /// How many wait, by tenant.
    pub async fn parked_counts(&self) -> Result<Vec<(String, i64)>, CatalogError> {
        let sql = "SELECT c.tenant, count(*) FROM job_cost c JOIN asset a ON a.id = c.asset_id \
                   WHERE c.parked_at IS NOT NULL AND a.state = 'parked' GROUP BY c.tenant ORDER BY c.tenant";
        let rows = self.read(Statement::new(sql)).await?;
        rows.iter().map(|row| Ok((row.text(0)?, row.int(1)?))).collect()
    }

    /// Starts a parked job on a day. Conflict: the day does not hold it, it was started before, or its asset does not wait.
    pub async fn start_parked(
        &self,
        step: &Step,
        parked: &Parked,
        day: i64,
        task: NewTask,
        emissions: &[Emission],
    ) -> Result<(), CatalogError> {
        let asset = parked.asset.to_string();
        let mut statements = vec![
            Statement::new(
                "UPDATE asset SET state = 'processing', reason_code = NULL, reason_detail = NULL, version = version + 1, op_id = :op, \
                 updated_at = :now WHERE id = :id AND state = 'parked'",
            )
            .with(Params::new().text("op", &step.op))
            .int("now", step.now)
            .text("id", &asset)
            .expect(1),
        ];
        statements.extend(take(step, &parked.job.to_string(), day));
        statements.extend(tasks::insert(step, &[task]));
        statements.extend(events::emit(step, emissions));
        let settled = Statement::new("SELECT id FROM asset WHERE id = :id AND op_id = :op")
            .text("id", &asset)
            .text("op", &step.op);
        self.commit(Atomic { what: "starting a parked job", statements, settled }).await
    }
}
