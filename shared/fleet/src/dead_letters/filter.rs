//! Which letters are meant.
//!
//! Guarantee: a filter that names something unknown is refused, so that a misspelt one never means everything.

use std::str::FromStr;

use super::Found;
use crate::queues::QueueName;

/// `reason=…,kind=…,asset=…,queue=…`: all that is given must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    reason: Option<String>,
    kind: Option<String>,
    asset: Option<String>,
    queue: Option<QueueName>,
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut filter = Self::default();
        for part in text.split(',') {
            let Some((name, value)) = part.split_once('=').filter(|(_, value)| !value.is_empty()) else {
                return Err(format!("{part:?} is not NAME=VALUE"));
            };
            let value = value.trim();
            let twice = match name.trim() {
                "reason" => filter.reason.replace(value.to_owned()).is_some(),
                "kind" => filter.kind.replace(value.to_owned()).is_some(),
                "asset" => filter.asset.replace(value.to_owned()).is_some(),
                "queue" => filter.queue.replace(value.parse()?).is_some(),
                other => return Err(format!("{other:?} is none of reason, kind, asset, queue")),
            };
            if twice {
                return Err(format!("{name} is given twice"));
            }
        }
        Ok(filter)
    }
}

impl Filter {
    /// Letters of this reason's code.
    #[must_use]
    pub fn with_reason(self, code: String) -> Self {
        Self { reason: Some(code), ..self }
    }

    /// Letters of tasks of this kind.
    #[must_use]
    pub fn with_kind(self, kind: String) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// One queue's, or all.
    pub fn of_queue(queue: Option<QueueName>) -> Self {
        Self { queue, ..Self::default() }
    }

    /// Whether a letter is meant.
    pub fn fits(&self, letter: &Found) -> bool {
        let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        same(&self.reason, letter.code())
            && same(&self.kind, letter.kind())
            && same(&self.asset, &letter.asset())
            && self.queue.is_none_or(|queue| queue == letter.queue)
    }

    /// The queues that need to be looked through.
    pub fn queues(&self) -> Vec<QueueName> {
        self.queue.map_or_else(|| QueueName::ALL.to_vec(), |queue| vec![queue])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use reelfleet_messages::Letter;

    use super::*;

    fn letter(id: &str, queue: QueueName, reason: &str) -> Found {
        Found {
            queue,
            id: id.into(),
            body: "{".into(),
            attributes: HashMap::new(),
            group: None,
            sent_ms: 0,
            letter: Letter {
                reason: reason.into(),
                token: Some(1).filter(|_| reason.contains("crashed")),
                asset: Some("ast_1".into()),
                ..Letter::default()
            },
            task: None,
            receipt: String::new(),
        }
    }

    #[test]
    fn a_misspelt_filter_is_refused() {
        for text in ["", "reason", "reason=", "raeson=x", "queue=transcoder", "kind=a,kind=b"] {
            assert!(text.parse::<Filter>().is_err(), "{text}");
        }
        assert_eq!("queue=probe".parse::<Filter>().unwrap().queues(), [QueueName::Probe]);
    }

    #[test]
    fn all_that_is_given_must_fit() {
        let crashed = letter("a1", QueueName::Transcode, "decoder_crashed: thrice");
        let odd = letter("a2", QueueName::Transcode, "malformed task: v is missing");
        let moved = letter("b1", QueueName::Intake, "");
        let fits = |text: &str, letter: &Found| text.parse::<Filter>().unwrap().fits(letter);
        assert!(fits("reason=decoder_crashed,asset=ast_1,queue=transcode", &crashed));
        assert!(!fits("reason=decoder_crashed,queue=express", &crashed));
        assert!(fits("reason=malformed", &odd) && fits("reason=max_receive_count", &moved));
        assert!(!fits("kind=encode_chunk", &crashed), "its body is no task");
    }
}
