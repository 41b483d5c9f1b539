//! Files that make a decoder hang, die or eat memory, and hostile media by the hundred: each ends in a result or in a
//! reason, no worker dies of it, and whoever waits behind it waits for one task at most.

#[path = "../hostile/mod.rs"]
mod corpus;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reelfleet_tests::clients::Clients;
use reelfleet_tests::{Events, Fleet, Options, ffmpeg, media, pattern};

const SOON: Duration = Duration::from_secs(120);
/// A decoder without progress for this long has stalled.
const NO_PROGRESS: Duration = Duration::from_secs(1);
/// What a busy machine may add to a neighbour's time besides one task.
const SLACK: Duration = Duration::from_secs(10);

/// The decoder's example that does wrong where a source tells it to; built with the tests, or now.
fn faulty() -> PathBuf {
    let built = reelfleet_tests::executable().with_file_name("examples").join("faulty");
    if !built.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let args = ["build", "--quiet", "-p", "reelfleet-decoder", "--example", "faulty"];
        let status = std::process::Command::new(cargo).args(args).current_dir(reelfleet_tests::root()).status();
        assert!(status.unwrap().success(), "the faulty decoder does not build");
    }
    built
}

fn small_film() -> PathBuf {
    let path = media().join("neighbour.mp4");
    let video = pattern::pictures(160, 90, "25", 1.0);
    ffmpeg::make(&path, &["-f", "lavfi", "-i", &video, "-c:v", "libx264", "-preset", "ultrafast"]);
    path
}

/// The film with a box in front that tells the decoder what to do wrong.
fn telling(film: &Path, fault: &str) -> PathBuf {
    let text = format!("FAULT:{fault};");
    let head = [&(text.len() as u32 + 8).to_be_bytes()[..], b"free", text.as_bytes()].concat();
    let path = media().join(format!("{}.mp4", fault.replace(':', "-")));
    std::fs::write(&path, [head, std::fs::read(film).unwrap()].concat()).unwrap();
    path
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// Drops neighbours one after the other and says how long each took to be ready.
async fn neighbours(clients: &Clients, events: &mut Events, film: &Path, tag: &str, count: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for n in 0..count {
        let (key, began) = (format!("good/{tag}-{n}.mp4"), Instant::now());
        clients.drop_file(&key, film).await;
        let asset = events.landed(&format!("{tag}-{n}.mp4"), SOON).await;
        let end = events.ended(&asset, SOON).await;
        assert_eq!(end.kind, "asset.ready.v1", "{key}: {end:?}");
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times
}

/// Attributes of the dead letter about an asset, wherever it lies.
async fn letter(clients: &Clients, asset: &str) -> BTreeMap<String, String> {
    let queues = clients.sqs.list_queues().queue_name_prefix("reelfleet-").send().await.unwrap();
    let letters: Vec<String> = queues.queue_urls().iter().filter(|url| url.ends_with("-dlq")).cloned().collect();
    let found = async {
        loop {
            for url in &letters {
                let ask = clients.sqs.receive_message().queue_url(url).max_number_of_messages(10).visibility_timeout(0);
                let got = ask.message_attribute_names("All").wait_time_seconds(1).send().await.unwrap();
                for message in got.messages() {
                    let said = message.message_attributes().into_iter().flatten();
                    let said: BTreeMap<String, String> =
                        said.filter_map(|(n, v)| Some((n.clone(), v.string_value()?.to_owned()))).collect();
                    if said.get("reelfleet-asset").is_some_and(|of| of == asset) {
                        return said;
                    }
                }
            }
        }
    };
    tokio::time::timeout(SOON, found).await.unwrap_or_else(|_| panic!("no dead letter about {asset}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decoder_that_hangs_or_eats_memory_three_times_is_given_up_with_the_reason_and_delays_nobody() {
    let (film, program) = tokio::task::spawn_blocking(|| (small_film(), faulty())).await.unwrap();
    let mut options = Options::args(&["--transcoders", "1"]);
    for (name, value) in [
        ("REELFLEET_DECODER", program.to_string_lossy().into_owned()),
        ("REELFLEET_DECODER_NO_PROGRESS_SECONDS", NO_PROGRESS.as_secs().to_string()),
    ] {
        options.env.push((name.to_owned(), value));
    }
    let fleet = Fleet::start(options).await;
    let clients = &fleet.clients;
    let mut events = Events::of_everything(clients).await;
    let quiet = neighbours(clients, &mut events, &film, "quiet", 3).await;

    // What it does, and what is said of it.
    let faults = [
        ("encode:hang", "no progress", "stall"),
        ("probe:spin", "no progress", "stall"),
        ("encode:memory", "memory allocation", "SIGABRT"),
        ("encode:kill", "SIGKILL", "SIGKILL"),
    ];
    for (fault, ..) in faults {
        let path = telling(&film, fault);
        clients.drop_file(&format!("bad/{}", name(&path)), &path).await;
    }
    let beside = neighbours(clients, &mut events, &film, "beside", 5).await;
    println!("neighbours alone {quiet:?}, beside {} faults {beside:?}", faults.len());
    let (alone, median) = (quiet[quiet.len() / 2], beside[beside.len() / 2]);
    assert!(median <= alone + NO_PROGRESS + SLACK, "the median neighbour took {median:?}, alone {alone:?}");

    for (fault, why, exit) in faults {
        let asset = events.landed(&name(&telling(&film, fault)), SOON).await;
        let end = events.ended(&asset, SOON).await;
        assert_eq!((end.kind.as_str(), &end.data["code"]), ("asset.failed.v1", &"decoder_crashed".into()), "{fault}");
        let said = letter(clients, &asset).await;
        let reason = &said["reelfleet-reason"];
        assert!(
            reason.starts_with("decoder_crashed: ") && reason.contains("3 times") && reason.contains(why),
            "{reason}"
        );
        assert!(said["reelfleet-exit"].contains(exit), "{fault}: {said:?}");
        assert_eq!(said["reelfleet-crashes"], "3", "{fault}");
    }
    still_there(&fleet);
}

/// No process of the fleet has died or was started again.
fn still_there(fleet: &Fleet) {
    let roles: Vec<String> = fleet.ready["pids"].as_object().unwrap().keys().cloned().collect();
    for role in roles {
        for pid in fleet.pids(&role) {
            assert!(Path::new(&format!("/proc/{pid}")).exists(), "{role} {pid} has died");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long"]
async fn hundreds_of_hostile_inputs_go_through_a_whole_fleet() {
    const COUNT: u64 = 600;
    let made = || (corpus::Corpus::make(&reelfleet_tests::root().join(".reelfleet/hostile-bases")), small_film());
    let (corpus, film) = tokio::task::spawn_blocking(made).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(Options::args(&["--transcoders", "2"])).await;
    let clients = &fleet.clients;
    let mut events = Events::of_everything(clients).await;
    let quiet = neighbours(clients, &mut events, &film, "quiet", 3).await;
    let (mut sent, mut beside) = (Vec::new(), Vec::new());
    let began = Instant::now();
    for n in 0..COUNT {
        let case = corpus.case(2, n);
        let path = folder.path().join(format!("hostile-{n}.mp4"));
        std::fs::write(&path, &case.bytes).unwrap();
        clients.drop_file(&format!("bad/hostile-{n}.mp4"), &path).await;
        sent.push((n, case.name));
        if n % 100 == 99 {
            beside.extend(neighbours(clients, &mut events, &film, &format!("beside-{n}"), 1).await);
        }
    }
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut problems = Vec::new();
    for (n, case) in sent {
        let asset = events.landed(&format!("hostile-{n}.mp4"), SOON).await;
        let end = events.ended(&asset, SOON * 5).await;
        let (code, detail) = (end.data["code"].as_str().unwrap_or(""), end.data["detail"].as_str().unwrap_or(""));
        *counts.entry(format!("{} {code}", end.kind)).or_default() += 1;
        let unclear = end.kind != "asset.ready.v1" && (detail.len() < 10 || !detail.contains(' '));
        if unclear || ["decoder_crashed", "attempts_exhausted"].contains(&code) {
            problems.push(format!("{case}: {} {}", end.kind, end.data));
        }
    }
    println!("{COUNT} inputs, {} crafted, in {:?}: {counts:#?}", corpus.crafted(), began.elapsed());
    beside.sort_unstable();
    println!("neighbours alone {quiet:?}, behind up to 100 hostile inputs each {beside:?}");
    still_there(&fleet);
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}
