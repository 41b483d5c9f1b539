//! Dead letters: what a task leaves behind that its decoder's crashes have ended, and how it comes back, by whatever
//! means and however often it is sent: by the command, by SQS, by the API.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use aws_sdk_sqs::types::{MessageAttributeValue, QueueAttributeName};
use reelfleet_tests::clients::Clients;
use reelfleet_tests::{Events, Fault, Faulty, Fleet, Options, Stage, Wanted, check, ffmpeg, media, pattern};
use reqwest::Method;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(120);

fn film() -> PathBuf {
    let path = media().join("letters.mp4");
    let (video, sound) = (pattern::pictures(320, 180, "25", 4.0), pattern::sound(4.0, 48_000));
    let encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-c:a", "aac"];
    ffmpeg::make(&path, &[&["-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &sound][..], &encoder].concat());
    path
}

/// One `reelfleet dlq`: whether it succeeded, what it said, what it complained of.
async fn dlq(fleet: &Fleet, args: &[&str]) -> (bool, String, String) {
    let folder = fleet.logs().parent().unwrap().to_owned();
    let run = tokio::process::Command::new(reelfleet_tests::executable())
        .arg("dlq")
        .args(args)
        .arg("--data")
        .arg(folder)
        .args(["--as", "tester"])
        .output();
    let output = tokio::time::timeout(SOON, run).await.expect("dlq hangs").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

async fn listed(fleet: &Fleet, args: &[&str]) -> Vec<Value> {
    let (fine, out, err) = dlq(fleet, &[&["ls", "--json"], args].concat()).await;
    assert!(fine, "{err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// The letters that fit, once there are so many: the relay sends them after the event that tells of them was written.
async fn letters(fleet: &Fleet, filter: &str, count: usize) -> Vec<Value> {
    for _ in 0..30 {
        let letters = listed(fleet, &["--filter", filter]).await;
        if letters.len() == count {
            return letters;
        }
    }
    panic!("{filter}: not {count} letters: {:?}", listed(fleet, &[]).await);
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

async fn url(clients: &Clients, queue: &str) -> String {
    clients.sqs.get_queue_url().queue_name(format!("reelfleet-{queue}")).send().await.unwrap().queue_url.unwrap()
}

/// Sends a letter back as SQS itself would: the same body, the same attributes, a new message.
async fn send_again(clients: &Clients, letter: &Value) {
    let queue = url(clients, text(letter, "queue")).await;
    let value = |value: &str| MessageAttributeValue::builder().data_type("String").string_value(value).build().unwrap();
    let attributes = HashMap::from([
        ("reelfleet-token".to_owned(), value(&letter["token"].to_string())),
        ("reelfleet-reason".to_owned(), value(text(letter, "reason"))),
    ]);
    let send = clients.sqs.send_message().queue_url(queue).message_body(text(letter, "body"));
    send.message_group_id("default").set_message_attributes(Some(attributes)).send().await.unwrap();
}

/// Waits until nothing is left in a queue, visible or in flight.
async fn drained(clients: &Clients, queue: &str) {
    let queue_url = url(clients, queue).await;
    for _ in 0..600 {
        let ask = clients.sqs.get_queue_attributes().queue_url(&queue_url).attribute_names(QueueAttributeName::All);
        let answer = ask.send().await.unwrap().attributes.unwrap();
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        if names.iter().all(|name| answer[name] == "0") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{queue} is never empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_task_comes_back_by_its_letter_once_the_cause_is_gone() {
    let film = tokio::task::spawn_blocking(film).await.unwrap();
    let faulty = tokio::task::spawn_blocking(Faulty::new).await.unwrap();
    faulty.set(Stage::Encode, Fault::Crash);
    let mut options = Options::args(&["--transcoders", "1"]);
    options.env.push(("REELFLEET_DECODER".into(), faulty.program()));
    let fleet = Fleet::start(options).await;
    let clients = &fleet.clients;
    let mut events = Events::of_everything(clients).await;
    let (one, other) = (clients.upload(&film).await, clients.upload(&film).await);
    for asset in [&one, &other] {
        let end = events.ended(asset, SOON).await;
        assert_eq!((end.kind.as_str(), &end.data["code"]), ("asset.failed.v1", &"decoder_crashed".into()), "{end:?}");
    }

    let found = letters(&fleet, "reason=decoder_crashed", 2).await;
    assert_eq!(listed(&fleet, &[]).await, found, "looking hides and changes nothing");
    let letter = found.iter().find(|letter| text(letter, "asset") == one).unwrap();
    assert_eq!(text(letter, "exit"), "signal SIGSEGV");
    assert_eq!((&letter["crashes"], &letter["attempts"]), (&3.into(), &3.into()));
    assert!(text(letter, "error").contains("SIGSEGV"), "{letter}");
    let head = clients.rows(&format!("SELECT bucket, object_key, etag FROM asset WHERE id = '{one}'")).await.remove(0);
    let pointer = &letter["reproducer"];
    assert_eq!(text(pointer, "source"), format!("s3://{}/{}", head[0], head[1]));
    assert_eq!(text(pointer, "etag"), head[2]);
    assert_eq!(pointer["task"]["kind"], letter["kind"]);
    let (fine, shown, _) = dlq(&fleet, &["show", text(letter, "task")]).await;
    assert!(fine && shown.contains("signal SIGSEGV") && shown.contains(&format!("s3://{}", head[0])), "{shown}");
    let row = format!("SELECT state, last_exit, last_error FROM task WHERE id = '{}'", text(letter, "task"));
    let row = clients.rows(&row).await.remove(0);
    assert_eq!((row[0].as_str(), row[1].as_str()), ("failed", "signal SIGSEGV"));

    // The cause is still there: the canary dies, and the rest stays where it is.
    let (fine, _, complaint) = dlq(&fleet, &["redrive", "--all", "--canary", "1", "--timeout", "100"]).await;
    assert!(!fine && complaint.contains("the rest (1) stays") && complaint.contains("failed again"), "{complaint}");
    assert_eq!(complaint.trim().lines().count(), 1, "{complaint}");
    // The API says the same of it.
    let canary = clients.rows("SELECT subject FROM audit WHERE what = 'dlq.redrive'").await.remove(0).remove(0);
    let sent = found.iter().find(|letter| text(letter, "task") == canary).unwrap();
    let said = fate(clients, &canary, &sent["token"]).await;
    assert_eq!(said["fate"], "badly", "{said}");
    assert!(text(&said, "why").starts_with("failed again") && text(&said, "why").contains("SIGSEGV"), "{said}");
    let found = letters(&fleet, "reason=decoder_crashed", 2).await;

    faulty.clear();
    // One comes back twice, by hand and by the command; the other by the redrive of SQS.
    let letter = found.iter().find(|letter| text(letter, "asset") == one).unwrap();
    send_again(clients, letter).await;
    let (fine, _, complaint) = dlq(&fleet, &["redrive", text(letter, "task")]).await;
    assert!(fine, "{complaint}");
    let rest = letters(&fleet, "reason=decoder_crashed", 1).await.remove(0);
    // SQS remembers where a message came from only if it moved it itself; a letter was sent, so its queue is named.
    let arn = |ending| format!("arn:aws:sqs:us-east-1:000000000000:reelfleet-{}{ending}", text(&rest, "queue"));
    let redrive = clients.sqs.start_message_move_task().source_arn(arn("-dlq")).destination_arn(arn(""));
    redrive.send().await.unwrap();
    for asset in [&one, &other] {
        events.wait(SOON, |event| event.subject == *asset && event.kind == "asset.ready.v1").await;
    }
    send_again(clients, letter).await;
    for queue in ["express", "express-dlq", "transcode", "transcode-dlq"] {
        drained(clients, queue).await;
    }
    for asset in [&one, &other] {
        let detail = clients.asset(asset).await;
        assert_eq!((&detail["state"], &detail["reason"]), (&"ready".into(), &Value::Null));
        let problems = check(clients, &detail, &Wanted::new(&film, (320, 180))).await;
        assert!(problems.is_empty(), "{}", problems.join("\n"));
        let sql = format!("SELECT body FROM event_log WHERE stream = 'asset:{asset}' ORDER BY position");
        let bodies: Vec<String> = clients.rows(&sql).await.into_iter().flatten().collect();
        let count = |kind: &str| bodies.iter().filter(|body| body.contains(&format!("\"{kind}\""))).count();
        assert_eq!((count("asset.ready.v1"), count("asset.playable.v1"), count("job.succeeded.v1")), (1, 1, 1));
        // Once when it was probed, then once per revival, never per letter.
        assert_eq!(count("job.queued.v1"), 1 + count("asset.failed.v1"), "{bodies:#?}");
        assert_eq!(count("task.dead_lettered.v1"), count("asset.failed.v1"));
    }
    assert!(listed(&fleet, &[]).await.is_empty());
    let audit = clients.rows("SELECT who, what, subject FROM audit ORDER BY at").await;
    assert_eq!(audit.len(), 2, "{audit:?}");
    assert!(audit.iter().all(|row| row[0] == "tester" && row[1] == "dlq.redrive" && row[2].starts_with("tsk_")));
    pictures_alone(&fleet, &faulty, &mut events, &film).await;
    malformed(&fleet).await;
    assert_eq!(fleet.stop().await, Some(0));
}

/// A task that its asset can do without comes back alone.
async fn pictures_alone(fleet: &Fleet, faulty: &Faulty, events: &mut Events, film: &std::path::Path) {
    let clients = &fleet.clients;
    faulty.set(Stage::Pictures, Fault::Crash);
    let asset = clients.upload(film).await;
    let by_api = clients.upload(film).await;
    let about = |kind: &'static str| {
        let asset = asset.clone();
        move |event: &reelfleet_tests::events::Pushed| event.subject == asset && event.kind == kind
    };
    events.wait(SOON, about("task.dead_lettered.v1")).await;
    let end = events.ended(&asset, SOON).await;
    assert_eq!(end.kind, "asset.ready.v1", "a film without a poster is still a film");
    let letter = letters(fleet, &format!("asset={asset},queue=thumbnail"), 1).await.remove(0);
    assert_eq!((text(&letter, "kind"), text(&letter, "exit")), ("render_thumbnails", "signal SIGSEGV"));
    letters(fleet, &format!("asset={by_api},queue=thumbnail"), 1).await;
    assert_eq!(events.ended(&by_api, SOON).await.kind, "asset.ready.v1");
    faulty.clear();

    // As if the asset had failed by another task: this letter waits for that one, then lies there again as it was.
    let is =
        async |state: &str| clients.rows(&format!("UPDATE asset SET state = '{state}' WHERE id = '{asset}'")).await;
    is("failed").await;
    let (fine, _, complaint) = dlq(fleet, &["redrive", text(&letter, "task")]).await;
    assert!(fine, "{complaint}");
    let mut back = letters(fleet, &format!("asset={asset}"), 1).await.remove(0);
    assert_ne!(back["id"], letter["id"]);
    back["id"] = letter["id"].clone();
    assert_eq!(back, letter, "a letter is never edited");
    is("ready").await;

    let filter = format!("asset={asset},kind=render_thumbnails");
    let (fine, said, complaint) = dlq(fleet, &["redrive", "--filter", &filter, "--canary", "1"]).await;
    assert!(fine && said.contains("ended well"), "{said} {complaint}");
    events.wait(SOON, about("thumbnail.ready.v1")).await;
    assert_eq!(clients.asset(&asset).await["state"], "ready");
    assert_eq!((events.count(&asset, "asset.ready.v1"), events.count(&asset, "asset.failed.v1")), (1, 0));
    canary_by_api(fleet, &by_api).await;
}

/// Calls an operator's route; whether it went well, and what it said.
async fn ops(clients: &Clients, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let (status, said) = clients.api(method, &format!("/v1/ops/letters{path}"), body).await;
    (status.as_u16(), said)
}

async fn fate(clients: &Clients, task: &str, token: &Value) -> Value {
    let (status, said) = ops(clients, Method::GET, &format!("/fate?task={task}&token={token}"), None).await;
    assert_eq!(status, 200, "{said}");
    said
}

/// One letter of a cluster goes back and is followed to its end, as the page does.
async fn canary_by_api(fleet: &Fleet, asset: &str) {
    let clients = &fleet.clients;
    let (status, found) = ops(clients, Method::GET, "", None).await;
    assert_eq!((status, &found["letters"], &found["held_elsewhere"]), (200, &json!(1), &json!(0)), "{found}");
    let cluster = &found["clusters"][0];
    assert_eq!((text(cluster, "queue"), text(cluster, "reason")), ("thumbnail", "decoder_crashed"));
    assert_eq!((text(cluster, "kind"), &cluster["letters"]), ("render_thumbnails", &json!(1)));
    let sample = &cluster["samples"][0];
    assert_eq!((text(sample, "asset"), text(sample, "exit")), (asset, "signal SIGSEGV"));
    // Another cluster's name is nobody's letter.
    let mut body = json!({ "queue": "thumbnail", "reason": "malformed", "kind": "render_thumbnails", "limit": 1 });
    let none = ops(clients, Method::POST, "/redrive", Some(body.clone())).await;
    assert_eq!(none, (200, json!({ "redriven": 0, "left": 0, "sent": [] })));
    body["queue"] = json!("nowhere");
    assert_eq!(ops(clients, Method::POST, "/redrive", Some(body.clone())).await.0, 400);

    (body["queue"], body["reason"]) = (json!("thumbnail"), json!("decoder_crashed"));
    let (status, done) = ops(clients, Method::POST, "/redrive", Some(body)).await;
    assert_eq!((status, &done["redriven"], &done["left"]), (200, &json!(1), &json!(0)), "{done}");
    let sent = &done["sent"][0];
    assert_eq!(text(sent, "task"), text(sample, "subject"));
    let began = std::time::Instant::now();
    loop {
        let said = fate(clients, text(sent, "task"), &sent["token"]).await;
        if said["fate"] == "well" {
            break;
        }
        assert!(said["fate"] == "waits" && began.elapsed() < SOON, "{said}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let who = "SELECT who, subject FROM audit WHERE what = 'dlq.redrive' ORDER BY at DESC, id DESC LIMIT 1";
    let row = clients.rows(who).await.remove(0);
    assert!(row[0] != "tester" && row[1] == text(sent, "task"), "{row:?}");
    let gone = fate(clients, "tsk_01h455vb4pex5vsknk084sn02q", &json!(1)).await;
    assert_eq!((text(&gone, "fate"), text(&gone, "why")), ("badly", "is gone"));
    assert_eq!(ops(clients, Method::GET, "/fate?task=odd", None).await.0, 400);
    assert_eq!(ops(clients, Method::GET, "/fate", None).await.0, 400);
}

/// What is thrown away by the API says who did it and why.
async fn discarded_by_api(fleet: &Fleet) {
    let clients = &fleet.clients;
    let queue = url(clients, "transcode").await;
    clients.sqs.send_message().queue_url(&queue).message_body("{\"v\":1, by hand").send().await.unwrap();
    let letter = letters(fleet, "reason=malformed", 1).await.remove(0);
    let body = |why: &str| Some(json!({ "queue": "transcode", "reason": "malformed", "why": why }));
    let (status, problem) = ops(clients, Method::POST, "/discard", body("  ")).await;
    assert_eq!((status, text(&problem, "code")), (400, "invalid_request"), "{problem}");
    let done = ops(clients, Method::POST, "/discard", body("a test of ours")).await;
    assert_eq!(done, (200, json!({ "discarded": 1, "left": 0 })));
    let sql = format!("SELECT detail FROM audit WHERE what = 'dlq.discard' AND subject = '{}'", text(&letter, "id"));
    let detail: Value = serde_json::from_str(&clients.rows(&sql).await[0][0]).unwrap();
    assert_eq!((text(&detail, "reason"), &detail["body"]), ("a test of ours", &letter["body"]));
}

/// What is no task is shown, comes back when it is sent back, and is thrown away with a line that says who did it.
async fn malformed(fleet: &Fleet) {
    let clients = &fleet.clients;
    let queue = url(clients, "transcode").await;
    let odd = "{\"v\":1, \u{1b}[31m";
    clients.sqs.send_message().queue_url(&queue).message_body(odd.replace('\u{1b}', "\t")).send().await.unwrap();
    let letter = letters(fleet, "reason=malformed", 1).await.remove(0);
    assert_eq!((text(&letter, "queue"), &letter["token"], &letter["attempts"]), ("transcode", &Value::Null, &1.into()));
    assert!(text(&letter, "reason").contains("malformed"), "{letter}");
    let (fine, table, _) = dlq(fleet, &["ls"]).await;
    assert!(fine && table.contains(text(&letter, "id")) && table.contains("malformed"), "{table}");

    let (fine, _, complaint) = dlq(fleet, &["redrive", "--all", "--canary", "1"]).await;
    assert!(!fine && complaint.contains("no canary"), "{complaint}");
    let (fine, _, _) = dlq(fleet, &["redrive", text(&letter, "id")]).await;
    assert!(fine);
    drained(clients, "transcode").await;
    let again = letters(fleet, "reason=malformed", 1).await.remove(0);
    assert_ne!(again["id"], letter["id"], "a redrive makes a new message");
    assert_eq!(again["body"], letter["body"]);

    for (args, why) in [
        (&["discard", "nothing", "--reason", "x"][..], "there is no dead letter nothing"),
        (&["redrive", "--filter", "kind=encode_chunk"], "no dead letter fits"),
        (&["discard", "--filter", "reason=malformed", "--reason", " "], "--reason"),
    ] {
        let (fine, _, complaint) = dlq(fleet, args).await;
        assert!(!fine && complaint.contains(why) && complaint.trim().lines().count() == 1, "{args:?}: {complaint}");
    }
    let (fine, _, complaint) = dlq(fleet, &["discard", text(&again, "id"), "--reason", "sent by hand"]).await;
    assert!(fine, "{complaint}");
    assert!(listed(fleet, &[]).await.is_empty());
    let audit = clients.rows("SELECT who, subject, detail FROM audit WHERE what = 'dlq.discard'").await;
    let [row] = &audit[..] else { panic!("{audit:?}") };
    assert_eq!((row[0].as_str(), row[1].as_str()), ("tester", text(&again, "id")));
    let detail: Value = serde_json::from_str(&row[2]).unwrap();
    assert_eq!((text(&detail, "reason"), &detail["body"]), ("sent by hand", &again["body"]));
    discarded_by_api(fleet).await;
}
