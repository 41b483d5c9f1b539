//! `reelfleet local`: the embedded endpoint alone.
//!
//! Guarantee: the first line on standard output is one JSON object and is written once requests are answered; SIGTERM
//! ends the process with code 0 after the requests in flight.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use reelfleet_fleet::Shutdown;
use reelfleet_local::{LocalConfig, RdsBackend};
use reelfleet_telemetry::Format;

use crate::{lifeline, listen};

/// The endpoint cuts requests off by itself after 10 s.
const GRACE: Duration = Duration::from_secs(10);

/// Options of `local`. The credentials that it accepts are those of its environment.
#[derive(Args)]
pub struct LocalArgs {
    /// Folder of all data; made if it is missing
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_parser = listen::address, value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// URL of a PostgreSQL server for the RDS Data API, instead of SQLite in the folder
    #[arg(long, env = "REELFLEET_LOCAL_POSTGRES", hide_env_values = true, value_name = "URL")]
    postgres: Option<String>,
    /// URL by which clients reach the endpoint, where that is not the address listened on
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// MiB of the disk that uploads leave free; below it they are refused, and everything else goes on
    #[arg(long, env = "REELFLEET_LOCAL_RESERVE_MIB", default_value_t = 256, value_name = "MIB")]
    reserve_mib: u32,
    /// JSON file of faults to be suffered on purpose, as docs/faults.md describes them
    #[arg(long, env = "REELFLEET_LOCAL_FAULTS", value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Region that ARNs carry
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1")]
    region: String,
    /// Account that ARNs and queue URLs carry
    #[arg(long, env = "REELFLEET_ACCOUNT", default_value = "000000000000")]
    account: String,
}

/// Serves until SIGTERM or SIGINT.
pub async fn run(args: LocalArgs) -> anyhow::Result<()> {
    reelfleet_telemetry::init("local", Format::Pretty)?;
    let config = LocalConfig {
        listen: args.listen,
        public_url: args.public_url,
        region: args.region,
        account_id: args.account,
        rds: args.postgres.map(|url| RdsBackend::Postgres { url }),
        reserve_bytes: u64::from(args.reserve_mib) << 20,
        faults: args.faults,
        ..LocalConfig::new(args.data, credential("AWS_ACCESS_KEY_ID")?, credential("AWS_SECRET_ACCESS_KEY")?)
    };
    let region = config.region.clone();
    let shutdown = Shutdown::new(GRACE);
    shutdown.listen()?;
    lifeline::watch(&shutdown, lifeline::Then::Linger)?;
    let bound = reelfleet_local::bind(config).await?;
    tracing::info!(address = %bound.addr(), "endpoint listens");
    let line = serde_json::json!({ "aws_endpoint": bound.url(), "region": region });
    let mut out = std::io::stdout().lock();
    // Nobody may be reading; the endpoint serves all the same.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    drop(out);
    bound.serve(shutdown.draining().cancelled()).await;
    Ok(())
}

fn credential(variable: &str) -> anyhow::Result<String> {
    std::env::var(variable)
        .ok()
        .filter(|value| !value.is_empty())
        .with_context(|| format!("{variable} is not set: the endpoint accepts the credentials of its environment"))
}
