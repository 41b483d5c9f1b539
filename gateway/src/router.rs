//! The routes.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{delete, get, post, put};
use reelfleet_access::Scope;

use crate::app::App;
use crate::caller::{authenticate, principal};
use crate::front::{COMPLETION_ROUTE, cors, front};
use crate::problem::{Code, Problem};
use crate::serve::Peer;
use crate::{
    assets, auth, captions, deletion, details, estimates, explore, history, limits, notices, openapi, ops, playback,
    proxy, review, sources, tickets, uploads, web, webhooks,
};

/// All of the gateway.
pub(crate) fn router(app: Arc<App>) -> Router {
    let keyed = Router::new()
        .route("/v1/uploads", post(uploads::create).get(uploads::list))
        .route("/v1/uploads/{id}", get(uploads::show).delete(uploads::abort).patch(details::rename))
        .route("/v1/uploads/{id}/parts", post(uploads::sign_parts))
        .route(COMPLETION_ROUTE, post(uploads::complete))
        .route("/v1/limits", get(limits::show))
        .route("/v1/estimates", post(estimates::ask))
        .route("/v1/assets", get(assets::list))
        .route("/v1/assets/{id}", get(assets::show).delete(deletion::remove).patch(details::edit))
        .route("/v1/assets/{id}/captions/{language}", put(captions::put).delete(captions::remove))
        .route("/v1/assets/{id}/original", get(details::original))
        .route("/v1/assets/{id}/restore", post(deletion::restore))
        .route("/v1/assets/{id}/review", post(review::again::ask))
        .route("/v1/realtime/tickets", post(tickets::issue))
        .route("/v1/reviews", get(review::desk::list))
        .route("/v1/reviews/{id}", get(review::desk::show))
        .route("/v1/reviews/{id}/verdict", post(review::desk::decide))
        .route("/v1/me", get(auth::me::show).patch(auth::me::rename))
        .route("/v1/me/events", get(history::list))
        .route("/v1/me/events/seen", put(history::see))
        .route("/v1/me/export", get(auth::export::export))
        .route("/v1/me/notices", get(notices::show).patch(notices::change))
        .route("/v1/me/password", post(auth::me::change_password))
        .route("/v1/keys", get(auth::keys::list).post(auth::keys::create))
        .route("/v1/keys/{id}", delete(auth::keys::revoke))
        .route("/v1/keys/{id}/rotate", post(auth::keys::rotate))
        .route("/v1/webhooks", get(webhooks::list).post(webhooks::create))
        .route("/v1/webhooks/{id}", get(webhooks::show).patch(webhooks::change).delete(webhooks::remove))
        .route("/v1/webhooks/{id}/secret", get(webhooks::secret))
        .route("/v1/webhooks/{id}/rotate", post(webhooks::rotate))
        .route("/v1/webhooks/{id}/ping", post(webhooks::ping))
        .route("/v1/webhooks/{id}/deliveries", get(webhooks::deliveries))
        .route("/v1/webhooks/{id}/deliveries/{event}/redeliver", post(webhooks::redeliver))
        .route("/v1/users", get(auth::users::list))
        .route("/v1/users/{id}", get(auth::users::show).patch(auth::users::change))
        .route("/v1/invitations", post(auth::invitations::create).get(auth::invitations::list))
        .route("/v1/invitations/{id}", delete(auth::invitations::revoke))
        .route("/v1/audit", get(auth::audit::list))
        .route("/v1/ops", get(ops::overview::show))
        .route("/v1/ops/audit", get(ops::overview::audit))
        .route("/v1/ops/pools/{name}", put(ops::controls::scale))
        .route("/v1/ops/queues/{name}/pause", post(ops::controls::pause))
        .route("/v1/ops/queues/{name}/resume", post(ops::controls::resume))
        .route("/v1/ops/letters", get(ops::letters::list))
        .route("/v1/ops/letters/fate", get(ops::letters::fate))
        .route("/v1/ops/letters/redrive", post(ops::letters::redrive))
        .route("/v1/ops/letters/discard", post(ops::letters::discard))
        .route("/v1/ops/spent", get(ops::spent::show))
        .route("/v1/ops/budgets/{tenant}", put(ops::spent::set))
        .route("/v1/ops/jobs", get(ops::jobs::list))
        .route("/v1/ops/assets/{id}/timeline", get(ops::jobs::timeline))
        .route_layer(from_fn_with_state(app.clone(), authenticate));
    // Let in by what the request itself holds: a password, a cookie, a secret from a mail.
    let doors = Router::new()
        .route("/v1/auth/ways", get(auth::oidc::ways))
        .route("/v1/auth/oidc/start", get(auth::oidc::start))
        .route("/v1/auth/oidc/callback", get(auth::oidc::callback))
        .route("/v1/auth/sign-up", post(auth::sign_up::sign_up))
        .route("/v1/auth/sign-in", post(auth::enter::sign_in))
        .route("/v1/auth/refresh", post(auth::enter::refresh))
        .route("/v1/auth/sign-out", post(auth::enter::sign_out))
        .route("/v1/auth/password-reset", post(auth::reset::ask))
        .route("/v1/auth/password-reset/confirm", post(auth::reset::confirm))
        .route("/v1/sources/{name}", post(sources::tell))
        .route("/v1/reviews/link/{token}", get(review::link::show))
        .route("/v1/reviews/link/{token}/verdict", post(review::link::decide));
    // For everybody.
    let open = Router::new()
        .route("/v1/explore", get(explore::list))
        .route("/v1/explore/{id}", get(explore::show))
        .route_layer(from_fn_with_state(app.clone(), explore::count))
        .route("/v1/openapi.json", get(openapi::show))
        .route("/v1/asyncapi.json", get(openapi::show_realtime));
    // Let in by the notifier, by ticket or key.
    let realtime = Router::new().route("/v1/realtime", get(proxy::forward)).route("/v1/events", get(proxy::forward));
    let media = Router::new()
        .route("/p/{token}/{*path}", get(playback::get).head(playback::head).options(playback::options))
        .layer(from_fn(playback::for_any_origin));
    let health = app.context.health.router().layer(from_fn_with_state(app.clone(), metrics_for_operators));
    let pages = web::PAGES.iter().fold(Router::new(), |pages, path| pages.route(path, get(web::page)));
    let web = pages
        .route("/", get(web::root))
        .route("/embed/{id}", get(web::embed))
        .route("/assets/{name}", get(web::asset))
        .route("/favicon.svg", get(web::icon));
    Router::new()
        .merge(web)
        .merge(keyed)
        .merge(doors)
        .merge(open)
        .merge(realtime)
        .merge(media)
        .fallback(async || Problem::new(Code::NotFound, "there is no such route"))
        .method_not_allowed_fallback(async || Problem::new(Code::MethodNotAllowed, "see the header Allow"))
        .with_state(app.clone())
        .merge(health)
        .layer(from_fn_with_state(app.clone(), cors))
        .layer(from_fn_with_state(app, front))
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
