//! From packets to AAC segments: seeks, decodes, places, encodes, ends runs.

use std::time::Duration;

use reelfleet_wire::{AAC_FRAME, AUDIO_RATE, AudioAnchor, AudioRequest, FailCode, OutputHeader, RunEndReport};

use super::encode::{Cut, Encoder};
use super::place::{Placer, RUN_IN};
use crate::fail::Failure;
use crate::ff::{Code, Codec, Frame, MICROSECONDS, Packet, Ratio, micros, ratio, rescale};
use crate::input::{Input, Next};
use crate::output::Output;
use crate::source::Reading;
use crate::video::Totals;

/// A decoder needs the packets before the one that counts (the overlap of AAC, the bit reservoir of MP3).
const WARM_UP_US: i64 = 500_000;
/// How much earlier each attempt to find the anchor seeks; after the last comes the beginning.
const EARLIER_US: [i64; 4] = [0, 4_000_000, 16_000_000, i64::MAX];

/// # Errors
/// `NoDecodableStream`, `Decode`, `Encode`, `SourceRead`, `SourceChanged`, `Internal`.
pub fn run(input: &mut Input, request: &AudioRequest, output: &Output) -> Result<Totals, Failure> {
    let audio = request.audio_stream as usize;
    let stream = input
        .stream(audio)
        .filter(|s| s.is_audio())
        .ok_or_else(|| Failure::new(FailCode::NoDecodableStream, format!("stream {audio} is no sound")))?;
    let decoder = stream.open_decoder(&request.limits, 1)?;
    let base = stream.time_base();
    input.keep_only(&[audio]);
    input.watch().read_like(Reading::BOUNDED);
    let mut work = Work { input, audio, base, decoder, target: Target::of(request, base), packets: 0, errors: 0 };
    let mut placer = Placer::new(base, request.t0_us, request.limits.max_duration_ms);
    let mut encoder: Option<Encoder<'_>> = None;
    let mut runs = Runs::new(request, output);
    let mut frame = Frame::new()?;

    let mut attempt = if request.sequential { EARLIER_US.len() - 1 } else { 0 };
    work.position(&mut attempt)?;
    let mut waiting_for_anchor = request.from_frame > 0;
    loop {
        if encoder.as_ref().is_some_and(Encoder::is_stopped) {
            return Ok(runs.totals(false, &work, &placer));
        }
        if !work.next_frame(&mut frame)? {
            break;
        }
        let samples = frame.samples();
        let mut anchor = None;
        if waiting_for_anchor {
            match work.target.compare(&frame, samples) {
                Found::Before => continue,
                Found::Here(found) => anchor = found,
                Found::Behind if attempt + 1 < EARLIER_US.len() => {
                    attempt += 1;
                    work.position(&mut attempt)?;
                    continue;
                }
                // Even from the beginning it is not there: its time has to do.
                Found::Behind => work.errors += 1,
            }
            waiting_for_anchor = false;
        }
        let pieces = placer.place(&frame, samples, anchor)?;
        let encoder = match &mut encoder {
            Some(encoder) => encoder,
            None => encoder.insert(Encoder::open(request, output)?),
        };
        for piece in &pieces {
            encoder.put(piece, &mut |cut| runs.cut(cut, &mut placer, &work))?;
        }
    }
    if let Some(encoder) = &mut encoder {
        if let Some(piece) = placer.flush()? {
            encoder.put(&piece, &mut |cut| runs.cut(cut, &mut placer, &work))?;
        }
        if !encoder.is_stopped() {
            encoder.finish(&mut |cut| runs.cut(cut, &mut placer, &work))?;
        }
        if encoder.is_stopped() {
            return Ok(runs.totals(false, &work, &placer));
        }
        runs.finish(&mut placer, &work)?;
    }
    Ok(runs.totals(true, &work, &placer))
}

/// What a resumed request looks for in the source.
struct Target {
    base: Ratio,
    /// On the source's clock: the anchor's time, or the time of the first frame less a run-in.
    us: i64,
    anchor: Option<AudioAnchor>,
    from_start: bool,
}

enum Found {
    Before,
    Here(Option<AudioAnchor>),
    Behind,
}

impl Target {
    fn of(request: &AudioRequest, base: Ratio) -> Self {
        let sample = (request.from_frame * AAC_FRAME) as i64 - RUN_IN;
        let by_time = sample.max(0) * 1_000_000 / i64::from(AUDIO_RATE) + request.t0_us;
        Self {
            base,
            us: request.anchor.and_then(|a| micros(a.pts, base)).unwrap_or(by_time),
            anchor: request.anchor,
            from_start: request.from_frame == 0,
        }
    }

    fn compare(&self, frame: &Frame, samples: i32) -> Found {
        let Some(pts) = frame.best_pts() else {
            return Found::Before;
        };
        match self.anchor {
            Some(anchor) => {
                // Rounded times of the same packet may differ by less than half of its length.
                let rate = frame.sample_rate().max(1);
                let half = i64::from(samples) * 1_000_000 / i64::from(rate) / 2;
                let Some(us) = micros(pts, self.base) else {
                    return Found::Before;
                };
                if (us - self.us).abs() < half.max(1) {
                    Found::Here(Some(self.moved(anchor, pts, i64::from(rate))))
                } else if us < self.us {
                    Found::Before
                } else {
                    Found::Behind
                }
            }
            None => match micros(pts, self.base) {
                Some(us) if us >= self.us => Found::Here(None),
                _ => Found::Before,
            },
        }
    }
}

/// Differences of times up to here are rounding of the container's (half a millisecond at 96 kHz).
const ROUNDING: i64 = 48;

impl Target {
    /// Where a frame lies that was cut off elsewhere than the anchor's: demuxers of plain PCM cut where they land.
    fn moved(&self, anchor: AudioAnchor, pts: i64, rate: i64) -> AudioAnchor {
        let apart = rescale(pts.saturating_sub(anchor.pts), self.base, ratio(1, rate as i32)).unwrap_or(0);
        if apart.abs() <= ROUNDING {
            return anchor;
        }
        let at = anchor.sample * rate + i64::from(anchor.sub) % rate + apart * i64::from(AUDIO_RATE);
        AudioAnchor { pts, sample: at.div_euclid(rate), sub: u32::try_from(at.rem_euclid(rate)).unwrap_or(0) }
    }
}

struct Work<'a> {
    input: &'a mut Input,
    audio: usize,
    base: Ratio,
    decoder: Codec,
    target: Target,
    packets: u64,
    errors: u64,
}

impl Work<'_> {
    /// Goes to where the target can be decoded.
    fn position(&mut self, attempt: &mut usize) -> Result<(), Failure> {
        if self.target.from_start {
            return Ok(());
        }
        self.decoder.flush();
        while let Some(earlier) = EARLIER_US.get(*attempt).filter(|e| **e < i64::MAX) {
            let time = self.target.us - WARM_UP_US - earlier;
            if let Some(time) = rescale(time, MICROSECONDS, self.base)
                && self.input.seek(self.audio, time)?
            {
                return Ok(());
            }
            *attempt += 1;
        }
        *attempt = EARLIER_US.len() - 1;
        self.input.rewind(self.audio)
    }

    /// The next decoded frame; `false` at the end of the source.
    fn next_frame(&mut self, frame: &mut Frame) -> Result<bool, Failure> {
        let mut packet = Packet::new()?;
        loop {
            match self.decoder.receive_frame(frame) {
                Ok(()) => return Ok(true),
                Err(Code::EOF) => return Ok(false),
                Err(Code::NO_MEMORY) => return Err(Failure::memory("decoding its sound")),
                Err(Code::AGAIN) => {}
                Err(_) => {
                    self.errors += 1;
                    continue;
                }
            }
            let packet = match self.input.read(&mut packet)? {
                Next::End => None,
                Next::Packet if packet.stream() != self.audio => continue,
                Next::Packet => Some(&packet),
            };
            if let Some(packet) = packet {
                // Far before the target there is nothing to decode yet.
                let us = packet.pts().and_then(|pts| micros(pts, self.base));
                let far = self.target.us - 2 * WARM_UP_US;
                if !self.target.from_start && us.is_some_and(|us| us < far) {
                    continue;
                }
                self.packets += 1;
            }
            match self.decoder.send_packet(packet) {
                Ok(()) => {}
                Err(Code::EOF) => return Ok(false),
                Err(_) => self.errors += 1,
            }
        }
    }
}

/// Which segments make a run.
struct Runs<'a> {
    output: &'a Output,
    stop_after: Option<Duration>,
    run_frames: u64,
    /// Length of the current run at most.
    limit: u64,
    from: u64,
    index: u32,
    start: u64,
    behind: u64,
    segments: u32,
    segments_before: u32,
    counted: (u64, u64),
}

fn frames_in(ms: u32) -> u64 {
    u64::from(ms) * u64::from(AUDIO_RATE) / 1000 / AAC_FRAME
}

fn frame_us(frame: u64) -> i64 {
    let us = u128::from(frame) * u128::from(AAC_FRAME) * 1_000_000 / u128::from(AUDIO_RATE);
    i64::try_from(us).unwrap_or(i64::MAX)
}

impl<'a> Runs<'a> {
    fn new(request: &AudioRequest, output: &'a Output) -> Self {
        Self {
            output,
            stop_after: request.stop_after_ms.map(Duration::from_millis),
            run_frames: frames_in(request.run_ms),
            limit: frames_in(request.first_run_ms),
            from: request.from_frame,
            index: 0,
            start: request.from_frame,
            behind: request.from_frame,
            segments: 0,
            segments_before: 0,
            counted: (0, 0),
        }
    }

    /// After each segment; answers whether to stop here.
    fn cut(&mut self, cut: Cut, placer: &mut Placer, work: &Work<'_>) -> Result<bool, Failure> {
        self.behind = cut.behind;
        self.segments = cut.segments;
        self.output.progress(frame_us(cut.behind) - frame_us(self.from), cut.behind - self.from)?;
        if cut.next_border - self.start <= self.limit {
            return Ok(false);
        }
        self.end(placer, work)?;
        self.limit = self.run_frames;
        Ok(self.stop_after.is_some_and(|t| self.output.elapsed() >= t))
    }

    fn end(&mut self, placer: &mut Placer, work: &Work<'_>) -> Result<(), Failure> {
        let (packets, errors) = (work.packets, work.errors + placer.errors);
        let report = RunEndReport {
            index: self.index,
            start_us: frame_us(self.start),
            end_us: frame_us(self.behind),
            frames: self.behind - self.start,
            packets: packets - self.counted.0,
            errors: errors - self.counted.1,
            first_pts_us: frame_us(self.start),
            last_pts_us: frame_us(self.behind.saturating_sub(1)),
            next_pts_us: None,
            segments: self.segments - self.segments_before,
            anchor: placer.anchor_before((self.behind * AAC_FRAME) as i64),
            next_frame: Some(self.behind),
        };
        self.output.write(&OutputHeader::RunEnd(report), &[])?;
        self.index += 1;
        self.start = self.behind;
        self.segments_before = self.segments;
        self.counted = (packets, errors);
        Ok(())
    }

    /// The last run, which is as long as what was left.
    fn finish(&mut self, placer: &mut Placer, work: &Work<'_>) -> Result<(), Failure> {
        if self.segments > self.segments_before {
            self.end(placer, work)?;
        }
        Ok(())
    }

    fn totals(&self, end: bool, work: &Work<'_>, placer: &Placer) -> Totals {
        Totals { end, frames: self.behind - self.from, packets: work.packets, errors: work.errors + placer.errors }
    }
}
