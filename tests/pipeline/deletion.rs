//! Deleting: gone for everybody at once, restored while there is time, purged with a proof.

use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
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
    // The end of a purge waits for leases that it called off.
    options.env.push(("REELFLEET_VISIBILITY_SECONDS".into(), "15".into()));
    options.env.push(("REELFLEET_TAKEOVER_GRACE_SECONDS".into(), "1".into()));
    let fleet = Fleet::start(options).await;
    let clients = &fleet.clients;
    let mut events = Events::of_everything(clients).await;
    let film = tokio::task::spawn_blocking(crate::crash::grainy_film).await.unwrap();

    replaced(clients, &mut events).await;
    let versions = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let versioned = clients.s3.put_bucket_versioning().bucket(&clients.uploads).versioning_configuration(versions);
    versioned.send().await.unwrap();
    let purged = purged_while_encoding(clients, &mut events, &film).await;

    // In the middle of its processing: called off, restored, and done to its end.
    let asset = clients.upload(&film).await;
    events.wait(SOON, |event| event.subject == asset && event.kind == "asset.playable.v1").await;
    let playlist = clients.asset(&asset).await["playback"]["url"].as_str().unwrap().to_owned();
    assert_eq!(clients.http.get(&playlist).send().await.unwrap().status(), 200);
    let (status, marked) = call(clients, "DELETE", &format!("/v1/assets/{asset}")).await;
    assert_eq!((status, marked["state"].as_str()), (202, Some("deleting")), "{marked}");
    assert_eq!(clients.http.get(&playlist).send().await.unwrap().status(), 410, "gone at once");
    let (_, page) = call(clients, "GET", "/v1/assets").await;
    assert!(
        page["assets"].as_array().unwrap().iter().all(|listed| listed["id"] != asset.as_str()),
        "and from the list"
    );
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

    purged.is_proved(clients, &mut events).await;
}

/// What is purged while others look after something else.
struct Purged {
    asset: String,
    key: String,
    playlist: String,
}

/// For good, while it is encoded, and its source has two versions and a delete marker.
async fn purged_while_encoding(clients: &Clients, events: &mut Events, film: &Path) -> Purged {
    let asset = clients.upload(film).await;
    events.wait(SOON, |event| event.subject == asset && event.kind == "asset.playable.v1").await;
    let playlist = clients.asset(&asset).await["playback"]["url"].as_str().unwrap().to_owned();
    let key = format!("SELECT object_key FROM asset WHERE id = '{asset}'");
    let key = clients.rows(&key).await.remove(0).remove(0);
    let put = clients.s3.put_object().bucket(&clients.uploads).key(&key).body(ByteStream::from_static(b"no film"));
    put.send().await.unwrap();
    clients.s3.delete_object().bucket(&clients.uploads).key(&key).send().await.unwrap();
    assert_eq!(versions(clients, &key).await, 3);
    assert_ne!(clients.outputs(&format!("out/{asset}/")).await, Vec::<String>::new());

    let (status, marked) = call(clients, "DELETE", &format!("/v1/assets/{asset}?purge=now")).await;
    assert_eq!((status, marked["state"].as_str()), (202, Some("deleting")), "{marked}");
    assert_eq!(clients.http.get(&playlist).send().await.unwrap().status(), 410, "gone at once");
    let at_work = format!(
        "SELECT t.id FROM task t JOIN deletion d ON d.asset_id = t.asset_id WHERE t.asset_id = '{asset}' \
         AND t.kind LIKE 'encode%' AND t.state = 'cancelled' AND t.lease_until > d.requested_at"
    );
    assert_ne!(clients.rows(&at_work).await.len(), 0, "nobody was at work on it");
    Purged { asset, key, playlist }
}

impl Purged {
    async fn is_proved(&self, clients: &Clients, events: &mut Events) {
        let Self { asset, key, playlist } = self;
        events.wait(SOON, |event| event.subject == *asset && event.kind == "asset.deleted.v1").await;
        assert_eq!(clients.outputs(&format!("out/{asset}/")).await, Vec::<String>::new());
        assert_eq!(versions(clients, key).await, 0, "every version of its source, and the marker");
        let (_, tomb) = call(clients, "GET", &format!("/v1/assets/{asset}")).await;
        let proof = &tomb["deletion"]["proof"];
        assert_eq!(tomb["state"], "deleted", "{tomb}");
        assert!(proof["sweeps"][0]["outputs"].as_u64().unwrap() > 0 && proof["empty_at_ms"].is_u64(), "{tomb}");
        assert_eq!(proof["sweeps"][0]["source_versions"], 3, "{tomb}");
        assert_eq!(clients.http.get(playlist).send().await.unwrap().status(), 410);
        let left = |table: &str| format!("SELECT 1 FROM {table} WHERE asset_id = '{asset}'");
        for table in ["task", "attempt"] {
            assert_eq!(clients.rows(&left(table)).await.len(), 0, "{table}");
        }
        assert_eq!(events.count(asset, "asset.ready.v1") + events.count(asset, "asset.failed.v1"), 0);
    }
}

/// Versions and delete markers of a key.
async fn versions(clients: &Clients, key: &str) -> usize {
    let page = clients.s3.list_object_versions().bucket(&clients.uploads).prefix(key).send().await.unwrap();
    page.versions().len() + page.delete_markers().len()
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
