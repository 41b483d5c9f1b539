//! Upload buckets ↔ assets: objects that no asset knows, assets whose source is gone.
//!
//! Guarantee: an object is called lost only if it is older than the grace, lies where somebody was given a place, is still
//! there, and is still unknown after that was seen.

use reelfleet_catalog::assets::Asset;
use reelfleet_messages::SourceIdentity;
use reelfleet_objects::{ListedVersion, ObjectError, ObjectTree, head};

use super::{AuditContext, AuditError, Code, Finding};

/// Assets of one question: each row holds what the probe said.
const PAGE: i64 = 20;
/// Stands between key and version id in a cursor; neither holds it.
const SEPARATOR: char = '\n';

/// An object whose notification was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) bucket: String,
    pub(crate) object: ListedVersion,
}

/// A page of an upload bucket.
#[derive(Debug, Default)]
pub(crate) struct SourcesPage {
    pub(crate) seen: u64,
    pub(crate) lost: Vec<Lost>,
    /// Where the next page begins; none at the end.
    pub(crate) next: Option<String>,
}

impl Lost {
    pub(crate) fn finding(&self) -> Finding {
        let version = self.object.version_id.as_ref().map(|id| format!("?versionId={id}")).unwrap_or_default();
        let subject = format!("s3://{}/{}{version}", self.bucket, self.object.key);
        Finding::new(Code::LostNotification, subject, "no asset knows this object: its notification was lost")
    }
}

fn identity(bucket: &str, object: &ListedVersion) -> String {
    SourceIdentity::of(bucket, &object.key, object.version_id.as_deref(), &object.etag).as_str().to_owned()
}

fn place(after: &str) -> Option<(String, Option<String>)> {
    let (key, version) = after.rsplit_once(SEPARATOR)?;
    Some((key.to_owned(), (!version.is_empty()).then(|| version.to_owned())))
}

/// One page of an upload bucket, objects that were written after `before` left out.
pub(crate) async fn page(
    audit: &AuditContext,
    bucket: &str,
    after: &str,
    before: i64,
) -> Result<SourcesPage, AuditError> {
    let tree = ObjectTree::new(audit.context.clients.s3.clone(), bucket);
    let listed = tree.versions_page(place(after).as_ref()).await?;
    let next = listed.next.map(|(key, version)| format!("{key}{SEPARATOR}{}", version.unwrap_or_default()));
    let seen = listed.versions.len() as u64;
    let mut unknown = Vec::new();
    let old: Vec<ListedVersion> = listed.versions.into_iter().filter(|o| o.last_modified_ms <= before).collect();
    let identities: Vec<String> = old.iter().map(|object| identity(bucket, object)).collect();
    let known = audit.catalog.known_identities(&identities).await?;
    for (object, identity) in old.into_iter().zip(&identities) {
        if !known.contains(identity) && is_lost(audit, bucket, &object, identity).await? {
            unknown.push(Lost { bucket: bucket.to_owned(), object });
        }
    }
    Ok(SourcesPage { seen, lost: unknown, next })
}

async fn is_lost(
    audit: &AuditContext,
    bucket: &str,
    object: &ListedVersion,
    identity: &str,
) -> Result<bool, AuditError> {
    let given = audit.context.config.tenant_of(bucket, &object.key).is_some()
        || audit.catalog.upload_of_object(bucket, &object.key).await?.is_some();
    if !given {
        return Ok(false);
    }
    match head(&audit.context.clients.s3, bucket, &object.key, object.version_id.as_deref()).await {
        Ok(there) if there.etag == object.etag => {}
        Ok(_) | Err(ObjectError::Gone { .. }) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    Ok(audit.catalog.asset_by_identity(identity).await?.is_none())
}

/// Unfinished assets whose source is gone or was replaced, at this moment.
pub(super) async fn gone(audit: &AuditContext) -> Result<Vec<Finding>, AuditError> {
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let assets = audit.catalog.live_assets(&after, PAGE).await?;
        let Some(last) = assets.last() else { return Ok(found) };
        after = last.id.to_string();
        for asset in &assets {
            found.extend(missing(audit, asset).await?);
        }
    }
}

async fn missing(audit: &AuditContext, asset: &Asset) -> Result<Option<Finding>, AuditError> {
    let what = match head(&audit.context.clients.s3, &asset.bucket, &asset.key, asset.version_id.as_deref()).await {
        Ok(there) if there.etag == asset.etag => return Ok(None),
        Ok(_) => "was replaced",
        Err(ObjectError::Gone { .. }) => "is gone",
        Err(error) => return Err(error.into()),
    };
    let detail =
        format!("the asset is {}, its source s3://{}/{} {what}", asset.state.as_str(), asset.bucket, asset.key);
    Ok(Some(Finding::new(Code::SourceMissing, asset.id.to_string(), detail)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back() {
        assert_eq!(place(""), None);
        assert_eq!(place("a\nb\nv1"), Some(("a\nb".into(), Some("v1".into()))), "a key may hold anything");
        assert_eq!(place("a\n"), Some(("a".into(), None)));
    }
}
