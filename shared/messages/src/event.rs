//! Events: facts in the past tense, public, CloudEvents 1.0 in structured JSON.
//!
//! Guarantee: the major version is in the type (`asset.playable.v1`); within a major version fields are only added.
//! The list of types is [`Event`]; `schema/messages/` holds a JSON Schema and a golden sample of each, held by tests.
//!
//! Source: CloudEvents 1.0.2 (cloudevents/spec), JSON event format and its extension attributes.

use serde::{Deserialize, Serialize};

use crate::id::{AssetId, EventId, JobId, ReviewId};
use crate::trace::TraceParent;

/// Why an asset was refused or failed. The codes are stable: programs branch on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// Zero bytes.
    Empty,
    /// No container that we know.
    NotMedia,
    /// The container ends before what it announces.
    Truncated,
    /// DRM or password.
    Encrypted,
    /// A container, but nothing in it that can be decoded.
    NoDecodableStream,
    /// More bytes than allowed.
    TooLarge,
    /// Longer than allowed.
    TooLong,
    /// Width × height beyond the limit.
    TooManyPixels,
    /// More streams than allowed.
    TooManyStreams,
    /// More frames per second than allowed.
    TooManyFramesPerSecond,
    /// A kind of media that this installation does not take.
    TypeNotAllowed,
    /// The tenant has no room for it.
    StorageFull,
    /// More of the tenant's within a day than allowed.
    TooManyToday,
    /// The object was gone before it could be read.
    SourceMissing,
    /// The object was overwritten while it was processed.
    SourceReplaced,
    /// The decoder crashed, hung or ran out of its limits too often.
    DecoderCrashed,
    /// Decoding failed for a reason that the detail tells.
    DecodeFailed,
    /// Every attempt was used up.
    AttemptsExhausted,
    /// A reviewer declined it; the detail is the reviewer's reason.
    Rejected,
    /// Its tenant's budget does not hold it: it waits.
    BudgetReached,
}

impl ReasonCode {
    /// The code as it stands in JSON, rows and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotMedia => "not_media",
            Self::Truncated => "truncated",
            Self::Encrypted => "encrypted",
            Self::NoDecodableStream => "no_decodable_stream",
            Self::TooLarge => "too_large",
            Self::TooLong => "too_long",
            Self::TooManyPixels => "too_many_pixels",
            Self::TooManyStreams => "too_many_streams",
            Self::TooManyFramesPerSecond => "too_many_frames_per_second",
            Self::TypeNotAllowed => "type_not_allowed",
            Self::StorageFull => "storage_full",
            Self::TooManyToday => "too_many_today",
            Self::SourceMissing => "source_missing",
            Self::SourceReplaced => "source_replaced",
            Self::DecoderCrashed => "decoder_crashed",
            Self::DecodeFailed => "decode_failed",
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::Rejected => "rejected",
            Self::BudgetReached => "budget_reached",
        }
    }
}

/// A fact, its type and its data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "type", content = "data")]
pub enum Event {
    /// An object landed and became an asset.
    #[serde(rename = "asset.uploaded.v1")]
    AssetUploaded(AssetUploaded),
    /// It will not be processed, and why.
    #[serde(rename = "asset.refused.v1")]
    AssetRefused(AssetStopped),
    /// What it is.
    #[serde(rename = "asset.probed.v1")]
    AssetProbed(AssetProbed),
    /// A player can start; the stream grows while the rest is made.
    #[serde(rename = "asset.playable.v1")]
    AssetPlayable(AssetPlayable),
    /// Everything is made. Once per asset and generation.
    #[serde(rename = "asset.ready.v1")]
    AssetReady(AssetReady),
    /// Processing ended without a result, and why.
    #[serde(rename = "asset.failed.v1")]
    AssetFailed(AssetStopped),
    /// It is marked as deleted: nobody plays it any more, and until its purge it can be restored.
    #[serde(rename = "asset.deleting.v1")]
    AssetDeleting(AssetDeleting),
    /// The mark is taken away again.
    #[serde(rename = "asset.restored.v1")]
    AssetRestored(AssetRestored),
    /// Its objects are gone.
    #[serde(rename = "asset.deleted.v1")]
    AssetDeleted(AssetOnly),
    /// It waits for its tenant's budget, and why.
    #[serde(rename = "asset.parked.v1")]
    AssetParked(AssetStopped),
    /// It waits for people's verdict.
    #[serde(rename = "approval.requested.v1")]
    ApprovalRequested(ApprovalRequested),
    /// Enough reviewers approved it: it is processed.
    #[serde(rename = "approval.granted.v1")]
    ApprovalGranted(ApprovalFact),
    /// A reviewer rejected it, and why.
    #[serde(rename = "approval.declined.v1")]
    ApprovalDeclined(ApprovalDeclined),
    /// Nobody decided in time: it stays unprocessed.
    #[serde(rename = "approval.expired.v1")]
    ApprovalExpired(ApprovalFact),
    /// The job waits for workers.
    #[serde(rename = "job.queued.v1")]
    JobQueued(JobFact),
    /// The first worker took one of its tasks.
    #[serde(rename = "job.started.v1")]
    JobStarted(JobFact),
    /// How far it is. Not in the event log: see [`JobProgressed::sequence`].
    #[serde(rename = "job.progressed.v1")]
    JobProgressed(JobProgressed),
    /// Every task is done.
    #[serde(rename = "job.succeeded.v1")]
    JobSucceeded(JobFact),
    /// It ended without a result.
    #[serde(rename = "job.failed.v1")]
    JobFailed(JobFact),
    /// Somebody or something called it off.
    #[serde(rename = "job.cancelled.v1")]
    JobCancelled(JobFact),
    /// One quality is whole.
    #[serde(rename = "rendition.completed.v1")]
    RenditionCompleted(RenditionCompleted),
    /// Poster and storyboard, or the sizes of a still image, can be fetched.
    #[serde(rename = "thumbnail.ready.v1")]
    ThumbnailReady(ThumbnailReady),
    /// A task was given up.
    #[serde(rename = "task.dead_lettered.v1")]
    TaskDeadLettered(TaskDeadLettered),
}

macro_rules! data {
    ($($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        pub struct $name {
            /// The asset that the fact is about.
            #[cfg_attr(test, schemars(with = "String"))]
            pub asset: AssetId,
            $($(#[$fdoc])* pub $field: $ty,)*
        }
    )*};
}

data! {
    /// Nothing more to say than which asset.
    AssetOnly {}
    /// Data of `asset.uploaded`.
    AssetUploaded {
        /// The name that the uploader gave, or the key's last part.
        name: String,
        /// Bytes.
        size: u64,
        /// Whether it came through the API (an upload) or straight into the bucket.
        through_api: bool,
    }
    /// Data of `asset.refused`, `asset.failed` and `asset.parked`.
    AssetStopped {
        /// Stable code.
        code: ReasonCode,
        /// For a person.
        detail: String,
    }
    /// Data of `asset.probed`.
    AssetProbed {
        /// `video`, `audio` or `image`.
        media: String,
        /// Milliseconds; images have none.
        duration_ms: Option<u64>,
        /// Pixels as shown: upright, square.
        width: Option<u32>,
        /// Pixels as shown.
        height: Option<u32>,
    }
    /// Data of `asset.playable`.
    AssetPlayable {
        /// Outputs lie under this generation.
        generation: u32,
        /// Milliseconds from the object's landing.
        after_ms: u64,
    }
    /// Data of `asset.ready`.
    AssetReady {
        /// Outputs lie under this generation.
        generation: u32,
        /// Milliseconds from the object's landing.
        after_ms: u64,
        /// Names of the renditions, `1080p` first; a still image has none.
        renditions: Vec<String>,
    }
    /// Data of `asset.deleting`.
    AssetDeleting {
        /// Until then it can be restored (epoch milliseconds).
        purge_at_ms: u64,
    }
    /// Data of `asset.restored`.
    AssetRestored {
        /// What it is again: `ready`, `processing` and so on.
        state: String,
    }
    /// Data of `approval.requested`.
    ApprovalRequested {
        /// The review.
        #[cfg_attr(test, schemars(with = "String"))] review: ReviewId,
        /// Approvals that are needed.
        votes: u32,
        /// Until then (epoch milliseconds).
        expires_at_ms: u64,
        /// The page of the review, for reviewers who are signed in. Opening it changes nothing.
        link: String,
    }
    /// Data of the `approval.*` facts without more. Who decided is for reviewers to know.
    ApprovalFact {
        /// The review.
        #[cfg_attr(test, schemars(with = "String"))] review: ReviewId,
    }
    /// Data of `approval.declined`.
    ApprovalDeclined {
        /// The review.
        #[cfg_attr(test, schemars(with = "String"))] review: ReviewId,
        /// The reviewer's, for the uploader.
        reason: String,
    }
    /// Data of the `job.*` facts without more.
    JobFact {
        /// The job.
        #[cfg_attr(test, schemars(with = "String"))] job: JobId,
        /// Why, for `job.failed` and `job.cancelled`.
        #[serde(default, skip_serializing_if = "Option::is_none")] code: Option<ReasonCode>,
    }
    /// Data of `job.progressed`.
    JobProgressed {
        /// The job.
        #[cfg_attr(test, schemars(with = "String"))] job: JobId,
        /// 0 to 100, never falling.
        percent: f64,
        /// Counts the pushes of this asset; a smaller one that comes later is stale.
        sequence: u64,
    }
    /// Data of `rendition.completed`.
    RenditionCompleted {
        /// The job.
        #[cfg_attr(test, schemars(with = "String"))] job: JobId,
        /// `720p`, `audio`.
        rendition: String,
        /// Bytes of its segments.
        bytes: u64,
        /// Video frames, or AAC frames.
        frames: u64,
    }
    /// Data of `thumbnail.ready`.
    ThumbnailReady {
        /// Outputs lie under this generation.
        generation: u32,
        /// Number of pictures made.
        pictures: u32,
    }
    /// Data of `task.dead_lettered`.
    TaskDeadLettered {
        /// The job.
        #[cfg_attr(test, schemars(with = "String"))] job: JobId,
        /// Kind of the task.
        kind: String,
        /// Why.
        reason: String,
    }
}

impl Event {
    /// Every type that the event log holds: all but `job.progressed.v1`.
    pub const LOGGED: [&'static str; 22] = [
        "asset.uploaded.v1",
        "asset.refused.v1",
        "asset.probed.v1",
        "asset.playable.v1",
        "asset.ready.v1",
        "asset.failed.v1",
        "asset.deleting.v1",
        "asset.restored.v1",
        "asset.deleted.v1",
        "asset.parked.v1",
        "approval.requested.v1",
        "approval.granted.v1",
        "approval.declined.v1",
        "approval.expired.v1",
        "job.queued.v1",
        "job.started.v1",
        "job.succeeded.v1",
        "job.failed.v1",
        "job.cancelled.v1",
        "rendition.completed.v1",
        "thumbnail.ready.v1",
        "task.dead_lettered.v1",
    ];

    /// The type with its major version.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::AssetUploaded(_) => "asset.uploaded.v1",
            Self::AssetRefused(_) => "asset.refused.v1",
            Self::AssetProbed(_) => "asset.probed.v1",
            Self::AssetPlayable(_) => "asset.playable.v1",
            Self::AssetReady(_) => "asset.ready.v1",
            Self::AssetFailed(_) => "asset.failed.v1",
            Self::AssetDeleting(_) => "asset.deleting.v1",
            Self::AssetRestored(_) => "asset.restored.v1",
            Self::AssetDeleted(_) => "asset.deleted.v1",
            Self::AssetParked(_) => "asset.parked.v1",
            Self::ApprovalRequested(_) => "approval.requested.v1",
            Self::ApprovalGranted(_) => "approval.granted.v1",
            Self::ApprovalDeclined(_) => "approval.declined.v1",
            Self::ApprovalExpired(_) => "approval.expired.v1",
            Self::JobQueued(_) => "job.queued.v1",
            Self::JobStarted(_) => "job.started.v1",
            Self::JobProgressed(_) => "job.progressed.v1",
            Self::JobSucceeded(_) => "job.succeeded.v1",
            Self::JobFailed(_) => "job.failed.v1",
            Self::JobCancelled(_) => "job.cancelled.v1",
            Self::RenditionCompleted(_) => "rendition.completed.v1",
            Self::ThumbnailReady(_) => "thumbnail.ready.v1",
            Self::TaskDeadLettered(_) => "task.dead_lettered.v1",
        }
    }

    /// The asset that it is about.
    pub fn asset(&self) -> AssetId {
        match self {
            Self::AssetUploaded(d) => d.asset,
            Self::AssetRefused(d) | Self::AssetFailed(d) | Self::AssetParked(d) => d.asset,
            Self::AssetProbed(d) => d.asset,
            Self::AssetPlayable(d) => d.asset,
            Self::AssetReady(d) => d.asset,
            Self::AssetDeleting(d) => d.asset,
            Self::AssetRestored(d) => d.asset,
            Self::AssetDeleted(d) => d.asset,
            Self::ApprovalRequested(d) => d.asset,
            Self::ApprovalGranted(d) | Self::ApprovalExpired(d) => d.asset,
            Self::ApprovalDeclined(d) => d.asset,
            Self::JobQueued(d)
            | Self::JobStarted(d)
            | Self::JobSucceeded(d)
            | Self::JobFailed(d)
            | Self::JobCancelled(d) => d.asset,
            Self::JobProgressed(d) => d.asset,
            Self::RenditionCompleted(d) => d.asset,
            Self::ThumbnailReady(d) => d.asset,
            Self::TaskDeadLettered(d) => d.asset,
        }
    }
}

/// An event in the structured JSON form of CloudEvents 1.0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CloudEvent {
    /// Always `1.0`.
    pub specversion: String,
    /// Receivers deduplicate by it.
    #[cfg_attr(test, schemars(with = "String"))]
    pub id: EventId,
    /// `/reelfleet/{tenant}`.
    pub source: String,
    /// The asset's id.
    pub subject: String,
    /// RFC 3339, UTC, milliseconds.
    pub time: String,
    /// Always `application/json`.
    pub datacontenttype: String,
    /// Extension: whose it is.
    pub tenant: String,
    /// Extension of the distributed tracing document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub traceparent: Option<TraceParent>,
    /// Type and data.
    #[serde(flatten)]
    pub event: Event,
}

impl CloudEvent {
    /// Wraps a fact. `at_ms` is epoch milliseconds.
    pub fn new(id: EventId, tenant: &str, at_ms: i64, traceparent: Option<TraceParent>, event: Event) -> Self {
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(u64::try_from(at_ms).unwrap_or(0));
        Self {
            specversion: "1.0".into(),
            id,
            source: format!("/reelfleet/{tenant}"),
            subject: event.asset().to_string(),
            time: humantime::format_rfc3339_millis(at).to_string(),
            datacontenttype: "application/json".into(),
            tenant: tenant.to_owned(),
            traceparent,
            event,
        }
    }

    /// When it was (epoch milliseconds), if its time is one.
    pub fn at_ms(&self) -> Option<i64> {
        let at = humantime::parse_rfc3339(&self.time).ok()?;
        i64::try_from(at.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis()).ok()
    }

    /// The text that is logged, published and signed.
    pub fn to_json(&self) -> String {
        // Maps with text keys and finite numbers: serialising can't fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
