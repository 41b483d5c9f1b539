//! The server: HTTP/1.1 connections, with upgrades.
//!
//! Guarantees: a client that does not send its request's head in time is dropped; at most [`MAX_CONNECTIONS`] are open;
//! at a shutdown idle connections close at once, requests under way get the grace.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use reelfleet_fleet::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tower_service::Service;

/// Open connections; each costs a descriptor, a proxied one two.
const MAX_CONNECTIONS: usize = 16_384;
const HEAD_LIMIT: Duration = Duration::from_secs(20);
/// After a failed accept (descriptors used up): the listener has no signal for "again".
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The other end of the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Serves until the process drains and its connections have ended, or their grace is over.
pub(crate) async fn serve(listener: TcpListener, router: Router, shutdown: &Shutdown) {
    match listener.local_addr() {
        Ok(address) => tracing::info!(%address, "gateway listens"),
        Err(error) => tracing::warn!(%error, "gateway listens"),
    }
    let connections = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let next = async {
            let permit = permits.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            biased;
            () = shutdown.draining().cancelled() => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (router, shutdown) = (router.clone(), shutdown.clone());
                connections.spawn(async move {
                    let _permit = permit;
                    connection(stream, Peer(peer), router, shutdown).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    tokio::select! {
        () = connections.wait() => {}
        () = shutdown.interrupted().cancelled() => {
            tracing::info!(open = connections.len(), "the grace is over: connections are cut");
        }
    }
}

async fn connection(stream: TcpStream, peer: Peer, router: Router, shutdown: Shutdown) {
    // Small answers, one by one: waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let mut router = router.clone();
        async move { Ok::<_, Infallible>(answer(&mut router, request.map(Body::new)).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.draining().cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = shutdown.interrupted().cancelled() => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        // Clients come and go: a closed tab is no incident.
        tracing::debug!(%error, "a connection broke off");
    }
}

/// One request through the router, which is always ready.
pub(crate) async fn answer(router: &mut Router, request: hyper::Request<Body>) -> axum::response::Response {
    match router.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
