//! Following assets until they are ready, refused or failed.
//!
//! Guarantee: how an asset ended is what the API says of it; events only tell when to look. Without realtime it is
//! looked at every [`LOOK`].

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::client::Api;
use super::show::Show;
use super::watch::{Fact, Watch};
use crate::table;

/// How often unfinished assets are looked at, whatever is heard.
const LOOK: Duration = Duration::from_secs(5);

/// An asset to follow.
#[derive(Debug)]
pub struct Tracked {
    /// Its id.
    pub asset: String,
    /// For people.
    pub name: String,
    /// Where it came from: a path or a key.
    pub source: String,
    /// Shows how far it is.
    pub bar: ProgressBar,
}

/// How an asset ended.
#[derive(Debug)]
pub struct Outcome {
    /// For people.
    pub name: String,
    /// Where it came from.
    pub source: String,
    /// The asset as the API shows it.
    pub asset: Value,
}

impl Outcome {
    /// `ready`, `refused`, `failed`, …
    pub fn state(&self) -> &str {
        self.asset["state"].as_str().unwrap_or_default()
    }

    /// Its id.
    pub fn id(&self) -> &str {
        self.asset["id"].as_str().unwrap_or_default()
    }

    /// Why it was not made, for a person.
    pub fn reason(&self) -> Option<String> {
        let reason = self.asset["reason"].as_object()?;
        let text = |field: &str| reason.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(format!("{} ({})", text("detail"), text("code")))
    }

    /// Milliseconds from landing to playing.
    pub fn playable_ms(&self) -> Option<i64> {
        self.asset["timings"]["playable_ms"].as_i64()
    }

    /// Milliseconds from landing to ready.
    pub fn ready_ms(&self) -> Option<i64> {
        self.asset["timings"]["ready_ms"].as_i64()
    }

    /// Names of the renditions.
    pub fn renditions(&self) -> Vec<&str> {
        let list = self.asset["renditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(|rendition| rendition["name"].as_str()).collect()
    }

    /// Where a player begins.
    pub fn playlist(&self) -> Option<&str> {
        self.asset["playback"]["url"].as_str()
    }

    /// The largest poster or picture.
    pub fn poster(&self) -> Option<&str> {
        let list = self.asset["pictures"].as_array()?;
        let poster =
            list.iter().filter(|picture| picture["kind"] == "poster").max_by_key(|picture| picture["width"].as_i64());
        poster.or(list.first())?["url"].as_str()
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id(),
            "source": self.source,
            "state": self.state(),
            "reason": self.asset["reason"],
            "playable_ms": self.playable_ms(),
            "ready_ms": self.ready_ms(),
            "renditions": self.asset["renditions"],
            "playlist_url": self.playlist(),
            "poster_url": self.poster(),
        })
    }
}

/// Follows what comes by `tracked` until all of it has ended and no more comes.
pub async fn follow(
    api: &Api,
    mut watch: Watch,
    mut tracked: mpsc::Receiver<Tracked>,
    show: &Show,
    limit: Option<Duration>,
) -> anyhow::Result<Vec<Outcome>> {
    let mut pending: BTreeMap<String, Tracked> = BTreeMap::new();
    let mut outcomes = Vec::new();
    let mut more = true;
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let deadline = limit.map(|limit| Instant::now() + limit);
    while more || !pending.is_empty() {
        let mut look_at: Vec<String> = Vec::new();
        tokio::select! {
            next = tracked.recv(), if more => match next {
                Some(next) => {
                    look_at.push(next.asset.clone());
                    pending.insert(next.asset.clone(), next);
                }
                None => more = false,
            },
            fact = watch.next() => match fact {
                Fact::Look => look_at.extend(pending.keys().cloned()),
                Fact::Event { kind, asset, data } => {
                    if let Some(tracked) = pending.get(&asset)
                        && tell(show, tracked, &kind, &data)
                    {
                        look_at.push(asset);
                    }
                }
            },
            _ = tick.tick() => look_at.extend(pending.keys().cloned()),
            () = until(deadline) => {
                let names: Vec<_> = pending.values().map(|tracked| table::shown(&tracked.name, 40)).collect();
                bail!("not done within {} s: {}", limit.unwrap_or_default().as_secs(), names.join(", "));
            }
        }
        for id in look_at {
            // Not there yet: the object has just landed, or is still on its way.
            let Some(asset) = api.asset(&id).await? else { continue };
            let Some(tracked) = pending.get(&id) else { continue };
            if let Some(percent) = asset["progress"].as_f64() {
                advance(&tracked.bar, percent);
            }
            if is_over(asset["state"].as_str().unwrap_or_default())
                && let Some(Tracked { name, source, bar, .. }) = pending.remove(&id)
            {
                let outcome = Outcome { name, source, asset };
                show.ended(&bar, &outcome);
                outcomes.push(outcome);
            }
        }
    }
    Ok(outcomes)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn is_over(state: &str) -> bool {
    matches!(state, "ready" | "refused" | "failed" | "deleting" | "deleted")
}

fn advance(bar: &ProgressBar, percent: f64) {
    let now = percent.clamp(0.0, 100.0) as u64;
    // The snapshot and the pushes overtake one another.
    if now > bar.position() {
        bar.set_position(now);
    }
}

/// Shows an event; whether the asset is worth a look now.
fn tell(show: &Show, tracked: &Tracked, kind: &str, data: &Value) -> bool {
    match kind {
        "asset.uploaded.v1" => show.step(tracked, "landed"),
        "asset.probed.v1" => {
            let (width, height) = (data["width"].as_i64(), data["height"].as_i64());
            let size = width.zip(height).map_or(String::new(), |(width, height)| format!(" {width}×{height}"));
            let length =
                data["duration_ms"].as_i64().map_or(String::new(), |ms| format!(", {}", table::seconds(Some(ms))));
            show.step(tracked, &format!("{}{size}{length}", data["media"].as_str().unwrap_or("media")));
        }
        "job.progressed.v1" => advance(&tracked.bar, data["percent"].as_f64().unwrap_or(0.0)),
        "asset.playable.v1" => {
            show.step(tracked, &format!("▶ playable after {}", table::seconds(data["after_ms"].as_i64())));
            return true;
        }
        "asset.ready.v1" | "asset.refused.v1" | "asset.failed.v1" | "asset.deleting.v1" | "asset.deleted.v1" => {
            return true;
        }
        _ => {}
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_reads_the_apis_words() {
        let asset = json!({
            "id": "ast_1", "state": "refused", "reason": {"code": "empty", "detail": "the file is empty"},
            "timings": {"playable_ms": null, "ready_ms": null}, "renditions": [{"name": "720p"}, {"name": "audio"}],
            "pictures": [{"kind": "poster", "width": 320, "url": "s"}, {"kind": "poster", "width": 1280, "url": "l"}],
            "playback": null,
        });
        let outcome = Outcome { name: "n".into(), source: "s".into(), asset };
        assert_eq!(outcome.reason().as_deref(), Some("the file is empty (empty)"));
        assert_eq!(outcome.renditions(), ["720p", "audio"]);
        assert_eq!((outcome.poster(), outcome.playlist(), outcome.ready_ms()), (Some("l"), None, None));
        assert_eq!(outcome.to_json()["id"], "ast_1");
        assert!(is_over(outcome.state()) && !is_over("playable"));
    }

    #[test]
    fn progress_never_falls() {
        let bar = ProgressBar::hidden();
        for (said, shown) in [(10.5, 10), (5.0, 10), (f64::NAN, 10), (300.0, 100)] {
            advance(&bar, said);
            assert_eq!(bar.position(), shown);
        }
    }
}
