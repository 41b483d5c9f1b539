//! The blows, one after the other, and what became of each.
//!
//! Guarantee: a blow counts only if a process took it; whoever was paused goes on before the storm is over; faults are
//! set again whenever the endpoint, which forgets them, comes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::Request;
use reelfleet_catalog::Catalog;
use rustix::process::Signal;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::processes::{Held, Processes};
use super::schedule::{Blow, Deed, Schedule, Victim};
use crate::http_client::{Http, empty, full};

/// A victim that does not show up for so long is passed over.
const WAIT: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const ADMIN: Duration = Duration::from_secs(5);

/// One blow as it was struck.
#[derive(Clone, Debug, Serialize)]
pub struct Struck {
    /// Milliseconds since the storm began.
    pub at_ms: u64,
    /// Who.
    pub victim: Victim,
    /// `kill`, or `stop`.
    pub deed: &'static str,
    /// Milliseconds of a pause.
    pub for_ms: Option<u64>,
    /// The process; none was there.
    pub pid: Option<u32>,
}

/// What a storm needs.
pub struct Storm {
    /// The fleet's.
    pub processes: Processes,
    /// Says who has what to relay.
    pub catalog: Catalog,
    /// Sets and ends faults.
    pub faults: Faults,
    /// One permit for each upload that may begin.
    pub gate: Arc<Semaphore>,
}

impl Storm {
    /// Strikes until so many kills were taken; each of them lets its share of the uploads begin. Answers with the blows
    /// and with the requests that faults befell before the endpoint's last start.
    pub async fn rage(&self, schedule: Schedule, kills: usize, uploads: usize) -> (Vec<Struck>, u64) {
        let (began, mut befallen) = (Instant::now(), 0);
        let (mut diary, mut paused) = (Vec::new(), JoinSet::new());
        let mut taken = 0;
        // A share of the uploads is on its way before each kill falls.
        let (mut open, share) = (0, |kill: usize| (uploads * kill).div_ceil(kills.max(1)).min(uploads));
        let mut let_in = |until: usize| {
            self.gate.add_permits(until.saturating_sub(open));
            open = open.max(until);
        };
        for blow in schedule {
            if taken >= kills {
                break;
            }
            let_in(share(taken + 1));
            sleep(blow.after).await;
            if matches!(blow.victim, Victim::Decoder | Victim::Relay) {
                // They are there while there is work: the next share comes now.
                let_in(share(taken + 2));
            }
            if blow.victim == Victim::Endpoint {
                // It counts from its start.
                befallen += self.faults.befallen().await.unwrap_or(0);
            }
            let held = self.strike(&blow).await;
            if held.is_some() && blow.deed == Deed::Kill {
                taken += 1;
                self.faults.keep(blow.victim);
            }
            let (deed, for_ms) = match blow.deed {
                Deed::Kill => ("kill", None),
                Deed::Stop(length) => ("stop", u64::try_from(length.as_millis()).ok()),
            };
            let at_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            diary.push(Struck { at_ms, victim: blow.victim, deed, for_ms, pid: held.as_ref().map(|held| held.pid) });
            if let (Some(held), Deed::Stop(length)) = (held, blow.deed) {
                paused.spawn(async move {
                    sleep(length).await;
                    // It may have been killed meanwhile, by us or for its silence.
                    held.signal(Signal::CONT);
                });
            }
        }
        while paused.join_next().await.is_some() {}
        (diary, befallen)
    }

    /// The process that took the blow, if any did.
    async fn strike(&self, blow: &Blow) -> Option<Held> {
        let signal = match blow.deed {
            Deed::Kill => Signal::KILL,
            Deed::Stop(_) => Signal::STOP,
        };
        let deadline = Instant::now() + WAIT;
        loop {
            let candidates = self.candidates(blow.victim).await;
            if let Some(count) = u64::try_from(candidates.len()).ok().filter(|count| *count > 0) {
                let index = usize::try_from(blow.pick % count).unwrap_or_default();
                let held = candidates.get(index).and_then(|pid| self.processes.hold(*pid));
                if let Some(held) = held.filter(|held| held.signal(signal)) {
                    return Some(held);
                }
            }
            if Instant::now() > deadline {
                return None;
            }
            // Processes come and go without telling.
            sleep(LOOK_EVERY).await;
        }
    }

    async fn candidates(&self, victim: Victim) -> Vec<u32> {
        match victim {
            Victim::Endpoint => self.processes.role("local"),
            Victim::Zygote => self.processes.zygotes(),
            Victim::Decoder => self.processes.decoders(),
            Victim::Relay => self.relays().await,
            other => self.processes.role(other.as_str()),
        }
    }

    /// Processes that hold rows of the outbox, by the process ids in their names.
    async fn relays(&self) -> Vec<u32> {
        let Ok(holders) = self.catalog.outbox_holders().await else { return Vec::new() };
        let living: Vec<u32> = self.processes.by_role().into_values().flatten().collect();
        let holds = |pid: &u32| holders.iter().any(|(instance, _)| instance.contains(&format!("-{pid}-")));
        living.into_iter().filter(holds).collect()
    }
}

/// The endpoint's faults.
#[derive(Clone)]
pub struct Faults {
    http: Arc<Http>,
    endpoint: String,
    rules: Option<String>,
}

impl Faults {
    /// Of the endpoint at this URL: a JSON list of rules, or none.
    pub fn new(http: Arc<Http>, endpoint: &str, rules: Option<String>) -> Self {
        Self { http, endpoint: endpoint.to_owned(), rules }
    }

    /// Sets them.
    pub async fn begin(&self) -> anyhow::Result<()> {
        match &self.rules {
            Some(rules) => self.set(rules).await,
            None => Ok(()),
        }
    }

    /// Ends them.
    pub async fn end(&self) -> anyhow::Result<()> {
        self.set("[]").await
    }

    /// Sets them again if it was the endpoint that was killed.
    fn keep(&self, victim: Victim) {
        if victim != Victim::Endpoint || self.rules.is_none() {
            return;
        }
        let faults = self.clone();
        tokio::spawn(async move {
            while faults.begin().await.is_err() {
                sleep(LOOK_EVERY).await;
            }
        });
    }

    /// Requests that faults befell since the endpoint started.
    pub async fn befallen(&self) -> anyhow::Result<u64> {
        let request = Request::get(format!("{}/_reelfleet/faults", self.endpoint)).body(empty())?;
        let answer: Value = serde_json::from_slice(self.http.fetch(request, ADMIN).await?.body())?;
        Ok(answer["rules"].as_array().into_iter().flatten().filter_map(|rule| rule["befell"].as_u64()).sum())
    }

    async fn set(&self, rules: &str) -> anyhow::Result<()> {
        let request = Request::post(format!("{}/_reelfleet/faults", self.endpoint)).body(full(rules.to_owned()))?;
        let answer = self.http.fetch(request, ADMIN).await?;
        let said = String::from_utf8_lossy(answer.body());
        ensure!(answer.status().is_success(), "the endpoint does not take the faults: {} {said}", answer.status());
        Ok(())
    }
}

/// Blows that were taken, by what they were.
pub fn tally(diary: &[Struck]) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for struck in diary {
        let what = if struck.pid.is_some() { struck.deed } else { "missed" };
        *tally.entry(format!("{what} {}", struck.victim.as_str())).or_default() += 1;
    }
    tally
}

/// Kills that were taken.
pub fn kills(diary: &[Struck]) -> usize {
    diary.iter().filter(|struck| struck.pid.is_some() && struck.deed == "kill").count()
}

/// The rules of a file, which draw from `seed` unless they say otherwise.
pub fn rules(which: &str, seed: u64) -> anyhow::Result<Option<String>> {
    let text = match which {
        "none" => return Ok(None),
        "default" => include_str!("faults.json").to_owned(),
        file => std::fs::read_to_string(file).with_context(|| format!("{file} can't be read"))?,
    };
    let mut rules: Vec<serde_json::Map<String, Value>> =
        serde_json::from_str(&text).with_context(|| format!("{which} is no JSON list of rules"))?;
    for rule in &mut rules {
        rule.entry("seed").or_insert_with(|| seed.into());
    }
    Ok(Some(serde_json::to_string(&rules)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blows_that_nobody_took_do_not_count() {
        let struck = |deed, pid| Struck { at_ms: 1, victim: Victim::Relay, deed, for_ms: None, pid };
        let diary = [struck("kill", Some(3)), struck("kill", None), struck("stop", Some(4))];
        assert_eq!(kills(&diary), 1);
        let tally = tally(&diary);
        assert_eq!(tally.keys().collect::<Vec<_>>(), ["kill relay", "missed relay", "stop relay"]);
    }

    #[test]
    fn faults_draw_from_the_seed() {
        let text = rules("default", 7).unwrap().unwrap();
        let rules: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert!(rules.len() > 5 && rules.iter().all(|rule| rule["seed"] == 7 && rule["service"].is_string()));
        assert!(super::rules("none", 7).unwrap().is_none());
        assert!(super::rules("/nowhere/at/all", 7).is_err());
    }
}
