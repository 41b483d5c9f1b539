//! `reelfleet demo`: runs everything, sends real videos through, shows what comes out.
//!
//! Guarantee: exit code 0 only if every video became ready and its playlist is served; whatever happens, nothing that it
//! started stays behind (but with `--keep`, until Ctrl-C).

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_sdk_s3::primitives::ByteStream;
use clap::Args;
use http::Request;
use reelfleet_fleet::{Clock, Ids};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::http_client::{Http, empty};
use crate::place::program;
use crate::up::child::Fleet;
use crate::up::ready::Ready;
use crate::upload::Uploader;
use crate::upload::client::Api;
use crate::upload::follow::{self, Outcome, Tracked};
use crate::upload::show::Show;
use crate::upload::watch::{Fact, Watch};
use crate::{private_file, table};

/// A key such as people make: spaces, signs that URLs and forms treat in their own ways, an emoji.
const DROPPED: &str = "drops/Ferien & Meer (1+1=100%) 🎬.mp4";
/// From the drop to the asset: notification, queue, intake.
const LANDING: Duration = Duration::from_secs(30);
const FETCH: Duration = Duration::from_secs(10);

/// Options of `demo`.
#[derive(Args)]
pub struct DemoArgs {
    /// Write what came out as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Go on running, to look at and play the results, until Ctrl-C; the folder stays
    #[arg(long)]
    keep: bool,
    /// One or two videos: the first goes up through the API, the other is dropped into the bucket
    #[arg(long, env = "REELFLEET_DEMO_MEDIA", value_delimiter = ':', num_args = 1..=2, required = true, value_name = "FILE")]
    media: Vec<PathBuf>,
    /// Folder of everything [default: one that is deleted afterwards]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Seconds until it counts as failed
    #[arg(long, default_value_t = 300)]
    timeout_seconds: u64,
}

/// Runs the demo.
pub async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    for media in &args.media {
        anyhow::ensure!(
            media.is_file(),
            "{} is no file: the demo needs a video (`make media` makes one)",
            media.display()
        );
    }
    let folder = match &args.data {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("reelfleet-demo-{}", &Ids::new(Clock::system()).token()[..8])),
    };
    private_file::make_folder(&folder)?;
    eprintln!("starting everything in {} …", folder.display());
    let mut fleet = Fleet::start(&folder, &[], &[])?;
    let shown = async {
        let ready = fleet.ready(&folder).await?;
        let outcome = Demo::new(&ready, &folder).await?.run(&args).await;
        if args.keep && outcome.is_ok() {
            eprintln!("running on at {}: the URLs above play until Ctrl-C ends it", ready.gateway);
            eprintln!("everything is in {}, and stays there", folder.display());
            tokio::signal::ctrl_c().await?;
        }
        outcome
    };
    let outcome = tokio::select! {
        outcome = shown => outcome,
        stop = tokio::signal::ctrl_c(), if !args.keep => stop.map_err(Into::into).and_then(|()| bail!("interrupted")),
    };
    fleet.stop().await;
    let to_play =
        format!("`make demo KEEP=1` (or `{} demo --keep …`) leaves it running, to play the results", program());
    if args.data.is_some() && !args.keep && outcome.is_ok() {
        eprintln!("stopped; everything is in {}; {to_play}", folder.display());
    }
    if args.data.is_none() && !args.keep {
        if outcome.is_ok() {
            eprintln!("stopped and cleared away; {to_play}");
            let removed = tokio::fs::remove_dir_all(&folder).await;
            removed.with_context(|| format!("{} can't be removed", folder.display()))?;
        } else {
            eprintln!("logs are in {}/logs", folder.display());
        }
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

/// A running fleet and what is shown on it.
struct Demo {
    api: Api,
    s3: aws_sdk_s3::Client,
    show: Show,
    uploads: String,
    outputs: String,
    records: PathBuf,
}

/// An asset's objects in the outputs bucket.
#[derive(Debug, Clone, Copy, Default)]
struct Outputs {
    files: u64,
    bytes: u64,
}

impl Demo {
    async fn new(ready: &Ready, folder: &Path) -> anyhow::Result<Self> {
        let credentials = Credentials::new(&ready.access_key_id, &ready.secret_access_key, None, None, "demo");
        let s3 = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(ready.region.clone()))
            .endpoint_url(&ready.aws_endpoint)
            .credentials_provider(credentials)
            .force_path_style(true)
            .build();
        Ok(Self {
            api: Api::new(Arc::new(Http::new()), &ready.gateway, &ready.api_key),
            s3: aws_sdk_s3::Client::from_conf(s3),
            show: Show::new(false),
            uploads: ready.uploads_bucket.clone(),
            outputs: ready.outputs_bucket.clone(),
            records: folder.join("uploads"),
        })
    }

    async fn run(&self, args: &DemoArgs) -> anyhow::Result<()> {
        let [first, others @ ..] = args.media.as_slice() else { bail!("no video was given") };
        let second = others.first().unwrap_or(first);
        let limit = Duration::from_secs(args.timeout_seconds);
        // Operators hear of every asset; whose it is does not matter.
        let everything = Watch::start(&self.api, vec!["ops".to_owned()]).await;
        let outcomes = timeout(limit, async {
            tokio::try_join!(self.through_the_api(first), self.dropped_in_the_bucket(second, everything))
        });
        let (sent, dropped) = outcomes.await.with_context(|| format!("not done within {} s", limit.as_secs()))??;
        let mut rows = Vec::new();
        for outcome in [sent, dropped] {
            let outputs = self.outputs(outcome.id()).await?;
            rows.push((outcome, outputs));
        }
        self.tell(&rows, args.keep);
        if let Some(report) = &args.report {
            let entries: Vec<Value> = rows.iter().map(|(outcome, outputs)| entry(outcome, *outputs)).collect();
            let json = serde_json::to_vec_pretty(&entries)?;
            tokio::fs::write(report, json).await.with_context(|| format!("{} can't be written", report.display()))?;
        }
        for (outcome, _) in &rows {
            self.must_play(outcome).await.with_context(|| table::shown(&outcome.name, 60))?;
        }
        Ok(())
    }

    /// A video by the API, in parts if it is large enough.
    async fn through_the_api(&self, path: &Path) -> anyhow::Result<Outcome> {
        let uploader = Uploader::with_records(self.api.clone(), self.records.clone(), self.show.clone());
        let watch = Watch::start(&self.api, vec!["me".to_owned()]).await;
        let (sender, tracked) = mpsc::channel(1);
        let upload = async {
            uploader.upload(path, Some(&sender)).await?;
            drop(sender);
            Ok(())
        };
        let ((), outcomes) = tokio::try_join!(upload, follow::follow(&self.api, watch, tracked, &self.show, None))?;
        outcomes.into_iter().next().context("the video was not followed")
    }

    /// A video by a plain S3 client that knows nothing of us, once the other one can be played.
    async fn dropped_in_the_bucket(&self, path: &Path, mut everything: Watch) -> anyhow::Result<Outcome> {
        until(&mut everything, &["asset.playable.v1", "asset.ready.v1", "asset.refused.v1", "asset.failed.v1"]).await;
        self.show.line(DROPPED, "dropping it into the bucket");
        let body = ByteStream::read_from().path(path).buffer_size(1 << 20).build().await;
        let body = body.with_context(|| format!("{} can't be read", path.display()))?;
        self.s3
            .put_object()
            .bucket(&self.uploads)
            .key(DROPPED)
            .body(body)
            .send()
            .await
            .context("dropping the second video")?;
        let asset =
            timeout(LANDING, self.landed(&mut everything)).await.context("the dropped video was not noticed")??;
        drop(everything);
        let watch = Watch::start(&self.api, vec![format!("asset:{asset}")]).await;
        let (sender, tracked) = mpsc::channel(1);
        let name = DROPPED.rsplit('/').next().unwrap_or(DROPPED).to_owned();
        let bar = self.show.work(&name);
        let source = format!("s3://{}/{DROPPED}", self.uploads);
        sender.send(Tracked { asset, name, source, bar }).await?;
        drop(sender);
        let outcomes = follow::follow(&self.api, watch, tracked, &self.show, None).await?;
        outcomes.into_iter().next().context("the video was not followed")
    }

    /// The asset of the dropped object, as soon as there is one.
    async fn landed(&self, everything: &mut Watch) -> anyhow::Result<String> {
        loop {
            if let Some(asset) = self.api.asset_of_object(&self.uploads, DROPPED).await? {
                return Ok(asset);
            }
            // Should its event be missed, the look is cheap.
            let _ = timeout(Duration::from_secs(1), until(everything, &["asset.uploaded.v1"])).await;
        }
    }

    async fn outputs(&self, asset: &str) -> anyhow::Result<Outputs> {
        let mut pages =
            self.s3.list_objects_v2().bucket(&self.outputs).prefix(format!("out/{asset}/")).into_paginator().send();
        let mut sum = Outputs::default();
        while let Some(page) = pages.next().await {
            for object in page.context("listing the outputs")?.contents() {
                sum.files += 1;
                sum.bytes += object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
            }
        }
        Ok(sum)
    }

    /// Ready, and its playlist is served.
    async fn must_play(&self, outcome: &Outcome) -> anyhow::Result<()> {
        if outcome.state() != "ready" {
            bail!("{}: {}", outcome.state(), outcome.reason().unwrap_or_else(|| "without a reason".to_owned()));
        }
        let playlist = outcome.playlist().context("ready, but without a playlist")?;
        let answer = self.api.http().fetch(Request::get(playlist).body(empty())?, FETCH).await?;
        if !answer.status().is_success() || !answer.body().starts_with(b"#EXTM3U") {
            bail!("its playlist is not served: {}", answer.status());
        }
        Ok(())
    }

    fn tell(&self, rows: &[(Outcome, Outputs)], keep: bool) {
        let headings = ["asset", "source", "state", "first playable", "ready", "renditions", "files", "size"];
        let cells: Vec<Vec<String>> = rows
            .iter()
            .map(|(outcome, outputs)| {
                vec![
                    outcome.id().to_owned(),
                    table::shown(&outcome.name, 32),
                    outcome.state().to_owned(),
                    table::seconds(outcome.playable_ms()),
                    table::seconds(outcome.ready_ms()),
                    outcome.renditions().join(" "),
                    outputs.files.to_string(),
                    table::bytes(outputs.bytes),
                ]
            })
            .collect();
        println!("\n{}", table::render(&headings, &cells));
        for (outcome, _) in rows {
            println!("{}", table::shown(&outcome.source, 200));
            for rendition in outcome.asset["renditions"].as_array().map(Vec::as_slice).unwrap_or_default() {
                println!("  {}", rendition_line(rendition));
            }
            // A URL that is dead when it is read is none.
            let at = |what: Option<&str>| match what {
                Some(url) if keep => url.to_owned(),
                Some(url) => format!("made: {}", url.rsplit('/').next().unwrap_or_default()),
                None => "—".to_owned(),
            };
            println!("  playlist  {}", at(outcome.playlist()));
            println!("  poster    {}", at(outcome.poster()));
            println!("  objects   s3://{}/out/{}/", self.outputs, outcome.id());
            if let Some(reason) = outcome.reason() {
                println!("  reason    {}", table::shown(&reason, 200));
            }
            println!();
        }
    }
}

/// Waits for one of these events, of whatever asset.
async fn until(watch: &mut Watch, kinds: &[&str]) {
    loop {
        if let Fact::Event { kind, .. } = watch.next().await
            && kinds.contains(&kind.as_str())
        {
            return;
        }
    }
}

fn rendition_line(rendition: &Value) -> String {
    let number = |field: &str| rendition[field].as_u64();
    let size =
        number("width").zip(number("height")).map_or(String::new(), |(width, height)| format!("{width}×{height}"));
    let name = rendition["name"].as_str().unwrap_or_default();
    let codecs = rendition["codecs"].as_str().unwrap_or_default();
    let bytes = table::bytes(number("bytes").unwrap_or(0));
    format!("{name:<8}  {size:<9}  {bytes:>9}  {} frames  {codecs}", number("frames").unwrap_or(0))
}

/// An entry of the report.
fn entry(outcome: &Outcome, outputs: Outputs) -> Value {
    let mut entry = outcome.to_json();
    entry["files"] = json!(outputs.files);
    entry["bytes"] = json!(outputs.bytes);
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rendition_is_one_line() {
        let line = rendition_line(&json!({
            "name": "720p", "width": 1280, "height": 720, "bytes": 1_048_576, "frames": 900, "codecs": "avc1.64001f",
        }));
        assert_eq!(line, "720p      1280×720     1.0 MiB  900 frames  avc1.64001f");
    }
}
