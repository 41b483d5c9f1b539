//! What the fleet needs of an endpoint, as facts: `schema/topology.json`, which Terraform reads too.
//!
//! Guarantee: what `up` makes here and what Terraform makes on AWS is told by one file; a test holds it to what the workers
//! really consume.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Deserialize;

/// The facts, as they stand in the repository.
const JSON: &str = include_str!("../../../schema/topology.json");

/// Everything that is provisioned.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// Topics, without the prefix.
    pub topics: Vec<String>,
    /// Queues, without the prefix.
    pub queues: BTreeMap<String, Facts>,
    /// Seconds that a message waits.
    pub retention_seconds: u32,
    /// What a dead-letter queue is like.
    pub dead_letters: DeadLetters,
    /// Which queue hears which topic.
    pub subscriptions: BTreeMap<String, Subscription>,
    /// Events that are told to subscribers of the topic of mails.
    #[expect(dead_code, reason = "Terraform's subscriptions ask for some of them")]
    pub mailed_events: Vec<String>,
    /// Storage events that are told.
    pub upload_events: Vec<String>,
    /// What browsers may send to an uploads bucket.
    pub upload_cors: Cors,
}

/// One queue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The worker that takes from it; none yet for some.
    #[expect(dead_code, reason = "Terraform gives rights by it")]
    pub worker: Option<String>,
    /// The longest that an attempt may take.
    #[expect(dead_code, reason = "Terraform's policy check compares it with the visibility")]
    pub task_limit_seconds: u32,
    /// For whoever receives without saying how long; the fleet says so on each receive, and renews.
    pub visibility_seconds: u32,
}

/// Dead-letter queues.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetters {
    /// What follows the queue's name.
    #[cfg_attr(not(test), expect(dead_code, reason = "Terraform names queues by it"))]
    pub suffix: String,
    /// A message moves there on the receive after this many.
    pub max_receives: u32,
    /// Seconds that they wait for a person, counted from when the message was first sent.
    pub retention_seconds: u32,
}

/// One subscription.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// The topic, without the prefix.
    pub topic: String,
    /// Without the envelope of SNS.
    pub raw: bool,
    /// What is heard; everything where there is none.
    pub filter: Option<serde_json::Value>,
}

/// A CORS rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    /// Pages of which origins.
    pub allowed_origins: Vec<String>,
    /// Which methods.
    pub allowed_methods: Vec<String>,
    /// Which headers.
    pub allowed_headers: Vec<String>,
    /// What they may read of the answer.
    pub expose_headers: Vec<String>,
    /// How long a browser remembers.
    pub max_age_seconds: i32,
}

impl Topology {
    /// The facts of this build.
    pub fn load() -> anyhow::Result<Self> {
        serde_json::from_str(JSON).context("schema/topology.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelfleet_fleet::QueueName;

    #[test]
    fn it_is_what_the_fleet_is() {
        let topology = Topology::load().unwrap();
        let mut queues: Vec<&str> = QueueName::ALL.into_iter().map(QueueName::as_str).collect();
        queues.sort_unstable();
        assert_eq!(topology.queues.keys().map(String::as_str).collect::<Vec<_>>(), queues);
        assert!(topology.subscriptions.keys().all(|queue| topology.queues.contains_key(queue)));
        assert!(topology.subscriptions.values().all(|one| topology.topics.contains(&one.topic)));
        // A dead letter brings its age along.
        assert!(topology.dead_letters.retention_seconds > topology.retention_seconds);
        let sqs = reelfleet_fleet::Clients::from_sdk(
            &aws_config::SdkConfig::builder().behavior_version(aws_config::BehaviorVersion::latest()).build(),
            &reelfleet_fleet::Config::from_env().unwrap(),
        )
        .sqs;
        let names = reelfleet_fleet::Queues::new(sqs, "p");
        assert_eq!(names.dlq_name(QueueName::Probe), format!("p-probe{}", topology.dead_letters.suffix));
    }
}
