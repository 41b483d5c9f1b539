//! A database of the first release, with what a fleet of that release left in it, under the code of this one.

use reelfleet_domain::AssetState;

use crate::endpoint::Endpoint;
use crate::postgres::Postgres;
use crate::story::NOW;

/// What stood in the rows after an upload that became ready and another that was never sent.
const ROWS: &str = include_str!("../../../../tests/upgrade/V0001.sql");

async fn upgraded(endpoint: &Endpoint) {
    let catalog = endpoint.catalog();
    assert_eq!(catalog.migrate_to(NOW, 1).await.unwrap(), 1);
    for statement in ROWS.split(";\n").filter(|statement| statement.contains("INSERT ")) {
        endpoint.execute(statement).await;
    }
    catalog.migrate(NOW).await.unwrap();
    assert_eq!(catalog.migrate(NOW).await.unwrap(), 0, "what is there is not run again");
    catalog.check_schema().await.unwrap();

    assert_eq!(catalog.asset_counts().await.unwrap(), [("ready".to_owned(), 1)]);
    let desired = catalog.desired().await.unwrap();
    assert_eq!(
        (desired[0].pool.as_str(), desired[0].workers, desired[0].by.as_str()),
        ("transcoder", Some(2), "ann@box")
    );
    assert_eq!(catalog.paused().await.unwrap()[0].queue, "backfill");
    let audit = catalog.audit_in(None, None, None, 10).await.unwrap();
    assert!(audit.iter().any(|entry| entry.what == "scale" && entry.subject == "transcoder"), "{audit:?}");
    assert!(!catalog.speeds().await.unwrap().is_empty(), "what was measured is not measured again");
    let id = ROWS.split('\'').find(|text| text.starts_with("ast_")).unwrap().parse().unwrap();
    let asset = catalog.asset(&id).await.unwrap().unwrap();
    assert_eq!((asset.state, asset.name.as_str(), asset.tenant.as_str()), (AssetState::Ready, "film.mp4", "default"));
    let cost = catalog.cost_of(&id).await.unwrap().unwrap();
    assert!(cost.used.cpu_ms > 0 && cost.estimate.is_some(), "{cost:?}");
    assert_eq!(catalog.standing_of("default", 0).await.unwrap().budget, Some(5_000_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_first_release_left_on_sqlite_is_migrated_and_read() {
    upgraded(&Endpoint::start(None).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_first_release_left_on_postgresql_is_migrated_and_read() {
    let cluster = Postgres::start();
    upgraded(&Endpoint::start(Some(&cluster.url)).await).await;
}
