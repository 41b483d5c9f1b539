//! People: accounts, invitations, forgotten passwords.
//!
//! Guarantees:
//! - an e-mail has one account in the whole installation;
//! - the first account of an installation, and no other, gets the roles of the first, however many sign up at once: who
//!   is first is one row, won in the transaction that makes the account;
//! - an invitation and a reset are used in the transaction of what they are for, so each is good once;
//! - every change of an account by somebody else has its line in the audit, in the same transaction.

use reelfleet_messages::{InvitationId, SessionId, UserId};

use crate::Step;
use crate::audit::{self, AuditEntry};
use crate::error::CatalogError;
use crate::identities::{self, Identity};
use crate::mail::{self, NewMail};
use crate::sessions;
use crate::statement::{Params, Row, Statement, one_of};
use crate::store::{Atomic, Catalog};

/// The state of whoever may sign in.
pub const ACTIVE: &str = "active";
/// The state of whoever may not.
pub const DISABLED: &str = "disabled";

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id; the owner of what the person uploads.
    pub id: UserId,
    /// Where it belongs.
    pub tenant: String,
    /// In lower case.
    pub email: String,
    /// For people.
    pub name: String,
    /// Separated by spaces.
    pub roles: String,
    /// [`ACTIVE`] or [`DISABLED`].
    pub state: String,
    /// PHC form; empty: there is none.
    pub password_hash: String,
    /// Grows with every change.
    pub version: i64,
    /// Epoch milliseconds.
    pub created_at: i64,
}

/// A session to begin.
#[derive(Debug, Clone, Copy)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// Epoch milliseconds.
    pub expires_at: i64,
}

/// An account to make, and what comes with it.
#[derive(Debug, Clone, Copy)]
pub struct NewAccount<'n> {
    /// The account.
    pub user: &'n User,
    /// Its first session.
    pub session: &'n NewSession,
    /// What the first account of the installation gets instead of its own roles.
    pub first_roles: &'n str,
    /// What is used up by it.
    pub invitation: Option<&'n InvitationId>,
    /// Who vouches for it.
    pub identity: Option<&'n Identity<'n>>,
}

/// An invitation. The secret is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Its id.
    pub id: InvitationId,
    /// SHA-256 of the secret, hex.
    pub hash: String,
    /// Where the invited will belong.
    pub tenant: String,
    /// Who alone may use it; none: whoever has it.
    pub email: Option<String>,
    /// What the invited will be, separated by spaces.
    pub roles: String,
    /// Who invited.
    pub invited_by: String,
    /// Epoch milliseconds.
    pub created_at: i64,
    /// Epoch milliseconds.
    pub expires_at: i64,
    /// The account that was made by it.
    pub used_by: Option<String>,
}

/// What an administrator makes of an account.
#[derive(Debug, Clone, Copy)]
pub struct UserChange<'c> {
    /// The version that the change starts from.
    pub version: i64,
    /// For people.
    pub name: &'c str,
    /// Separated by spaces.
    pub roles: &'c str,
    /// [`ACTIVE`] or [`DISABLED`].
    pub state: &'c str,
}

macro_rules! columns {
    () => {
        "id, tenant, email, name, roles, state, password_hash, version, created_at"
    };
}
macro_rules! invitation_columns {
    () => {
        "id, hash, tenant, email, roles, invited_by, created_at, expires_at, used_by"
    };
}

impl Catalog {
    /// Makes an account and signs it in. `Conflict`: the e-mail or the identity is taken, or the invitation is used or over.
    pub async fn sign_up(&self, step: &Step, new: &NewAccount<'_>, noted: &AuditEntry) -> Result<(), CatalogError> {
        let NewAccount { user, session, first_roles, invitation, identity } = *new;
        let id = user.id.to_string();
        let mut statements = vec![
            Statement::new(
                "INSERT INTO user_account (id, tenant, email, name, roles, state, password_hash, version, op_id, created_at, updated_at) \
                 VALUES (:id, :tenant, :email, :name, :roles, 'active', :hash, 1, :op, :now, :now) ON CONFLICT DO NOTHING",
            )
            .text("id", &id)
            .text("tenant", &user.tenant)
            .text("email", &user.email)
            .text("name", &user.name)
            .text("roles", &user.roles)
            .text("hash", &user.password_hash)
            .text("op", &step.op)
            .int("now", step.now)
            .expect(1),
            Statement::new(
                "INSERT INTO installation (name, value) VALUES ('first_user', :id) ON CONFLICT (name) DO NOTHING",
            )
            .text("id", &id),
            Statement::new(
                "UPDATE user_account SET roles = :roles WHERE id = :id \
                 AND EXISTS (SELECT 1 FROM installation WHERE name = 'first_user' AND value = :id)",
            )
            .text("roles", first_roles)
            .text("id", &id),
        ];
        if let Some(invitation) = invitation {
            statements.push(
                Statement::new(
                    "UPDATE invitation SET used_by = :user WHERE id = :id AND used_by IS NULL AND expires_at > :now",
                )
                .text("user", &id)
                .text("id", invitation.to_string())
                .int("now", step.now)
                .expect(1),
            );
        }
        statements.extend(identity.map(|identity| identities::add(step, &user.id, identity)));
        statements.extend(sessions::begin(step.now, &session.id, &user.id, session.expires_at));
        statements.push(audit::note(std::slice::from_ref(noted)));
        let settled = settled(&user.id, step);
        self.atomic(Atomic { what: "signing up", statements, settled }).await
    }

    /// One account.
    pub async fn user(&self, id: &UserId) -> Result<Option<User>, CatalogError> {
        let sql = concat!("SELECT ", columns!(), " FROM user_account WHERE id = :id");
        self.one_user(Statement::new(sql).text("id", id.to_string())).await
    }

    /// The account of an e-mail in lower case.
    pub async fn user_by_email(&self, email: &str) -> Result<Option<User>, CatalogError> {
        let sql = concat!("SELECT ", columns!(), " FROM user_account WHERE email = :email");
        self.one_user(Statement::new(sql).text("email", email)).await
    }

    async fn one_user(&self, statement: Statement) -> Result<Option<User>, CatalogError> {
        self.read(statement).await?.first().map(user_from).transpose()
    }

    /// Accounts of a tenant in the order of their ids, after the given one.
    pub async fn users(&self, tenant: &str, after: &str, limit: i64) -> Result<Vec<User>, CatalogError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM user_account WHERE tenant = :tenant AND id > :after ORDER BY id LIMIT :limit"
        );
        let statement = Statement::new(sql).text("tenant", tenant).text("after", after).int("limit", limit);
        self.read(statement).await?.iter().map(user_from).collect()
    }

    /// The e-mails of those of these ids that are accounts; of one tenant alone, where one is given.
    pub async fn emails_of(&self, tenant: Option<&str>, ids: &[String]) -> Result<Vec<(String, String)>, CatalogError> {
        let sql = concat!("SELECT id, email, tenant FROM user_account WHERE id IN ", one_of!());
        let mut found = Vec::new();
        for row in self.read_each(sql, ids).await? {
            let of = row.text(2)?;
            if tenant.is_none_or(|tenant| tenant == of) {
                found.push((row.text(0)?, row.text(1)?));
            }
        }
        Ok(found)
    }

    /// Changes an account, if it still has the version. Whoever is disabled is signed out everywhere.
    pub async fn change_user(
        &self,
        step: &Step,
        id: &UserId,
        change: &UserChange<'_>,
        noted: &AuditEntry,
    ) -> Result<(), CatalogError> {
        let mut statements = vec![
            Statement::new(
                "UPDATE user_account SET name = :name, roles = :roles, state = :state, version = version + 1, op_id = :op, updated_at = :now \
                 WHERE id = :id AND version = :version",
            )
            .text("name", change.name)
            .text("roles", change.roles)
            .text("state", change.state)
            .text("op", &step.op)
            .int("now", step.now)
            .text("id", id.to_string())
            .int("version", change.version)
            .expect(1),
        ];
        if change.state != ACTIVE {
            statements.push(sessions::end_all(step.now, id, None));
        }
        statements.push(audit::note(std::slice::from_ref(noted)));
        self.atomic(Atomic { what: "changing an account", statements, settled: settled(id, step) }).await
    }

    /// Gives an account another password, if it still has the version, and ends its sessions but for one.
    pub async fn change_password(
        &self,
        step: &Step,
        user: &User,
        hash: &str,
        but: Option<&SessionId>,
        noted: &AuditEntry,
    ) -> Result<(), CatalogError> {
        let statements = vec![
            Statement::new(
                "UPDATE user_account SET password_hash = :hash, version = version + 1, op_id = :op, updated_at = :now \
                 WHERE id = :id AND version = :version",
            )
            .text("hash", hash)
            .text("op", &step.op)
            .int("now", step.now)
            .text("id", user.id.to_string())
            .int("version", user.version)
            .expect(1),
            sessions::end_all(step.now, &user.id, but),
            Statement::new("DELETE FROM password_reset WHERE user_id = :user").text("user", user.id.to_string()),
            audit::note(std::slice::from_ref(noted)),
        ];
        self.atomic(Atomic { what: "changing a password", statements, settled: settled(&user.id, step) }).await
    }

    /// Notes a wish for a new password, in place of an earlier one, and mails its secret.
    pub async fn wish_password(
        &self,
        step: &Step,
        user: &UserId,
        hash: &str,
        expires_at: i64,
        mail: &NewMail<'_>,
    ) -> Result<(), CatalogError> {
        let statements = vec![
            Statement::new(
                "INSERT INTO password_reset (user_id, hash, expires_at, op_id) VALUES (:user, :hash, :expires, :op) \
                 ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, expires_at = excluded.expires_at, op_id = excluded.op_id",
            )
            .text("user", user.to_string())
            .text("hash", hash)
            .int("expires", expires_at)
            .text("op", &step.op)
            .expect(1),
            mail::enqueue(step, mail),
        ];
        let settled = Statement::new("SELECT user_id FROM password_reset WHERE user_id = :user AND op_id = :op")
            .text("user", user.to_string())
            .text("op", &step.op);
        self.atomic(Atomic { what: "wishing a password", statements, settled }).await
    }

    /// Whose wish this is, if it is not over.
    pub async fn wished_password(&self, now: i64, hash: &str) -> Result<Option<User>, CatalogError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM user_account WHERE state = 'active' \
             AND id = (SELECT user_id FROM password_reset WHERE hash = :hash AND expires_at > :now)"
        );
        self.one_user(Statement::new(sql).text("hash", hash).int("now", now)).await
    }

    /// Stores an invitation, and mails it where there is a mail.
    pub async fn invite(
        &self,
        step: &Step,
        invitation: &Invitation,
        mail: Option<&NewMail<'_>>,
        noted: &[AuditEntry],
    ) -> Result<(), CatalogError> {
        let id = invitation.id.to_string();
        let mut statements = vec![
            Statement::new(concat!(
                "INSERT INTO invitation (",
                invitation_columns!(),
                ") VALUES (:id, :hash, :tenant, :email, :roles, :by, :now, :expires, NULL) ON CONFLICT (id) DO NOTHING"
            ))
            .text("id", &id)
            .text("hash", &invitation.hash)
            .text("tenant", &invitation.tenant)
            .with(Params::new().opt_text("email", invitation.email.as_deref()))
            .text("roles", &invitation.roles)
            .text("by", &invitation.invited_by)
            .int("now", invitation.created_at)
            .int("expires", invitation.expires_at)
            .expect(1),
        ];
        statements.extend(mail.map(|mail| mail::enqueue(step, mail)));
        statements.push(audit::note(noted));
        let settled = Statement::new("SELECT id FROM invitation WHERE id = :id").text("id", &id);
        self.atomic(Atomic { what: "inviting", statements, settled }).await
    }

    /// The invitation of a secret's hash, if it can still be used.
    pub async fn invitation(&self, now: i64, hash: &str) -> Result<Option<Invitation>, CatalogError> {
        let sql = concat!(
            "SELECT ",
            invitation_columns!(),
            " FROM invitation WHERE hash = :hash AND used_by IS NULL AND expires_at > :now"
        );
        let rows = self.read(Statement::new(sql).text("hash", hash).int("now", now)).await?;
        rows.first().map(invitation_from).transpose()
    }

    /// Invitations that can still be used, in the order of their ids, after the given one: into a tenant, and wherever to
    /// by somebody (empty: nobody).
    pub async fn invitations(
        &self,
        now: i64,
        tenant: &str,
        by: &str,
        after: &str,
        limit: i64,
    ) -> Result<Vec<Invitation>, CatalogError> {
        let sql = concat!(
            "SELECT ",
            invitation_columns!(),
            " FROM invitation WHERE (tenant = :tenant OR (invited_by = :by AND invited_by <> '')) AND used_by IS NULL \
             AND expires_at > :now AND id > :after ORDER BY id LIMIT :limit"
        );
        let statement = Statement::new(sql).text("tenant", tenant).text("by", by).int("now", now);
        let rows = self.read(statement.text("after", after).int("limit", limit)).await?;
        rows.iter().map(invitation_from).collect()
    }

    /// One invitation that can still be used.
    pub async fn open_invitation(&self, now: i64, id: &InvitationId) -> Result<Option<Invitation>, CatalogError> {
        let sql = concat!(
            "SELECT ",
            invitation_columns!(),
            " FROM invitation WHERE id = :id AND used_by IS NULL AND expires_at > :now"
        );
        let rows = self.read(Statement::new(sql).text("id", id.to_string()).int("now", now)).await?;
        rows.first().map(invitation_from).transpose()
    }

    /// Takes an invitation back. `Conflict`: it was used first.
    pub async fn uninvite(&self, id: &InvitationId, noted: &AuditEntry) -> Result<(), CatalogError> {
        let statements = vec![
            Statement::new("DELETE FROM invitation WHERE id = :id AND used_by IS NULL")
                .text("id", id.to_string())
                .expect(1),
            audit::note(std::slice::from_ref(noted)),
        ];
        let settled = Statement::new("SELECT id FROM audit WHERE id = :id").text("id", &noted.id);
        self.atomic(Atomic { what: "taking an invitation back", statements, settled }).await
    }
}

fn settled(user: &UserId, step: &Step) -> Statement {
    Statement::new("SELECT id FROM user_account WHERE id = :id AND op_id = :op")
        .text("id", user.to_string())
        .text("op", &step.op)
}

fn user_from(row: &Row) -> Result<User, CatalogError> {
    Ok(User {
        id: row.parsed(0, "a user's id")?,
        tenant: row.text(1)?,
        email: row.text(2)?,
        name: row.text(3)?,
        roles: row.text(4)?,
        state: row.text(5)?,
        password_hash: row.text(6)?,
        version: row.int(7)?,
        created_at: row.int(8)?,
    })
}

fn invitation_from(row: &Row) -> Result<Invitation, CatalogError> {
    Ok(Invitation {
        id: row.parsed(0, "an invitation's id")?,
        hash: row.text(1)?,
        tenant: row.text(2)?,
        email: row.opt_text(3)?,
        roles: row.text(4)?,
        invited_by: row.text(5)?,
        created_at: row.int(6)?,
        expires_at: row.int(7)?,
        used_by: row.opt_text(8)?,
    })
}
