//! Topics: which stream of the event log somebody may listen to.
//!
//! Guarantee: `me` is the caller's own stream, `reviews` that of the tenant's reviewers, for the scope `reviews`, `asset:<id>` only that of an asset that the caller sees
//! ([`sight::sees`]), `ops` only for the scope `ops`. An asset of somebody else and one that does not exist get the
//! same answer. At every delivery the event is looked at again ([`Topic::delivers`]).

use reelfleet_catalog::Catalog;
use reelfleet_catalog::events::{OPS_STREAM, asset_stream, review_stream, user_stream};
use reelfleet_messages::AssetId;

use crate::AccessError;
use crate::principal::{Principal, Scope};
use crate::sight;

/// What a client asks to listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Everything about the caller's own uploads.
    Me,
    /// One asset.
    Asset(AssetId),
    /// What waits for a verdict in the caller's tenant, and the verdicts.
    Reviews,
    /// Everything, over all tenants.
    Ops,
}

impl Topic {
    /// Reads `me`, `asset:<id>`, `reviews` or `ops`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "me" => Some(Self::Me),
            "reviews" => Some(Self::Reviews),
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
            Self::Reviews => principal.sees(tenant) && principal.scopes.hold(Scope::Reviews),
            Self::Ops => principal.scopes.hold(Scope::Ops),
        }
    }

    /// The topic's stream, if it is the caller's. `seen`: the asset is there and exists for the caller.
    fn stream(self, principal: &Principal, seen: bool) -> Result<String, AccessError> {
        principal.require(Scope::Realtime)?;
        match self {
            Self::Me => Ok(user_stream(&principal.tenant, &principal.owner)),
            Self::Asset(id) if seen => Ok(asset_stream(id)),
            Self::Asset(_) => Err(AccessError::NotYours),
            Self::Reviews => {
                principal.require(Scope::Reviews)?;
                Ok(review_stream(&principal.tenant))
            }
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
        Topic::Me | Topic::Reviews | Topic::Ops => None,
    };
    let seen = match &asset {
        Some(asset) => sight::sees(catalog, principal, asset).await?,
        None => false,
    };
    Ok((topic, topic.stream(principal, seen)?))
}

#[cfg(test)]
mod tests {
    use reelfleet_messages::realtime::TOPICS;

    use super::*;
    use crate::{Scopes, Via};

    const ASSET: &str = "asset:ast_01h455vb4pex5vsknk084sn02q";

    fn principal(scopes: &[Scope]) -> Principal {
        Principal {
            tenant: "t".into(),
            owner: "o".into(),
            scopes: Scopes::of(scopes),
            via: Via::Key("key_01h455vb4pex5vsknk084sn02q".parse().unwrap()),
        }
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

    /// The table of who may hear what, in the tests of whole fleets, is held against that list.
    #[test]
    fn the_list_of_topics_is_whole() {
        let word = |topic| match topic {
            Topic::Me => "me",
            Topic::Asset(_) => "asset:<id>",
            Topic::Reviews => "reviews",
            // Another kind stops here: it goes into the list too.
            Topic::Ops => "ops",
        };
        let id = ASSET.trim_start_matches("asset:");
        assert_eq!(TOPICS.map(|text| word(Topic::parse(&text.replace("<id>", id)).unwrap())), TOPICS);
    }

    #[test]
    fn each_topic_has_its_right() {
        let user = principal(&[Scope::Realtime]);
        let asset = Topic::parse(ASSET).unwrap();
        assert_eq!(Topic::Me.stream(&user, false).unwrap(), "user:t/o");
        assert_eq!(asset.stream(&user, true).unwrap(), ASSET);
        assert!(matches!(asset.stream(&user, false), Err(AccessError::NotYours)));
        assert!(matches!(Topic::Ops.stream(&user, true), Err(AccessError::ScopeMissing(Scope::Ops))));
        assert!(matches!(Topic::Reviews.stream(&user, false), Err(AccessError::ScopeMissing(Scope::Reviews))));
        let reviewer = principal(&[Scope::Realtime, Scope::Reviews]);
        assert_eq!(Topic::Reviews.stream(&reviewer, false).unwrap(), "tenant:t:review");
        let operator = principal(&[Scope::Realtime, Scope::Ops]);
        assert_eq!(Topic::Ops.stream(&operator, false).unwrap(), "ops");
        assert!(asset.stream(&operator, false).is_err(), "ops reads its own stream, not others' assets");
        for topic in [Topic::Me, asset, Topic::Ops] {
            let reader = principal(&[Scope::AssetsRead, Scope::Ops]);
            assert!(matches!(topic.stream(&reader, true), Err(AccessError::ScopeMissing(Scope::Realtime))));
        }
    }

    #[test]
    fn delivery_looks_again() {
        let user = principal(&[Scope::Realtime]);
        let (asset, other) = (Topic::parse(ASSET).unwrap(), "ast_01h455vb4pex5vsknk084sn02r");
        let subject = ASSET.strip_prefix("asset:").unwrap();
        assert!(Topic::Me.delivers(&user, "t", other) && !Topic::Me.delivers(&user, "t2", other));
        assert!(asset.delivers(&user, "t", subject) && !asset.delivers(&user, "t", other));
        assert!(!Topic::Reviews.delivers(&user, "t", subject), "no reviewer any more");
        let reviewer = principal(&[Scope::Reviews]);
        assert!(Topic::Reviews.delivers(&reviewer, "t", subject) && !Topic::Reviews.delivers(&reviewer, "t2", subject));
        assert!(!Topic::Ops.delivers(&user, "t", subject));
        assert!(Topic::Ops.delivers(&principal(&[Scope::Ops]), "t2", subject));
    }
}
