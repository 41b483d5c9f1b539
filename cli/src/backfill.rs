//! `reelfleet backfill`: campaigns that make anew what landed before a date.
//!
//! Guarantee: an upload never waits behind a campaign: its tasks have a queue and workers of their own. An asset stays
//! ready, and is played as it was, until it is made anew; beginning a campaign twice begins it once.

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use reelfleet_catalog::campaigns::Campaign;
use serde_json::json;

use crate::operator::{Operator, OperatorArgs};
use crate::table;

/// Options of `backfill`.
#[derive(Args)]
pub struct BackfillArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Begin: videos and sounds that landed before a date get the renditions that this version makes
    Start {
        /// A name for it
        #[arg(value_parser = name)]
        name: String,
        /// What landed before this: 2026-01-31, or with a time 2026-01-31T12:00:00Z
        #[arg(long, value_name = "DATE", value_parser = date)]
        older_than: i64,
        /// Of one tenant only
        #[arg(long)]
        tenant: Option<String>,
        /// Assets under way at once
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        parallel: u32,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// List campaigns, and how far they are
    Ls {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Hand out nothing for now; what is under way goes on
    Pause(Turn),
    /// Go on where it was
    Resume(Turn),
    /// End it; what is under way goes on
    Cancel(Turn),
}

#[derive(Args)]
struct Turn {
    /// Its name
    name: String,
    #[command(flatten)]
    operator: OperatorArgs,
}

fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.len() > 64 || !text.chars().all(fits) {
        return Err("1 to 64 letters, digits, - _ and .".into());
    }
    Ok(text.to_owned())
}

fn date(text: &str) -> Result<i64, String> {
    let whole = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    let time = humantime::parse_rfc3339_weak(&whole).map_err(|error| error.to_string())?;
    let since = time.duration_since(std::time::UNIX_EPOCH).map_err(|error| error.to_string())?;
    i64::try_from(since.as_millis()).map_err(|error| error.to_string())
}

/// Does what was asked.
pub async fn run(args: BackfillArgs) -> anyhow::Result<()> {
    match args.command {
        Command::Start { name, older_than, tenant, parallel, operator } => {
            let operator = operator.enter().await?;
            let about = json!({ "older_than": older_than, "tenant": tenant, "parallel": parallel });
            let deed = operator.deed("backfill.start", &name, &about);
            let campaign = Campaign {
                name,
                tenant,
                before: older_than,
                parallel,
                state: "running".to_owned(),
                cursor: String::new(),
                handed: 0,
                skipped: 0,
                by: operator.who.clone(),
                at: deed.at,
            };
            if !operator.catalog.begin_campaign(&campaign, deed).await? {
                bail!("there is a campaign {} (see `reelfleet backfill ls`)", campaign.name);
            }
            let to_come = operator.catalog.campaign_progress(&campaign).await?.to_come;
            eprintln!("{}: {to_come} assets, {parallel} at once", campaign.name);
            Ok(())
        }
        Command::Ls { json, operator } => list(&operator.enter().await?, json).await,
        Command::Pause(turn) => turn.to("paused", "backfill.pause").await,
        Command::Resume(turn) => turn.to("running", "backfill.resume").await,
        Command::Cancel(turn) => turn.to("cancelled", "backfill.cancel").await,
    }
}

impl Turn {
    async fn to(self, state: &'static str, what: &str) -> anyhow::Result<()> {
        let operator = self.operator.enter().await?;
        let deed = operator.deed(what, &self.name, &json!({}));
        let now = deed.at;
        if !operator.catalog.turn_campaign(now, &self.name, state, deed).await.context("the campaign")? {
            bail!("there is no campaign {} that is not over", self.name);
        }
        eprintln!("{}: {state}", self.name);
        Ok(())
    }
}

async fn list(operator: &Operator, as_json: bool) -> anyhow::Result<()> {
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    for campaign in operator.catalog.campaigns().await? {
        let progress = operator.catalog.campaign_progress(&campaign).await?;
        let Campaign { name, state, parallel, skipped, by, .. } = campaign;
        values.push(json!({
            "name": name, "state": state, "parallel": parallel, "by": by, "to_come": progress.to_come,
            "under_way": progress.under_way, "made": progress.made, "failed": progress.failed, "skipped": skipped,
        }));
        let counts = [progress.made, progress.under_way, progress.to_come, progress.failed, skipped];
        rows.push([name, state].into_iter().chain(counts.map(|count| count.to_string())).chain([by]).collect());
    }
    if as_json {
        println!("{}", serde_json::Value::Array(values));
    } else if rows.is_empty() {
        eprintln!("no campaigns");
    } else {
        let headings = ["campaign", "state", "made", "under way", "to come", "failed", "passed over", "by"];
        print!("{}", table::render(&headings, &rows));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days_or_moments() {
        assert_eq!(date("1970-01-02"), Ok(86_400_000));
        assert_eq!(date("1970-01-01T00:00:01Z"), Ok(1_000));
        assert!(date("yesterday").is_err() && date("2026-13-01").is_err());
        assert!(name("ladder-2").is_ok() && name("a b").is_err() && name("").is_err());
    }
}
