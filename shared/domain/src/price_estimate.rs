//! The estimate of an upload: from whatever is known of it, before a byte is sent.
//!
//! Guarantee: what is not known is assumed, said, and widens the range; where the source's own stream may become the top
//! rendition, the range holds both, its being copied and its being encoded; the same facts give the same estimate at the
//! gateway, on the command line and after the probe; longer and larger never is less.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::price::{self, Line, Prices};
use crate::price_upload::{Work, assume, work};
use crate::price_work::{Amounts, Kind, whole};

/// How far off an estimate may be that knows everything: by measured speeds, …
const MEASURED: f64 = 1.25;
/// … and by those of the machine that the model was made on.
const UNMEASURED: f64 = 2.0;
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
    /// Whether its own stream becomes the top rendition without being encoded.
    #[serde(default)]
    pub copied: Option<bool>,
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
    /// Whether the top rendition is counted as copied; none: it may be, and is counted as encoded.
    #[serde(default)]
    pub copied: Option<bool>,
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
            "copied": self.copied,
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

/// What an upload will take and cost, by the very ladder and chunks that it will get.
pub fn estimate(facts: &Facts, speeds: &Speeds, prices: &Prices) -> Estimate {
    let mut known = assume(facts);
    let (likely, other, copied) = if facts.size == 0 {
        (known.said, known.spread) = (Vec::new(), 1.0);
        (Work::default(), None, Some(false))
    } else {
        let of = |copied| work(facts, &known, copied, speeds);
        let possible = facts.copied != Some(false) && known.may_be_copied(facts.size);
        match (facts.copied, possible) {
            // What seems right may turn out not to be, while it is made, and is encoded then.
            (Some(true), true) => (of(true), Some(of(false)), Some(true)),
            (_, true) => (of(false), Some(of(true)), None),
            (_, false) => (of(false), None, Some(false)),
        }
    };
    if copied.is_none() {
        known.said.push("its largest rendition is encoded, not copied from it".to_owned());
    }
    let egress = |mut work: Work| {
        work.amounts.egress_bytes = facts.views.min(MOST_VIEWS).saturating_mul(work.largest);
        work
    };
    let (likely, other) = (egress(likely), other.map(egress));
    let spread = known.spread * if likely.measured { MEASURED } else { UNMEASURED };
    // More is unknown of how many bytes come out than of how long it takes, and more of both where the source is.
    let range = |of: &dyn Fn(&Amounts) -> u64| {
        let value = of(&likely.amounts);
        let also = other.as_ref().map_or(value, |work| of(&work.amounts));
        Range {
            low: whole(value.min(also) as f64 / spread),
            likely: value,
            high: whole(value.max(also) as f64 * spread),
        }
    };
    Estimate {
        media: known.media,
        cpu_ms: range(&|amounts| amounts.cpu_ms),
        output_bytes: range(&|amounts| amounts.output_bytes),
        micros: range(&|amounts| prices.total(amounts)),
        lines: prices.lines(&likely.amounts).to_vec(),
        amounts: likely.amounts,
        renditions: likely.renditions,
        currency: prices.currency().to_owned(),
        region: prices.region().to_owned(),
        as_of: prices.as_of().to_owned(),
        copied,
        measured: likely.measured,
        assumed: known.said,
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
            copied: Some(false),
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
        assert_eq!(unknown.assumed.len(), 5, "{:?}", unknown.assumed);
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
    fn where_the_top_may_be_copied_the_range_holds_both() {
        let encoded = of(&film(15_000_000, 30_000));
        let copied = of(&Facts { copied: Some(true), ..film(15_000_000, 30_000) });
        let unknown = of(&Facts { copied: None, ..film(15_000_000, 30_000) });
        assert_eq!([encoded.copied, copied.copied, unknown.copied], [Some(false), Some(true), None]);
        assert!(copied.cpu_ms.likely * 10 < encoded.cpu_ms.likely * 6, "{copied:?}");
        assert_eq!((unknown.micros.likely, unknown.micros.high), (encoded.micros.likely, encoded.micros.high));
        assert_eq!((unknown.cpu_ms.low, copied.cpu_ms.high), (copied.cpu_ms.low, encoded.cpu_ms.high), "both");
        assert!(unknown.micros.low <= copied.micros.low && unknown.assumed.len() == 1, "{unknown:?}");

        // What can't be copied is not counted so, whoever says it.
        for (facts, why) in [
            (film(60_000_000, 30_000), "too dense"),
            (Facts { height: Some(1440), width: Some(2560), ..film(15_000_000, 30_000) }, "its top is smaller"),
            (Facts { media: Some(Media::Audio), ..film(1_000_000, 30_000) }, "no picture"),
        ] {
            let believed = of(&Facts { copied: Some(true), ..facts });
            assert_eq!(believed, of(&facts), "{why}");
        }
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
        let maybe = || proptest::option::of(any::<bool>());
        (wild, maybe(), maybe(), any::<u64>()).prop_map(
            |((size, media, duration_ms, width, height, fps), sound, copied, views)| Facts {
                size,
                media,
                duration_ms,
                width,
                height,
                fps,
                sound,
                copied,
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
