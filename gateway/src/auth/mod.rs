//! Accounts: signing up, in and out, one's own account and keys, and the people of a tenant.
//!
//! Guarantees:
//! - an unknown e-mail and a wrong password get the same answer after the same work;
//! - a refresh token travels in a cookie that scripts can't read and other sites can't send, and only to `/v1/auth`; no
//!   call but refresh and sign-out looks at a cookie, and those two want the `Origin` of one of our own pages;
//! - whatever somebody does to somebody's account or keys is in the audit.
//!
//! What is counted to slow guessing down is kept in each gateway by itself: with several of them a guesser has as many
//! times the tries.

pub(crate) mod audit;
mod cookie;
pub(crate) mod enter;
pub(crate) mod export;
pub(crate) mod invitations;
pub(crate) mod keys;
pub(crate) mod limits;
pub(crate) mod me;
pub(crate) mod oidc;
mod password;
pub(crate) mod reset;
pub(crate) mod sign_up;
pub(crate) mod users;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use reelfleet_access::sessions::Subject;
use reelfleet_access::{Principal, Roles, Secret, SessionKey, Sessions, Via};
use reelfleet_catalog::Catalog;
use reelfleet_catalog::accounts::User;
use reelfleet_catalog::audit::AuditEntry;
use reelfleet_messages::SessionId;
use serde_json::{Value, json};

use crate::app::{App, rfc3339};
use crate::options::SignUp;
use crate::problem::{Code, Problem};
use crate::serve::Peer;

use limits::Buckets;
use oidc::provider::Provider;
use password::Hasher;

/// Longest name of a person or a key (characters).
const MAX_NAME: usize = 100;

/// What accounts need; there if a session secret is.
pub(crate) struct Accounts {
    pub(crate) sessions: Sessions,
    pub(crate) sign_up: SignUp,
    /// Who else vouches for people.
    provider: Option<Provider>,
    hasher: Hasher,
    /// Tries from one address: sign-in, sign-up, reset.
    by_address: Buckets,
    /// Failed tries on one e-mail.
    by_email: Buckets,
    /// Mails to one address.
    mails: Buckets,
    /// Exports of one user.
    exports: Buckets,
}

impl Accounts {
    pub(crate) fn new(catalog: Catalog, key: SessionKey, sign_up: SignUp, provider: Option<Provider>) -> Self {
        Self {
            sessions: Sessions::new(catalog, key),
            sign_up,
            provider,
            hasher: Hasher::new(),
            by_address: Buckets::new(1.0, 60.0),
            by_email: Buckets::new(1.0 / 30.0, 10.0),
            mails: Buckets::new(1.0 / 600.0, 3.0),
            exports: Buckets::new(1.0 / 60.0, 5.0),
        }
    }
}

impl App {
    /// Accounts, where they are on.
    pub(crate) fn accounts(&self) -> Result<&Accounts, Problem> {
        self.accounts.as_ref().ok_or_else(|| {
            Problem::new(Code::AccountsOff, "the operator has set no REELFLEET_SESSION_SECRET: use an API key")
        })
    }

    /// A line of the audit.
    pub(crate) fn deed(
        &self,
        tenant: &str,
        who: &str,
        what: &str,
        subject: impl ToString,
        detail: &Value,
    ) -> AuditEntry {
        AuditEntry {
            id: self.context.ids.uuid().simple().to_string(),
            at: self.now(),
            who: who.to_owned(),
            what: what.to_owned(),
            subject: subject.to_string(),
            detail: detail.to_string(),
            tenant: Some(tenant.to_owned()),
        }
    }

    /// Whose address a request counts for.
    pub(crate) fn address(&self, peer: Option<Extension<Peer>>, headers: &HeaderMap) -> String {
        limits::address(peer.map(|Extension(peer)| peer), headers, self.options.trusted_proxies)
    }

    fn salt(&self) -> Result<[u8; 16], Problem> {
        let mut salt = [0; 16];
        hex::decode_to_slice(self.context.ids.token(), &mut salt).map_err(Problem::internal)?;
        Ok(salt)
    }

    /// A fresh secret.
    fn draw(&self) -> Result<Secret, Problem> {
        Secret::from_hex(&self.context.ids.secret())
            .ok_or_else(|| Problem::internal("a secret is not 64 hexadecimal digits"))
    }
}

/// An account as the API shows it.
fn shown(user: &User) -> Value {
    json!({
        "id": user.id.to_string(),
        "tenant": user.tenant,
        "email": user.email,
        "name": user.name,
        "roles": words(Roles::stored(&user.roles)),
        "state": user.state,
        "version": user.version,
        "created_at": rfc3339(user.created_at),
    })
}

fn words(roles: Roles) -> Vec<&'static str> {
    roles.iter().map(reelfleet_access::Role::as_str).collect()
}

/// The answer to whoever is in: who it is, the access token, and the refresh token of this number as a cookie.
fn welcome(app: &App, status: StatusCode, user: &User, session: &SessionId, number: i64) -> Result<Response, Problem> {
    let key = app.accounts()?.sessions.key();
    let roles = Roles::stored(&user.roles);
    let subject = Subject { user: &user.id, tenant: &user.tenant, roles, session };
    let token = key.access(app.now(), &subject).map_err(Problem::internal)?;
    let cookie = cookie::set(&key.refresh(session, number), &app.context.config.public_url);
    let body = Json(json!({
        "user": shown(user),
        "access_token": token.text,
        "token_type": "Bearer",
        "expires_at": rfc3339(token.expires_at),
    }));
    Ok((status, [(header::SET_COOKIE, cookie)], body).into_response())
}

/// Somebody who may manage accounts and keys: a person, not a program; or a program that an administrator trusts so far.
pub(crate) fn person(principal: &Principal) -> Result<(), Problem> {
    match principal.via {
        Via::Session(_) => Ok(()),
        Via::Key(_) => Ok(principal.require(reelfleet_access::Scope::Admin)?),
    }
}

/// A name for people: trimmed, 1 to [`MAX_NAME`] characters, none of them a control character.
pub(crate) fn name(text: &str) -> Result<String, Problem> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > MAX_NAME || text.chars().any(char::is_control) {
        return Err(Problem::new(Code::InvalidRequest, format!("name is 1 to {MAX_NAME} characters")));
    }
    Ok(text.to_owned())
}

/// An e-mail address as accounts know it: in lower case, without what addresses in mails are set apart by.
fn email(text: &str) -> Result<String, Problem> {
    let text = text.trim().to_lowercase();
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"<>()[],;:\\\"".contains(c);
    let parts = text.split_once('@');
    let good = parts
        .is_some_and(|(local, domain)| (1..=64).contains(&local.len()) && !domain.is_empty() && !domain.contains('@'));
    if good && text.len() <= 254 && text.chars().all(plain) {
        return Ok(text);
    }
    Err(Problem::new(Code::InvalidRequest, "email is an address: name@host"))
}

/// Roles by their words; none is no answer.
fn roles(list: &[String]) -> Result<Roles, Problem> {
    let roles = Roles::parse(list.iter().map(String::as_str)).map_err(|word| {
        Problem::new(Code::InvalidRequest, format!("{word:?} is no role: user, reviewer, operator, admin"))
    })?;
    if roles.is_empty() {
        return Err(Problem::new(Code::InvalidRequest, "roles holds at least one of user, reviewer, operator, admin"));
    }
    Ok(roles)
}

/// Whether the caller may make `before` into `after`: nobody gives or takes a role that reaches further than its own
/// rights. An administrator of a tenant makes no operators, who see all tenants.
fn may_grant(principal: &Principal, before: Roles, after: Roles) -> Result<(), Problem> {
    for role in reelfleet_access::Role::ALL {
        if before.has(role) != after.has(role) {
            for scope in Roles::of(&[role]).scopes().iter() {
                principal.require(scope)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelfleet_access::{Role, Scope, Scopes};

    #[test]
    fn an_address_is_known_in_one_spelling() {
        assert_eq!(email(" Ann@Example.ORG ").unwrap(), "ann@example.org");
        let long = format!("{}@x", "a".repeat(65));
        for bad in ["", "ann", "@x", "ann@", "a@b@c", "a b@c", "a@b\r\nBcc: c", "<a@b>", "a,b@c", &long] {
            assert!(email(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nobody_gives_more_than_one_has() {
        let who = |scopes: &[Scope]| Principal {
            tenant: "t".into(),
            owner: "o".into(),
            scopes: Scopes::of(scopes),
            via: Via::Key("key_01h455vb4pex5vsknk084sn02q".parse().unwrap()),
        };
        let (admin, all) = (who(&[Scope::Admin]), who(&[Scope::Admin, Scope::Ops]));
        let (none, user) = (Roles::default(), Roles::of(&[Role::User]));
        let (operator, reviewer) = (Roles::of(&[Role::User, Role::Operator]), Roles::of(&[Role::User, Role::Reviewer]));
        assert!(may_grant(&admin, none, user).is_ok() && may_grant(&admin, user, reviewer).is_ok());
        assert!(may_grant(&admin, user, operator).is_err() && may_grant(&admin, operator, user).is_err());
        assert!(may_grant(&admin, operator, operator).is_ok(), "what stays is not given");
        assert!(may_grant(&all, user, Roles::all()).is_ok());
    }

    #[test]
    fn names_are_for_people() {
        assert_eq!(name("  Ann  B ").unwrap(), "Ann  B");
        for bad in ["", "  ", "a\nb", &"x".repeat(101)] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }
}
