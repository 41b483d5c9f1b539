//! The audit: what people did to the installation by hand, and what became of what they were asked.
//!
//! Guarantee: rows are only ever added, before the deed; an entry whose deed then failed is there all the same.

use crate::error::CatalogError;
use crate::statement::{Params, Row, Statement};
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
    /// What: `dlq.redrive`, `dlq.discard`, `user.changed`, ….
    pub what: String,
    /// To what: the id of a task, a user, a key, ….
    pub subject: String,
    /// The circumstances (JSON).
    pub detail: String,
    /// Whose administrators may read it; none: the installation's, for operators.
    pub tenant: Option<String>,
}

macro_rules! columns {
    () => {
        "id, at, who, what, subject, detail, tenant"
    };
}

/// The statement that notes deeds; for the transaction of the deed, where there is one.
pub fn note(entries: &[AuditEntry]) -> Statement {
    let sets = entries.iter().map(|entry| {
        Params::new()
            .text("id", &entry.id)
            .int("at", entry.at)
            .text("who", &entry.who)
            .text("what", &entry.what)
            .text("subject", &entry.subject)
            .text("detail", &entry.detail)
            .opt_text("tenant", entry.tenant.as_deref())
    });
    Statement::batch(
        concat!(
            "INSERT INTO audit (",
            columns!(),
            ") VALUES (:id, :at, :who, :what, :subject, :detail, :tenant) ON CONFLICT (id) DO NOTHING"
        ),
        sets,
    )
}

impl Catalog {
    /// Notes deeds that are about to be done.
    pub async fn audit(&self, entries: &[AuditEntry]) -> Result<(), CatalogError> {
        self.write(note(entries)).await.map(drop)
    }

    /// What was done to something, the latest first.
    pub async fn audit_of(&self, subject: &str, limit: i64) -> Result<Vec<AuditEntry>, CatalogError> {
        let sql =
            concat!("SELECT ", columns!(), " FROM audit WHERE subject = :subject ORDER BY at DESC, id LIMIT :limit");
        let rows = self.read(Statement::new(sql).text("subject", subject).int("limit", limit)).await?;
        rows.iter().map(entry_from).collect()
    }

    /// What was done in a tenant, or (none) to the installation, the latest first, from before an entry's time and id;
    /// of one kind alone: what stands before the dot of [`AuditEntry::what`], a word of small letters.
    pub async fn audit_in(
        &self,
        tenant: Option<&str>,
        kind: Option<&str>,
        before: Option<(i64, &str)>,
        limit: i64,
    ) -> Result<Vec<AuditEntry>, CatalogError> {
        macro_rules! of {
            ($tenant:literal) => {
                concat!(
                    "SELECT ",
                    columns!(),
                    " FROM audit WHERE ",
                    $tenant,
                    " AND what LIKE :kind AND (at < :at OR (at = :at AND id < :id)) ORDER BY at DESC, id DESC LIMIT :limit"
                )
            };
        }
        let statement = match tenant {
            Some(tenant) => Statement::new(of!("tenant = :tenant")).text("tenant", tenant),
            None => Statement::new(of!("tenant IS NULL")),
        };
        let (at, id) = before.unwrap_or((i64::MAX, ""));
        let kind = kind.map_or_else(|| "%".to_owned(), |kind| format!("{kind}.%"));
        let statement = statement.text("kind", kind).int("at", at).text("id", id).int("limit", limit);
        self.read(statement).await?.iter().map(entry_from).collect()
    }

    /// What somebody did in a tenant, the latest first, from before an entry's time and id.
    pub async fn audit_by(
        &self,
        tenant: &str,
        who: &str,
        before: Option<(i64, &str)>,
        limit: i64,
    ) -> Result<Vec<AuditEntry>, CatalogError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM audit WHERE tenant = :tenant AND who = :who AND (at < :at OR (at = :at AND id < :id)) \
             ORDER BY at DESC, id DESC LIMIT :limit"
        );
        let (at, id) = before.unwrap_or((i64::MAX, ""));
        let statement = Statement::new(sql).text("tenant", tenant).text("who", who);
        let rows = self.read(statement.int("at", at).text("id", id).int("limit", limit)).await?;
        rows.iter().map(entry_from).collect()
    }
}

fn entry_from(row: &Row) -> Result<AuditEntry, CatalogError> {
    Ok(AuditEntry {
        id: row.text(0)?,
        at: row.int(1)?,
        who: row.text(2)?,
        what: row.text(3)?,
        subject: row.text(4)?,
        detail: row.text(5)?,
        tenant: row.opt_text(6)?,
    })
}
