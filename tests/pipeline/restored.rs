//! A backup that is started from, as docs/runbooks.md tells: on both engines, taken while a video is at work.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use reelfleet_tests::clients::Clients;
use reelfleet_tests::postgres::{Postgres, done};
use reelfleet_tests::{Events, Fleet, Options, executable, ffmpeg};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

use crate::crash::grainy_film;

const SOON: Duration = Duration::from_secs(180);

/// What was leased when the copy was taken comes back soon.
fn options(postgres: Option<&str>) -> Options {
    let mut options = Options::default();
    for name in ["REELFLEET_VISIBILITY_SECONDS", "REELFLEET_RECONCILE_SECONDS", "REELFLEET_STRANDED_SECONDS"] {
        options.env.push((name.into(), "6".into()));
    }
    options.env.extend(postgres.map(|url| ("REELFLEET_LOCAL_POSTGRES".to_owned(), url.to_owned())));
    options
}

async fn names(clients: &Clients) -> Vec<String> {
    let (status, page) = clients.api(Method::GET, "/v1/assets", None).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    let mut names: Vec<_> = page["assets"].as_array().unwrap().iter().map(|asset| asset["name"].to_string()).collect();
    names.sort();
    names
}

/// Waits until it is ready, whether that was told before one listened or is told now.
async fn ready(clients: &Clients, asset: &str) -> Value {
    let mut events = Events::of_everything(clients).await;
    if clients.asset(asset).await["state"] != "ready" {
        let end = events.ended(asset, SOON).await;
        assert_eq!(end.kind, "asset.ready.v1", "{end:?}");
    }
    clients.asset(asset).await
}

fn frames(asset: &Value) -> usize {
    ffmpeg::frames(asset["playback"]["url"].as_str().unwrap_or_else(|| panic!("{asset:#}"))).len()
}

/// `dump` is called before the copy is taken and `restore` before it is started from; it says where the rows are then.
async fn comes_back(postgres: Option<&str>, dump: impl Fn(&Path), restore: impl Fn(&Path) -> Option<String>) {
    let folder = TempDir::new().unwrap();
    let short = folder.path().join("short.mp4");
    let source = ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=3", "-f", "lavfi", "-i", "sine=f=440:d=3"];
    ffmpeg::make(&short, &[&source[..], &["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"]].concat());
    let long = tokio::task::spawn_blocking(grainy_film).await.unwrap();

    let fleet = Fleet::start(options(postgres)).await;
    let mut events = Events::of_everything(&fleet.clients).await;
    let before = fleet.clients.upload(&short).await;
    assert_eq!(events.ended(&before, SOON).await.kind, "asset.ready.v1");
    let during = fleet.clients.upload(&long).await;
    events.wait(SOON, |event| event.subject == during && event.kind == "asset.playable.v1").await;

    let copy = TempDir::new().unwrap();
    dump(copy.path());
    let to = copy.path().join("data");
    let taken = done(Command::new(executable()).arg("backup").arg("--data").arg(fleet.folder()).arg("--to").arg(&to));
    assert_ne!(fleet.clients.asset(&during).await["state"], "ready", "it was at work when the copy was taken");
    let told = String::from_utf8(taken.stdout).unwrap();
    assert_eq!(told.contains("pg_dump"), postgres.is_some(), "{told}");
    // The original goes on, comes to an end and is gone; its key is that of the copy too.
    assert_eq!(events.ended(&during, SOON).await.kind, "asset.ready.v1");
    let key = fleet.clients.api_key.clone();
    assert_eq!(fleet.stop().await, Some(0));

    let url = restore(copy.path());
    let fleet = Fleet::over(copy, options(url.as_deref())).await;
    assert_eq!(fleet.clients.api_key, key);
    assert_eq!(names(&fleet.clients).await, ["\"grainy.mp4\"", "\"short.mp4\""]);
    assert_eq!(frames(&ready(&fleet.clients, &before).await), 75);
    assert_eq!(frames(&ready(&fleet.clients, &during).await), 2000, "what was at work goes on");
    let mut events = Events::of_everything(&fleet.clients).await;
    let after = fleet.clients.upload(&short).await;
    assert_eq!(events.ended(&after, SOON).await.kind, "asset.ready.v1", "and what comes is taken");
    assert_eq!(fleet.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_folder_is_started_from() {
    comes_back(None, |_| {}, |_| None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_postgresql_are_dumped_and_restored_beside_it() {
    let server = Postgres::start();
    // As a fleet's, the database is one of its own.
    let database = |name: &str| server.url.replace("/postgres?", &format!("/{name}?"));
    let (first, second) = (database("fleet"), database("restored"));
    let sql = |text: &str| drop(done(Command::new("psql").args(["-d", &server.url, "-c", text])));
    sql("CREATE DATABASE fleet");
    let dump = |folder: &Path| {
        let to = folder.join("rows.dump");
        done(Command::new("pg_dump").args(["--format", "custom", "--dbname", &first, "--file"]).arg(to));
    };
    let restore = |folder: &Path| {
        sql("CREATE DATABASE restored");
        done(Command::new("pg_restore").args(["--exit-on-error", "--dbname", &second]).arg(folder.join("rows.dump")));
        Some(second.clone())
    };
    comes_back(Some(&first), dump, restore).await;
}
