//! `/v1/invitations`: links by which somebody may sign up.
//!
//! Guarantee: it is good once, for seven days, for one e-mail where that is given; its secret is shown to the inviter
//! once, mailed where there is an e-mail, and stored as its hash. Into another tenant than one's own only who operates
//! the installation invites, who is administrator as well: that is how a tenant gets its first people. One that nobody
//! has used can be taken back by whoever administers its tenant, or by the operator who made it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use reelfleet_access::principal::valid_name;
use reelfleet_access::{Principal, Role, Roles, Scope};
use reelfleet_catalog::accounts::Invitation;
use reelfleet_catalog::mail::NewMail;
use reelfleet_messages::{InvitationId, MailId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{email, may_grant, roles, words};
use crate::app::{App, rfc3339};
use crate::caller::{Caller, Payload};
use crate::options::SignUp;
use crate::paging::Page;
use crate::problem::{Code, Problem};

const LIVES_MS: i64 = 7 * 24 * 3_600_000;

#[derive(Deserialize)]
pub(crate) struct Wanted {
    /// Who alone may use it, and where it is mailed to.
    email: Option<String>,
    roles: Option<Vec<String>>,
    /// Where the invited will belong; left out: where the inviter does.
    tenant: Option<String>,
}

/// Invites.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Payload(wanted): Payload<Wanted>,
) -> Result<Response, Problem> {
    let principal = caller.with(Scope::Admin)?;
    if app.accounts()?.sign_up == SignUp::Closed {
        return Err(Problem::new(Code::SignUpClosed, "nobody can sign up here, invited or not"));
    }
    let email = wanted.email.as_deref().map(email).transpose()?;
    let roles = wanted.roles.as_deref().map(roles).transpose()?.unwrap_or_else(|| Roles::of(&[Role::User]));
    may_grant(&principal, Roles::default(), roles)?;
    let tenant = tenant(&principal, wanted.tenant)?;
    let (step, secret) = (app.context.step(), app.draw()?);
    let invitation = Invitation {
        id: InvitationId::from_uuid(app.context.ids.uuid()),
        hash: secret.hash(),
        tenant,
        email,
        roles: roles.to_string(),
        invited_by: principal.user().to_owned(),
        created_at: step.now,
        expires_at: step.now.saturating_add(LIVES_MS),
        used_by: None,
    };
    let url = app.url(&format!("/sign-up?invitation={}", secret.reveal()));
    let text = format!(
        "You are invited to reelfleet.\n\nOpen this link to make an account; it is good once, for seven days:\n\n{url}\n"
    );
    let mail = invitation.email.as_deref().map(|to| NewMail {
        id: MailId::from_uuid(app.context.ids.uuid()),
        tenant: &invitation.tenant,
        to,
        kind: "invitation",
        subject: "You are invited",
        text: &text,
        expires_at: invitation.expires_at,
    });
    let detail = json!({ "email": invitation.email, "roles": invitation.roles });
    let mut noted = vec![app.deed(&invitation.tenant, principal.user(), "user.invited", invitation.id, &detail)];
    if !principal.sees(&invitation.tenant) {
        let detail = json!({ "tenant": invitation.tenant, "email": invitation.email, "roles": invitation.roles });
        noted.push(app.operated(&principal, "user.invited", &invitation.id.to_string(), &detail));
    }
    app.catalog.invite(&step, &invitation, mail.as_ref(), &noted).await?;
    let mut body = shown(&invitation);
    body["url"] = url.into();
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Those that nobody has used, in the order in which they were made. Their links are not told again.
pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller, page: Page) -> Result<Json<Value>, Problem> {
    let principal = caller.with(Scope::Admin)?;
    let by = if principal.scopes.hold(Scope::Ops) { principal.user() } else { "" };
    let after = page.after::<InvitationId>()?.map_or(String::new(), |id| id.to_string());
    let found = app.catalog.invitations(app.now(), &principal.tenant, by, &after, page.one_more()).await?;
    let (found, next) = page.cut(found, |invitation| invitation.id.to_string());
    Ok(Json(json!({ "invitations": found.iter().map(shown).collect::<Vec<_>>(), "next_cursor": next })))
}

/// Takes one back: its link is no good any more.
pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let principal = caller.with(Scope::Admin)?;
    let id: InvitationId = id.parse().map_err(|_| Problem::not_found())?;
    let found = app.catalog.open_invitation(app.now(), &id).await?;
    let made = |found: &Invitation| principal.scopes.hold(Scope::Ops) && found.invited_by == principal.user();
    let found = found.filter(|found| principal.sees(&found.tenant) || made(found)).ok_or_else(Problem::not_found)?;
    let detail = json!({ "email": found.email, "roles": found.roles });
    let noted = app.deed(&found.tenant, principal.user(), "user.uninvited", found.id, &detail);
    match app.catalog.uninvite(&found.id, &noted).await {
        // Somebody was faster: by signing up with it, or by taking it back.
        Err(error) if error.is_conflict() => Err(Problem::not_found()),
        done => Ok(done.map(|()| StatusCode::NO_CONTENT)?),
    }
}

fn shown(invitation: &Invitation) -> Value {
    json!({
        "id": invitation.id.to_string(),
        "tenant": invitation.tenant,
        "email": invitation.email,
        "roles": words(Roles::stored(&invitation.roles)),
        "created_at": rfc3339(invitation.created_at),
        "expires_at": rfc3339(invitation.expires_at),
    })
}

/// The tenant to invite into: one's own, or for an operator any that may be one.
fn tenant(principal: &Principal, wanted: Option<String>) -> Result<String, Problem> {
    let Some(tenant) = wanted.filter(|tenant| *tenant != principal.tenant) else { return Ok(principal.tenant.clone()) };
    principal.require(Scope::Ops)?;
    if !valid_name(&tenant) {
        let detail = "tenant is 1 to 64 of A-Z a-z 0-9 . _ @ -, and does not begin with a dot";
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    Ok(tenant)
}

/// Not an invitation, or not one any more: no more is told.
pub(super) fn invalid() -> Problem {
    Problem::new(Code::InvitationInvalid, "it was used, is over, or is for another e-mail: ask for a new one")
}
