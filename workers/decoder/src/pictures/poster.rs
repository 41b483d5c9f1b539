//! The poster: of a few keyframes over the length of the video, the first with much in it, else the one with the most.

use std::collections::BTreeMap;

use reelfleet_wire::{OutputHeader, PictureKind, PicturesRequest};

use crate::fail::Failure;
use crate::output::Output;
use crate::pictures::canvas::{Canvas, widths};
use crate::pictures::encode::encode;
use crate::pictures::keyframes::{Keyframes, Quality, Shot};
use crate::pictures::storyboard::tile_size;

/// Where candidates are looked for, in thousandths of the length: not at the very beginning, which is often black.
const PLACES: [i64; 5] = [100, 250, 400, 600, 800];
/// Looking for a better one ends when looking has read this share of the file, and [`LOOKED`] bytes.
const LOOKED_SHARE: u64 = 1_000;
/// A thousandth of a small file would not be one keyframe.
const LOOKED: u64 = 512 << 10;
/// A picture with so much in it (variance of its brightness) is good enough: none is looked at after it.
const RICH: f64 = 1_200.0;
/// Width at which candidates are compared.
const SMALL: u32 = 160;

/// Makes the poster in every width and format wanted, and leaves small tiles of what was looked at.
///
/// # Errors
/// `Decode` where not one frame can be had; `Encode`, `SourceRead`, `SourceChanged`.
pub fn run(
    keyframes: &mut Keyframes<'_>,
    request: &PicturesRequest,
    output: &Output,
    tiles: &mut BTreeMap<i64, Canvas>,
) -> Result<(), Failure> {
    let mut best: Option<(f64, Shot)> = None;
    let mut wanted = places(&keyframes.times(), keyframes.end_us().filter(|_| keyframes.seekable())).into_iter();
    let tile = request.storyboard.as_ref().map(|spec| tile_size(spec, keyframes.size()));
    let enough = keyframes.fetched() + LOOKED.max(request.size / LOOKED_SHARE);
    for _ in 0..PLACES.len() {
        if best.as_ref().is_some_and(|(most, _)| *most >= RICH || keyframes.fetched() >= enough) {
            break;
        }
        let shot = match (wanted.next(), keyframes.seekable()) {
            (Some(time), true) => keyframes.at(time)?,
            (None, true) if best.is_some() => break,
            _ => keyframes.next()?,
        };
        let Some(shot) = shot else { continue };
        let small = match tile {
            Some((w, h)) => keyframes.draw_as(&shot, w, h, Quality::Quick)?,
            None => keyframes.draw(&shot, SMALL, Quality::Quick)?,
        };
        let variance = small.variance();
        tiles.insert(shot.time_us, small);
        if best.as_ref().is_none_or(|(most, _)| variance > *most) {
            best = Some((variance, shot));
        }
    }
    let shot = match best {
        Some((_, shot)) => shot,
        None => keyframes.first_shown()?.ok_or_else(|| Failure::decode("not one frame of the video can be decoded"))?,
    };
    for width in widths(&request.poster_widths, keyframes.size().0) {
        let canvas = keyframes.draw(&shot, width, Quality::Fine)?;
        for format in &request.formats {
            let header = OutputHeader::Picture {
                kind: PictureKind::Poster,
                index: 0,
                width: canvas.width,
                height: canvas.height,
                format: *format,
                time_us: Some(shot.time_us),
            };
            output.write(&header, &encode(&canvas, *format)?)?;
        }
    }
    if tiles.is_empty()
        && let Some((w, h)) = tile
    {
        tiles.insert(shot.time_us, keyframes.draw_as(&shot, w, h, Quality::Quick)?);
    }
    Ok(())
}

/// Times to look at: keyframes where they are known, else fractions of the length; empty where neither is.
fn places(keys: &[i64], end_us: Option<i64>) -> Vec<i64> {
    let Some(end) = end_us.or(keys.last().copied()) else { return keys.first().copied().into_iter().collect() };
    let mut times: Vec<i64> = PLACES
        .iter()
        .map(|place| {
            let time = end.saturating_mul(*place) / 1000;
            match keys.partition_point(|k| *k <= time).checked_sub(1) {
                Some(before) => keys[before],
                None => keys.first().copied().unwrap_or(time),
            }
        })
        .collect();
    times.dedup();
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_keyframes_each_once() {
        assert_eq!(places(&[0, 10, 20, 30, 40, 50, 60, 70, 80, 90], Some(100)), [10, 20, 40, 60, 80]);
        assert_eq!(places(&[0], Some(100)), [0]);
        assert_eq!(places(&[50], Some(100)), [50]);
        assert_eq!(places(&[], Some(1000)), [100, 250, 400, 600, 800]);
        assert!(places(&[], None).is_empty());
    }
}
