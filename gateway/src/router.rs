//! The routes.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use reelfleet_access::Scope;

use crate::app::App;
use crate::caller::{authenticate, principal};
use crate::front::{COMPLETION_ROUTE, cors, front};
use crate::problem::{Code, Problem};
use crate::serve::Peer;
use crate::{assets, deletion, playback, proxy, tickets, uploads};

/// All of the gateway.
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
    let health = app.context.health.router().layer(from_fn_with_state(app.clone(), metrics_for_operators));
    Router::new()
        .route("/", get(about))
        .merge(keyed)
        .merge(realtime)
        .merge(media)
        .fallback(async || Problem::new(Code::NotFound, "there is no such route"))
        .method_not_allowed_fallback(async || Problem::new(Code::MethodNotAllowed, "see the header Allow"))
        .with_state(app.clone())
        .merge(health)
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

/// Load balancers see whether the process is well. Metrics are for this machine (a request that no proxy has handed on)
/// and for keys with the scope `ops`.
async fn metrics_for_operators(State(app): State<Arc<App>>, request: Request, next: Next) -> Result<Response, Problem> {
    if request.uri().path() == "/metrics" && !is_from_here(&request) {
        principal(&app, request.headers()).await?.require(Scope::Ops)?;
    }
    Ok(next.run(request).await)
}

fn is_from_here(request: &Request) -> bool {
    let handed_on = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
    request.extensions().get::<Peer>().is_some_and(|Peer(peer)| peer.ip().to_canonical().is_loopback())
        && !handed_on.iter().any(|header| request.headers().contains_key(*header))
}
