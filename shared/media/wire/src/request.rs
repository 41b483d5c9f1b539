//! What the parent may ask of one decoder. One request per decoder, never two.

use serde::{Deserialize, Serialize};

/// The one request a decoder serves. `size` is always the length of the source in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// What is in the source? Answered by `Probed` or `Failed`, then `Done`.
    Probe { size: u64, limits: MediaLimits },
    /// Where are its keyframes? From the container's index, without reading the whole source.
    Index { size: u64, limits: MediaLimits },
    /// Encode the frames of one span into every rung.
    Encode(EncodeRequest),
    /// Encode the sound from one AAC frame on.
    Audio(AudioRequest),
    /// Poster and storyboard of a video.
    Pictures(PicturesRequest),
    /// Sizes of an uploaded picture.
    Still(StillRequest),
}

impl Request {
    /// Length of the source in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Probe { size, .. } | Self::Index { size, .. } => *size,
            Self::Encode(r) => r.size,
            Self::Audio(r) => r.size,
            Self::Pictures(r) => r.size,
            Self::Still(r) => r.size,
        }
    }

    /// The limits that hold for the source.
    pub fn limits(&self) -> &MediaLimits {
        match self {
            Self::Probe { limits, .. } | Self::Index { limits, .. } => limits,
            Self::Encode(r) => &r.limits,
            Self::Audio(r) => &r.limits,
            Self::Pictures(r) => &r.limits,
            Self::Still(r) => &r.limits,
        }
    }
}

/// What a source may be at most; beyond it the decoder refuses with the matching `FailCode`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MediaLimits {
    /// Width × height of one frame or picture.
    pub max_pixels: u64,
    /// Streams of any kind in the container.
    pub max_streams: u32,
    /// Length in milliseconds.
    pub max_duration_ms: u64,
    /// Frames per second.
    pub max_fps: u32,
    /// Bytes FFmpeg may read to find out what the streams are.
    pub probe_bytes: u64,
}

impl Default for MediaLimits {
    /// 8192 × 4352 (8K in either shape), 32 streams, 12 hours, 240 frames per second, 5 MB of probing.
    fn default() -> Self {
        Self {
            max_pixels: 8192 * 4352,
            max_streams: 32,
            max_duration_ms: 12 * 3_600_000,
            max_fps: 240,
            probe_bytes: 5_000_000,
        }
    }
}

/// Encode the frames with `start_us <= pts - t0_us < end_us` into every rung.
///
/// Borders may lie anywhere. Segment borders are decided once for all rungs: every `segment_ms` from the first frame;
/// a rest under 500 ms joins the segment before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncodeRequest {
    pub size: u64,
    pub limits: MediaLimits,
    /// Time zero of the asset on the source's clock, as `ProbeReport::start_us` gave it.
    pub t0_us: i64,
    /// First time that belongs to the request, from t0.
    pub start_us: i64,
    /// First time that no longer belongs to it, from t0; `None` is the end of the source.
    pub end_us: Option<i64>,
    /// The container cannot be seeked: decode from its beginning and drop what is before `start_us`.
    #[serde(default)]
    pub sequential: bool,
    /// After this much wall time, finish at the next run border and say `Done { end: false }`.
    #[serde(default)]
    pub stop_after_ms: Option<u64>,
    /// `RunEnd` comes at the latest after this much media; a multiple of `segment_ms`.
    pub run_ms: u32,
    pub segment_ms: u32,
    /// Segments end at the first frame at or after these times from t0, instead of every `segment_ms`: ascending, within the span.
    #[serde(default)]
    pub cuts_us: Vec<i64>,
    /// The first rung is copied, not encoded.
    #[serde(default)]
    pub copy: Option<CopySpec>,
    /// Largest first: each rung is scaled from the one before it.
    pub rungs: Vec<Rung>,
    /// x264 preset, `ultrafast` to `slower`.
    pub preset: String,
    /// Clockwise quarter turns to apply, in degrees: 0, 90, 180 or 270, as `VideoStream::rotation` gave it.
    #[serde(default)]
    pub rotation: u16,
    /// Mirror left to right after the rotation, as `VideoStream::flipped` gave it.
    #[serde(default)]
    pub flipped: bool,
    #[serde(default)]
    pub deinterlace: bool,
    /// Map HDR (PQ, HLG) to BT.709.
    #[serde(default)]
    pub tone_map: bool,
    /// Stream number in the container, as `VideoStream::index` gave it.
    pub video_stream: u32,
    /// Threads of the video decoder, 1–16.
    pub threads_decode: u32,
}

/// The source's own packets make the segments of the first rung, which has the source's size. Where they can't, because a
/// cut is at no IDR picture or something of the span is damaged, the request ends with [`FailCode::NotCopyable`](crate::FailCode).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopySpec {
    /// How long a picture waits for those that are decoded before it, as `IndexReport::reorder_us` gave it; 0 to 2 s.
    pub delay_us: i64,
}

/// One quality of the ladder. Width and height are exact and even; nothing is derived from them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// Name of the rendition: 1–32 of `a-z 0-9 - _`.
    pub name: String,
    pub width: u32,
    pub height: u32,
    /// Constant rate factor of x264, 0–51.
    pub crf: u8,
    /// Cap of the bit rate, bits per second.
    pub maxrate: u64,
    /// Size of the rate buffer in bits.
    pub bufsize: u64,
}

/// Encode the sound to AAC-LC stereo at 48 kHz from frame `from_frame` of the grid to the end of the stream.
///
/// Sample 0 of the grid is t0; AAC frame n decodes to samples `1024 n .. 1024 (n + 1)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioRequest {
    pub size: u64,
    pub limits: MediaLimits,
    pub t0_us: i64,
    /// First AAC frame to give out; 0, or the `next_frame` of the last run that was committed.
    pub from_frame: u64,
    /// The `anchor` of that run: where on the grid a source packet was placed.
    #[serde(default)]
    pub anchor: Option<AudioAnchor>,
    #[serde(default)]
    pub sequential: bool,
    #[serde(default)]
    pub stop_after_ms: Option<u64>,
    /// `RunEnd` comes at the latest after this much sound.
    pub run_ms: u32,
    /// The first run of the request is this long instead, so that playing can start early.
    pub first_run_ms: u32,
    pub segment_ms: u32,
    /// Bits per second of the AAC stream.
    pub bitrate: u32,
    /// Stream number in the container, as `AudioStream::index` gave it.
    pub audio_stream: u32,
}

/// Where a source packet lies on the output grid, so that a later decoder continues exactly there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioAnchor {
    /// Presentation time of the packet in the stream's own time base.
    pub pts: i64,
    /// Sample of the 48 kHz grid at which its first sample was placed, or the one before it.
    pub sample: i64,
    /// How far behind that sample, in parts of the source's sample rate.
    #[serde(default)]
    pub sub: u32,
}

/// Poster and storyboard of a video.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PicturesRequest {
    pub size: u64,
    pub limits: MediaLimits,
    pub t0_us: i64,
    pub video_stream: u32,
    #[serde(default)]
    pub rotation: u16,
    #[serde(default)]
    pub flipped: bool,
    #[serde(default)]
    pub sequential: bool,
    #[serde(default)]
    pub tone_map: bool,
    /// Length of the video, if known.
    pub duration_ms: Option<u64>,
    /// Widths of the poster; none is ever larger than the source.
    pub poster_widths: Vec<u32>,
    /// Each poster comes in each of these.
    pub formats: Vec<PictureFormat>,
    pub storyboard: Option<StoryboardSpec>,
}

/// How the storyboard's sprites are laid out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoryboardSpec {
    /// Cells in all at most; fewer where there are fewer keyframes.
    pub max_tiles: u32,
    /// Cells of one sprite.
    pub columns: u32,
    pub rows: u32,
    /// Width of one cell; its height follows from the source's shape.
    pub tile_width: u32,
    /// WebP quality, 1–100.
    pub quality: u8,
}

/// Sizes of an uploaded picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StillRequest {
    pub size: u64,
    pub limits: MediaLimits,
    /// Widths wanted; none is ever larger than the source.
    pub widths: Vec<u32>,
    pub formats: Vec<PictureFormat>,
}

pub use crate::output::PictureFormat;
