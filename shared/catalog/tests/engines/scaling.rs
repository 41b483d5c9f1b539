//! What operators ask of the workers, and what scalers decide.

use reelfleet_catalog::Catalog;
use reelfleet_catalog::audit::AuditEntry;
use reelfleet_catalog::processes::{FRESH_MS, Process};
use reelfleet_catalog::scaling::{Decided, Desired, KEPT_MS, PausedQueue};
use reelfleet_catalog::tasks::Leased;
use reelfleet_domain::backlog::Backlog;
use reelfleet_messages::AssetId;
use reelfleet_messages::task::{Task, TaskQueue};

use crate::story::{NOW, id, land, step};

fn deed(what: &str, subject: &str) -> AuditEntry {
    let (id, subject) = (id().to_string(), subject.to_owned());
    AuditEntry { id, at: NOW, who: "ann".into(), what: what.into(), subject, detail: "{}".into(), tenant: None }
}

pub async fn tell(catalog: &Catalog) {
    desires(catalog).await;
    decisions(catalog).await;
    processes(catalog).await;
    backlogs(catalog).await;
    pauses(catalog).await;
}

async fn desires(catalog: &Catalog) {
    assert!(catalog.desired().await.unwrap().is_empty());
    let word = |workers| Desired { pool: "transcoder".into(), workers, by: "ann".into(), at: NOW };
    for workers in [Some(4), None, Some(0)] {
        catalog.desire(&word(workers), deed("scale", "transcoder")).await.unwrap();
        assert_eq!(catalog.desired().await.unwrap(), [word(workers)]);
    }
    assert_eq!(catalog.audit_of("transcoder", 10).await.unwrap().len(), 3);
}

async fn decisions(catalog: &Catalog) {
    let decided = |at, workers| Decided {
        pool: "transcoder".into(),
        at,
        running: 1,
        workers,
        needed: 2,
        reason: "work".into(),
        words: "because".into(),
    };
    for (at, workers) in [(NOW, 1), (NOW + 1, 2), (NOW + 1, 2)] {
        catalog.decide(&decided(at, workers)).await.unwrap();
    }
    assert_eq!(catalog.decisions("transcoder", 10).await.unwrap(), [decided(NOW + 1, 2), decided(NOW, 1)]);
    assert_eq!(catalog.decisions("transcoder", 1).await.unwrap(), [decided(NOW + 1, 2)]);
    assert!(catalog.decisions("thumbnailer", 10).await.unwrap().is_empty());
    catalog.decide(&decided(NOW + KEPT_MS + 1, 3)).await.unwrap();
    let left = catalog.decisions("transcoder", 10).await.unwrap();
    assert_eq!(left.iter().map(|decided| decided.workers).collect::<Vec<_>>(), [3, 2]);
}

/// What a later look found stays, whoever writes last.
async fn backlogs(catalog: &Catalog) {
    assert!(catalog.backlogs().await.unwrap().is_empty());
    catalog.keep_backlogs(NOW, &[]).await.unwrap();
    let (none, some) = (Backlog::default(), Backlog { since: Some(NOW - 9), ahead: 2, depth: 5 });
    catalog.keep_backlogs(NOW, &[("metadata", none), ("intake", some)]).await.unwrap();
    let kept = [("intake".to_owned(), some), ("metadata".to_owned(), none)];
    assert_eq!(catalog.backlogs().await.unwrap(), kept);
    catalog.keep_backlogs(NOW - 1, &[("intake", none)]).await.unwrap();
    assert_eq!(catalog.backlogs().await.unwrap(), kept, "an earlier look");
    catalog.keep_backlogs(NOW + 1, &[("intake", none)]).await.unwrap();
    assert_eq!(catalog.backlogs().await.unwrap()[0].1, none);
}

/// Signs of life count while they are fresh; an earlier life of the same name changes nothing of a later one.
async fn processes(catalog: &Catalog) {
    let process = |instance: &str, started_at, seen_at| Process {
        instance: instance.into(),
        role: "transcoder".into(),
        pool: Some("transcoder".into()),
        host: "box".into(),
        version: "1.0.0".into(),
        started_at,
        seen_at,
        leaving: false,
    };
    let gateway = Process { role: "gateway".into(), pool: None, seen_at: NOW + 2, ..process("g", NOW, NOW) };
    let first = process("t", NOW, NOW);
    let second = Process { version: "1.0.1".into(), ..process("t", NOW + 1, NOW + 1) };
    for sign in [&first, &first, &gateway, &second, &Process { seen_at: NOW + 9, leaving: true, ..first.clone() }] {
        catalog.alive(sign).await.unwrap();
    }
    catalog.ended(&first).await.unwrap();
    assert_eq!(catalog.processes(10).await.unwrap(), [gateway.clone(), second.clone()]);
    assert_eq!(catalog.processes(1).await.unwrap().len(), 1);
    let counts = async |now| catalog.process_counts(now).await.unwrap();
    let (of_gateway, of_transcoder) =
        (("gateway".to_owned(), None, 1), ("transcoder".to_owned(), Some("transcoder".to_owned()), 1));
    assert_eq!(counts(NOW + 2).await, [of_gateway.clone(), of_transcoder]);
    assert_eq!(counts(NOW + 2 + FRESH_MS).await, std::slice::from_ref(&of_gateway), "the other fell silent");
    assert!(gateway.is_fresh(NOW + 2 + FRESH_MS) && !second.is_fresh(NOW + 2 + FRESH_MS));
    let leaving = Process { leaving: true, ..second };
    catalog.alive(&leaving).await.unwrap();
    assert_eq!(counts(NOW + 2).await, [of_gateway], "who leaves takes nothing new");
    assert_eq!(catalog.forget_silent(NOW + 2).await.unwrap(), 1);
    catalog.ended(&gateway).await.unwrap();
    assert!(catalog.processes(10).await.unwrap().is_empty());
}

/// A task waits, is in flight, waits again when its holder falls silent; a paused queue's tasks are not woken.
async fn pauses(catalog: &Catalog) {
    let probe = land(catalog, "in/scaling", None, AssetId::from_uuid(id())).await.probe;
    let of_probes = async |now| {
        let waiting = catalog.waiting(now).await.unwrap();
        let of = |in_flight| {
            let found = waiting.iter().find(|w| w.queue == "probe" && w.in_flight == in_flight);
            found.map_or(0, |w| w.count)
        };
        assert!(waiting.iter().all(|w| w.count > 0 && w.seconds > 0.0), "{waiting:?}");
        (of(false), of(true))
    };
    let (waits, held) = of_probes(NOW).await;
    assert!(waits >= 1);
    assert!(matches!(probe.envelope.work, Task::ProbeSource(_)) && probe.envelope.work.queue() == TaskQueue::Probe);
    let Leased::Mine(_) = catalog.lease(&step(NOW), &probe.envelope.task, 60_000).await.unwrap() else { panic!() };
    assert_eq!(of_probes(NOW).await, (waits - 1, held + 1));
    assert!(catalog.busy_instances(NOW).await.unwrap().contains(&"storyteller".to_owned()));
    // All leases of this story have ended by then.
    let late = NOW + 365 * 24 * 3_600_000;
    assert_eq!(of_probes(late).await.1, 0);
    assert!(catalog.busy_instances(late).await.unwrap().is_empty());

    let paused = |queue: &str, by: &str| PausedQueue { queue: queue.into(), by: by.into(), at: NOW };
    let all = ["express", "probe", "thumbnail", "transcode"].map(|queue| paused(queue, "ann"));
    catalog.pause(&all, &[deed("pause", "all")]).await.unwrap();
    catalog.pause(&[paused("probe", "bob")], &[deed("pause", "probe")]).await.unwrap();
    assert_eq!(catalog.paused().await.unwrap(), all);
    assert_eq!(catalog.wake_stranded(&step(late), 1_000, 100).await.unwrap(), 0);
    catalog.resume(&["probe".into()], &[deed("resume", "probe")]).await.unwrap();
    assert_eq!(catalog.paused().await.unwrap().len(), 3);
    assert!(catalog.wake_stranded(&step(late), 1_000, 100).await.unwrap() >= 1);
    catalog.resume(&all.map(|p| p.queue), &[deed("resume", "all")]).await.unwrap();
    assert!(catalog.paused().await.unwrap().is_empty());
    assert_eq!(catalog.audit_of("probe", 10).await.unwrap().len(), 2);
}
