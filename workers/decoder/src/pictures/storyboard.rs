//! The storyboard: tiles of real keyframes on WebP sprites, and which tile belongs to which time.
//!
//! Guarantee: every time of the video lies in exactly one cue; a cue names a tile that was written; no more frames are
//! read than there are tiles, but where a packet gave none.

use std::collections::BTreeMap;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Mutex, PoisonError};

use reelfleet_wire::{Cue, OutputHeader, PictureFormat, PictureKind, StoryboardSpec};

use crate::fail::Failure;
use crate::ff::Packet;
use crate::output::Output;
use crate::pictures::canvas::{Canvas, height_for};
use crate::pictures::encode::webp;
use crate::pictures::keyframes::{Keyframes, Quality, Shot};

/// Largest side of a sprite.
const MAX_SIDE: u32 = 16_383;
/// Without known keyframes, one place every so often.
const GRID_US: i64 = 2_000_000;
/// Keyframes decoded at once. Each is decoded alone, so nobody waits for anybody.
const THREADS: usize = 2;
/// Two times that are the same keyframe: containers round.
const SAME_US: i64 = 2_000;

/// Width and height of one tile.
pub fn tile_size(spec: &StoryboardSpec, size: (u32, u32)) -> (u32, u32) {
    let width = spec.tile_width.min(MAX_SIDE / spec.columns.max(1)).max(1);
    (width, height_for(width, size).min(MAX_SIDE / spec.rows.max(1)).max(1))
}

/// Reads the frames that are missing and writes sprites and cues.
///
/// # Errors
/// `Encode`, `SourceRead`, `SourceChanged`.
pub fn run(
    keyframes: &mut Keyframes<'_>,
    spec: &StoryboardSpec,
    output: &Output,
    mut tiles: BTreeMap<i64, Canvas>,
) -> Result<(), Failure> {
    let most = spec.max_tiles.max(1) as usize;
    let (w, h) = tile_size(spec, keyframes.size());
    let end_us = keyframes.end_us();
    let keys = keyframes.times();
    if keyframes.seekable() && (!keys.is_empty() || end_us.is_some()) {
        let wanted = places(&keys, end_us, most);
        // The poster looked elsewhere, too; only what lies on the grid stays.
        tiles.retain(|time, _| keys.is_empty() || wanted.iter().any(|t| t.abs_diff(*time) <= SAME_US as u64));
        let missing = wanted.into_iter().filter(|t| tiles.range(t - SAME_US..=t + SAME_US).next().is_none()).collect();
        for time in side_by_side(keyframes, missing, (w, h), output, &mut tiles)? {
            if let Some(shot) = keyframes.at(time)? {
                tiles.insert(shot.time_us, keyframes.draw_as(&shot, w, h, Quality::Quick)?);
                output.progress(shot.time_us, keyframes.counts().frames)?;
            }
        }
    } else {
        keyframes.rewind()?;
        while let Some(shot) = keyframes.next()? {
            tiles.insert(shot.time_us, keyframes.draw_as(&shot, w, h, Quality::Quick)?);
            output.progress(shot.time_us, keyframes.counts().frames)?;
            if tiles.len() > most * 2 {
                thin(&mut tiles, most);
            }
        }
    }
    thin(&mut tiles, most);
    write(tiles, spec, end_us, output)
}

/// Makes tiles of the keyframes at these times on some threads, while the next are read; answers where the first packet that
/// was found gave none.
fn side_by_side(
    keyframes: &mut Keyframes<'_>,
    times: Vec<i64>,
    (w, h): (u32, u32),
    output: &Output,
    tiles: &mut BTreeMap<i64, Canvas>,
) -> Result<Vec<i64>, Failure> {
    let decoders = (0..THREADS).map(|_| keyframes.another_decoder()).collect::<Result<Vec<_>, _>>()?;
    let (packets, waiting) = sync_channel::<(i64, Packet)>(THREADS);
    let (made, ready) = channel();
    let waiting = Mutex::new(waiting);
    let mut left = Vec::new();
    std::thread::scope(|scope| {
        for mut decoder in decoders {
            let (waiting, made) = (&waiting, made.clone());
            scope.spawn(move || {
                let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                while let Ok((time, packet)) = next() {
                    let tile = decoder.alone(&packet).and_then(|shot| {
                        let draw = |shot: Shot| Ok((shot.time_us, decoder.draw_as(&shot, w, h, Quality::Quick)?));
                        shot.map(draw).transpose()
                    });
                    if made.send((time, tile)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(made);
        let mut take = |keyframes: &mut Keyframes<'_>, (time, tile): (i64, Result<Option<_>, Failure>)| {
            let tile = tile?;
            keyframes.count(tile.is_some());
            match tile {
                Some((shown, tile)) => drop(tiles.insert(shown, tile)),
                None => left.push(time),
            }
            output.progress(time, keyframes.counts().frames)
        };
        // Hung up at the end, whatever it is, so that the threads end.
        let packets = packets;
        for time in times {
            if let Some(packet) = keyframes.packet_at(time)? {
                packets.send((time, packet)).map_err(|_| Failure::internal("the decoders have stopped"))?;
            }
            while let Ok(tile) = ready.try_recv() {
                take(keyframes, tile)?;
            }
        }
        drop(packets);
        ready.iter().try_for_each(|tile| take(keyframes, tile))
    })?;
    left.sort_unstable();
    Ok(left)
}

/// Which keyframes make tiles: all, or as many as there may be, evenly in time and, where that meets some of them twice,
/// filled up with others; a grid where none is known.
fn places(keys: &[i64], end_us: Option<i64>, most: usize) -> Vec<i64> {
    if !keys.is_empty() && keys.len() <= most {
        return keys.to_vec();
    }
    let end = end_us.or(keys.last().copied()).unwrap_or(0).max(1);
    let count = if keys.is_empty() { usize::try_from(end / GRID_US).unwrap_or(0).clamp(1, most) } else { most };
    let mut times: Vec<i64> = (0..count)
        .map(|i| {
            let time = (i128::from(end) * i as i128 / count as i128) as i64;
            match keys.partition_point(|k| *k <= time).checked_sub(1) {
                Some(before) => keys[before],
                None => keys.first().copied().unwrap_or(time),
            }
        })
        .collect();
    times.dedup();
    if !keys.is_empty() && times.len() < most {
        let mut others: Vec<i64> = keys.iter().copied().filter(|key| times.binary_search(key).is_err()).collect();
        let (len, missing) = (others.len(), most - times.len());
        let mut i = 0;
        others.retain(|_| {
            i += 1;
            (i - 1) * missing / len.max(1) != i * missing / len.max(1)
        });
        times.extend(others);
        times.sort_unstable();
    }
    times
}

/// Leaves at most `most`, evenly by number, the first among them.
fn thin(tiles: &mut BTreeMap<i64, Canvas>, most: usize) {
    let (len, mut i) = (tiles.len(), 0);
    if len <= most {
        return;
    }
    tiles.retain(|_, _| {
        let keep = i * most / len != (i + 1) * most / len || i == 0;
        i += 1;
        keep
    });
    while tiles.len() > most {
        tiles.pop_last();
    }
}

fn write(
    tiles: BTreeMap<i64, Canvas>,
    spec: &StoryboardSpec,
    end_us: Option<i64>,
    output: &Output,
) -> Result<(), Failure> {
    let tiles: Vec<(i64, Canvas)> = tiles.into_iter().collect();
    let columns = spec.columns.max(1);
    let per_sprite = (columns * spec.rows.max(1)) as usize;
    let mut cues: Vec<Cue> = Vec::with_capacity(tiles.len());
    for (number, group) in tiles.chunks(per_sprite).enumerate() {
        let Some((_, first)) = group.first() else { break };
        let (w, h) = (first.width, first.height);
        let count = group.len() as u32;
        let mut sprite = Canvas::filled(w * columns.min(count), h * count.div_ceil(columns), 0);
        for (i, (time, tile)) in (0u32..).zip(group) {
            let (x, y) = (i % columns * w, i / columns * h);
            sprite.place(tile, x, y);
            let start_us = if cues.is_empty() { 0 } else { (*time).max(0) };
            cues.push(Cue { start_us, end_us: start_us, sprite: number as u32, x, y, w, h });
        }
        let header = OutputHeader::Picture {
            kind: PictureKind::Storyboard,
            index: number as u32,
            width: sprite.width,
            height: sprite.height,
            format: PictureFormat::Webp,
            time_us: None,
        };
        output.write(&header, &webp(&sprite, f32::from(spec.quality))?)?;
    }
    close(&mut cues, end_us);
    output.write(&OutputHeader::Storyboard { cues }, &[])
}

/// Each cue ends where the next begins, the last one with the video.
fn close(cues: &mut [Cue], end_us: Option<i64>) {
    let mut next = end_us;
    for cue in cues.iter_mut().rev() {
        cue.end_us = next.unwrap_or(cue.start_us + 1_000_000).max(cue.start_us + 1_000);
        next = Some(cue.start_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keyframes_or_as_many_as_fit_evenly() {
        assert_eq!(places(&[0, 7, 9], Some(10), 5), [0, 7, 9]);
        let many: Vec<i64> = (0..1000).map(|i| i * 1_000_000).collect();
        let chosen = places(&many, Some(1_000_000_000), 100);
        assert_eq!(chosen.len(), 100);
        assert!(chosen.windows(2).all(|w| w[1] - w[0] == 10_000_000));
        assert_eq!(places(&[], Some(10_000_000), 100).len(), 5);
        assert_eq!(places(&[], Some(1), 100), [0]);
        // Where keyframes crowd, time alone would meet the others twice.
        let crowded: Vec<i64> = (0..90).map(|i| i * 1_000).chain((1..20).map(|i| i * 50_000_000)).collect();
        let chosen = places(&crowded, Some(1_000_000_000), 100);
        assert_eq!(chosen.len(), 100);
        assert!(chosen.windows(2).all(|w| w[0] < w[1]));
    }

    #[test]
    fn thinning_keeps_the_first_and_the_count() {
        for (len, most) in [(10, 3), (201, 100), (7, 7), (2, 1)] {
            let mut tiles = (0..len).map(|i| (i, Canvas::filled(1, 1, 0))).collect::<BTreeMap<_, _>>();
            thin(&mut tiles, most);
            assert_eq!(tiles.len(), most, "{len} to {most}");
            assert_eq!(tiles.first_key_value().map(|(k, _)| *k), Some(0));
        }
    }

    #[test]
    fn cues_follow_each_other_to_the_end() {
        let cue = |start_us| Cue { start_us, end_us: 0, sprite: 0, x: 0, y: 0, w: 1, h: 1 };
        let mut cues = [cue(0), cue(2_000_000), cue(5_000_000)];
        close(&mut cues, Some(9_000_000));
        assert_eq!(cues.map(|c| c.end_us), [2_000_000, 5_000_000, 9_000_000]);
        let mut one = [cue(0)];
        close(&mut one, None);
        assert_eq!(one[0].end_us, 1_000_000);
    }
}
