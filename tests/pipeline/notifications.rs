//! What S3 announces: repeated, out of order, under any name, or not understood.

use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use reelfleet_tests::clients::Clients;
use reelfleet_tests::{Events, Fleet, Options, ffmpeg, media, pattern, text};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(90);

/// A second of film: what it shows does not matter here.
pub fn small_film() -> std::path::PathBuf {
    let path = media().join("second.mp4");
    let video = pattern::pictures(160, 90, "25", 1.0);
    ffmpeg::make(&path, &["-f", "lavfi", "-i", &video, "-c:v", "libx264", "-preset", "ultrafast"]);
    path
}

/// As S3 would say it, with the key form-encoded.
fn record(bucket: &str, key: &str, size: usize, etag: &str, sequencer: &str) -> Value {
    let encoded: String = key
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' => char::from(byte).to_string(),
            b' ' => "+".to_owned(),
            byte => format!("%{byte:02X}"),
        })
        .collect();
    json!({
        "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "us-east-1",
        "eventTime": "2026-01-01T00:00:00.000Z", "eventName": "ObjectCreated:Put",
        "s3": {
            "s3SchemaVersion": "1.0", "configurationId": "test",
            "bucket": { "name": bucket, "arn": format!("arn:aws:s3:::{bucket}") },
            "object": { "key": encoded, "size": size, "eTag": etag, "sequencer": sequencer },
        },
    })
}

async fn queue_url(clients: &Clients, name: &str) -> String {
    clients.sqs.get_queue_url().queue_name(name).send().await.unwrap().queue_url.unwrap()
}

async fn say(clients: &Clients, queue: &str, body: &str) {
    clients.sqs.send_message().queue_url(queue).message_body(body).send().await.unwrap();
}

/// Assets of one object, as the API lists them.
async fn assets_of(clients: &Clients, key: &str) -> Vec<Value> {
    let url = reqwest::Url::parse_with_params(
        &format!("{}/v1/assets", clients.gateway),
        [("bucket", clients.uploads.as_str()), ("key", key)],
    )
    .unwrap();
    let (status, page) = clients.api(reqwest::Method::GET, &url.as_str()[clients.gateway.len()..], None).await;
    assert!(status.is_success(), "{page}");
    page["assets"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_s3_announces_is_done_once_whatever_the_name() {
    let film = tokio::task::spawn_blocking(small_film).await.unwrap();
    let fleet = Fleet::start(Options::args(&["--transcoders", "1"])).await;
    let clients = &fleet.clients;
    let mut events = Events::of_everything(clients).await;
    thrice(clients, &mut events, &film).await;
    names(clients, &mut events, &film).await;
    not_understood(clients, &mut events, &film).await;
    gone(clients, &mut events, &film).await;
    let long = tokio::task::spawn_blocking(crate::crash::grainy_film).await.unwrap();
    let other = media().join("grainy-other.mp4");
    let (from, to) = (text(&long), other.clone());
    let copy = move || ffmpeg::make(&to, &["-i", &from, "-c", "copy", "-metadata", "title=other bytes"]);
    tokio::task::spawn_blocking(copy).await.unwrap();
    replaced(clients, &mut events, [&long, &film, &other]).await;
    removed(clients, &mut events, &long).await;
}

/// Another object under the same key is another asset; it ends the unfinished one, whose bytes are gone.
async fn replaced(clients: &Clients, events: &mut Events, films: [&std::path::PathBuf; 3]) {
    let key = "replaced.mp4";
    clients.drop_file(key, films[0]).await;
    let first = events.landed(key, SOON).await;
    events.wait(SOON, |event| event.subject == first && event.kind == "job.started.v1").await;
    clients.drop_file(key, films[1]).await;
    let end = events.ended(&first, SOON).await;
    assert_eq!((end.kind.as_str(), &end.data["code"]), ("asset.failed.v1", &json!("source_replaced")), "{end:?}");
    let again = |event: &reelfleet_tests::events::Pushed| {
        event.kind == "asset.uploaded.v1" && event.data["name"] == key && event.subject != first
    };
    let second = events.wait(SOON, again).await.subject;
    assert_eq!(events.ended(&second, SOON).await.kind, "asset.ready.v1");
    // A finished asset keeps what it has when its source is replaced.
    clients.drop_file(key, films[2]).await;
    let newer = |event: &reelfleet_tests::events::Pushed| {
        event.kind == "asset.uploaded.v1" && event.data["name"] == key && ![&first, &second].contains(&&event.subject)
    };
    let third = events.wait(SOON, newer).await.subject;
    assert_eq!(clients.asset(&second).await["state"], "ready");
    clients.s3.delete_object().bucket(&clients.uploads).key(key).send().await.unwrap();
    assert_eq!(events.ended(&third, SOON).await.kind, "asset.failed.v1");
    assert_eq!(assets_of(clients, key).await.len(), 3);
}

/// A source that is removed cancels what is unfinished, and the queue goes on.
async fn removed(clients: &Clients, events: &mut Events, long: &std::path::Path) {
    let key = "removed.mp4";
    clients.drop_file(key, long).await;
    let asset = events.landed(key, SOON).await;
    events.wait(SOON, |event| event.subject == asset && event.kind == "asset.playable.v1").await;
    clients.s3.delete_object().bucket(&clients.uploads).key(key).send().await.unwrap();
    let end = events.ended(&asset, SOON).await;
    assert_eq!((end.kind.as_str(), &end.data["code"]), ("asset.failed.v1", &json!("source_missing")), "{end:?}");
    let detail = clients.asset(&asset).await;
    assert_eq!((detail["state"].as_str(), detail["playback"].is_null()), (Some("failed"), true), "{detail:#}");
}

/// The same notification three more times, out of order, with S3's test between them.
async fn thrice(clients: &Clients, events: &mut Events, film: &std::path::Path) {
    let key = "thrice/a b.mp4";
    clients.drop_file(key, film).await;
    let asset = events.landed("a b.mp4", SOON).await;
    let head = clients.s3.head_object().bucket(&clients.uploads).key(key).send().await.unwrap();
    let etag = head.e_tag().unwrap().trim_matches('"').to_owned();
    let size = usize::try_from(head.content_length().unwrap()).unwrap();
    let intake = queue_url(clients, "reelfleet-intake").await;
    for sequencer in ["0000000000000003", "0000000000000001", "0000000000000002"] {
        let raw = json!({ "Records": [record(&clients.uploads, key, size, &etag, sequencer)] }).to_string();
        say(clients, &intake, &raw).await;
        let test = json!({ "Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-01-01T00:00:00.000Z", "Bucket": clients.uploads });
        say(clients, &intake, &test.to_string()).await;
        let wrapped = json!({
            "Type": "Notification", "MessageId": sequencer, "TopicArn": "arn:aws:sns:us-east-1:000000000000:reelfleet-uploads",
            "Subject": "Amazon S3 Notification", "Message": raw, "Timestamp": "2026-01-01T00:00:00.000Z",
        });
        say(clients, &intake, &wrapped.to_string()).await;
    }
    let end = events.ended(&asset, SOON).await;
    assert_eq!(end.kind, "asset.ready.v1", "{end:?}");
    // A later file of the same queue is through: whatever the repetitions did, they have done it.
    clients.drop_file("thrice/later.mp4", film).await;
    let later = events.landed("later.mp4", SOON).await;
    assert_eq!(events.ended(&later, SOON).await.kind, "asset.ready.v1");
    for kind in [
        "asset.uploaded.v1",
        "asset.probed.v1",
        "job.queued.v1",
        "job.started.v1",
        "asset.playable.v1",
        "asset.ready.v1",
        "job.succeeded.v1",
    ] {
        assert_eq!(events.count(&asset, kind), 1, "{kind}");
    }
    let uploaded =
        events.seen.iter().filter(|event| event.kind == "asset.uploaded.v1" && event.data["name"] == "a b.mp4").count();
    assert_eq!(uploaded, 1, "one asset");
    assert_eq!(assets_of(clients, key).await.len(), 1);
    let masters = clients.outputs("out/").await.into_iter().filter(|key| key.ends_with("/master.m3u8")).count();
    assert_eq!(masters, 2, "one set of objects for each of the two");
    let folders = clients.outputs(&format!("out/{asset}/")).await;
    assert_eq!(folders.iter().filter(|key| key.contains("/init/")).count(), 1, "{folders:?}");
}

/// Keys with everything that an encoding may trip over.
async fn names(clients: &Clients, events: &mut Events, film: &std::path::Path) {
    let long = format!("long/{}", "x".repeat(1024 - 5));
    assert_eq!(long.len(), 1024);
    let emoji = format!("{}.mp4", "🎬é".repeat(20));
    let keys = [
        "a+b c%20d&e=f?g#h.mp4",
        "emoji 🎬 ünï.mp4",
        &emoji,
        "per%cent%.mp4",
        "quote'\"<>&amp;.mp4",
        "//double//slash.mp4",
        "dots/../up/./here.mp4",
        "trailing space .mp4",
        &long,
    ];
    for key in keys {
        clients.drop_file(key, film).await;
    }
    for key in keys {
        let name: String = key.rsplit('/').next().unwrap().chars().take(200).collect();
        let asset = events.landed(&name, SOON).await;
        let end = events.ended(&asset, SOON).await;
        assert_eq!(end.kind, "asset.ready.v1", "{key}: {end:?}");
        assert_eq!(clients.asset(&asset).await["source"]["key"], key);
        assert_eq!(assets_of(clients, key).await.len(), 1, "{key}");
    }
}

/// Malformed messages end in the dead-letter queue with the parse error, and the queue goes on.
async fn not_understood(clients: &Clients, events: &mut Events, film: &std::path::Path) {
    let intake = queue_url(clients, "reelfleet-intake").await;
    let bad = [
        "not json at all",
        "[1,2]",
        r#"{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"reelfleet-uploads"},"object":{}}}]}"#,
    ];
    for body in bad {
        say(clients, &intake, body).await;
    }
    clients.drop_file("after the bad ones.mp4", film).await;
    let asset = events.landed("after the bad ones.mp4", SOON).await;
    assert_eq!(events.ended(&asset, SOON).await.kind, "asset.ready.v1");
    let letters = queue_url(clients, "reelfleet-intake-dlq").await;
    let mut found = Vec::new();
    while found.len() < bad.len() {
        let receive =
            clients.sqs.receive_message().queue_url(&letters).wait_time_seconds(10).max_number_of_messages(10);
        let batch = receive.message_attribute_names("All").send().await.unwrap().messages.unwrap_or_default();
        assert!(!batch.is_empty(), "only {} letters of {}", found.len(), bad.len());
        found.extend(batch);
    }
    for body in bad {
        let letter = found
            .iter()
            .find(|letter| letter.body() == Some(body))
            .unwrap_or_else(|| panic!("{body} is not in the dead-letter queue"));
        let attributes = letter.message_attributes().unwrap();
        let texts: Vec<_> = attributes
            .iter()
            .map(|(name, value)| format!("{name}={}", value.string_value().unwrap_or_default()))
            .collect();
        let said = texts.join("; ").to_lowercase();
        let reason = ["not json", "records", "expected", "object", "key"].iter().any(|word| said.contains(word));
        assert!(reason, "{body}: no parse error in {texts:?}");
    }
    let depth = clients
        .sqs
        .get_queue_attributes()
        .queue_url(&intake)
        .attribute_names(QueueAttributeName::All)
        .send()
        .await
        .unwrap();
    let attributes = depth.attributes.unwrap();
    assert_eq!(attributes[&QueueAttributeName::ApproximateNumberOfMessages], "0");
}

/// A notification of an object that is gone is done, and makes nothing.
async fn gone(clients: &Clients, events: &mut Events, film: &std::path::Path) {
    let intake = queue_url(clients, "reelfleet-intake").await;
    let ghost =
        json!({ "Records": [record(&clients.uploads, "never was.mp4", 5, "d41d8cd98f00b204e9800998ecf8427e", "01")] });
    say(clients, &intake, &ghost.to_string()).await;
    clients.drop_file("after the ghost.mp4", film).await;
    let asset = events.landed("after the ghost.mp4", SOON).await;
    assert_eq!(events.ended(&asset, SOON).await.kind, "asset.ready.v1");
    assert!(!events.seen.iter().any(|event| event.data["name"] == "never was.mp4"));
}
