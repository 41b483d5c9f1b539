//! Traces: one upload is one trace over all processes, and nobody needs a collector to work.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use reelfleet_tests::clients::Clients;
use reelfleet_tests::collector::{Collector, Span, shown};
use reelfleet_tests::worker::held;
use reelfleet_tests::{Events, Fleet, Options, ffmpeg};
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(120);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// Spans leave every 200 ms, so that the test need not wait for the usual five seconds.
fn options(endpoint: &str) -> Options {
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ("OTEL_SERVICE_NAME", "studio"),
        ("REELFLEET_LOG_FORMAT", "json"),
    ];
    Options { env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(), ..Options::default() }
}

async fn film() -> PathBuf {
    let film = reelfleet_tests::media().join("traces.mp4");
    let to = film.clone();
    let source = ["-f", "lavfi", "-i", "testsrc2=s=128x72:d=2", "-f", "lavfi", "-i", "sine=d=2"];
    tokio::task::spawn_blocking(move || ffmpeg::make(&to, &source)).await.unwrap();
    film
}

/// Clients whose every request belongs to the caller's trace.
fn traced(clients: &Clients) -> Clients {
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", HeaderValue::from_str(&format!("00-{TRACE}-{CALLER}-01")).unwrap());
    let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).default_headers(headers);
    Clients { http: http.build().unwrap(), ..clients.clone() }
}

fn is(span: &Span, service: &str, name: &str) -> bool {
    span.service == format!("studio-{service}") && span.name == name
}

/// Who is to be seen in the trace of an upload.
const WANTED: [(&str, &str); 13] = [
    ("gateway", "POST /v1/uploads"),
    ("intake", "process reelfleet-intake"),
    ("intake", "probe_source"),
    ("intake", "look at the source"),
    ("transcoder", "plan_renditions"),
    ("transcoder", "encode_chunk"),
    ("transcoder", "encode_audio"),
    ("transcoder", "publish_playlist"),
    ("transcoder", "write playlists"),
    ("thumbnailer", "pictures"),
    ("metadata", "process reelfleet-metadata"),
    ("metadata", "write metadata.json"),
    ("notifier", "asset.ready.v1"),
];

fn complete(spans: &[Span]) -> bool {
    WANTED.iter().all(|(service, name)| {
        spans.iter().any(|span| {
            let event = span.attributes.get("reelfleet.event.type").map(String::as_str);
            is(span, service, name) || (*service == "notifier" && event == Some(*name))
        })
    })
}

/// What a span or a log line must never hold.
fn secrets(fleet: &Fleet, asset: &Value) -> Vec<String> {
    let playback = asset["playback"]["url"].as_str().unwrap();
    let token = playback.split("/p/").nth(1).unwrap().split('/').next().unwrap();
    let (_, secret) = fleet.clients.api_key.split_at(fleet.clients.api_key.len() / 2);
    ["X-Amz-", "Signature", "Bearer", "?", token, secret, &fleet.clients.api_key].map(str::to_owned).to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_shows_one_upload_over_all_workers() {
    let (collector, film) = (Collector::start().await, film().await);
    let fleet = Fleet::start(options(&collector.endpoint)).await;
    let mut events = Events::of_everything(&fleet.clients).await;
    let asset = traced(&fleet.clients).upload(&film).await;
    assert_eq!(events.ended(&asset, SOON).await.kind, "asset.ready.v1");
    fleet.clients.drop_file("in/dropped.mp4", &film).await;
    let dropped = events.landed("dropped.mp4", SOON).await;
    assert_eq!(events.ended(&dropped, SOON).await.kind, "asset.ready.v1");
    collector.wait(TRACE, SOON, complete).await;
    let detail = fleet.clients.asset(&asset).await;
    let (secrets, logs) = (secrets(&fleet, &detail), fleet.logs());
    let line = std::fs::read_to_string(logs.join("transcoder.log")).unwrap_or_default();
    let metrics = spans_counted(&fleet).await;
    let planned = format!("SELECT id, job_id FROM task WHERE kind = 'plan_renditions' AND asset_id = '{asset}'");
    let planned = fleet.clients.rows(&planned).await.remove(0);
    // What still waits leaves at the drain.
    assert_eq!(fleet.stop().await, Some(0));
    let spans = collector.of(TRACE);

    // Whatever a span of the trace names as its parent, or links to within the trace, is there.
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).chain([CALLER]).collect();
    for span in &spans {
        assert!(ids.contains(span.parent.as_str()), "{} has no parent:\n{}", span.name, shown(&spans));
        for (trace, id) in &span.links {
            assert!(trace != TRACE || ids.contains(id.as_str()), "{} links to nothing: {}", span.name, span.text);
        }
    }
    // Who caused whom: the chunk's way up to the caller's own span.
    let by_id: BTreeMap<&str, &Span> = spans.iter().map(|span| (span.id.as_str(), span)).collect();
    let chunk = spans.iter().find(|span| is(span, "transcoder", "encode_chunk")).unwrap();
    let way: Vec<&str> = std::iter::successors(Some(chunk), |span| by_id.get(span.parent.as_str()).copied())
        .map(|span| span.name.as_str())
        .collect();
    let wanted = [
        "encode_chunk",
        "process reelfleet-express",
        "plan_renditions",
        "process reelfleet-express",
        "probe_source",
        "process reelfleet-probe",
        "process reelfleet-intake",
        "POST /v1/uploads",
    ];
    assert_eq!(way, wanted, "{}", shown(&spans));
    // What a person looks for.
    assert_eq!(chunk.attributes["reelfleet.asset.id"], asset);
    assert_eq!(chunk.attributes["reelfleet.outcome"], "done");
    let consumed = by_id[chunk.parent.as_str()];
    assert_eq!(consumed.attributes["messaging.system"], "aws_sqs");
    assert_eq!(consumed.attributes["messaging.destination.name"], "reelfleet-express");
    let asked = spans.iter().find(|span| is(span, "gateway", "POST /v1/uploads")).unwrap();
    assert_eq!(asked.attributes["http.response.status_code"], "201");
    // What was dropped has a trace of its own, and one only.
    let all = collector.all();
    let of_dropped: BTreeSet<&str> = all
        .iter()
        .filter(|span| span.attributes.get("reelfleet.asset.id") == Some(&dropped))
        .map(|span| span.trace.as_str())
        .collect();
    assert!(of_dropped.len() == 1 && !of_dropped.contains(TRACE), "{of_dropped:?}");
    for span in &all {
        for secret in &secrets {
            assert!(!span.text.contains(secret.as_str()), "{secret} in {}", span.text);
        }
    }
    let line = line.lines().find(|line| line.contains("\"planned\"")).expect("the plan is in the transcoder's log");
    let line: Value = serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap();
    assert_eq!(line["trace_id"], TRACE, "{line}");
    assert!(ids.contains(line["span_id"].as_str().unwrap()), "{line}");
    // And what it is about: every line of a task says so.
    let about = [&line["span"]["task"], &line["span"]["job"], &line["span"]["asset"]];
    assert_eq!(about.map(|id| id.as_str().unwrap_or_default()), [&planned[0], &planned[1], &asset], "{line}");
    assert!(metrics.contains("outcome=\"exported\""), "{metrics}");
}

/// What the transcoder says of its spans.
async fn spans_counted(fleet: &Fleet) -> String {
    let targets = std::fs::read(fleet.folder().join("metrics_targets.json")).unwrap();
    let targets: Value = serde_json::from_slice(&targets).unwrap();
    let group = targets.as_array().unwrap().iter().find(|group| group["labels"]["role"] == "transcoder").unwrap();
    let url = format!("http://{}/metrics", group["targets"][0].as_str().unwrap());
    let text = fleet.clients.http.get(url).send().await.unwrap().text().await.unwrap();
    text.lines().filter(|line| line.starts_with("reelfleet_spans_total")).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_gone_or_never_answers_costs_no_upload_anything() {
    let film = film().await;
    // One refuses connections; the other takes them and says nothing.
    let gone = held();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    for place in [gone.local_addr().unwrap(), silent.local_addr().unwrap()] {
        let fleet = Fleet::start(options(&format!("http://{place}"))).await;
        let mut events = Events::of_everything(&fleet.clients).await;
        let asset = traced(&fleet.clients).upload(&film).await;
        assert_eq!(events.ended(&asset, SOON).await.kind, "asset.ready.v1");
        let failed = fleet.clients.rows("SELECT kind, last_error FROM task WHERE last_error IS NOT NULL").await;
        assert!(failed.is_empty(), "{failed:?}");
        assert_eq!(fleet.stop().await, Some(0), "and the drain is as short as ever");
    }
}
