//! Signed URLs, as browsers and partners use them.
//!
//! Guarantees: an upload URL fixes the exact length, and for a single PUT the content type and that nothing is replaced;
//! no URL lives longer than [`MAX_EXPIRY`]. The host in the URL is that of the client given to [`Presigner::new`]: the
//! one browsers see.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};

use crate::error::ObjectError;

/// No signed URL lives longer.
pub const MAX_EXPIRY: Duration = Duration::from_secs(15 * 60);

/// A URL and what must be sent with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresignedUrl {
    /// GET or PUT.
    pub method: String,
    /// The URL. A secret for its lifetime: never logged.
    pub url: String,
    /// Headers to send exactly so. A browser sets `content-length` itself.
    pub headers: Vec<(String, String)>,
    /// Lifetime from now.
    pub expires_in: Duration,
}

/// What a single PUT must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutTerms {
    /// Exact bytes.
    pub content_length: u64,
    /// Exact Content-Type.
    pub content_type: String,
    /// SHA-256 in base64, if the sender gave it.
    pub sha256: Option<String>,
}

/// Signs URLs; calls nothing. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Presigner {
    client: Client,
}

impl Presigner {
    /// Signs for the endpoint of `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// A PUT of one whole object that must not exist yet.
    pub async fn put(
        &self,
        bucket: &str,
        key: &str,
        terms: &PutTerms,
        expires_in: Duration,
    ) -> Result<PresignedUrl, ObjectError> {
        let (config, expires_in) = lifetime(expires_in)?;
        let signed = self
            .client
            .put_object()
            .bucket(bucket)
            .key(key)
            .content_length(length(terms.content_length)?)
            .content_type(&terms.content_type)
            .set_checksum_sha256(terms.sha256.clone())
            .if_none_match("*")
            .presigned(config)
            .await
            .map_err(|error| ObjectError::of("PutObject", bucket, key, error))?;
        Ok(url(&signed, expires_in))
    }

    /// A PUT of one part.
    #[allow(clippy::too_many_arguments)]
    pub async fn upload_part(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        part_number: u16,
        content_length: u64,
        sha256: Option<&str>,
        expires_in: Duration,
    ) -> Result<PresignedUrl, ObjectError> {
        if !(1..=10_000).contains(&part_number) {
            return Err(ObjectError::Invalid(format!("part number {part_number} is not 1 to 10000")));
        }
        let (config, expires_in) = lifetime(expires_in)?;
        let signed = self
            .client
            .upload_part()
            .bucket(bucket)
            .key(key)
            .upload_id(upload_id)
            .part_number(i32::from(part_number))
            .content_length(length(content_length)?)
            .set_checksum_sha256(sha256.map(str::to_owned))
            .presigned(config)
            .await
            .map_err(|error| ObjectError::of("UploadPart", bucket, key, error))?;
        Ok(url(&signed, expires_in))
    }

    /// A GET, of any range the bearer likes. `disposition` becomes the answer's Content-Disposition, `content_type` its
    /// Content-Type.
    pub async fn get(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        content_type: Option<&str>,
        disposition: Option<&str>,
        expires_in: Duration,
    ) -> Result<PresignedUrl, ObjectError> {
        let (config, expires_in) = lifetime(expires_in)?;
        let signed = self
            .client
            .get_object()
            .bucket(bucket)
            .key(key)
            .set_version_id(version_id.map(str::to_owned))
            .set_response_content_type(content_type.map(str::to_owned))
            .set_response_content_disposition(disposition.map(str::to_owned))
            .presigned(config)
            .await
            .map_err(|error| ObjectError::of("GetObject", bucket, key, error))?;
        Ok(url(&signed, expires_in))
    }
}

fn lifetime(asked: Duration) -> Result<(PresigningConfig, Duration), ObjectError> {
    let lifetime = Duration::from_secs(asked.min(MAX_EXPIRY).as_secs().max(1));
    PresigningConfig::expires_in(lifetime)
        .map(|config| (config, lifetime))
        .map_err(|error| ObjectError::Invalid(error.to_string()))
}

fn length(bytes: u64) -> Result<i64, ObjectError> {
    i64::try_from(bytes).map_err(|_| ObjectError::Invalid(format!("{bytes} bytes are too many")))
}

fn url(signed: &PresignedRequest, expires_in: Duration) -> PresignedUrl {
    PresignedUrl {
        method: signed.method().to_owned(),
        url: signed.uri().to_owned(),
        headers: signed.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        expires_in,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::Server;

    async fn presigner() -> Presigner {
        Presigner::new(Server::start(Vec::new()).await.client())
    }

    #[tokio::test]
    async fn a_put_signs_length_type_and_that_nothing_is_replaced() {
        let terms = PutTerms { content_length: 5, content_type: "video/mp4".into(), sha256: None };
        let put = presigner().await.put("b", "in/k", &terms, Duration::from_secs(3600)).await.unwrap();
        assert_eq!(put.method, "PUT");
        assert_eq!(put.expires_in, MAX_EXPIRY);
        assert!(put.url.contains("X-Amz-Expires=900"));
        assert!(
            put.url.contains("X-Amz-SignedHeaders=content-length%3Bcontent-type%3Bhost%3Bif-none-match"),
            "{}",
            put.url
        );
        let header = |name: &str| put.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        assert_eq!(header("content-length"), Some("5"));
        assert_eq!(header("if-none-match"), Some("*"));
    }

    #[tokio::test]
    async fn a_part_signs_its_length_and_its_sum() {
        let presigner = presigner().await;
        let sign =
            async |number, sum| presigner.upload_part("b", "k", "u", number, 7, sum, Duration::from_secs(60)).await;
        let part = sign(3, Some("c3Vt")).await.unwrap();
        assert!(part.url.contains("X-Amz-SignedHeaders=content-length%3Bhost%3Bx-amz-checksum-sha256"), "{}", part.url);
        assert!(part.url.contains("partNumber=3"));
        let bare = sign(3, None).await.unwrap();
        assert!(bare.url.contains("X-Amz-SignedHeaders=content-length%3Bhost&"), "{}", bare.url);
        assert!(sign(0, None).await.is_err() && sign(10_001, None).await.is_err());
    }
}
