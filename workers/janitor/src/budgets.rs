//! What waits for a budget: it starts when a new day has begun, or somebody has raised the budget and was not heard.
//!
//! Guarantee: the longest waits first; each starts once, however many janitors look.

use crate::{Janitor, passed_over};

impl Janitor {
    /// Answers how many were started.
    pub(crate) async fn sweep_parked(&self) -> anyhow::Result<u64> {
        let mut count = 0;
        for (tenant, _) in self.catalog.parked_counts().await? {
            self.beat.tick();
            match self.context.start_parked(&self.catalog, &tenant).await {
                Ok(started) => count += started,
                Err(error) => passed_over("budgets", &tenant, error),
            }
        }
        Ok(count)
    }
}
