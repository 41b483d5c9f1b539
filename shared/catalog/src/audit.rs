//! The audit: what people did to the installation by hand.
//!
//! Guarantee: rows are only ever added, before the deed; an entry whose deed then failed is there all the same.

use crate::error::CatalogError;
use crate::statement::{Params, Statement};
use crate::store::Catalog;

/// One deed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Unique; a repeated call with it adds nothing.
    pub id: String,
    /// Epoch milliseconds.
    pub at: i64,
    /// Who did it.
    pub who: String,
    /// What: `dlq.redrive`, `dlq.discard`.
    pub what: String,
    /// To what: a task's id, or that of a message which is no task.
    pub subject: String,
    /// The circumstances (JSON).
    pub detail: String,
}

impl Catalog {
    /// Notes deeds that are about to be done.
    pub async fn audit(&self, entries: &[AuditEntry]) -> Result<(), CatalogError> {
        let sets = entries.iter().map(|entry| {
            Params::new()
                .text("id", &entry.id)
                .int("at", entry.at)
                .text("who", &entry.who)
                .text("what", &entry.what)
                .text("subject", &entry.subject)
                .text("detail", &entry.detail)
        });
        self.write(Statement::batch(
            "INSERT INTO audit (id, at, who, what, subject, detail) VALUES (:id, :at, :who, :what, :subject, :detail) \
             ON CONFLICT (id) DO NOTHING",
            sets,
        ))
        .await
        .map(drop)
    }

    /// What was done to something, the latest first.
    pub async fn audit_of(&self, subject: &str, limit: i64) -> Result<Vec<AuditEntry>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT id, at, who, what, subject, detail FROM audit WHERE subject = :subject ORDER BY at DESC, id LIMIT :limit",
                )
                .text("subject", subject)
                .int("limit", limit),
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(AuditEntry {
                    id: row.text(0)?,
                    at: row.int(1)?,
                    who: row.text(2)?,
                    what: row.text(3)?,
                    subject: row.text(4)?,
                    detail: row.text(5)?,
                })
            })
            .collect()
    }
}
