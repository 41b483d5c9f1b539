//! The realtime protocol `reelfleet.v1`: the frames between a client and the notifier, the same over WebSocket and SSE.
//!
//! Guarantee: every logged event has a position in its stream, positions of one stream come in order and without
//! repetition, and a client that says what it has seen (`since`) gets what it missed. `job.progressed` is not logged:
//! it carries the last logged position of its stream and a sequence of its own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The WebSocket subprotocol (RFC 6455, section 1.9).
pub const SUBPROTOCOL: &str = "reelfleet.v1";
/// No frame is larger (bytes), so that an API Gateway adapter can carry it.
pub const MAX_FRAME_BYTES: usize = 32 * 1024;

/// What can be listened to; `<id>` stands for an asset's.
pub const TOPICS: [&str; 4] = ["me", "asset:<id>", "reviews", "ops"];

/// What a client says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum ClientFrame {
    /// The first frame of a connection.
    Hello {
        /// A ticket, where the URL held none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ticket: Option<String>,
        /// The epoch of the positions in `since`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<String>,
        /// The last position seen of each stream; a stream that is missing starts at "now".
        #[serde(default)]
        since: BTreeMap<String, i64>,
        /// Any of [`TOPICS`]; `me` if there are none.
        #[serde(default)]
        topics: Vec<String>,
    },
    /// Answered by `pong`.
    Ping,
    /// The answer to `ping`.
    Pong,
}

/// What the notifier says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum ServerFrame {
    /// The answer to `hello`.
    Welcome {
        /// Changes when positions start anew.
        epoch: String,
        /// Where each subscribed stream stands: what is replayed follows from `since` up to here and on.
        positions: BTreeMap<String, i64>,
        /// Whether everything that was missed follows.
        resumed: bool,
        /// Send and expect a sign of life this often.
        heartbeat_ms: u64,
        /// For logs on both sides.
        session: String,
    },
    /// A fact.
    Event {
        /// The stream that it came by.
        stream: String,
        /// Its position there; for `job.progressed`, the last logged one.
        position: i64,
        /// The event's id.
        id: String,
        /// The event's type.
        #[serde(rename = "type")]
        kind: String,
        /// The asset's id.
        subject: String,
        /// RFC 3339.
        at: String,
        /// The event's data.
        data: Value,
    },
    /// Positions can't be continued: fetch the snapshot by REST, go on from `position`.
    Reset {
        /// The stream.
        stream: String,
        /// `epoch_changed` or `too_old`.
        reason: String,
        /// Go on from here.
        position: i64,
    },
    /// Answered by `pong`.
    Ping,
    /// The answer to `ping`.
    Pong,
    /// The server closes; come back after the given time.
    Bye {
        /// `draining`, `slow_consumer`, `unauthenticated`, `forbidden`, `replaced`, `too_many`,
        /// `too_many_topics`.
        code: String,
        /// Milliseconds, already spread at random.
        retry_after_ms: u64,
    },
}

/// WebSocket close codes of the private range (RFC 6455, section 7.4.2).
pub mod close {
    /// A frame that is not of the protocol, or too many topics: the reason says which.
    pub const BAD_REQUEST: u16 = 4400;
    /// No or a bad ticket.
    pub const UNAUTHENTICATED: u16 = 4401;
    /// A topic that is not yours.
    pub const FORBIDDEN: u16 = 4403;
    /// The client reads too slowly; resume.
    pub const SLOW_CONSUMER: u16 = 4408;
    /// Too many connections of one user.
    pub const TOO_MANY: u16 = 4429;
    /// Our fault.
    pub const INTERNAL: u16 = 4500;
}
