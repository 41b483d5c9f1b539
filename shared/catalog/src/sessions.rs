//! Sessions of people who have signed in.
//!
//! Guarantees: a refresh token's number can be traded in once; the one before it is honoured for a moment, for whoever
//! lost the answer; any older one ends the session, since two hold it then. A session that has ended, or whose user is
//! disabled, never lives again.

use reelfleet_messages::{SessionId, UserId};

use crate::accounts::ACTIVE;
use crate::error::CatalogError;
use crate::statement::{Row, Statement, one_of};
use crate::store::Catalog;

macro_rules! columns {
    () => {
        "SELECT s.id, s.user_id, s.number, s.rotated_at, s.expires_at, s.revoked_at, u.tenant, u.roles, u.state \
         FROM session s JOIN user_account u ON u.id = s.user_id "
    };
}

/// A session and its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Its id: the family of its refresh tokens.
    pub id: SessionId,
    /// Who signed in.
    pub user: UserId,
    /// The number of the newest refresh token, from 1.
    pub number: i64,
    /// When that was handed out (epoch milliseconds).
    pub rotated_at: i64,
    /// Epoch milliseconds; moved ahead by every refresh.
    pub expires_at: i64,
    /// Epoch milliseconds.
    pub revoked_at: Option<i64>,
    /// The user's tenant.
    pub tenant: String,
    /// The user's roles, separated by spaces.
    pub roles: String,
    /// The user's state.
    pub state: String,
}

impl SessionRow {
    /// Whether it still lets anybody in.
    pub fn is_live(&self, now: i64) -> bool {
        self.revoked_at.is_none() && now < self.expires_at && self.state == ACTIVE
    }
}

/// What became of a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotated {
    /// The token of this number comes next.
    To(i64),
    /// It was used before: the session has ended.
    Reused,
    /// The session had ended.
    Over,
}

/// The statement that begins a session, and clears away what is left of the user's old ones.
pub(crate) fn begin(now: i64, id: &SessionId, user: &UserId, expires_at: i64) -> [Statement; 2] {
    [
        Statement::new("DELETE FROM session WHERE user_id = :user AND expires_at < :now")
            .text("user", user.to_string())
            .int("now", now),
        Statement::new(
            "INSERT INTO session (id, user_id, number, rotated_at, created_at, expires_at) \
             VALUES (:id, :user, 1, :now, :now, :expires) ON CONFLICT (id) DO NOTHING",
        )
        .text("id", id.to_string())
        .text("user", user.to_string())
        .int("now", now)
        .int("expires", expires_at),
    ]
}

/// The statement that ends a user's sessions, but for one.
pub(crate) fn end_all(now: i64, user: &UserId, but: Option<&SessionId>) -> Statement {
    Statement::new("UPDATE session SET revoked_at = :now WHERE user_id = :user AND id <> :but AND revoked_at IS NULL")
        .int("now", now)
        .text("user", user.to_string())
        .text("but", but.map_or(String::new(), ToString::to_string))
}

impl Catalog {
    /// Begins a session, with the refresh token number 1.
    pub async fn begin_session(
        &self,
        now: i64,
        id: &SessionId,
        user: &UserId,
        expires_at: i64,
    ) -> Result<(), CatalogError> {
        for statement in begin(now, id, user, expires_at) {
            self.write(statement).await?;
        }
        Ok(())
    }

    /// One session, with what its user may now.
    pub async fn session(&self, id: &SessionId) -> Result<Option<SessionRow>, CatalogError> {
        let sql = concat!(columns!(), "WHERE s.id = :id");
        let rows = self.read(Statement::new(sql).text("id", id.to_string())).await?;
        rows.first().map(session_from).transpose()
    }

    /// Several sessions, as far as there are such.
    pub async fn sessions(&self, ids: &[SessionId]) -> Result<Vec<SessionRow>, CatalogError> {
        let sql = concat!(columns!(), "WHERE s.id IN ", one_of!());
        self.read_each(sql, ids).await?.iter().map(session_from).collect()
    }

    /// Trades a refresh token in. The token before the newest is honoured `grace` milliseconds after its rotation and
    /// leads to the same next one.
    pub async fn rotate_session(
        &self,
        now: i64,
        id: &SessionId,
        number: i64,
        grace: i64,
        expires_at: i64,
    ) -> Result<Rotated, CatalogError> {
        // A repeated call whose first one happened finds the number moved on, within the grace: the same answer.
        let (_, changed) = self
            .write(
                Statement::new(
                    "UPDATE session SET number = number + 1, rotated_at = :now, expires_at = :expires \
                     WHERE id = :id AND number = :number AND revoked_at IS NULL AND expires_at > :now",
                )
                .int("now", now)
                .int("expires", expires_at)
                .text("id", id.to_string())
                .int("number", number),
            )
            .await?;
        if changed == 1 {
            return Ok(Rotated::To(number + 1));
        }
        let Some(row) = self.session(id).await? else { return Ok(Rotated::Over) };
        if row.revoked_at.is_some() || row.expires_at <= now || number >= row.number {
            return Ok(Rotated::Over);
        }
        if number + 1 == row.number && now.saturating_sub(row.rotated_at) <= grace {
            return Ok(Rotated::To(row.number));
        }
        self.end_session(now, id).await?;
        Ok(Rotated::Reused)
    }

    /// Ends a session.
    pub async fn end_session(&self, now: i64, id: &SessionId) -> Result<(), CatalogError> {
        self.write(
            Statement::new("UPDATE session SET revoked_at = :now WHERE id = :id AND revoked_at IS NULL")
                .int("now", now)
                .text("id", id.to_string()),
        )
        .await
        .map(drop)
    }
}

fn session_from(row: &Row) -> Result<SessionRow, CatalogError> {
    Ok(SessionRow {
        id: row.parsed(0, "a session's id")?,
        user: row.parsed(1, "a user's id")?,
        number: row.int(2)?,
        rotated_at: row.int(3)?,
        expires_at: row.int(4)?,
        revoked_at: row.opt_int(5)?,
        tenant: row.text(6)?,
        roles: row.text(7)?,
        state: row.text(8)?,
    })
}
