//! Waiting for quiet: everything that was begun has come to its end.
//!
//! Guarantee: quiet is a named condition, never a length of time; a fleet that makes no progress towards it for
//! [`STUCK`] is stuck, and what it is stuck on is told.

use std::collections::BTreeMap;
use std::time::Duration;

use reelfleet_catalog::Catalog;
use reelfleet_fleet::Context;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::status;

/// Without progress for so long, there will be none.
const STUCK: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A person who waits hears of it so often at most.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// States in which an asset stays.
const ENDS: [&str; 6] = ["ready", "refused", "failed", "deleted", "awaiting_approval", "parked"];

/// How far the fleet is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Level {
    /// Assets by state.
    pub assets: BTreeMap<String, i64>,
    /// Unfinished tasks by kind.
    pub tasks: BTreeMap<String, i64>,
    /// Rows that have to leave.
    pub outbox: i64,
    /// Messages by queue, dead-letter queues apart.
    pub queues: BTreeMap<String, u64>,
}

impl Level {
    async fn now(context: &Context, catalog: &Catalog) -> anyhow::Result<Self> {
        let mut level = Self { assets: catalog.asset_counts().await?.into_iter().collect(), ..Self::default() };
        for (_, kind, state, count) in catalog.task_counts().await? {
            if state != "failed" {
                *level.tasks.entry(kind).or_default() += count;
            }
        }
        level.outbox = catalog.outbox_holders().await?.iter().map(|(_, rows)| rows).sum();
        for depth in status::depths(context).await? {
            let messages = depth.visible + depth.in_flight + depth.delayed;
            if messages > 0 && !depth.queue.ends_with("-dlq") {
                level.queues.insert(depth.queue, messages);
            }
        }
        Ok(level)
    }

    fn ended(&self) -> i64 {
        self.assets.iter().filter(|(state, _)| ENDS.contains(&state.as_str())).map(|(_, count)| count).sum()
    }

    fn is_quiet(&self, assets: usize) -> bool {
        usize::try_from(self.assets.values().sum::<i64>()).is_ok_and(|all| all >= assets)
            && self.ended() == self.assets.values().sum::<i64>()
            && self.tasks.is_empty()
            && self.outbox == 0
            && self.queues.is_empty()
    }

    /// Messages and rows come and go while nothing moves; only fewer than ever before count.
    fn is_beyond(&self, best: &Self) -> bool {
        let sum = |level: &Self| level.queues.values().sum::<u64>();
        self.assets != best.assets || self.tasks != best.tasks || self.outbox < best.outbox || sum(self) < sum(best)
    }
}

/// Where waiting came to.
pub enum Waited {
    /// Quiet.
    Quiet,
    /// No progress any more.
    Stuck(Level),
}

/// Waits until at least so many assets are known and everything has ended.
pub async fn quiet(context: &Context, catalog: &Catalog, assets: usize, told: impl Fn(&Level)) -> Waited {
    let (mut best, mut since, mut spoke) = (Level::default(), Instant::now(), None::<Instant>);
    loop {
        match Level::now(context, catalog).await {
            Ok(level) if level.is_quiet(assets) => return Waited::Quiet,
            Ok(level) if best == Level::default() || level.is_beyond(&best) => {
                if spoke.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
                    told(&level);
                    spoke = Some(Instant::now());
                }
                (best, since) = (level, Instant::now());
            }
            // The endpoint may just be coming back.
            Ok(_) | Err(_) if since.elapsed() < STUCK => {}
            _ => return Waited::Stuck(best),
        }
        sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(assets: &[(&str, i64)]) -> Level {
        Level {
            assets: assets.iter().map(|(state, count)| ((*state).to_owned(), *count)).collect(),
            ..Level::default()
        }
    }

    #[test]
    fn quiet_is_everything_ended_and_nothing_waiting() {
        let done = level(&[("ready", 3), ("refused", 1)]);
        assert!(done.is_quiet(4));
        assert!(!done.is_quiet(5), "one is not known yet");
        assert!(!level(&[("ready", 3), ("playable", 1)]).is_quiet(4));
        assert!(!Level { outbox: 1, ..done.clone() }.is_quiet(4));
        assert!(!Level { tasks: BTreeMap::from([("pictures".into(), 1)]), ..done.clone() }.is_quiet(4));
        assert!(!Level { queues: BTreeMap::from([("q".into(), 1)]), ..done }.is_quiet(4));
    }

    #[test]
    fn a_message_that_comes_and_goes_is_no_progress() {
        let with = |messages| Level { queues: BTreeMap::from([("q".into(), messages)]), ..level(&[("ready", 1)]) };
        assert!(with(1).is_beyond(&with(2)));
        assert!(!with(2).is_beyond(&with(1)));
        assert!(!with(1).is_beyond(&with(1)));
        assert!(level(&[("ready", 2)]).is_beyond(&level(&[("ready", 1)])));
    }
}
