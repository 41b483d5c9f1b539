//! Open connections and what let them in.
//!
//! Guarantee: a connection ends within [`REVOCATION_BOUND`] and the time of one read after the session or API key that
//! opened it has ended, the key was given another secret, its user was shut out, or its user's roles allow less than the connection may. While the catalog
//! does not answer nothing is known and nobody is put out; no event is read then either.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use reelfleet_access::{AccessError, Principal, REVOCATION_BOUND, Standing, Via, standing};
use reelfleet_fleet::health::Beat;
use tokio::time::MissedTickBehavior;

use crate::hub::Hub;
use crate::queue::{End, Outbound};

/// An open connection.
#[derive(Debug)]
struct Held {
    who: Arc<Principal>,
    queue: Arc<Outbound>,
    /// Epoch milliseconds.
    opened_at: i64,
}

/// The open connections, by number.
#[derive(Debug, Default)]
pub(crate) struct Watched(Mutex<HashMap<u64, Held>>);

impl Watched {
    fn change<T>(&self, change: impl FnOnce(&mut HashMap<u64, Held>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends those that nothing lets in any more, of those that were there when it was asked what does.
    fn end_others(&self, asked: &HashSet<Via>, standing: &HashMap<Via, Standing>) -> usize {
        let may = |Held { who, opened_at, .. }: &Held| {
            let holds = |now: &Standing| who.scopes.iter().all(|scope| now.scopes.hold(scope));
            standing.get(&who.via).is_some_and(|now| holds(now) && *opened_at >= now.since)
        };
        let over: Vec<Arc<Outbound>> = self.change(|held| {
            let over = held.values().filter(|held| asked.contains(&held.who.via) && !may(held));
            over.map(|held| held.queue.clone()).collect()
        });
        over.iter().for_each(|queue| queue.end(End::Over));
        over.len()
    }
}

/// A connection's part in it; dropping it ends that.
pub(crate) struct Watch {
    hub: Hub,
    id: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.hub.0.watched.change(|held| held.remove(&self.id));
    }
}

impl Hub {
    /// Watches over what let a connection in, for as long as the answer is held.
    pub(crate) fn watch(&self, id: u64, who: &Arc<Principal>, queue: &Arc<Outbound>) -> Watch {
        let held = Held { who: who.clone(), queue: queue.clone(), opened_at: self.0.clock.now_ms() };
        self.0.watched.change(|all| all.insert(id, held));
        Watch { hub: self.clone(), id }
    }

    /// Looks again and again at what let the open connections in, until draining.
    pub async fn put_out_whoever_is_not_let_in_any_more(self, beat: Beat) {
        let mut tick = tokio::time::interval(REVOCATION_BOUND);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.0.draining.cancelled() => break,
                _ = tick.tick() => beat.tick(),
            }
            match self.look().await {
                Ok(0) => {}
                Ok(ended) => tracing::info!(ended, "connections end: what let them in has ended"),
                Err(error) => {
                    tracing::warn!(%error, "what let the open connections in was not looked at; trying again")
                }
            }
        }
        beat.end();
    }

    async fn look(&self) -> Result<usize, AccessError> {
        let asked: HashSet<Via> = self.0.watched.change(|held| held.values().map(|held| held.who.via).collect());
        let standing = standing(&self.0.catalog, self.0.clock.now_ms(), asked.iter().copied()).await?;
        Ok(self.0.watched.end_others(&asked, &standing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelfleet_access::{Scope, Scopes};

    #[test]
    fn only_those_end_whose_right_has_ended() {
        let via = |n: u8| Via::Key(format!("key_01h455vb4pex5vsknk084sn0{n:02}").parse().unwrap());
        let (reads, reviews) = (Scopes::of(&[Scope::Realtime]), Scopes::of(&[Scope::Realtime, Scope::Reviews]));
        let (admin, all) = (Scopes::of(&[Scope::Realtime, Scope::Admin]), Scopes::of(&Scope::ALL));
        let watched = Watched::default();
        let open = |id: u64, scopes, by| {
            let who = Arc::new(Principal { tenant: "t".into(), owner: "o".into(), scopes, via: via(by) });
            let queue = Arc::new(Outbound::default());
            let held = Held { who, queue: queue.clone(), opened_at: 100 };
            watched.change(|all| all.insert(id, held));
            queue
        };
        let (stays, ended, less, late) = (open(1, reads, 1), open(2, reads, 2), open(3, reviews, 3), open(4, reads, 4));
        let (more, as_much, rotated) = (open(5, admin, 5), open(6, reads, 6), open(7, reads, 7));
        let now = [(1, reviews, 100), (3, reads, 0), (5, all, 0), (6, Scopes::of(&[Scope::Admin]), 0), (7, reads, 101)];
        let standing = now.map(|(n, scopes, since)| (via(n), Standing { scopes, since })).into();
        let asked = HashSet::from([1, 2, 3, 5, 6, 7].map(via));
        assert_eq!(watched.end_others(&asked, &standing), 3);
        assert_eq!(rotated.why_ended(), Some(End::Over), "another secret let it in");
        assert_eq!([&more, &as_much].map(|queue| queue.why_ended()), [None, None], "what admin holds is held");
        assert_eq!(
            [&stays, &ended, &less, &late].map(|queue| queue.why_ended()),
            [None, Some(End::Over), Some(End::Over), None]
        );
    }
}
