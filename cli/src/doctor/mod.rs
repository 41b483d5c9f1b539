//! `reelfleet doctor`: looks whether everything that the fleet needs is there and fits together, and says what to do for
//! each thing that does not.
//!
//! Guarantee: looking changes nothing (but `--self-test`, which processes a film of its own and deletes it); one thing that is
//! wrong hides no other; every line that fails has a stable code and a cure. Exit code 0: nothing fails.

mod machine;
mod self_test;
mod wiring;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use reelfleet_fleet::Config;
use serde::Serialize;

use crate::reach::{Reached, Unreached};
use crate::up::ready::{self, Ready};
use crate::{status, worker};

/// Options of `doctor`.
#[derive(Args)]
pub struct DoctorArgs {
    /// Folder of a running `reelfleet up` [default: the environment]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Process a film of one second, from the bucket to the playlists, and delete it
    #[arg(long)]
    self_test: bool,
    /// How long the self-test may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120, requires = "self_test")]
    timeout: u64,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Ok,
    Warn,
    Fail,
}

/// One line.
#[derive(Debug, Clone, Serialize)]
struct Finding {
    /// Stable; `queue_missing` and the like.
    code: &'static str,
    health: Health,
    /// About what: a queue, a bucket, a variable.
    subject: String,
    said: String,
    /// What to do; empty where nothing is.
    cure: String,
}

/// What was found so far.
#[derive(Debug, Default)]
struct Chart(Vec<Finding>);

impl Chart {
    fn ok(&mut self, code: &'static str, subject: impl Into<String>, said: impl Into<String>) {
        self.note(code, Health::Ok, subject, said, "");
    }

    fn warn(&mut self, code: &'static str, subject: impl Into<String>, said: impl Into<String>, cure: &str) {
        self.note(code, Health::Warn, subject, said, cure);
    }

    fn fail(&mut self, code: &'static str, subject: impl Into<String>, said: impl Into<String>, cure: &str) {
        self.note(code, Health::Fail, subject, said, cure);
    }

    fn note(
        &mut self,
        code: &'static str,
        health: Health,
        subject: impl Into<String>,
        said: impl Into<String>,
        cure: &str,
    ) {
        self.0.push(Finding { code, health, subject: subject.into(), said: said.into(), cure: cure.to_owned() });
    }

    fn fails(&self) -> bool {
        self.0.iter().any(|finding| finding.health == Health::Fail)
    }
}

/// Looks, and says what is wrong.
pub async fn run(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let mut chart = Chart::default();
    let folder = args.data.as_deref();
    let ready = match folder.map(|folder| Ready::read(&ready::in_folder(folder))).transpose() {
        Ok(ready) => ready,
        Err(error) => {
            let said = format!("{error:#}");
            chart.fail(
                "not_running",
                "reelfleet up",
                said,
                "start it: reelfleet up --data DIR; or look with the environment alone",
            );
            return Ok(tell(&chart, args.json));
        }
    };
    machine::look(&mut chart, folder).await;
    if let Some(Reached { context, place, ahead_s }) = reached(&mut chart, ready.as_ref()).await {
        if let Some(ahead_s) = ahead_s {
            machine::clock(&mut chart, &place, ahead_s);
        }
        let catalog = worker::catalog(&context);
        wiring::look(&mut chart, &context).await;
        machine::database(&mut chart, &catalog).await;
        let gateway = ready.as_ref().map_or(context.config.public_url.clone(), |ready| ready.gateway.clone());
        machine::gateway(&mut chart, &context, &gateway).await;
        if args.self_test {
            // What is broken already would only be told once more, and late.
            if chart.fails() {
                chart.warn(
                    "self_test_left_out",
                    "self-test",
                    "not tried, since something else is broken",
                    "mend that first",
                );
            } else {
                self_test::run(&mut chart, &context, &catalog, Duration::from_secs(args.timeout)).await;
            }
        }
    }
    Ok(tell(&chart, args.json))
}

/// Configuration, endpoint and credentials: without them nothing else can be looked at.
async fn reached(chart: &mut Chart, ready: Option<&Ready>) -> Option<Reached> {
    let config = match Config::from_env() {
        Ok(config) => config,
        Err(error) => {
            let said = error.to_string().lines().next().unwrap_or_default().to_owned();
            chart.fail(
                "config",
                "environment",
                said,
                "correct the variable; `reelfleet worker --help` says what each means",
            );
            return None;
        }
    };
    if let Err(error) = config.validate() {
        chart.fail("config", error.variable, error.problem, "correct this variable, for every process");
        return None;
    }
    chart.ok("config", "environment", "every variable can be used, and they fit together");
    match status::reach(ready).await {
        Ok(reached) => {
            let region = &reached.context.config.region;
            chart.ok("credentials", region, "the endpoint answers and takes these credentials");
            Some(reached)
        }
        Err(error) => {
            let said = format!("{error:#}");
            let (code, cure) = match error.downcast_ref() {
                Some(Unreached::Clock { .. }) => ("clock", machine::SET_THE_CLOCK),
                Some(Unreached::Credentials { .. }) => (
                    "credentials",
                    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the task's role, of the account that has the queues",
                ),
                Some(Unreached::Unable { .. }) => (
                    "endpoint",
                    "try again in a minute; if it stays so, see that AWS_ENDPOINT_URL and AWS_REGION name where the queues are",
                ),
                _ => {
                    ("endpoint", "start `reelfleet up`, or set AWS_ENDPOINT_URL and AWS_REGION to where the queues are")
                }
            };
            chart.fail(code, "AWS", said, cure);
            None
        }
    }
}

fn tell(chart: &Chart, json: bool) -> ExitCode {
    if json {
        println!("{}", serde_json::to_string(&chart.0).unwrap_or_default());
    } else {
        for Finding { health, subject, said, cure, .. } in &chart.0 {
            let mark = match health {
                Health::Ok => "ok  ",
                Health::Warn => "warn",
                Health::Fail => "FAIL",
            };
            println!("{mark}  {subject}: {said}");
            if !cure.is_empty() {
                println!("      → {cure}");
            }
        }
        let count = |health| chart.0.iter().filter(|finding| finding.health == health).count();
        println!("\n{} ok, {} warnings, {} failures", count(Health::Ok), count(Health::Warn), count(Health::Fail));
    }
    if chart.fails() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
