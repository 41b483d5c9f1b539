//! The audit: bucket ↔ rows ↔ queues ↔ outputs, in both directions.
//!
//! Guarantee: it only reads, and it never holds more than some pages of a bucket or a table. A finding is what stays wrong:
//! what may be right a moment later is looked at a second time, and what is young is passed over (the grace).

mod finding;
mod outputs;
mod queues;
mod rows;
mod sources;

use std::collections::BTreeSet;
use std::time::Duration;

use reelfleet_catalog::{Catalog, CatalogError};
use reelfleet_fleet::clock::millis;
use reelfleet_fleet::{Context, QueuesError};
use reelfleet_objects::{ObjectError, ObjectTree};

pub use finding::{Code, Finding};
pub(crate) use outputs::page as outputs_page;
pub(crate) use sources::{Lost, page as sources_page};

/// What is audited.
#[derive(Debug, Clone)]
pub struct AuditContext {
    context: Context,
    catalog: Catalog,
    outputs: ObjectTree,
}

/// How it is audited.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// What is younger is still on its way: not looked at. Zero for a fleet that is quiet.
    pub grace: Duration,
    /// Between the first and the second look.
    pub second_look: Duration,
    /// More findings than this are only counted.
    pub most: usize,
}

/// What was looked at, and what is wrong.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Report {
    /// Objects of the upload buckets, all versions.
    pub sources: u64,
    /// Assets.
    pub assets: u64,
    /// Objects of the outputs bucket.
    pub outputs: u64,
    /// Queues, with their dead-letter queues.
    pub queues: u64,
    /// By code, then by subject. Notes are among them: see [`Code::is_note`].
    pub findings: Vec<Finding>,
    /// Findings that are not in the list because it is full.
    pub untold: u64,
}

/// Why it could not be looked.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The rows could not be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A bucket could not be read.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A queue is missing or did not answer.
    #[error(transparent)]
    Queue(#[from] QueuesError),
    /// A queue did not say how much it holds.
    #[error("queue {queue}: {detail}")]
    Depth {
        /// Its full name.
        queue: String,
        /// Why not.
        detail: String,
    },
}

impl Default for AuditOptions {
    fn default() -> Self {
        Self { grace: Duration::from_secs(600), second_look: Duration::from_secs(3), most: 1_000 }
    }
}

impl Report {
    /// Whether nothing is off. Notes don't count.
    pub fn is_clean(&self) -> bool {
        self.untold == 0 && self.findings.iter().all(|finding| finding.code.is_note())
    }

    fn add(&mut self, found: Vec<Finding>, most: usize) {
        for finding in found {
            if self.findings.len() < most {
                self.findings.push(finding);
            } else {
                self.untold += 1;
            }
        }
    }
}

impl AuditContext {
    /// With the clients, the configuration and the clock of `context`.
    pub fn new(context: &Context, catalog: Catalog) -> Self {
        let outputs = ObjectTree::new(context.clients.s3.clone(), &context.config.outputs_bucket);
        Self { context: context.clone(), catalog, outputs }
    }

    fn now(&self) -> i64 {
        self.context.clock.now_ms()
    }

    fn upload_buckets(&self) -> BTreeSet<&str> {
        self.context.config.uploads.iter().map(|route| route.bucket.as_str()).collect()
    }
}

/// Looks at everything once, and a second time at what may only have been under way.
pub async fn run(audit: &AuditContext, options: &AuditOptions) -> Result<Report, AuditError> {
    let grace = millis(options.grace);
    let before = audit.now().saturating_sub(grace);
    let most = options.most;
    let mut report = Report::default();
    for bucket in audit.upload_buckets() {
        let mut after = String::new();
        loop {
            let page = sources_page(audit, bucket, &after, before).await?;
            report.sources += page.seen;
            report.add(page.lost.iter().map(Lost::finding).collect(), most);
            let Some(next) = page.next else { break };
            after = next;
        }
    }
    let mut after = String::new();
    loop {
        let page = outputs_page(audit, &after, before).await?;
        report.outputs += page.objects;
        report.assets += page.assets;
        report.untold += page.untold;
        report.add(page.findings, most);
        let Some(next) = page.next else { break };
        after = next;
    }
    report.queues = queues::count();
    report.add(twice(options, || moving(audit, grace)).await?, most);
    report.findings.sort_by(|a, b| (a.code.as_str(), &a.subject).cmp(&(b.code.as_str(), &b.subject)));
    Ok(report)
}

/// What the rows and the queues say at this moment.
async fn moving(audit: &AuditContext, grace: i64) -> Result<Vec<Finding>, AuditError> {
    let mut found = rows::look(audit, grace).await?;
    found.extend(sources::gone(audit).await?);
    found.extend(queues::look(audit).await?);
    Ok(found)
}

/// What the rows say at this moment; for a fleet at work.
pub(crate) async fn rows_twice(audit: &AuditContext, options: &AuditOptions) -> Result<Vec<Finding>, AuditError> {
    twice(options, || rows::look(audit, millis(options.grace))).await
}

/// What two looks have in common, in the words of the second. Nothing found at first is nothing.
async fn twice<F>(options: &AuditOptions, look: impl Fn() -> F) -> Result<Vec<Finding>, AuditError>
where
    F: Future<Output = Result<Vec<Finding>, AuditError>>,
{
    let first = look().await?;
    if first.is_empty() {
        return Ok(first);
    }
    tokio::time::sleep(options.second_look).await;
    let mut second = look().await?;
    let known: BTreeSet<(&str, &str)> = first.iter().map(Finding::identity).collect();
    second.retain(|finding| known.contains(&finding.identity()));
    Ok(second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn finding(code: Code, subject: &str) -> Finding {
        Finding { code, subject: subject.into(), detail: "d".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_two_looks_have_in_common_is_told() {
        let looks = Mutex::new(vec![
            vec![finding(Code::TaskStranded, "b"), finding(Code::AssetStuck, "c")],
            vec![finding(Code::TaskStranded, "a"), finding(Code::TaskStranded, "b"), finding(Code::JobUnfinished, "c")],
        ]);
        let look = || async { Ok(looks.lock().unwrap().pop().unwrap()) };
        let found = twice(&AuditOptions::default(), look).await.unwrap();
        assert_eq!(found, [finding(Code::TaskStranded, "b")]);
        let looks = Mutex::new(vec![Vec::new()]);
        let look = || async { Ok(looks.lock().unwrap().pop().expect("a second look at nothing")) };
        assert!(twice(&AuditOptions::default(), look).await.unwrap().is_empty());
    }

    #[test]
    fn notes_are_no_blemish_and_what_is_untold_is_one() {
        let mut report = Report::default();
        report.add(vec![finding(Code::LoserOutput, "a")], 1);
        assert!(report.is_clean());
        report.add(vec![finding(Code::LoserOutput, "b")], 1);
        assert!(!report.is_clean() && report.untold == 1, "it may have been anything");
        let report = Report { findings: vec![finding(Code::OrphanOutput, "a")], ..Report::default() };
        assert!(!report.is_clean());
    }
}
