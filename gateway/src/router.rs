//! The routes.

use std::sync::Arc;

use axum::extract::State;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use axum::{Json, Router};

use crate::app::App;
use crate::caller::authenticate;
use crate::front::{COMPLETION_ROUTE, cors, front};
use crate::problem::{Code, Problem};
use crate::{assets, deletion, playback, proxy, tickets, uploads};

/// All of the gateway. Health and metrics have an address of their own (REELFLEET_HEALTH_LISTEN).
pub(crate) fn router(app: Arc<App>) -> Router {
    let keyed = Router::new()
        .route("/v1/uploads", post(uploads::create).get(uploads::list))
        .route("/v1/uploads/{id}", get(uploads::show).delete(uploads::abort))
        .route("/v1/uploads/{id}/parts", post(uploads::sign_parts))
        .route(COMPLETION_ROUTE, post(uploads::complete))
        .route("/v1/assets", get(assets::list))
        .route("/v1/assets/{id}", get(assets::show).delete(deletion::remove))
        .route("/v1/assets/{id}/restore", post(deletion::restore))
        .route("/v1/realtime/tickets", post(tickets::issue))
        .route_layer(from_fn_with_state(app.clone(), authenticate));
    // Let in by the notifier, by ticket or key.
    let realtime = Router::new().route("/v1/realtime", get(proxy::forward)).route("/v1/events", get(proxy::forward));
    let media = Router::new()
        .route("/p/{token}/{*path}", get(playback::get).head(playback::head).options(playback::options))
        .layer(from_fn(playback::for_any_origin));
    Router::new()
        .route("/", get(about))
        .merge(keyed)
        .merge(realtime)
        .merge(media)
        .fallback(async || Problem::new(Code::NotFound, "there is no such route"))
        .method_not_allowed_fallback(async || Problem::new(Code::MethodNotAllowed, "see the header Allow"))
        .with_state(app.clone())
        .layer(from_fn_with_state(app.clone(), cors))
        .layer(from_fn_with_state(app, front))
}

async fn about(State(app): State<Arc<App>>) -> Json<serde_json::Value> {
    Json(serde_json::json!({
        "service": "reelfleet",
        "version": env!("CARGO_PKG_VERSION"),
        "api": app.url("/v1"),
    }))
}
