//! Reading one object by range.
//!
//! Guarantees of [`RangedReader::read_at`]:
//! - all bytes come from the version that was pinned (If-Match on every request, and the version id where there is one);
//! - the answer has exactly the bytes asked for, cut only at the object's size: a failure is never a short read;
//! - a body that breaks off or falls silent is resumed by Range from where it stopped; five times in a row without a byte
//!   gained is an error.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumMode;
use bytes::{Bytes, BytesMut};
use reelfleet_telemetry::{ObjectBytes, ObjectReadResumed};
use tokio::time::timeout;

use crate::error::{ObjectError, bare, quoted};

/// How patient a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadSettings {
    /// Until the first byte of an answer, for each attempt.
    pub attempt: Duration,
    /// Between two pieces of a body.
    pub idle: Duration,
    /// Resumptions in a row that gain no byte.
    pub fruitless: u32,
}

impl Default for ReadSettings {
    fn default() -> Self {
        Self { attempt: Duration::from_secs(10), idle: Duration::from_secs(10), fruitless: 5 }
    }
}

/// What HEAD says about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectHead {
    /// Bytes.
    pub size: u64,
    /// ETag without quotes.
    pub etag: String,
    /// Version id where the bucket is versioned.
    pub version_id: Option<String>,
    /// Content-Type as stored.
    pub content_type: Option<String>,
    /// SHA-256 in base64, where the whole object was stored with it.
    pub sha256: Option<String>,
    /// Last-Modified in epoch milliseconds, 0 where the service does not say.
    pub last_modified_ms: i64,
}

/// HEAD of an object, or of one version of it.
pub async fn head(
    client: &Client,
    bucket: &str,
    key: &str,
    version_id: Option<&str>,
) -> Result<ObjectHead, ObjectError> {
    let answer = client
        .head_object()
        .bucket(bucket)
        .key(key)
        .set_version_id(version_id.map(str::to_owned))
        .checksum_mode(ChecksumMode::Enabled)
        .send()
        .await
        .map_err(|error| ObjectError::of("HeadObject", bucket, key, error))?;
    Ok(ObjectHead {
        size: answer.content_length.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
        etag: bare(answer.e_tag),
        version_id: answer.version_id,
        content_type: answer.content_type,
        sha256: answer.checksum_sha256,
        last_modified_ms: answer.last_modified.and_then(|time| time.to_millis().ok()).unwrap_or(0),
    })
}

/// A small object whole (a playlist, a metadata file) and its ETag. More than `max_bytes` is an error.
pub async fn fetch(client: &Client, bucket: &str, key: &str, max_bytes: u64) -> Result<(Bytes, String), ObjectError> {
    let reader = RangedReader::open(client.clone(), bucket, key, None).await?;
    if reader.size() > max_bytes {
        return Err(ObjectError::Invalid(format!(
            "s3://{bucket}/{key} has {} bytes, expected at most {max_bytes}",
            reader.size()
        )));
    }
    let len = u32::try_from(reader.size())
        .map_err(|_| ObjectError::Invalid(format!("{max_bytes} bytes are too many to fetch")))?;
    Ok((reader.read_at(0, len).await?, reader.etag))
}

/// Reads one version of one object by range. Cheap to clone; reads may run side by side.
#[derive(Clone, Debug)]
pub struct RangedReader {
    client: Client,
    bucket: String,
    key: String,
    version_id: Option<String>,
    etag: String,
    size: u64,
    settings: ReadSettings,
}

impl RangedReader {
    /// Pins what HEAD finds there now.
    pub async fn open(client: Client, bucket: &str, key: &str, version_id: Option<&str>) -> Result<Self, ObjectError> {
        let head = head(&client, bucket, key, version_id).await?;
        Ok(Self::pinned(client, bucket, key, version_id, &head.etag, head.size))
    }

    /// Pins a version that is known already; nothing is called.
    pub fn pinned(client: Client, bucket: &str, key: &str, version_id: Option<&str>, etag: &str, size: u64) -> Self {
        Self {
            client,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            // "null" is the version of an object from before versioning: a version like any other where one asks for it.
            version_id: version_id.map(str::to_owned),
            etag: etag.trim_matches('"').to_owned(),
            size,
            settings: ReadSettings::default(),
        }
    }

    /// The same with other patience.
    #[must_use]
    pub fn with_settings(mut self, settings: ReadSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Bytes of the object.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its ETag without quotes.
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// The bytes at `offset`, `len` of them or as many as there are; empty only at or past the end.
    pub async fn read_at(&self, offset: u64, len: u32) -> Result<Bytes, ObjectError> {
        let wanted = u64::from(len).min(self.size.saturating_sub(offset));
        let wanted = usize::try_from(wanted).map_err(|_| ObjectError::Invalid(format!("a read of {wanted} bytes")))?;
        if wanted == 0 {
            return Ok(Bytes::new());
        }
        let mut got = BytesMut::with_capacity(wanted);
        let mut fruitless = 0;
        loop {
            let before = got.len();
            let position = offset + before as u64;
            let body = self.request(position, offset + wanted as u64 - 1).await?;
            let Err(detail) = self.drain(body, &mut got, wanted).await else {
                ObjectBytes { op: "read", bytes: got.len() as u64 }.emit();
                return Ok(got.freeze());
            };
            fruitless = if got.len() > before { 0 } else { fruitless + 1 };
            let position = offset + got.len() as u64;
            if fruitless >= self.settings.fruitless {
                return Err(self.io(position, detail));
            }
            ObjectReadResumed { bucket: &self.bucket, key: &self.key, offset: position, detail: &detail }.emit();
        }
    }

    /// GET of the bytes `first..=last`.
    async fn request(&self, first: u64, last: u64) -> Result<ByteStream, ObjectError> {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(3))
            .read_timeout(self.settings.attempt)
            .operation_attempt_timeout(self.settings.attempt)
            .build();
        let answer = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(&self.key)
            .set_version_id(self.version_id.clone())
            .if_match(quoted(&self.etag))
            .range(format!("bytes={first}-{last}"))
            .customize()
            .config_override(aws_sdk_s3::config::Builder::new().timeout_config(timeouts))
            .send()
            .await
            .map_err(|error| ObjectError::of("GetObject", &self.bucket, &self.key, error).on_read())?;
        // A server that ignores Range would hand out the wrong bytes as if they were right.
        let promised = format!("bytes {first}-{last}/");
        match answer.content_range.as_deref() {
            Some(range) if range.starts_with(&promised) => Ok(answer.body),
            other => Err(self.io(first, format!("asked for bytes {first}-{last}, the answer is of {other:?}"))),
        }
    }

    /// Adds the body to `got` until it holds `wanted` bytes; the reason when the body ends before.
    async fn drain(&self, mut body: ByteStream, got: &mut BytesMut, wanted: usize) -> Result<(), String> {
        while got.len() < wanted {
            match timeout(self.settings.idle, body.next()).await {
                Ok(Some(Ok(piece))) => {
                    let room = wanted - got.len();
                    got.extend_from_slice(piece.get(..room).unwrap_or(&piece));
                }
                Ok(Some(Err(error))) => {
                    return Err(aws_sdk_s3::error::DisplayErrorContext(&error).to_string());
                }
                Ok(None) => return Err("the body ended early".to_owned()),
                Err(_elapsed) => {
                    return Err(format!("no byte for {} ms", self.settings.idle.as_millis()));
                }
            }
        }
        Ok(())
    }

    fn io(&self, offset: u64, detail: String) -> ObjectError {
        ObjectError::Io { bucket: self.bucket.clone(), key: self.key.clone(), offset, detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{Answer, Server};

    async fn reader(server: &Server) -> RangedReader {
        RangedReader::pinned(server.client(), "b", "k", Some("v7"), "\"e1\"", 10).with_settings(ReadSettings {
            attempt: Duration::from_secs(5),
            idle: Duration::from_millis(100),
            fruitless: 2,
        })
    }

    #[tokio::test]
    async fn a_broken_and_a_silent_body_are_resumed_at_the_byte_where_they_stopped() {
        let server = Server::start(vec![
            Answer::part("bytes 2-9/10", 8, b"cde").then_close(),
            Answer::part("bytes 5-9/10", 5, b"fg").then_silence(),
            Answer::part("bytes 7-9/10", 3, b"hij"),
        ])
        .await;
        let read = reader(&server).await.read_at(2, 100).await.unwrap();
        assert_eq!(&read[..], b"cdefghij");
        let requests = server.requests().await;
        assert_eq!(requests.len(), 3);
        for (request, range) in requests.iter().zip(["bytes=2-9", "bytes=5-9", "bytes=7-9"]) {
            assert_eq!(request.header("range"), Some(range));
            assert_eq!(request.header("if-match"), Some("\"e1\""));
            assert!(request.line.contains("versionId=v7"), "{}", request.line);
        }
    }

    #[tokio::test]
    async fn a_read_that_gains_nothing_ends_in_an_error_not_in_a_short_read() {
        let server = Server::start(vec![
            Answer::part("bytes 0-9/10", 10, b"abc").then_close(),
            Answer::part("bytes 3-9/10", 7, b"").then_close(),
            Answer::part("bytes 3-9/10", 7, b"").then_close(),
        ])
        .await;
        let error = reader(&server).await.read_at(0, 10).await.unwrap_err();
        assert!(matches!(error, ObjectError::Io { offset: 3, .. }), "{error}");
    }

    #[tokio::test]
    async fn changed_gone_and_a_server_without_ranges_are_told_apart() {
        let server = Server::start(vec![Answer::status(412), Answer::status(404), Answer::whole(b"0123456789")]).await;
        let reader = reader(&server).await;
        assert!(matches!(reader.read_at(0, 4).await, Err(ObjectError::Changed { .. })));
        assert!(matches!(reader.read_at(0, 4).await, Err(ObjectError::Gone { .. })));
        assert!(matches!(reader.read_at(4, 4).await, Err(ObjectError::Io { .. })));
        // Past the end nothing is asked for.
        assert!(reader.read_at(10, 4).await.unwrap().is_empty());
        assert_eq!(server.requests().await.len(), 3);
    }
}
