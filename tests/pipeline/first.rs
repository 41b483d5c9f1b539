//! The shortest way: one video through the API, one file dropped into the bucket.

use std::time::Duration;

use reelfleet_tests::{Events, Fleet, Options, ffmpeg};

const SOON: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_video_by_the_api_and_one_by_the_bucket_end_ready() {
    let folder = tempfile::tempdir().unwrap();
    let film = folder.path().join("film.mp4");
    let source = ["-f", "lavfi", "-i", "testsrc2=s=640x360:r=25:d=6", "-f", "lavfi", "-i", "sine=f=440:d=6"];
    ffmpeg::make(&film, &[&source[..], &["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"]].concat());
    let fleet = Fleet::start(Options::args(&["--transcoders", "2"])).await;
    let mut events = Events::of_everything(&fleet.clients).await;
    let by_api = fleet.clients.upload(&film).await;
    fleet.clients.drop_file("holiday clips/été + 100% & 🎬.mp4", &film).await;
    let by_bucket = events.landed("été + 100% & 🎬.mp4", SOON).await;
    for asset in [&by_api, &by_bucket] {
        let end = events.ended(asset, SOON).await;
        assert_eq!(end.kind, "asset.ready.v1", "{end:?}");
        let detail = fleet.clients.asset(asset).await;
        let playlist = detail["playback"]["url"].as_str().unwrap_or_else(|| panic!("{detail:#}"));
        assert_eq!(ffmpeg::frames(playlist).len(), 150);
    }
    assert_eq!(fleet.stop().await, Some(0));
}
