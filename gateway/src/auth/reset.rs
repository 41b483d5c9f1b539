//! `POST /v1/auth/password-reset` and `…/confirm`: a forgotten password.
//!
//! Guarantees: asking is always answered by 202, at once, whether or not there is such an account; the secret stands in
//! one mail and is stored as its hash; it is good once, for an hour, and only the newest is; a new password ends every
//! session.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use reelfleet_access::Secret;
use reelfleet_catalog::accounts::ACTIVE;
use reelfleet_catalog::mail::NewMail;
use reelfleet_messages::MailId;
use serde::Deserialize;
use serde_json::json;
use tracing::Instrument as _;

use super::limits::too_often;
use super::{email, password};
use crate::app::App;
use crate::caller::Payload;
use crate::problem::{Code, Problem};
use crate::serve::Peer;

const LIVES_MS: i64 = 3_600_000;

#[derive(Deserialize)]
pub(crate) struct Wish {
    email: String,
}

/// Mails a link, if there is such an account.
pub(crate) async fn ask(
    State(app): State<Arc<App>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    Payload(wish): Payload<Wish>,
) -> Result<StatusCode, Problem> {
    let accounts = app.accounts()?;
    let from = app.address(peer, &headers);
    accounts.by_address.take(&from, Instant::now()).map_err(too_often)?;
    let email = email(&wish.email)?;
    // One mailbox is not flooded; who asks learns nothing of it.
    if accounts.mails.take(&email, Instant::now()).is_ok() {
        // Apart from the answer, whose time tells nothing.
        let work = app.clone();
        tokio::spawn(
            async move {
                if let Err(error) = mail(&work, &email).await {
                    tracing::warn!(?error, "a mail for a new password was not written");
                }
            }
            .in_current_span(),
        );
    }
    Ok(StatusCode::ACCEPTED)
}

async fn mail(app: &App, email: &str) -> Result<(), Problem> {
    let Some(user) = app.catalog.user_by_email(email).await?.filter(|user| user.state == ACTIVE) else {
        return Ok(());
    };
    let (step, secret) = (app.context.step(), app.draw()?);
    let text = format!(
        "Somebody, probably you, asked for a new password for {email}.\n\nOpen this link to choose one; it is good once, \
         for one hour:\n\n{}\n\nIf it was not you, do nothing: your password stays as it is.\n",
        app.url(&format!("/reset?token={}", secret.reveal()))
    );
    let expires_at = step.now.saturating_add(LIVES_MS);
    let mail = NewMail {
        id: MailId::from_uuid(app.context.ids.uuid()),
        tenant: &user.tenant,
        to: &user.email,
        kind: "password_reset",
        subject: "A new password",
        text: &text,
        expires_at,
    };
    Ok(app.catalog.wish_password(&step, &user.id, &secret.hash(), expires_at, &mail).await?)
}

#[derive(Deserialize)]
pub(crate) struct Confirmed {
    token: String,
    password: String,
}

/// The new password.
pub(crate) async fn confirm(
    State(app): State<Arc<App>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    Payload(asked): Payload<Confirmed>,
) -> Result<StatusCode, Problem> {
    let accounts = app.accounts()?;
    let from = app.address(peer, &headers);
    accounts.by_address.take(&from, Instant::now()).map_err(too_often)?;
    let invalid = || Problem::new(Code::ResetInvalid, "it was used, is over, or a newer one was asked for");
    let secret = Secret::from_hex(&asked.token).ok_or_else(invalid)?;
    let user = app.catalog.wished_password(app.now(), &secret.hash()).await?.ok_or_else(invalid)?;
    password::check(&asked.password, &user.email, &user.name)?;
    let hash = accounts.hasher.hash(asked.password, app.salt()?).await?;
    let noted = app.deed(&user.tenant, &user.id.to_string(), "user.password_reset", user.id, &json!({}));
    // The account's version fences: of two who confirm at once, one does.
    match app.catalog.change_password(&app.context.step(), &user, &hash, None, &noted).await {
        Err(error) if error.is_conflict() => Err(invalid()),
        changed => Ok(changed.map(|()| StatusCode::NO_CONTENT)?),
    }
}
