//! Probe and poster of a large file read next to nothing of it, counted by the endpoint.

use std::path::PathBuf;
use std::time::Duration;

use reelfleet_tests::{Events, Fleet, Options, ffmpeg, media, root, text};

const SOON: Duration = Duration::from_secs(120);
/// Of the object, in percent.
const MOST: f64 = 0.5;

/// 500 MB of real film, by copying the demo's clip again and again.
fn large_films() -> Vec<PathBuf> {
    let clip = root()
        .join(".reelfleet/media/video.mp4")
        .canonicalize()
        .expect("the film is fetched by `scripts/setup.sh media`");
    let list = media().join("large.txt");
    std::fs::write(&list, format!("file '{}'\n", text(&clip)).repeat(22)).unwrap();
    let list = text(&list);
    let copy = ["-f", "concat", "-safe", "0", "-i", &list, "-map", "0:v", "-map", "0:a", "-c", "copy"];
    let made = |name: &str, more: &[&str]| {
        let path = media().join(name);
        ffmpeg::make(&path, &[&copy[..], more].concat());
        path
    };
    vec![made("large-last.mp4", &[]), made("large-first.mp4", &["-movflags", "+faststart"]), made("large.mkv", &[])]
}

#[tokio::test(flavor = "multi_thread")]
async fn probe_and_poster_read_less_than_half_a_percent() {
    let films = tokio::task::spawn_blocking(large_films).await.unwrap();
    let fleet = Fleet::start(Options::args(&["--transcoders", "0", "--no-storyboard"])).await;
    let clients = &fleet.clients;
    let mut events = Events::of_everything(clients).await;
    let mut problems = Vec::new();
    for film in films {
        let name = film.file_name().unwrap().to_string_lossy().into_owned();
        let size = std::fs::metadata(&film).unwrap().len();
        assert!(size > 450_000_000, "{name} has {size} bytes");
        clients.drop_file(&name, &film).await;
        let asset = events.landed(&name, SOON).await;
        events.wait(SOON, |event| event.subject == asset && event.kind == "thumbnail.ready.v1").await;
        let detail = clients.asset(&asset).await;
        let posters =
            detail["pictures"].as_array().unwrap().iter().filter(|picture| picture["kind"] == "poster").count();
        assert_eq!(posters, 6, "{}", detail["pictures"]);
        let stats = clients.stats().await;
        let read = stats["get_object_bytes"][format!("{}/{name}", clients.uploads)].as_u64();
        let read = read.unwrap_or_else(|| panic!("{name} was never read: {stats}"));
        let share = read as f64 * 100.0 / size as f64;
        println!("{name}: {read} of {size} bytes, {share:.3} %");
        if share >= MOST {
            problems.push(format!("{name}: {read} of {size} bytes are {share:.3} %"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
