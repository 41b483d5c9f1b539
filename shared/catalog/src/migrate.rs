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
        self.migrate_to(now, i64::MAX).await
    }

    /// Brings it no further than one version: what an earlier release had.
    pub async fn migrate_to(&self, now: i64, last: i64) -> Result<usize, CatalogError> {
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
        for (version, name, sql) in MIGRATIONS.iter().filter(|(version, ..)| *version <= last) {
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

    /// What was released stays as it is, to the letter: `migrate` refuses a database whose migrations were others. Change
    /// the schema by a new file.
    const FROZEN: &[(i64, &str)] = &[(1, "652b325ba1cdb86171834f639ceba96ef82478e4b33a4f72141f3c84dccd47ef")];

    #[test]
    fn what_was_released_is_never_edited() {
        for (version, checksum) in FROZEN {
            let (_, name, sql) = MIGRATIONS.iter().find(|(number, ..)| number == version).unwrap();
            assert_eq!(hex::encode(Sha256::digest(sql.as_bytes())), *checksum, "V{version:04}__{name}.sql was edited");
        }
    }

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

    /// Why the code of before would fail on the schema after a statement, if it would. Tables that the same migration
    /// makes are nobody's before.
    fn contracts(statement: &str, made: &[String]) -> Option<&'static str> {
        let code: Vec<&str> = statement.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
        let text = code.join(" ").to_uppercase().replace('(', " ( ").replace(')', " ) ").replace(',', " , ");
        let words: Vec<&str> =
            text.split_whitespace().filter(|word| !matches!(*word, "IF" | "NOT" | "EXISTS")).collect();
        let has = |wanted: &[&str]| words.windows(wanted.len()).any(|window| window == wanted);
        match words.as_slice() {
            ["CREATE", "TABLE", ..] | ["CREATE", "INDEX", ..] => None,
            ["CREATE", "UNIQUE", "INDEX", _, "ON", table, ..] => {
                let own = made.iter().any(|name| name == table);
                (!own).then_some("it forbids rows that the code of before writes")
            }
            ["ALTER", "TABLE", _, "ADD", "CONSTRAINT" | "CHECK" | "UNIQUE" | "FOREIGN" | "PRIMARY", ..] => {
                Some("it forbids rows that the code of before writes")
            }
            ["ALTER", "TABLE", _, "ADD", rest @ ..] => {
                let never_null =
                    text.split_whitespace().collect::<Vec<_>>().windows(2).any(|pair| pair == ["NOT", "NULL"]);
                if has(&["UNIQUE"]) || has(&["CHECK"]) || has(&["REFERENCES"]) {
                    Some("it forbids rows that the code of before writes")
                } else if never_null && !rest.contains(&"DEFAULT") {
                    Some("the code of before does not fill it")
                } else if rest.contains(&"DROP") || rest.contains(&"ALTER") {
                    Some("one column at a time")
                } else {
                    None
                }
            }
            ["INSERT", "INTO", ..] => None,
            _ => Some("it takes away, renames or changes what the code of before reads"),
        }
    }

    /// The names of tables that a migration makes, in capitals.
    fn made(sql: &'static str) -> Vec<String> {
        let name = |statement: &str| {
            let code =
                statement.lines().filter(|line| !line.trim_start().starts_with("--")).collect::<Vec<_>>().join(" ");
            let rest = code.trim_start().strip_prefix("CREATE TABLE ")?.replace("IF NOT EXISTS ", "").to_uppercase();
            rest.split([' ', '(']).next().map(str::to_owned)
        };
        split(sql).into_iter().filter_map(name).collect()
    }

    #[test]
    fn migrations_only_expand() {
        for (version, name, sql) in MIGRATIONS.iter().filter(|(version, ..)| *version > 1) {
            for statement in split(sql) {
                let why = contracts(statement, &made(sql));
                assert_eq!(why, None, "V{version:04}__{name}.sql: old and new code overlap: {statement}");
            }
        }
    }

    #[test]
    fn what_does_not_expand_is_seen() {
        let new = ["FRESH".to_owned()];
        for fine in [
            "CREATE TABLE fresh (id TEXT PRIMARY KEY, at BIGINT NOT NULL)",
            "-- DROP nothing\nCREATE INDEX asset_age ON asset (landed_at)",
            "CREATE UNIQUE INDEX fresh_name ON fresh (name)",
            "ALTER TABLE asset ADD COLUMN colour TEXT",
            "ALTER TABLE asset ADD COLUMN seen BIGINT NOT NULL DEFAULT 0",
            "INSERT INTO fresh (id, at) VALUES ('a', 1)",
        ] {
            assert_eq!(contracts(fine, &new), None, "{fine}");
        }
        for wrong in [
            "DROP TABLE asset",
            "DROP INDEX asset_age",
            "ALTER TABLE asset DROP COLUMN name",
            "ALTER TABLE asset RENAME TO media",
            "ALTER TABLE asset RENAME COLUMN name TO title",
            "alter table asset rename name to title",
            "ALTER TABLE asset ADD COLUMN colour TEXT NOT NULL",
            "ALTER TABLE asset ADD COLUMN colour TEXT NOT  NULL -- DEFAULT ''",
            "ALTER TABLE asset ADD colour TEXT NOT NULL",
            "ALTER TABLE asset ADD COLUMN colour TEXT CHECK (colour <> '')",
            "ALTER TABLE asset ADD CONSTRAINT named CHECK (name <> '')",
            "ALTER TABLE asset ADD COLUMN a TEXT, DROP COLUMN name",
            "ALTER TABLE asset ALTER COLUMN name SET NOT NULL",
            "ALTER TABLE asset ALTER COLUMN size TYPE TEXT",
            "CREATE UNIQUE INDEX asset_name ON asset (name)",
            "UPDATE asset SET name = ''",
            "DELETE FROM asset",
        ] {
            assert!(contracts(wrong, &new).is_some(), "{wrong}");
        }
        assert_eq!(made("-- one\nCREATE TABLE fresh (\n id TEXT);CREATE INDEX i ON fresh (id)"), ["FRESH"]);
    }
}
