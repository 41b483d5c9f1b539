//! What work takes: seconds of a processor by pixels, bytes and requests by segments, as a model that measurement corrects.
//!
//! Guarantee: nothing takes nothing, more frames and more pixels never take less, and no input overflows. The same
//! functions are used before the work (an estimate) and after it (what the model would have said of what was measured), so
//! that a measured speed corrects exactly the figure that is estimated next time.

use serde::{Deserialize, Serialize};

use crate::Rung;
use crate::plan::{FIRST_AUDIO_RUN_MS, MIN_REST_MS, RUN_MS, SEGMENT_MS, chunks};

/// Milliseconds of one decoder before its first frame and after its last.
pub const SESSION_MS: f64 = 60.0;
/// Milliseconds to decode a million pixels.
const DECODE_MS: f64 = 2.5;
/// Milliseconds to scale down from a million pixels.
const SCALE_MS: f64 = 0.9;
/// Milliseconds to encode a million pixels that hardly change, …
const ENCODE_MS: f64 = 7.5;
/// … and those that a kilobyte of them takes more.
const ENCODE_MS_PER_KB: f64 = 0.42;
/// Milliseconds to decode and encode a second of sound.
const SOUND_MS: f64 = 20.0;
/// Bytes of a second of sound.
const SOUND_BYTES: f64 = 16_000.0;
/// Bytes of a million pixels of a source, beyond which they are wasted.
const MOST_BYTES: f64 = 27_000.0;
/// What is left of a source's bytes in a rendition of its size.
const KEPT: f64 = 0.9;
/// Bytes of a second of a source that are its sound.
const SOURCE_SOUND: f64 = 10_000.0;
/// Milliseconds for the posters of a video, and for a million pixels of the pictures that they and its storyboard show.
const POSTER_MS: f64 = 300.0;
const KEYFRAME_MS: f64 = 6.0;
/// Pictures of a storyboard, at most; one a second in what is short.
const TILES: f64 = 100.0;
/// Milliseconds for a million pixels of a still picture, and of its smaller sizes.
const STILL_MS: f64 = 15.0;
const SIZES_MS: f64 = 120.0;
/// Bytes of a million pixels of a poster, a tile or a size of a picture, in both formats.
const PICTURE_BYTES: f64 = 180_000.0;
/// Bytes of an init segment.
const INIT_BYTES: f64 = 900.0;
/// Bytes of one read of a source.
const READ: f64 = 131_072.0;
/// Reads to open a source.
const OPENING: u64 = 4;

/// Requests of a queue for a task and what it says: sent, received, deleted.
const QUEUED_PER_TASK: u64 = 9;
const PUBLISHED_PER_TASK: u64 = 1;
const CALLS_PER_TASK: u64 = 16;

/// How much of everything. What queues, topics and the database are asked is counted by the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Amounts {
    /// Milliseconds of a processor in decoders.
    pub cpu_ms: u64,
    /// Of the source, which stays.
    pub source_bytes: u64,
    /// Of all that is made of it.
    pub output_bytes: u64,
    /// Objects written.
    pub puts: u64,
    /// Reads of the source.
    pub gets: u64,
    /// Tasks that were done.
    pub tasks: u64,
    /// To those who watch.
    #[serde(default)]
    pub egress_bytes: u64,
}

impl Amounts {
    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            cpu_ms: self.cpu_ms.saturating_add(other.cpu_ms),
            source_bytes: self.source_bytes.saturating_add(other.source_bytes),
            output_bytes: self.output_bytes.saturating_add(other.output_bytes),
            puts: self.puts.saturating_add(other.puts),
            gets: self.gets.saturating_add(other.gets),
            tasks: self.tasks.saturating_add(other.tasks),
            egress_bytes: self.egress_bytes.saturating_add(other.egress_bytes),
        }
    }

    /// Requests of queues.
    pub fn queued(&self) -> u64 {
        self.tasks.saturating_mul(QUEUED_PER_TASK)
    }

    /// Messages published.
    pub fn published(&self) -> u64 {
        self.tasks.saturating_mul(PUBLISHED_PER_TASK)
    }

    /// Calls of the database.
    pub fn calls(&self) -> u64 {
        self.tasks.saturating_mul(CALLS_PER_TASK)
    }
}

/// A kind of work whose speed is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Looking what a source is.
    Probe,
    /// Reading its index.
    Index,
    /// Encoding pictures.
    Video,
    /// Encoding sound.
    Audio,
    /// Poster and storyboard.
    Pictures,
    /// Sizes of a still picture.
    Still,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] = [Self::Probe, Self::Index, Self::Video, Self::Audio, Self::Pictures, Self::Still];

    /// As it stands in rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Index => "index",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Pictures => "pictures",
            Self::Still => "still",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What the model says of a piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Model {
    /// Milliseconds of a processor.
    pub cpu_ms: u64,
    /// Bytes made.
    pub bytes: u64,
    /// Objects written.
    pub puts: u64,
    /// Reads of the source.
    pub gets: u64,
    /// Tasks.
    pub tasks: u64,
}

fn mega(width: u32, height: u32) -> f64 {
    f64::from(width) * f64::from(height) / 1e6
}

/// Milliseconds, bytes: what is not a number, or less than nothing, is nothing.
pub(crate) fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// The pictures of a source, as far as they matter here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pictures {
    /// Pixels as shown.
    pub width: u32,
    /// Pixels as shown.
    pub height: u32,
    /// Frames in a second.
    pub fps: f64,
    /// Bytes in a second of the source, sound and all.
    pub bytes_per_s: f64,
}

impl Pictures {
    /// Bytes that a million pixels of a rendition take: as many as the source's own, scaled, unless those are wasted.
    fn density(&self, rung: &Rung) -> f64 {
        let (source, out) = (mega(self.width, self.height).max(1e-6), mega(rung.width, rung.height));
        let own = self.own_bytes_per_s() / (source * self.fps.max(1.0));
        let capped = rung.maxrate as f64 / 8.0 / (out * self.fps.max(1.0)).max(1e-6);
        (own.min(MOST_BYTES) * KEPT).min(capped)
    }

    /// Encoding so many frames of it into every rung, by one decoder.
    pub fn encoded(&self, rungs: &[Rung], frames: u64) -> Model {
        if frames == 0 {
            return Model::default();
        }
        let source = mega(self.width, self.height);
        let (mut ms, mut bytes, mut from) = (source * DECODE_MS, 0.0, source);
        for rung in rungs {
            let out = mega(rung.width, rung.height);
            let density = self.density(rung);
            ms += if out < from { from * SCALE_MS } else { 0.0 };
            ms += out * (ENCODE_MS + density / 1e3 * ENCODE_MS_PER_KB);
            bytes += out * density;
            from = out;
        }
        let frames = frames as f64;
        let seconds_ms = frames / self.fps.max(1.0) * 1e3;
        let segments = segments(seconds_ms).saturating_mul(rungs.len() as u64);
        Model {
            cpu_ms: whole(SESSION_MS + ms * frames),
            bytes: whole(bytes * frames + INIT_BYTES * rungs.len() as f64),
            puts: segments.saturating_add(rungs.len() as u64),
            gets: reads(self.bytes_per_s * frames / self.fps.max(1.0)),
            tasks: 1,
        }
    }

    /// The same where the first rung is the source's own stream: its packets go out as they are, all are decoded for those below.
    pub fn copied(&self, rungs: &[Rung], frames: u64) -> Model {
        let below = self.encoded(rungs.get(1..).unwrap_or_default(), frames);
        if frames == 0 {
            return below;
        }
        let seconds = frames as f64 / self.fps.max(1.0);
        Model {
            bytes: below.bytes.saturating_add(whole(self.own_bytes_per_s() * seconds + INIT_BYTES)),
            puts: below.puts.saturating_add(segments(seconds * 1e3)).saturating_add(1),
            ..below
        }
    }

    /// Whether the source's stream may stand for this rung, as far as its size and its mean bit rate tell.
    pub fn may_be_copied(&self, rung: &Rung) -> bool {
        (self.width, self.height) == (rung.width, rung.height)
            && self.own_bytes_per_s() * 8.0 <= rung.most_copied_bps() as f64
    }

    /// Bytes in a second of the pictures alone.
    fn own_bytes_per_s(&self) -> f64 {
        (self.bytes_per_s - SOURCE_SOUND).max(self.bytes_per_s * 0.3)
    }

    /// Poster and storyboard of so long a film.
    pub fn shown(&self, duration_ms: u64) -> Model {
        if duration_ms == 0 {
            return Model::default();
        }
        let source = mega(self.width, self.height);
        let tiles = (duration_ms as f64 / 1e3).clamp(1.0, TILES);
        let tile = 160.0 * 160.0 * f64::from(self.height) / f64::from(self.width.max(1)) / 1e6;
        let widths = [320.0, 640.0, 1280.0].map(|width: f64| width.min(f64::from(self.width)));
        let aspect = f64::from(self.height) / f64::from(self.width.max(1));
        let posters: f64 = widths.iter().map(|width| width * width * aspect / 1e6).sum();
        Model {
            cpu_ms: whole(SESSION_MS + POSTER_MS * posters + source * tiles * KEYFRAME_MS),
            bytes: whole((posters + tile * tiles / 2.0) * PICTURE_BYTES),
            puts: 8,
            // A small source is read once at the most.
            gets: (OPENING + 2 * whole(tiles)).min(reads(self.bytes_per_s * duration_ms as f64 / 1e3)),
            tasks: 1,
        }
    }
}

/// Encoding so much sound.
pub fn sounded(duration_ms: u64, source_bytes: u64) -> Model {
    if duration_ms == 0 {
        return Model::default();
    }
    let seconds = duration_ms as f64 / 1e3;
    Model {
        cpu_ms: whole(SESSION_MS + seconds * SOUND_MS),
        bytes: whole(seconds * SOUND_BYTES + INIT_BYTES),
        puts: segments(duration_ms as f64).saturating_add(1),
        gets: reads(source_bytes as f64),
        tasks: 1,
    }
}

/// The sizes of a still picture.
pub fn sized(width: u32, height: u32, source_bytes: u64) -> Model {
    if width == 0 || height == 0 {
        return Model::default();
    }
    let aspect = f64::from(height) / f64::from(width);
    let sizes = [320.0, 640.0, 1280.0, 1920.0].map(|side: f64| side.min(f64::from(width)));
    let smaller: f64 = sizes.iter().map(|side| side * side * aspect / 1e6).sum();
    Model {
        cpu_ms: whole(SESSION_MS + mega(width, height) * STILL_MS + smaller * SIZES_MS),
        bytes: whole(smaller * PICTURE_BYTES),
        puts: 8,
        gets: reads(source_bytes as f64),
        tasks: 1,
    }
}

/// Looking at a source, once.
pub fn looked() -> Model {
    Model { cpu_ms: whole(SESSION_MS), bytes: 0, puts: 0, gets: OPENING, tasks: 1 }
}

fn segments(ms: f64) -> u64 {
    whole(((ms - f64::from(MIN_REST_MS)) / f64::from(SEGMENT_MS)).max(0.0).ceil()).max(1)
}

fn reads(bytes: f64) -> u64 {
    whole((bytes / READ).ceil()).saturating_add(OPENING)
}

/// Frames of each chunk of a film of so many milliseconds.
pub fn chunk_frames(duration_ms: u64, fps: f64) -> Vec<u64> {
    let duration_us = i64::try_from(duration_ms.saturating_mul(1_000)).unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
    let spans = chunks(duration_us, &[]);
    let frames = |span: &crate::Chunk| {
        let us = span.end_us.unwrap_or(duration_us).saturating_sub(span.start_us).max(0);
        whole(us as f64 / 1e6 * fps)
    };
    spans.iter().map(frames).collect()
}

/// Runs of the sound: a short one, so many long ones, and what is left (milliseconds of each, how often).
pub fn sound_runs(duration_ms: u64) -> [(u64, u64); 3] {
    let first = duration_ms.min(u64::from(FIRST_AUDIO_RUN_MS));
    let (rest, long) = (duration_ms - first, u64::from(RUN_MS));
    [(first, u64::from(first > 0)), (long, rest / long), (rest % long, u64::from(rest % long > 0))]
}

/// Playlists written, over all: those of the pictures as chunks are done, that of the sound as runs are, the master twice.
pub fn lists(rungs: u64, chunks: u64, runs: u64) -> u64 {
    if rungs == 0 && runs == 0 {
        return 0;
    }
    rungs.saturating_mul(published(chunks)).saturating_add(published(runs)).saturating_add(2)
}

/// How often lists are written for so many commits: what is committed while one is written is in the next.
pub fn published(commits: u64) -> u64 {
    commits.div_ceil(2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ladder;

    fn film(width: u32, height: u32, fps: f64) -> Pictures {
        Pictures { width, height, fps, bytes_per_s: 500_000.0 }
    }

    #[test]
    fn what_was_measured_of_the_parts() {
        // 30 s of 1080p24 into 720p, 480p and 240p: about 19 s of a processor (decode 4.3, scale 2.2, encode 12).
        let rungs: Vec<Rung> = ladder(1920, 1080, 24.0)
            .into_iter()
            .filter(|r| ["720p", "480p", "240p"].contains(&r.name.as_str()))
            .collect();
        let model = film(1920, 1080, 24.0).encoded(&rungs, 720);
        assert!((12_000..26_000).contains(&model.cpu_ms), "{model:?}");
        assert_eq!(model.puts, 3 * 8 + 3);
        assert_eq!(sound_runs(30_000), [(4_000, 1), (32_000, 0), (26_000, 1)]);
        assert_eq!(sound_runs(70_000), [(4_000, 1), (32_000, 2), (2_000, 1)]);
        assert_eq!(sound_runs(0).map(|(_, times)| times), [0; 3]);
        assert_eq!(chunk_frames(30_000, 24.0).iter().sum::<u64>(), 720);
    }

    #[test]
    fn a_copied_rendition_is_decoded_and_written_and_not_encoded() {
        let (pictures, rungs) = (film(1920, 1080, 25.0), ladder(1920, 1080, 25.0));
        let (all, but_first, copied) =
            (pictures.encoded(&rungs, 250), pictures.encoded(&rungs[1..], 250), pictures.copied(&rungs, 250));
        assert_eq!(copied.cpu_ms, but_first.cpu_ms);
        assert!(copied.cpu_ms * 10 < all.cpu_ms * 6, "the top is most of the work: {copied:?} {all:?}");
        assert_eq!((copied.puts, copied.gets), (all.puts, all.gets));
        // 490,000 bytes a second of its own.
        assert_eq!(copied.bytes - but_first.bytes, 4_900_900);
        assert_eq!(pictures.copied(&rungs, 0), Model::default());
        assert_eq!(pictures.copied(&rungs[..1], 250).puts, pictures.encoded(&rungs[..1], 250).puts, "nothing below");

        assert!(pictures.may_be_copied(&rungs[0]) && !pictures.may_be_copied(&rungs[1]), "never scaled");
        let fat = Pictures { bytes_per_s: 2_000_000.0, ..pictures };
        assert!(!fat.may_be_copied(&rungs[0]), "16 Mbit/s: more than the ladder lets through");
    }

    proptest! {
        #[test]
        fn more_takes_more_and_nothing_takes_nothing(w in 2u32..8192, h in 2u32..8192, fps in 1.0f64..120.0, frames in 0u64..1_000_000, more in 0u64..1_000_000) {
            let (pictures, rungs) = (film(w, h, fps), ladder(w, h, fps));
            let (less, all) = (pictures.encoded(&rungs, frames), pictures.encoded(&rungs, frames + more));
            prop_assert!(all.cpu_ms >= less.cpu_ms && all.bytes >= less.bytes && all.puts >= less.puts);
            prop_assert_eq!(pictures.encoded(&rungs, 0), Model::default());
            prop_assert!(pictures.shown(frames + more).cpu_ms >= pictures.shown(frames).cpu_ms);
            prop_assert!(sounded(frames + more, 1).cpu_ms >= sounded(frames, 1).cpu_ms);
        }

        #[test]
        fn nothing_overflows(w in any::<u32>(), h in any::<u32>(), fps in any::<f64>(), bytes in any::<f64>(), frames in any::<u64>()) {
            let pictures = Pictures { width: w, height: h, fps, bytes_per_s: bytes };
            let _ = pictures.encoded(&ladder(w.clamp(2, 9000), h.clamp(2, 9000), 25.0), frames);
            let _ = (pictures.shown(frames), sounded(frames, frames), sized(w, h, frames), chunk_frames(frames, 25.0));
        }
    }
}
