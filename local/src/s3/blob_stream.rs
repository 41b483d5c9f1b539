//! Bytes of blobs as a body: in large pieces, one piece ahead of the network, files opened one after the other. What is
//! being read is pinned, so that the collector leaves it alone.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::Stream;
use s3s::{
    StdError,
    stream::{ByteStream, RemainingLength},
};
use tokio::task::JoinHandle;

use super::blobs::{Blobs, PIECE};

impl Blobs {
    /// Keeps blobs from the collector for as long as the answer lives.
    fn pin(self: &Arc<Self>, extents: &[Extent]) -> Pins {
        let ids: Vec<_> = extents.iter().map(|extent| extent.blob.clone()).collect();
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        for id in &ids {
            *pins.entry(id.clone()).or_default() += 1;
        }
        drop(pins);
        Pins { blobs: Arc::clone(self), ids }
    }

    /// The bytes of `extents`, one after the other, opened one after the other. `served` is told of each piece.
    pub(crate) fn read(
        self: &Arc<Self>,
        extents: Vec<Extent>,
        served: impl Fn(u64) + Send + Sync + 'static,
    ) -> BlobStream {
        let pins = self.pin(&extents);
        let remaining = extents.iter().map(|extent| extent.len).sum();
        let extents = extents.into_iter().filter(|extent| extent.len > 0).collect();
        BlobStream { pins, extents, file: None, pending: None, remaining, served: Box::new(served) }
    }
}

/// A run of bytes of one blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) blob: String,
    pub(crate) from: u64,
    pub(crate) len: u64,
}

pub(super) struct Pins {
    blobs: Arc<Blobs>,
    ids: Vec<String>,
}

impl Drop for Pins {
    fn drop(&mut self) {
        let mut pins = self.blobs.pins.lock().unwrap_or_else(PoisonError::into_inner);
        for id in &self.ids {
            if let Some(count) = pins.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    pins.remove(id);
                }
            }
        }
    }
}

/// A read that runs on a blocking thread: the file for the next one, and the bytes.
type PieceRead = JoinHandle<io::Result<(Arc<File>, Bytes)>>;

/// A body read from blobs in large pieces, one piece ahead of the network.
pub(crate) struct BlobStream {
    pins: Pins,
    extents: VecDeque<Extent>,
    file: Option<Arc<File>>,
    pending: Option<PieceRead>,
    remaining: u64,
    served: Box<dyn Fn(u64) + Send + Sync>,
}

impl BlobStream {
    fn start_read(&mut self) {
        let Some(extent) = self.extents.front_mut() else {
            return;
        };
        let (from, len) = (extent.from, extent.len.min(PIECE as u64));
        let file = self.file.take();
        let path = self.pins.blobs.path(&extent.blob);
        extent.from += len;
        extent.len -= len;
        self.pending = Some(tokio::task::spawn_blocking(move || {
            let file = match file {
                Some(file) => file,
                None => Arc::new(File::open(path)?),
            };
            let mut piece = vec![0; len as usize];
            file.read_exact_at(&mut piece, from)?;
            Ok((file, Bytes::from(piece)))
        }));
    }
}

impl Stream for BlobStream {
    type Item = Result<Bytes, StdError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.pending.is_none() {
            this.start_read();
        }
        let Some(pending) = &mut this.pending else {
            return Poll::Ready(None);
        };
        let outcome = ready!(Pin::new(pending).poll(cx));
        this.pending = None;
        match outcome.map_err(io::Error::other).and_then(|read| read) {
            Ok((file, piece)) => {
                if this.extents.front().is_some_and(|extent| extent.len == 0) {
                    this.extents.pop_front();
                } else {
                    this.file = Some(file);
                }
                this.start_read();
                this.remaining -= piece.len() as u64;
                (this.served)(piece.len() as u64);
                Poll::Ready(Some(Ok(piece)))
            }
            Err(error) => {
                tracing::error!(%error, "a blob could not be read");
                this.extents.clear();
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }
}

impl ByteStream for BlobStream {
    fn remaining_length(&self) -> RemainingLength {
        RemainingLength::new_exact(usize::try_from(self.remaining).unwrap_or(usize::MAX))
    }
}
