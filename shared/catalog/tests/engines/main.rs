//! Every statement of the catalog on SQLite and on PostgreSQL, through the Data API of the embedded endpoint.
//!
//! The same story is told to both engines; it calls each function of the catalog and checks what others then see.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod accounts;
mod approvals;
mod auditing;
mod deletions;
mod detailing;
mod endpoint;
mod exports;
mod fallbacks;
mod figures;
mod identities;
mod leasing;
mod letters;
mod listing;
mod mails;
mod noticing;
mod outgoing;
#[path = "../../../../tests/src/postgres.rs"]
mod postgres;
mod prices;
mod remaking;
mod scaling;
mod storm;
mod story;
mod upgrades;
mod usage;
mod webhooks;

use endpoint::Endpoint;
use postgres::Postgres;

#[tokio::test(flavor = "multi_thread")]
async fn the_story_on_sqlite() {
    let endpoint = Endpoint::start(None).await;
    story::tell(&endpoint).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_on_postgresql() {
    let cluster = Postgres::start();
    let endpoint = Endpoint::start(Some(&cluster.url)).await;
    story::tell(&endpoint).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_processes_keep_the_invariants() {
    let endpoint = Endpoint::faulty(storm::FAULTS).await;
    let catalog = endpoint.catalog();
    catalog.migrate(story::NOW).await.unwrap();
    for seed in 1..=6 {
        storm::blow(&catalog, seed).await;
    }
}
