//! `reelfleet estimate`: what a file will take and cost, before a byte of it is sent.
//!
//! Guarantee: the file is looked at by the jailed decoder and goes nowhere; a fleet that is there gives its own measured
//! speeds and prices, without one the estimate is by the embedded ones, and says so.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use reelfleet_domain::price_estimate::{Facts, Speeds, estimate};
use reelfleet_fleet::Config;
use reelfleet_media::wire::{MediaLimits, OutputHeader, Request};
use reelfleet_media::{Clocks, DecoderConfig, Decoders, Source, SourceError, copies, facts};
use serde_json::{Value, json};

use crate::place::Place;
use crate::table;

const CLOCKS: Clocks =
    Clocks { wall: Duration::from_secs(60), no_progress: Duration::from_secs(20), max_output_bytes: 4 << 20 };

/// Options of `estimate`.
#[derive(Args)]
pub struct EstimateArgs {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How often it will be watched, whole and in its largest rendition
    #[arg(long, default_value_t = 0, value_name = "N")]
    views: u64,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Prints the estimate of one file.
pub async fn run(args: EstimateArgs) -> anyhow::Result<()> {
    let known = Facts { views: args.views, ..look(&args.file).await? };
    let shown = match args.place.api() {
        Ok(api) => api.estimate(&asked(&known)).await?,
        // Without a fleet there is neither a measured speed nor another price.
        Err(_) => {
            let config = Config::from_env()?;
            let known = Facts { copied: config.copied(known.copied), ..known };
            estimate(&known, &Speeds::new(), &config.prices).shown()
        }
    };
    if args.json {
        println!("{shown}");
    } else {
        print!("{}", words(&shown));
    }
    Ok(())
}

/// As the API is asked.
fn asked(known: &Facts) -> Value {
    json!({
        "size": known.size,
        "type": known.media,
        "duration_ms": known.duration_ms,
        "width": known.width,
        "height": known.height,
        "fps": known.fps,
        "sound": known.sound,
        "copied": known.copied,
        "views": known.views,
    })
}

/// What a local file is, by the decoder.
async fn look(path: &Path) -> anyhow::Result<Facts> {
    let named = || format!("{} can't be read", path.display());
    let file = std::fs::File::open(path).with_context(named)?;
    let size = file.metadata().with_context(named)?.len();
    if size == 0 {
        bail!("{} is empty", path.display());
    }
    let decoders = tokio::task::spawn_blocking(|| Decoders::start(DecoderConfig::default())).await??;
    let (file, limits) = (Arc::new(file), MediaLimits::default());
    let (mut report, mut index) = (None, None);
    let ask = async |request: Request, heard: &mut dyn FnMut(OutputHeader)| -> anyhow::Result<()> {
        let mut session = decoders.open(request, source(file.clone(), size), CLOCKS).await?;
        while let Some(output) = session.next().await? {
            heard(output.header);
        }
        Ok(())
    };
    let probe = Request::Probe { size, limits: limits.clone() };
    let mut heard = |header| {
        if let OutputHeader::Probed(probed) = header {
            report = Some(*probed);
        }
    };
    ask(probe, &mut heard).await.with_context(|| format!("{} is not understood", path.display()))?;
    let report = report.context("the decoder ended without a report")?;
    // What can't be copied by what is known already needs no second look; and an index that can't be read leaves it open.
    if copies::copied(&report, None).is_none() {
        let mut heard = |header| {
            if let OutputHeader::Indexed(indexed) = header {
                index = Some(indexed);
            }
        };
        let _ = ask(Request::Index { size, limits }, &mut heard).await;
    }
    Ok(facts(size, &report, index.as_ref()))
}

fn source(file: Arc<std::fs::File>, size: u64) -> Source {
    let read = move |offset: u64, len: u32| {
        let file = Arc::clone(&file);
        let answer = async move {
            let read = move || {
                let mut part = vec![0; len as usize];
                file.read_exact_at(&mut part, offset).map(|()| Bytes::from(part))
            };
            let failed = |error: &dyn std::fmt::Display| SourceError::Io(error.to_string());
            tokio::task::spawn_blocking(read).await.map_err(|e| failed(&e))?.map_err(|e| failed(&e))
        };
        Box::pin(answer) as futures::future::BoxFuture<'static, _>
    };
    Source { size, pixels: 0, read: Arc::new(read) }
}

/// For a person.
fn words(shown: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let seconds = |name: &str| {
        let seconds = shown["cpu_seconds"][name].as_f64().unwrap_or(0.0);
        if seconds < 120.0 { format!("{seconds:.1} s") } else { format!("{:.1} min", seconds / 60.0) }
    };
    let bytes = |name: &str| table::bytes(number(&shown["output_bytes"][name]));
    let money = |name: &str| text(&shown["money"][name]);
    let row = |what: &str, likely: String, from: String, to: String| vec![what.to_owned(), likely, from, to];
    let rows = [
        row("processor time", seconds("likely"), seconds("low"), seconds("high")),
        row("bytes made", bytes("likely"), bytes("low"), bytes("high")),
        row("objects written", number(&shown["requests"]["puts"]).to_string(), String::new(), String::new()),
        row("money", money("likely"), money("low"), money("high")),
    ];
    let mut out = table::render(&["", "likely", "from", "to"], &rows);
    let speed = if shown["measured"] == true { "as this fleet was measured" } else { "no speed was measured yet" };
    let prices = &shown["prices"];
    out.push_str(&format!("\n{speed}; prices of {}, {}\n", text(&prices["region"]), text(&prices["as_of"])));
    for assumed in shown["assumed"].as_array().into_iter().flatten() {
        out.push_str(&format!("assumed: {}\n", text(assumed)));
    }
    out
}

#[cfg(test)]
mod tests {
    use reelfleet_domain::price::Prices;

    use super::*;

    #[test]
    fn a_person_reads_money_and_what_was_assumed() {
        let known = Facts { size: 50_000_000, ..Facts::default() };
        let words = words(&estimate(&known, &Speeds::new(), &Prices::embedded()).shown());
        for wanted in ["processor time", "money", " USD", "no speed was measured yet", "assumed: it is a video"] {
            assert!(words.contains(wanted), "{wanted}: {words}");
        }
        assert_eq!(asked(&known)["type"], Value::Null);
    }
}
