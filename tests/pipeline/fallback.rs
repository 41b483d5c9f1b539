//! Chunks that do not fit together: the job goes on as one chain, or in a new generation, and what comes out is the
//! source.

use std::path::PathBuf;
use std::time::Duration;

use reelfleet_tests::{Events, Fleet, Options, Wanted, check, ffmpeg, media, pattern};

const SOON: Duration = Duration::from_secs(120);
const SIZE: (u32, u32) = (320, 180);

/// A film of 24 s whose keyframes are 10 s apart and whose index calls every picture one: its `stss` box, which names the
/// keyframes, is made a `free` one, and an MP4 without `stss` says that every picture stands alone.
fn liar(codec: &str) -> PathBuf {
    let honest = media().join(format!("honest-{codec}.mp4"));
    let graph = pattern::pictures(SIZE.0, SIZE.1, "25", 24.0);
    let encoder: &[&str] = match codec {
        "hevc" => {
            &["libx265", "-preset", "ultrafast", "-x265-params", "keyint=250:min-keyint=250:scenecut=0:log-level=none"]
        }
        _ => &["mpeg4", "-q:v", "4", "-g", "250", "-sc_threshold", "1000000000"],
    };
    ffmpeg::make(&honest, &[&["-f", "lavfi", "-i", &graph, "-c:v"], encoder].concat());
    let mut bytes = std::fs::read(&honest).unwrap();
    let boxes: Vec<usize> = (0..bytes.len() - 4).filter(|at| &bytes[*at..at + 4] == b"stss").collect();
    let [at] = boxes[..] else { panic!("{} has the box {} times", honest.display(), boxes.len()) };
    bytes[at..at + 4].copy_from_slice(b"free");
    let path = media().join(format!("liar-{codec}.mp4"));
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A film of 24 s with an honest index.
fn honest() -> PathBuf {
    let path = media().join("honest-h264.mp4");
    let graph = pattern::pictures(SIZE.0, SIZE.1, "25", 24.0);
    let encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "50"];
    ffmpeg::make(&path, &[&["-f", "lavfi", "-i", &graph][..], &encoder].concat());
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_lies_ends_in_a_chain_with_every_picture() {
    // Neither decoder says a word when it begins at a picture that refers to others; the one even gives as many pictures
    // as there are packets, made of nothing.
    let films = tokio::task::spawn_blocking(|| ["mpeg4", "hevc"].map(liar)).await.unwrap();
    let fleet = Fleet::start(Options::default()).await;
    let clients = &fleet.clients;
    let mut events = Events::of_everything(clients).await;
    for film in films {
        let asset = clients.upload(&film).await;
        let end = events.ended(&asset, SOON).await;
        assert_eq!(end.kind, "asset.ready.v1", "{end:?}");
        let detail = clients.asset(&asset).await;
        let problems = check(clients, &detail, &Wanted::new(&film, SIZE).silent()).await;
        assert!(problems.is_empty(), "{}: {}", film.display(), problems.join("\n"));
        assert_eq!(detail["generation"], 1, "the beginning was right");
        let plan = clients.rows(&format!("SELECT plan FROM job WHERE asset_id = '{asset}'")).await;
        let plan: serde_json::Value = serde_json::from_str(&plan[0][0]).unwrap();
        assert_eq!((&plan["video"]["seam"], &plan["video"]["sequential"]), (&[1, 0].into(), &true.into()), "{plan:#}");
        for kind in ["asset.playable.v1", "asset.ready.v1", "job.succeeded.v1"] {
            assert_eq!(events.count(&asset, kind), 1, "{kind}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_beginning_is_made_anew_in_the_next_generation() {
    let film = tokio::task::spawn_blocking(honest).await.unwrap();
    // Copied, the first generation would be one more.
    let mut options = Options::default();
    options.env.push(("REELFLEET_STREAM_COPY".into(), "false".into()));
    let fleet = Fleet::start(options).await;
    let clients = &fleet.clients;
    // Somebody's chunk 1 saw another picture behind it than there is. Then neither the chunk after it fits, nor the chain
    // that is made in its place.
    clients
        .rows(
            "CREATE TRIGGER misled AFTER INSERT ON run WHEN NEW.track = 'video' AND NEW.chunk = 1 AND NEW.next_pts_us = 6000000 \
             BEGIN UPDATE run SET next_pts_us = 5960000 WHERE job_id = NEW.job_id AND track = 'video' AND chunk = 1; END",
        )
        .await;
    let mut events = Events::of_everything(clients).await;
    let asset = clients.upload(&film).await;
    let end = events.ended(&asset, SOON).await;
    assert_eq!((end.kind.as_str(), &end.data["generation"]), ("asset.ready.v1", &2.into()), "{end:?}");
    let detail = clients.asset(&asset).await;
    assert_eq!(detail["generation"], 2);
    let problems = check(clients, &detail, &Wanted::new(&film, SIZE).silent()).await;
    assert!(problems.is_empty(), "{}", problems.join("\n"));

    let of = |kind: &str| -> Vec<u64> {
        let seen = events.seen.iter().filter(|event| event.subject == asset && event.kind == kind);
        seen.map(|event| event.data["generation"].as_u64().unwrap()).collect()
    };
    assert_eq!(of("asset.playable.v1"), [1, 2], "each generation says that it can be played");
    assert_eq!(of("asset.ready.v1"), [2]);
    assert_eq!((events.count(&asset, "job.cancelled.v1"), events.count(&asset, "job.succeeded.v1")), (1, 1));
    let jobs = clients
        .rows(&format!("SELECT generation, state FROM job WHERE asset_id = '{asset}' ORDER BY generation"))
        .await;
    assert_eq!(jobs, [["1", "cancelled"], ["2", "succeeded"]]);
    // What a player of the first generation was told stays where it was.
    let first = clients.outputs(&format!("out/{asset}/g1/")).await;
    assert!(first.iter().any(|key| key.ends_with("master.m3u8")), "{first:?}");
}
