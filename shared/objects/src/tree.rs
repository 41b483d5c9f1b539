//! Listing and deleting by prefix.
//!
//! Guarantees: a prefix that deletes ends in `/`, so one asset's prefix never takes another's objects; what the service
//! did not confirm as deleted is an error; deleting again is harmless. Listings ask for encoded keys, so a key that is no
//! XML (a control character) hides no other.

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::list_object_versions::ListObjectVersionsOutput;
use aws_sdk_s3::types::{Delete, EncodingType, ObjectIdentifier};
use percent_encoding::percent_decode_str;
use reelfleet_telemetry::BatchShortfall;

use crate::error::{ObjectError, bare, quoted};

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

/// One version of an object. A delete marker is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedVersion {
    /// Key.
    pub key: String,
    /// Version id; none where the bucket has no versions.
    pub version_id: Option<String>,
    /// ETag without quotes.
    pub etag: String,
    /// Bytes.
    pub size: u64,
    /// Last-Modified in epoch milliseconds, 0 where the service does not say.
    pub last_modified_ms: i64,
}

/// A page of versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionsPage {
    /// By key, the newest of a key first.
    pub versions: Vec<ListedVersion>,
    /// Key and version id after which the next page begins; none at the end.
    pub next: Option<After>,
}

/// Key and version id after which a page begins.
type After = (String, Option<String>);

/// A version of one key, or a delete marker.
struct Version {
    /// `null` where the bucket had no versions.
    id: Option<String>,
    etag: String,
    is_marker: bool,
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
            .encoding_type(EncodingType::Url)
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
                    key: decoded(&object.key?)?,
                    size: object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
                    etag: bare(object.e_tag),
                    last_modified_ms: object.last_modified.and_then(|time| time.to_millis().ok()).unwrap_or(0),
                })
            })
            .collect())
    }

    /// Up to 1,000 versions of all objects after a key and version. Where the bucket has no versions, its objects.
    pub async fn versions_page(&self, after: Option<&After>) -> Result<VersionsPage, ObjectError> {
        let (answer, next) = self.list_versions("", after).await?;
        let versions = answer.versions.unwrap_or_default().into_iter().filter_map(|version| {
            Some(ListedVersion {
                key: version.key?,
                version_id: version.version_id.filter(|id| id != "null"),
                etag: bare(version.e_tag),
                size: version.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
                last_modified_ms: version.last_modified.and_then(|time| time.to_millis().ok()).unwrap_or(0),
            })
        });
        Ok(VersionsPage { versions: versions.collect(), next })
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
        let mut after = None;
        loop {
            let (versions, next) = self.versions_of(key, after).await?;
            if !versions.is_empty() {
                let ids = versions.into_iter().map(|version| (key.to_owned(), version.id)).collect();
                deleted += self.delete_batch(key, ids, deleted).await?;
            }
            if next.is_none() {
                return Ok(deleted);
            }
            after = next;
        }
    }

    /// Whether there is any version or delete marker of exactly this key.
    pub async fn has_versions(&self, key: &str) -> Result<bool, ObjectError> {
        let mut after = None;
        loop {
            let (versions, next) = self.versions_of(key, after).await?;
            if !versions.is_empty() || next.is_none() {
                return Ok(!versions.is_empty());
            }
            after = next;
        }
    }

    /// A page of the versions and delete markers of exactly this key, and where the next begins.
    async fn versions_of(&self, key: &str, after: Option<After>) -> Result<(Vec<Version>, Option<After>), ObjectError> {
        let (page, next) = self.list_versions(key, after.as_ref()).await?;
        let versions = page.versions.unwrap_or_default().into_iter().map(|version| {
            (version.key, Version { id: version.version_id, etag: bare(version.e_tag), is_marker: false })
        });
        let markers = page
            .delete_markers
            .unwrap_or_default()
            .into_iter()
            .map(|marker| (marker.key, Version { id: marker.version_id, etag: String::new(), is_marker: true }));
        let own = versions.chain(markers).filter(|(own, _)| own.as_deref() == Some(key)).map(|(_, version)| version);
        // Keys come in order: once past ours there is nothing more of it.
        Ok((own.collect(), next.filter(|(next, _)| next == key)))
    }

    /// A page of what there is under a prefix, and where the next begins.
    async fn list_versions(
        &self,
        prefix: &str,
        after: Option<&After>,
    ) -> Result<(ListObjectVersionsOutput, Option<After>), ObjectError> {
        let mut answer = self
            .client
            .list_object_versions()
            .bucket(&self.bucket)
            .set_prefix((!prefix.is_empty()).then(|| prefix.to_owned()))
            .set_key_marker(after.map(|(key, _)| key.clone()))
            .set_version_id_marker(after.and_then(|(_, version)| version.clone()))
            .encoding_type(EncodingType::Url)
            .send()
            .await
            .map_err(|error| ObjectError::of("ListObjectVersions", &self.bucket, prefix, error))?;
        // Whoever was asked may not know the parameter, and then doesn't repeat it.
        let encoded = answer.encoding_type == Some(EncodingType::Url);
        let plain = |key: String| if encoded { decoded(&key) } else { Some(key) };
        for version in answer.versions.iter_mut().flatten() {
            version.key = version.key.take().and_then(plain);
        }
        for marker in answer.delete_markers.iter_mut().flatten() {
            marker.key = marker.key.take().and_then(plain);
        }
        let next = match (answer.is_truncated, answer.next_key_marker.take().and_then(plain)) {
            (Some(true), Some(key)) => Some((key, answer.next_version_id_marker.take())),
            _ => None,
        };
        Ok((answer, next))
    }

    /// Deletes exactly this object: the version, or where there are no versions the bytes with this ETag. Says whether it
    /// was there; what has taken its place stays.
    pub async fn delete_exactly(&self, key: &str, version: Option<&str>, etag: &str) -> Result<bool, ObjectError> {
        if self.is_gone(key, version, etag).await? {
            return Ok(false);
        }
        let request = self.client.delete_object().bucket(&self.bucket).key(key);
        let request = match version {
            Some(version) => request.version_id(version),
            None => request.if_match(quoted(etag)),
        };
        match request.send().await.map_err(|error| ObjectError::of("DeleteObject", &self.bucket, key, error)) {
            Ok(_) => Ok(true),
            // Replaced since the look: what is there now is somebody else's.
            Err(ObjectError::Precondition { .. } | ObjectError::Gone { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether exactly this object is not there (any more). It is listed, not read: what is in quarantine can be deleted.
    pub async fn is_gone(&self, key: &str, version: Option<&str>, etag: &str) -> Result<bool, ObjectError> {
        let mut after = None;
        loop {
            let (own, next) = self.versions_of(key, after).await?;
            let is_it = |one: &Version| match version {
                Some(version) => one.id.as_deref() == Some(version),
                None => one.etag == etag && one.id.as_deref().is_none_or(|id| id == "null"),
            };
            if own.iter().any(|one| !one.is_marker && is_it(one)) {
                return Ok(false);
            }
            if next.is_none() {
                return Ok(true);
            }
            after = next;
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

/// A key of a listing with `encoding-type=url`; none if it is no UTF-8, which S3 keys are.
fn decoded(key: &str) -> Option<String> {
    let spaces = key.replace('+', " ");
    percent_decode_str(&spaces).decode_utf8().ok().map(std::borrow::Cow::into_owned)
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
    async fn versions_come_with_decoded_keys_and_the_place_to_go_on() {
        let page = "<ListVersionsResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextKeyMarker>a%2B+b%01</NextKeyMarker>\
            <NextVersionIdMarker>v1</NextVersionIdMarker>\
            <Version><Key>a%2B+b%01</Key><VersionId>v1</VersionId><ETag>\"e\"</ETag><Size>3</Size></Version>\
            <Version><Key>plain</Key><VersionId>null</VersionId><ETag>\"f\"</ETag><Size>4</Size></Version>\
            <DeleteMarker><Key>gone</Key><VersionId>v2</VersionId></DeleteMarker></ListVersionsResult>";
        let server = Server::start(vec![Answer::whole(page.as_bytes()), Answer::whole(b"<ListVersionsResult/>")]).await;
        let tree = ObjectTree::new(server.client(), "b");
        let first = tree.versions_page(None).await.unwrap();
        let seen: Vec<_> = first.versions.iter().map(|v| (v.key.as_str(), v.version_id.as_deref(), v.size)).collect();
        assert_eq!(seen, [("a+ b\u{1}", Some("v1"), 3), ("plain", None, 4)]);
        let next = first.next.unwrap();
        assert_eq!(next, ("a+ b\u{1}".to_owned(), Some("v1".to_owned())));
        assert_eq!(tree.versions_page(Some(&next)).await.unwrap(), VersionsPage::default());
        let requests = server.requests().await;
        assert!(requests[1].line.contains("key-marker=a%2B%20b%01"), "{}", requests[1].line);
        assert!(requests[1].line.contains("version-id-marker=v1"));
    }

    #[tokio::test]
    async fn every_version_and_marker_of_a_key_goes_page_by_page_and_no_neighbour() {
        let first = "<ListVersionsResult><IsTruncated>true</IsTruncated><NextKeyMarker>in/a</NextKeyMarker>\
            <NextVersionIdMarker>v2</NextVersionIdMarker><Version><Key>in/a</Key><VersionId>v3</VersionId></Version>\
            <DeleteMarker><Key>in/a</Key><VersionId>v2</VersionId></DeleteMarker></ListVersionsResult>";
        let second = "<ListVersionsResult><IsTruncated>true</IsTruncated><NextKeyMarker>in/a.srt</NextKeyMarker>\
            <Version><Key>in/a</Key><VersionId>v1</VersionId></Version>\
            <Version><Key>in/a.srt</Key><VersionId>w1</VersionId></Version></ListVersionsResult>";
        let two = "<DeleteResult><Deleted><Key>in/a</Key></Deleted><Deleted><Key>in/a</Key></Deleted></DeleteResult>";
        let one = "<DeleteResult><Deleted><Key>in/a</Key></Deleted></DeleteResult>";
        let answers = [first, two, second, one].map(|body| Answer::whole(body.as_bytes()));
        let server = Server::start(answers.into()).await;
        assert_eq!(ObjectTree::new(server.client(), "b").delete_versions("in/a").await.unwrap(), 3);
        let requests = server.requests().await;
        assert_eq!(requests.len(), 4, "past the key there is nothing to ask for");
        let line = &requests[2].line;
        assert!(line.contains("key-marker=in%2Fa") && line.contains("version-id-marker=v2"), "{line}");
        let body = |n: usize| String::from_utf8_lossy(&requests[n].body).into_owned();
        assert!(body(1).contains("v3") && body(1).contains("v2"), "{}", body(1));
        assert!(body(3).contains("v1") && !body(3).contains("w1"), "{}", body(3));
    }

    #[tokio::test]
    async fn versions_that_are_not_confirmed_as_deleted_are_an_error() {
        let listed =
            "<ListVersionsResult><Version><Key>k</Key><VersionId>v1</VersionId></Version></ListVersionsResult>";
        let answers = [listed, "<DeleteResult></DeleteResult>"].map(|body| Answer::whole(body.as_bytes()));
        let server = Server::start(answers.into()).await;
        let error = ObjectTree::new(server.client(), "b").delete_versions("k").await.unwrap_err();
        assert!(matches!(error, ObjectError::Partial { deleted: 0, failed: 1, .. }), "{error}");
    }

    #[tokio::test]
    async fn a_delete_marker_is_something_left_and_a_neighbour_is_nothing() {
        let marker = "<ListVersionsResult><DeleteMarker><Key>k</Key><VersionId>v2</VersionId></DeleteMarker></ListVersionsResult>";
        let other =
            "<ListVersionsResult><Version><Key>k2</Key><VersionId>v1</VersionId></Version></ListVersionsResult>";
        let server = Server::start([marker, other].map(|body| Answer::whole(body.as_bytes())).into()).await;
        let tree = ObjectTree::new(server.client(), "b");
        assert!(tree.has_versions("k").await.unwrap());
        assert!(!tree.has_versions("k").await.unwrap());
    }

    #[tokio::test]
    async fn an_object_is_told_from_what_replaced_it() {
        let listed = "<ListVersionsResult><DeleteMarker><Key>k</Key><VersionId>v3</VersionId></DeleteMarker>\
            <Version><Key>k</Key><VersionId>v2</VersionId><ETag>\"e\"</ETag></Version>\
            <Version><Key>k</Key><VersionId>null</VersionId><ETag>\"old\"</ETag></Version></ListVersionsResult>";
        let cases = [(Some("v2"), "e", false), (Some("v1"), "e", true), (Some("v3"), "", true), (None, "old", false)];
        for (version, etag, gone) in cases.into_iter().chain([(None, "e", true)]) {
            let server = Server::start(vec![Answer::whole(listed.as_bytes())]).await;
            let tree = ObjectTree::new(server.client(), "b");
            assert_eq!(tree.is_gone("k", version, etag).await.unwrap(), gone, "{version:?} {etag}");
        }
    }

    #[tokio::test]
    async fn a_key_that_is_no_xml_is_found_and_hides_nobody() {
        let listed = "<ListVersionsResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextKeyMarker>a%2B+b%01</NextKeyMarker>\
            <NextVersionIdMarker>v2</NextVersionIdMarker>\
            <Version><Key>a%2B+b%01</Key><VersionId>v2</VersionId><ETag>\"e\"</ETag></Version></ListVersionsResult>";
        let rest = "<ListVersionsResult><EncodingType>url</EncodingType>\
            <Version><Key>a%2B+b%01c</Key><VersionId>v1</VersionId></Version></ListVersionsResult>";
        let plain =
            "<ListVersionsResult><Version><Key>a+b%20c</Key><VersionId>v3</VersionId></Version></ListVersionsResult>";
        let server =
            Server::start([listed, listed, rest, plain].map(|body| Answer::whole(body.as_bytes())).into()).await;
        let tree = ObjectTree::new(server.client(), "b");
        assert!(!tree.is_gone("a+ b\u{1}", Some("v2"), "e").await.unwrap());
        assert!(tree.is_gone("a+ b\u{1}", Some("v1"), "e").await.unwrap());
        assert!(!tree.is_gone("a+b%20c", Some("v3"), "e").await.unwrap(), "by a server that doesn't encode");
        let requests = server.requests().await;
        assert!(requests.iter().all(|request| request.line.contains("encoding-type=url")));
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
