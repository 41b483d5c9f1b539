//! People who have signed in: access tokens, and the refresh tokens that renew them.
//!
//! Guarantees: an access token is a JWT (RFC 7519, HS256) of [`ACCESS_MS`], believed only with our signature, key id,
//! issuer and audience, and only while its session lives: the session's row is looked at again after
//! [`crate::REVOCATION_BOUND`], so signing out, a new password, other roles and a disabled account count at once. Rights come
//! from the rows, never from the token.
//!
//! Refresh tokens of a session are numbered; each can be used once ([`Catalog::rotate_session`]). A token is the MAC of
//! its session and number, so it can be made again but not guessed, and no row holds anything that lets somebody in.
//!
//! [`Catalog::rotate_session`]: reelfleet_catalog::Catalog::rotate_session

use std::sync::Arc;
use std::time::Instant;

use hmac::{Hmac, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use reelfleet_catalog::Catalog;
use reelfleet_catalog::sessions::SessionRow;
use reelfleet_messages::{SessionId, UserId};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::AccessError;
use crate::kept::Kept;
use crate::principal::{Principal, Via};
use crate::roles::Roles;

/// How long an access token lives (milliseconds).
pub const ACCESS_MS: i64 = 600_000;
/// A session that nobody refreshes ends after this (milliseconds).
pub const IDLE_MS: i64 = 30 * 24 * 3_600_000;
/// The token before the newest one is honoured this long after its rotation (milliseconds): its answer may be lost.
pub const GRACE_MS: i64 = 30_000;
/// Bytes of the shortest secret that is taken.
pub const MIN_SECRET: usize = 32;
const ISSUER: &str = "reelfleet";
const PREFIX: &str = "rs_";

/// The secret is too short to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session secret needs at least {MIN_SECRET} bytes (try: openssl rand -hex 32)")]
pub struct WeakSecret;

/// Signs and checks the tokens of sessions. All gateways of an installation share one.
#[derive(Clone)]
pub struct SessionKey {
    base: Hmac<Sha256>,
    refresh: Hmac<Sha256>,
    signing: EncodingKey,
    checking: DecodingKey,
    kid: String,
    terms: Validation,
    audience: String,
}

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    tenant: String,
    roles: Vec<String>,
    sid: String,
    iat: i64,
    exp: i64,
}

/// An access token as it is handed out.
#[derive(Clone)]
pub struct AccessToken {
    /// Goes into `Authorization: Bearer`. A secret.
    pub text: String,
    /// Epoch milliseconds.
    pub expires_at: i64,
}

impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccessToken(.., expires_at: {})", self.expires_at)
    }
}

/// A signed-in person, as an access token tells it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Who.
    pub user: &'a UserId,
    /// In which tenant.
    pub tenant: &'a str,
    /// For the page to show what it may; the rows decide.
    pub roles: Roles,
    /// By which session.
    pub session: &'a SessionId,
}

impl SessionKey {
    /// From the configured secret; `audience` is the public URL.
    pub fn new(secret: &str, audience: &str) -> Result<Self, WeakSecret> {
        if secret.len() < MIN_SECRET {
            return Err(WeakSecret);
        }
        let key = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| WeakSecret)?;
        // One secret, a key for each use.
        let derived = |what: &str| key.clone().chain_update(what).finalize().into_bytes();
        let (access, refresh) = (derived("reelfleet access v1\n"), derived("reelfleet refresh v1\n"));
        let mut terms = Validation::new(Algorithm::HS256);
        terms.set_audience(&[audience]);
        terms.set_issuer(&[ISSUER]);
        terms.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        // Compared here, by the clock that we are given.
        terms.validate_exp = false;
        Ok(Self {
            base: key.clone(),
            refresh: Hmac::new_from_slice(&refresh).map_err(|_| WeakSecret)?,
            signing: EncodingKey::from_secret(&access),
            checking: DecodingKey::from_secret(&access),
            kid: hex::encode(&derived("reelfleet access key id v1\n")[..8]),
            terms,
            audience: audience.to_owned(),
        })
    }

    /// What other uses of the secret are made from.
    pub(crate) fn base(&self) -> Hmac<Sha256> {
        self.base.clone()
    }

    /// An access token. `now` is in epoch milliseconds.
    pub fn access(&self, now: i64, subject: &Subject<'_>) -> Result<AccessToken, jsonwebtoken::errors::Error> {
        let iat = now.div_euclid(1_000);
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: self.audience.clone(),
            sub: subject.user.to_string(),
            tenant: subject.tenant.to_owned(),
            roles: subject.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            sid: subject.session.to_string(),
            iat,
            exp: iat + ACCESS_MS / 1_000,
        };
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::HS256) };
        let text = jsonwebtoken::encode(&header, &claims, &self.signing)?;
        Ok(AccessToken { text, expires_at: claims.exp.saturating_mul(1_000) })
    }

    /// Whose token this is, and by which session, if it is one of ours and its time is not over.
    fn read(&self, now: i64, text: &str) -> Option<(UserId, SessionId)> {
        let token = jsonwebtoken::decode::<Claims>(text, &self.checking, &self.terms).ok()?;
        let ours = token.header.kid.as_deref() == Some(self.kid.as_str());
        let Claims { sub, sid, exp, .. } = token.claims;
        (ours && now < exp.saturating_mul(1_000)).then_some(())?;
        Some((sub.parse().ok()?, sid.parse().ok()?))
    }

    /// The refresh token of a session with this number.
    pub fn refresh(&self, session: &SessionId, number: i64) -> String {
        let claim = format!("{}_{number}", suffix(session));
        let mac = self.refresh.clone().chain_update(&claim).finalize().into_bytes();
        format!("{PREFIX}{claim}_{}", hex::encode(mac))
    }

    /// Which session's token this is, and its number, if it was made by [`Self::refresh`].
    pub fn read_refresh(&self, text: &str) -> Option<(SessionId, i64)> {
        let (claim, mac) = text.strip_prefix(PREFIX)?.rsplit_once('_')?;
        let mac = hex::decode(mac).ok()?;
        self.refresh.clone().chain_update(claim).verify_slice(&mac).ok()?;
        let (session, number) = claim.split_once('_')?;
        Some((format!("ses_{session}").parse().ok()?, number.parse().ok()?))
    }
}

fn suffix(session: &SessionId) -> String {
    session.to_string().rsplit('_').next().unwrap_or_default().to_owned()
}

/// Verifies access tokens. Cheap to clone; clones share what is kept.
#[derive(Debug, Clone)]
pub struct Sessions {
    catalog: Catalog,
    key: SessionKey,
    kept: Arc<Kept<SessionId, SessionRow>>,
}

impl Sessions {
    /// A verifier that reads the given catalog.
    pub fn new(catalog: Catalog, key: SessionKey) -> Self {
        Self { catalog, key, kept: Arc::default() }
    }

    /// What signs.
    pub fn key(&self) -> &SessionKey {
        &self.key
    }

    /// Who has signed in. [`AccessError::Unauthenticated`] for whatever is no valid token of a live session.
    pub async fn verify(&self, now: i64, text: &str) -> Result<Principal, AccessError> {
        let (user, session) = self.key.read(now, text).ok_or(AccessError::Unauthenticated)?;
        let row = match self.kept.get(&session, Instant::now()) {
            Some(row) => row,
            None => {
                let asked = Instant::now();
                let row = self.catalog.session(&session).await?.ok_or(AccessError::Unauthenticated)?;
                self.kept.put(session, row.clone(), asked);
                row
            }
        };
        admit(now, &user, &row)
    }

    /// Forgets what is kept of a session that this process has just changed.
    pub fn forget(&self, session: &SessionId) {
        self.kept.forget(session);
    }
}

fn admit(now: i64, user: &UserId, row: &SessionRow) -> Result<Principal, AccessError> {
    if !row.is_live(now) || row.user != *user {
        return Err(AccessError::Unauthenticated);
    }
    Ok(Principal {
        tenant: row.tenant.clone(),
        owner: row.user.to_string(),
        scopes: Roles::stored(&row.roles).scopes(),
        via: Via::Session(row.id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scope;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const URL: &str = "https://films.example";

    fn key() -> SessionKey {
        SessionKey::new(SECRET, URL).unwrap()
    }

    fn user() -> UserId {
        "usr_01h455vb4pex5vsknk084sn02q".parse().unwrap()
    }

    fn session() -> SessionId {
        "ses_01h455vb4pex5vsknk084sn02q".parse().unwrap()
    }

    fn token(key: &SessionKey, now: i64) -> String {
        let subject = Subject { user: &user(), tenant: "t", roles: Roles::all(), session: &session() };
        key.access(now, &subject).unwrap().text
    }

    #[test]
    fn a_token_says_who_until_it_expires() {
        let text = token(&key(), 5_999);
        assert_eq!(key().read(5_999, &text), Some((user(), session())));
        assert_eq!(key().read(5_000 + ACCESS_MS - 1, &text), Some((user(), session())));
        assert_eq!(key().read(5_000 + ACCESS_MS, &text), None, "its time is over");
    }

    #[test]
    fn what_we_did_not_sign_for_here_is_not_believed() {
        let text = token(&key(), 0);
        let other = SessionKey::new("x123456789abcdef0123456789abcdef", URL).unwrap();
        assert_eq!(other.read(0, &text), None, "another secret");
        assert_eq!(SessionKey::new(SECRET, "https://other.example").unwrap().read(0, &text), None, "another audience");
        let parts: Vec<&str> = text.split('.').collect();
        use base64::Engine as _;
        let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let none = encode(r#"{"alg":"none","typ":"JWT"}"#);
        let rs = encode(r#"{"alg":"RS256","typ":"JWT"}"#);
        for forged in [
            String::new(),
            "a.b.c".into(),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{none}.{}.", parts[1]),
            format!("{none}.{}.{}", parts[1], parts[2]),
            format!("{rs}.{}.{}", parts[1], parts[2]),
            format!("{}.{}.{}", parts[0], encode(r#"{"sub":"usr_x"}"#), parts[2]),
            format!("{text}x"),
        ] {
            assert_eq!(key().read(0, &forged), None, "{forged}");
        }
        // Signed by our key, but without the key's id: nothing of ours was ever signed so.
        let derived = key();
        let claims = Claims {
            iss: ISSUER.into(),
            aud: URL.into(),
            sub: user().to_string(),
            tenant: "t".into(),
            roles: Vec::new(),
            sid: session().to_string(),
            iat: 0,
            exp: 600,
        };
        let no_kid = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &derived.signing).unwrap();
        assert_eq!(derived.read(0, &no_kid), None);
        assert_eq!(SessionKey::new("short", URL).unwrap_err(), WeakSecret);
        assert!(!format!("{derived:?}").contains("0123"));
    }

    #[test]
    fn a_refresh_token_reads_back_and_no_other() {
        let text = key().refresh(&session(), 7);
        assert_eq!(key().read_refresh(&text), Some((session(), 7)));
        assert_eq!(key().refresh(&session(), 7), text, "it can be made again");
        assert_ne!(key().refresh(&session(), 8), text);
        for forged in [
            text.replace("_7_", "_8_"),
            text[..text.len() - 2].to_owned(),
            text.replace("rs_", "rt_"),
            format!("rs_{}_7_", suffix(&session())),
            String::new(),
        ] {
            assert_eq!(key().read_refresh(&forged), None, "{forged}");
        }
        let other = SessionKey::new("x123456789abcdef0123456789abcdef", URL).unwrap();
        assert_eq!(other.read_refresh(&text), None);
    }

    #[test]
    fn only_a_live_session_of_an_active_user_admits() {
        let row = SessionRow {
            id: session(),
            user: user(),
            number: 1,
            rotated_at: 0,
            expires_at: 100,
            revoked_at: None,
            tenant: "t".into(),
            roles: "user".into(),
            state: "active".into(),
        };
        let who = admit(99, &user(), &row).unwrap();
        assert_eq!((who.user(), who.via), (user().to_string().as_str(), Via::Session(session())));
        assert!(who.scopes.hold(Scope::UploadsWrite) && !who.scopes.hold(Scope::Admin));
        let stranger = "usr_01h455vb4pex5vsknk084sn02r".parse().unwrap();
        assert!(admit(99, &stranger, &row).is_err());
        assert!(admit(100, &user(), &row).is_err(), "expired");
        assert!(admit(0, &user(), &SessionRow { revoked_at: Some(0), ..row.clone() }).is_err());
        assert!(admit(0, &user(), &SessionRow { state: "disabled".into(), ..row }).is_err());
    }
}
