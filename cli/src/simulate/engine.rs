//! The fleet as events in time: uploads, tasks, workers that start, work, are interrupted and go.
//!
//! Guarantees: the numbers of workers are decided by the very function that the supervisor decides by, with the same
//! constants; the same seed gives the same outcome; a worker that scale-in takes while it is at work is counted, and its
//! tasks are lost to it, so that "none was" is a finding and not a rule of the model.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use reelfleet_domain::scaling::{Load, POOLS, Pool, Scaler};

use super::load::{Arrivals, Shape};
use super::outcome::{Outcome, Sample};
use super::random::Random;

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The same seed, the same outcome.
    pub seed: u64,
    /// For so long.
    pub hours: f64,
    /// Uploads an hour, in the mean.
    pub per_hour: f64,
    /// How that changes.
    pub shape: Shape,
    /// Chunks of an upload, in the mean.
    pub chunks: f64,
    /// Chance of an interruption of a worker in an hour.
    pub spot_per_hour: f64,
    /// Seconds until a new worker takes tasks.
    pub start_s: f64,
    /// Seconds between two decisions.
    pub every_s: f64,
    /// Assets that a campaign makes anew, of those that are uploaded meanwhile.
    pub backfill: f64,
    /// Most workers of each pool, in place of the constants'.
    pub max: Option<u32>,
    /// Most transcoders for uploads and campaigns together, as on one box.
    pub shared: Option<u32>,
}

/// From the notice of an interruption to the end of the worker's drain (seconds), of the two minutes.
const GRACE_S: f64 = 100.0;
/// Campaigns keep so many of their tasks waiting for each of their workers.
const AHEAD: u64 = 3;
/// Places of two pools among the fleets.
const TRANSCODER: usize = 1;
const CAMPAIGN: usize = 3;

/// What a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Land,
    Probe,
    Plan,
    Opening,
    Chunk,
    Publish,
    Pictures,
}

#[derive(Debug, Clone, Copy)]
struct Task {
    asset: usize,
    kind: Kind,
    queue: usize,
    ms: u64,
}

#[derive(Debug)]
struct Asset {
    landed: u64,
    chunks: u32,
    left: u32,
    backfill: bool,
}

#[derive(Debug)]
struct Worker {
    pool: usize,
    up_at: u64,
    is_up: bool,
    /// It takes nothing more, and goes when it has nothing left.
    drains: bool,
    tasks: Vec<u64>,
}

/// The queues of a pool, the first goes first, and its workers.
#[derive(Debug)]
struct Fleet {
    name: &'static str,
    pool: Pool,
    queues: Vec<(String, VecDeque<u64>, u64)>,
    workers: BTreeSet<u64>,
    free: BTreeSet<u64>,
    scaler: Scaler,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive,
    Up(u64),
    Done(u64, u64),
    Notice(u64),
    Gone(u64),
    Look,
}

/// A run of one scenario.
pub struct Engine {
    scenario: Scenario,
    random: Random,
    arrivals: Arrivals,
    now: u64,
    number: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    fleets: Vec<Fleet>,
    workers: BTreeMap<u64, Worker>,
    tasks: BTreeMap<u64, Task>,
    assets: Vec<Asset>,
    /// Assets that the campaign has still to hand out.
    campaign: u64,
    outcome: Outcome,
}

fn ms(seconds: f64) -> u64 {
    (seconds * 1000.0) as u64
}

impl Engine {
    /// Runs a scenario.
    pub fn run(scenario: Scenario) -> Outcome {
        // Of the pool's queues the first goes first: what opens a stream before what goes on with one.
        let fleet = |(name, queues): (&'static str, &[&str])| {
            let mut pool = POOLS.get(name)?.clone();
            pool.max = scenario.max.unwrap_or(pool.max);
            let queues = queues.iter().map(|queue| ((*queue).to_owned(), VecDeque::new(), 0)).collect();
            let (workers, free) = (BTreeSet::new(), BTreeSet::new());
            Some(Fleet { name, pool, queues, workers, free, scaler: Scaler::default() })
        };
        let pools: [(&'static str, &[&str]); 4] = [
            ("intake", &["intake", "probe"]),
            ("transcoder", &["express", "transcode"]),
            ("thumbnailer", &["thumbnail"]),
            ("backfill", &["backfill"]),
        ];
        let mut random = Random::new(scenario.seed);
        // Their own stream, so that other random things leave the uploads as they are.
        let arrivals = Arrivals::new(scenario.shape, scenario.per_hour, Random::new(scenario.seed ^ 0x5eed));
        random.unit();
        let mut engine = Self {
            campaign: (scenario.backfill * scenario.per_hour * scenario.hours) as u64,
            random,
            arrivals,
            now: 0,
            number: 0,
            events: BinaryHeap::new(),
            fleets: pools.into_iter().filter_map(fleet).collect(),
            workers: BTreeMap::new(),
            tasks: BTreeMap::new(),
            assets: Vec::new(),
            outcome: Outcome::default(),
            scenario,
        };
        engine.go();
        engine.outcome
    }

    fn go(&mut self) {
        let end = ms(self.scenario.hours * 3_600.0);
        self.plan_arrival();
        self.at(0, Event::Look);
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            if now > end {
                break;
            }
            self.now = now;
            match event {
                Event::Arrive => {
                    self.plan_arrival();
                    self.land(false);
                }
                Event::Up(worker) => self.up(worker),
                Event::Done(worker, task) => self.done(worker, task),
                Event::Notice(worker) => self.notice(worker),
                Event::Gone(worker) => self.gone(worker),
                Event::Look => {
                    self.look();
                    self.at(self.now + ms(self.scenario.every_s), Event::Look);
                }
            }
        }
        let left: Vec<u64> = self.workers.keys().copied().collect();
        for worker in left {
            self.count_hours(worker, end);
        }
    }

    fn at(&mut self, at: u64, event: Event) {
        self.number += 1;
        self.events.push(Reverse((at, self.number, event)));
    }

    fn plan_arrival(&mut self) {
        if let Some(at) = self.arrivals.next() {
            self.at(ms(at), Event::Arrive);
        }
    }

    fn land(&mut self, backfill: bool) {
        let asset = self.assets.len();
        // From the asset's own number, so that a campaign beside them does not change what uploads are.
        let mut random = Random::new(self.scenario.seed.rotate_left(17) ^ self.outcome.landed(backfill));
        let chunks = random.count(self.scenario.chunks);
        self.assets.push(Asset { landed: self.now, chunks, left: chunks, backfill });
        self.outcome.note_landed(backfill);
        self.add(asset, if backfill { Kind::Plan } else { Kind::Land });
    }

    /// A task of an asset, on the queue where it belongs.
    fn add(&mut self, asset: usize, kind: Kind) {
        let (fleet, queue) = match kind {
            _ if self.assets[asset].backfill => (CAMPAIGN, 0),
            Kind::Land => (0, 0),
            Kind::Probe => (0, 1),
            Kind::Plan | Kind::Opening | Kind::Publish => (TRANSCODER, 0),
            Kind::Chunk => (TRANSCODER, 1),
            Kind::Pictures => (2, 0),
        };
        let fleet_of = &mut self.fleets[fleet];
        let seconds = fleet_of.pool.seconds.get(&fleet_of.queues[queue].0).copied().unwrap_or(1.0);
        let task = Task { asset, kind, queue, ms: ms(seconds * (0.5 + self.random.unit())).max(1) };
        self.number += 1;
        self.tasks.insert(self.number, task);
        self.fleets[fleet].queues[queue].1.push_back(self.number);
        self.hand_out(fleet);
    }

    /// Gives what waits to who is free.
    fn hand_out(&mut self, fleet: usize) {
        loop {
            let of = &mut self.fleets[fleet];
            let Some(worker) = of.free.first().copied() else { return };
            let Some(queue) = of.queues.iter_mut().find(|queue| !queue.1.is_empty()) else { return };
            let Some(task) = queue.1.pop_front() else { return };
            queue.2 += 1;
            let slots = of.pool.slots as usize;
            let Some(state) = self.workers.get_mut(&worker) else { return };
            state.tasks.push(task);
            if state.tasks.len() >= slots {
                of.free.remove(&worker);
            }
            let takes = self.tasks.get(&task).map_or(1, |task| task.ms);
            self.outcome.busy_ms += takes;
            self.at(self.now + takes, Event::Done(worker, task));
        }
    }

    fn done(&mut self, worker: u64, id: u64) {
        let Some(state) = self.workers.get_mut(&worker) else { return };
        let Some(place) = state.tasks.iter().position(|task| *task == id) else { return };
        state.tasks.swap_remove(place);
        let (fleet, drains) = (state.pool, state.drains);
        let Some(task) = self.tasks.remove(&id) else { return };
        self.fleets[fleet].queues[task.queue].2 -= 1;
        self.outcome.tasks += 1;
        if !drains {
            self.fleets[fleet].free.insert(worker);
        } else if self.workers.get(&worker).is_some_and(|state| state.tasks.is_empty()) {
            self.take_away(worker);
        }
        self.follow(task);
        self.hand_out(fleet);
    }

    /// What comes after a task.
    fn follow(&mut self, task: Task) {
        let asset = task.asset;
        match task.kind {
            Kind::Land => self.add(asset, Kind::Probe),
            Kind::Probe => {
                self.add(asset, Kind::Pictures);
                self.add(asset, Kind::Plan);
            }
            Kind::Plan => {
                self.add(asset, Kind::Opening);
                for _ in 1..self.assets[asset].chunks {
                    self.add(asset, Kind::Chunk);
                }
            }
            Kind::Opening | Kind::Chunk => {
                let (landed, now) = (self.assets[asset].landed, self.now);
                let of = &mut self.assets[asset];
                of.left -= 1;
                let (last, fresh) = (of.left == 0, !of.backfill);
                if task.kind == Kind::Opening && fresh {
                    self.outcome.playable_ms.push((landed, now - landed));
                }
                if last {
                    self.add(asset, Kind::Publish);
                }
            }
            Kind::Publish => {
                let of = &self.assets[asset];
                let took = self.now - of.landed;
                if of.backfill { self.outcome.backfilled += 1 } else { self.outcome.ready_ms.push((of.landed, took)) }
            }
            Kind::Pictures => {}
        }
    }

    fn start(&mut self, fleet: usize) {
        self.number += 1;
        let worker = self.number;
        let state = Worker { pool: fleet, up_at: self.now, is_up: false, drains: false, tasks: Vec::new() };
        self.workers.insert(worker, state);
        self.fleets[fleet].workers.insert(worker);
        self.at(self.now + ms(self.scenario.start_s), Event::Up(worker));
    }

    fn up(&mut self, worker: u64) {
        let Some(state) = self.workers.get_mut(&worker) else { return };
        (state.is_up, state.up_at) = (true, self.now);
        let fleet = state.pool;
        self.fleets[fleet].free.insert(worker);
        if self.scenario.spot_per_hour > 0.0 {
            let wait = self.random.wait(self.scenario.spot_per_hour / 3_600.0);
            self.at(self.now + ms(wait), Event::Notice(worker));
        }
        self.hand_out(fleet);
    }

    /// Two minutes' notice: it takes nothing more, and finishes what fits.
    fn notice(&mut self, worker: u64) {
        if self.workers.contains_key(&worker) {
            self.outcome.interruptions += 1;
            self.at(self.now + ms(GRACE_S), Event::Gone(worker));
            self.retire(worker);
        }
    }

    /// It takes nothing more, finishes what it has, and goes.
    fn retire(&mut self, worker: u64) {
        let Some(state) = self.workers.get_mut(&worker) else { return };
        state.drains = true;
        let (fleet, is_idle) = (&mut self.fleets[state.pool], state.tasks.is_empty());
        fleet.free.remove(&worker);
        fleet.workers.remove(&worker);
        if is_idle {
            self.take_away(worker);
        }
    }

    fn gone(&mut self, worker: u64) {
        self.outcome.given_back += self.take_away(worker);
    }

    /// Ends a worker; what it had at work goes back to the front of its queue. How many tasks that were.
    fn take_away(&mut self, worker: u64) -> u64 {
        self.count_hours(worker, self.now);
        let Some(state) = self.workers.remove(&worker) else { return 0 };
        let fleet = &mut self.fleets[state.pool];
        fleet.workers.remove(&worker);
        fleet.free.remove(&worker);
        let count = state.tasks.len() as u64;
        for id in state.tasks {
            if let Some(task) = self.tasks.get(&id) {
                fleet.queues[task.queue].2 -= 1;
                fleet.queues[task.queue].1.push_front(id);
            }
        }
        self.hand_out(state.pool);
        count
    }

    fn count_hours(&mut self, worker: u64, until: u64) {
        if let Some(state) = self.workers.get(&worker)
            && state.is_up
        {
            let slots = u64::from(self.fleets[state.pool].pool.slots);
            self.outcome.up_ms += until.saturating_sub(state.up_at);
            self.outcome.slot_ms += until.saturating_sub(state.up_at) * slots;
        }
    }

    /// One decision about every pool.
    fn look(&mut self) {
        self.hand_out_campaign();
        let at = i64::try_from(self.now).unwrap_or(i64::MAX);
        // Those of the campaign that still finish what they have count against what uploads may have.
        let campaign = self.workers.values().filter(|state| state.pool == CAMPAIGN).count() as u32;
        let mut left = self.scenario.shared.map(|shared| shared.saturating_sub(campaign));
        for fleet in 0..self.fleets.len() {
            let of = &mut self.fleets[fleet];
            let running = u32::try_from(of.workers.len()).unwrap_or(u32::MAX);
            let load = |(queue, waits, in_flight): &(String, VecDeque<u64>, u64)| Load {
                queue: queue.clone(),
                visible: waits.len() as u64,
                in_flight: *in_flight,
                seconds: None,
            };
            let loads: Vec<Load> = of.queues.iter().map(load).collect();
            let mut pool = of.pool.clone();
            if let (Some(left), TRANSCODER) = (left, fleet) {
                pool.max = pool.max.min(left.max(running));
            }
            let decision = of.scaler.decide(&pool, &loads, running, at);
            let (name, mut wanted) = (of.name, decision.workers);
            if fleet == TRANSCODER {
                // Uploads first: a campaign has what they leave, and makes room where they need more than there is.
                let uploads = u32::try_from(pool.needed(&loads)).unwrap_or(u32::MAX).max(wanted);
                left = self.scenario.shared.map(|shared| shared.saturating_sub(uploads));
            }
            if let (Some(left), CAMPAIGN) = (left, fleet) {
                wanted = wanted.min(left);
            }
            let up =
                of.workers.iter().filter(|worker| self.workers.get(worker).is_some_and(|state| state.is_up)).count();
            self.outcome.sample(Sample {
                pool: name,
                at_ms: self.now,
                needed: decision.needed,
                workers: running,
                up: up as u32,
                waiting: loads.iter().map(|load| load.visible).sum(),
                work_s: decision.work_s,
                target_s: pool.target_latency_s * f64::from(pool.slots),
            });
            if wanted != running {
                self.outcome.changes += 1;
            }
            for _ in running..wanted {
                self.start(fleet);
            }
            self.shrink(fleet, running.saturating_sub(wanted), wanted < decision.workers);
        }
    }

    /// Takes workers away: the idle first, as the supervisor does. Those that make room for others finish what they have.
    fn shrink(&mut self, fleet: usize, count: u32, makes_room: bool) {
        if count == 0 {
            return;
        }
        let busy = |worker: &u64| self.workers.get(worker).is_some_and(|state| !state.tasks.is_empty());
        let mut leaving: Vec<(bool, Reverse<u64>)> =
            self.fleets[fleet].workers.iter().map(|worker| (busy(worker), Reverse(*worker))).collect();
        leaving.sort_unstable();
        for (_, Reverse(worker)) in leaving.into_iter().take(count as usize) {
            if makes_room {
                self.retire(worker);
            } else {
                self.outcome.killed_by_scale_in += self.take_away(worker);
            }
        }
    }

    /// A campaign keeps a few tasks ahead of its workers, and no more.
    fn hand_out_campaign(&mut self) {
        while self.campaign > 0 {
            let of = &self.fleets[CAMPAIGN];
            let most = u64::from(of.pool.max).max(1) * AHEAD;
            let ahead: u64 = of.queues.iter().map(|queue| queue.1.len() as u64 + queue.2).sum();
            if ahead >= most {
                return;
            }
            self.campaign -= 1;
            self.land(true);
        }
    }
}
