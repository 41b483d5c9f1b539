//! Tasks that are given up, their letters, and what a redrive brings back.

use reelfleet_catalog::assets::{Asset, End, Probed};
use reelfleet_catalog::audit::AuditEntry;
use reelfleet_catalog::outbox::Outgoing;
use reelfleet_catalog::tasks::{Leased, NewTask};
use reelfleet_catalog::{Catalog, Lease};
use reelfleet_domain::policy::Refusal;
use reelfleet_domain::{AssetState, TaskState};
use reelfleet_messages::event::ReasonCode;
use reelfleet_messages::task::{ChunkTask, Task};
use reelfleet_messages::{AssetId, Letter};

use crate::story::{LEASE_MS, Landed, NOW, emission, envelope, id, land, lease, step, task};

/// All of it.
pub async fn tell(catalog: &Catalog) {
    with_its_asset(catalog).await;
    alone(catalog).await;
    before_anything_was_known(catalog).await;
    audited(catalog).await;
}

fn letter(lease: &Lease) -> Letter {
    Letter {
        reason: "decoder_crashed: the decoder gave up 3 times".into(),
        queue: format!("reelfleet-{}", lease.queue),
        attempts: Some(lease.attempts),
        error: Some("the decoder crashed (signal SIGSEGV)".into()),
        exit: Some("signal SIGSEGV".into()),
        token: Some(lease.token),
        ..Letter::default()
    }
}

async fn fail(catalog: &Catalog, asset: &Asset, lease: &Lease) {
    let why = Refusal::new(ReasonCode::DecoderCrashed, "the decoder gave up 3 times");
    let task = Some((lease, Some(&letter(lease))));
    catalog.end_asset(&step(NOW), asset, task, End::Failed, &why, &[emission(asset.id, NOW)]).await.unwrap();
}

async fn asset(catalog: &Catalog, landed: &Landed) -> Asset {
    catalog.asset(&landed.asset).await.unwrap().unwrap()
}

async fn state(catalog: &Catalog, task: &NewTask) -> TaskState {
    catalog.standing(&task.envelope.task).await.unwrap().unwrap().state
}

/// What this story has put into the outbox about a task, and not sent.
async fn outgoing(catalog: &Catalog, task: &NewTask) -> Vec<Outgoing> {
    let body = task.envelope.to_json();
    let mut rows = catalog.own_outgoing("storyteller", 1_000).await.unwrap();
    rows.retain(|row| row.body == body);
    rows
}

async fn with_its_asset(catalog: &Catalog) {
    let film = land(catalog, "broken", None, AssetId::from_uuid(id())).await;
    let probe = lease(catalog, NOW, &film.probe).await;
    let plan = task(film.asset, film.job, Task::PlanRenditions);
    let probed = Probed { media: "video", report: "{}", duration_ms: None, width: None, height: None, cost: None };
    catalog.probed(&step(NOW), &probe, &probed, std::slice::from_ref(&plan), &[]).await.unwrap();
    let planning = lease(catalog, NOW, &plan).await;
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
    let (first, second) = (chunk(0), chunk(1));
    let chunks = [first.clone(), second.clone()];
    catalog.planned(&step(NOW), &planning, "{}", 1, &publish, &chunks, &[]).await.unwrap();
    let held = lease(catalog, NOW, &second).await;
    let broken = lease(catalog, NOW, &first).await;
    assert_eq!(broken.queue, "express", "the opening of a stream");
    fail(catalog, &asset(catalog, &film).await, &broken).await;

    let ended = asset(catalog, &film).await;
    assert_eq!((ended.state, ended.reason_code.as_deref()), (AssetState::Failed, Some("decoder_crashed")));
    let standing = catalog.standing(&first.envelope.task).await.unwrap().unwrap();
    assert_eq!((standing.state, standing.token, standing.asset), (TaskState::Failed, 1, AssetState::Failed));
    assert_eq!(standing.error.as_deref(), Some("the decoder crashed (signal SIGSEGV)"));
    assert_eq!(state(catalog, &second).await, TaskState::Cancelled);
    let sent = outgoing(catalog, &first).await;
    let dead = sent.iter().find(|row| row.target == "express-dlq").expect("a letter goes out with the end");
    assert_eq!(Letter::read(&dead.attributes), letter(&broken));
    assert!(sent.iter().all(|row| row.target == "express-dlq" || row.attributes.is_empty()), "wake-ups have none");

    assert!(catalog.failed_task(&first.envelope.task, 2).await.unwrap().is_none(), "another token");
    let failed = catalog.failed_task(&first.envelope.task, 1).await.unwrap().unwrap();
    assert!(failed.with_asset);
    let before = outgoing(catalog, &second).await.len();
    catalog.revive(&step(NOW), &first.envelope, &failed, &[emission(film.asset, NOW)]).await.unwrap();
    let again = catalog.revive(&step(NOW), &first.envelope, &failed, &[]).await;
    assert!(again.unwrap_err().is_conflict(), "a letter revives once");
    assert!(catalog.failed_task(&first.envelope.task, 1).await.unwrap().is_none(), "a second copy finds it revived");
    let revived = asset(catalog, &film).await;
    assert_eq!((revived.state, revived.reason_code), (AssetState::Processing, None));
    assert_eq!(catalog.job(&film.job).await.unwrap().unwrap().state, "running");
    assert_eq!(state(catalog, &second).await, TaskState::Pending);
    assert_eq!(outgoing(catalog, &second).await.len(), before + 1, "what was called off with it is woken");
    assert!(!catalog.extend(NOW, &held, LEASE_MS).await.unwrap(), "its old holder is fenced");
    let next = lease(catalog, NOW, &first).await;
    assert_eq!((next.token, next.attempts, next.crashes, next.last_exit), (3, 1, 0, None));

    // It fails again, once it is playable.
    catalog.playable(&step(NOW), &film.asset, 1, &[]).await.unwrap();
    let next = Lease { token: 3, ..broken };
    fail(catalog, &asset(catalog, &film).await, &next).await;
    assert!(catalog.failed_task(&first.envelope.task, 1).await.unwrap().is_none(), "the first letter is stale");
    let failed = catalog.failed_task(&first.envelope.task, 3).await.unwrap().unwrap();
    catalog.revive(&step(NOW), &first.envelope, &failed, &[]).await.unwrap();
    assert_eq!(asset(catalog, &film).await.state, AssetState::Playable, "as far as it had come");
}

async fn alone(catalog: &Catalog) {
    let film = land(catalog, "faceless", None, AssetId::from_uuid(id())).await;
    let probe = lease(catalog, NOW, &film.probe).await;
    let (thumbs, plan) =
        (task(film.asset, film.job, Task::RenderThumbnails), task(film.asset, film.job, Task::PlanRenditions));
    let probed = Probed { media: "video", report: "{}", duration_ms: None, width: None, height: None, cost: None };
    catalog.probed(&step(NOW), &probe, &probed, &[thumbs.clone(), plan.clone()], &[]).await.unwrap();
    let held = lease(catalog, NOW, &thumbs).await;
    catalog.give_up(&step(NOW), &held, Some(&letter(&held)), &[emission(film.asset, NOW)]).await.unwrap();
    assert_eq!(outgoing(catalog, &thumbs).await.iter().filter(|row| row.target == "thumbnail-dlq").count(), 1);
    assert_eq!(asset(catalog, &film).await.state, AssetState::Processing, "it goes on without");
    let failed = catalog.failed_task(&thumbs.envelope.task, held.token).await.unwrap().unwrap();
    assert!(!failed.with_asset);
    catalog.revive(&step(NOW), &thumbs.envelope, &failed, &[]).await.unwrap();
    assert_eq!(state(catalog, &thumbs).await, TaskState::Pending);
    assert_eq!(asset(catalog, &film).await.state, AssetState::Processing);

    // Given up again; then the asset fails by another task, whose letter brings back the asset, but not this task.
    let held = lease(catalog, NOW, &thumbs).await;
    catalog.give_up(&step(NOW), &held, Some(&letter(&held)), &[]).await.unwrap();
    let broken = lease(catalog, NOW, &plan).await;
    fail(catalog, &asset(catalog, &film).await, &broken).await;
    let pictures = catalog.failed_task(&thumbs.envelope.task, held.token).await.unwrap().unwrap();
    assert!(!pictures.with_asset, "the asset did not fail by this task");
    let failed = catalog.failed_task(&plan.envelope.task, broken.token).await.unwrap().unwrap();
    catalog.revive(&step(NOW), &plan.envelope, &failed, &[]).await.unwrap();
    assert_eq!(catalog.job(&film.job).await.unwrap().unwrap().state, "queued", "it has no plan yet");
    assert_eq!(state(catalog, &thumbs).await, TaskState::Failed);
}

async fn before_anything_was_known(catalog: &Catalog) {
    let film = land(catalog, "unprobed", None, AssetId::from_uuid(id())).await;
    let probe = lease(catalog, NOW, &film.probe).await;
    fail(catalog, &asset(catalog, &film).await, &probe).await;
    let over = catalog.lease(&step(NOW), &film.probe.envelope.task, LEASE_MS).await.unwrap();
    assert!(matches!(over, Leased::Over), "a wake-up without a letter revives nothing");
    let failed = catalog.failed_task(&film.probe.envelope.task, probe.token).await.unwrap().unwrap();
    catalog.revive(&step(NOW), &film.probe.envelope, &failed, &[]).await.unwrap();
    assert_eq!(asset(catalog, &film).await.state, AssetState::Uploaded, "it is probed again");
}

async fn audited(catalog: &Catalog) {
    let entry = |id: &str, at| AuditEntry {
        id: id.into(),
        at,
        who: "ann@host".into(),
        what: "dlq.discard".into(),
        subject: "tsk_1".into(),
        detail: "{}".into(),
        tenant: (at > 1).then(|| "default".into()),
    };
    catalog.audit(&[entry("a", 1), entry("b", 2)]).await.unwrap();
    catalog.audit(&[AuditEntry { who: "eve".into(), ..entry("a", 9) }]).await.unwrap();
    assert_eq!(catalog.audit_of("tsk_1", 10).await.unwrap(), [entry("b", 2), entry("a", 1)], "never changed");
    assert_eq!(catalog.audit_of("tsk_2", 10).await.unwrap(), []);
    assert!(catalog.audit_in(Some("default"), None, None, 10).await.unwrap().contains(&entry("b", 2)));
    assert!(
        !catalog.audit_in(Some("default"), None, None, 10).await.unwrap().contains(&entry("a", 1)),
        "nobody's but operators'"
    );
    assert_eq!(catalog.audit_in(Some("default"), None, Some((2, "b")), 10).await.unwrap(), []);
    assert!(catalog.audit_in(Some("default"), Some("dlq"), None, 10).await.unwrap().contains(&entry("b", 2)));
    assert_eq!(catalog.audit_in(Some("default"), Some("dl"), None, 10).await.unwrap(), [], "a kind is a whole word");
    assert_eq!(catalog.audit_in(Some("other"), None, None, 10).await.unwrap(), []);
    assert!(catalog.audit_in(None, None, None, 100).await.unwrap().contains(&entry("a", 1)));
    assert!(!catalog.audit_in(None, None, None, 100).await.unwrap().contains(&entry("b", 2)), "a tenant's");
}
