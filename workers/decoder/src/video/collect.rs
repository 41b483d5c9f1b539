//! Puts what the rungs finish, each at its own pace, in the order that the parent commits it.
//!
//! Guarantee: `RunEnd` comes after every segment of its run, of every rung, and before any segment of the next run.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use reelfleet_wire::{OutputHeader, RunEndReport, SegmentInfo};

use crate::fail::Failure;
use crate::output::Output;

pub struct Collector<'a> {
    output: &'a Output,
    state: Mutex<State>,
}

struct State {
    /// Segments written, by rung.
    written: Vec<u32>,
    /// Runs that are cut but not all written: the first segment behind each, and its report.
    runs: VecDeque<(u32, RunEndReport)>,
    /// Segments of runs after the first of those.
    early: Vec<(usize, SegmentInfo, Vec<u8>)>,
}

impl<'a> Collector<'a> {
    pub fn new(output: &'a Output, rungs: usize) -> Self {
        Self { output, state: Mutex::new(State { written: vec![0; rungs], runs: VecDeque::new(), early: Vec::new() }) }
    }

    /// Writes an init segment.
    ///
    /// # Errors
    /// `Internal` where the parent no longer reads; so for all of these.
    pub fn header(&self, header: &OutputHeader, body: &[u8]) -> Result<(), Failure> {
        self.output.write(header, body)
    }

    /// A finished segment of a rung; each rung gives its own in order.
    pub fn segment(&self, rung: usize, info: SegmentInfo, body: Vec<u8>) -> Result<(), Failure> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.early.push((rung, info, body));
        self.settle(&mut state)
    }

    /// The run ends before segment `behind`. Must be called before any frame behind it goes to an encoder.
    pub fn end_run(&self, behind: u32, report: RunEndReport) -> Result<(), Failure> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.runs.push_back((behind, report));
        self.settle(&mut state)
    }

    fn settle(&self, state: &mut State) -> Result<(), Failure> {
        loop {
            let behind = state.runs.front().map_or(u32::MAX, |(behind, _)| *behind);
            let (now, later) =
                std::mem::take(&mut state.early).into_iter().partition(|(_, info, _)| info.index < behind);
            state.early = later;
            let now: Vec<_> = now;
            for (rung, info, body) in now {
                self.output.write(&OutputHeader::Segment(info), &body)?;
                if let Some(written) = state.written.get_mut(rung) {
                    *written += 1;
                }
            }
            if !state.written.iter().all(|n| *n >= behind) {
                return Ok(());
            }
            let Some((_, report)) = state.runs.pop_front() else {
                return Ok(());
            };
            self.output.write(&OutputHeader::RunEnd(report), &[])?;
        }
    }
}
