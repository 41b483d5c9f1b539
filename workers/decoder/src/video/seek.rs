//! Where to start reading so that a frame can be decoded.
//!
//! Guarantee: the first packet given to the decoder is what the container calls a keyframe, shown at or before the time
//! needed, or the very first packet of the stream. Containers that land behind the time asked for (MPEG-TS, MPEG-PS, and MP4 with reordered
//! frames, whose index holds decode times) are asked again for earlier ones.

use std::collections::VecDeque;

use crate::fail::Failure;
use crate::ff::{MICROSECONDS, Packet, Ratio, micros, rescale};
use crate::input::{Input, Next};

/// How much earlier each attempt seeks, in microseconds. After the last comes the beginning.
const EARLIER_US: [i64; 5] = [0, 1_000_000, 4_000_000, 16_000_000, 64_000_000];

/// Most bytes of packets kept while skimming towards a keyframe.
const MOST_HELD: usize = 64 << 20;

/// The attempt that reads from the beginning, and decodes from the last keyframe that is early enough.
pub const SKIMMING: usize = EARLIER_US.len();
/// The attempt that believes nothing: it decodes every packet from the beginning.
pub const EVERY_PACKET: usize = SKIMMING + 1;
/// Attempts for a planned span: one that would need every packet since the beginning is better made by a chain.
pub const PLANNED: usize = EVERY_PACKET;
/// Attempts there are.
pub const ATTEMPTS: usize = EVERY_PACKET + 1;

/// Goes to where the frames from `need_us` (on the source's clock) can be decoded. `attempt` counts up when decoding
/// from where the one before led showed nothing early enough. Gives the packets that were read on the way, which come
/// before what the input reads next, and the attempt that succeeded.
///
/// # Errors
/// `SourceRead`, `SourceChanged`, `Decode`.
pub fn position(
    input: &mut Input,
    video: usize,
    base: Ratio,
    need_us: i64,
    attempt: usize,
) -> Result<(VecDeque<Packet>, usize), Failure> {
    for (i, earlier) in EARLIER_US.iter().enumerate().skip(attempt) {
        let Some(target) = rescale(need_us - earlier, MICROSECONDS, base) else {
            break;
        };
        if !input.seek(video, target)? {
            break;
        }
        if let Some(key) = first_key(input, video, base, need_us)? {
            return Ok((skim(input, video, base, need_us, Some(key))?, i));
        }
    }
    input.rewind(video)?;
    if attempt >= EVERY_PACKET {
        return Ok((VecDeque::new(), EVERY_PACKET));
    }
    Ok((skim(input, video, base, need_us, None)?, SKIMMING))
}

/// The next keyframe, if it is early enough.
fn first_key(input: &mut Input, video: usize, base: Ratio, need_us: i64) -> Result<Option<Packet>, Failure> {
    loop {
        let mut packet = Packet::new()?;
        if let Next::End = input.read(&mut packet)? {
            return Ok(None);
        }
        if packet.stream() != video {
            continue;
        }
        let Some(us) = packet.pts().and_then(|pts| micros(pts, base)) else {
            if packet.is_key() {
                return Ok(None);
            }
            continue;
        };
        if packet.is_key() {
            return Ok((us <= need_us).then_some(packet));
        }
        // A second past the time needed no keyframe before it can follow any more.
        if us > need_us + 1_000_000 {
            return Ok(None);
        }
    }
}

/// Reads on without decoding, keeping what follows the last keyframe that is early enough: a seek may have landed long
/// before it. Packets without times are not skipped: their times come out of decoding from the beginning.
fn skim(
    input: &mut Input,
    video: usize,
    base: Ratio,
    need_us: i64,
    first: Option<Packet>,
) -> Result<VecDeque<Packet>, Failure> {
    let mut held = VecDeque::from_iter(first);
    let mut bytes = 0;
    loop {
        let mut packet = Packet::new()?;
        if let Next::End = input.read(&mut packet)? {
            return Ok(held);
        }
        if packet.stream() != video {
            continue;
        }
        let us = packet.pts().and_then(|pts| micros(pts, base));
        // What is decoded after the time needed is shown after it, and so is every keyframe that follows.
        let decoded_us = packet.dts().and_then(|dts| micros(dts, base)).or(us);
        if packet.is_key() && us.is_some_and(|us| us <= need_us) {
            held.clear();
            bytes = 0;
        }
        bytes += packet.data().len();
        held.push_back(packet);
        if us.is_none() || decoded_us.is_some_and(|us| us > need_us) || bytes > MOST_HELD {
            return Ok(held);
        }
    }
}
