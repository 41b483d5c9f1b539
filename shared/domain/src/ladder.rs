//! The ladder: which renditions a source gets.
//!
//! Guarantee: never larger than the source (upright, square pixels), widths and heights even, the shape kept to within
//! a pixel, at least one rung, the largest first.

use serde::{Deserialize, Serialize};

/// One rung of the ladder, with caps that the master playlist may declare before anything is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// The shorter side with a `p`: `720p`.
    pub name: String,
    /// Pixels, even.
    pub width: u32,
    /// Pixels, even.
    pub height: u32,
    /// x264 constant rate factor.
    pub crf: u8,
    /// Bits per second that the encoder's buffer model allows at most.
    pub maxrate: u64,
    /// Bits of the encoder's buffer model.
    pub bufsize: u64,
}

impl Rung {
    /// Bits per second that a source may have at the most to stand for this rung as it is: as much as x264's buffer model
    /// lets through in a segment of four seconds that begins with the buffer full.
    pub fn most_copied_bps(&self) -> u64 {
        self.maxrate + self.bufsize / 4
    }
}

/// Shorter sides of the standard rungs, with their caps in bits per second at up to 30 frames per second.
const STANDARD: [(u32, u64); 5] =
    [(1080, 6_000_000), (720, 3_500_000), (480, 1_600_000), (360, 900_000), (240, 450_000)];
/// A standard rung this close below the top (in percent of it) would add nothing.
const NEAR_PERCENT: u32 = 85;
const CRF: u8 = 23;

/// The ladder of a source of the given upright size in square pixels.
pub fn ladder(width: u32, height: u32, fps: f64) -> Vec<Rung> {
    let (width, height) = (width.max(2), height.max(2));
    let short = width.min(height);
    let top = short.min(STANDARD[0].0);
    let mut sides = vec![top];
    sides.extend(STANDARD.iter().map(|(side, _)| *side).filter(|side| side * 100 < top * NEAR_PERCENT));
    sides.into_iter().map(|side| rung(width, height, side, fps)).collect()
}

fn rung(width: u32, height: u32, side: u32, fps: f64) -> Rung {
    let (w, h) = scaled(width, height, side);
    let rate = cap(u64::from(w) * u64::from(h), fps);
    Rung { name: format!("{side}p"), width: w, height: h, crf: CRF, maxrate: rate, bufsize: rate * 2 }
}

/// The size whose shorter side is `side`, even, never larger than the source rounded down to even numbers.
fn scaled(width: u32, height: u32, side: u32) -> (u32, u32) {
    let short = width.min(height);
    let long = width.max(height);
    let side = side.min(short);
    let even = |value: u32| (value & !1).max(2);
    // The nearest even number: 853.3 becomes 854, 426.7 becomes 426.
    let (product, divisor) = (u64::from(long) * u64::from(side), u64::from(short) * 2);
    let other = (((product + divisor / 2) / divisor * 2) as u32).clamp(2, even(long));
    let side = even(side);
    if width <= height { (side, other) } else { (other, side) }
}

/// The cap of the smallest standard 16:9 rung that is at least as large, half as much again above 30 frames per second.
fn cap(pixels: u64, fps: f64) -> u64 {
    let base = STANDARD
        .iter()
        .rev()
        .find(|(side, _)| u64::from(*side) * u64::from(*side) * 16 / 9 >= pixels)
        .map_or(STANDARD[0].1, |(_, rate)| *rate);
    if fps > 33.0 { base * 3 / 2 } else { base }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(width: u32, height: u32) -> Vec<String> {
        ladder(width, height, 25.0).into_iter().map(|r| format!("{} {}x{}", r.name, r.width, r.height)).collect()
    }

    #[test]
    fn known_sources() {
        assert_eq!(
            names(1920, 1080),
            ["1080p 1920x1080", "720p 1280x720", "480p 854x480", "360p 640x360", "240p 426x240"]
        );
        assert_eq!(names(1080, 1920)[..2], ["1080p 1080x1920", "720p 720x1280"]);
        assert_eq!(names(3840, 2160)[0], "1080p 1920x1080");
        assert_eq!(names(480, 270), ["270p 480x270"]);
        assert_eq!(names(128, 72), ["72p 128x72"]);
        assert_eq!(names(479, 269), ["269p 478x268"]);
        assert_eq!(names(1, 1), ["2p 2x2"]);
    }

    proptest! {
        #[test]
        fn never_upscales_always_even_shape_kept(width in 2u32..8192, height in 2u32..8192, fps in 1.0f64..120.0) {
            let rungs = ladder(width, height, fps);
            prop_assert!(!rungs.is_empty());
            for rung in &rungs {
                prop_assert!(rung.width <= width.max(2) && rung.height <= height.max(2), "{rung:?}");
                prop_assert!(rung.width % 2 == 0 && rung.height % 2 == 0 && rung.width >= 2 && rung.height >= 2);
                let exact = f64::from(width.max(height)) / f64::from(width.min(height)) * f64::from(rung.width.min(rung.height));
                let long = f64::from(rung.width.max(rung.height));
                let slack = 2.0 + f64::from(width.max(height)) / f64::from(width.min(height)) * 1.0;
                prop_assert!((exact - long).abs() <= slack, "{width}x{height} {rung:?} {exact}");
            }
            for pair in rungs.windows(2) {
                prop_assert!(pair[0].height > pair[1].height || pair[0].width > pair[1].width);
            }
        }
    }
}
