//! The output pipe. Guarantee: frames come out whole and in the order of the calls, from whichever thread.

use std::fs::File;
use std::io::BufWriter;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reelfleet_wire::{OutputHeader, ProgressReport, write_output};

use crate::fail::Failure;

/// Least time between two progress reports.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

pub struct Output {
    pipe: Mutex<BufWriter<File>>,
    started: Instant,
    reported: Mutex<Option<Instant>>,
}

impl Output {
    pub fn new(pipe: File) -> Self {
        Self {
            pipe: Mutex::new(BufWriter::with_capacity(256 << 10, pipe)),
            started: Instant::now(),
            reported: Mutex::new(None),
        }
    }

    /// # Errors
    /// `Internal` where the parent no longer reads.
    pub fn write(&self, header: &OutputHeader, body: &[u8]) -> Result<(), Failure> {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(write_output(&mut *pipe, header, body)?)
    }

    /// Time since the request was taken up.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// At most four times a second; in between it does nothing.
    ///
    /// # Errors
    /// As for [`Output::write`].
    pub fn progress(&self, done_us: i64, frames: u64) -> Result<(), Failure> {
        let now = Instant::now();
        {
            let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
            if reported.is_some_and(|last| now - last < PROGRESS_EVERY) {
                return Ok(());
            }
            *reported = Some(now);
        }
        let seconds = self.elapsed().as_secs_f32().max(0.001);
        let report = ProgressReport { done_us, frames, fps: frames as f32 / seconds };
        self.write(&OutputHeader::Progress(report), &[])
    }
}
