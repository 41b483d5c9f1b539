//! Where segments and runs end, decided once for all rungs.
//!
//! Guarantees: a border stands on a frame, the first at or after each time that was asked for; where none was, at or after
//! each `segment_ms` from the first frame of the request, and a rest under half a second joins the segment before; then no segment is more than a second longer than asked for, because
//! a picture that stands still for longer is given again at the border (it is not counted as a frame of the source).

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use reelfleet_wire::{EncodeRequest, RunEndReport, VIDEO_TIMESCALE};

use super::collect::Collector;
use super::encode::{self, Job};
use crate::cmaf::Sample;
use crate::fail::Failure;
use crate::ff::Frame;
use crate::output::Output;

const TICKS_PER_MS: i64 = VIDEO_TIMESCALE as i64 / 1000;
/// A rest shorter than this joins the segment before it.
const REST: i64 = 500 * TICKS_PER_MS;
/// A picture that stands still for longer than this over a border is given again there.
const STILL: i64 = 1_000 * TICKS_PER_MS;

/// One frame in the size of every rung.
pub struct Set {
    /// From t0, 90 kHz.
    pub ticks: i64,
    /// From t0, microseconds, as borders are compared.
    pub us: i64,
    pub frames: Vec<Frame>,
}

/// Packets of the span and errors so far, over the request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub packets: u64,
    pub errors: u64,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of the span is done.
    Whole,
    /// The time is up, and the last run is complete.
    Stop,
}

struct Run {
    index: u32,
    start_us: i64,
    first_us: i64,
    last_us: i64,
    frames: u64,
    first_segment: u32,
    at_start: Counts,
}

pub struct Cutter<'a> {
    rungs: Vec<SyncSender<Job>>,
    /// The first of them is copied.
    copies: bool,
    /// Borders that were asked for and have not been reached (microseconds from t0); `None`: none were.
    cuts: Option<VecDeque<i64>>,
    collector: &'a Collector<'a>,
    output: &'a Output,
    segment: i64,
    run_length: i64,
    stop_after: Option<Duration>,
    start_us: i64,
    /// End of the request from t0 in ticks, for the rest rule.
    end: Option<i64>,
    /// Next borders; meaningless before the first frame.
    border: i64,
    run_border: i64,
    segments: u32,
    run: Option<Run>,
    runs: u32,
    /// The frame before, kept to give it again.
    last: Option<Set>,
    frames: u64,
    /// Frames behind the end that the encoders are to see.
    foresight: usize,
    ended: Option<Verdict>,
}

impl<'a> Cutter<'a> {
    pub fn new(
        request: &EncodeRequest,
        rungs: Vec<SyncSender<Job>>,
        collector: &'a Collector<'a>,
        output: &'a Output,
    ) -> Self {
        Self {
            rungs,
            copies: request.copy.is_some(),
            cuts: (!request.cuts_us.is_empty() || request.copy.is_some())
                .then(|| request.cuts_us.iter().copied().collect()),
            collector,
            output,
            segment: i64::from(request.segment_ms) * TICKS_PER_MS,
            run_length: i64::from(request.run_ms) * TICKS_PER_MS,
            stop_after: request.stop_after_ms.map(Duration::from_millis),
            start_us: request.start_us,
            end: request.end_us.map(|us| us * i64::from(VIDEO_TIMESCALE) / 1_000_000),
            border: 0,
            run_border: 0,
            segments: 0,
            run: None,
            runs: 0,
            last: None,
            frames: 0,
            foresight: encode::foresight(&request.preset),
            ended: None,
        }
    }

    /// How it ended, once it did; frames that come after that are only looked at.
    pub fn ended(&self) -> Option<Verdict> {
        self.ended
    }

    /// Whether the encoders have seen enough of what comes behind the end.
    pub fn saturated(&self) -> bool {
        self.foresight == 0
    }

    /// Source frames that went to the encoders.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    fn send(&self, rung: usize, job: Job) -> Result<(), Failure> {
        // A rung that hung up has failed, and its own failure is the one that is reported.
        self.rungs.get(rung).and_then(|to| to.send(job).ok()).ok_or_else(hung_up)
    }

    /// Gives the rung that is copied a packet of the source.
    pub fn copy(&self, sample: Sample) -> Result<(), Failure> {
        self.send(0, Job::Packet(sample))
    }

    /// The packets so far were from the wrong place.
    pub fn forget(&self) -> Result<(), Failure> {
        if self.copies { self.send(0, Job::Forget) } else { Ok(()) }
    }

    /// Gives every rung a picture.
    fn show(&self, frames: &[Frame], ticks: i64, first: bool) -> Result<(), Failure> {
        for (i, frame) in frames.iter().enumerate() {
            let job = if i == 0 && self.copies {
                Job::Shown { ticks, first }
            } else {
                let mut frame = frame.share()?;
                frame.set_pts(ticks);
                Job::Frame { frame, first }
            };
            self.send(i, job)?;
        }
        Ok(())
    }

    /// Takes the next frame in order of time.
    pub fn take(&mut self, set: Set, counts: Counts) -> Result<(), Failure> {
        if self.ended.is_some() {
            return self.foresee(&set);
        }
        let first = match self.run {
            None => {
                self.border = set.ticks + self.segment;
                self.run_border = set.ticks + self.run_length;
                self.begin_run(self.start_us, set.us, counts);
                true
            }
            Some(_) => {
                self.stand_still(set.ticks)?;
                let cut = self.is_cut(&set);
                if cut {
                    self.cut(set.ticks)?;
                    if set.ticks >= self.run_border {
                        self.end_run(set.us, Some(set.us), counts)?;
                        if self.stop_after.is_some_and(|t| self.output.elapsed() >= t) {
                            self.ended = Some(Verdict::Stop);
                            return self.foresee(&set);
                        }
                        while self.run_border <= set.ticks {
                            self.run_border += self.run_length;
                        }
                        self.begin_run(set.us, set.us, counts);
                    }
                }
                cut
            }
        };
        if first {
            self.segments += 1;
        }
        self.show(&set.frames, set.ticks, first)?;
        self.frames += 1;
        if let Some(run) = &mut self.run {
            run.frames += 1;
            run.last_us = set.us;
        }
        self.output.progress(set.us - self.start_us, self.frames)?;
        self.last = Some(set);
        Ok(())
    }

    /// A frame behind the end: rate control looks ahead, so without it the last pictures of a chunk would be worse than
    /// those of one encode of the whole film. Nobody gets what is made of it.
    fn foresee(&mut self, set: &Set) -> Result<(), Failure> {
        let Some(rest) = self.foresight.checked_sub(1) else {
            return Ok(());
        };
        self.foresight = rest;
        let first = self.last.take().is_some();
        for (i, frame) in set.frames.iter().enumerate() {
            let mut frame = frame.share()?;
            frame.set_pts(set.ticks);
            self.send(i, Job::Behind { frame, first })?;
        }
        Ok(())
    }

    /// No more frames: the last one is shown until `end` (from t0, 90 kHz); `end_us` is where a continuation starts,
    /// `next_us` the time of the source's next frame.
    pub fn finish(&mut self, end: i64, end_us: i64, next_us: Option<i64>, counts: Counts) -> Result<(), Failure> {
        if self.ended.is_some() {
            return Ok(());
        }
        self.ended = Some(Verdict::Whole);
        if self.run.is_none() {
            return Ok(());
        }
        let last = self.last.as_ref().map_or(end, |l| l.ticks);
        let end = end.max(last + 1);
        self.end = Some(end);
        self.stand_still(end)?;
        self.cut(end)?;
        self.end_run(end_us, next_us, counts)
    }

    /// Whether a frame begins a segment.
    fn is_cut(&mut self, set: &Set) -> bool {
        let Some(cuts) = &mut self.cuts else {
            return self.is_border(set.ticks);
        };
        let before = cuts.len();
        while cuts.front().is_some_and(|cut| *cut <= set.us) {
            cuts.pop_front();
        }
        cuts.len() < before
    }

    /// Whether one of the regular borders is reached, and is one.
    fn is_border(&self, ticks: i64) -> bool {
        ticks >= self.border && self.end.is_none_or(|end| end - self.border >= REST)
    }

    fn begin_run(&mut self, start_us: i64, first_us: i64, counts: Counts) {
        self.run = Some(Run {
            index: self.runs,
            start_us,
            first_us,
            last_us: first_us,
            frames: 0,
            first_segment: self.segments,
            at_start: counts,
        });
        self.runs += 1;
    }

    fn end_run(&mut self, end_us: i64, next_us: Option<i64>, counts: Counts) -> Result<(), Failure> {
        let Some(run) = self.run.take() else {
            return Ok(());
        };
        self.collector.end_run(
            self.segments,
            RunEndReport {
                index: run.index,
                start_us: run.start_us,
                end_us,
                frames: run.frames,
                packets: counts.packets - run.at_start.packets,
                errors: counts.errors - run.at_start.errors,
                first_pts_us: run.first_us,
                last_pts_us: run.last_us,
                next_pts_us: next_us,
                segments: self.segments - run.first_segment,
                anchor: None,
                next_frame: None,
            },
        )
    }

    /// Ends the segment at `ticks`, and finds the border after it.
    fn cut(&mut self, ticks: i64) -> Result<(), Failure> {
        for rung in 0..self.rungs.len() {
            self.send(rung, Job::Cut { end: ticks })?;
        }
        while self.border <= ticks {
            self.border += self.segment;
        }
        Ok(())
    }

    /// Gives the last picture again at each border that it stands over for long, up to the next frame.
    fn stand_still(&mut self, until: i64) -> Result<(), Failure> {
        while self.cuts.is_none() && until - self.border > STILL && self.is_border(self.border) {
            let at = self.border;
            let Some(last) = self.last.take() else {
                return Ok(());
            };
            self.cut(at)?;
            self.segments += 1;
            self.show(&last.frames, at, true)?;
            self.last = Some(last);
        }
        Ok(())
    }
}

fn hung_up() -> Failure {
    Failure::encode("a rung has stopped")
}
