//! hls.js in headless Chromium plays a finished result, and a growing playlist from its start, with captions.

use std::process::Stdio;
use std::time::Duration;

use reelfleet_tests::clients::Clients;
use reelfleet_tests::{Events, Fleet, Options, ffmpeg, media, pattern, root};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const SOON: Duration = Duration::from_secs(120);

/// A browser with a page that plays what it is told to; each line of its output is one JSON object.
struct Player {
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// Said of what plays now, and not asked for yet.
    heard: Vec<Value>,
}

impl Player {
    async fn open() -> Self {
        let mut process = Command::new("node")
            .arg(root().join("tests/browser/player.mjs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node is installed by `make setup-test`");
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut player = Self { process, input, output, heard: Vec::new() };
        player.said("open").await;
        player
    }

    /// The next thing of this kind that the player says, or has said meanwhile.
    async fn said(&mut self, what: &str) -> Value {
        if let Some(at) = self.heard.iter().position(|said| said["said"] == what) {
            return self.heard.remove(at);
        }
        let wait = async {
            loop {
                let line =
                    self.output.next_line().await.unwrap().unwrap_or_else(|| panic!("the browser ended before {what}"));
                let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                assert_ne!(said["said"], "error", "{said}");
                if said["said"] == what {
                    return said;
                }
                self.heard.push(said);
            }
        };
        tokio::time::timeout(SOON, wait).await.unwrap_or_else(|_| panic!("the player never said {what}"))
    }

    async fn play(&mut self, url: &str) {
        self.heard.clear();
        self.input.write_all(format!("{url}\n").as_bytes()).await.unwrap();
    }

    async fn close(mut self) {
        drop(self.input);
        let ended = tokio::time::timeout(SOON, self.process.wait()).await.unwrap().unwrap();
        assert!(ended.success());
    }
}

/// As players hand them out: seconds from the first picture on, and text with its markup.
const CUES: [(f64, f64, &str); 2] = [(0.5, 1.25, "One &amp; <i>all</i>"), (3.25, 43.75, "two")];

async fn caption(clients: &Clients, asset: &str, language: &str, label: &str) {
    let text = "1\n00:00:00,500 --> 00:00:01,250\nOne & <i>all</i>\n\n2\n00:00:03,250 --> 00:00:43,750\ntwo\n";
    let url = format!("{}/v1/assets/{asset}/captions/{language}?label={label}", clients.gateway);
    let answer = clients.http.put(url).bearer_auth(&clients.api_key).body(text).send().await.unwrap();
    assert_eq!(answer.status(), 201);
}

fn films() -> (std::path::PathBuf, std::path::PathBuf) {
    let made = |name: &str, size: (u32, u32), seconds: f64, noise: &str| {
        let path = media().join(name);
        let video = format!("{}{noise}", pattern::pictures(size.0, size.1, "25", seconds));
        let sound = pattern::sound(seconds, 48_000);
        let encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-c:a", "aac"];
        ffmpeg::make(&path, &[&["-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &sound][..], &encoder].concat());
        path
    };
    (made("browser-6.mp4", (640, 360), 6.0, ""), made("browser-45.mp4", (640, 360), 45.0, ",noise=alls=24:allf=t"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_plays_a_finished_and_a_growing_stream() {
    let (short, long) = tokio::task::spawn_blocking(films).await.unwrap();
    let fleet = Fleet::start(Options::args(&["--transcoders", "1"])).await;
    let clients = &fleet.clients;
    let mut events = Events::of_everything(clients).await;
    let mut player = Player::open().await;

    let asset = clients.upload(&short).await;
    assert_eq!(events.ended(&asset, SOON).await.kind, "asset.ready.v1");
    caption(clients, &asset, "en", "English").await;
    caption(clients, &asset, "de", "Deutsch").await;
    let detail = clients.asset(&asset).await;
    player.play(detail["playback"]["url"].as_str().unwrap()).await;
    let shown = player.said("captions").await;
    let none_by_itself = |name: &str, lang: &str| json!({ "name": name, "lang": lang, "shown": false });
    assert_eq!(shown["tracks"], json!([none_by_itself("Deutsch", "de"), none_by_itself("English", "en")]));
    assert_eq!(shown["cues"], json!(CUES));
    let playing = player.said("playing").await;
    assert!(playing["at"].as_f64().unwrap() < 0.5, "{playing}");
    assert_eq!(playing["live"], false, "{playing}");
    let ended = player.said("ended").await;
    assert!((ended["at"].as_f64().unwrap() - 6.0).abs() < 0.1, "{ended}");
    assert!((ended["duration"].as_f64().unwrap() - 6.0).abs() < 0.1, "{ended}");
    assert!(ended["frames"].as_u64().unwrap() >= 145, "{ended}");
    assert!(ended["audio_bytes"].as_u64().unwrap() > 0, "no sound was decoded: {ended}");

    let asset = clients.upload(&long).await;
    events.wait(SOON, |event| event.subject == asset && event.kind == "asset.playable.v1").await;
    caption(clients, &asset, "en", "English").await;
    let detail = clients.asset(&asset).await;
    player.play(detail["playback"]["url"].as_str().unwrap()).await;
    let shown = player.said("captions").await;
    assert_eq!((&shown["cues"], &shown["live"]), (&json!(CUES), &json!(true)), "while it grows: {shown}");
    let playing = player.said("playing").await;
    assert_eq!(playing["live"], true, "it was to be seen growing: {playing}");
    assert!(playing["at"].as_f64().unwrap() < 0.5, "it starts at its beginning: {playing}");
    let first = playing["duration"].as_f64().unwrap();
    let grown = player.said("grown").await;
    assert!(grown["duration"].as_f64().unwrap() > first, "{grown} after {first}");
    assert_eq!(events.ended(&asset, SOON).await.kind, "asset.ready.v1");
    let whole = player.said("whole").await;
    assert!((whole["duration"].as_f64().unwrap() - 45.0).abs() < 0.1, "{whole}");
    let ended = player.said("ended").await;
    assert!((ended["at"].as_f64().unwrap() - 45.0).abs() < 0.1, "{ended}");
    player.close().await;
}
