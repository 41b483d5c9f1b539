//! Approval: what waits is seen and not encoded; a mail's link and code decide, a scanner does not; two of many; expiry.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reelfleet_tests::clients::Clients;
use reelfleet_tests::smtp::{Mail, Sink};
use reelfleet_tests::{Events, Fleet, Options};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(90);
/// By where it is dropped: nobody's, two votes, rejected for good, over in seconds; else one vote.
const POLICY: &str = r#"[{"prefix": "free/", "votes": 0}, {"prefix": "two/", "votes": 2}, {"prefix": "burnt/", "on_reject": "delete"}, {"prefix": "held/", "on_reject": "quarantine"},
    {"prefix": "short/", "expires_hours": 0.006, "remind_hours": 0.0005, "escalate_to": ["boss@example.com"]}, {}]"#;

async fn start(sink: &Sink) -> Fleet {
    let mut options = Options::default();
    for (name, value) in [
        ("REELFLEET_APPROVAL", POLICY),
        ("REELFLEET_REVIEWERS", "bob@example.com,eve@example.com"),
        ("REELFLEET_SMTP_URL", &sink.url),
        ("REELFLEET_MAIL_FROM", "Reelfleet <noreply@reel.example>"),
        ("REELFLEET_MAIL_SECONDS", "1"),
        ("REELFLEET_NOTICE_SECONDS", "2"),
        ("REELFLEET_JANITOR_SECONDS", "1"),
        ("REELFLEET_TOPIC_MAILS", "true"),
    ] {
        options.env.push((name.into(), value.into()));
    }
    Fleet::start(options).await
}

async fn film() -> PathBuf {
    let path = reelfleet_tests::media().join("approval.mp4");
    let to = path.clone();
    let make = move || reelfleet_tests::ffmpeg::make(&to, &["-f", "lavfi", "-i", "testsrc2=s=128x72:d=2"]);
    tokio::task::spawn_blocking(make).await.unwrap();
    path
}

/// Drops a film and waits until it waits.
async fn waiting(clients: &Clients, events: &mut Events, key: &str, film: &Path) -> (String, String) {
    clients.drop_file(key, film).await;
    let name = key.rsplit('/').next().unwrap();
    let asset = events.landed(name, SOON).await;
    let asked = events.wait(SOON, |e| e.subject == asset && e.kind == "approval.requested.v1").await;
    events.wait(SOON, |e| e.subject == asset && e.kind == "thumbnail.ready.v1").await;
    (asset, asked.data["review"].as_str().unwrap().to_owned())
}

async fn mail(sink: &Sink, to: &str, name: &str) -> Mail {
    sink.wait(SOON, |mail| mail.to == to && mail.text.contains(name)).await
}

/// The API's side of the one link in a mail.
fn link(clients: &Clients, mail: &Mail) -> String {
    let urls = mail.urls();
    assert_eq!(urls.len(), 1, "one link: {}", mail.text);
    let token = urls[0].rsplit('/').next().unwrap();
    assert_eq!(token.len(), 64, "{}", urls[0]);
    assert!(!urls[0].contains(&mail.code()), "the code stands outside of the link");
    format!("{}/v1/reviews/link/{token}", clients.gateway)
}

async fn send(clients: &Clients, method: Method, url: &str, body: Option<Value>) -> (StatusCode, Value) {
    let request = clients.http.request(method, url);
    let request = if let Some(body) = body { request.json(&body) } else { request };
    let answer = request.send().await.unwrap();
    (answer.status(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null))
}

async fn vote(clients: &Clients, mail: &Mail, verdict: &str, reason: &str) -> (StatusCode, Value) {
    let body = json!({ "verdict": verdict, "reason": reason, "code": mail.code() });
    send(clients, Method::POST, &format!("{}/verdict", link(clients, mail)), Some(body)).await
}

async fn state(clients: &Clients, asset: &str) -> String {
    clients.asset(asset).await["state"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_approves_and_rejects_and_a_scanner_decides_nothing() {
    let (sink, film) = (Sink::start().await, film().await);
    let fleet = start(&sink).await;
    let clients = fleet.clients.clone();
    let mut events = Events::of_everything(&clients).await;
    let (asset, _) = waiting(&clients, &mut events, "one/good.mp4", &film).await;
    assert_eq!(state(&clients, &asset).await, "awaiting_approval");
    let kinds = format!("SELECT DISTINCT kind FROM task WHERE asset_id = '{asset}' ORDER BY kind");
    assert_eq!(clients.rows(&kinds).await, [["probe_source"], ["render_thumbnails"]], "nothing is encoded before");
    let letter = mail(&sink, "bob@example.com", "good.mp4").await;
    let other = mail(&sink, "eve@example.com", "good.mp4").await;
    assert_ne!(link(&clients, &letter), link(&clients, &other), "each has a link of their own");
    let sent = clients.rows("SELECT count(*) FROM mail WHERE state = 'sent' AND text <> ''").await;
    assert_eq!(sent, [["0"]], "codes are kept no longer than it takes to send them");
    scanned(&clients, &letter).await;
    assert_eq!(state(&clients, &asset).await, "awaiting_approval", "a scanner decides nothing");

    // What the reviewer sees, and a restart of everything before the verdict.
    let (_, facts) = send(&clients, Method::GET, &link(&clients, &letter), None).await;
    let poster = facts["asset"]["pictures"][0]["url"].as_str().unwrap_or_else(|| panic!("{facts}"));
    assert_eq!(clients.http.get(poster).send().await.unwrap().status(), 200);
    let fleet = fleet.start_again().await;
    let clients = fleet.clients.clone();
    let mut events = Events::of_everything(&clients).await;
    let (status, granted) = vote(&clients, &letter, "approve", "").await;
    assert_eq!((status, granted["state"].as_str()), (StatusCode::OK, Some("granted")), "{granted}");
    assert_eq!(events.ended(&asset, SOON).await.kind, "asset.ready.v1");
    assert_eq!(events.count(&asset, "approval.granted.v1"), 1);
    let (status, again) = vote(&clients, &letter, "approve", "").await;
    assert_eq!((status, again["state"].as_str()), (StatusCode::OK, Some("granted")), "repeated: {again}");
    let (status, late) = vote(&clients, &other, "reject", "too late").await;
    assert_eq!((status, late["code"].as_str()), (StatusCode::CONFLICT, Some("review_decided")), "{late}");
    assert!(late["detail"].as_str().unwrap().starts_with("already approved by bob@example.com at "), "{late}");
    let (_, told) = send(&clients, Method::GET, &link(&clients, &other), None).await;
    assert_eq!(told["decided"]["by"], "bob@example.com", "{told}");

    let (bad, _) = waiting(&clients, &mut events, "one/bad.mp4", &film).await;
    let letter = mail(&sink, "eve@example.com", "bad.mp4").await;
    let (status, refused) = vote(&clients, &letter, "reject", "").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "a rejection says why: {refused}");
    let (status, declined) = vote(&clients, &letter, "reject", "the sound is missing").await;
    assert_eq!((status, declined["state"].as_str()), (StatusCode::OK, Some("declined")), "{declined}");
    assert_eq!(events.ended(&bad, SOON).await.kind, "asset.refused.v1");
    let refused = clients.asset(&bad).await;
    assert_eq!(refused["reason"], json!({ "code": "rejected", "detail": "the sound is missing" }));
    no_token_is_logged(&fleet, &sink);
    assert_eq!(fleet.stop().await, Some(0));
}

/// A person who uploads is told what became of it, and nobody else is.
#[tokio::test(flavor = "multi_thread")]
async fn an_uploader_is_told_by_mail_what_became_of_it() {
    let (sink, film) = (Sink::start().await, film().await);
    let fleet = start(&sink).await;
    let mut clients = fleet.clients.clone();
    let account = json!({ "email": "ann@example.com", "password": "correct horse battery staple", "name": "Ann" });
    let (status, ann) = clients.api(Method::POST, "/v1/auth/sign-up", Some(account)).await;
    assert!(status.is_success(), "{status} {ann}");
    let mut events = Events::of_everything(&clients).await;
    let operator = std::mem::replace(&mut clients.api_key, ann["access_token"].as_str().unwrap().to_owned());
    let asset = clients.upload(&film).await;
    let letter = mail(&sink, "bob@example.com", "approval.mp4").await;
    assert!(letter.text.contains("ann@example.com"), "{}", letter.text);
    assert_eq!(vote(&clients, &letter, "approve", "").await.0, StatusCode::OK);
    assert_eq!(events.ended(&asset, SOON).await.kind, "asset.ready.v1");
    let told = sink.wait(SOON, |mail| mail.to == "ann@example.com").await;
    assert!(told.headers.contains("Subject: Ready: approval.mp4"), "{}", told.headers);
    assert!(told.text.contains(&format!("/watch/{asset}")), "{}", told.text);

    // Not about what is ready any more; but about what came to nothing. What the bucket's own drops become is nobody's.
    let (status, wishes) = clients.api(Method::PATCH, "/v1/me/notices", Some(json!({ "ready": false }))).await;
    assert_eq!((status, wishes), (StatusCode::OK, json!({ "ready": false, "failed": true, "weekly": false })));
    let bad = reelfleet_tests::media().join("approval-no-film.mp4");
    std::fs::write(&bad, "this is no film").unwrap();
    let refused = clients.upload(&bad).await;
    assert_eq!(events.ended(&refused, SOON).await.kind, "asset.refused.v1");
    let told = sink.wait(SOON, |mail| mail.to == "ann@example.com" && mail.headers.contains("Not processed")).await;
    assert!(
        told.text.contains("approval-no-film.mp4") && told.text.contains(&format!("/watch/{refused}")),
        "{}",
        told.text
    );
    assert!(!told.text.contains(&format!("/watch/{asset}")), "told once: {}", told.text);

    // What a week brought, to who asked for it, once it is over.
    let (status, wishes) = clients.api(Method::PATCH, "/v1/me/notices", Some(json!({ "weekly": true }))).await;
    assert_eq!((status, &wishes["weekly"]), (StatusCode::OK, &json!(true)));
    clients.rows("UPDATE asset SET ready_at = ready_at - 604800000, updated_at = updated_at - 604800000").await;
    clients.rows("UPDATE mail_wish SET week = week - 1").await;
    let week = sink.wait(SOON, |mail| mail.to == "ann@example.com" && mail.headers.contains("Your week")).await;
    assert!(week.headers.contains("Subject: Your week: 1 ready, 1 not processed"), "{}", week.headers);
    for asset in [&asset, &refused] {
        assert!(week.text.contains(&format!("/watch/{asset}")), "{}", week.text);
    }
    clients.api_key = operator;
    let (status, _) = clients.api(Method::GET, "/v1/me/notices", None).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "a key that is nobody's account has no address");
    assert_eq!(fleet.stop().await, Some(0));
}

/// What mail scanners do: fetch every link, run its scripts, press its buttons; and then some.
async fn scanned(clients: &Clients, mail: &Mail) {
    let (page, api) = (mail.urls()[0].clone(), link(clients, mail));
    for _ in 0..10 {
        for url in [&page, &api, &format!("{api}/verdict")] {
            for method in [Method::GET, Method::HEAD] {
                clients.http.request(method, url).send().await.unwrap();
            }
        }
    }
    let verdict = format!("{api}/verdict");
    for body in [
        json!({ "verdict": "approve" }),
        json!({ "verdict": "approve", "code": "" }),
        json!({ "verdict": "reject", "reason": "x" }),
        json!({ "verdict": "approve", "code": "12345" }),
    ] {
        let (status, problem) = send(clients, Method::POST, &verdict, Some(body)).await;
        assert_eq!((status, problem["code"].as_str()), (StatusCode::FORBIDDEN, Some("review_code_invalid")));
    }
    let wrong = if mail.code() == "000000" { "111111" } else { "000000" };
    for left in (1..5).rev() {
        let (status, problem) =
            send(clients, Method::POST, &verdict, Some(json!({ "verdict": "approve", "code": wrong }))).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(&format!("{left} tries")), "{problem}");
    }
    let (status, _) = send(clients, Method::POST, &page, Some(json!({ "verdict": "approve" }))).await;
    assert!(status.is_client_error(), "{status}");
    let headers = clients.http.get(&api).send().await.unwrap().headers().clone();
    assert_eq!(
        (&headers["referrer-policy"], &headers["cache-control"]),
        (&"no-referrer".parse().unwrap(), &"no-store".parse().unwrap())
    );
    let unknown = format!("{}/v1/reviews/link/{}", clients.gateway, "0".repeat(64));
    assert_eq!(send(clients, Method::GET, &unknown, None).await.0, StatusCode::NOT_FOUND);
}

fn no_token_is_logged(fleet: &Fleet, sink: &Sink) {
    let tokens: Vec<String> =
        sink.mails().iter().flat_map(Mail::urls).map(|url| url.rsplit('/').next().unwrap().to_owned()).collect();
    let mut read = 0;
    for file in std::fs::read_dir(fleet.logs()).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap_or_default();
        read += text.len();
        assert!(!tokens.iter().any(|token| text.contains(token)), "a token stands in a log");
    }
    assert!(read > 1_000 && !tokens.is_empty(), "there is something to look at");
}

/// A queue in the place of an address that is subscribed to the topic of mails, as Terraform subscribes one.
async fn subscribed(clients: &Clients, name: &str, tenant: &str) -> String {
    let queue = clients.sqs.create_queue().queue_name(name).send().await.unwrap().queue_url.unwrap();
    let filter = json!({ "type": ["approval.requested.v1"], "tenant": [tenant] }).to_string();
    let subscribe = clients.sns.subscribe().topic_arn("arn:aws:sns:us-east-1:000000000000:reelfleet-mails");
    let subscribe = subscribe.protocol("sqs").endpoint(format!("arn:aws:sqs:us-east-1:000000000000:{name}"));
    subscribe.attributes("FilterPolicy", filter).send().await.unwrap();
    queue
}

/// The mail that SNS would send: a name, and a link that asks who one is; no token, no code.
async fn asked_by_topic(clients: &Clients, queue: &str, review: &str) {
    let received = clients.sqs.receive_message().queue_url(queue).wait_time_seconds(20).send().await.unwrap();
    let envelope: Value = serde_json::from_str(received.messages()[0].body().unwrap()).unwrap();
    assert_eq!(envelope["Subject"], "Please review: film.mp4", "{envelope}");
    let text = envelope["Message"].as_str().unwrap();
    assert!(text.starts_with("Name: film.mp4\nIt waits for the verdict of 2 reviewers.\n"), "{text}");
    let links: Vec<&str> = text.lines().filter(|line| line.contains("://")).collect();
    assert_eq!(links, [format!("{}/reviews/{review}", clients.gateway)], "{text}");
    assert_eq!(clients.sqs.receive_message().queue_url(queue).send().await.unwrap().messages().len(), 0, "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_desk_counts_two_votes_and_what_nobody_decides_stays_blocked() {
    let (sink, film) = (Sink::start().await, film().await);
    let fleet = start(&sink).await;
    let clients = &fleet.clients;
    let mut events = Events::of_everything(clients).await;
    let ours = subscribed(clients, "desk", "default").await;
    let theirs = subscribed(clients, "another-desk", "press").await;

    clients.drop_file("free/open.mp4", &film).await;
    let open = events.landed("open.mp4", SOON).await;
    assert_eq!(events.ended(&open, SOON).await.kind, "asset.ready.v1", "an exception waits for nobody");

    // Whoever reviews hears of it as it happens.
    let since = std::collections::BTreeMap::from([("tenant:default:review".to_owned(), 0)]);
    let mut desk = Events::connect(clients, &["reviews"], None, since).await;

    // Two of many: one at the desk, one by mail. The desk says which version it decides on.
    let (asset, review) = waiting(clients, &mut events, "two/film.mp4", &film).await;
    desk.wait(SOON, |e| e.subject == asset && e.kind == "approval.requested.v1").await;
    let (status, page) = clients.api(Method::GET, "/v1/reviews", None).await;
    assert_eq!((status, page["reviews"][0]["id"].as_str()), (StatusCode::OK, Some(review.as_str())), "{page}");
    let (_, shown) = clients.api(Method::GET, &format!("/v1/reviews/{review}"), None).await;
    let original = shown["original"]["url"].as_str().unwrap_or_else(|| panic!("{shown}"));
    let range = clients.http.get(original).header("range", "bytes=0-9").send().await.unwrap();
    assert_eq!((range.status(), range.bytes().await.unwrap().len()), (StatusCode::PARTIAL_CONTENT, 10));
    assert_eq!(at_desk(clients, &review, None).await.0, StatusCode::PRECONDITION_REQUIRED);
    let (status, stale) = at_desk(clients, &review, Some("\"9\"")).await;
    assert_eq!((status, stale["code"].as_str()), (StatusCode::PRECONDITION_FAILED, Some("review_changed")));
    for _ in 0..2 {
        let (status, counted) = at_desk(clients, &review, Some("\"1\"")).await;
        assert_eq!((status, counted["given"].as_i64()), (StatusCode::OK, Some(1)), "counted once: {counted}");
    }
    assert_eq!(state(clients, &asset).await, "awaiting_approval");
    let letter = mail(&sink, "bob@example.com", "film.mp4").await;
    let (status, granted) = vote(clients, &letter, "approve", "fine").await;
    assert_eq!((status, granted["state"].as_str()), (StatusCode::OK, Some("granted")), "{granted}");
    assert_eq!(events.ended(&asset, SOON).await.kind, "asset.ready.v1");
    desk.wait(SOON, |e| e.subject == asset && e.kind == "approval.granted.v1").await;
    let audit = format!("SELECT count(*) FROM audit WHERE subject = '{review}' AND what = 'review.approved'");
    assert_eq!(clients.rows(&audit).await, [["2"]]);
    // How it went is told after its verdict, too.
    let told = clients.asset(&asset).await["review"].clone();
    let approved = |by: &str, reason: Value| json!({ "what": "approved", "by": by, "reason": reason });
    let wanted = [approved("operator", Value::Null), approved("bob@example.com", json!("fine"))];
    assert_eq!((&told["state"], without_times(&told["steps"])), (&json!("granted"), wanted.to_vec()), "{told}");

    asked_by_topic(clients, &ours, &review).await;

    // Rejected for good.
    let (burnt, _) = waiting(clients, &mut events, "burnt/waste.mp4", &film).await;
    let letter = mail(&sink, "bob@example.com", "waste.mp4").await;
    assert_eq!(vote(clients, &letter, "reject", "no").await.0, StatusCode::OK);
    events.wait(SOON, |e| e.subject == burnt && e.kind == "asset.deleting.v1").await;

    // Rejected and held back: the source carries the tag that a bucket policy looks for.
    let (held, _) = waiting(clients, &mut events, "held/back.mp4", &film).await;
    let letter = mail(&sink, "eve@example.com", "back.mp4").await;
    assert_eq!(vote(clients, &letter, "reject", "no").await.0, StatusCode::OK);
    assert_eq!(events.ended(&held, SOON).await.kind, "asset.refused.v1");
    let tagged = async {
        while !tags(clients, "held/back.mp4").await.contains(&("reelfleet".into(), "quarantine".into())) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(SOON, tagged).await.expect("the janitor tags it");
    let original = format!("/v1/assets/{held}/original");
    let (status, problem) = clients.api(Method::GET, &original, None).await;
    assert_eq!((status.as_u16(), &problem["code"]), (403, &json!("quarantined")), "nobody takes it away");

    // A still picture is seen before its verdict, and ends with it.
    let picture = reelfleet_tests::media().join("approval.png");
    let to = picture.clone();
    let make =
        move || reelfleet_tests::ffmpeg::make(&to, &["-f", "lavfi", "-i", "testsrc2=s=640x360", "-frames:v", "1"]);
    tokio::task::spawn_blocking(make).await.unwrap();
    let (still, review) = waiting(clients, &mut events, "one/still.png", &picture).await;
    assert_eq!(state(clients, &still).await, "awaiting_approval");
    assert_eq!(at_desk(clients, &review, Some("\"1\"")).await.0, StatusCode::OK);
    assert_eq!(events.ended(&still, SOON).await.kind, "asset.ready.v1");

    // Reminded, escalated, expired: it stays blocked, and can be deleted.
    let (late, _) = waiting(clients, &mut events, "short/late.mp4", &film).await;
    let first = mail(&sink, "bob@example.com", "late.mp4").await;
    let reminder = sink
        .wait(SOON, |mail| {
            mail.to == "bob@example.com" && mail.text.contains("late.mp4") && mail.headers.contains("Still waiting")
        })
        .await;
    assert_ne!(link(clients, &first), link(clients, &reminder));
    assert_eq!(vote(clients, &first, "approve", "").await.0, StatusCode::GONE, "the newer link replaced it");
    mail(&sink, "boss@example.com", "late.mp4").await;
    events.wait(SOON, |e| e.subject == late && e.kind == "approval.expired.v1").await;
    let heard = clients.sqs.receive_message().queue_url(&theirs).send().await.unwrap();
    assert!(heard.messages().is_empty(), "another tenant's desk: {heard:?}");
    let (status, over) = vote(clients, &reminder, "approve", "").await;
    assert_eq!((status, over["code"].as_str()), (StatusCode::CONFLICT, Some("review_decided")), "{over}");
    assert_eq!(state(clients, &late).await, "awaiting_approval");
    // Or asked for again, by its owner: whoever was written to is written to anew.
    let path = format!("/v1/assets/{late}/review");
    let told = clients.asset(&late).await["review"].clone();
    let steps = without_times(&told["steps"]);
    let mut went: Vec<&str> = steps.iter().map(|step| step["what"].as_str().unwrap()).collect();
    went.sort_unstable();
    assert_eq!((&told["state"], went), (&json!("expired"), vec!["escalated", "expired", "reminded"]), "{told}");
    let (_, audit) = clients.api(Method::GET, "/v1/audit?kind=review&limit=100", None).await;
    for (what, to) in [
        ("review.reminded", json!(["bob@example.com", "eve@example.com"])),
        ("review.escalated", json!(["boss@example.com"])),
        ("review.expired", Value::Null),
    ] {
        let mut lines = audit["entries"].as_array().unwrap().iter();
        let line = lines.find(|line| line["what"] == what && line["detail"]["asset"] == late.as_str());
        let line = line.unwrap_or_else(|| panic!("no {what}: {audit}"));
        assert_eq!((&line["who"], &line["detail"]["to"]), (&json!("janitor"), &to), "{line}");
    }
    assert!(
        audit["entries"].as_array().unwrap().iter().all(|line| line["what"].as_str().unwrap().starts_with("review."))
    );
    for _ in 0..2 {
        let (status, open) = clients.api(Method::POST, &path, None).await;
        assert_eq!((status, &open["state"]), (StatusCode::OK, &json!("waiting")), "{open}");
    }
    let anew =
        sink.wait(SOON, |mail| mail.to == "bob@example.com" && mail.headers.contains("Please review after all")).await;
    assert_ne!(link(clients, &anew), link(clients, &reminder));
    assert_eq!(vote(clients, &reminder, "approve", "").await.0, StatusCode::GONE, "the old link stays over");
    events.wait(SOON, |e| e.subject == late && e.kind == "approval.expired.v1").await;
    let (status, _) = clients.api(Method::DELETE, &format!("/v1/assets/{late}"), None).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(fleet.stop().await, Some(0));
}

/// Steps of a review without when they were.
fn without_times(steps: &Value) -> Vec<Value> {
    let mut steps = steps.as_array().unwrap().clone();
    for step in &mut steps {
        assert!(step.as_object_mut().unwrap().remove("at").is_some_and(|at| at.is_string()), "{step}");
    }
    steps
}

async fn tags(clients: &Clients, key: &str) -> Vec<(String, String)> {
    let found = clients.s3.get_object_tagging().bucket(&clients.uploads).key(key).send().await.unwrap();
    found.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect()
}

async fn at_desk(clients: &Clients, review: &str, version: Option<&str>) -> (StatusCode, Value) {
    let url = format!("{}/v1/reviews/{review}/verdict", clients.gateway);
    let mut request = clients.http.post(url).bearer_auth(&clients.api_key).json(&json!({ "verdict": "approve" }));
    if let Some(version) = version {
        request = request.header("if-match", version);
    }
    let answer = request.send().await.unwrap();
    (answer.status(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null))
}
