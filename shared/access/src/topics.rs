//! Topics: which stream of the event log somebody may listen to.
//!
//! Guarantee: `me` is the caller's own stream, `asset:<id>` only that of an asset of the caller's tenant, `ops` only for
//! the scope `ops`. An asset of another tenant and one that does not exist get the same answer. At every delivery the
//! event's tenant is to be compared again ([`Topic::delivers`]).

use reelfleet_catalog::Catalog;
use reelfleet_catalog::events::{OPS_STREAM, asset_stream, user_stream};
use reelfleet_messages::AssetId;

use crate::AccessError;
use crate::principal::{Principal, Scope};

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

    /// Whether an event of this tenant may be handed to a listener of this topic.
    pub fn delivers(self, principal: &Principal, tenant: &str) -> bool {
        match self {
            Self::Me | Self::Asset(_) => principal.sees(tenant),
            Self::Ops => principal.scopes.hold(Scope::Ops),
        }
    }

    /// The topic's stream, if it is the caller's. `asset_tenant` is that of the asset's row, where there is one.
    fn stream(self, principal: &Principal, asset_tenant: Option<&str>) -> Result<String, AccessError> {
        principal.require(Scope::Realtime)?;
        match self {
            Self::Me => Ok(user_stream(&principal.tenant, &principal.owner)),
            Self::Asset(id) if asset_tenant.is_some_and(|tenant| principal.sees(tenant)) => Ok(asset_stream(id)),
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
    let tenant = match topic {
        Topic::Asset(id) => catalog.asset(&id).await?.map(|asset| asset.tenant),
        Topic::Me | Topic::Ops => None,
    };
    let stream = topic.stream(principal, tenant.as_deref())?;
    Ok((topic, stream))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scopes;

    const ASSET: &str = "asset:ast_01h455vb4pex5vsknk084sn02q";

    fn principal(scopes: &[Scope]) -> Principal {
        Principal { tenant: "t".into(), owner: "o".into(), scopes: Scopes::of(scopes) }
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

    #[test]
    fn each_topic_has_its_right() {
        let user = principal(&[Scope::Realtime]);
        let asset = Topic::parse(ASSET).unwrap();
        assert_eq!(Topic::Me.stream(&user, None).unwrap(), "user:t/o");
        assert_eq!(asset.stream(&user, Some("t")).unwrap(), ASSET);
        assert!(matches!(asset.stream(&user, Some("t2")), Err(AccessError::NotYours)));
        assert!(matches!(asset.stream(&user, None), Err(AccessError::NotYours)));
        assert!(matches!(Topic::Ops.stream(&user, None), Err(AccessError::ScopeMissing(Scope::Ops))));
        let operator = principal(&[Scope::Realtime, Scope::Ops]);
        assert_eq!(Topic::Ops.stream(&operator, None).unwrap(), "ops");
        assert!(asset.stream(&operator, Some("t2")).is_err(), "ops reads its own stream, not other tenants' assets");
        for topic in [Topic::Me, asset, Topic::Ops] {
            let reader = principal(&[Scope::AssetsRead, Scope::Ops]);
            assert!(matches!(topic.stream(&reader, Some("t")), Err(AccessError::ScopeMissing(Scope::Realtime))));
        }
    }

    #[test]
    fn delivery_looks_again() {
        let user = principal(&[Scope::Realtime]);
        assert!(Topic::Me.delivers(&user, "t") && !Topic::Me.delivers(&user, "t2"));
        assert!(!Topic::Ops.delivers(&user, "t"));
        assert!(Topic::Ops.delivers(&principal(&[Scope::Ops]), "t2"));
    }
}
