//! `POST /v1/auth/sign-up`.
//!
//! Guarantees: the first account of an installation, and no other, becomes its administrator (with every other role); who
//! may sign up at all is the operator's choice; an invitation decides tenant and roles and is good once.
//!
//! That an e-mail has an account already is told (409), as no sign-up without a mail in between can hide it; what may be
//! tried from one address is limited.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use reelfleet_access::sessions::IDLE_MS;
use reelfleet_access::{Role, Roles, Secret};
use reelfleet_catalog::accounts::{ACTIVE, Invitation, NewAccount, NewSession, User};
use reelfleet_messages::{SessionId, UserId};
use serde::Deserialize;
use serde_json::json;

use super::limits::too_often;
use super::{email, invitations, name, password, welcome};
use crate::app::App;
use crate::caller::Payload;
use crate::options::SignUp;
use crate::problem::{Code, Problem};
use crate::serve::Peer;

#[derive(Deserialize)]
pub(crate) struct Wanted {
    email: String,
    password: String,
    /// For people; else what stands before the @.
    name: Option<String>,
    invitation: Option<String>,
}

/// Makes an account and signs it in.
pub(crate) async fn sign_up(
    State(app): State<Arc<App>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    Payload(asked): Payload<Wanted>,
) -> Result<Response, Problem> {
    let accounts = app.accounts()?;
    let from = app.address(peer, &headers);
    accounts.by_address.take(&from, Instant::now()).map_err(too_often)?;
    if accounts.sign_up == SignUp::Closed {
        return Err(Problem::new(Code::SignUpClosed, "nobody can sign up here"));
    }
    let email = email(&asked.email)?;
    let name = match asked.name.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
        Some(text) => name(text)?,
        None => email.split('@').next().unwrap_or_default().to_owned(),
    };
    password::check(&asked.password, &email, &name)?;
    let invitation = invited(&app, asked.invitation.as_deref(), &email).await?;
    if matches!(accounts.sign_up, SignUp::Invited | SignUp::Provider) && invitation.is_none() {
        return Err(Problem::new(Code::SignUpClosed, "an invitation is needed: ask an administrator"));
    }
    let salt = app.salt()?;
    let password_hash = accounts.hasher.hash(asked.password, salt).await?;
    let (tenant, roles) = match &invitation {
        Some(invitation) => (invitation.tenant.clone(), invitation.roles.clone()),
        None => (own_tenant(&app), Roles::of(&[Role::User]).to_string()),
    };
    let now = app.now();
    let user = User {
        id: UserId::from_uuid(app.context.ids.uuid()),
        tenant,
        email,
        name,
        roles,
        state: ACTIVE.to_owned(),
        password_hash,
        version: 1,
        created_at: now,
    };
    let id = SessionId::from_uuid(app.context.ids.uuid());
    let session = NewSession { id, expires_at: now.saturating_add(IDLE_MS) };
    let detail = json!({ "email": user.email, "invitation": invitation.as_ref().map(|i| i.id.to_string()) });
    let noted = app.deed(&user.tenant, &user.id.to_string(), "user.signed_up", user.id, &detail);
    let new = NewAccount {
        user: &user,
        session: &session,
        first_roles: &Roles::all().to_string(),
        invitation: invitation.as_ref().map(|invitation| &invitation.id),
        identity: None,
    };
    match app.catalog.sign_up(&app.context.step(), &new, &noted).await {
        Err(error) if error.is_conflict() => {
            return Err(match app.catalog.user_by_email(&user.email).await? {
                Some(_) => Problem::new(Code::EmailTaken, "sign in, or ask for a new password"),
                None => invitations::invalid(),
            });
        }
        made => made?,
    }
    let user =
        app.catalog.user(&user.id).await?.ok_or_else(|| Problem::internal("an account that was made is gone"))?;
    welcome(&app, StatusCode::CREATED, &user, &id, 1)
}

/// The invitation, if it is good and for this e-mail.
pub(super) async fn invited(app: &App, text: Option<&str>, email: &str) -> Result<Option<Invitation>, Problem> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let secret = Secret::from_hex(text).ok_or_else(invitations::invalid)?;
    let found = app.catalog.invitation(app.now(), &secret.hash()).await?;
    let found = found.filter(|found| found.email.as_deref().is_none_or(|only| only == email));
    found.map(Some).ok_or_else(invitations::invalid)
}

/// Where those who were not invited belong: the tenant of the first uploads bucket.
pub(super) fn own_tenant(app: &App) -> String {
    app.context.config.uploads.first().map_or_else(|| "default".to_owned(), |route| route.tenant.clone())
}
