//! `reelfleet assets`: what there is, and where it plays.
//!
//! Guarantee: it only reads, over the gateway, with an API key: what is shown is what that key may see.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::place::{Place, program};
use crate::table;
use crate::upload::client::Api;
use crate::upload::follow::Outcome;

/// Options of `assets`.
#[derive(Args)]
pub struct AssetsArgs {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only those in this state: uploaded, processing, playable, ready, refused, failed, deleting
    #[arg(long)]
    state: Option<String>,
    /// At most so many, newest first
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000), value_name = "N")]
    limit: u32,
    /// Print them as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Subcommand)]
enum Command {
    /// Show one, with the URLs of its playlist and pictures
    Show {
        /// Its id, or its source: s3://bucket/key
        #[arg(value_name = "ID|s3://BUCKET/KEY")]
        asset: String,
    },
}

/// Prints them.
pub async fn run(args: AssetsArgs) -> anyhow::Result<ExitCode> {
    let api = args.place.api()?;
    match &args.command {
        Some(Command::Show { asset }) => {
            let asset = find(&api, asset).await?;
            if args.json {
                println!("{asset}");
            } else {
                print!("{}", detail(asset));
            }
        }
        None => {
            let (assets, more) = api.assets(args.state.as_deref(), args.limit as usize).await?;
            if args.json {
                println!("{}", serde_json::to_string(&assets)?);
            } else if assets.is_empty() {
                eprintln!("no assets{}", args.state.map_or(String::new(), |state| format!(" in state {state}")));
            } else {
                print!("{}", list(&assets));
                if more {
                    eprintln!("and more: --limit N shows them");
                }
                eprintln!("`{} assets show ID` says where one plays", program());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn find(api: &Api, wanted: &str) -> anyhow::Result<Value> {
    let id = match wanted.strip_prefix("s3://") {
        Some(place) => {
            let (bucket, key) = place.split_once('/').context("a source is s3://bucket/key")?;
            let found = api.asset_of_object(bucket, key).await?;
            found.with_context(|| format!("nothing has landed at {}", table::shown(wanted, 200)))?
        }
        None => wanted.to_owned(),
    };
    let asset = api.asset(&id).await?;
    asset.with_context(|| format!("there is no asset {}", table::shown(wanted, 80)))
}

fn list(assets: &[Value]) -> String {
    let rows: Vec<Vec<String>> = assets
        .iter()
        .map(|asset| {
            let text = |field: &str| asset[field].as_str().unwrap_or_default().to_owned();
            let (width, height) = (asset["width"].as_u64(), asset["height"].as_u64());
            vec![
                text("id"),
                table::shown(&text("name"), 32),
                text("state"),
                text("media"),
                width.zip(height).map_or(String::new(), |(width, height)| format!("{width}×{height}")),
                asset["duration_ms"].as_i64().map_or(String::new(), |ms| table::seconds(Some(ms))),
                table::bytes(asset["source"]["size"].as_u64().unwrap_or(0)),
                asset["reason"]["code"].as_str().unwrap_or_default().to_owned(),
            ]
        })
        .collect();
    table::render(&["asset", "name", "state", "media", "picture", "length", "size", "reason"], &rows)
}

fn detail(asset: Value) -> String {
    let (name, source) = (asset["name"].as_str().unwrap_or_default().to_owned(), &asset["source"]);
    let of = |field: &str| source[field].as_str().unwrap_or_default();
    let source = format!("s3://{}/{}", of("bucket"), of("key"));
    let outcome = Outcome { name, source, asset };
    let percent = outcome.asset["progress"].as_f64().filter(|_| outcome.state() != "ready");
    let state = match percent {
        Some(percent) => format!("{}, {percent:.0} %", outcome.state()),
        None => outcome.state().to_owned(),
    };
    let lines = [
        ("asset", Some(outcome.id().to_owned())),
        ("name", Some(table::shown(&outcome.name, 120))),
        ("source", Some(table::shown(&outcome.source, 1_000))),
        ("state", Some(state)),
        ("reason", outcome.reason().map(|reason| table::shown(&reason, 400))),
        ("playable", outcome.playable_ms().map(|ms| format!("after {}", table::seconds(Some(ms))))),
        ("ready", outcome.ready_ms().map(|ms| format!("after {}", table::seconds(Some(ms))))),
        ("renditions", Some(outcome.renditions().join(" ")).filter(|names| !names.is_empty())),
        ("playlist", outcome.playlist().map(str::to_owned)),
        ("poster", outcome.poster().map(str::to_owned)),
        ("until", outcome.asset["deletion"]["restorable_until"].as_str().map(|at| format!("restorable until {at}"))),
    ];
    lines.iter().filter_map(|(what, text)| Some(format!("{what:<11} {}\n", text.as_ref()?))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_and_one_asset_are_shown_for_people() {
        let asset = json!({
            "id": "ast_1", "name": "a\u{1b}[31m.mp4", "state": "playable", "media": "video", "width": 1280,
            "height": 720, "duration_ms": 4_000, "source": {"bucket": "up", "key": "in/a.mp4", "size": 2_048},
            "reason": null, "progress": 41.7, "timings": {"playable_ms": 1_500, "ready_ms": null},
            "renditions": [{"name": "720p"}], "pictures": [{"kind": "poster", "width": 9, "url": "http://g/p/t/poster"}],
            "playback": {"url": "http://g/p/t/master.m3u8"}, "deletion": null,
        });
        let text = list(std::slice::from_ref(&asset));
        assert!(text.contains("ast_1") && text.contains("1280×720") && text.contains("4.0 s"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        let text = detail(asset);
        for wanted in
            ["state       playable, 42 %", "s3://up/in/a.mp4", "http://g/p/t/master.m3u8", "http://g/p/t/poster"]
        {
            assert!(text.contains(wanted), "{text}");
        }
        assert!(!text.contains("reason") && !text.contains("until"), "{text}");
    }
}
