//! API keys: `rf_<id>_<secret>`.
//!
//! Guarantees: the id is public and names the row; the secret is 256 random bits of which the row holds the SHA-256.
//! A verified row is kept in the process for at most [`crate::REVOCATION_BOUND`]: a key revoked in the catalog works for no
//! longer than that, and a catalog that does not answer lets nobody in beyond it. Misses are not kept, so a new key
//! works at once.

use std::sync::Arc;
use std::time::Instant;

use reelfleet_catalog::access::ApiKeyRow;
use reelfleet_catalog::accounts::ACTIVE;
use reelfleet_catalog::{Catalog, CatalogError};
use reelfleet_messages::ApiKeyId;

use crate::kept::Kept;
use crate::principal::{Principal, Scopes, Via, valid_name};
use crate::roles::Roles;
use crate::{AccessError, Secret};

/// What every key begins with: secret scanners look for it.
pub const PREFIX: &str = "rf_";
/// A key's use is noted once in so many milliseconds.
const USE_NOTED_MS: i64 = 60_000;

/// A key to be made.
#[derive(Debug, Clone)]
pub struct NewKey<'k> {
    /// The public part.
    pub id: ApiKeyId,
    /// Drawn by the caller.
    pub secret: Secret,
    /// Whose data it sees.
    pub tenant: &'k str,
    /// The user that it acts as.
    pub owner: &'k str,
    /// For people.
    pub name: &'k str,
    /// What it may do, within what its user may.
    pub scopes: Scopes,
    /// Epoch milliseconds; none: it does not expire.
    pub expires_at: Option<i64>,
}

/// Why a key is not made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// It would break object keys and stream names.
    #[error("{what} {name:?} is not 1 to 64 of A-Z a-z 0-9 . _ @ - (and does not begin with a dot)")]
    Name {
        /// `tenant` or `owner`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// It could not be stored.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Stores a key and answers its text, which is shown once and never again. Repeating it with the same id and secret is
/// harmless. `now` is in epoch milliseconds.
pub async fn issue(catalog: &Catalog, now: i64, key: &NewKey<'_>) -> Result<String, IssueError> {
    for (what, name) in [("tenant", key.tenant), ("owner", key.owner)] {
        if !valid_name(name) {
            let name = name.to_owned();
            return Err(IssueError::Name { what, name });
        }
    }
    let row = ApiKeyRow {
        id: key.id,
        tenant: key.tenant.to_owned(),
        owner: key.owner.to_owned(),
        name: key.name.to_owned(),
        hash: key.secret.hash(),
        scopes: key.scopes.to_string(),
        created_at: now,
        expires_at: key.expires_at,
        last_used_at: None,
        rotated_at: None,
        revoked_at: None,
        user: None,
    };
    catalog.add_api_key(&row).await?;
    Ok(text(&key.id, &key.secret))
}

/// The text of a key. To be shown once, to its owner.
pub fn text(id: &ApiKeyId, secret: &Secret) -> String {
    format!("{}_{}", public_part(id), secret.reveal())
}

/// What may be shown of a key at any time: its text begins so.
pub fn public_part(id: &ApiKeyId) -> String {
    let id = id.to_string();
    format!("{PREFIX}{}", id.rsplit('_').next().unwrap_or_default())
}

/// The two halves of a key's text.
fn parse(text: &str) -> Option<(ApiKeyId, Secret)> {
    let (suffix, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    Some((format!("key_{suffix}").parse().ok()?, Secret::from_hex(secret)?))
}

/// Verifies keys. Cheap to clone; clones share what is kept.
#[derive(Debug, Clone)]
pub struct Keys {
    catalog: Catalog,
    kept: Arc<Kept<ApiKeyId, ApiKeyRow>>,
}

impl Keys {
    /// A verifier that reads the given catalog.
    pub fn new(catalog: Catalog) -> Self {
        Self { catalog, kept: Arc::default() }
    }

    /// Who holds this key. [`AccessError::Unauthenticated`] for whatever is no valid key. `now` is in epoch milliseconds.
    pub async fn verify(&self, now: i64, text: &str) -> Result<Principal, AccessError> {
        let (id, secret) = parse(text).ok_or(AccessError::Unauthenticated)?;
        let kept = self.kept.get(&id, Instant::now());
        let row = match kept {
            Some(row) => row,
            None => {
                // The age counts from before the question: an answer may be as old as that.
                let asked = Instant::now();
                let row = self.catalog.api_key(&id).await?;
                let row = row.ok_or(AccessError::Unauthenticated)?;
                self.kept.put(row.id, row.clone(), asked);
                row
            }
        };
        let principal = admit(now, &row, &secret)?;
        if row.last_used_at.is_none_or(|last| last <= now.saturating_sub(USE_NOTED_MS)) {
            // Whether it is noted changes nothing for the caller. Once, whoever asks meanwhile.
            self.kept.put(id, ApiKeyRow { last_used_at: Some(now), ..row }, Instant::now());
            let _ = self.catalog.api_key_used(now, &id, USE_NOTED_MS).await;
        }
        Ok(principal)
    }

    /// Forgets what is kept of a key that this process has just changed.
    pub fn forget(&self, id: &ApiKeyId) {
        self.kept.forget(id);
    }
}

/// The principal of a row, if the secret is the right one: it may do what the key says, within what its user may.
fn admit(now: i64, row: &ApiKeyRow, secret: &Secret) -> Result<Principal, AccessError> {
    let scopes = standing(now, row).filter(|_| secret.matches(&row.hash)).ok_or(AccessError::Unauthenticated)?;
    Ok(Principal { tenant: row.tenant.clone(), owner: row.owner.clone(), scopes, via: Via::Key(row.id) })
}

/// What whoever holds this key may do, if it lets anybody in.
pub(crate) fn standing(now: i64, row: &ApiKeyRow) -> Option<Scopes> {
    let scopes = Scopes::stored(&row.scopes);
    let live = row.revoked_at.is_none() && row.expires_at.is_none_or(|end| now < end);
    match &row.user {
        Some((roles, state)) => (live && state == ACTIVE).then(|| scopes.within(Roles::stored(roles).scopes())),
        None => live.then_some(scopes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scope;
    use uuid::Uuid;

    fn id(n: u128) -> ApiKeyId {
        ApiKeyId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + n))
    }

    fn row(n: u128, secret: &Secret) -> ApiKeyRow {
        ApiKeyRow {
            id: id(n),
            tenant: "t".into(),
            owner: "o".into(),
            name: "n".into(),
            hash: secret.hash(),
            scopes: "assets:read".into(),
            created_at: 0,
            expires_at: None,
            last_used_at: None,
            rotated_at: None,
            revoked_at: None,
            user: None,
        }
    }

    #[test]
    fn a_key_reads_back() {
        let secret = Secret::from_bytes([7; 32]);
        let text = text(&id(1), &secret);
        assert!(text.starts_with("rf_") && text.len() == 3 + 26 + 1 + 64, "{text}");
        let (found, read) = parse(&text).unwrap();
        assert_eq!(found, id(1));
        assert!(read.matches(&secret.hash()));
    }

    #[test]
    fn what_is_no_key_is_not_read() {
        let good = text(&id(1), &Secret::from_bytes([7; 32]));
        for bad in [
            String::new(),
            "rf_".into(),
            good.replace("rf_", "sk_"),
            good.to_uppercase(),
            good[..good.len() - 1].into(),
            format!("{good}0"),
            format!("{good} "),
            good.replacen("rf_0", "rf_z", 1),
            good.replace("rf_", "rf_key_"),
            "rf_x_".into(),
            format!("rf__{}", "0".repeat(64)),
        ] {
            assert!(parse(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn only_the_right_secret_of_a_live_key_is_admitted() {
        let secret = Secret::from_bytes([7; 32]);
        let row = row(1, &secret);
        let principal = admit(0, &row, &secret).unwrap();
        assert_eq!((principal.tenant.as_str(), principal.owner.as_str()), ("t", "o"));
        assert!(principal.scopes.hold(Scope::AssetsRead));
        let other = Secret::from_bytes([8; 32]);
        assert!(matches!(admit(0, &row, &other), Err(AccessError::Unauthenticated)));
        let revoked = ApiKeyRow { revoked_at: Some(1), ..row.clone() };
        assert!(admit(0, &revoked, &secret).is_err());
        let expires = ApiKeyRow { expires_at: Some(10), ..row.clone() };
        assert!(admit(9, &expires, &secret).is_ok() && admit(10, &expires, &secret).is_err());
        let broken = ApiKeyRow { hash: String::new(), ..row };
        assert!(admit(0, &broken, &secret).is_err());
    }

    #[test]
    fn a_key_can_do_no_more_than_its_user() {
        let secret = Secret::from_bytes([7; 32]);
        let of = |roles: &str, state: &str| ApiKeyRow {
            scopes: "admin ops assets:read".into(),
            user: Some((roles.into(), state.into())),
            ..row(1, &secret)
        };
        let demoted = admit(0, &of("user", "active"), &secret).unwrap();
        assert!(demoted.scopes.hold(Scope::AssetsRead) && !demoted.scopes.hold(Scope::Admin));
        assert!(!demoted.scopes.hold(Scope::Ops));
        assert!(admit(0, &of("user reviewer operator admin", "active"), &secret).unwrap().scopes.hold(Scope::Ops));
        assert!(admit(0, &of("admin", "disabled"), &secret).is_err());
    }
}
