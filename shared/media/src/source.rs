//! Answering a decoder's range reads.
//!
//! Guarantee: a failed read is a status and the end of the session, never an empty answer; a read lies within the
//! source and within 16 MiB; all reads of a session together stay within a budget, so that no file can make us fetch
//! its bytes for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::future::BoxFuture;
use reelfleet_wire::{READ_AT_LEN, ReadAt, ReadStatus, ReplyHead};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::clocks::Meter;
use crate::error::DecodeError;

/// Every byte of the source may be read this often on average, and `SPARE` bytes more.
const TIMES: u64 = 8;
const SPARE: u64 = 64 << 20;

/// Reads `len` bytes at `offset`, exactly. Retries belong into it: its error ends the session.
pub type ReadFn = Arc<dyn Fn(u64, u32) -> BoxFuture<'static, Result<Bytes, SourceError>> + Send + Sync>;

/// Where a decoder's bytes come from.
#[derive(Clone)]
pub struct Source {
    /// Length in bytes.
    pub size: u64,
    /// Of a picture as coded, as far as it is known: what a decoder needs in memory follows from it.
    pub pixels: u64,
    /// The reader.
    pub read: ReadFn,
}

impl Source {
    /// The same, whose reads are counted.
    pub(crate) fn counted(self, reads: Arc<AtomicU64>) -> Self {
        let read = self.read;
        let counted: ReadFn = Arc::new(move |offset, len| {
            reads.fetch_add(1, Ordering::Relaxed);
            read(offset, len)
        });
        Self { size: self.size, pixels: self.pixels, read: counted }
    }

    /// The same, of pictures with so many pixels.
    #[must_use]
    pub fn with_pixels(self, pixels: u64) -> Self {
        Self { pixels, ..self }
    }

    /// A source in memory.
    pub fn from_bytes(bytes: Bytes) -> Self {
        let size = bytes.len() as u64;
        let read: ReadFn = Arc::new(move |offset, len| {
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            let end = at.saturating_add(len as usize);
            let part = if end <= bytes.len() {
                Ok(bytes.slice(at..end))
            } else {
                Err(SourceError::Io("read past the end".into()))
            };
            Box::pin(std::future::ready(part))
        });
        Self { size, pixels: 0, read }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("size", &self.size).finish_non_exhaustive()
    }
}

/// Why the source gave no bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The store failed; another attempt may succeed.
    #[error("the source could not be read: {0}")]
    Io(String),
    /// The object is no longer the one that was opened.
    #[error("the source was replaced while it was read")]
    Changed,
    /// There is no such object any more.
    #[error("the source was removed while it was read")]
    Gone,
}

/// Sends the request, then answers reads. Returns only with an error; where the decoder has closed its end, it waits
/// for the session's other parts to notice.
pub(crate) async fn serve(mut socket: UnixStream, request: Vec<u8>, source: Source, meter: &Meter) -> DecodeError {
    if socket.write_all(&request).await.is_err() {
        return std::future::pending().await;
    }
    let mut budget = source.size.saturating_mul(TIMES).saturating_add(SPARE);
    loop {
        let mut ask = [0; READ_AT_LEN];
        if socket.read_exact(&mut ask).await.is_err() {
            return std::future::pending().await;
        }
        let ask = match ReadAt::from_bytes(ask) {
            Ok(ask) => ask,
            Err(e) => return DecodeError::Protocol(e.to_string()),
        };
        if ask.offset + u64::from(ask.len) > source.size {
            return DecodeError::Protocol(format!("read of {} bytes at {}, past the end", ask.len, ask.offset));
        }
        let Some(left) = budget.checked_sub(u64::from(ask.len)) else {
            return DecodeError::Protocol("the source was read over and over".into());
        };
        budget = left;
        let answer = meter.outside((source.read)(ask.offset, ask.len)).await.and_then(|bytes| {
            if bytes.len() == ask.len as usize {
                Ok(bytes)
            } else {
                Err(SourceError::Io(format!("{} bytes came where {} were asked", bytes.len(), ask.len)))
            }
        });
        meter.progress();
        let (status, bytes) = match &answer {
            Ok(bytes) => (ReadStatus::Ok, bytes.clone()),
            Err(SourceError::Io(_)) => (ReadStatus::IoError, Bytes::new()),
            Err(SourceError::Changed | SourceError::Gone) => (ReadStatus::Changed, Bytes::new()),
        };
        let head = ReplyHead { status, len: bytes.len() as u32 };
        let sent = async {
            socket.write_all(&head.to_bytes()).await?;
            socket.write_all(&bytes).await
        };
        if sent.await.is_err() {
            return std::future::pending().await;
        }
        if let Err(e) = answer {
            return DecodeError::Source(e);
        }
    }
}
