//! Progress that survives a closed laptop: who was away gets what was missed, in order, then the rest, nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use reelfleet_messages::realtime::{ClientFrame, SUBPROTOCOL, ServerFrame, close};
use reelfleet_tests::clients::Clients;
use reelfleet_tests::{Events, Fleet, Options, ffmpeg, media, pattern};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const SOON: Duration = Duration::from_secs(120);

fn film() -> std::path::PathBuf {
    let path = media().join("realtime.mp4");
    let (video, sound) = (pattern::pictures(640, 360, "25", 30.0), pattern::sound(30.0, 48_000));
    let encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-c:a", "aac"];
    ffmpeg::make(&path, &[&["-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &sound][..], &encoder].concat());
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_gets_what_was_missed_once_and_in_order() {
    let film = tokio::task::spawn_blocking(film).await.unwrap();
    let mut options = Options::args(&["--transcoders", "1"]);
    // What is dropped below other/ is another tenant's.
    options.env.push(("REELFLEET_UPLOADS".into(), "reelfleet-uploads=default,reelfleet-uploads/other/=other".into()));
    let fleet = Fleet::start(options).await;
    let clients = &fleet.clients;
    let mut witness = Events::of_everything(clients).await;

    let mut first = Events::connect(clients, &["me"], None, BTreeMap::new()).await;
    let epoch = first.epoch();
    let asset = clients.upload(&film).await;
    // Gone in the middle, without a word: after the first picture of progress.
    first.wait(SOON, |event| event.subject == asset && event.kind == "job.started.v1").await;
    let before: Vec<_> = first.seen.iter().filter(|event| event.kind != "job.progressed.v1").cloned().collect();
    let last = before.iter().map(|event| event.position).max().unwrap();
    let stream = before[0].stream.clone();
    first.vanish();

    // Half of the job happens without it.
    witness.wait(SOON, |event| event.subject == asset && event.kind == "asset.playable.v1").await;
    let mut second =
        Events::connect(clients, &["me"], Some(epoch.clone()), BTreeMap::from([(stream.clone(), last)])).await;
    let ServerFrame::Welcome { resumed, .. } = &second.welcome else { panic!("{:?}", second.welcome) };
    assert!(resumed);
    second.ended(&asset, SOON).await;
    let after: Vec<_> = second.seen.iter().filter(|event| event.kind != "job.progressed.v1").cloned().collect();

    // Together, the two connections have every position once, without a gap.
    let positions: Vec<i64> = before.iter().chain(&after).map(|event| event.position).collect();
    let expected: Vec<i64> = (positions[0]..positions[0] + i64::try_from(positions.len()).unwrap()).collect();
    assert_eq!(positions, expected, "{before:#?} {after:#?}");
    let ids: BTreeSet<&String> = before.iter().chain(&after).map(|event| &event.id).collect();
    assert_eq!(ids.len(), positions.len(), "an event came twice");
    let kinds: Vec<&str> = before.iter().chain(&after).map(|event| event.kind.as_str()).collect();
    for kind in [
        "asset.uploaded.v1",
        "asset.probed.v1",
        "job.queued.v1",
        "job.started.v1",
        "asset.playable.v1",
        "asset.ready.v1",
    ] {
        assert_eq!(kinds.iter().filter(|k| **k == kind).count(), 1, "{kind}: {kinds:?}");
    }
    assert_eq!(after[0].position, last + 1, "it goes on where it was");
    let percents: Vec<f64> = second
        .seen
        .iter()
        .filter(|event| event.kind == "job.progressed.v1")
        .map(|event| event.data["percent"].as_f64().unwrap())
        .collect();
    assert!(percents.is_sorted(), "progress falls: {percents:?}");

    by_events(clients, &asset, &positions).await;
    foreign(clients, &mut witness, &film).await;
    strangers(clients, &stream, &epoch).await;
}

/// The same by server-sent events, from the middle of the asset's own stream: `Last-Event-ID` resumes.
async fn by_events(clients: &Clients, asset: &str, own: &[i64]) {
    let url = format!("{}/v1/events?topics=asset:{asset}", clients.gateway);
    let open = |last: Option<String>| {
        let mut request = clients.http.get(&url).bearer_auth(&clients.api_key).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        request.send()
    };
    let topic = format!("asset:{asset}");
    let live = Events::connect(clients, &[&topic], None, BTreeMap::new()).await;
    let ServerFrame::Welcome { positions, epoch, .. } = &live.welcome else { panic!("{:?}", live.welcome) };
    let beginning = BTreeMap::from([(positions.keys().next().unwrap().clone(), 0)]);
    let mut whole = Events::connect(clients, &[&topic], Some(epoch.clone()), beginning).await;
    whole.ended(asset, SOON).await;
    let logged = |list: &[reelfleet_tests::events::Pushed]| {
        list.iter().filter(|event| event.kind != "job.progressed.v1").map(|event| event.id.clone()).collect::<Vec<_>>()
    };
    assert!(logged(&whole.seen).len() >= own.len().min(6), "{:?}", whole.seen);
    // The first answer says where the stream stands; the id of the frame before an event resumes at that event.
    let mut answer = open(None).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let first = tokio::time::timeout(SOON, answer.chunk()).await.unwrap().unwrap().unwrap();
    let first = String::from_utf8(first.to_vec()).unwrap();
    let id =
        first.lines().find_map(|line| line.strip_prefix("id:")).unwrap_or_else(|| panic!("{first}")).trim().to_owned();
    let (before, position) = id.rsplit_once(|c: char| !c.is_ascii_digit()).unwrap();
    let separator = &id[before.len()..id.len() - position.len()];
    let earlier = format!("{before}{separator}{}", position.parse::<i64>().unwrap() - 2);
    let mut answer = open(Some(earlier)).await.unwrap();
    let mut text = String::new();
    let wanted = logged(&whole.seen);
    let last_two = &wanted[wanted.len() - 2..];
    while !last_two.iter().all(|id| text.contains(id.as_str())) {
        let chunk = tokio::time::timeout(SOON, answer.chunk()).await.unwrap().unwrap().unwrap();
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(!text.contains(wanted[wanted.len() - 3].as_str()), "more than what was missed: {text}");
}

/// An asset of another tenant is nobody's here: not by topic, not by the API, not among one's own events.
async fn foreign(clients: &Clients, witness: &mut Events, film: &std::path::Path) {
    let mut mine = Events::connect(clients, &["me"], None, BTreeMap::new()).await;
    clients.drop_file("other/theirs.mp4", film).await;
    let theirs = witness.landed("theirs.mp4", SOON).await;
    let refused =
        hello(clients, true, json!({ "op": "hello", "since": {}, "topics": [format!("asset:{theirs}")] })).await;
    assert_eq!(refused, Err(close::FORBIDDEN));
    let (status, problem) = clients.api(reqwest::Method::GET, &format!("/v1/assets/{theirs}"), None).await;
    assert_eq!((status.as_u16(), &problem["code"]), (404, &json!("not_found")), "{problem}");
    let (_, page) = clients.api(reqwest::Method::GET, "/v1/assets?limit=100", None).await;
    assert!(!page.to_string().contains(&theirs), "{page}");
    witness.ended(&theirs, SOON).await;
    // Something of one's own comes after: had theirs come, it would have come before.
    let own = clients.upload(film).await;
    mine.wait(SOON, |event| event.subject == own && event.kind == "asset.uploaded.v1").await;
    assert!(mine.seen.iter().all(|event| event.subject != theirs), "{:?}", mine.seen);
}

/// Who has no ticket, an old one, or asks for what cannot be, is told so.
async fn strangers(clients: &Clients, stream: &str, epoch: &str) {
    let plain = json!({ "op": "hello", "since": {}, "topics": ["me"] });
    assert_eq!(hello(clients, false, plain.clone()).await, Err(close::UNAUTHENTICATED));
    let unknown = json!({ "op": "hello", "since": {}, "topics": ["tenant:other"] });
    assert_eq!(hello(clients, true, unknown).await, Err(close::FORBIDDEN));
    let (_, ticket) = clients.api(reqwest::Method::POST, "/v1/realtime/tickets", Some(json!({}))).await;
    let url = ticket["url"].as_str().unwrap().to_owned();
    assert!(matches!(converse(&url, plain.clone()).await, Ok(ServerFrame::Welcome { .. })));
    assert_eq!(converse(&url, plain).await, Err(close::UNAUTHENTICATED), "a ticket is good once");
    // What breaks the protocol is told by a code, never by a connection that is just gone (1006).
    let many: Vec<String> = (0..65).map(|_| "me".to_owned()).collect();
    assert_eq!(hello(clients, true, json!({ "op": "hello", "topics": many })).await, Err(close::BAD_REQUEST));
    assert_eq!(hello(clients, true, json!({ "op": "ping" })).await, Err(close::BAD_REQUEST), "hello comes first");
    let long = json!({ "op": "hello", "topics": ["x".repeat(40_000)] });
    assert_eq!(hello(clients, true, long).await, Err(1009), "a frame has at most 32 KiB");
    // The same over plain HTTP, as Problem Details.
    for (path, status, code) in [
        ("/v1/events", 401, "unauthenticated"),
        ("/v1/events?ticket=a&ticket=b", 400, "invalid_request"),
        ("/v1/realtime", 400, "invalid_request"),
    ] {
        let answer = clients.http.get(format!("{}{path}", clients.gateway)).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (status, &"application/problem+json".parse().unwrap()),
            "{path}"
        );
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        let problem: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(problem["type"], format!("urn:reelfleet:problem:{code}"), "{problem}");
        assert_eq!((&problem["code"], &problem["request_id"]), (&json!(code), &json!(id)), "{problem}");
    }
    // Positions that are not of this log are answered by a reset.
    let ahead = json!({ "op": "hello", "epoch": epoch, "since": { stream: 1_000_000 }, "topics": ["me"] });
    let Ok(ServerFrame::Welcome { resumed, .. }) = hello(clients, true, ahead).await else { panic!("no welcome") };
    assert!(!resumed);
}

/// Says hello; the first frame of the answer, or the code of the close.
async fn hello(clients: &Clients, with_ticket: bool, hello: serde_json::Value) -> Result<ServerFrame, u16> {
    let (status, ticket) = clients.api(reqwest::Method::POST, "/v1/realtime/tickets", Some(json!({}))).await;
    assert!(status.is_success(), "{ticket}");
    let url = ticket["url"].as_str().unwrap();
    let url = if with_ticket { url.to_owned() } else { url.split('?').next().unwrap().to_owned() };
    converse(&url, hello).await
}

async fn converse(url: &str, hello: serde_json::Value) -> Result<ServerFrame, u16> {
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert!(serde_json::from_value::<ClientFrame>(hello.clone()).is_ok());
    let _ = socket.send(Message::text(hello.to_string())).await;
    let answer = tokio::time::timeout(SOON, async {
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Text(text) => match serde_json::from_str(&text).unwrap() {
                    ServerFrame::Bye { .. } | ServerFrame::Ping => {}
                    frame => return Ok(frame),
                },
                Message::Close(Some(frame)) => return Err(u16::from(frame.code)),
                _ => {}
            }
        }
        Err(0)
    });
    answer.await.expect("no answer")
}
