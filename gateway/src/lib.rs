//! The gateway: the HTTP API, playback, and the one public origin in front of the notifier.
//!
//! Guarantees:
//! - every route under `/v1` but the two realtime ones needs a valid API key, checked in one place before any handler
//!   runs; the realtime ones are let in by the notifier, by key or ticket;
//! - what belongs to somebody else is answered like what does not exist: 404;
//! - no media byte of an upload passes through here: clients send straight to S3 with URLs that sign the exact length;
//! - an error is Problem Details (RFC 9457) with a stable `code`; neither logs nor errors hold secrets or query strings;
//! - nothing is kept in the process that another gateway would need: any of them answers any request.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod app;
mod asset_view;
mod assets;
mod auth;
mod caller;
mod captions;
mod deletion;
mod details;
mod estimates;
mod explore;
mod front;
#[cfg(any(test, fuzzing))]
pub mod fuzzed;
mod history;
mod limits;
mod notices;
mod openapi;
mod ops;
mod options;
mod outputs;
mod paging;
mod playback;
mod playlists;
mod problem;
mod proxy;
mod range;
mod review;
mod router;
mod serve;
mod sources;
mod tickets;
mod upload_rules;
mod uploads;
mod web;
mod webhooks;

#[cfg(test)]
mod tests;

use reelfleet_catalog::Catalog;
use reelfleet_fleet::Context;
use tokio::net::TcpListener;

pub use auth::oidc::options::OidcOptions;
pub use options::{GatewayOptions, OptionsError, SignUp};
pub use sources::Sources;

/// Why the gateway does not run.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The options do not fit together.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The address can't be listened on.
    #[error("listening on {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Listens and serves until the process has drained. The context's `shutdown` ends it.
pub async fn run(context: Context, catalog: Catalog, options: GatewayOptions) -> Result<(), GatewayError> {
    let address = options.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| GatewayError::Listen { address, source })?;
    run_on(listener, context, catalog, options).await
}

/// The same on a socket that listens already.
pub async fn run_on(
    listener: TcpListener,
    context: Context,
    catalog: Catalog,
    options: GatewayOptions,
) -> Result<(), GatewayError> {
    let ready = context.health.flag("gateway");
    let shutdown = context.shutdown.clone();
    let app = app::App::new(context, catalog, options)?;
    let router = router::router(app);
    ready.set(true);
    serve::serve(listener, router, &shutdown).await;
    Ok(())
}
