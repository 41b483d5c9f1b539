//! Which letters are meant on the command line.

use anyhow::bail;
use clap::Args;
use reelfleet_fleet::QueueName;
use reelfleet_fleet::dead_letters::{Filter, Found};

/// A choice of letters on the command line.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct Choice {
    /// One letter, by its id (or the beginning of it) or by its task's
    id: Option<String>,
    /// All letters that fit: reason=CODE,kind=KIND,asset=ID,queue=NAME
    #[arg(long, value_name = "NAME=VALUE,…")]
    filter: Option<Filter>,
}

impl Choice {
    /// Everything.
    pub fn all() -> Self {
        Self::fitting(Filter::default())
    }

    /// What fits.
    pub fn fitting(filter: Filter) -> Self {
        Self { id: None, filter: Some(filter) }
    }

    /// One letter.
    pub fn one(id: String) -> Self {
        Self { id: Some(id), filter: None }
    }

    /// The queues that need to be looked through.
    pub fn queues(&self) -> Vec<QueueName> {
        self.filter.as_ref().map_or_else(|| QueueName::ALL.to_vec(), Filter::queues)
    }

    /// Ids of the letters that are meant, in their order; never none.
    pub fn of(&self, found: &[Found]) -> anyhow::Result<Vec<String>> {
        let Some(id) = &self.id else {
            let filter = self.filter.clone().unwrap_or_default();
            let ids: Vec<String> = found.iter().filter(|l| filter.fits(l)).map(|l| l.id.clone()).collect();
            if ids.is_empty() {
                bail!("no dead letter fits");
            }
            return Ok(ids);
        };
        // Every id begins with nothing.
        if id.is_empty() {
            bail!("name a dead letter by its id, or by the beginning of it");
        }
        let of_task: Vec<String> = found.iter().filter(|l| l.subject() == *id).map(|l| l.id.clone()).collect();
        if !of_task.is_empty() {
            return Ok(of_task);
        }
        let mut by_id = found.iter().filter(|l| l.id.starts_with(id.as_str())).map(|l| l.id.clone());
        match (by_id.next(), by_id.next()) {
            (Some(one), None) => Ok(vec![one]),
            (Some(_), Some(_)) => bail!("several dead letters begin with {id}"),
            _ => bail!("there is no dead letter {id}"),
        }
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
    fn one_letter_is_meant_by_its_beginning() {
        let crashed = letter("a1", QueueName::Transcode, "decoder_crashed: thrice");
        let odd = letter("a2", QueueName::Transcode, "malformed task: v is missing");
        let moved = letter("b1", QueueName::Intake, "");
        let found = [crashed, odd, moved];
        assert_eq!(Choice::all().of(&found).unwrap().len(), 3);
        assert_eq!(Choice::one("b".into()).of(&found).unwrap(), ["b1"]);
        assert!(Choice::one("a".into()).of(&found).unwrap_err().to_string().contains("several"));
        assert!(Choice::one(String::new()).of(&found[..1]).is_err(), "an empty variable of a shell means none");
        assert!(Choice::one("c".into()).of(&found).is_err() && Choice::all().of(&[]).is_err());
    }
}
