//! The price before it is paid: estimates that hold, and budgets that hold back.

use std::path::PathBuf;
use std::time::Duration;

use reelfleet_tests::{Events, Fleet, Options, executable, ffmpeg, media, text};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(120);
const X264: [&str; 6] = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"];

/// A film of the test pattern, with a tone.
fn film(name: &str, size: &str, rate: u32, seconds: u32, more: &[&str]) -> PathBuf {
    let path = media().join(name);
    let pictures = format!("testsrc2=s={size}:r={rate}:d={seconds}");
    let sound = format!("sine=frequency=440:sample_rate=48000:duration={seconds}");
    let inputs = ["-f", "lavfi", "-i", &pictures, "-f", "lavfi", "-i", &sound];
    ffmpeg::make(&path, &[&inputs[..], &X264, &["-c:a", "aac"], more].concat());
    path
}

fn inputs() -> (PathBuf, Vec<PathBuf>) {
    let warm = film("price-warm.mp4", "640x360", 25, 12, &[]);
    let sound = media().join("price-sound-48k.m4a");
    let tone = "sine=frequency=300:sample_rate=48000:duration=60";
    ffmpeg::make(&sound, &["-f", "lavfi", "-i", tone, "-c:a", "aac", "-b:a", "96k"]);
    let measured = vec![
        // This one and that of 60 frames a second are copied: their keyframes come often enough.
        film("price-1080p-g50.mp4", "1920x1080", 25, 4, &["-g", "50"]),
        film("price-long-low.mp4", "320x180", 25, 40, &[]),
        film("price-portrait.mp4", "360x640", 30, 8, &[]),
        film("price-60fps.mp4", "640x360", 60, 6, &[]),
        sound,
    ];
    (warm, measured)
}

/// What the command says of a file, before it goes up.
fn estimate(fleet: &Fleet, path: &std::path::Path) -> Value {
    let mut command = std::process::Command::new(executable());
    command.args(["estimate", "--json", "--data", &text(&fleet.folder()), &text(path)]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn ready(fleet: &Fleet, events: &mut Events, path: &std::path::Path) -> Value {
    let asset = fleet.clients.upload(path).await;
    let ended = events.ended(&asset, SOON).await;
    assert_eq!(ended.kind, "asset.ready.v1", "{}: {}", path.display(), ended.data);
    if !text(path).ends_with("m4a") {
        events.wait(SOON, |e| e.subject == asset && e.kind == "thumbnail.ready.v1").await;
    }
    // The last playlists are counted beside the transaction that says it.
    fleet.clients.asset(&asset).await
}

/// Whether an estimate was within a quarter of what was measured.
fn holds(ratio: &f64) -> bool {
    (0.75..=1.25).contains(ratio)
}

fn median(ratios: impl Iterator<Item = f64>) -> f64 {
    let mut ratios: Vec<f64> = ratios.collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

/// What became of an estimate.
struct Compared {
    /// Estimated over measured: processor time, money.
    ratios: [f64; 2],
    /// Whether the estimate after the probe, which does not read the index, has what was measured in its range.
    within: bool,
    copied: bool,
}

/// Estimates a file, uploads it, and compares.
async fn compared(fleet: &Fleet, events: &mut Events, path: &std::path::Path) -> Compared {
    let before = estimate(fleet, path);
    let after = ready(fleet, events, path).await;
    let of = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{after}"));
    let cpu = of(&before["cpu_seconds"]["likely"]) / of(&after["spent"]["cpu_seconds"]);
    let money = of(&before["micros"]["likely"]) / of(&after["spent"]["micros"]);
    let bytes = of(&before["output_bytes"]["likely"]) / of(&after["spent"]["output_bytes"]);
    let puts = of(&before["requests"]["puts"]) / of(&after["spent"]["requests"]["puts"]);
    let (probed, spent) = (&after["estimate"]["micros"], of(&after["spent"]["micros"]));
    println!(
        "{:24} CPU {cpu:.2} of {} s, money {money:.2} of {spent}, bytes {bytes:.2}, puts {puts:.2}, by the probe {probed}",
        path.file_name().unwrap().display(),
        after["spent"]["cpu_seconds"],
    );
    let sql = format!("SELECT plan FROM job WHERE asset_id = '{}'", after["id"].as_str().unwrap());
    let plan: Value = serde_json::from_str(&fleet.clients.rows(&sql).await[0][0]).unwrap();
    let copied = plan["video"]["copy_delay_us"].is_i64();
    assert_eq!(before["copied"], copied, "{}: what its index says is what is done", path.display());
    assert!(!copied || after["estimate"]["copied"].is_null(), "without the index nobody knows: {after}");
    Compared { ratios: [cpu, money], within: (of(&probed["low"])..=of(&probed["high"])).contains(&spent), copied }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_estimated_is_what_is_measured() {
    let (warm, measured) = tokio::task::spawn_blocking(inputs).await.unwrap();
    let fleet = Fleet::start(Options::default()).await;
    let mut events = Events::of_everything(&fleet.clients).await;
    ready(&fleet, &mut events, &warm).await;
    let mut uploads = 1;
    let mut table = Vec::new();
    for path in &measured {
        let mut found = vec![compared(&fleet, &mut events, path).await];
        // A processor that is shared with others measures unevenly: what is outside is measured twice more, and its median counts.
        if !(found[0].within && found[0].ratios.iter().all(holds)) {
            for _ in 0..2 {
                found.push(compared(&fleet, &mut events, path).await);
            }
        }
        uploads += found.len();
        let ratios = [0, 1].map(|which| median(found.iter().map(|one| one.ratios[which])));
        table.push((path.clone(), ratios, found.iter().any(|one| one.within), found[0].copied));
    }
    for row in fleet.clients.rows("SELECT kind, samples, cpu_ms, model_ms, bytes, model_bytes FROM speed").await {
        println!("{row:?}");
    }
    let copied: Vec<bool> = table.iter().map(|(.., copied)| *copied).collect();
    assert_eq!(
        copied,
        [true, false, false, true, false],
        "some of each, by the configuration that is there by default"
    );
    for (path, [cpu, money], within, _) in table {
        for (what, ratio) in [("CPU", cpu), ("money", money)] {
            assert!(holds(&ratio), "{}: {what} {ratio:.2}", path.display());
        }
        assert!(within, "{}: outside of the range of the estimate after the probe", path.display());
    }
    let spent = fleet.clients.api(Method::GET, "/v1/ops/spent?days=1", None).await.1;
    assert_eq!(spent["days"][0]["jobs"], uploads, "{spent}");
    assert!(spent["days"][0]["spent"]["micros"].as_u64() > Some(0), "{spent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_of_nothing_parks_and_a_raised_one_releases() {
    let make = || film("price-parked.mp4", "160x90", 25, 2, &[]);
    let path = tokio::task::spawn_blocking(make).await.unwrap();
    let fleet = Fleet::start(Options::default()).await;
    let clients = &fleet.clients;
    let mut events = Events::of_everything(clients).await;
    let budget = async |micros: Value| {
        let answer = clients.api(Method::PUT, "/v1/ops/budgets/default", Some(json!({ "micros": micros }))).await;
        assert_eq!(answer.0, StatusCode::OK, "{}", answer.1);
        answer.1["started"].as_u64().unwrap()
    };
    assert_eq!(budget(json!(0)).await, 0);
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let asset = clients.upload(&path).await;
        let parked = events.wait(SOON, |e| e.subject == asset && e.kind == "asset.parked.v1").await;
        assert_eq!(parked.data["code"], "budget_reached");
        events.wait(SOON, |e| e.subject == asset && e.kind == "thumbnail.ready.v1").await;
        waiting.push(asset);
    }
    let shown = clients.asset(&waiting[0]).await;
    assert_eq!(shown["state"], "parked", "{shown}");
    let why = shown["reason"]["detail"].as_str().unwrap();
    assert!(why.contains("an operator raises the budget"), "{why}");
    let kinds = format!("SELECT DISTINCT kind FROM task WHERE asset_id = '{}' ORDER BY kind", waiting[0]);
    assert_eq!(clients.rows(&kinds).await, [["probe_source"], ["render_thumbnails"]], "nothing is encoded");
    let spent = clients.api(Method::GET, "/v1/ops/spent", None).await.1;
    assert_eq!(spent["parked"], json!([{ "tenant": "default", "jobs": 2 }]), "{spent}");

    let one = shown["estimate"]["micros"]["likely"].as_u64().unwrap();
    assert_eq!(budget(json!(one)).await, 1, "the day holds one of them");
    assert_eq!(events.ended(&waiting[0], SOON).await.kind, "asset.ready.v1", "the longest waits first");
    assert_eq!(clients.asset(&waiting[1]).await["state"], "parked");
    assert_eq!(budget(Value::Null).await, 1);
    assert_eq!(events.ended(&waiting[1], SOON).await.kind, "asset.ready.v1");
}
