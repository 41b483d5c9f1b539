//! From packets to cut frames: decodes, gives every frame its time, picks those of the span, filters them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::mpsc::sync_channel;

use mp4_atom::Avcc;
use reelfleet_wire::{EncodeRequest, FailCode};

use super::clock::{Clock, Moment, TICKS};
use super::collect::Collector;
use super::copy::{self, copy, not_copyable, sample};
use super::cut::{Counts, Cutter, Set, Verdict};
use super::encode::{Common, encode};
use super::filter::{Graph, Shape, SourceColor};
use super::seek::{self, position};
use crate::fail::Failure;
use crate::ff::{self, Code, Codec, Frame, MICROSECONDS, Packet, Ratio, micros, rescale};
use crate::index::entries;
use crate::input::{Input, Next};
use crate::output::Output;
use crate::probe::frame_rate;
use crate::source::Reading;

/// Frames that wait before each rung; they are the memory of the pipeline.
const QUEUE: usize = 8;
/// More of a nice value: a third of the weight. With 10 the other rungs starve (docs/performance.md).
const MAKES_WAY: i32 = 5;
/// A deinterlacer looks at frames before the one it makes.
const PRE_ROLL_US: i64 = 500_000;

/// What a request came to.
#[derive(Clone, Copy, Debug)]
pub struct Totals {
    pub end: bool,
    pub frames: u64,
    pub packets: u64,
    pub errors: u64,
}

/// # Errors
/// `NoDecodableStream`, `TooManyPixels`, `Decode`, `Encode`, `SourceRead`, `SourceChanged`, `Internal`.
pub fn run(input: &mut Input, request: &EncodeRequest, output: &Output) -> Result<Totals, Failure> {
    let video = request.video_stream as usize;
    let stream = input
        .stream(video)
        .filter(|s| s.is_video())
        .ok_or_else(|| Failure::new(FailCode::NoDecodableStream, format!("stream {video} is no video")))?;
    let color = SourceColor::of(&stream);
    let avcc = match request.copy {
        Some(_) => Some(copy::configuration(&stream).ok_or_else(|| not_copyable("it is of another kind"))?),
        None => None,
    };
    let base = stream.time_base();
    let rate = Some(frame_rate(&stream))
        .filter(|r| r.num >= r.den && i64::from(r.num) <= 1000 * i64::from(r.den))
        .unwrap_or(ff::ratio(25, 1));
    input.keep_only(&[video]);

    let common = Common { color: color.output(request.tone_map), frame_rate: rate };
    let collector = Collector::new(output, request.rungs.len());
    // The largest rung that is encoded has most to do, and everybody waits for it in the end.
    let largest = usize::from(request.copy.is_some());
    std::thread::scope(|scope| {
        let mut senders = Vec::new();
        let mut rungs = Vec::new();
        for number in 0..request.rungs.len() {
            let (sender, jobs) = sync_channel(QUEUE);
            senders.push(sender);
            let collector = &collector;
            let copied = request.copy.zip(avcc.clone()).filter(|_| number == 0);
            rungs.push(scope.spawn(move || match copied {
                Some((spec, avcc)) => copy(jobs, &request.rungs[0], spec, avcc, common.color, collector),
                None => {
                    if number != largest {
                        make_way();
                    }
                    encode(jobs, request, number, common, collector)
                }
            }));
        }
        make_way();
        // Only now: threads of the decoder and of the filters make way as the one that makes them.
        let stream = input.stream(video).ok_or_else(|| Failure::internal("the stream is gone"))?;
        let decoder = stream.open_decoder(&request.limits, request.threads_decode)?;
        let mut pipeline = Pipeline {
            input,
            request,
            video,
            base,
            color,
            decoder,
            avcc: avcc.as_ref(),
            graph: None,
            cutter: Some(Cutter::new(request, senders, &collector, output)),
            output,
            clock: Clock::new(base, rate, request),
            waiting: VecDeque::new(),
            next: None,
            counts: Counts::default(),
            expected: BinaryHeap::new(),
            frames: 0,
        };
        let decoded = match (pipeline.decode(), pipeline.ended()) {
            // All that was asked for has been decoded: that the source breaks behind it is not this span's trouble.
            (Err(_), Some(verdict)) => Ok(verdict),
            (decoded, _) => decoded,
        };
        // Dropping the cutter hangs up, whatever happened, so that the rungs end.
        drop(pipeline.cutter.take());
        let (frames, counts) = (pipeline.frames, pipeline.counts);
        let mut failed = None;
        for rung in rungs {
            let ended = rung.join().unwrap_or_else(|_| Err(Failure::internal("a rung panicked")));
            failed = failed.or(ended.err());
        }
        // A rung that broke is the cause of the decoder's trouble with it. A source that broke leaves the rungs with
        // pictures that nobody asked them to end with.
        match (failed, decoded) {
            (Some(failure), Ok(_)) => Err(failure),
            (Some(failure), Err(decoding)) if decoding.code == FailCode::Encode => Err(failure),
            (Some(failure), _) if failure.code == FailCode::NotCopyable => Err(failure),
            (_, Err(failure)) => Err(failure),
            (None, Ok(verdict)) => {
                Ok(Totals { end: verdict == Verdict::Whole, frames, packets: counts.packets, errors: counts.errors })
            }
        }
    })
}

/// Where there are fewer cores than threads, this one gets less of them than the largest rung's encoder. Given equal shares
/// that one falls behind, its queue fills, and a core idles until it has caught up. What the kernel refuses costs only time.
fn make_way() {
    let _ = rustix::process::nice(MAKES_WAY);
}

/// Reads on in large pieces, but not past the span, whose end in bytes the index knows.
fn bound_reading(input: &Input, video: usize, base: Ratio, request: &EncodeRequest) {
    let watch = input.watch();
    let Some(end) = request.end_us else {
        return watch.read_like(Reading::DENSE);
    };
    let behind = rescale(end + request.t0_us, MICROSECONDS, base).and_then(|end| {
        let later = entries(input, video).into_iter().filter(|e| e.time > end);
        later.map(|e| e.pos).min()
    });
    match behind.and_then(|pos| u64::try_from(pos).ok()) {
        Some(pos) if pos > 0 => {
            watch.read_like(Reading::DENSE);
            watch.read_ahead_until(pos);
        }
        _ => watch.read_like(Reading::BOUNDED),
    }
}

struct Pipeline<'a> {
    input: &'a mut Input,
    request: &'a EncodeRequest,
    video: usize,
    base: Ratio,
    color: SourceColor,
    decoder: Codec,
    /// The parameters of a stream that is copied.
    avcc: Option<&'a Avcc>,
    graph: Option<Graph>,
    cutter: Option<Cutter<'a>>,
    output: &'a Output,
    clock: Clock,
    /// Times of frames that are in the filters; `false` for those that only help the deinterlacer before the span.
    waiting: VecDeque<(Moment, bool)>,
    /// The first frame behind the span.
    next: Option<Moment>,
    counts: Counts,
    /// Times of packets of the span whose pictures have not come out.
    expected: BinaryHeap<Reverse<i64>>,
    frames: u64,
}

/// What became of a decoded frame.
#[derive(PartialEq, Eq)]
enum Step {
    More,
    /// The span is over, or the time is up.
    Over(Verdict),
    /// Decoding began too late; nothing has been given out.
    TooLate,
}

impl Pipeline<'_> {
    /// How the span ended, once it did: what is decoded after that is only for the encoders to look ahead.
    fn ended(&self) -> Option<Verdict> {
        self.cutter.as_ref().and_then(Cutter::ended)
    }

    /// Whether nobody needs another frame.
    fn settled(&self) -> Step {
        match self.cutter.as_ref().filter(|cutter| cutter.saturated()).and_then(Cutter::ended) {
            Some(verdict) => Step::Over(verdict),
            None => Step::More,
        }
    }

    fn decode(&mut self) -> Result<Verdict, Failure> {
        let pre_roll = if self.request.deinterlace { PRE_ROLL_US } else { 0 };
        let need_us = self.request.start_us + self.request.t0_us - pre_roll;
        let (mut attempt, attempts) =
            if self.request.sequential { (seek::SKIMMING, seek::ATTEMPTS) } else { (0, seek::PLANNED) };
        loop {
            let mut held = VecDeque::new();
            // At the very beginning there is nothing to seek: the input stands there.
            if self.request.start_us > 0 {
                (held, attempt) = position(self.input, self.video, self.base, need_us, attempt)?;
            }
            // Only now: Matroska reads its index at the first seek.
            bound_reading(self.input, self.video, self.base, self.request);
            let entered = self.request.start_us > 0 && attempt < seek::EVERY_PACKET;
            let may_retry = self.request.start_us > 0 && attempt + 1 < attempts;
            match self.decode_from(held, entered, may_retry)? {
                Step::TooLate => {
                    attempt += 1;
                    self.decoder.flush();
                    self.clock.reset();
                    self.counts = Counts::default();
                    self.expected.clear();
                    if let Some(cutter) = &self.cutter {
                        cutter.forget()?;
                    }
                }
                Step::Over(verdict) => return Ok(verdict),
                Step::More => return self.end_of_source(),
            }
        }
    }

    /// `entered`: in the middle, at what an index or a flag calls a keyframe. A picture that refers to others is then no
    /// beginning, whatever they say: many decoders show it all the same, made of nothing.
    fn decode_from(&mut self, mut held: VecDeque<Packet>, entered: bool, may_retry: bool) -> Result<Step, Failure> {
        let mut frame = Frame::new()?;
        let mut first = may_retry;
        let mut whole = !entered || self.decoder.waits_to_recover();
        let mut ended = false;
        loop {
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) => {
                    let moment = self.clock.time(&frame);
                    whole = whole || frame.stands_alone();
                    if std::mem::take(&mut first) && (!whole || moment.us > self.request.start_us) {
                        return Ok(Step::TooLate);
                    }
                    if !whole && self.request.end_us.is_none_or(|end| moment.us < end) {
                        // Missing rather than wrong: whoever compares this span with its neighbours will notice.
                        frame.clear();
                        continue;
                    }
                    let step = self.take(&mut frame, moment)?;
                    frame.clear();
                    if step != Step::More {
                        return Ok(step);
                    }
                }
                Err(Code::EOF) => return Ok(Step::More),
                Err(Code::AGAIN) if ended => return Ok(Step::More),
                Err(Code::AGAIN) => ended = self.feed(&mut held)?,
                Err(Code::NO_MEMORY) => return Err(Failure::memory("decoding it")),
                Err(_) => self.count_error()?,
            }
        }
    }

    /// Notes a packet whose picture belongs to the span, so that the frames that come out can be held against it.
    fn expect(&mut self, packet: &Packet) {
        let Some(us) = packet.pts().and_then(|pts| micros(pts, self.base)) else {
            self.counts.packets += 1;
            return;
        };
        let us = us - self.request.t0_us;
        let inside = us >= self.request.start_us && self.request.end_us.is_none_or(|end| us < end);
        if inside && !packet.is_discarded() {
            self.expected.push(Reverse(us));
        }
    }

    /// Counts the packets whose pictures are shown before a time.
    fn settle(&mut self, before_us: i64) {
        while self.expected.peek().is_some_and(|Reverse(us)| *us < before_us) {
            self.expected.pop();
            self.counts.packets += 1;
        }
    }

    /// Pictures before the span may refer to what was not read; that is no damage.
    fn count_error(&mut self) -> Result<(), Failure> {
        let begun = self.request.start_us == 0 || self.frames > 0 || self.waiting.iter().any(|(_, counted)| *counted);
        if begun && self.ended().is_none() { self.blame() } else { Ok(()) }
    }

    /// Something of the span is damaged: that can be concealed where it is encoded, and not where it is copied.
    fn blame(&mut self) -> Result<(), Failure> {
        self.counts.errors += 1;
        if self.avcc.is_some() { Err(not_copyable("a picture of it is damaged")) } else { Ok(()) }
    }

    /// Hands a packet to the rung that is copied, if there is one.
    fn hand_on(&self, packet: &Packet) -> Result<(), Failure> {
        let (Some(avcc), Some(cutter), None) = (self.avcc, &self.cutter, self.ended()) else {
            return Ok(());
        };
        let pts = packet.pts().and_then(|pts| rescale(pts, self.base, TICKS));
        let pts = pts.ok_or_else(|| not_copyable("a packet without a time"))? - self.clock.t0_ticks;
        cutter.copy(sample(packet, pts.max(0), avcc)?)
    }

    /// Gives the decoder one packet, or the end; answers whether it was the end.
    fn feed(&mut self, held: &mut VecDeque<Packet>) -> Result<bool, Failure> {
        let packet = match held.pop_front() {
            Some(packet) => packet,
            None => {
                let mut packet = Packet::new()?;
                loop {
                    match self.input.read(&mut packet)? {
                        Next::End => {
                            // H.264 learns that it has recovered from a seek when the keyframe comes out; pictures
                            // that are still inside at the end never learn it, and would be lost.
                            if self.request.start_us > 0 {
                                self.decoder.trust_pictures();
                            }
                            // The decoder may have been told before; that it says so changes nothing.
                            let _ = self.decoder.send_packet(None);
                            return Ok(true);
                        }
                        Next::Packet if packet.stream() == self.video => break packet,
                        Next::Packet => {}
                    }
                }
            }
        };
        self.expect(&packet);
        self.hand_on(&packet)?;
        match self.decoder.send_packet(Some(&packet)) {
            Ok(()) => {}
            Err(Code::NO_MEMORY) => return Err(Failure::memory("decoding it")),
            Err(_) => self.count_error()?,
        }
        Ok(false)
    }

    fn take(&mut self, frame: &mut Frame, moment: Moment) -> Result<Step, Failure> {
        let start = self.request.start_us;
        let lead = if self.request.deinterlace { PRE_ROLL_US } else { 0 };
        if moment.us < start - lead {
            // On the way to the span, which may be long.
            self.output.progress(moment.us - start, 0)?;
            return Ok(Step::More);
        }
        let behind = self.request.end_us.is_some_and(|end| moment.us >= end);
        let counted = moment.us >= start && !behind;
        if counted && self.ended().is_none() && (moment.invented || frame.is_damaged()) {
            self.blame()?;
        }
        if behind && self.next.is_none() {
            self.next = Some(moment);
            if self.request.deinterlace {
                // The deinterlacer makes the last frame of the span with it.
                let step = self.filter(frame, moment, false)?;
                return if step == Step::More { self.finish() } else { Ok(step) };
            }
            let step = self.finish()?;
            if step != Step::More {
                return Ok(step);
            }
        }
        self.filter(frame, moment, counted || behind)
    }

    fn filter(&mut self, frame: &mut Frame, moment: Moment, counted: bool) -> Result<Step, Failure> {
        let shape = Shape::of(frame);
        if self.graph.as_ref().is_some_and(|g| g.shape() != shape) {
            // The picture changed its size or format in the middle: what is inside comes out of the old graph first.
            let step = self.flush_filters()?;
            if step != Step::More {
                return Ok(step);
            }
        }
        let graph = match &mut self.graph {
            Some(graph) => graph,
            None => self.graph.insert(Graph::new(shape, self.color, self.request)?),
        };
        frame.set_pts(moment.ticks);
        graph.push(Some(frame))?;
        self.waiting.push_back((moment, counted));
        self.pull()
    }

    /// Moves what the filters have finished to the cutter.
    fn pull(&mut self) -> Result<Step, Failure> {
        while let Some(graph) = &mut self.graph {
            let Some(frames) = graph.pull()? else {
                break;
            };
            let ticks = frames.first().and_then(Frame::pts).unwrap_or(0);
            let Some((moment, counted)) = self.waiting.pop_front() else {
                return Err(Failure::internal("the filters gave more frames than they got"));
            };
            if moment.ticks != ticks {
                return Err(Failure::internal(format!(
                    "a frame at {} came out of the filters at {ticks}",
                    moment.ticks
                )));
            }
            if counted && self.ended().is_none() {
                self.settle(moment.us);
            }
            let Some(cutter) = self.cutter.as_mut().filter(|_| counted) else {
                continue;
            };
            let set = Set {
                // Frames of the first span that lie before time zero by a rounding.
                ticks: ticks.max(0),
                us: moment.us,
                frames,
            };
            cutter.take(set, self.counts)?;
            self.frames = cutter.frames();
            let step = self.settled();
            if step != Step::More {
                return Ok(step);
            }
        }
        Ok(Step::More)
    }

    fn flush_filters(&mut self) -> Result<Step, Failure> {
        if let Some(graph) = &mut self.graph {
            graph.push(None)?;
        }
        let step = self.pull()?;
        self.graph = None;
        if step == Step::More && !self.waiting.is_empty() {
            return Err(Failure::internal("the filters kept frames back"));
        }
        Ok(step)
    }

    fn end_of_source(&mut self) -> Result<Verdict, Failure> {
        match self.finish()? {
            Step::Over(verdict) => Ok(verdict),
            _ => Ok(self.ended().unwrap_or(Verdict::Whole)),
        }
    }

    /// Flushes the filters and ends the last segment: at the next frame of the source where there is one, else when
    /// the last frame has been shown.
    fn finish(&mut self) -> Result<Step, Failure> {
        let step = self.flush_filters()?;
        if step != Step::More || self.ended().is_some() {
            return Ok(step);
        }
        self.settle(i64::MAX);
        let Some(cutter) = &mut self.cutter else {
            return Ok(Step::More);
        };
        let (end, end_us) = match (self.next, self.clock.last) {
            (Some(next), _) => (next.ticks, next.us),
            (None, Some(last)) => {
                let end = last.ticks + last.duration;
                (end, rescale(end, TICKS, MICROSECONDS).unwrap_or(last.us))
            }
            (None, None) => (0, 0),
        };
        let end_us = self.request.end_us.unwrap_or(end_us);
        cutter.finish(end, end_us, self.next.map(|next| next.us), self.counts)?;
        Ok(self.settled())
    }
}
