//! Jobs that fall back to a chain, and generations that are made anew.

use reelfleet_catalog::Catalog;
use reelfleet_catalog::assets::Probed;
use reelfleet_catalog::fallback::Fallback;
use reelfleet_catalog::tasks::{Leased, NewTask};
use reelfleet_domain::{AssetState, TaskState};
use reelfleet_messages::task::{ChunkTask, Task};
use reelfleet_messages::{AssetId, JobId};

use crate::story::{LEASE_MS, Landed, NOW, emission, envelope, id, land, lease, run_of, step, task};

/// All of it.
pub async fn tell(catalog: &Catalog) {
    let film = land(catalog, "misleading", None, AssetId::from_uuid(id())).await;
    let probe = lease(catalog, NOW, &film.probe).await;
    let plan = task(film.asset, film.job, Task::PlanRenditions);
    let probed = Probed { media: "video", report: "{}", duration_ms: None, width: None, height: None, cost: None };
    catalog.probed(&step(NOW), &probe, &probed, std::slice::from_ref(&plan), &[]).await.unwrap();
    let publish = NewTask { armed: false, ..task(film.asset, film.job, Task::PublishPlaylist) };
    let chunks: Vec<NewTask> = (0..4).map(|number| chunk(&film, number)).collect();
    let planning = lease(catalog, NOW, &plan).await;
    catalog.planned(&step(NOW), &planning, "{}", 1, &publish, &chunks, &[]).await.unwrap();
    chained(catalog, &film, &publish, &chunks).await;
    anew(catalog, &film, &publish).await;
}

fn chunk(film: &Landed, chunk: u32) -> NewTask {
    let work = Task::EncodeChunk(ChunkTask {
        asset: film.asset,
        generation: 1,
        chunk,
        start_us: 0,
        end_us: None,
        cuts_us: Vec::new(),
    });
    NewTask { place: Some(("video", i64::from(chunk))), ..envelope(film.job, work) }
}

async fn chained(catalog: &Catalog, film: &Landed, publish: &NewTask, chunks: &[NewTask]) {
    let publish_id = publish.envelope.task;
    let commit = async |number: usize| {
        let lease = lease(catalog, NOW, &chunks[number]).await;
        catalog.open_attempt(&step(NOW), &lease, "out/x/").await.unwrap();
        catalog.commit_run(&step(NOW), &lease, &run_of(number as i64, 0, true), &publish_id).await.unwrap();
        lease
    };
    commit(0).await;
    let second = commit(1).await;
    let at_work = lease(catalog, NOW, &chunks[2]).await;
    // Once its garbage was swept, what the second chunk's run names is garbage too as soon as it names it no longer.
    let of = |task: &NewTask| task.envelope.task.to_string();
    for loser in catalog.losers(NOW + 1, 100).await.unwrap().iter().filter(|loser| loser.task == of(&chunks[1])) {
        catalog.swept(NOW, loser).await.unwrap();
    }
    let publisher = lease(catalog, NOW, publish).await;
    let chain = chunk(film, 1);
    let fallback = Fallback { plan: "{\"seam\":[1,0]}", keep: (0, 0), chain: &chain };
    let mut stale = publisher.clone();
    stale.token -= 1;
    assert!(catalog.fall_back(&step(NOW), &stale, &fallback).await.unwrap_err().is_conflict(), "not the publisher");
    catalog.fall_back(&step(NOW), &publisher, &fallback).await.unwrap();

    let places: Vec<(i64, i64)> =
        catalog.runs(&film.job).await.unwrap().iter().map(|run| (run.chunk, run.run)).collect();
    assert_eq!(places, [(0, 0)], "what does not fit is forgotten");
    let job = catalog.job(&film.job).await.unwrap().unwrap();
    assert_eq!((job.remaining, job.plan.as_deref()), (1, Some(fallback.plan)));
    let late = catalog.commit_run(&step(NOW), &at_work, &run_of(2, 0, true), &publish_id).await;
    assert!(late.unwrap_err().is_conflict(), "whoever was at work on a chunk commits nothing");
    assert!(!catalog.extend(NOW, &at_work, LEASE_MS).await.unwrap());
    for over in [&chunks[2], &chunks[3]] {
        assert!(matches!(catalog.lease(&step(NOW), &over.envelope.task, LEASE_MS).await.unwrap(), Leased::Over));
    }
    let losers = catalog.losers(NOW + 1, 100).await.unwrap();
    assert!(losers.iter().any(|loser| loser.task == of(&chunks[1]) && loser.token == second.token), "swept again");
    assert_eq!(catalog.keys_of_attempt(&of(&chunks[1]), second.token).await.unwrap(), Vec::<String>::new());
    assert!(
        catalog
            .own_outgoing("storyteller", 1_000)
            .await
            .unwrap()
            .iter()
            .any(|row| row.body == chain.envelope.to_json())
    );

    let chain = lease(catalog, NOW, &chain).await;
    catalog.commit_run(&step(NOW), &chain, &run_of(1, 0, false), &publish_id).await.unwrap();
    assert_eq!(catalog.job(&film.job).await.unwrap().unwrap().remaining, 1);
    catalog.release(&step(NOW), &publisher, NOW).await.unwrap();
}

async fn anew(catalog: &Catalog, film: &Landed, publish: &NewTask) {
    catalog.playable(&step(NOW), &film.asset, 1, &[emission(film.asset, NOW)]).await.unwrap();
    let publisher = lease(catalog, NOW, publish).await;
    let job = JobId::from_uuid(id());
    let next = [task(film.asset, job, Task::PlanRenditions), task(film.asset, job, Task::RenderThumbnails)];
    let facts = [emission(film.asset, NOW)];
    let again = step(NOW);
    catalog.regenerate(&again, &publisher, &job, 2, &next, &facts).await.unwrap();
    assert!(catalog.regenerate(&step(NOW), &publisher, &job, 3, &next, &[]).await.unwrap_err().is_conflict(), "once");
    let asset = catalog.asset(&film.asset).await.unwrap().unwrap();
    assert_eq!((asset.state, asset.generation, asset.playable_at), (AssetState::Processing, 2, None));
    let stale = catalog.playable(&step(NOW), &film.asset, 1, &[]).await;
    assert!(stale.unwrap_err().is_conflict(), "nobody says it of the old one");
    assert_eq!(catalog.job(&film.job).await.unwrap().unwrap().state, "cancelled");
    let (new, state, _) = catalog.job_of(&film.asset).await.unwrap().unwrap();
    assert_eq!((new, state.as_str()), (job, "queued"));
    let standing = catalog.standing(&publish.envelope.task).await.unwrap().unwrap();
    assert_eq!(standing.state, TaskState::Done);
    let planning = lease(catalog, NOW, &next[0]).await;
    catalog.release(&step(NOW), &planning, NOW).await.unwrap();
    catalog.playable(&step(NOW), &film.asset, 2, &[]).await.unwrap();
}
