//! How an S3 object is named, and what makes it the same object again.

use serde::{Deserialize, Serialize};

/// An object as S3's HEAD reported it. Size and ETag come from HEAD, never from a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Bucket name.
    pub bucket: String,
    /// Decoded key, at most 1,024 bytes of UTF-8.
    pub key: String,
    /// Version id where the bucket is versioned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// ETag with its quotes removed.
    pub etag: String,
    /// Bytes.
    pub size: u64,
}

impl ObjectRef {
    /// What makes this the same object when it is announced again.
    pub fn identity(&self) -> SourceIdentity {
        SourceIdentity::of(&self.bucket, &self.key, self.version_id.as_deref(), &self.etag)
    }
}

/// (bucket, key, version id), or (bucket, key, ETag) without versioning. The key of deduplication.
///
/// Never the message id: a redrive gives a new one, and S3 delivers at least once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourceIdentity(String);

impl SourceIdentity {
    /// A bucket's name holds no `/` and the version or ETag no newline, so the parts can't run into one another.
    pub fn of(bucket: &str, key: &str, version_id: Option<&str>, etag: &str) -> Self {
        match version_id {
            Some(version) if version != "null" => Self(format!("{bucket}/{key}\nv:{version}")),
            _ => Self(format!("{bucket}/{key}\ne:{etag}")),
        }
    }

    /// The text that is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_decides_where_there_is_one() {
        let with = SourceIdentity::of("b", "k", Some("v1"), "e1");
        assert_eq!(with, SourceIdentity::of("b", "k", Some("v1"), "e2"));
        let without = SourceIdentity::of("b", "k", None, "e1");
        assert_eq!(
            without,
            SourceIdentity::of("b", "k", Some("null"), "e1"),
            "S3 calls the version of an unversioned object null"
        );
        assert_ne!(without, SourceIdentity::of("b", "k", None, "e2"));
        assert_ne!(with, without);
    }
}
