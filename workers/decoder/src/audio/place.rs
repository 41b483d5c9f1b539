//! Puts decoded sound where it belongs on the 48 kHz grid.
//!
//! Guarantees: sound that follows on stays together, whatever its rounded times say; a difference of more than 30 ms is
//! a real gap (silence) or a real overlap (cut); positions are exact fractions, so that a later decoder that begins at
//! a recorded packet makes the very same samples.

use std::collections::VecDeque;

use reelfleet_wire::{AUDIO_RATE, AudioAnchor};

use super::resample::{Resampler, Shape, Stereo};
use crate::fail::Failure;
use crate::ff::{Frame, MICROSECONDS, Ratio, ratio, rescale};

const GRID: Ratio = ratio(1, AUDIO_RATE as i32);
const RATE: i64 = AUDIO_RATE as i64;
/// Differences up to here are rounding of times, in samples (30 ms).
const TOLERANCE: i64 = RATE * 30 / 1000;
/// Sound that lies this far before what was placed has a broken clock, and is appended.
const BROKEN: i64 = 10 * RATE;
/// An anchor lies at least this far before the border, so that the encoder and the resampler have run in.
pub const RUN_IN: i64 = RATE / 2;

/// Sound on the grid.
pub struct Piece {
    /// Sample of the grid where it starts.
    pub at: i64,
    pub sound: Stereo,
}

pub struct Placer {
    base: Ratio,
    /// t0 in samples.
    t0: i64,
    resampler: Option<Resampler>,
    /// Where the next source sample belongs, in grid samples × the source's rate.
    next: i64,
    /// Where the next sample out of the resampler belongs.
    out: i64,
    /// Source samples to leave out, until one falls on the grid.
    skip: i64,
    /// Positions of packets, oldest first.
    anchors: VecDeque<AudioAnchor>,
    /// Sound behind this sample is not believed.
    farthest: i64,
    pub errors: u64,
}

impl Placer {
    pub fn new(base: Ratio, t0_us: i64, max_duration_ms: u64) -> Self {
        let longest = i64::try_from(max_duration_ms / 1000).unwrap_or(i64::MAX / RATE);
        Self {
            base,
            t0: rescale(t0_us, MICROSECONDS, GRID).unwrap_or(0),
            resampler: None,
            next: 0,
            out: 0,
            skip: 0,
            anchors: VecDeque::new(),
            farthest: longest.saturating_add(60).saturating_mul(RATE),
            errors: 0,
        }
    }

    /// Where the time of a frame lies on the grid.
    fn expected(&self, frame: &Frame) -> Option<i64> {
        rescale(frame.best_pts()?, self.base, GRID)
            .map(|at| at.saturating_sub(self.t0))
            .filter(|at| (-self.farthest..self.farthest).contains(at))
    }

    /// Places a frame; `anchor` says where it lies, if an earlier decoder has placed it before.
    ///
    /// # Errors
    /// `Decode`.
    pub fn place(&mut self, frame: &Frame, samples: i32, anchor: Option<AudioAnchor>) -> Result<Vec<Piece>, Failure> {
        let Some(shape) = Shape::of(frame) else {
            self.errors += 1;
            return Ok(Vec::new());
        };
        let mut pieces = Vec::new();
        let expected = self.expected(frame);
        let follows = match (&self.resampler, expected) {
            (None, _) => false,
            (Some(r), _) if r.shape() != shape => false,
            (Some(_), None) => true,
            (Some(r), Some(at)) => {
                let apart = at - self.next.div_euclid(i64::from(r.shape().rate));
                if apart < -BROKEN {
                    self.errors += 1;
                }
                apart.abs() <= TOLERANCE || apart < -BROKEN
            }
        };
        if !follows {
            let at = expected.unwrap_or_else(|| match &self.resampler {
                Some(r) => self.next.div_euclid(i64::from(r.shape().rate)),
                None => 0,
            });
            pieces.extend(self.flush()?);
            self.begin(shape, at, anchor)?;
        }
        if let Some(pts) = frame.best_pts() {
            let rate = i64::from(shape.rate);
            self.anchors.push_back(AudioAnchor {
                pts,
                sample: self.next.div_euclid(rate),
                sub: u32::try_from(self.next.rem_euclid(rate)).unwrap_or(0),
            });
        }
        self.next += i64::from(samples) * RATE;
        let skip = self.skip.min(i64::from(samples));
        self.skip -= skip;
        if let Some(resampler) = &mut self.resampler {
            let sound = resampler.convert(frame, skip as i32)?;
            pieces.push(self.piece(sound));
        }
        Ok(pieces)
    }

    fn begin(&mut self, shape: Shape, at: i64, anchor: Option<AudioAnchor>) -> Result<(), Failure> {
        let rate = i64::from(shape.rate);
        self.next = match anchor {
            Some(a) => a.sample.saturating_mul(rate).saturating_add(i64::from(a.sub) % rate),
            None => at * rate,
        };
        // The resampler starts on the grid, so that it makes the samples that one which never stopped would make.
        self.skip = (0..rate).find(|skip| (self.next + skip * RATE).rem_euclid(rate) == 0).unwrap_or(0);
        self.out = (self.next + self.skip * RATE).div_euclid(rate);
        self.resampler = Some(Resampler::new(shape)?);
        Ok(())
    }

    fn piece(&mut self, sound: Stereo) -> Piece {
        let at = self.out;
        self.out += sound[0].len() as i64;
        Piece { at, sound }
    }

    /// What the resampler still holds; the next frame begins anew.
    ///
    /// # Errors
    /// `Decode`.
    pub fn flush(&mut self) -> Result<Option<Piece>, Failure> {
        let Some(mut resampler) = self.resampler.take() else {
            return Ok(None);
        };
        let sound = resampler.flush()?;
        Ok(Some(self.piece(sound)))
    }

    /// The newest packet from which sample `border` can be made again with a run-in. Older ones are forgotten.
    pub fn anchor_before(&mut self, border: i64) -> Option<AudioAnchor> {
        while self.anchors.get(1).is_some_and(|a| a.sample <= border - RUN_IN) {
            self.anchors.pop_front();
        }
        self.anchors.front().copied().filter(|a| a.sample <= border - RUN_IN)
    }
}
