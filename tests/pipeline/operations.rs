//! What operators see and do by the API: workers that there are, jobs, how an asset came about.

use std::path::Path;
use std::time::{Duration, Instant};

use reelfleet_tests::Fleet;
use reelfleet_tests::clients::Clients;
use reqwest::Method;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

/// On a fleet that nobody has scaled yet, with an asset that is ready and one that was refused.
pub async fn keep_their_word(fleet: &Fleet, ready: &str, refused: &str) {
    workers(fleet).await;
    jobs(&fleet.clients, ready, refused).await;
    timeline(&fleet.clients, ready).await;
}

/// Notifications that nobody takes are seen: on the page, first and with their age, and in the metric that alerts ask for.
/// On a fleet whose janitor looks every second.
pub async fn notifications_that_wait_are_seen(fleet: &Fleet, film: &Path) {
    let clients = &fleet.clients;
    scale(clients, "intake", 0).await;
    until(fleet, "intake is gone", |seen| of(&seen["pools"], "pool", "intake")["workers"] == 0).await;
    clients.drop_file("in/waits.mp4", film).await;
    let waits = |seen: &Value| {
        let intake = of(&seen["queues"], "queue", "intake");
        intake["waiting"] == 1 && intake["oldest_seconds"].as_i64().is_some_and(|seconds| seconds >= 2)
    };
    let seen = until(fleet, "a notification that waits", waits).await;
    let first = &seen["queues"][0];
    assert_eq!((&first["queue"], &first["workers"]), (&json!("intake"), &json!(0)), "what nobody takes is first");
    assert_eq!(first["drain_seconds"], Value::Null, "{first}");
    let age = "reelfleet_queue_oldest_task_age_seconds{queue=\"reelfleet-intake\"}";
    gauge(fleet, age, |seconds| seconds >= 2.0).await;
    let paused = "reelfleet_queue_paused{queue=\"reelfleet-intake\"}";
    gauge(fleet, paused, |paused| paused == 0.0).await;
    for (word, wanted) in [("pause", 1.0), ("resume", 0.0)] {
        let said = clients.api(Method::POST, &format!("/v1/ops/queues/intake/{word}"), None).await;
        assert_eq!(said.0, 204, "{}", said.1);
        gauge(fleet, paused, |paused| paused == wanted).await;
    }
    scale(clients, "intake", 1).await;
    let taken = |seen: &Value| {
        let intake = of(&seen["queues"], "queue", "intake");
        (&intake["waiting"], &intake["running"], &intake["oldest_seconds"]) == (&json!(0), &json!(0), &Value::Null)
    };
    until(fleet, "it was taken", taken).await;
    gauge(fleet, age, |seconds| seconds == 0.0).await;
}

/// Waits until the janitor says such a value.
async fn gauge(fleet: &Fleet, name: &str, is: impl Fn(f64) -> bool) {
    let targets = std::fs::read(fleet.folder().join("metrics_targets.json")).unwrap();
    let targets: Value = serde_json::from_slice(&targets).unwrap();
    let group = targets.as_array().unwrap().iter().find(|group| group["labels"]["role"] == "janitor").unwrap();
    let url = format!("http://{}/metrics", group["targets"][0].as_str().unwrap());
    let began = Instant::now();
    loop {
        let told = fleet.clients.http.get(&url).send().await.unwrap().text().await.unwrap();
        let line = told.lines().find_map(|line| line.strip_prefix(name));
        if line.is_some_and(|value| is(value.trim().parse().unwrap())) {
            return;
        }
        assert!(began.elapsed() < SOON, "never: {name}: {line:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// One moment of the fleet.
pub async fn seen(clients: &Clients) -> Value {
    let (status, seen) = clients.api(Method::GET, "/v1/ops", None).await;
    assert_eq!(status, 200, "{seen}");
    seen
}

/// The one of a list that has this name.
pub fn of<'v>(list: &'v Value, field: &str, name: &str) -> &'v Value {
    let mut found = list.as_array().unwrap().iter().filter(|one| one[field] == name);
    found.next().unwrap_or_else(|| panic!("no {field} {name} in {list}"))
}

/// Looks until it is so.
pub async fn until(fleet: &Fleet, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let seen = seen(&fleet.clients).await;
        if is(&seen) {
            return seen;
        }
        assert!(began.elapsed() < SOON, "never: {what}: {seen:#}\n{}", fleet.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Another number of workers, as an operator says it.
pub async fn scale(clients: &Clients, pool: &str, workers: u64) {
    let said = clients.api(Method::PUT, &format!("/v1/ops/pools/{pool}"), Some(json!({ "workers": workers }))).await;
    assert_eq!(said.0, 204, "{}", said.1);
}

/// Workers are counted as they are, whoever decided that; who is idle is there too, and who ends is gone at once.
async fn workers(fleet: &Fleet) {
    let clients = &fleet.clients;
    let there = u64::try_from(fleet.pids("thumbnailer").len()).unwrap();
    let idle = until(fleet, "nobody is at work", |seen| seen["at_work"] == json!([])).await;
    for pool in ["intake", "transcoder", "thumbnailer"] {
        let shown = of(&idle["pools"], "pool", pool);
        let count = fleet.pids(pool).len();
        assert_eq!((&shown["workers"], &shown["desired"]), (&json!(count), &Value::Null), "{shown}");
        assert_eq!(shown["decisions"], json!([]), "nobody decided anything, so the count comes from elsewhere");
    }
    for (role, pids) in fleet.ready["pids"].as_object().unwrap().iter().filter(|(role, _)| *role != "local") {
        for pid in pids.as_array().unwrap() {
            let instance = reelfleet_tests::fleet::instance(pid.as_i64().unwrap());
            let shown = of(&idle["processes"], "instance", &instance);
            assert_eq!((&shown["role"], &shown["state"]), (&json!(role), &json!("idle")), "{shown}");
        }
    }
    let count = |seen: &Value| of(&seen["pools"], "pool", "thumbnailer")["workers"].clone();
    scale(clients, "thumbnailer", there + 1).await;
    let more = until(fleet, "one more", |seen| count(seen) == there + 1).await;
    assert_eq!(of(&more["pools"], "pool", "thumbnailer")["desired"], there + 1);
    assert_eq!(of(&more["queues"], "queue", "thumbnail")["workers"], there + 1);
    scale(clients, "thumbnailer", there).await;
    let of_pool = |seen: &Value| {
        seen["processes"].as_array().unwrap().iter().filter(|one| one["pool"] == "thumbnailer").count() as u64
    };
    until(fleet, "one less, which leaves nothing behind", |seen| count(seen) == there && of_pool(seen) == there).await;
    let (status, problem) = clients.api(Method::PUT, "/v1/ops/pools/gateway", Some(json!({ "workers": 2 }))).await;
    assert_eq!((status.as_u16(), &problem["code"]), (404, &json!("not_found")));
}

/// Jobs are found by their asset's name, its id and their state, the latest first, page by page.
async fn jobs(clients: &Clients, ready: &str, refused: &str) {
    let found = async |query: &str| {
        let (status, found) = clients.api(Method::GET, &format!("/v1/ops/jobs?{query}"), None).await;
        assert_eq!(status, 200, "{query}: {found}");
        found
    };
    let assets = |found: &Value| -> Vec<String> {
        let jobs = found["jobs"].as_array().unwrap().iter();
        jobs.map(|job| job["asset"].as_str().unwrap().to_owned()).collect()
    };
    let all = found("limit=100").await;
    let mut ids: Vec<&str> = all["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert!(ids.len() >= 2 && ids.is_sorted_by(|later, earlier| later > earlier), "{ids:?}");
    let of_ready = of(&all["jobs"], "asset", ready);
    assert_eq!((&of_ready["state"], &of_ready["asset_state"]), (&json!("succeeded"), &json!("ready")), "{of_ready}");
    assert_eq!(assets(&found(&format!("q={ready}")).await), [ready]);
    let name = of_ready["name"].as_str().unwrap();
    let part = name[1..name.len() - 1].to_uppercase();
    assert!(assets(&found(&format!("q={part}&state=succeeded")).await).contains(&ready.to_owned()), "{part}");
    assert!(!assets(&found(&format!("q={part}&state=failed")).await).contains(&ready.to_owned()), "{part}");
    assert_eq!(assets(&found("q=no%20such%20name").await), [""; 0]);
    let of_refused = found(&format!("q={refused}")).await;
    assert_eq!(of_refused["jobs"][0]["state"], "failed", "{of_refused}");
    assert!(of_refused["jobs"][0]["reason"].is_string(), "{of_refused}");
    // Page by page: each once.
    let mut cursor = String::new();
    loop {
        let page = found(&format!("limit=1{cursor}")).await;
        let id = page["jobs"][0]["id"].as_str().unwrap().to_owned();
        assert_eq!(id, ids.remove(0));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert!(ids.is_empty(), "left: {ids:?}");
    for wrong in ["state=odd", "limit=0", "cursor=odd"] {
        let (status, problem) = clients.api(Method::GET, &format!("/v1/ops/jobs?{wrong}"), None).await;
        assert_eq!((status.as_u16(), &problem["code"]), (400, &json!("invalid_request")), "{wrong}");
    }
}

/// Every task of an asset, with who did it and when.
async fn timeline(clients: &Clients, ready: &str) {
    let (status, told) = clients.api(Method::GET, &format!("/v1/ops/assets/{ready}/timeline"), None).await;
    assert_eq!((status.as_u16(), &told["state"]), (200, &json!("ready")), "{told}");
    // Times of one form: they sort as texts.
    let at = |value: &Value| value.as_str().unwrap_or_else(|| panic!("no time: {value}")).to_owned();
    assert!(at(&told["landed_at"]) <= at(&told["playable_at"]) && at(&told["playable_at"]) <= at(&told["ready_at"]));
    let tasks = told["tasks"].as_array().unwrap();
    for kind in ["probe_source", "plan_renditions", "encode_chunk", "publish_playlist", "render_thumbnails"] {
        let task = of(&told["tasks"], "kind", kind);
        assert_eq!(task["state"], "done", "{task}");
    }
    let chunk = of(&told["tasks"], "kind", "encode_chunk");
    assert!(at(&chunk["created_at"]) <= at(&chunk["started_at"]), "{chunk}");
    assert!(at(&chunk["started_at"]) <= at(&chunk["updated_at"]), "{chunk}");
    assert_eq!((&chunk["track"], &chunk["chunk"], &chunk["attempts"]), (&json!("video"), &json!(0), &json!(1)));
    assert!(chunk["instance"].as_str().is_some_and(|by| by.starts_with("transcoder-")), "{chunk}");
    assert!(tasks.iter().all(|task| task["error"].is_null()), "{told:#}");
    let (status, problem) =
        clients.api(Method::GET, "/v1/ops/assets/ast_01h455vb4pex5vsknk084sn02q/timeline", None).await;
    assert_eq!((status.as_u16(), &problem["code"]), (404, &json!("not_found")));
}
