//! What a handler holds while it works: it tells progress and hears when to stop.
//!
//! Guarantee: once [`Heart::lost`] is cancelled, nothing this handler answers reaches the queue. The handler for its part
//! kills its child and commits nothing. A lease in the catalog is attached and then extended together with the message.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::queue::BoxFuture;

/// What an extension of a lease found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// Extended: it is ours until the time that was asked for.
    Held,
    /// Somebody else has it, or it is over: stop, commit nothing.
    Lost,
    /// The answer did not come; it may or may not have been extended.
    Unknown,
}

/// A second lease that lives and dies with the message: the row of a task in the catalog.
pub trait Lease: Send + Sync + 'static {
    /// Tries to hold the lease until `until_ms` (epoch milliseconds, by the clock of this process).
    fn extend(&self, until_ms: i64) -> BoxFuture<'_, LeaseState>;
}

/// Why a message stopped being ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostCause {
    /// No extension succeeded in time.
    Expired,
    /// The queue said that the receipt no longer holds the message.
    Refused,
    /// The attached lease is lost.
    Fenced,
    /// No progress within the stall timeout.
    Stalled,
    /// The attempt ran longer than its start-to-close limit.
    StartToClose,
    /// Twelve hours from the first receive are over.
    ReceiveCap,
}

impl LostCause {
    /// The metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Fenced => "fenced",
            Self::Stalled => "stalled",
            Self::StartToClose => "start_to_close",
            Self::ReceiveCap => "receive_cap",
        }
    }
}

/// How long a handler may work: with progress, and at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkLimits {
    /// The longest silence between two beats.
    pub stall: Duration,
    /// The longest attempt, from receive to answer.
    pub start_to_close: Duration,
}

/// The handler's side of the lease keeper. Cheap to clone; all clones are one heart.
#[derive(Clone)]
pub struct Heart {
    inner: Arc<Inner>,
}

struct Inner {
    started: Instant,
    visibility: Duration,
    /// Milliseconds from `started` to the last beat.
    last_beat: AtomicU64,
    limits: Mutex<WorkLimits>,
    lease: Mutex<Option<Attached>>,
    /// Wakes the keeper when limits or lease change.
    changed: Notify,
    lost: CancellationToken,
    interrupted: CancellationToken,
    draining: CancellationToken,
    cause: OnceLock<LostCause>,
}

#[derive(Clone)]
pub(crate) struct Attached {
    pub(crate) lease: Arc<dyn Lease>,
    /// Until when it is known to be held.
    pub(crate) deadline: Instant,
}

impl std::fmt::Debug for Heart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heart")
            .field("lost", &self.lost_cause())
            .field("interrupted", &self.inner.interrupted.is_cancelled())
            .finish_non_exhaustive()
    }
}

impl Heart {
    pub(crate) fn new(visibility: Duration, limits: WorkLimits, draining: CancellationToken) -> Self {
        let lost = CancellationToken::new();
        Self {
            inner: Arc::new(Inner {
                started: Instant::now(),
                visibility,
                last_beat: AtomicU64::new(0),
                limits: Mutex::new(limits),
                lease: Mutex::new(None),
                changed: Notify::new(),
                interrupted: lost.child_token(),
                lost,
                draining,
                cause: OnceLock::new(),
            }),
        }
    }

    /// A heart without a message behind it, for work outside a queue and for tests of handlers.
    pub fn solitary() -> Self {
        let for_ever = Duration::from_secs(10 * 365 * 24 * 3600);
        Self::new(
            Duration::from_secs(90),
            WorkLimits { stall: for_ever, start_to_close: for_ever },
            CancellationToken::new(),
        )
    }

    /// Progress moved: a range was read, a frame came out, a row was written. Call it for real progress only; a beat
    /// from a timer keeps zombies alive.
    pub fn beat(&self) {
        let elapsed = u64::try_from(self.inner.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.inner.last_beat.fetch_max(elapsed, Ordering::SeqCst);
    }

    /// Cancelled when the message is no longer ours: kill the child, commit nothing. Whatever is answered is dropped.
    pub fn lost(&self) -> CancellationToken {
        self.inner.lost.clone()
    }

    /// Cancelled when work must end now: the lease is lost, or the grace of the shutdown is over. In the second case the
    /// message is still ours: checkpoint, give back the task uncharged, return within three seconds.
    pub fn interrupted(&self) -> CancellationToken {
        self.inner.interrupted.clone()
    }

    /// Cancelled when the process begins to drain: finish, or stop at the next checkpoint.
    pub fn draining(&self) -> CancellationToken {
        self.inner.draining.clone()
    }

    /// Why the message was lost, if it was.
    pub fn lost_cause(&self) -> Option<LostCause> {
        self.inner.cause.get().copied()
    }

    /// The visibility each extension asks for: take a lease of the same length.
    pub fn visibility(&self) -> Duration {
        self.inner.visibility
    }

    /// Extends `lease` from now on together with the message, at a third of the visibility. It is taken to be held for
    /// one visibility from this call. A lease attached before is no longer extended.
    pub fn attach(&self, lease: Arc<dyn Lease>) {
        *self.lease_slot() = Some(Attached { lease, deadline: saturating_add(Instant::now(), self.inner.visibility) });
        self.inner.changed.notify_one();
    }

    /// Stops extending the attached lease: call it before the write that ends the lease.
    pub fn detach(&self) {
        *self.lease_slot() = None;
        self.inner.changed.notify_one();
    }

    /// Sets how long this kind of work may stall and take; measured from the receive and from the last beat.
    pub fn set_limits(&self, stall: Duration, start_to_close: Duration) {
        *self.limits_slot() = WorkLimits { stall, start_to_close };
        self.inner.changed.notify_one();
    }

    pub(crate) fn interrupt(&self) {
        self.inner.interrupted.cancel();
    }

    pub(crate) fn lose(&self, cause: LostCause) {
        // The first cause stays: it is the one that ended the work.
        let _ = self.inner.cause.set(cause);
        self.inner.lost.cancel();
    }

    pub(crate) async fn changed(&self) {
        self.inner.changed.notified().await;
    }

    pub(crate) fn attached(&self) -> Option<Attached> {
        self.lease_slot().clone()
    }

    /// Notes that `lease` is held until `deadline`, unless another one was attached meanwhile.
    pub(crate) fn held_until(&self, lease: &Arc<dyn Lease>, deadline: Instant) {
        if let Some(attached) = self.lease_slot().as_mut()
            && Arc::ptr_eq(&attached.lease, lease)
        {
            attached.deadline = deadline;
        }
    }

    /// Whether `lease` is still the attached one.
    pub(crate) fn is_attached(&self, lease: &Arc<dyn Lease>) -> bool {
        self.lease_slot().as_ref().is_some_and(|attached| Arc::ptr_eq(&attached.lease, lease))
    }

    /// When the stall timeout strikes unless a beat comes before.
    pub(crate) fn stalls_at(&self) -> Instant {
        let last = Duration::from_millis(self.inner.last_beat.load(Ordering::SeqCst));
        saturating_add(saturating_add(self.inner.started, last), self.limits_slot().stall)
    }

    /// When the start-to-close limit strikes.
    pub(crate) fn closes_at(&self) -> Instant {
        saturating_add(self.inner.started, self.limits_slot().start_to_close)
    }

    fn lease_slot(&self) -> std::sync::MutexGuard<'_, Option<Attached>> {
        self.inner.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limits_slot(&self) -> std::sync::MutexGuard<'_, WorkLimits> {
        self.inner.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `instant + by`, or some ten years ahead where the sum cannot be represented.
pub(crate) fn saturating_add(instant: Instant, by: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
    instant.checked_add(by.min(FAR)).unwrap_or(instant)
}
