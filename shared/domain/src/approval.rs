//! Approval: which uploads wait for people's verdict, for how many of them, and for how long.
//!
//! Guarantee: the first rule whose conditions all hold decides, and nothing but what is passed in; a configuration that
//! says less than it seems to (a misspelt field, no votes and an expiry) is refused with the place of the error.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// Hours after which a review expires, unless a rule says otherwise.
const EXPIRES_HOURS: f64 = 168.0;
/// A year.
const MAX_HOURS: f64 = 8_760.0;

/// What happens to what is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnReject {
    /// It stays, unprocessed, for its owner to see why and to delete.
    #[default]
    Keep,
    /// The same, and its source is tagged, for a bucket policy to hold it back from everybody.
    Quarantine,
    /// It is marked as deleted, and purged when its time to restore is over.
    Delete,
}

impl OnReject {
    /// As it stands in rows and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Quarantine => "quarantine",
            Self::Delete => "delete",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Keep, Self::Quarantine, Self::Delete].into_iter().find(|known| known.as_str() == text)
    }
}

/// One rule: conditions, which must all hold, and terms.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    tenant: Option<String>,
    prefix: Option<String>,
    uploader: Option<String>,
    over_bytes: Option<u64>,
    over_seconds: Option<u64>,
    untrusted: Option<u32>,
    #[serde(default = "one")]
    votes: u8,
    expires_hours: Option<f64>,
    remind_hours: Option<f64>,
    #[serde(default)]
    escalate_to: Vec<String>,
    #[serde(default)]
    reviewers: Vec<String>,
    #[serde(default)]
    on_reject: OnReject,
}

fn one() -> u8 {
    1
}

/// What an upload waits for.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// Approvals that are needed, of different reviewers: 1 or 2. One rejection declines.
    pub votes: u8,
    /// Milliseconds until the review expires.
    pub expires_ms: i64,
    /// Milliseconds until reviewers are reminded; after twice that it is escalated.
    pub remind_ms: Option<i64>,
    /// Who is written to then.
    pub escalate_to: Vec<String>,
    /// Who is written to at once; empty: those of the installation.
    pub reviewers: Vec<String>,
    /// What happens to what is rejected.
    pub on_reject: OnReject,
}

/// What is known of an upload once it is probed.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'f> {
    /// Whose it is.
    pub tenant: &'f str,
    /// The user.
    pub owner: &'f str,
    /// Its key in the uploads bucket.
    pub key: &'f str,
    /// Bytes.
    pub bytes: u64,
    /// A still image has none.
    pub duration_ms: Option<u64>,
    /// How many uploads of this user were approved before.
    pub approved_before: u64,
}

/// The rules of an installation, in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ApprovalPolicy {
    rules: Vec<Rule>,
}

/// Why a text is not a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not JSON, or not of its shape.
    #[error("it is none, always, or a JSON list of rules: {0}")]
    Shape(String),
    /// A rule that can't be meant.
    #[error("rule {rule}: {problem}")]
    Rule {
        /// From 1.
        rule: usize,
        /// What is wrong.
        problem: String,
    },
}

impl ApprovalPolicy {
    /// What this upload waits for; `None`: for nobody.
    pub fn terms(&self, facts: &Facts<'_>) -> Option<Terms> {
        let rule = self.rules.iter().find(|rule| rule.fits(facts))?;
        (rule.votes > 0).then(|| rule.terms())
    }

    /// Whether any rule asks how many uploads of a user were approved.
    pub fn asks_for_history(&self) -> bool {
        self.rules.iter().any(|rule| rule.untrusted.is_some())
    }
}

impl Rule {
    fn fits(&self, facts: &Facts<'_>) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        is(&self.tenant, facts.tenant)
            && is(&self.uploader, facts.owner)
            && self.prefix.as_deref().is_none_or(|prefix| facts.key.starts_with(prefix))
            && self.over_bytes.is_none_or(|most| facts.bytes > most)
            && self.over_seconds.is_none_or(|most| facts.duration_ms.unwrap_or(0) > most.saturating_mul(1_000))
            && self.untrusted.is_none_or(|wanted| facts.approved_before < u64::from(wanted))
    }

    fn terms(&self) -> Terms {
        Terms {
            votes: self.votes,
            expires_ms: ms(self.expires_hours.unwrap_or(EXPIRES_HOURS)),
            remind_ms: self.remind_hours.map(ms),
            escalate_to: self.escalate_to.clone(),
            reviewers: self.reviewers.clone(),
            on_reject: self.on_reject,
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.votes > 2 {
            return Err(format!("votes is 0 (none is needed), 1 or 2, not {}", self.votes));
        }
        for (field, hours) in [("expires_hours", self.expires_hours), ("remind_hours", self.remind_hours)] {
            if let Some(hours) = hours.filter(|hours| !(*hours > 0.0 && *hours <= MAX_HOURS)) {
                return Err(format!("{field} is more than 0 and at most {MAX_HOURS}, not {hours}"));
            }
        }
        if !self.escalate_to.is_empty() && self.remind_hours.is_none() {
            return Err("escalate_to needs remind_hours: it is escalated after twice that".to_owned());
        }
        for address in self.escalate_to.iter().chain(&self.reviewers) {
            check_address(address)?;
        }
        Ok(())
    }
}

/// Whether somebody can be written to there: `name@domain`, nothing that ends a header.
pub fn check_address(address: &str) -> Result<(), String> {
    let good = |part: &str| !part.is_empty() && !part.chars().any(|c| c.is_control() || " <>,;@\"".contains(c));
    match address.rsplit_once('@') {
        Some((name, domain)) if good(name) && good(domain) && address.len() <= 254 => Ok(()),
        _ => Err(format!("{address:?} is not a mail address")),
    }
}

fn ms(hours: f64) -> i64 {
    (hours * 3_600_000.0) as i64
}

impl FromStr for ApprovalPolicy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let json = match text.trim() {
            "" | "none" => "[]",
            "always" => "[{}]",
            other => other,
        };
        let values: Vec<serde_json::Value> =
            serde_json::from_str(json).map_err(|error| PolicyError::Shape(error.to_string()))?;
        let mut rules = Vec::with_capacity(values.len());
        for (index, value) in values.into_iter().enumerate() {
            let wrong = |problem| PolicyError::Rule { rule: index + 1, problem };
            let rule: Rule = serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
            rule.check().map_err(wrong)?;
            rules.push(rule);
        }
        Ok(Self { rules })
    }
}

impl fmt::Display for ApprovalPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rules", self.rules.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn facts() -> Facts<'static> {
        Facts { tenant: "t", owner: "ann", key: "in/t/ann/1", bytes: 10, duration_ms: Some(5_000), approved_before: 3 }
    }

    fn votes(policy: &str, facts: Facts<'_>) -> Option<u8> {
        policy.parse::<ApprovalPolicy>().unwrap().terms(&facts).map(|terms| terms.votes)
    }

    #[test]
    fn none_and_always() {
        assert_eq!(votes("none", facts()), None);
        assert_eq!(votes("", facts()), None);
        let terms = "always".parse::<ApprovalPolicy>().unwrap().terms(&facts()).unwrap();
        assert_eq!((terms.votes, terms.expires_ms, terms.on_reject), (1, 7 * 86_400_000, OnReject::Keep));
    }

    #[test]
    fn each_condition_has_its_border() {
        for (condition, borders) in [
            (r#""over_bytes": 9"#, true),
            (r#""over_bytes": 10"#, false),
            (r#""over_seconds": 4"#, true),
            (r#""over_seconds": 5"#, false),
            (r#""untrusted": 4"#, true),
            (r#""untrusted": 3"#, false),
            (r#""tenant": "t""#, true),
            (r#""tenant": "u""#, false),
            (r#""uploader": "ann""#, true),
            (r#""uploader": "bob""#, false),
            (r#""prefix": "in/t/""#, true),
            (r#""prefix": "in/u/""#, false),
            (r#""tenant": "t", "over_bytes": 10"#, false),
        ] {
            assert_eq!(votes(&format!("[{{{condition}}}]"), facts()).is_some(), borders, "{condition}");
        }
        let still = Facts { duration_ms: None, ..facts() };
        assert_eq!(votes(r#"[{"over_seconds": 0}]"#, still), None, "a still image lasts nothing");
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let policy = r#"[{"uploader": "ann", "votes": 0}, {"over_bytes": 5, "votes": 2}, {}]"#;
        assert_eq!(votes(policy, facts()), None, "an exception stands before the rule");
        assert_eq!(votes(policy, Facts { owner: "bob", ..facts() }), Some(2));
        assert_eq!(votes(policy, Facts { owner: "bob", bytes: 5, ..facts() }), Some(1));
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        for (policy, wanted) in [
            ("sometimes", "none, always, or a JSON list"),
            (r#"{"votes": 1}"#, "none, always, or a JSON list"),
            (r#"[{}, {"vote": 2}]"#, "rule 2: unknown field `vote`"),
            (r#"[{"votes": 3}]"#, "rule 1: votes is 0 (none is needed), 1 or 2, not 3"),
            (r#"[{"votes": "2"}]"#, "rule 1: invalid type: string"),
            (r#"[{"expires_hours": 0}]"#, "rule 1: expires_hours is more than 0"),
            (r#"[{"on_reject": "burn"}]"#, "rule 1: unknown variant `burn`"),
            (r#"[{"escalate_to": ["a@example.com"]}]"#, "rule 1: escalate_to needs remind_hours"),
            (r#"[{"reviewers": ["ann"]}]"#, "rule 1: \"ann\" is not a mail address"),
        ] {
            let error = policy.parse::<ApprovalPolicy>().unwrap_err().to_string();
            assert!(error.contains(wanted), "{policy}: {error}");
        }
        assert!(check_address("a@b\r\nBcc: c@d").is_err());
        assert!(check_address("ann.o'neil+x@mail.example").is_ok());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}") {
            let _ = text.parse::<ApprovalPolicy>();
        }

        /// More conditions never make more uploads wait.
        #[test]
        fn a_further_condition_only_narrows(bytes in 0..100_u64, seconds in 0..100_u64, before in 0..10_u64, most in 0..100_u64, n in 0..10_u32) {
            let facts = Facts { bytes, duration_ms: Some(seconds * 1_000), approved_before: before, ..facts() };
            let loose = format!(r#"[{{"over_bytes": {most}}}]"#);
            for more in [format!(r#""over_seconds": {most}"#), format!(r#""untrusted": {n}"#), r#""tenant": "t""#.to_owned()] {
                let tight = format!(r#"[{{"over_bytes": {most}, {more}}}]"#);
                prop_assert!(votes(&tight, facts).is_none() || votes(&loose, facts).is_some());
            }
        }

        /// Whoever has been approved often enough is trusted from then on.
        #[test]
        fn trust_is_kept(n in 0..20_u32, before in 0..40_u64) {
            let asked = |before| votes(&format!(r#"[{{"untrusted": {n}}}]"#), Facts { approved_before: before, ..facts() }).is_some();
            prop_assert_eq!(asked(before), before < u64::from(n));
            prop_assert!(asked(before) || !asked(before + 1));
        }
    }
}
