//! Every kind of input, through one fleet at once: each result is exactly its source.

mod inputs;
mod looks;

use std::time::Duration;

use inputs::Input;
use reelfleet_tests::{Events, Fleet, Options, check};

const SOON: Duration = Duration::from_secs(240);
/// Readers at work at once.
const READERS: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn every_input_becomes_exactly_its_source() {
    let inputs = tokio::task::spawn_blocking(inputs::all).await.unwrap();
    let fleet = Fleet::start(Options::args(&["--transcoders", "2"])).await;
    let problems = through(&fleet, inputs, true).await;
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hours_become_exactly_their_source() {
    let input = tokio::task::spawn_blocking(inputs::three_hours).await.unwrap();
    let fleet = Fleet::start(Options::args(&["--transcoders", "2"])).await;
    let problems = through(&fleet, vec![input], false).await;
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn still_pictures_get_sizes() {
    let stills = tokio::task::spawn_blocking(inputs::stills).await.unwrap();
    let fleet = Fleet::start(Options::args(&["--transcoders", "1"])).await;
    let mut events = Events::of_everything(&fleet.clients).await;
    for (name, path) in stills {
        let asset = fleet.clients.upload(&path).await;
        let end = events.ended(&asset, SOON).await;
        assert_eq!(end.kind, "asset.ready.v1", "{name}: {end:?}");
        let problems = looks::sizes(&fleet.clients, &asset, (900, 600)).await;
        assert!(problems.is_empty(), "{name}: {}", problems.join("\n"));
    }
}

/// Uploads all, waits for each, compares each; what is wrong.
async fn through(fleet: &Fleet, inputs: Vec<Input>, pictures: bool) -> Vec<String> {
    let clients = &fleet.clients;
    let mut events = Events::of_everything(clients).await;
    let mut assets = Vec::new();
    for input in inputs {
        assets.push((clients.upload(&input.wanted.source).await, input));
    }
    let mut readers = tokio::task::JoinSet::new();
    let mut problems = Vec::new();
    for (asset, input) in assets {
        let limit = if pictures { SOON } else { SOON * 5 };
        let end = events.ended(&asset, limit).await;
        if end.kind != "asset.ready.v1" {
            problems.push(format!("{}: {} {}", input.name, end.kind, end.data));
            continue;
        }
        if pictures && input.wanted.size.is_some() {
            events.wait(limit, |event| event.subject == asset && event.kind == "thumbnail.ready.v1").await;
        }
        if readers.len() >= READERS
            && let Some(found) = readers.join_next().await
        {
            problems.extend(found.unwrap());
        }
        let clients = clients.clone();
        readers.spawn(async move {
            let detail = clients.asset(&asset).await;
            let mut found = check(&clients, &detail, &input.wanted).await;
            if pictures {
                found.extend(looks::pictures(&clients, &detail, &input.wanted).await);
                found.extend(looks::description(&clients, &asset, &input.wanted).await);
            }
            if input.name == inputs::COMBED {
                found.extend(looks::deinterlaced(&detail, &input.wanted).await);
            }
            if input.name == inputs::HDR && !found_bt709(&detail).await {
                found.push("the tone-mapped result is not marked BT.709".into());
            }
            found.into_iter().map(|problem| format!("{}: {problem}", input.name)).collect::<Vec<_>>()
        });
    }
    while let Some(found) = readers.join_next().await {
        problems.extend(found.unwrap());
    }
    problems
}

/// Whether the result says that it is BT.709, as browsers take it.
async fn found_bt709(detail: &serde_json::Value) -> bool {
    let url = detail["playback"]["url"].as_str().unwrap().to_owned();
    let fields = ["color_transfer", "color_primaries", "color_space"];
    let told = move || fields.map(|field| reelfleet_tests::ffmpeg::probe(&url, "v:0", field));
    tokio::task::spawn_blocking(told).await.unwrap().iter().all(|value| value == "bt709")
}
