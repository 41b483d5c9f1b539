//! Restarts: of every role under load, of a process that hangs, and of the supervisor itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::primitives::ByteStream;
use futures::{SinkExt, StreamExt};
use reelfleet_messages::realtime::{ClientFrame, SUBPROTOCOL, ServerFrame, close};
use reelfleet_tests::clients::Clients;
use reelfleet_tests::fleet::signal;
use reelfleet_tests::{Events, Fleet, Options, executable, ffmpeg, media, pattern};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const SOON: Duration = Duration::from_secs(90);

/// Three seconds of small film: other bytes for each number.
fn film(number: usize) -> PathBuf {
    let path = media().join(format!("restart-{number}.mp4"));
    let (video, sound) = (pattern::pictures(160, 90, "25", 3.0), pattern::sound(3.0, 48_000));
    let title = format!("title={number}");
    let encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-c:a", "aac", "-metadata", &title];
    ffmpeg::make(&path, &[&["-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &sound][..], &encoder].concat());
    path
}

fn options(args: &[&str], env: &[(&str, &str)]) -> Options {
    let mut options = Options::args(args);
    options.env.extend(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    options
}

/// A listener that comes back as the API's page tells: with a new ticket and the positions that it saw.
struct Listener {
    clients: Clients,
    epoch: Option<String>,
    since: BTreeMap<String, i64>,
    /// (stream, position, type, asset) in the order of their coming.
    seen: Vec<(String, i64, String, String)>,
    resets: usize,
    connections: usize,
    /// Codes of closed connections.
    closed: Vec<u16>,
}

impl Listener {
    async fn listen(mut self, stop: Arc<AtomicBool>) -> Self {
        while !stop.load(Ordering::SeqCst) {
            if self.connection(&stop).await.is_none() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        self
    }

    async fn connection(&mut self, stop: &AtomicBool) -> Option<()> {
        let ask = self.clients.http.post(format!("{}/v1/realtime/tickets", self.clients.gateway));
        let answer = ask.bearer_auth(&self.clients.api_key).json(&json!({})).send().await.ok()?;
        // Not there, or on its way out: nothing else is told to a client that comes back.
        assert!(answer.status().is_success() || answer.status().is_server_error(), "{}", answer.status());
        let ticket: serde_json::Value = answer.error_for_status().ok()?.json().await.ok()?;
        let mut request = ticket["url"].as_str()?.into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.ok()?;
        let hello = ClientFrame::Hello {
            ticket: None,
            epoch: self.epoch.clone(),
            since: self.since.clone(),
            topics: vec!["ops".to_owned()],
        };
        socket.send(Message::text(serde_json::to_string(&hello).unwrap())).await.ok()?;
        self.connections += 1;
        while !stop.load(Ordering::SeqCst) {
            let message = match tokio::time::timeout(Duration::from_millis(500), socket.next()).await {
                Err(_) => continue,
                Ok(message) => message?.ok()?,
            };
            match message {
                Message::Text(text) => match serde_json::from_str(&text).unwrap() {
                    ServerFrame::Welcome { epoch, positions, .. } => {
                        self.epoch = Some(epoch);
                        for (stream, position) in positions {
                            self.since.entry(stream).or_insert(position);
                        }
                    }
                    ServerFrame::Event { stream, position, kind, subject, .. } if kind != "job.progressed.v1" => {
                        self.since.insert(stream.clone(), position);
                        self.seen.push((stream, position, kind, subject));
                    }
                    ServerFrame::Reset { .. } => self.resets += 1,
                    ServerFrame::Ping => {
                        let pong = serde_json::to_string(&ClientFrame::Pong).unwrap();
                        socket.send(Message::text(pong)).await.ok()?;
                    }
                    _ => {}
                },
                Message::Close(frame) => {
                    self.closed.extend(frame.map(|frame| u16::from(frame.code)));
                    return Some(());
                }
                _ => {}
            }
        }
        Some(())
    }
}

/// Uploads by our own client, which does what the API's page asks of clients, until told to stop. Answers how many.
async fn by_api(data: PathBuf, films: Vec<PathBuf>, stop: Arc<AtomicBool>) -> usize {
    let mut count = 0;
    while !stop.load(Ordering::SeqCst) {
        let film = &films[count % films.len()];
        let output = tokio::process::Command::new(executable())
            .args(["upload", "--data"])
            .arg(&data)
            .arg(film)
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(SOON, output).await.expect("an upload hung").unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "a client saw an error: {said}{}", String::from_utf8_lossy(&output.stdout));
        count += 1;
    }
    count
}

/// Drops by plain S3, with the SDK's own retries over as long as a restart takes.
async fn by_s3(clients: Clients, films: Vec<PathBuf>, stop: Arc<AtomicBool>) -> usize {
    let config = clients.s3.config().to_builder().retry_config(RetryConfig::standard().with_max_attempts(8));
    let s3 = aws_sdk_s3::Client::from_conf(config.build());
    let mut count = 0;
    while !stop.load(Ordering::SeqCst) {
        let body = ByteStream::from_path(&films[count % films.len()]).await.unwrap();
        let put = s3.put_object().bucket(&clients.uploads).key(format!("rolling/{count}.mp4")).body(body);
        put.send().await.unwrap_or_else(|error| panic!("a client saw an error: {error:?}"));
        count += 1;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_is_restarted_under_load_and_nobody_notices() {
    let films = tokio::task::spawn_blocking(|| (0..4).map(film).collect::<Vec<_>>()).await.unwrap();
    let timings =
        [("REELFLEET_GRACE_SECONDS", "8"), ("REELFLEET_STRANDED_SECONDS", "5"), ("REELFLEET_RECONCILE_SECONDS", "2")];
    let fleet = Fleet::start(options(&["--transcoders", "2", "--no-storyboard"], &timings)).await;
    let clients = &fleet.clients;
    let stop = Arc::new(AtomicBool::new(false));
    let heard = Arc::new(AtomicBool::new(false));
    let listener = Listener {
        clients: clients.clone(),
        epoch: None,
        since: BTreeMap::from([("ops".to_owned(), 0)]),
        seen: Vec::new(),
        resets: 0,
        connections: 0,
        closed: Vec::new(),
    };
    let listener = tokio::spawn(listener.listen(Arc::clone(&heard)));
    let api = tokio::spawn(by_api(fleet.folder(), films.clone(), Arc::clone(&stop)));
    let s3 = tokio::spawn(by_s3(clients.clone(), films, Arc::clone(&stop)));

    let began = Instant::now();
    for role in ["intake", "transcoder", "thumbnailer", "metadata", "janitor", "notifier", "gateway", "local"] {
        let pids = fleet.pids_now(role);
        for pid in &pids {
            assert!(!api.is_finished() && !s3.is_finished(), "a client gave up before {role}");
            let asked = Instant::now();
            signal(*pid, "TERM");
            fleet.replaced(role, *pid, pids.len(), Duration::from_secs(30)).await;
            println!("{role} {pid}: replaced after {:.1} s", asked.elapsed().as_secs_f64());
        }
    }
    println!("all roles after {:.1} s", began.elapsed().as_secs_f64());
    let ends = fleet.log();
    let ends: Vec<&str> = ends.lines().filter(|line| line.contains("a process ended")).collect();
    assert!(ends.len() >= 9 && ends.iter().all(|line| line.contains("exit code 0")), "{ends:#?}");
    stop.store(true, Ordering::SeqCst);
    let uploaded = api.await.unwrap() + s3.await.unwrap();
    println!("{uploaded} uploads");

    // Everything that was taken ends ready.
    let mut events = Events::of_everything(clients).await;
    let landed = tokio::time::timeout(SOON, async {
        loop {
            let assets = clients.rows("SELECT id, state FROM asset").await;
            if assets.len() >= uploaded && assets.iter().all(|asset| asset[1] == "ready") {
                return assets;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let Ok(assets) = landed.await else {
        panic!("of {uploaded}: {:?}", clients.rows("SELECT state, count(*) FROM asset GROUP BY state").await)
    };
    assert_eq!(assets.len(), uploaded, "one asset for each upload");
    for asset in &assets {
        events.ended(&asset[0], SOON).await;
        for kind in ["asset.uploaded.v1", "asset.playable.v1", "asset.ready.v1", "job.succeeded.v1"] {
            assert_eq!(events.count(&asset[0], kind), 1, "{kind} of {}", asset[0]);
        }
    }
    // The listener saw all of it, in order, once.
    tokio::time::sleep(Duration::from_secs(1)).await;
    heard.store(true, Ordering::SeqCst);
    let listener = listener.await.unwrap();
    println!("{} connections, closed by {:?}", listener.connections, listener.closed);
    let positions: Vec<i64> = listener.seen.iter().map(|event| event.1).collect();
    assert!(positions.windows(2).all(|pair| pair[1] == pair[0] + 1), "{positions:?}");
    assert_eq!((positions[0], listener.resets), (1, 0));
    let ready: BTreeSet<&String> =
        listener.seen.iter().filter(|event| event.2 == "asset.ready.v1").map(|event| &event.3).collect();
    assert_eq!(ready.len(), uploaded, "the listener missed some");
    assert!(listener.connections >= 2, "it was never interrupted");
    let faults = [close::UNAUTHENTICATED, close::FORBIDDEN, close::SLOW_CONSUMER, close::TOO_MANY, close::INTERNAL];
    assert!(listener.closed.iter().all(|code| !faults.contains(code)), "{:?}", listener.closed);
    assert_eq!(fleet.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_is_replaced_and_a_killed_supervisor_is_succeeded() {
    let film = tokio::task::spawn_blocking(crate::drain::heavy_film).await.unwrap();
    let timings = [
        ("REELFLEET_VISIBILITY_SECONDS", "4"),
        ("REELFLEET_TAKEOVER_GRACE_SECONDS", "1"),
        ("REELFLEET_STRANDED_SECONDS", "3"),
        ("REELFLEET_RECONCILE_SECONDS", "1"),
        ("REELFLEET_GRACE_SECONDS", "4"),
    ];
    let args = ["--transcoders", "1", "--thumbnailers", "0", "--liveness-seconds", "1"];
    let fleet = Fleet::start(options(&args, &timings)).await;
    let mut events = Events::of_everything(&fleet.clients).await;
    fleet.clients.drop_file("hangs.mp4", &film).await;
    let asset = events.landed("hangs.mp4", SOON).await;
    events.wait(SOON, |event| event.subject == asset && event.kind == "job.started.v1").await;

    // The transcoder hangs, for good.
    let pid = fleet.pids("transcoder")[0];
    signal(pid, "STOP");
    let asked = Instant::now();
    fleet.replaced("transcoder", pid, 1, Duration::from_secs(25)).await;
    println!("replaced after {:.1} s", asked.elapsed().as_secs_f64());
    assert!(fleet.log().contains("its health listener was silent"), "{}", fleet.log());
    events.wait(SOON, |event| event.subject == asset && event.kind == "asset.playable.v1").await;

    // The supervisor is killed in the middle of it. Its processes end, and the next one goes on.
    let pids: Vec<i64> =
        fleet.ready["pids"].as_object().unwrap().keys().flat_map(|role| fleet.pids_now(role)).collect();
    assert!(pids.len() >= 6, "{pids:?}");
    assert_eq!(events.count(&asset, "asset.ready.v1"), 0, "it was too fast");
    let (epoch, asked) = (events.epoch(), Instant::now());
    events.vanish();
    let fleet = fleet.start_again().await;
    println!("up again {:.1} s after the kill", asked.elapsed().as_secs_f64());
    for pid in pids {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&words).contains("reelfleet"), "process {pid} outlived its supervisor");
    }
    let mut events = Events::of_everything(&fleet.clients).await;
    assert_eq!(events.epoch(), epoch, "the log goes on");
    assert_eq!(events.ended(&asset, SOON).await.kind, "asset.ready.v1");
    for kind in ["asset.uploaded.v1", "asset.playable.v1", "asset.ready.v1", "job.succeeded.v1"] {
        assert_eq!(events.count(&asset, kind), 1, "{kind}");
    }
    assert_eq!(fleet.stop().await, Some(0));
}
