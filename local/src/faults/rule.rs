//! A rule: what goes wrong, with which requests, how often. What cannot be is refused when it is set, with a sentence.

use serde::{Deserialize, Serialize};

use super::operations::{RECEIVE, Service};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Fault {
    /// The service says that it is asked too often; nothing is done.
    Throttle,
    /// 500 as the service words it; nothing is done.
    InternalError,
    /// 503 as the service words it; nothing is done.
    Unavailable,
    /// The Data API's answer while a paused cluster wakes up; nothing is done.
    Resuming,
    /// The connection is closed; nothing is done.
    Drop,
    /// The connection is reset (RST); nothing is done.
    Reset,
    /// The work is begun later.
    Delay {
        /// By so many milliseconds.
        ms: u64,
    },
    /// The work is done, and the connection closed without an answer. Of a receive: its messages are in flight, and
    /// nobody has them.
    LoseAnswer,
    /// The work is done, and answered by the error of `internal_error`.
    FailAnswer,
    /// Each message of a receive stays in its queue a second time, visible: it is delivered twice, with two handles.
    Duplicate,
    /// The messages of a receive are not handed out but held back.
    Postpone {
        /// For so many milliseconds.
        ms: u64,
    },
    /// A receive hands out the newest messages first.
    Reorder,
    /// Some entries of a batch, at least one, fail on the service's side; the others are done.
    FailEntries,
    /// The body of an object comes slowly.
    SlowBody {
        /// At so many bytes a second.
        bytes_per_s: u64,
    },
    /// The connection is closed before the last byte of an object.
    TruncateBody {
        /// After so many bytes, or one byte before the end.
        bytes: u64,
    },
}

/// Where in a request a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Before or after the work.
    Request,
    /// When a receive has found messages.
    Messages,
    /// When the entries of a batch are looked at.
    Entries,
    /// When an object's body begins.
    Body,
}

impl Fault {
    pub(crate) fn stage(self) -> Stage {
        match self {
            Self::Duplicate | Self::Postpone { .. } | Self::Reorder => Stage::Messages,
            Self::FailEntries => Stage::Entries,
            Self::SlowBody { .. } | Self::TruncateBody { .. } => Stage::Body,
            _ => Stage::Request,
        }
    }
}

/// A fault and the requests it befalls.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(super) service: Service,
    /// The operation by its AWS name; of S3 also the method. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) operation: Option<String>,
    /// Only requests whose S3 path, queue ARN or topic ARN has this in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    pub(super) fault: Fault,
    /// Requests that are let through before.
    #[serde(default)]
    pub(super) after: u64,
    /// Requests that are befallen; absent: one, or with a rate no end of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) times: Option<u64>,
    /// Share of the requests that are befallen; absent: each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rate: Option<f64>,
    /// Where the draws of `rate` and `fail_entries` begin: the same seed draws the same.
    #[serde(default)]
    pub(super) seed: u64,
}

const HOUR_MS: u64 = 3_600_000;

impl Rule {
    /// Whether the rule can ever do what it says; if not, why.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.rate.is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
            return Err("a rate is a share from 0 to 1".into());
        }
        let service = self.service;
        let name = service.name();
        if self.path.is_some() && service == Service::RdsData {
            return Err("requests of rds-data have no path: it is an S3 path, or in a queue's or a topic's ARN".into());
        }
        if let Some(operation) = &self.operation
            && !service.operations().any(|known| known == operation)
        {
            let known: Vec<_> = service.operations().collect();
            return Err(format!("{name} has no operation {operation} here; it has {}", known.join(", ")));
        }
        let among = |wanted: &[&str]| self.operation.as_deref().is_none_or(|given| wanted.contains(&given));
        match self.fault {
            Fault::Resuming if service != Service::RdsData => {
                Err(format!("resuming is an answer of rds-data, not of {name}"))
            }
            Fault::Duplicate | Fault::Postpone { .. } | Fault::Reorder
                if service != Service::Sqs || !among(&[RECEIVE]) =>
            {
                Err(format!("duplicate, postpone and reorder befall messages: service sqs, operation {RECEIVE}"))
            }
            Fault::FailEntries if service.batches().is_empty() || !among(service.batches()) => {
                let batches = [Service::Sqs, Service::Sns].map(|service| service.batches().join(", ")).join(", ");
                Err(format!("fail_entries befalls the batches of sqs and sns: {batches}"))
            }
            Fault::SlowBody { .. } | Fault::TruncateBody { .. }
                if service != Service::S3 || !among(&["GetObject", "GET"]) =>
            {
                Err("slow_body and truncate_body befall the bodies of objects: service s3, operation GetObject".into())
            }
            Fault::SlowBody { bytes_per_s: 0 } => Err("a slow body has at least one byte a second".into()),
            Fault::Delay { ms } | Fault::Postpone { ms } if ms > HOUR_MS => {
                Err("delay and postpone last an hour (3600000 ms) at most".into())
            }
            _ => Ok(()),
        }
    }
}
