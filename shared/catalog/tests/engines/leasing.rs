//! A task on its way from lease to lease: given back, waited with, taken over, fenced.

use std::time::Duration;

use reelfleet_catalog::Catalog;
use reelfleet_catalog::tasks::Leased;
use reelfleet_messages::TaskId;

use crate::story::{LEASE_MS, Landed, NOW, id, lease, step};

pub async fn leases(catalog: &Catalog, film: &Landed) {
    let task = &film.probe;
    let first = lease(catalog, NOW, task).await;
    assert_eq!((first.token, first.attempts), (1, 1));
    assert!(
        matches!(catalog.lease(&step(NOW), &task.envelope.task, LEASE_MS).await.unwrap(), Leased::Later(_)),
        "held by another"
    );
    assert!(catalog.extend(NOW, &first, LEASE_MS).await.unwrap());
    catalog.retry(&step(NOW), &first, NOW + 50, "it broke", Some("signal SIGSEGV")).await.unwrap();
    assert!(!catalog.extend(NOW, &first, LEASE_MS).await.unwrap(), "given back");
    assert!(matches!(catalog.lease(&step(NOW), &task.envelope.task, LEASE_MS).await.unwrap(), Leased::Later(50)));
    let second = lease(catalog, NOW + 50, task).await;
    assert_eq!((second.token, second.attempts, second.crashes), (2, 2, 1));
    catalog.release(&step(NOW), &second, NOW).await.unwrap();
    let third = lease(catalog, NOW, task).await;
    assert_eq!((third.token, third.attempts), (3, 2), "a release charges nothing");
    let late = lease(catalog, NOW + 200_000, task).await;
    assert_eq!(late.token, 4, "taken over after its end and the grace");
    assert!(catalog.retry(&step(NOW), &third, NOW, "late", None).await.unwrap_err().is_conflict(), "fenced");
    catalog.continue_later(&step(NOW), &late).await.unwrap();
    let dropped = lease(catalog, NOW, task).await;
    // A caller that goes away in the middle leaves no transaction open for others to wait for.
    let _ = tokio::time::timeout(Duration::from_millis(3), catalog.continue_later(&step(NOW), &dropped)).await;
    let again = async {
        loop {
            // What was begun may not have been committed yet.
            if let Leased::Mine(lease) = catalog.lease(&step(NOW), &task.envelope.task, LEASE_MS).await.unwrap() {
                return *lease;
            }
            tokio::task::yield_now().await;
        }
    };
    let again = tokio::time::timeout(Duration::from_secs(5), again).await;
    let again = again.expect("nobody waits for a caller that is gone");
    assert_eq!(again.token, 6, "what was begun is carried through");
    let due = NOW + 5_000;
    catalog.wait(&step(NOW), &again, due).await.unwrap();
    assert!(matches!(catalog.lease(&step(NOW), &task.envelope.task, LEASE_MS).await.unwrap(), Leased::Later(5_000)));
    let waking = catalog.own_outgoing("storyteller", 1_000).await.unwrap();
    assert!(waking.iter().any(|row| row.id.ends_with(&task.envelope.task.to_string())), "{waking:?}");
    assert!(catalog.wait(&step(NOW), &again, due).await.unwrap_err().is_conflict(), "once");
    let waited = lease(catalog, due, task).await;
    assert_eq!(waited.attempts, again.attempts, "waiting is charged to nobody");
    catalog.release(&step(due), &waited, NOW).await.unwrap();
    assert!(
        matches!(catalog.lease(&step(NOW), &TaskId::from_uuid(id()), LEASE_MS).await.unwrap(), Leased::Over),
        "never was"
    );
}
