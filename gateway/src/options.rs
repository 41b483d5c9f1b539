//! What the gateway alone needs to know.
//!
//! Guarantee: after [`GatewayOptions::check`] every value can be used; a refusal names the variable to change.

use std::net::SocketAddr;

use crate::sources::Sources;
use clap::{Args, ValueEnum};
use reelfleet_access::targets::Exceptions;
use reelfleet_access::{PlaybackKey, SessionKey, WebhookKey};

use crate::auth::oidc::options::{OidcOptions, Terms};

/// Who may make an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SignUp {
    /// Everybody; the very first becomes administrator
    Open,
    /// Whoever an administrator invites
    Invited,
    /// Whoever comes by the OpenID provider, and whoever an administrator invites
    Provider,
    /// Nobody
    Closed,
}

/// Options of the gateway; flags win over the environment.
#[derive(Args, Clone)]
pub struct GatewayOptions {
    /// Address for the API, playback and realtime
    #[arg(long = "gateway-listen", env = "REELFLEET_GATEWAY_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Secret that signs playback tokens, at least 32 bytes; the same for all gateways
    #[arg(long, env = "REELFLEET_PLAYBACK_SECRET", hide_env_values = true)]
    pub playback_secret: String,
    /// Seconds that a playback URL lives at least
    #[arg(long, env = "REELFLEET_PLAYBACK_TTL_S", default_value_t = 12 * 3600)]
    pub playback_ttl_s: u32,
    /// Where the notifier listens: http://host:port
    #[arg(long, env = "REELFLEET_NOTIFIER_URL", default_value = "http://127.0.0.1:8081")]
    pub notifier_url: String,
    /// Origins whose web pages may call the API, separated by commas
    #[arg(long, env = "REELFLEET_WEB_ORIGINS", value_delimiter = ',')]
    pub web_origins: Vec<String>,
    /// Seconds that an unfinished upload can be resumed
    #[arg(long, env = "REELFLEET_UPLOAD_TTL_S", default_value_t = 7 * 24 * 3600)]
    pub upload_ttl_s: u32,
    /// Seconds that a deleted asset can be restored
    #[arg(long, env = "REELFLEET_RESTORE_SECONDS", default_value_t = 7 * 24 * 3600)]
    pub restore_seconds: u32,
    /// Secret that signs sessions, at least 32 bytes; the same for all gateways. Without it there are no accounts
    #[arg(long, env = "REELFLEET_SESSION_SECRET", hide_env_values = true)]
    pub session_secret: Option<String>,
    /// S3 servers that tell by webhook, as JSON: [{"name": "minio", "secret": "at least 32 bytes", "buckets": ["uploads"]}]
    #[arg(long, env = "REELFLEET_SOURCES", default_value = "[]", hide_env_values = true)]
    pub sources: Sources,
    /// Secret that the secrets of webhooks are made of, at least 32 bytes; the same for all gateways and notifiers. Without it there are no webhooks
    #[arg(long, env = "REELFLEET_WEBHOOK_SECRET", hide_env_values = true)]
    pub webhook_secret: Option<String>,
    /// Hosts that webhooks may go to though they are private or without TLS: `host` or `host:port`, separated by commas
    #[arg(long, env = "REELFLEET_WEBHOOK_ALLOW", default_value = "")]
    pub webhook_allow: Exceptions,
    /// Who may make an account
    #[arg(long, env = "REELFLEET_SIGN_UP", value_enum, default_value = "closed")]
    pub sign_up: SignUp,
    /// Proxies in front that add to X-Forwarded-For; 0: the header is not believed
    #[arg(long, env = "REELFLEET_TRUSTED_PROXIES", default_value_t = 0)]
    pub trusted_proxies: u8,
    /// Calls a second of one API key or session, for ever; of one user four times as many
    #[arg(long, env = "REELFLEET_RATE_PER_SECOND", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate_per_second: u32,
    /// Calls at once of one API key or session; of one user four times as many
    #[arg(long, env = "REELFLEET_RATE_BURST", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate_burst: u32,
    /// Another way to sign in
    #[command(flatten)]
    pub oidc: OidcOptions,
}

impl std::fmt::Debug for GatewayOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayOptions")
            .field("listen", &self.listen)
            .field("notifier_url", &self.notifier_url)
            .field("web_origins", &self.web_origins)
            .field("sign_up", &self.sign_up)
            .finish_non_exhaustive()
    }
}

/// A value that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct OptionsError {
    /// The environment variable to change.
    pub variable: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

/// Options in the form in which they are used.
pub(crate) struct Checked {
    pub(crate) playback: PlaybackKey,
    pub(crate) session: Option<SessionKey>,
    pub(crate) webhooks: Option<WebhookKey>,
    pub(crate) webhook_allow: Exceptions,
    pub(crate) sign_up: SignUp,
    pub(crate) oidc: Option<Terms>,
    pub(crate) trusted_proxies: u8,
    pub(crate) rate_per_second: f64,
    pub(crate) rate_burst: f64,
    /// `host:port` of the notifier.
    pub(crate) notifier: String,
    pub(crate) web_origins: Vec<String>,
    pub(crate) playback_ttl_s: i64,
    pub(crate) upload_ttl_ms: i64,
    pub(crate) restore_ms: i64,
}

impl GatewayOptions {
    /// Checks the values; sessions are for the given public URL.
    pub(crate) fn check(&self, public_url: &str) -> Result<Checked, OptionsError> {
        let refuse = |variable, problem: String| OptionsError { variable, problem };
        let playback = PlaybackKey::new(&self.playback_secret)
            .map_err(|weak| refuse("REELFLEET_PLAYBACK_SECRET", weak.to_string()))?;
        let session = self.session_secret.as_deref().filter(|secret| !secret.is_empty());
        let session = session.map(|secret| SessionKey::new(secret, public_url)).transpose();
        let session = session.map_err(|weak| refuse("REELFLEET_SESSION_SECRET", weak.to_string()))?;
        let webhooks = self.webhook_secret.as_deref().filter(|secret| !secret.is_empty()).map(WebhookKey::new);
        let webhooks = webhooks.transpose().map_err(|weak| refuse("REELFLEET_WEBHOOK_SECRET", weak.to_string()))?;
        let oidc = self.oidc.check()?;
        if oidc.is_some() && session.is_none() {
            return Err(refuse("REELFLEET_OIDC_ISSUER", "it needs accounts: set REELFLEET_SESSION_SECRET".into()));
        }
        if oidc.is_none() && self.sign_up == SignUp::Provider {
            return Err(refuse("REELFLEET_SIGN_UP", "provider needs one: set REELFLEET_OIDC_ISSUER".into()));
        }
        let notifier = authority(&self.notifier_url).ok_or_else(|| {
            let problem = format!("{:?} is not http://host:port", self.notifier_url);
            refuse("REELFLEET_NOTIFIER_URL", problem)
        })?;
        let mut web_origins = Vec::new();
        for origin in self.web_origins.iter().map(|origin| origin.trim()) {
            if origin.is_empty() {
                continue;
            }
            if !is_origin(origin) {
                let problem = format!("{origin:?} is not an origin: https://host[:port], no path");
                return Err(refuse("REELFLEET_WEB_ORIGINS", problem));
            }
            web_origins.push(origin.to_owned());
        }
        for (variable, seconds) in
            [("REELFLEET_PLAYBACK_TTL_S", self.playback_ttl_s), ("REELFLEET_UPLOAD_TTL_S", self.upload_ttl_s)]
        {
            if seconds < 60 {
                return Err(refuse(variable, "at least 60".into()));
            }
        }
        Ok(Checked {
            playback,
            session,
            webhooks,
            webhook_allow: self.webhook_allow.clone(),
            sign_up: self.sign_up,
            oidc,
            trusted_proxies: self.trusted_proxies,
            rate_per_second: f64::from(self.rate_per_second),
            rate_burst: f64::from(self.rate_burst),
            notifier,
            web_origins,
            playback_ttl_s: i64::from(self.playback_ttl_s),
            upload_ttl_ms: i64::from(self.upload_ttl_s) * 1_000,
            restore_ms: i64::from(self.restore_seconds) * 1_000,
        })
    }
}

/// `host:port` of an http URL without a path.
fn authority(url: &str) -> Option<String> {
    let authority = url.strip_prefix("http://")?;
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let parsed: axum::http::uri::Authority = authority.parse().ok()?;
    if parsed.as_str().contains('@') {
        return None;
    }
    let port = parsed.port_u16().unwrap_or(80);
    Some(format!("{}:{port}", parsed.host()))
}

/// Whether the text is an origin as browsers send it (RFC 6454 section 6.2); no wildcard, no `null`.
pub(crate) fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else {
        return false;
    };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:[]".contains(&byte);
    matches!(scheme, "http" | "https") && !host.is_empty() && text.len() <= 255 && host.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn options() -> GatewayOptions {
        GatewayOptions {
            listen: ([127, 0, 0, 1], 0).into(),
            playback_secret: "0123456789abcdef0123456789abcdef".into(),
            playback_ttl_s: 3600,
            notifier_url: "http://127.0.0.1:8081".into(),
            web_origins: Vec::new(),
            upload_ttl_s: 3600,
            restore_seconds: 3600,
            session_secret: Some("0123456789abcdef0123456789abcdef".into()),
            sources: Sources::default(),
            webhook_secret: Some("0123456789abcdef0123456789abcdef".into()),
            webhook_allow: "127.0.0.1:9".parse().unwrap(),
            sign_up: SignUp::Open,
            trusted_proxies: 0,
            rate_per_second: 100,
            rate_burst: 1_000,
            oidc: OidcOptions::default(),
        }
    }

    #[test]
    fn what_cannot_work_is_refused_by_its_variable() {
        assert!(options().check("http://h").is_ok());
        let refused = |change: fn(&mut GatewayOptions)| {
            let mut options = options();
            change(&mut options);
            options.check("http://h").map(drop).unwrap_err().variable
        };
        assert_eq!(refused(|o| o.playback_secret = "short".into()), "REELFLEET_PLAYBACK_SECRET");
        assert_eq!(refused(|o| o.session_secret = Some("short".into())), "REELFLEET_SESSION_SECRET");
        assert_eq!(refused(|o| o.notifier_url = "https://n".into()), "REELFLEET_NOTIFIER_URL");
        assert_eq!(refused(|o| o.notifier_url = "http://n/path".into()), "REELFLEET_NOTIFIER_URL");
        assert_eq!(refused(|o| o.web_origins = vec!["*".into()]), "REELFLEET_WEB_ORIGINS");
        assert_eq!(refused(|o| o.web_origins = vec!["https://a/".into()]), "REELFLEET_WEB_ORIGINS");
        assert_eq!(refused(|o| o.upload_ttl_s = 1), "REELFLEET_UPLOAD_TTL_S");
        assert!(!format!("{:?}", options()).contains("0123"), "no secret in logs");
    }

    #[test]
    fn the_notifier_has_a_port() {
        assert_eq!(authority("http://n").as_deref(), Some("n:80"));
        assert_eq!(authority("http://[::1]:81/").as_deref(), Some("[::1]:81"));
        assert_eq!(authority("http://u@n"), None);
        assert_eq!(authority("n:80"), None);
    }
}
