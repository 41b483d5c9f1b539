//! What must hold of an asset's rows: at every moment, and from one moment to the next.
//!
//! Guarantee: pure, over a snapshot that anybody can fill (a model, a test over the real rows, an audit). Nothing here
//! depends on how a state was reached, so the rules hold in any interleaving or they are wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::{AssetState, JobState, TaskState};

/// All that is known of one asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The asset.
    pub asset: AssetState,
    /// Of its outputs.
    pub generation: i64,
    /// By generation.
    pub jobs: BTreeMap<i64, Job>,
    /// The asset's stream, oldest first, from position 1.
    pub log: Vec<Logged>,
}

/// One processing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Where it is.
    pub state: JobState,
    /// Encoding tasks that it still waits for.
    pub remaining: i64,
    /// By id.
    pub tasks: BTreeMap<String, Task>,
    /// By (track, chunk, run).
    pub runs: BTreeMap<(String, i64, i64), Committed>,
    /// The playlists in S3, by name.
    pub lists: BTreeMap<String, List>,
}

/// One message's work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Where it is.
    pub state: TaskState,
    /// Who has, or had, its last lease.
    pub holder: String,
    /// Of its last lease.
    pub token: i64,
    /// Whether its job counts it.
    pub encodes: bool,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Who made it.
    pub task: String,
    /// Under which lease.
    pub token: i64,
    /// Whether its chunk ends with it.
    pub is_last: bool,
    /// Its segments in every playlist that names it.
    pub keys: Vec<String>,
}

/// A playlist.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct List {
    /// Keys of its segments.
    pub entries: Vec<String>,
    /// Whether it is the final one.
    pub ended: bool,
}

/// An event of the asset's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Its place.
    pub position: i64,
    /// Its id.
    pub id: String,
    /// Its type without the version: `asset.ready`.
    pub kind: String,
    /// The generation that it tells of, if it does.
    pub generation: Option<i64>,
}

/// A rule that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn rule(holds: bool, broken: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation(broken())) }
}

/// What holds at every moment.
pub fn moment(now: &Snapshot) -> Result<(), Violation> {
    log(&now.log)?;
    for (generation, job) in &now.jobs {
        counted(job)?;
        runs(job)?;
        let beside = now.asset == AssetState::Ready && *generation > now.generation;
        rule(
            beside || *generation == now.generation || !matches!(job.state, JobState::Queued | JobState::Running),
            || format!("the job of generation {generation} goes on beside generation {}", now.generation),
        )?;
    }
    let job = now.jobs.get(&now.generation);
    match now.asset {
        AssetState::Ready => ready(now, job)?,
        AssetState::Uploaded | AssetState::Processing | AssetState::Playable => {
            let moves = |task: &Task| matches!(task.state, TaskState::Pending | TaskState::Leased);
            rule(job.is_some_and(|job| job.tasks.values().any(moves)), || {
                format!("the asset is {} and nothing will move it", now.asset.as_str())
            })?;
        }
        AssetState::Refused | AssetState::Failed | AssetState::Deleted => {
            let goes_on = |task: &Task| matches!(task.state, TaskState::Pending | TaskState::Leased);
            rule(!now.jobs.values().flat_map(|job| job.tasks.values()).any(goes_on), || {
                format!("the asset is {} and a task goes on", now.asset.as_str())
            })?;
        }
        AssetState::AwaitingApproval | AssetState::Parked => {
            rule(job.is_none_or(|job| job.state == JobState::Queued && job.runs.is_empty()), || {
                format!("the asset is {} and is encoded all the same", now.asset.as_str())
            })?;
        }
        AssetState::Deleting => {}
    }
    Ok(())
}

/// `remaining` is the number of encoding tasks that are not over; a job that waits for none has somebody to end it.
fn counted(job: &Job) -> Result<(), Violation> {
    if job.state != JobState::Running {
        return Ok(());
    }
    let open = |task: &&Task| task.encodes && !matches!(task.state, TaskState::Done | TaskState::Cancelled);
    let open = job.tasks.values().filter(open).count() as i64;
    rule(job.remaining == open, || format!("{} tasks remain, the job counts {}", open, job.remaining))?;
    let ends = |task: &Task| !task.encodes && matches!(task.state, TaskState::Pending | TaskState::Leased);
    rule(open > 0 || job.tasks.values().any(ends), || "nothing remains and nobody publishes it".into())
}

/// Runs of a chunk are numbered without a gap, end once, and were made under a lease that there was; playlists name
/// nothing else.
fn runs(job: &Job) -> Result<(), Violation> {
    for ((track, chunk, number), run) in &job.runs {
        let place = || format!("run {number} of chunk {chunk} of the {track}");
        let before = number.checked_sub(1).map(|before| job.runs.get(&(track.clone(), *chunk, before)));
        rule(*number == 0 || before.flatten().is_some_and(|before| !before.is_last), || {
            format!("{} follows nothing, or an end", place())
        })?;
        let token = job.tasks.get(&run.task).map(|task| task.token);
        rule(token.is_some_and(|token| run.token >= 1 && run.token <= token), || {
            format!("{} was made under lease {}, its task knows {token:?}", place(), run.token)
        })?;
    }
    let committed: BTreeSet<&String> = job.runs.values().flat_map(|run| &run.keys).collect();
    for (name, list) in &job.lists {
        let mut seen = BTreeSet::new();
        for key in &list.entries {
            rule(seen.insert(key), || format!("{name} names {key} twice"))?;
            rule(committed.contains(key), || format!("{name} names {key}, which no run does"))?;
        }
    }
    Ok(())
}

/// Positions are dense, events are there once, and each generation is playable and ready once at most.
fn log(log: &[Logged]) -> Result<(), Violation> {
    dense(log.iter().map(|event| event.position), 1)?;
    let (mut ids, mut once) = (BTreeSet::new(), BTreeSet::new());
    for event in log {
        rule(ids.insert(&event.id), || format!("event {} is logged twice", event.id))?;
        if event.kind == "asset.ready" || event.kind == "asset.playable" {
            rule(once.insert((&event.kind, event.generation)), || {
                format!("{} of generation {:?} is said twice", event.kind, event.generation)
            })?;
        }
    }
    Ok(())
}

/// Positions from `first` on have no gap.
pub fn dense(positions: impl Iterator<Item = i64>, first: i64) -> Result<(), Violation> {
    for (position, wanted) in positions.zip(first..) {
        rule(position == wanted, || format!("position {position} stands where {wanted} belongs"))?;
    }
    Ok(())
}

/// Ready: everything is committed, every playlist has ended and names all of it, and it was said.
fn ready(now: &Snapshot, job: Option<&Job>) -> Result<(), Violation> {
    let whole = job.is_some_and(|job| job.state == JobState::Succeeded && job.remaining == 0);
    rule(whole, || "the asset is ready, its job has not succeeded".into())?;
    let Some(job) = job else { return Ok(()) };
    for (name, list) in &job.lists {
        rule(list.ended, || format!("the asset is ready, its playlist {name} has not ended"))?;
    }
    let over = |task: &Task| !task.encodes || matches!(task.state, TaskState::Done | TaskState::Cancelled);
    rule(job.tasks.values().all(over), || "the asset is ready, and something is still being encoded".into())?;
    let named: BTreeSet<&String> = job.lists.values().flat_map(|list| &list.entries).collect();
    let left_out = job.runs.values().flat_map(|run| &run.keys).find(|key| !named.contains(key));
    rule(left_out.is_none(), || format!("the asset is ready, no playlist names {left_out:?}"))?;
    let said = |event: &&Logged| event.kind == "asset.ready" && event.generation == Some(now.generation);
    rule(now.log.iter().filter(said).count() == 1, || "the asset is ready, and it was not said once".into())
}

/// What holds from one moment to any later one that is one operation away.
pub fn step(before: &Snapshot, after: &Snapshot) -> Result<(), Violation> {
    rule(before.asset == after.asset || before.asset.may_become(after.asset), || {
        format!("an asset that was {} is {}", before.asset.as_str(), after.asset.as_str())
    })?;
    rule((before.generation..=before.generation + 1).contains(&after.generation), || {
        format!("generation {} follows {}", after.generation, before.generation)
    })?;
    rule(after.log.starts_with(&before.log), || "what was logged has changed".into())?;
    for (generation, was) in &before.jobs {
        let Some(is) = after.jobs.get(generation) else {
            return Err(Violation(format!("the job of generation {generation} is gone")));
        };
        rule(was.state == is.state || was.state.may_become(is.state), || {
            format!("a job that was {} is {}", was.state.as_str(), is.state.as_str())
        })?;
        for (id, was) in &was.tasks {
            let Some(is) = is.tasks.get(id) else { return Err(Violation(format!("task {id} is gone"))) };
            leased(id, was, is)?;
        }
        for (place, was) in &was.runs {
            let same = is.runs.get(place).is_none_or(|is| is == was);
            rule(same, || format!("what was committed at {place:?} has changed"))?;
        }
        for (place, made) in is.runs.iter().filter(|(place, _)| !was.runs.contains_key(*place)) {
            let held = was.tasks.get(&made.task);
            let held = held.is_some_and(|task| task.state == TaskState::Leased && task.token == made.token);
            rule(held, || format!("{place:?} was committed under lease {}, which did not hold", made.token))?;
        }
        for (name, was) in &was.lists {
            rule(is.lists.get(name).is_some_and(|is| extends(was, is)), || {
                format!("{name} does not extend what it was")
            })?;
        }
    }
    Ok(())
}

/// A playlist only grows at its end, and what has ended stays.
pub fn extends(was: &List, is: &List) -> bool {
    is.entries.starts_with(&was.entries) && if was.ended { is == was } else { true }
}

/// Tokens only grow; a new lease, and a revival, have a new one.
fn leased(id: &str, was: &Task, is: &Task) -> Result<(), Violation> {
    rule(was.state == is.state || was.state.may_become(is.state), || {
        format!("task {id}, which was {}, is {}", was.state.as_str(), is.state.as_str())
    })?;
    rule(is.token >= was.token, || format!("the token of task {id} fell from {} to {}", was.token, is.token))?;
    let taken = is.state == TaskState::Leased && (was.state != TaskState::Leased || was.holder != is.holder);
    rule(!taken || is.token > was.token, || format!("task {id} is leased again under token {}", is.token))?;
    let revived = was.state == TaskState::Failed && is.state != TaskState::Failed;
    rule(!revived || is.token > was.token, || format!("task {id} is revived and its token stays {}", is.token))
}
