//! Dead letters, clustered by their cause; one or all of a cluster sent back or thrown away.
//!
//! Guarantee: looking changes nothing; whoever does something is in the audit, with each letter. One walk at a time: two
//! would hide letters from each other. What was sent back can be followed to its end, so that a canary is one.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use reelfleet_access::Scope;
use reelfleet_fleet::QueueName;
use reelfleet_fleet::dead_letters::{DeadLetterError, Fate, Filter, Found, Hand, through};
use reelfleet_messages::TaskId;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::{App, rfc3339};
use crate::caller::{Caller, Payload};
use crate::problem::{Code, Problem};

/// Letters of a cluster that are shown.
const SAMPLES: usize = 3;
/// Tasks of letters that were sent back that are named.
const SENT: usize = 100;
/// Longest reason for throwing letters away (characters).
const MAX_WHY: usize = 500;

/// Which letters: of one cluster.
#[derive(Debug, Deserialize)]
pub(crate) struct Cluster {
    queue: String,
    /// The code of their reason.
    reason: String,
    /// What their tasks were to do; left out or empty: they are no tasks.
    #[serde(default)]
    kind: String,
    /// So many at most, the oldest first: 1 is a canary.
    limit: Option<u32>,
    /// Why they are thrown away.
    #[serde(default)]
    why: String,
}

impl From<DeadLetterError> for Problem {
    fn from(error: DeadLetterError) -> Self {
        tracing::warn!(%error, "dead letters");
        Self::new(Code::Unavailable, error.to_string())
    }
}

/// All of them, the largest cluster first.
pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, Problem> {
    caller.with(Scope::Ops)?;
    let _turn = app.letters.lock().await;
    let mut held = through(&app.context, &QueueName::ALL).await?;
    let letters = held.found.clone();
    held.give_back(|_| true).await;
    let elsewhere: usize = held.elsewhere.iter().map(|(_, count)| count).sum();
    Ok(Json(json!({ "clusters": clusters(&letters), "letters": letters.len(), "held_elsewhere": elsewhere })))
}

/// Sends those of a cluster back to their queue: their tasks are revived.
pub(crate) async fn redrive(
    State(app): State<Arc<App>>,
    caller: Caller,
    Payload(cluster): Payload<Cluster>,
) -> Result<Json<Value>, Problem> {
    let principal = caller.with(Scope::Ops)?;
    let (done, left) = app.each(principal.owner, &cluster, None).await?;
    let task = |letter: &Found| {
        let task = letter.task.as_ref()?;
        Some(json!({ "task": task.task.to_string(), "token": letter.letter.token }))
    };
    let sent: Vec<Value> = done.iter().filter_map(task).take(SENT).collect();
    Ok(Json(json!({ "redriven": done.len(), "left": left, "sent": sent })))
}

/// What was sent back: its task, and the token that its letter had.
#[derive(Debug, Deserialize)]
pub(crate) struct Sent {
    task: String,
    token: Option<i64>,
}

/// What became of the task of a letter that was sent back.
pub(crate) async fn fate(
    State(app): State<Arc<App>>,
    caller: Caller,
    sent: Result<Query<Sent>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    caller.with(Scope::Ops)?;
    let unread = || Problem::new(Code::InvalidRequest, "the query holds task and, where its letter had one, token");
    let Query(sent) = sent.map_err(|_| unread())?;
    let task: TaskId = sent.task.parse().map_err(|_| unread())?;
    let standing = app.catalog.standing(&task).await?;
    let (fate, why) = match Fate::of(sent.token, standing.as_ref()) {
        Fate::Waits => ("waits", None),
        Fate::Well => ("well", None),
        Fate::Badly(why) => ("badly", Some(why)),
    };
    Ok(Json(json!({ "task": sent.task, "fate": fate, "why": why })))
}

/// Throws those of a cluster away; the audit keeps what they said.
pub(crate) async fn discard(
    State(app): State<Arc<App>>,
    caller: Caller,
    Payload(cluster): Payload<Cluster>,
) -> Result<Json<Value>, Problem> {
    let principal = caller.with(Scope::Ops)?;
    let why = cluster.why.trim();
    if why.is_empty() || why.chars().count() > MAX_WHY {
        return Err(Problem::new(
            Code::InvalidRequest,
            format!("why says in 1 to {MAX_WHY} characters why they are thrown away"),
        ));
    }
    let (done, left) = app.each(principal.owner, &cluster, Some(why)).await?;
    Ok(Json(json!({ "discarded": done.len(), "left": left })))
}

impl App {
    /// Sends each letter of a cluster back, the oldest first, or throws it away for a reason; answers which, and how
    /// many of the cluster are left.
    async fn each(&self, who: String, cluster: &Cluster, why: Option<&str>) -> Result<(Vec<Found>, usize), Problem> {
        let hand = Hand { context: self.context.clone(), catalog: self.catalog.clone(), who };
        let queue: QueueName = cluster.queue.parse().map_err(|what| Problem::new(Code::InvalidRequest, what))?;
        let filter = Filter::of_queue(Some(queue)).with_reason(cluster.reason.clone()).with_kind(cluster.kind.clone());
        let _turn = self.letters.lock().await;
        let mut held = through(&self.context, &[queue]).await?;
        held.give_back(|letter| !filter.fits(letter)).await;
        let all = held.found.len();
        let most = cluster.limit.map_or(usize::MAX, |limit| limit as usize);
        let chosen: Vec<String> = held.found.iter().take(most).map(|letter| letter.id.clone()).collect();
        held.give_back(|letter| !chosen.contains(&letter.id)).await;
        for letter in &held.found {
            let outcome = match why {
                None => hand.send_back(letter).await,
                Some(why) => hand.discard(letter, why).await,
            };
            if let Err(error) = outcome {
                // The rest comes back by itself; what was done is done.
                held.give_back(|_| true).await;
                return Err(error.into());
            }
        }
        let done = std::mem::take(&mut held.found);
        let left = all.saturating_sub(done.len());
        Ok((done, left))
    }
}

fn clusters(letters: &[Found]) -> Vec<Value> {
    let mut by_cause: BTreeMap<(&str, &str, &str), Vec<&Found>> = BTreeMap::new();
    for letter in letters {
        by_cause.entry((letter.queue.as_str(), letter.code(), letter.kind())).or_default().push(letter);
    }
    let mut clusters: Vec<_> = by_cause.into_iter().collect();
    clusters.sort_by_key(|(_, letters)| std::cmp::Reverse(letters.len()));
    let shown = |((queue, reason, kind), letters): ((&str, &str, &str), Vec<&Found>)| {
        let times = letters.iter().map(|letter| letter.at());
        json!({
            "queue": queue,
            "reason": reason,
            "kind": kind,
            "letters": letters.len(),
            "first_at": times.clone().min().map(rfc3339),
            "last_at": times.max().map(rfc3339),
            "samples": letters.iter().take(SAMPLES).map(|letter| sample(letter)).collect::<Vec<_>>(),
        })
    };
    clusters.into_iter().map(shown).collect()
}

fn sample(letter: &Found) -> Value {
    let told = &letter.letter;
    json!({
        "id": letter.id,
        "subject": letter.subject(),
        "asset": Some(letter.asset()).filter(|asset| !asset.is_empty()),
        "at": rfc3339(letter.at()),
        "reason": told.reason,
        "error": told.error,
        "exit": told.exit,
        "attempts": told.attempts,
        "crashes": told.crashes,
        "reproducer": told.reproducer,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use reelfleet_messages::Letter;

    use super::*;

    fn letter(id: &str, queue: QueueName, reason: &str, at: i64) -> Found {
        let told = Letter { reason: reason.into(), token: Some(1), at: Some(at), ..Letter::default() };
        let (body, attributes) = (String::new(), HashMap::new());
        Found {
            queue,
            id: id.into(),
            body,
            attributes,
            group: None,
            sent_ms: 0,
            letter: told,
            task: None,
            receipt: String::new(),
        }
    }

    #[test]
    fn letters_of_one_cause_are_one_cluster_and_the_largest_is_first() {
        let crash = |id, at| letter(id, QueueName::Transcode, "decoder_crashed: thrice", at);
        let found = [
            letter("x", QueueName::Probe, "attempts_exhausted: 8", 5),
            crash("a", 7),
            crash("b", 2),
            crash("c", 9),
            crash("d", 3),
        ];
        let shown = clusters(&found);
        assert_eq!(shown.len(), 2);
        assert_eq!((&shown[0]["reason"], &shown[0]["letters"]), (&"decoder_crashed".into(), &4.into()));
        assert_eq!((&shown[0]["first_at"], &shown[0]["last_at"]), (&rfc3339(2).into(), &rfc3339(9).into()));
        assert_eq!(shown[0]["samples"].as_array().unwrap().len(), SAMPLES);
        assert_eq!((&shown[1]["queue"], &shown[1]["kind"]), (&"probe".into(), &"".into()));
    }
}
