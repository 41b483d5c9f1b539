//! The queue of one connection: bounded, and never waited for by those who fill it.
//!
//! Guarantees: at most [`MAX_ENTRIES`] entries and [`MAX_BYTES`] bytes; of the progress of one asset in one stream only
//! the newest is kept; when it is full, progress goes first, and when it is full of events the connection ends with
//! [`End::Slow`]. An event is never dropped from a queue that goes on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::ws::Utf8Bytes;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Entries of a full queue.
pub const MAX_ENTRIES: usize = 256;
/// Bytes of a full queue.
pub const MAX_BYTES: usize = 1 << 20;

/// Something to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Not an event: `welcome`, `reset`.
    Frame(Utf8Bytes),
    /// A logged event.
    Event {
        /// Its stream.
        stream: Arc<str>,
        /// Its position there.
        position: i64,
        /// The frame.
        text: Utf8Bytes,
        /// Whether it was missed and is made up for.
        replayed: bool,
    },
    /// The progress of an asset.
    Progress {
        /// The stream that it came by.
        stream: Arc<str>,
        /// The asset.
        asset: Arc<str>,
        /// The frame.
        text: Utf8Bytes,
    },
}

impl Entry {
    fn bytes(&self) -> usize {
        match self {
            Self::Frame(text) | Self::Event { text, .. } | Self::Progress { text, .. } => text.len(),
        }
    }

    fn is_progress_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Progress { stream: a, asset: b, .. }, Self::Progress { stream: c, asset: d, .. }) => {
                a == c && b == d
            }
            _ => false,
        }
    }
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client reads too slowly.
    Slow,
    /// The process ends.
    Draining,
    /// The client is gone.
    Gone,
    /// What let the client in has ended, or may do less now.
    Over,
    /// Something on our side failed.
    Internal,
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    bytes: usize,
    end: Option<End>,
}

impl Queue {
    /// `false`: full of events.
    fn push(&mut self, entry: Entry) -> bool {
        // The newest goes to the back: its position is not ahead of the events before it.
        if matches!(entry, Entry::Progress { .. }) {
            self.remove(|queued| queued.is_progress_of(&entry));
        }
        if !self.fits(entry.bytes()) {
            if matches!(entry, Entry::Progress { .. }) {
                return true;
            }
            self.remove(|queued| matches!(queued, Entry::Progress { .. }));
            if !self.fits(entry.bytes()) {
                return false;
            }
        }
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        true
    }

    fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.bytes();
        Some(entry)
    }

    fn fits(&self, bytes: usize) -> bool {
        self.entries.len() < MAX_ENTRIES && self.bytes + bytes <= MAX_BYTES
    }

    fn remove(&mut self, which: impl Fn(&Entry) -> bool) {
        self.entries.retain(|entry| !which(entry));
        self.bytes = self.entries.iter().map(Entry::bytes).sum();
    }
}

/// A connection's queue, as its fillers and its one sender see it.
#[derive(Debug, Default)]
pub struct Outbound {
    queue: Mutex<Queue>,
    filled: Notify,
    drained: Notify,
    ended: CancellationToken,
}

impl Outbound {
    /// Adds an entry; a full queue ends the connection.
    pub fn push(&self, entry: Entry) {
        let mut queue = self.lock();
        if queue.end.is_some() {
            return;
        }
        if queue.push(entry) {
            drop(queue);
            self.filled.notify_one();
        } else {
            drop(queue);
            self.end(End::Slow);
        }
    }

    /// Ends the connection. The first reason stays.
    pub fn end(&self, why: End) {
        self.lock().end.get_or_insert(why);
        self.ended.cancel();
    }

    /// Why it ended, if it has.
    pub fn why_ended(&self) -> Option<End> {
        self.lock().end
    }

    /// Waits until the connection is to end.
    pub async fn ended(&self) -> End {
        self.ended.cancelled().await;
        self.why_ended().unwrap_or(End::Internal)
    }

    /// The next entry, waiting for it.
    pub async fn next(&self) -> Entry {
        loop {
            let (entry, room) = {
                let mut queue = self.lock();
                (queue.pop(), has_room(&queue))
            };
            if room {
                self.drained.notify_one();
            }
            match entry {
                Some(entry) => return entry,
                None => self.filled.notified().await,
            }
        }
    }

    /// Waits until the queue is at most half full. `false`: the connection has ended. For its one replay.
    pub async fn room(&self) -> bool {
        loop {
            {
                let queue = self.lock();
                if queue.end.is_some() {
                    return false;
                }
                if has_room(&queue) {
                    return true;
                }
            }
            tokio::select! {
                () = self.drained.notified() => {}
                () = self.ended.cancelled() => return false,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn has_room(queue: &Queue) -> bool {
    queue.entries.len() <= MAX_ENTRIES / 2 && queue.bytes <= MAX_BYTES / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(position: i64) -> Entry {
        Entry::Event { stream: "me".into(), position, text: format!("event {position}").into(), replayed: false }
    }

    fn progress(asset: &str, percent: u32) -> Entry {
        Entry::Progress { stream: "me".into(), asset: asset.into(), text: format!("{asset} {percent}").into() }
    }

    #[test]
    fn only_the_newest_progress_is_kept_and_it_stays_behind_the_events() {
        let mut queue = Queue::default();
        for entry in [progress("a", 1), event(1), progress("b", 1), progress("a", 2), event(2)] {
            assert!(queue.push(entry));
        }
        let order: Vec<Entry> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [event(1), progress("b", 1), progress("a", 2), event(2)]);
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn a_full_queue_gives_up_progress_first_and_then_the_connection() {
        let outbound = Outbound::default();
        for n in 0..16 {
            outbound.push(progress(&format!("asset {n}"), 1));
        }
        for n in 0..MAX_ENTRIES as i64 {
            outbound.push(event(n));
        }
        assert_eq!(outbound.why_ended(), None);
        outbound.push(progress("late", 1));
        assert_eq!(outbound.why_ended(), None, "progress that does not fit is not worth a connection");
        outbound.push(event(999));
        assert_eq!(outbound.why_ended(), Some(End::Slow));
        let kept: Vec<Entry> = std::iter::from_fn(|| outbound.lock().pop()).collect();
        assert_eq!(kept, (0..MAX_ENTRIES as i64).map(event).collect::<Vec<_>>(), "in order, none missing");
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut queue = Queue::default();
        let big = |n: usize| Entry::Frame("x".repeat(n).into());
        assert!(queue.push(big(MAX_BYTES - 1)));
        assert!(!queue.push(big(2)));
        assert!(queue.push(big(1)));
    }

    #[tokio::test]
    async fn a_replay_waits_for_room_and_ends_with_the_connection() {
        let outbound = Arc::new(Outbound::default());
        for n in 0..(MAX_ENTRIES / 2 + 1) as i64 {
            outbound.push(event(n));
        }
        let waiting = tokio::spawn({
            let outbound = outbound.clone();
            async move { outbound.room().await }
        });
        assert_eq!(outbound.next().await, event(0));
        assert!(waiting.await.unwrap());
        for n in 0..64 {
            outbound.push(event(n));
        }
        let waiting = tokio::spawn({
            let outbound = outbound.clone();
            async move { outbound.room().await }
        });
        outbound.end(End::Draining);
        assert!(!waiting.await.unwrap());
        assert_eq!(outbound.ended().await, End::Draining);
    }
}
