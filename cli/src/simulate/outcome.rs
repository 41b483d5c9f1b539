//! What came of a simulated run.

use std::collections::BTreeMap;

/// The pool whose backlog is judged.
const JUDGED: &str = "transcoder";
/// Backlogs are judged in the mean over this long (milliseconds).
const WINDOW_MS: u64 = 15 * 60 * 1000;
/// Of fewer workers one more or less is not within ten per cent.
const ENOUGH: f64 = 10.0;

/// One look at one pool.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The pool.
    pub pool: &'static str,
    /// When, from the beginning.
    pub at_ms: u64,
    /// What the formula said.
    pub needed: u32,
    /// Workers that were there or starting.
    pub workers: u32,
    /// Workers that took tasks.
    pub up: u32,
    /// Tasks that waited.
    pub waiting: u64,
    /// Estimated work of all tasks.
    pub work_s: f64,
    /// What a worker may have before it (seconds of work): the pool's target.
    pub target_s: f64,
}

/// Figures of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Uploads, and assets of campaigns, that came.
    landed: [u64; 2],
    /// When each upload landed, and how long after it was ready.
    pub ready_ms: Vec<(u64, u64)>,
    /// The same until it was playable.
    pub playable_ms: Vec<(u64, u64)>,
    /// Assets that a campaign made anew.
    pub backfilled: u64,
    /// Tasks that were done.
    pub tasks: u64,
    /// Tasks whose worker was taken away by a scale-in.
    pub killed_by_scale_in: u64,
    /// Workers that were interrupted.
    pub interruptions: u64,
    /// Tasks that did not fit between notice and end, and were given back.
    pub given_back: u64,
    /// Changes of a number of workers.
    pub changes: u64,
    /// Time that workers were up, that their slots were, and that these were busy.
    pub up_ms: u64,
    /// The same times their slots.
    pub slot_ms: u64,
    /// Time at work.
    pub busy_ms: u64,
    /// All looks.
    pub samples: Vec<Sample>,
}

impl Outcome {
    pub(super) fn landed(&self, backfill: bool) -> u64 {
        self.landed[usize::from(backfill)]
    }

    pub(super) fn note_landed(&mut self, backfill: bool) {
        self.landed[usize::from(backfill)] += 1;
    }

    pub(super) fn sample(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    /// Uploads.
    pub fn uploads(&self) -> u64 {
        self.landed[0]
    }

    /// Seconds until ready of this share of uploads that landed from `from_s` on.
    pub fn ready_s(&self, share: f64, from_s: f64) -> f64 {
        quantile(&self.ready_ms, share, from_s)
    }

    /// The same until playable.
    pub fn playable_s(&self, share: f64, from_s: f64) -> f64 {
        quantile(&self.playable_ms, share, from_s)
    }

    /// Looks at one pool.
    pub fn of<'o>(&'o self, pool: &'o str) -> impl Iterator<Item = &'o Sample> {
        self.samples.iter().filter(move |sample| sample.pool == pool)
    }

    /// The backlog of the transcoders over time, by quarters of an hour from `from_s` on: seconds of work for each worker, of
    /// the target. Only where there was work for ten.
    pub fn backlogs(&self, from_s: f64) -> Vec<f64> {
        let mut windows: BTreeMap<u64, (f64, f64, f64)> = BTreeMap::new();
        for sample in self.of(JUDGED).filter(|sample| sample.at_ms as f64 >= from_s * 1000.0) {
            let (work, workers, count) = windows.entry(sample.at_ms / WINDOW_MS).or_default();
            *work += sample.work_s / sample.target_s;
            *workers += f64::from(sample.up);
            *count += 1.0;
        }
        // The last look may begin a quarter that nobody saw.
        let whole = windows.values().map(|(_, _, count)| *count).fold(0.0, f64::max) * 0.9;
        let enough = windows.into_values().filter(|(work, _, count)| *count >= whole && work / count >= ENOUGH);
        enough.map(|(work, workers, _)| work / workers.max(1.0)).collect()
    }

    /// Workers of a pool in the mean, from `from_s` on.
    pub fn mean(&self, pool: &str, from_s: f64) -> f64 {
        let of = self.of(pool).filter(|sample| sample.at_ms as f64 >= from_s * 1000.0);
        let (sum, count) = of.fold((0.0, 0.0), |(sum, count), sample| (sum + f64::from(sample.workers), count + 1.0));
        sum / f64::max(count, 1.0)
    }

    /// Most workers of a pool.
    pub fn most(&self, pool: &str) -> u32 {
        self.of(pool).map(|sample| sample.workers).max().unwrap_or(0)
    }

    /// Share of the workers' time that was work.
    pub fn use_of_time(&self) -> f64 {
        self.busy_ms as f64 / (self.slot_ms as f64).max(1.0)
    }

    /// Hours of workers.
    pub fn worker_hours(&self) -> f64 {
        self.up_ms as f64 / 3_600_000.0
    }
}

fn quantile(landed_and_took: &[(u64, u64)], share: f64, from_s: f64) -> f64 {
    let from = (from_s * 1000.0) as u64;
    let mut took: Vec<u64> = landed_and_took.iter().filter(|(at, _)| *at >= from).map(|(_, took)| *took).collect();
    took.sort_unstable();
    let place = ((took.len() as f64 * share).ceil() as usize).clamp(1, took.len().max(1)) - 1;
    took.get(place).map_or(0.0, |ms| *ms as f64 / 1000.0)
}
