//! What is already right is copied, picture for picture; what only seems to be is encoded after all.

use std::path::PathBuf;
use std::time::Duration;

use reelfleet_tests::{Events, Fleet, Options, Wanted, check, ffmpeg, hls, media, pattern, text};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(120);
const SIZE: (u32, u32) = (426, 240);

/// A film of 20 s at 29.97 pictures a second with a keyframe every 60 of them, and sound.
fn film(name: &str, params: &str) -> PathBuf {
    let path = media().join(name);
    let (graph, sound) = (pattern::pictures(SIZE.0, SIZE.1, "30000/1001", 20.0), pattern::sound(20.0, 48_000));
    let params = format!("keyint=60:min-keyint=60:scenecut=0:bframes=3:{params}");
    let encoder = ["-c:v", "libx264", "-preset", "veryfast", "-x264-params", &params, "-crf", "30", "-c:a", "aac"];
    ffmpeg::make(&path, &[&["-f", "lavfi", "-i", &graph, "-f", "lavfi", "-i", &sound][..], &encoder].concat());
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_right_is_copied_exactly_and_what_only_seems_so_is_encoded() {
    let films = || [film("copy-closed.mp4", "open-gop=0"), film("copy-open.mp4", "open-gop=1")];
    let [right, seeming] = tokio::task::spawn_blocking(films).await.unwrap();
    let fleet = Fleet::start(Options::default()).await;
    let clients = &fleet.clients;
    let mut events = Events::of_everything(clients).await;
    for (film, generation) in [(&right, 1), (&seeming, 2)] {
        let asset = clients.upload(film).await;
        let end = events.ended(&asset, SOON).await;
        assert_eq!((end.kind.as_str(), &end.data["generation"]), ("asset.ready.v1", &generation.into()), "{end:?}");
        let detail = clients.asset(&asset).await;
        let problems = check(clients, &detail, &Wanted::new(film, SIZE)).await;
        assert!(problems.is_empty(), "{}: {}\n{}", film.display(), problems.join("\n"), fleet.log());

        let master = hls::master(clients, detail["playback"]["url"].as_str().unwrap()).await;
        let top = master.variants[0].url.to_string();
        let source = text(film);
        let same = tokio::task::spawn_blocking(move || {
            let [ours, theirs] = [ffmpeg::frames(&top), ffmpeg::frames(&source)];
            ours.len() == theirs.len() && ours.iter().zip(&theirs).all(|(ours, theirs)| ours.md5 == theirs.md5)
        });
        assert_eq!(same.await.unwrap(), generation == 1, "{}", film.display());
        let sql = format!("SELECT plan FROM job WHERE asset_id = '{asset}' ORDER BY generation");
        let plans: Vec<Value> =
            clients.rows(&sql).await.iter().map(|row| serde_json::from_str(&row[0]).unwrap()).collect();
        let copied: Vec<bool> = plans.iter().map(|plan| plan["video"]["copy_delay_us"].is_i64()).collect();
        assert_eq!(copied, [true, false][..plans.len()]);
        let last = &plans[plans.len() - 1]["video"];
        assert_eq!((&last["sequential"], &last["misled"]), (&false.into(), &false.into()), "its index is right");
        assert_eq!(events.count(&asset, "asset.ready.v1"), 1);
    }
    assert_eq!(fleet.stop().await, Some(0));
}
