//! An S3 server that tells by webhook: what it tells is processed, and nobody else is believed.

use std::time::Duration;

use reelfleet_tests::clients::Clients;
use reelfleet_tests::{Events, Fleet, Options};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OF_CEPH: &str = "fedcba9876543210fedcba9876543210";

/// As MinIO sends it: fields of its own around the records, the key form-encoded.
fn notification(bucket: &str, key: &str) -> Value {
    json!({
        "EventName": "s3:ObjectCreated:Put",
        "Key": format!("{bucket}/{key}"),
        "Records": [{
            "eventVersion": "2.0",
            "eventSource": "minio:s3",
            "eventTime": "2026-11-21T10:00:00.000Z",
            "eventName": "s3:ObjectCreated:Put",
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": "Config",
                "bucket": { "name": bucket, "arn": format!("arn:aws:s3:::{bucket}") },
                "object": { "key": key, "size": 7, "eTag": "0", "sequencer": "17C6A1" }
            }
        }]
    })
}

async fn tell(clients: &Clients, source: &str, secret: &str, body: String) -> (u16, Value) {
    let request = clients.http.post(format!("{}/v1/sources/{source}", clients.gateway)).bearer_auth(secret);
    let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_tells_by_webhook_is_heard_and_nobody_else() {
    let sources = json!([
        { "name": "minio", "secret": SECRET, "buckets": ["reelfleet-uploads"] },
        { "name": "ceph", "secret": OF_CEPH, "buckets": ["reelfleet-uploads"] },
    ]);
    let env = vec![("REELFLEET_SOURCES".to_owned(), sources.to_string())];
    let fleet = Fleet::start(Options { env, ..Options::default() }).await;
    let clients = &fleet.clients;
    let mut events = Events::of_everything(clients).await;
    // The bucket tells nobody by itself, as that of another server.
    let silent = aws_sdk_s3::types::NotificationConfiguration::builder().build();
    let put = clients.s3.put_bucket_notification_configuration().bucket(&clients.uploads);
    put.notification_configuration(silent).send().await.unwrap();
    let put = clients
        .s3
        .put_object()
        .bucket(&clients.uploads)
        .key("in/a film.mp4")
        .body("no film".to_owned().into_bytes().into());
    put.send().await.unwrap();

    let body = notification(&clients.uploads, "in/a+film.mp4").to_string();
    for (source, secret) in [("minio", "wrong"), ("minio", ""), ("other", SECRET)] {
        let (status, problem) = tell(clients, source, secret, body.clone()).await;
        assert_eq!((status, &problem["code"]), (401, &"unauthenticated".into()), "{source} {secret:?}");
    }
    let (status, problem) = tell(clients, "minio", SECRET, notification(&clients.outputs, "x").to_string()).await;
    assert_eq!((status, &problem["code"]), (403, &"bucket_forbidden".into()));
    for wrong in ["", "{}", "[1]", "{\"Records\": 1}"] {
        let (status, problem) = tell(clients, "minio", SECRET, wrong.to_owned()).await;
        assert_eq!((status, &problem["code"]), (400, &"invalid_request".into()), "{wrong:?}");
    }
    let (status, problem) = tell(clients, "minio", SECRET, " ".repeat(300_000)).await;
    assert_eq!((status, &problem["code"]), (413, &"body_too_large".into()));
    assert_eq!(clients.rows("SELECT count(*) FROM asset").await, [["0"]], "nothing of that was believed");

    // Told twice, as servers do: one asset.
    assert_eq!(tell(clients, "minio", SECRET, body.clone()).await.0, 200);
    assert_eq!(tell(clients, "minio", SECRET, body).await.0, 200);
    let asset = events.landed("a film.mp4", SOON).await;
    events.ended(&asset, SOON).await;
    assert_eq!(clients.rows("SELECT count(*) FROM asset").await, [["1"]]);

    // Ceph: its secret is a password, and its keys are as they are.
    let put = clients.s3.put_object().bucket(&clients.uploads).key("in/a film+100%.mp4");
    let put = put.body("no film".to_owned().into_bytes().into()).send().await.unwrap();
    let version = put.version_id().unwrap_or_default();
    let body = include_str!("../src/ceph.json").replace("5pogAnuFS0gPzfMiBs7aqnHL2Syi386", version);
    let by_ceph = async |user: &str, secret: &str| {
        let request = clients.http.post(format!("{}/v1/sources/ceph", clients.gateway)).basic_auth(user, Some(secret));
        request.header("content-type", "application/json").body(body.clone()).send().await.unwrap().status().as_u16()
    };
    for (user, secret) in [("reelfleet", "wrong"), (OF_CEPH, ""), ("reelfleet", SECRET)] {
        assert_eq!(by_ceph(user, secret).await, 401, "{user} {secret}");
    }
    assert_eq!(by_ceph("whoever", OF_CEPH).await, 200);
    let asset = events.landed("a film+100%.mp4", SOON).await;
    events.ended(&asset, SOON).await;
    assert_eq!(clients.rows("SELECT count(*) FROM asset").await, [["2"]]);
}
