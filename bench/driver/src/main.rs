//! Drives decoders over local files, without the fleet, and says what it took as one line of JSON.
//!
//! Guarantee: a decoder here is the product's: the same program, jail, requests and range reads as in a worker. What is
//! timed begins when a session is asked for and ends with its `Done`; starting the zygote is told apart.

mod account;
mod ladder;
mod make;
mod pictures;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use reelfleet_media::wire::PictureFormat;
use serde_json::json;

use crate::make::Maker;

/// Measures decoders; `bench/run.py` calls it.
#[derive(Parser)]
struct Cli {
    /// Decode in this process, without a jail: what the jail is compared with.
    #[arg(long, global = true)]
    in_process: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The ladder's rungs of a source, with their caps.
    Rungs(ladder::Wanted),
    /// Encodes a source: pictures in every rung, and the sound beside them.
    Ladder(ladder::LadderArgs),
    /// Facts about a source.
    Probe(Repeated),
    /// Poster or storyboard of a video.
    Pictures(PicturesArgs),
    /// Sizes of a still picture.
    Still(StillArgs),
    /// Makes jailed children and waits for the first byte that each asks for.
    Jail(Repeated),
}

/// Something done again and again.
#[derive(Args, Clone)]
struct Repeated {
    file: PathBuf,
    #[arg(long, default_value_t = 1)]
    times: u32,
}

#[derive(Args)]
struct PicturesArgs {
    #[command(flatten)]
    repeated: Repeated,
    /// Widths of the poster.
    #[arg(long, value_delimiter = ',')]
    posters: Vec<u32>,
    #[arg(long, value_delimiter = ',', value_enum, default_value = "jpeg")]
    formats: Vec<Format>,
    /// Cells of the storyboard, at most.
    #[arg(long)]
    storyboard: Option<u32>,
    /// Where the pictures of the last time are written.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Args)]
struct StillArgs {
    #[command(flatten)]
    repeated: Repeated,
    #[arg(long, value_delimiter = ',', required = true)]
    widths: Vec<u32>,
    #[arg(long, value_delimiter = ',', value_enum, default_value = "jpeg")]
    formats: Vec<Format>,
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Jpeg,
    Webp,
}

impl From<Format> for PictureFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Jpeg => Self::Jpeg,
            Format::Webp => Self::Webp,
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let began = Instant::now();
    let maker = Maker::start(cli.in_process)?;
    let startup_s = began.elapsed().as_secs_f64();
    let mut told = match cli.command {
        Command::Rungs(wanted) => ladder::rungs(&maker, &wanted).await?,
        Command::Ladder(args) => ladder::ladder(&maker, &args).await?,
        Command::Probe(repeated) => pictures::probe(&maker, &repeated).await?,
        Command::Pictures(args) => pictures::pictures(&maker, &args).await?,
        Command::Still(args) => pictures::still(&maker, &args).await?,
        Command::Jail(repeated) => pictures::probe(&maker, &repeated).await?,
    };
    let object = told.as_object_mut().context("an object is told")?;
    object.insert("startup_s".into(), json!(startup_s));
    println!("{told}");
    Ok(())
}
