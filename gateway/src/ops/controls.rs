//! How many workers there are, and whether they take new tasks.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use reelfleet_access::Scope;
use reelfleet_catalog::scaling::{Desired, PausedQueue};
use reelfleet_domain::scaling::POOLS;
use reelfleet_fleet::QueueName;
use serde::Deserialize;
use serde_json::json;

use crate::app::App;
use crate::caller::{Caller, Payload};
use crate::problem::{Code, Problem};

#[derive(Debug, Deserialize)]
pub(crate) struct Wish {
    /// So many; null: as many as the work needs.
    workers: Option<u32>,
}

/// Another number of workers, from now on.
pub(crate) async fn scale(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    Payload(wish): Payload<Wish>,
) -> Result<StatusCode, Problem> {
    let principal = caller.with(Scope::Ops)?;
    let pool = POOLS.get(&name).ok_or_else(Problem::not_found)?;
    if wish.workers.is_some_and(|workers| workers > pool.max) {
        return Err(Problem::new(
            Code::InvalidRequest,
            format!("workers is at most {}, or null for as many as needed", pool.max),
        ));
    }
    // `up` follows such rows; on AWS the services scale by themselves.
    let queue = app.context.queues.url(QueueName::Transcode).await.map_err(Problem::internal)?;
    if queue.contains(".amazonaws.com") {
        return Err(Problem::new(
            Code::ScaledElsewhere,
            "nobody here follows: change the service's bounds in Terraform",
        ));
    }
    let deed = app.operated(&principal, "scale", &name, &json!({ "workers": wish.workers }));
    let desired = Desired { pool: name, workers: wish.workers, by: principal.owner, at: deed.at };
    app.catalog.desire(&desired, deed).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// No new tasks of a queue are taken; what is at work goes on.
pub(crate) async fn pause(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let principal = caller.with(Scope::Ops)?;
    let queue: QueueName = name.parse().map_err(|_| Problem::not_found())?;
    let deed = app.operated(&principal, "pause", queue.as_str(), &json!({}));
    let paused = PausedQueue { queue: name, by: principal.owner, at: deed.at };
    app.catalog.pause(&[paused], &[deed]).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// They are taken again.
pub(crate) async fn resume(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let principal = caller.with(Scope::Ops)?;
    let queue: QueueName = name.parse().map_err(|_| Problem::not_found())?;
    let deed = app.operated(&principal, "resume", queue.as_str(), &json!({}));
    app.catalog.resume(&[name], &[deed]).await?;
    Ok(StatusCode::NO_CONTENT)
}
