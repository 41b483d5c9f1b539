//! What holds of positions for any text at all. Compiled for tests and for fuzzing alone (`fuzz/`).

use crate::sse::Positions;

#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;

/// An event id (`Last-Event-ID`) is positions that it says again, or nothing.
pub fn last_event_id(data: &[u8]) {
    let Ok(id) = std::str::from_utf8(data) else { return };
    if let Some(positions) = Positions::parse(id) {
        assert_eq!(Positions::parse(&positions.to_string()), Some(positions));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn event_ids() {
        super::replay::seeds("last_event_id", super::last_event_id);
    }
}
