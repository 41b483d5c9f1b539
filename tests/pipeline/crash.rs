//! Two transcoders on one video at once, one of them killed in the middle: nothing is lost, nothing is made twice.

use std::collections::BTreeSet;
use std::time::Duration;

use reelfleet_tests::clients::Clients;
use reelfleet_tests::fleet::instance;
use reelfleet_tests::{Events, Fleet, Options, Wanted, check, ffmpeg, hls, media, pattern};

const SOON: Duration = Duration::from_secs(180);
const SECONDS: f64 = 80.0;

/// Grainy, so that encoding takes a while: 360p with sound, keyframes every two seconds.
pub fn grainy_film() -> std::path::PathBuf {
    let path = media().join("grainy.mp4");
    let video = format!("{},noise=alls=24:allf=t", pattern::pictures(640, 360, "25", SECONDS));
    let sound = pattern::sound(SECONDS, 48_000);
    let encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "30", "-g", "50", "-c:a", "aac"];
    ffmpeg::make(&path, &[&["-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &sound][..], &encoder].concat());
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transcoder_killed_in_the_middle_loses_nothing() {
    let film = tokio::task::spawn_blocking(grainy_film).await.unwrap();
    // A message comes back, and a lease runs out, soon after the process that held them is gone.
    let mut options = Options::args(&["--transcoders", "2"]);
    for name in ["REELFLEET_VISIBILITY_SECONDS", "REELFLEET_RECONCILE_SECONDS", "REELFLEET_STRANDED_SECONDS"] {
        options.env.push((name.into(), "6".into()));
    }
    for name in ["REELFLEET_JANITOR_SECONDS", "REELFLEET_LOSER_AGE_SECONDS"] {
        options.env.push((name.into(), "2".into()));
    }
    let fleet = Fleet::start(options).await;
    let clients = &fleet.clients;
    let mut events = Events::of_everything(clients).await;
    let asset = clients.upload(&film).await;
    let began = std::time::Instant::now();
    let note = |what: &str| println!("{what} after {:.1} s", began.elapsed().as_secs_f64());

    // The stream opens while most of it is still to be made.
    events.wait(SOON, |event| event.subject == asset && event.kind == "asset.playable.v1").await;
    let detail = clients.asset(&asset).await;
    note("playable");
    let early = hls::master(clients, detail["playback"]["url"].as_str().unwrap()).await;
    let mut prefixes = Vec::new();
    for url in early.variants.iter().map(|variant| &variant.url).chain(&early.audio) {
        let track = hls::track(clients, url).await;
        assert_eq!(
            (track.list.kind.as_str(), track.list.ended, track.list.start),
            ("EVENT", false, Some(0.0)),
            "{url}"
        );
        assert!(!track.list.segments.is_empty(), "{url} is empty");
        prefixes.push((url.clone(), track));
    }
    let starts = prefixes.iter().map(|(_, track)| track.borders()[0]);
    assert!(starts.clone().all(|start| start == 0.0), "{:?}", starts.collect::<Vec<_>>());

    // Both are at work on it. One dies.
    let busy = format!(
        "SELECT lease_owner FROM task WHERE asset_id = '{asset}' AND kind = 'encode_chunk' AND state = 'leased'"
    );
    let names: Vec<(i64, String)> = fleet.pids("transcoder").into_iter().map(|pid| (pid, instance(pid))).collect();
    let victim = tokio::time::timeout(SOON, async {
        loop {
            let owners: BTreeSet<String> = clients.rows(&busy).await.into_iter().flatten().collect();
            let at_work: Vec<i64> =
                names.iter().filter(|(_, name)| owners.contains(name)).map(|(pid, _)| *pid).collect();
            if at_work.len() == 2 {
                return at_work[0];
            }
            tokio::task::yield_now().await;
        }
    });
    let victim = victim.await.expect("two transcoders never worked on it at once");
    let killed = std::process::Command::new("kill").args(["-KILL", &victim.to_string()]).status().unwrap();
    assert!(killed.success());
    note("one transcoder is killed");

    let end = events.ended(&asset, SOON).await;
    assert_eq!(end.kind, "asset.ready.v1", "{end:?}");
    note("ready");
    let master = hls::master(clients, clients.asset(&asset).await["playback"]["url"].as_str().unwrap()).await;
    let mut named = BTreeSet::new();
    for url in master.variants.iter().map(|variant| &variant.url).chain(&master.audio) {
        let list = hls::track(clients, url).await.list;
        named.extend(list.segments.iter().map(|(_, url)| key_of(url)).chain([key_of(&list.init)]));
    }
    swept(clients, &asset, &named).await;
    note("swept");
    let detail = clients.asset(&asset).await;
    let problems = check(clients, &detail, &Wanted::new(&film, (640, 360))).await;
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    note("compared");
    for (url, early) in &prefixes {
        let late = hls::track(clients, url).await;
        let begin = &late.list.segments[..early.list.segments.len()];
        assert_eq!(begin, early.list.segments, "{url} changed what it had said");
    }
    // It was in the middle of something: that task has been leased once more.
    let tried = clients
        .rows(&format!("SELECT MAX(lease_token) FROM task WHERE asset_id = '{asset}' AND kind = 'encode_chunk'"))
        .await;
    assert!(tried[0][0].parse::<i64>().unwrap() > 1, "nothing was interrupted: {tried:?}");
    for kind in ["asset.ready.v1", "asset.playable.v1", "job.succeeded.v1"] {
        assert_eq!(events.count(&asset, kind), 1, "{kind}");
    }
    let completed = events.seen.iter().filter(|event| event.kind == "rendition.completed.v1").count();
    assert_eq!(completed, early.variants.len() + 1);
}

/// The part of a URL that is a key below the generation's folder.
fn key_of(url: &reqwest::Url) -> String {
    // `/p/{token}/` stands for the folder.
    url.path().splitn(4, '/').nth(3).unwrap_or_else(|| panic!("{url}")).to_owned()
}

/// Waits until the janitor has left exactly the segments that playlists name.
async fn swept(clients: &Clients, asset: &str, named: &BTreeSet<String>) {
    let prefix = format!("out/{asset}/g1/");
    let mut left = BTreeSet::new();
    for _ in 0..300 {
        let keys = clients.outputs(&prefix).await;
        let media = |key: &&str| key.ends_with(".m4s") || key.ends_with(".mp4");
        left = keys.iter().filter_map(|key| key.strip_prefix(&prefix)).filter(media).map(str::to_owned).collect();
        assert!(named.is_subset(&left), "named and gone: {:?}", named.difference(&left));
        if left.len() == named.len() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("garbage stays: {:?}", left.difference(named));
}
