//! Limits of a tenant: told before a byte is sent, refused before a byte is sent, and refused again by what the probe finds
//! of whatever came another way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reelfleet_tests::clients::Clients;
use reelfleet_tests::{Events, Fleet, Options, ffmpeg, media, pattern};
use reqwest::Method;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
/// The installation takes longer and larger ones, and sound.
const LIMITS: &str = r#"{
    "*": {"max_bytes": 400000, "kinds": ["image", "video"], "max_pixels": 100000},
    "default": {"max_seconds": 3, "stored_bytes": 900000, "assets_a_day": 7},
    "others": {"assets_a_day": 1}
}"#;

fn made(name: &str, args: &[&str]) -> PathBuf {
    let path = media().join(name);
    ffmpeg::make(&path, args);
    path
}

fn inputs() -> [(PathBuf, &'static str); 4] {
    let film = |seconds| pattern::pictures(160, 90, "10", seconds);
    let picture = |size: (u32, u32)| pattern::pictures(size.0, size.1, "25", 1.0);
    let still = |name: &str, source: &str| made(name, &["-f", "lavfi", "-i", source, "-frames:v", "1"]);
    let x264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"];
    let long = made("limits-long.mp4", &[&["-f", "lavfi", "-i", &film(4.0)][..], &x264].concat());
    let sound = made("limits-sound.mp3", &["-f", "lavfi", "-i", &pattern::sound(1.0, 48_000), "-b:a", "64k"]);
    [
        (still("limits-good.png", &picture((160, 90))), "ready"),
        (still("limits-large.png", &picture((640, 360))), "too_many_pixels"),
        (long, "too_long"),
        (sound, "type_not_allowed"),
    ]
}

async fn reserve(clients: &Clients, size: u64, kind: &str) -> (u16, Value) {
    let body = json!({ "name": "a", "size": size, "type": kind });
    let (status, answer) = clients.api(Method::POST, "/v1/uploads", Some(body)).await;
    (status.as_u16(), answer)
}

async fn limits(clients: &Clients) -> Value {
    let (status, shown) = clients.api(Method::GET, "/v1/limits", None).await;
    assert!(status.is_success(), "{shown}");
    shown
}

/// Drops a file and answers how its asset ended: `ready`, or the code of the refusal.
async fn dropped(clients: &Clients, events: &mut Events, path: &Path, folder: &str, name: &str) -> String {
    clients.drop_file(&format!("{folder}/{name}"), path).await;
    let asset = events.landed(name, SOON).await;
    let end = events.ended(&asset, SOON).await;
    if end.kind == "asset.ready.v1" { "ready".to_owned() } else { end.data["code"].as_str().unwrap().to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_gets_what_it_is_given_and_no_more() {
    let inputs = tokio::task::spawn_blocking(inputs).await.unwrap();
    let mut options = Options::args(&["--transcoders", "1"]);
    options.env.push(("REELFLEET_TENANT_LIMITS".into(), LIMITS.into()));
    let uploads = "reelfleet-uploads=default,reelfleet-uploads/others/=others";
    options.env.push(("REELFLEET_UPLOADS".into(), uploads.into()));
    let fleet = Fleet::start(options).await;
    let clients = &fleet.clients;
    let mut events = Events::of_everything(clients).await;

    let shown = limits(clients).await;
    let wanted = json!({
        "max_bytes": 400_000, "max_seconds": 3, "max_pixels": 100_000, "kinds": ["video", "image"],
        "stored": { "bytes": 0, "most": 900_000 }, "today": { "assets": 0, "most": 7 },
    });
    assert_eq!(shown, wanted);
    for (size, kind, code) in
        [(400_001, "video/mp4", "too_large"), (5, "audio/mpeg", "type_not_allowed"), (0, "video/mp4", "empty")]
    {
        let (status, problem) = reserve(clients, size, kind).await;
        assert_eq!((status, &problem["code"]), (422, &json!(code)), "{problem}");
    }

    // What another way takes in is seen by the probe.
    let mut stored = 0;
    for (path, end) in &inputs {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(dropped(clients, &mut events, path, "drops", name).await, *end, "{name}");
        stored += std::fs::metadata(path).unwrap().len();
    }
    let shown = limits(clients).await;
    assert_eq!((&shown["stored"]["bytes"], &shown["today"]["assets"]), (&json!(stored), &json!(4)), "refused ones too");

    // What is reserved counts, until it is given up.
    assert!(stored < 300_000, "{stored}");
    let room = 300_000 - stored;
    let (_, first) = reserve(clients, 300_000, "video/mp4").await;
    let (status, second) = reserve(clients, 300_000, "video/mp4").await;
    assert_eq!(status, 201, "{second}");
    let (status, problem) = reserve(clients, room + 1, "video/mp4").await;
    assert_eq!((status, &problem["code"]), (422, &json!("storage_full")), "{problem}");
    let again = clients
        .http
        .post(format!("{}/v1/uploads", clients.gateway))
        .bearer_auth(&clients.api_key)
        .header("idempotency-key", "k")
        .json(&json!({ "name": "a", "size": room, "type": "video/mp4" }));
    for status in [201, 200] {
        let answer = again.try_clone().unwrap().send().await.unwrap();
        assert_eq!(answer.status(), status, "a repeated request is not counted twice");
    }
    let path = format!("/v1/uploads/{}", first["id"].as_str().unwrap());
    assert_eq!(clients.api(Method::DELETE, &path, None).await.0, 204);
    assert_eq!(reserve(clients, 1, "video/mp4").await.0, 201, "there is room again");
    let (status, problem) = reserve(clients, 1, "video/mp4").await;
    assert_eq!((status, &problem["code"]), (422, &json!("too_many_today")), "{problem}");

    // What is dropped counts when it is there: the one that does not fit is refused, the tenant beside it is not.
    let filler = media().join("limits-filler.bin");
    std::fs::write(&filler, vec![0; 300_000]).unwrap();
    for (name, code) in [("one.bin", "not_media"), ("two.bin", "not_media"), ("three.bin", "storage_full")] {
        assert_eq!(dropped(clients, &mut events, &filler, "drops", name).await, code);
    }
    for (name, end) in [("first.png", "ready"), ("second.png", "too_many_today")] {
        assert_eq!(dropped(clients, &mut events, &inputs[0].0, "others", name).await, end);
    }
}
