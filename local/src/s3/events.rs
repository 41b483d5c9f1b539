//! S3 event notifications, written to their queues and topics in the transaction of the object.
//!
//! Source: "Event message structure" and "Configuring event notifications using object key name filtering" of the S3
//! user guide. The message has version 2.6; the key is form-url-encoded with `/` kept; the sequencer only grows.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rusqlite::params;
use s3s::{
    S3ErrorCode,
    dto::{Event, NotificationConfiguration, NotificationConfigurationFilter},
};
use serde_json::{Value, json};

use super::{error::Fault, rows};
use crate::{
    db::{DbError, Tx},
    sns, sqs,
    state::Endpoint,
    timestamp::rfc3339_millis,
};

/// The kind of configuration row that holds a bucket's notifications.
pub(crate) const KIND: &str = "notification";

/// Event names a configuration may ask for; others are refused, as on S3, rather than never sent.
const NAMES: [&str; 12] = [
    "s3:ObjectCreated:*",
    "s3:ObjectCreated:Put",
    "s3:ObjectCreated:Post",
    "s3:ObjectCreated:Copy",
    "s3:ObjectCreated:CompleteMultipartUpload",
    "s3:ObjectRemoved:*",
    "s3:ObjectRemoved:Delete",
    "s3:ObjectRemoved:DeleteMarkerCreated",
    "s3:LifecycleExpiration:*",
    "s3:LifecycleExpiration:Delete",
    "s3:LifecycleExpiration:DeleteMarkerCreated",
    "s3:ReducedRedundancyLostObject",
];

/// What stays as it is in an encoded key: `application/x-www-form-urlencoded` plus `/`.
const KEY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b' ');

/// Something that happened to an object.
pub(crate) struct Fact<'a> {
    /// Without `s3:`, for instance `ObjectCreated:Put`.
    pub(crate) name: &'static str,
    pub(crate) key: &'a str,
    /// Absent for a deletion.
    pub(crate) size: Option<u64>,
    pub(crate) etag: Option<&'a str>,
    pub(crate) version: Option<String>,
}

enum Target<'a> {
    Queue(&'a str),
    Topic(&'a str),
}

struct Rule<'a> {
    id: Option<&'a str>,
    target: Target<'a>,
    events: &'a [Event],
    filter: Option<&'a NotificationConfigurationFilter>,
}

fn rules(config: &NotificationConfiguration) -> impl Iterator<Item = Rule<'_>> {
    let queues = config.queue_configurations.iter().flatten().map(|rule| Rule {
        id: rule.id.as_deref(),
        target: Target::Queue(&rule.queue_arn),
        events: &rule.events,
        filter: rule.filter.as_ref(),
    });
    let topics = config.topic_configurations.iter().flatten().map(|rule| Rule {
        id: rule.id.as_deref(),
        target: Target::Topic(&rule.topic_arn),
        events: &rule.events,
        filter: rule.filter.as_ref(),
    });
    queues.chain(topics)
}

impl Rule<'_> {
    fn wants(&self, name: &str, key: &str) -> bool {
        let named = self.events.iter().any(|event| {
            let wanted = event.as_ref().strip_prefix("s3:").unwrap_or(event.as_ref());
            wanted.strip_suffix('*').map_or(wanted == name, |prefix| name.starts_with(prefix))
        });
        let rules = self.filter.and_then(|f| f.key.as_ref()).and_then(|f| f.filter_rules.as_ref());
        named
            && rules.into_iter().flatten().all(|rule| {
                let value = rule.value.as_deref().unwrap_or_default();
                match rule.name.as_ref().map(|name| name.as_str().to_ascii_lowercase()).as_deref() {
                    Some("suffix") => key.ends_with(value),
                    _ => key.starts_with(value),
                }
            })
    }
}

/// Tells every queue and topic that the bucket's configuration names of `fact`.
pub(crate) fn emit(tx: &Tx<'_>, state: &Endpoint, bucket: &str, fact: &Fact<'_>) -> Result<(), Fault> {
    let Some(config) = rows::config::<NotificationConfiguration>(tx, bucket, KIND)? else {
        return Ok(());
    };
    let mut sequencer = None;
    for rule in rules(&config).filter(|rule| rule.wants(fact.name, fact.key)) {
        let sequencer = match sequencer {
            Some(n) => n,
            None => *sequencer.insert(next_sequencer(tx, state.now())?),
        };
        send(tx, state, &rule.target, &record(state, bucket, fact, rule.id, sequencer))?;
    }
    Ok(())
}

/// Checks a configuration that is about to be stored, fills in missing ids, and sends `s3:TestEvent` to its targets.
pub(crate) fn accept(
    tx: &Tx<'_>,
    state: &Endpoint,
    bucket: &str,
    config: &mut NotificationConfiguration,
    validate: bool,
) -> Result<(), Fault> {
    if config.lambda_function_configurations.as_ref().is_some_and(|list| !list.is_empty()) {
        let message = "This endpoint sends event notifications to SQS queues and SNS topics only.";
        return Err(Fault::new(S3ErrorCode::NotImplemented, message));
    }
    for rule in config.queue_configurations.iter_mut().flatten() {
        rule.id.get_or_insert_with(|| state.ids.uuid());
    }
    for rule in config.topic_configurations.iter_mut().flatten() {
        rule.id.get_or_insert_with(|| state.ids.uuid());
    }
    for rule in rules(config) {
        if rule.events.is_empty() || rule.events.iter().any(|event| !NAMES.contains(&event.as_ref())) {
            return Err(Fault::invalid_argument("The event is not supported for notifications"));
        }
        let exists = match rule.target {
            Target::Queue(arn) => sqs::queue_exists(tx, arn).map_err(Fault::internal)?,
            Target::Topic(arn) => sns::topic_exists(tx, arn).map_err(Fault::internal)?,
        };
        if exists {
            send(tx, state, &rule.target, &test_event(state, bucket))?;
        } else if validate {
            return Err(Fault::invalid_argument("Unable to validate the following destination configurations"));
        }
    }
    Ok(())
}

fn send(tx: &Tx<'_>, state: &Endpoint, target: &Target<'_>, body: &Value) -> Result<(), Fault> {
    let (body, now) = (body.to_string(), state.now());
    // A target that was deleted after it was configured loses its events, as on S3; the object is stored all the same.
    match target {
        Target::Queue(arn) => {
            if sqs::queue_exists(tx, arn).map_err(Fault::internal)? {
                tx.wake(sqs::enqueue(tx, arn, &body, &Default::default(), now).map_err(Fault::internal)?);
            }
        }
        Target::Topic(arn) => {
            if sns::topic_exists(tx, arn).map_err(Fault::internal)? {
                let subject = Some("Amazon S3 Notification");
                let wakes = sns::publish_in(tx, arn, subject, &body, &Default::default(), now);
                wakes.map_err(Fault::internal)?.into_iter().for_each(|wake| tx.wake(wake));
            }
        }
    }
    Ok(())
}

/// The next number, larger than all before, across restarts and even when the folder was made anew.
fn next_sequencer(tx: &Tx<'_>, now: i64) -> Result<i64, Fault> {
    let sql = "UPDATE sequencer SET n = max(n + 1, ?1) RETURNING n";
    let n = tx.prepare_cached(sql)?.query_row(params![now.saturating_mul(4096)], |row| row.get(0));
    n.map_err(|error| DbError::from(error).into())
}

fn record(state: &Endpoint, bucket: &str, fact: &Fact<'_>, rule: Option<&str>, sequencer: i64) -> Value {
    let mut object = json!({
        "key": utf8_percent_encode(fact.key, KEY).to_string().replace(' ', "+"),
        "sequencer": format!("{sequencer:018X}"),
    });
    if let Some(size) = fact.size {
        object["size"] = size.into();
    }
    if let Some(etag) = fact.etag {
        object["eTag"] = etag.into();
    }
    if let Some(version) = &fact.version {
        object["versionId"] = version.as_str().into();
    }
    json!({"Records": [{
        "eventVersion": "2.6",
        "eventSource": "aws:s3",
        "awsRegion": state.region,
        "eventTime": rfc3339_millis(state.now()),
        "eventName": fact.name,
        "userIdentity": {"principalId": state.account_id},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {"x-amz-request-id": state.ids.hex(), "x-amz-id-2": state.ids.hex()},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": rule.unwrap_or_default(),
            "bucket": {
                "name": bucket,
                "ownerIdentity": {"principalId": state.account_id},
                "arn": format!("arn:aws:s3:::{bucket}"),
            },
            "object": object,
        },
    }]})
}

fn test_event(state: &Endpoint, bucket: &str) -> Value {
    json!({
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": rfc3339_millis(state.now()),
        "Bucket": bucket,
        "RequestId": state.ids.hex(),
        "HostId": state.ids.hex(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_form_encoded_and_keep_their_slashes() {
        let key = utf8_percent_encode("a b/c+d&é.mp4", KEY).to_string().replace(' ', "+");
        assert_eq!(key, "a+b/c%2Bd%26%C3%A9.mp4");
    }

    #[test]
    fn rules_match_names_prefix_and_suffix() {
        let events = ["s3:ObjectCreated:*".to_owned().into(), "s3:ObjectRemoved:Delete".to_owned().into()];
        let filter = serde_json::from_value(json!({"key": {"filter_rules": [
            {"name": "Prefix", "value": "in/"}, {"name": "suffix", "value": ".mp4"}]}}));
        let filter = filter.unwrap();
        let rule = Rule { id: None, target: Target::Queue("q"), events: &events, filter: Some(&filter) };
        assert!(rule.wants("ObjectCreated:Copy", "in/a.mp4"));
        assert!(rule.wants("ObjectRemoved:Delete", "in/a.mp4"));
        assert!(!rule.wants("ObjectRemoved:DeleteMarkerCreated", "in/a.mp4"));
        assert!(!rule.wants("ObjectCreated:Put", "out/a.mp4"));
        assert!(!rule.wants("ObjectCreated:Put", "in/a.mov"));
    }
}
