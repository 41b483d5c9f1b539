//! INDEX: where the keyframes are, from the container's index alone.
//!
//! Guarantee: a border chosen at a reported time is at or just after the presentation time of that keyframe; nothing is
//! read but headers, the index and the packets around one keyframe.

#![allow(unsafe_code)]

use ffmpeg_next::ffi;
use reelfleet_wire::{Copyable, IndexReport, MAX_KEYFRAMES};

use crate::fail::Failure;
use crate::ff::{Packet, micros};
use crate::input::{Input, Next};
use crate::probe::first_times;
use crate::video::copy::configuration;

/// Entries looked at: 12 hours at 240 frames per second.
const MOST_ENTRIES: i32 = 12 * 3600 * 240;

/// Bits per second are counted over so much at the least (microseconds).
const PEAK_US: i64 = 4_000_000;
/// …and what is left at the end as if it were so long.
const LEAST_US: u64 = 1_000_000;
/// What is copied shows no picture for longer (microseconds).
const MOST_HELD_US: i64 = 400_000;
/// A picture is shown at most so long after it is decoded.
const MOST_APART_US: i64 = 1_000_000;

/// One entry of the container's index, in the stream's time base.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub pos: i64,
    pub time: i64,
    pub size: i64,
    pub key: bool,
    /// Hidden by an edit list.
    pub hidden: bool,
}

/// The index that libavformat holds now for a stream.
pub fn entries(input: &Input, stream: usize) -> Vec<Entry> {
    let Some(stream) = input.stream(stream) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    // SAFETY: the stream is valid while the input lives, and so is each entry until the next read; entries are copied.
    unsafe {
        let count = ffi::avformat_index_get_entries_count(stream.as_ptr()).min(MOST_ENTRIES);
        for i in 0..count {
            let entry = ffi::avformat_index_get_entry(stream.as_ptr(), i);
            if entry.is_null() {
                break;
            }
            let flags = (*entry).flags();
            all.push(Entry {
                pos: (*entry).pos,
                time: (*entry).timestamp,
                size: i64::from((*entry).size()),
                key: flags & ffi::AVINDEX_KEYFRAME != 0,
                hidden: flags & ffi::AVINDEX_DISCARD_FRAME != 0,
            });
        }
    }
    all
}

/// The keyframes that a complete index names, in the order of time, each with a time that a seek lands on it by. None
/// where the container has no such index. Matroska's is read here; the seek after it finds it read.
///
/// # Errors
/// `SourceRead`, `SourceChanged`.
pub fn keyframes(input: &mut Input, stream: usize) -> Result<Vec<Entry>, Failure> {
    let container = input.container();
    let kind = kind(&container);
    let has = |name: &str| container.split(',').any(|n| n == name);
    if !has("mov") && !has("matroska") || input.is_fragmented() {
        return Ok(Vec::new());
    }
    let start = input.stream(stream).and_then(|s| s.start()).unwrap_or(0);
    if kind == Kind::Cues && !input.seek(stream, start)? {
        return Ok(Vec::new());
    }
    let size = i64::try_from(input.watch().size()).unwrap_or(i64::MAX);
    let mut keys = entries(input, stream);
    keys.retain(|entry| entry.key && !entry.hidden && entry.pos.saturating_add(entry.size) <= size);
    keys.sort_unstable_by_key(|entry| entry.time);
    keys.dedup_by_key(|entry| entry.time);
    let base = input.stream(stream).map(|s| s.time_base());
    // The index of MP4 holds decode times, but seeks are by presentation: the first picture tells how far they are apart.
    let apart = keys.first().map_or(0, |first| start.saturating_sub(first.time));
    if kind == Kind::EveryPacket
        && base.and_then(|base| micros(apart, base)).is_some_and(|us| (0..=MOST_APART_US).contains(&us))
    {
        keys.iter_mut().for_each(|entry| entry.time = entry.time.saturating_add(apart));
    }
    let last = keys.last().zip(base).and_then(|(entry, base)| micros(entry.time, base));
    if !is_complete(input, stream, kind, last) {
        keys.clear();
    }
    Ok(keys)
}

/// Whether the index names every packet (MP4, AVI) or only places to jump to (Matroska), or is made while reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    EveryPacket,
    Cues,
    None,
}

fn kind(container: &str) -> Kind {
    let any = |names: &[&str]| container.split(',').any(|n| names.contains(&n));
    if any(&["mov", "mp4", "avi"]) {
        Kind::EveryPacket
    } else if any(&["matroska", "webm", "flv", "asf"]) {
        Kind::Cues
    } else {
        Kind::None
    }
}

/// The keyframes of the video.
///
/// # Errors
/// `SourceRead`, `SourceChanged`, `Decode`.
pub fn index(input: &mut Input, video: usize, t0_us: i64) -> Result<IndexReport, Failure> {
    input.keep_only(&[video]);
    let container = input.container();
    let Some(base) = input.stream(video).map(|s| s.time_base()) else {
        return Err(Failure::internal("no such stream"));
    };
    let first = first_times(input, video)?;
    if !first.timed {
        // Packets without presentation times cannot be placed without decoding from the beginning.
        return Ok(IndexReport::default());
    }
    let kind = kind(&container);
    if kind == Kind::None {
        return Ok(IndexReport { seekable: seeks_by_time(input, video)?, ..IndexReport::default() });
    }
    if kind == Kind::Cues {
        // Loads the cues of Matroska; other containers have theirs already.
        let start = input.stream(video).and_then(|s| s.start()).unwrap_or(0);
        input.seek(video, start)?;
    }
    let all = entries(input, video);
    // The index of MP4 holds decode times; that of Matroska and FLV presentation times. A keyframe is shown at most as
    // long after its decode time as any other picture.
    let reorder = if kind == Kind::EveryPacket { first.reorder } else { 0 };
    let first_key = first.key_dts.zip(first.key_pts);
    let size = i64::try_from(input.watch().size()).unwrap_or(i64::MAX);
    let mut keyframes: Vec<i64> = Vec::new();
    let mut last = None;
    let mut packets = 0u64;
    for entry in &all {
        if entry.pos.saturating_add(entry.size) > size {
            continue;
        }
        let time = match first_key {
            Some((dts, pts)) if dts == entry.time && kind == Kind::EveryPacket => Some(pts),
            _ => entry.time.checked_add(reorder),
        };
        let Some(us) = time.and_then(|t| micros(t, base)) else {
            continue;
        };
        let us = us - t0_us;
        packets += u64::from(!entry.hidden);
        last = last.max(Some(us));
        if entry.key {
            keyframes.push(us.max(0));
        }
    }
    keyframes.sort_unstable();
    keyframes.dedup();
    if !is_complete(input, video, kind, last) {
        // A fragmented MP4 or a recording that was never finished: the index knows the beginning only.
        return Ok(IndexReport { seekable: seeks_by_time(input, video)?, ..IndexReport::default() });
    }
    let copy = first_key
        .filter(|_| kind == Kind::EveryPacket && !input.is_fragmented())
        .and_then(|(dts, pts)| copyable(input, video, &all, pts.checked_sub(dts)?, t0_us));
    Ok(IndexReport {
        seekable: !keyframes.is_empty(),
        keyframes_us: thin(keyframes, MAX_KEYFRAMES),
        packets: (kind == Kind::EveryPacket && !input.is_fragmented()).then_some(packets),
        reorder_us: micros(reorder, base).unwrap_or(0),
        last_us: last,
        copy,
    })
}

/// Whether the packets that the index names might be copied, and how dense they are at the most. Where no picture is shown
/// before its keyframe, as only then it can be, and all follow each other evenly, every keyframe waits like the first: for
/// `delay`. Without ends of the index's own: a last picture that is held makes no segment.
fn copyable(input: &Input, video: usize, all: &[Entry], delay: i64, t0_us: i64) -> Option<Copyable> {
    let stream = input.stream(video).filter(|stream| configuration(stream).is_some())?;
    let (base, size) = (stream.time_base(), i64::try_from(input.watch().size()).ok()?);
    let known = |e: &Entry| e.size > 0 && !e.hidden && e.pos.checked_add(e.size).is_some_and(|end| end <= size);
    if !all.iter().all(known) || !all.first().is_some_and(|first| first.key) {
        return None;
    }
    let step = all.get(1).map_or(1, |second| second.time - all[0].time);
    if step <= 0 || all.windows(2).any(|pair| pair[1].time - pair[0].time != step) {
        return None;
    }
    let end = stream.start().zip(stream.duration()).and_then(|(start, length)| start.checked_add(length));
    let last = all[all.len() - 1].time.checked_add(delay)?;
    let held = micros(end?.saturating_sub(last), base)?;
    if held > MOST_HELD_US || all.len() > 1 && micros(step, base)? > MOST_HELD_US {
        return None;
    }
    // (Time in µs, bytes before it) of each keyframe, and of the end.
    let mut bytes = 0u64;
    let mut keys = Vec::new();
    for entry in all {
        if entry.key {
            keys.push((micros(entry.time.checked_add(delay)?, base)? - t0_us, bytes));
        }
        bytes = bytes.saturating_add(entry.size.unsigned_abs());
    }
    let keyframes_us: Vec<i64> = keys.iter().map(|(time, _)| *time).collect();
    if keyframes_us.len() > MAX_KEYFRAMES / 2 || !keyframes_us.is_sorted() {
        return None;
    }
    keys.push((micros(last, base)? - t0_us, bytes));
    let mut peak_bps = 0;
    let mut behind = 0;
    for (from, before) in &keys {
        while behind + 1 < keys.len() && keys[behind].0 - from < PEAK_US {
            behind += 1;
        }
        let (to, until) = keys[behind];
        let span = u64::try_from(to - from).unwrap_or(0).max(LEAST_US);
        peak_bps = peak_bps.max(until.saturating_sub(*before).saturating_mul(8_000_000) / span);
    }
    Some(Copyable { peak_bps, keyframes_us })
}

/// Whether the index reaches to the end, or as near as the last keyframe may be.
fn is_complete(input: &Input, video: usize, kind: Kind, last_us: Option<i64>) -> bool {
    let by_stream = input.stream(video).and_then(|s| micros(s.duration()?, s.time_base()));
    // SAFETY: valid while the input lives.
    let whole = unsafe { (*input.context()).duration };
    let duration = by_stream.or((whole != ffi::AV_NOPTS_VALUE && whole > 0).then_some(whole));
    match (duration, last_us) {
        // The end may have been cut off, and then the index still names every packet that is there.
        _ if kind == Kind::EveryPacket && !input.is_fragmented() => true,
        (Some(duration), Some(last)) => last.saturating_add((duration / 10).max(30_000_000)) >= duration,
        _ => false,
    }
}

/// Keeps at most `most`, evenly, the first among them.
fn thin(times: Vec<i64>, most: usize) -> Vec<i64> {
    let step = times.len().div_ceil(most.max(1)).max(1);
    times.into_iter().step_by(step).collect()
}

/// Whether a seek to the middle lands where the two seconds before it can be decoded (MPEG-TS, MPEG-PS, Ogg).
fn seeks_by_time(input: &mut Input, video: usize) -> Result<bool, Failure> {
    let Some(stream) = input.stream(video) else {
        return Ok(false);
    };
    let (base, start, duration) = (stream.time_base(), stream.start(), stream.duration());
    let (Some(start), Some(duration)) = (start, duration) else {
        return Ok(false);
    };
    let middle = start.saturating_add(duration / 2);
    let second = i64::from(base.den) / i64::from(base.num.max(1));
    if !input.seek(video, middle - second)? {
        return Ok(false);
    }
    let mut packet = Packet::new()?;
    let mut landed = None;
    for _ in 0..200 {
        match input.read(&mut packet)? {
            Next::End => break,
            Next::Packet if packet.stream() != video => {}
            Next::Packet => {
                if packet.pts().is_some() {
                    landed = packet.pts();
                    break;
                }
            }
        }
    }
    // Far before the middle is as bad as behind it: the container found its way by reading, or not at all.
    Ok(landed.is_some_and(|at| at <= middle && middle - at < 60 * second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_first_and_the_order() {
        assert_eq!(thin(vec![0, 1, 2, 3, 4], 5), [0, 1, 2, 3, 4]);
        assert_eq!(thin(vec![0, 1, 2, 3, 4], 3), [0, 2, 4]);
        assert_eq!(thin((0..100_001).collect(), MAX_KEYFRAMES).len(), 16_667);
        assert!(thin(Vec::new(), 3).is_empty());
    }
}
