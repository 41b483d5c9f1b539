//! One asset from its upload to its end, and the things that go wrong on the way.

use reelfleet_catalog::access::{ApiKeyRow, TicketRow};
use reelfleet_catalog::assets::{End, Probed};
use reelfleet_catalog::landing::Landing;
use reelfleet_catalog::pictures::Picture;
use reelfleet_catalog::publishing::{Playlist, Rendition};
use reelfleet_catalog::runs::{Run, RunRendition};
use reelfleet_catalog::tasks::{Leased, NewTask};
use reelfleet_catalog::uploads::Upload;
use reelfleet_catalog::{Catalog, CatalogError, Emission, Lease, Step};
use reelfleet_domain::AssetState;
use reelfleet_domain::playlist::Segment;
use reelfleet_domain::policy::Refusal;
use reelfleet_messages::event::{AssetOnly, ReasonCode};
use reelfleet_messages::task::{AssetTask, ChunkTask, Task, TaskEnvelope, VERSION};
use reelfleet_messages::trace::TraceParent;
use reelfleet_messages::{
    ApiKeyId, AssetId, Event, EventId, JobId, ObjectChange, ObjectEvent, ObjectRef, TaskId, UploadId,
};
use uuid::Uuid;

use crate::endpoint::Endpoint;
use crate::{leasing, outgoing};

pub const NOW: i64 = 1_790_000_000_000;
pub const LEASE_MS: i64 = 90_000;

pub fn id() -> Uuid {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(NEXT.fetch_add(1, Ordering::Relaxed)))
}

pub fn step(now: i64) -> Step {
    Step { now, op: id().to_string(), instance: "storyteller".into() }
}

pub fn emission(asset: AssetId, now: i64) -> Emission {
    Emission::new(EventId::from_uuid(id()), now, "default", "ann", None, Event::AssetDeleted(AssetOnly { asset }))
}

pub fn task(asset: AssetId, job: JobId, work: impl Fn(AssetTask) -> Task) -> NewTask {
    envelope(job, work(AssetTask { asset, generation: 1 }))
}

pub fn envelope(job: JobId, work: Task) -> NewTask {
    let envelope = TaskEnvelope {
        v: VERSION,
        task: TaskId::from_uuid(id()),
        job,
        tenant: "default".into(),
        cost_s: 1.5,
        traceparent: Some(TraceParent::new(7, 9)),
        work,
    };
    NewTask { envelope, place: None, armed: true, backfill: false }
}

fn object(key: &str, etag: &str) -> ObjectRef {
    ObjectRef { bucket: "up".into(), key: key.into(), version_id: None, etag: etag.into(), size: 10 }
}

#[derive(Debug)]
pub struct Landed {
    pub asset: AssetId,
    pub job: JobId,
    pub probe: NewTask,
}

pub async fn land(catalog: &Catalog, key: &str, upload: Option<&str>, asset: AssetId) -> Landed {
    let landed = try_land(catalog, key, upload, asset).await.unwrap();
    let again = try_land(catalog, key, upload, asset).await;
    assert!(again.is_err_and(|error| error.is_conflict()), "the same object lands once");
    landed
}

async fn try_land(catalog: &Catalog, key: &str, upload: Option<&str>, asset: AssetId) -> Result<Landed, CatalogError> {
    let (job, object) = (JobId::from_uuid(id()), object(key, "e1"));
    let event = ObjectEvent {
        change: ObjectChange::Created,
        name: "ObjectCreated:Put".into(),
        bucket: "up".into(),
        key: key.into(),
        version_id: None,
        etag: None,
        size: None,
        sequencer: None,
    };
    let probe = task(asset, job, Task::ProbeSource);
    let landing = Landing {
        asset,
        job,
        tenant: "default",
        owner: "ann",
        upload,
        object: &object,
        event: &event,
        name: "film",
        raw: "{}",
        task: probe.clone(),
    };
    catalog.land(&step(NOW), &landing, &[emission(asset, NOW)]).await?;
    Ok(Landed { asset, job, probe })
}

pub async fn lease(catalog: &Catalog, now: i64, task: &NewTask) -> Lease {
    match catalog.lease(&step(now), &task.envelope.task, LEASE_MS).await.unwrap() {
        Leased::Mine(lease) => *lease,
        other => panic!("{other:?}"),
    }
}

/// All of it.
pub async fn tell(endpoint: &Endpoint) {
    let catalog = endpoint.catalog();
    migrations(&catalog).await;
    keys_and_tickets(&catalog).await;
    crate::accounts::tell(&catalog).await;
    crate::identities::tell(&catalog).await;
    let asset = uploads(&catalog).await;
    let film = land(&catalog, "in/film", None, asset).await;
    leasing::leases(&catalog, &film).await;
    let film = processed(&catalog, film).await;
    pictures_and_ends(&catalog).await;
    swept(&catalog, &film).await;
    outgoing::positions(&catalog).await;
    crate::usage::tell(&catalog).await;
    crate::prices::tell(&catalog).await;
    crate::auditing::tell(&catalog, &film).await;
    crate::figures::tell(&catalog).await;
    crate::letters::tell(&catalog).await;
    crate::fallbacks::tell(&catalog).await;
    crate::listing::tell(&catalog).await;
    crate::deletions::tell(&catalog).await;
    crate::mails::tell(&catalog).await;
    crate::approvals::tell(&catalog).await;
    crate::noticing::tell(&catalog).await;
    crate::exports::tell(&catalog).await;
    crate::webhooks::tell(&catalog, "ops").await;
    crate::scaling::tell(&catalog).await;
    crate::remaking::tell(&catalog, &film).await;
    outgoing::outbox(&catalog).await;
}

async fn migrations(catalog: &Catalog) {
    assert!(catalog.check_schema().await.is_err(), "an empty database is not ours");
    let together = tokio::join!(catalog.migrate(NOW), catalog.migrate(NOW), catalog.migrate(NOW));
    let ran = together.0.unwrap() + together.1.unwrap() + together.2.unwrap();
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../schema/sql")).unwrap().count();
    assert_eq!(ran, files, "who migrates at the same time does each once");
    assert_eq!(catalog.migrate(NOW).await.unwrap(), 0, "a second time does nothing");
    catalog.check_schema().await.unwrap();
    let epoch = catalog.epoch("first").await.unwrap();
    assert_eq!(catalog.epoch("second").await.unwrap(), epoch);
}

async fn keys_and_tickets(catalog: &Catalog) {
    let key = ApiKeyRow {
        id: ApiKeyId::from_uuid(id()),
        tenant: "default".into(),
        owner: "ann".into(),
        name: "first".into(),
        hash: "h".into(),
        scopes: "admin".into(),
        created_at: NOW,
        expires_at: None,
        last_used_at: None,
        rotated_at: None,
        revoked_at: None,
        user: None,
    };
    catalog.add_api_key(&key).await.unwrap();
    assert_eq!(catalog.api_key(&key.id).await.unwrap(), Some(key));
    assert_eq!(catalog.api_key(&ApiKeyId::from_uuid(id())).await.unwrap(), None);
    let ticket = TicketRow {
        tenant: "default".into(),
        owner: "ann".into(),
        scopes: "realtime".into(),
        drawn_by: ApiKeyId::from_uuid(id()).to_string(),
        origin: None,
        expires_at: NOW + 5,
    };
    catalog.add_ticket("hash", &ticket).await.unwrap();
    assert_eq!(catalog.use_ticket(NOW + 6, "hash", "late").await.unwrap(), None, "expired");
    assert_eq!(catalog.use_ticket(NOW, "hash", "one").await.unwrap().as_ref(), Some(&ticket));
    assert_eq!(catalog.use_ticket(NOW, "hash", "one").await.unwrap(), Some(ticket), "the same use, asked again");
    assert_eq!(catalog.use_ticket(NOW, "hash", "two").await.unwrap(), None, "used up");
    catalog.trim_credentials(NOW + 10).await.unwrap();
}

async fn uploads(catalog: &Catalog) -> AssetId {
    let upload = Upload {
        id: UploadId::from_uuid(id()),
        tenant: "default".into(),
        owner: "ann".into(),
        asset: AssetId::from_uuid(id()),
        bucket: "up".into(),
        key: "in/film".into(),
        name: "film".into(),
        content_type: "video/mp4".into(),
        size: 10,
        part_size: Some(8),
        s3_upload_id: Some("s3".into()),
        fingerprint: None,
        request_key: Some("idem".into()),
        checksum: Some("sha256".into()),
        traceparent: Some(TraceParent::new(7, 9)),
        state: "open".into(),
        created_at: NOW,
        expires_at: NOW + 1_000,
    };
    catalog.reserve_upload(&step(NOW), &upload).await.unwrap();
    let rival = Upload { id: UploadId::from_uuid(id()), key: "in/other".into(), ..upload.clone() };
    assert!(catalog.reserve_upload(&step(NOW), &rival).await.unwrap_err().is_conflict(), "one upload per request key");
    let same = |found: Option<Upload>| assert_eq!(found.unwrap().id, upload.id);
    same(catalog.upload(&upload.id).await.unwrap());
    same(catalog.upload_of_object("up", "in/film").await.unwrap());
    same(catalog.upload_of_request("default", "ann", "idem").await.unwrap());
    assert_eq!(catalog.open_uploads("default", "ann", 10).await.unwrap().len(), 1);
    assert_eq!(catalog.open_uploads("default", "bob", 10).await.unwrap().len(), 0);
    assert_eq!(catalog.expired_uploads(NOW + 2_000, 10).await.unwrap().len(), 1);
    assert!(catalog.close_upload(&step(NOW), &upload.id, "completed").await.unwrap());
    assert!(!catalog.close_upload(&step(NOW), &upload.id, "aborted").await.unwrap());
    let row = catalog.upload(&upload.id).await.unwrap().unwrap();
    assert_eq!((row.checksum, row.traceparent), (upload.checksum.clone(), upload.traceparent.clone()));
    let dropped = Upload {
        id: UploadId::from_uuid(id()),
        asset: AssetId::from_uuid(id()),
        key: "in/dropped".into(),
        request_key: None,
        checksum: None,
        traceparent: None,
        ..upload.clone()
    };
    catalog.reserve_upload(&step(NOW), &dropped).await.unwrap();
    assert!(catalog.close_upload(&step(NOW), &dropped.id, "aborted").await.unwrap());
    let landed = try_land(catalog, "in/dropped", Some(&dropped.id.to_string()), dropped.asset).await;
    assert!(landed.unwrap_err().is_conflict(), "what was aborted makes no asset");
    assert_eq!(catalog.upload(&dropped.id).await.unwrap().unwrap().state, "aborted");
    assert!(catalog.asset(&dropped.asset).await.unwrap().is_none());
    upload.asset
}

async fn processed(catalog: &Catalog, film: Landed) -> Landed {
    let probe = lease(catalog, NOW, &film.probe).await;
    let plan_task = task(film.asset, film.job, Task::PlanRenditions);
    let probed =
        Probed { media: "video", report: "{}", duration_ms: Some(4_000), width: Some(640), height: None, cost: None };
    let next = [plan_task.clone()];
    catalog.probed(&step(NOW), &probe, &probed, &next, &[emission(film.asset, NOW)]).await.unwrap();
    assert!(catalog.probed(&step(NOW), &probe, &probed, &[], &[]).await.unwrap_err().is_conflict(), "once");

    let planning = lease(catalog, NOW, &plan_task).await;
    let publish = NewTask { armed: false, ..task(film.asset, film.job, Task::PublishPlaylist) };
    let chunk = |chunk| {
        let work = Task::EncodeChunk(ChunkTask {
            asset: film.asset,
            generation: 1,
            chunk,
            start_us: 0,
            end_us: None,
            cuts_us: Vec::new(),
        });
        NewTask { place: Some(("video", i64::from(chunk))), ..envelope(film.job, work) }
    };
    let chunks = [chunk(0), chunk(1)];
    catalog.planned(&step(NOW), &planning, "{}", 4_000_000, &publish, &chunks, &[]).await.unwrap();
    let job = catalog.job(&film.job).await.unwrap().unwrap();
    assert_eq!((job.remaining, job.state.as_str(), job.publish_task), (2, "running", Some(publish.envelope.task)));
    assert_eq!(catalog.win_progress(NOW, &film.job, 10.0).await.unwrap(), Some((10.0, 1)));
    assert_eq!(catalog.win_progress(NOW + 1, &film.job, 20.0).await.unwrap(), None, "too soon");
    assert_eq!(catalog.win_progress(NOW + 600, &film.job, 5.0).await.unwrap(), Some((10.0, 2)), "never falls");

    assert!(
        matches!(catalog.lease(&step(NOW), &publish.envelope.task, LEASE_MS).await.unwrap(), Leased::Over),
        "not armed yet"
    );
    for (number, task) in chunks.iter().enumerate() {
        let lease = lease(catalog, NOW, task).await;
        catalog.open_attempt(&step(NOW), &lease, "out/x/").await.unwrap();
        let run = |run, is_last| run_of(number as i64, run, is_last);
        catalog.commit_run(&step(NOW), &lease, &run(0, false), &publish.envelope.task).await.unwrap();
        assert!(
            catalog
                .commit_run(&step(NOW), &lease, &run(0, false), &publish.envelope.task)
                .await
                .unwrap_err()
                .is_conflict()
        );
        catalog.commit_run(&step(NOW), &lease, &run(1, true), &publish.envelope.task).await.unwrap();
        assert!(
            catalog
                .commit_run(&step(NOW), &lease, &run(2, true), &publish.envelope.task)
                .await
                .unwrap_err()
                .is_conflict()
        );
        assert_eq!(catalog.keys_of_attempt(&task.envelope.task.to_string(), lease.token).await.unwrap().len(), 4);
    }
    assert_eq!(catalog.job(&film.job).await.unwrap().unwrap().remaining, 0);
    assert_eq!(catalog.runs(&film.job).await.unwrap().len(), 4);
    assert_eq!(catalog.last_run(&film.job, "video", 1).await.unwrap().unwrap().run, 1);
    assert_eq!(catalog.committed_us(&film.job).await.unwrap(), 4_000_000);
    published(catalog, &film, &publish).await;
    film
}

pub fn run_of(chunk: i64, run: i64, is_last: bool) -> Run {
    let segment = Segment { key: format!("t/{chunk}-{run}.m4s"), duration: 90_000, timescale: 90_000, bytes: 7 };
    let rendition = RunRendition {
        name: "270p".into(),
        codecs: "avc1".into(),
        init: "init/720p-00.mp4".into(),
        segments: vec![segment],
    };
    Run {
        track: "video".into(),
        chunk,
        run,
        start_us: 0,
        end_us: 1_000_000,
        frames: 25,
        packets: 25,
        errors: 0,
        first_pts_us: 0,
        last_pts_us: 960_000,
        next_pts_us: Some(1_000_000),
        next_frame: None,
        anchor: Some("{}".into()),
        renditions: vec![rendition],
        is_last,
    }
}

async fn published(catalog: &Catalog, film: &Landed, publish: &NewTask) {
    let publisher = lease(catalog, NOW, publish).await;
    let wanted = catalog.wanted(&publisher).await.unwrap();
    assert_eq!(wanted, 4, "one per commit");
    assert!(!catalog.published(&step(NOW), &publisher, wanted - 1).await.unwrap(), "a commit came meanwhile");
    let list = Playlist { name: "270p".into(), etag: "e".into(), segments: 4, ended: true };
    catalog.wrote_playlist(&step(NOW), &publisher, &list).await.unwrap();
    let list = Playlist { etag: "f".into(), ..list };
    catalog.wrote_playlist(&step(NOW), &publisher, &list).await.unwrap();
    assert_eq!(catalog.playlists(&film.job).await.unwrap(), [list]);
    catalog.playable(&step(NOW), &film.asset, 1, &[emission(film.asset, NOW)]).await.unwrap();
    assert!(catalog.playable(&step(NOW), &film.asset, 1, &[]).await.unwrap_err().is_conflict(), "playable once");
    let rendition =
        |name: &str, size| Rendition { name: name.into(), codecs: "c".into(), size, bandwidth: 1, frames: 2, bytes: 3 };
    let renditions = [rendition("270p", Some((480, 270))), rendition("audio", None)];
    catalog.ready(&step(NOW), &publisher, &renditions, &[emission(film.asset, NOW)]).await.unwrap();
    assert!(catalog.ready(&step(NOW), &publisher, &renditions, &[]).await.unwrap_err().is_conflict(), "ready once");
    let names: Vec<String> = catalog.renditions(&film.asset, 1).await.unwrap().into_iter().map(|r| r.name).collect();
    assert_eq!(names, ["270p", "audio"]);
    let asset = catalog.asset(&film.asset).await.unwrap().unwrap();
    let owner = catalog.owner_of(&film.asset).await.unwrap();
    assert_eq!(owner, Some((asset.tenant.clone(), asset.owner.clone())));
    assert_eq!((asset.state, asset.width, asset.height), (AssetState::Ready, Some(640), None));
    assert_eq!(catalog.job_of(&film.asset).await.unwrap().unwrap().1, "succeeded");
    assert!(catalog.undescribed(10).await.unwrap().contains(&film.asset));
    catalog.described(&film.asset, asset.version).await.unwrap();
    assert!(!catalog.undescribed(10).await.unwrap().contains(&film.asset));
    crate::detailing::tell(catalog, &asset).await;
    assert_eq!(
        catalog.asset_by_identity(object("in/film", "e1").identity().as_str()).await.unwrap().unwrap().id,
        film.asset
    );
    assert_eq!(catalog.live_assets_of_key("up", "in/film").await.unwrap().len(), 0, "it has ended");
    assert_eq!(catalog.assets_of_key("default", "up", "in/film", 10).await.unwrap().len(), 1);
    assert_eq!(catalog.assets_of_key("other", "up", "in/film", 10).await.unwrap().len(), 0);
    assert_eq!(catalog.asset_state(&film.asset).await.unwrap(), Some((AssetState::Ready, false)));
}

async fn pictures_and_ends(catalog: &Catalog) {
    let photo = land(catalog, "photo", None, AssetId::from_uuid(id())).await;
    let probe = lease(catalog, NOW, &photo.probe).await;
    let (thumbs, extra) =
        (task(photo.asset, photo.job, Task::RenderThumbnails), task(photo.asset, photo.job, Task::RenderThumbnails));
    let probed =
        Probed { media: "image", report: "{}", duration_ms: None, width: Some(1), height: Some(1), cost: None };
    catalog.probed(&step(NOW), &probe, &probed, &[thumbs.clone(), extra.clone()], &[]).await.unwrap();
    let extra = lease(catalog, NOW, &extra).await;
    catalog.give_up(&step(NOW), &extra, None, &[emission(photo.asset, NOW)]).await.unwrap();
    let thumbs = lease(catalog, NOW, &thumbs).await;
    let picture =
        Picture { name: "p.jpg".into(), kind: "poster".into(), format: "jpeg".into(), width: 2, height: 3, bytes: 4 };
    catalog.pictured(&step(NOW), &thumbs, std::slice::from_ref(&picture), true, &[]).await.unwrap();
    assert_eq!(catalog.pictures(&photo.asset, 1).await.unwrap(), std::slice::from_ref(&picture));
    let many: Vec<_> = (0..25).map(|_| AssetId::from_uuid(id())).chain([photo.asset]).collect();
    assert_eq!(catalog.pictures_of_each(&many).await.unwrap(), [(photo.asset, picture)]);
    assert_eq!(catalog.asset(&photo.asset).await.unwrap().unwrap().state, AssetState::Ready);

    let junk = land(catalog, "junk", None, AssetId::from_uuid(id())).await;
    let asset = catalog.live_assets_of_key("up", "junk").await.unwrap().remove(0);
    let probe = lease(catalog, NOW, &junk.probe).await;
    let why = Refusal::new(ReasonCode::NotMedia, "not media");
    catalog
        .end_asset(&step(NOW), &asset, Some((&probe, None)), End::Refused, &why, &[emission(junk.asset, NOW)])
        .await
        .unwrap();
    assert!(
        catalog.end_asset(&step(NOW), &asset, None, End::Failed, &why, &[]).await.unwrap_err().is_conflict(),
        "ends once"
    );
    let ended = catalog.asset(&junk.asset).await.unwrap().unwrap();
    assert_eq!((ended.state, ended.reason_code.as_deref()), (AssetState::Refused, Some("not_media")));

    let doomed = land(catalog, "doomed", None, AssetId::from_uuid(id())).await;
    for attempt in 0..3 {
        let lease = lease(catalog, NOW, &doomed.probe).await;
        catalog.retry(&step(NOW), &lease, NOW, &format!("crash {attempt}"), Some("signal SIGSEGV")).await.unwrap();
    }
    let exhausted = catalog.lease(&step(NOW), &doomed.probe.envelope.task, LEASE_MS).await.unwrap();
    assert!(matches!(exhausted, Leased::Exhausted(_, error) if error == "crash 2"));
}

async fn swept(catalog: &Catalog, film: &Landed) {
    let stray = land(catalog, "stray", None, AssetId::from_uuid(id())).await;
    assert_eq!(catalog.wake_stranded(&step(NOW + 1), 60_000, 100).await.unwrap(), 0, "nothing is overdue yet");
    let later = NOW + 400_000;
    let woken = catalog.wake_stranded(&step(later), 60_000, 100).await.unwrap();
    assert!(woken >= 1, "{}", stray.probe.envelope.task);
    assert_eq!(catalog.wake_stranded(&step(later), 60_000, 100).await.unwrap(), 0, "each waits its turn again");
    let losers = catalog.losers(NOW + 1, 10).await.unwrap();
    assert_eq!(losers.len(), 2, "both attempts of {} ended", film.asset);
    for loser in &losers {
        catalog.swept(NOW, loser).await.unwrap();
    }
    assert_eq!(catalog.losers(NOW + 1, 10).await.unwrap().len(), 0);
    assert!(catalog.task_counts().await.unwrap().iter().any(|(queue, kind, state, count)| {
        queue == "probe" && kind == "probe_source" && state == "pending" && *count >= 1
    }));
    assert!(catalog.asset_counts().await.unwrap().contains(&("ready".into(), 2)));
}
