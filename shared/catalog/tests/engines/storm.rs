//! Three processes do at random what processes do, on the real catalog, whose answers get lost: after each step the rows
//! keep the invariants of the domain, and in the end there is one result.
//!
//! Whoever lost its lease (or slept through it) keeps it in memory and tries all the same. The playlist's object is here,
//! with If-Match as S3 has it.

use std::collections::BTreeMap;

use reelfleet_catalog::assets::{End, Probed};
use reelfleet_catalog::fallback::Fallback;
use reelfleet_catalog::publishing::Playlist;
use reelfleet_catalog::runs::{Run, RunRendition};
use reelfleet_catalog::tasks::{Leased, NewTask};
use reelfleet_catalog::{Catalog, CatalogError, Emission, Lease, Row, Statement};
use reelfleet_domain::invariants::{self, Committed, Job, List, Logged, Snapshot};
use reelfleet_domain::playlist::Segment;
use reelfleet_domain::policy::Refusal;
use reelfleet_domain::retry::TAKEOVER_GRACE_MS;
use reelfleet_domain::{AssetState, JobState, TaskState};
use reelfleet_messages::event::{AssetPlayable, AssetReady, ReasonCode};
use reelfleet_messages::task::{ChunkTask, Task};
use reelfleet_messages::{AssetId, Event, EventId, Letter, TaskId};

use crate::story::{LEASE_MS, Landed, NOW, envelope, id, land, lease, run_of, step, task};

/// Lost after the work was done: every seventh commit, and some statements.
pub const FAULTS: &str = r#"[
    {"service": "rds-data", "operation": "CommitTransaction", "fault": "lose_answer", "rate": 0.15, "seed": 3},
    {"service": "rds-data", "operation": "ExecuteStatement", "fault": "lose_answer", "rate": 0.01, "seed": 4}
]"#;
const PROCESSES: usize = 3;
/// Runs of each chunk.
const RUNS: i64 = 2;
const STEPS: usize = 110;

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Draws(u64);

impl Draws {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

/// A lease that somebody believes to have, and for a publisher what it has read.
struct Held {
    lease: Lease,
    seen: Option<(i64, List, u64)>,
}

struct Storm<'c> {
    catalog: &'c Catalog,
    film: Landed,
    publish: TaskId,
    tasks: Vec<TaskId>,
    now: i64,
    held: Vec<Held>,
    /// The object and its ETag.
    list: List,
    etag: u64,
    fell_back: bool,
    letters: Vec<(TaskId, i64)>,
}

/// Plays one seed.
pub async fn blow(catalog: &Catalog, seed: u64) {
    let mut storm = Storm::planned(catalog, seed).await;
    let mut draws = Draws(seed);
    let mut before = storm.watched(None, "planning").await;
    for number in 0..STEPS {
        let what = storm.happen(&mut draws).await;
        before = storm.watched(Some(&before), &format!("seed {seed}, step {number}: {what}")).await;
    }
    for _ in 0..40 {
        if before.asset == AssetState::Ready {
            break;
        }
        let what = storm.calm().await;
        before = storm.watched(Some(&before), &format!("seed {seed}, at the end: {what}")).await;
    }
    assert_eq!(before.asset, AssetState::Ready, "seed {seed} does not end: {before:#?}");
}

fn settled<T>(outcome: Result<T, CatalogError>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(error) if error.is_conflict() => None,
        Err(error) => panic!("{error}"),
    }
}

impl<'c> Storm<'c> {
    async fn planned(catalog: &'c Catalog, seed: u64) -> Self {
        let film = land(catalog, &format!("storm/{seed}"), None, AssetId::from_uuid(id())).await;
        let probe = lease(catalog, NOW, &film.probe).await;
        let plan = task(film.asset, film.job, Task::PlanRenditions);
        let probed = Probed { media: "video", report: "{}", duration_ms: None, width: None, height: None, cost: None };
        catalog.probed(&step(NOW), &probe, &probed, std::slice::from_ref(&plan), &[]).await.unwrap();
        let planning = lease(catalog, NOW, &plan).await;
        let publish = NewTask { armed: false, ..task(film.asset, film.job, Task::PublishPlaylist) };
        let chunks: Vec<NewTask> = (0..3).map(|number| chunk(&film, number)).collect();
        catalog.planned(&step(NOW), &planning, "{}", 1, &publish, &chunks, &[]).await.unwrap();
        let publish = publish.envelope.task;
        let tasks = chunks.iter().map(|task| task.envelope.task).chain([publish]).collect();
        let (list, letters) = (List::default(), Vec::new());
        Self { catalog, film, publish, tasks, now: NOW, held: Vec::new(), list, etag: 0, fell_back: false, letters }
    }

    async fn happen(&mut self, draws: &mut Draws) -> String {
        match draws.below(24) {
            0..=7 => {
                let task = self.tasks[draws.below(self.tasks.len())];
                self.take(task).await
            }
            8 => {
                self.now += [1_500, 40_000, LEASE_MS + TAKEOVER_GRACE_MS + 1][draws.below(3)];
                "time passes".into()
            }
            9 => {
                self.catalog.wake_stranded(&step(self.now), 60_000, 10).await.unwrap();
                "a sweep".into()
            }
            10 if !self.letters.is_empty() => {
                let letter = self.letters[draws.below(self.letters.len())];
                self.redrive(letter).await
            }
            _ if self.held.is_empty() => "nobody has anything".into(),
            _ => {
                let held = self.held.remove(draws.below(self.held.len()));
                if held.lease.envelope.task == self.publish {
                    self.publish(held, draws).await
                } else {
                    self.encode(held, draws).await
                }
            }
        }
    }

    async fn take(&mut self, task: TaskId) -> String {
        match self.catalog.lease(&step(self.now), &task, LEASE_MS).await.unwrap() {
            Leased::Mine(lease) => {
                let what = format!("{task} is leased as {}", lease.token);
                self.held.push(Held { lease: *lease, seen: None });
                // The oldest dies.
                if self.held.len() > 2 * PROCESSES {
                    self.held.remove(0);
                }
                what
            }
            Leased::Exhausted(lease, _) => self.fail(&lease).await,
            other => format!("{task}: {other:?}"),
        }
    }

    async fn encode(&mut self, held: Held, draws: &mut Draws) -> String {
        let (catalog, lease, now) = (self.catalog, &held.lease, self.now);
        let name = format!("{} under {}", lease.envelope.task, lease.token);
        let what = match draws.below(16) {
            0 => {
                let given =
                    settled(catalog.retry(&step(now), lease, now + 1_000, "it broke", Some("signal SIGSEGV")).await);
                return format!("{name} is given back, crashed: {given:?}");
            }
            1 => {
                let given = settled(catalog.release(&step(now), lease, now).await);
                return format!("{name} is given back: {given:?}");
            }
            2 => {
                let later = settled(catalog.continue_later(&step(now), lease).await);
                return format!("{name} is continued later: {later:?}");
            }
            3 if draws.below(3) == 0 => return self.fail(lease).await,
            4 | 5 => format!("{name} is extended: {}", catalog.extend(now, lease, LEASE_MS).await.unwrap()),
            _ => self.commit(lease).await,
        };
        self.held.push(held);
        what
    }

    async fn commit(&self, lease: &Lease) -> String {
        let (track, number) = match &lease.envelope.work {
            Task::EncodeChunk(chunk) => ("video", i64::from(chunk.chunk)),
            other => panic!("{other:?}"),
        };
        let last = self.catalog.last_run(&self.film.job, track, number).await.unwrap();
        let next = last.map_or(0, |run| run.run + 1);
        let key = format!("t/{}/{}/{number}-{next}", lease.envelope.task, lease.token);
        let segments = vec![Segment { key, duration: 1, timescale: 1, bytes: 1 }];
        let renditions =
            vec![RunRendition { name: "270p".into(), codecs: "avc1".into(), init: "init".into(), segments }];
        let run = Run { renditions, ..run_of(number, next, next == RUNS - 1) };
        let done = settled(self.catalog.commit_run(&step(self.now), lease, &run, &self.publish).await);
        format!("{} commits run {next} under {}: {done:?}", lease.envelope.task, lease.token)
    }

    async fn fail(&mut self, lease: &Lease) -> String {
        let asset = self.catalog.asset(&self.film.asset).await.unwrap().unwrap();
        let why = Refusal::new(ReasonCode::DecoderCrashed, "it broke");
        let letter = Letter { token: Some(lease.token), ..Letter::default() };
        let facts = [self.emission(Event::AssetFailed(reelfleet_messages::event::AssetStopped {
            asset: asset.id,
            code: why.code,
            detail: why.detail.clone(),
        }))];
        let task = Some((lease, Some(&letter)));
        let ended = settled(self.catalog.end_asset(&step(self.now), &asset, task, End::Failed, &why, &facts).await);
        if ended.is_some() {
            self.letters.push((lease.envelope.task, lease.token));
        }
        format!("{} fails under {}: {ended:?}", lease.envelope.task, lease.token)
    }

    async fn redrive(&mut self, (task, token): (TaskId, i64)) -> String {
        let Some(failed) = self.catalog.failed_task(&task, token).await.unwrap() else {
            return format!("the letter of {task} is an ordinary wake-up");
        };
        let body = Statement::new("SELECT body FROM task WHERE id = :id").text("id", task.to_string());
        let envelope = serde_json::from_str(&self.catalog.read(body).await.unwrap()[0].text(0).unwrap()).unwrap();
        let revived = settled(self.catalog.revive(&step(self.now), &envelope, &failed, &[]).await);
        format!("{task} is revived: {revived:?}")
    }

    /// One effect of a publisher.
    async fn publish(&mut self, mut held: Held, draws: &mut Draws) -> String {
        let (catalog, now) = (self.catalog, self.now);
        let name = format!("the publisher under {}", held.lease.token);
        let Some((wanted, list, noted)) = held.seen.take() else {
            let Some(wanted) = settled(catalog.wanted(&held.lease).await) else {
                return format!("{name} lost its lease");
            };
            let lists = catalog.playlists(&self.film.job).await.unwrap();
            let noted = lists.iter().find(|list| list.name == "270p").map_or(0, |list| list.etag.parse().unwrap());
            let job = catalog.job(&self.film.job).await.unwrap().unwrap();
            let list = prefix(&catalog.runs(&self.film.job).await.unwrap(), job.remaining == 0);
            if !self.fell_back && list.entries.len() as i64 == RUNS && draws.below(4) == 0 {
                return self.fall_back(&held.lease).await;
            }
            held.seen = Some((wanted, list, noted));
            self.held.push(held);
            return format!("{name} looks");
        };
        if !list.entries.is_empty() && self.list != list {
            if self.etag != noted && !invariants::extends(&self.list, &list) {
                let given = settled(catalog.retry(&step(now), &held.lease, now, "overtaken", None).await);
                return format!("{name} was overtaken: {given:?}");
            }
            // With the ETag of what is there, which it has just read, or has known.
            self.list.clone_from(&list);
            self.etag += 1;
            let what = format!("{name} writes {} segments", list.entries.len());
            held.seen = Some((wanted, list, self.etag));
            self.held.push(held);
            return what;
        }
        if !list.entries.is_empty() {
            let row = Playlist {
                name: "270p".into(),
                etag: self.etag.to_string(),
                segments: list.entries.len() as i64,
                ended: list.ended,
            };
            if settled(catalog.wrote_playlist(&step(now), &held.lease, &row).await).is_none() {
                return format!("{name} can't note its list");
            }
            let fact = AssetPlayable { asset: self.film.asset, generation: 1, after_ms: 1 };
            let facts = [self.emission(Event::AssetPlayable(fact))];
            settled(catalog.playable(&step(now), &self.film.asset, 1, &facts).await);
        }
        if list.ended {
            let fact = AssetReady { asset: self.film.asset, generation: 1, after_ms: 1, renditions: Vec::new() };
            let facts = [self.emission(Event::AssetReady(fact))];
            let ready = settled(catalog.ready(&step(now), &held.lease, &[], &facts).await);
            return format!("{name} says ready: {ready:?}");
        }
        match settled(catalog.published(&step(now), &held.lease, wanted).await) {
            Some(true) => format!("{name} is done"),
            Some(false) => {
                self.held.push(held);
                format!("{name} goes round again")
            }
            None => format!("{name} lost its lease"),
        }
    }

    async fn fall_back(&mut self, lease: &Lease) -> String {
        let chain = chunk(&self.film, 1);
        let fallback = Fallback { plan: "{}", keep: (0, RUNS - 1), chain: &chain };
        let fell = settled(self.catalog.fall_back(&step(self.now), lease, &fallback).await);
        if fell.is_some() {
            self.fell_back = true;
            self.tasks.push(chain.envelope.task);
        }
        format!("the publisher under {} falls back: {fell:?}", lease.token)
    }

    /// Faults have stopped: whoever is asked does what it is asked for.
    async fn calm(&mut self) -> String {
        self.now += LEASE_MS + TAKEOVER_GRACE_MS + 1;
        self.held.clear();
        let mut done = Vec::new();
        if let Some(letter) = self.letters.pop() {
            return self.redrive(letter).await;
        }
        for task in self.tasks.clone() {
            done.push(self.take(task).await);
            while let Some(held) = self.held.pop() {
                if task == self.publish {
                    // A draw that never falls back.
                    self.fell_back = true;
                    done.push(self.publish(held, &mut Draws(1)).await);
                } else {
                    let what = self.commit(&held.lease).await;
                    if what.ends_with("Some(())") {
                        self.held.push(held);
                    }
                    done.push(what);
                }
            }
        }
        done.join("; ")
    }

    fn emission(&self, event: Event) -> Emission {
        Emission::new(EventId::from_uuid(id()), self.now, "default", "ann", None, event)
    }

    /// The rows as they are; panics where they break a rule.
    async fn watched(&self, before: Option<&Snapshot>, what: &str) -> Snapshot {
        let now = self.snapshot().await;
        let held =
            before.map_or(Ok(()), |before| invariants::step(before, &now)).and_then(|()| invariants::moment(&now));
        if let Err(violation) = held {
            panic!("{what}: {violation}\nbefore: {before:#?}\nafter: {now:#?}");
        }
        now
    }

    async fn rows(&self, sql: &'static str) -> Vec<Row> {
        self.catalog.read(Statement::new(sql).text("id", self.film.asset.to_string())).await.unwrap()
    }

    async fn snapshot(&self) -> Snapshot {
        let asset = self.catalog.asset(&self.film.asset).await.unwrap().unwrap();
        let job = self.catalog.job(&self.film.job).await.unwrap().unwrap();
        let sql = "SELECT id, state, lease_token, coalesce(lease_owner, ''), track FROM task WHERE asset_id = :id ORDER BY id";
        let tasks = self.rows(sql).await;
        let tasks = tasks.iter().map(|row| {
            let state = TaskState::parse(&row.text(1).unwrap()).unwrap();
            let (token, holder) = (row.int(2).unwrap(), row.text(3).unwrap());
            (
                row.text(0).unwrap(),
                invariants::Task { state, token, holder, encodes: row.opt_text(4).unwrap().is_some() },
            )
        });
        let sql = "SELECT r.track, r.chunk, r.run, r.task_id, r.token, r.is_last, r.renditions FROM run r JOIN job j ON j.id = r.job_id WHERE j.asset_id = :id";
        let runs = self.rows(sql).await;
        let runs = runs.iter().map(|row| {
            let renditions: Vec<RunRendition> = serde_json::from_str(&row.text(6).unwrap()).unwrap();
            let keys = renditions.into_iter().flat_map(|r| r.segments).map(|segment| segment.key).collect();
            let (task, token, is_last) = (row.text(3).unwrap(), row.int(4).unwrap(), row.bool(5).unwrap());
            ((row.text(0).unwrap(), row.int(1).unwrap(), row.int(2).unwrap()), Committed { task, token, is_last, keys })
        });
        let job = Job {
            state: JobState::parse(&job.state).unwrap(),
            remaining: job.remaining,
            tasks: tasks.collect(),
            runs: runs.collect(),
            lists: BTreeMap::from([("270p".to_owned(), self.list.clone())]),
        };
        let sql = "SELECT position, event_id, body FROM event_log WHERE stream = 'asset:' || CAST(:id AS TEXT) ORDER BY position";
        let log = self.rows(sql).await;
        let log = log.iter().map(|row| {
            let body: serde_json::Value = serde_json::from_str(&row.text(2).unwrap()).unwrap();
            let kind = body["type"].as_str().unwrap().rsplit_once(".v").unwrap().0.to_owned();
            let generation = body["data"]["generation"].as_i64();
            Logged { position: row.int(0).unwrap(), id: row.text(1).unwrap(), kind, generation }
        });
        let jobs = BTreeMap::from([(1, job)]);
        Snapshot { asset: asset.state, generation: asset.generation, jobs, log: log.collect() }
    }
}

fn chunk(film: &Landed, chunk: u32) -> NewTask {
    let work = Task::EncodeChunk(ChunkTask {
        asset: film.asset,
        generation: 1,
        chunk,
        start_us: 0,
        end_us: None,
        cuts_us: Vec::new(),
    });
    NewTask { place: Some(("video", i64::from(chunk))), ..envelope(film.job, work) }
}

/// The keys of the contiguous prefix.
fn prefix(runs: &[Run], ended: bool) -> List {
    let (mut place, mut entries) = ((0, 0), Vec::new());
    for run in runs {
        if (run.chunk, run.run) != place {
            break;
        }
        entries.extend(run.renditions.iter().flat_map(|r| &r.segments).map(|segment| segment.key.clone()));
        place = if run.is_last { (run.chunk + 1, 0) } else { (run.chunk, run.run + 1) };
    }
    List { entries, ended }
}
