//! The time of every decoded frame.
//!
//! Guarantee: times only grow; where the source says none, or none that can be believed, a frame is one frame later than the last.

use reelfleet_wire::{EncodeRequest, VIDEO_TIMESCALE};

use crate::ff::{self, Frame, MICROSECONDS, Ratio, micros, rescale};

/// 90 kHz, which all times of segments are in.
pub const TICKS: Ratio = ff::ratio(1, VIDEO_TIMESCALE as i32);

/// Gives every frame a time: the decoder's, or one frame after the last where that is missing or not later.
pub struct Clock {
    base: Ratio,
    t0_us: i64,
    pub t0_ticks: i64,
    /// Duration of a frame where it says none, in ticks.
    usual: i64,
    /// Times beyond are not believed, in microseconds.
    farthest: i64,
    pub last: Option<Moment>,
}

#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// From t0, 90 kHz.
    pub ticks: i64,
    /// From t0.
    pub us: i64,
    /// 90 kHz.
    pub duration: i64,
    pub invented: bool,
}

impl Clock {
    pub fn new(base: Ratio, rate: Ratio, request: &EncodeRequest) -> Self {
        let usual = i64::from(VIDEO_TIMESCALE) * i64::from(rate.den) / i64::from(rate.num.max(1));
        Self {
            base,
            t0_us: request.t0_us,
            t0_ticks: rescale(request.t0_us, MICROSECONDS, TICKS).unwrap_or(0),
            usual: usual.max(1),
            farthest: i64::try_from(request.limits.max_duration_ms)
                .unwrap_or(i64::MAX)
                .saturating_add(60_000)
                .saturating_mul(1000),
            last: None,
        }
    }

    pub fn time(&mut self, frame: &Frame) -> Moment {
        let duration = rescale(frame.duration(), self.base, TICKS)
            .filter(|d| (1..i64::from(VIDEO_TIMESCALE) * 60).contains(d))
            .unwrap_or(self.usual);
        let said = frame.best_pts().and_then(|pts| {
            let us = micros(pts, self.base)? - self.t0_us;
            if us > self.farthest {
                return None;
            }
            let ticks = rescale(pts, self.base, TICKS)? - self.t0_ticks;
            Some((ticks, us))
        });
        let moment = match (said, self.last) {
            (Some((ticks, us)), last) if last.is_none_or(|l| ticks > l.ticks) => {
                Moment { ticks, us, duration, invented: false }
            }
            (_, Some(last)) => {
                let ticks = last.ticks + last.duration;
                Moment { ticks, us: rescale(ticks, TICKS, MICROSECONDS).unwrap_or(last.us), duration, invented: true }
            }
            (_, None) => Moment { ticks: 0, us: 0, duration, invented: true },
        };
        self.last = Some(moment);
        moment
    }

    pub fn reset(&mut self) {
        self.last = None;
    }
}
