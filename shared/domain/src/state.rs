//! The state machines of assets, jobs and tasks.
//!
//! Guarantee: every change of state that the catalog writes is one that [`AssetState::may_become`] and its likes
//! allow, and no state is without a way to an end. Only a redriven dead letter leads out of `failed`, and only a person
//! out of `deleting`.
//!
//! ```text
//! asset: uploaded ─► processing ─► playable ─► ready          job: queued ─► running ─► succeeded
//!            │ ├► awaiting_approval ─┤│   │       │                  │  │         ├──► failed
//!            │ └──────► parked ◄─────┘│   │       │                  │  │         │
//!            ├──► refused ◄───────────┘   │       │                  │  └────────►└──► cancelled
//!            └──► failed  ◄───────────────┘       │
//!   any ─► deleting ─► deleted                                  task: pending ◄─► leased ─► done | failed | cancelled
//!
//! parked ─► processing, too
//! revived by a redrive: asset failed ─► uploaded | awaiting_approval | parked | processing | playable (as far as it had come), job
//! failed ─► queued | running, task failed ─► pending, and cancelled ─► pending for those that were called off with it
//! made anew, in a new generation: asset playable ─► processing
//! restored before its purge: asset deleting ─► what it was, job cancelled ─► queued | running, task cancelled ─► pending
//! ```

use serde::{Deserialize, Serialize};

macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant),* }
        impl $name {
            /// Every state.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// As it stands in rows and JSON.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
            /// Reads what [`Self::as_str`] wrote.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|state| state.as_str() == text)
            }
        }
    };
}

states! {
    /// Where an asset is on its way.
    AssetState {
        /// Its object landed; nothing is known of it yet.
        Uploaded = "uploaded",
        /// Policy asks for a person's verdict.
        AwaitingApproval = "awaiting_approval",
        /// It waits for its tenant's budget.
        Parked = "parked",
        /// Tasks are under way.
        Processing = "processing",
        /// A player can start.
        Playable = "playable",
        /// Everything is made.
        Ready = "ready",
        /// It will not be processed.
        Refused = "refused",
        /// Processing ended without a result.
        Failed = "failed",
        /// Marked; its objects go.
        Deleting = "deleting",
        /// Its objects are gone; the row is the tombstone.
        Deleted = "deleted",
    }
}

states! {
    /// Where a job is.
    JobState {
        /// Waits for a worker.
        Queued = "queued",
        /// A worker took one of its tasks.
        Running = "running",
        /// Done.
        Succeeded = "succeeded",
        /// Ended without a result.
        Failed = "failed",
        /// Called off.
        Cancelled = "cancelled",
    }
}

states! {
    /// Where a task is.
    TaskState {
        /// Waits for a worker, or for its next time.
        Pending = "pending",
        /// A worker holds its lease.
        Leased = "leased",
        /// Its effects are committed.
        Done = "done",
        /// Given up, with a reason.
        Failed = "failed",
        /// Called off.
        Cancelled = "cancelled",
    }
}

impl AssetState {
    /// Whether a change of state is one of the machine's. `failed → …` is for a redrive alone.
    pub fn may_become(self, next: Self) -> bool {
        use AssetState::*;
        match self {
            Uploaded => matches!(next, AwaitingApproval | Parked | Processing | Refused | Failed | Deleting),
            AwaitingApproval => matches!(next, Parked | Processing | Refused | Failed | Deleting),
            Parked => matches!(next, Processing | Failed | Deleting),
            Processing => matches!(next, Playable | Ready | Refused | Failed | Deleting),
            Playable => matches!(next, Processing | Ready | Failed | Deleting),
            Failed => matches!(next, Uploaded | AwaitingApproval | Parked | Processing | Playable | Deleting),
            Ready | Refused => matches!(next, Deleting),
            Deleting => next != Deleting,
            Deleted => false,
        }
    }

    /// Whether work on it may still be committed.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Uploaded | Self::AwaitingApproval | Self::Parked | Self::Processing | Self::Playable)
    }
}

impl JobState {
    /// Whether a change of state is one of the machine's. A still image's job has no plan and never runs; `failed → …`
    /// is for a redrive alone.
    pub fn may_become(self, next: Self) -> bool {
        use JobState::*;
        match self {
            Queued => matches!(next, Running | Succeeded | Failed | Cancelled),
            Running => matches!(next, Succeeded | Failed | Cancelled),
            Failed | Cancelled => matches!(next, Queued | Running),
            Succeeded => false,
        }
    }
}

impl TaskState {
    /// Whether a change of state is one of the machine's. `done → pending` is for publishing alone, which is armed
    /// anew by every commit; `failed → pending` and `cancelled → pending` are for a redrive alone.
    pub fn may_become(self, next: Self) -> bool {
        use TaskState::*;
        match self {
            Pending => matches!(next, Leased | Failed | Cancelled),
            Leased => matches!(next, Leased | Pending | Done | Failed | Cancelled),
            Done | Failed | Cancelled => matches!(next, Pending),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every state of a machine reaches one of its ends.
    fn reaches_an_end<S: Copy + PartialEq>(all: &[S], ends: &[S], step: impl Fn(S, S) -> bool) -> bool {
        let mut reached: Vec<S> = ends.to_vec();
        loop {
            let more: Vec<S> =
                all.iter().copied().filter(|s| !reached.contains(s) && reached.iter().any(|r| step(*s, *r))).collect();
            if more.is_empty() {
                return reached.len() == all.len();
            }
            reached.extend(more);
        }
    }

    #[test]
    fn no_state_is_without_a_way_to_an_end() {
        assert!(reaches_an_end(AssetState::ALL, &[AssetState::Deleted], AssetState::may_become));
        let ends = [JobState::Succeeded, JobState::Failed, JobState::Cancelled];
        assert!(reaches_an_end(JobState::ALL, &ends, JobState::may_become));
        let ends = [TaskState::Done, TaskState::Failed, TaskState::Cancelled];
        assert!(reaches_an_end(TaskState::ALL, &ends, TaskState::may_become));
    }

    #[test]
    fn what_ended_stays_ended() {
        for next in AssetState::ALL {
            assert!(!AssetState::Deleted.may_become(*next));
            assert!(!AssetState::Ready.may_become(*next) || *next == AssetState::Deleting);
            assert!(!AssetState::Refused.may_become(*next) || *next == AssetState::Deleting, "no redrive of a refusal");
        }
        assert!(JobState::ALL.iter().all(|next| !JobState::Succeeded.may_become(*next)));
    }

    #[test]
    fn names_read_back() {
        for state in AssetState::ALL {
            assert_eq!(AssetState::parse(state.as_str()), Some(*state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        assert_eq!(TaskState::parse("nonsense"), None);
    }
}
