//! S3 notifications: foreign, of untrusted shape, parsed once, in layers.
//!
//! Guarantee: each layer is told by its tag and never by trial: transport (raw, or SNS by `Type`), then shape
//! (`Event: s3:TestEvent`, `Records`, or `source: aws.s3` from EventBridge), then each record. What is wrong is named
//! with its place, so that the dead letter says more than "did not match".
//!
//! Sources: "Event message structure" (Amazon S3 user guide), "Amazon S3 EventBridge events", "Parsing SNS message formats".

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

/// What a message on the intake queue turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notification {
    /// Changes of objects, in the order of the message; may be empty.
    Objects(Vec<ObjectEvent>),
    /// S3 tests a target once per write of its notification configuration. Acknowledge and log.
    Test {
        /// The bucket that tested.
        bucket: String,
    },
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectChange {
    /// `ObjectCreated:*`, whatever the way it was written.
    Created,
    /// `ObjectRemoved:*` and lifecycle expirations.
    Removed,
    /// Any other kind of event: acknowledged and counted, never an error.
    Other,
}

/// One record, with its key decoded. Size and ETag are hints: HEAD decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectEvent {
    /// What happened.
    pub change: ObjectChange,
    /// The event's name as sent, for logs: `ObjectCreated:Put`.
    pub name: String,
    /// Bucket name.
    pub bucket: String,
    /// Decoded key.
    pub key: String,
    /// Version id where the bucket is versioned.
    pub version_id: Option<String>,
    /// ETag without quotes; deletions have none.
    pub etag: Option<String>,
    /// Bytes; deletions have none.
    pub size: Option<u64>,
    /// What the server orders events of one key by; may be missing. Kept to be looked at: nothing is decided by it.
    pub sequencer: Option<String>,
}

/// Why a message can't be understood. It goes to the dead-letter queue with this text.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotificationError {
    /// Not JSON at all.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// JSON of another shape.
    #[error("{place}: {why}")]
    Shape {
        /// Path inside the message, `Records[1].s3.object.key`.
        place: String,
        /// What was expected there.
        why: String,
    },
    /// An S3 event of another major version.
    #[error("{place}: event version {version:?} is not 2.x")]
    Version {
        /// Path inside the message.
        place: String,
        /// What stood there.
        version: String,
    },
    /// A key that is not form-encoded UTF-8.
    #[error("{place}: key {key:?} is not form-encoded UTF-8")]
    Key {
        /// Path inside the message.
        place: String,
        /// The key as sent.
        key: String,
    },
}

/// Nesting that transports may add: SNS in SQS is one, SNS in SNS does not happen.
const MAX_TRANSPORTS: usize = 2;

/// Parses the body of a message from the intake queue.
pub fn parse(body: &str) -> Result<Notification, NotificationError> {
    let mut value: Value = serde_json::from_str(body).map_err(|e| NotificationError::NotJson(e.to_string()))?;
    for _ in 0..MAX_TRANSPORTS {
        let Some(inner) = unwrap_sns(&value)? else { break };
        value =
            serde_json::from_str(inner).map_err(|e| NotificationError::NotJson(format!("in the SNS message: {e}")))?;
    }
    let Value::Object(map) = &value else {
        return Err(shape("", "a JSON object was expected"));
    };
    if map.get("Event").and_then(Value::as_str) == Some("s3:TestEvent") {
        return Ok(Notification::Test { bucket: text(map, "", "Bucket").unwrap_or_default().to_owned() });
    }
    if let Some(records) = map.get("Records") {
        let Value::Array(records) = records else { return Err(shape("Records", "a list was expected")) };
        let events = records.iter().enumerate().map(|(i, r)| record(r, i)).collect::<Result<_, _>>()?;
        return Ok(Notification::Objects(events));
    }
    if map.get("source").and_then(Value::as_str) == Some("aws.s3") {
        return Ok(Notification::Objects(vec![event_bridge(map)?]));
    }
    Err(shape("", "neither Records, nor an s3:TestEvent, nor an EventBridge event of aws.s3"))
}

fn unwrap_sns(value: &Value) -> Result<Option<&str>, NotificationError> {
    match value.get("Type").and_then(Value::as_str) {
        Some("Notification") => match value.get("Message").and_then(Value::as_str) {
            Some(message) => Ok(Some(message)),
            None => Err(shape("Message", "an SNS notification without a text message")),
        },
        _ => Ok(None),
    }
}

fn record(value: &Value, index: usize) -> Result<ObjectEvent, NotificationError> {
    let place = format!("Records[{index}]");
    let map = object(value, &place)?;
    if let Some(version) = map.get("eventVersion").and_then(Value::as_str)
        && !version.starts_with("2.")
    {
        return Err(NotificationError::Version { place, version: version.to_owned() });
    }
    let name = text(map, &place, "eventName")?;
    let name = name.strip_prefix("s3:").unwrap_or(name);
    let s3 = object(field(map, &place, "s3")?, &format!("{place}.s3"))?;
    let bucket_place = format!("{place}.s3.bucket");
    let bucket = text(object(field(s3, &format!("{place}.s3"), "bucket")?, &bucket_place)?, &bucket_place, "name")?;
    let object_place = format!("{place}.s3.object");
    let entry = object(field(s3, &format!("{place}.s3"), "object")?, &object_place)?;
    let raw = text(entry, &object_place, "key")?;
    // Ceph's RADOS Gateway alone sends its keys as they are (seen: 16.2), so that `a+b` is no `a b`.
    let plain = map.get("eventSource").and_then(Value::as_str) == Some("ceph:s3");
    let key = if plain { Some(raw.to_owned()).filter(|key| !key.is_empty()) } else { decode_key(raw) };
    Ok(ObjectEvent {
        change: change(name),
        name: name.to_owned(),
        bucket: bucket.to_owned(),
        key: key.ok_or_else(|| NotificationError::Key { place: format!("{object_place}.key"), key: raw.to_owned() })?,
        version_id: optional(entry, "versionId"),
        etag: optional(entry, "eTag").map(|e| e.trim_matches('"').to_owned()),
        size: entry.get("size").and_then(Value::as_u64),
        sequencer: optional(entry, "sequencer"),
    })
}

/// EventBridge sends its keys as they are and hyphenates its names.
fn event_bridge(map: &Map<String, Value>) -> Result<ObjectEvent, NotificationError> {
    let kind = text(map, "", "detail-type")?;
    let detail = object(field(map, "", "detail")?, "detail")?;
    let bucket = text(object(field(detail, "detail", "bucket")?, "detail.bucket")?, "detail.bucket", "name")?;
    let entry = object(field(detail, "detail", "object")?, "detail.object")?;
    Ok(ObjectEvent {
        change: match kind {
            "Object Created" => ObjectChange::Created,
            "Object Deleted" => ObjectChange::Removed,
            _ => ObjectChange::Other,
        },
        name: kind.to_owned(),
        bucket: bucket.to_owned(),
        key: text(entry, "detail.object", "key")?.to_owned(),
        version_id: optional(entry, "version-id"),
        etag: optional(entry, "etag").map(|e| e.trim_matches('"').to_owned()),
        size: entry.get("size").and_then(Value::as_u64),
        sequencer: optional(entry, "sequencer"),
    })
}

fn change(name: &str) -> ObjectChange {
    if name.starts_with("ObjectCreated:") {
        ObjectChange::Created
    } else if name.starts_with("ObjectRemoved:") || name.starts_with("LifecycleExpiration:") {
        ObjectChange::Removed
    } else {
        ObjectChange::Other
    }
}

/// Decodes a key as S3 encodes it: `+` is a space, then percent escapes, then strict UTF-8.
///
/// Neither `percent_decode` alone (it leaves `+`) nor a form parser (it splits at `&` and replaces bad UTF-8) will do.
pub fn decode_key(raw: &str) -> Option<String> {
    let spaced = raw.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(|key| key.into_owned()).filter(|key| !key.is_empty())
}

fn shape(place: &str, why: &str) -> NotificationError {
    NotificationError::Shape {
        place: if place.is_empty() { "message".to_owned() } else { place.to_owned() },
        why: why.to_owned(),
    }
}

fn field<'v>(map: &'v Map<String, Value>, place: &str, name: &str) -> Result<&'v Value, NotificationError> {
    map.get(name).ok_or_else(|| shape(&join(place, name), "is missing"))
}

fn object<'v>(value: &'v Value, place: &str) -> Result<&'v Map<String, Value>, NotificationError> {
    value.as_object().ok_or_else(|| shape(place, "an object was expected"))
}

fn text<'v>(map: &'v Map<String, Value>, place: &str, name: &str) -> Result<&'v str, NotificationError> {
    field(map, place, name)?.as_str().ok_or_else(|| shape(&join(place, name), "a text was expected"))
}

fn optional(map: &Map<String, Value>, name: &str) -> Option<String> {
    map.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn join(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

#[cfg(test)]
mod tests;
