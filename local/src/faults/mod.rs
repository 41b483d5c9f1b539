//! Faults on purpose, so that a test can see what clients do about them.
//!
//! Guarantee: a fault does to a client what AWS may do to it, and nothing that AWS promises not to do: an answer is lost
//! or late, a message comes twice, late or out of order; but what was answered is done, a read is never stale, and the
//! state behind a fault is whole. Rates are drawn from a seed, so that a storm can be repeated.
//!
//! Rules are set by a file at the start or, from this machine only, by `POST /_reelfleet/faults` with a list of rules,
//! which replaces the one before; an empty list ends them. `GET` shows each rule and how often it has befallen.

mod body;
mod operations;
mod rule;

use std::sync::{Mutex, PoisonError};

use serde::Serialize;

pub(crate) use self::{
    body::{slow, truncate},
    operations::{Service, of_rds_data, of_s3},
    rule::{Fault, Rule, Stage},
};

/// Why rules are refused; the ones before stay.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RulesError {
    #[error("faults are a JSON list of rules: {0}")]
    Json(#[from] serde_json::Error),
    #[error("rule {number}: {why}")]
    Impossible { number: usize, why: String },
}

/// A request as rules see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) service: Service,
    pub(crate) operation: &'a str,
    /// Of S3, the method.
    pub(crate) method: &'a str,
    /// The S3 path, the queue's or the topic's ARN.
    pub(crate) path: &'a str,
}

/// The rules in force.
#[derive(Default)]
pub(crate) struct Faults(Mutex<Vec<Active>>);

struct Active {
    rule: Rule,
    /// Requests still to be let through.
    after: u64,
    /// Requests still to be befallen; none: no end.
    left: Option<u64>,
    matched: u64,
    befell: u64,
    draws: Draws,
}

/// A rule and what became of it, as `GET` shows it.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    rule: &'a Rule,
    left: Option<u64>,
    matched: u64,
    befell: u64,
}

/// SplitMix64 (Steele, Lea and Flood, 2014): the same seed is the same storm in every version.
struct Draws(u64);

impl Draws {
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(Self::STEP);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Whether an event of this probability happens.
    fn happens(&mut self, rate: f64) -> bool {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        unit < rate
    }
}

impl Active {
    fn new(number: usize, rule: Rule) -> Self {
        let left = rule.times.or(if rule.rate.is_some() { None } else { Some(1) });
        // Two rules of one seed draw apart.
        let draws = Draws(rule.seed.wrapping_add((number as u64).wrapping_mul(0xD1B5_4A32_D192_ED03)));
        Self { after: rule.after, left, matched: 0, befell: 0, draws, rule }
    }

    fn matches(&self, stage: Stage, call: &Call<'_>) -> bool {
        let rule = &self.rule;
        self.left != Some(0)
            && rule.fault.stage() == stage
            && rule.service == call.service
            && rule.operation.as_ref().is_none_or(|wanted| wanted == call.operation || wanted == call.method)
            && rule.path.as_ref().is_none_or(|part| call.path.contains(part))
    }

    /// Whether the rule befalls a request that it matches.
    fn befalls(&mut self) -> bool {
        self.matched += 1;
        if self.after > 0 {
            self.after -= 1;
            return false;
        }
        if self.rule.rate.is_some_and(|rate| !self.draws.happens(rate)) {
            return false;
        }
        self.left = self.left.map(|left| left - 1);
        self.befell += 1;
        true
    }
}

impl Faults {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Active>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the rules by a JSON list, if each of them can be.
    pub(crate) fn set(&self, json: &[u8]) -> Result<(), RulesError> {
        let rules: Vec<Rule> = serde_json::from_slice(json)?;
        for (index, rule) in rules.iter().enumerate() {
            rule.check().map_err(|why| RulesError::Impossible { number: index + 1, why })?;
        }
        *self.lock() = rules.into_iter().enumerate().map(|(number, rule)| Active::new(number, rule)).collect();
        Ok(())
    }

    /// The rules and how often each has befallen, as JSON.
    pub(crate) fn json(&self) -> String {
        let rules = self.lock();
        let shown = |active: &Active| {
            let Active { rule, left, matched, befell, .. } = active;
            serde_json::to_value(Shown { rule, left: *left, matched: *matched, befell: *befell }).unwrap_or_default()
        };
        serde_json::json!({ "rules": rules.iter().map(shown).collect::<Vec<_>>() }).to_string()
    }

    /// What befalls a request at this stage: the first rule that matches and strikes.
    pub(crate) fn befall(&self, stage: Stage, call: &Call<'_>) -> Option<Fault> {
        let mut rules = self.lock();
        let active =
            rules.iter_mut().find_map(|active| (active.matches(stage, call) && active.befalls()).then_some(active))?;
        tracing::debug!(fault = ?active.rule.fault, operation = call.operation, path = call.path, "a fault befalls");
        Some(active.rule.fault)
    }

    /// Which of a batch's entries fail: none, or one at least.
    pub(crate) fn fail_entries(&self, call: &Call<'_>, entries: usize) -> Vec<bool> {
        let mut rules = self.lock();
        let struck = rules
            .iter_mut()
            .find_map(|active| (active.matches(Stage::Entries, call) && active.befalls()).then_some(&mut active.draws));
        let Some(draws) = struck else {
            return vec![false; entries];
        };
        let mut failing: Vec<bool> = (0..entries).map(|_| draws.happens(0.5)).collect();
        if !failing.contains(&true)
            && let Some(first) = failing.first_mut()
        {
            *first = true;
        }
        failing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &str) -> Call<'_> {
        Call { service: Service::S3, operation: "PutObject", method: "PUT", path }
    }

    const RECEIVE: Call<'_> =
        Call { service: Service::Sqs, operation: "ReceiveMessage", method: "", path: "arn:aws:sqs:r:a:chunks" };

    #[test]
    fn a_rule_befalls_so_many_requests_after_so_many() {
        let faults = Faults::default();
        let rules = r#"[{"service": "s3", "operation": "PUT", "path": "out/", "fault": "throttle", "after": 1, "times": 2},
                        {"service": "sqs", "path": "chunks", "fault": {"delay": {"ms": 5}}}]"#;
        faults.set(rules.as_bytes()).unwrap();
        let befall = |call: &Call<'_>| faults.befall(Stage::Request, call);
        assert_eq!(befall(&Call { method: "GET", ..put("/b/out/a") }), None);
        assert_eq!(befall(&put("/b/in/a")), None);
        let four = [(); 4].map(|()| befall(&put("/b/out/a")));
        assert_eq!(four, [None, Some(Fault::Throttle), Some(Fault::Throttle), None]);
        assert_eq!(befall(&Call { path: "arn:aws:sqs:r:a:other", ..RECEIVE }), None);
        assert_eq!(befall(&RECEIVE), Some(Fault::Delay { ms: 5 }));
        assert_eq!(befall(&RECEIVE), None);
        let shown: serde_json::Value = serde_json::from_str(&faults.json()).unwrap();
        assert_eq!((&shown["rules"][0]["befell"], &shown["rules"][0]["matched"]), (&2.into(), &3.into()));
        assert_eq!((&shown["rules"][1]["left"], &shown["rules"][1]["path"]), (&0.into(), &"chunks".into()));
    }

    #[test]
    fn a_storm_is_repeated_by_its_seed() {
        let storm = |seed: u64| -> Vec<Option<Fault>> {
            let faults = Faults::default();
            let rules = format!(
                r#"[{{"service": "s3", "fault": "throttle", "rate": 0.2, "seed": {seed}}},
                    {{"service": "s3", "fault": "reset", "rate": 0.2, "seed": {seed}}}]"#
            );
            faults.set(rules.as_bytes()).unwrap();
            (0..2000).map(|_| faults.befall(Stage::Request, &put("/b/a"))).collect()
        };
        let first = storm(7);
        assert_eq!(first, storm(7));
        assert_ne!(first, storm(8));
        let share = |wanted| first.iter().filter(|fault| **fault == Some(wanted)).count();
        // The second rule draws only where the first one has not struck: 0.2, and 0.8 of 0.2.
        assert!((340..460).contains(&share(Fault::Throttle)), "{}", share(Fault::Throttle));
        assert!((260..380).contains(&share(Fault::Reset)), "{}", share(Fault::Reset));
    }

    #[test]
    fn a_fault_strikes_at_its_stage_only() {
        let faults = Faults::default();
        faults.set(br#"[{"service": "sqs", "fault": "duplicate", "rate": 1}, {"service": "sqs", "fault": "fail_entries"}]"#).unwrap();
        assert_eq!(faults.befall(Stage::Request, &RECEIVE), None);
        assert_eq!(faults.befall(Stage::Messages, &RECEIVE), Some(Fault::Duplicate));
        let batch = Call { operation: "SendMessageBatch", ..RECEIVE };
        let failing = faults.fail_entries(&batch, 10);
        assert!(failing.len() == 10 && failing.contains(&true), "{failing:?}");
        assert_eq!(faults.fail_entries(&batch, 10), [false; 10]);
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_sentence() {
        let faults = Faults::default();
        faults.set(br#"[{"service": "s3", "fault": "drop"}]"#).unwrap();
        for (rule, words) in [
            (r#"{"service": "s3", "fault": "typo"}"#, "unknown variant `typo`"),
            (r#"{"service": "ec2", "fault": "drop"}"#, "unknown variant `ec2`"),
            (r#"{"service": "s3", "fault": "drop", "often": 1}"#, "unknown field `often`"),
            (r#"{"service": "s3", "fault": "drop", "rate": 1.5}"#, "a rate is a share from 0 to 1"),
            (r#"{"service": "sqs", "operation": "GetObject", "fault": "drop"}"#, "sqs has no operation GetObject"),
            (r#"{"service": "s3", "fault": "resuming"}"#, "resuming is an answer of rds-data, not of s3"),
            (r#"{"service": "sns", "fault": "duplicate"}"#, "befall messages"),
            (r#"{"service": "sqs", "operation": "SendMessage", "fault": "reorder"}"#, "befall messages"),
            (r#"{"service": "rds-data", "fault": "fail_entries"}"#, "the batches of sqs and sns"),
            (r#"{"service": "sqs", "operation": "SendMessage", "fault": "fail_entries"}"#, "SendMessageBatch"),
            (r#"{"service": "s3", "operation": "PutObject", "fault": {"truncate_body": {"bytes": 1}}}"#, "GetObject"),
            (r#"{"service": "s3", "fault": {"slow_body": {"bytes_per_s": 0}}}"#, "at least one byte"),
            (r#"{"service": "rds-data", "path": "x", "fault": "drop"}"#, "have no path"),
            (r#"{"service": "s3", "fault": {"delay": {"ms": 3600001}}}"#, "an hour"),
        ] {
            let refused = faults.set(format!("[{rule}]").as_bytes()).unwrap_err().to_string();
            assert!(refused.contains(words), "{rule}: {refused}");
        }
        assert_eq!(faults.befall(Stage::Request, &put("/b/a")), Some(Fault::Drop), "the rule before is in force");
    }
}
