//! Workers come with the work and go without it; what operators say of them holds.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reelfleet_tests::clients::Clients;
use reelfleet_tests::receiver::{Answer, Receiver};
use reelfleet_tests::{Fleet, Options, executable, ffmpeg, media, pattern};
use serde_json::Value;
use tokio::process::Command;

const SOON: Duration = Duration::from_secs(60);
const FILMS: usize = 4;
/// The planning of the film that lands during a pause.
const PLANNING: &str =
    "task t JOIN asset a ON a.id = t.asset_id WHERE a.name = 'paused.mp4' AND t.kind = 'plan_renditions'";

/// Some seconds of two chunks.
pub fn film() -> std::path::PathBuf {
    let path = media().join("scale-6.mp4");
    let (video, sound) = (pattern::pictures(426, 240, "25", 6.0), pattern::sound(6.0, 48_000));
    let encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-c:a", "aac"];
    ffmpeg::make(&path, &[&["-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &sound][..], &encoder].concat());
    path
}

/// Runs an operator's command on the fleet; whether it went well, and what it said.
pub async fn command(fleet: &Fleet, args: &[&str]) -> (bool, String) {
    let folder = fleet.folder();
    let mut command = Command::new(executable());
    command.args(args).arg("--data").arg(&folder).env("REELFLEET_OPERATOR", "tester");
    let output = command.output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// Waits until a role has so many processes.
async fn until(fleet: &Fleet, role: &str, count: usize) -> Vec<i64> {
    let began = Instant::now();
    loop {
        let pids = fleet.pids_now(role);
        if pids.len() == count {
            return pids;
        }
        assert!(began.elapsed() < SOON, "{role}: {pids:?}, not {count}:\n{}", fleet.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a count is not zero.
pub async fn until_some(fleet: &Fleet, sql: &str) {
    let began = Instant::now();
    while count(&fleet.clients, sql).await == 0 {
        assert!(began.elapsed() < SOON, "{sql}:\n{}", fleet.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub async fn count(clients: &Clients, sql: &str) -> i64 {
    clients.rows(sql).await[0][0].parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_come_with_the_work_and_go_without_it_and_no_task_notices() {
    let film = tokio::task::spawn_blocking(film).await.unwrap();
    // A target of a minute would be met by one worker: these tasks are short. So each second of work is a worker's.
    let fleet = Fleet::start(Options::args(&[
        "--autoscale",
        "--transcoders",
        "3",
        "--scale-in-after",
        "2",
        "--target-latency",
        "1",
        "--no-storyboard",
    ]))
    .await;
    let clients = &fleet.clients;
    assert!(fleet.pids("transcoder").is_empty() && fleet.pids("thumbnailer").is_empty(), "nothing to do");
    assert_eq!(fleet.pids("intake").len(), 1, "an upload is looked at at once");
    for number in 0..FILMS {
        clients.drop_file(&format!("scale/{number}.mp4"), &film).await;
    }
    until(&fleet, "transcoder", 3).await;
    let began = Instant::now();
    while count(clients, "SELECT count(*) FROM asset WHERE state = 'ready'").await < FILMS as i64 {
        assert!(fleet.pids_now("transcoder").len() <= 3 && began.elapsed() < SOON, "not ready:\n{}", fleet.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    until(&fleet, "transcoder", 0).await;
    until(&fleet, "thumbnailer", 0).await;

    // Nothing was lost, and no task had a second attempt: each was leased once, or as a publisher once each time.
    let rows = "SELECT id, kind, state, last_error FROM task WHERE state <> 'done' OR last_error IS NOT NULL \
                OR (kind <> 'publish_playlist' AND lease_token <> 1)";
    assert_eq!(clients.rows(rows).await, Vec::<Vec<String>>::new());
    assert_eq!(count(clients, "SELECT count(*) FROM asset").await, FILMS as i64);
    let died = std::fs::read_to_string(fleet.logs().join("transcoder.log")).unwrap();
    assert_eq!(died.matches("drained").count(), died.matches("retiring").count(), "{died}");
    assert!(!fleet.log().contains("a process ended"), "{}", fleet.log());
    let reasons = clients.rows("SELECT DISTINCT reason FROM scaling_decision WHERE pool = 'transcoder'").await;
    let reasons: BTreeSet<String> = reasons.into_iter().flatten().collect();
    assert!(reasons.contains("idle") && (reasons.contains("work") || reasons.contains("at_max")), "{reasons:?}");

    told(&fleet, &film).await;
    services_are_scaled(&fleet).await;
    assert_eq!(fleet.stop().await, Some(0));
}

/// What operators say.
async fn told(fleet: &Fleet, film: &std::path::Path) {
    let clients = &fleet.clients;
    let (fine, said) = command(fleet, &["scale", "transcoder=2"]).await;
    assert!(fine && said.contains("2 (tester)"), "{said}");
    until(fleet, "transcoder", 2).await;
    let (fine, said) = command(fleet, &["drain", "transcoder"]).await;
    assert!(fine && said.contains("drained: express, transcode"), "{said}");
    clients.drop_file("scale/paused.mp4", film).await;
    until_some(fleet, &format!("SELECT count(*) FROM {PLANNING}")).await;
    let (fine, said) = command(fleet, &["status", "--json"]).await;
    let status: Value = serde_json::from_str(&said).unwrap();
    assert!(fine && status["paused"] == serde_json::json!(["express", "transcode"]), "{said}");
    let pool = status["pools"].as_array().unwrap().iter().find(|pool| pool["pool"] == "transcoder").unwrap();
    assert_eq!((text_of(pool, "asked"), text_of(pool, "by"), &pool["workers"]), ("2", "tester", &2.into()));
    // Two workers are there, and have been for longer than a receive takes.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let untouched = format!("SELECT t.attempts, t.lease_token FROM {PLANNING}");
    assert_eq!(clients.rows(&untouched).await, [["0", "0"]], "it was taken from a paused queue");
    let (fine, said) = command(fleet, &["resume", "all"]).await;
    assert!(fine, "{said}");
    until_some(fleet, "SELECT count(*) FROM asset WHERE name = 'paused.mp4' AND state = 'ready'").await;
    let (fine, said) = command(fleet, &["scale", "transcoder=auto", "notifier=2"]).await;
    assert!(!fine && said.contains("is not scaled"), "{said}");
    let (fine, said) = command(fleet, &["scale", "transcoder=auto"]).await;
    assert!(fine && said.contains("auto (tester)"), "{said}");
    until(fleet, "transcoder", 0).await;
    let audit = clients.rows("SELECT what, subject FROM audit WHERE who = 'tester' ORDER BY at, subject").await;
    let audit: Vec<(&str, &str)> = audit.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
    assert_eq!(audit[..3], [("scale", "transcoder"), ("drain", "express"), ("drain", "transcode")], "{audit:?}");
    assert_eq!((audit.len(), audit[audit.len() - 1]), (10, ("scale", "transcoder")), "{audit:?}");
}

/// The same command where the pools are services of ECS: their bounds are moved, beside row and audit.
async fn services_are_scaled(fleet: &Fleet) {
    let aws = Receiver::start(|_, _| Answer::Status(200)).await;
    let said = |name: &str| fleet.ready[name].as_str().unwrap().to_owned();
    for (wish, bounds) in [("thumbnailer=1", [1, 1]), ("thumbnailer=auto", [0, 7])] {
        let output = Command::new(executable())
            .args(["scale", wish, "--as", "elsewhere"])
            .env("AWS_ENDPOINT_URL", said("aws_endpoint"))
            .env("AWS_ENDPOINT_URL_APPLICATION_AUTO_SCALING", aws.url(""))
            .env("AWS_ACCESS_KEY_ID", said("access_key_id"))
            .env("AWS_SECRET_ACCESS_KEY", said("secret_access_key"))
            .env("REELFLEET_ECS_CLUSTER", "films")
            .env("REELFLEET_ECS_SERVICES", r#"{"thumbnailer": {"service": "films-thumbnailer", "max": 7}}"#)
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let call = aws.of("/").pop().unwrap();
        assert_eq!(call.headers["x-amz-target"], "AnyScaleFrontendService.RegisterScalableTarget");
        let asked = call.json();
        assert_eq!(asked["ResourceId"], "service/films/films-thumbnailer");
        assert_eq!([&asked["MinCapacity"], &asked["MaxCapacity"]], bounds);
    }
    let audit = fleet.clients.rows("SELECT what, subject FROM audit WHERE who = 'elsewhere'").await;
    assert_eq!(audit, [["scale", "thumbnailer"], ["scale", "thumbnailer"]]);
}

fn text_of<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}
