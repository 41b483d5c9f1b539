//! Migrations: `schema/sql/V0001__name.sql`, run through the Data API, once each, in order.
//!
//! Guarantee: a migration that ran is never changed (its checksum is kept and compared), two processes that migrate
//! at the same time do it once, and each step is expand-only so that old and new code overlap.

use sha2::{Digest, Sha256};

use crate::error::CatalogError;
use crate::statement::Statement;
use crate::store::Catalog;

/// (version, name, SQL).
pub const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "core", include_str!("../../../schema/sql/V0001__core.sql")),
    (2, "seen", include_str!("../../../schema/sql/V0002__seen.sql")),
    (3, "operations", include_str!("../../../schema/sql/V0003__operations.sql")),
];

impl Catalog {
    /// Brings the schema up to this build's. Returns how many migrations ran.
    pub async fn migrate(&self, now: i64) -> Result<usize, CatalogError> {
        let made = self
            .write(Statement::new(
                "CREATE TABLE IF NOT EXISTS schema_migration (version BIGINT PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at BIGINT NOT NULL)",
            ))
            .await;
        match made {
            // PostgreSQL refuses the second of two that make it at the same time, by a unique key of its own catalog.
            Ok(_) | Err(CatalogError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut ran = 0;
        for (version, name, sql) in MIGRATIONS {
            let checksum = hex::encode(Sha256::digest(sql.as_bytes()));
            let known = self
                .read(
                    Statement::new("SELECT checksum FROM schema_migration WHERE version = :version")
                        .int("version", *version),
                )
                .await?;
            if let Some(row) = known.first() {
                if row.text(0)? != checksum {
                    return Err(CatalogError::Schema(format!(
                        "V{version:04}__{name}.sql is not the one that was applied"
                    )));
                }
                continue;
            }
            let mut statements = vec![
                Statement::new("INSERT INTO schema_migration (version, name, checksum, applied_at) VALUES (:version, :name, :checksum, :now)")
                    .int("version", *version)
                    .text("name", name)
                    .text("checksum", &checksum)
                    .int("now", now)
                    .expect(1),
            ];
            statements.extend(split(sql).into_iter().map(Statement::new));
            let settled = Statement::new("SELECT version FROM schema_migration WHERE version = :version")
                .int("version", *version);
            match self.atomic(crate::store::Atomic { what: "migration", statements, settled: settled.clone() }).await {
                Ok(()) => ran += 1,
                // Another process was faster.
                Err(CatalogError::Conflict { .. }) if !self.read(settled).await?.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(ran)
    }

    /// Fails unless the schema is this build's, so that a worker does not start on another.
    pub async fn check_schema(&self) -> Result<(), CatalogError> {
        let wanted = MIGRATIONS.last().map_or(0, |(version, ..)| *version);
        let rows = self.read(Statement::new("SELECT max(version) FROM schema_migration")).await?;
        match crate::store::first_int(&rows)? {
            Some(version) if version >= wanted => Ok(()),
            found => Err(CatalogError::Schema(format!(
                "version {wanted} is needed, the database has {found:?}: run `reelfleet migrate`"
            ))),
        }
    }
}

/// The statements of a file; ours hold no semicolon in a text or comment.
fn split(sql: &'static str) -> Vec<&'static str> {
    sql.split(';')
        .map(str::trim)
        .filter(|s| s.lines().any(|l| !l.trim().is_empty() && !l.trim_start().starts_with("--")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_numbered_in_order_and_split_into_statements() {
        assert!(MIGRATIONS.is_sorted_by(|(before, ..), (after, ..)| before < after));
        for (_, _, sql) in MIGRATIONS {
            for statement in split(sql) {
                let first = statement.lines().find(|line| !line.trim().is_empty() && !line.starts_with("--")).unwrap();
                let known = ["CREATE ", "ALTER ", "INSERT "].iter().any(|word| first.starts_with(word));
                assert!(known, "a comment with a semicolon? {first}");
            }
            assert!(
                sql.lines().filter(|l| l.trim_start().starts_with("--")).all(|l| !l.contains(';')),
                "no semicolon in comments"
            );
        }
    }
}
