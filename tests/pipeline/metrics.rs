//! What a running fleet serves to Prometheus: well formed, and what alerts and dashboard ask for.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use reelfleet_tests::{Events, Fleet, Options, root};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(90);

/// Metrics that any fleet has as soon as it has processed one film and refused one file.
const SEEN: [&str; 23] = [
    "reelfleet_build_info",
    "reelfleet_encode_realtime_ratio",
    "reelfleet_encoded_frames_total",
    "reelfleet_events_published_total",
    "reelfleet_events_pushed_total",
    "reelfleet_http_requests_total",
    "reelfleet_http_duration_seconds",
    "reelfleet_jail_level",
    "reelfleet_job_duration_seconds",
    "reelfleet_jobs_finished_total",
    "reelfleet_message_duration_seconds",
    "reelfleet_message_wait_seconds",
    "reelfleet_messages_finished_total",
    "reelfleet_outbox_lag_seconds",
    "reelfleet_queue_messages_in_flight",
    "reelfleet_queue_messages_visible",
    "reelfleet_queue_oldest_task_age_seconds",
    "reelfleet_queue_paused",
    "reelfleet_queue_work_seconds",
    "reelfleet_realtime_clients",
    "reelfleet_s3_bytes_total",
    "reelfleet_slots_busy",
    "reelfleet_task_duration_seconds",
];

fn promtool() -> PathBuf {
    let ours = root().join(".reelfleet/prometheus/usr/bin/promtool");
    if ours.exists() { ours } else { "promtool".into() }
}

/// `promtool check metrics`: names, HELP, types, units.
fn check(role: &str, exposition: &str) {
    let mut tool = Command::new(promtool());
    let tool = tool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tool = tool.spawn().expect("promtool: run `make setup-test`");
    tool.stdin.take().unwrap().write_all(exposition.as_bytes()).unwrap();
    let said = tool.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && text.is_empty(), "{role}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_fleet_serves_to_prometheus_is_well_formed_and_whole() {
    let env = vec![("REELFLEET_WATCH_SECONDS".into(), "1".into())];
    let fleet = Fleet::start(Options { env, ..Options::default() }).await;
    let mut events = Events::of_everything(&fleet.clients).await;
    let film = reelfleet_tests::media().join("metrics.mp4");
    let to = film.clone();
    let make = move || reelfleet_tests::ffmpeg::make(&to, &["-f", "lavfi", "-i", "testsrc2=s=128x72:d=2"]);
    tokio::task::spawn_blocking(make).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.mp4");
    std::fs::write(&broken, "no film").unwrap();
    let asset = fleet.clients.upload(&film).await;
    fleet.clients.drop_file("in/broken.mp4", &broken).await;
    let refused = events.landed("broken.mp4", SOON).await;
    events.ended(&asset, SOON).await;
    events.ended(&refused, SOON).await;

    let targets: Value =
        serde_json::from_slice(&std::fs::read(fleet.folder().join("metrics_targets.json")).unwrap()).unwrap();
    let mut roles = BTreeSet::new();
    let mut names = BTreeSet::new();
    for group in targets.as_array().unwrap() {
        let role = group["labels"]["role"].as_str().unwrap();
        roles.insert(role.to_owned());
        for target in group["targets"].as_array().unwrap() {
            let url = format!("http://{}/metrics", target.as_str().unwrap());
            let exposition = fleet.clients.http.get(url).send().await.unwrap().text().await.unwrap();
            check(role, &exposition);
            for line in exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
                names.insert(line.split(' ').next().unwrap().to_owned());
            }
        }
    }
    let wanted = ["gateway", "intake", "janitor", "metadata", "notifier", "thumbnailer", "transcoder"];
    assert!(wanted.iter().all(|role| roles.contains(*role)), "{roles:?}");
    let missing: Vec<&str> = SEEN.into_iter().filter(|name| !names.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?} of {names:?}");
    crate::operations::keep_their_word(&fleet, &asset, &refused).await;
    crate::operations::notifications_that_wait_are_seen(&fleet, &film).await;
}
