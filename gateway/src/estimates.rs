//! `POST /v1/estimates`: what an upload will take and cost, before a byte of it is sent.
//!
//! Guarantee: the same rule as after the probe; what is not said is assumed, and the answer says so. Nothing is stored.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use reelfleet_access::Scope;
use reelfleet_catalog::assets::Asset;
use reelfleet_domain::price_budget::{day, fits};
use reelfleet_domain::price_estimate::{Estimate, Facts, MOST_VIEWS, Media, estimate, used_shown};
use reelfleet_domain::price_work::Amounts;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::caller::{Caller, Payload};
use crate::problem::{Code, Problem};

/// What may be said of an upload.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Known {
    duration_ms: Option<u64>,
    width: Option<u32>,
    height: Option<u32>,
    fps: Option<f64>,
    sound: Option<bool>,
    copied: Option<bool>,
    #[serde(default)]
    views: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    size: u64,
    /// `video`, `audio`, `image`, or a media type.
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(flatten)]
    known: Known,
}

/// The estimate of what is asked about, and whether what the tenant may start today holds it.
pub(crate) async fn ask(
    State(app): State<Arc<App>>,
    caller: Caller,
    Payload(asked): Payload<Asked>,
) -> Result<Json<Value>, Problem> {
    let principal = caller.with(Scope::UploadsWrite)?;
    let invalid = |detail: &str| Err(Problem::new(Code::InvalidRequest, detail));
    if i64::try_from(asked.size).is_err() || asked.known.duration_ms.is_some_and(|ms| i64::try_from(ms).is_err()) {
        return invalid("no such size or duration");
    }
    if asked.known.views > MOST_VIEWS {
        return invalid("nobody has so many views");
    }
    let mut shown = of(&app, asked.size, &asked.kind, &asked.known).await?;
    let standing = app.catalog.standing_of(&principal.tenant, day(app.now())).await?;
    let likely = shown["micros"]["likely"].as_u64().unwrap_or(0);
    shown["budget"] = json!(standing.budget.map(|micros| json!({
        "micros": micros,
        "started_micros": standing.started,
        "fits": fits(standing.budget, standing.started, likely),
    })));
    Ok(Json(shown))
}

/// The same for an upload that is reserved.
pub(crate) async fn of(app: &App, size: u64, kind: &str, known: &Known) -> Result<Value, Problem> {
    let facts = Facts {
        size,
        media: Media::of(kind),
        duration_ms: known.duration_ms,
        width: known.width,
        height: known.height,
        fps: known.fps,
        sound: known.sound,
        copied: app.context.config.copied(known.copied),
        views: known.views,
    };
    Ok(estimate(&facts, &app.catalog.speeds().await?, &app.context.config.prices).shown())
}

/// What an asset was expected to take, and took.
pub(crate) async fn beside(app: &App, asset: &Asset) -> Result<(Value, Value), Problem> {
    let Some(cost) = app.catalog.cost_of(&asset.id).await? else { return Ok((Value::Null, Value::Null)) };
    let estimate = cost.estimate.as_deref().and_then(|text| serde_json::from_str::<Estimate>(text).ok());
    let used = Amounts { source_bytes: asset.size.unsigned_abs(), ..cost.used };
    Ok((json!(estimate.map(|estimate| estimate.shown())), used_shown(&used, &app.context.config.prices)))
}
