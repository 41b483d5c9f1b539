//! What a decoder found out about a source.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What kind of asset a source makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaKind {
    /// Has moving pictures; may have sound.
    Video,
    /// Has sound only; a cover picture does not count.
    Audio,
    /// One picture. `video` carries width, height and codec (`jpeg`, `png`, `webp`, `gif`).
    Image,
}

/// Facts about a source, in FFmpeg's names. Times are microseconds on the source's clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// FFmpeg's name of the container, such as `mov,mp4,m4a,3gp,3g2,mj2`.
    pub container: String,
    pub kind: MediaKind,
    /// From t0 to the end of the longest chosen stream.
    pub duration_ms: Option<u64>,
    /// Time zero of the asset (t0): the smallest start over the chosen streams.
    pub start_us: i64,
    /// Bits per second over the whole source.
    pub bit_rate: Option<u64>,
    pub video: Option<VideoStream>,
    pub audio: Option<AudioStream>,
    /// Streams of any kind.
    pub streams: u32,
    /// Container tags such as `title` and `creation_time`; at most 32, values cut at 512 bytes.
    pub tags: BTreeMap<String, String>,
    /// The source ends before its index says; what is there can be played.
    pub truncated: bool,
}

/// The video stream chosen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VideoStream {
    pub index: u32,
    pub codec: String,
    pub profile: Option<String>,
    /// Coded size.
    pub width: u32,
    pub height: u32,
    /// Size as shown: after pixel aspect and rotation; not forced even.
    pub display_width: u32,
    pub display_height: u32,
    /// Clockwise degrees to turn the coded picture for showing: 0, 90, 180 or 270.
    pub rotation: u16,
    /// Mirror left to right after the rotation.
    #[serde(default)]
    pub flipped: bool,
    pub sar_num: u32,
    pub sar_den: u32,
    /// Average frame rate; 0/1 if unknown.
    pub fps_num: u32,
    pub fps_den: u32,
    pub pix_fmt: String,
    pub bit_depth: u8,
    pub color_transfer: Option<String>,
    pub color_primaries: Option<String>,
    pub color_space: Option<String>,
    pub color_range: Option<String>,
    /// Transfer is PQ or HLG: needs tone mapping.
    pub hdr: bool,
    pub interlaced: bool,
    /// Number of frames, where the container says.
    pub frames: Option<u64>,
    pub start_us: i64,
    pub duration_ms: Option<u64>,
    pub time_base_num: u32,
    pub time_base_den: u32,
    /// Always false: a cover picture is never chosen.
    pub attached_pic: bool,
}

/// The audio stream chosen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AudioStream {
    pub index: u32,
    pub codec: String,
    pub profile: Option<String>,
    pub channels: u32,
    pub channel_layout: String,
    pub sample_rate: u32,
    pub start_us: i64,
    pub duration_ms: Option<u64>,
    pub language: Option<String>,
}

/// What the container's index says about the chosen video stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IndexReport {
    /// Packets have times and seeking by time works: the source may be cut into chunks at any time.
    pub seekable: bool,
    /// Keyframe times from t0, ascending; empty if the container has no index. At most 20 000, thinned evenly if more.
    pub keyframes_us: Vec<i64>,
    /// Video packets, where the index names every one.
    pub packets: Option<u64>,
    /// What was added to the index's decode times to get presentation times.
    pub reorder_us: i64,
    /// Last time the index knows, from t0.
    pub last_us: Option<i64>,
    /// What speaks for copying its packets as they are; `None`: they are not of the kind, or not all is known of them.
    #[serde(default)]
    pub copy: Option<Copyable>,
}

/// Of a stream in H.264 (8 bits, 4:2:0, limited range, square pixels) whose parameters lie in the container, each packet of
/// which the index names with its size and none of which is hidden.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copyable {
    /// When each keyframe is shown, from t0, ascending, if none of its neighbours is shown before it: exactly. At most 10 000.
    pub keyframes_us: Vec<i64>,
    /// Most bits per second from a keyframe to the first that is four seconds later.
    pub peak_bps: u64,
}
