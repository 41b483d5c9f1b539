//! `POST /v1/auth/sign-in`, `/refresh`, `/sign-out`.
//!
//! Guarantees: a refresh token is good once. The one before the newest is honoured for 30 s, and leads to the very same
//! next one, so that a page which lost the answer, or two tabs at once, stay signed in; a token that is older still is in
//! two hands, and ends the session for both.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reelfleet_access::sessions::{GRACE_MS, IDLE_MS};
use reelfleet_catalog::accounts::ACTIVE;
use reelfleet_catalog::sessions::Rotated;
use reelfleet_messages::SessionId;
use serde::Deserialize;

use super::cookie::{self, REFRESH};
use super::limits::too_often;
use super::oidc::account::finish_link;
use super::{email, welcome};
use crate::app::App;
use crate::caller::Payload;
use crate::problem::{Code, Problem};
use crate::serve::Peer;

#[derive(Deserialize)]
pub(crate) struct Credentials {
    email: String,
    password: String,
}

/// Signs in by e-mail and password.
pub(crate) async fn sign_in(
    State(app): State<Arc<App>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    Payload(asked): Payload<Credentials>,
) -> Result<Response, Problem> {
    let accounts = app.accounts()?;
    let from = app.address(peer, &headers);
    accounts.by_address.take(&from, Instant::now()).map_err(too_often)?;
    let wrong = || Problem::new(Code::InvalidCredentials, "look at both again, or ask for a new password");
    let email = email(&asked.email).map_err(|_| wrong())?;
    accounts.by_email.take(&email, Instant::now()).map_err(too_often)?;
    let user = app.catalog.user_by_email(&email).await?;
    // Whoever comes by a provider alone has no password: checked like that of nobody.
    let stored = user.as_ref().map(|user| user.password_hash.clone()).filter(|stored| !stored.is_empty());
    let right = accounts.hasher.verify(asked.password, stored).await?;
    let user = user.filter(|user| right && user.state == ACTIVE).ok_or_else(wrong)?;
    accounts.by_email.give_back(&email);
    let id = SessionId::from_uuid(app.context.ids.uuid());
    let now = app.now();
    let linked = finish_link(&app, &headers, &user).await?;
    app.catalog.begin_session(now, &id, &user.id, now.saturating_add(IDLE_MS)).await?;
    let mut response = welcome(&app, StatusCode::OK, &user, &id, 1)?;
    if let Some(cookie) = linked.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Trades the cookie's refresh token in for the next one, and an access token.
pub(crate) async fn refresh(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Problem> {
    let accounts = app.accounts()?;
    cookie::must_be_ours(&app, &headers)?;
    let key = accounts.sessions.key();
    let Some((id, number)) = REFRESH.of(&headers).and_then(|token| key.read_refresh(token)) else {
        return Ok(signed_out(&app, "nobody is signed in here"));
    };
    let now = app.now();
    let rotated = app.catalog.rotate_session(now, &id, number, GRACE_MS, now.saturating_add(IDLE_MS)).await?;
    let number = match rotated {
        Rotated::To(number) => number,
        Rotated::Over => return Ok(signed_out(&app, "the session has ended: sign in")),
        Rotated::Reused => {
            tracing::warn!(session = %id, "a refresh token was used again: its session has ended");
            accounts.sessions.forget(&id);
            return Ok(signed_out(&app, "the session has ended: sign in"));
        }
    };
    let session = app.catalog.session(&id).await?.filter(|session| session.is_live(now));
    let user = match session {
        Some(session) => app.catalog.user(&session.user).await?,
        None => None,
    };
    match user {
        Some(user) => welcome(&app, StatusCode::OK, &user, &id, number),
        None => Ok(signed_out(&app, "the session has ended: sign in")),
    }
}

/// Ends the cookie's session. May be repeated.
pub(crate) async fn sign_out(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Problem> {
    let accounts = app.accounts()?;
    cookie::must_be_ours(&app, &headers)?;
    if let Some((id, _)) = REFRESH.of(&headers).and_then(|token| accounts.sessions.key().read_refresh(token)) {
        app.catalog.end_session(app.now(), &id).await?;
        accounts.sessions.forget(&id);
    }
    let cookie = REFRESH.clear(&app.context.config.public_url);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

/// 401, and the cookie goes.
fn signed_out(app: &App, why: &str) -> Response {
    let mut response = Problem::new(Code::Unauthenticated, why).into_response();
    if let Ok(cookie) = HeaderValue::from_str(&REFRESH.clear(&app.context.config.public_url)) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}
