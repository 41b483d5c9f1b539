//! Object bytes as immutable files under random ids.
//!
//! Guarantee: a blob that is handed out was written, compared with what the client said, and synced with its folder;
//! it never changes afterwards. It is invisible until a row names it, so no rename is needed, and what no row names
//! is deleted: by the guard of a request that failed, by the collector after a grace, or by the sweep at start.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write as _},
    num::NonZeroU64,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures::StreamExt as _;
use s3s::{S3ErrorCode, StdError, dto::StreamingBlob};
use tokio::task::JoinHandle;

use super::{
    digest::{Digests, Expect, Hasher},
    error::Fault,
};
use crate::state::Ids;

/// Bytes of one read from a blob, and the least that is written at once.
pub(super) const PIECE: usize = 512 << 10;
/// After so many bytes the disk is asked to begin, so that the sync at the end of a large body finds little to do.
const BEGIN: u64 = 16 << 20;
/// Largest object or part that one request may write: 5 GiB, as on S3.
pub(crate) const MAX_SINGLE: u64 = 5 << 30;

/// The folder of blobs.
pub(crate) struct Blobs {
    root: PathBuf,
    /// Bytes that must stay free, so that the database can go on when the disk is nearly full.
    reserve: u64,
    pub(super) pins: Mutex<HashMap<String, usize>>,
}

/// A blob that no row names yet. Dropping it deletes the file, unless it was kept.
pub(crate) struct NewBlob {
    id: String,
    path: PathBuf,
    kept: bool,
}

impl NewBlob {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// To be called in the write that names the blob, as its last step. If the commit then fails, whether the row is
    /// there is only known after a restart, and the sweep at start decides.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for NewBlob {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, blob = self.id, "a blob of a failed request stays until the next start");
        }
    }
}

/// A body that arrived whole and is on disk.
pub(crate) struct Received {
    pub(crate) blob: NewBlob,
    pub(crate) size: u64,
    pub(crate) digests: Digests,
}

/// A blob that is being written. Lost on the way, it takes its file with it.
struct Writer {
    blob: NewBlob,
    file: File,
    written: u64,
    /// Of them the disk has been asked for.
    begun: u64,
}

impl Writer {
    fn create(blob: NewBlob) -> io::Result<Self> {
        let file = File::options().write(true).create_new(true).open(&blob.path)?;
        Ok(Self { blob, file, written: 0, begun: 0 })
    }

    fn write(mut self, pieces: &[Bytes]) -> io::Result<Self> {
        for piece in pieces {
            self.file.write_all(piece)?;
            self.written += piece.len() as u64;
        }
        if let Some(length) = NonZeroU64::new(self.written - self.begun).filter(|length| length.get() >= BEGIN) {
            // On Linux this starts the writing of what is dirty and drops only what is not. Advice: it may be refused.
            let _ = rustix::fs::fadvise(&self.file, self.begun, Some(length), rustix::fs::Advice::DontNeed);
            self.begun = self.written;
        }
        Ok(self)
    }

    /// Syncs file and folder.
    fn finish(self) -> io::Result<NewBlob> {
        self.file.sync_all()?;
        if let Some(folder) = self.blob.path.parent() {
            sync_dir(folder)?;
        }
        Ok(self.blob)
    }
}

/// A body on its way: written and hashed side by side, each on a blocking thread that it has only while there is something
/// to do, so that a slow client holds none.
struct Lanes {
    writer: JoinHandle<io::Result<Writer>>,
    hasher: JoinHandle<Hasher>,
}

impl Lanes {
    fn open(blob: NewBlob, hasher: Hasher) -> Self {
        let writer = tokio::task::spawn_blocking(move || Writer::create(blob));
        Self { writer, hasher: tokio::task::spawn_blocking(move || hasher) }
    }

    async fn ready(self) -> Result<(Writer, Hasher), Fault> {
        let writer = self.writer.await.map_err(Fault::internal)?.map_err(Fault::io)?;
        Ok((writer, self.hasher.await.map_err(Fault::internal)?))
    }

    /// Waits until the pieces before these are done with, not for these.
    async fn take(self, pieces: Vec<Bytes>) -> Result<Self, Fault> {
        let (writer, mut hasher) = self.ready().await?;
        let pieces = Arc::new(pieces);
        let same = Arc::clone(&pieces);
        let hasher = tokio::task::spawn_blocking(move || {
            same.iter().for_each(|piece| hasher.update(piece));
            hasher
        });
        Ok(Self { writer: tokio::task::spawn_blocking(move || writer.write(&pieces)), hasher })
    }

    /// Compares, and syncs if all is right: only then is it worth it.
    async fn finish(self, expect: Expect) -> Result<(NewBlob, Digests), Fault> {
        let (writer, hasher) = self.ready().await?;
        let finish = move || {
            let digests = hasher.finish();
            expect.check(&digests)?;
            Ok((writer.finish().map_err(Fault::io)?, digests))
        };
        tokio::task::spawn_blocking(finish).await.map_err(Fault::internal)?
    }
}

impl Blobs {
    /// Opens the folder, making it and its 256 subfolders when they are missing.
    pub(crate) fn open(root: PathBuf, reserve: u64) -> io::Result<Self> {
        for n in 0..=255_u8 {
            fs::create_dir_all(root.join(hex::encode([n])))?;
        }
        sync_dir(&root)?;
        if let Some(parent) = root.parent() {
            sync_dir(parent)?;
        }
        Ok(Self { root, reserve, pins: Mutex::default() })
    }

    pub(super) fn path(&self, id: &str) -> PathBuf {
        self.root.join(id.get(..2).unwrap_or("00")).join(id)
    }

    /// Refuses a body that would leave less room than the reserve.
    fn check_room(&self, wanted: u64) -> Result<(), Fault> {
        let stat = rustix::fs::statvfs(&self.root).map_err(|error| Fault::io(error.into()))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free < self.reserve.saturating_add(wanted) { Err(Fault::full()) } else { Ok(()) }
    }

    /// Streams a body into a new blob. While some of it is hashed and written, the next comes from the network.
    ///
    /// `length` is what the request declared. The digests are compared with `expect` before the file is synced, so a
    /// mismatch publishes nothing. A client that goes away leaves nothing.
    pub(crate) async fn receive(
        &self,
        body: Option<StreamingBlob>,
        length: Option<u64>,
        expect: Expect,
    ) -> Result<Received, Fault> {
        if length.is_some_and(|length| length > MAX_SINGLE) {
            return Err(too_large());
        }
        self.check_room(length.unwrap_or(0))?;
        let id = Ids.hex();
        let blob = NewBlob { path: self.path(&id), id, kept: false };
        let mut lanes = Lanes::open(blob, expect.hasher());

        let mut size = 0_u64;
        let (mut pieces, mut held) = (Vec::new(), 0);
        if let Some(mut body) = body {
            while let Some(chunk) = body.next().await {
                let chunk = chunk.map_err(body_fault)?;
                size += chunk.len() as u64;
                if size > MAX_SINGLE {
                    return Err(too_large());
                }
                held += chunk.len();
                pieces.push(chunk);
                if held >= PIECE {
                    lanes = lanes.take(std::mem::take(&mut pieces)).await?;
                    held = 0;
                }
            }
        }
        if length.is_some_and(|length| length != size) {
            let message = "You did not provide the number of bytes specified by the Content-Length HTTP header.";
            return Err(Fault::new(S3ErrorCode::IncompleteBody, message));
        }
        let (blob, digests) = lanes.take(pieces).await?.finish(expect).await?;
        Ok(Received { blob, size, digests })
    }

    /// Deletes a collected blob. `Ok(false)`: it is still being read.
    pub(crate) fn collect(&self, id: &str) -> io::Result<bool> {
        if self.pins.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id) {
            return Ok(false);
        }
        match fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(true),
        }
    }

    /// Deletes every file that `named` does not know, and says how many. Only for the start, before any request.
    pub(crate) fn sweep<E: From<io::Error>>(&self, mut named: impl FnMut(&str) -> Result<bool, E>) -> Result<u64, E> {
        let mut deleted = 0;
        for folder in fs::read_dir(&self.root)? {
            for file in fs::read_dir(folder?.path())? {
                let file = file?;
                if !named(&file.file_name().to_string_lossy())? {
                    fs::remove_file(file.path())?;
                    deleted += 1;
                }
            }
        }
        Ok(deleted)
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn too_large() -> Fault {
    Fault::new(S3ErrorCode::EntityTooLarge, "Your proposed upload exceeds the maximum allowed size.")
}

/// What a broken body means. s3s keeps the types of its body errors to itself; their texts are all there is.
fn body_fault(error: StdError) -> Fault {
    let text = error.to_string();
    if text.contains("Sha256Mismatch") {
        let message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
        return Fault::custom("XAmzContentSHA256Mismatch", http::StatusCode::BAD_REQUEST, message);
    }
    if text.contains("SignatureMismatch") {
        let message = "The signature of a chunk does not match the signature that was computed.";
        return Fault::new(S3ErrorCode::SignatureDoesNotMatch, message);
    }
    tracing::debug!(error = text, "a request body broke off");
    Fault::new(S3ErrorCode::IncompleteBody, "The request body terminated unexpectedly")
}

#[cfg(test)]
mod tests {
    use super::{super::blob_stream::Extent, *};

    fn body(chunks: Vec<&'static [u8]>) -> Option<StreamingBlob> {
        let chunks = chunks.into_iter().map(|c| Ok::<_, io::Error>(Bytes::from_static(c)));
        Some(StreamingBlob::wrap(futures::stream::iter(chunks.collect::<Vec<_>>())))
    }

    fn files(root: &Path) -> usize {
        let folders = fs::read_dir(root).unwrap();
        folders.map(|folder| fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
    }

    #[tokio::test]
    async fn a_kept_blob_reads_back_and_a_dropped_one_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Arc::new(Blobs::open(dir.path().join("blobs"), 0).unwrap());
        let got = blobs.receive(body(vec![b"abc", b"def"]), Some(6), Expect::default()).await.unwrap();
        assert_eq!((got.size, got.digests.etag().as_str()), (6, "e80b5017098950fc58aad83c8c14978e"));
        let id = got.blob.id().to_owned();
        got.blob.keep();
        drop(blobs.receive(body(vec![b"other"]), None, Expect::default()).await.unwrap());
        assert_eq!(files(&dir.path().join("blobs")), 1);

        let extents = vec![Extent { blob: id.clone(), from: 4, len: 2 }, Extent { blob: id.clone(), from: 0, len: 1 }];
        let stream = blobs.read(extents, |_| ());
        assert!(!blobs.collect(&id).unwrap(), "it is being read");
        let read: Vec<Bytes> = stream.map(|piece| piece.unwrap()).collect().await;
        assert_eq!(read.concat(), b"efa");
        assert!(blobs.collect(&id).unwrap());
        assert_eq!(files(&dir.path().join("blobs")), 0);
    }

    #[tokio::test]
    async fn a_short_body_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path().join("blobs"), 0).unwrap();
        assert!(blobs.receive(body(vec![b"abc"]), Some(4), Expect::default()).await.is_err());
        assert!(blobs.receive(body(vec![b"abc"]), Some(3), Expect::default()).await.is_ok());
    }

    #[tokio::test]
    async fn a_full_disk_is_said_before_a_byte_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path().join("blobs"), u64::MAX).unwrap();
        let refused = blobs.receive(body(vec![b"abc"]), Some(3), Expect::default()).await;
        assert_eq!(refused.err().unwrap().0.status_code(), Some(http::StatusCode::INSUFFICIENT_STORAGE));
    }

    #[test]
    fn the_sweep_deletes_what_nobody_names() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path().join("blobs"), 0).unwrap();
        fs::write(blobs.path("aa11"), "x").unwrap();
        fs::write(blobs.path("bb22"), "x").unwrap();
        assert_eq!(blobs.sweep::<io::Error>(|id| Ok(id == "aa11")).unwrap(), 1);
        assert!(blobs.path("aa11").exists() && !blobs.path("bb22").exists());
    }
}
