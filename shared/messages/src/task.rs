//! Tasks: private commands in the imperative, one queue and one consumer each.
//!
//! Guarantee: a task holds references only and stays under [`MAX_BYTES`]; the row in the catalog is the truth, the
//! message only wakes somebody up. A version or kind that this build does not know is told apart from a malformed
//! one: the first is put back for a newer worker, the second is a dead letter.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{AssetId, JobId, TaskId};
use crate::trace::TraceParent;

/// The version this build writes.
pub const VERSION: u32 = 1;
/// A task's JSON is never larger (bytes).
pub const MAX_BYTES: usize = 8 * 1024;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "kind", content = "body", rename_all = "snake_case")]
pub enum Task {
    /// Look at the source by range, decide by policy, queue the job.
    ProbeSource(AssetTask),
    /// Cut the video into chunks and write their tasks.
    PlanRenditions(AssetTask),
    /// Encode the frames of one span in every rendition.
    EncodeChunk(ChunkTask),
    /// Encode the audio once, as a chain of runs.
    EncodeAudio(ChunkTask),
    /// Write the playlists from committed rows.
    PublishPlaylist(AssetTask),
    /// Poster, storyboard; sizes of a still image.
    RenderThumbnails(AssetTask),
}

/// A task about one asset as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AssetTask {
    /// The asset.
    #[cfg_attr(test, schemars(with = "String"))]
    pub asset: AssetId,
    /// Generation of its outputs, from 1.
    pub generation: u32,
}

/// A task about one span of an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ChunkTask {
    /// The asset.
    #[cfg_attr(test, schemars(with = "String"))]
    pub asset: AssetId,
    /// Generation of its outputs, from 1.
    pub generation: u32,
    /// Number of the chunk in its track, from 0.
    pub chunk: u32,
    /// First instant of the span, microseconds from the asset's zero.
    pub start_us: i64,
    /// The instant after its last; open-ended if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_us: Option<i64>,
    /// Where a rendition is copied: the ends of its segments but the last, microseconds from the asset's zero.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cuts_us: Vec<i64>,
}

/// The queue that a task lies on. Names as in `reelfleet-<name>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskQueue {
    /// Consumed by intake.
    Probe,
    /// Consumed by the transcoder: encoding.
    Transcode,
    /// Consumed by the transcoder: what somebody waits for. Planning, the opening of a stream, publishing: they never
    /// wait behind the encoding of something else.
    Express,
    /// Consumed by transcoders of its own: what campaigns hand out, each step of it. Uploads never wait behind it.
    Backfill,
    /// Consumed by the thumbnailer.
    Thumbnail,
}

impl TaskQueue {
    /// The last part of the queue's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Transcode => "transcode",
            Self::Express => "express",
            Self::Backfill => "backfill",
            Self::Thumbnail => "thumbnail",
        }
    }

    /// Reads what [`TaskQueue::as_str`] wrote.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Probe, Self::Transcode, Self::Express, Self::Backfill, Self::Thumbnail]
            .into_iter()
            .find(|queue| queue.as_str() == name)
    }
}

impl Task {
    /// The kind's name, as on the wire and as a metric label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ProbeSource(_) => "probe_source",
            Self::PlanRenditions(_) => "plan_renditions",
            Self::EncodeChunk(_) => "encode_chunk",
            Self::EncodeAudio(_) => "encode_audio",
            Self::PublishPlaylist(_) => "publish_playlist",
            Self::RenderThumbnails(_) => "render_thumbnails",
        }
    }

    /// The queue that it starts on; a continuation lies on [`TaskQueue::Transcode`].
    pub fn queue(&self) -> TaskQueue {
        match self {
            Self::ProbeSource(_) => TaskQueue::Probe,
            Self::PlanRenditions(_) | Self::PublishPlaylist(_) => TaskQueue::Express,
            Self::EncodeChunk(chunk) | Self::EncodeAudio(chunk) if chunk.chunk == 0 => TaskQueue::Express,
            Self::EncodeChunk(_) | Self::EncodeAudio(_) => TaskQueue::Transcode,
            Self::RenderThumbnails(_) => TaskQueue::Thumbnail,
        }
    }

    /// The generation of the asset's outputs that it works on.
    pub fn generation(&self) -> u32 {
        match self {
            Self::ProbeSource(t) | Self::PlanRenditions(t) | Self::PublishPlaylist(t) | Self::RenderThumbnails(t) => {
                t.generation
            }
            Self::EncodeChunk(t) | Self::EncodeAudio(t) => t.generation,
        }
    }

    /// The asset that it is about.
    pub fn asset(&self) -> AssetId {
        match self {
            Self::ProbeSource(t) | Self::PlanRenditions(t) | Self::PublishPlaylist(t) | Self::RenderThumbnails(t) => {
                t.asset
            }
            Self::EncodeChunk(t) | Self::EncodeAudio(t) => t.asset,
        }
    }
}

/// A task as it travels: `{v, kind, task, job, tenant, cost_s, traceparent, body}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TaskEnvelope {
    /// Version of the envelope and of all bodies.
    pub v: u32,
    /// Its row.
    #[cfg_attr(test, schemars(with = "String"))]
    pub task: TaskId,
    /// The job that it belongs to.
    #[cfg_attr(test, schemars(with = "String"))]
    pub job: JobId,
    /// Whose it is; also the message group, so that queues stay fair.
    pub tenant: String,
    /// Estimated seconds of work, for scaling.
    pub cost_s: f64,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub traceparent: Option<TraceParent>,
    /// Kind and body.
    #[serde(flatten)]
    pub work: Task,
}

/// Why a body is no task for this build.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TaskError {
    /// A newer version or an unknown kind: put back, a newer worker will take it.
    #[error("task of version {v} and kind {kind:?} is not known to this build")]
    Unknown {
        /// Version as sent.
        v: u64,
        /// Kind as sent.
        kind: String,
    },
    /// Not a task at all: a dead letter.
    #[error("malformed task: {0}")]
    Malformed(String),
}

impl TaskEnvelope {
    /// Reads a task. Unknown fields are ignored.
    pub fn parse(body: &str) -> Result<Self, TaskError> {
        const KINDS: [&str; 6] = [
            "probe_source",
            "plan_renditions",
            "encode_chunk",
            "encode_audio",
            "publish_playlist",
            "render_thumbnails",
        ];
        let value: Value = serde_json::from_str(body).map_err(|e| TaskError::Malformed(e.to_string()))?;
        let v = value.get("v").and_then(Value::as_u64).ok_or_else(|| TaskError::Malformed("v is missing".into()))?;
        let kind =
            value.get("kind").and_then(Value::as_str).ok_or_else(|| TaskError::Malformed("kind is missing".into()))?;
        if v != u64::from(VERSION) || !KINDS.contains(&kind) {
            return Err(TaskError::Unknown { v, kind: kind.to_owned() });
        }
        serde_json::from_value(value).map_err(|e| TaskError::Malformed(e.to_string()))
    }

    /// The text that is sent and stored.
    pub fn to_json(&self) -> String {
        // Maps with text keys and numbers that are finite: serialising can't fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn newer_and_malformed_are_told_apart() {
        assert!(matches!(
            TaskEnvelope::parse(r#"{"v":2,"kind":"encode_chunk"}"#),
            Err(TaskError::Unknown { v: 2, .. })
        ));
        assert!(matches!(TaskEnvelope::parse(r#"{"v":1,"kind":"paint"}"#), Err(TaskError::Unknown { .. })));
        assert!(matches!(TaskEnvelope::parse(r#"{"v":1,"kind":"encode_chunk"}"#), Err(TaskError::Malformed(_))));
        assert!(matches!(TaskEnvelope::parse("{"), Err(TaskError::Malformed(_))));
    }

    #[test]
    fn it_reads_back_and_ignores_what_it_does_not_know() {
        let envelope = TaskEnvelope {
            v: VERSION,
            task: TaskId::from_uuid(Uuid::from_u128(1)),
            job: JobId::from_uuid(Uuid::from_u128(2)),
            tenant: "default".into(),
            cost_s: 3.5,
            traceparent: Some(TraceParent::new(1, 2)),
            work: Task::EncodeChunk(ChunkTask {
                asset: AssetId::from_uuid(Uuid::from_u128(3)),
                generation: 1,
                chunk: 4,
                start_us: 10,
                end_us: None,
                cuts_us: vec![11],
            }),
        };
        let text = envelope.to_json();
        assert!(text.len() < MAX_BYTES);
        assert_eq!(TaskEnvelope::parse(&text), Ok(envelope.clone()));
        let more = text.replacen('{', r#"{"later":true,"#, 1);
        assert_eq!(TaskEnvelope::parse(&more), Ok(envelope));
    }
}
