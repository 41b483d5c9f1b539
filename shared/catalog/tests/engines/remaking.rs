//! What is ready is made anew beside itself; campaigns do that to many, each once.

use reelfleet_catalog::Catalog;
use reelfleet_catalog::assets::Probed;
use reelfleet_catalog::audit::AuditEntry;
use reelfleet_catalog::campaigns::{Campaign, CampaignProgress};
use reelfleet_catalog::invariants::Rule;
use reelfleet_catalog::pictures::Picture;
use reelfleet_catalog::publishing::Rendition;
use reelfleet_catalog::remake::Remake;
use reelfleet_catalog::tasks::NewTask;
use reelfleet_domain::AssetState;
use reelfleet_messages::task::{AssetTask, ChunkTask, Task};
use reelfleet_messages::{AssetId, JobId};

use crate::story::{Landed, NOW, emission, envelope, id, lease, run_of, step};

fn deed(what: &str) -> AuditEntry {
    AuditEntry {
        id: id().to_string(),
        at: NOW,
        who: "ann".into(),
        what: what.into(),
        subject: "again".into(),
        detail: "{}".into(),
        tenant: None,
    }
}

/// Of the story's film, which is ready.
pub async fn tell(catalog: &Catalog, film: &Landed) {
    let job = begun(catalog, film).await;
    made(catalog, film, job).await;
    again(catalog, film).await;
    campaign(catalog, film).await;
}

fn first(film: &Landed, job: JobId, generation: i64) -> NewTask {
    let target = AssetTask { asset: film.asset, generation: generation as u32 };
    NewTask { backfill: true, ..envelope(job, Task::PlanRenditions(target)) }
}

async fn generation(catalog: &Catalog, film: &Landed) -> i64 {
    let asset = catalog.asset(&film.asset).await.unwrap().unwrap();
    assert_eq!(asset.state, AssetState::Ready, "it is never taken away");
    asset.generation
}

async fn begun(catalog: &Catalog, film: &Landed) -> JobId {
    assert_eq!(catalog.next_generation(&film.asset).await.unwrap(), 2);
    assert_eq!(catalog.present_job(&film.asset).await.unwrap(), Some(film.job));
    assert_eq!(catalog.trace_of(&film.asset).await.unwrap(), film.probe.envelope.traceparent);
    assert_eq!(catalog.trace_of(&AssetId::from_uuid(id())).await.unwrap(), None);
    assert_eq!(catalog.present_plan(&film.asset).await.unwrap().as_deref(), Some("{}"));
    assert_eq!(catalog.plan_of(&film.asset, 1).await.unwrap().as_deref(), Some("{}"));
    assert_eq!(catalog.plan_of(&film.asset, 9).await.unwrap(), None);
    // One that comes to nothing: its only task was given up.
    let lost = JobId::from_uuid(id());
    let task = first(film, lost, 2);
    let remake = Remake { asset: film.asset, job: lost, generation: 2, first: &task };
    catalog.remake(&step(NOW), &remake, Vec::new(), &[emission(film.asset, NOW)]).await.unwrap();
    let rival = Remake { job: JobId::from_uuid(id()), generation: 3, ..remake };
    let refused = catalog.remake(&step(NOW), &rival, Vec::new(), &[]).await;
    assert!(refused.unwrap_err().is_conflict(), "one at a time");
    let leased = lease(catalog, NOW, &task).await;
    assert_eq!(leased.queue, "backfill");
    catalog.give_up(&step(NOW), &leased, None, &[]).await.unwrap();

    assert_eq!(catalog.next_generation(&film.asset).await.unwrap(), 3);
    let job = JobId::from_uuid(id());
    let task = first(film, job, 3);
    let remake = Remake { asset: film.asset, job, generation: 3, first: &task };
    catalog.remake(&step(NOW), &remake, Vec::new(), &[]).await.unwrap();
    assert_eq!(catalog.job(&lost).await.unwrap().unwrap().state, "cancelled");
    let broken = catalog.broken(NOW, 1_000).await.unwrap();
    let of_job = |rule| broken.iter().any(|one| one.rule == rule && one.subject == job.to_string());
    assert!(!of_job(Rule::JobEndsWithAsset), "a newer generation may be made beside what is ready");
    job
}

async fn made(catalog: &Catalog, film: &Landed, job: JobId) {
    let planning = lease(catalog, NOW, &first_of(catalog, job).await).await;
    let target = AssetTask { asset: film.asset, generation: 3 };
    let publish = NewTask { armed: false, backfill: true, ..envelope(job, Task::PublishPlaylist(target)) };
    let work = Task::EncodeChunk(ChunkTask {
        asset: film.asset,
        generation: 3,
        chunk: 0,
        start_us: 0,
        end_us: None,
        cuts_us: Vec::new(),
    });
    let chunk = NewTask { place: Some(("video", 0)), backfill: true, ..envelope(job, work) };
    let chunks = std::slice::from_ref(&chunk);
    catalog.planned(&step(NOW), &planning, "{\"new\":1}", 1, &publish, chunks, &[]).await.unwrap();
    let leased = lease(catalog, NOW, &chunk).await;
    // A continuation stays among the campaign's.
    catalog.continue_later(&step(NOW), &leased).await.unwrap();
    let leased = lease(catalog, NOW, &chunk).await;
    assert_eq!(leased.queue, "backfill");
    catalog.commit_run(&step(NOW), &leased, &run_of(0, 0, true), &publish.envelope.task).await.unwrap();
    let publisher = lease(catalog, NOW, &publish).await;
    assert_eq!((publisher.queue.as_str(), generation(catalog, film).await), ("backfill", 1));
    let rendition = Rendition {
        name: "1080p".into(),
        codecs: "c".into(),
        size: Some((1920, 1080)),
        bandwidth: 1,
        frames: 2,
        bytes: 3,
    };
    let picture = Picture {
        name: "poster.jpg".into(),
        kind: "poster".into(),
        format: "jpeg".into(),
        width: 1,
        height: 2,
        bytes: 3,
    };
    let (renditions, pictures) = ([rendition], [picture.clone()]);
    let mut stale = publisher.clone();
    stale.token -= 1;
    assert!(catalog.remade(&step(NOW), &stale, 3, &renditions, &pictures, &[]).await.unwrap_err().is_conflict());
    catalog.remade(&step(NOW), &publisher, 3, &renditions, &pictures, &[emission(film.asset, NOW)]).await.unwrap();
    assert_eq!(generation(catalog, film).await, 3);
    assert_eq!(catalog.renditions(&film.asset, 3).await.unwrap().len(), 1);
    assert_eq!(catalog.renditions(&film.asset, 1).await.unwrap().len(), 2, "the earlier one is still played by some");
    assert_eq!(catalog.pictures(&film.asset, 3).await.unwrap(), [picture]);
    assert_eq!(catalog.job(&job).await.unwrap().unwrap().state, "succeeded");
    assert_eq!(catalog.present_job(&film.asset).await.unwrap(), Some(job));
}

/// The only task of a job.
async fn first_of(catalog: &Catalog, job: JobId) -> NewTask {
    let sql = "SELECT body FROM task WHERE job_id = :job";
    let rows = catalog.read(reelfleet_catalog::Statement::new(sql).text("job", job.to_string())).await.unwrap();
    let envelope = serde_json::from_str(&rows[0].text(0).unwrap()).unwrap();
    NewTask { envelope, place: None, armed: true, backfill: true }
}

/// Single steps of the present generation.
async fn again(catalog: &Catalog, film: &Landed) {
    let job = catalog.present_job(&film.asset).await.unwrap().unwrap();
    let pictures = |generation| {
        let target = AssetTask { asset: film.asset, generation };
        envelope(job, Task::RenderThumbnails(target))
    };
    let outdated = catalog.add_task(&step(NOW), &film.asset, &pictures(1)).await;
    assert!(outdated.unwrap_err().is_conflict(), "of the present generation only");
    let task = pictures(3);
    catalog.add_task(&step(NOW), &film.asset, &task).await.unwrap();
    let leased = lease(catalog, NOW, &task).await;
    catalog.pictured(&step(NOW), &leased, &[], false, &[]).await.unwrap();
    let version = catalog.asset(&film.asset).await.unwrap().unwrap().version;
    catalog.described(&film.asset, version).await.unwrap();
    assert!(catalog.describe_again(NOW, &film.asset).await.unwrap());
    assert!(catalog.undescribed(1_000).await.unwrap().contains(&film.asset));
    assert_eq!(catalog.ended_by(&film.asset).await.unwrap(), None, "it has not failed");

    // Another look: what it found replaces what was known, and the asset stays ready.
    let look = envelope(job, Task::ProbeSource(AssetTask { asset: film.asset, generation: 3 }));
    catalog.add_task(&step(NOW), &film.asset, &look).await.unwrap();
    let (leased, next) = (lease(catalog, NOW, &look).await, pictures(3));
    let found = Probed {
        media: "video",
        report: "{\"again\":1}",
        duration_ms: Some(7),
        width: Some(8),
        height: Some(9),
        cost: None,
    };
    catalog.probed_again(&step(NOW), &leased, &found, &next).await.unwrap();
    assert!(catalog.probed_again(&step(NOW), &leased, &found, &next).await.unwrap_err().is_conflict(), "once");
    let asset = catalog.asset(&film.asset).await.unwrap().unwrap();
    assert_eq!((asset.state, asset.probe.as_deref(), asset.generation), (AssetState::Ready, Some(found.report), 3));
    let leased = lease(catalog, NOW, &next).await;
    catalog.pictured(&step(NOW), &leased, &[], false, &[]).await.unwrap();
}

async fn campaign(catalog: &Catalog, film: &Landed) {
    let named = |name: &str, tenant: Option<&str>| Campaign {
        name: name.into(),
        tenant: tenant.map(str::to_owned),
        before: NOW + 1,
        parallel: 2,
        state: "running".into(),
        cursor: String::new(),
        handed: 0,
        skipped: 0,
        by: "ann".into(),
        at: NOW,
    };
    let begun = named("again", None);
    assert!(catalog.begin_campaign(&begun, deed("backfill.start")).await.unwrap());
    let rival = Campaign { by: "bob".into(), ..begun.clone() };
    assert!(!catalog.begin_campaign(&rival, deed("backfill.start")).await.unwrap(), "one of a name");
    assert_eq!(catalog.campaigns().await.unwrap(), std::slice::from_ref(&begun));
    let none = CampaignProgress { to_come: 0, under_way: 0, made: 0, failed: 0 };
    let of_nobody = named("nobody's", Some("nobody"));
    assert_eq!(catalog.campaign_progress(&of_nobody).await.unwrap(), none);
    let too_old = Campaign { before: NOW, ..begun.clone() };
    assert_eq!(catalog.campaign_next(&too_old).await.unwrap(), None, "nothing landed before");

    // Through whatever else is ready, to the film.
    let mut now = begun.clone();
    loop {
        let next = catalog.campaign_next(&now).await.unwrap().unwrap();
        if next.asset == film.asset {
            break;
        }
        catalog.pass_over(&step(NOW), &now, &next.asset).await.unwrap();
        now = catalog.campaigns().await.unwrap().remove(0);
    }
    let left = catalog.campaign_progress(&now).await.unwrap();
    assert!(left.to_come >= 1 && left.under_way == 0, "{left:?}");
    let (job, generation) = (JobId::from_uuid(id()), catalog.next_generation(&film.asset).await.unwrap());
    let task = first(film, job, generation);
    let remake = Remake { asset: film.asset, job, generation, first: &task };
    // Paused, it hands out nothing.
    assert!(catalog.turn_campaign(NOW, "again", "paused", deed("backfill.pause")).await.unwrap());
    assert!(catalog.hand_out(&step(NOW), &now, &remake, &[]).await.unwrap_err().is_conflict());
    assert!(catalog.turn_campaign(NOW, "again", "running", deed("backfill.resume")).await.unwrap());
    catalog.hand_out(&step(NOW), &now, &remake, &[]).await.unwrap();
    assert!(catalog.hand_out(&step(NOW), &now, &remake, &[]).await.unwrap_err().is_conflict(), "once");
    assert_eq!(catalog.campaign_jobs("again").await.unwrap(), [job]);
    let after = catalog.campaigns().await.unwrap().remove(0);
    assert_eq!((after.handed, after.cursor.clone()), (1, film.asset.to_string()));
    assert_eq!(catalog.campaign_progress(&after).await.unwrap().under_way, 1);
    let leased = lease(catalog, NOW, &task).await;
    catalog.give_up(&step(NOW), &leased, None, &[]).await.unwrap();
    assert_eq!(catalog.campaign_progress(&after).await.unwrap().failed, 1);
    catalog.end_campaign(NOW, &now).await.unwrap();
    assert_eq!(catalog.campaigns().await.unwrap()[0].state, "running", "it has gone on since");
    catalog.end_campaign(NOW, &after).await.unwrap();
    assert_eq!(catalog.campaigns().await.unwrap()[0].state, "done");
    assert!(!catalog.turn_campaign(NOW, "again", "paused", deed("backfill.pause")).await.unwrap(), "it is over");
}
