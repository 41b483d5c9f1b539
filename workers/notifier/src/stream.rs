//! One stream of the event log, as its listeners on this process share it.
//!
//! Guarantee: every listener gets each position once and in ascending order, whether it is read for all ([`Stream::read`])
//! or made up for by its own replay ([`follow`]): a listener joins at the position that it has, under the lock under
//! which the reader delivers, and what lies between comes from the recent ones or from the log.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use reelfleet_access::{Principal, Topic};
use reelfleet_catalog::events::Logged;
use reelfleet_catalog::{Catalog, CatalogError};
use reelfleet_fleet::BoxFuture;
use reelfleet_messages::realtime::ServerFrame;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::frame::{self, Fact};
use crate::latest::Latest;
use crate::queue::{Entry, Outbound};

/// Events read at once.
pub const PAGE: i64 = 100;
/// Events kept for listeners that are about to join.
const RECENT: usize = 64;
/// After an error the log is asked again this much later.
const AGAIN: Duration = Duration::from_secs(1);

/// The event log.
pub trait Log: Send + Sync + 'static {
    /// Events of a stream after a position, in order.
    fn since<'a>(
        &'a self,
        stream: &'a str,
        position: i64,
        limit: i64,
    ) -> BoxFuture<'a, Result<Vec<Logged>, CatalogError>>;
}

impl Log for Catalog {
    fn since<'a>(
        &'a self,
        stream: &'a str,
        position: i64,
        limit: i64,
    ) -> BoxFuture<'a, Result<Vec<Logged>, CatalogError>> {
        Box::pin(self.events_since(stream, position, limit))
    }
}

/// A listener of a stream.
#[derive(Debug, Clone)]
pub struct Member {
    /// One per connection.
    pub id: u64,
    /// What it asked for.
    pub topic: Topic,
    /// Who it is.
    pub who: Arc<Principal>,
    /// Where it is served.
    pub queue: Arc<Outbound>,
}

impl Member {
    fn hears(&self, tenant: &str, subject: &str) -> bool {
        self.topic.delivers(&self.who, tenant, subject)
    }
}

/// An event as it is pushed.
#[derive(Debug)]
struct Item {
    position: i64,
    tenant: String,
    subject: String,
    text: Utf8Bytes,
}

impl Item {
    fn of(position: i64, text: Utf8Bytes, fact: Fact) -> Self {
        Self { position, tenant: fact.tenant, subject: fact.subject, text }
    }
}

#[derive(Debug)]
struct Inner {
    /// The last position that was read.
    position: i64,
    recent: VecDeque<Item>,
    /// Listeners, each with the position that it joined at.
    members: HashMap<u64, (Member, i64)>,
}

/// A stream with its listeners.
#[derive(Debug)]
pub struct Stream {
    name: Arc<str>,
    inner: Mutex<Inner>,
    bell: Notify,
}

impl Stream {
    /// A stream that is read from `position` on.
    pub fn new(name: &str, position: i64) -> Self {
        let inner = Inner { position, recent: VecDeque::new(), members: HashMap::new() };
        Self { name: name.into(), inner: Mutex::new(inner), bell: Notify::new() }
    }

    /// Its name in the log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The last position that was read.
    pub fn position(&self) -> i64 {
        self.lock().position
    }

    /// There may be something new.
    pub fn ring(&self) {
        self.bell.notify_one();
    }

    /// Reads what is new whenever the bell rings, for all listeners at once, until `stop`.
    pub(crate) async fn read(
        self: Arc<Self>,
        log: Arc<dyn Log>,
        reads: Arc<Semaphore>,
        latest: Arc<Latest>,
        stop: CancellationToken,
    ) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.bell.notified() => {}
            }
            loop {
                let page = {
                    // The semaphore is never closed.
                    let _permit = reads.acquire().await;
                    log.since(&self.name, self.position(), PAGE).await
                };
                match page {
                    Ok(page) => {
                        self.deliver(&page, &latest);
                        if (page.len() as i64) < PAGE {
                            break;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(stream = &*self.name, %error, "the event log was not read; trying again");
                        tokio::select! {
                            () = stop.cancelled() => return,
                            () = tokio::time::sleep(AGAIN) => {}
                        }
                    }
                }
            }
        }
    }

    fn deliver(&self, page: &[Logged], latest: &Latest) {
        for logged in page {
            let fact = self.fact(logged);
            let mut inner = self.lock();
            if logged.position <= inner.position {
                continue;
            }
            inner.position = logged.position;
            // What this build can't read is no reason to stop: its position is passed over.
            let Some(fact) = fact else { continue };
            if fact.is_end() {
                latest.end(&fact.subject);
            }
            let item = Item::of(logged.position, fact.frame(&self.name, logged.position), fact);
            for (member, after) in inner.members.values() {
                if item.position > *after && member.hears(&item.tenant, &item.subject) {
                    member.queue.push(self.entry(&item, false));
                }
            }
            if inner.recent.len() == RECENT {
                inner.recent.pop_front();
            }
            inner.recent.push_back(item);
        }
    }

    /// Hands progress to all listeners, with the last position that they were given.
    pub(crate) fn progress(&self, fact: &Fact) {
        let inner = self.lock();
        if inner.members.is_empty() {
            return;
        }
        let asset: Arc<str> = fact.subject.as_str().into();
        let text = fact.frame(&self.name, inner.position);
        for (member, after) in inner.members.values() {
            // A listener ahead of the reader must not be sent a position that falls.
            if *after <= inner.position && member.hears(&fact.tenant, &fact.subject) {
                let (stream, asset) = (self.name.clone(), asset.clone());
                member.queue.push(Entry::Progress { stream, asset, text: text.clone() });
            }
        }
    }

    /// Lets a listener that has everything up to `at` take part from now on. `false`: there is more in between than is
    /// kept here; it must read the log first. One whose connection has ended takes no part.
    pub fn join(&self, member: &Member, at: i64) -> bool {
        let mut inner = self.lock();
        if member.queue.why_ended().is_some() {
            return true;
        }
        if at < inner.position {
            if inner.recent.front().is_none_or(|first| first.position > at.saturating_add(1)) {
                return false;
            }
            for item in
                inner.recent.iter().filter(|item| item.position > at && member.hears(&item.tenant, &item.subject))
            {
                member.queue.push(self.entry(item, true));
            }
        }
        inner.members.insert(member.id, (member.clone(), at));
        true
    }

    /// Ends a listener's part.
    pub fn leave(&self, id: u64) {
        self.lock().members.remove(&id);
    }

    fn fact(&self, logged: &Logged) -> Option<Fact> {
        Fact::parse(&logged.body)
            .map_err(|error| {
                tracing::error!(stream = &*self.name, position = logged.position, %error, "a logged event can't be read");
            })
            .ok()
    }

    fn entry(&self, item: &Item, replayed: bool) -> Entry {
        Entry::Event { stream: self.name.clone(), position: item.position, text: item.text.clone(), replayed }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a listener everything after `at`: from the log, as fast as it reads, until it has caught up and joins. Returns
/// early when its connection ends.
pub async fn follow(
    stream: &Stream,
    log: &dyn Log,
    replays: &Semaphore,
    member: &Member,
    mut at: i64,
) -> Result<(), CatalogError> {
    while !stream.join(member, at) {
        let page = {
            let _permit = replays.acquire().await;
            log.since(stream.name(), at, PAGE).await?
        };
        // Positions have no gaps: what is missing was trimmed while it was waited for.
        if page.first().is_none_or(|first| first.position != at.saturating_add(1)) {
            at = stream.position();
            let reset = ServerFrame::Reset { stream: stream.name().to_owned(), reason: "too_old".into(), position: at };
            member.queue.push(Entry::Frame(frame::text(&reset)));
            continue;
        }
        for logged in &page {
            if !member.queue.room().await {
                return Ok(());
            }
            if let Some(fact) = stream.fact(logged).filter(|fact| member.hears(&fact.tenant, &fact.subject)) {
                let text = fact.frame(stream.name(), logged.position);
                let item = Item::of(logged.position, text, fact);
                member.queue.push(stream.entry(&item, true));
            }
            at = logged.position;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
