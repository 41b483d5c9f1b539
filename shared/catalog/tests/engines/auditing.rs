//! What the audit asks of the rows: each rule is broken once, by hand, and found; whose objects are garbage, and when.

use reelfleet_catalog::holdings::{Judge, Standing, place_of};
use reelfleet_catalog::invariants::Rule;
use reelfleet_catalog::scan::Orphan;
use reelfleet_catalog::tasks::NewTask;
use reelfleet_catalog::{Catalog, Lease, Statement};
use reelfleet_domain::AssetState;
use reelfleet_messages::task::{ChunkTask, Task};
use reelfleet_messages::{AssetId, SourceIdentity};

use crate::story::{Landed, NOW, envelope, id, land, lease, step, task};

const DAY: i64 = 86_400_000;

/// All of it, on an asset that the story made ready.
pub async fn tell(catalog: &Catalog, ready: &Landed) {
    rules(catalog, ready).await;
    readiness(catalog, ready).await;
    garbage(catalog).await;
    turns(catalog).await;
    sources(catalog).await;
}

/// Whether a rule is told to be broken by this row; what is younger than an hour is not asked for.
async fn is_broken(catalog: &Catalog, rule: Rule, subject: &str) -> bool {
    let broken = catalog.broken(NOW - 3_600_000, 1_000).await.unwrap();
    broken.iter().any(|broken| broken.rule == rule && broken.subject == subject)
}

/// Breaks it, looks, and mends it.
async fn found(catalog: &Catalog, rule: Rule, subject: &str, breaking: &'static str, mending: &'static str) {
    assert!(!is_broken(catalog, rule, subject).await, "{rule:?} is broken from the start");
    let change = |sql| catalog.write(Statement::new(sql).text("id", subject));
    change(breaking).await.unwrap();
    assert!(is_broken(catalog, rule, subject).await, "{rule:?} is not found");
    change(mending).await.unwrap();
    assert!(!is_broken(catalog, rule, subject).await, "{rule:?} is not mended");
}

async fn rules(catalog: &Catalog, ready: &Landed) {
    let other = land(catalog, "audited", None, AssetId::from_uuid(id())).await;
    let (asset, job, probe) = (other.asset.to_string(), other.job.to_string(), other.probe.envelope.task.to_string());
    found(
        catalog,
        Rule::JobEndsWithAsset,
        &job,
        "UPDATE asset SET state = 'failed' WHERE id = (SELECT asset_id FROM job WHERE id = :id)",
        "UPDATE asset SET state = 'uploaded' WHERE id = (SELECT asset_id FROM job WHERE id = :id)",
    )
    .await;
    found(
        catalog,
        Rule::TaskEndsWithAsset,
        &probe,
        "UPDATE asset SET state = 'refused' WHERE id = (SELECT asset_id FROM task WHERE id = :id)",
        "UPDATE asset SET state = 'uploaded' WHERE id = (SELECT asset_id FROM task WHERE id = :id)",
    )
    .await;
    found(
        catalog,
        Rule::DueTaskIsTaken,
        &probe,
        "UPDATE task SET next_at = 1, updated_at = 1 WHERE id = :id",
        "UPDATE task SET updated_at = next_at + 9000000000000 WHERE id = :id",
    )
    .await;
    found(
        catalog,
        Rule::RemainingCounts,
        &job,
        "UPDATE job SET state = 'running', remaining = 3 WHERE id = :id",
        "UPDATE job SET state = 'queued', remaining = 0 WHERE id = :id",
    )
    .await;
    found(
        catalog,
        Rule::FinishedJobEnds,
        &job,
        "UPDATE job SET state = 'running', updated_at = 1 WHERE id = :id",
        "UPDATE job SET state = 'queued' WHERE id = :id",
    )
    .await;
    found(
        catalog,
        Rule::DescriptionFollows,
        &ready.asset.to_string(),
        "UPDATE asset SET described = 1, updated_at = 1 WHERE id = :id",
        "UPDATE asset SET described = version WHERE id = :id",
    )
    .await;
    found(
        catalog,
        Rule::OutboxEmpties,
        "stuck",
        "INSERT INTO outbox (id, target, body, tenant, ord, claimed_by, claimed_until, created_at) VALUES (:id, 'probe', '', '', 0, '', 1, 1)",
        "DELETE FROM outbox WHERE id = :id",
    )
    .await;
    found(
        catalog,
        Rule::CompletedUploadLands,
        "upl_audited",
        "INSERT INTO upload (id, tenant, owner, asset_id, bucket, object_key, name, content_type, size, state, op_id, created_at, updated_at, \
         expires_at) VALUES (:id, 't', 'o', 'ast_never', 'up', 'in/never', 'n', 'c', 1, 'completed', 'o', 1, 1, 1)",
        "DELETE FROM upload WHERE id = :id",
    )
    .await;
    let stream = "asset:audited";
    for position in 1..=3 {
        let event = Statement::new(
            "INSERT INTO event_log (stream, position, event_id, body, logged_at) VALUES (:id, :position, :event, '{}', :now)",
        );
        catalog
            .write(
                event
                    .text("id", stream)
                    .int("position", position)
                    .text("event", format!("evt_{position}"))
                    .int("now", NOW),
            )
            .await
            .unwrap();
    }
    catalog
        .write(Statement::new("INSERT INTO stream (name, position) VALUES (:id, 3)").text("id", stream))
        .await
        .unwrap();
    found(
        catalog,
        Rule::EventsAreUnique,
        stream,
        "UPDATE event_log SET event_id = 'evt_1' WHERE stream = :id AND position = 2",
        "UPDATE event_log SET event_id = 'evt_2' WHERE stream = :id AND position = 2",
    )
    .await;
    found(
        catalog,
        Rule::PositionsAreWhole,
        stream,
        "UPDATE event_log SET position = 4 WHERE stream = :id AND position = 2",
        "UPDATE event_log SET position = 2 WHERE stream = :id AND position = 4",
    )
    .await;
    found(
        catalog,
        Rule::PositionsAreWhole,
        stream,
        "UPDATE stream SET position = 4 WHERE name = :id",
        "UPDATE stream SET position = 3 WHERE name = :id",
    )
    .await;
    // Last, since nothing mends it: an asset without any task.
    assert!(!is_broken(catalog, Rule::LiveAssetHasWork, &asset).await);
    let aged = "UPDATE asset SET updated_at = 1 WHERE id = :id";
    catalog.write(Statement::new(aged).text("id", &asset)).await.unwrap();
    assert!(!is_broken(catalog, Rule::LiveAssetHasWork, &asset).await, "its probe will move it");
    catalog
        .write(Statement::new("UPDATE task SET state = 'cancelled' WHERE id = :id").text("id", &probe))
        .await
        .unwrap();
    assert!(is_broken(catalog, Rule::LiveAssetHasWork, &asset).await);
    catalog.write(Statement::new("UPDATE asset SET state = 'failed' WHERE id = :id").text("id", &asset)).await.unwrap();
    catalog.write(Statement::new("UPDATE job SET state = 'failed' WHERE id = :id").text("id", &job)).await.unwrap();
}

async fn readiness(catalog: &Catalog, ready: &Landed) {
    let (asset, job) = (ready.asset.to_string(), ready.job.to_string());
    // The story wrote one playlist of two renditions, and no master.
    assert!(is_broken(catalog, Rule::ReadyIsWhole, &asset).await);
    for name in ["audio", "master"] {
        let list = Statement::new(
            "INSERT INTO playlist (job_id, name, etag, segments, ended, updated_at) SELECT id, :name, 'e', 1, TRUE, 1 FROM job WHERE id = :id",
        );
        catalog.write(list.text("name", name).text("id", &job)).await.unwrap();
    }
    let holdings = catalog.holdings(&asset, &asset).await.unwrap().remove(&ready.asset).unwrap();
    assert_eq!((holdings.state, holdings.open), (AssetState::Ready, false));
    assert_eq!(holdings.segments[&(1, "270p".to_owned())], 4);
    assert_eq!(holdings.lists[&(1, "270p".to_owned())], (4, true));
    let named: Vec<(&str, Option<&str>)> =
        holdings.named.iter().map(|(key, etag)| (key.as_str(), etag.as_deref())).collect();
    assert_eq!(
        named,
        [
            ("g1/270p.m3u8", Some("f")),
            ("g1/audio.m3u8", Some("e")),
            ("g1/init/720p-00.mp4", None),
            ("g1/master.m3u8", Some("e")),
            ("g1/t/0-0.m4s", None),
            ("g1/t/0-1.m4s", None),
            ("g1/t/1-0.m4s", None),
            ("g1/t/1-1.m4s", None),
            ("metadata.json", None),
        ]
    );
    for (breaking, mending) in [
        (
            "UPDATE playlist SET ended = FALSE WHERE name = 'audio' AND job_id IN (SELECT id FROM job WHERE asset_id = :id)",
            "UPDATE playlist SET ended = TRUE WHERE name = 'audio' AND job_id IN (SELECT id FROM job WHERE asset_id = :id)",
        ),
        (
            "UPDATE playlist SET name = 'x' WHERE name = 'master' AND job_id IN (SELECT id FROM job WHERE asset_id = :id)",
            "UPDATE playlist SET name = 'master' WHERE name = 'x' AND job_id IN (SELECT id FROM job WHERE asset_id = :id)",
        ),
        (
            "UPDATE playlist SET name = 'x' WHERE name = 'audio' AND job_id IN (SELECT id FROM job WHERE asset_id = :id)",
            "UPDATE playlist SET name = 'audio' WHERE name = 'x' AND job_id IN (SELECT id FROM job WHERE asset_id = :id)",
        ),
        (
            "UPDATE job SET state = 'running' WHERE asset_id = :id",
            "UPDATE job SET state = 'succeeded' WHERE asset_id = :id",
        ),
    ] {
        found(catalog, Rule::ReadyIsWhole, &asset, breaking, mending).await;
    }
    // The story trimmed the log: nobody knows what was said before. With a whole log, somebody must have said it.
    let stream = format!("asset:{asset}");
    let (subject, log) = (
        asset.as_str(),
        "INSERT INTO event_log (stream, position, event_id, body, logged_at) VALUES (:s, :p, :e, :b, 1)",
    );
    let say = |position: i64, event: &str, body: &str| {
        catalog.write(Statement::new(log).text("s", &stream).int("p", position).text("e", event).text("b", body))
    };
    assert!(!is_broken(catalog, Rule::ReadyIsSaid, subject).await);
    say(1, "evt_a", "{}").await.unwrap();
    assert!(is_broken(catalog, Rule::ReadyIsSaid, subject).await);
    let body = r#"{"type":"asset.ready.v1","data":{"generation":1}}"#;
    say(2, "evt_b", body).await.unwrap();
    say(3, "evt_c", body).await.unwrap();
    assert!(!is_broken(catalog, Rule::ReadyIsSaid, subject).await);
    let said = catalog.ready_said("", 0, 100).await.unwrap();
    let said: Vec<_> = said.iter().filter(|said| said.stream == stream).map(|said| said.event.as_str()).collect();
    assert_eq!(said, ["evt_b", "evt_c"]);
    let after = catalog.ready_said(&stream, 2, 100).await.unwrap();
    assert_eq!(after.first().map(|said| said.position), Some(3));
    catalog.write(Statement::new("DELETE FROM event_log WHERE stream = :s").text("s", &stream)).await.unwrap();
}

/// What an object of an asset is, at each stage of the attempt that wrote it.
async fn garbage(catalog: &Catalog) {
    let film = land(catalog, "garbage", None, AssetId::from_uuid(id())).await;
    let work = Task::EncodeChunk(ChunkTask {
        asset: film.asset,
        generation: 1,
        chunk: 7,
        start_us: 0,
        end_us: None,
        cuts_us: Vec::new(),
    });
    let chunk = NewTask { place: Some(("video", 7)), ..envelope(film.job, work) };
    let probe = lease(catalog, NOW, &film.probe).await;
    let probed = reelfleet_catalog::assets::Probed {
        media: "video",
        report: "{}",
        duration_ms: None,
        width: None,
        height: None,
        cost: None,
    };
    let still = task(film.asset, film.job, Task::RenderThumbnails);
    catalog.probed(&step(NOW), &probe, &probed, &[chunk.clone(), still.clone()], &[]).await.unwrap();
    let first = lease(catalog, NOW, &chunk).await;
    catalog.open_attempt(&step(NOW), &first, "out/x/").await.unwrap();
    let key = |lease: &Lease| format!("g1/t/{}/{}/270p-00007-0000.m4s", lease.envelope.task, lease.token);

    let standing = async |now: i64, key: &str| {
        let id = film.asset.to_string();
        let holdings = catalog.holdings(&id, &id).await.unwrap().remove(&film.asset);
        Judge::new(catalog).standing(now, holdings.as_ref(), key).await.unwrap()
    };
    assert_eq!(standing(NOW, &key(&first)).await, Standing::Open, "it may commit yet");
    assert_eq!(standing(NOW, "g1/init/x.mp4").await, Standing::Open, "so may this be named");
    let second = lease(catalog, NOW + 200_000, &chunk).await;
    assert_eq!(standing(NOW, &key(&first)).await, Standing::Loser, "fenced: the janitor sweeps it");
    assert_eq!(standing(NOW + 2 * DAY, &key(&first)).await, Standing::Orphan, "the janitor forgot it");
    assert_eq!(standing(NOW, &key(&second)).await, Standing::Orphan, "an attempt that was never opened writes nothing");
    for loser in catalog.losers(NOW + 1, 100).await.unwrap() {
        catalog.swept(NOW, &loser).await.unwrap();
    }
    assert_eq!(standing(NOW, &key(&first)).await, Standing::Orphan, "written after it was swept");

    let end = |state: &'static str| {
        let sql = "UPDATE task SET state = :state WHERE asset_id = :id AND state IN ('pending', 'leased', 'failed')";
        catalog.write(Statement::new(sql).text("state", state).text("id", film.asset.to_string()))
    };
    end("failed").await.unwrap();
    assert_eq!(standing(NOW, "g1/init/x.mp4").await, Standing::Open, "a redrive may name it");
    end("done").await.unwrap();
    assert_eq!(standing(NOW, "g1/init/x.mp4").await, Standing::Orphan, "nobody can write any more");
    let become_ = |state: &'static str| {
        let sql = "UPDATE asset SET state = :state WHERE id = :id";
        catalog.write(Statement::new(sql).text("state", state).text("id", film.asset.to_string()))
    };
    become_("deleting").await.unwrap();
    assert_eq!(standing(NOW, "g1/init/x.mp4").await, Standing::Open, "its deletion is under way");
    become_("deleted").await.unwrap();
    assert_eq!(standing(NOW, "g1/init/x.mp4").await, Standing::Orphan);
    assert_eq!(Judge::new(catalog).standing(NOW, None, "g1/x").await.unwrap(), Standing::Orphan, "of no asset");
    assert_eq!(place_of(&format!("out/{}/g1/x", film.asset)), Some((film.asset, "g1/x")));
}

/// One at a time scans; who comes after a crash goes on at the last page.
async fn turns(catalog: &Catalog) {
    let take = async |now: i64| catalog.take_turn(&step(now), "scan").await.unwrap();
    let first = take(NOW).await.unwrap();
    assert_eq!((first.after.as_str(), first.pages, first.begun_at), ("", 0, NOW));
    assert_eq!(take(NOW + 1).await, None, "somebody is at it");
    let first = catalog.turn_page(NOW + 10, first, "k1").await.unwrap().unwrap();
    let second = take(NOW + 10 + 60_000).await.unwrap();
    assert_eq!((second.after.as_str(), second.pages, second.begun_at), ("k1", 1, NOW), "the first fell silent");
    assert_eq!(catalog.turn_page(NOW, first.clone(), "k9").await.unwrap(), None, "and is told so");
    catalog.end_turn(first, NOW).await.unwrap();
    assert_eq!(take(NOW + 10 + 60_001).await, None, "which ends nothing of the second's");
    catalog.end_turn(second, NOW + 500_000).await.unwrap();
    assert_eq!(take(NOW + 499_999).await, None, "not due");
    let third = take(NOW + 500_000).await.unwrap();
    assert_eq!((third.after.as_str(), third.pages, third.begun_at), ("", 0, NOW + 500_000));

    let orphan = |etag: &str, found_at| Orphan { key: "out/x".into(), etag: etag.into(), found_at };
    catalog.note_orphans(&[orphan("e", NOW)]).await.unwrap();
    catalog.note_orphans(&[orphan("e", NOW + 5)]).await.unwrap();
    assert_eq!(catalog.orphans(NOW + 1, 10).await.unwrap(), [orphan("e", NOW)], "found once");
    catalog.note_orphans(&[orphan("f", NOW + 5)]).await.unwrap();
    assert!(catalog.orphans(NOW + 1, 10).await.unwrap().is_empty(), "another object has a grace of its own");
    catalog.forget_orphans(&["out/x".to_owned()]).await.unwrap();
    assert!(catalog.orphans(NOW + 10, 10).await.unwrap().is_empty());
}

async fn sources(catalog: &Catalog) {
    let identity = |key: &str| SourceIdentity::of("up", key, None, "e1").as_str().to_owned();
    let mut asked: Vec<String> = (0..60).map(|number| identity(&format!("unknown/{number}"))).collect();
    asked.insert(55, identity("garbage"));
    asked.push(identity("audited"));
    let known = catalog.known_identities(&asked).await.unwrap();
    assert_eq!(known, [identity("garbage"), identity("audited")].into());
    let first = catalog.live_assets("", 1).await.unwrap().remove(0);
    assert!(first.state.is_live());
    let next = catalog.live_assets(&first.id.to_string(), 100).await.unwrap();
    assert!(next.iter().all(|asset| asset.id.to_string() > first.id.to_string() && asset.state.is_live()));
    let last = catalog.last_asset_of_page("", 3).await.unwrap().unwrap();
    let range = catalog.holdings("", &last).await.unwrap();
    assert_eq!(range.len(), 3);
    assert_eq!(catalog.last_asset_of_page("ast_z", 3).await.unwrap(), None);
    let (tasks, outgoing) = catalog.unfinished().await.unwrap();
    assert!(tasks > 0 && outgoing > 0);
    assert!(catalog.failed_by_queue().await.unwrap().iter().all(|(_, count)| *count > 0));
}
