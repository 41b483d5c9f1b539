//! Writing an asset's description, once per version of its row.
//!
//! Guarantee: an older version never replaces a newer one. The file is written over the very one that was read
//! (If-Match), or only where none was (If-None-Match); who loses reads again. Only then the row says that it is
//! described.

use std::time::Duration;

use bytes::Bytes;
use reelfleet_catalog::{Catalog, CatalogError};
use reelfleet_domain::AssetState;
use reelfleet_messages::AssetId;
use reelfleet_objects::{ObjectError, ObjectWriter, fetch};
use serde::Deserialize;

use crate::document::{self, Document};

/// Races that are lost in a row before somebody else is left to it.
const ROUNDS: u32 = 5;
/// A description is never larger (bytes): rows stay below 64 KiB, pictures below some hundreds.
const MAX_BYTES: u64 = 4 << 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Why an asset was not described.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// The rows could not be read, or the version not noted.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The file could not be read or written.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The probe in the row is no JSON.
    #[error("the probe of the asset's row can't be read: {0}")]
    Probe(#[from] serde_json::Error),
    /// Others wrote the file again and again.
    #[error("the file was written by others {ROUNDS} times in a row")]
    Contended,
}

/// Describes assets. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Describer {
    catalog: Catalog,
    s3: aws_sdk_s3::Client,
    outputs: ObjectWriter,
}

/// What is read of a file that is there.
#[derive(Deserialize)]
struct Written {
    version: i64,
}

/// What a writer does about the file that it found.
#[derive(Debug, PartialEq, Eq)]
enum Step<'f> {
    /// It is as new as the row, or newer.
    Leave(i64),
    /// Over this one.
    Replace(&'f str),
    /// Where none is.
    Create,
}

/// `found` is the file's bytes and ETag. A file that can't be read counts as older than everything.
fn step(version: i64, found: Option<&(Bytes, String)>) -> Step<'_> {
    let Some((bytes, etag)) = found else { return Step::Create };
    match serde_json::from_slice::<Written>(bytes) {
        Ok(written) if written.version >= version => Step::Leave(written.version),
        _ => Step::Replace(etag),
    }
}

/// Whether there is something to describe, and it is not about to be deleted.
fn worth_describing(state: AssetState) -> bool {
    !matches!(state, AssetState::Uploaded | AssetState::Deleting | AssetState::Deleted)
}

impl Describer {
    /// A describer that writes by `outputs`.
    pub fn new(catalog: Catalog, s3: aws_sdk_s3::Client, outputs: ObjectWriter) -> Self {
        Self { catalog, s3, outputs }
    }

    /// Brings the file up to the asset's row. An asset that is not there, or not worth it, is done.
    pub async fn describe(&self, id: &AssetId) -> Result<(), DescribeError> {
        let key = document::key(id);
        for round in 0..ROUNDS {
            if round > 0 {
                tokio::time::sleep(PAUSE * round).await;
            }
            let Some(asset) = self.catalog.asset(id).await?.filter(|asset| worth_describing(asset.state)) else {
                return Ok(());
            };
            if asset.described >= asset.version {
                return Ok(());
            }
            let version = asset.version;
            let found = match fetch(&self.s3, self.outputs.bucket(), &key, MAX_BYTES).await {
                Ok(found) => Some(found),
                Err(ObjectError::Gone { .. }) => None,
                // Replaced between its HEAD and its GET.
                Err(ObjectError::Changed { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            let step = step(version, found.as_ref());
            if let Step::Leave(written) = step {
                return Ok(self.catalog.described(id, written).await?);
            }
            // Rows read after the asset's may be newer than it; the asset's version then grows and it is described again.
            let renditions = self.catalog.renditions(id, asset.generation).await?;
            let pictures = self.catalog.pictures(id, asset.generation).await?;
            let body = Bytes::from(serde_json::to_vec_pretty(&Document::new(asset, renditions, pictures)?)?);
            let (kind, cache) = ("application/json", Some("no-cache"));
            let written = match step {
                Step::Replace(etag) => self.outputs.put_if_match(etag, &key, body, kind, cache).await,
                Step::Create | Step::Leave(_) => self.outputs.put_if_absent(&key, body, kind, cache).await,
            };
            match written {
                Ok(_) => return Ok(self.catalog.described(id, version).await?),
                // Somebody else's, or my own whose answer was lost: the next round reads which.
                Err(ObjectError::Precondition { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(DescribeError::Contended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_version_never_replaces_a_newer_one() {
        let file = |text: &str| Some((Bytes::from(text.to_owned()), "e".to_owned()));
        assert_eq!(step(3, None), Step::Create);
        assert_eq!(step(3, file(r#"{"version":2}"#).as_ref()), Step::Replace("e"));
        assert_eq!(step(3, file(r#"{"version":3}"#).as_ref()), Step::Leave(3), "my own answer was lost");
        assert_eq!(step(3, file(r#"{"version":7}"#).as_ref()), Step::Leave(7));
        assert_eq!(step(3, file("not json").as_ref()), Step::Replace("e"));
    }

    #[test]
    fn nothing_is_written_for_what_is_unknown_or_going() {
        let described: Vec<AssetState> =
            AssetState::ALL.iter().copied().filter(|state| worth_describing(*state)).collect();
        assert_eq!(described.len(), AssetState::ALL.len() - 3);
        assert!(!described.contains(&AssetState::Deleting));
    }
}
