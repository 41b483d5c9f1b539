//! Topics: which stream of the event log somebody may listen to.
//!
//! Guarantee: `me` is the caller's own stream, `asset:<id>` only that of an asset that the caller sees
//! ([`Principal::may_see`]), `ops` only for the scope `ops`. An asset of somebody else and one that does not exist get the
//! same answer. At every delivery the event is looked at again ([`Topic::delivers`]).

use reelfleet_catalog::Catalog;
use reelfleet_catalog::events::{OPS_STREAM, asset_stream, user_stream};
use reelfleet_messages::AssetId;

use crate::AccessError;
use crate::principal::{Principal, Scope};
use crate::sight::Sight;

/// What a client asks to listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Everything about the caller's own uploads.
    Me,
    /// One asset.
    Asset(AssetId),
    /// Everything, over all tenants.
    Ops,
}

impl Topic {
    /// Reads `me`, `asset:<id>` or `ops`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "me" => Some(Self::Me),
            "ops" => Some(Self::Ops),
            other => other.strip_prefix("asset:")?.parse().ok().map(Self::Asset),
        }
    }

    /// Whether an event may be handed to a listener of this topic: what `me` means never leaves the tenant, an asset's
    /// stream holds that asset's events alone.
    pub fn delivers(self, principal: &Principal, tenant: &str, subject: &str) -> bool {
        match self {
            Self::Me => principal.sees(tenant),
            Self::Asset(id) => subject.parse().is_ok_and(|subject: AssetId| subject == id),
            Self::Ops => principal.scopes.hold(Scope::Ops),
        }
    }

    /// The topic's stream, if it is the caller's. `sight` is that of the asset's row, where there is one.
    fn stream(self, principal: &Principal, sight: Option<&Sight<'_>>) -> Result<String, AccessError> {
        principal.require(Scope::Realtime)?;
        match self {
            Self::Me => Ok(user_stream(&principal.tenant, &principal.owner)),
            Self::Asset(id) if sight.is_some_and(|sight| principal.may_see(sight)) => Ok(asset_stream(id)),
            Self::Asset(_) => Err(AccessError::NotYours),
            Self::Ops => {
                principal.require(Scope::Ops)?;
                Ok(OPS_STREAM.to_owned())
            }
        }
    }
}

/// The stream behind a topic's text, for this caller. [`AccessError::NotYours`] for unknown words too.
pub async fn stream_of(catalog: &Catalog, principal: &Principal, topic: &str) -> Result<(Topic, String), AccessError> {
    let topic = Topic::parse(topic).ok_or(AccessError::NotYours)?;
    let asset = match topic {
        Topic::Asset(id) => catalog.asset(&id).await?,
        Topic::Me | Topic::Ops => None,
    };
    let stream = topic.stream(principal, asset.as_ref().map(Sight::of).as_ref())?;
    Ok((topic, stream))
}

#[cfg(test)]
mod tests {
    use reelfleet_domain::AssetState;

    use super::*;
    use crate::{Scopes, Via};

    const ASSET: &str = "asset:ast_01h455vb4pex5vsknk084sn02q";

    fn principal(scopes: &[Scope]) -> Principal {
        Principal { tenant: "t".into(), owner: "o".into(), scopes: Scopes::of(scopes), via: Via::Ticket }
    }

    #[test]
    fn unknown_words_are_no_topics() {
        assert_eq!(Topic::parse("me"), Some(Topic::Me));
        assert!(matches!(Topic::parse(ASSET), Some(Topic::Asset(_))));
        for bad in
            ["", "ME", "user:t/o", "asset:", "asset:job_01h455vb4pex5vsknk084sn02q", "asset:*", "ops ", "tenant:t"]
        {
            assert_eq!(Topic::parse(bad), None, "{bad}");
        }
    }

    fn sight<'a>(tenant: &'a str, owner: &'a str) -> Sight<'a> {
        Sight { tenant, owner, state: AssetState::Processing, open: false, decided: false }
    }

    #[test]
    fn each_topic_has_its_right() {
        let user = principal(&[Scope::Realtime]);
        let asset = Topic::parse(ASSET).unwrap();
        assert_eq!(Topic::Me.stream(&user, None).unwrap(), "user:t/o");
        assert_eq!(asset.stream(&user, Some(&sight("t", "o"))).unwrap(), ASSET);
        for theirs in [Some(sight("t", "o2")), Some(sight("t2", "o")), None] {
            assert!(matches!(asset.stream(&user, theirs.as_ref()), Err(AccessError::NotYours)), "{theirs:?}");
        }
        let public = Sight { state: AssetState::Ready, open: true, ..sight("t2", "o2") };
        assert_eq!(asset.stream(&user, Some(&public)).unwrap(), ASSET);
        assert!(matches!(Topic::Ops.stream(&user, None), Err(AccessError::ScopeMissing(Scope::Ops))));
        let operator = principal(&[Scope::Realtime, Scope::Ops]);
        assert_eq!(Topic::Ops.stream(&operator, None).unwrap(), "ops");
        assert!(asset.stream(&operator, Some(&sight("t2", "o"))).is_err(), "ops reads its own stream, not others' assets");
        assert_eq!(asset.stream(&principal(&[Scope::Admin]), Some(&sight("t", "o2"))).unwrap(), ASSET);
        for topic in [Topic::Me, asset, Topic::Ops] {
            let reader = principal(&[Scope::AssetsRead, Scope::Ops]);
            let refused = topic.stream(&reader, Some(&sight("t", "o")));
            assert!(matches!(refused, Err(AccessError::ScopeMissing(Scope::Realtime))));
        }
    }

    #[test]
    fn delivery_looks_again() {
        let user = principal(&[Scope::Realtime]);
        let (asset, other) = (Topic::parse(ASSET).unwrap(), "ast_01h455vb4pex5vsknk084sn02r");
        let subject = ASSET.strip_prefix("asset:").unwrap();
        assert!(Topic::Me.delivers(&user, "t", other) && !Topic::Me.delivers(&user, "t2", other));
        assert!(asset.delivers(&user, "t", subject) && !asset.delivers(&user, "t", other));
        assert!(!Topic::Ops.delivers(&user, "t", subject));
        assert!(Topic::Ops.delivers(&principal(&[Scope::Ops]), "t2", subject));
    }
}
