//! Weekly mails: who is to get one, and what it tells.
//!
//! Guarantee: of each week somebody is told at most once, whoever looks and however often: the mail and the number of the
//! week are one transaction, won by whoever moves the number on.

use reelfleet_domain::AssetState;
use reelfleet_messages::{AssetId, UserId};

use crate::Step;
use crate::error::CatalogError;
use crate::mail::{self, NewMail};
use crate::statement::Statement;
use crate::store::{Atomic, Catalog, first_int};

/// Somebody who has not been told of a week that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// Who.
    pub user: UserId,
    /// Whose things are told of.
    pub tenant: String,
    /// The address.
    pub email: String,
    /// As a row holds them.
    pub roles: String,
    /// The last week that was told of.
    pub week: i64,
}

/// What a week brought to one asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The asset.
    pub asset: AssetId,
    /// Its name.
    pub name: String,
    /// Ready, failed, refused, or waiting for a verdict.
    pub state: AssetState,
    /// Why it came to nothing.
    pub reason: Option<String>,
}

impl Catalog {
    /// Those who want weekly mails and have not been told of a week before `week`.
    pub async fn weekly_readers(&self, week: i64, limit: i64) -> Result<Vec<Reader>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT w.user_id, u.tenant, u.email, u.roles, w.week FROM mail_wish w JOIN user_account u ON u.id = w.user_id \
                     WHERE w.weekly AND w.week < :week - 1 AND u.state = 'active' ORDER BY w.user_id LIMIT :limit",
                )
                .int("week", week)
                .int("limit", limit),
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Reader {
                    user: row.parsed(0, "a user's id")?,
                    tenant: row.text(1)?,
                    email: row.text(2)?,
                    roles: row.text(3)?,
                    week: row.int(4)?,
                })
            })
            .collect()
    }

    /// What became of somebody's uploads from one moment until another (epoch milliseconds), and what waits now.
    pub async fn outcomes(
        &self,
        reader: &Reader,
        from: i64,
        until: i64,
        limit: i64,
    ) -> Result<Vec<Outcome>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT id, name, state, reason_detail FROM asset WHERE tenant = :tenant AND owner = :owner \
                     AND ((state = 'ready' AND ready_at >= :since AND ready_at < :until) OR state = 'awaiting_approval' \
                     OR (state IN ('failed', 'refused') AND updated_at >= :since AND updated_at < :until)) ORDER BY id LIMIT :limit",
                )
                .text("tenant", &reader.tenant)
                .text("owner", reader.user.to_string())
                .int("since", from)
                .int("until", until)
                .int("limit", limit),
            )
            .await?;
        rows.iter()
            .map(|row| {
                let state = row.text(2)?;
                Ok(Outcome {
                    asset: row.parsed(0, "an asset's id")?,
                    name: row.text(1)?,
                    state: AssetState::parse(&state).ok_or(CatalogError::Column {
                        column: 2,
                        wanted: "an asset's state",
                        found: state,
                    })?,
                    reason: row.opt_text(3)?,
                })
            })
            .collect()
    }

    /// How many of a tenant's assets wait for a verdict.
    pub async fn waiting_at_the_desk(&self, tenant: &str) -> Result<i64, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT count(*) FROM approval r JOIN asset a ON a.id = r.asset_id WHERE r.tenant = :tenant AND r.state = 'waiting' \
                     AND a.state = 'awaiting_approval'",
                )
                .text("tenant", tenant),
            )
            .await?;
        Ok(first_int(&rows)?.unwrap_or(0))
    }

    /// Notes that somebody was told of everything before `week`, by this mail if there was anything to tell.
    ///
    /// # Errors
    /// Conflict: somebody else did, or weekly mails are not wanted any more.
    pub async fn tell_week(
        &self,
        step: &Step,
        reader: &Reader,
        week: i64,
        mail: Option<&NewMail<'_>>,
    ) -> Result<(), CatalogError> {
        let user = reader.user.to_string();
        let mut statements = vec![
            Statement::new(
                "UPDATE mail_wish SET week = :week - 1, op_id = :op WHERE user_id = :user AND weekly AND week = :last",
            )
            .int("week", week)
            .text("op", &step.op)
            .text("user", &user)
            .int("last", reader.week)
            .expect(1),
        ];
        statements.extend(mail.map(|mail| mail::enqueue(step, mail)));
        let settled = Statement::new("SELECT user_id FROM mail_wish WHERE user_id = :user AND op_id = :op")
            .text("user", &user)
            .text("op", &step.op);
        self.commit(Atomic { what: "telling of a week", statements, settled }).await
    }
}
