//! Campaigns: everything older than a date is made anew, a few assets at a time.
//!
//! Guarantee: an asset is handed out in the transaction that moves the campaign's cursor past it, so none is handed out
//! twice or passed over, however many processes drive it and whichever of them dies. A campaign that is paused hands out
//! nothing; what it has handed out goes on.

use reelfleet_messages::{AssetId, JobId};

use crate::Step;
use crate::audit::AuditEntry;
use crate::error::CatalogError;
use crate::events::Emission;
use crate::remake::Remake;
use crate::statement::{Params, Row, Statement};
use crate::store::Catalog;

/// A campaign's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Campaign {
    /// Its name.
    pub name: String,
    /// Of one tenant only.
    pub tenant: Option<String>,
    /// What landed before this (epoch milliseconds).
    pub before: i64,
    /// Assets under way at once.
    pub parallel: u32,
    /// `running`, `paused`, `done`, `cancelled`.
    pub state: String,
    /// The last asset that it came to; empty at the beginning.
    pub cursor: String,
    /// Assets that it handed out.
    pub handed: i64,
    /// Assets that it came to and that could not be made anew then.
    pub skipped: i64,
    /// Who began it.
    pub by: String,
    /// When (epoch milliseconds).
    pub at: i64,
}

/// How far a campaign is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CampaignProgress {
    /// Assets behind its cursor that are still to come.
    pub to_come: i64,
    /// Assets that are being made.
    pub under_way: i64,
    /// Assets that were made anew.
    pub made: i64,
    /// Assets that could not be: they stay as they were.
    pub failed: i64,
}

/// The next asset of a campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// The asset.
    pub asset: AssetId,
    /// Whose it is.
    pub tenant: String,
    /// Whose it is there.
    pub owner: String,
}

macro_rules! columns {
    () => {
        "name, tenant, before_ms, parallel, state, after_asset, handed, skipped, created_by, created_at"
    };
}

macro_rules! eligible {
    () => {
        "FROM asset WHERE id > :cursor AND state = 'ready' AND media IN ('video', 'audio') AND landed_at < :before \
         AND (CAST(:tenant AS TEXT) IS NULL OR tenant = :tenant)"
    };
}

fn campaign_from(row: &Row) -> Result<Campaign, CatalogError> {
    Ok(Campaign {
        name: row.text(0)?,
        tenant: row.opt_text(1)?,
        before: row.int(2)?,
        parallel: u32::try_from(row.int(3)?).unwrap_or(0),
        state: row.text(4)?,
        cursor: row.text(5)?,
        handed: row.int(6)?,
        skipped: row.int(7)?,
        by: row.text(8)?,
        at: row.int(9)?,
    })
}

impl Campaign {
    fn bound(&self, sql: &'static str) -> Statement {
        Statement::new(sql)
            .text("cursor", &self.cursor)
            .int("before", self.before)
            .with(Params::new().opt_text("tenant", self.tenant.as_deref()))
    }

    /// Moves the cursor on, if it still is where this row says.
    fn advance(&self, step: &Step, asset: &AssetId, handed: bool) -> Statement {
        Statement::new(
            "UPDATE campaign SET after_asset = :asset, handed = handed + :handed, skipped = skipped + :skipped, updated_at = :now \
             WHERE name = :name AND state = 'running' AND after_asset = :cursor",
        )
        .text("asset", asset.to_string())
        .int("handed", i64::from(handed))
        .int("skipped", i64::from(!handed))
        .int("now", step.now)
        .text("name", &self.name)
        .text("cursor", &self.cursor)
    }
}

impl Catalog {
    /// Begins a campaign. `false`: there is one of that name.
    pub async fn begin_campaign(&self, campaign: &Campaign, audit: AuditEntry) -> Result<bool, CatalogError> {
        self.audit(&[audit]).await?;
        let statement = Statement::new(concat!(
            "INSERT INTO campaign (",
            columns!(),
            ", updated_at) VALUES (:name, :tenant, :before, :parallel, 'running', '', 0, 0, :by, :now, :now) ON CONFLICT (name) DO NOTHING"
        ));
        self.write(
            statement
                .text("name", &campaign.name)
                .with(Params::new().opt_text("tenant", campaign.tenant.as_deref()))
                .int("before", campaign.before)
                .int("parallel", i64::from(campaign.parallel))
                .text("by", &campaign.by)
                .int("now", campaign.at),
        )
        .await?;
        // Read back, so that an answer that was lost is no "there is one".
        let mine = |one: &Campaign| one.name == campaign.name && one.at == campaign.at && one.by == campaign.by;
        Ok(self.campaigns().await?.iter().any(mine))
    }

    /// All campaigns, the latest first.
    pub async fn campaigns(&self) -> Result<Vec<Campaign>, CatalogError> {
        let sql = concat!("SELECT ", columns!(), " FROM campaign ORDER BY created_at DESC, name");
        self.read(Statement::new(sql)).await?.iter().map(campaign_from).collect()
    }

    /// Pauses, resumes, cancels. `false`: there is none of that name that is not over.
    pub async fn turn_campaign(
        &self,
        now: i64,
        name: &str,
        state: &'static str,
        audit: AuditEntry,
    ) -> Result<bool, CatalogError> {
        self.audit(&[audit]).await?;
        let sql = "UPDATE campaign SET state = :state, updated_at = :now WHERE name = :name AND state IN ('running', 'paused')";
        let statement = Statement::new(sql).text("state", state).int("now", now).text("name", name);
        Ok(self.write(statement).await?.1 == 1)
    }

    /// How far it is.
    pub async fn campaign_progress(&self, campaign: &Campaign) -> Result<CampaignProgress, CatalogError> {
        let left = campaign.bound(concat!("SELECT count(*) ", eligible!()));
        let to_come = crate::store::first_int(&self.read(left).await?)?.unwrap_or(0);
        let rows = self
            .read(
                Statement::new(
                    "SELECT CASE WHEN j.state = 'succeeded' THEN 'made' WHEN j.state IN ('queued', 'running') AND EXISTS \
                     (SELECT 1 FROM task t WHERE t.job_id = j.id AND t.state IN ('pending', 'leased')) THEN 'under_way' ELSE 'failed' END, \
                     count(*) FROM campaign_job c JOIN job j ON j.id = c.job_id WHERE c.campaign = :name GROUP BY 1",
                )
                .text("name", &campaign.name),
            )
            .await?;
        let mut progress = CampaignProgress { to_come, under_way: 0, made: 0, failed: 0 };
        for row in rows {
            let count = row.int(1)?;
            match row.text(0)?.as_str() {
                "made" => progress.made = count,
                "under_way" => progress.under_way = count,
                _ => progress.failed = count,
            }
        }
        Ok(progress)
    }

    /// The asset that comes next.
    pub async fn campaign_next(&self, campaign: &Campaign) -> Result<Option<Next>, CatalogError> {
        let next = campaign.bound(concat!("SELECT id, tenant, owner ", eligible!(), " ORDER BY id LIMIT 1"));
        let rows = self.read(next).await?;
        rows.first()
            .map(|row| Ok(Next { asset: row.parsed(0, "an asset's id")?, tenant: row.text(1)?, owner: row.text(2)? }))
            .transpose()
    }

    /// Hands an asset out. Conflict: somebody else did, or it can't be made anew now.
    pub async fn hand_out(
        &self,
        step: &Step,
        campaign: &Campaign,
        remake: &Remake<'_>,
        emissions: &[Emission],
    ) -> Result<(), CatalogError> {
        let noted = Statement::new("INSERT INTO campaign_job (job_id, campaign) VALUES (:job, :campaign)")
            .text("job", remake.job.to_string())
            .text("campaign", &campaign.name);
        let more = vec![campaign.advance(step, &remake.asset, true).expect(1), noted];
        self.remake(step, remake, more, emissions).await
    }

    /// Passes an asset over that can't be made anew; changes nothing where somebody else has gone on.
    pub async fn pass_over(&self, step: &Step, campaign: &Campaign, asset: &AssetId) -> Result<(), CatalogError> {
        self.write(campaign.advance(step, asset, false)).await.map(drop)
    }

    /// Ends a campaign that has come to its end.
    pub async fn end_campaign(&self, now: i64, campaign: &Campaign) -> Result<(), CatalogError> {
        let sql = "UPDATE campaign SET state = 'done', updated_at = :now WHERE name = :name AND state = 'running' AND after_asset = :cursor";
        let statement =
            Statement::new(sql).int("now", now).text("name", &campaign.name).text("cursor", &campaign.cursor);
        self.write(statement).await.map(drop)
    }

    /// The jobs of a campaign.
    pub async fn campaign_jobs(&self, name: &str) -> Result<Vec<JobId>, CatalogError> {
        let sql = "SELECT job_id FROM campaign_job WHERE campaign = :name ORDER BY job_id";
        self.read(Statement::new(sql).text("name", name)).await?.iter().map(|row| row.parsed(0, "a job's id")).collect()
    }
}
