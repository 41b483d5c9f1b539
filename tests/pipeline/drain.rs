//! Drains and fences: a process that is asked to end loses no work and charges no attempt; one that slept through its
//! lease commits nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use reelfleet_tests::clients::Clients;
use reelfleet_tests::{Events, Fleet, Options, Wanted, Worker, check, ffmpeg, media, pattern, text};
use serde_json::json;

const SOON: Duration = Duration::from_secs(90);

/// Whose chunks take seconds to encode: 720p with grain.
pub fn heavy_film() -> PathBuf {
    let path = media().join("drain-24.mp4");
    let video = format!("{},noise=alls=20:allf=t", pattern::pictures(1280, 720, "25", 24.0));
    let encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "32", "-g", "50", "-c:a", "aac"];
    let sound = pattern::sound(24.0, 48_000);
    ffmpeg::make(&path, &[&["-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &sound][..], &encoder].concat());
    path
}

/// A live recording, without duration and index: its pictures are a chain of runs.
fn stream() -> PathBuf {
    let path = media().join("drain-28.mkv");
    let source = text(&crate::crash::grainy_film());
    ffmpeg::make(&path, &["-i", &source, "-t", "28", "-c", "copy", "-live", "1"]);
    path
}

/// A fleet without transcoders: the test starts its own.
async fn fleet(args: &[&str], env: &[(&str, &str)]) -> Fleet {
    let mut options = Options::args(&[&["--transcoders", "0", "--thumbnailers", "0"][..], args].concat());
    options.env.extend(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Fleet::start(options).await
}

/// A task as its row stands.
#[derive(Debug, Clone, PartialEq)]
struct Task {
    id: String,
    state: String,
    owner: String,
    token: i64,
    attempts: i64,
}

/// The one task that fits.
async fn task(clients: &Clients, fits: &str) -> Option<Task> {
    let sql =
        format!("SELECT id, state, lease_owner, lease_token, attempts FROM task WHERE {fits} ORDER BY id LIMIT 1");
    let row = clients.rows(&sql).await.into_iter().next()?;
    let number = |n: usize| row[n].parse().unwrap();
    Some(Task {
        id: row[0].clone(),
        state: row[1].clone(),
        owner: row[2].clone(),
        token: number(3),
        attempts: number(4),
    })
}

/// Waits for it.
async fn until_task(clients: &Clients, fits: &str) -> Task {
    let found = tokio::time::timeout(SOON, async {
        loop {
            if let Some(task) = task(clients, fits).await {
                return task;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    found.await.unwrap_or_else(|_| panic!("no task: {fits}"))
}

/// Runs of an asset's pictures: chunk, number, and who committed it.
async fn runs(clients: &Clients, asset: &str) -> Vec<Vec<String>> {
    clients
        .rows(&format!(
            "SELECT r.track, r.chunk, r.run, r.task_id, r.token FROM run r JOIN task t ON t.id = r.task_id \
             WHERE t.asset_id = '{asset}' ORDER BY r.track, r.chunk, r.run"
        ))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_transcoder_that_is_asked_to_end_charges_nothing_and_loses_no_more_than_the_chunk_in_hand() {
    let (film, stream) = tokio::task::spawn_blocking(|| (heavy_film(), stream())).await.unwrap();
    let fleet = fleet(&[], &[]).await;
    let clients = &fleet.clients;
    let mut events = Events::of_everything(clients).await;

    // What does not fit in the grace is given back within it.
    let mut victim = Worker::start(&fleet, "transcoder", "victim", &[("REELFLEET_GRACE_SECONDS", "2")]).await;
    clients.drop_file("drain/film.mp4", &film).await;
    let asset = events.landed("film.mp4", SOON).await;
    let in_hand = format!("asset_id = '{asset}' AND kind = 'encode_chunk' AND chunk = 3");
    let before = until_task(clients, &format!("{in_hand} AND state = 'leased'")).await;
    let other = Worker::start(&fleet, "transcoder", "other", &[]).await;
    let mut mine = runs(clients, &asset).await;
    victim.signal("TERM");
    let asked = Instant::now();
    let status = victim.exit(Duration::from_secs(10)).await;
    let took = asked.elapsed();
    println!("with a chunk in hand: {status} after {:.2} s of a grace of 2", took.as_secs_f64());
    assert_eq!(status.code(), Some(0), "{}", victim.log());
    assert!(took < Duration::from_millis(2_500), "{took:?}:\n{}", victim.log());
    // Its message is hidden for 90 s and its lease would be taken over after 120: the other has it at once.
    let after = until_task(clients, &format!("id = '{}' AND lease_token > {}", before.id, before.token)).await;
    println!("the other has it {:.2} s after the signal", asked.elapsed().as_secs_f64());
    assert_eq!((after.owner.as_str(), after.token), ("other", before.token + 1));
    assert_eq!(after.attempts, before.attempts, "an attempt was charged");
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    assert_eq!(events.ended(&asset, SOON).await.kind, "asset.ready.v1");
    let all = runs(clients, &asset).await;
    mine.retain(|run| !all.contains(run));
    assert!(mine.is_empty(), "committed and gone: {mine:?}");
    assert_eq!(events.count(&asset, "asset.ready.v1"), 1);
    assert!(
        task(clients, &format!("asset_id = '{asset}' AND kind LIKE 'encode%' AND state <> 'done'")).await.is_none()
    );
    assert_eq!(other.metric("reelfleet_leases_lost_total").await, 0.0);
    drop(other);

    // A chain stops at the border that comes next, and what it made is committed.
    let mut third = Worker::start(&fleet, "transcoder", "third", &[("REELFLEET_GRACE_SECONDS", "30")]).await;
    clients.drop_file("drain/stream.mkv", &stream).await;
    let chain = events.landed("stream.mkv", SOON).await;
    let held = format!(
        "asset_id = '{chain}' AND kind = 'encode_chunk' AND state = 'leased' AND lease_owner = 'third' AND \
         (SELECT count(*) FROM run WHERE run.task_id = task.id) BETWEEN 1 AND 2 AND queue = 'transcode'"
    );
    let before = until_task(clients, &held).await;
    let of_task = |runs: &[Vec<String>]| runs.iter().filter(|run| run[3] == before.id).count();
    let (asked, committed) = (Instant::now(), of_task(&runs(clients, &chain).await));
    third.signal("TERM");
    let status = third.exit(Duration::from_secs(35)).await;
    println!("in a chain: {status} after {:.2} s of a grace of 30", asked.elapsed().as_secs_f64());
    assert_eq!(status.code(), Some(0), "{}", third.log());
    assert!(asked.elapsed() < Duration::from_secs(20), "it did not stop at the border: {}", third.log());
    let kept = runs(clients, &chain).await;
    assert!(of_task(&kept) > committed, "the run in hand was lost: {kept:?}");
    let after = until_task(clients, &format!("id = '{}'", before.id)).await;
    assert_eq!((after.state.as_str(), after.attempts), ("pending", 0), "to be had by anybody, nothing charged");
    assert_eq!(events.count(&chain, "asset.ready.v1"), 0);
    let _fourth = Worker::start(&fleet, "transcoder", "fourth", &[]).await;
    assert_eq!(events.ended(&chain, SOON).await.kind, "asset.ready.v1");
    let all = runs(clients, &chain).await;
    assert!(kept.iter().all(|run| all.contains(run)), "committed and gone: {kept:?} {all:?}");
    let problems = check(clients, &clients.asset(&chain).await, &Wanted::new(&stream, (640, 360)).mixed()).await;
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Timings of a fleet whose leases end soon.
const SHORT: [(&str, &str); 6] = [
    ("REELFLEET_VISIBILITY_SECONDS", "3"),
    ("REELFLEET_TAKEOVER_GRACE_SECONDS", "1"),
    ("REELFLEET_RECONCILE_SECONDS", "1"),
    ("REELFLEET_STRANDED_SECONDS", "2"),
    ("REELFLEET_JANITOR_SECONDS", "1"),
    ("REELFLEET_LOSER_AGE_SECONDS", "2"),
];

/// Requests that begin later.
async fn delay(clients: &Clients, operation: &str, path: &str, ms: u64) {
    let rules = json!([{ "service": "s3", "operation": operation, "path": path, "fault": { "delay": { "ms": ms } } }]);
    let url = format!("{}/_reelfleet/faults", clients.endpoint);
    let answer = clients.http.post(url).body(rules.to_string()).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

/// Waits until a late worker's write was refused.
async fn refused(late: &Worker, before: f64, what: &str) {
    let seen = tokio::time::timeout(Duration::from_secs(15), async {
        while late.metric("reelfleet_lease_commits_refused_total").await <= before {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(seen.await.is_ok(), "{what}: no write of the late process was refused:\n{}", late.log());
    assert!(late.log().contains("a late write was refused"), "{}", late.log());
    assert!(late.is("livez").await, "{what}: the late process goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_slept_through_its_lease_commits_nothing() {
    let film = tokio::task::spawn_blocking(heavy_film).await.unwrap();
    let fleet = fleet(&["--intakes", "0"], &SHORT).await;
    let clients = &fleet.clients;
    let mut events = Events::of_everything(clients).await;
    const REFUSED: &str = "reelfleet_lease_commits_refused_total";

    // Intake sleeps while it probes.
    let sleeper = Worker::start(&fleet, "intake", "intake-late", &SHORT).await;
    delay(clients, "GET", "late/film.mp4", 3_000).await;
    clients.drop_file("late/film.mp4", &film).await;
    let asset = events.landed("film.mp4", SOON).await;
    let probe =
        until_task(clients, &format!("asset_id = '{asset}' AND kind = 'probe_source' AND state = 'leased'")).await;
    sleeper.signal("STOP");
    let _intake = Worker::start(&fleet, "intake", "intake-other", &SHORT).await;
    events.wait(SOON, |event| event.subject == asset && event.kind == "asset.probed.v1").await;
    let taken = until_task(clients, &format!("id = '{}'", probe.id)).await;
    assert!(taken.token > probe.token && taken.state == "done", "{taken:?}");
    sleeper.signal("CONT");
    refused(&sleeper, 0.0, "intake").await;

    // A transcoder sleeps while it encodes.
    let late = Worker::start(&fleet, "transcoder", "late", &SHORT).await;
    let chunk = format!("asset_id = '{asset}' AND kind = 'encode_chunk' AND chunk = 3");
    let held = until_task(clients, &format!("{chunk} AND state = 'leased' AND lease_owner = 'late'")).await;
    let folder = format!("out/{asset}/g1/t/{}/{}/", held.id, held.token);
    let written = tokio::time::timeout(SOON, async {
        while clients.outputs(&folder).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    written.await.expect("it never wrote a segment");
    late.signal("STOP");
    let other = Worker::start(&fleet, "transcoder", "other", &SHORT).await;
    assert_eq!(events.ended(&asset, SOON).await.kind, "asset.ready.v1");
    late.signal("CONT");
    refused(&late, 0.0, "transcoder").await;
    let done = until_task(clients, &format!("id = '{}'", held.id)).await;
    assert_eq!((done.state.as_str(), done.owner.as_str()), ("done", "other"));
    let committed: BTreeSet<String> =
        runs(clients, &asset).await.into_iter().filter(|run| run[3] == held.id).map(|run| run[4].clone()).collect();
    assert_eq!(committed, BTreeSet::from([done.token.to_string()]), "the late token {} has no run", held.token);
    let swept = tokio::time::timeout(Duration::from_secs(20), async {
        while !clients.outputs(&folder).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    swept.await.expect("what the late process wrote was not swept");

    // A publisher sleeps with a playlist on its way.
    drop(other);
    let before = late.metric(REFUSED).await;
    let small = tokio::task::spawn_blocking(crate::notifications::small_film).await.unwrap();
    delay(clients, "PUT", ".m3u8", 7_000).await;
    clients.drop_file("late/small.mp4", &small).await;
    let second = events.landed("small.mp4", SOON).await;
    let publishing = format!("asset_id = '{second}' AND kind = 'publish_playlist' AND state = 'leased'");
    let held = until_task(clients, &publishing).await;
    assert_eq!(held.owner, "late");
    late.signal("STOP");
    let _other = Worker::start(&fleet, "transcoder", "another", &SHORT).await;
    assert_eq!(events.ended(&second, SOON).await.kind, "asset.ready.v1");
    late.signal("CONT");
    refused(&late, before, "publisher").await;
    // What is in S3 is what the rows say, and each thing happened once.
    let lists = clients
        .rows(&format!(
            "SELECT p.name, p.etag FROM playlist p JOIN job j ON j.id = p.job_id WHERE j.asset_id = '{second}'"
        ))
        .await;
    assert!(lists.len() >= 2, "{lists:?}");
    for list in lists {
        let key = format!("out/{second}/g1/{}.m3u8", list[0]);
        let head = clients.s3.head_object().bucket(&clients.outputs).key(&key).send().await.unwrap();
        assert_eq!(head.e_tag().unwrap().trim_matches('"'), list[1].trim_matches('"'), "{key}");
    }
    // Something later has gone through every queue: whatever the late ones said would have been said.
    clients.drop_file("late/last.mp4", &small).await;
    let last = events.landed("last.mp4", SOON).await;
    assert_eq!(events.ended(&last, SOON).await.kind, "asset.ready.v1");
    for asset in [&asset, &second, &last] {
        for kind in [
            "asset.uploaded.v1",
            "asset.probed.v1",
            "job.queued.v1",
            "job.started.v1",
            "asset.playable.v1",
            "asset.ready.v1",
            "job.succeeded.v1",
        ] {
            assert_eq!(events.count(asset, kind), 1, "{kind} of {asset}");
        }
    }
}
