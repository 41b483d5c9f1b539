//! WebSocket clients that listen all the while, and remember everything in the order in which it came.
//!
//! Guarantee: unlike a person's client, nothing is forgiven: a position that comes twice, out of order or after a gap,
//! and a reset, are noted as they happen; what was heard is compared with the log afterwards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::StreamExt;
use reelfleet_fleet::full_jitter;
use reelfleet_messages::realtime::{ClientFrame, ServerFrame};
use tokio::sync::watch as signal;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::protocol::Message;

use crate::upload::client::Api;
use crate::upload::watch::{connect, say};

const CONNECT: Duration = Duration::from_secs(10);
/// A connection on which nothing comes for so long is dead.
const SILENCE: Duration = Duration::from_secs(60);
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
const PROGRESS: &str = "job.progressed.v1";

/// What a client heard of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Where it began to listen.
    pub from: i64,
    /// Ids of the events after that, in order.
    pub events: Vec<String>,
}

impl Heard {
    /// The last position.
    pub fn position(&self) -> i64 {
        self.from + i64::try_from(self.events.len()).unwrap_or(i64::MAX)
    }
}

/// What a client remembers.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// By stream.
    pub streams: BTreeMap<String, Heard>,
    /// What must not be.
    pub faults: Vec<String>,
    /// Connections that were greeted.
    pub connections: u64,
    epoch: Option<String>,
}

impl Memory {
    /// Where a new connection goes on.
    fn since(&self) -> BTreeMap<String, i64> {
        self.streams.iter().map(|(name, heard)| (name.clone(), heard.position())).collect()
    }

    fn greeted(&mut self, epoch: String, positions: BTreeMap<String, i64>) {
        if self.epoch.as_ref().is_some_and(|known| *known != epoch) {
            self.faults.push(format!("the epoch changed to {epoch}"));
        }
        self.epoch = Some(epoch);
        self.connections += 1;
        for (stream, position) in positions {
            self.streams.entry(stream).or_insert(Heard { from: position, events: Vec::new() });
        }
    }

    fn event(&mut self, stream: &str, position: i64, id: String, kind: &str) {
        if kind == PROGRESS {
            return;
        }
        let Some(heard) = self.streams.get_mut(stream) else {
            self.faults.push(format!("{stream} was not asked for"));
            return;
        };
        let last = heard.position();
        if position == last + 1 {
            heard.events.push(id);
        } else if position <= last {
            self.faults.push(format!("{stream} {position} ({kind}) came again after {last}"));
        } else {
            self.faults.push(format!("{stream} {position} ({kind}) came after {last}"));
            // What lies between is missing for ever; the rest can still be compared.
            heard.events.resize(usize::try_from(position - heard.from - 1).unwrap_or(0), "missing".to_owned());
            heard.events.push(id);
        }
    }
}

/// A client. Dropping it ends its connection.
#[derive(Debug)]
pub struct Listener {
    /// Its name in reports.
    pub name: String,
    memory: Arc<Mutex<Memory>>,
    changed: signal::Receiver<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener {
    /// Listens to these topics, from now on and for ever.
    pub fn start(api: Api, name: String, topics: Vec<String>) -> Self {
        let memory = Arc::<Mutex<Memory>>::default();
        let (sender, changed) = signal::channel(());
        let client = Client { api, topics, memory: memory.clone(), changed: sender };
        Self { name, memory, changed, task: tokio::spawn(client.run()) }
    }

    /// What it remembers by now.
    pub fn memory(&self) -> Memory {
        locked(&self.memory).clone()
    }

    /// Waits until its memory fits; `false` if nothing more comes for `patience`.
    pub async fn until(&mut self, patience: Duration, fits: impl Fn(&Memory) -> bool) -> bool {
        loop {
            self.changed.borrow_and_update();
            if fits(&locked(&self.memory)) {
                return true;
            }
            if !matches!(timeout(patience, self.changed.changed()).await, Ok(Ok(()))) {
                return false;
            }
        }
    }
}

fn locked(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Client {
    api: Api,
    topics: Vec<String>,
    memory: Arc<Mutex<Memory>>,
    changed: signal::Sender<()>,
}

impl Client {
    async fn run(self) {
        let mut failures = 0;
        loop {
            let before = locked(&self.memory).connections;
            let pause = match self.connection().await {
                Ok(pause) => pause,
                Err(error) => {
                    failures = if locked(&self.memory).connections > before { 0 } else { failures + 1 };
                    tracing::debug!(%error, "a listener lost its connection");
                    full_jitter(SHORTEST_PAUSE, LONGEST_PAUSE, failures)
                }
            };
            sleep(pause).await;
        }
    }

    /// Until it breaks; how long to stay away if the server says so.
    async fn connection(&self) -> anyhow::Result<Duration> {
        let ticket = self.api.ticket().await?;
        let mut socket = timeout(CONNECT, connect(&self.api)).await.context("connecting took too long")??;
        let hello = {
            let memory = locked(&self.memory);
            let (epoch, since) = (memory.epoch.clone(), memory.since());
            ClientFrame::Hello { ticket: Some(ticket), epoch, since, topics: self.topics.clone() }
        };
        say(&mut socket, &hello).await?;
        loop {
            let message = timeout(SILENCE, socket.next()).await.context("no sign of life")?;
            let text = match message.context("the server hung up")?? {
                Message::Text(text) => text,
                Message::Close(_) => bail!("closed"),
                _ => continue,
            };
            match serde_json::from_str(&text).context("a frame that is not of the protocol")? {
                ServerFrame::Welcome { epoch, positions, .. } => locked(&self.memory).greeted(epoch, positions),
                ServerFrame::Event { stream, position, id, kind, .. } => {
                    locked(&self.memory).event(&stream, position, id, &kind);
                }
                ServerFrame::Reset { stream, reason, position } => {
                    locked(&self.memory).faults.push(format!("{stream} was reset to {position}: {reason}"));
                }
                ServerFrame::Ping => say(&mut socket, &ClientFrame::Pong).await?,
                ServerFrame::Pong => {}
                ServerFrame::Bye { retry_after_ms, .. } => {
                    return Ok(Duration::from_millis(retry_after_ms).min(LONGEST_PAUSE));
                }
            }
            self.changed.send_replace(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_repetitions_and_resets_of_the_epoch_are_noted() {
        let mut memory = Memory::default();
        memory.greeted("e".into(), BTreeMap::from([("ops".into(), 4)]));
        for (position, id) in [(5, "a"), (6, "b")] {
            memory.event("ops", position, id.into(), "asset.ready.v1");
        }
        memory.event("ops", 6, "p".into(), PROGRESS);
        // Back again: the server stands further on, the client goes on where it was.
        memory.greeted("e".into(), BTreeMap::from([("ops".into(), 9)]));
        assert_eq!(memory.since(), BTreeMap::from([("ops".into(), 6)]));
        assert_eq!((memory.faults.len(), memory.connections), (0, 2));
        memory.event("ops", 6, "b".into(), "asset.ready.v1");
        assert!(memory.faults[0].contains("came again"), "{:?}", memory.faults);
        memory.event("ops", 9, "e".into(), "asset.ready.v1");
        assert!(memory.faults[1].contains("9 (asset.ready.v1) came after 6"), "{:?}", memory.faults);
        assert_eq!(memory.streams["ops"].events, ["a", "b", "missing", "missing", "e"]);
        memory.greeted("f".into(), BTreeMap::new());
        assert_eq!(memory.faults.len(), 3);
    }
}
