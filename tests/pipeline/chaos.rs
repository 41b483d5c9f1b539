//! A short storm: processes killed and paused, faults on, and every promise holds after it.

use std::process::Stdio;
use std::time::Duration;

use reelfleet_tests::{executable, media, root};
use serde_json::Value;

/// It ends by itself long before, whatever happens.
const SOON: Duration = Duration::from_secs(400);

#[tokio::test(flavor = "multi_thread")]
async fn a_short_storm_breaks_no_promise() {
    let tiny = media().join("tiny");
    let made = tokio::process::Command::new(root().join("scripts/tiny-media.sh")).arg(&tiny).status().await.unwrap();
    assert!(made.success(), "media were not made");
    let data = tempfile::tempdir().unwrap();
    let storm = tokio::process::Command::new(executable())
        .args(["chaos", "--json", "--keep", "--seed", "7", "--assets", "40", "--kills", "20", "--clients", "4"])
        .args(["--every-ms", "2000"])
        .arg("--data")
        .arg(data.path())
        .arg("--media")
        .arg(&tiny)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(SOON, storm).await.expect("the storm does not end").unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let mut broken = Vec::new();
    for check in report["checks"].as_array().unwrap() {
        println!("{}: {}", check["promise"].as_str().unwrap(), check["looked_at"].as_str().unwrap());
        if check["violations"].as_array().is_none_or(|violations| !violations.is_empty()) {
            broken.push(format!("{check:#}"));
        }
    }
    println!("{:#}", report["figures"]);
    if !output.status.success() || !broken.is_empty() {
        panic!("{} {}\nevidence: {}", output.status, broken.join("\n"), data.keep().display());
    }
    // It was a storm: everybody was struck, and what should have been sent was.
    let figure = |name: &str| report["figures"][name].as_u64().unwrap();
    assert!(figure("kills") >= 20, "{report:#}");
    let blows = report["figures"]["blows"].as_object().unwrap();
    for role in ["transcoder", "decoder", "intake", "notifier", "gateway", "endpoint"] {
        assert!(blows.contains_key(&format!("kill {role}")), "{role} was never killed: {blows:?}");
    }
    assert!(blows.keys().any(|blow| blow.starts_with("stop ")), "nobody was paused: {blows:?}");
    assert!(figure("acknowledged") >= 36, "{report:#}");
}
