//! Webhooks: a receiver that fails, is slow, redirects to a private address, repeats or wants no more.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::HeaderMap;
use reelfleet_tests::clients::Clients;
use reelfleet_tests::receiver::{Answer, Receiver, Request};
use reelfleet_tests::{Events, Fleet, Options};
use reqwest::Method;
use serde_json::{Value, json};
use standardwebhooks::Webhook;

const SOON: Duration = Duration::from_secs(60);
const FILES: usize = 4;

/// How the receiver answers what came `before` times to this path.
fn rule(path: &str, before: usize) -> Answer {
    match (path, before) {
        ("/flaky", 0) => Answer::Status(500),
        ("/flaky", 1) => Answer::Status(429),
        ("/slow", 0) => Answer::Silence,
        ("/home", _) => Answer::To("http://127.0.0.1:1/private"),
        ("/deep", _) => Answer::To("http://169.254.169.254/latest/meta-data/"),
        ("/over", _) => Answer::Status(410),
        ("/down", _) => Answer::Status(503),
        _ => Answer::Status(200),
    }
}

async fn start(receiver: &Receiver) -> Fleet {
    let mut options = Options::default();
    for (name, value) in [
        ("REELFLEET_WEBHOOK_ALLOW", receiver.address.as_str()),
        ("REELFLEET_WEBHOOK_PAUSES", "1,1,1"),
        ("REELFLEET_WEBHOOK_TIMEOUT_SECONDS", "1"),
        ("REELFLEET_WEBHOOK_SECONDS", "1"),
    ] {
        options.env.push((name.into(), value.into()));
    }
    Fleet::start(options).await
}

async fn make(clients: &Clients, url: &str) -> (String, String) {
    let wanted = json!({ "name": url, "url": url, "tenant": true });
    let (status, made) = clients.api(Method::POST, "/v1/webhooks", Some(wanted)).await;
    assert_eq!(status, 201, "{made}");
    (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
}

async fn log(clients: &Clients, webhook: &str) -> Vec<Value> {
    let (status, log) = clients.api(Method::GET, &format!("/v1/webhooks/{webhook}/deliveries?limit=100"), None).await;
    assert_eq!(status, 200, "{log}");
    log["deliveries"].as_array().unwrap().clone()
}

/// Waits until its log calls every line delivered: a receiver has its answer out before the sender has written it down.
async fn all_delivered(clients: &Clients, webhook: &str) {
    let all = async {
        while !log(clients, webhook).await.iter().all(|line| line["state"] == "delivered") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(SOON, all).await.unwrap_or_else(|_| panic!("not all delivered: {webhook}"));
}

/// Whether the official library believes it.
fn is_signed(request: &Request, secret: &str) -> bool {
    let mut headers = HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, request.headers[name].clone());
    }
    Webhook::new(secret).unwrap().verify(&request.body, &headers).is_ok()
}

/// What every asset's own stream holds, in its order.
async fn told(clients: &Clients) -> BTreeMap<String, Vec<String>> {
    let sql = "SELECT stream, event_id FROM event_log WHERE stream LIKE 'asset:%' ORDER BY stream, position";
    let mut told = BTreeMap::<String, Vec<String>>::new();
    for row in clients.rows(sql).await {
        told.entry(row[0].trim_start_matches("asset:").to_owned()).or_default().push(row[1].clone());
    }
    told
}

/// What a path took, by asset, in the order in which it was taken.
fn taken(requests: &[Request]) -> BTreeMap<String, Vec<String>> {
    let mut taken = BTreeMap::<String, Vec<String>>::new();
    for request in requests.iter().filter(|request| request.status == Some(200)) {
        taken.entry(request.json()["subject"].as_str().unwrap().to_owned()).or_default().push(request.id.clone());
    }
    taken
}

fn count(taken: &BTreeMap<String, Vec<String>>) -> usize {
    taken.values().map(Vec::len).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_hears_of_each_event_once_in_order_and_never_at_a_private_address() {
    let receiver = Receiver::start(rule).await;
    let fleet = start(&receiver).await;
    let clients = &fleet.clients;
    let mut events = Events::of_everything(clients).await;
    let (prompt, secret) = make(clients, &receiver.url("/prompt")).await;
    let (flaky, _) = make(clients, &receiver.url("/flaky")).await;
    let (slow, _) = make(clients, &receiver.url("/slow")).await;
    let mut away = Vec::new();
    for path in ["/home", "/deep", "/over", "/down"] {
        away.push((path, make(clients, &receiver.url(path)).await.0));
    }
    for url in ["http://127.0.0.1:1/", "https://localhost/", &receiver.url("/x").replace("127.0.0.1", "127.0.0.2")] {
        let wanted = json!({ "name": "no", "url": url });
        let (status, problem) = clients.api(Method::POST, "/v1/webhooks", Some(wanted)).await;
        assert_eq!((status.as_u16(), &problem["code"]), (422, &"webhook_url".into()), "{url}");
    }

    // Files that end soon, each after several events.
    let folder = tempfile::tempdir().unwrap();
    for number in 0..FILES {
        let path = folder.path().join(format!("{number}.mp4"));
        std::fs::write(&path, format!("no film {number}")).unwrap();
        clients.drop_file(&format!("in/{number}.mp4"), &path).await;
    }
    for number in 0..FILES {
        let asset = events.landed(&format!("{number}.mp4"), SOON).await;
        events.wait(SOON, |event| event.subject == asset && event.kind == "asset.refused.v1").await;
    }
    let told = told(clients).await;
    assert_eq!(told.len(), FILES);
    let whole = count(&told);

    // Each takes all of it, in the order of each asset; the slow and the failing ones hold nobody up.
    for path in ["/prompt", "/flaky", "/slow"] {
        let requests = receiver.wait(path, SOON, |kept| count(&taken(kept)) == whole).await;
        assert_eq!(taken(&requests), told, "{path}");
        let tries = match path {
            "/prompt" => 1,
            "/flaky" => 3,
            _ => 2,
        };
        let mut by_id = BTreeMap::<&str, usize>::new();
        requests.iter().for_each(|request| *by_id.entry(&request.id).or_default() += 1);
        assert!(by_id.values().all(|count| *count == tries), "{path}: one id, and nothing after a 2xx: {by_id:?}");
    }
    // Once more when the sender has noted everything: nothing follows a 2xx later either.
    for (path, webhook) in [("/prompt", &prompt), ("/flaky", &flaky), ("/slow", &slow)] {
        all_delivered(clients, webhook).await;
        let mut taken = BTreeMap::<String, bool>::new();
        for request in receiver.of(path) {
            let before = taken.entry(request.id).or_default();
            assert!(!*before, "{path}: something came after a 2xx");
            *before = request.status == Some(200);
        }
        assert!(taken.len() == whole && taken.values().all(|taken| *taken), "{path}: {taken:?}");
    }
    let first = receiver.of("/prompt").remove(0);
    assert!(is_signed(&first, &secret));
    assert!(!is_signed(&first, &secret.replace("whsec_", "whsec_A")[..secret.len()]), "by another secret");
    let (body, kind) = (first.json(), first.headers["content-type"].to_str().unwrap().to_owned());
    assert_eq!(
        (kind.as_str(), &body["specversion"], &body["id"]),
        ("application/json", &"1.0".into(), &first.id.as_str().into())
    );
    assert_eq!((&body["timestamp"], body["type"].as_str()), (&body["time"], Some("asset.uploaded.v1")));

    // Those that never take anything are turned off, say why, and were asked once per try and no more often.
    for (path, webhook) in &away {
        let off = async {
            loop {
                let (_, shown) = clients.api(Method::GET, &format!("/v1/webhooks/{webhook}"), None).await;
                if shown["enabled"] == false {
                    return shown;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let shown = tokio::time::timeout(SOON, off).await.unwrap_or_else(|_| panic!("{path} is not off"));
        let (reason, tries) = if *path == "/over" { ("410", 1) } else { ("every attempt", 4) };
        assert!(shown["reason"].as_str().unwrap().contains(reason), "{shown}");
        let failed: Vec<Value> =
            log(clients, webhook).await.into_iter().filter(|line| line["state"] == "failed").collect();
        assert!(!failed.is_empty() && failed.iter().all(|line| line["attempts"] == tries), "{path}: {failed:#?}");
        let redirected = failed[0]["error"].as_str().unwrap().contains("redirect");
        assert_eq!(redirected, ["/home", "/deep"].contains(path), "{failed:#?}");
    }
    assert!(receiver.of("/private").is_empty() && receiver.of("/latest/meta-data/").is_empty());

    // By hand: a try, another secret, the same event once more.
    let (status, pinged) = clients.api(Method::POST, &format!("/v1/webhooks/{prompt}/ping"), None).await;
    assert_eq!(status, 202, "{pinged}");
    let ping = |kept: &[Request]| kept.iter().any(|request| pinged["id"] == request.id.as_str());
    receiver.wait("/prompt", SOON, ping).await;
    let (status, rotated) = clients.api(Method::POST, &format!("/v1/webhooks/{prompt}/rotate"), None).await;
    assert_eq!(status, 200, "{rotated}");
    let again = format!("/v1/webhooks/{prompt}/deliveries/{}/redeliver", first.id);
    assert_eq!(clients.api(Method::POST, &again, None).await.0, 202);
    let twice = |kept: &[Request]| kept.iter().filter(|request| request.id == first.id).count() == 2;
    let second =
        receiver.wait("/prompt", SOON, twice).await.into_iter().rfind(|request| request.id == first.id).unwrap();
    assert_eq!(second.body, first.body);
    assert!(is_signed(&second, rotated["secret"].as_str().unwrap()) && is_signed(&second, &secret), "both for a day");
    for webhook in [&prompt, &flaky, &slow] {
        all_delivered(clients, webhook).await;
    }
    let unknown = format!("/v1/webhooks/{flaky}/deliveries/{}/redeliver", pinged["id"].as_str().unwrap());
    assert_eq!(clients.api(Method::POST, &unknown, None).await.0, 404, "it was another's");
    assert_eq!(clients.api(Method::DELETE, &format!("/v1/webhooks/{slow}"), None).await.0, 204);
    assert_eq!(clients.api(Method::GET, &format!("/v1/webhooks/{slow}"), None).await.0, 404);
}
