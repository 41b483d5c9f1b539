//! Frames made of what the log and the topic hold.
//!
//! Guarantee: no frame is larger than [`MAX_FRAME_BYTES`]; an event whose data is too large for one is sent with its
//! asset alone, so its position is never skipped.

use axum::extract::ws::Utf8Bytes;
use reelfleet_messages::realtime::{MAX_FRAME_BYTES, ServerFrame};
use serde::Deserialize;
use serde_json::{Value, json};

/// What the notifier reads of a CloudEvent. An event of a newer build passes through as it is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Fact {
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) subject: String,
    pub(crate) time: String,
    pub(crate) tenant: String,
    #[serde(default)]
    pub(crate) traceparent: Option<String>,
    #[serde(default)]
    pub(crate) data: Value,
}

impl Fact {
    /// Reads a CloudEvent, bare or in the envelope of an SNS delivery that is not raw.
    pub(crate) fn parse(body: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Envelope {
            r#type: String,
            message: String,
        }
        match serde_json::from_str::<Envelope>(body) {
            Ok(envelope) if envelope.r#type == "Notification" => serde_json::from_str(&envelope.message),
            _ => serde_json::from_str(body),
        }
    }

    /// The frame of this event in a stream.
    pub(crate) fn frame(&self, stream: &str, position: i64) -> Utf8Bytes {
        let frame = |data: Value| {
            text(&ServerFrame::Event {
                stream: stream.to_owned(),
                position,
                id: self.id.clone(),
                kind: self.kind.clone(),
                subject: self.subject.clone(),
                at: self.time.clone(),
                data,
            })
        };
        let whole = frame(self.data.clone());
        if whole.len() <= MAX_FRAME_BYTES {
            return whole;
        }
        tracing::warn!(
            event = self.id,
            kind = self.kind,
            bytes = whole.len(),
            "an event is too large for a frame; its data is left out"
        );
        frame(json!({ "asset": self.subject }))
    }

    /// Whether the asset's processing has ended: no progress follows.
    pub(crate) fn is_end(&self) -> bool {
        [
            "asset.ready.",
            "asset.failed.",
            "asset.refused.",
            "asset.deleting.",
            "asset.deleted.",
            "job.succeeded.",
            "job.failed.",
            "job.cancelled.",
        ]
        .iter()
        .any(|prefix| self.kind.starts_with(prefix))
    }
}

/// A frame as text.
pub(crate) fn text(frame: &ServerFrame) -> Utf8Bytes {
    // Maps with text keys and finite numbers: serialising can't fail.
    serde_json::to_string(frame).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(data: Value) -> Fact {
        let body = json!({ "specversion": "1.0", "id": "evt_1", "type": "asset.ready.v1", "subject": "ast_1", "time": "2026-01-01T00:00:00.000Z",
            "tenant": "acme", "data": data });
        Fact::parse(&body.to_string()).unwrap()
    }

    #[test]
    fn an_event_reads_bare_and_wrapped() {
        let bare = fact(json!({ "asset": "ast_1" }));
        let body = json!({ "id": "evt_1", "type": "asset.ready.v1", "subject": "ast_1", "time": "2026-01-01T00:00:00.000Z", "tenant": "acme",
            "data": { "asset": "ast_1" } });
        let wrapped = json!({ "Type": "Notification", "MessageId": "m", "Message": body.to_string() });
        assert_eq!(Fact::parse(&wrapped.to_string()).unwrap(), bare);
        assert!(bare.is_end());
        assert!(Fact::parse("{}").is_err());
    }

    #[test]
    fn a_frame_is_never_too_large_and_never_missing() {
        let frame = fact(json!({ "detail": "x".repeat(40_000) })).frame("asset:ast_1", 7);
        assert!(frame.len() < MAX_FRAME_BYTES);
        let read: ServerFrame = serde_json::from_str(&frame).unwrap();
        assert!(matches!(read, ServerFrame::Event { position: 7, .. }), "{read:?}");
    }
}
