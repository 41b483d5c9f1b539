//! For tests: a queue in memory that behaves as SQS documents, on tokio's time, with faults to be set.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reelfleet_messages::Letter;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::queue::{BoxFuture, Delivery, Queue, QueueError};

/// What a consumer did, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Receive(usize),
    Extended(Duration),
    Deleted(String),
    Shown(String, Duration),
    DeadLettered(String, String),
}

/// Faults, all off at first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) visibility_fails: bool,
    pub(crate) visibility_hangs: bool,
    pub(crate) visibility_takes: Duration,
    pub(crate) dead_letter_fails: bool,
    /// A receive is answered so much later than it should be.
    pub(crate) receive_takes: Duration,
    pub(crate) over_limits: usize,
    /// Bodies whose next deletion fails.
    pub(crate) undeletable: Vec<String>,
}

struct Stored {
    id: String,
    body: String,
    visible_at: Instant,
    receipt: String,
    receive_count: u32,
    first_received: Option<(Instant, i64)>,
    in_flight: bool,
}

#[derive(Default)]
struct State {
    messages: Vec<Stored>,
    calls: Vec<(Instant, Call)>,
    faults: Faults,
    most_in_flight: usize,
    refused: usize,
    receipts: usize,
}

#[derive(Clone)]
pub(crate) struct MemoryQueue {
    state: Arc<Mutex<State>>,
    came: Arc<Notify>,
    clock: Clock,
}

impl MemoryQueue {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { state: Arc::default(), came: Arc::default(), clock }
    }

    pub(crate) fn send(&self, body: &str) {
        let mut state = self.state.lock().unwrap();
        let id = format!("m{}", state.messages.len());
        state.messages.push(Stored {
            id,
            body: body.to_owned(),
            visible_at: Instant::now(),
            receipt: String::new(),
            receive_count: 0,
            first_received: None,
            in_flight: false,
        });
        self.came.notify_one();
    }

    pub(crate) fn faults(&self, set: impl FnOnce(&mut Faults)) {
        set(&mut self.state.lock().unwrap().faults);
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        let state = self.state.lock().unwrap();
        state.calls.iter().map(|(_, call)| call.clone()).collect()
    }

    /// All calls but receives, which come and go while nothing is there.
    pub(crate) fn answers(&self) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(|call| !matches!(call, Call::Receive(_)));
        calls
    }

    pub(crate) fn left(&self) -> usize {
        self.state.lock().unwrap().messages.len()
    }

    pub(crate) fn most_in_flight(&self) -> usize {
        self.state.lock().unwrap().most_in_flight
    }

    /// Requests that the service would refuse: beyond the twelve hours, or with a receipt that holds nothing.
    pub(crate) fn refused(&self) -> usize {
        self.state.lock().unwrap().refused
    }

    fn take(&self, max: usize, visibility: Duration) -> Vec<Delivery> {
        let (now, now_ms) = (Instant::now(), self.clock.now_ms());
        let mut state = self.state.lock().unwrap();
        let state = &mut *state;
        let mut taken = Vec::new();
        for message in &mut state.messages {
            if taken.len() == max || message.visible_at > now {
                continue;
            }
            state.receipts += 1;
            message.receipt = format!("r{}", state.receipts);
            message.visible_at = now + visibility;
            message.receive_count += 1;
            message.in_flight = true;
            let (_, first_received_ms) = *message.first_received.get_or_insert((now, now_ms));
            taken.push(Delivery {
                body: message.body.clone(),
                message_id: message.id.clone(),
                receipt: message.receipt.clone(),
                receive_count: message.receive_count,
                first_received_ms,
                sent_ms: now_ms,
                attributes: BTreeMap::new(),
                group: None,
            });
        }
        let flying = state.messages.iter().filter(|m| m.in_flight && m.visible_at > now);
        state.most_in_flight = state.most_in_flight.max(flying.count());
        taken
    }

    fn next_visible(&self) -> Option<Instant> {
        let state = self.state.lock().unwrap();
        state.messages.iter().map(|m| m.visible_at).min()
    }

    fn note(&self, call: Call) {
        let mut state = self.state.lock().unwrap();
        state.calls.push((Instant::now(), call));
    }
}

impl Queue for MemoryQueue {
    fn receive(
        &self,
        max: usize,
        visibility: Duration,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Vec<Delivery>, QueueError>> {
        Box::pin(async move {
            self.note(Call::Receive(max));
            let late = self.state.lock().unwrap().faults.receive_takes;
            tokio::time::sleep(late).await;
            {
                let mut state = self.state.lock().unwrap();
                if state.faults.over_limits > 0 {
                    state.faults.over_limits -= 1;
                    return Err(QueueError::OverLimit);
                }
            }
            let end = Instant::now() + wait;
            loop {
                let taken = self.take(max, visibility);
                if !taken.is_empty() || Instant::now() >= end {
                    return Ok(taken);
                }
                let next = self.next_visible().map_or(end, |next| next.min(end));
                tokio::select! {
                    () = tokio::time::sleep_until(next) => {}
                    () = self.came.notified() => {}
                }
            }
        })
    }

    fn delete<'a>(&'a self, receipt: &'a str) -> BoxFuture<'a, Result<(), QueueError>> {
        Box::pin(async move {
            let mut state = self.state.lock().unwrap();
            let state = &mut *state;
            // A receipt of an earlier receive "succeeds" and deletes nothing.
            let Some(at) = state.messages.iter().position(|m| m.receipt == receipt) else {
                state.refused += 1;
                return Ok(());
            };
            let body = state.messages[at].body.clone();
            if let Some(fault) = state.faults.undeletable.iter().position(|b| *b == body) {
                state.faults.undeletable.remove(fault);
                return Err(QueueError::Call { call: "DeleteMessage", detail: "fault".into() });
            }
            state.messages.remove(at);
            state.calls.push((Instant::now(), Call::Deleted(body)));
            Ok(())
        })
    }

    fn change_visibility<'a>(
        &'a self,
        receipt: &'a str,
        visibility: Duration,
    ) -> BoxFuture<'a, Result<(), QueueError>> {
        Box::pin(async move {
            let faults = self.state.lock().unwrap().faults.clone();
            tokio::time::sleep(faults.visibility_takes).await;
            if faults.visibility_hangs {
                std::future::pending::<()>().await;
            }
            if faults.visibility_fails {
                return Err(QueueError::Call { call: "ChangeMessageVisibility", detail: "fault".into() });
            }
            let now = Instant::now();
            let mut state = self.state.lock().unwrap();
            let state = &mut *state;
            let held = state.messages.iter_mut().find(|m| m.receipt == receipt && m.visible_at > now);
            let Some(message) = held else {
                state.refused += 1;
                return Err(QueueError::NotInFlight("the receipt holds nothing".into()));
            };
            let first = message.first_received.unwrap().0;
            if now + visibility > first + Duration::from_secs(43_200) {
                state.refused += 1;
                return Err(QueueError::NotInFlight("beyond the limit [43200 seconds]".into()));
            }
            let extension = message.visible_at < now + visibility && visibility >= Duration::from_secs(10);
            message.visible_at = now + visibility;
            let call = if extension && message.in_flight {
                Call::Extended(visibility)
            } else {
                message.in_flight = false;
                Call::Shown(message.body.clone(), visibility)
            };
            state.calls.push((now, call));
            self.came.notify_one();
            Ok(())
        })
    }

    fn send_dead_letter<'a>(
        &'a self,
        delivery: &'a Delivery,
        letter: &'a Letter,
    ) -> BoxFuture<'a, Result<(), QueueError>> {
        Box::pin(async move {
            if self.state.lock().unwrap().faults.dead_letter_fails {
                return Err(QueueError::Call { call: "SendMessage", detail: "fault".into() });
            }
            self.note(Call::DeadLettered(delivery.body.clone(), letter.reason.clone()));
            Ok(())
        })
    }
}
