//! One asset again, and many: what has failed is retried, what is ready is made anew beside itself, by hand or by a
//! campaign that no upload waits behind.

use std::path::Path;
use std::time::Duration;

use reelfleet_tests::{Fault, Faulty, Fleet, Options, Stage, Wanted, check, ffmpeg, media};
use serde_json::{Value, json};

use crate::scale::{command, count, film, until_some};

/// The ids of all films in a state, by their ids.
async fn assets(fleet: &Fleet, state: &str) -> Vec<String> {
    let sql = format!("SELECT id FROM asset WHERE state = '{state}' AND name LIKE '%.mp4' ORDER BY id");
    fleet.clients.rows(&sql).await.into_iter().flatten().collect()
}

/// Runs a command that must go well.
async fn fine(fleet: &Fleet, args: &[&str]) -> String {
    let (fine, said) = command(fleet, args).await;
    assert!(fine, "{args:?}: {said}\n{}", fleet.log());
    said
}

/// Waits until an asset is ready in a generation; it must be ready all the time.
async fn generation(fleet: &Fleet, asset: &str, wanted: i64) {
    let sql = format!("SELECT count(*) FROM asset WHERE id = '{asset}' AND generation = {wanted}");
    let reached = async {
        while count(&fleet.clients, &sql).await == 0 {
            assert_eq!(fleet.clients.asset(asset).await["state"], "ready", "it is never taken away");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let reached = tokio::time::timeout(Duration::from_secs(60), reached).await;
    reached.unwrap_or_else(|_| panic!("{asset} has no generation {wanted}:\n{}", fleet.log()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_retried_and_what_is_ready_is_made_anew_beside_itself() {
    let film = tokio::task::spawn_blocking(film).await.unwrap();
    let faulty = tokio::task::spawn_blocking(Faulty::new).await.unwrap();
    let mut options = Options::args(&["--transcoders", "1", "--scale-in-after", "1"]);
    options.env.push(("REELFLEET_DECODER".into(), faulty.program()));
    let fleet = Fleet::start(options).await;
    let clients = &fleet.clients;

    // A crash ends it; once the cause is gone, a retry takes up what had ended.
    faulty.set(Stage::Encode, Fault::Crash);
    clients.drop_file("replay/one.mp4", &film).await;
    until_some(&fleet, "SELECT count(*) FROM asset WHERE state = 'failed'").await;
    faulty.clear();
    let one = assets(&fleet, "failed").await.remove(0);
    let (is_fine, said) = command(&fleet, &["replay", &one, "--from", "transcode"]).await;
    assert!(!is_fine && said.contains("what has failed is retried"), "{said}");
    fine(&fleet, &["retry", &one]).await;
    until_some(&fleet, "SELECT count(*) FROM asset WHERE state = 'ready'").await;
    let (is_fine, said) = command(&fleet, &["retry", &one]).await;
    assert!(!is_fine && said.contains("only what has failed is retried"), "{said}");

    // A step by hand. The pictures go with a new generation, and are made again in the present one.
    fine(&fleet, &["replay", &one, "--from", "transcode"]).await;
    generation(&fleet, &one, 2).await;
    let detail = clients.asset(&one).await;
    let problems = check(clients, &detail, &Wanted::new(&film, (426, 240))).await;
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let pictures = |generation| {
        format!("SELECT name FROM picture WHERE asset_id = '{one}' AND generation = {generation} ORDER BY name")
    };
    assert_eq!(clients.rows(&pictures(2)).await, clients.rows(&pictures(1)).await);
    let keys = clients.outputs(&format!("out/{one}/g2/")).await;
    for name in clients.rows(&pictures(2)).await.into_iter().flatten() {
        assert!(keys.iter().any(|key| key.ends_with(&format!("/{name}"))), "{name} of {keys:?}");
    }
    let master = format!("out/{one}/g2/master.m3u8");
    clients.s3.delete_object().bucket(&clients.outputs).key(&master).send().await.unwrap();
    for step in ["publish", "pictures", "metadata"] {
        fine(&fleet, &["replay", &one, "--from", step]).await;
    }
    let over = format!(
        "SELECT count(*) FROM asset a WHERE id = '{one}' AND described = version AND NOT EXISTS \
                        (SELECT 1 FROM task t WHERE t.asset_id = a.id AND t.state <> 'done')"
    );
    until_some(&fleet, &over).await;
    assert!(clients.outputs(&master).await.contains(&master), "the list is back");
    looked_at_again(&fleet, &film, &one).await;
    campaign(&fleet, &film, &one).await;
    assert_eq!(fleet.stop().await, Some(0));
}

/// What was recorded of it is wrong: another look finds what is so, and what follows from that is made anew.
async fn looked_at_again(fleet: &Fleet, film: &Path, one: &str) {
    let clients = &fleet.clients;
    let still = media().join("replay-still.jpg");
    ffmpeg::make(&still, &["-f", "lavfi", "-i", "testsrc2=s=64x48", "-frames:v", "1"]);
    clients.drop_file("replay/still.jpg", &still).await;
    let picture = "SELECT id FROM asset WHERE name = 'still.jpg' AND state = 'ready'";
    until_some(fleet, &format!("SELECT count(*) FROM asset WHERE id = ({picture})")).await;
    let still = clients.rows(picture).await.remove(0).remove(0);
    for asset in [one, &still] {
        let known = format!("SELECT duration_ms, width, height, probe FROM asset WHERE id = '{asset}'");
        let right = clients.rows(&known).await;
        clients.rows(&format!("UPDATE asset SET width = 1, probe = '{{}}' WHERE id = '{asset}'")).await;
        fine(fleet, &["replay", asset, "--from", "probe"]).await;
        let made = if asset == one { 3 } else { 1 };
        let over = format!(
            "SELECT count(*) FROM asset a WHERE id = '{asset}' AND generation = {made} AND width <> 1 AND NOT EXISTS \
             (SELECT 1 FROM task t WHERE t.asset_id = a.id AND t.state <> 'done')"
        );
        until_some(fleet, &over).await;
        assert_eq!(clients.rows(&known).await, right);
    }
    let problems = check(clients, &clients.asset(one).await, &Wanted::new(film, (426, 240))).await;
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// All of them anew, two at a time, while another upload comes.
async fn campaign(fleet: &Fleet, film: &Path, one: &str) {
    let clients = &fleet.clients;
    for name in ["two", "three"] {
        clients.drop_file(&format!("replay/{name}.mp4"), film).await;
    }
    let all =
        "SELECT CASE WHEN count(*) = 4 AND min(state) = 'ready' AND max(state) = 'ready' THEN 1 ELSE 0 END FROM asset";
    until_some(fleet, all).await;
    let old = assets(fleet, "ready").await;
    let start = ["backfill", "start", "again", "--older-than", "2100-01-01", "--parallel", "2"];
    let said = fine(fleet, &start).await;
    assert!(said.contains("again: 3 assets, 2 at once"), "{said}");
    let (is_fine, said) = command(fleet, &start).await;
    assert!(!is_fine && said.contains("there is a campaign again"), "{said}");
    for (turn, state) in [("pause", "paused"), ("resume", "running")] {
        fine(fleet, &["backfill", turn, "again"]).await;
        let listed: Value = serde_json::from_str(&fine(fleet, &["backfill", "ls", "--json"]).await).unwrap();
        assert_eq!(listed[0]["state"], state, "{listed}");
    }
    until_some(fleet, "SELECT count(*) FROM campaign WHERE handed > 0").await;
    clients.drop_file("replay/fresh.mp4", film).await;
    until_some(fleet, "SELECT count(*) FROM asset WHERE name = 'fresh.mp4' AND state = 'ready'").await;
    until_some(fleet, "SELECT count(*) FROM campaign WHERE state = 'done'").await;
    for asset in &old {
        generation(fleet, asset, if asset == one { 4 } else { 2 }).await;
        let problems = check(clients, &clients.asset(asset).await, &Wanted::new(film, (426, 240))).await;
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
    let listed: Value = serde_json::from_str(&fine(fleet, &["backfill", "ls", "--json"]).await).unwrap();
    // It may have come to the fresh one before it was over: by its name it is not older than that.
    let made = listed[0]["made"].as_i64().unwrap();
    assert!(made >= 3 && listed[0]["failed"] == json!(0), "{listed}");
    // Its own workers did it, every step of it, and have gone.
    let queues = "SELECT DISTINCT t.queue FROM task t JOIN campaign_job c ON c.job_id = t.job_id";
    assert_eq!(clients.rows(queues).await, [["backfill"]]);
    assert_eq!(
        count(
            clients,
            "SELECT count(*) FROM task WHERE queue = 'backfill' AND job_id NOT IN (SELECT job_id FROM campaign_job)"
        )
        .await,
        0
    );
    let gone = async {
        while !fleet.pids_now("backfill").is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("the campaign's workers stay");
    let who = clients.rows("SELECT DISTINCT what FROM audit WHERE who = 'tester' ORDER BY what").await;
    let who: Vec<String> = who.into_iter().flatten().collect();
    assert_eq!(who, ["backfill.pause", "backfill.resume", "backfill.start", "replay", "retry"]);
}
