//! `reelfleet spent` and `reelfleet budget`: what was spent, and what may be.
//!
//! Guarantee: a budget that is changed leaves an audit line first; what may start by it has started when the command ends.

use anyhow::{Context as _, bail};
use clap::Args;
use reelfleet_access::principal::valid_name;
use reelfleet_domain::price::{self, Prices};
use reelfleet_domain::price_budget::{begins, day};
use serde_json::json;

use crate::operator::{Operator, OperatorArgs};
use crate::table;

const LINES: i64 = 1_000;

/// Options of `spent`.
#[derive(Args)]
pub struct SpentArgs {
    /// So many days, today's (UTC) the last
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=366))]
    days: u32,
    /// Of one tenant only
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Options of `budget`.
#[derive(Args)]
pub struct BudgetArgs {
    /// Whose
    tenant: String,
    /// What it may start within a day, in the prices' currency: `12.50`; `none`: everything
    amount: String,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Prints what was spent, by tenant and day.
pub async fn spent(args: SpentArgs) -> anyhow::Result<()> {
    let Operator { context, catalog, .. } = args.operator.enter().await?;
    let tenant = args.tenant.unwrap_or_default();
    let from = day(context.clock.now_ms()).saturating_sub(i64::from(args.days) - 1);
    let (spent, budgets, parked) =
        tokio::try_join!(catalog.spent(&tenant, from, LINES), catalog.budgets(), catalog.parked_counts())?;
    let prices: &Prices = &context.config.prices;
    let money = |micros| price::shown(micros, prices.currency());
    let rows: Vec<Vec<String>> = spent
        .iter()
        .map(|line| {
            vec![
                date(begins(line.day)),
                table::shown(&line.tenant, 30),
                line.jobs.to_string(),
                money(line.estimated_micros.unsigned_abs()),
                money(prices.total(&line.used)),
                format!("{:.1}", line.used.cpu_ms as f64 / 60_000.0),
                table::bytes(line.used.source_bytes.saturating_add(line.used.output_bytes)),
            ]
        })
        .collect();
    print!("{}", table::render(&["day", "tenant", "jobs", "estimated", "spent", "CPU min", "stored"], &rows));
    let of = |name: &str| tenant.is_empty() || tenant == name;
    for budget in budgets.iter().filter(|budget| of(&budget.tenant)) {
        println!("budget of {}: {} a day, by {}", table::shown(&budget.tenant, 30), money(budget.micros), budget.by);
    }
    for (name, jobs) in parked.iter().filter(|(name, _)| of(name)) {
        println!("{}: {jobs} wait for a budget", table::shown(name, 30));
    }
    Ok(())
}

/// Gives a tenant another budget.
pub async fn budget(args: BudgetArgs) -> anyhow::Result<()> {
    if !valid_name(&args.tenant) {
        bail!("{} is no tenant", table::shown(&args.tenant, 60));
    }
    let micros = match args.amount.as_str() {
        "none" => None,
        text => Some(price::micros(text).context("the amount is like 12.50, or none")?),
    };
    let operator = args.operator.enter().await?;
    let deed = operator.deed("budget", &args.tenant, &json!({ "micros": micros }));
    operator.catalog.set_budget(&args.tenant, micros, deed).await?;
    let started = operator.context.start_parked(&operator.catalog, &args.tenant).await?;
    let words = micros.map_or("no budget".to_owned(), |micros| {
        format!("{} a day", price::shown(micros, operator.context.config.prices.currency()))
    });
    eprintln!("{}: {words}; {started} started that waited", args.tenant);
    Ok(())
}

/// `2026-11-22`.
fn date(epoch_ms: i64) -> String {
    let since = std::time::Duration::from_millis(u64::try_from(epoch_ms).unwrap_or(0));
    let text = humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since).to_string();
    text.chars().take(10).collect()
}
