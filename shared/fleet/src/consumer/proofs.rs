//! The consumer's guarantees, shown on virtual time against a queue that behaves as SQS documents.

use std::sync::Mutex;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::message::CHECKPOINT;
use super::*;
use crate::heart::{Lease, LeaseState, LostCause};
use crate::memory::{Call, MemoryQueue};

const VISIBILITY: Duration = Duration::from_secs(90);
const LONG: Duration = Duration::from_secs(30 * 24 * 3600);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

struct Work<F>(F);

impl<F> Handler for Work<F>
where
    F: Fn(Delivery, Heart) -> BoxFuture<'static, Outcome> + Send + Sync + 'static,
{
    fn handle(&self, delivery: Delivery, heart: Heart) -> BoxFuture<'_, Outcome> {
        (self.0)(delivery, heart)
    }
}

/// A consumer at work on a queue in memory.
struct Bench {
    queue: MemoryQueue,
    shutdown: Shutdown,
    health: Health,
    running: JoinHandle<()>,
    began: Instant,
}

impl Bench {
    fn start<F>(settings: Settings, bodies: &[&str], work: F) -> Self
    where
        F: Fn(Delivery, Heart) -> BoxFuture<'static, Outcome> + Send + Sync + 'static,
    {
        Self::with(settings, bodies, |_| {}, work)
    }

    fn with<F>(settings: Settings, bodies: &[&str], prepare: impl FnOnce(&MemoryQueue), work: F) -> Self
    where
        F: Fn(Delivery, Heart) -> BoxFuture<'static, Outcome> + Send + Sync + 'static,
    {
        Self::at(Clock::following_tokio(1_700_000_000_000), settings, bodies, prepare, work)
    }

    fn at<F>(clock: Clock, settings: Settings, bodies: &[&str], prepare: impl FnOnce(&MemoryQueue), work: F) -> Self
    where
        F: Fn(Delivery, Heart) -> BoxFuture<'static, Outcome> + Send + Sync + 'static,
    {
        let queue = MemoryQueue::new(clock.clone());
        for body in bodies {
            queue.send(body);
        }
        prepare(&queue);
        let shutdown = Shutdown::new(secs(25));
        let health = Health::new("test", shutdown.clone(), None);
        let consumer = Consumer::new("q", Arc::new(queue.clone()), settings, clock, shutdown.clone(), &health);
        let running = tokio::spawn(consumer.run(Arc::new(Work(work))));
        Self { queue, shutdown, health, running, began: Instant::now() }
    }

    /// Drains and returns how long that took.
    async fn stop(self) -> (MemoryQueue, Duration) {
        let asked = Instant::now();
        self.shutdown.begin();
        self.running.await.unwrap();
        (self.queue, asked.elapsed())
    }
}

fn settings(slots: usize) -> Settings {
    Settings { slots, visibility: VISIBILITY, wait: secs(20), stall: LONG, start_to_close: LONG }
}

/// Tells when it is dropped, as a child process would be killed.
struct Dropped(CancellationToken);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Runs one message whose handler waits for `lost` and then answers Done all the same. Returns why and when.
async fn lose(
    settings: Settings,
    prepare: impl FnOnce(&MemoryQueue),
    during: impl Fn(Heart) -> BoxFuture<'static, ()> + Send + Sync + 'static,
) -> (LostCause, Duration, MemoryQueue) {
    let (told, hear) = tokio::sync::oneshot::channel();
    let told = Mutex::new(Some(told));
    let during = Arc::new(during);
    let bench = Bench::with(settings, &["m"], prepare, move |_, heart| {
        let (told, during) = (told.lock().unwrap().take(), Arc::clone(&during));
        Box::pin(async move {
            let Some(told) = told else {
                // Delivered again: this proof is over.
                heart.interrupted().cancelled().await;
                return Outcome::Release { after: Duration::ZERO };
            };
            let lost = heart.lost();
            tokio::select! {
                () = during(heart.clone()) => {}
                () = lost.cancelled() => {}
            }
            lost.cancelled().await;
            told.send((heart.lost_cause().unwrap(), Instant::now())).unwrap();
            Outcome::Done
        })
    });
    let began = bench.began;
    let (cause, at) = hear.await.unwrap();
    let before = bench.queue.answers();
    // Time for the consumer to do something it must not do, but not for the message to come back.
    tokio::time::sleep(secs(1)).await;
    assert_eq!(bench.queue.answers(), before, "a lost message is not answered");
    assert_eq!(bench.queue.left(), 1);
    bench.shutdown.abort();
    bench.running.await.unwrap();
    (cause, at - began, bench.queue)
}

#[tokio::test(start_paused = true)]
async fn never_more_in_flight_than_slots() {
    let bodies: Vec<String> = (0..23).map(|n| format!("m{n}")).collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    let bench = Bench::start(settings(3), &bodies, |delivery, _| {
        Box::pin(async move {
            tokio::time::sleep(secs(delivery.body.len() as u64)).await;
            Outcome::Done
        })
    });
    while bench.queue.left() > 0 {
        tokio::time::sleep(secs(1)).await;
    }
    assert_eq!(bench.queue.most_in_flight(), 3);
    let (queue, _) = bench.stop().await;
    let received = queue.calls();
    assert!(received.iter().all(|call| !matches!(call, Call::Receive(n) if *n > 3)));
    assert_eq!(received.iter().filter(|call| matches!(call, Call::Deleted(_))).count(), 23);
}

#[tokio::test(start_paused = true)]
async fn when_extensions_fail_the_handler_is_cancelled_within_one_visibility() {
    let failing =
        lose(settings(1), |q| q.faults(|f| f.visibility_fails = true), |_| Box::pin(std::future::pending())).await;
    let hanging =
        lose(settings(1), |q| q.faults(|f| f.visibility_hangs = true), |_| Box::pin(std::future::pending())).await;
    for (cause, after, queue) in [failing, hanging] {
        assert_eq!(cause, LostCause::Expired);
        assert!(after < VISIBILITY && after > VISIBILITY / 2, "{after:?}");
        assert!(queue.answers().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_ignores_the_loss_is_dropped_before_the_message_comes_back() {
    let dropped = CancellationToken::new();
    let guard = dropped.clone();
    let bench = Bench::with(
        settings(1),
        &["m"],
        |q| q.faults(|f| f.visibility_fails = true),
        move |_, _| {
            let guard = Dropped(guard.clone());
            Box::pin(async move {
                let _guard = guard;
                std::future::pending().await
            })
        },
    );
    dropped.cancelled().await;
    assert!(bench.began.elapsed() < VISIBILITY);
    assert!(bench.queue.answers().is_empty());
    bench.shutdown.abort();
    bench.running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stalled_handler_loses_its_lease_and_a_beating_one_keeps_it() {
    let limits = Settings { stall: secs(60), ..settings(1) };
    let (cause, after, queue) = lose(
        limits,
        |_| {},
        |heart| {
            Box::pin(async move {
                // Ten minutes of progress, then silence.
                for _ in 0..60 {
                    tokio::time::sleep(secs(10)).await;
                    heart.beat();
                }
                std::future::pending::<()>().await;
            })
        },
    )
    .await;
    assert_eq!(cause, LostCause::Stalled);
    assert_eq!(after, secs(660));
    let extended = queue.answers();
    assert!(extended.len() >= 20, "{extended:?}");
    assert!(extended.iter().all(|call| *call == Call::Extended(VISIBILITY)));
}

#[tokio::test(start_paused = true)]
async fn no_progress_extends_past_start_to_close() {
    let (cause, after, _) = lose(
        settings(1),
        |_| {},
        |heart| {
            Box::pin(async move {
                tokio::time::sleep(secs(5)).await;
                heart.set_limits(secs(30), secs(300));
                loop {
                    tokio::time::sleep(secs(10)).await;
                    heart.beat();
                }
            })
        },
    )
    .await;
    assert_eq!((cause, after), (LostCause::StartToClose, secs(300)));
}

#[tokio::test(start_paused = true)]
async fn twelve_hours_end_in_a_lost_lease_and_not_in_a_refused_extension() {
    let (cause, after, queue) = lose(settings(1), |_| {}, |_| Box::pin(std::future::pending())).await;
    assert_eq!(cause, LostCause::ReceiveCap);
    assert!(after > secs(43_200 - 180) && after < secs(43_200), "{after:?}");
    assert_eq!(queue.refused(), 0);
    let (last, full) = (queue.answers().pop().unwrap(), Call::Extended(VISIBILITY));
    assert!(last != full, "the last extension is what was left, not {last:?}");
}

struct Fake(Mutex<Box<dyn FnMut() -> LeaseState + Send>>);

impl Lease for Fake {
    fn extend(&self, _until_ms: i64) -> BoxFuture<'_, LeaseState> {
        let state = (self.0.lock().unwrap())();
        Box::pin(async move { state })
    }
}

fn lease(states: impl FnMut() -> LeaseState + Send + 'static) -> Arc<dyn Lease> {
    Arc::new(Fake(Mutex::new(Box::new(states))))
}

#[tokio::test(start_paused = true)]
async fn an_attached_lease_that_is_lost_or_silent_ends_the_work() {
    let fenced = lose(
        settings(1),
        |_| {},
        |heart| {
            let mut held = 2;
            heart.attach(lease(move || {
                held -= 1;
                if held >= 0 { LeaseState::Held } else { LeaseState::Lost }
            }));
            Box::pin(std::future::pending())
        },
    )
    .await;
    assert_eq!((fenced.0, fenced.1), (LostCause::Fenced, secs(90)));
    let silent = lose(
        settings(1),
        |_| {},
        |heart| {
            heart.attach(lease(|| LeaseState::Unknown));
            Box::pin(std::future::pending())
        },
    )
    .await;
    assert_eq!((silent.0, silent.1), (LostCause::Expired, secs(80)));
}

#[tokio::test(start_paused = true)]
async fn a_detached_lease_no_longer_matters() {
    let bench = Bench::start(settings(1), &["m"], |_, heart| {
        Box::pin(async move {
            heart.attach(lease(|| LeaseState::Lost));
            heart.detach();
            tokio::time::sleep(secs(200)).await;
            Outcome::Done
        })
    });
    tokio::time::sleep(secs(201)).await;
    assert!(bench.queue.answers().contains(&Call::Deleted("m".into())));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_extension_has_ended_before_the_answer() {
    let bench = Bench::with(
        settings(1),
        &["m"],
        |q| q.faults(|f| f.visibility_takes = secs(5)),
        |_, _| {
            Box::pin(async move {
                // The extension begins at 30 s and takes five.
                tokio::time::sleep(secs(32)).await;
                Outcome::Done
            })
        },
    );
    tokio::time::sleep(secs(40)).await;
    assert_eq!(bench.queue.answers(), [Call::Extended(VISIBILITY), Call::Deleted("m".into())]);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_retry_and_stays_with_its_message() {
    let bench = Bench::start(settings(2), &["bad", "good"], |delivery, _| {
        Box::pin(async move {
            assert!(delivery.body == "good" || delivery.receive_count > 1, "poison");
            Outcome::Done
        })
    });
    while bench.queue.left() > 0 {
        tokio::time::sleep(secs(1)).await;
    }
    let (queue, _) = bench.stop().await;
    let answers = queue.answers();
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert!(
        matches!(&answers[..2], [Call::Shown(bad, after), Call::Deleted(good)] | [Call::Deleted(good), Call::Shown(bad, after)]
        if bad == "bad" && good == "good" && *after <= secs(2))
    );
    assert_eq!(answers[2], Call::Deleted("bad".into()));
}

#[tokio::test(start_paused = true)]
async fn a_rejected_message_is_deleted_only_when_the_dead_letter_queue_has_it() {
    let bench = Bench::with(
        settings(1),
        &["m"],
        |q| q.faults(|f| f.dead_letter_fails = true),
        |_, _| Box::pin(async { Outcome::reject("not media") }),
    );
    tokio::time::sleep(secs(10)).await;
    assert_eq!(bench.queue.left(), 1);
    assert!(bench.queue.answers().is_empty());
    bench.queue.faults(|f| f.dead_letter_fails = false);
    // It comes back after its visibility and is told again.
    tokio::time::sleep(secs(100)).await;
    assert_eq!(bench.queue.answers(), [Call::DeadLettered("m".into(), "not media".into()), Call::Deleted("m".into())]);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_fails_brings_back_that_message_alone() {
    let bench = Bench::with(
        settings(3),
        &["a", "b", "c"],
        |q| q.faults(|f| f.undeletable = vec!["b".into()]),
        |_, _| Box::pin(async { Outcome::Done }),
    );
    tokio::time::sleep(secs(10)).await;
    assert_eq!(bench.queue.left(), 1);
    tokio::time::sleep(secs(100)).await;
    let mut answers = bench.queue.answers();
    assert_eq!(answers.pop(), Some(Call::Deleted("b".into())));
    assert_eq!(answers.len(), 2);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_comes_back_when_it_said() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&times);
    let bench = Bench::start(settings(1), &["m"], move |delivery, _| {
        seen.lock().unwrap().push(Instant::now());
        Box::pin(async move {
            if delivery.receive_count == 1 {
                Outcome::Retry { after: secs(300), why: "later".into() }
            } else {
                Outcome::Done
            }
        })
    });
    tokio::time::sleep(secs(330)).await;
    let times = times.lock().unwrap().clone();
    assert_eq!(times.len(), 2);
    assert_eq!(times[1] - times[0], secs(300));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn over_limit_is_waited_out() {
    let bench =
        Bench::with(settings(1), &["m"], |q| q.faults(|f| f.over_limits = 5), |_, _| Box::pin(async { Outcome::Done }));
    tokio::time::sleep(secs(60)).await;
    assert_eq!(bench.queue.answers(), [Call::Deleted("m".into())]);
    // Five refusals cost five receives, not a spin.
    assert!(bench.queue.calls().len() < 15);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_a_parked_receive_within_a_second() {
    let bench = Bench::start(settings(2), &[], |_, _| Box::pin(async { Outcome::Done }));
    tokio::time::sleep(secs(3)).await;
    let (_, took) = bench.stop().await;
    assert_eq!(took, secs(1));
}

#[tokio::test(start_paused = true)]
async fn what_arrives_while_draining_begins_is_given_back_not_begun() {
    let bench = Bench::start(settings(2), &[], |_, _| Box::pin(async { panic!("nothing may begin while draining") }));
    tokio::time::sleep(secs(3)).await;
    bench.shutdown.begin();
    tokio::time::sleep(Duration::from_millis(500)).await;
    bench.queue.send("late");
    let (queue, _) = bench.stop().await;
    assert_eq!(queue.answers(), [Call::Shown("late".into(), Duration::ZERO)]);
    assert_eq!(queue.left(), 1);
}

#[tokio::test(start_paused = true)]
async fn shutdown_during_back_off_and_while_all_slots_are_busy_is_prompt() {
    let backing_off = Bench::with(
        settings(1),
        &[],
        |q| q.faults(|f| f.over_limits = usize::MAX),
        |_, _| Box::pin(async { Outcome::Done }),
    );
    tokio::time::sleep(secs(60)).await;
    assert_eq!(backing_off.stop().await.1, Duration::ZERO);
    let busy = Bench::start(settings(1), &["m"], |_, heart| {
        Box::pin(async move {
            heart.draining().cancelled().await;
            Outcome::Done
        })
    });
    tokio::time::sleep(secs(60)).await;
    let (queue, took) = busy.stop().await;
    assert_eq!(took, Duration::ZERO);
    assert_eq!(queue.answers().last(), Some(&Call::Deleted("m".into())));
}

#[tokio::test(start_paused = true)]
async fn draining_handlers_finish_with_their_heartbeat_on() {
    let short = Settings { visibility: secs(30), ..settings(1) };
    let bench = Bench::start(short, &["m"], |_, heart| {
        Box::pin(async move {
            heart.draining().cancelled().await;
            tokio::time::sleep(secs(19)).await;
            Outcome::Done
        })
    });
    tokio::time::sleep(secs(5)).await;
    let (queue, took) = bench.stop().await;
    assert_eq!(took, secs(19));
    assert!(queue.answers().contains(&Call::Extended(secs(30))));
    assert_eq!(queue.answers().last(), Some(&Call::Deleted("m".into())));
    assert_eq!(queue.refused(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_in_the_grace_is_given_back_within_it_and_never_deleted() {
    // One handler hears the interruption and answers with the error it caused; the other hears nothing.
    let bench = Bench::start(settings(2), &["hears", "deaf"], |delivery, heart| {
        Box::pin(async move {
            if delivery.body == "hears" {
                heart.interrupted().cancelled().await;
                assert!(heart.lost_cause().is_none(), "the message is still ours");
                return Outcome::reject("the child was killed");
            }
            std::future::pending().await
        })
    });
    tokio::time::sleep(secs(5)).await;
    let (queue, took) = bench.stop().await;
    assert_eq!(took, secs(20) + CHECKPOINT);
    assert!(took < secs(25), "the grace is the whole of it");
    let mut answers = queue.answers();
    answers.retain(|call| !matches!(call, Call::Extended(_)));
    assert_eq!(answers, [Call::Shown("hears".into(), Duration::ZERO), Call::Shown("deaf".into(), Duration::ZERO)]);
    assert_eq!(queue.left(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_ends_it_at_once_and_still_gives_back() {
    let bench = Bench::start(settings(1), &["m"], |_, _| Box::pin(std::future::pending()));
    tokio::time::sleep(secs(5)).await;
    bench.shutdown.begin();
    tokio::time::sleep(secs(1)).await;
    let asked = Instant::now();
    bench.shutdown.abort();
    bench.running.await.unwrap();
    assert_eq!(asked.elapsed(), secs(1), "a second for last words");
    assert_eq!(bench.queue.answers(), [Call::Shown("m".into(), Duration::ZERO)]);
}

#[tokio::test(start_paused = true)]
async fn at_a_second_signal_a_handler_still_gives_its_task_back() {
    let released = Arc::new(Mutex::new(false));
    let seen = Arc::clone(&released);
    let bench = Bench::start(settings(1), &["m"], move |_, heart| {
        let released = Arc::clone(&released);
        Box::pin(async move {
            heart.interrupted().cancelled().await;
            // The row's compare-and-set.
            tokio::time::sleep(Duration::from_millis(500)).await;
            *released.lock().unwrap() = true;
            Outcome::Release { after: Duration::ZERO }
        })
    });
    tokio::time::sleep(secs(5)).await;
    bench.shutdown.abort();
    bench.running.await.unwrap();
    assert!(*seen.lock().unwrap());
    assert_eq!(bench.queue.answers(), [Call::Shown("m".into(), Duration::ZERO)]);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_hangs_does_not_keep_the_process_beyond_its_grace() {
    for handler_ends in [true, false] {
        let bench = Bench::with(
            settings(1),
            &["m"],
            |q| q.faults(|f| f.visibility_hangs = true),
            move |_, heart| {
                Box::pin(async move {
                    heart.draining().cancelled().await;
                    if !handler_ends {
                        std::future::pending::<()>().await;
                    }
                    Outcome::Release { after: Duration::ZERO }
                })
            },
        );
        // The keeper's request is under way when draining begins.
        tokio::time::sleep(secs(31)).await;
        let (queue, took) = bench.stop().await;
        assert!(took <= secs(25 + 2), "{took:?}");
        assert_eq!(queue.left(), 1, "it comes back by itself");
        assert!(queue.answers().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_changes_nothing() {
    let hour = 3_600_000;
    for jump in [20 * hour, -20 * hour, i64::MAX / 2] {
        let clock = Clock::manual(1_700_000_000_000);
        let bench = Bench::at(
            clock.clone(),
            settings(1),
            &["m"],
            |_| {},
            move |_, heart| {
                let clock = clock.clone();
                Box::pin(async move {
                    tokio::time::sleep(secs(40)).await;
                    clock.jump(jump);
                    tokio::time::sleep(secs(600)).await;
                    assert_eq!(heart.lost_cause(), None, "held by elapsed time, not by the time of day");
                    Outcome::Done
                })
            },
        );
        tokio::time::sleep(secs(641)).await;
        let (queue, _) = bench.stop().await;
        let answers = queue.answers();
        assert_eq!(answers.last(), Some(&Call::Deleted("m".into())), "{jump}");
        assert_eq!(answers.iter().filter(|call| **call == Call::Extended(VISIBILITY)).count(), 21, "{jump}");
        assert_eq!(queue.refused(), 0, "{jump}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delay_beyond_the_twelve_hours_is_cut_to_what_the_queue_takes() {
    let bench = Bench::start(settings(1), &["m"], |_, _| {
        Box::pin(async { Outcome::Retry { after: secs(48 * 3600), why: "much later".into() } })
    });
    tokio::time::sleep(secs(1)).await;
    let (queue, _) = bench.stop().await;
    assert!(
        matches!(&queue.answers()[..], [Call::Shown(_, after) | Call::Extended(after)] if *after > secs(11 * 3600) && *after < secs(12 * 3600))
    );
    assert_eq!(queue.refused(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_slow_to_answer_is_no_reason_to_restart_the_process() {
    let bench = Bench::with(
        settings(1),
        &[],
        |q| q.faults(|f| f.receive_takes = secs(120)),
        |_, _| Box::pin(async { Outcome::Done }),
    );
    for _ in 0..11 {
        tokio::time::sleep(secs(10)).await;
        assert!(bench.health.stuck().is_empty());
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_consumer_whose_slots_are_busy_lives() {
    let bench = Bench::start(settings(1), &["m"], |_, _| {
        Box::pin(async {
            tokio::time::sleep(secs(300)).await;
            Outcome::Done
        })
    });
    for _ in 0..29 {
        tokio::time::sleep(secs(10)).await;
        assert!(bench.health.stuck().is_empty());
    }
    tokio::time::sleep(secs(15)).await;
    bench.stop().await;
}
