//! `reelfleet verify`: whether buckets, rows, queues and outputs fit together.
//!
//! Guarantee: it only reads. Exit 0: nothing is off. Exit 1: something is, and it is named. Exit 2: it could not look, which
//! says nothing about the fleet. With `--data` it looks at what a running `reelfleet up` serves; without, at what the
//! environment names, as a worker would.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use reelfleet_metadata::audit::{self, AuditContext, AuditOptions, Finding, Report};

use crate::up::ready::{self, Ready};
use crate::{status, table, worker};

/// It could not look.
const NO_LOOK: u8 = 2;
/// Columns of a subject and of a sentence.
const WIDTH: usize = 96;

/// Options of `verify`.
#[derive(Args)]
pub struct VerifyArgs {
    /// Folder of a running `reelfleet up` [default: the environment]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    /// What is younger is on its way, and not looked at
    #[arg(long, value_name = "N", default_value_t = 600)]
    grace_seconds: u64,
}

/// Prints the findings.
pub async fn run(args: VerifyArgs) -> anyhow::Result<ExitCode> {
    match look(&args).await {
        Ok(report) => {
            if args.json {
                println!("{}", serde_json::to_string(&report)?);
            } else {
                print!("{}", text(&report));
            }
            Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(error) => {
            eprintln!("reelfleet: it could not be verified: {}", format!("{error:#}").replace(['\r', '\n'], " "));
            Ok(ExitCode::from(NO_LOOK))
        }
    }
}

async fn look(args: &VerifyArgs) -> anyhow::Result<Report> {
    let ready = args.data.as_deref().map(|folder| Ready::read(&ready::in_folder(folder))).transpose()?;
    let context = status::context(ready.as_ref()).await?;
    let catalog = worker::catalog(&context);
    catalog.check_schema().await?;
    let options = AuditOptions { grace: Duration::from_secs(args.grace_seconds), ..AuditOptions::default() };
    Ok(audit::run(&AuditContext::new(&context, catalog), &options).await?)
}

fn text(report: &Report) -> String {
    let (notes, off): (Vec<&Finding>, Vec<&Finding>) =
        report.findings.iter().partition(|finding| finding.code.is_note());
    let mut text = String::new();
    for (heading, findings) in [("what is off", &off), ("for information", &notes)] {
        if !findings.is_empty() {
            let row = |finding: &&Finding| {
                vec![
                    finding.code.as_str().to_owned(),
                    table::shown(&finding.subject, WIDTH),
                    table::shown(&finding.detail, WIDTH),
                ]
            };
            text.push_str(&table::render(&[heading, "where", "what"], &findings.iter().map(row).collect::<Vec<_>>()));
            text.push('\n');
        }
    }
    if report.untold > 0 {
        text.push_str(&format!("and {} more\n", report.untold));
    }
    let looked = format!(
        "{} sources, {} assets, {} outputs, {} queues",
        report.sources, report.assets, report.outputs, report.queues
    );
    match (report.is_clean(), off.len() as u64 + report.untold) {
        (true, _) => text.push_str(&format!("nothing is off: {looked}\n")),
        (false, count) => text.push_str(&format!("{count} things are off: {looked}\n")),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelfleet_metadata::audit::Code;

    #[test]
    fn notes_are_told_and_are_nothing_off() {
        let finding = |code| Finding { code, subject: "s3://b/k\u{1b}".into(), detail: "why".into() };
        let mut report = Report { sources: 3, findings: vec![finding(Code::LoserOutput)], ..Report::default() };
        let told = text(&report);
        assert!(told.contains("for information") && told.contains("nothing is off: 3 sources"), "{told}");
        assert!(!told.contains('\u{1b}'));
        report.findings.push(finding(Code::OrphanOutput));
        report.untold = 2;
        let told = text(&report);
        assert!(told.contains("orphan_output") && told.contains("and 2 more"), "{told}");
        assert!(told.contains("3 things are off"), "{told}");
    }
}
