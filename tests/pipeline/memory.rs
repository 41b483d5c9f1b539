//! Memory: decoders that would not fit beside each other come one after the other, and nobody is charged for the wait.

use std::time::Duration;

use reelfleet_tests::{Events, Fleet, Options, ffmpeg, media, pattern};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(120);

/// Of all decoders that waited for memory so far: how many got it, and how many gave up.
async fn waits(fleet: &Fleet) -> [f64; 2] {
    let targets = std::fs::read(fleet.folder().join("metrics_targets.json")).unwrap();
    let groups: Vec<Value> = serde_json::from_slice(&targets).unwrap();
    let mut sums = [0.0; 2];
    for target in groups.iter().flat_map(|group| group["targets"].as_array().unwrap()) {
        let url = format!("http://{}/metrics", target.as_str().unwrap());
        let text = fleet.clients.http.get(url).send().await.unwrap().text().await.unwrap();
        for line in text.lines().filter(|line| line.starts_with("reelfleet_decoder_memory_wait_seconds_count{")) {
            let count: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            sums[usize::from(line.contains("given_up"))] += count;
        }
    }
    sums
}

/// One unit for all: any two of them would be more than there is.
#[tokio::test(flavor = "multi_thread")]
async fn decoders_that_do_not_fit_beside_each_other_wait_and_nothing_is_charged() {
    let film = media().join("memory.mp4");
    let x264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "50"];
    let source = pattern::pictures(640, 360, "25", 12.0);
    ffmpeg::make(
        &film,
        &[&["-f", "lavfi", "-i", &source, "-f", "lavfi", "-i", &pattern::sound(12.0, 48_000)][..], &x264].concat(),
    );
    let env = vec![("REELFLEET_DECODER_MEMORY_MIB".to_owned(), "65".to_owned())];
    let fleet = Fleet::start(Options { args: vec!["--transcoders".into(), "2".into()], env }).await;
    let mut events = Events::of_everything(&fleet.clients).await;
    let assets = [fleet.clients.upload(&film).await, fleet.clients.upload(&film).await];
    for asset in &assets {
        assert_eq!(events.ended(asset, SOON).await.kind, "asset.ready.v1");
        events.wait(SOON, |event| event.kind == "thumbnail.ready.v1" && event.subject == *asset).await;
    }
    let charged = fleet.clients.rows("SELECT kind, attempts, last_error FROM task WHERE last_error IS NOT NULL").await;
    assert!(charged.is_empty(), "{charged:?}");
    let [given, given_up] = waits(&fleet).await;
    assert!(given > 0.0 && given_up == 0.0, "{given} waited, {given_up} in vain");
}
