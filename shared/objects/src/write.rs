//! Writing whole objects, with or without a condition.
//!
//! Guarantee: [`ObjectError::Precondition`] means that S3 refused the write because of its condition. The SDK repeats a
//! write whose answer was lost, so the object that is there may be the one that was just written: whoever relies on the
//! condition reads it and compares.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use reelfleet_telemetry::ObjectBytes;

use crate::error::{ObjectError, bare, quoted};

/// What S3 stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// ETag without quotes.
    pub etag: String,
    /// Version id where the bucket is versioned.
    pub version_id: Option<String>,
}

/// Writes objects into one bucket. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ObjectWriter {
    client: Client,
    bucket: String,
}

enum Condition<'a> {
    None,
    Absent,
    Match(&'a str),
}

impl ObjectWriter {
    /// A writer into `bucket`.
    pub fn new(client: Client, bucket: impl Into<String>) -> Self {
        Self { client, bucket: bucket.into() }
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Writes, whatever is there.
    pub async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        content_type: &str,
        cache_control: Option<&str>,
    ) -> Result<Stored, ObjectError> {
        self.put_on(Condition::None, key, bytes, content_type, cache_control).await
    }

    /// Writes only if nothing is there (If-None-Match: `*`).
    pub async fn put_if_absent(
        &self,
        key: &str,
        bytes: Bytes,
        content_type: &str,
        cache_control: Option<&str>,
    ) -> Result<Stored, ObjectError> {
        self.put_on(Condition::Absent, key, bytes, content_type, cache_control).await
    }

    /// Writes only over the object with this ETag (If-Match).
    pub async fn put_if_match(
        &self,
        etag: &str,
        key: &str,
        bytes: Bytes,
        content_type: &str,
        cache_control: Option<&str>,
    ) -> Result<Stored, ObjectError> {
        self.put_on(Condition::Match(etag), key, bytes, content_type, cache_control).await
    }

    async fn put_on(
        &self,
        condition: Condition<'_>,
        key: &str,
        bytes: Bytes,
        content_type: &str,
        cache_control: Option<&str>,
    ) -> Result<Stored, ObjectError> {
        let size = bytes.len() as u64;
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .content_type(content_type)
            .set_cache_control(cache_control.map(str::to_owned))
            .body(ByteStream::from(bytes));
        let request = match condition {
            Condition::None => request,
            Condition::Absent => request.if_none_match("*"),
            Condition::Match(etag) => request.if_match(quoted(etag.trim_matches('"'))),
        };
        // Room for the body at 1 MiB/s beside the usual answer time.
        let attempt = Duration::from_secs(15 + (size >> 20));
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(3))
            .read_timeout(attempt)
            .operation_attempt_timeout(attempt)
            .build();
        let answer = request
            .customize()
            .config_override(aws_sdk_s3::config::Builder::new().timeout_config(timeouts))
            .send()
            .await
            .map_err(|error| {
                match (ObjectError::of("PutObject", &self.bucket, key, error), condition) {
                    // If-Match on a key that is not there is answered 404.
                    (ObjectError::Gone { bucket, key }, Condition::Match(_)) => {
                        ObjectError::Precondition { bucket, key }
                    }
                    (error, _) => error,
                }
            })?;
        ObjectBytes { op: "write", bytes: size }.emit();
        Ok(Stored { etag: bare(answer.e_tag), version_id: answer.version_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{Answer, Server};

    #[tokio::test]
    async fn conditions_are_sent_and_their_loss_is_told_apart() {
        let server =
            Server::start(vec![Answer::headers("ETag: \"e1\"\r\n"), Answer::status(412), Answer::status(404)]).await;
        let writer = ObjectWriter::new(server.client(), "b");
        let body = || Bytes::from_static(b"#EXTM3U");
        let kind = "application/vnd.apple.mpegurl";
        let stored = writer.put_if_absent("k", body(), kind, Some("max-age=1")).await.unwrap();
        assert_eq!(stored.etag, "e1");
        for _ in 0..2 {
            let error = writer.put_if_match("e1", "k", body(), kind, None).await.unwrap_err();
            assert!(matches!(error, ObjectError::Precondition { .. }), "{error}");
        }
        let requests = server.requests().await;
        assert_eq!(requests[0].header("if-none-match"), Some("*"));
        assert_eq!(requests[0].header("cache-control"), Some("max-age=1"));
        assert_eq!(requests[0].header("content-type"), Some(kind));
        assert_eq!(requests[0].body, b"#EXTM3U");
        assert_eq!(requests[1].header("if-match"), Some("\"e1\""));
    }
}
