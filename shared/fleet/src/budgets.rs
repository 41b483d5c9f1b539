//! Estimates of what was probed, whether it may start, and starting what has waited for a budget.
//!
//! Guarantee: whoever decides reads first and is judged by the database: what does not fit any more when it is written is
//! parked, never started; what is parked starts by whoever looks first, once.

use reelfleet_catalog::assets::Asset;
use reelfleet_catalog::budgets::Parked;
use reelfleet_catalog::costs::{Cost, Started};
use reelfleet_catalog::tasks::NewTask;
use reelfleet_catalog::{Catalog, CatalogError, Emission};
use reelfleet_domain::price_budget::{self, day, fits};
use reelfleet_domain::price_estimate::{Facts, estimate};
use reelfleet_messages::event::{AssetStopped, JobFact, ReasonCode};
use reelfleet_messages::task::{AssetTask, Task, TaskEnvelope, VERSION};
use reelfleet_messages::trace::TraceParent;
use reelfleet_messages::{Event, JobId, TaskId};

use crate::context::Context;

/// Parked jobs that are looked at in one go.
const PAGE: i64 = 100;

impl Context {
    /// What an upload of these facts will cost, and whether it may start now.
    pub async fn cost(&self, catalog: &Catalog, tenant: &str, facts: &Facts) -> Result<Cost, CatalogError> {
        let facts = &Facts { copied: self.config.copied(facts.copied), ..*facts };
        let estimate = estimate(facts, &catalog.speeds().await?, &self.config.prices);
        let micros = estimate.micros.likely;
        let text = serde_json::to_string(&estimate);
        let estimate = text.map_err(|source| CatalogError::Stored { what: "an estimate", source })?;
        Ok(Cost { estimate, micros, start: self.may_start(catalog, tenant, micros).await? })
    }

    /// Whether a job of so much may start now.
    pub async fn may_start(&self, catalog: &Catalog, tenant: &str, micros: u64) -> Result<Started, CatalogError> {
        let today = day(self.clock.now_ms());
        let standing = catalog.standing_of(tenant, today).await?;
        if catalog.may_start(tenant, &standing, micros).await? {
            return Ok(Started::On(today));
        }
        Ok(Started::Parked(self.why_parked(standing.budget.unwrap_or(0), standing.started, micros)))
    }

    /// Why a job waits, where somebody else has taken the day's rest meanwhile.
    pub async fn parked(&self, catalog: &Catalog, tenant: &str, micros: u64) -> Result<String, CatalogError> {
        let standing = catalog.standing_of(tenant, day(self.clock.now_ms())).await?;
        Ok(self.why_parked(standing.budget.unwrap_or(0), standing.started, micros))
    }

    fn why_parked(&self, budget: u64, started: u64, micros: u64) -> String {
        price_budget::why(budget, started, micros, self.config.prices.currency())
    }

    /// The facts of an asset that waits for its budget.
    pub fn parked_fact(&self, asset: &Asset, why: &str) -> Emission {
        let fact = AssetStopped { asset: asset.id, code: ReasonCode::BudgetReached, detail: why.to_owned() };
        self.emission(&asset.tenant, &asset.owner, None, Event::AssetParked(fact))
    }

    /// Starts what waits for a tenant's budget, the longest first, as far as today's holds it. How many.
    pub async fn start_parked(&self, catalog: &Catalog, tenant: &str) -> Result<u64, CatalogError> {
        let today = day(self.clock.now_ms());
        let mut count = 0;
        for parked in catalog.parked_of(tenant, PAGE).await? {
            let standing = catalog.standing_of(tenant, today).await?;
            if !fits(standing.budget, standing.started, parked.micros) {
                break;
            }
            match self.start(catalog, &parked, today).await {
                Ok(()) => count += 1,
                // Somebody else was first, or the asset goes.
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    async fn start(&self, catalog: &Catalog, parked: &Parked, day: i64) -> Result<(), CatalogError> {
        let Some(asset) = catalog.asset(&parked.asset).await? else { return Ok(()) };
        let queued = Event::JobQueued(JobFact { asset: asset.id, job: parked.job, code: None });
        let emissions = [self.emission(&asset.tenant, &asset.owner, None, queued)];
        let began = catalog.trace_of(&asset.id).await?;
        let task = self.first_task(&asset, parked.job, began);
        catalog.start_parked(&self.step(), parked, day, task, &emissions).await
    }

    /// The task that a job goes on with once it may: after a verdict, with a budget. A still picture is made again, which
    /// ends its job.
    pub fn first_task(&self, asset: &Asset, job: JobId, traceparent: Option<TraceParent>) -> NewTask {
        let target = AssetTask { asset: asset.id, generation: u32::try_from(asset.generation).unwrap_or(1) };
        let still = asset.media.as_deref() == Some("image");
        let envelope = TaskEnvelope {
            v: VERSION,
            task: TaskId::from_uuid(self.ids.uuid()),
            job,
            tenant: asset.tenant.clone(),
            cost_s: 1.0,
            traceparent,
            work: if still { Task::RenderThumbnails(target) } else { Task::PlanRenditions(target) },
        };
        NewTask { envelope, place: None, armed: true, backfill: false }
    }
}
