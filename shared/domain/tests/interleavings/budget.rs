//! Budgets under every order of reading and writing: intake, reviewers, sweepers, an operator and a person who deletes.
//!
//! Who decides reads first and writes later; the write looks again, as the catalog's compare-and-set does.

use proptest::prelude::*;
use reelfleet_domain::AssetState;
use reelfleet_domain::price_budget::fits;

const JOBS: usize = 4;

#[derive(Debug, Clone)]
struct Job {
    asset: AssetState,
    estimate: u64,
    reviewed: bool,
    starts: u32,
    parked_at: Option<usize>,
    before: Option<AssetState>,
}

/// What somebody has read and not yet written.
#[derive(Debug, Clone, Copy)]
struct Read {
    job: usize,
    may_start: bool,
}

#[derive(Debug, Clone)]
enum Event {
    /// Probed or approved, whichever is next: reads.
    Look(usize),
    /// Whoever has read writes.
    Write(usize),
    /// A sweeper, whole.
    Sweep,
    Budget(Option<u64>),
    NextDay,
    Delete(usize),
    Restore(usize),
}

#[derive(Debug)]
struct World {
    jobs: Vec<Job>,
    reads: Vec<Read>,
    budget: Option<u64>,
    started: u64,
    clock: usize,
    /// A broken rule: the write believes what was read.
    blind: bool,
}

impl World {
    fn new(blind: bool, reviewed: u8) -> Self {
        let job = |index: usize| Job {
            asset: AssetState::Uploaded,
            estimate: 1 + index as u64,
            reviewed: reviewed & (1 << index) != 0,
            starts: 0,
            parked_at: None,
            before: None,
        };
        let jobs = (0..JOBS).map(job).collect();
        Self { jobs, reads: Vec::new(), budget: Some(3), started: 0, clock: 0, blind }
    }

    fn to(&mut self, job: usize, state: AssetState) {
        assert!(self.jobs[job].asset.may_become(state), "{:?} to {state:?}", self.jobs[job].asset);
        self.jobs[job].asset = state;
    }

    fn start(&mut self, job: usize) -> bool {
        if !self.blind && !fits(self.budget, self.started, self.jobs[job].estimate) {
            return false;
        }
        self.to(job, AssetState::Processing);
        self.started += self.jobs[job].estimate;
        self.jobs[job].starts += 1;
        self.jobs[job].parked_at = None;
        assert!(
            self.budget.is_none_or(|most| self.started <= most),
            "the day holds {} of {:?}",
            self.started,
            self.budget
        );
        true
    }

    fn look(&mut self, job: usize) {
        let waits = self.jobs.iter().any(|j| j.asset == AssetState::Parked && fits(self.budget, 0, j.estimate));
        let may_start = fits(self.budget, self.started, self.jobs[job].estimate) && (self.budget.is_none() || !waits);
        self.reads.push(Read { job, may_start });
    }

    fn write(&mut self, pick: usize) {
        if self.reads.is_empty() {
            return;
        }
        let Read { job, may_start } = self.reads.remove(pick % self.reads.len());
        match (self.jobs[job].asset, self.jobs[job].reviewed) {
            (AssetState::Uploaded, true) => return self.to(job, AssetState::AwaitingApproval),
            (AssetState::Uploaded | AssetState::AwaitingApproval, _) => {}
            // Somebody was first, or it goes: the compare-and-set finds another state.
            _ => return,
        }
        if !(may_start && self.start(job)) {
            self.to(job, AssetState::Parked);
            self.jobs[job].parked_at = Some(self.clock);
        }
    }

    fn sweep(&mut self) {
        let mut waiting: Vec<usize> = (0..JOBS).filter(|job| self.jobs[*job].asset == AssetState::Parked).collect();
        waiting.sort_by_key(|job| self.jobs[*job].parked_at);
        for job in waiting {
            let estimate = self.jobs[job].estimate;
            if fits(self.budget, 0, estimate) && !(fits(self.budget, self.started, estimate) && self.start(job)) {
                break;
            }
        }
    }

    fn happen(&mut self, event: &Event) {
        self.clock += 1;
        match event {
            Event::Look(job) => self.look(*job),
            Event::Write(pick) => self.write(*pick),
            Event::Sweep => self.sweep(),
            // A budget below what was started today takes nothing back: it is judged from the next start on.
            Event::Budget(micros) => self.budget = micros.map(|most| most.max(self.started)),
            Event::NextDay => self.started = 0,
            Event::Delete(job) if self.jobs[*job].asset != AssetState::Deleting => {
                self.jobs[*job].before = Some(self.jobs[*job].asset);
                self.to(*job, AssetState::Deleting);
            }
            Event::Restore(job) if self.jobs[*job].asset == AssetState::Deleting => {
                let before = self.jobs[*job].before.take().unwrap();
                self.to(*job, before);
            }
            Event::Delete(_) | Event::Restore(_) => {}
        }
        for job in &self.jobs {
            assert!(job.starts <= 1, "it starts once: {job:?}");
            assert!(job.asset != AssetState::Parked || (job.starts == 0 && job.parked_at.is_some()), "{job:?}");
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let job = || 0..JOBS;
    prop_oneof![
        4 => job().prop_map(Event::Look),
        4 => job().prop_map(Event::Write),
        2 => Just(Event::Sweep),
        1 => proptest::option::of(0..12_u64).prop_map(Event::Budget),
        1 => Just(Event::NextDay),
        1 => job().prop_map(Event::Delete),
        1 => job().prop_map(Event::Restore),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// In any order a day is never passed, each job starts once, and once the budget is gone everything has started.
    #[test]
    fn no_order_passes_a_budget_or_strands_a_job(reviewed in any::<u8>(), story in proptest::collection::vec(event(), 0..60)) {
        let mut world = World::new(false, reviewed);
        for event in &story {
            world.happen(event);
        }
        world.happen(&Event::Budget(None));
        for job in 0..JOBS {
            for event in [Event::Restore(job), Event::Look(job), Event::Look(job)] {
                world.happen(&event);
            }
        }
        while !world.reads.is_empty() {
            world.happen(&Event::Write(0));
        }
        world.happen(&Event::Sweep);
        prop_assert!(world.jobs.iter().all(|job| job.starts == 1 && job.asset == AssetState::Processing), "{world:?}");
    }
}

/// The rule is looked at where it is broken: two that read before either writes would pass the day together.
#[test]
#[should_panic(expected = "the day holds")]
fn a_write_that_believes_what_was_read_is_found() {
    let mut world = World::new(true, 0);
    for event in [Event::Look(1), Event::Look(2), Event::Write(0), Event::Write(0)] {
        world.happen(&event);
    }
}
