#![allow(dead_code)]
mod engine; mod load; mod outcome; mod random;
use engine::{Engine, Scenario}; use load::Shape;
fn main() {
        let base = Scenario { seed: 1, hours: 24.0, per_hour: 1000.0, shape: Shape::Diurnal, chunks: 8.0, spot_per_hour: 0.05, start_s: 45.0, every_s: 10.0, backfill: 0.0, max: None, shared: None };
        for (name, s) in [("day", base.clone()), ("backfill", Scenario { backfill: 10.0, hours: 12.0, ..base.clone() }), ("nobackfill", Scenario { hours: 12.0, ..base.clone() }),
           ("shared", Scenario { backfill: 10.0, shared: Some(120), hours: 12.0, ..base.clone() }), ("noshared", Scenario { shared: Some(120), hours: 12.0, ..base.clone() }),
           ("burst", Scenario { shape: Shape::Burst, hours: 3.0, ..base.clone() })] {
            let t = std::time::Instant::now();
            let o = Engine::run(s);
            let mut b = o.backlogs(3600.0); b.sort_by(f64::total_cmp);
            eprintln!("{name}: {:?} up {} tasks {} ready p50 {:.0} p95 {:.0} playable {:.0} killed {} int {} back {} changes {} use {:.2} hours {:.0} most {} bf {} backlogs {:?} .. {:?}", t.elapsed(), o.uploads(), o.tasks, o.ready_s(0.5, 3600.), o.ready_s(0.95,3600.), o.playable_s(0.95), o.killed_by_scale_in, o.interruptions, o.given_back, o.changes, o.use_of_time(), o.worker_hours(), o.most("transcoder"), o.backfilled, b.first(), b.last());
        }
}
