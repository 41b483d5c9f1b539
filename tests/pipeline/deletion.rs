//! Deleting: gone for everybody at once, restored while there is time, purged with a proof.

use std::time::Duration;

use reelfleet_tests::clients::Clients;
use reelfleet_tests::{Events, Fleet, Options};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_is_gone_and_proved_and_does_not_come_back() {
    let mut options = Options::default();
    for name in ["REELFLEET_JANITOR_SECONDS", "REELFLEET_LOSER_AGE_SECONDS"] {
        options.env.push((name.into(), "1".into()));
    }
    let fleet = Fleet::start(options).await;
    let clients = &fleet.clients;
    let mut events = Events::of_everything(clients).await;
    let film = tokio::task::spawn_blocking(crate::crash::grainy_film).await.unwrap();

    // In the middle of its processing: called off, restored, and done to its end.
    let asset = clients.upload(&film).await;
    events.wait(SOON, |event| event.subject == asset && event.kind == "asset.playable.v1").await;
    let playlist = clients.asset(&asset).await["playback"]["url"].as_str().unwrap().to_owned();
    assert_eq!(clients.http.get(&playlist).send().await.unwrap().status(), 200);
    let (status, marked) = call(clients, "DELETE", &format!("/v1/assets/{asset}")).await;
    assert_eq!((status, marked["state"].as_str()), (202, Some("deleting")), "{marked}");
    assert_eq!(clients.http.get(&playlist).send().await.unwrap().status(), 410, "gone at once");
    let (_, page) = call(clients, "GET", "/v1/assets").await;
    assert_eq!(page["assets"], serde_json::json!([]), "and from the list");
    events.wait(SOON, |event| event.subject == asset && event.kind == "asset.deleting.v1").await;
    let (status, restored) = call(clients, "POST", &format!("/v1/assets/{asset}/restore")).await;
    assert_eq!((status, restored["state"].as_str()), (200, Some("playable")), "{restored}");
    assert_eq!(events.ended(&asset, SOON).await.kind, "asset.ready.v1");
    assert_eq!(clients.http.get(&playlist).send().await.unwrap().status(), 200);

    // For good: every object goes, the tombstone keeps the proof.
    let (status, _) = call(clients, "DELETE", &format!("/v1/assets/{asset}?purge=now")).await;
    assert_eq!(status, 202);
    events.wait(SOON, |event| event.subject == asset && event.kind == "asset.deleted.v1").await;
    assert_eq!(clients.outputs(&format!("out/{asset}/")).await, Vec::<String>::new());
    let (_, tomb) = call(clients, "GET", &format!("/v1/assets/{asset}")).await;
    let proof = &tomb["deletion"]["proof"];
    assert_eq!(tomb["state"], "deleted", "{tomb}");
    assert!(proof["sweeps"][0]["outputs"].as_u64().unwrap() > 10 && proof["empty_at_ms"].is_u64(), "{tomb}");
    assert_eq!(proof["sweeps"][0]["source_versions"], 1, "{tomb}");
    let (status, gone) = call(clients, "POST", &format!("/v1/assets/{asset}/restore")).await;
    assert_eq!((status, gone["code"].as_str()), (410, Some("asset_gone")));
    assert_eq!(clients.http.get(&playlist).send().await.unwrap().status(), 410);

    replaced(clients, &mut events).await;
}

/// A drop that has been overwritten: deleting the older asset leaves the newer one's source alone.
async fn replaced(clients: &Clients, events: &mut Events) {
    let (key, folder) = ("twice.mp4", reelfleet_tests::media());
    let (first, second) = (folder.join("deleted-1.mp4"), folder.join("deleted-2.mp4"));
    for (path, size) in [(&first, "64x36"), (&second, "96x54")] {
        let (path, source) = (path.clone(), format!("testsrc2=s={size}:d=1"));
        let make = move || reelfleet_tests::ffmpeg::make(&path, &["-f", "lavfi", "-i", &source]);
        tokio::task::spawn_blocking(make).await.unwrap();
    }
    clients.drop_file(key, &first).await;
    let older = events.landed(key, SOON).await;
    assert_eq!(events.ended(&older, SOON).await.kind, "asset.ready.v1");
    clients.drop_file(key, &second).await;
    let newer = events
        .wait(SOON, |event| event.kind == "asset.uploaded.v1" && event.data["name"] == key && event.subject != older)
        .await
        .subject;
    assert_eq!(events.ended(&newer, SOON).await.kind, "asset.ready.v1");
    assert_eq!(call(clients, "DELETE", &format!("/v1/assets/{older}?purge=now")).await.0, 202);
    events.wait(SOON, |event| event.subject == older && event.kind == "asset.deleted.v1").await;
    let head = clients.s3.head_object().bucket(&clients.uploads).key(key).send().await;
    assert_eq!(head.unwrap().content_length().unwrap().unsigned_abs(), second.metadata().unwrap().len());
    assert_eq!(clients.asset(&newer).await["state"], "ready");
}

async fn call(clients: &Clients, method: &str, path: &str) -> (u16, Value) {
    let url = format!("{}{path}", clients.gateway);
    let request = clients.http.request(method.parse().unwrap(), url).bearer_auth(&clients.api_key);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}
