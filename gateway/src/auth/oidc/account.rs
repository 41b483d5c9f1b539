//! Whose account it is that a provider vouches for.
//!
//! Guarantees:
//! - an identity (issuer and subject) that is known leads to its one account, whatever its e-mail is by now;
//! - an account that was there before is never taken over by an e-mail that is the same: whoever knows its password links
//!   it, once, and its address is told ([`finish_link`]). Signing up does not prove an address, so whoever made an account
//!   with somebody else's would otherwise share it with them from then on;
//! - an account is made only for an address that the provider has verified, and only where signing up is open to it.

use axum::http::HeaderMap;
use reelfleet_access::sessions::IDLE_MS;
use reelfleet_access::{Role, Roles};
use reelfleet_catalog::accounts::{ACTIVE, Invitation, NewAccount, NewSession, User, UserChange};
use reelfleet_catalog::identities::Identity;
use reelfleet_catalog::mail::NewMail;
use reelfleet_messages::{MailId, SessionId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::options::Terms;
use super::{Failed, LINK, LINK_MS};
use crate::app::App;
use crate::auth::sign_up::{invited, own_tenant};
use crate::auth::{MAX_NAME, email};
use crate::options::SignUp;
use crate::problem::{Code, Problem};

const MAIL_LIVES_MS: i64 = 24 * 3_600_000;

/// Somebody, as the provider tells it.
pub(super) struct Vouched {
    subject: String,
    /// Verified by the provider, as accounts know it.
    email: Option<String>,
    name: Option<String>,
    /// Where groups are mapped.
    roles: Option<Roles>,
}

impl Vouched {
    /// What these claims say.
    pub(super) fn of(terms: &Terms, claims: &Map<String, Value>) -> Self {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
        // Cognito says it as a text.
        let verified = claims.get("email_verified").is_some_and(|value| value == true || value == "true");
        let name = text("name").or_else(|| text("preferred_username"));
        Self {
            subject: text("sub").unwrap_or_default().to_owned(),
            email: text("email").filter(|_| verified).and_then(|text| email(text).ok()),
            name: name.map(|name| name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect()),
            roles: terms.roles.as_ref().map(|map| map.of(claims)),
        }
    }
}

/// What is to happen now.
pub(super) enum Found {
    /// They are in, by this session.
    In(SessionId),
    /// There is an account with this e-mail: its password is asked for, once; this cookie says for what.
    Link(String),
}

/// What is to be linked, while the password is asked for.
#[derive(Serialize, Deserialize)]
struct Link {
    issuer: String,
    subject: String,
    email: String,
}

/// Finds or makes the account, and signs it in.
pub(super) async fn enter(app: &App, terms: &Terms, who: &Vouched, invitation: Option<&str>) -> Result<Found, Failed> {
    let identity = Identity { issuer: &terms.issuer, subject: &who.subject };
    if let Some(id) = app.catalog.user_of_identity(&identity).await? {
        let user = app.catalog.user(&id).await?.filter(|user| user.state == ACTIVE).ok_or(Failed::Disabled)?;
        if let Some(roles) = who.roles {
            follow(app, &user, roles, terms).await?;
        }
        let session = SessionId::from_uuid(app.context.ids.uuid());
        let now = app.now();
        app.catalog.begin_session(now, &session, &user.id, now.saturating_add(IDLE_MS)).await?;
        return Ok(Found::In(session));
    }
    let email = who.email.as_deref().ok_or(Failed::EmailUnverified)?;
    if app.catalog.user_by_email(email).await?.is_some() {
        let link = Link { issuer: terms.issuer.clone(), subject: who.subject.clone(), email: email.to_owned() };
        let sealed = app.accounts()?.sessions.key().seal(LINK.name, app.now().saturating_add(LINK_MS), &link);
        let sealed = sealed.map_err(Problem::internal)?;
        return Ok(Found::Link(LINK.set(&sealed, LINK_MS / 1_000, &app.context.config.public_url)));
    }
    make(app, terms, who, email, invitation).await
}

async fn make(app: &App, terms: &Terms, who: &Vouched, email: &str, invitation: Option<&str>) -> Result<Found, Failed> {
    let mode = app.accounts()?.sign_up;
    if mode == SignUp::Closed {
        return Err(Failed::SignUpClosed);
    }
    let invitation: Option<Invitation> = match invited(app, invitation, email).await {
        Err(problem) if problem.code == Code::InvitationInvalid => return Err(Failed::InvitationInvalid),
        found => found?,
    };
    if mode == SignUp::Invited && invitation.is_none() {
        return Err(Failed::SignUpClosed);
    }
    let tenant = match (&invitation, &terms.tenant) {
        (Some(invitation), _) => invitation.tenant.clone(),
        (None, Some(tenant)) => tenant.clone(),
        (None, None) => own_tenant(app),
    };
    let given = invitation.as_ref().map_or_else(|| Roles::of(&[Role::User]), |given| Roles::stored(&given.roles));
    let now = app.now();
    let user = User {
        id: UserId::from_uuid(app.context.ids.uuid()),
        tenant,
        email: email.to_owned(),
        name: who.name.clone().unwrap_or_else(|| email.split('@').next().unwrap_or_default().to_owned()),
        roles: who.roles.unwrap_or(given).to_string(),
        state: ACTIVE.to_owned(),
        password_hash: String::new(),
        version: 1,
        created_at: now,
    };
    let session =
        NewSession { id: SessionId::from_uuid(app.context.ids.uuid()), expires_at: now.saturating_add(IDLE_MS) };
    let detail = json!({
        "email": user.email,
        "invitation": invitation.as_ref().map(|i| i.id.to_string()),
        "issuer": terms.issuer,
    });
    let noted = app.deed(&user.tenant, &user.id.to_string(), "user.signed_up", user.id, &detail);
    // Where groups give roles they give the first's too.
    let first_roles = who.roles.unwrap_or_else(Roles::all).to_string();
    let new = NewAccount {
        user: &user,
        session: &session,
        first_roles: &first_roles,
        invitation: invitation.as_ref().map(|invitation| &invitation.id),
        identity: Some(&Identity { issuer: &terms.issuer, subject: &who.subject }),
    };
    match app.catalog.sign_up(&app.context.step(), &new, &noted).await {
        // Somebody made it meanwhile, likely the same person in another window.
        Err(error) if error.is_conflict() => Err(Failed::State),
        made => Ok(made.map(|()| Found::In(session.id))?),
    }
}

/// Gives an account the roles that its groups give now.
async fn follow(app: &App, user: &User, roles: Roles, terms: &Terms) -> Result<(), Failed> {
    let roles = roles.to_string();
    if roles == user.roles {
        return Ok(());
    }
    let to = UserChange { version: user.version, name: &user.name, roles: &roles, state: &user.state };
    let detail = json!({ "roles": { "from": user.roles, "to": roles }, "issuer": terms.issuer });
    let noted = app.deed(&user.tenant, &user.id.to_string(), "user.changed", user.id, &detail);
    match app.catalog.change_user(&app.context.step(), &user.id, &to, &noted).await {
        // Changed meanwhile: nobody comes in by roles that are not those of now.
        Err(error) if error.is_conflict() => Err(Failed::State),
        changed => Ok(changed?),
    }
}

/// Whoever has just shown the password of an account links to it what the provider vouched for in this browser a moment
/// ago, if that has the same e-mail; answers the header that takes the cookie away.
pub(in crate::auth) async fn finish_link(
    app: &App,
    headers: &HeaderMap,
    user: &User,
) -> Result<Option<String>, Problem> {
    let accounts = app.accounts()?;
    let Some(provider) = &accounts.provider else { return Ok(None) };
    let link = LINK.of(headers).and_then(|text| accounts.sessions.key().unseal::<Link>(LINK.name, app.now(), text));
    let ours = |link: &Link| link.issuer == provider.terms.issuer && link.email == user.email;
    let Some(link) = link.filter(ours) else { return Ok(None) };
    let step = app.context.step();
    let text = format!(
        "Your account {} can now be entered by {} ({}) too, as somebody who knows its password has asked.\n\n\
         If it was not you, ask for a new password, and tell an administrator:\n\n{}\n",
        user.email,
        provider.terms.name,
        link.issuer,
        app.url("/forgot")
    );
    let mail = NewMail {
        id: MailId::from_uuid(app.context.ids.uuid()),
        tenant: &user.tenant,
        to: &user.email,
        kind: "identity_linked",
        subject: "Another way into your account",
        text: &text,
        expires_at: step.now.saturating_add(MAIL_LIVES_MS),
    };
    let noted = app.deed(&user.tenant, &user.id.to_string(), "user.linked", user.id, &json!({ "issuer": link.issuer }));
    let identity = Identity { issuer: &link.issuer, subject: &link.subject };
    match app.catalog.link_identity(&step, user, &identity, &mail, &noted).await {
        // It was linked before, here or elsewhere: signing in goes on all the same.
        Err(error) if error.is_conflict() => {}
        linked => linked?,
    }
    Ok(Some(LINK.clear(&app.context.config.public_url)))
}
