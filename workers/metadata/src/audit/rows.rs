//! What rows say of one another, and the event log of itself.

use std::collections::BTreeMap;

use reelfleet_catalog::invariants::{ReadySaid, Rule};
use serde::Deserialize;

use super::{AuditContext, AuditError, Code, Finding, queues};

/// Answers to one question.
const PAGE: i64 = 500;

/// What is wrong at this moment, younger than the grace left out.
pub(super) async fn look(audit: &AuditContext, grace: i64) -> Result<Vec<Finding>, AuditError> {
    let before = audit.now().saturating_sub(grace);
    let mut found = Vec::new();
    let mut busy: BTreeMap<String, bool> = BTreeMap::new();
    for broken in audit.catalog.broken(before, PAGE).await? {
        if broken.rule == Rule::DueTaskIsTaken {
            // Behind others on its queue it waits its turn, however long that takes.
            if !busy.contains_key(&broken.word) {
                let holds = queues::holds_messages(audit, &broken.word).await?;
                busy.insert(broken.word.clone(), holds);
            }
            if busy.get(&broken.word) == Some(&true) {
                continue;
            }
        }
        found.push(Finding::new(Code::of(broken.rule), broken.subject, broken.detail));
    }
    let mut said = Said::default();
    let (mut stream, mut position) = (String::new(), 0);
    loop {
        let page = audit.catalog.ready_said(&stream, position, PAGE).await?;
        let Some(last) = page.last() else { break };
        (stream, position) = (last.stream.clone(), last.position);
        page.iter().for_each(|event| said.add(event, &mut found));
    }
    Ok(found)
}

/// The generations of one stream whose readiness was said.
#[derive(Default)]
struct Said {
    stream: String,
    generations: BTreeMap<u64, String>,
}

#[derive(Deserialize)]
struct Ready {
    data: Generation,
}

#[derive(Deserialize)]
struct Generation {
    generation: u64,
}

impl Said {
    /// Streams come one after the other: one at a time is remembered.
    fn add(&mut self, event: &ReadySaid, found: &mut Vec<Finding>) {
        if self.stream != event.stream {
            *self = Self { stream: event.stream.clone(), generations: BTreeMap::new() };
        }
        let subject = event.stream.strip_prefix("asset:").unwrap_or(&event.stream);
        let Ok(Ready { data: Generation { generation } }) = serde_json::from_str(&event.body) else {
            let detail = format!("the asset.ready at position {} says no generation", event.position);
            found.push(Finding::new(Code::ReadyTwice, subject, detail));
            return;
        };
        match self.generations.insert(generation, event.event.clone()) {
            Some(first) if first != event.event => {
                let detail = format!("generation {generation} was said to be ready by {first} and by {}", event.event);
                found.push(Finding::new(Code::ReadyTwice, subject, detail));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_said_once_per_asset_and_generation() {
        let event = |stream: &str, position, event: &str, generation: u64| ReadySaid {
            stream: stream.into(),
            position,
            event: event.into(),
            body: format!(r#"{{"type":"asset.ready.v1","data":{{"generation":{generation}}}}}"#),
        };
        let mut found = Vec::new();
        let mut said = Said::default();
        said.add(&event("asset:a", 4, "e1", 1), &mut found);
        said.add(&event("asset:a", 9, "e2", 2), &mut found);
        said.add(&event("asset:b", 4, "e3", 1), &mut found);
        assert!(found.is_empty(), "{found:?}");
        said.add(&event("asset:b", 5, "e4", 1), &mut found);
        assert_eq!((found[0].code, found[0].subject.as_str()), (Code::ReadyTwice, "b"));
        said.add(&ReadySaid { body: "{}".into(), ..event("asset:b", 6, "e5", 1) }, &mut found);
        assert_eq!(found.len(), 2);
    }
}
