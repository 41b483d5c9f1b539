//! Figures that are told, not asserted.

use std::time::{Duration, Instant};

use reelfleet_tests::{Events, Fleet, Options, ffmpeg, media, root, text};

const SOON: Duration = Duration::from_secs(300);

/// Ten minutes of real 1080p film.
fn ten_minutes() -> std::path::PathBuf {
    let clip = root()
        .join(".reelfleet/media/video.mp4")
        .canonicalize()
        .expect("the film is fetched by `scripts/setup.sh media`");
    let list = media().join("ten.txt");
    std::fs::write(&list, format!("file '{}'\n", text(&clip)).repeat(20)).unwrap();
    let path = media().join("ten-minutes.mp4");
    ffmpeg::make(
        &path,
        &["-f", "concat", "-safe", "0", "-i", &text(&list), "-map", "0:v", "-map", "0:a", "-c", "copy", "-t", "600"],
    );
    path
}

/// First playable is a master and a segment of every rendition and of the sound; five seconds are the aim on two idle
/// cores.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long"]
async fn ten_minutes_of_1080p_are_playable_soon() {
    let film = tokio::task::spawn_blocking(ten_minutes).await.unwrap();
    let fleet = Fleet::start(Options::args(&["--transcoders", "2"])).await;
    let mut events = Events::of_everything(&fleet.clients).await;
    let asset = fleet.clients.upload(&film).await;
    let landed = Instant::now();
    let playable = events.wait(SOON, |event| event.subject == asset && event.kind == "asset.playable.v1").await;
    println!(
        "first playable: {} ms after landing by the fleet's clock, {} ms after completion by ours",
        playable.data["after_ms"],
        landed.elapsed().as_millis()
    );
}
