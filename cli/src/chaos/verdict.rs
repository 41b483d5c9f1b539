//! The verdict: what was looked at, what was found, where the evidence is.
//!
//! Guarantee: a check that could not be made is a violation; each violation names its subject.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;

use crate::table;

/// Violations of one check that are shown; all of them are in the evidence.
const SHOWN: usize = 10;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Whose: an asset, an upload, a queue, a client.
    pub subject: String,
    /// What.
    pub what: String,
}

/// One promise, looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// The promise.
    pub promise: &'static str,
    /// How many of what were looked at.
    pub looked_at: String,
    /// What was found.
    pub violations: Vec<Violation>,
}

impl Check {
    /// A check that has found nothing yet.
    pub fn new(promise: &'static str) -> Self {
        Self { promise, looked_at: String::new(), violations: Vec::new() }
    }

    /// Notes a violation.
    pub fn violated(&mut self, subject: impl Into<String>, what: impl Into<String>) {
        self.violations.push(Violation { subject: subject.into(), what: what.into() });
    }

    /// Notes a violation unless it holds.
    pub fn unless(&mut self, holds: bool, subject: &str, what: impl FnOnce() -> String) {
        if !holds {
            self.violated(subject, what());
        }
    }

    /// Says what was looked at.
    #[must_use]
    pub fn over(mut self, looked_at: impl Into<String>) -> Self {
        self.looked_at = looked_at.into();
        self
    }

    /// A check that could not be made.
    pub fn impossible(promise: &'static str, error: &anyhow::Error) -> Self {
        let mut check = Self::new(promise).over("nothing");
        check.violated("the check itself", format!("could not be made: {error:#}"));
        check
    }
}

/// All of it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// How to do it again.
    pub command: String,
    /// The seed.
    pub seed: u64,
    /// Promises.
    pub checks: Vec<Check>,
    /// What happened, in numbers.
    pub figures: BTreeMap<&'static str, Value>,
}

impl Report {
    /// Violations of all checks.
    pub fn violations(&self) -> usize {
        self.checks.iter().map(|check| check.violations.len()).sum()
    }

    /// For people.
    pub fn text(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .checks
            .iter()
            .map(|check| {
                let verdict = match check.violations.len() {
                    0 => "holds".to_owned(),
                    count => format!("VIOLATED {count}×"),
                };
                vec![check.promise.to_owned(), check.looked_at.clone(), verdict]
            })
            .collect();
        let mut text = table::render(&["promise", "looked at", "verdict"], &rows);
        for check in self.checks.iter().filter(|check| !check.violations.is_empty()) {
            text.push_str(&format!("\n{}\n", check.promise));
            for Violation { subject, what } in check.violations.iter().take(SHOWN) {
                text.push_str(&format!("  {}: {}\n", table::shown(subject, 80), table::shown(what, 300)));
            }
            if check.violations.len() > SHOWN {
                text.push_str(&format!("  and {} more\n", check.violations.len() - SHOWN));
            }
        }
        let figures: Vec<Vec<String>> =
            self.figures.iter().map(|(name, value)| vec![(*name).to_owned(), plain(value)]).collect();
        text.push_str(&format!("\n{}", table::render(&["figure", ""], &figures)));
        text
    }

    /// Writes it, and everything else that is known, where a person can look.
    pub fn keep(&self, folder: &Path, more: &[(&str, Value)]) -> anyhow::Result<()> {
        crate::private_file::make_folder(folder)?;
        let report = serde_json::to_value(self)?;
        for (name, value) in more.iter().chain([&("report.json", report)]) {
            let path = folder.join(name);
            std::fs::write(&path, serde_json::to_vec_pretty(value)?)
                .with_context(|| format!("{} can't be written", path.display()))?;
        }
        Ok(())
    }
}

/// A figure without the marks of JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(map) => {
            map.iter().map(|(name, value)| format!("{name} {}", plain(value))).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_violation_is_named_and_counted() {
        let mut bad = Check::new("nothing is lost").over("3 uploads");
        bad.unless(true, "x", || "no".into());
        bad.unless(false, "ast_1", || "is lost".into());
        let impossible = Check::impossible("all is quiet", &anyhow::anyhow!("no answer"));
        let figures = BTreeMap::from([("kills", json!({ "relay": 2 })), ("seed", json!("s"))]);
        let report = Report { command: "c".into(), seed: 1, checks: vec![bad, impossible], figures };
        assert_eq!(report.violations(), 2);
        let text = report.text();
        for part in ["VIOLATED 1×", "ast_1: is lost", "could not be made: no answer", "relay 2"] {
            assert!(text.contains(part), "{text}");
        }
        let folder = tempfile::tempdir().unwrap();
        report.keep(folder.path(), &[("diary.json", json!([]))]).unwrap();
        assert!(folder.path().join("report.json").exists() && folder.path().join("diary.json").exists());
    }
}
