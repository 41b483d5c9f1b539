//! `reelfleet migrate`: harmless to repeat, and to run by several at once.

use std::process::{Output, Stdio};
use std::time::Duration;

use reelfleet_tests::executable;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

const SOON: Duration = Duration::from_secs(30);

/// The executable, with the same credentials for endpoint and clients.
fn command(args: &[&str]) -> Command {
    let mut command = Command::new(executable());
    command
        .args(args)
        .env("AWS_ACCESS_KEY_ID", "migrator")
        .env("AWS_SECRET_ACCESS_KEY", "a secret of this test alone")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_twice_or_together_migrates_once() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("aws");
    let mut endpoint = command(&["local", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(endpoint.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(SOON, lines.next_line()).await.unwrap().unwrap().unwrap();
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    let url = said["aws_endpoint"].as_str().unwrap();
    let migrate = || tokio::time::timeout(SOON, command(&["migrate"]).env("AWS_ENDPOINT_URL", url).output());
    let ran = |output: Output| {
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let number = text.strip_suffix(" migrations ran\n").unwrap_or_else(|| panic!("{text:?}"));
        number.parse::<usize>().unwrap()
    };
    let together = tokio::join!(migrate(), migrate(), migrate());
    let counts = [together.0, together.1, together.2].map(|output| ran(output.unwrap().unwrap()));
    let files = std::fs::read_dir(reelfleet_tests::root().join("schema/sql")).unwrap().count();
    assert_eq!(counts.iter().sum::<usize>(), files, "each of them once, by whoever was first: {counts:?}");
    assert_eq!(ran(migrate().await.unwrap().unwrap()), 0);
    let pid = i64::from(endpoint.id().unwrap());
    reelfleet_tests::fleet::signal(pid, "TERM");
    let status = tokio::time::timeout(SOON, endpoint.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}
