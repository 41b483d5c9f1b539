//! What many workers made looks as if one had made it: around the border of two chunks a picture is as near to its source
//! as anywhere else.
//!
//! Pictures differ in how well they compress, so each frame is measured against the same frame of one encode of the whole
//! film with the same settings and the same keyframes: what is left is what chunking does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reelfleet_tests::{Events, Fleet, Options, ffmpeg, hls, media, root, text};

const SOON: Duration = Duration::from_secs(120);
/// Frames on each side of a border that count as around it: half a second.
const AROUND: usize = 12;
/// SSIM that half a second at a border may lack. Encoders that know nothing of what was before and comes after lack 0.002
/// to 0.009.
const BEHIND: f64 = 0.001;

/// Real film of 37 s, so that there are three borders, and the seam of the two parts is none of them.
fn film() -> PathBuf {
    let clip =
        text(&root().join(".reelfleet/media/video.mp4").canonicalize().expect("`scripts/setup.sh media` makes it"));
    let path = media().join("joints.mp4");
    let graph = "[0:v][1:v]concat=n=2:v=1,scale=640:360:flags=bicubic";
    let inputs = ["-ss", "23", "-i", &clip, "-i", &clip, "-filter_complex", graph];
    ffmpeg::make(&path, &[&inputs[..], &["-c:v", "libx264", "-preset", "ultrafast", "-crf", "8", "-g", "48"]].concat());
    path
}

/// SSIM of each frame of `made` to the same frame of `film`.
fn likeness(made: &str, film: &Path, (width, height): (u32, u32)) -> Vec<f64> {
    let graph = format!(
        "[0:v]settb=1/24,setpts=N[made];[1:v]scale={width}:{height}:flags=bicubic,settb=1/24,setpts=N[film];\
         [made][film]ssim=stats_file=-"
    );
    let args = ["-i", made, "-i", &text(film), "-lavfi", &graph, "-f", "null", "-"];
    let lines = String::from_utf8(ffmpeg::ffmpeg(&args)).unwrap();
    let all = lines.lines().filter_map(|line| line.split("All:").nth(1)?.split(' ').next()?.parse().ok());
    all.collect()
}

/// One encode of the whole, with keyframes where the segments begin.
fn whole(film: &Path, (width, height): (u32, u32), keyframes: &[f64], folder: &Path) -> PathBuf {
    let path = folder.join(format!("whole-{height}.mp4"));
    // The ladder's settings (`domain/src/ladder.rs`).
    let (maxrate, bufsize) = if height == 360 { ("900k", "1800k") } else { ("450k", "900k") };
    let keyframes: Vec<String> = keyframes.iter().map(|at| format!("{at:.6}")).collect();
    let scale = format!("scale={width}:{height}:flags=bicubic");
    let x264 = "keyint=infinite:min-keyint=1:scenecut=0:open-gop=0";
    let args = [
        "-i",
        &text(film),
        "-an",
        "-vf",
        &scale,
        "-c:v",
        "libx264",
        "-threads",
        "1",
        "-preset",
        "veryfast",
        "-crf",
        "23",
    ];
    let more =
        ["-maxrate", maxrate, "-bufsize", bufsize, "-x264-params", x264, "-force_key_frames", &keyframes.join(",")];
    ffmpeg::make(&path, &[&args[..], &more].concat());
    path
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = values.into_iter().fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count.max(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_picture_shows_where_one_chunk_ends_and_the_next_begins() {
    let film = tokio::task::spawn_blocking(film).await.unwrap();
    let fleet = Fleet::start(Options::args(&["--transcoders", "2"])).await;
    let mut events = Events::of_everything(&fleet.clients).await;
    let asset = fleet.clients.upload(&film).await;
    let end = events.ended(&asset, SOON).await;
    assert_eq!(end.kind, "asset.ready.v1", "{end:?}");
    let detail = fleet.clients.asset(&asset).await;
    let master = hls::master(&fleet.clients, detail["playback"]["url"].as_str().unwrap()).await;
    assert!(master.variants.len() > 1, "{}", master.text);
    let folder = tempfile::tempdir().unwrap();
    for variant in master.variants {
        let size = variant.resolution.unwrap();
        let track = hls::track(&fleet.clients, &variant.url).await;
        let starts: Vec<f64> = track.borders();
        let place = |index: usize| track.list.segments[index].1.path().rsplit_once('/').unwrap().0.to_owned();
        let (made, at, from) = (variant.url.to_string(), folder.path().to_owned(), film.clone());
        let keyframes: Vec<f64> = starts[..starts.len() - 1].iter().map(|at| at - starts[0]).collect();
        let marks = keyframes.clone();
        let (chunked, whole) = tokio::task::spawn_blocking(move || {
            let whole = whole(&from, size, &marks, &at);
            (likeness(&made, &from, size), likeness(&text(&whole), &from, size))
        })
        .await
        .unwrap();
        assert_eq!(chunked.len(), whole.len());
        let less: Vec<f64> = chunked.iter().zip(&whole).map(|(chunked, whole)| chunked - whole).collect();
        let mut borders = 0;
        for index in (1..keyframes.len()).filter(|index| place(*index) != place(index - 1)) {
            let frame = (keyframes[index] * 24.0).round() as usize;
            for (side, frames) in [("before", frame - AROUND..frame), ("behind", frame..frame + AROUND)] {
                let less = mean(less[frames].iter().copied());
                assert!(less > -BEHIND, "{size:?}: {side} the border at {:.2} s SSIM is {less:+.5}", keyframes[index]);
            }
            borders += 1;
        }
        assert_eq!(borders, 3, "{keyframes:?}");
    }
    assert_eq!(fleet.stop().await, Some(0));
}
