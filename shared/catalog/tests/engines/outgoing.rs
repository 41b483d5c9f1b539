//! What leaves the catalog: positions of streams, and the outbox.

use std::collections::BTreeSet;

use reelfleet_catalog::events::user_stream;
use reelfleet_catalog::{Catalog, Step};
use reelfleet_messages::AssetId;

use crate::story::{NOW, id, land, step};

/// Transactions that run into one another still number their events without gap or repetition.
pub async fn positions(catalog: &Catalog) {
    let (before, _) = catalog.stream_bounds("ops").await.unwrap();
    let landings = (0..8).map(|number| {
        let catalog = catalog.clone();
        tokio::spawn(async move { land(&catalog, &format!("many/{number}"), None, AssetId::from_uuid(id())).await })
    });
    for landing in landings.collect::<Vec<_>>() {
        landing.await.unwrap();
    }
    let logged = catalog.events_since("ops", before, 100).await.unwrap();
    let positions: Vec<i64> = logged.iter().map(|event| event.position).collect();
    assert_eq!(positions, (before + 1..=before + 8).collect::<Vec<_>>());
    let backwards = catalog.events_before("ops", Some(before + 8), 3).await.unwrap();
    let positions: Vec<i64> = backwards.iter().map(|event| event.position).collect();
    assert_eq!(positions, [before + 7, before + 6, before + 5], "the latest first");
    assert_eq!(catalog.events_before("ops", None, 1).await.unwrap()[0], logged[7]);
    let bodies: BTreeSet<&String> = logged.iter().map(|event| &event.body).collect();
    assert_eq!(bodies.len(), 8);
    assert_eq!(catalog.stream_bounds("nothing").await.unwrap(), (0, 1));
    let own = user_stream("default", "ann");
    let kept = catalog.stream_bounds(&own).await.unwrap();
    assert!(kept.0 >= kept.1, "there is something to keep: {kept:?}");
    assert!(catalog.trim_events(NOW + 1, 0).await.unwrap() > 0);
    let (head, oldest) = catalog.stream_bounds("ops").await.unwrap();
    assert_eq!((head, oldest), (before + 8, before + 9), "positions go on after a trim");
    assert_eq!(catalog.stream_bounds(&own).await.unwrap(), kept, "what people read of their own is kept longer");
    assert!(catalog.trim_events(NOW + 1, NOW + 1).await.unwrap() > 0);
    assert_eq!(catalog.stream_bounds(&own).await.unwrap(), (kept.0, kept.0 + 1));
    read_up_to(catalog, &own, kept.0).await;
}

/// How far somebody has read only grows, and not past what there is.
async fn read_up_to(catalog: &Catalog, own: &str, head: i64) {
    assert_eq!(catalog.seen(own).await.unwrap(), 0);
    for (position, seen) in [(1, 1), (head, head), (1, head), (head + 1, head), (i64::MAX, head)] {
        catalog.see(own, position).await.unwrap();
        assert_eq!(catalog.seen(own).await.unwrap(), seen, "{position}");
    }
    catalog.see("user:default/nobody", 5).await.unwrap();
    assert_eq!(catalog.seen("user:default/nobody").await.unwrap(), 0, "there is nothing to read");
}

pub async fn outbox(catalog: &Catalog) {
    let mut seen = BTreeSet::new();
    loop {
        let rows = catalog.own_outgoing("storyteller", 50).await.unwrap();
        if rows.is_empty() {
            break;
        }
        assert!(rows.iter().all(|row| seen.insert(row.id.clone())), "none twice");
        let ids: Vec<String> = rows.into_iter().map(|row| row.id).collect();
        catalog.sent(&ids).await.unwrap();
    }
    assert!(seen.len() > 20);
    land(catalog, "left", None, AssetId::from_uuid(id())).await;
    let taker = |now| Step { instance: "taker".into(), ..step(now) };
    assert!(catalog.claim_leftovers(&taker(NOW + 4_000), 50).await.unwrap().is_empty(), "their writer still has time");
    let taken = catalog.claim_leftovers(&taker(NOW + 6_000), 50).await.unwrap();
    assert_eq!(taken.len(), 2);
    assert!(catalog.outbox_holders().await.unwrap().contains(&("taker".to_owned(), 2)));
    assert!(catalog.claim_leftovers(&taker(NOW + 6_000), 50).await.unwrap().is_empty(), "taken");
    let ids: Vec<String> = taken.iter().map(|row| row.id.clone()).collect();
    catalog.put_off(NOW + 8_000, &ids).await.unwrap();
    assert!(catalog.own_outgoing("taker", 50).await.unwrap().is_empty(), "let go");
    assert!(catalog.claim_leftovers(&taker(NOW + 8_000), 50).await.unwrap().is_empty(), "they rest");
    assert_eq!(catalog.claim_leftovers(&taker(NOW + 8_001), 50).await.unwrap().len(), 2);
}
