//! The notifier: everything that happens, to whoever listens, by WebSocket and by server-sent events.
//!
//! Guarantees:
//! - SNS is the doorbell, the event log is the truth: an event message only says which streams to read, and what is
//!   pushed comes from the log, in order, each position once ([`stream`]); a doorbell that was lost is made up for by a
//!   look at the operators' stream, which holds every event ([`hub`]);
//! - a client that says what it has seen gets what it missed, then the rest ([`session`]);
//! - a client that reads slowly delays nobody: its queue is bounded, progress in it is coalesced, and when it is full the
//!   connection ends and may be resumed ([`queue`]);
//! - a topic is authorised when it is subscribed and again at every delivery; a connection ends soon after what let it
//!   in;
//! - mails to one person leave at least once, with one Message-ID ([`mail`]);
//! - webhooks hear of each event until they take it, in order per asset ([`webhooks`]).
//!
//! The protocol is `reelfleet_messages::realtime`, the same over both transports.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod doorbell;
mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzzed;
pub mod hub;
mod latest;
pub mod mail;
mod problem;
pub mod queue;
pub mod session;
mod settings;
mod sse;
pub mod stream;
mod watch;
mod webhooks;
mod ws;

use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::routing::get;
use reelfleet_catalog::Catalog;
use reelfleet_fleet::Context;
use tokio::net::TcpListener;

use crate::doorbell::Doorbell;
use crate::hub::Hub;

pub use settings::Settings;

/// Connections get this long to take their goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// Runs the notifier until the context's shutdown, with [`Settings`] from the environment.
pub async fn run(context: Context, catalog: Catalog) -> anyhow::Result<()> {
    let settings = Settings::from_env().context("configuration of the notifier")?;
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("REELFLEET_NOTIFIER_LISTEN: {} can't be listened on", settings.listen))?;
    serve(context, catalog, settings, listener).await
}

/// The same with settings and listener made elsewhere.
pub async fn serve(
    context: Context,
    catalog: Catalog,
    settings: Settings,
    listener: TcpListener,
) -> anyhow::Result<()> {
    if settings.topic_mails {
        // What happens from now on is told.
        catalog.topic_told_until(&context.step()).await.context("the event log can't be read")?;
        let every = Duration::from_secs(settings.notice_seconds);
        tokio::spawn(mail::tell_subscribers(context.clone(), catalog.clone(), every));
    }
    let mails = match settings.mail()? {
        Some((server, from)) => {
            let sender = mail::Sender::new(&context, &catalog, server, from.clone());
            let every = Duration::from_secs(settings.mail_seconds);
            let notices = Duration::from_secs(settings.notice_seconds);
            tokio::spawn(mail::tell_uploaders(context.clone(), catalog.clone(), notices));
            tokio::spawn(sender.run(every, context.health.beat("mails")))
        }
        None => tokio::spawn(mail::warn_without_server(context.clone(), catalog.clone())),
    };
    let webhooks = webhooks::Sender::new(&context, &catalog, &settings)?;
    let every = Duration::from_secs(settings.webhook_seconds);
    let hub = Hub::start(&context, catalog, settings).await.context("the epoch of the event log can't be read")?;
    tracing::info!(address = %listener.local_addr()?, "notifier listens");
    let bell = tokio::spawn(Doorbell::new(&context, hub.clone()).run(context.shutdown.clone()));
    let webhooks = webhooks.map(|sender| tokio::spawn(sender.run(every, hub.news(), context.health.beat("webhooks"))));
    let check = tokio::spawn(hub.clone().check_for_lost_doorbells(context.health.beat("notifier check")));
    let watch = tokio::spawn(hub.clone().put_out_whoever_is_not_let_in_any_more(context.health.beat("notifier watch")));
    let draining = context.shutdown.draining().clone();
    let drained = draining.clone();
    let serving =
        axum::serve(listener, router(&context, &hub)).with_graceful_shutdown(async move { draining.cancelled().await });
    // New connections are refused from the drain on; the open ones say goodbye by themselves.
    tokio::select! {
        served = async { serving.await?; hub.empty().await; Ok::<_, std::io::Error>(()) } => served?,
        () = async { drained.cancelled().await; tokio::time::sleep(GOODBYE).await; } => {
            tracing::warn!("some connections did not take their goodbye in time");
        }
    }
    check.await?;
    watch.await?;
    bell.await?;
    mails.await?;
    if let Some(webhooks) = webhooks {
        webhooks.await?;
    }
    Ok(())
}

/// `/v1/realtime` (WebSocket), `/v1/events` (server-sent events) and the health of the process.
pub fn router(context: &Context, hub: &Hub) -> Router {
    Router::new()
        .route("/v1/realtime", get(ws::upgrade))
        .route("/v1/events", get(sse::open))
        .with_state(hub.clone())
        .merge(context.health.router())
}
