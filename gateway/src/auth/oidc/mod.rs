//! Signing in by an OpenID provider: authorisation code with PKCE (OpenID Connect Core 1.0; RFC 6749, 7636, 9207, 9700).
//!
//! Guarantees:
//! - only the browser that went to the provider comes back with success: state, nonce and PKCE verifier are made from a
//!   random number in its sealed cookie, which is good for one return within ten minutes;
//! - what the provider says is believed as [`reelfleet_access::id_token`] says; whose account it is, [`account`] says;
//! - the session that follows is one like any other;
//! - whatever fails leads back to the sign-in page with one of a few words, and nothing of it into a URL.

pub(super) mod account;
pub(crate) mod options;
pub(crate) mod provider;

use std::sync::Arc;
use std::time::Instant;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use reelfleet_access::Secret;
use reelfleet_catalog::CatalogError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::cookie::{self, Cookie, SameSite};
use super::limits::too_often;
use crate::app::App;
use crate::options::SignUp;
use crate::problem::{Code, Problem};
use crate::serve::Peer;

use account::{Found, Vouched};
use provider::{Provider, ProviderError, Returned};

/// Somebody on the way to the provider and back. Lax: the way back begins at another site.
const BEGUN: Cookie = Cookie { name: "rf_oidc", path: "/v1/auth/oidc/callback", same_site: SameSite::Lax };
const BEGUN_MS: i64 = 600_000;
/// Somebody who is asked for a password, to link an account.
const LINK: Cookie = Cookie { name: "rf_link", path: "/v1/auth/sign-in", same_site: SameSite::Strict };
const LINK_MS: i64 = 600_000;
/// Longest path that somebody wants to see afterwards.
const MAX_NEXT: usize = 512;

/// What the cookie holds.
#[derive(Serialize, Deserialize)]
struct Begun {
    /// What state, nonce and verifier are made from.
    id: String,
    next: Option<String>,
    invitation: Option<String>,
}

/// Why somebody is not in. The words stand in the address of the sign-in page.
#[derive(Debug)]
pub(super) enum Failed {
    /// Another browser's, too late, or a second time.
    State,
    /// The person or the provider did not want to.
    Denied,
    /// The provider does not answer, or is not believed.
    Provider(ProviderError),
    EmailUnverified,
    SignUpClosed,
    InvitationInvalid,
    Disabled,
    /// Something of ours, which is in the log.
    Ours,
}

impl Failed {
    fn word(&self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Denied => "denied",
            Self::Provider(_) => "provider",
            Self::EmailUnverified => "email_unverified",
            Self::SignUpClosed => "sign_up_closed",
            Self::InvitationInvalid => "invitation_invalid",
            Self::Disabled => "disabled",
            Self::Ours => "internal",
        }
    }
}

impl From<ProviderError> for Failed {
    fn from(error: ProviderError) -> Self {
        Self::Provider(error)
    }
}

impl From<Problem> for Failed {
    fn from(_: Problem) -> Self {
        Self::Ours
    }
}

impl From<CatalogError> for Failed {
    fn from(error: CatalogError) -> Self {
        Problem::from(error).into()
    }
}

/// `GET /v1/auth/ways`: how people get in here, for the sign-in page.
pub(crate) async fn ways(State(app): State<Arc<App>>) -> Result<Json<Value>, Problem> {
    let accounts = app.accounts()?;
    let sign_up = match accounts.sign_up {
        SignUp::Open => "open",
        SignUp::Invited => "invited",
        SignUp::Provider => "provider",
        SignUp::Closed => "closed",
    };
    let provider = accounts.provider.as_ref();
    let shown = provider.map(|provider| json!({ "name": provider.terms.name, "url": "/v1/auth/oidc/start" }));
    Ok(Json(json!({ "password": true, "sign_up": sign_up, "provider": shown })))
}

#[derive(Deserialize)]
pub(crate) struct Start {
    next: Option<String>,
    invitation: Option<String>,
}

/// `GET /v1/auth/oidc/start`: to the provider.
pub(crate) async fn start(
    State(app): State<Arc<App>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    wanted: Result<Query<Start>, QueryRejection>,
) -> Result<Response, Problem> {
    let accounts = app.accounts()?;
    let provider = provider(&app)?;
    accounts.by_address.take(&app.address(peer, &headers), Instant::now()).map_err(too_often)?;
    let Query(Start { next, invitation }) =
        wanted.map_err(|_| Problem::new(Code::InvalidRequest, "the query holds next and invitation, each once"))?;
    let begun = Begun {
        id: app.context.ids.token(),
        next: next.filter(|next| is_ours(next)),
        invitation: invitation.filter(|text| text.len() <= 64),
    };
    let key = accounts.sessions.key();
    let [state, nonce, verifier] = secrets(&app, &begun)?;
    let to = match provider.authorization(&state, &nonce, &verifier).await {
        Ok(to) => to,
        Err(error) => return Ok(back(&app, &Failed::Provider(error))),
    };
    let sealed = key.seal(BEGUN.name, app.now().saturating_add(BEGUN_MS), &begun).map_err(Problem::internal)?;
    let cookie = BEGUN.set(&sealed, BEGUN_MS / 1_000, &app.context.config.public_url);
    Ok(see(&to, [cookie]))
}

#[derive(Deserialize)]
pub(crate) struct Answer {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
    iss: Option<String>,
}

/// `GET /v1/auth/oidc/callback`: back from the provider. Nobody comes back more often than they went there.
pub(crate) async fn callback(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    answer: Result<Query<Answer>, QueryRejection>,
) -> Result<Response, Problem> {
    let provider = provider(&app)?;
    let ended = match answer {
        Ok(Query(answer)) => arrive(&app, provider, &headers, &answer).await,
        Err(_) => Err(Failed::State),
    };
    Ok(ended.unwrap_or_else(|failed| back(&app, &failed)))
}

async fn arrive(app: &App, provider: &Provider, headers: &HeaderMap, answer: &Answer) -> Result<Response, Failed> {
    let (accounts, public_url, now) = (app.accounts()?, &app.context.config.public_url, app.now());
    let key = accounts.sessions.key();
    let begun: Begun = BEGUN.of(headers).and_then(|text| key.unseal(BEGUN.name, now, text)).ok_or(Failed::State)?;
    let [state, nonce, verifier] = secrets(app, &begun)?;
    let given = answer.state.as_deref().and_then(Secret::from_hex);
    let wanted = Secret::from_hex(&state).ok_or_else(|| Problem::internal("a state is not 64 hexadecimal digits"))?;
    if !given.is_some_and(|given| given.matches(&wanted.hash())) {
        return Err(Failed::State);
    }
    let used = key.derive("oidc used", &begun.id);
    if !app.catalog.use_once(&app.context.step(), &used, now.saturating_add(BEGUN_MS)).await? {
        return Err(Failed::State);
    }
    if !provider.is_from(answer.iss.as_deref()).await? {
        return Err(Failed::State);
    }
    let code = match (&answer.code, &answer.error) {
        (Some(code), None) => code,
        _ => return Err(Failed::Denied),
    };
    let claims = provider.claims(&Returned { code, verifier: &verifier, nonce: &nonce, now }).await?;
    let vouched = Vouched::of(&provider.terms, &claims);
    let over = BEGUN.clear(public_url);
    Ok(match account::enter(app, &provider.terms, &vouched, begun.invitation.as_deref()).await? {
        Found::In(session) => {
            let refresh = cookie::set(&key.refresh(&session, 1), public_url);
            see(begun.next.as_deref().unwrap_or("/"), [over, refresh])
        }
        Found::Link(link) => see("/sign-in?link=provider", [over, link]),
    })
}

/// State, nonce and verifier (43 to 128 unreserved characters, RFC 7636 section 4.1) of somebody on the way.
fn secrets(app: &App, begun: &Begun) -> Result<[String; 3], Problem> {
    let key = app.accounts()?.sessions.key();
    Ok(["oidc state", "oidc nonce", "oidc verifier"].map(|purpose| key.derive(purpose, &begun.id)))
}

fn provider(app: &App) -> Result<&Provider, Problem> {
    app.accounts()?.provider.as_ref().ok_or_else(Problem::not_found)
}

/// Whether it is a path here: `//host` and `/\host` are other origins.
fn is_ours(next: &str) -> bool {
    next.len() <= MAX_NEXT
        && next.starts_with('/')
        && !next[1..].starts_with(['/', '\\'])
        && next.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Back to the sign-in page, with a word.
fn back(app: &App, failed: &Failed) -> Response {
    match failed {
        Failed::Provider(error) => tracing::warn!(%error, "the OpenID provider vouched for nobody"),
        other => tracing::info!(why = other.word(), "nobody came in by the OpenID provider"),
    }
    see(&format!("/sign-in?failed={}", failed.word()), [BEGUN.clear(&app.context.config.public_url)])
}

/// There by GET, with cookies.
fn see(to: &str, cookies: impl IntoIterator<Item = String>) -> Response {
    let Ok(to) = HeaderValue::from_str(to) else { return Problem::internal("a URL is no header").into_response() };
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response();
    for cookie in cookies.into_iter().filter_map(|cookie| HeaderValue::from_str(&cookie).ok()) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_ours_are_gone_to() {
        for good in ["/", "/watch/ast_1?t=5", "/a//b"] {
            assert!(is_ours(good), "{good}");
        }
        for bad in ["", "//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nb", "/ü", &"/".repeat(600)]
        {
            assert!(!is_ours(bad), "{bad}");
        }
    }
}
