//! The estimate of an upload: from whatever is known of it, before a byte is sent.
//!
//! Guarantee: what is not known is assumed, said, and widens the range; the same facts give the same estimate at the
//! gateway, on the command line and after the probe; longer and larger never is less.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ladder;
use crate::price::{self, Line, Prices};
use crate::price_work::{
    Amounts, Kind, Model, Pictures, chunk_frames, lists, looked, published, sized, sound_runs, sounded, whole,
};

/// Milliseconds that the model says of what was measured, before that is believed; a look at a source is always as long.
const ENOUGH_MS: u64 = 300;
/// How far off an estimate may be that knows everything: by measured speeds, …
const MEASURED: f64 = 1.25;
/// … and by those of the machine that the model was made on.
const UNMEASURED: f64 = 2.0;
/// Assumed of a film of which nothing else is known.
const BYTES_PER_S: f64 = 1_000_000.0;
const SOUND_BYTES_PER_S: f64 = 24_000.0;
const SIZE: (u32, u32) = (1920, 1080);
const FPS: f64 = 30.0;
/// Pixels of a still picture by its bytes, and no more than a large camera's.
const PIXELS_PER_BYTE: f64 = 4.0;
const MOST_PIXELS: f64 = 50e6;
/// Views that are asked about, at most.
pub const MOST_VIEWS: u64 = 1_000_000_000_000;

/// What an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Media {
    /// Moving pictures, with or without sound.
    Video,
    /// Sound alone.
    Audio,
    /// A still picture.
    Image,
}

impl Media {
    /// By its name in rows, or by the beginning of a media type.
    pub fn of(text: &str) -> Option<Self> {
        match text.split('/').next().unwrap_or_default() {
            "video" => Some(Self::Video),
            "audio" => Some(Self::Audio),
            "image" => Some(Self::Image),
            _ => None,
        }
    }
}

/// What is known of an upload; none: nobody has looked.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
pub struct Facts {
    /// Bytes.
    pub size: u64,
    /// Its kind.
    pub media: Option<Media>,
    /// Milliseconds.
    pub duration_ms: Option<u64>,
    /// Pixels as shown.
    pub width: Option<u32>,
    /// Pixels as shown.
    pub height: Option<u32>,
    /// Frames in a second.
    pub fps: Option<f64>,
    /// Whether a video has sound.
    pub sound: Option<bool>,
    /// How often it is watched, whole and in its largest rendition.
    #[serde(default)]
    pub views: u64,
}

/// What was measured of one kind of work, the older the less, and what the model said of the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Speed {
    /// Pieces of work.
    pub samples: u64,
    /// Milliseconds of a processor that they took, …
    pub cpu_ms: u64,
    /// … and those that the model says.
    pub model_ms: u64,
    /// Bytes that were made, …
    pub bytes: u64,
    /// … and those that the model says.
    pub model_bytes: u64,
}

/// The speeds of a fleet.
pub type Speeds = BTreeMap<Kind, Speed>;

/// From, most likely, to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Range {
    /// At least, most likely.
    pub low: u64,
    /// Most likely.
    pub likely: u64,
    /// At most, most likely.
    pub high: u64,
}

/// What an upload will take and cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// What it is taken for.
    pub media: Media,
    /// The renditions that it gets, the largest first.
    pub renditions: Vec<String>,
    /// Milliseconds of a processor.
    pub cpu_ms: Range,
    /// Bytes of what is made of it.
    pub output_bytes: Range,
    /// All of it, most likely.
    pub amounts: Amounts,
    /// Millionths of the currency.
    pub micros: Range,
    /// The same, most likely, by what it goes to.
    pub lines: Vec<Line>,
    /// ISO 4217.
    pub currency: String,
    /// Whose prices they are.
    pub region: String,
    /// When they were read.
    pub as_of: String,
    /// Whether the speed of this fleet was measured.
    pub measured: bool,
    /// What is not known and was assumed, for a person.
    pub assumed: Vec<String>,
}

impl Estimate {
    /// As the API and the command line show it.
    pub fn shown(&self) -> Value {
        let seconds = |ms: u64| ms as f64 / 1e3;
        let money = |micros: u64| price::shown(micros, &self.currency);
        json!({
            "media": self.media,
            "renditions": self.renditions,
            "measured": self.measured,
            "assumed": self.assumed,
            "cpu_seconds": {
                "low": seconds(self.cpu_ms.low), "likely": seconds(self.cpu_ms.likely), "high": seconds(self.cpu_ms.high),
            },
            "source_bytes": self.amounts.source_bytes,
            "output_bytes": self.output_bytes,
            "requests": { "puts": self.amounts.puts, "gets": self.amounts.gets },
            "delivered_bytes": self.amounts.egress_bytes,
            "micros": self.micros,
            "money": { "low": money(self.micros.low), "likely": money(self.micros.likely), "high": money(self.micros.high) },
            "lines": self.lines,
            "currency": self.currency,
            "prices": { "region": self.region, "as_of": self.as_of },
        })
    }
}

/// What was used, as the API shows it beside its estimate.
pub fn used_shown(used: &Amounts, prices: &Prices) -> Value {
    let micros = prices.total(used);
    json!({
        "cpu_seconds": used.cpu_ms as f64 / 1e3,
        "source_bytes": used.source_bytes,
        "output_bytes": used.output_bytes,
        "requests": { "puts": used.puts, "gets": used.gets },
        "micros": micros,
        "money": price::shown(micros, prices.currency()),
        "currency": prices.currency(),
    })
}

/// Facts without a gap.
struct Assumed {
    media: Media,
    duration_ms: u64,
    width: u32,
    height: u32,
    fps: f64,
    sound: bool,
    said: Vec<String>,
    /// By how much all of it may be off.
    spread: f64,
}

fn assume(facts: &Facts) -> Assumed {
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

/// What an upload will take and cost, by the very ladder and chunks that it will get.
pub fn estimate(facts: &Facts, speeds: &Speeds, prices: &Prices) -> Estimate {
    let Assumed { media, duration_ms, width, height, fps, sound, mut said, mut spread } = assume(facts);
    let mut all = Amounts::default();
    let (mut renditions, mut measured, mut largest) = (Vec::new(), true, 0);
    if facts.size > 0 {
        all.source_bytes = facts.size;
        corrected(looked(), Kind::Probe, 1, speeds, &mut all);
    } else {
        said.clear();
        spread = 1.0;
    }
    let seconds = (duration_ms as f64 / 1e3).max(0.001);
    let pictures = Pictures { width, height, fps, bytes_per_s: facts.size as f64 / seconds };
    match media {
        _ if facts.size == 0 => measured = false,
        Media::Image => {
            measured = corrected(sized(width, height, facts.size), Kind::Still, 1, speeds, &mut all);
        }
        Media::Video | Media::Audio => {
            corrected(looked(), Kind::Index, u64::from(media == Media::Video), speeds, &mut all);
            let (mut rungs, mut chunks) = (Vec::new(), Vec::new());
            if media == Media::Video {
                rungs = ladder(width, height, fps);
                chunks = chunk_frames(duration_ms, fps);
                let before = all.output_bytes;
                for frames in &chunks {
                    measured &= corrected(pictures.encoded(&rungs, *frames), Kind::Video, 1, speeds, &mut all);
                }
                let made = all.output_bytes.saturating_sub(before) as f64;
                let pixels = |rung: &crate::Rung| (f64::from(rung.width) * f64::from(rung.height)).powf(0.8);
                let share = rungs.first().map_or(0.0, pixels) / rungs.iter().map(pixels).sum::<f64>().max(1.0);
                largest = whole(made * share);
                corrected(pictures.shown(duration_ms), Kind::Pictures, 1, speeds, &mut all);
                renditions.extend(rungs.iter().map(|rung| rung.name.clone()));
            }
            if sound {
                let before = all.output_bytes;
                for (ms, times) in sound_runs(duration_ms) {
                    let read = whole(pictures.bytes_per_s * ms as f64 / 1e3);
                    let known = corrected(sounded(ms, read), Kind::Audio, times, speeds, &mut all);
                    measured &= known || media == Media::Video;
                }
                largest = largest.saturating_add(all.output_bytes.saturating_sub(before));
                renditions.push("audio".to_owned());
            }
            let runs = if sound { sound_runs(duration_ms).iter().map(|(_, times)| times).sum() } else { 0 };
            all.puts = all.puts.saturating_add(lists(rungs.len() as u64, chunks.len() as u64, runs));
            all.tasks = all.tasks.saturating_add(published(chunks.len() as u64)).saturating_add(published(runs));
        }
    }
    if media == Media::Image {
        largest = all.output_bytes / 4;
    }
    all.egress_bytes = facts.views.min(MOST_VIEWS).saturating_mul(largest);
    spread *= if measured { MEASURED } else { UNMEASURED };
    // More is unknown of how many bytes come out than of how long it takes, and more of both where the source is.
    let range = |likely: u64| Range { low: whole(likely as f64 / spread), likely, high: whole(likely as f64 * spread) };
    let micros = prices.total(&all);
    Estimate {
        media,
        renditions,
        cpu_ms: range(all.cpu_ms),
        output_bytes: range(all.output_bytes),
        amounts: all,
        micros: range(micros),
        lines: prices.lines(&all).to_vec(),
        currency: prices.currency().to_owned(),
        region: prices.region().to_owned(),
        as_of: prices.as_of().to_owned(),
        measured,
        assumed: said,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn film(size: u64, duration_ms: u64) -> Facts {
        Facts {
            size,
            media: Some(Media::Video),
            duration_ms: Some(duration_ms),
            width: Some(1920),
            height: Some(1080),
            fps: Some(25.0),
            sound: Some(true),
            views: 0,
        }
    }

    fn of(facts: &Facts) -> Estimate {
        estimate(facts, &Speeds::new(), &Prices::embedded())
    }

    #[test]
    fn nothing_costs_nothing() {
        let nothing = of(&Facts::default());
        assert_eq!((nothing.amounts, nothing.micros), (Amounts::default(), Range::default()));
        assert!(nothing.assumed.is_empty());
    }

    #[test]
    fn what_is_not_known_is_said_and_widens_the_range() {
        let (known, unknown) = (of(&film(30_000_000, 30_000)), of(&Facts { size: 30_000_000, ..Facts::default() }));
        assert!(known.assumed.is_empty() && !known.measured);
        assert_eq!(unknown.assumed.len(), 4, "{:?}", unknown.assumed);
        let wide = |e: &Estimate| e.micros.high as f64 / e.micros.low as f64;
        assert!(wide(&unknown) > wide(&known) && known.micros.low < known.micros.likely);
        assert!((unknown.cpu_ms.low..unknown.cpu_ms.high).contains(&known.cpu_ms.likely), "{unknown:?} {known:?}");
        assert_eq!(known.renditions, ["1080p", "720p", "480p", "360p", "240p", "audio"]);
    }

    #[test]
    fn a_measured_speed_corrects_the_estimate_and_narrows_it() {
        let facts = film(30_000_000, 30_000);
        let slow = Speed { samples: 9, cpu_ms: 60_000, model_ms: 20_000, bytes: 1, model_bytes: 2 };
        let speeds = Speeds::from([(Kind::Video, slow)]);
        let (before, after) = (of(&facts), estimate(&facts, &speeds, &Prices::embedded()));
        assert!(after.measured && after.cpu_ms.likely > before.cpu_ms.likely * 2);
        assert!(after.amounts.output_bytes < before.amounts.output_bytes);
        let young = Speeds::from([(Kind::Video, Speed { cpu_ms: 600, model_ms: 200, ..slow })]);
        assert_eq!(estimate(&facts, &young, &Prices::embedded()), before, "too little was measured");
    }

    #[test]
    fn kinds_and_views() {
        let still = of(&Facts { size: 2_000_000, media: Some(Media::Image), ..Facts::default() });
        assert!(still.renditions.is_empty() && still.amounts.puts == 8 && still.cpu_ms.likely > 0);
        let sound = of(&Facts { media: Some(Media::Audio), ..film(2_000_000, 60_000) });
        assert_eq!(sound.renditions, ["audio"]);
        assert!((800_000..1_200_000).contains(&sound.amounts.output_bytes), "{sound:?}");
        let watched = of(&Facts { views: 1_000, ..film(30_000_000, 30_000) });
        assert!(watched.amounts.egress_bytes > 1_000 * 1_000_000 && watched.micros.likely > 100_000);
        assert_eq!(Media::of("video/mp4"), Some(Media::Video));
        assert_eq!(Media::of("application/mp4"), None);
    }

    fn facts() -> impl Strategy<Value = Facts> {
        let media =
            prop_oneof![Just(None), Just(Some(Media::Video)), Just(Some(Media::Audio)), Just(Some(Media::Image))];
        let side = || proptest::option::of(0u32..20_000);
        let wild = (
            any::<u64>(),
            media,
            proptest::option::of(any::<u64>()),
            side(),
            side(),
            proptest::option::of(any::<f64>()),
        );
        (wild, proptest::option::of(any::<bool>()), any::<u64>()).prop_map(
            |((size, media, duration_ms, width, height, fps), sound, views)| Facts {
                size,
                media,
                duration_ms,
                width,
                height,
                fps,
                sound,
                views,
            },
        )
    }

    proptest! {
        #[test]
        fn nothing_overflows_and_ranges_are_ranges(facts in facts()) {
            // A film of a million years has as many chunks as a long one.
            let estimate = of(&facts);
            for range in [estimate.cpu_ms, estimate.output_bytes, estimate.micros] {
                prop_assert!(range.low <= range.likely && range.likely <= range.high, "{facts:?} {estimate:?}");
            }
            let json = serde_json::to_string(&estimate).unwrap();
            prop_assert_eq!(serde_json::from_str::<Estimate>(&json).unwrap(), estimate);
        }

        #[test]
        fn longer_and_larger_never_is_less(size in 1u64..1 << 40, more in 0u64..1 << 40, ms in 1u64..20_000_000, longer in 0u64..6_000_000) {
            let base = of(&film(size, ms));
            let larger = of(&film(size + more, ms));
            prop_assert!(larger.micros.likely >= base.micros.likely && larger.cpu_ms.likely >= base.cpu_ms.likely);
            // Beyond 400 chunks they grow: a second more may be one chunk less, which is a fraction of a second.
            let long = of(&film(size, ms + longer));
            prop_assert!(long.cpu_ms.likely + 1_000 >= base.cpu_ms.likely, "{base:?} {long:?}");
        }
    }
}
