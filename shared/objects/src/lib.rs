//! S3 as the fleet uses it: bytes in, bytes out, no files.
//!
//! Guarantees:
//! - a source is read by range and pinned to one version of it: what changes under a reader is an error, never a mix
//!   ([`RangedReader`]);
//! - a write may be conditional, and a lost condition is told apart from a failure ([`ObjectWriter`]);
//! - a deletion is counted: what the service did not confirm is an error ([`ObjectTree`]);
//! - a signed URL fixes length and type of what may be sent, and lives for 15 minutes at most ([`Presigner`]).
//!
//! ETags are without their quotes everywhere in this crate.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod error;
mod multipart;
mod presign;
mod read;
#[cfg(test)]
mod scripted;
mod tree;
mod write;

pub use error::ObjectError;
pub use multipart::{Completed, Multipart, OpenUpload, Part};
pub use presign::{MAX_EXPIRY, PresignedUrl, Presigner, PutTerms};
pub use read::{ObjectHead, RangedReader, ReadSettings, fetch, head};
pub use tree::{ListedObject, ListedVersion, ObjectTree, VersionsPage};
pub use write::{ObjectWriter, Stored};
