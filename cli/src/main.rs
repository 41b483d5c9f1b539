//! The `reelfleet` executable: one program, many roles.
//!
//! Guarantee: what a command can't do is refused in one line on standard error and a non-zero exit code; what programs
//! read goes to standard output, what people read beside it to standard error.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod assets;
mod backfill;
mod backup;
mod chaos;
mod demo;
mod dlq;
mod doctor;
mod env;
mod estimate;
mod health;
mod http_client;
mod invite;
mod lifeline;
mod listen;
mod local;
mod operator;
mod place;
mod private_file;
mod reach;
mod replay;
mod scale;
mod simulate;
mod spent;
mod status;
mod table;
mod up;
mod upload;
mod verify;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Turns whatever lands in an uploads bucket into something a browser can play
#[derive(Parser)]
#[command(name = "reelfleet", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the embedded AWS-compatible endpoint alone
    Local(local::LocalArgs),
    /// Run everything on this machine
    Up(up::UpArgs),
    /// Run one worker
    Worker(Box<worker::WorkerArgs>),
    /// Run the HTTP API
    Gateway(Box<worker::GatewayArgs>),
    /// Bring the database's schema up to this version
    Migrate(Box<worker::MigrateArgs>),
    /// Make buckets, queues, topics and schema on an endpoint, as `up` does; on AWS, Terraform does it
    Provision(Box<worker::ProvisionArgs>),
    /// Copy a folder of `up` or `local` while it runs; `up --data COPY` starts from it
    Backup(backup::BackupArgs),
    /// Upload files and watch until they are ready
    Upload(upload::UploadArgs),
    /// Say what a file will take and cost, before it is uploaded
    Estimate(estimate::EstimateArgs),
    /// List assets; show one, with where it plays
    Assets(assets::AssetsArgs),
    /// Print what a shell needs to use a running `reelfleet up`, for eval
    Env(env::EnvArgs),
    /// Show assets, tasks, queues and processes
    Status(status::StatusArgs),
    /// Say how many workers there are, or let the work decide
    Scale(scale::ScaleArgs),
    /// Let workers take no new tasks; what is at work goes on
    Pause(scale::PauseArgs),
    /// Let them take tasks again
    Resume(scale::PauseArgs),
    /// Pause, and wait until nothing is at work
    Drain(scale::DrainArgs),
    /// Try an asset again that has failed
    Retry(replay::RetryArgs),
    /// Do a step of a ready asset again
    Replay(replay::ReplayArgs),
    /// Make anew what landed before a date, behind everything else
    Backfill(backfill::BackfillArgs),
    /// Show what was estimated and spent, by tenant and day
    Spent(spent::SpentArgs),
    /// Say what a tenant may start within a day: what is beyond waits
    Budget(spent::BudgetArgs),
    /// Make a link by which somebody may sign up, into any tenant
    Invite(invite::InviteArgs),
    /// Simulate the fleet: workers, latencies and backlogs by rate of uploads
    Simulate(simulate::SimulateArgs),
    /// Show dead letters, send them back, throw them away
    Dlq(dlq::DlqArgs),
    /// Ask a process of this machine whether it lives: exit code 0 if it does
    Health(health::HealthArgs),
    /// Look whether all that the fleet needs is there; say what to do where it is not
    Doctor(doctor::DoctorArgs),
    /// Check that buckets, rows, queues and outputs fit together
    Verify(verify::VerifyArgs),
    /// Run everything, send real videos through, show what comes out
    Demo(demo::DemoArgs),
    /// Raise a storm over a whole fleet and judge whether every promise holds
    Chaos(chaos::ChaosArgs),
}

fn main() -> ExitCode {
    end_with_the_pipe();
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&anyhow::Error::new(error).context("the runtime can't be started")),
    };
    let outcome = runtime.block_on(run(cli.command));
    // Threads that wait for a file or for standard input must not keep the process alive.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(error) => refuse(&error),
    }
}

/// Whoever reads our output may have read enough (`reelfleet assets | head`): that is an end, and nobody's failure.
fn end_with_the_pipe() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload_as_str().unwrap_or_default();
        if said.starts_with("failed printing to stdout") && said.contains("Broken pipe") {
            std::process::exit(0);
        }
        usual(panic);
    }));
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Local(args) => local::run(args).await?,
        Command::Up(args) => up::run(args).await?,
        Command::Worker(args) => worker::run(*args).await?,
        Command::Gateway(args) => worker::gateway(*args).await?,
        Command::Migrate(args) => worker::migrate(*args).await?,
        Command::Provision(args) => worker::provision(*args).await?,
        Command::Backup(args) => backup::run(args).await?,
        Command::Doctor(args) => return doctor::run(args).await,
        Command::Upload(args) => return upload::run(args).await,
        Command::Assets(args) => return assets::run(args).await,
        Command::Env(args) => env::run(&args)?,
        Command::Status(args) => status::run(args).await?,
        Command::Scale(args) => scale::scale(args).await?,
        Command::Pause(args) => scale::pause(args).await?,
        Command::Resume(args) => scale::resume(args).await?,
        Command::Drain(args) => scale::drain(args).await?,
        Command::Retry(args) => replay::retry(args).await?,
        Command::Replay(args) => replay::replay(args).await?,
        Command::Backfill(args) => backfill::run(args).await?,
        Command::Estimate(args) => estimate::run(args).await?,
        Command::Spent(args) => spent::spent(args).await?,
        Command::Budget(args) => spent::budget(args).await?,
        Command::Invite(args) => invite::run(args).await?,
        Command::Simulate(args) => simulate::run(&args)?,
        Command::Dlq(args) => dlq::run(args).await?,
        Command::Health(args) => health::run(args).await?,
        Command::Verify(args) => return verify::run(args).await,
        Command::Demo(args) => return demo::run(args).await,
        Command::Chaos(args) => return chaos::run(args).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// The error with its causes, in one line.
fn refuse(error: &anyhow::Error) -> ExitCode {
    let line = format!("{error:#}").replace(['\r', '\n'], " ");
    eprintln!("reelfleet: {line}");
    ExitCode::FAILURE
}
