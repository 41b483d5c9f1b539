//! What has become of credentials since they were shown: for connections, which outlive the moment of their opening.
//!
//! Guarantee: whoever asks again after a credential has ended (signed out, revoked, rotated, expired, its user shut out) is told so,
//! from the rows; one whose user has other roles now may do no more than these.

use std::collections::{BTreeSet, HashMap};

use reelfleet_catalog::Catalog;

use crate::principal::{Scopes, Via};
use crate::roles::Roles;
use crate::{AccessError, keys};

/// What becomes of those whom a credential has let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What they may do now.
    pub scopes: Scopes,
    /// Those who came before came by another secret, which is no good any more (epoch milliseconds).
    pub since: i64,
}

/// Where each of these stands; those that let nobody in any more are missing.
pub async fn standing(
    catalog: &Catalog,
    now: i64,
    held: impl IntoIterator<Item = Via>,
) -> Result<HashMap<Via, Standing>, AccessError> {
    let (mut ours, mut theirs) = (BTreeSet::new(), BTreeSet::new());
    for via in held {
        match via {
            Via::Key(id) => drop(ours.insert(id)),
            Via::Session(id) => drop(theirs.insert(id)),
        }
    }
    let ours: Vec<_> = ours.into_iter().collect();
    let theirs: Vec<_> = theirs.into_iter().collect();
    let mut standing = HashMap::new();
    for row in catalog.api_keys(&ours).await? {
        let since = row.rotated_at.unwrap_or(0);
        standing.extend(keys::standing(now, &row).map(|scopes| (Via::Key(row.id), Standing { scopes, since })));
    }
    for row in catalog.sessions(&theirs).await?.iter().filter(|row| row.is_live(now)) {
        standing.insert(Via::Session(row.id), Standing { scopes: Roles::stored(&row.roles).scopes(), since: 0 });
    }
    Ok(standing)
}
