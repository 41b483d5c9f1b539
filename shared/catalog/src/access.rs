//! API keys and realtime tickets, by the hash of their secrets.

use reelfleet_messages::ApiKeyId;

use crate::error::CatalogError;
use crate::statement::{Params, Row, Statement, one_of};
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
    pub created_at: i64,
    /// Epoch milliseconds; none: it does not expire.
    pub expires_at: Option<i64>,
    /// Epoch milliseconds, to the minute.
    pub last_used_at: Option<i64>,
    /// When it was given another secret (epoch milliseconds).
    pub rotated_at: Option<i64>,
    /// Epoch milliseconds.
    pub revoked_at: Option<i64>,
    /// Roles and state of the account that owns it, where it is an account.
    pub user: Option<(String, String)>,
}

macro_rules! key_columns {
    () => {
        "SELECT k.id, k.tenant, k.owner, k.name, k.hash, k.scopes, k.created_at, k.expires_at, k.last_used_at, k.rotated_at, \
         k.revoked_at, u.roles, u.state FROM api_key k LEFT JOIN user_account u ON u.id = k.owner "
    };
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
    /// The session or API key that asked for it.
    pub drawn_by: String,
    /// The page that asked for it; a browser must come from there.
    pub origin: Option<String>,
    /// Epoch milliseconds.
    pub expires_at: i64,
}

impl Catalog {
    /// Stores a new key.
    pub async fn add_api_key(&self, key: &ApiKeyRow) -> Result<(), CatalogError> {
        self.write(
            Statement::new(
                "INSERT INTO api_key (id, tenant, owner, name, hash, scopes, created_at, expires_at) \
                 VALUES (:id, :tenant, :owner, :name, :hash, :scopes, :now, :expires) ON CONFLICT (id) DO NOTHING",
            )
            .text("id", key.id.to_string())
            .text("tenant", &key.tenant)
            .text("owner", &key.owner)
            .text("name", &key.name)
            .text("hash", &key.hash)
            .text("scopes", &key.scopes)
            .int("now", key.created_at)
            .with(Params::new().opt_int("expires", key.expires_at)),
        )
        .await
        .map(drop)
    }

    /// One key.
    pub async fn api_key(&self, id: &ApiKeyId) -> Result<Option<ApiKeyRow>, CatalogError> {
        let sql = concat!(key_columns!(), "WHERE k.id = :id");
        let rows = self.read(Statement::new(sql).text("id", id.to_string())).await?;
        rows.first().map(key_from).transpose()
    }

    /// Several keys, as far as there are such.
    pub async fn api_keys(&self, ids: &[ApiKeyId]) -> Result<Vec<ApiKeyRow>, CatalogError> {
        let sql = concat!(key_columns!(), "WHERE k.id IN ", one_of!());
        self.read_each(sql, ids).await?.iter().map(key_from).collect()
    }

    /// A user's keys that are not revoked, newest first.
    pub async fn api_keys_of(&self, tenant: &str, owner: &str, limit: i64) -> Result<Vec<ApiKeyRow>, CatalogError> {
        let sql = concat!(
            key_columns!(),
            "WHERE k.tenant = :tenant AND k.owner = :owner AND k.revoked_at IS NULL ORDER BY k.id DESC LIMIT :limit"
        );
        let rows = Statement::new(sql).text("tenant", tenant).text("owner", owner).int("limit", limit);
        self.read(rows).await?.iter().map(key_from).collect()
    }

    /// Ends a key; `false` if it had ended before.
    pub async fn revoke_api_key(&self, now: i64, id: &ApiKeyId) -> Result<bool, CatalogError> {
        let statement = Statement::new("UPDATE api_key SET revoked_at = :now WHERE id = :id AND revoked_at IS NULL");
        let (_, changed) = self.write(statement.int("now", now).text("id", id.to_string())).await?;
        Ok(changed == 1)
    }

    /// Gives a key another secret; the old one is no good from now on. `false` if the key has ended.
    pub async fn rotate_api_key(&self, now: i64, id: &ApiKeyId, hash: &str) -> Result<bool, CatalogError> {
        let statement =
            Statement::new("UPDATE api_key SET hash = :hash, rotated_at = :now WHERE id = :id AND revoked_at IS NULL");
        let (_, changed) = self.write(statement.text("hash", hash).int("now", now).text("id", id.to_string())).await?;
        Ok(changed == 1)
    }

    /// Notes that a key was used, once in `every` milliseconds.
    pub async fn api_key_used(&self, now: i64, id: &ApiKeyId, every: i64) -> Result<(), CatalogError> {
        self.write(
            Statement::new(
                "UPDATE api_key SET last_used_at = :now WHERE id = :id AND (last_used_at IS NULL OR last_used_at <= :before)",
            )
            .int("now", now)
            .text("id", id.to_string())
            .int("before", now.saturating_sub(every)),
        )
        .await
        .map(drop)
    }

    /// Stores a ticket by the hash of its secret.
    pub async fn add_ticket(&self, hash: &str, ticket: &TicketRow) -> Result<(), CatalogError> {
        self.write(
            Statement::new(
                "INSERT INTO ticket (hash, tenant, owner, scopes, drawn_by, origin, expires_at) \
                 VALUES (:hash, :tenant, :owner, :scopes, :drawn_by, :origin, :expires) \
                 ON CONFLICT (hash) DO NOTHING",
            )
            .text("hash", hash)
            .text("tenant", &ticket.tenant)
            .text("owner", &ticket.owner)
            .text("scopes", &ticket.scopes)
            .text("drawn_by", &ticket.drawn_by)
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
                     RETURNING tenant, owner, scopes, drawn_by, origin, expires_at",
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
                    drawn_by: row.text(3)?,
                    origin: row.opt_text(4)?,
                    expires_at: row.int(5)?,
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
        created_at: row.int(6)?,
        expires_at: row.opt_int(7)?,
        last_used_at: row.opt_int(8)?,
        rotated_at: row.opt_int(9)?,
        revoked_at: row.opt_int(10)?,
        user: row.opt_text(11)?.zip(row.opt_text(12)?),
    })
}
