//! What operators look at.

use reelfleet_catalog::Catalog;
use reelfleet_messages::AssetId;

use crate::story::{LEASE_MS, NOW, id, land, step};

/// All of it.
pub async fn tell(catalog: &Catalog) {
    let landed = land(catalog, "in/figures_100%", None, AssetId::from_uuid(id())).await;
    let (asset, task) = (landed.asset.to_string(), landed.probe.envelope.task);
    let probe = async |now: i64| {
        let queues = catalog.queue_figures(now).await.unwrap();
        queues.into_iter().find(|figures| figures.queue == "probe").unwrap()
    };
    let later = NOW + 1_000;
    let before = probe(later).await;
    assert!(
        before.waiting >= 1 && before.oldest_at.is_some_and(|at| at <= later) && before.seconds > 0.0,
        "{before:?}"
    );
    let leased = catalog.lease(&step(later), &task, LEASE_MS).await.unwrap();
    let after = probe(later).await;
    assert_eq!((after.waiting, after.running), (before.waiting - 1, before.running + 1), "{leased:?}");
    let silent = probe(later + LEASE_MS + 1).await;
    assert!(silent.waiting > after.waiting, "whose holder fell silent waits: {silent:?}");

    let at_work = catalog.at_work(later, 1_000).await.unwrap();
    let line = at_work.iter().find(|line| line.task == task.to_string()).unwrap();
    assert_eq!((line.instance.as_str(), line.kind.as_str(), &line.asset), ("storyteller", "probe_source", &asset));
    assert_eq!((line.attempts, line.lease_until), (1, later + LEASE_MS));
    assert!(
        catalog.at_work(later + LEASE_MS + 1, 1_000).await.unwrap().iter().all(|line| line.task != task.to_string())
    );

    let jobs = catalog.job_lines("", &asset, None, 10).await.unwrap();
    assert_eq!((jobs.len(), jobs[0].id, jobs[0].state.as_str()), (1, landed.job, "queued"));
    assert!(catalog.job_lines("failed", &asset, None, 10).await.unwrap().is_empty());
    assert!(catalog.job_lines("", &asset, Some(&landed.job), 10).await.unwrap().is_empty(), "a page ends before it");
    let name = &jobs[0].name;
    assert!(!catalog.job_lines("queued", &name.to_lowercase(), None, 100).await.unwrap().is_empty(), "{name}");
    assert!(catalog.job_lines("", "figuresx100", None, 10).await.unwrap().is_empty(), "no wildcard");

    let lines = catalog.task_lines(&landed.asset).await.unwrap();
    let line = lines.iter().find(|line| line.task == task.to_string()).unwrap();
    assert_eq!((line.state.as_str(), line.attempts, line.instance.as_deref()), ("leased", 1, Some("storyteller")));
}
