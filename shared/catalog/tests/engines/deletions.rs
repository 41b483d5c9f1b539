//! Assets that are deleted: marked, restored, purged.

use reelfleet_catalog::Catalog;
use reelfleet_catalog::assets::{Asset, Listing, Order};
use reelfleet_catalog::tasks::Leased;
use reelfleet_domain::AssetState;
use reelfleet_messages::AssetId;

use crate::story::{LEASE_MS, Landed, NOW, emission, id, land, lease, step};

const GRACE: i64 = 60_000;

async fn asset(catalog: &Catalog, landed: &Landed) -> Asset {
    catalog.asset(&landed.asset).await.unwrap().unwrap()
}

/// All of it.
pub async fn tell(catalog: &Catalog) {
    let film = land(catalog, "unloved", None, AssetId::from_uuid(id())).await;
    let attempt = lease(catalog, NOW, &film.probe).await;
    let before = asset(catalog, &film).await;
    let facts = [emission(film.asset, NOW)];
    catalog.mark_deleted(&step(NOW), &before, "ann", NOW + GRACE, &facts).await.unwrap();
    assert!(catalog.mark_deleted(&step(NOW), &before, "ann", NOW, &[]).await.unwrap_err().is_conflict(), "marked once");
    assert!(
        catalog.retry(&step(NOW), &attempt, NOW, "late", None).await.unwrap_err().is_conflict(),
        "whoever was at work commits nothing"
    );
    let marked = asset(catalog, &film).await;
    assert_eq!(marked.state, AssetState::Deleting);
    let all = Listing {
        tenant: "default",
        owner: None,
        order: Order::Newest,
        before: None,
        state: None,
        text: None,
        limit: 100,
    };
    assert!(!catalog.assets(all).await.unwrap().iter().any(|a| a.id == film.asset), "unlisted");
    let trash = catalog.assets(Listing { state: Some(AssetState::Deleting), ..all }).await.unwrap();
    assert!(trash.iter().any(|a| a.id == film.asset));

    restored(catalog, &film, &marked).await;
    purged(catalog, &film).await;
}

async fn restored(catalog: &Catalog, film: &Landed, marked: &Asset) {
    let deletion = catalog.deletion(&film.asset).await.unwrap().unwrap();
    assert_eq!((deletion.state_before, deletion.requested_by.as_str()), (AssetState::Uploaded, "ann"));
    let too_late = catalog.restore(&step(NOW + GRACE), marked, &deletion, &[]).await;
    assert!(too_late.unwrap_err().is_conflict(), "its time is over");
    assert_eq!(asset(catalog, film).await.state, AssetState::Deleting, "all or nothing");
    catalog.restore(&step(NOW), marked, &deletion, &[emission(film.asset, NOW)]).await.unwrap();
    assert!(catalog.restore(&step(NOW), marked, &deletion, &[]).await.unwrap_err().is_conflict(), "restored once");
    assert_eq!(catalog.deletion(&film.asset).await.unwrap(), None);
    assert_eq!(asset(catalog, film).await.state, AssetState::Uploaded);
    let again = lease(catalog, NOW, &film.probe).await;
    catalog.release(&step(NOW), &again, NOW).await.unwrap();
}

async fn purged(catalog: &Catalog, film: &Landed) {
    assert!(!catalog.purge_now(NOW, &film.asset).await.unwrap(), "nothing is marked");
    let live = asset(catalog, film).await;
    lease(catalog, NOW, &film.probe).await;
    catalog.mark_deleted(&step(NOW), &live, "ann", NOW + GRACE, &[]).await.unwrap();
    let due = async |now, again| {
        let due = catalog.due_deletions(now, again, 10).await.unwrap();
        due.into_iter().filter(|deletion| deletion.asset == film.asset).count()
    };
    assert_eq!(due(NOW, NOW).await, 0);
    assert!(!catalog.begin_purge(NOW, &film.asset).await.unwrap(), "not yet");
    assert!(catalog.purge_now(NOW, &film.asset).await.unwrap());
    assert_eq!(due(NOW, 0).await, 1);
    assert!(catalog.begin_purge(NOW, &film.asset).await.unwrap());
    assert!(catalog.begin_purge(NOW + 1, &film.asset).await.unwrap(), "harmless to repeat");
    let deletion = catalog.deletion(&film.asset).await.unwrap().unwrap();
    let marked = asset(catalog, film).await;
    assert!(catalog.restore(&step(NOW - 1), &marked, &deletion, &[]).await.unwrap_err().is_conflict(), "it has begun");
    catalog.purge_swept(NOW, &film.asset, "{\"sweeps\":1}").await.unwrap();
    let over = NOW + LEASE_MS + reelfleet_domain::retry::TAKEOVER_GRACE_MS;
    assert_eq!(due(over + 1, NOW).await, 0, "the second sweep waits");
    assert_eq!(due(over, NOW + 1).await, 0, "whoever was at work may write until its lease is over");
    assert_eq!(due(over + 1, NOW + 1).await, 1);
    catalog.deleted(&step(NOW), &marked, "{\"sweeps\":2}", &[emission(film.asset, NOW)]).await.unwrap();
    assert_eq!(due(over + 1, NOW + 1).await, 0);
    let tomb = asset(catalog, film).await;
    assert_eq!(tomb.state, AssetState::Deleted);
    let proof = catalog.deletion(&film.asset).await.unwrap().unwrap().proof;
    assert_eq!(proof.as_deref(), Some("{\"sweeps\":2}"));
    let late = catalog.lease(&step(NOW), &film.probe.envelope.task, LEASE_MS).await.unwrap();
    assert!(matches!(late, Leased::Over), "a late message finds nothing to do");
}
