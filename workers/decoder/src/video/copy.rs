//! The first rung as it is: packets of the source in segments of ours, on a thread like an encoder's.
//!
//! Guarantees: a segment holds exactly the packets whose pictures the decoder showed between two cuts, in their order; it
//! begins with an IDR picture, before which none of it is shown; nothing in it has parameters other than the header's.
//! Where that does not hold, nothing of it is given out: `NotCopyable`.

use std::collections::VecDeque;
use std::sync::mpsc::Receiver;

use mp4_atom::{Atom as _, Avcc};
use reelfleet_wire::{CopySpec, FailCode, OutputHeader, Rung, SegmentInfo, VIDEO_TIMESCALE};

use super::collect::Collector;
use super::encode::Job;
use crate::cmaf::{self, Color, Sample};
use crate::fail::Failure;
use crate::ff::{MICROSECONDS, Packet, ratio, rescale};
use crate::stream::Stream;

/// Kinds of NAL units (ITU-T H.264, table 7-1).
const IDR: u8 = 5;
const SPS: u8 = 7;
const PPS: u8 = 8;
/// Profiles that every browser plays: (Constrained) Baseline, Main, High.
const PROFILES: [u8; 3] = [66, 77, 100];

/// Why something can't be copied.
pub fn not_copyable(why: impl Into<String>) -> Failure {
    Failure::new(FailCode::NotCopyable, why)
}

/// The parameters of a stream in H.264 of which segments can be made as it is: 8 bits, 4:2:0, limited range, square pixels;
/// units carry lengths of four bytes. `None`: it is another.
pub fn configuration(stream: &Stream<'_>) -> Option<Avcc> {
    if !stream.is_plain_h264() {
        return None;
    }
    let avcc = Avcc::decode_body(&mut stream.extradata()).ok()?;
    let fits = PROFILES.contains(&avcc.avc_profile_indication)
        && avcc.length_size == 4
        && avcc.sequence_parameter_sets.len() == 1
        && !avcc.picture_parameter_sets.is_empty();
    fits.then_some(avcc)
}

/// Reads a packet's units, the first of a picture tells its kind.
///
/// # Errors
/// `NotCopyable` where they are damaged, or bring parameters that the header has not.
pub fn sample(packet: &Packet, pts: i64, avcc: &Avcc) -> Result<Sample, Failure> {
    if packet.has_other_parameters() {
        return Err(not_copyable("its parameters change"));
    }
    let data = packet.data().to_vec();
    let (mut rest, mut sync) = (data.as_slice(), None);
    while !rest.is_empty() {
        let unit = rest
            .split_first_chunk::<4>()
            .and_then(|(length, tail)| tail.split_at_checked(u32::from_be_bytes(*length) as usize));
        let Some((unit, tail)) = unit else {
            return Err(not_copyable("a unit is longer than its packet"));
        };
        match unit.first().map(|byte| byte & 0x1f) {
            Some(kind @ 1..=IDR) => sync = sync.or(Some(kind == IDR)),
            Some(SPS) if !avcc.sequence_parameter_sets.iter().any(|set| set == unit) => {
                return Err(not_copyable("its parameters change"));
            }
            Some(PPS) if !avcc.picture_parameter_sets.iter().any(|set| set == unit) => {
                return Err(not_copyable("its parameters change"));
            }
            _ => {}
        }
        rest = tail;
    }
    let sync = sync.ok_or_else(|| not_copyable("a packet without a picture"))?;
    Ok(Sample { pts, sync, data })
}

struct Copier<'a> {
    rung: &'a Rung,
    delay: i64,
    collector: &'a Collector<'a>,
    packets: VecDeque<Sample>,
    /// Times of the pictures of the segment in hand.
    shown: Vec<i64>,
    segments: u32,
}

/// Copies until the cutter hangs up.
///
/// # Errors
/// `NotCopyable`, `Internal`.
pub fn copy(
    jobs: Receiver<Job>,
    rung: &Rung,
    spec: CopySpec,
    avcc: Avcc,
    color: Color,
    collector: &Collector<'_>,
) -> Result<(), Failure> {
    let delay = rescale(spec.delay_us, MICROSECONDS, ratio(1, VIDEO_TIMESCALE as i32)).unwrap_or(0);
    let rate = u32::try_from(rung.maxrate).unwrap_or(u32::MAX);
    let (width, height) = (rung.width as u16, rung.height as u16);
    let (body, codecs) = cmaf::video_header(avcc, width, height, color, rate, delay.unsigned_abs())?;
    let init = OutputHeader::Init { rendition: rung.name.clone(), codecs, width: rung.width, height: rung.height };
    collector.header(&init, &body)?;
    let mut copier = Copier { rung, delay, collector, packets: VecDeque::new(), shown: Vec::new(), segments: 0 };
    jobs.into_iter().try_for_each(|job| copier.take(job))
}

impl Copier<'_> {
    fn take(&mut self, job: Job) -> Result<(), Failure> {
        match job {
            Job::Packet(sample) => self.packets.push_back(sample),
            Job::Forget => self.packets.clear(),
            Job::Shown { ticks, first } => {
                if first != self.shown.is_empty() {
                    return Err(Failure::internal("a picture before its segment"));
                }
                self.shown.push(ticks);
            }
            Job::Cut { end } => self.give_out(end)?,
            Job::Behind { .. } => {}
            Job::Frame { .. } => return Err(Failure::internal("a rung that is copied")),
        }
        Ok(())
    }

    /// The packets of the pictures shown since the last cut.
    fn give_out(&mut self, end: i64) -> Result<(), Failure> {
        let shown = std::mem::take(&mut self.shown);
        let Some(first) = shown.first() else {
            return Ok(());
        };
        if self.segments == 0 {
            // What lies between the place that was sought and the beginning.
            while self.packets.front().is_some_and(|packet| packet.pts != *first || !packet.sync) {
                self.packets.pop_front();
            }
        }
        if self.packets.len() < shown.len() {
            return Err(not_copyable(format!("at {first} no picture stands by itself")));
        }
        let samples: Vec<Sample> = self.packets.drain(..shown.len()).collect();
        let mut times: Vec<i64> = samples.iter().map(|sample| sample.pts).collect();
        times.sort_unstable();
        let begins = samples.first().is_some_and(|sample| sample.sync && sample.pts == *first);
        if !begins || times != shown {
            return Err(not_copyable(format!("from {first} to {end} other pictures are decoded than shown")));
        }
        let segment =
            cmaf::segment(&samples, end, self.delay, self.segments + 1).map_err(|error| not_copyable(error.detail))?;
        let info = SegmentInfo {
            rendition: self.rung.name.clone(),
            index: self.segments,
            start: segment.start,
            duration: segment.duration,
            timescale: VIDEO_TIMESCALE,
            frames: u32::try_from(samples.len()).unwrap_or(u32::MAX),
            independent: true,
        };
        self.segments += 1;
        self.collector.segment(0, info, segment.bytes)
    }
}
