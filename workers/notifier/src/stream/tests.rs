//! One stream and its listeners: nothing twice, nothing out of order, nothing missing.

use super::*;
use reelfleet_access::{Scope, Scopes, Via};
use serde_json::json;

/// A log in memory whose oldest entries may be trimmed, and that may grow while it is read.
#[derive(Default)]
struct Memory {
    kept: Mutex<Vec<Logged>>,
    /// Appended to `kept` before the next answers, one page each.
    growth: Mutex<VecDeque<Vec<i64>>>,
    grown: Mutex<Option<Arc<Stream>>>,
}

impl Log for Memory {
    fn since<'a>(
        &'a self,
        _stream: &'a str,
        position: i64,
        limit: i64,
    ) -> BoxFuture<'a, Result<Vec<Logged>, CatalogError>> {
        Box::pin(async move {
            let answer: Vec<Logged> = {
                let kept = self.kept.lock().unwrap();
                kept.iter().filter(|logged| logged.position > position).take(limit as usize).cloned().collect()
            };
            // While the answer is on its way, others commit, and the stream's reader is faster.
            let more = self.growth.lock().unwrap().pop_front();
            if let Some(more) = more {
                let page: Vec<Logged> = more.into_iter().map(|position| logged(position, "t")).collect();
                self.kept.lock().unwrap().extend(page.clone());
                let stream = self.grown.lock().unwrap().clone().unwrap();
                stream.deliver(&page, &Latest::default());
            }
            Ok(answer)
        })
    }
}

fn logged(position: i64, tenant: &str) -> Logged {
    let body = json!({ "id": format!("evt_{position}"), "type": "job.started.v1", "subject": "ast_1", "tenant": tenant,
        "time": "2026-01-01T00:00:00.000Z", "data": {} });
    Logged { position, body: body.to_string() }
}

fn member(id: u64) -> Member {
    let scopes = Scopes::of(&[Scope::Realtime]);
    let who = Principal {
        tenant: "t".into(),
        owner: "o".into(),
        scopes,
        via: Via::Key("key_01h455vb4pex5vsknk084sn02q".parse().unwrap()),
    };
    Member { id, topic: Topic::Me, who: Arc::new(who), queue: Arc::default() }
}

/// Positions in the order in which the client gets them; a reset shows as its position, negative.
fn sent(member: &Member) -> Vec<i64> {
    let mut sent = Vec::new();
    while let Some(entry) = futures::FutureExt::now_or_never(member.queue.next()) {
        match entry {
            Entry::Event { position, .. } => sent.push(position),
            Entry::Frame(text) => match serde_json::from_str(&text).unwrap() {
                ServerFrame::Reset { position, .. } => sent.push(-position),
                other => panic!("{other:?}"),
            },
            Entry::Progress { text, .. } => match serde_json::from_str(&text).unwrap() {
                ServerFrame::Event { position, .. } => sent.push(1_000_000 + position),
                other => panic!("{other:?}"),
            },
        }
    }
    sent
}

async fn drain(member: Member, until: i64) -> Vec<i64> {
    let mut seen = Vec::new();
    loop {
        if let Entry::Event { position, .. } = member.queue.next().await {
            seen.push(position);
            if position == until {
                return seen;
            }
        }
    }
}

#[tokio::test]
async fn a_long_replay_runs_into_live_events_without_a_gap_or_a_repetition() {
    let stream = Arc::new(Stream::new("user:t/o", 500));
    let log = Memory::default();
    log.kept.lock().unwrap().extend((1..=500).map(|position| logged(position, "t")));
    *log.grown.lock().unwrap() = Some(stream.clone());
    // Commits during the replay: some that the recent ones still hold, and at one point more than they do.
    log.growth.lock().unwrap().extend([(501..=503).collect(), Vec::new(), (504..=600).collect(), Vec::new()]);
    let follower = member(1);
    let reading = tokio::spawn(drain(follower.clone(), 610));
    follow(&stream, &log, &Semaphore::new(1), &follower, 120).await.unwrap();
    stream.deliver(&(601..=610).map(|position| logged(position, "t")).collect::<Vec<_>>(), &Latest::default());
    assert_eq!(reading.await.unwrap(), (121..=610).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_listener_ahead_of_the_reader_gets_nothing_twice() {
    let stream = Stream::new("user:t/o", 5);
    let ahead = member(1);
    assert!(stream.join(&ahead, 8));
    let page: Vec<Logged> = (6..=10).map(|position| logged(position, "t")).collect();
    stream.deliver(&page[..2], &Latest::default());
    stream.progress(&Fact::parse(&logged(0, "t").body).unwrap());
    stream.deliver(&page, &Latest::default());
    assert_eq!(sent(&ahead), [9, 10], "no progress with a position that falls");
    stream.progress(&Fact::parse(&logged(0, "t").body).unwrap());
    assert_eq!(sent(&ahead), [1_000_010]);
    stream.leave(1);
    stream.deliver(&[logged(11, "t")], &Latest::default());
    assert!(sent(&ahead).is_empty());
}

#[tokio::test]
async fn a_short_absence_is_made_up_for_from_the_recent_ones() {
    let stream = Stream::new("user:t/o", 5);
    let page: Vec<Logged> = (6..=10).map(|position| logged(position, "t")).collect();
    stream.deliver(&page, &Latest::default());
    let back = member(1);
    assert!(!stream.join(&back, 4), "5 is only in the log");
    assert!(stream.join(&back, 7));
    stream.deliver(&[logged(11, "t")], &Latest::default());
    assert_eq!(sent(&back), [8, 9, 10, 11]);
    let gone = member(2);
    gone.queue.end(crate::queue::End::Gone);
    assert!(stream.join(&gone, 0), "its replay ends");
    assert!(!stream.lock().members.contains_key(&2));
}

#[tokio::test]
async fn what_was_trimmed_is_a_reset() {
    let stream = Arc::new(Stream::new("user:t/o", 20));
    let log = Memory::default();
    log.kept.lock().unwrap().extend((15..=20).map(|position| logged(position, "t")));
    let late = member(1);
    follow(&stream, &log, &Semaphore::new(1), &late, 3).await.unwrap();
    stream.deliver(&[logged(21, "t")], &Latest::default());
    assert_eq!(sent(&late), [-20, 21]);
}

#[tokio::test]
async fn events_of_another_tenant_are_not_delivered_and_not_waited_for() {
    let stream = Stream::new("user:t/o", 0);
    let listener = member(1);
    assert!(stream.join(&listener, 0));
    stream.deliver(&[logged(1, "t"), logged(2, "other"), logged(3, "t")], &Latest::default());
    assert_eq!(sent(&listener), [1, 3]);
    assert_eq!(stream.position(), 3);
}
