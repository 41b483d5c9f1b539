//! What is lost is found, what belongs to nobody goes, and `reelfleet verify` says what is off.

use std::path::PathBuf;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{NotificationConfiguration, TopicConfiguration};
use reelfleet_tests::clients::Clients;
use reelfleet_tests::{Events, Fleet, Options, executable, ffmpeg, media, pattern};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(90);

/// Two seconds of film with sound.
fn small_film() -> PathBuf {
    let path = media().join("reconciled.mp4");
    let (video, sound) = (pattern::pictures(160, 90, "25", 2.0), pattern::sound(2.0, 48_000));
    let encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"];
    ffmpeg::make(&path, &[&["-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &sound][..], &encoder].concat());
    path
}

/// `reelfleet verify --json`: its exit code and what it found.
async fn verify(fleet: &Fleet, grace_seconds: u64) -> (Option<i32>, Value) {
    let folder = fleet.logs().parent().unwrap().to_owned();
    let grace = grace_seconds.to_string();
    let mut command = tokio::process::Command::new(executable());
    command.arg("verify").arg("--data").arg(folder).args(["--json", "--grace-seconds", &grace]);
    let output = command.output().await.unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    assert!(!report.is_null(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), report)
}

/// (code, subject) of what was found.
fn findings(report: &Value) -> Vec<(&str, &str)> {
    let all = report["findings"].as_array().unwrap().iter();
    all.map(|finding| (finding["code"].as_str().unwrap(), finding["subject"].as_str().unwrap())).collect()
}

/// Waits until nothing is off: events are still described, wake-ups of what is done still acknowledged.
async fn clean(fleet: &Fleet) -> Value {
    let end = tokio::time::Instant::now() + SOON;
    loop {
        let (code, report) = verify(fleet, 2).await;
        if code == Some(0) {
            return report;
        }
        assert!(tokio::time::Instant::now() < end, "something stays off: {report:#}");
    }
}

/// Takes the uploads bucket's notifications away; what was there comes back with [`restore`].
async fn silence(clients: &Clients) -> Vec<TopicConfiguration> {
    let asked = clients.s3.get_bucket_notification_configuration().bucket(&clients.uploads).send().await.unwrap();
    let topics = asked.topic_configurations.unwrap_or_default();
    assert!(!topics.is_empty(), "there is nothing to take away");
    restore(clients, Vec::new()).await;
    topics
}

async fn restore(clients: &Clients, topics: Vec<TopicConfiguration>) {
    let all = NotificationConfiguration::builder().set_topic_configurations(Some(topics)).build();
    let put = clients.s3.put_bucket_notification_configuration().bucket(&clients.uploads);
    put.notification_configuration(all).send().await.unwrap();
}

async fn put_output(clients: &Clients, key: &str, body: &'static [u8]) {
    let put = clients.s3.put_object().bucket(&clients.outputs).key(key);
    put.body(ByteStream::from_static(body)).send().await.unwrap();
}

fn uri(clients: &Clients, key: &str) -> String {
    format!("s3://{}/{key}", clients.outputs)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_is_found_and_what_belongs_to_nobody_goes() {
    let film = tokio::task::spawn_blocking(small_film).await.unwrap();
    let mut options = Options::args(&["--transcoders", "1"]);
    for (name, seconds) in [
        ("REELFLEET_LOST_NOTIFICATION_SECONDS", "2"),
        ("REELFLEET_SCAN_UPLOADS_SECONDS", "1"),
        ("REELFLEET_SCAN_OUTPUTS_SECONDS", "1"),
        ("REELFLEET_JANITOR_SECONDS", "1"),
        ("REELFLEET_ORPHAN_GRACE_SECONDS", "8"),
        ("REELFLEET_LOSER_AGE_SECONDS", "1"),
    ] {
        options.env.push((name.into(), seconds.into()));
    }
    let fleet = Fleet::start(options).await;
    let clients = &fleet.clients;
    let mut events = Events::of_everything(clients).await;

    // S3 says nothing of it.
    let key = "in/never announced & more.mp4";
    let topics = silence(clients).await;
    clients.drop_file(key, &film).await;
    restore(clients, topics).await;
    let asset = events.landed("never announced & more.mp4", SOON).await;
    assert_eq!(events.ended(&asset, SOON).await.kind, "asset.ready.v1");
    let report = clean(&fleet).await;
    assert_eq!((report["sources"].as_u64(), report["assets"].as_u64()), (Some(1), Some(1)), "{report:#}");
    assert_eq!(events.count(&asset, "asset.uploaded.v1"), 1, "found once, however often it is looked for");

    orphans(&fleet, &asset).await;
    broken_outputs(&fleet, &asset).await;

    let nowhere = tokio::process::Command::new(executable()).args(["verify", "--data", "/nonexistent"]).output().await;
    assert_eq!(nowhere.unwrap().status.code(), Some(2), "it could not look");
    assert_eq!(fleet.stop().await, Some(0));
}

/// In the folder of no asset, in that of one that has ended, and outside of all folders.
async fn orphans(fleet: &Fleet, asset: &str) {
    let clients = &fleet.clients;
    let stranger = "out/ast_01h455vb4pex5vsknk084sn02q/g1/t/tsk_01h455vb4pex5vsknk084sn02q/1/270p-00000-0000.m4s";
    let leftover = format!("out/{asset}/g1/init/leftover.mp4");
    let foreign = "somebody else's.txt";
    for key in [stranger, &leftover, foreign] {
        put_output(clients, key, b"nobody's").await;
    }
    let (code, report) = verify(fleet, 0).await;
    assert_eq!(code, Some(1), "{report:#}");
    for key in [stranger, &leftover, foreign] {
        assert!(findings(&report).contains(&("orphan_output", uri(clients, key).as_str())), "{key}: {report:#}");
    }
    // The janitor takes what is ours; the events of that are in no log, the listing is the only witness.
    let end = tokio::time::Instant::now() + SOON;
    loop {
        let left = clients.outputs("").await;
        if !left.iter().any(|key| key == stranger || *key == leftover) {
            assert!(left.iter().any(|key| key == foreign), "it was not ours to remove");
            break;
        }
        assert!(tokio::time::Instant::now() < end, "orphans stay: {left:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    clients.s3.delete_object().bucket(&clients.outputs).key(foreign).send().await.unwrap();
    clean(fleet).await;
}

/// A segment that is gone, a playlist that somebody wrote over.
async fn broken_outputs(fleet: &Fleet, asset: &str) {
    let clients = &fleet.clients;
    let keys = clients.outputs(&format!("out/{asset}/")).await;
    let segment = keys.iter().find(|key| key.ends_with(".m4s")).unwrap();
    clients.s3.delete_object().bucket(&clients.outputs).key(segment).send().await.unwrap();
    let master = format!("out/{asset}/g1/master.m3u8");
    put_output(clients, &master, b"#EXTM3U\n").await;
    let (code, report) = verify(fleet, 600).await;
    assert_eq!(code, Some(1), "{report:#}");
    let expected = [("output_missing", uri(clients, segment)), ("playlist_differs", uri(clients, &master))];
    let expected: Vec<(&str, &str)> = expected.iter().map(|(code, subject)| (*code, subject.as_str())).collect();
    assert_eq!(findings(&report), expected, "{report:#}");
}

/// With the settings of an installation: between two passes nothing is listed, whatever the sweeps do.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_fleet_lists_nothing_and_a_vanished_source_is_told() {
    let film = tokio::task::spawn_blocking(small_film).await.unwrap();
    let fleet = Fleet::start(Options::args(&["--transcoders", "0"])).await;
    let clients = &fleet.clients;
    let mut events = Events::of_everything(clients).await;
    let listed = async || {
        let stats = clients.stats().await;
        ["s3:GET", "s3:HEAD", "s3:POST"].iter().map(|name| stats["requests"][name].as_u64().unwrap_or(0)).sum::<u64>()
    };
    // The first pass of each scan is over when its row says when the next one begins.
    let over = "SELECT count(*) FROM scan WHERE after = '' AND next_at > begun_at + 1000000";
    let end = tokio::time::Instant::now() + SOON;
    while clients.rows(over).await[0][0] != "3" {
        assert!(tokio::time::Instant::now() < end, "{:?}", clients.rows("SELECT name, after, next_at FROM scan").await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let before = listed().await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(listed().await, before, "an idle fleet asks S3 for something");

    clients.drop_file("vanishing.mp4", &film).await;
    let asset = events.landed("vanishing.mp4", SOON).await;
    events.wait(SOON, |event| event.subject == asset && event.kind == "asset.probed.v1").await;
    silence(clients).await;
    clients.s3.delete_object().bucket(&clients.uploads).key("vanishing.mp4").send().await.unwrap();
    let (code, report) = verify(&fleet, 600).await;
    assert_eq!(code, Some(1), "{report:#}");
    assert!(findings(&report).contains(&("source_missing", asset.as_str())), "{report:#}");
}
