//! Jobs of everybody, and how an asset came about.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use reelfleet_access::Scope;
use reelfleet_catalog::figures::{JobLine, TaskLine};
use reelfleet_domain::JobState;
use reelfleet_messages::{AssetId, JobId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::{App, rfc3339};
use crate::caller::Caller;
use crate::paging::{self, Page};
use crate::problem::{Code, Problem};

/// Characters that can be looked for.
const MAX_TEXT: usize = 200;

#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    q: Option<String>,
    state: Option<String>,
}

impl paging::Wanted for Wanted {
    const FIELDS: &'static [&'static str] = &["q", "state"];
}

/// The latest first; `q` is part of an asset's name, or its id.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    page: Page<Wanted>,
) -> Result<Json<Value>, Problem> {
    caller.with(Scope::Ops)?;
    let invalid = |detail: String| Problem::new(Code::InvalidRequest, detail);
    let state = page.wanted.state.as_deref().unwrap_or_default();
    if !state.is_empty() && JobState::parse(state).is_none() {
        return Err(invalid(format!("{state:?} is no state of a job")));
    }
    let text = page.wanted.q.as_deref().unwrap_or_default().trim().to_lowercase();
    if text.chars().count() > MAX_TEXT {
        return Err(invalid(format!("q is at most {MAX_TEXT} characters")));
    }
    let before = page.after::<JobId>()?;
    let found = app.catalog.job_lines(state, &text, before.as_ref(), page.one_more()).await?;
    let (found, next) = page.cut(found, |job| job.id.to_string());
    Ok(Json(json!({ "jobs": found.iter().map(job).collect::<Vec<_>>(), "next_cursor": next })))
}

/// Every task of an asset, with its times.
pub(crate) async fn timeline(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    caller.with(Scope::Ops)?;
    let id: AssetId = id.parse().map_err(|_| Problem::not_found())?;
    let asset = app.catalog.asset(&id).await?.ok_or_else(Problem::not_found)?;
    let tasks = app.catalog.task_lines(&id).await?;
    Ok(Json(json!({
        "asset": id.to_string(),
        "name": asset.name,
        "tenant": asset.tenant,
        "owner": asset.owner,
        "state": asset.state.as_str(),
        "landed_at": rfc3339(asset.landed_at),
        "playable_at": asset.playable_at.map(rfc3339),
        "ready_at": asset.ready_at.map(rfc3339),
        "tasks": tasks.iter().map(task).collect::<Vec<_>>(),
    })))
}

fn job(job: &JobLine) -> Value {
    json!({
        "id": job.id.to_string(),
        "asset": job.asset,
        "name": job.name,
        "tenant": job.tenant,
        "asset_state": job.asset_state,
        "state": job.state,
        "generation": job.generation,
        "percent": job.percent,
        "reason": job.reason,
        "created_at": rfc3339(job.created_at),
        "updated_at": rfc3339(job.updated_at),
    })
}

fn task(task: &TaskLine) -> Value {
    json!({
        "id": task.task,
        "kind": task.kind,
        "queue": task.queue,
        "track": task.track,
        "chunk": task.chunk,
        "state": task.state,
        "attempts": task.attempts,
        "crashes": task.crashes,
        "instance": task.instance,
        "error": task.error,
        "exit": task.exit,
        "expected_seconds": task.cost_s,
        "created_at": rfc3339(task.created_at),
        "started_at": task.started_at.map(rfc3339),
        "updated_at": rfc3339(task.updated_at),
    })
}
