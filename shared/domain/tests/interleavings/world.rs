//! What there is: rows, a queue that delivers at least once, an object with an ETag; and what is done to it, one effect
//! at a time. The rows' rules are those of the catalog: each write compares the lease's token and stores an operation id.

use std::collections::BTreeMap;

use reelfleet_domain::invariants::{Committed, Job, List, Logged, Snapshot, Task};
use reelfleet_domain::retry::{MAX_ATTEMPTS, MAX_CRASHES, TAKEOVER_GRACE_MS};
use reelfleet_domain::{AssetState, JobState, TaskState};

/// How long a lease holds, and a delivered message stays hidden (milliseconds).
pub const LEASE_MS: i64 = 90_000;
/// Encoding tasks, each of this many runs.
pub const CHUNKS: usize = 3;
pub const RUNS: i64 = 2;
/// The last task publishes.
pub const PUBLISH: usize = CHUNKS;

#[derive(Debug, Clone)]
pub struct Row {
    pub state: TaskState,
    /// Process that leased it last.
    pub holder: usize,
    pub token: i64,
    pub until: i64,
    pub next_at: i64,
    pub attempts: i64,
    pub crashes: i64,
    pub wanted: i64,
    pub op: String,
    pub updated_at: i64,
}

#[derive(Debug, Clone)]
pub struct Message {
    pub id: u64,
    pub task: usize,
    pub visible_at: i64,
    /// A dead letter that was sent back says which end it is of.
    pub redrives: Option<i64>,
}

/// A rule that is broken on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    None,
    /// Commits look at the state alone.
    NoFence,
    /// A lease is taken over without a new token.
    SameToken,
    /// Publishing ends without looking whether something was committed meanwhile.
    ForgetsWanted,
    /// The object is written without If-Match.
    BlindPut,
    /// The ETag is read after the runs, so that it may be that of a list that knows more.
    LateEtag,
    /// A redrive revives whatever has failed, and leaves the token.
    LooseRedrive,
}

#[derive(Debug, Clone)]
pub struct World {
    pub bug: Bug,
    pub now: i64,
    pub asset: AssetState,
    pub was_playable: bool,
    pub job: JobState,
    pub remaining: i64,
    pub tasks: Vec<Row>,
    pub runs: BTreeMap<(usize, i64), (i64, String)>,
    /// The playlist in S3 and its ETag; and the ETag that the row knows.
    pub list: List,
    pub etag: u64,
    pub noted: u64,
    pub log: Vec<&'static str>,
    pub outbox: Vec<usize>,
    pub queue: Vec<Message>,
    pub sent: u64,
    /// (Task, token) of dead letters.
    pub letters: Vec<(usize, i64)>,
    pub ended_by: String,
}

/// What came of a compare-and-set.
pub type Outcome = Result<(), ()>;

impl World {
    /// Planned: the chunks are woken, publishing waits for the first commit.
    pub fn planned(bug: Bug) -> Self {
        let row = |state| Row {
            state,
            holder: 0,
            token: 0,
            until: 0,
            next_at: 0,
            attempts: 0,
            crashes: 0,
            wanted: 0,
            op: String::new(),
            updated_at: 0,
        };
        let mut tasks = vec![row(TaskState::Pending); CHUNKS];
        tasks.push(row(TaskState::Done));
        Self {
            bug,
            now: 0,
            asset: AssetState::Processing,
            was_playable: false,
            job: JobState::Running,
            remaining: CHUNKS as i64,
            tasks,
            runs: BTreeMap::new(),
            list: List::default(),
            etag: 0,
            noted: 0,
            log: vec!["job.started"],
            outbox: (0..CHUNKS).collect(),
            queue: Vec::new(),
            sent: 0,
            letters: Vec::new(),
            ended_by: String::new(),
        }
    }

    /// As the invariants see it.
    pub fn snapshot(&self) -> Snapshot {
        let tasks = self.tasks.iter().enumerate().map(|(id, row)| {
            (
                id.to_string(),
                Task { state: row.state, token: row.token, holder: row.holder.to_string(), encodes: id != PUBLISH },
            )
        });
        let runs = self.runs.iter().map(|((chunk, run), (token, key))| {
            let made = Committed {
                task: chunk.to_string(),
                token: *token,
                is_last: *run == RUNS - 1,
                keys: vec![key.clone()],
            };
            (("video".to_owned(), *chunk as i64, *run), made)
        });
        let job = Job {
            state: self.job,
            remaining: self.remaining,
            tasks: tasks.collect(),
            runs: runs.collect(),
            lists: BTreeMap::from([("video".to_owned(), self.list.clone())]),
        };
        let log = self.log.iter().enumerate().map(|(at, kind)| Logged {
            position: at as i64 + 1,
            id: at.to_string(),
            kind: (*kind).to_owned(),
            generation: Some(1),
        });
        Snapshot { asset: self.asset, generation: 1, jobs: BTreeMap::from([(1, job)]), log: log.collect() }
    }

    fn is_live(&self) -> bool {
        self.asset.is_live()
    }

    /// The guard of every write of an attempt.
    fn holds(&self, task: usize, token: i64) -> bool {
        let row = &self.tasks[task];
        row.state == TaskState::Leased && (row.token == token || self.bug == Bug::NoFence)
    }

    fn stamp(&mut self, task: usize, op: &str) {
        let now = self.now;
        let row = &mut self.tasks[task];
        op.clone_into(&mut row.op);
        row.updated_at = now;
    }

    /// Whether this very operation was carried out.
    pub fn settled(&self, task: usize, op: &str) -> bool {
        self.tasks[task].op == op
    }

    /// Takes a lease: its token, or none.
    pub fn lease(&mut self, task: usize, holder: usize, op: &str) -> Option<i64> {
        let (now, same) = (self.now, self.bug == Bug::SameToken);
        let row = &mut self.tasks[task];
        let spent = row.attempts >= MAX_ATTEMPTS || row.crashes >= MAX_CRASHES;
        let free = match row.state {
            TaskState::Pending => row.next_at <= now,
            TaskState::Leased => row.until + TAKEOVER_GRACE_MS < now,
            _ => false,
        };
        if !free {
            return None;
        }
        // Whoever finds that its attempts are spent fences the last one and fails it.
        row.attempts += i64::from(!spent);
        row.token += i64::from(!(same && row.state == TaskState::Leased));
        row.state = TaskState::Leased;
        row.holder = holder;
        row.until = now + LEASE_MS;
        let token = row.token;
        self.stamp(task, op);
        Some(token)
    }

    pub fn is_spent(&self, task: usize) -> bool {
        self.tasks[task].attempts >= MAX_ATTEMPTS || self.tasks[task].crashes >= MAX_CRASHES
    }

    pub fn extend(&mut self, task: usize, token: i64) -> bool {
        let (held, until) = (self.holds(task, token), self.now + LEASE_MS);
        if held {
            self.tasks[task].until = until;
        }
        held
    }

    /// The next run of a chunk, and publishing is armed.
    pub fn commit_run(&mut self, task: usize, token: i64, op: &str, run: i64) -> Outcome {
        // The run's row has a primary key.
        if !self.holds(task, token) || self.runs.contains_key(&(task, run)) {
            return Err(());
        }
        let last = run == RUNS - 1;
        if last && self.job != JobState::Running {
            return Err(());
        }
        self.runs.insert((task, run), (token, format!("{task}/{token}/{run}")));
        self.stamp(task, op);
        let row = &mut self.tasks[task];
        if last {
            row.state = TaskState::Done;
            self.remaining -= 1;
        } else {
            row.attempts = 1;
        }
        let publish = &mut self.tasks[PUBLISH];
        publish.wanted += 1;
        if publish.state == TaskState::Done {
            publish.state = TaskState::Pending;
            publish.attempts = 0;
        }
        publish.updated_at = self.now;
        self.outbox.push(PUBLISH);
        Ok(())
    }

    /// Gives a task back.
    pub fn hand_back(&mut self, task: usize, token: i64, op: &str, crashed: bool, charge: bool) -> Outcome {
        if !self.holds(task, token) {
            return Err(());
        }
        let now = self.now;
        let row = &mut self.tasks[task];
        row.state = TaskState::Pending;
        row.next_at = now + 1_000;
        row.crashes += i64::from(crashed);
        row.attempts -= i64::from(!charge);
        self.stamp(task, op);
        Ok(())
    }

    /// A chain hands over to its continuation.
    pub fn continue_later(&mut self, task: usize, token: i64, op: &str) -> Outcome {
        if !self.holds(task, token) {
            return Err(());
        }
        let now = self.now;
        let row = &mut self.tasks[task];
        row.state = TaskState::Pending;
        row.next_at = now;
        row.attempts = 0;
        self.stamp(task, op);
        self.outbox.push(task);
        Ok(())
    }

    /// The task is given up and its asset with it; the dead letter leaves in the same transaction.
    pub fn fail(&mut self, task: usize, token: i64, op: &str) -> Outcome {
        if !self.holds(task, token) || !self.is_live() {
            return Err(());
        }
        for (other, row) in self.tasks.iter_mut().enumerate() {
            if matches!(row.state, TaskState::Pending | TaskState::Leased) {
                row.state = if other == task { TaskState::Failed } else { TaskState::Cancelled };
                op.clone_into(&mut row.op);
            }
        }
        self.asset = AssetState::Failed;
        self.job = JobState::Failed;
        op.clone_into(&mut self.ended_by);
        self.log.push("asset.failed");
        self.letters.push((task, token));
        Ok(())
    }

    /// A dead letter that was sent back.
    pub fn revive(&mut self, task: usize, token: i64, op: &str) -> Outcome {
        let loose = self.bug == Bug::LooseRedrive;
        let row = &self.tasks[task];
        if row.state != TaskState::Failed || row.token != token && !loose || self.asset != AssetState::Failed {
            return Err(());
        }
        let ended_by = self.ended_by.clone();
        for (other, row) in self.tasks.iter_mut().enumerate() {
            let called_off = row.state == TaskState::Cancelled && row.op == ended_by;
            if other == task || called_off {
                row.state = TaskState::Pending;
                row.next_at = self.now;
                row.attempts = 0;
                row.crashes = 0;
                row.token += i64::from(other == task && !loose);
                op.clone_into(&mut row.op);
                self.outbox.push(other);
            }
        }
        self.asset = if self.was_playable { AssetState::Playable } else { AssetState::Processing };
        self.job = JobState::Running;
        self.log.push("job.queued");
        Ok(())
    }

    /// The contiguous committed prefix, and whether it is everything.
    pub fn prefix(&self) -> List {
        let places = (0..CHUNKS).flat_map(|chunk| (0..RUNS).map(move |run| (chunk, run)));
        let entries = places.map_while(|place| self.runs.get(&place).map(|(_, key)| key.clone())).collect();
        List { entries, ended: self.remaining == 0 }
    }

    /// PUT with If-Match; answers the ETag that it has now, or what is there.
    pub fn put(&mut self, list: &List, etag: u64) -> Result<u64, (List, u64)> {
        if self.etag != etag && self.bug != Bug::BlindPut {
            return Err((self.list.clone(), self.etag));
        }
        self.list.clone_from(list);
        self.etag += 1;
        Ok(self.etag)
    }

    pub fn note(&mut self, token: i64, etag: u64) -> Outcome {
        if !self.holds(PUBLISH, token) {
            return Err(());
        }
        self.noted = etag;
        Ok(())
    }

    pub fn playable(&mut self) {
        if self.asset == AssetState::Processing {
            self.asset = AssetState::Playable;
            self.was_playable = true;
            self.log.push("asset.playable");
        }
    }

    /// Ends a publisher's step unless something was committed meanwhile (`Ok(false)`).
    pub fn published(&mut self, token: i64, op: &str, wanted: i64) -> Result<bool, ()> {
        if !self.holds(PUBLISH, token) {
            return Err(());
        }
        if self.tasks[PUBLISH].wanted != wanted && self.bug != Bug::ForgetsWanted {
            return Ok(false);
        }
        self.tasks[PUBLISH].state = TaskState::Done;
        self.stamp(PUBLISH, op);
        Ok(true)
    }

    pub fn ready(&mut self, token: i64, op: &str) -> Outcome {
        if !self.holds(PUBLISH, token) || !self.is_live() || self.job != JobState::Running || self.remaining != 0 {
            return Err(());
        }
        self.tasks[PUBLISH].state = TaskState::Done;
        self.stamp(PUBLISH, op);
        self.asset = AssetState::Ready;
        self.job = JobState::Succeeded;
        self.log.push("asset.ready");
        Ok(())
    }

    /// Wakes what is due and silent.
    pub fn sweep(&mut self) {
        let now = self.now;
        for (task, row) in self.tasks.iter_mut().enumerate() {
            let due = match row.state {
                TaskState::Pending => row.next_at < now,
                TaskState::Leased => row.until + TAKEOVER_GRACE_MS < now,
                _ => false,
            };
            if due && row.updated_at + 60_000 < now {
                row.updated_at = now;
                self.outbox.push(task);
            }
        }
    }

    /// Sends one row of the outbox; a crash between sending and deleting sends it again.
    pub fn relay(&mut self, pick: usize, crash: bool) {
        if self.outbox.is_empty() {
            return;
        }
        let at = pick % self.outbox.len();
        let task = self.outbox[at];
        self.send(task, None);
        if !crash {
            self.outbox.swap_remove(at);
        }
    }

    pub fn send(&mut self, task: usize, redrives: Option<i64>) {
        self.sent += 1;
        self.queue.push(Message { id: self.sent, task, visible_at: self.now, redrives });
    }

    /// Whether anything is still to come.
    pub fn is_quiet(&self) -> bool {
        let over = |row: &Row| !matches!(row.state, TaskState::Pending | TaskState::Leased);
        self.outbox.is_empty() && self.queue.is_empty() && self.tasks.iter().all(over)
    }
}
