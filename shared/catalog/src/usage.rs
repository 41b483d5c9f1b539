//! What a tenant has: bytes of sources and assets, for limits on all of it.
//!
//! Guarantee: what is counted is what lies in the bucket, whatever became of it, until its purge is proved; and what has been
//! reserved and may still land. An asset is never counted against itself, nor what landed after it.

use reelfleet_messages::AssetId;

use crate::error::CatalogError;
use crate::statement::Statement;
use crate::store::Catalog;

/// Bytes and assets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes of sources.
    pub bytes: i64,
    /// Assets that landed after `since`, and uploads that were reserved after it.
    pub recent: i64,
}

impl Catalog {
    /// What a tenant has, and what it has reserved.
    pub async fn usage(&self, now: i64, tenant: &str, since: i64) -> Result<Usage, CatalogError> {
        let landed = Statement::new(
            "SELECT CAST(COALESCE(SUM(CASE WHEN state <> 'deleted' THEN size ELSE 0 END), 0) AS BIGINT), \
             CAST(COALESCE(SUM(CASE WHEN landed_at > :since THEN 1 ELSE 0 END), 0) AS BIGINT) FROM asset WHERE tenant = :tenant",
        );
        let reserved = Statement::new(
            "SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT), \
             CAST(COALESCE(SUM(CASE WHEN created_at > :since THEN 1 ELSE 0 END), 0) AS BIGINT) FROM upload \
             WHERE tenant = :tenant AND state IN ('open', 'completed') AND expires_at > :now",
        )
        .int("now", now);
        let landed = self.counted(landed, tenant, since).await?;
        let reserved = self.counted(reserved, tenant, since).await?;
        Ok(Usage {
            bytes: landed.bytes.saturating_add(reserved.bytes),
            recent: landed.recent.saturating_add(reserved.recent),
        })
    }

    /// What a tenant had when this asset landed.
    pub async fn usage_before(
        &self,
        tenant: &str,
        asset: &AssetId,
        at: i64,
        since: i64,
    ) -> Result<Usage, CatalogError> {
        let landed = Statement::new(
            "SELECT CAST(COALESCE(SUM(CASE WHEN state <> 'deleted' THEN size ELSE 0 END), 0) AS BIGINT), \
             CAST(COALESCE(SUM(CASE WHEN landed_at > :since THEN 1 ELSE 0 END), 0) AS BIGINT) FROM asset \
             WHERE tenant = :tenant AND (landed_at < :at OR (landed_at = :at AND id < :asset))",
        );
        self.counted(landed.int("at", at).text("asset", asset.to_string()), tenant, since).await
    }

    async fn counted(&self, statement: Statement, tenant: &str, since: i64) -> Result<Usage, CatalogError> {
        let rows = self.read(statement.text("tenant", tenant).int("since", since)).await?;
        let Some(row) = rows.first() else { return Ok(Usage::default()) };
        Ok(Usage { bytes: row.int(0)?, recent: row.int(1)? })
    }
}
