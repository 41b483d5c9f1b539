//! The attributes of a queue: names, ranges, defaults, and the redrive policies.
//!
//! Guarantee: an attribute is returned exactly as it was set (Terraform compares them), and nothing that SQS would
//! refuse is ever stored. Source: SQS API Reference, CreateQueue and SetQueueAttributes.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::SqsError;

/// Largest visibility timeout, and the longest that a message stays in flight, in seconds.
pub const MAX_VISIBILITY_S: i64 = 43_200;
/// Largest delay of a message, in seconds.
pub const MAX_DELAY_S: i64 = 900;
/// Longest wait of a receive, in seconds.
pub const MAX_WAIT_S: i64 = 20;

/// Integer attributes: name, smallest, largest, default.
const NUMBERS: [(&str, i64, i64, i64); 5] = [
    ("VisibilityTimeout", 0, MAX_VISIBILITY_S, 30),
    ("MaximumMessageSize", 1_024, 1_048_576, 1_048_576),
    ("MessageRetentionPeriod", 60, 1_209_600, 345_600),
    ("DelaySeconds", 0, MAX_DELAY_S, 0),
    ("ReceiveMessageWaitTimeSeconds", 0, MAX_WAIT_S, 0),
];
const FIFO: [&str; 4] = ["FifoQueue", "ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"];
const READ_ONLY: [&str; 6] = [
    "QueueArn",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
];

/// Where messages go that were received too often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redrive {
    /// ARN of the dead-letter queue.
    pub target: String,
    /// Receives after which the next one moves the message instead.
    pub max_receive_count: i64,
}

/// What was set on a queue, by name; defaults are not stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueAttributes(BTreeMap<String, String>);

impl QueueAttributes {
    /// From the database's JSON.
    pub fn from_json(json: &str) -> Self {
        Self(serde_json::from_str(json).unwrap_or_default())
    }

    /// For the database.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// Sets attributes, each checked on its own; the first bad one refuses all.
    pub fn set(&mut self, changes: &BTreeMap<String, String>) -> Result<(), SqsError> {
        let mut next = self.0.clone();
        for (name, value) in changes {
            check(name, value)?;
            if value.is_empty() {
                next.remove(name);
            } else {
                next.insert(name.clone(), value.clone());
            }
            if name == "KmsMasterKeyId" && !value.is_empty() && !changes.contains_key("SqsManagedSseEnabled") {
                next.insert("SqsManagedSseEnabled".into(), "false".into());
            }
        }
        self.0 = next;
        Ok(())
    }

    /// The first of the wanted attributes whose value differs here.
    pub fn differs(&self, wanted: &BTreeMap<String, String>) -> Option<String> {
        let all = self.all();
        let same = |a: &str, b: &str| {
            a == b
                || matches!((serde_json::from_str::<Value>(a), serde_json::from_str::<Value>(b)), (Ok(a), Ok(b)) if a == b)
        };
        wanted
            .iter()
            .find(|(name, value)| !same(all.get(name.as_str()).map_or("", String::as_str), value))
            .map(|(name, _)| name.clone())
    }

    /// All attributes that can be set, with defaults where nothing was set and one exists.
    pub fn all(&self) -> BTreeMap<&str, String> {
        let mut all: BTreeMap<&str, String> =
            NUMBERS.iter().map(|(name, _, _, default)| (*name, default.to_string())).collect();
        all.insert("SqsManagedSseEnabled", "true".into());
        if self.0.contains_key("KmsMasterKeyId") {
            all.insert("KmsDataKeyReusePeriodSeconds", "300".into());
        }
        all.extend(self.0.iter().map(|(name, value)| (name.as_str(), value.clone())));
        all
    }

    fn number(&self, name: &str) -> i64 {
        let default = NUMBERS.iter().find(|n| n.0 == name).map_or(0, |n| n.3);
        self.0.get(name).and_then(|value| value.parse().ok()).unwrap_or(default)
    }

    /// Visibility timeout, seconds.
    pub fn visibility_s(&self) -> i64 {
        self.number("VisibilityTimeout")
    }

    /// Retention, milliseconds.
    pub fn retention_ms(&self) -> i64 {
        self.number("MessageRetentionPeriod") * 1_000
    }

    /// Delay of new messages, seconds.
    pub fn delay_s(&self) -> i64 {
        self.number("DelaySeconds")
    }

    /// How long a receive waits when it does not say, seconds.
    pub fn wait_s(&self) -> i64 {
        self.number("ReceiveMessageWaitTimeSeconds")
    }

    /// Largest message, bytes.
    pub fn max_size(&self) -> usize {
        usize::try_from(self.number("MaximumMessageSize")).unwrap_or(0)
    }

    /// The redrive policy, if there is one.
    pub fn redrive(&self) -> Option<Redrive> {
        parse_redrive(self.0.get("RedrivePolicy")?).ok()
    }

    /// Whether this queue lets the source use it as its dead-letter queue.
    pub fn allows_source(&self, source_arn: &str) -> bool {
        let policy = self.0.get("RedriveAllowPolicy").and_then(|text| parse_allow(text).ok());
        policy.is_none_or(|policy| match policy.redrive_permission.as_str() {
            "denyAll" => false,
            "byQueue" => policy.source_queue_arns.iter().flatten().any(|arn| arn == source_arn),
            _ => true,
        })
    }
}

fn check(name: &str, value: &str) -> Result<(), SqsError> {
    if FIFO.contains(&name) {
        return Err(no_fifo());
    }
    let invalid = || SqsError::InvalidAttributeValue(name.to_owned());
    if let Some((_, low, high, _)) = NUMBERS.iter().find(|n| n.0 == name) {
        return match value.parse::<i64>() {
            Ok(n) if (*low..=*high).contains(&n) => Ok(()),
            _ => Err(invalid()),
        };
    }
    let policy_error = |reason: String| {
        SqsError::InvalidParameterValue(format!("Value {value} for parameter {name} is invalid. Reason: {reason}"))
    };
    match name {
        "RedrivePolicy" if !value.is_empty() => parse_redrive(value).map(drop).map_err(policy_error),
        "RedriveAllowPolicy" if !value.is_empty() => parse_allow(value).map(drop).map_err(policy_error),
        "Policy" if !value.is_empty() => {
            let object = serde_json::from_str::<Value>(value).is_ok_and(|policy| policy.is_object());
            if object { Ok(()) } else { Err(invalid()) }
        }
        "RedrivePolicy" | "RedriveAllowPolicy" | "Policy" | "KmsMasterKeyId" => Ok(()),
        "SqsManagedSseEnabled" if matches!(value, "true" | "false") => Ok(()),
        "KmsDataKeyReusePeriodSeconds" => match value.parse::<u32>() {
            Ok(60..=86_400) => Ok(()),
            _ => Err(invalid()),
        },
        "SqsManagedSseEnabled" => Err(invalid()),
        _ => Err(SqsError::InvalidAttributeName(name.to_owned())),
    }
}

/// Refuses the name of an attribute that no queue has.
pub fn check_asked(name: &str) -> Result<(), SqsError> {
    let settable = NUMBERS.iter().any(|n| n.0 == name)
        || matches!(
            name,
            "All"
                | "RedrivePolicy"
                | "RedriveAllowPolicy"
                | "Policy"
                | "KmsMasterKeyId"
                | "SqsManagedSseEnabled"
                | "KmsDataKeyReusePeriodSeconds"
        );
    if settable || READ_ONLY.contains(&name) || FIFO.contains(&name) {
        Ok(())
    } else {
        Err(SqsError::InvalidAttributeName(name.to_owned()))
    }
}

/// The refusal of everything that is FIFO.
pub fn no_fifo() -> SqsError {
    SqsError::InvalidParameterValue("FIFO queues are not offered by this endpoint; use a standard queue.".into())
}

fn parse_redrive(text: &str) -> Result<Redrive, String> {
    let policy: Value = serde_json::from_str(text).map_err(|_| "Redrive policy is not a valid JSON map.".to_owned())?;
    let policy = policy.as_object().ok_or("Redrive policy is not a valid JSON map.")?;
    let target = policy.get("deadLetterTargetArn").and_then(Value::as_str).filter(|arn| !arn.is_empty());
    let target = target.ok_or("Redrive policy does not contain mandatory attribute: deadLetterTargetArn.")?;
    let count = match policy.get("maxReceiveCount") {
        None => {
            return Err("Redrive policy does not contain mandatory attribute: maxReceiveCount.".into());
        }
        Some(Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_i64(),
    };
    match count {
        Some(max_receive_count @ 1..=1_000) => Ok(Redrive { target: target.to_owned(), max_receive_count }),
        _ => Err("Invalid value for maxReceiveCount, it must be between 1 and 1000 both inclusive.".into()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RedriveAllow {
    redrive_permission: String,
    source_queue_arns: Option<Vec<String>>,
}

fn parse_allow(text: &str) -> Result<RedriveAllow, String> {
    let policy: RedriveAllow =
        serde_json::from_str(text).map_err(|e| format!("Redrive allow policy is not a valid JSON map: {e}."))?;
    match (policy.redrive_permission.as_str(), policy.source_queue_arns.as_deref()) {
        ("allowAll" | "denyAll", None) => Ok(policy),
        ("byQueue", Some(arns)) if (1..=10).contains(&arns.len()) => Ok(policy),
        ("byQueue", _) => Err("redrivePermission byQueue needs 1 to 10 sourceQueueArns.".into()),
        ("allowAll" | "denyAll", Some(_)) => Err("sourceQueueArns goes with redrivePermission byQueue only.".into()),
        _ => Err("redrivePermission must be allowAll, denyAll or byQueue.".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn ranges_and_names() {
        let mut queue = QueueAttributes::default();
        for (name, bad) in [
            ("VisibilityTimeout", "43201"),
            ("MaximumMessageSize", "1023"),
            ("MessageRetentionPeriod", "59"),
            ("DelaySeconds", "901"),
            ("ReceiveMessageWaitTimeSeconds", "x"),
            ("Policy", "no json"),
        ] {
            assert!(matches!(queue.set(&map(&[(name, bad)])), Err(SqsError::InvalidAttributeValue(_))), "{name}");
        }
        assert!(matches!(queue.set(&map(&[("QueueArn", "x")])), Err(SqsError::InvalidAttributeName(_))));
        assert!(matches!(queue.set(&map(&[("FifoQueue", "true")])), Err(SqsError::InvalidParameterValue(_))));
        assert_eq!(queue, QueueAttributes::default());
    }

    #[test]
    fn policies_come_back_as_they_were_set_and_can_be_removed() {
        let allow = r#"{ "redrivePermission":"byQueue", "sourceQueueArns":["arn:a"] }"#;
        let redrive = r#"{"maxReceiveCount":"3","deadLetterTargetArn":"arn:d"}"#;
        let mut queue = QueueAttributes::default();
        queue
            .set(&map(&[("RedriveAllowPolicy", allow), ("RedrivePolicy", redrive), ("KmsMasterKeyId", "alias/k")]))
            .unwrap();
        let all = queue.all();
        assert_eq!(all["RedriveAllowPolicy"], allow);
        assert_eq!(all["SqsManagedSseEnabled"], "false");
        assert_eq!(queue.redrive(), Some(Redrive { target: "arn:d".into(), max_receive_count: 3 }));
        assert!(queue.allows_source("arn:a") && !queue.allows_source("arn:b"));
        queue.set(&map(&[("RedriveAllowPolicy", ""), ("RedrivePolicy", "")])).unwrap();
        assert!(queue.redrive().is_none() && queue.allows_source("arn:b"));
        assert!(queue.set(&map(&[("RedrivePolicy", r#"{"deadLetterTargetArn":"a","maxReceiveCount":0}"#)])).is_err());
    }

    #[test]
    fn differences_mind_values_not_spelling() {
        let mut queue = QueueAttributes::default();
        queue.set(&map(&[("RedrivePolicy", r#"{"maxReceiveCount":3,"deadLetterTargetArn":"arn:d"}"#)])).unwrap();
        assert_eq!(
            queue.differs(&map(&[
                ("VisibilityTimeout", "30"),
                ("RedrivePolicy", r#"{ "deadLetterTargetArn":"arn:d","maxReceiveCount":3}"#)
            ])),
            None
        );
        assert_eq!(queue.differs(&map(&[("VisibilityTimeout", "31")])).as_deref(), Some("VisibilityTimeout"));
    }
}
