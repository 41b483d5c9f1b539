//! The way to the notifier: WebSocket and SSE through the one public origin.
//!
//! Guarantee: bytes pass as they come, in both directions, nothing is buffered or looked into; when one end closes, so
//! does the other. Headers that belong to one hop (RFC 9110 section 7.6.1) do not pass.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::front::RequestId;
use crate::problem::{Code, Problem};
use crate::serve::Peer;

const CONNECT: Duration = Duration::from_secs(3);
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Passes a request on, and whatever comes of it.
pub(crate) async fn forward(State(app): State<Arc<App>>, mut request: Request) -> Result<Response, Problem> {
    let client = hyper::upgrade::on(&mut request);
    let websocket = is_websocket(request.headers());
    let outgoing = outgoing(&app.options.notifier, &request, websocket)?;
    let connect = TcpStream::connect(&app.options.notifier);
    let stream = tokio::time::timeout(CONNECT, connect)
        .await
        .map_err(|_| unreachable_notifier("no connection within 3 s"))?
        .map_err(unreachable_notifier)?;
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(unreachable_notifier)?;
    let stop = app.context.shutdown.interrupted().clone();
    tokio::spawn(until(stop.clone(), async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "the connection to the notifier broke off");
        }
    }));
    let mut response = sender.send_request(outgoing).await.map_err(unreachable_notifier)?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        if !websocket {
            return Err(unreachable_notifier("it switched protocols unasked"));
        }
        let notifier = hyper::upgrade::on(&mut response);
        tokio::spawn(until(stop, tunnel(client, notifier)));
    } else {
        strip_hop(response.headers_mut());
    }
    Ok(response.map(Body::new))
}

async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = stop.cancelled() => {}
    }
}

async fn tunnel(client: OnUpgrade, notifier: OnUpgrade) {
    let (client, notifier) = match tokio::try_join!(client, notifier) {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "an upgrade was not carried out"),
    };
    let (mut client, mut notifier) = (TokioIo::new(client), TokioIo::new(notifier));
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut notifier).await {
        tracing::debug!(%error, "a realtime connection broke off");
    }
}

fn unreachable_notifier(why: impl std::fmt::Display) -> Problem {
    tracing::warn!(error = %why, "the notifier does not answer");
    Problem::new(Code::Unavailable, "realtime is not available at the moment")
}

fn is_websocket(headers: &HeaderMap) -> bool {
    let value = headers.get(header::UPGRADE).map(HeaderValue::as_bytes);
    value.is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
}

/// The request as the notifier gets it.
fn outgoing(notifier: &str, request: &Request, websocket: bool) -> Result<hyper::Request<Body>, Problem> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let mut outgoing = hyper::Request::get(path).body(Body::empty()).map_err(Problem::internal)?;
    let headers = outgoing.headers_mut();
    *headers = request.headers().clone();
    strip_hop(headers);
    headers.remove(header::CONTENT_LENGTH);
    if websocket {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    if !headers.contains_key(header::HOST)
        && let Ok(host) = HeaderValue::from_str(notifier)
    {
        headers.insert(header::HOST, host);
    }
    // What a client says of its own address and request id is not passed on as ours.
    headers.remove(FORWARDED_FOR);
    headers.remove(REQUEST_ID);
    if let Some(Peer(peer)) = request.extensions().get::<Peer>()
        && let Ok(peer) = HeaderValue::from_str(&peer.ip().to_string())
    {
        headers.insert(FORWARDED_FOR, peer);
    }
    if let Some(RequestId(id)) = request.extensions().get::<RequestId>()
        && let Ok(id) = HeaderValue::from_str(id)
    {
        headers.insert(REQUEST_ID, id);
    }
    Ok(outgoing)
}

/// Removes what belongs to one hop, and what `Connection` names.
fn strip_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        header::CONNECTION,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_one_hop_does_not_pass() {
        let request = Request::get("/v1/realtime?ticket=t")
            .header("connection", "Upgrade, x-secret")
            .header("upgrade", "WebSocket")
            .header("x-secret", "1")
            .header("x-forwarded-for", "6.6.6.6")
            .header("transfer-encoding", "chunked")
            .header("sec-websocket-key", "k")
            .header("host", "public.example")
            .body(Body::empty())
            .unwrap();
        assert!(is_websocket(request.headers()));
        let out = outgoing("n:1", &request, true).unwrap();
        assert_eq!(out.uri(), "/v1/realtime?ticket=t");
        let names: Vec<_> = out.headers().keys().map(HeaderName::as_str).collect();
        for gone in ["x-secret", "x-forwarded-for", "transfer-encoding"] {
            assert!(!names.contains(&gone), "{gone}");
        }
        assert_eq!(out.headers()["upgrade"], "websocket");
        assert_eq!(out.headers()["sec-websocket-key"], "k");
        assert_eq!(out.headers()["host"], "public.example");
        let plain = outgoing("n:1", &request, false).unwrap();
        assert!(!plain.headers().contains_key("upgrade"));
    }
}
