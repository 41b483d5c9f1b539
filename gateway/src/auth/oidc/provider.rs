//! What is asked of the provider itself: where its things are, its keys, and whom a code stands for.
//!
//! Guarantees: only the configured issuer is talked to, by TLS (or on this machine), and the endpoints that its own metadata
//! names; no redirect is followed; an answer is at most [`MAX_ANSWER`] bytes and takes at most [`LIMIT`]. What is known is kept
//! for [`KEPT`]; keys are fetched anew when a token is signed by one that is not known, but not as often as somebody likes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use reelfleet_access::id_token::{self, Demands, IdTokenError, ProviderKeys};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::options::{Terms, is_safe};
use crate::auth::limits::Buckets;
use crate::options::OptionsError;

const LIMIT: Duration = Duration::from_secs(6);
const MAX_ANSWER: usize = 256 << 10;
const KEPT: Duration = Duration::from_secs(3_600);

/// Why nobody was vouched for. For the log; the person is told no more than that it did not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProviderError {
    /// It does not answer.
    #[error("{0} does not answer: {1}")]
    Silent(String, String),
    /// It answers something that is not understood.
    #[error("{0}: {1}")]
    Strange(String, String),
    /// What it answers is not believed.
    #[error(transparent)]
    Token(#[from] IdTokenError),
}

/// OpenID Connect Discovery 1.0, section 3.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// RFC 9207.
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    access_token: Option<String>,
}

/// A return from the provider that is to be looked at.
pub(crate) struct Returned<'r> {
    pub(crate) code: &'r str,
    pub(crate) verifier: &'r str,
    pub(crate) nonce: &'r str,
    /// Epoch milliseconds.
    pub(crate) now: i64,
}

enum Http {
    Plain(Client<HttpConnector, Body>),
    Tls(Client<HttpsConnector<HttpConnector>, Body>),
}

/// The provider of an installation.
pub(crate) struct Provider {
    pub(crate) terms: Terms,
    /// Where it sends people back to.
    redirect: String,
    http: Http,
    metadata: Mutex<Option<(Instant, Arc<Metadata>)>>,
    keys: Mutex<Option<(Instant, Arc<ProviderKeys>)>>,
    /// Fetches of keys that were not due.
    early: Buckets,
}

impl Provider {
    pub(crate) fn new(terms: Terms, redirect: String) -> Result<Self, OptionsError> {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(LIMIT));
        let http = if terms.issuer.starts_with("https:") {
            connector.enforce_http(false);
            let roots = HttpsConnectorBuilder::new().with_native_roots();
            let roots = roots.map_err(|error| OptionsError {
                variable: "REELFLEET_OIDC_ISSUER",
                problem: format!("no root certificates, install ca-certificates: {error}"),
            })?;
            let tls = roots.https_only().enable_http1().wrap_connector(connector);
            Http::Tls(Client::builder(TokioExecutor::new()).build(tls))
        } else {
            Http::Plain(Client::builder(TokioExecutor::new()).build(connector))
        };
        let early = Buckets::new(1.0 / 60.0, 5.0);
        Ok(Self { terms, redirect, http, metadata: Mutex::default(), keys: Mutex::default(), early })
    }

    /// Where somebody is sent to sign in (RFC 6749 section 4.1.1, with PKCE, RFC 7636).
    pub(crate) async fn authorization(
        &self,
        state: &str,
        nonce: &str,
        verifier: &str,
    ) -> Result<String, ProviderError> {
        let at = self.metadata().await?;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.terms.client)
            .append_pair("redirect_uri", &self.redirect)
            .append_pair("scope", &self.terms.scopes)
            .append_pair("state", state)
            .append_pair("nonce", nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .finish();
        let join = if at.authorization_endpoint.contains('?') { '&' } else { '?' };
        Ok(format!("{}{join}{query}", at.authorization_endpoint))
    }

    /// Whether an answer may be this provider's (RFC 9207: no other provider's code is taken for its).
    pub(crate) async fn is_from(&self, issuer: Option<&str>) -> Result<bool, ProviderError> {
        Ok(match issuer {
            Some(issuer) => issuer == self.terms.issuer,
            None => !self.metadata().await?.authorization_response_iss_parameter_supported,
        })
    }

    /// What the provider says of whoever a code stands for. A code is good once, the provider sees to that.
    pub(crate) async fn claims(&self, returned: &Returned<'_>) -> Result<Map<String, Value>, ProviderError> {
        let tokens = self.exchange(returned).await?;
        let mut claims = self.believed(&tokens.id_token, returned).await?;
        // Not every provider says in the token what was asked for (OpenID Connect Core, section 5.4).
        let mapped = self.terms.roles.as_ref().is_none_or(|roles| roles.is_told(&claims));
        if let (Some(token), false) = (&tokens.access_token, mapped && claims.contains_key("email")) {
            for (name, value) in self.user_info(token, &claims).await? {
                claims.entry(name).or_insert(value);
            }
        }
        Ok(claims)
    }

    async fn believed(&self, token: &str, returned: &Returned<'_>) -> Result<Map<String, Value>, ProviderError> {
        let (issuer, client) = (&self.terms.issuer, &self.terms.client);
        let demands = Demands { issuer, client, nonce: returned.nonce, now: returned.now };
        match id_token::check(token, &*self.keys(false).await?, &demands) {
            // It may sign with another key since we looked.
            Err(IdTokenError::UnknownKey) if self.early.take("keys", Instant::now()).is_ok() => {
                Ok(id_token::check(token, &*self.keys(true).await?, &demands)?)
            }
            checked => Ok(checked?),
        }
    }

    async fn exchange(&self, returned: &Returned<'_>) -> Result<Tokens, ProviderError> {
        let at = self.metadata().await?;
        let (authorization, form) = self.grant(&at, returned);
        let mut request = Request::post(&at.token_endpoint)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        self.json(&at.token_endpoint, request.body(Body::from(form))).await
    }

    /// How this client shows itself, and what it asks for with a code.
    fn grant(&self, at: &Metadata, returned: &Returned<'_>) -> (Option<String>, String) {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", returned.code)
            .append_pair("redirect_uri", &self.redirect)
            .append_pair("code_verifier", returned.verifier);
        let knows = |method: &str| {
            // Basic is what a provider knows that names none (Discovery, section 3).
            let named = at.token_endpoint_auth_methods_supported.as_ref();
            named.map_or(method == "client_secret_basic", |all| all.iter().any(|known| known == method))
        };
        match &self.terms.secret {
            Some(secret) if knows("client_secret_basic") || !knows("client_secret_post") => {
                // RFC 6749 section 2.3.1: encoded as in a form before it is encoded as RFC 7617 has it.
                let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let pair = format!("{}:{}", encoded(&self.terms.client), encoded(secret));
                (Some(format!("Basic {}", STANDARD.encode(pair))), form.finish())
            }
            Some(secret) => {
                (None, form.append_pair("client_id", &self.terms.client).append_pair("client_secret", secret).finish())
            }
            None => (None, form.append_pair("client_id", &self.terms.client).finish()),
        }
    }

    async fn user_info(&self, token: &str, claims: &Map<String, Value>) -> Result<Map<String, Value>, ProviderError> {
        let at = self.metadata().await?;
        let Some(url) = &at.userinfo_endpoint else { return Ok(Map::new()) };
        let request = Request::get(url).header(header::AUTHORIZATION, format!("Bearer {token}"));
        let info: Map<String, Value> = self.json(url, request.body(Body::empty())).await?;
        if info.get("sub") != claims.get("sub") {
            return Err(ProviderError::Strange(url.clone(), "it speaks of another subject".to_owned()));
        }
        Ok(info)
    }

    async fn metadata(&self) -> Result<Arc<Metadata>, ProviderError> {
        if let Some(found) = kept(&self.metadata) {
            return Ok(found);
        }
        let url = format!("{}/.well-known/openid-configuration", self.terms.issuer.trim_end_matches('/'));
        let found: Metadata = self.json(&url, Request::get(&url).body(Body::empty())).await?;
        let strange = |what: String| Err(ProviderError::Strange(url.clone(), what));
        if found.issuer != self.terms.issuer {
            return strange(format!(
                "it is the metadata of {:?}: REELFLEET_OIDC_ISSUER is to be the same",
                found.issuer
            ));
        }
        let all = [&found.authorization_endpoint, &found.token_endpoint, &found.jwks_uri];
        if let Some(unsafe_) = all.into_iter().chain(&found.userinfo_endpoint).find(|url| !is_safe(url)) {
            return strange(format!("{unsafe_} is no https URL"));
        }
        Ok(keep(&self.metadata, found))
    }

    async fn keys(&self, anew: bool) -> Result<Arc<ProviderKeys>, ProviderError> {
        if let Some(found) = kept(&self.keys).filter(|_| !anew) {
            return Ok(found);
        }
        let at = self.metadata().await?;
        let answer = self.fetch(&at.jwks_uri, Request::get(&at.jwks_uri).body(Body::empty())).await?;
        let strange = || ProviderError::Strange(at.jwks_uri.clone(), "it is no JWK Set".to_owned());
        Ok(keep(&self.keys, ProviderKeys::parse(&answer).ok_or_else(strange)?))
    }

    async fn json<T: serde::de::DeserializeOwned>(
        &self,
        url: &str,
        request: Result<Request<Body>, axum::http::Error>,
    ) -> Result<T, ProviderError> {
        let answer = self.fetch(url, request).await?;
        serde_json::from_slice(&answer).map_err(|error| ProviderError::Strange(url.to_owned(), error.to_string()))
    }

    async fn fetch(
        &self,
        url: &str,
        request: Result<Request<Body>, axum::http::Error>,
    ) -> Result<axum::body::Bytes, ProviderError> {
        let silent = |why: String| ProviderError::Silent(url.to_owned(), why);
        let request = request.map_err(|error| silent(error.to_string()))?;
        let exchange = async {
            let answer = match &self.http {
                Http::Plain(client) => client.request(request).await,
                Http::Tls(client) => client.request(request).await,
            };
            let (parts, body) = answer.map_err(|error| silent(error.to_string()))?.into_parts();
            let body = axum::body::to_bytes(Body::new(body), MAX_ANSWER).await;
            let body = body.map_err(|error| silent(error.to_string()))?;
            if parts.status == StatusCode::OK {
                return Ok(body);
            }
            // RFC 6749 section 5.2 names the error; the rest of the answer is not for logs.
            let named =
                serde_json::from_slice::<Value>(&body).ok().and_then(|body| body["error"].as_str().map(str::to_owned));
            let named: String = named.unwrap_or_default().chars().filter(char::is_ascii_graphic).take(60).collect();
            Err(ProviderError::Strange(url.to_owned(), format!("{} {named}", parts.status)))
        };
        tokio::time::timeout(LIMIT, exchange).await.unwrap_or_else(|_| Err(silent(format!("not within {LIMIT:?}"))))
    }
}

fn kept<T>(store: &Mutex<Option<(Instant, Arc<T>)>>) -> Option<Arc<T>> {
    let store = store.lock().unwrap_or_else(PoisonError::into_inner);
    store.as_ref().filter(|(since, _)| since.elapsed() < KEPT).map(|(_, found)| found.clone())
}

fn keep<T>(store: &Mutex<Option<(Instant, Arc<T>)>>, found: T) -> Arc<T> {
    let found = Arc::new(found);
    *store.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), found.clone()));
    found
}
