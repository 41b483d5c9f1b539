//! The work of an upload: what is known of it, what is assumed where nothing is, and what the model makes of both.
//!
//! Guarantee: whatever is assumed is said in words and widens the range by a fixed factor; a kind of work is corrected by
//! its own measured speed alone, once enough of it was measured.

use crate::ladder;
use crate::price_estimate::{Facts, Media, Speed, Speeds};
use crate::price_work::{
    Amounts, Kind, Model, Pictures, chunk_frames, lists, looked, published, sized, sound_runs, sounded, whole,
};

/// Milliseconds that the model says of what was measured, before that is believed; a look at a source is always as long.
const ENOUGH_MS: u64 = 300;
/// Assumed of a film of which nothing else is known.
const BYTES_PER_S: f64 = 1_000_000.0;
const SOUND_BYTES_PER_S: f64 = 24_000.0;
const SIZE: (u32, u32) = (1920, 1080);
const FPS: f64 = 30.0;
/// Pixels of a still picture by its bytes, and no more than a large camera's.
const PIXELS_PER_BYTE: f64 = 4.0;
const MOST_PIXELS: f64 = 50e6;

/// Facts without a gap.
pub(crate) struct Assumed {
    pub(crate) media: Media,
    duration_ms: u64,
    width: u32,
    height: u32,
    fps: f64,
    sound: bool,
    pub(crate) said: Vec<String>,
    /// By how much all of it may be off.
    pub(crate) spread: f64,
}

impl Assumed {
    fn pictures(&self, size: u64) -> Pictures {
        let seconds = (self.duration_ms as f64 / 1e3).max(0.001);
        Pictures { width: self.width, height: self.height, fps: self.fps, bytes_per_s: size as f64 / seconds }
    }

    fn ladder(&self) -> Vec<crate::Rung> {
        ladder(self.width, self.height, self.fps)
    }

    /// Whether the top rendition may be the source's own stream, as far as is known.
    pub(crate) fn may_be_copied(&self, size: u64) -> bool {
        self.media == Media::Video && self.ladder().first().is_some_and(|top| self.pictures(size).may_be_copied(top))
    }
}

/// What is known, and what is assumed besides.
pub(crate) fn assume(facts: &Facts) -> Assumed {
    let (mut said, mut spread) = (Vec::new(), 1.0);
    let media = facts.media.unwrap_or_else(|| {
        said.push("it is a video".to_owned());
        Media::Video
    });
    let size = facts.size as f64;
    let duration_ms = match (media, facts.duration_ms) {
        (Media::Image, _) => 0,
        (_, Some(ms)) => ms,
        (media, None) => {
            let rate = if media == Media::Audio { SOUND_BYTES_PER_S } else { BYTES_PER_S };
            let ms = whole(size / rate * 1e3);
            said.push(format!("it lasts {} s, by its size", ms.div_ceil(1_000)));
            spread *= 4.0;
            ms
        }
    };
    let sized = facts.width.zip(facts.height).filter(|(width, height)| *width > 0 && *height > 0);
    let (width, height) = match (media, sized) {
        (Media::Audio, _) => (0, 0),
        (_, Some(size)) => size,
        (Media::Image, None) => {
            let side = (size * PIXELS_PER_BYTE).min(MOST_PIXELS).sqrt();
            let side = whole(side).max(1) as u32;
            said.push(format!("it has {side} × {side} pixels, by its size"));
            spread *= 2.0;
            (side, side)
        }
        (Media::Video, None) => {
            said.push(format!("its pictures have {} × {} pixels", SIZE.0, SIZE.1));
            spread *= 2.0;
            SIZE
        }
    };
    let fps = facts.fps.filter(|fps| fps.is_finite() && *fps > 0.0).map(|fps| fps.clamp(1.0, 1_000.0));
    let fps = match (media, fps) {
        (Media::Video, None) => {
            said.push(format!("it has {FPS:.0} pictures a second"));
            spread *= 1.3;
            FPS
        }
        (_, fps) => fps.unwrap_or(FPS),
    };
    let sound = match (media, facts.sound) {
        (Media::Video, Some(sound)) => sound,
        (Media::Image, _) => false,
        _ => true,
    };
    Assumed { media, duration_ms, width, height, fps, sound, said, spread }
}

/// What the model says, corrected by what was measured of this kind of work.
fn corrected(model: Model, kind: Kind, times: u64, speeds: &Speeds, all: &mut Amounts) -> bool {
    let enough = if matches!(kind, Kind::Probe | Kind::Index) { 1 } else { ENOUGH_MS };
    let speed = speeds.get(&kind).filter(|speed| speed.model_ms >= enough);
    let factor = |of: fn(&Speed) -> (u64, u64)| {
        let (measured, said) = speed.map_or((1, 1), of);
        if said == 0 { 1.0 } else { measured as f64 / said as f64 }
    };
    let piece = Amounts {
        cpu_ms: whole(model.cpu_ms as f64 * times as f64 * factor(|s| (s.cpu_ms, s.model_ms))),
        output_bytes: whole(model.bytes as f64 * times as f64 * factor(|s| (s.bytes, s.model_bytes))),
        puts: model.puts.saturating_mul(times),
        gets: model.gets.saturating_mul(times),
        tasks: model.tasks.saturating_mul(times),
        ..Amounts::default()
    };
    *all = all.plus(&piece);
    speed.is_some()
}

/// All the work of an upload.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) amounts: Amounts,
    pub(crate) renditions: Vec<String>,
    /// Bytes of what a view gets.
    pub(crate) largest: u64,
    pub(crate) measured: bool,
}

/// The work of what is known or assumed; with its top rendition copied or encoded.
pub(crate) fn work(facts: &Facts, known: &Assumed, copied: bool, speeds: &Speeds) -> Work {
    let Assumed { media, duration_ms, width, height, sound, .. } = *known;
    let mut work = Work { measured: true, ..Work::default() };
    let all = &mut work.amounts;
    all.source_bytes = facts.size;
    corrected(looked(), Kind::Probe, 1, speeds, all);
    let pictures = known.pictures(facts.size);
    if media == Media::Image {
        work.measured = corrected(sized(width, height, facts.size), Kind::Still, 1, speeds, all);
        work.largest = all.output_bytes / 4;
        return work;
    }
    corrected(looked(), Kind::Index, u64::from(media == Media::Video), speeds, all);
    let (mut rungs, mut chunks) = (Vec::new(), Vec::new());
    if media == Media::Video {
        rungs = known.ladder();
        chunks = chunk_frames(duration_ms, known.fps);
        let before = all.output_bytes;
        for frames in &chunks {
            let model = if copied { pictures.copied(&rungs, *frames) } else { pictures.encoded(&rungs, *frames) };
            work.measured &= corrected(model, Kind::Video, 1, speeds, all);
        }
        let made = all.output_bytes.saturating_sub(before) as f64;
        let pixels = |rung: &crate::Rung| (f64::from(rung.width) * f64::from(rung.height)).powf(0.8);
        let share = rungs.first().map_or(0.0, pixels) / rungs.iter().map(pixels).sum::<f64>().max(1.0);
        work.largest = whole(made * share);
        corrected(pictures.shown(duration_ms), Kind::Pictures, 1, speeds, all);
        work.renditions.extend(rungs.iter().map(|rung| rung.name.clone()));
    }
    if sound {
        let before = all.output_bytes;
        for (ms, times) in sound_runs(duration_ms) {
            let read = whole(pictures.bytes_per_s * ms as f64 / 1e3);
            let known = corrected(sounded(ms, read), Kind::Audio, times, speeds, all);
            work.measured &= known || media == Media::Video;
        }
        work.largest = work.largest.saturating_add(all.output_bytes.saturating_sub(before));
        work.renditions.push("audio".to_owned());
    }
    let runs = if sound { sound_runs(duration_ms).iter().map(|(_, times)| times).sum() } else { 0 };
    all.puts = all.puts.saturating_add(lists(rungs.len() as u64, chunks.len() as u64, runs));
    all.tasks = all.tasks.saturating_add(published(chunks.len() as u64)).saturating_add(published(runs));
    work
}
