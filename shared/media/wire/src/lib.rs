//! The frames that a decoder and its parent exchange.
//!
//! Guarantee: whatever bytes arrive, reading them gives a value or a [`WireError`]; it never panics, and never
//! allocates more than the limits named here. The decoder is what we do not trust, so the parent relies on this.
//!
//! Two descriptors join the two processes. On the *source socket* the parent writes one [`Request`]; afterwards the
//! decoder asks [`ReadAt`] and the parent answers with a status and bytes. On the *output pipe* the decoder writes
//! [`OutputHeader`]s, each with a body (a segment, a picture) that may be empty. All integers are little-endian.
//!
//! The functions on `std::io` are for the decoder and for tests. An asynchronous parent reads the fixed-size heads
//! itself and parses them with [`ReadAt::from_bytes`], [`FrameHead::from_bytes`] and [`parse_output_header`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzzed;
mod output;
mod probe;
mod request;
mod validate;
pub mod zygote;

pub use frame::{
    FRAME_HEAD_LEN, FrameHead, MAX_BODY, MAX_HEADER, MAX_READ, MAX_REQUEST, READ_AT_LEN, REPLY_HEAD_LEN, ReadAt,
    ReadStatus, ReplyHead, WireError, encode_output_header, encode_request, parse_output_header, parse_request,
    read_output, read_reply, read_request, write_output, write_read_at, write_reply, write_request,
};
pub use output::{Cue, FailCode, OutputHeader, PictureFormat, PictureKind, ProgressReport, RunEndReport, SegmentInfo};
pub use probe::{AudioStream, Copyable, IndexReport, MediaKind, ProbeReport, VideoStream};
pub use request::{
    AudioAnchor, AudioRequest, CopySpec, EncodeRequest, MediaLimits, PicturesRequest, Request, Rung, StillRequest,
    StoryboardSpec,
};
pub use validate::{Invalid, MAX_STILL_SIDE, MAX_VIDEO_SIDE, MOST_DELAY_US};

/// Samples in one AAC frame; the audio grid counts in these.
pub const AAC_FRAME: u64 = 1024;
/// Sample rate of every audio rendition, and the timescale of its segments.
pub const AUDIO_RATE: u32 = 48_000;
/// Timescale of every video rendition (ticks per second).
pub const VIDEO_TIMESCALE: u32 = 90_000;
/// The most keyframes an [`IndexReport`] names.
pub const MAX_KEYFRAMES: usize = 20_000;
