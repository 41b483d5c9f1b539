//! `reelfleet simulate`: how the fleet would do, before it costs anything.
//!
//! Guarantee: it decides by the formula of `domain` with the constants of `schema/scaling.json`; the same arguments give
//! the same figures; nothing is read from or written to anywhere but the folder that was named.

mod engine;
mod load;
mod outcome;
mod plot;
mod random;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use self::engine::{Engine, Scenario};
use self::load::Shape;
use self::outcome::Outcome;
use self::plot::{Line, Plot};
use crate::table;

/// Uploads an hour of a sweep.
const DECADES: [f64; 6] = [10.0, 100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0];
/// So many uploads show enough.
const ENOUGH_UPLOADS: f64 = 40_000.0;

/// A number from `LEAST` to `MOST`.
fn within<const LEAST: u32, const MOST: u32>(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (f64::from(LEAST)..=f64::from(MOST)).contains(number));
    number.ok_or_else(|| format!("a number from {LEAST} to {MOST}"))
}

/// Options of `simulate`.
#[derive(Args)]
pub struct SimulateArgs {
    /// Uploads an hour, in the mean [default: each power of ten from 10 to 1,000,000]
    #[arg(long, value_name = "N", value_parser = within::<1, 10_000_000>)]
    assets_per_hour: Vec<f64>,
    /// How the rate changes
    #[arg(long, value_enum, default_value_t = Shape::Steady)]
    shape: Shape,
    /// Simulated time [default: a day of a diurnal load, else as long as it takes to see]
    #[arg(long, value_name = "HOURS", value_parser = within::<1, 720>)]
    hours: Option<f64>,
    /// Chunks of an upload, in the mean: one for every 16 s of video
    #[arg(long, default_value_t = 8.0, value_name = "N", value_parser = within::<1, 10_000>)]
    chunks: f64,
    /// Chance that a worker is interrupted within an hour
    #[arg(long, default_value_t = 0.05, value_name = "SHARE", value_parser = within::<0, 1>)]
    spot: f64,
    /// Seconds until a new worker takes tasks
    #[arg(long, default_value_t = 45.0, value_name = "SECONDS", value_parser = within::<0, 3_600>)]
    start: f64,
    /// Seconds between two decisions
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS", value_parser = within::<1, 3_600>)]
    every: f64,
    /// A campaign beside them that makes so many times their number anew
    #[arg(long, default_value_t = 0.0, value_name = "TIMES", value_parser = within::<0, 100>)]
    backfill: f64,
    /// Most workers of a pool [default: those of schema/scaling.json; of a sweep: none, to see what is needed]
    #[arg(long, value_name = "N")]
    max: Option<u32>,
    /// Most transcoders of uploads and campaign together, as on one machine
    #[arg(long, value_name = "N")]
    shared: Option<u32>,
    /// The same seed, the same figures
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write plots (SVG) into this folder
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Simulates, prints a table, writes the plots.
pub fn run(args: &SimulateArgs) -> anyhow::Result<()> {
    let rates = if args.assets_per_hour.is_empty() { DECADES.to_vec() } else { args.assets_per_hour.clone() };
    let sweeps = rates.len() > 1;
    let mut runs = Vec::new();
    for per_hour in rates {
        let scenario = args.scenario(per_hour, sweeps);
        let outcome = Engine::run(scenario.clone());
        runs.push((scenario, outcome));
    }
    if let Some(folder) = &args.plots {
        std::fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
        for (name, plot) in plots(&runs) {
            write(folder, &name, &plot)?;
        }
    }
    if args.json {
        println!("{}", Value::Array(runs.iter().map(|(scenario, outcome)| figures(scenario, outcome)).collect()));
    } else {
        print!("{}", text(&runs));
    }
    Ok(())
}

impl SimulateArgs {
    fn scenario(&self, per_hour: f64, sweeps: bool) -> Scenario {
        let to_see = match self.shape {
            Shape::Diurnal => 24.0,
            Shape::Burst => 3.0,
            Shape::Steady => (ENOUGH_UPLOADS / per_hour).clamp(0.5, 48.0),
        };
        Scenario {
            seed: self.seed,
            hours: self.hours.unwrap_or(to_see),
            per_hour,
            shape: self.shape,
            chunks: self.chunks,
            spot_per_hour: self.spot,
            start_s: self.start,
            every_s: self.every.max(1.0),
            backfill: self.backfill,
            max: self.max.or(sweeps.then_some(u32::MAX)),
            shared: self.shared,
        }
    }
}

/// The first half of what is seen of a steady load is how it comes up from nothing.
fn settled_s(scenario: &Scenario) -> f64 {
    (scenario.hours * 1_800.0).min(3_600.0)
}

fn figures(scenario: &Scenario, outcome: &Outcome) -> Value {
    let from = settled_s(scenario);
    let worst = outcome
        .backlogs(from)
        .into_iter()
        .fold(None, |worst: Option<f64>, one| Some(worst.map_or(one, |w| w.max(one))));
    json!({
        "assets_per_hour": scenario.per_hour,
        "hours": scenario.hours,
        "uploads": outcome.uploads(),
        "ready_p50_s": outcome.ready_s(0.5, from),
        "ready_p95_s": outcome.ready_s(0.95, from),
        "playable_p95_s": outcome.playable_s(0.95, from),
        "transcoders_mean": outcome.mean("transcoder", from),
        "transcoders_most": outcome.most("transcoder"),
        "worst_backlog_of_target": worst,
        "use_of_time": outcome.use_of_time(),
        "worker_hours": outcome.worker_hours(),
        "tasks_per_second": outcome.tasks as f64 / (scenario.hours * 3_600.0),
        "changes": outcome.changes,
        "interruptions": outcome.interruptions,
        "given_back": outcome.given_back,
        "killed_by_scale_in": outcome.killed_by_scale_in,
        "backfilled": outcome.backfilled,
    })
}

fn text(runs: &[(Scenario, Outcome)]) -> String {
    let headings = [
        "uploads/h",
        "hours",
        "tasks/s",
        "transcoders",
        "most",
        "ready p50",
        "p95",
        "playable p95",
        "backlog",
        "in use",
        "worker-h/1000",
        "interrupted",
        "given back",
        "killed",
        "backfilled",
    ];
    let row = |(scenario, outcome): &(Scenario, Outcome)| {
        let of = figures(scenario, outcome);
        let number = |name: &str| of[name].as_f64().unwrap_or(0.0);
        let backlog = of["worst_backlog_of_target"].as_f64();
        vec![
            format!("{}", scenario.per_hour),
            format!("{:.1}", scenario.hours),
            format!("{:.1}", number("tasks_per_second")),
            format!("{:.1}", number("transcoders_mean")),
            format!("{}", number("transcoders_most")),
            format!("{:.0} s", number("ready_p50_s")),
            format!("{:.0} s", number("ready_p95_s")),
            format!("{:.0} s", number("playable_p95_s")),
            backlog.map_or_else(|| "—".to_owned(), |share| format!("{:.0} %", share * 100.0)),
            format!("{:.0} %", number("use_of_time") * 100.0),
            format!("{:.0}", number("worker_hours") * 1_000.0 / (outcome.uploads().max(1) + outcome.backfilled) as f64),
            format!("{}", number("interruptions")),
            format!("{}", number("given_back")),
            format!("{}", number("killed_by_scale_in")),
            format!("{}", number("backfilled")),
        ]
    };
    let rows: Vec<Vec<String>> = runs.iter().map(row).collect();
    table::render(&headings, &rows)
}

/// Plots by name: of a sweep over its rates, of one run over its time.
fn plots(runs: &[(Scenario, Outcome)]) -> Vec<(String, Plot)> {
    let line = |name: &str, points| Line { name: name.to_owned(), points };
    let [(scenario, outcome)] = runs else {
        let over = |value: &dyn Fn(&Scenario, &Outcome) -> f64| -> Vec<(f64, f64)> {
            runs.iter().map(|(scenario, outcome)| (scenario.per_hour, value(scenario, outcome))).collect()
        };
        let ready = |share: f64| over(&|scenario, outcome| outcome.ready_s(share, settled_s(scenario)));
        let workers = over(&|scenario, outcome| outcome.mean("transcoder", settled_s(scenario)));
        let plot = |title: &str, y, lines| Plot { title: title.to_owned(), x: "uploads an hour", y, log: true, lines };
        return vec![
            (
                "workers-by-rate".to_owned(),
                plot("Transcoders by rate of uploads", "transcoders", vec![line("mean", workers)]),
            ),
            (
                "latency-by-rate".to_owned(),
                plot(
                    "Time from landing by rate of uploads",
                    "seconds",
                    vec![
                        line("ready, p95", ready(0.95)),
                        line("ready, p50", ready(0.5)),
                        line("playable, p95", over(&|scenario, outcome| outcome.playable_s(0.95, settled_s(scenario)))),
                    ],
                ),
            ),
        ];
    };
    let over = |pool: &'static str, value: &dyn Fn(&outcome::Sample) -> f64| -> Vec<(f64, f64)> {
        outcome.of(pool).map(|sample| (sample.at_ms as f64 / 3_600_000.0, value(sample))).collect()
    };
    let about = format!("{} uploads an hour", scenario.per_hour);
    let mut workers = vec![
        line("there", over("transcoder", &|sample| f64::from(sample.workers))),
        line("needed", over("transcoder", &|sample| f64::from(sample.needed))),
    ];
    if scenario.backfill > 0.0 {
        workers.push(line("of the campaign", over("backfill", &|sample| f64::from(sample.workers))));
    }
    let backlog = over("transcoder", &|sample| sample.work_s / f64::from(sample.up.max(1)));
    let target = over("transcoder", &|sample| sample.target_s);
    let plot = |title: String, y, lines| Plot { title, x: "hours", y, log: false, lines };
    vec![
        ("workers".to_owned(), plot(format!("Transcoders, {about}"), "transcoders", workers)),
        (
            "backlog".to_owned(),
            plot(
                format!("Work before each transcoder, {about}"),
                "seconds",
                vec![line("work", backlog), line("target", target)],
            ),
        ),
        (
            "waiting".to_owned(),
            plot(
                format!("Tasks that wait, {about}"),
                "tasks",
                vec![
                    line("transcoder", over("transcoder", &|sample| sample.waiting as f64)),
                    line("thumbnailer", over("thumbnailer", &|sample| sample.waiting as f64)),
                    line("intake", over("intake", &|sample| sample.waiting as f64)),
                ],
            ),
        ),
    ]
}

fn write(folder: &Path, name: &str, plot: &Plot) -> anyhow::Result<()> {
    let path = folder.join(format!("{name}.svg"));
    std::fs::write(&path, plot.svg()).with_context(|| format!("{} can't be written", path.display()))
}
