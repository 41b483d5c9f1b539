//! What a request must satisfy before any byte of the source is read.
//!
//! The parent makes requests from rows and messages; the decoder trusts none of it. Bounds are wide: they keep
//! arithmetic far from overflow and memory within reason, they are not policy.

use crate::request::{AudioRequest, EncodeRequest, MediaLimits, PicturesRequest, Request, Rung, StillRequest};
use crate::{AAC_FRAME, AUDIO_RATE};

/// A request that makes no sense, and which field of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("request: {0}")]
pub struct Invalid(pub String);

/// Times in a request lie within ± 10 years: far from overflow in any time base.
const FAR_US: i64 = 10 * 366 * 86_400 * 1_000_000;
/// The longest run or segment that can be asked for: 10 minutes.
const LONGEST_SPAN_MS: u32 = 600_000;
/// The longest that a copied picture may wait for those decoded before it (microseconds).
pub const MOST_DELAY_US: i64 = 2_000_000;
/// Segments of one request whose ends can be asked for.
const MOST_CUTS: usize = 4_000;
/// Largest side of a moving picture, coded, shown or made.
pub const MAX_VIDEO_SIDE: u32 = 8192;
/// Largest side of a still picture: what JPEG and GIF can say.
pub const MAX_STILL_SIDE: u32 = 65_535;
/// x264's presets; `placebo` is not among them.
const PRESETS: [&str; 8] = ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower"];

fn check(holds: bool, what: impl FnOnce() -> String) -> Result<(), Invalid> {
    if holds { Ok(()) } else { Err(Invalid(what())) }
}

fn within<T: PartialOrd + std::fmt::Display + Copy>(name: &str, value: T, least: T, most: T) -> Result<(), Invalid> {
    check(value >= least && value <= most, || format!("{name} is {value}, not within {least} to {most}"))
}

impl Request {
    /// # Errors
    /// Names the first field that is out of bounds.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.limits().validate()?;
        within("size", self.size(), 0, i64::MAX as u64)?;
        match self {
            Self::Probe { .. } | Self::Index { .. } => Ok(()),
            Self::Encode(r) => r.validate(),
            Self::Audio(r) => r.validate(),
            Self::Pictures(r) => r.validate(),
            Self::Still(r) => r.validate(),
        }
    }
}

impl MediaLimits {
    fn validate(&self) -> Result<(), Invalid> {
        within("max_pixels", self.max_pixels, 1, 1 << 30)?;
        within("max_streams", self.max_streams, 1, 1000)?;
        within("max_duration_ms", self.max_duration_ms, 1, FAR_US as u64 / 1000)?;
        within("max_fps", self.max_fps, 1, 1000)?;
        within("probe_bytes", self.probe_bytes, 32, 1 << 30)
    }
}

fn quarter_turn(rotation: u16) -> Result<(), Invalid> {
    check(matches!(rotation, 0 | 90 | 180 | 270), || format!("rotation is {rotation}"))
}

impl EncodeRequest {
    fn validate(&self) -> Result<(), Invalid> {
        within("t0_us", self.t0_us, -FAR_US, FAR_US)?;
        within("start_us", self.start_us, 0, FAR_US)?;
        if let Some(end) = self.end_us {
            within("end_us", end, self.start_us + 1, FAR_US)?;
        }
        within("segment_ms", self.segment_ms, 500, LONGEST_SPAN_MS)?;
        within("run_ms", self.run_ms, self.segment_ms, LONGEST_SPAN_MS)?;
        check(self.run_ms.is_multiple_of(self.segment_ms), || "run_ms is not a multiple of segment_ms".into())?;
        let end = self.end_us.unwrap_or(FAR_US);
        let cuts = &self.cuts_us;
        let inside = cuts.is_sorted_by(|a, b| a < b) && cuts.iter().all(|cut| (self.start_us + 1..end).contains(cut));
        check(inside && cuts.len() <= MOST_CUTS, || "cuts_us do not ascend within the span".into())?;
        if let Some(copy) = self.copy {
            within("copy.delay_us", copy.delay_us, 0, MOST_DELAY_US)?;
            let changed = self.rotation != 0 || self.flipped || self.deinterlace || self.tone_map;
            check(!changed, || "a picture that is to be changed can't be copied".into())?;
        }
        within("threads_decode", self.threads_decode, 1, 16)?;
        quarter_turn(self.rotation)?;
        check(PRESETS.contains(&self.preset.as_str()), || "preset is not one of x264's".into())?;
        within("number of rungs", self.rungs.len(), 1, 8)?;
        for (i, rung) in self.rungs.iter().enumerate() {
            rung.validate()?;
            let before = &self.rungs[..i];
            check(before.iter().all(|r| r.name != rung.name), || format!("rung {} is named twice", rung.name))?;
        }
        Ok(())
    }
}

impl Rung {
    fn validate(&self) -> Result<(), Invalid> {
        let named = (1..=32).contains(&self.name.len())
            && self.name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
        check(named, || "name of a rung is not 1–32 of a-z 0-9 - _".into())?;
        within("width", self.width, 2, MAX_VIDEO_SIDE)?;
        within("height", self.height, 2, MAX_VIDEO_SIDE)?;
        check(self.width.is_multiple_of(2) && self.height.is_multiple_of(2), || {
            format!("rung {} has an odd size", self.name)
        })?;
        within("crf", self.crf, 0, 51)?;
        within("maxrate", self.maxrate, 10_000, 1_000_000_000)?;
        within("bufsize", self.bufsize, 10_000, 2_000_000_000)
    }
}

impl AudioRequest {
    fn validate(&self) -> Result<(), Invalid> {
        within("t0_us", self.t0_us, -FAR_US, FAR_US)?;
        let last = FAR_US as u64 / 1_000_000 * u64::from(AUDIO_RATE) / AAC_FRAME;
        within("from_frame", self.from_frame, 0, last)?;
        if let Some(anchor) = self.anchor {
            let far = i64::MAX / 4;
            within("anchor.pts", anchor.pts, -far, far)?;
            let far = (last * AAC_FRAME) as i64;
            within("anchor.sample", anchor.sample, -far, far)?;
        }
        within("segment_ms", self.segment_ms, 500, LONGEST_SPAN_MS)?;
        within("run_ms", self.run_ms, 500, LONGEST_SPAN_MS)?;
        within("first_run_ms", self.first_run_ms, 500, LONGEST_SPAN_MS)?;
        within("bitrate", self.bitrate, 16_000, 512_000)
    }
}

impl PicturesRequest {
    fn validate(&self) -> Result<(), Invalid> {
        within("t0_us", self.t0_us, -FAR_US, FAR_US)?;
        quarter_turn(self.rotation)?;
        widths(&self.poster_widths)?;
        within("number of formats", self.formats.len(), 0, 3)?;
        if let Some(board) = &self.storyboard {
            within("max_tiles", board.max_tiles, 1, 2_000)?;
            within("columns", board.columns, 1, 50)?;
            within("rows", board.rows, 1, 50)?;
            within("tile_width", board.tile_width, 16, 640)?;
            within("columns × tile_width", board.columns * board.tile_width, 16, 16_383)?;
            within("quality", board.quality, 1, 100)?;
        }
        Ok(())
    }
}

impl StillRequest {
    fn validate(&self) -> Result<(), Invalid> {
        widths(&self.widths)?;
        within("number of formats", self.formats.len(), 1, 3)
    }
}

fn widths(widths: &[u32]) -> Result<(), Invalid> {
    within("number of widths", widths.len(), 0, 16)?;
    for &width in widths {
        within("width", width, 16, 8192)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode() -> EncodeRequest {
        EncodeRequest {
            size: 1,
            limits: MediaLimits::default(),
            t0_us: 0,
            start_us: 0,
            end_us: Some(4_000_000),
            sequential: false,
            stop_after_ms: None,
            run_ms: 12_000,
            segment_ms: 4_000,
            cuts_us: Vec::new(),
            copy: None,
            rungs: vec![Rung {
                name: "720p".into(),
                width: 1280,
                height: 720,
                crf: 23,
                maxrate: 3_000_000,
                bufsize: 6_000_000,
            }],
            preset: "veryfast".into(),
            rotation: 90,
            flipped: false,
            deinterlace: false,
            tone_map: false,
            video_stream: 0,
            threads_decode: 2,
        }
    }

    fn refused(change: impl FnOnce(&mut EncodeRequest)) -> bool {
        let mut request = encode();
        change(&mut request);
        Request::Encode(request).validate().is_err()
    }

    #[test]
    fn a_sound_request_passes() {
        assert_eq!(Request::Encode(encode()).validate(), Ok(()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(refused(|r| r.end_us = Some(0)));
        assert!(refused(|r| r.end_us = Some(i64::MAX)));
        assert!(refused(|r| r.start_us = -1));
        assert!(refused(|r| r.t0_us = i64::MIN));
        assert!(refused(|r| r.run_ms = 5_000));
        assert!(refused(|r| r.segment_ms = 0));
        assert!(refused(|r| r.threads_decode = 0));
        assert!(refused(|r| r.rotation = 45));
        assert!(refused(|r| r.preset = "placebo".into()));
        assert!(refused(|r| r.rungs.clear()));
        assert!(refused(|r| r.rungs[0].width = 853));
        assert!(refused(|r| r.rungs[0].name = "../x".into()));
        assert!(refused(|r| r.rungs[0].crf = 52));
        assert!(refused(|r| r.rungs.push(r.rungs[0].clone())));
        assert!(refused(|r| r.limits.max_pixels = 0));
    }
}
