//! Faults on purpose, so that a test can see what clients do about them: throttling, delays, connections that break
//! before the work is done, and, worse, after it.
//!
//! Set from this machine only, by `POST /_reelfleet/faults` with a list of rules, which replaces the one before. An
//! empty list ends them.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::Deserialize;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// The service says that it is asked too often; nothing is done.
    Throttle,
    /// The connection is closed; nothing is done.
    Drop,
    /// The work is done, and the connection closed without an answer.
    LoseAnswer,
    /// The work is begun later.
    Delay {
        /// By so many milliseconds.
        ms: u64,
    },
}

/// A fault and the requests it befalls.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// `s3`, `sqs`, `sns` or `rds-data`.
    service: String,
    /// The method of S3 requests, the action of SQS, the path of RDS Data; absent: all.
    #[serde(default)]
    operation: Option<String>,
    /// Only S3 requests whose path has this in it.
    #[serde(default)]
    path: Option<String>,
    fault: Fault,
    /// Requests that are let through before.
    #[serde(default)]
    after: u64,
    /// Requests that are befallen.
    #[serde(default = "once")]
    times: u64,
}

fn once() -> u64 {
    1
}

#[derive(Default)]
pub(crate) struct Faults(Mutex<Vec<Rule>>);

impl Faults {
    /// Replaces the rules by a JSON list.
    pub(crate) fn set(&self, json: &[u8]) -> Result<(), serde_json::Error> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = serde_json::from_slice(json)?;
        Ok(())
    }

    /// What befalls this request.
    pub(crate) fn next(&self, service: &str, operation: &str, path: &str) -> Option<Fault> {
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rule = rules.iter_mut().find(|rule| {
            rule.times > 0
                && rule.service == service
                && rule.operation.as_ref().is_none_or(|wanted| wanted == operation)
                && rule.path.as_ref().is_none_or(|part| path.contains(part))
        })?;
        if rule.after > 0 {
            rule.after -= 1;
            return None;
        }
        rule.times -= 1;
        Some(rule.fault)
    }
}

impl Fault {
    /// Waits, if the fault is a delay.
    pub(crate) async fn wait(self) {
        if let Self::Delay { ms } = self {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_befalls_so_many_requests_after_so_many() {
        let faults = Faults::default();
        let rules = r#"[{"service": "s3", "operation": "PUT", "path": "out/", "fault": "throttle", "after": 1, "times": 2},
                        {"service": "sqs", "fault": {"delay": {"ms": 5}}}]"#;
        faults.set(rules.as_bytes()).unwrap();
        let put = || faults.next("s3", "PUT", "/b/out/a");
        assert_eq!(faults.next("s3", "GET", "/b/out/a"), None);
        assert_eq!(faults.next("s3", "PUT", "/b/in/a"), None);
        assert_eq!([put(), put(), put(), put()], [None, Some(Fault::Throttle), Some(Fault::Throttle), None]);
        assert_eq!(faults.next("sqs", "SendMessage", "/"), Some(Fault::Delay { ms: 5 }));
        assert_eq!(faults.next("sqs", "SendMessage", "/"), None);
        assert!(faults.set(b"[{\"service\": \"s3\", \"fault\": \"typo\"}]").is_err());
    }
}
