//! Multipart uploads whose parts somebody else sends.
//!
//! Guarantees: S3 is the memory of an upload ([`Multipart::list_parts`] reads all pages); completion names every part,
//! states the whole size, and never replaces an object that is there (If-None-Match: `*`).

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};

use crate::error::{ObjectError, bare, quoted};

/// S3 puts the parts together before it answers; for the largest objects that takes minutes.
const COMPLETION: Duration = Duration::from_secs(180);

/// A part as S3 has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// 1–10,000.
    pub number: u16,
    /// Bytes.
    pub size: u64,
    /// ETag without quotes.
    pub etag: String,
    /// SHA-256 in base64, where it was sent with the part.
    pub sha256: Option<String>,
}

/// What completion made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    /// ETag without quotes.
    pub etag: String,
    /// Version id where the bucket is versioned.
    pub version_id: Option<String>,
}

/// A multipart upload that is neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUpload {
    /// Key it is for.
    pub key: String,
    /// Upload id.
    pub upload_id: String,
    /// When it began, epoch milliseconds, 0 where the service does not say.
    pub initiated_ms: i64,
}

/// Multipart uploads into one bucket. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Multipart {
    client: Client,
    bucket: String,
}

impl Multipart {
    /// Multipart uploads into `bucket`.
    pub fn new(client: Client, bucket: impl Into<String>) -> Self {
        Self { client, bucket: bucket.into() }
    }

    /// Begins an upload and returns its id. With `sha256` every part must bring its SHA-256; without, S3 keeps a
    /// checksum of its own.
    pub async fn create(&self, key: &str, content_type: &str, sha256: bool) -> Result<String, ObjectError> {
        let answer = self
            .client
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(key)
            .content_type(content_type)
            .set_checksum_algorithm(sha256.then_some(ChecksumAlgorithm::Sha256))
            .send()
            .await
            .map_err(|error| ObjectError::of("CreateMultipartUpload", &self.bucket, key, error))?;
        answer.upload_id.ok_or_else(|| ObjectError::Call {
            call: "CreateMultipartUpload",
            bucket: self.bucket.clone(),
            key: key.to_owned(),
            detail: "the answer has no upload id".to_owned(),
        })
    }

    /// All parts that S3 has, by number.
    pub async fn list_parts(&self, key: &str, upload_id: &str) -> Result<Vec<Part>, ObjectError> {
        let mut parts = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let page = self
                .client
                .list_parts()
                .bucket(&self.bucket)
                .key(key)
                .upload_id(upload_id)
                .set_part_number_marker(marker.take())
                .send()
                .await
                .map_err(|error| ObjectError::of("ListParts", &self.bucket, key, error))?;
            for part in page.parts.unwrap_or_default() {
                let number = part.part_number.and_then(|n| u16::try_from(n).ok());
                let size = part.size.and_then(|size| u64::try_from(size).ok());
                if let (Some(number), Some(size)) = (number, size) {
                    parts.push(Part { number, size, etag: bare(part.e_tag), sha256: part.checksum_sha256 });
                }
            }
            match page.next_part_number_marker {
                Some(next) if page.is_truncated == Some(true) => marker = Some(next),
                _ => return Ok(parts),
            }
        }
    }

    /// Puts the parts together. [`ObjectError::Precondition`]: there is an object already;
    /// [`ObjectError::NoUpload`]: completed before, or aborted. In both cases HEAD tells whether the object is this one.
    pub async fn complete(&self, key: &str, upload_id: &str, parts: &[Part]) -> Result<Completed, ObjectError> {
        let size: u64 = parts.iter().map(|part| part.size).sum();
        let named = parts
            .iter()
            .map(|part| {
                CompletedPart::builder()
                    .part_number(i32::from(part.number))
                    .e_tag(quoted(&part.etag))
                    .set_checksum_sha256(part.sha256.clone())
                    .build()
            })
            .collect();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(3))
            .read_timeout(COMPLETION)
            .operation_attempt_timeout(COMPLETION)
            .build();
        let answer = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(key)
            .upload_id(upload_id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(named)).build())
            .set_mpu_object_size(i64::try_from(size).ok())
            .if_none_match("*")
            .customize()
            .config_override(aws_sdk_s3::config::Builder::new().timeout_config(timeouts))
            .send()
            .await
            .map_err(|error| ObjectError::of("CompleteMultipartUpload", &self.bucket, key, error))?;
        Ok(Completed { etag: bare(answer.e_tag), version_id: answer.version_id })
    }

    /// Throws an upload and its parts away; one that is gone already counts as aborted.
    pub async fn abort(&self, key: &str, upload_id: &str) -> Result<(), ObjectError> {
        let answer =
            self.client.abort_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload_id).send().await;
        match answer.map_err(|error| ObjectError::of("AbortMultipartUpload", &self.bucket, key, error)) {
            Ok(_) | Err(ObjectError::NoUpload { .. } | ObjectError::Gone { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Every open upload whose key begins with `prefix`.
    pub async fn open_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>, ObjectError> {
        let mut open = Vec::new();
        let (mut key_marker, mut id_marker) = (None, None);
        loop {
            let page = self
                .client
                .list_multipart_uploads()
                .bucket(&self.bucket)
                .prefix(prefix)
                .set_key_marker(key_marker)
                .set_upload_id_marker(id_marker)
                .send()
                .await
                .map_err(|error| ObjectError::of("ListMultipartUploads", &self.bucket, prefix, error))?;
            open.extend(page.uploads.unwrap_or_default().into_iter().filter_map(|upload| {
                Some(OpenUpload {
                    key: upload.key?,
                    upload_id: upload.upload_id?,
                    initiated_ms: upload.initiated.and_then(|time| time.to_millis().ok()).unwrap_or(0),
                })
            }));
            if page.is_truncated != Some(true) {
                return Ok(open);
            }
            (key_marker, id_marker) = (page.next_key_marker, page.next_upload_id_marker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{Answer, Server};

    #[tokio::test]
    async fn all_pages_of_parts_are_read_and_completion_replaces_nothing() {
        let first = "<ListPartsResult><IsTruncated>true</IsTruncated><NextPartNumberMarker>1</NextPartNumberMarker>\
            <Part><PartNumber>1</PartNumber><Size>7</Size><ETag>\"a\"</ETag></Part></ListPartsResult>";
        let second = "<ListPartsResult><IsTruncated>false</IsTruncated>\
            <Part><PartNumber>2</PartNumber><Size>3</Size><ETag>\"b\"</ETag></Part></ListPartsResult>";
        let done = "<CompleteMultipartUploadResult><ETag>\"c-2\"</ETag></CompleteMultipartUploadResult>";
        let server = Server::start(vec![
            Answer::whole(first.as_bytes()),
            Answer::whole(second.as_bytes()),
            Answer::whole(done.as_bytes()),
        ])
        .await;
        let multipart = Multipart::new(server.client(), "b");
        let parts = multipart.list_parts("k", "u").await.unwrap();
        assert_eq!(parts.iter().map(|part| (part.number, part.size)).collect::<Vec<_>>(), [(1, 7), (2, 3)]);
        let completed = multipart.complete("k", "u", &parts).await.unwrap();
        assert_eq!(completed.etag, "c-2");
        let requests = server.requests().await;
        assert!(requests[1].line.contains("part-number-marker=1"));
        assert_eq!(requests[2].header("if-none-match"), Some("*"));
        assert_eq!(requests[2].header("x-amz-mp-object-size"), Some("10"));
    }
}
