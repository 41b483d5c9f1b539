//! What jobs cost, budgets, and what waits for one.

use reelfleet_catalog::Catalog;
use reelfleet_catalog::assets::Probed;
use reelfleet_catalog::audit::AuditEntry;
use reelfleet_catalog::budgets::Standing;
use reelfleet_catalog::costs::{Cost, Started, Used};
use reelfleet_catalog::tasks::NewTask;
use reelfleet_domain::AssetState;
use reelfleet_domain::price_budget::day;
use reelfleet_domain::price_work::{Amounts, Kind, Model};
use reelfleet_messages::AssetId;
use reelfleet_messages::task::Task;

use crate::story::{Landed, NOW, emission, id, land, lease, step, task};

const TODAY: i64 = NOW / 86_400_000;

fn noted() -> AuditEntry {
    AuditEntry {
        id: id().to_string(),
        at: NOW,
        who: "bob".into(),
        what: "budget".into(),
        subject: "default".into(),
        detail: "{}".into(),
        tenant: None,
    }
}

fn used(cpu_ms: u64) -> Used {
    let amounts = Amounts { cpu_ms, output_bytes: 5, puts: 2, gets: 3, tasks: 1, ..Amounts::default() };
    Used { kind: Some(Kind::Pictures), model: Model { cpu_ms: 200, bytes: 10, ..Model::default() }, amounts }
}

struct Probing {
    film: Landed,
    thumbs: NewTask,
    fits: bool,
}

/// Lands and is probed: at once in work, or parked.
async fn probed(catalog: &Catalog, key: &str, micros: u64, start: Started) -> Probing {
    let film = land(catalog, key, None, AssetId::from_uuid(id())).await;
    let probe = lease(catalog, NOW, &film.probe).await;
    let cost = Cost { estimate: "{\"is\":1}".into(), micros, start };
    let probed =
        Probed { media: "video", report: "{}", duration_ms: None, width: None, height: None, cost: Some(&cost) };
    let next = task(film.asset, film.job, Task::RenderThumbnails);
    let lease = probe.having_used(Used { kind: None, ..used(40) });
    let facts = [emission(film.asset, NOW)];
    let fits = catalog.probed(&step(NOW), &lease, &probed, std::slice::from_ref(&next), &facts).await;
    Probing { film, thumbs: next, fits: fits.is_ok() }
}

async fn state(catalog: &Catalog, film: &Landed) -> AssetState {
    catalog.asset(&film.asset).await.unwrap().unwrap().state
}

/// All of it.
pub async fn tell(catalog: &Catalog) {
    assert_eq!((day(NOW), catalog.standing_of("default", TODAY).await.unwrap()), (TODAY, Standing::default()));
    let free = probed(catalog, "prices/free", 700, Started::On(TODAY)).await;
    let film = &free.film;
    assert!(free.fits, "there is no budget");
    assert_eq!(state(catalog, film).await, AssetState::Processing);
    assert_eq!(catalog.estimate_of(&film.job).await.unwrap(), Some(700));
    let cost = catalog.cost_of(&film.asset).await.unwrap().unwrap();
    assert_eq!(cost.estimate.as_deref(), Some("{\"is\":1}"));
    assert_eq!((cost.used.cpu_ms, cost.used.source_bytes, cost.used.puts), (40, 10, 2));
    catalog.wrote_objects(NOW, &film.job, 4).await.unwrap();
    assert_eq!(catalog.cost_of(&film.asset).await.unwrap().unwrap().used.puts, 6);

    catalog.set_budget("default", Some(1_000), noted()).await.unwrap();
    let standing = catalog.standing_of("default", TODAY).await.unwrap();
    assert_eq!(standing, Standing { budget: Some(1_000), started: 700 });
    assert!(catalog.may_start("default", &standing, 300).await.unwrap());
    assert!(!catalog.may_start("default", &standing, 301).await.unwrap());
    let much = probed(catalog, "prices/much", 301, Started::On(TODAY)).await;
    assert!(!much.fits, "the database itself counts");

    let dear = probed(catalog, "prices/first", 400, Started::Parked("it is dear".into())).await;
    assert!(dear.fits);
    let first = &dear.film;
    let row = catalog.asset(&first.asset).await.unwrap().unwrap();
    assert_eq!((row.state, row.reason_code.as_deref()), (AssetState::Parked, Some("budget_reached")));
    assert_eq!(row.reason_detail.as_deref(), Some("it is dear"));
    assert!(catalog.live_assets("", 1_000).await.unwrap().iter().any(|asset| asset.id == first.asset));
    assert!(!catalog.may_start("default", &standing, 1).await.unwrap(), "who waits is first");
    released(catalog, first).await;
    measured(catalog, [&free, &dear]).await;
    deleted(catalog).await;
    catalog.set_budget("default", None, noted()).await.unwrap();
    assert!(catalog.budgets().await.unwrap().is_empty());
}

async fn released(catalog: &Catalog, film: &Landed) {
    let parked = catalog.parked_of("default", 10).await.unwrap();
    assert_eq!((parked.len(), parked[0].asset, parked[0].micros), (1, film.asset, 400));
    assert_eq!(catalog.parked_counts().await.unwrap(), [("default".to_owned(), 1)]);
    let start = async |day| {
        let plan = task(film.asset, film.job, Task::PlanRenditions);
        catalog.start_parked(&step(NOW), &parked[0], day, plan, &[emission(film.asset, NOW)]).await
    };
    assert!(start(TODAY).await.unwrap_err().is_conflict(), "the day is full");
    assert_eq!(state(catalog, film).await, AssetState::Parked);
    catalog.set_budget("default", Some(0), noted()).await.unwrap();
    assert!(start(TODAY + 1).await.unwrap_err().is_conflict(), "nothing starts nothing");
    catalog.set_budget("default", Some(1_000), noted()).await.unwrap();
    start(TODAY + 1).await.unwrap();
    assert!(start(TODAY + 2).await.unwrap_err().is_conflict(), "it starts once");
    let row = catalog.asset(&film.asset).await.unwrap().unwrap();
    assert_eq!((row.state, row.reason_code), (AssetState::Processing, None));
    assert_eq!(catalog.standing_of("default", TODAY + 1).await.unwrap().started, 400);
    assert!(catalog.parked_of("default", 10).await.unwrap().is_empty());
    let spent = catalog.spent("default", TODAY, 10).await.unwrap();
    let days: Vec<_> = spent.iter().map(|spent| (spent.day, spent.jobs, spent.estimated_micros)).collect();
    assert_eq!(days, [(TODAY + 1, 1, 400), (TODAY, 1, 700)]);
    assert_eq!(spent[1].used.cpu_ms, 40);
    assert!(catalog.spent("other", TODAY, 10).await.unwrap().is_empty());
}

/// Speeds are measured by what is committed.
async fn measured(catalog: &Catalog, films: [&Probing; 2]) {
    assert!(!catalog.speeds().await.unwrap().contains_key(&Kind::Pictures));
    for (times, film) in (1_u64..).zip(films) {
        let lease = lease(catalog, NOW, &film.thumbs).await.having_used(used(160));
        catalog.pictured(&step(NOW), &lease, &[], false, &[]).await.unwrap();
        let speed = catalog.speeds().await.unwrap()[&Kind::Pictures];
        let cpu = if times == 1 { 160 } else { 160 * 15 / 16 + 160 };
        assert_eq!((speed.samples, speed.cpu_ms, speed.bytes), (times, cpu, if times == 1 { 5 } else { 9 }));
    }
    assert_eq!(catalog.cost_of(&films[0].film.asset).await.unwrap().unwrap().used.cpu_ms, 40 + 160);
}

/// A parked asset that is deleted does not start; restored, it waits again. Dearer ones wait longer.
async fn deleted(catalog: &Catalog) {
    for key in ["prices/dear-1", "prices/dear-2"] {
        probed(catalog, key, 1_001, Started::Parked("why".into())).await;
    }
    let film = probed(catalog, "prices/deleted", 5, Started::Parked("why".into())).await.film;
    let row = catalog.asset(&film.asset).await.unwrap().unwrap();
    catalog.mark_deleted(&step(NOW), &row, "ann", NOW + 1_000, &[]).await.unwrap();
    assert!(catalog.parked_of("default", 10).await.unwrap().is_empty());
    let (row, mark) = tokio::join!(catalog.asset(&film.asset), catalog.deletion(&film.asset));
    catalog.restore(&step(NOW), &row.unwrap().unwrap(), &mark.unwrap().unwrap(), &[]).await.unwrap();
    assert_eq!(state(catalog, &film).await, AssetState::Parked);
    assert_eq!(catalog.parked_of("default", 10).await.unwrap().len(), 1);
    never_fits(catalog, &film).await;
}

/// What the budget will never hold holds nobody up, however long it has waited.
async fn never_fits(catalog: &Catalog, film: &Landed) {
    let standing = Standing { budget: Some(1_000), started: 0 };
    assert!(!catalog.may_start("default", &standing, 5).await.unwrap(), "one waits that fits");
    catalog.set_budget("default", Some(5), noted()).await.unwrap();
    let first: Vec<_> = catalog.parked_of("default", 1).await.unwrap().iter().map(|parked| parked.asset).collect();
    assert_eq!(first, [film.asset]);
    catalog.set_budget("default", Some(4), noted()).await.unwrap();
    assert!(catalog.parked_of("default", 10).await.unwrap().is_empty());
    let standing = Standing { budget: Some(4), started: 0 };
    assert!(catalog.may_start("default", &standing, 4).await.unwrap(), "nobody is first who never fits");
    catalog.set_budget("default", Some(0), noted()).await.unwrap();
    assert!(catalog.parked_of("default", 10).await.unwrap().is_empty());
}
