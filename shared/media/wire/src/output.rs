//! What a decoder gives out.
//!
//! A decoder names kinds, renditions and numbers; it never names a key, a content type or a length of cache. Those the
//! parent derives.

use serde::{Deserialize, Serialize};

use crate::probe::{IndexReport, ProbeReport};
use crate::request::AudioAnchor;

/// Head of one frame on the output pipe. `Init`, `Segment` and `Picture` have a body; all others have none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "out", rename_all = "snake_case")]
pub enum OutputHeader {
    /// Body: the CMAF header (`ftyp` + `moov`) of a rendition. Comes once, before its first segment, and is the same
    /// for every request with the same settings.
    Init {
        rendition: String,
        /// RFC 6381, such as `avc1.64001f` or `mp4a.40.2`.
        codecs: String,
        /// 0 for sound.
        width: u32,
        height: u32,
    },
    /// Body: one media segment (`styp` + `moof` + `mdat`).
    Segment(SegmentInfo),
    /// All segments so far, of every rendition, can be committed: a continuation starts at the border.
    RunEnd(RunEndReport),
    Progress(ProgressReport),
    /// Body: the picture file.
    Picture {
        kind: PictureKind,
        /// Number within its kind.
        index: u32,
        width: u32,
        height: u32,
        format: PictureFormat,
        /// Time in the video from t0.
        time_us: Option<i64>,
    },
    /// Where each time of the video is found in the sprites; the parent writes the WebVTT.
    Storyboard {
        cues: Vec<Cue>,
    },
    Probed(Box<ProbeReport>),
    Indexed(IndexReport),
    /// The last frame of a request that was served. `end` is false where it stopped early at a run border.
    Done {
        end: bool,
        frames: u64,
        packets: u64,
        errors: u64,
    },
    /// The last frame of a request that was not. `detail` is plain text for a log, at most 2 KB.
    Failed {
        code: FailCode,
        detail: String,
    },
}

/// One segment of one rendition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentInfo {
    pub rendition: String,
    /// Number within the request, from 0.
    pub index: u32,
    /// Presentation time of the first sample from t0 (`tfdt`), in units of the timescale.
    pub start: u64,
    pub duration: u64,
    /// Ticks per second.
    pub timescale: u32,
    /// Samples in the segment.
    pub frames: u32,
    /// Starts with a frame that needs no other.
    pub independent: bool,
}

/// The end of a run: a span that stands by itself and from whose end a later request may continue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEndReport {
    /// Number of the run within the request, from 0.
    pub index: u32,
    /// Span of the run from t0; `end_us` is where a continuation starts, and belongs to it.
    pub start_us: i64,
    pub end_us: i64,
    /// Source frames that came out in this run (for sound: AAC frames).
    pub frames: u64,
    /// Source packets that make the frames of this run: where nothing is damaged, as many as `frames`. For sound:
    /// packets decoded, pre-roll included.
    pub packets: u64,
    /// Packets that could not be decoded and times that had to be invented, in this run.
    pub errors: u64,
    /// First and last presentation time in this run, from t0.
    pub first_pts_us: i64,
    pub last_pts_us: i64,
    /// Pictures only: when the source's first picture behind this run is shown, as this decoder saw it; `None`: there is
    /// none. Whoever makes what follows must begin with exactly that picture.
    #[serde(default)]
    pub next_pts_us: Option<i64>,
    /// Segments of each rendition in this run.
    pub segments: u32,
    /// Sound only: where the continuation finds its place.
    pub anchor: Option<AudioAnchor>,
    /// Sound only: the `from_frame` of the continuation.
    pub next_frame: Option<u64>,
}

/// How far a request is. At most four a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgressReport {
    /// Media behind us, from the start of the request.
    pub done_us: i64,
    /// Frames given to the encoders so far.
    pub frames: u64,
    /// Frames per second of wall time, over the request.
    pub fps: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PictureKind {
    Poster,
    Storyboard,
    /// One size of an uploaded picture.
    Size,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PictureFormat {
    Jpeg,
    Webp,
    Png,
}

/// One cell of the storyboard. Times from t0; `x`, `y`, `w`, `h` in pixels of the sprite with that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cue {
    pub start_us: i64,
    pub end_us: i64,
    pub sprite: u32,
    pub x: u32,
    pub y: u32,
    pub w: u32,
    pub h: u32,
}

/// Why a request was not served. The first ten are facts about the source, and no retry helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailCode {
    /// No container or picture format we know.
    NotMedia,
    /// The part without which the rest cannot be read is missing.
    Truncated,
    Encrypted,
    /// A container we know with nothing in it that we can decode.
    NoDecodableStream,
    TooLong,
    TooManyPixels,
    TooManyStreams,
    TooManyFramesPerSecond,
    /// Media, but of a type that is not accepted.
    TypeNotAllowed,
    Empty,
    /// The source could not be read; a retry may help.
    SourceRead,
    /// The object was replaced while it was read.
    SourceChanged,
    Decode,
    Encode,
    /// What was to be copied can only be encoded.
    NotCopyable,
    /// A request that makes no sense, or a fault of ours.
    Internal,
}

impl FailCode {
    /// Whether the source itself is at fault, so that another attempt ends the same way.
    pub fn is_about_source(self) -> bool {
        !matches!(
            self,
            Self::SourceRead | Self::SourceChanged | Self::Decode | Self::Encode | Self::NotCopyable | Self::Internal
        )
    }
}

impl std::fmt::Display for FailCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotMedia => "not_media",
            Self::Truncated => "truncated",
            Self::Encrypted => "encrypted",
            Self::NoDecodableStream => "no_decodable_stream",
            Self::TooLong => "too_long",
            Self::TooManyPixels => "too_many_pixels",
            Self::TooManyStreams => "too_many_streams",
            Self::TooManyFramesPerSecond => "too_many_frames_per_second",
            Self::TypeNotAllowed => "type_not_allowed",
            Self::Empty => "empty",
            Self::SourceRead => "source_read",
            Self::SourceChanged => "source_changed",
            Self::Decode => "decode",
            Self::Encode => "encode",
            Self::NotCopyable => "not_copyable",
            Self::Internal => "internal",
        })
    }
}
