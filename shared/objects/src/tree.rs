//! Listing and deleting by prefix.
//!
//! Guarantees: a prefix that deletes ends in `/`, so one asset's prefix never takes another's objects; what the service
//! did not confirm as deleted is an error; deleting again is harmless.

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use reelfleet_telemetry::BatchShortfall;

use crate::error::{ObjectError, bare};

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// Key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// ETag without quotes.
    pub etag: String,
    /// Last-Modified in epoch milliseconds, 0 where the service does not say.
    pub last_modified_ms: i64,
}

/// The objects of one bucket. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ObjectTree {
    client: Client,
    bucket: String,
}

impl ObjectTree {
    /// The objects of `bucket`.
    pub fn new(client: Client, bucket: impl Into<String>) -> Self {
        Self { client, bucket: bucket.into() }
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Every object under `prefix`, in key order. For prefixes of bounded size; sweeps use [`Self::list_page`].
    pub async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>, ObjectError> {
        let mut listed = Vec::new();
        loop {
            let after = listed.last().map(|object: &ListedObject| object.key.clone());
            let page = self.list_page(prefix, after.as_deref(), 1000).await?;
            if page.is_empty() {
                return Ok(listed);
            }
            listed.extend(page);
        }
    }

    /// Up to `max` (1–1,000) objects under `prefix` whose key sorts after `after`; empty at the end.
    pub async fn list_page(
        &self,
        prefix: &str,
        after: Option<&str>,
        max: u16,
    ) -> Result<Vec<ListedObject>, ObjectError> {
        let answer = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(prefix)
            .set_start_after(after.map(str::to_owned))
            .max_keys(i32::from(max.clamp(1, 1000)))
            .send()
            .await
            .map_err(|error| ObjectError::of("ListObjectsV2", &self.bucket, prefix, error))?;
        Ok(answer
            .contents
            .unwrap_or_default()
            .into_iter()
            .filter_map(|object| {
                Some(ListedObject {
                    key: object.key?,
                    size: object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
                    etag: bare(object.e_tag),
                    last_modified_ms: object.last_modified.and_then(|time| time.to_millis().ok()).unwrap_or(0),
                })
            })
            .collect())
    }

    /// Deletes one object; one that is not there counts as deleted.
    pub async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        self.client
            .delete_object()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await
            .map(|_| ())
            .map_err(|error| ObjectError::of("DeleteObject", &self.bucket, key, error))
    }

    /// Deletes these keys and says how many.
    pub async fn delete_keys(&self, keys: &[String]) -> Result<u64, ObjectError> {
        let mut deleted = 0;
        for chunk in keys.chunks(1000) {
            let ids = chunk.iter().map(|key| (key.clone(), None)).collect();
            deleted += self.delete_batch("", ids, deleted).await?;
        }
        Ok(deleted)
    }

    /// Deletes everything under `prefix`, which ends in `/`, and says how many objects that were.
    pub async fn delete_prefix(&self, prefix: &str) -> Result<u64, ObjectError> {
        if prefix.len() < 2 || !prefix.ends_with('/') {
            return Err(ObjectError::Invalid(format!("{prefix:?} is not a prefix to delete by: it must end in /")));
        }
        let mut deleted = 0;
        let mut after: Option<String> = None;
        loop {
            let page = self.list_page(prefix, after.as_deref(), 1000).await?;
            let Some(last) = page.last() else {
                return Ok(deleted);
            };
            after = Some(last.key.clone());
            let ids = page.into_iter().map(|object| (object.key, None)).collect();
            deleted += self.delete_batch(prefix, ids, deleted).await?;
        }
    }

    /// Deletes every version and delete marker of exactly this key, and says how many.
    pub async fn delete_versions(&self, key: &str) -> Result<u64, ObjectError> {
        let mut deleted = 0;
        let (mut key_marker, mut version_marker) = (None, None);
        loop {
            let page = self
                .client
                .list_object_versions()
                .bucket(&self.bucket)
                .prefix(key)
                .set_key_marker(key_marker)
                .set_version_id_marker(version_marker)
                .send()
                .await
                .map_err(|error| ObjectError::of("ListObjectVersions", &self.bucket, key, error))?;
            let versions =
                page.versions.unwrap_or_default().into_iter().map(|version| (version.key, version.version_id));
            let markers =
                page.delete_markers.unwrap_or_default().into_iter().map(|marker| (marker.key, marker.version_id));
            let ids: Vec<(String, Option<String>)> = versions
                .chain(markers)
                .filter_map(|(own, version)| Some((own?, version)))
                .filter(|(own, _)| own == key)
                .collect();
            if !ids.is_empty() {
                deleted += self.delete_batch(key, ids, deleted).await?;
            }
            // Keys come in order: once past ours there is nothing more of it.
            let past = page.next_key_marker.as_deref().is_some_and(|next| next != key);
            if past || page.is_truncated != Some(true) {
                return Ok(deleted);
            }
            (key_marker, version_marker) = (page.next_key_marker, page.next_version_id_marker);
        }
    }

    /// One DeleteObjects of at most 1,000; `before` counts what was deleted already, for the error.
    async fn delete_batch(
        &self,
        prefix: &str,
        ids: Vec<(String, Option<String>)>,
        before: u64,
    ) -> Result<u64, ObjectError> {
        let sent = ids.len();
        let mut objects = Vec::with_capacity(sent);
        for (key, version) in ids {
            let id = ObjectIdentifier::builder().key(key).set_version_id(version).build();
            objects.push(id.map_err(|error| ObjectError::Invalid(error.to_string()))?);
        }
        let delete = Delete::builder()
            .set_objects(Some(objects))
            .build()
            .map_err(|error| ObjectError::Invalid(error.to_string()))?;
        let answer = self
            .client
            .delete_objects()
            .bucket(&self.bucket)
            .delete(delete)
            .send()
            .await
            .map_err(|error| ObjectError::of("DeleteObjects", &self.bucket, prefix, error))?;
        let deleted = answer.deleted.unwrap_or_default().len();
        let errors = answer.errors.unwrap_or_default();
        if errors.is_empty() && deleted == sent {
            return Ok(deleted as u64);
        }
        let unaccounted = sent.saturating_sub(deleted + errors.len());
        BatchShortfall { call: "delete_objects", target: &self.bucket, failed: errors.len(), unaccounted, sent }.emit();
        Err(ObjectError::Partial {
            bucket: self.bucket.clone(),
            prefix: prefix.to_owned(),
            deleted: before + deleted as u64,
            failed: sent.saturating_sub(deleted) as u64,
            first: errors.first().map_or_else(
                || "the answer did not account for all of them".to_owned(),
                |error| format!("{}: {}", error.key.as_deref().unwrap_or("?"), error.code.as_deref().unwrap_or("?")),
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{Answer, Server};

    const LISTING: &str = "<ListBucketResult><Contents><Key>out/a/1</Key><Size>5</Size><ETag>\"e\"</ETag></Contents>\
        <Contents><Key>out/a/2</Key><Size>6</Size><ETag>\"f\"</ETag></Contents></ListBucketResult>";

    #[tokio::test]
    async fn a_deletion_that_is_not_confirmed_is_an_error() {
        let partly = "<DeleteResult><Deleted><Key>out/a/1</Key></Deleted><Error><Key>out/a/2</Key>\
            <Code>InternalError</Code></Error></DeleteResult>";
        let server = Server::start(vec![Answer::whole(LISTING.as_bytes()), Answer::whole(partly.as_bytes())]).await;
        let error = ObjectTree::new(server.client(), "b").delete_prefix("out/a/").await.unwrap_err();
        assert!(matches!(error, ObjectError::Partial { deleted: 1, failed: 1, .. }), "{error}");
        assert!(error.to_string().contains("out/a/2: InternalError"));
    }

    #[tokio::test]
    async fn a_prefix_is_deleted_page_by_page_and_counted() {
        let both =
            "<DeleteResult><Deleted><Key>out/a/1</Key></Deleted><Deleted><Key>out/a/2</Key></Deleted></DeleteResult>";
        let server = Server::start(vec![
            Answer::whole(LISTING.as_bytes()),
            Answer::whole(both.as_bytes()),
            Answer::whole(b"<ListBucketResult></ListBucketResult>"),
        ])
        .await;
        let tree = ObjectTree::new(server.client(), "b");
        assert_eq!(tree.delete_prefix("out/a/").await.unwrap(), 2);
        let requests = server.requests().await;
        assert!(requests[2].line.contains("start-after=out%2Fa%2F2"));
    }

    #[tokio::test]
    async fn a_prefix_without_a_slash_deletes_nothing() {
        let server = Server::start(Vec::new()).await;
        let tree = ObjectTree::new(server.client(), "b");
        for prefix in ["", "/", "out/ast_1"] {
            assert!(matches!(tree.delete_prefix(prefix).await, Err(ObjectError::Invalid(_))));
        }
    }
}
