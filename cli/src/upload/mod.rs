//! `reelfleet upload`: files go up and are watched until they are ready.
//!
//! Guarantee: exit code 0 only if every file is ready (or, with `--no-wait`, up). A file that was interrupted goes on
//! where it was when the same command is given again. One file that fails does not stop the others.

pub mod client;
pub mod follow;
mod resume;
pub mod show;
mod transfer;
pub mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;
use clap::Args;
use reelfleet_fleet::{Clock, Ids};
use serde_json::json;
use tokio::sync::mpsc;

use self::client::{Api, ApiError, NewUpload, Upload};
use self::follow::{Outcome, Tracked};
use self::resume::{LocalFile, Record, Records};
use self::show::{Bytes, Show};
use self::watch::Watch;
use crate::place::{Place, program};
use crate::table;

/// The exit code after Ctrl-C, as shells have it: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

/// Options of `upload`.
#[derive(Args)]
pub struct UploadArgs {
    /// Files to upload
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
    /// End when the files are up, without waiting for their processing
    #[arg(long)]
    no_wait: bool,
}

/// Uploads and follows, until Ctrl-C.
pub async fn run(args: UploadArgs) -> anyhow::Result<ExitCode> {
    let all_up = AtomicBool::new(false);
    tokio::select! {
        outcome = upload_all(&args, &all_up) => outcome,
        stop = tokio::signal::ctrl_c() => {
            stop?;
            let what = if all_up.load(Ordering::SeqCst) {
                format!("everything is up and is processed all the same; `{} assets` shows how far it is", program())
            } else {
                "give the same command again, and a file that was on its way goes on where it was".to_owned()
            };
            eprintln!("\ninterrupted: {what}");
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

async fn upload_all(args: &UploadArgs, all_up: &AtomicBool) -> anyhow::Result<ExitCode> {
    let api = args.place.api()?;
    let show = Show::new(false);
    let uploader = Uploader::new(api.clone(), Records::of_user()?, show.clone());
    if args.no_wait {
        return without_waiting(&uploader, args).await;
    }
    // Listening before the first byte: nothing is missed.
    let watch = Watch::start(&api, vec!["me".to_owned()]).await;
    let (sender, tracked) = mpsc::channel(args.files.len());
    let uploads = async {
        let mut failures = Vec::new();
        for path in &args.files {
            if let Err(error) = uploader.upload(path, Some(&sender)).await {
                show.line(&path.display().to_string(), "✗ not uploaded");
                failures.push(json!({ "source": path, "state": "not_uploaded", "error": format!("{error:#}") }));
            }
        }
        drop(sender);
        all_up.store(failures.is_empty(), Ordering::SeqCst);
        anyhow::Ok(failures)
    };
    let (failures, outcomes) = tokio::try_join!(uploads, follow::follow(&api, watch, tracked, &show, None))?;
    let all_ready = failures.is_empty() && outcomes.iter().all(|outcome| outcome.state() == "ready");
    if args.json {
        let results: Vec<_> = outcomes.iter().map(Outcome::to_json).chain(failures).collect();
        println!("{}", serde_json::to_string(&results)?);
    } else {
        print!("{}", summary(&outcomes));
        for failure in &failures {
            eprintln!("reelfleet: {}", failure["error"].as_str().unwrap_or_default());
        }
    }
    Ok(if all_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn without_waiting(uploader: &Uploader, args: &UploadArgs) -> anyhow::Result<ExitCode> {
    let (mut results, mut code) = (Vec::new(), ExitCode::SUCCESS);
    for path in &args.files {
        match uploader.upload(path, None).await {
            Ok(asset) => results.push(json!({ "id": asset, "source": path, "state": "uploaded" })),
            Err(error) => {
                eprintln!("reelfleet: {error:#}");
                results.push(json!({ "source": path, "state": "not_uploaded", "error": format!("{error:#}") }));
                code = ExitCode::FAILURE;
            }
        }
    }
    if args.json {
        println!("{}", serde_json::to_string(&results)?);
    }
    Ok(code)
}

/// Sends files up.
pub struct Uploader {
    api: Api,
    records: Records,
    show: Show,
    ids: Ids,
}

impl Uploader {
    /// An uploader by this API.
    fn new(api: Api, records: Records, show: Show) -> Self {
        Self { api, records, show, ids: Ids::new(Clock::system()) }
    }

    /// The same, with resume records in a folder of the caller's.
    pub fn with_records(api: Api, folder: PathBuf, show: Show) -> Self {
        Self::new(api, Records::within(folder), show)
    }

    /// Sends one file up, hands its asset to whoever follows, and returns the asset's id.
    pub async fn upload(&self, path: &Path, followers: Option<&mpsc::Sender<Tracked>>) -> anyhow::Result<String> {
        let named = |error: anyhow::Error| error.context(table::shown(&path.display().to_string(), 120));
        let file = LocalFile::look(path)?;
        let bar = self.show.upload(&file.name, file.size);
        let mut record = self.records.open(self.api.base(), &file.fingerprint, &self.ids)?;
        // Begun once more where the earlier upload turns out to be over.
        for again in [true, false] {
            match self.try_upload(&file, &record, &bar).await {
                Ok(upload) => {
                    self.show.uploaded(&bar, &file.name);
                    if let Some(followers) = followers {
                        let tracked = Tracked {
                            asset: upload.asset.clone(),
                            name: file.name.clone(),
                            source: path.display().to_string(),
                            bar: self.show.work(&file.name),
                        };
                        // Whoever followed has ended, with a reason of its own.
                        let _ = followers.send(tracked).await;
                    }
                    self.records.forget(&record);
                    return Ok(upload.asset);
                }
                Err(error) if again && is_over(&error) => {
                    tracing::debug!(%error, "the earlier upload is over: beginning again");
                    record = self.records.begin(self.api.base(), &file.fingerprint, &self.ids)?;
                    bar.reset();
                }
                Err(error) => {
                    bar.abandon_with_message("✗ not uploaded");
                    return Err(named(error));
                }
            }
        }
        bail!("{} can't be uploaded", file.name)
    }

    async fn try_upload(
        &self,
        file: &LocalFile,
        record: &Record,
        bar: &indicatif::ProgressBar,
    ) -> anyhow::Result<Upload> {
        let new = NewUpload {
            name: &file.name,
            size: file.size,
            content_type: content_type(&file.name),
            fingerprint: &file.fingerprint,
            request_key: &record.request_key,
        };
        let upload = self.api.create(&new).await?;
        match upload.state.as_str() {
            "open" => {}
            // Completed by an earlier run that did not live to hear of it.
            "completed" | "landed" => return Ok(upload),
            _ => return Err(over().into()),
        }
        let arrived: u64 = upload.parts.iter().map(|part| part.size).sum();
        if arrived > 0 {
            // Exact in u128: a file has at most 2^64 bytes.
            let percent = u128::from(arrived) * 100 / u128::from(file.size.max(1));
            self.show.note(&file.name, &format!("resuming at {percent} %"));
        }
        let sum = transfer::send(&self.api, file, &upload, &Bytes::shared(bar)).await?;
        self.api.complete(&upload.id, sum.as_deref()).await?;
        Ok(upload)
    }
}

fn over() -> ApiError {
    ApiError::Refused {
        status: 409,
        code: "upload_ended".into(),
        title: "The upload has ended".into(),
        detail: "it was aborted".into(),
    }
}

/// Whether an upload can't go on, but another one can.
fn is_over(error: &anyhow::Error) -> bool {
    let code = |error: &ApiError| {
        ["upload_ended", "upload_expired", "idempotency_key_reused"].iter().any(|code| error.is(code))
    };
    error.downcast_ref::<ApiError>().is_some_and(code)
}

/// What the end of a name hints at. The probe decides what it is.
fn content_type(name: &str) -> &'static str {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
    match ending.as_str() {
        "mp4" | "m4v" => "video/mp4",
        "mov" => "video/quicktime",
        "mkv" => "video/x-matroska",
        "webm" => "video/webm",
        "ts" | "m2ts" | "mts" => "video/mp2t",
        "avi" => "video/x-msvideo",
        "mp3" => "audio/mpeg",
        "m4a" => "audio/mp4",
        "wav" => "audio/wav",
        "flac" => "audio/flac",
        "ogg" | "opus" => "audio/ogg",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "webp" => "image/webp",
        "gif" => "image/gif",
        _ => "",
    }
}

/// The table of what was uploaded, and where to look.
fn summary(outcomes: &[Outcome]) -> String {
    if outcomes.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = outcomes
        .iter()
        .map(|outcome| {
            vec![
                table::shown(&outcome.name, 32),
                outcome.id().to_owned(),
                outcome.state().to_owned(),
                table::seconds(outcome.playable_ms()),
                table::seconds(outcome.ready_ms()),
                outcome.renditions().join(" "),
            ]
        })
        .collect();
    let mut text = table::render(&["file", "asset", "state", "playable", "ready", "renditions"], &rows);
    for outcome in outcomes {
        if let Some(what) = outcome.reason().as_deref().or(outcome.playlist()) {
            text.push_str(&format!("\n{}\n  {}\n", table::shown(&outcome.name, 60), table::shown(what, 1_000)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_upload_that_is_over_is_begun_again() {
        assert!(is_over(&anyhow::Error::from(over()).context("part 3")));
        assert!(!is_over(&anyhow::anyhow!("no")));
        let refused =
            ApiError::Refused { status: 422, code: "empty".into(), title: String::new(), detail: String::new() };
        assert!(!is_over(&refused.into()));
    }

    #[test]
    fn names_hint_at_types() {
        assert_eq!(content_type("A.B.MP4"), "video/mp4");
        assert_eq!(content_type("mp4"), "");
        assert_eq!(content_type("x.exe"), "");
    }
}
