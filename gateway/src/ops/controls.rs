//! How many workers there are, and whether they take new tasks.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use reelfleet_access::Scope;
use reelfleet_catalog::scaling::{Desired, PausedQueue};
use reelfleet_fleet::QueueName;
use reelfleet_fleet::services::{self, ScaleError};
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
    let deed = app.operated(&principal, "scale", &name, &json!({ "workers": wish.workers }));
    let desired = Desired { pool: name, workers: wish.workers, by: principal.owner, at: deed.at };
    services::scale(&app.context, &app.catalog, &desired, deed).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<ScaleError> for Problem {
    fn from(error: ScaleError) -> Self {
        match error {
            ScaleError::NoPool(_) => Self::not_found(),
            ScaleError::TooMany { max, .. } => {
                Self::new(Code::InvalidRequest, format!("workers is at most {max}, or null for as many as needed"))
            }
            ScaleError::Nobody => Self::new(Code::ScaledElsewhere, error.to_string()),
            ScaleError::Refused { .. } => {
                tracing::warn!(%error, "scaling");
                Self::new(Code::Unavailable, "Application Auto Scaling did not take it: the gateway's log says why")
            }
            ScaleError::Queues(error) => Self::internal(error),
            ScaleError::Catalog(error) => error.into(),
        }
    }
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
