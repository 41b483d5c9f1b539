//! What holds of the parsers here for any bytes at all. Compiled for tests and for fuzzing alone (`fuzz/`).

use crate::realtime::ClientFrame;
use crate::{Notification, TaskEnvelope, notification};

#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;

/// A message of the intake queue is understood or refused; what is understood names its objects.
pub fn notification(data: &[u8]) {
    let Ok(body) = std::str::from_utf8(data) else { return };
    match notification::parse(body) {
        Ok(Notification::Objects(events)) => {
            for event in events {
                assert!(event.key.len() <= body.len(), "a key longer than its message");
            }
        }
        Ok(Notification::Test { .. }) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Whether a notification comes raw or through a topic makes no difference.
pub fn sns_envelope(data: &[u8]) {
    let Ok(body) = std::str::from_utf8(data) else { return };
    let wrapped = serde_json::json!({ "Type": "Notification", "MessageId": "m", "Message": body }).to_string();
    let through = notification::parse(&wrapped);
    let is_envelope = serde_json::from_str::<serde_json::Value>(body).is_ok_and(|value| value.get("Type").is_some());
    if !is_envelope {
        match (notification::parse(body), through) {
            (Ok(raw), Ok(through)) => assert_eq!(raw, through),
            (Err(_), Err(_)) => {}
            (raw, through) => panic!("raw {raw:?}, through a topic {through:?}"),
        }
    }
}

/// A task that is read is written as it was.
pub fn task(data: &[u8]) {
    let Ok(body) = std::str::from_utf8(data) else { return };
    if let Ok(task) = TaskEnvelope::parse(body) {
        let text = task.to_json();
        let mut again = TaskEnvelope::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        // An estimate, whose last digit the reader of JSON may round.
        assert!((again.cost_s - task.cost_s).abs() <= task.cost_s.abs() * 1e-12, "{text}");
        again.cost_s = task.cost_s;
        assert_eq!(again, task);
    }
}

/// So is a frame of a realtime client, its positions (`since`) among it.
pub fn realtime(data: &[u8]) {
    if let Ok(frame) = serde_json::from_slice::<ClientFrame>(data) {
        let text = serde_json::to_string(&frame).unwrap_or_else(|error| panic!("{error}: {frame:?}"));
        assert_eq!(serde_json::from_str::<ClientFrame>(&text).ok(), Some(frame));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn notifications() {
        super::replay::seeds("notification", super::notification);
    }

    #[test]
    fn sns_envelopes() {
        super::replay::seeds("sns_envelope", super::sns_envelope);
    }

    #[test]
    fn tasks() {
        super::replay::seeds("task", super::task);
    }

    #[test]
    fn realtime_frames() {
        super::replay::seeds("realtime", super::realtime);
    }
}
