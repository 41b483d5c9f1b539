//! Bad input: a refusal that a person understands, with a stable code, everywhere; the object stays, the queue goes on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reelfleet_tests::clients::Clients;
use reelfleet_tests::{Events, Fleet, Options, ffmpeg, media, pattern, text};

const SOON: Duration = Duration::from_secs(90);
const MAX_BYTES: u64 = 3_000_000;

fn made(name: &str, args: &[&str]) -> PathBuf {
    let path = media().join(name);
    ffmpeg::make(&path, args);
    path
}

fn written(name: &str, bytes: &[u8]) -> PathBuf {
    let path = media().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn cut(name: &str, whole: &Path, share: f64) -> PathBuf {
    let bytes = std::fs::read(whole).unwrap();
    written(name, &bytes[..(bytes.len() as f64 * share) as usize])
}

/// (What, file, code).
fn bad_inputs() -> Vec<(&'static str, PathBuf, &'static str)> {
    let video = pattern::pictures(320, 180, "25", 8.0);
    let x264 = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25"];
    let plain = made("refusal-base.mp4", &[&["-f", "lavfi", "-i", &video][..], &x264].concat());
    let source = text(&plain);
    let first = made("refusal-first.mp4", &["-i", &source, "-c", "copy", "-movflags", "+faststart"]);
    let key = "00112233445566778899aabbccddeeff";
    let locked = made(
        "locked.mp4",
        &[
            "-i",
            &source,
            "-c",
            "copy",
            "-encryption_scheme",
            "cenc-aes-ctr",
            "-encryption_key",
            key,
            "-encryption_kid",
            key,
        ],
    );
    let long = pattern::pictures(64, 36, "5", 90.0);
    let large = pattern::pictures(2000, 1200, "5", 2.0);
    let mut many = vec!["-i", source.as_str()];
    many.extend(["-map", "0:v"].repeat(7));
    many.extend(["-c", "copy"]);
    let subtitles = written("words.srt", b"1\n00:00:00,000 --> 00:00:01,000\nwords\n");
    let subtitles = text(&subtitles);
    let noise: Vec<u8> = (0..200_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:12\n#EXTINF:12,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n";
    vec![
        ("noise", written("noise.mp4", &noise), "not_media"),
        ("text", written("letter.mp4", b"Dear reader, this is no film.\n"), "not_media"),
        ("a playlist in disguise", written("disguise.mp4", playlist), "not_media"),
        ("cut in its data, index first", cut("cut-first.mp4", &first, 0.4), "truncated"),
        ("cut in its data, index lost", cut("cut-last.mp4", &plain, 0.6), "truncated"),
        ("encrypted", locked, "encrypted"),
        ("words alone", made("words.mkv", &["-i", &subtitles]), "no_decodable_stream"),
        ("too large", written("large.mp4", &vec![0x55; usize::try_from(MAX_BYTES).unwrap() + 1]), "too_large"),
        ("too long", made("long.mp4", &[&["-f", "lavfi", "-i", &long][..], &x264].concat()), "too_long"),
        (
            "too many pixels",
            made("pixels.mp4", &[&["-f", "lavfi", "-i", &large][..], &x264].concat()),
            "too_many_pixels",
        ),
        ("too many streams", made("streams.mkv", &many), "too_many_streams"),
        ("zero bytes", written("nothing.mp4", b""), "empty"),
        (
            "a kind that is not taken",
            made("song.mp3", &["-f", "lavfi", "-i", &pattern::sound(3.0, 44_100), "-c:a", "libmp3lame"]),
            "type_not_allowed",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_with_a_code_and_a_sentence() {
    let (inputs, good) = tokio::task::spawn_blocking(|| {
        let video = pattern::pictures(160, 90, "25", 1.0);
        let good = made("good.mp4", &["-f", "lavfi", "-i", &video, "-c:v", "libx264", "-preset", "ultrafast"]);
        (bad_inputs(), good)
    })
    .await
    .unwrap();
    let limits = [
        ("REELFLEET_MAX_BYTES", MAX_BYTES.to_string()),
        ("REELFLEET_MAX_DURATION_S", "60".to_owned()),
        ("REELFLEET_MAX_PIXELS", "1000000".to_owned()),
        ("REELFLEET_MAX_STREAMS", "4".to_owned()),
        ("REELFLEET_ALLOWED_KINDS", "video,image".to_owned()),
    ];
    let mut options = Options::args(&["--transcoders", "1"]);
    options.env.extend(limits.map(|(name, value)| (name.to_owned(), value)));
    let fleet = Fleet::start(options).await;
    let clients = &fleet.clients;
    let mut events = Events::of_everything(clients).await;
    for (_, path, _) in &inputs {
        let name = path.file_name().unwrap().to_string_lossy();
        clients.drop_file(&format!("bad/{name}"), path).await;
    }
    clients.drop_file("good/good.mp4", &good).await;
    let mut problems = Vec::new();
    for (what, path, code) in &inputs {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let asset = events.landed(&name, SOON).await;
        problems.extend(
            refused(clients, &mut events, &asset, &name, code).await.into_iter().map(|p| format!("{what}: {p}")),
        );
    }
    let asset = events.landed("good.mp4", SOON).await;
    let end = events.ended(&asset, SOON).await;
    assert_eq!(end.kind, "asset.ready.v1", "{end:?}");
    problems.extend(at_the_door(clients).await);
    problems.extend(on_the_command_line(&fleet, &inputs).await);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The code in the event, in the row as the API shows it, and in the list; the object is still there.
async fn refused(clients: &Clients, events: &mut Events, asset: &str, name: &str, code: &str) -> Vec<String> {
    let end = events.ended(asset, SOON).await;
    let mut problems = Vec::new();
    let detail = clients.asset(asset).await;
    if end.kind != "asset.refused.v1" || end.data["code"] != code {
        problems.push(format!("event {} {}", end.kind, end.data));
    }
    if detail["state"] != "refused"
        || detail["reason"]["code"] != code
        || detail["reason"]["detail"] != end.data["detail"]
    {
        problems.push(format!("asset {} {}", detail["state"], detail["reason"]));
    }
    let sentence = end.data["detail"].as_str().unwrap_or_default();
    if sentence.len() < 10 || !sentence.contains(' ') {
        problems.push(format!("{sentence:?} is no sentence"));
    }
    if !detail["playback"].is_null() {
        problems.push(format!("it can be played: {}", detail["playback"]));
    }
    let head = clients.s3.head_object().bucket(&clients.uploads).key(format!("bad/{name}")).send().await;
    if head.is_err() {
        problems.push("the object is gone".into());
    }
    if events.count(asset, "asset.refused.v1") != 1 {
        problems.push("it was not refused once".into());
    }
    problems
}

/// The command line says the same, and its exit code too.
async fn on_the_command_line(fleet: &Fleet, inputs: &[(&'static str, PathBuf, &'static str)]) -> Vec<String> {
    let mut problems = Vec::new();
    for (what, path, code) in inputs.iter().filter(|(what, ..)| ["encrypted", "too large", "noise"].contains(what)) {
        let upload = tokio::process::Command::new(reelfleet_tests::executable())
            .args(["upload", "--json"])
            .arg(path)
            .env("REELFLEET_GATEWAY", &fleet.clients.gateway)
            .env("REELFLEET_API_KEY", &fleet.clients.api_key)
            .output();
        let output = tokio::time::timeout(SOON, upload).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() || !said.contains(code) {
            problems.push(format!("{what}: `upload` ended with {} and said {said}", output.status));
        }
    }
    problems
}

/// What is known before anything is sent is refused before anything is sent.
async fn at_the_door(clients: &Clients) -> Vec<String> {
    let mut problems = Vec::new();
    for (body, code) in [
        (serde_json::json!({ "name": "a.mp4", "size": 0 }), "empty"),
        (serde_json::json!({ "name": "a.mp4", "size": MAX_BYTES + 1 }), "too_large"),
        (serde_json::json!({ "name": "a.mp3", "size": 5, "type": "audio/mpeg" }), "type_not_allowed"),
    ] {
        let (status, problem) = clients.api(reqwest::Method::POST, "/v1/uploads", Some(body.clone())).await;
        if status != 422 || problem["code"] != code || problem["type"] != format!("urn:reelfleet:problem:{code}") {
            problems.push(format!("{body}: {status} {problem}"));
        }
    }
    problems
}
