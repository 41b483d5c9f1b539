//! Batches of the outbox's rows, and answers that are looked at.
//!
//! Guarantee: every row of a batch is told apart as taken or not; a row that the answer does not name was not taken.
//!
//! Source: SendMessageBatch (10 entries, 1 MiB) and PublishBatch (10 entries, 256 KiB) in the API references.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::types::{MessageAttributeValue as SqsValue, SendMessageBatchRequestEntry};
use reelfleet_catalog::outbox::{self, Outgoing};
use reelfleet_telemetry::BatchShortfall;
use serde::Deserialize;

const MAX_ENTRIES: usize = 10;
pub(crate) const SQS_BYTES: usize = 1 << 20;
pub(crate) const SNS_BYTES: usize = 256 << 10;
/// A message has at most ten.
const MAX_ATTRIBUTES: usize = 10;
/// Of W3C Trace Context.
const TRACEPARENT: &str = "traceparent";
/// Room for the rest of an entry.
const ENTRY: usize = 1_024;

/// What a service said about a batch: ids taken, and ids refused with the reason.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    taken: Vec<String>,
    refused: Vec<(String, String)>,
}

/// The attributes of an event that subscriptions filter by. Read from the JSON alone, so that a row of a newer build is
/// relayed too.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Head {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) subject: String,
    pub(crate) tenant: String,
    #[serde(default)]
    traceparent: Option<String>,
}

/// The copy of its trace that a task's body holds.
fn traceparent(body: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Body {
        traceparent: Option<String>,
    }
    serde_json::from_str::<Body>(body).ok()?.traceparent
}

/// Sends tasks to a queue, or letters to its dead-letter queue. The tenant is the message group, which keeps a standard
/// queue fair.
pub(crate) async fn send(sqs: &aws_sdk_sqs::Client, url: &str, rows: &[&Outgoing]) -> Result<Answer, String> {
    let entry = |(n, row): (usize, &&Outgoing)| {
        let mut entry = SendMessageBatchRequestEntry::builder()
            .id(n.to_string())
            .message_body(&row.body)
            .message_group_id(&row.tenant);
        // A letter may have as many attributes as a message can: its trace is in its body then.
        let room = row.attributes.len() < MAX_ATTRIBUTES && !row.attributes.contains_key(TRACEPARENT);
        let trace = if room { traceparent(&row.body) } else { None };
        let own = row.attributes.iter().map(|(name, value)| (name.as_str(), value));
        for (name, value) in own.chain(trace.iter().map(|trace| (TRACEPARENT, trace))) {
            let value = SqsValue::builder().data_type("String").string_value(value).build()?;
            entry = entry.message_attributes(name, value);
        }
        entry.build()
    };
    let entries: Result<Vec<_>, _> = rows.iter().enumerate().map(entry).collect();
    let entries = entries.map_err(|error| error.to_string())?;
    let answer = sqs.send_message_batch().queue_url(url).set_entries(Some(entries)).send().await;
    let answer = answer.map_err(|error| DisplayErrorContext(&error).to_string())?;
    Ok(Answer {
        taken: answer.successful.into_iter().map(|entry| entry.id).collect(),
        refused: answer
            .failed
            .into_iter()
            .map(|e| (e.id, format!("{}: {}", e.code, e.message.unwrap_or_default())))
            .collect(),
    })
}

/// Publishes events to the topic.
pub(crate) async fn publish(sns: &aws_sdk_sns::Client, topic: &str, rows: &[&Outgoing]) -> Result<Answer, String> {
    let mut entries = Vec::with_capacity(rows.len());
    let mut answer = Answer::default();
    for (n, row) in rows.iter().enumerate() {
        let entry = attributes(&row.body).and_then(|attributes| {
            let entry = PublishBatchRequestEntry::builder().id(n.to_string()).message(&row.body);
            entry.set_message_attributes(Some(attributes)).build().map_err(|error| error.to_string())
        });
        match entry {
            Ok(entry) => entries.push(entry),
            Err(why) => answer.refused.push((n.to_string(), why)),
        }
    }
    published(sns, topic, entries, answer).await
}

/// Publishes mails to a topic: each has a subject, and attributes that subscriptions filter by.
pub(crate) async fn mail(sns: &aws_sdk_sns::Client, topic: &str, rows: &[&Outgoing]) -> Result<Answer, String> {
    let mut entries = Vec::with_capacity(rows.len());
    for (n, row) in rows.iter().enumerate() {
        let mut entry = PublishBatchRequestEntry::builder()
            .id(n.to_string())
            .message(&row.body)
            .set_subject(row.attributes.get(outbox::SUBJECT).cloned());
        for (name, value) in row.attributes.iter().filter(|(name, _)| *name != outbox::SUBJECT) {
            let value = MessageAttributeValue::builder().data_type("String").string_value(value).build();
            entry = entry.message_attributes(name, value.map_err(|error| error.to_string())?);
        }
        entries.push(entry.build().map_err(|error| error.to_string())?);
    }
    published(sns, topic, entries, Answer::default()).await
}

async fn published(
    sns: &aws_sdk_sns::Client,
    topic: &str,
    entries: Vec<PublishBatchRequestEntry>,
    mut answer: Answer,
) -> Result<Answer, String> {
    if entries.is_empty() {
        return Ok(answer);
    }
    let said = sns.publish_batch().topic_arn(topic).set_publish_batch_request_entries(Some(entries)).send().await;
    let said = said.map_err(|error| DisplayErrorContext(&error).to_string())?;
    answer.taken = said.successful.unwrap_or_default().into_iter().filter_map(|entry| entry.id).collect();
    answer.refused.extend(
        said.failed
            .unwrap_or_default()
            .into_iter()
            .map(|e| (e.id, format!("{}: {}", e.code, e.message.unwrap_or_default()))),
    );
    Ok(answer)
}

/// `type`, `subject`, `tenant` and `traceparent` of an event as SNS message attributes: raw delivery makes them SQS's.
pub(crate) fn attributes(body: &str) -> Result<HashMap<String, MessageAttributeValue>, String> {
    let head: Head = serde_json::from_str(body).map_err(|error| format!("not an event: {error}"))?;
    [("type", head.kind), ("subject", head.subject), ("tenant", head.tenant)]
        .into_iter()
        .chain(head.traceparent.map(|trace| (TRACEPARENT, trace)))
        .map(|(name, value)| {
            let value = MessageAttributeValue::builder().data_type("String").string_value(value).build();
            Ok((name.to_owned(), value.map_err(|error| error.to_string())?))
        })
        .collect()
}

/// Ids of the rows that were taken and of those that were not, the latter with the reason.
pub(crate) fn settle(
    call: &'static str,
    target: &str,
    rows: &[&Outgoing],
    answer: Result<Answer, String>,
) -> (Vec<String>, Vec<(String, String)>) {
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => {
            BatchShortfall { call, target, failed: rows.len(), unaccounted: 0, sent: rows.len() }.emit();
            return (Vec::new(), rows.iter().map(|row| (row.id.clone(), why.clone())).collect());
        }
    };
    let mut said: BTreeMap<usize, Option<String>> =
        answer.taken.iter().filter_map(|id| id.parse().ok()).map(|n| (n, None)).collect();
    // A row that is named twice counts as refused.
    said.extend(answer.refused.into_iter().filter_map(|(id, why)| Some((id.parse().ok()?, Some(why)))));
    let (mut taken, mut left, mut unaccounted) = (Vec::new(), Vec::new(), 0);
    for (n, row) in rows.iter().enumerate() {
        match said.remove(&n) {
            Some(None) => taken.push(row.id.clone()),
            Some(Some(why)) => left.push((row.id.clone(), why)),
            None => {
                unaccounted += 1;
                left.push((row.id.clone(), "the answer did not account for it".into()));
            }
        }
    }
    if !left.is_empty() {
        BatchShortfall { call, target, failed: left.len() - unaccounted, unaccounted, sent: rows.len() }.emit();
    }
    (taken, left)
}

/// Runs of at most ten rows and `bytes` bytes, in order; a row that is too large for any batch goes alone.
pub(crate) fn runs<'r>(rows: &[&'r Outgoing], bytes: usize) -> Vec<Vec<&'r Outgoing>> {
    let mut runs: Vec<Vec<&Outgoing>> = Vec::new();
    let mut size = 0;
    for &row in rows {
        let attributes: usize = row.attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
        let own = row.body.len() + attributes + ENTRY;
        match runs.last_mut() {
            Some(run) if run.len() < MAX_ENTRIES && size + own <= bytes => {
                run.push(row);
                size += own;
            }
            _ => {
                runs.push(vec![row]);
                size = own;
            }
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, bytes: usize) -> Outgoing {
        Outgoing {
            id: id.into(),
            target: "transcode".into(),
            body: "x".repeat(bytes),
            attributes: BTreeMap::new(),
            tenant: "t".into(),
            created_at: 0,
        }
    }

    #[test]
    fn a_batch_has_ten_entries_and_stays_below_its_size() {
        let rows: Vec<Outgoing> =
            (0..23).map(|n| row(&n.to_string(), 10)).chain([row("big", 3_000), row("last", 10)]).collect();
        let refs: Vec<&Outgoing> = rows.iter().collect();
        let sizes: Vec<usize> = runs(&refs, 1 << 20).iter().map(Vec::len).collect();
        assert_eq!(sizes, [10, 10, 5]);
        let small = runs(&refs, 3_500);
        assert!(small.iter().any(|run| run.len() == 1 && run[0].id == "big"));
        let order: Vec<&str> = small.iter().flatten().map(|row| row.id.as_str()).collect();
        assert_eq!(order, rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>());
    }

    #[test]
    fn what_the_answer_does_not_name_was_not_taken() {
        let rows = [row("a", 1), row("b", 1), row("c", 1), row("d", 1)];
        let refs: Vec<&Outgoing> = rows.iter().collect();
        let answer = Answer {
            taken: vec!["0".into(), "3".into(), "9".into()],
            refused: vec![("1".into(), "TooBig: no".into()), ("3".into(), "named twice".into())],
        };
        let (taken, left) = settle("send", "q", &refs, Ok(answer));
        assert_eq!(taken, ["a"]);
        assert_eq!(left.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["b", "c", "d"]);
        let (taken, left) = settle("send", "q", &refs, Err("no answer".into()));
        assert!(taken.is_empty() && left.len() == 4);
    }

    #[test]
    fn an_event_of_a_newer_build_still_has_its_attributes() {
        let body = r#"{"specversion":"1.0","type":"asset.painted.v7","subject":"ast_1","tenant":"acme","data":{}}"#;
        let attributes = attributes(body).unwrap();
        assert_eq!(attributes["type"].string_value(), Some("asset.painted.v7"));
        assert_eq!(attributes["tenant"].string_value(), Some("acme"));
        assert!(super::attributes("{}").is_err());
    }

    #[test]
    fn the_trace_is_an_attribute_too() {
        let trace = "00-00000000000000000000000000000001-0000000000000002-01";
        let body = format!(r#"{{"type":"t","subject":"s","tenant":"acme","traceparent":"{trace}"}}"#);
        let attributes = attributes(&body).unwrap();
        assert_eq!((attributes.len(), attributes[TRACEPARENT].string_value()), (4, Some(trace)));
        assert_eq!(traceparent(&body).as_deref(), Some(trace));
        assert_eq!(traceparent("{}"), None);
    }
}
