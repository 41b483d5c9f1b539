//! `/v1/me/events`: what happened to what is one's own, as far back as the event log goes; and how far one has read.
//!
//! Guarantees: it is the stream that the realtime topic `me` follows, with the same ids and positions, so what was pushed
//! and what is read here can be told to be the same; what was read on one device is read on every other.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use reelfleet_access::Scope;
use reelfleet_catalog::events::user_stream;
use reelfleet_messages::{AssetId, CloudEvent};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::caller::{Caller, Payload};
use crate::paging::Page;
use crate::problem::{Code, Problem};

/// A page, the latest first. An event carries the name that its asset has now.
pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller, page: Page) -> Result<Response, Problem> {
    let principal = caller.with(Scope::Realtime)?;
    let stream = user_stream(&principal.tenant, &principal.owner);
    let (rows, seen) = tokio::try_join!(
        app.catalog.events_before(&stream, page.after::<i64>()?, page.one_more()),
        app.catalog.seen(&stream),
    )?;
    let (rows, next) = page.cut(rows, |row| row.position.to_string());
    // What a newer build has logged is left out: this one can't say what it means.
    let known = rows.iter().filter_map(|row| Some((row.position, serde_json::from_str::<CloudEvent>(&row.body).ok()?)));
    let events: Vec<(i64, CloudEvent)> = known.collect();
    let mut assets: Vec<AssetId> = events.iter().map(|(_, event)| event.event.asset()).collect();
    assets.sort_unstable();
    assets.dedup();
    let names: HashMap<AssetId, String> = app.catalog.names_of(&assets).await?.into_iter().collect();
    let events = events.into_iter().map(|(position, event)| shown(position, &event, &names));
    let body = json!({ "events": events.collect::<Vec<_>>(), "seen": seen, "next_cursor": next });
    Ok(page.answer("/v1/me/events", &[], next.as_deref(), body))
}

#[derive(Deserialize)]
pub(crate) struct Read {
    /// Of the latest event that was read.
    position: i64,
}

/// Notes how far one has read; less than was noted before changes nothing.
pub(crate) async fn see(
    State(app): State<Arc<App>>,
    caller: Caller,
    Payload(read): Payload<Read>,
) -> Result<StatusCode, Problem> {
    let principal = caller.with(Scope::Realtime)?;
    if read.position < 0 {
        return Err(Problem::new(Code::InvalidRequest, "position is that of an event, or 0"));
    }
    app.catalog.see(&user_stream(&principal.tenant, &principal.owner), read.position).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn shown(position: i64, event: &CloudEvent, names: &HashMap<AssetId, String>) -> Value {
    // An enum with a tag and its data, both of which it always has.
    let fact = serde_json::to_value(&event.event).unwrap_or_default();
    json!({
        "position": position,
        "id": event.id.to_string(),
        "type": fact["type"],
        "asset": event.subject,
        "name": names.get(&event.event.asset()),
        "at": event.time,
        "data": fact["data"],
    })
}
