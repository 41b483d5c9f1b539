//! Pausing: a row of the catalog that every worker reads.
//!
//! Guarantee: a worker that starts while its queue is paused takes nothing; one that runs takes nothing a few seconds
//! after. What is at work goes on. While the catalog does not answer, what was read last holds.

use std::collections::BTreeSet;
use std::time::Duration;

use reelfleet_catalog::{Catalog, CatalogError};
use tokio::sync::watch;

use crate::queues::QueueName;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(3);
/// By then every worker takes nothing more: a look, and the last word of a receive that was parked.
pub const NOTICED_WITHIN: Duration = Duration::from_secs(6);

/// The queues that are paused, as this process knows them. Clones share it.
#[derive(Clone, Debug)]
pub struct Paused(watch::Sender<BTreeSet<String>>);

/// One queue's part of it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gate {
    queue: &'static str,
    seen: watch::Receiver<BTreeSet<String>>,
}

impl Default for Paused {
    fn default() -> Self {
        Self(watch::Sender::new(BTreeSet::new()))
    }
}

impl Paused {
    /// Whether tasks of a queue are taken.
    pub fn gate(&self, queue: QueueName) -> Gate {
        Gate { queue: queue.as_str(), seen: self.0.subscribe() }
    }

    /// Reads what is paused now.
    pub async fn refresh(&self, catalog: &Catalog) -> Result<(), CatalogError> {
        self.set(catalog.paused().await?.into_iter().map(|paused| paused.queue).collect());
        Ok(())
    }

    /// Reads it again and again while anybody has a gate. Never ends.
    pub async fn follow(self, catalog: Catalog) {
        loop {
            tokio::time::sleep(EVERY).await;
            if self.0.receiver_count() == 0 {
                continue;
            }
            if let Err(error) = self.refresh(&catalog).await {
                tracing::warn!(%error, "what is paused could not be read: as before");
            }
        }
    }

    pub(crate) fn set(&self, queues: BTreeSet<String>) {
        self.0.send_if_modified(|now| {
            let changed = *now != queues;
            if changed {
                tracing::info!(?queues, "paused queues");
                *now = queues;
            }
            changed
        });
    }
}

impl Gate {
    /// One that is never closed.
    pub fn open() -> Self {
        Paused::default().gate(QueueName::Intake)
    }

    /// Whether nothing is to be taken.
    pub fn is_closed(&self) -> bool {
        self.seen.borrow().contains(self.queue)
    }

    /// Waits until it is closed.
    pub async fn closed(&self) {
        self.turned(true).await;
    }

    /// Waits until it is open.
    pub async fn opened(&self) {
        self.turned(false).await;
    }

    /// Nobody who could change it is left: it stays as it is, for ever.
    async fn turned(&self, closed: bool) {
        let mut seen = self.seen.clone();
        if seen.wait_for(|queues| queues.contains(self.queue) == closed).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::memory::MemoryQueue;
    use crate::{BoxFuture, Clock, Consumer, Delivery, Handler, Health, Heart, Outcome, Settings, Shutdown};

    /// Notes what it begins, and works for a minute.
    #[derive(Default)]
    struct Begun(Mutex<Vec<String>>);

    impl Handler for Begun {
        fn handle(&self, delivery: Delivery, _: Heart) -> BoxFuture<'_, Outcome> {
            self.0.lock().unwrap().push(delivery.body);
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(60)).await;
                Outcome::Done
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_queue_is_left_alone_what_is_at_work_goes_on_and_the_process_lives() {
        let clock = Clock::following_tokio(1_700_000_000_000);
        let (queue, shutdown) = (MemoryQueue::new(clock.clone()), Shutdown::new(Duration::from_secs(25)));
        let (health, paused, begun) =
            (Health::new("t", shutdown.clone(), None), Paused::default(), Arc::<Begun>::default());
        let long = Duration::from_secs(3_600);
        let settings = Settings { slots: 2, stall: long, start_to_close: long, ..Settings::default() };
        let consumer = Consumer::new("q", Arc::new(queue.clone()), settings, clock, shutdown.clone(), &health);
        let running = tokio::spawn(consumer.with_gate(paused.gate(QueueName::Transcode)).run(begun.clone()));
        queue.send("one");
        tokio::time::sleep(Duration::from_secs(5)).await;
        // One slot is free, and its receive is parked.
        paused.set(BTreeSet::from(["transcode".to_owned()]));
        tokio::time::sleep(Duration::from_secs(2)).await;
        queue.send("two");
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(*begun.0.lock().unwrap(), ["one"]);
        assert_eq!(queue.left(), 1, "the first was finished");
        assert!(health.stuck().is_empty(), "{:?}", health.stuck());
        paused.set(BTreeSet::from(["probe".to_owned()]));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(*begun.0.lock().unwrap(), ["one", "two"]);
        paused.set(BTreeSet::from(["transcode".to_owned()]));
        shutdown.retire();
        running.await.unwrap();
        assert_eq!(queue.left(), 0, "who retires finishes what it has");
    }
}
