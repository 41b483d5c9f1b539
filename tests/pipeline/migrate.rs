//! `reelfleet migrate`: harmless to repeat, to run by several at once, and to run on what an earlier release left.

use std::process::{Output, Stdio};
use std::time::Duration;

use reelfleet_tests::clients::Clients;
use reelfleet_tests::{executable, fleet};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const SOON: Duration = Duration::from_secs(30);
const CREDENTIALS: [&str; 2] = ["migrator", "a secret of this test alone"];
/// The schema of the first release, and what a fleet of it left in the rows.
const FIRST: &str = include_str!("../../schema/sql/V0001__core.sql");
const ROWS: &str = include_str!("../upgrade/V0001.sql");
/// As the first release noted what it had run.
const NOTED: [&str; 2] = [
    "CREATE TABLE schema_migration (version BIGINT PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at BIGINT NOT NULL)",
    "INSERT INTO schema_migration (version, name, checksum, applied_at) \
     VALUES (1, 'core', '652b325ba1cdb86171834f639ceba96ef82478e4b33a4f72141f3c84dccd47ef', 1)",
];
/// The key that is in them.
const KEY: &str = "rf_01m8q2nayve6vt284vk7rjzatj_3db2bd5c09d8453e12e93f5f08d2bd505330579ccfab93a0adac37709bc51bbe";

/// The executable, with the same credentials for endpoint and clients.
fn command(args: &[&str]) -> Command {
    let mut command = Command::new(executable());
    command
        .args(args)
        .env("AWS_ACCESS_KEY_ID", CREDENTIALS[0])
        .env("AWS_SECRET_ACCESS_KEY", CREDENTIALS[1])
        .env("AWS_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// An endpoint on an empty folder, and its URL.
async fn endpoint(folder: &TempDir) -> (Child, String) {
    let data = folder.path().join("aws");
    let mut endpoint = command(&["local", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(endpoint.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(SOON, lines.next_line()).await.unwrap().unwrap().unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    (endpoint, said["aws_endpoint"].as_str().unwrap().to_owned())
}

/// Ends a process as its supervisor does.
async fn end(mut process: Child) {
    fleet::signal(i64::from(process.id().unwrap()), "TERM");
    let status = tokio::time::timeout(SOON, process.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}

/// How many migrations ran.
fn ran(output: Output) -> usize {
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let number = text.strip_suffix(" migrations ran\n").unwrap_or_else(|| panic!("{text:?}"));
    number.parse::<usize>().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_twice_or_together_migrates_once() {
    let folder = TempDir::new().unwrap();
    let (endpoint, url) = endpoint(&folder).await;
    let migrate = || tokio::time::timeout(SOON, command(&["migrate"]).env("AWS_ENDPOINT_URL", &url).output());
    let together = tokio::join!(migrate(), migrate(), migrate());
    let counts = [together.0, together.1, together.2].map(|output| ran(output.unwrap().unwrap()));
    let files = std::fs::read_dir(reelfleet_tests::root().join("schema/sql")).unwrap().count();
    assert_eq!(counts.iter().sum::<usize>(), files, "each of them once, by whoever was first: {counts:?}");
    assert_eq!(ran(migrate().await.unwrap().unwrap()), 0);
    end(endpoint).await;
}

/// A gateway on that endpoint, and its URL.
async fn gateway(endpoint: &str) -> (Child, String) {
    let mut gateway = command(&["gateway", "--log-format", "json", "--gateway-listen", "127.0.0.1:0"])
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("REELFLEET_PLAYBACK_SECRET", "0123456789abcdef0123456789abcdef")
        .env("RUST_LOG", "info")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(gateway.stderr.take().unwrap()).lines();
    let listens = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let said: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            if said["message"] == "gateway listens" {
                return format!("http://{}", said["address"].as_str().unwrap());
            }
        }
        panic!("it ended");
    };
    let url = tokio::time::timeout(SOON, listens).await.unwrap();
    // Its log goes on, and must not fill up.
    tokio::spawn(async move { while lines.next_line().await.is_ok_and(|line| line.is_some()) {} });
    (gateway, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_the_first_release_is_migrated_and_serves() {
    let folder = TempDir::new().unwrap();
    let (endpoint, url) = endpoint(&folder).await;
    let clients = |gateway: &str| {
        let [id, secret] = CREDENTIALS;
        Clients::new(&json!({
            "aws_endpoint": url, "region": "us-east-1", "access_key_id": id, "secret_access_key": secret,
            "gateway": gateway, "api_key": KEY,
            "uploads_bucket": "reelfleet-uploads", "outputs_bucket": "reelfleet-outputs",
        }))
    };
    let before = clients("");
    for statement in FIRST
        .split(';')
        .chain(NOTED)
        .chain(ROWS.split(";\n"))
        .filter(|sql| sql.contains("CREATE ") || sql.contains("INSERT "))
    {
        before.rows(statement).await;
    }
    let run = |args: &'static [&'static str]| {
        tokio::time::timeout(SOON, command(args).env("AWS_ENDPOINT_URL", &url).output())
    };
    ran(run(&["migrate"]).await.unwrap().unwrap());
    assert_eq!(ran(run(&["migrate"]).await.unwrap().unwrap()), 0);
    let made = run(&["provision"]).await.unwrap().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let (gateway, address) = gateway(&url).await;
    let clients = clients(&address);
    let (status, page) = clients.api(Method::GET, "/v1/assets", None).await;
    assert_eq!((status, page["assets"].as_array().map(Vec::len)), (StatusCode::OK, Some(1)), "{page}");
    let asset = page["assets"][0]["id"].as_str().unwrap();
    let detail = clients.asset(asset).await;
    assert_eq!((&detail["state"], &detail["name"]), (&json!("ready"), &json!("film.mp4")), "{detail}");
    assert!(detail["estimate"]["micros"]["likely"].as_u64() > Some(0), "as the first release wrote it: {detail}");
    let key = format!("out/{asset}/g1/master.m3u8");
    let list = "#EXTM3U\n#EXT-X-VERSION:7\n";
    let object = clients.s3.put_object().bucket(&clients.outputs).key(&key).body(list.as_bytes().to_vec().into());
    object.send().await.unwrap();
    let played =
        clients.http.get(detail["playback"]["url"].as_str().unwrap().replace("http://localhost:8080", &address));
    let played = played.send().await.unwrap();
    assert_eq!(played.status(), StatusCode::OK);
    assert!(played.text().await.unwrap().starts_with("#EXTM3U"));
    // What was begun may be gone on with, and new things begun.
    let open = clients.api(Method::GET, "/v1/uploads", None).await.1;
    assert_eq!(open["uploads"][0]["name"], "unsent.mp4", "{open}");
    let (status, upload) =
        clients.api(Method::POST, "/v1/uploads", Some(json!({ "name": "new.mp4", "size": 5 }))).await;
    assert_eq!(status, StatusCode::CREATED, "{upload}");
    let told = run(&["status", "--json"]).await.unwrap().unwrap();
    let told: Value = serde_json::from_slice(&told.stdout).unwrap_or_else(|_| panic!("{told:?}"));
    assert_eq!((&told["assets"]["ready"], &told["paused"]), (&json!(1), &json!(["backfill"])), "{told}");
    end(gateway).await;
    end(endpoint).await;
}
