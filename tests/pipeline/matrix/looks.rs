//! Posters, storyboards, sizes of stills, `metadata.json`.

use std::time::Duration;

use reelfleet_tests::clients::Clients;
use reelfleet_tests::{Wanted, ffmpeg};
use serde_json::Value;

/// The sizes of a still image of this size.
pub async fn sizes(clients: &Clients, asset: &str, own: (u64, u64)) -> Vec<String> {
    let detail = clients.asset(asset).await;
    let mut problems = Vec::new();
    for width in [320, 640, own.0] {
        for format in ["jpeg", "webp"] {
            let found = pictures_of(&detail)
                .iter()
                .find(|p| p["kind"] == "size" && p["width"] == width && p["format"] == format);
            match found {
                None => problems.push(format!("no {format} {width} wide: {}", detail["pictures"])),
                Some(picture) => problems.extend(one(clients, picture, own).await),
            }
        }
    }
    problems
}

/// Posters in up to three sizes and two formats, and the storyboard.
pub async fn pictures(clients: &Clients, detail: &Value, wanted: &Wanted) -> Vec<String> {
    let Some((width, height)) = wanted.size else { return Vec::new() };
    let own = (u64::from(width), u64::from(height));
    let mut problems = Vec::new();
    let posters: Vec<&Value> = pictures_of(detail).iter().filter(|p| p["kind"] == "poster").collect();
    let mut widths: Vec<u64> = [320, 640, 1280].into_iter().map(|width| own.0.min(width)).collect();
    widths.dedup();
    for width in widths {
        for format in ["jpeg", "webp"] {
            // An odd source has one more column than its even renditions.
            let near = |p: &Value| p["width"].as_u64().is_some_and(|w| w.abs_diff(width) <= 1) && p["format"] == format;
            match posters.iter().find(|poster| near(poster)) {
                None => problems.push(format!("no {format} poster {width} wide: {}", detail["pictures"])),
                Some(poster) => problems.extend(one(clients, poster, own).await),
            }
        }
    }
    match pictures_of(detail).iter().find(|p| p["name"] == "storyboard.vtt") {
        None => problems.push("no storyboard".into()),
        Some(cues) => problems.extend(storyboard(clients, detail, cues).await),
    }
    problems
}

fn pictures_of(detail: &Value) -> &[Value] {
    detail["pictures"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// One picture: what is served is what was said, in the source's shape.
async fn one(clients: &Clients, picture: &Value, own: (u64, u64)) -> Vec<String> {
    let url = picture["url"].as_str().unwrap();
    let answer = clients.http.get(url).send().await.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    let status = answer.status();
    let bytes = answer.bytes().await.unwrap().len() as u64;
    let mut problems = Vec::new();
    let format = picture["format"].as_str().unwrap();
    if !status.is_success() || kind != format!("image/{format}") || Some(bytes) != picture["bytes"].as_u64() {
        problems.push(format!("{url}: {status} {kind}, {bytes} bytes; said: {picture}"));
    }
    let name = url.to_owned();
    let (width, height) = tokio::task::spawn_blocking(move || {
        (ffmpeg::probe(&name, "v:0", "width"), ffmpeg::probe(&name, "v:0", "height"))
    })
    .await
    .unwrap();
    if (width.parse().ok(), height.parse().ok()) != (picture["width"].as_u64(), picture["height"].as_u64()) {
        problems.push(format!("{url} has {width}x{height}; said: {picture}"));
    }
    let (w, h) = (picture["width"].as_f64().unwrap(), picture["height"].as_f64().unwrap());
    let exact = w * own.1 as f64 / own.0 as f64;
    if (h - exact).abs() > 2.0 {
        problems.push(format!("{url} is {w}x{h}, the source {own:?}"));
    }
    problems
}

/// WebVTT whose cues follow each other from 0 and lie in sprites that exist.
async fn storyboard(clients: &Clients, detail: &Value, cues: &Value) -> Vec<String> {
    let url = cues["url"].as_str().unwrap();
    let text = clients.http.get(url).send().await.unwrap().text().await.unwrap();
    let mut problems = Vec::new();
    let mut lines = text.lines();
    if lines.next() != Some("WEBVTT") {
        return vec![format!("{url} is no WebVTT: {text}")];
    }
    let (mut end, mut count) = (0.0, 0);
    while let Some(line) = lines.next() {
        let Some((from, to)) = line.split_once(" --> ") else { continue };
        let (from, to) = (seconds(from), seconds(to));
        if (from - end).abs() > 0.001 || to <= from {
            problems.push(format!("a cue from {from} to {to} follows the end {end}"));
        }
        end = to;
        count += 1;
        let Some((sprite, place)) = lines.next().and_then(|line| line.split_once("#xywh=")) else {
            problems.push(format!("a cue without a place: {text}"));
            continue;
        };
        let place: Vec<u64> = place.split(',').map(|number| number.parse().unwrap()).collect();
        let picture = pictures_of(detail).iter().find(|p| p["name"] == sprite);
        let fits = picture.is_some_and(|picture| {
            place[0] + place[2] <= picture["width"].as_u64().unwrap()
                && place[1] + place[3] <= picture["height"].as_u64().unwrap()
        });
        if !fits {
            problems.push(format!("{sprite}#{place:?} is not there: {}", detail["pictures"]));
        }
    }
    let long = detail["duration_ms"].as_f64().unwrap_or(0.0) / 1000.0;
    if count == 0 || (end - long).abs() > 1.5 {
        problems.push(format!("{count} cues end at {end} s of {long} s"));
    }
    problems
}

fn seconds(time: &str) -> f64 {
    time.split(':').fold(0.0, |sum, part| sum * 60.0 + part.trim().parse::<f64>().unwrap())
}

/// How much of the upper edge is combed: differences between neighbouring lines, over those along the lines.
fn combing(input: &str) -> f64 {
    const WIDE: usize = 640;
    const HIGH: usize = 16;
    let graph = format!("crop=iw:ih/24:0:0,scale={WIDE}:{HIGH}:flags=neighbor,format=gray");
    let strip = ["-map", "0:v:0", "-frames:v", "100", "-vf", &graph, "-f", "rawvideo", "-"];
    let pixels = ffmpeg::ffmpeg_to(
        &["-allowed_extensions", "ALL"].repeat(usize::from(input.starts_with("http"))),
        &[&["-i", input], &strip[..]].concat(),
    );
    let (mut along, mut across) = (0.0, 0.0);
    for picture in pixels.chunks_exact(WIDE * HIGH) {
        for y in 2..HIGH - 3 {
            for x in 0..WIDE - 1 {
                let at = |x: usize, y: usize| f64::from(picture[y * WIDE + x]);
                along += (at(x, y) - at(x + 1, y)).abs();
                across += (at(x, y) - at(x, y + 1)).abs();
            }
        }
    }
    across / (along + 1.0)
}

/// An interlaced source is combed, its result is not.
pub async fn deinterlaced(detail: &Value, wanted: &Wanted) -> Vec<String> {
    let (source, result) =
        (reelfleet_tests::text(&wanted.source), detail["playback"]["url"].as_str().unwrap().to_owned());
    let (was, is) = tokio::task::spawn_blocking(move || (combing(&source), combing(&result))).await.unwrap();
    if was < 3.0 {
        vec![format!("the source is hardly combed ({was:.2}): the test is wrong")]
    } else if is > 1.0 {
        vec![format!("the result is combed: {is:.2}, the source {was:.2}")]
    } else {
        Vec::new()
    }
}

/// `metadata.json`: written when the asset's row has changed, so it is waited for.
pub async fn description(clients: &Clients, asset: &str, wanted: &Wanted) -> Vec<String> {
    let key = format!("out/{asset}/metadata.json");
    let mut last = String::from("it never came");
    for _ in 0..100 {
        if let Ok(object) = clients.s3.get_object().bucket(&clients.outputs).key(&key).send().await {
            let bytes = object.body.collect().await.unwrap().into_bytes();
            let json: Value = serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{key}: {error}"));
            if json.to_string().contains("\"ready\"") {
                let text = json.to_string();
                let named =
                    text.contains(asset) && wanted.size.is_none_or(|(_, height)| text.contains(&height.to_string()));
                return if named { Vec::new() } else { vec![format!("metadata.json: {text}")] };
            }
            last = json.to_string();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    vec![format!("metadata.json is not that of a ready asset: {last}")]
}
