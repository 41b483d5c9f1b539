//! Why a request was not served. Everything that goes wrong ends as one [`Failure`], which becomes one `Failed` frame.

use reelfleet_wire::{FailCode, Invalid, WireError};

/// A code for the parent to act on, and plain text for a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Failure {
    pub code: FailCode,
    pub detail: String,
}

impl Failure {
    pub fn new(code: FailCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(FailCode::Internal, detail)
    }

    /// An allocation that failed: a decoder's memory has a fixed limit, so the same source ends the same way each time.
    pub fn memory(doing: &str) -> Self {
        Self::decode(format!("{doing} takes more memory than a decoder may have"))
    }

    pub fn decode(detail: impl Into<String>) -> Self {
        Self::new(FailCode::Decode, detail)
    }

    pub fn encode(detail: impl Into<String>) -> Self {
        Self::new(FailCode::Encode, detail)
    }

    /// The detail as it may go over the wire: at most 2 KB of printable text.
    pub fn detail_for_wire(&self) -> String {
        self.detail.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        Self::internal(format!("wire: {error}"))
    }
}

impl From<Invalid> for Failure {
    fn from(error: Invalid) -> Self {
        Self::internal(error.to_string())
    }
}
