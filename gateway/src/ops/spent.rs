//! What was spent, and what may be: by tenant and day.
//!
//! Guarantee: a budget that is changed leaves an audit line first, and what may start by it has started when the answer
//! comes, or is started by the janitor.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use reelfleet_access::Scope;
use reelfleet_access::principal::valid_name;
use reelfleet_catalog::budgets::Budget;
use reelfleet_catalog::costs::Spent;
use reelfleet_domain::price;
use reelfleet_domain::price_budget::{begins, day};
use reelfleet_domain::price_estimate::used_shown;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::{App, rfc3339};
use crate::caller::{Caller, Payload};
use crate::problem::{Code, Problem};

/// Days that are shown at once, and lines.
const MOST_DAYS: u32 = 366;
const LINES: i64 = 1_000;

#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    days: Option<u32>,
    tenant: Option<String>,
}

/// What was started on each day, by tenant, the latest first; budgets; and what waits.
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    caller.with(Scope::Ops)?;
    let Query(wanted) = wanted.map_err(|error| Problem::new(Code::InvalidRequest, error.body_text()))?;
    let days = wanted.days.unwrap_or(7);
    if !(1..=MOST_DAYS).contains(&days) {
        return Err(Problem::new(Code::InvalidRequest, format!("days is 1 to {MOST_DAYS}")));
    }
    let tenant = wanted.tenant.unwrap_or_default();
    if tenant.contains('\0') {
        return Err(Problem::new(Code::InvalidRequest, "there is no such tenant"));
    }
    let from = day(app.now()).saturating_sub(i64::from(days) - 1);
    let (spent, budgets, parked) =
        tokio::try_join!(app.catalog.spent(&tenant, from, LINES), app.catalog.budgets(), app.catalog.parked_counts())?;
    let of = |name: &str| tenant.is_empty() || tenant == name;
    let parked = parked.iter().filter(|(name, _)| of(name));
    Ok(Json(json!({
        "currency": app.context.config.prices.currency(),
        "days": spent.iter().map(|line| shown(&app, line)).collect::<Vec<_>>(),
        "budgets": budgets.iter().filter(|b| of(&b.tenant)).map(|b| budget(&app, b)).collect::<Vec<_>>(),
        "parked": parked.map(|(tenant, jobs)| json!({ "tenant": tenant, "jobs": jobs })).collect::<Vec<_>>(),
    })))
}

#[derive(Debug, Deserialize)]
pub(crate) struct Wish {
    /// Millionths of the currency, a day; null: no budget.
    micros: Option<u64>,
}

/// Another budget for a tenant: what may start by it starts at once.
pub(crate) async fn set(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(tenant): Path<String>,
    Payload(wish): Payload<Wish>,
) -> Result<Json<Value>, Problem> {
    let principal = caller.with(Scope::Ops)?;
    if !valid_name(&tenant) {
        return Err(Problem::not_found());
    }
    if wish.micros.is_some_and(|micros| i64::try_from(micros).is_err()) {
        return Err(Problem::new(Code::InvalidRequest, "nobody has so much money"));
    }
    let deed = app.operated(&principal, "budget", &tenant, &json!({ "micros": wish.micros }));
    app.catalog.set_budget(&tenant, wish.micros, deed).await?;
    let started = app.context.start_parked(&app.catalog, &tenant).await?;
    Ok(Json(json!({ "tenant": tenant, "micros": wish.micros, "started": started })))
}

fn shown(app: &App, line: &Spent) -> Value {
    let prices = &app.context.config.prices;
    json!({
        "day": &rfc3339(begins(line.day))[..10],
        "tenant": line.tenant,
        "jobs": line.jobs,
        "estimated_micros": line.estimated_micros,
        "estimated": price::shown(line.estimated_micros.unsigned_abs(), prices.currency()),
        "spent": used_shown(&line.used, prices),
    })
}

fn budget(app: &App, budget: &Budget) -> Value {
    json!({
        "tenant": budget.tenant,
        "micros": budget.micros,
        "money": price::shown(budget.micros, app.context.config.prices.currency()),
        "by": budget.by,
        "at": rfc3339(budget.at),
    })
}
