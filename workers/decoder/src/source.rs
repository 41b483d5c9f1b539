//! The source as a file: `Read + Seek` over ranges that the parent reads for us.
//!
//! Guarantees: every read has an end; an error is never an end of file, stays for good once it happened, and can be
//! seen from outside even where FFmpeg swallows it ([`Watch::failure`]); read-ahead stops at the byte end that was set.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reelfleet_wire::{FailCode, MAX_READ, ReadAt, ReadStatus, read_reply, write_read_at};

use crate::fail::Failure;

/// How much to read at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Bytes of a read after a jump; also the alignment of reads.
    pub block: u32,
    /// Most bytes of one read while reading on and on.
    pub window: u32,
}

impl Reading {
    /// For headers and single pictures: little more than what is needed.
    pub const SPARSE: Self = Self { block: 64 << 10, window: 128 << 10 };
    /// For a stretch of time whose end in bytes is not known.
    pub const BOUNDED: Self = Self { block: 256 << 10, window: 1 << 20 };
    /// For all that follows, up to the end set.
    pub const DENSE: Self = Self { block: 256 << 10, window: 4 << 20 };
}

/// Bytes kept from earlier reads.
const CACHE_BYTES: usize = 16 << 20;
const CACHE_SPANS: usize = 32;
/// Most bytes of one read within a piece.
const PIECE_READ: u64 = 4 << 20;

/// What can be seen of a source that has been given to FFmpeg.
#[derive(Clone)]
pub struct Watch(Arc<Shared>);

struct Shared {
    failure: Mutex<Option<Failure>>,
    /// Read-ahead stops here.
    end: AtomicU64,
    /// A range that is wanted whole.
    piece: Mutex<(u64, u64)>,
    reading: Mutex<Reading>,
    /// Bytes fetched so far.
    fetched: AtomicU64,
    size: u64,
    /// Most recently used last.
    spans: Mutex<VecDeque<Span>>,
}

impl Watch {
    /// The first read that failed, if any did.
    pub fn failure(&self) -> Result<(), Failure> {
        match &*self.0.failure.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }

    /// Read-ahead goes no further than byte `end`; what lies behind is read block by block, if at all.
    pub fn read_ahead_until(&self, end: u64) {
        self.0.end.store(end, Ordering::Relaxed);
    }

    /// What lies between these bytes is one thing, such as a picture or an index: a read within goes to its end, 4 MiB at
    /// the most, and no further.
    pub fn read_in_one(&self, start: u64, end: u64) {
        *self.0.piece.lock().unwrap_or_else(PoisonError::into_inner) = (start, end);
    }

    /// From now on reads are made like this.
    pub fn read_like(&self, reading: Reading) {
        *self.0.reading.lock().unwrap_or_else(PoisonError::into_inner) = reading;
    }

    /// The same source from its beginning, for another look: what has been read of it is there.
    pub fn again(&self, socket: File) -> Source {
        self.read_ahead_until(u64::MAX);
        Source { socket, shared: Arc::clone(&self.0), at: 0 }
    }

    pub fn fetched(&self) -> u64 {
        self.0.fetched.load(Ordering::Relaxed)
    }

    pub fn size(&self) -> u64 {
        self.0.size
    }
}

struct Span {
    start: u64,
    bytes: Vec<u8>,
    /// Length asked for, which the next read doubles.
    window: u32,
}

impl Span {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// The source, positioned.
pub struct Source {
    socket: File,
    shared: Arc<Shared>,
    at: u64,
}

impl Source {
    /// `socket` is answered by the parent; `size` is the length that it promised.
    pub fn new(socket: File, size: u64, reading: Reading) -> Self {
        Self {
            socket,
            shared: Arc::new(Shared {
                failure: Mutex::new(None),
                end: AtomicU64::new(u64::MAX),
                piece: Mutex::new((0, 0)),
                reading: Mutex::new(reading),
                fetched: AtomicU64::new(0),
                size,
                spans: Mutex::default(),
            }),
            at: 0,
        }
    }

    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.shared))
    }

    pub fn size(&self) -> u64 {
        self.shared.size
    }

    fn spans(&self) -> MutexGuard<'_, VecDeque<Span>> {
        self.shared.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The range to read so that byte `at` is there: aligned after a jump, twice the last one when reading on. A step
    /// over less than a block is no jump. What is there already is not read again.
    fn plan(&self, at: u64) -> (u64, u32) {
        let spans = self.spans();
        let piece = *self.shared.piece.lock().unwrap_or_else(PoisonError::into_inner);
        if piece.0 <= at && at < piece.1.min(self.shared.size) {
            return (at, (piece.1.min(self.shared.size) - at).min(PIECE_READ) as u32);
        }
        let Reading { block, window } = *self.shared.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let before = spans.iter().rev().find(|s| at >= s.end() && at - s.end() < u64::from(block));
        let (start, length) = match before {
            Some(span) => (at, span.window.max(block).saturating_mul(2).min(window)),
            None => (at - at % u64::from(block), block),
        };
        let ahead = self.shared.end.load(Ordering::Relaxed);
        let least = at + u64::from(block);
        let end = (start + u64::from(length)).min(ahead.max(least)).min(self.shared.size);
        let there = spans.iter().map(|s| s.start).filter(|start| *start > at);
        let end = there.fold(end, u64::min);
        (start, end.saturating_sub(start).min(u64::from(MAX_READ)) as u32)
    }

    fn fetch(&mut self, at: u64) -> Result<(), Failure> {
        let (offset, len) = self.plan(at);
        let ask = ReadAt { offset, len };
        let mut bytes = Vec::new();
        let unread = |why: String| Failure::new(FailCode::SourceRead, why);
        write_read_at(&mut self.socket, ask).map_err(|e| unread(e.to_string()))?;
        match read_reply(&mut self.socket, ask, &mut bytes).map_err(|e| unread(e.to_string()))? {
            ReadStatus::Ok => {}
            ReadStatus::IoError => {
                return Err(unread(format!("{len} bytes at {offset} could not be read")));
            }
            ReadStatus::Changed => {
                return Err(Failure::new(FailCode::SourceChanged, "the object was replaced while it was read"));
            }
        }
        self.shared.fetched.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let mut spans = self.spans();
        spans.push_back(Span { start: offset, bytes, window: len });
        let mut kept: usize = spans.iter().map(|s| s.bytes.len()).sum();
        while spans.len() > 1 && (kept > CACHE_BYTES || spans.len() > CACHE_SPANS) {
            kept -= spans.pop_front().map_or(0, |s| s.bytes.len());
        }
        Ok(())
    }

    fn copy(&mut self, buf: &mut [u8]) -> Option<usize> {
        let mut spans = self.spans();
        let found = spans.iter().rposition(|s| s.start <= self.at && self.at < s.end())?;
        let span = spans.remove(found)?;
        let from = (self.at - span.start) as usize;
        let len = buf.len().min(span.bytes.len() - from);
        buf[..len].copy_from_slice(&span.bytes[from..from + len]);
        spans.push_back(span);
        drop(spans);
        self.at += len as u64;
        Some(len)
    }
}

/// EIO, and no kind that FFmpeg's glue would take for an end of file or for "try again".
fn io_error() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl Read for Source {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.watch().failure().is_err() {
            return Err(io_error());
        }
        if buf.is_empty() || self.at >= self.shared.size {
            return Ok(0);
        }
        if let Some(len) = self.copy(buf) {
            return Ok(len);
        }
        if let Err(failure) = self.fetch(self.at) {
            *self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
            return Err(io_error());
        }
        self.copy(buf).ok_or_else(io_error)
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.shared.size.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::thread::JoinHandle;

    use reelfleet_wire::{READ_AT_LEN, write_reply};

    use super::*;

    const BLOCK: u32 = 1000;

    fn byte(at: u64) -> u8 {
        (at % 251) as u8
    }

    /// A parent over a made-up object; ends with the ranges it was asked for. From read `bad` on it answers `status`.
    fn parent(size: u64, bad: usize, status: ReadStatus) -> (Source, JoinHandle<Vec<ReadAt>>) {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || {
            let mut asked = Vec::new();
            let mut head = [0; READ_AT_LEN];
            while ours.read_exact(&mut head).is_ok() {
                let ask = ReadAt::from_bytes(head).unwrap();
                let bytes: Vec<u8> = (ask.offset..ask.offset + u64::from(ask.len)).map(byte).collect();
                let status = if asked.len() >= bad { status } else { ReadStatus::Ok };
                asked.push(ask);
                write_reply(&mut ours, status, &bytes).unwrap();
            }
            asked
        });
        let reading = Reading { block: BLOCK, window: 4 * BLOCK };
        let socket = File::from(OwnedFd::from(theirs));
        (Source::new(socket, size, reading), thread)
    }

    #[test]
    fn every_byte_comes_once_and_then_the_end() {
        let (mut source, thread) = parent(12_345, usize::MAX, ReadStatus::Ok);
        let mut all = Vec::new();
        source.read_to_end(&mut all).unwrap();
        assert!(all.iter().enumerate().all(|(i, b)| *b == byte(i as u64)));
        assert_eq!(all.len(), 12_345);
        assert_eq!(source.watch().fetched(), 12_345);
        drop(source);
        let lengths: Vec<u32> = thread.join().unwrap().iter().map(|a| a.len).collect();
        assert_eq!(lengths, [1000, 2000, 4000, 4000, 1345]);
    }

    #[test]
    fn a_jump_reads_one_block_and_read_ahead_stops_at_the_end_set() {
        let (mut source, thread) = parent(1_000_000, usize::MAX, ReadStatus::Ok);
        source.watch().read_ahead_until(501_500);
        source.seek(SeekFrom::Start(500_100)).unwrap();
        let mut buf = [0; 3000];
        source.read_exact(&mut buf).unwrap();
        assert!(buf.iter().zip(500_100..).all(|(b, at)| *b == byte(at)));
        drop(source);
        let asked: Vec<(u64, u32)> = thread.join().unwrap().iter().map(|a| (a.offset, a.len)).collect();
        assert_eq!(asked, [(500_000, 1000), (501_000, 1000), (502_000, 1000), (503_000, 1000)]);
    }

    #[test]
    fn what_is_there_is_not_read_again_and_a_piece_is_read_in_one() {
        let (mut source, thread) = parent(1_000_000, usize::MAX, ReadStatus::Ok);
        for (at, length) in [(2_000, 10), (0, 2_500), (500_100, 6_000)] {
            source.watch().read_in_one(500_100, 506_100);
            source.seek(SeekFrom::Start(at)).unwrap();
            let mut buf = vec![0; length];
            source.read_exact(&mut buf).unwrap();
            assert!(buf.iter().zip(at..).all(|(b, at)| *b == byte(at)));
        }
        drop(source);
        let asked: Vec<(u64, u32)> = thread.join().unwrap().iter().map(|a| (a.offset, a.len)).collect();
        assert_eq!(asked, [(2_000, 1000), (0, 1000), (1000, 1000), (500_100, 6_000)]);
    }

    #[test]
    fn another_look_reads_only_what_was_not_read() {
        let (mut source, thread) = parent(10_000, usize::MAX, ReadStatus::Ok);
        let socket = source.socket.try_clone().unwrap();
        source.read_exact(&mut [0; 2_500]).unwrap();
        let watch = source.watch();
        drop(source);
        let mut source = watch.again(socket);
        let mut all = Vec::new();
        source.read_to_end(&mut all).unwrap();
        assert!(all.len() == 10_000 && all.iter().enumerate().all(|(i, b)| *b == byte(i as u64)));
        drop((source, watch));
        let asked: Vec<(u64, u32)> = thread.join().unwrap().iter().map(|a| (a.offset, a.len)).collect();
        assert_eq!(asked, [(0, 1000), (1000, 2000), (3000, 4000), (7000, 3000)]);
    }

    #[test]
    fn a_failed_read_is_no_end_of_file_and_stays() {
        for (status, code) in
            [(ReadStatus::IoError, FailCode::SourceRead), (ReadStatus::Changed, FailCode::SourceChanged)]
        {
            let (mut source, thread) = parent(10_000, 1, status);
            let mut all = Vec::new();
            let error = source.read_to_end(&mut all).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(5));
            assert_eq!(all.len(), 1000);
            source.seek(SeekFrom::Start(0)).unwrap();
            assert!(source.read(&mut [0; 8]).is_err());
            assert_eq!(source.watch().failure().unwrap_err().code, code);
            drop(source);
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_parent_that_is_gone_is_a_read_error() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(ours);
        let mut source = Source::new(File::from(OwnedFd::from(theirs)), 10, Reading::SPARSE);
        assert!(source.read(&mut [0; 4]).is_err());
        let failure = source.watch().failure().unwrap_err();
        assert_eq!(failure.code, FailCode::SourceRead);
    }
}
