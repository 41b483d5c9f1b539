//! Who sees an asset: the one rule, for every route and for the realtime topics.
//!
//! Guarantee: an asset is seen by its owner, by the administrators of its tenant, by the reviewers of its tenant while
//! it waits for a verdict (and by those who gave one, afterwards), and, if it was made public or unlisted and can be
//! played, by whoever has its id. Nobody else sees it, nor learns that it exists.

use reelfleet_catalog::assets::Asset;
use reelfleet_catalog::details::Visibility;
use reelfleet_catalog::{Catalog, CatalogError};
use reelfleet_domain::AssetState;

use crate::principal::{Principal, Scope};

/// What decides who sees an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight<'a> {
    /// Its tenant.
    pub tenant: &'a str,
    /// Whose it is.
    pub owner: &'a str,
    /// Where it is on its way.
    pub state: AssetState,
    /// Public or unlisted, by its owner's wish.
    pub open: bool,
    /// The caller gave a verdict on it.
    pub decided: bool,
}

impl<'a> Sight<'a> {
    /// Of an asset as it was read.
    pub fn of(asset: &'a Asset) -> Self {
        let open = asset.visibility != Visibility::Private;
        Self { tenant: &asset.tenant, owner: &asset.owner, state: asset.state, open, decided: false }
    }

    /// Whether whoever has the id sees it, signed in or not.
    pub fn is_open(&self) -> bool {
        self.open && matches!(self.state, AssetState::Playable | AssetState::Ready)
    }
}

/// Whether this asset exists for the caller; looks up the caller's verdict where that decides.
pub async fn sees(catalog: &Catalog, principal: &Principal, asset: &Asset) -> Result<bool, CatalogError> {
    let sight = Sight::of(asset);
    if principal.may_see(&sight) {
        return Ok(true);
    }
    if !principal.may_see(&Sight { decided: true, ..sight }) {
        return Ok(false);
    }
    // Votes are counted by the person: whoever has an account, by its e-mail.
    let reviewer = catalog.reviewer_of(principal.user()).await?;
    catalog.voted_on(&asset.id, reviewer.as_deref().unwrap_or(principal.user())).await
}

impl Principal {
    /// Whether this asset exists for the caller, by what is known of it.
    pub fn may_see(&self, asset: &Sight<'_>) -> bool {
        let reviews = self.sees(asset.tenant) && self.scopes.hold(Scope::Reviews);
        self.controls(asset.tenant, asset.owner)
            || (reviews && (asset.state == AssetState::AwaitingApproval || asset.decided))
            || asset.is_open()
    }

    /// Whose assets the caller's lists hold: one's own; none for an administrator, who sees those of the whole tenant.
    pub fn lists_of(&self) -> Option<&str> {
        (!self.scopes.hold(Scope::Admin)).then_some(self.owner.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principal::{Scopes, Via};

    fn who(tenant: &str, owner: &str, scope: Scope) -> Principal {
        Principal {
            tenant: tenant.into(),
            owner: owner.into(),
            scopes: Scopes::of(&[scope]),
            via: Via::Key("key_01h455vb4pex5vsknk084sn02q".parse().unwrap()),
        }
    }

    #[test]
    fn an_asset_is_its_owners_and_its_administrators() {
        for state in AssetState::ALL.iter().copied() {
            let asset = Sight { tenant: "t", owner: "ann", state, open: false, decided: false };
            assert!(who("t", "ann", Scope::AssetsRead).may_see(&asset));
            assert!(who("t", "eve", Scope::Admin).may_see(&asset));
            assert!(!who("t", "eve", Scope::AssetsRead).may_see(&asset), "{state:?}");
            assert!(!who("t", "eve", Scope::Ops).may_see(&asset), "operators see queues, not films");
            assert!(!who("t2", "ann", Scope::AssetsRead).may_see(&asset), "a name is one person's only in its tenant");
            assert!(!who("t2", "eve", Scope::Admin).may_see(&asset));
        }
    }

    #[test]
    fn reviewers_see_what_waits_and_what_they_decided() {
        for state in AssetState::ALL.iter().copied() {
            let asset = Sight { tenant: "t", owner: "ann", state, open: false, decided: false };
            let waits = state == AssetState::AwaitingApproval;
            assert_eq!(who("t", "rob", Scope::Reviews).may_see(&asset), waits, "{state:?}");
            assert!(!who("t2", "rob", Scope::Reviews).may_see(&asset));
            let decided = Sight { decided: true, ..asset };
            assert!(who("t", "rob", Scope::Reviews).may_see(&decided));
            assert!(!who("t", "rob", Scope::AssetsRead).may_see(&decided), "no reviewer any more");
            assert!(!who("t2", "rob", Scope::Reviews).may_see(&decided));
        }
    }

    #[test]
    fn what_is_open_is_seen_once_it_plays() {
        for state in AssetState::ALL.iter().copied() {
            let asset = Sight { tenant: "t", owner: "ann", state, open: true, decided: false };
            let plays = matches!(state, AssetState::Playable | AssetState::Ready);
            assert_eq!(who("t2", "eve", Scope::AssetsRead).may_see(&asset), plays, "{state:?}");
            assert_eq!(asset.is_open(), plays);
            assert!(who("t", "ann", Scope::AssetsRead).may_see(&asset));
        }
    }

    #[test]
    fn lists_hold_ones_own() {
        assert_eq!(who("t", "ann", Scope::AssetsRead).lists_of(), Some("ann"));
        assert_eq!(who("t", "ann", Scope::Reviews).lists_of(), Some("ann"));
        assert_eq!(who("t", "ann", Scope::Admin).lists_of(), None);
    }
}
