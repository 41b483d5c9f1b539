//! What the simulation shows, as promises.

use super::engine::{Engine, Scenario};
use super::load::Shape;
use super::outcome::Outcome;

/// Spot interruptions, a day that goes from a fifth to nearly twice its mean, a thousand uploads an hour.
fn day() -> Scenario {
    Scenario {
        seed: 1,
        hours: 24.0,
        per_hour: 1_000.0,
        shape: Shape::Diurnal,
        chunks: 8.0,
        spot_per_hour: 0.05,
        start_s: 45.0,
        every_s: 10.0,
        backfill: 0.0,
        max: None,
        shared: None,
    }
}

fn idle(outcome: &Outcome) -> bool {
    ["transcoder", "thumbnailer", "backfill"].iter().all(|pool| outcome.of(pool).last().is_some_and(|s| s.workers == 0))
}

#[test]
fn over_a_day_the_backlog_keeps_its_target_and_no_task_is_killed_by_scale_in() {
    for seed in [1, 2] {
        let outcome = Engine::run(Scenario { seed, ..day() });
        // The first hour is the fleet's first: it comes from nothing.
        let backlogs = outcome.backlogs(3_600.0);
        assert!(backlogs.len() > 60, "{}", backlogs.len());
        let over: Vec<&f64> = backlogs.iter().filter(|share| **share > 1.1).collect();
        assert!(over.is_empty(), "more than ten per cent above the target: {over:?}");
        assert_eq!(outcome.killed_by_scale_in, 0);
        assert!(outcome.interruptions > 20, "{}", outcome.interruptions);
        let done = outcome.ready_ms.len() as u64;
        assert!(outcome.uploads() - done < 200, "{done} of {}", outcome.uploads());
        assert!(outcome.use_of_time() > 0.6, "paid for nothing: {}", outcome.use_of_time());
    }
}

#[test]
fn a_burst_is_worked_off_and_no_task_is_killed_by_scale_in() {
    // The last hour and a half brings nothing new.
    let outcome = Engine::run(Scenario { shape: Shape::Burst, hours: 3.0, ..day() });
    assert!(outcome.ready_s(0.99, 3_600.0) < 240.0, "{}", outcome.ready_s(0.99, 3_600.0));
    let most = outcome.most("transcoder");
    let last = outcome.of("transcoder").last().map_or(0, |sample| sample.workers);
    assert!(last * 3 < most && outcome.killed_by_scale_in == 0, "{last} of {most}");
}

#[test]
fn short_workers_long_tasks_and_many_interruptions_lose_no_task() {
    let stormy = Scenario { spot_per_hour: 20.0, hours: 3.0, ..day() };
    let outcome = Engine::run(stormy);
    assert!(outcome.interruptions > 500, "{}", outcome.interruptions);
    assert_eq!(outcome.killed_by_scale_in, 0);
    assert!(outcome.uploads() - (outcome.ready_ms.len() as u64) < 100);
}

#[test]
fn from_nothing_to_nothing() {
    let few = Scenario { per_hour: 6.0, shape: Shape::Steady, hours: 12.0, spot_per_hour: 0.0, ..day() };
    let outcome = Engine::run(few);
    let sizes: Vec<u32> = outcome.of("transcoder").map(|sample| sample.workers).collect();
    assert_eq!(sizes[0], 0);
    let (up, down) = sizes.windows(2).fold((0, 0), |(up, down), pair| {
        (up + u32::from(pair[0] == 0 && pair[1] > 0), down + u32::from(pair[0] > 0 && pair[1] == 0))
    });
    assert!(up > 10 && down > 10, "{up} times from nothing, {down} times to nothing");
    assert_eq!(outcome.killed_by_scale_in, 0);
    assert!(idle(&Engine::run(Scenario { per_hour: 0.0, hours: 1.0, ..day() })));
}

#[test]
fn a_campaign_of_ten_times_their_volume_does_not_change_what_uploads_wait() {
    let alone = Scenario { hours: 6.0, ..day() };
    for (shared, seed) in [(None, 1), (None, 2), (Some(180), 1), (Some(180), 2)] {
        let alone = Scenario { seed, shared, ..alone.clone() };
        let beside = Engine::run(Scenario { backfill: 10.0, ..alone.clone() });
        let alone = Engine::run(alone);
        assert_eq!(alone.uploads(), beside.uploads(), "the same uploads");
        for share in [0.5, 0.95] {
            let (before, after) = (alone.ready_s(share, 1_800.0), beside.ready_s(share, 1_800.0));
            assert!(
                (after / before - 1.0).abs() <= 0.1,
                "ready, {share}: {before} s alone, {after} s beside ({shared:?})"
            );
        }
        let (before, after) = (alone.playable_s(0.95, 1_800.0), beside.playable_s(0.95, 1_800.0));
        assert!((after / before - 1.0).abs() <= 0.1, "playable: {before} s alone, {after} s beside ({shared:?})");
        assert_eq!(beside.killed_by_scale_in, 0);
        let share = beside.backfilled as f64 / beside.uploads() as f64;
        assert!(share > if shared.is_none() { 9.0 } else { 1.0 }, "the campaign did {share} times their number");
    }
}

#[test]
fn the_same_seed_gives_the_same_figures_and_another_does_not() {
    let of = |seed| {
        let outcome = Engine::run(Scenario { seed, hours: 2.0, ..day() });
        (outcome.ready_ms.clone(), outcome.changes, outcome.busy_ms)
    };
    assert_eq!(of(5), of(5));
    assert_ne!(of(5).0, of(6).0);
}
