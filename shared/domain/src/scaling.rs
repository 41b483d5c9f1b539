//! How many workers a pool needs, and when it may have fewer.
//!
//! ```text
//! needed = ⌈ Σ over the pool's queues (visible + in flight) × estimated seconds ÷ (target latency × slots) ⌉
//! ```
//!
//! bounded by the pool's `min` and `max`. Growing is at once; shrinking waits until less has been needed for
//! `scale_in_after_s`, so that what comes in waves meets workers that are there.
//!
//! Guarantees: where anything waits there is a worker (within `max`); where nothing does there are `min`, which may be
//! none; as many workers as there are tasks in flight stay, whatever `max` has become, since each task may be on a worker
//! of its own: a scale-in that takes idle ones first therefore never needs a busy one. Nothing here reads a clock.
//!
//! The constants stand in `schema/scaling.json`, which the supervisor, the simulation and Terraform read alike.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::LazyLock;

use serde::Deserialize;

/// The constants, as they stand in the repository.
pub const JSON: &str = include_str!("../../../schema/scaling.json");

/// The pools of [`JSON`], by the name of their worker.
pub static POOLS: LazyLock<BTreeMap<String, Pool>> = LazyLock::new(|| {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        pools: BTreeMap<String, Pool>,
    }
    // It is part of this build, and a test reads it.
    serde_json::from_str::<File>(JSON).map(|file| file.pools).unwrap_or_default()
});

/// One kind of worker that is scaled.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Its queues, by their short names, and the seconds to expect of one task of each.
    pub seconds: BTreeMap<String, f64>,
    /// Tasks that one worker does at once.
    pub slots: u32,
    /// What waits is to be done within this time.
    pub target_latency_s: f64,
    /// Fewer workers only when fewer have been enough for so long.
    pub scale_in_after_s: u32,
    /// Never fewer.
    pub min: u32,
    /// Never more.
    pub max: u32,
}

/// What lies on one queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Its short name.
    pub queue: String,
    /// Messages that can be received.
    pub visible: u64,
    /// Messages that somebody has.
    pub in_flight: u64,
    /// Mean of the seconds that its tasks themselves are estimated at, where that is known.
    pub seconds: Option<f64>,
}

/// How many workers, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// So many from now on.
    pub workers: u32,
    /// What the formula says of this moment alone, bounded.
    pub needed: u32,
    /// Tasks that wait, and that are in flight.
    pub tasks: u64,
    /// Estimated seconds of work of all of them.
    pub work_s: f64,
    /// What decided.
    pub reason: Reason,
}

/// What decided on a number of workers.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// Nothing to do.
    Idle,
    /// The formula.
    Work {
        /// The pool's target.
        target_latency_s: f64,
    },
    /// The formula says more than may be.
    AtMax {
        /// What it says.
        wanted: u64,
    },
    /// The formula says less than must be.
    AtMin,
    /// As many tasks are in flight.
    InFlight,
    /// More were needed a moment ago.
    Held {
        /// How long ago, in seconds.
        ago_s: u64,
        /// How much longer they stay, in seconds.
        for_s: u64,
    },
    /// A person said so.
    Told,
    /// The pool is paused: nothing is taken, so nobody is added.
    Paused,
}

impl Reason {
    /// The kind alone: two decisions of one kind differ in figures only.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Work { .. } => "work",
            Self::AtMax { .. } => "at_max",
            Self::AtMin => "at_min",
            Self::InFlight => "in_flight",
            Self::Held { .. } => "held",
            Self::Told => "told",
            Self::Paused => "paused",
        }
    }
}

impl fmt::Display for Decision {
    /// In words, for the page and the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workers, needed, tasks, work_s, reason } = self;
        match reason {
            Reason::Idle => write!(f, "nothing to do"),
            Reason::Work { target_latency_s } => {
                write!(
                    f,
                    "{tasks} tasks, about {work_s:.0} s of work: {workers} can do it within {target_latency_s:.0} s"
                )
            }
            Reason::AtMax { wanted } => {
                write!(
                    f,
                    "{tasks} tasks, about {work_s:.0} s of work, would need {wanted}: {workers} is the most there may be"
                )
            }
            Reason::AtMin => {
                write!(f, "{tasks} tasks, about {work_s:.0} s of work: {workers} is the least there may be")
            }
            Reason::InFlight => write!(f, "{needed} would do, but {workers} tasks are in flight: no busy worker goes"),
            Reason::Held { ago_s, for_s } => {
                write!(f, "{needed} would do now, {workers} were needed {ago_s} s ago: they stay for another {for_s} s")
            }
            Reason::Told => write!(f, "an operator asked for {workers}"),
            Reason::Paused => write!(f, "paused with {tasks} tasks, about {work_s:.0} s of work: nobody is added"),
        }
    }
}

impl Pool {
    /// Seconds of work on its queues, and the number of tasks. A queue that is not the pool's counts for nothing.
    pub fn work(&self, loads: &[Load]) -> (f64, u64) {
        let own = loads.iter().filter_map(|load| self.seconds.get(&load.queue).map(|seconds| (load, *seconds)));
        own.fold((0.0, 0), |(work_s, tasks), (load, seconds)| {
            let each = load.seconds.filter(|own| own.is_finite() && *own > 0.0).unwrap_or(seconds);
            let count = load.visible.saturating_add(load.in_flight);
            (work_s + count as f64 * each, count.saturating_add(tasks))
        })
    }

    /// The formula, without bounds.
    pub fn needed(&self, loads: &[Load]) -> u64 {
        (self.work(loads).0 / (self.target_latency_s * f64::from(self.slots))).ceil() as u64
    }

    fn in_flight(&self, loads: &[Load]) -> u64 {
        let own = loads.iter().filter(|load| self.seconds.contains_key(&load.queue));
        own.fold(0, |sum, load| sum.saturating_add(load.in_flight))
    }
}

/// Decides for one pool, again and again; remembers what was needed lately.
#[derive(Debug, Clone, Default)]
pub struct Scaler {
    /// When how many were needed, each more than every later one.
    recent: VecDeque<(i64, u32)>,
}

impl Scaler {
    /// The number of workers from `now` (epoch milliseconds) on, where `running` are there. The first time those count as
    /// needed, so that a decider which has just started takes nothing away at once.
    pub fn decide(&mut self, pool: &Pool, loads: &[Load], running: u32, now: i64) -> Decision {
        let (work_s, tasks) = pool.work(loads);
        let wanted = pool.needed(loads);
        let needed = u32::try_from(wanted).unwrap_or(u32::MAX).min(pool.max).max(pool.min);
        if self.recent.is_empty() && running > needed {
            self.recent.push_back((now, running.min(pool.max)));
        }
        let window_ms = i64::from(pool.scale_in_after_s) * 1000;
        while self.recent.front().is_some_and(|(at, _)| now.saturating_sub(*at) >= window_ms) {
            self.recent.pop_front();
        }
        while self.recent.back().is_some_and(|(_, then)| *then <= needed) {
            self.recent.pop_back();
        }
        self.recent.push_back((now, needed));
        let by_need = if wanted == 0 && needed == 0 {
            Reason::Idle
        } else if wanted > u64::from(needed) {
            Reason::AtMax { wanted }
        } else if wanted < u64::from(needed) {
            Reason::AtMin
        } else {
            Reason::Work { target_latency_s: pool.target_latency_s }
        };
        let (mut workers, mut reason) = (needed, by_need);
        // Held only as far as they are there: what has gone is not brought back for the past's sake.
        if let Some((at, then)) = self.recent.front().copied().filter(|(_, then)| (*then).min(running) > workers) {
            let ago = now.saturating_sub(at).max(0);
            workers = then.min(running);
            reason = Reason::Held {
                ago_s: ago.unsigned_abs() / 1000,
                for_s: (window_ms - ago).unsigned_abs().div_ceil(1000),
            };
        }
        let busy = u32::try_from(pool.in_flight(loads)).unwrap_or(u32::MAX).min(running);
        if busy > workers {
            (workers, reason) = (busy, Reason::InFlight);
        }
        Decision { workers, needed, tasks, work_s, reason }
    }

    /// The same for a pool that takes no new tasks: nobody is added, and whoever is at work stays.
    pub fn paused(&mut self, pool: &Pool, loads: &[Load], running: u32) -> Decision {
        let (work_s, tasks) = pool.work(loads);
        Decision { workers: running, needed: running, tasks, work_s, reason: Reason::Paused }
    }

    /// The same where a person has said how many.
    pub fn told(&mut self, pool: &Pool, loads: &[Load], workers: u32) -> Decision {
        let (work_s, tasks) = pool.work(loads);
        Decision { workers, needed: workers, tasks, work_s, reason: Reason::Told }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pool(min: u32, max: u32) -> Pool {
        Pool {
            seconds: BTreeMap::from([("express".into(), 4.0), ("transcode".into(), 20.0)]),
            slots: 1,
            target_latency_s: 60.0,
            scale_in_after_s: 300,
            min,
            max,
        }
    }

    fn load(queue: &str, visible: u64, in_flight: u64) -> Load {
        Load { queue: queue.into(), visible, in_flight, seconds: None }
    }

    #[test]
    fn the_file_is_whole_and_names_the_queues_of_the_workers() {
        let names: Vec<&str> = POOLS.keys().map(String::as_str).collect();
        assert_eq!(names, ["backfill", "intake", "thumbnailer", "transcoder"]);
        let queues: Vec<&String> = POOLS.values().flat_map(|pool| pool.seconds.keys()).collect();
        assert_eq!(queues, ["backfill", "intake", "probe", "thumbnail", "express", "transcode"]);
        for (name, pool) in POOLS.iter() {
            assert!(pool.slots >= 1 && pool.target_latency_s > 0.0 && pool.min <= pool.max, "{name}");
            assert!(pool.seconds.values().all(|seconds| *seconds > 0.0 && *seconds <= pool.target_latency_s), "{name}");
        }
    }

    #[test]
    fn it_says_why_in_words() {
        let (pool, mut scaler) = (pool(0, 5), Scaler::default());
        let decide = |scaler: &mut Scaler, loads: &[Load], running, now| {
            let decision = scaler.decide(&pool, loads, running, now);
            (decision.workers, decision.to_string())
        };
        assert_eq!(decide(&mut scaler, &[], 0, 0), (0, "nothing to do".into()));
        let twelve = [load("transcode", 10, 0), load("express", 2, 0)];
        let said = "12 tasks, about 208 s of work: 4 can do it within 60 s";
        assert_eq!(decide(&mut scaler, &twelve, 0, 1_000), (4, said.into()));
        let many = [load("transcode", 100, 4)];
        let said = "104 tasks, about 2080 s of work, would need 35: 5 is the most there may be";
        assert_eq!(decide(&mut scaler, &many, 4, 2_000), (5, said.into()));
        let said = "0 would do now, 5 were needed 1 s ago: they stay for another 299 s";
        assert_eq!(decide(&mut scaler, &[], 5, 3_000), (5, said.into()));
        let said = "1 would do, but 3 tasks are in flight: no busy worker goes";
        assert_eq!(decide(&mut scaler, &[load("transcode", 0, 3)], 5, 303_000), (3, said.into()));
        assert_eq!(decide(&mut scaler, &[], 3, 700_000), (0, "nothing to do".into()));
    }

    #[test]
    fn estimates_of_the_tasks_themselves_go_before_the_constant() {
        let told = |seconds| Load { seconds: Some(seconds), ..load("transcode", 30, 0) };
        assert_eq!(pool(0, 99).needed(&[load("transcode", 30, 0)]), 10);
        assert_eq!(pool(0, 99).needed(&[told(2.0)]), 1);
        assert_eq!(pool(0, 99).needed(&[told(f64::NAN)]), 10);
        assert_eq!(pool(0, 99).needed(&[load("somebody else's", 1_000, 0)]), 0);
        let four = Pool { slots: 4, ..pool(0, 99) };
        assert_eq!(four.needed(&[load("transcode", 30, 0)]), 3);
    }

    #[test]
    fn a_decider_that_has_just_started_takes_nothing_away() {
        let (pool, mut scaler) = (pool(0, 9), Scaler::default());
        assert_eq!(scaler.decide(&pool, &[], 7, 5_000).workers, 7);
        assert_eq!(scaler.decide(&pool, &[], 7, 304_999).workers, 7);
        assert_eq!(scaler.decide(&pool, &[], 7, 305_000).workers, 0);
    }

    fn loads() -> impl Strategy<Value = Vec<Load>> {
        (0..5_000_u64, 0..500_u64, 0..5_000_u64, 0..500_u64)
            .prop_map(|(a, b, c, d)| vec![load("express", a, b), load("transcode", c, d)])
    }

    proptest! {
        #[test]
        fn more_to_do_never_needs_fewer(loads in loads(), more in 0..1_000_u64, own in 0.1..90.0_f64) {
            let pool = pool(0, u32::MAX);
            let mut larger = loads.clone();
            larger[1].visible += more;
            prop_assert!(pool.needed(&larger) >= pool.needed(&loads));
            // Whether a task waits or is in flight makes no difference to the formula.
            let mut taken = loads.clone();
            (taken[0].visible, taken[0].in_flight) = (taken[0].in_flight, taken[0].visible);
            prop_assert_eq!(pool.needed(&taken), pool.needed(&loads));
            let seconds = |own| vec![Load { seconds: Some(own), ..loads[1].clone() }];
            prop_assert!(pool.needed(&seconds(own * 2.0)) >= pool.needed(&seconds(own)));
        }

        #[test]
        fn every_decision_is_bounded_keeps_who_is_busy_and_serves_who_waits(
            steps in proptest::collection::vec((loads(), 1..400_000_i64), 1..40), min in 0..4_u32, span in 0..80_u32
        ) {
            let (pool, mut scaler, mut running, mut now) = (pool(min, min + span), Scaler::default(), 0, 0);
            for (loads, later) in steps {
                now += later;
                let decision = scaler.decide(&pool, &loads, running, now);
                let in_flight = u32::try_from(pool.in_flight(&loads)).unwrap().min(running);
                prop_assert!(decision.workers >= pool.min && decision.workers >= in_flight, "{}", decision);
                prop_assert!(decision.workers <= pool.max.max(in_flight), "{}", decision);
                prop_assert!(decision.workers >= decision.needed, "{}", decision);
                prop_assert!(pool.work(&loads).1 == 0 || pool.max == 0 || decision.workers > 0, "{}", decision);
                running = decision.workers;
            }
            // Then nothing: after the delay it comes down to the least, once, and stays.
            let idle = scaler.decide(&pool, &[], running, now + 1);
            now += 1 + i64::from(pool.scale_in_after_s) * 1000;
            prop_assert_eq!(scaler.decide(&pool, &[], idle.workers, now).workers, pool.min);
        }

        #[test]
        fn it_never_shrinks_within_the_delay_of_a_need(needs in proptest::collection::vec((0..2_000_u64, 1..60_i64), 2..60)) {
            let (pool, mut scaler, mut running, mut now) = (pool(0, 1_000), Scaler::default(), 0, 0);
            let mut past: Vec<(i64, u32)> = Vec::new();
            for (visible, later_s) in needs {
                now += later_s * 1000;
                let decision = scaler.decide(&pool, &[load("transcode", visible, 0)], running, now);
                past.push((now, decision.needed));
                let lately = past.iter().filter(|(at, _)| now - at < 300_000).map(|(_, needed)| *needed);
                prop_assert_eq!(Some(decision.workers), lately.max());
                running = decision.workers;
            }
        }
    }
}
