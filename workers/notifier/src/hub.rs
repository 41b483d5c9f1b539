//! The hub: which streams are listened to on this process, and which of them an event touches.
//!
//! Guarantee: a stream is read only while somebody listens, once for all listeners, and only when its bell rings. A lost
//! doorbell delays an event by [`Settings::check_seconds`] at most, because every event is also in the operators'
//! stream, which is looked at that often (and only while somebody listens to anything).

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reelfleet_access::Keys;
use reelfleet_catalog::events::{OPS_STREAM, review_stream, user_stream};
use reelfleet_catalog::{Catalog, CatalogError};
use reelfleet_fleet::health::Beat;
use reelfleet_fleet::{Clock, Context, Ids};
use reelfleet_messages::AssetId;
use reelfleet_messages::event::JobProgressed;
use tokio::sync::{Notify, OnceCell, Semaphore};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::Settings;
use crate::frame::Fact;
use crate::latest::Latest;
use crate::stream::{Log, PAGE, Stream};
use crate::watch::Watched;

/// Streams read at once; the Data API has a quota of calls.
const READS: usize = 16;
/// Clients that catch up at once.
const REPLAYS: usize = 8;
/// Connections that have not said yet who they are.
const HANDSHAKES: usize = 1_024;
/// Owners of assets remembered.
const OWNERS: usize = 20_000;
/// After so many missed events every stream is read.
const CATCH_UP_PAGES: usize = 5;
pub(crate) const PROGRESS: &str = "job.progressed.v1";

/// Shared by everything in the process. Cheap to clone.
#[derive(Clone)]
pub struct Hub(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) catalog: Catalog,
    pub(crate) keys: Keys,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    pub(crate) settings: Settings,
    pub(crate) epoch: String,
    pub(crate) draining: CancellationToken,
    pub(crate) replays: Semaphore,
    pub(crate) handshakes: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    news: Arc<Notify>,
    log: Arc<dyn Log>,
    /// In the order of their names, so that a tenant's users are found without a look at all.
    streams: Mutex<BTreeMap<String, Held>>,
    users: Mutex<HashMap<(String, String), u32>>,
    owners: Mutex<HashMap<AssetId, String>>,
    pub(crate) watched: Watched,
    latest: Arc<Latest>,
    next_id: AtomicU64,
    connections: TaskTracker,
    websockets: AtomicUsize,
    event_streams: AtomicUsize,
}

/// A stream that somebody listens to.
struct Held {
    cell: Arc<OnceCell<Arc<Stream>>>,
    holders: usize,
    stop: CancellationToken,
}

/// A connection's hold on a stream; dropping it leaves.
pub struct Seat {
    hub: Hub,
    name: String,
    member: u64,
    stream: Option<Arc<Stream>>,
}

/// A connection's place among its user's; dropping it frees the place.
pub struct Place {
    hub: Hub,
    user: (String, String),
    _connection: TaskTrackerToken,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("epoch", &self.0.epoch).finish_non_exhaustive()
    }
}

impl Hub {
    /// A hub that nobody listens to yet. Reads the epoch of all positions, or makes it.
    pub async fn start(context: &Context, catalog: Catalog, settings: Settings) -> Result<Self, CatalogError> {
        let epoch = catalog.epoch(&context.ids.token()).await?;
        Ok(Self(Arc::new(Shared {
            keys: Keys::new(catalog.clone()),
            clock: context.clock.clone(),
            ids: context.ids.clone(),
            settings,
            epoch,
            draining: context.shutdown.draining().clone(),
            replays: Semaphore::new(REPLAYS),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
            reads: Arc::new(Semaphore::new(READS)),
            news: Arc::default(),
            log: Arc::new(catalog.clone()),
            catalog,
            streams: Mutex::default(),
            users: Mutex::default(),
            owners: Mutex::default(),
            watched: Watched::default(),
            latest: Arc::default(),
            next_id: AtomicU64::new(0),
            connections: TaskTracker::new(),
            websockets: AtomicUsize::new(0),
            event_streams: AtomicUsize::new(0),
        })))
    }

    /// Waits until every connection has ended. Call it when no new ones come.
    pub async fn empty(&self) {
        self.0.connections.close();
        self.0.connections.wait().await;
    }

    /// Rung by every event that is not progress.
    pub(crate) fn news(&self) -> Arc<Notify> {
        self.0.news.clone()
    }

    pub(crate) fn log(&self) -> &dyn Log {
        &*self.0.log
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.0.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts WebSockets; answers how many there are now.
    pub(crate) fn count_websockets(&self, change: isize) -> usize {
        count(&self.0.websockets, change)
    }

    /// Counts streams of server-sent events; answers how many there are now.
    pub(crate) fn count_event_streams(&self, change: isize) -> usize {
        count(&self.0.event_streams, change)
    }

    /// A place for one more connection of a user; none if there are too many.
    pub(crate) fn place(&self, tenant: &str, owner: &str) -> Option<Place> {
        let user = (tenant.to_owned(), owner.to_owned());
        let mut users = lock(&self.0.users);
        let count = users.entry(user.clone()).or_insert(0);
        if *count >= self.0.settings.connections_per_user {
            return None;
        }
        *count += 1;
        drop(users);
        Some(Place { hub: self.clone(), user, _connection: self.0.connections.token() })
    }

    /// Holds a stream for a connection: it is read from now on.
    pub(crate) async fn enter(&self, name: &str, member: u64) -> Result<Seat, CatalogError> {
        let (cell, stop) = {
            let mut streams = lock(&self.0.streams);
            let held = streams.entry(name.to_owned()).or_insert_with(|| Held {
                cell: Arc::default(),
                holders: 0,
                stop: CancellationToken::new(),
            });
            held.holders += 1;
            (held.cell.clone(), held.stop.clone())
        };
        // From here on dropping the seat undoes it.
        let mut seat = Seat { hub: self.clone(), name: name.to_owned(), member, stream: None };
        let start = || async {
            let (head, _) = self.0.catalog.stream_bounds(name).await?;
            let stream = Arc::new(Stream::new(name, head));
            // A bell that rang before the stream was here rings now.
            stream.ring();
            let shared = &self.0;
            let reader =
                stream.clone().read(shared.log.clone(), shared.reads.clone(), shared.latest.clone(), stop.clone());
            tokio::spawn(reader);
            Ok::<_, CatalogError>(stream)
        };
        seat.stream = Some(cell.get_or_try_init(start).await?.clone());
        Ok(seat)
    }

    fn leave(&self, name: &str) {
        let mut streams = lock(&self.0.streams);
        let Some(held) = streams.get_mut(name) else { return };
        held.holders -= 1;
        if held.holders == 0 {
            held.stop.cancel();
            streams.remove(name);
        }
    }

    /// An event was published: progress is passed on, for all others the bells of its streams ring.
    pub(crate) async fn heard(&self, fact: &Fact) -> Result<(), CatalogError> {
        if fact.kind != PROGRESS {
            self.0.news.notify_one();
            self.live(OPS_STREAM).iter().for_each(|stream| stream.ring());
            self.live(&review_stream(&fact.tenant)).iter().for_each(|stream| stream.ring());
            self.touched(fact).await?.iter().for_each(|stream| stream.ring());
            return Ok(());
        }
        match serde_json::from_value::<JobProgressed>(fact.data.clone()) {
            Ok(progress) if self.0.latest.accept(&fact.subject, &progress.job.to_string(), progress.sequence) => {
                self.touched(fact).await?.iter().for_each(|stream| stream.progress(fact));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(event = fact.id, %error, "progress that can't be read"),
        }
        Ok(())
    }

    /// The streams of an event that somebody listens to, but for those of operators and reviewers.
    async fn touched(&self, fact: &Fact) -> Result<Vec<Arc<Stream>>, CatalogError> {
        let mut touched: Vec<Arc<Stream>> = self.live(&format!("asset:{}", fact.subject)).into_iter().collect();
        let anyone = format!("user:{}/", fact.tenant);
        if self.listened_below(&anyone)
            && let Ok(asset) = fact.subject.parse()
            && let Some(name) = self.stream_of_owner(asset).await?
        {
            touched.extend(self.live(&name));
        }
        Ok(touched)
    }

    /// Whether anybody listens to a stream whose name begins so.
    fn listened_below(&self, prefix: &str) -> bool {
        let streams = lock(&self.0.streams);
        let mut from = streams.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from.next().is_some_and(|(name, _)| name.starts_with(prefix))
    }

    /// The stream of an asset's owner, who never changes.
    async fn stream_of_owner(&self, asset: AssetId) -> Result<Option<String>, CatalogError> {
        if let Some(name) = lock(&self.0.owners).get(&asset) {
            return Ok(Some(name.clone()));
        }
        let Some((tenant, owner)) = self.0.catalog.owner_of(&asset).await? else { return Ok(None) };
        let name = user_stream(&tenant, &owner);
        let mut owners = lock(&self.0.owners);
        if owners.len() >= OWNERS {
            owners.clear();
        }
        owners.insert(asset, name.clone());
        Ok(Some(name))
    }

    fn live(&self, name: &str) -> Option<Arc<Stream>> {
        lock(&self.0.streams).get(name).and_then(|held| held.cell.get().cloned())
    }

    fn ring_all(&self) {
        lock(&self.0.streams).values().filter_map(|held| held.cell.get()).for_each(|stream| stream.ring());
    }

    /// Looks at the operators' stream again and again, until draining: what is new there rings the bells that it should
    /// have rung already.
    pub async fn check_for_lost_doorbells(self, beat: Beat) {
        let mut tick = tokio::time::interval(self.0.settings.check());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = None;
        loop {
            tokio::select! {
                () = self.0.draining.cancelled() => break,
                _ = tick.tick() => beat.tick(),
            }
            if lock(&self.0.streams).is_empty() {
                seen = None;
                continue;
            }
            match self.check(seen).await {
                Ok(now) => seen = Some(now),
                Err(error) => tracing::warn!(%error, "the event log was not looked at; trying again"),
            }
        }
        beat.end();
    }

    /// Rings for what is new after `seen`; answers where the operators' stream stands.
    async fn check(&self, seen: Option<i64>) -> Result<i64, CatalogError> {
        let Some(mut at) = seen else { return self.check_all().await };
        for _ in 0..CATCH_UP_PAGES {
            let page = self.0.log.since(OPS_STREAM, at, PAGE).await?;
            for logged in &page {
                if let Ok(fact) = Fact::parse(&logged.body) {
                    self.heard(&fact).await?;
                }
                at = logged.position;
            }
            if (page.len() as i64) < PAGE {
                return Ok(at);
            }
        }
        self.check_all().await
    }

    async fn check_all(&self) -> Result<i64, CatalogError> {
        let (head, _) = self.0.catalog.stream_bounds(OPS_STREAM).await?;
        self.ring_all();
        Ok(head)
    }
}

impl Seat {
    /// The stream; there while the seat is.
    pub(crate) fn stream(&self) -> Option<&Arc<Stream>> {
        self.stream.as_ref()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream {
            stream.leave(self.member);
        }
        self.hub.leave(&self.name);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut users = lock(&self.hub.0.users);
        if let Some(count) = users.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.user);
            }
        }
    }
}

fn count(counter: &AtomicUsize, change: isize) -> usize {
    counter.fetch_add(change as usize, Ordering::Relaxed).wrapping_add(change as usize)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
