//! Deleting an asset: marked, restored or purged, proved.
//!
//! Guarantees:
//! - marking fences: the job and every task that has not ended are called off in the same transaction, so no attempt
//!   commits anything after it;
//! - until its purge has begun an asset can be restored to what it was, and its work goes on where it stood;
//! - the asset's row stays as the tombstone: its identity keeps a late notification from bringing it back.

use reelfleet_domain::AssetState;
use reelfleet_messages::AssetId;

use crate::Step;
use crate::assets::Asset;
use crate::error::CatalogError;
use crate::events::{self, Emission};
use crate::outbox;
use crate::statement::{Row, Statement};
use crate::store::{Atomic, Catalog};

/// A deletion under way, or over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// The asset.
    pub asset: AssetId,
    /// Who asked for it: a user of the asset's tenant.
    pub requested_by: String,
    /// Epoch milliseconds.
    pub requested_at: i64,
    /// Until then it can be restored (epoch milliseconds).
    pub purge_at: i64,
    /// What it was.
    pub state_before: AssetState,
    /// When its objects were first deleted (epoch milliseconds).
    pub swept_at: Option<i64>,
    /// What was deleted, and when nothing was left (JSON).
    pub proof: Option<String>,
    /// The operation that marked it.
    ended_by: String,
}

macro_rules! columns {
    () => {
        "asset_id, requested_by, requested_at, purge_at, state_before, swept_at, proof, ended_by"
    };
}

impl Catalog {
    /// Marks an asset as it was read as deleted: from now on it is gone for everybody who plays it.
    ///
    /// # Errors
    /// Conflict: it has changed its state meanwhile.
    pub async fn mark_deleted(
        &self,
        step: &Step,
        asset: &Asset,
        by: &str,
        purge_at: i64,
        emissions: &[Emission],
    ) -> Result<(), CatalogError> {
        debug_assert!(asset.state.may_become(AssetState::Deleting), "{:?}", asset.state);
        let id = asset.id.to_string();
        let mut statements = vec![
            to_state(step, asset, AssetState::Deleting),
            Statement::new(
                "INSERT INTO deletion (asset_id, requested_by, requested_at, purge_at, state_before, ended_by) \
                 VALUES (:id, :by, :now, :purge, :before, :op)",
            )
            .text("id", &id)
            .text("by", by)
            .int("now", step.now)
            .int("purge", purge_at)
            .text("before", asset.state.as_str())
            .text("op", &step.op),
            Statement::new(
                "UPDATE job SET state = 'cancelled', updated_at = :now WHERE asset_id = :id AND state IN ('queued', 'running')",
            )
            .int("now", step.now)
            .text("id", &id),
            Statement::new(
                "UPDATE task SET state = 'cancelled', op_id = :op, updated_at = :now WHERE asset_id = :id AND state IN ('pending', 'leased')",
            )
            .text("op", &step.op)
            .int("now", step.now)
            .text("id", &id),
        ];
        statements.extend(events::emit(step, emissions));
        self.commit(Atomic { what: "marking an asset as deleted", statements, settled: settled(step, asset) }).await
    }

    /// Takes the mark away. What was called off with it goes on.
    ///
    /// # Errors
    /// Conflict: its purge has begun, or somebody restored it before.
    pub async fn restore(
        &self,
        step: &Step,
        asset: &Asset,
        deletion: &Deletion,
        emissions: &[Emission],
    ) -> Result<(), CatalogError> {
        let id = asset.id.to_string();
        let mut statements = vec![
            to_state(step, asset, deletion.state_before),
            Statement::new("DELETE FROM deletion WHERE asset_id = :id AND purging_at IS NULL AND purge_at > :now")
                .text("id", &id)
                .int("now", step.now)
                .expect(1),
            Statement::new(
                "UPDATE job SET state = CASE WHEN plan IS NULL THEN 'queued' ELSE 'running' END, updated_at = :now \
                 WHERE asset_id = :id AND generation = :generation AND state = 'cancelled'",
            )
            .int("now", step.now)
            .text("id", &id)
            .int("generation", asset.generation),
            outbox::wake_up_called_off(step, &id, &deletion.ended_by),
            Statement::new(
                "UPDATE task SET state = 'pending', next_at = :now, op_id = :op, updated_at = :now \
                 WHERE asset_id = :id AND state = 'cancelled' AND op_id = :ended",
            )
            .int("now", step.now)
            .text("op", &step.op)
            .text("id", &id)
            .text("ended", &deletion.ended_by),
        ];
        statements.extend(events::emit(step, emissions));
        self.commit(Atomic { what: "restoring an asset", statements, settled: settled(step, asset) }).await
    }

    /// Lets the purge begin at once rather than at its time. `false`: there is no mark.
    pub async fn purge_now(&self, now: i64, asset: &AssetId) -> Result<bool, CatalogError> {
        let statement = Statement::new("UPDATE deletion SET purge_at = :now WHERE asset_id = :id AND purge_at > :now")
            .int("now", now)
            .text("id", asset.to_string());
        self.write(statement).await?;
        Ok(self.deletion(asset).await?.is_some())
    }

    /// The deletion of an asset.
    pub async fn deletion(&self, asset: &AssetId) -> Result<Option<Deletion>, CatalogError> {
        let sql = concat!("SELECT ", columns!(), " FROM deletion WHERE asset_id = :id");
        let rows = self.read(Statement::new(sql).text("id", asset.to_string())).await?;
        rows.first().map(deletion_from).transpose()
    }

    /// Deletions whose time has come: not swept yet, or swept for the first time before `again` and no lease that was
    /// called off with them lasts any more. Whoever held one writes until its end, and can't extend it.
    pub async fn due_deletions(&self, now: i64, again: i64, limit: i64) -> Result<Vec<Deletion>, CatalogError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM deletion WHERE done_at IS NULL AND purge_at <= :now AND (swept_at IS NULL OR (swept_at < :again AND NOT EXISTS \
             (SELECT 1 FROM task WHERE task.asset_id = deletion.asset_id AND task.state = 'cancelled' AND task.lease_until >= :over))) \
             ORDER BY purge_at LIMIT :limit"
        );
        let over = now.saturating_sub(self.takeover_grace_ms);
        let statement = Statement::new(sql).int("now", now).int("again", again).int("over", over).int("limit", limit);
        self.read(statement).await?.iter().map(deletion_from).collect()
    }

    /// Begins the purge: from here nothing is restored. `false`: it was restored meanwhile.
    pub async fn begin_purge(&self, now: i64, asset: &AssetId) -> Result<bool, CatalogError> {
        let (_, changed) = self
            .write(
                Statement::new(
                    "UPDATE deletion SET purging_at = coalesce(purging_at, :now) WHERE asset_id = :id AND purge_at <= :now",
                )
                .int("now", now)
                .text("id", asset.to_string()),
            )
            .await?;
        Ok(changed == 1)
    }

    /// Notes the first sweep, and what it deleted.
    pub async fn purge_swept(&self, now: i64, asset: &AssetId, proof: &str) -> Result<(), CatalogError> {
        self.write(
            Statement::new(
                "UPDATE deletion SET swept_at = :now, proof = :proof WHERE asset_id = :id AND swept_at IS NULL",
            )
            .int("now", now)
            .text("proof", proof)
            .text("id", asset.to_string()),
        )
        .await
        .map(drop)
    }

    /// Ends a deletion: its rows go, the asset's own stays as the tombstone, with the proof.
    pub async fn deleted(
        &self,
        step: &Step,
        asset: &Asset,
        proof: &str,
        emissions: &[Emission],
    ) -> Result<(), CatalogError> {
        let id = asset.id.to_string();
        let of_asset = |sql: &'static str| Statement::new(sql).text("id", &id);
        let mut statements = vec![
            to_state(step, asset, AssetState::Deleted),
            Statement::new("UPDATE asset SET probe = NULL WHERE id = :id").text("id", &id),
            Statement::new("UPDATE deletion SET done_at = :now, proof = :proof WHERE asset_id = :id")
                .int("now", step.now)
                .text("proof", proof)
                .text("id", &id)
                .expect(1),
            of_asset("DELETE FROM run WHERE job_id IN (SELECT id FROM job WHERE asset_id = :id)"),
            of_asset("DELETE FROM playlist WHERE job_id IN (SELECT id FROM job WHERE asset_id = :id)"),
            of_asset("DELETE FROM rendition WHERE asset_id = :id"),
            of_asset("DELETE FROM picture WHERE asset_id = :id"),
            of_asset("DELETE FROM caption WHERE asset_id = :id"),
            of_asset("DELETE FROM review_link WHERE review_id IN (SELECT id FROM approval WHERE asset_id = :id)"),
            of_asset("DELETE FROM attempt WHERE asset_id = :id"),
            of_asset("DELETE FROM task WHERE asset_id = :id"),
        ];
        statements.extend(events::emit(step, emissions));
        self.commit(Atomic { what: "ending a deletion", statements, settled: settled(step, asset) }).await
    }
}

/// The guard of each step: the asset is still as it was read.
fn to_state(step: &Step, asset: &Asset, state: AssetState) -> Statement {
    Statement::new(
        "UPDATE asset SET state = :state, version = version + 1, op_id = :op, updated_at = :now WHERE id = :id AND state = :before",
    )
    .text("state", state.as_str())
    .text("op", &step.op)
    .int("now", step.now)
    .text("id", asset.id.to_string())
    .text("before", asset.state.as_str())
    .expect(1)
}

fn settled(step: &Step, asset: &Asset) -> Statement {
    Statement::new("SELECT id FROM asset WHERE id = :id AND op_id = :op")
        .text("id", asset.id.to_string())
        .text("op", &step.op)
}

fn deletion_from(row: &Row) -> Result<Deletion, CatalogError> {
    let state = row.text(4)?;
    Ok(Deletion {
        asset: row.parsed(0, "an asset's id")?,
        requested_by: row.text(1)?,
        requested_at: row.int(2)?,
        purge_at: row.int(3)?,
        state_before: AssetState::parse(&state).ok_or(CatalogError::Column {
            column: 4,
            wanted: "an asset's state",
            found: state,
        })?,
        swept_at: row.opt_int(5)?,
        proof: row.opt_text(6)?,
        ended_by: row.text(7)?,
    })
}
