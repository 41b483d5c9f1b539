//! The chunk plan: where one video is cut so that many workers encode it.
//!
//! Guarantee: the chunks cover [0, ∞) without gap or overlap: each begins where the one before ends, the last is
//! open-ended. A frame therefore belongs to exactly one chunk, wherever the borders lie.

use serde::{Deserialize, Serialize};

/// Segments are this long, except at the end of a chunk (milliseconds).
pub const SEGMENT_MS: u32 = 4_000;
/// A rest shorter than this joins the segment before it (milliseconds).
pub const MIN_REST_MS: u32 = 500;
/// Declared at first publish and never changed (RFC 8216, 4.3.3.1). The longest segment, rounded, fits (seconds): one with
/// a rest joined to it, whose last picture is held until the next one of the source, at most a second past its border.
pub const TARGET_DURATION_S: u32 = 6;
/// Where a container gives no plan, and for audio, a run is committed at least this often (milliseconds of media).
pub const RUN_MS: u32 = 32_000;
/// The first audio run is short, so that it never holds back the first playable prefix (milliseconds).
pub const FIRST_AUDIO_RUN_MS: u32 = 4_000;
/// A chain hands over to a continuation after this much work (milliseconds of wall clock).
pub const CHAIN_BUDGET_MS: u64 = 45_000;
/// The same where each continuation decodes everything before it again, at the least twice as fast as it is played: the
/// longer the way back, the longer it stays (milliseconds of wall clock).
pub fn chain_budget_ms(start_us: i64) -> u64 {
    const MOST_MS: u64 = 1_200_000;
    (start_us.max(0).unsigned_abs() / 2_000).clamp(CHAIN_BUDGET_MS, MOST_MS)
}
/// The first stretch of the sound works for this long, on the express queue, before the rest waits its turn
/// (milliseconds of wall clock): enough for about ten minutes of sound.
pub const OPENING_BUDGET_MS: u64 = 8_000;
/// Chunks grow from here, so that playing starts early (microseconds).
const FIRST_CHUNK_US: i64 = 2_000_000;
/// …up to here: chunks of 10–20 s keep the overhead of chunking under about 3 % (microseconds).
const CHUNK_US: i64 = 16_000_000;
/// No plan has more chunks; long films get longer ones.
const MAX_CHUNKS: i64 = 400;

/// A span of the asset's time, in microseconds from its zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// First instant.
    pub start_us: i64,
    /// The instant after its last; the last chunk has none.
    pub end_us: Option<i64>,
}

/// Cuts an asset of (about) `duration_us` whose keyframes are at `keyframes_us` (sorted, may be empty or a sample).
///
/// Borders are put on keyframes where one is near, because starting elsewhere decodes the frames before it for
/// nothing; the early, short chunks are cut where they must end, keyframe or not.
pub fn chunks(duration_us: i64, keyframes_us: &[i64]) -> Vec<Chunk> {
    let full = CHUNK_US.max(duration_us / MAX_CHUNKS);
    let mut borders = vec![0];
    let mut length = FIRST_CHUNK_US;
    loop {
        let start = borders[borders.len() - 1];
        let wanted = start + length;
        // A last chunk that is shorter than half of what was asked joins the one before it.
        if wanted + length / 2 >= duration_us {
            break;
        }
        let border = if length < full { wanted } else { at_keyframe(keyframes_us, wanted, full) };
        let Some(border) = border_in(border, start, duration_us) else { break };
        borders.push(border);
        length = (length * 2).min(full);
    }
    let ends = borders.iter().skip(1).copied().map(Some).chain([None]);
    borders.iter().zip(ends).map(|(start_us, end_us)| Chunk { start_us: *start_us, end_us }).collect()
}

/// A chunk of which one rendition is copied, and the ends of its segments but the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedChunk {
    /// Its span.
    pub chunk: Chunk,
    /// Within the span, ascending; each is the time of a keyframe.
    pub cuts_us: Vec<i64>,
}

/// Cuts an asset of which one rendition is copied: every segment begins with one of its keyframes, which are at
/// `keyframes_us` (all of them, sorted, its first picture the first); its last picture is at `last_us`. `None`: they are too far apart for that.
pub fn copied_chunks(last_us: i64, keyframes_us: &[i64]) -> Option<Vec<CopiedChunk>> {
    let cuts = copied_cuts(last_us, keyframes_us)?;
    let full = CHUNK_US.max(last_us / MAX_CHUNKS);
    let (mut length, mut start, mut plan) = (FIRST_CHUNK_US, 0, Vec::new());
    let mut cuts_us = Vec::new();
    for cut in cuts {
        // A last chunk that is shorter than half of what was asked joins the one before it.
        if cut - start < length || cut + length / 2 >= last_us {
            cuts_us.push(cut);
            continue;
        }
        let chunk = Chunk { start_us: start, end_us: Some(cut) };
        plan.push(CopiedChunk { chunk, cuts_us: std::mem::take(&mut cuts_us) });
        (start, length) = (cut, (length * 2).min(full));
    }
    plan.push(CopiedChunk { chunk: Chunk { start_us: start, end_us: None }, cuts_us });
    Some(plan)
}

/// Where segments begin, but the first: at the keyframe nearest to what is wanted.
fn copied_cuts(last_us: i64, keyframes_us: &[i64]) -> Option<Vec<i64>> {
    const SEGMENT_US: i64 = SEGMENT_MS as i64 * 1_000;
    const REST_US: i64 = MIN_REST_MS as i64 * 1_000;
    // A rest may join it, and its last picture is shown for up to 0.4 s: rounded, it is still no longer than declared.
    const LONGEST_US: i64 = TARGET_DURATION_S as i64 * 1_000_000 - REST_US;
    let (mut start, mut wanted, mut cuts) = (*keyframes_us.first()?, FIRST_CHUNK_US, Vec::new());
    loop {
        let later = keyframes_us.partition_point(|time| *time <= start);
        let reach = keyframes_us[later..].iter().take_while(|time| **time - start <= LONGEST_US);
        match reach.min_by_key(|time| (*time - start - wanted).abs()) {
            // The last picture is shown for a while, and a rest is not worth a segment.
            Some(cut) if last_us - cut >= REST_US => (start, wanted) = (*cut, SEGMENT_US),
            _ if last_us - start < LONGEST_US + REST_US => return Some(cuts),
            _ => return None,
        }
        cuts.push(start);
    }
}

/// The first keyframe at or after `wanted`; where the next is more than three chunks away there is none worth
/// waiting for, and seeking would decode far too much: the chunk then ends at that keyframe all the same, since
/// decoding again from the keyframe before costs more than a longer chunk.
fn at_keyframe(keyframes_us: &[i64], wanted: i64, full: i64) -> i64 {
    if keyframes_us.is_empty() {
        return wanted;
    }
    let next = keyframes_us.partition_point(|time| *time < wanted);
    let before = next.checked_sub(1).map(|i| keyframes_us[i]).filter(|time| wanted - time <= full / 4);
    match (before, keyframes_us.get(next)) {
        (Some(before), Some(after)) if wanted - before < after - wanted => before,
        (Some(before), None) => before,
        (_, Some(after)) => *after,
        (None, None) => i64::MAX,
    }
}

fn border_in(border: i64, start: i64, duration_us: i64) -> Option<i64> {
    (border > start && border < duration_us).then_some(border)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_chunks_are_short_and_the_rest_lie_on_keyframes() {
        let keyframes: Vec<i64> = (0..300).map(|i| i * 2_000_000).collect();
        let plan = chunks(600_000_000, &keyframes);
        assert_eq!(plan[0], Chunk { start_us: 0, end_us: Some(2_000_000) });
        assert_eq!(plan[1].end_us, Some(6_000_000));
        assert_eq!(plan[2].end_us, Some(14_000_000));
        assert_eq!(plan[3].end_us, Some(30_000_000));
        assert!(plan.iter().skip(3).all(|chunk| chunk.end_us.is_none_or(|end| keyframes.contains(&end))));
        assert_eq!(plan.last().unwrap().end_us, None);
    }

    #[test]
    fn one_keyframe_gives_a_few_early_chunks_and_one_long_one() {
        let plan = chunks(600_000_000, &[0]);
        assert_eq!(plan.len(), 4, "{plan:?}");
        assert_eq!(plan[3], Chunk { start_us: 14_000_000, end_us: None });
    }

    #[test]
    fn a_short_video_is_one_chunk() {
        assert_eq!(chunks(40_000, &[0]), [Chunk { start_us: 0, end_us: None }]);
        assert_eq!(chunks(0, &[]), [Chunk { start_us: 0, end_us: None }]);
    }

    #[test]
    fn what_is_copied_is_cut_at_keyframes_alone() {
        let keyframes: Vec<i64> = (0..300).map(|i| i * 2_000_000).collect();
        let plan = copied_chunks(599_960_000, &keyframes).unwrap();
        let ends: Vec<_> = plan.iter().take(4).map(|part| part.chunk.end_us.unwrap()).collect();
        assert_eq!(ends, [2_000_000, 6_000_000, 14_000_000, 30_000_000]);
        assert_eq!(plan[2].cuts_us, [10_000_000]);
        let one = CopiedChunk { chunk: Chunk { start_us: 0, end_us: None }, cuts_us: Vec::new() };
        assert_eq!(copied_chunks(900_000, &[0]).unwrap(), [one]);
        assert_eq!(copied_chunks(60_000_000, &[0]), None, "one keyframe is not enough");
        assert_eq!(copied_chunks(20_000_000, &[0, 10_000_000]), None, "too far apart");
        assert_eq!(copied_chunks(2_000_000, &[]), None);
    }

    proptest! {
        #[test]
        fn what_is_copied_covers_time_once(first in 0i64..100_000, gaps in proptest::collection::vec(10_000i64..5_500_000, 0..300), rest in 0i64..5_000_000) {
            let keyframes: Vec<i64> = std::iter::once(first).chain(gaps.iter().scan(first, |at, gap| { *at += gap; Some(*at) })).collect();
            let last = keyframes[keyframes.len() - 1] + rest;
            let plan = copied_chunks(last, &keyframes).unwrap();
            let mut borders = vec![0];
            for (i, part) in plan.iter().enumerate() {
                prop_assert_eq!(part.chunk.start_us, borders[borders.len() - 1]);
                borders.extend(part.cuts_us.iter().copied().chain(part.chunk.end_us));
                prop_assert_eq!(part.chunk.end_us.is_none(), i + 1 == plan.len());
            }
            prop_assert!(borders.iter().skip(1).all(|border| keyframes.contains(border)));
            borders[0] = first;
            prop_assert!(last - borders[borders.len() - 1] < 6_000_000);
            for pair in borders.windows(2) {
                prop_assert!(pair[0] < pair[1] && pair[1] - pair[0] <= 5_500_000);
            }
        }

        #[test]
        fn chunks_cover_time_once(duration in 0i64..20_000_000_000, gaps in proptest::collection::vec(10_000i64..60_000_000, 0..300)) {
            let keyframes: Vec<i64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            let plan = chunks(duration, &keyframes);
            prop_assert_eq!(plan[0].start_us, 0);
            prop_assert_eq!(plan[plan.len() - 1].end_us, None);
            for pair in plan.windows(2) {
                prop_assert_eq!(pair[0].end_us, Some(pair[1].start_us));
                prop_assert!(pair[0].start_us < pair[1].start_us);
            }
            prop_assert!(plan.len() <= MAX_CHUNKS as usize + 4);
        }
    }
}
