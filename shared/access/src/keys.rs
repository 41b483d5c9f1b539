//! API keys: `rf_<id>_<secret>`.
//!
//! Guarantees: the id is public and names the row; the secret is 256 random bits of which the row holds the SHA-256.
//! A verified row is kept in the process for at most [`REVOCATION_BOUND`]: a key revoked in the catalog works for no
//! longer than that, and a catalog that does not answer lets nobody in beyond it. Misses are not kept, so a new key
//! works at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reelfleet_catalog::access::ApiKeyRow;
use reelfleet_catalog::{Catalog, CatalogError};
use reelfleet_messages::ApiKeyId;

use crate::principal::{Principal, Scopes, valid_name};
use crate::{AccessError, Secret};

/// What every key begins with: secret scanners look for it.
pub const PREFIX: &str = "rf_";
/// How long a revoked key may still work.
pub const REVOCATION_BOUND: Duration = Duration::from_secs(5);
/// Rows kept; a process serves fewer callers within five seconds than this, or it does without.
const KEPT: usize = 4_096;

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
    /// What it may do.
    pub scopes: Scopes,
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
        revoked_at: None,
    };
    catalog.add_api_key(now, &row).await?;
    Ok(text(&key.id, &key.secret))
}

fn text(id: &ApiKeyId, secret: &Secret) -> String {
    let id = id.to_string();
    let suffix = id.rsplit('_').next().unwrap_or_default();
    format!("{PREFIX}{suffix}_{}", secret.reveal())
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
    kept: Arc<Mutex<Kept>>,
}

impl Keys {
    /// A verifier that reads the given catalog.
    pub fn new(catalog: Catalog) -> Self {
        Self { catalog, kept: Arc::default() }
    }

    /// Who holds this key. [`AccessError::Unauthenticated`] for whatever is no valid key.
    pub async fn verify(&self, text: &str) -> Result<Principal, AccessError> {
        let (id, secret) = parse(text).ok_or(AccessError::Unauthenticated)?;
        let kept = self.lock().get(&id, Instant::now());
        let row = match kept {
            Some(row) => row,
            None => {
                // The age counts from before the question: an answer may be as old as that.
                let asked = Instant::now();
                let row = self.catalog.api_key(&id).await?;
                let row = row.ok_or(AccessError::Unauthenticated)?;
                self.lock().put(row.clone(), asked);
                row
            }
        };
        admit(&row, &secret)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The principal of a row, if the secret is the right one.
fn admit(row: &ApiKeyRow, secret: &Secret) -> Result<Principal, AccessError> {
    if !secret.matches(&row.hash) || row.revoked_at.is_some() {
        return Err(AccessError::Unauthenticated);
    }
    Ok(Principal { tenant: row.tenant.clone(), owner: row.owner.clone(), scopes: Scopes::stored(&row.scopes) })
}

#[derive(Debug, Default)]
struct Kept(HashMap<ApiKeyId, (Instant, ApiKeyRow)>);

impl Kept {
    fn get(&self, id: &ApiKeyId, now: Instant) -> Option<ApiKeyRow> {
        let (asked, row) = self.0.get(id)?;
        fresh(*asked, now).then(|| row.clone())
    }

    fn put(&mut self, row: ApiKeyRow, asked: Instant) {
        if self.0.len() >= KEPT {
            self.0.retain(|_, (other, _)| fresh(*other, asked));
        }
        if self.0.len() < KEPT {
            self.0.insert(row.id, (asked, row));
        }
    }
}

fn fresh(asked: Instant, now: Instant) -> bool {
    now.saturating_duration_since(asked) < REVOCATION_BOUND
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
            revoked_at: None,
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
        let principal = admit(&row, &secret).unwrap();
        assert_eq!((principal.tenant.as_str(), principal.owner.as_str()), ("t", "o"));
        assert!(principal.scopes.hold(Scope::AssetsRead));
        let other = Secret::from_bytes([8; 32]);
        assert!(matches!(admit(&row, &other), Err(AccessError::Unauthenticated)));
        let revoked = ApiKeyRow { revoked_at: Some(1), ..row.clone() };
        assert!(admit(&revoked, &secret).is_err());
        let broken = ApiKeyRow { hash: String::new(), ..row };
        assert!(admit(&broken, &secret).is_err());
    }

    #[test]
    fn a_row_is_kept_for_the_bound_and_the_store_does_not_grow() {
        let (mut kept, start) = (Kept::default(), Instant::now());
        let secret = Secret::from_bytes([7; 32]);
        kept.put(row(1, &secret), start);
        let just_before = start + REVOCATION_BOUND - Duration::from_millis(1);
        assert!(kept.get(&id(1), just_before).is_some());
        assert!(kept.get(&id(1), start + REVOCATION_BOUND).is_none());
        assert!(kept.get(&id(2), start).is_none());
        for n in 0..2 * KEPT as u128 {
            kept.put(row(n, &secret), start);
        }
        assert_eq!(kept.0.len(), KEPT);
        kept.put(row(99_999, &secret), start + REVOCATION_BOUND);
        assert_eq!(kept.0.len(), 1, "what is stale made room");
    }
}
