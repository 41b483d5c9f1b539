//! API keys and realtime tickets, by the hash of their secrets.

use reelfleet_messages::ApiKeyId;

use crate::error::CatalogError;
use crate::statement::{Params, Row, Statement};
use crate::store::Catalog;

/// An API key's row. The secret is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyRow {
    /// The public part.
    pub id: ApiKeyId,
    /// Whose it is.
    pub tenant: String,
    /// The user that it acts as.
    pub owner: String,
    /// For people.
    pub name: String,
    /// SHA-256 of the secret, hex.
    pub hash: String,
    /// Separated by spaces.
    pub scopes: String,
    /// Epoch milliseconds.
    pub revoked_at: Option<i64>,
}

/// Who a ticket admits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketRow {
    /// Whose it is.
    pub tenant: String,
    /// The user.
    pub owner: String,
    /// Separated by spaces.
    pub scopes: String,
    /// The page that asked for it; a browser must come from there.
    pub origin: Option<String>,
    /// Epoch milliseconds.
    pub expires_at: i64,
}

impl Catalog {
    /// Stores a new key.
    pub async fn add_api_key(&self, now: i64, key: &ApiKeyRow) -> Result<(), CatalogError> {
        self.write(
            Statement::new(
                "INSERT INTO api_key (id, tenant, owner, name, hash, scopes, created_at) VALUES (:id, :tenant, :owner, :name, :hash, :scopes, :now) \
                 ON CONFLICT (id) DO NOTHING",
            )
            .text("id", key.id.to_string())
            .text("tenant", &key.tenant)
            .text("owner", &key.owner)
            .text("name", &key.name)
            .text("hash", &key.hash)
            .text("scopes", &key.scopes)
            .int("now", now),
        )
        .await
        .map(drop)
    }

    /// One key.
    pub async fn api_key(&self, id: &ApiKeyId) -> Result<Option<ApiKeyRow>, CatalogError> {
        let rows = self
            .read(
                Statement::new("SELECT id, tenant, owner, name, hash, scopes, revoked_at FROM api_key WHERE id = :id")
                    .text("id", id.to_string()),
            )
            .await?;
        rows.first().map(key_from).transpose()
    }

    /// Stores a ticket by the hash of its secret.
    pub async fn add_ticket(&self, hash: &str, ticket: &TicketRow) -> Result<(), CatalogError> {
        self.write(
            Statement::new(
                "INSERT INTO ticket (hash, tenant, owner, scopes, origin, expires_at) VALUES (:hash, :tenant, :owner, :scopes, :origin, :expires) \
                 ON CONFLICT (hash) DO NOTHING",
            )
            .text("hash", hash)
            .text("tenant", &ticket.tenant)
            .text("owner", &ticket.owner)
            .text("scopes", &ticket.scopes)
            .with(Params::new().opt_text("origin", ticket.origin.as_deref()))
            .int("expires", ticket.expires_at),
        )
        .await
        .map(drop)
    }

    /// Uses a ticket up: whoever comes first with it, in time. `op` names the use, so that a lost answer is settled.
    pub async fn use_ticket(&self, now: i64, hash: &str, op: &str) -> Result<Option<TicketRow>, CatalogError> {
        let (rows, _) = self
            .write(
                Statement::new(
                    "UPDATE ticket SET used_by = :op WHERE hash = :hash AND expires_at >= :now AND (used_by IS NULL OR used_by = :op) \
                     RETURNING tenant, owner, scopes, origin, expires_at",
                )
                .text("op", op)
                .text("hash", hash)
                .int("now", now),
            )
            .await?;
        rows.first()
            .map(|row| {
                Ok(TicketRow {
                    tenant: row.text(0)?,
                    owner: row.text(1)?,
                    scopes: row.text(2)?,
                    origin: row.opt_text(3)?,
                    expires_at: row.int(4)?,
                })
            })
            .transpose()
    }
}

fn key_from(row: &Row) -> Result<ApiKeyRow, CatalogError> {
    Ok(ApiKeyRow {
        id: row.parsed(0, "a key's id")?,
        tenant: row.text(1)?,
        owner: row.text(2)?,
        name: row.text(3)?,
        hash: row.text(4)?,
        scopes: row.text(5)?,
        revoked_at: row.opt_int(6)?,
    })
}
