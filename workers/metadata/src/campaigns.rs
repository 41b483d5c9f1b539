//! Campaigns: hands out, now and then, the next assets of those that run.
//!
//! Guarantee: of a campaign never more assets are under way than it was begun with; their tasks lie on a queue of their
//! own, so no upload ever waits behind one. Several processes may drive it: the cursor lets one of them have each asset.

use std::time::Duration;

use reelfleet_catalog::campaigns::{Campaign, Next};
use reelfleet_catalog::remake::Remake;
use reelfleet_catalog::tasks::NewTask;
use reelfleet_catalog::{Catalog, CatalogError};
use reelfleet_fleet::Context;
use reelfleet_messages::event::JobFact;
use reelfleet_messages::task::{AssetTask, Task, TaskEnvelope, VERSION};
use reelfleet_messages::{Event, JobId, TaskId};
use reelfleet_telemetry::{SweepFailed, Swept};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);
/// Seconds of work to expect of planning.
const PLAN_COST_S: f64 = 1.0;

pub(crate) struct Campaigns {
    context: Context,
    catalog: Catalog,
}

impl Campaigns {
    pub(crate) fn new(context: Context, catalog: Catalog) -> Self {
        Self { context, catalog }
    }

    /// Goes round until draining.
    pub(crate) async fn run(self) {
        let draining = self.context.shutdown.draining().clone();
        loop {
            tokio::select! {
                biased;
                () = draining.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            match self.round().await {
                Ok(count) => Swept { what: "campaigns", count }.emit(),
                Err(error) => SweepFailed { what: "campaigns", item: "", detail: &error.to_string() }.emit(),
            }
        }
    }

    async fn round(&self) -> Result<u64, CatalogError> {
        let mut count = 0;
        for campaign in self.catalog.campaigns().await? {
            if campaign.state == "running" {
                count += self.go_on(&campaign).await?;
            }
        }
        Ok(count)
    }

    /// Hands out as many as there is room for.
    async fn go_on(&self, campaign: &Campaign) -> Result<u64, CatalogError> {
        let under_way = self.catalog.campaign_progress(campaign).await?.under_way;
        let room = i64::from(campaign.parallel).saturating_sub(under_way);
        let (mut campaign, mut count) = (campaign.clone(), 0);
        for _ in 0..room.max(0) {
            let Some(next) = self.catalog.campaign_next(&campaign).await? else {
                self.catalog.end_campaign(self.context.clock.now_ms(), &campaign).await?;
                break;
            };
            match self.hand_out(&campaign, &next).await {
                Ok(()) => count += 1,
                // It is being made anew already, or has just gone; or somebody else drives, and this changes nothing.
                Err(error) if error.is_conflict() => {
                    self.catalog.pass_over(&self.context.step(), &campaign, &next.asset).await?;
                }
                Err(error) => return Err(error),
            }
            campaign.cursor = next.asset.to_string();
        }
        Ok(count)
    }

    async fn hand_out(&self, campaign: &Campaign, next: &Next) -> Result<(), CatalogError> {
        let number = self.catalog.next_generation(&next.asset).await?;
        let job = JobId::from_uuid(self.context.ids.uuid());
        let target = AssetTask { asset: next.asset, generation: u32::try_from(number).unwrap_or(u32::MAX) };
        let envelope = TaskEnvelope {
            v: VERSION,
            task: TaskId::from_uuid(self.context.ids.uuid()),
            job,
            tenant: next.tenant.clone(),
            cost_s: PLAN_COST_S,
            traceparent: None,
            work: Task::PlanRenditions(target),
        };
        let first = NewTask { envelope, place: None, armed: true, backfill: true };
        let remake = Remake { asset: next.asset, job, generation: number, first: &first };
        let queued = Event::JobQueued(JobFact { asset: next.asset, job, code: None });
        let emissions = [self.context.emission(&next.tenant, &next.owner, None, queued)];
        self.catalog.hand_out(&self.context.step(), campaign, &remake, &emissions).await
    }
}
