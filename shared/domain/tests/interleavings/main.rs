//! Any interleaving of processes, messages, crashes, pauses and lost answers keeps the invariants, and ends in one
//! result as soon as the faults stop.
//!
//! A process works by explicit effects; between any two it may die, sleep past its lease and come back, or not learn what
//! came of the last. Messages are doubled, late, out of order and lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod budget;
mod world;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};
use reelfleet_domain::invariants::{self, List, Snapshot};
use reelfleet_domain::{AssetState, TaskState};
use world::{Bug, LEASE_MS, PUBLISH, RUNS, World};

const PROCESSES: usize = 3;

/// One thing that happens; `who` and `pick` choose among what there is.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A process does its next effect; `luck` says how it fares.
    Go {
        who: usize,
        luck: u8,
    },
    /// A free process receives a message; a busy one gets nothing.
    Receive {
        who: usize,
        pick: usize,
        early: bool,
    },
    Die {
        who: usize,
    },
    /// It is stopped while so many other things happen; what it has in hand it keeps.
    Sleep {
        who: usize,
        events: u8,
    },
    Beat {
        who: usize,
    },
    Pass {
        ms: i64,
    },
    Relay {
        pick: usize,
        crash: bool,
    },
    Lose {
        pick: usize,
    },
    Double {
        pick: usize,
    },
    Sweep,
    Redrive {
        pick: usize,
    },
}

/// What a process has in hand; it forgets it when it dies.
#[derive(Debug, Clone)]
struct Hand {
    message: u64,
    task: usize,
    redrives: Option<i64>,
    token: i64,
    at: At,
    /// The last effect's operation, if its answer was lost.
    unsure: Option<String>,
}

#[derive(Debug, Clone)]
enum At {
    Lease,
    Fail,
    Commit(i64),
    Look,
    Etag {
        wanted: i64,
        list: List,
    },
    Put {
        wanted: i64,
        list: List,
        etag: u64,
    },
    Note {
        wanted: i64,
        list: List,
        etag: u64,
    },
    Playable {
        wanted: i64,
        list: List,
    },
    Publish {
        wanted: i64,
        list: List,
    },
    Acknowledge,
    /// It leaves the message to come back by itself.
    LetGo,
}

struct Stage {
    world: World,
    hands: Vec<Option<Hand>>,
    asleep: [u8; PROCESSES],
    steps: u64,
    /// As it was after the last effect.
    before: Snapshot,
}

impl Stage {
    fn new(bug: Bug) -> Self {
        let world = World::planned(bug);
        let before = world.snapshot();
        Self { world, hands: vec![None; PROCESSES], asleep: [0; PROCESSES], steps: 0, before }
    }

    fn happen(&mut self, event: Event) {
        for left in &mut self.asleep {
            *left = left.saturating_sub(1);
        }
        if let Event::Go { who, .. } | Event::Receive { who, .. } | Event::Beat { who } = event
            && self.asleep[who] > 0
        {
            return;
        }
        let world = &mut self.world;
        let among = |pick: usize, count: usize| (count > 0).then(|| pick % count);
        match event {
            Event::Go { who, luck } => self.go(who, luck),
            Event::Receive { who, pick, early } => {
                let now = world.now;
                let visible: Vec<usize> =
                    (0..world.queue.len()).filter(|at| early || world.queue[*at].visible_at <= now).collect();
                if let (None, Some(at)) = (&self.hands[who], among(pick, visible.len())) {
                    let message = &mut world.queue[visible[at]];
                    message.visible_at = now + LEASE_MS;
                    let (message, task, redrives) = (message.id, message.task, message.redrives);
                    self.hands[who] = Some(Hand { message, task, redrives, token: 0, at: At::Lease, unsure: None });
                }
            }
            Event::Die { who } => self.hands[who] = None,
            Event::Sleep { who, events } => self.asleep[who] = events,
            Event::Beat { who } => {
                let lost =
                    self.hands[who].as_ref().is_some_and(|hand| hand.token > 0 && !world.extend(hand.task, hand.token));
                if lost {
                    self.hands[who] = None;
                }
            }
            Event::Pass { ms } => world.now += ms,
            Event::Relay { pick, crash } => world.relay(pick, crash),
            Event::Lose { pick } => {
                if let Some(at) = among(pick, world.queue.len()) {
                    world.queue.swap_remove(at);
                }
            }
            Event::Double { pick } => {
                if let Some(at) = among(pick, world.queue.len()) {
                    let (task, redrives) = (world.queue[at].task, world.queue[at].redrives);
                    world.send(task, redrives);
                }
            }
            Event::Sweep => world.sweep(),
            Event::Redrive { pick } => {
                if let Some(at) = among(pick, world.letters.len()) {
                    let (task, token) = world.letters[at];
                    world.send(task, Some(token));
                }
            }
        }
    }

    /// The next effect of a process. Luck below 8: the effect is done and its answer is lost.
    fn go(&mut self, who: usize, luck: u8) {
        let Some(mut hand) = self.hands[who].take() else { return };
        self.steps += 1;
        let op = format!("{who}/{}", self.steps);
        let world = &mut self.world;
        if let Some(lost) = hand.unsure.take() {
            // Mine is there: it happened. Otherwise it is done again, as the same operation.
            if !world.settled(hand.task, &lost) {
                let next = effect(world, who, &mut hand, &lost, u8::MAX);
                hand.at = next;
            } else {
                hand.at = after(&hand);
            }
        } else if luck < 8 && matches!(hand.at, At::Commit(_) | At::Publish { .. }) {
            let next = effect(world, who, &mut hand, &op, u8::MAX);
            if !matches!(next, At::LetGo) {
                hand.unsure = Some(op);
            } else {
                hand.at = next;
            }
        } else {
            hand.at = effect(world, who, &mut hand, &op, luck);
        }
        match hand.at {
            At::LetGo => {}
            At::Acknowledge if hand.unsure.is_none() && luck.is_multiple_of(4) => {
                world.queue.retain(|message| message.id != hand.message);
            }
            _ => self.hands[who] = Some(hand),
        }
    }
}

/// Where an operation leads that turned out to be done.
fn after(hand: &Hand) -> At {
    match &hand.at {
        At::Commit(run) if run + 1 < RUNS => At::Commit(run + 1),
        _ => At::Acknowledge,
    }
}

/// Does what comes next and says what comes after it.
fn effect(world: &mut World, who: usize, hand: &mut Hand, op: &str, luck: u8) -> At {
    let (task, token) = (hand.task, hand.token);
    match hand.at.clone() {
        At::Lease => {
            if let Some(ended) = hand.redrives.take() {
                // Not its end, or not any more: an ordinary wake-up.
                let _ = world.revive(task, ended, op);
                return At::Lease;
            }
            let spent = world.is_spent(task);
            match world.lease(task, who, op) {
                Some(token) => hand.token = token,
                None if matches!(world.tasks[task].state, TaskState::Pending | TaskState::Leased)
                    && task != PUBLISH =>
                {
                    return At::LetGo;
                }
                None => return At::Acknowledge,
            }
            match task {
                _ if spent => At::Fail,
                PUBLISH => At::Look,
                _ => At::Commit((0..RUNS).find(|run| !world.runs.contains_key(&(task, *run))).unwrap_or(RUNS - 1)),
            }
        }
        At::Fail => done(world.fail(task, token, op), At::Acknowledge),
        At::Commit(_) if (8..24).contains(&luck) => done(world.hand_back(task, token, op, luck < 20, true), At::LetGo),
        At::Commit(_) if (24..32).contains(&luck) => done(world.hand_back(task, token, op, false, false), At::LetGo),
        At::Commit(run) if run > 0 && (32..48).contains(&luck) => {
            done(world.continue_later(task, token, op), At::Acknowledge)
        }
        // No other attempt would fare better.
        At::Commit(_) if (48..54).contains(&luck) => done(world.fail(task, token, op), At::Acknowledge),
        At::Commit(run) => match world.commit_run(task, token, op, run) {
            Ok(()) if run + 1 < RUNS => At::Commit(run + 1),
            outcome => done(outcome, At::Acknowledge),
        },
        At::Look => {
            let list = world.prefix();
            let wanted = world.tasks[PUBLISH].wanted;
            if world.bug == Bug::LateEtag && !list.entries.is_empty() {
                return At::Etag { wanted, list };
            }
            if list.entries.is_empty() {
                At::Publish { wanted, list }
            } else {
                At::Put { wanted, list, etag: world.noted }
            }
        }
        At::Etag { wanted, list } => At::Put { wanted, list, etag: world.noted },
        At::Put { wanted, list, etag } => match world.put(&list, etag) {
            Ok(etag) => At::Note { wanted, list, etag },
            Err((there, etag)) if there == list => At::Note { wanted, list, etag },
            Err((there, etag)) if invariants::extends(&there, &list) => At::Put { wanted, list, etag },
            Err(_) => done(world.hand_back(task, token, op, false, true), At::LetGo),
        },
        At::Note { wanted, list, etag } => done(world.note(token, etag), At::Playable { wanted, list }),
        At::Playable { wanted, list } => {
            world.playable();
            At::Publish { wanted, list }
        }
        At::Publish { list, .. } if list.ended => done(world.ready(token, op), At::Acknowledge),
        At::Publish { wanted, .. } => match world.published(token, op, wanted) {
            Ok(true) => At::Acknowledge,
            Ok(false) => At::Look,
            Err(()) => At::LetGo,
        },
        at @ (At::Acknowledge | At::LetGo) => at,
    }
}

fn done(outcome: world::Outcome, next: At) -> At {
    if outcome.is_ok() { next } else { At::LetGo }
}

fn event() -> impl Strategy<Value = Event> {
    let (who, pick) = (0..PROCESSES, any::<usize>());
    prop_oneof![
        12 => (who.clone(), any::<u8>()).prop_map(|(who, luck)| Event::Go { who, luck }),
        5 => (who.clone(), pick, prop::bool::weighted(0.2)).prop_map(|(who, pick, early)| Event::Receive { who, pick, early }),
        4 => (pick, prop::bool::weighted(0.2)).prop_map(|(pick, crash)| Event::Relay { pick, crash }),
        1 => who.clone().prop_map(|who| Event::Die { who }),
        1 => (who.clone(), 20..120u8).prop_map(|(who, events)| Event::Sleep { who, events }),
        1 => who.prop_map(|who| Event::Beat { who }),
        1 => prop_oneof![Just(1_500), Just(61_000), Just(130_000)].prop_map(|ms| Event::Pass { ms }),
        1 => pick.prop_map(|pick| Event::Lose { pick }),
        1 => pick.prop_map(|pick| Event::Double { pick }),
        1 => Just(Event::Sweep),
        1 => pick.prop_map(|pick| Event::Redrive { pick }),
    ]
}

/// Plays a schedule, then lets it come to rest. What is wrong, if anything is.
fn play(bug: Bug, events: &[Event]) -> Result<(), String> {
    let mut stage = Stage::new(bug);
    for event in events {
        watched(&mut stage, *event)?;
    }
    let calm = |who| [Event::Receive { who, pick: 0, early: false }, Event::Go { who, luck: 200 }, Event::Beat { who }];
    for round in 0..4_000 {
        let (world, idle) = (&stage.world, stage.hands.iter().all(Option::is_none));
        if idle && world.is_quiet() && world.asset == AssetState::Failed {
            // A person sends the dead letters back, one of them twice.
            for pick in (0..world.letters.len()).chain([0]) {
                watched(&mut stage, Event::Redrive { pick })?;
            }
        } else if idle && world.is_quiet() {
            return ended(world);
        }
        for event in
            (0..PROCESSES).flat_map(calm).chain([Event::Relay { pick: 0, crash: false }, Event::Pass { ms: 2_000 }])
        {
            watched(&mut stage, event)?;
        }
        if round % 30 == 0 {
            watched(&mut stage, Event::Sweep)?;
        }
    }
    Err(format!("it does not come to rest: {:#?}", stage.world))
}

fn watched(stage: &mut Stage, event: Event) -> Result<(), String> {
    // Nothing else changes a row.
    let works = matches!(event, Event::Go { who, .. } if stage.hands[who].is_some());
    stage.happen(event);
    if !works {
        return Ok(());
    }
    let after = stage.world.snapshot();
    let held = invariants::step(&stage.before, &after).and_then(|()| invariants::moment(&after));
    stage.before = after;
    held.map_err(|violation| format!("{event:?}: {violation}\n{:#?}", stage.world))
}

fn ended(world: &World) -> Result<(), String> {
    let keys: Vec<String> = world.runs.values().map(|(_, key)| key.clone()).collect();
    let whole = world.asset == AssetState::Ready && world.list == List { entries: keys, ended: true };
    let ready = world.log.iter().filter(|kind| **kind == "asset.ready").count();
    if whole && ready == 1 { Ok(()) } else { Err(format!("it came to rest without its one result: {world:#?}")) }
}

fn run(bug: Bug, cases: u32, max_shrink_iters: u32) -> Result<(), TestError<Vec<Event>>> {
    let mut runner = TestRunner::new_with_rng(
        Config { cases, failure_persistence: None, max_shrink_iters, ..Config::default() },
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    runner.run(&proptest::collection::vec(event(), 0..400), |events| play(bug, &events).map_err(TestCaseError::fail))
}

#[test]
fn any_interleaving_ends_in_one_result() {
    if let Err(error) = run(Bug::None, 250, 2_000) {
        panic!("{error}");
    }
}

/// The invariants are worth something: a rule that is broken on purpose is found.
#[test]
fn a_broken_rule_is_found() {
    for bug in [Bug::NoFence, Bug::SameToken, Bug::ForgetsWanted, Bug::BlindPut, Bug::LooseRedrive] {
        let found = run(bug, 1_000, 0);
        assert!(matches!(found, Err(TestError::Fail(..))), "{bug:?} goes unnoticed: {found:?}");
    }
}

/// A publisher reads the runs of the first chunk and sleeps through its lease; meanwhile all is committed and published by
/// another; then it goes on.
#[test]
fn an_overtaken_publisher_does_not_shorten_the_list() {
    let relay = [Event::Relay { pick: 0, crash: false }; 4];
    let takes = |who, pick| Event::Receive { who, pick, early: false };
    let goes = |who, effects: usize| std::iter::repeat_n(Event::Go { who, luck: 200 }, effects);
    let encodes = |who| [takes(who, 0)].into_iter().chain(goes(who, 4));
    let mut story: Vec<Event> = relay.into_iter().chain(encodes(0)).chain(relay).collect();
    story.extend([takes(1, 2)].into_iter().chain(goes(1, 2)));
    story.push(Event::Pass { ms: 130_000 });
    story.extend(encodes(0).chain(encodes(0)).chain([takes(2, 0)]).chain(goes(2, 8)).chain(goes(1, 6)));
    play(Bug::None, &story).unwrap();
    assert!(play(Bug::LateEtag, &story).is_err(), "the list is shortened and nobody notices");
}
