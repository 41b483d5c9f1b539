//! HTTP to the gateway, to S3 and to health listeners.
//!
//! Guarantee: one TLS stack (rustls), made only where a URL asks for it, so that a machine without root certificates can
//! talk to itself; connecting takes at most 5 s; what a request may take is the caller's to say.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

const CONNECT: Duration = Duration::from_secs(5);
/// Largest answer that is read into memory (bytes).
const MAX_ANSWER: usize = 8 << 20;

/// A request's body.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// The client. Share it: it keeps connections.
pub struct Http {
    plain: Client<HttpConnector, Body>,
    tls: OnceLock<Client<HttpsConnector<HttpConnector>, Body>>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Http")
    }
}

/// No body.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// These bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

impl Http {
    /// A client that trusts the system's root certificates.
    pub fn new() -> Self {
        let connector = connector();
        Self { plain: Client::builder(TokioExecutor::new()).build(connector), tls: OnceLock::new() }
    }

    /// Sends a request to an absolute `http` or `https` URL; the answer's body is still to be read. `Host` is set.
    pub async fn send(&self, request: Request<Body>) -> anyhow::Result<Response<Incoming>> {
        let where_to = shown(request.uri());
        let answer = if request.uri().scheme_str() == Some("https") {
            self.tls()?.request(request).await
        } else {
            self.plain.request(request).await
        };
        answer.with_context(|| format!("{where_to} does not answer"))
    }

    /// Sends a request and reads the whole answer within `limit`.
    pub async fn fetch(&self, request: Request<Body>, limit: Duration) -> anyhow::Result<Response<Bytes>> {
        let where_to = shown(request.uri());
        let exchange = async {
            let (parts, body) = self.send(request).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("the answer of {where_to} broke off: {error}"))?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        let outcome = tokio::time::timeout(limit, exchange).await;
        outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("{where_to} did not answer within {} s", limit.as_secs())))
    }

    /// Whether a GET of this URL is answered with success within `limit`.
    pub async fn is_ok(&self, url: &str, limit: Duration) -> bool {
        let Ok(request) = Request::get(url).body(empty()) else { return false };
        self.fetch(request, limit).await.is_ok_and(|answer| answer.status().is_success())
    }

    fn tls(&self) -> anyhow::Result<&Client<HttpsConnector<HttpConnector>, Body>> {
        if let Some(client) = self.tls.get() {
            return Ok(client);
        }
        let mut connector = connector();
        connector.enforce_http(false);
        let builder = hyper_rustls::HttpsConnectorBuilder::new();
        let builder = builder.with_native_roots().context("no root certificates: install ca-certificates")?;
        let connector = builder.https_only().enable_http1().wrap_connector(connector);
        Ok(self.tls.get_or_init(|| Client::builder(TokioExecutor::new()).build(connector)))
    }
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_nodelay(true);
    connector
}

/// A URL without its query, which may hold a signature or a ticket.
fn shown(uri: &Uri) -> String {
    format!("{}://{}{}", uri.scheme_str().unwrap_or("http"), uri.authority().map_or("", |a| a.as_str()), uri.path())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::ports::Held;

    #[tokio::test]
    async fn errors_name_the_place_and_no_secret() {
        let held = Held::loopback(0).unwrap();
        let free = held.address;
        let request = Request::get(format!("http://{free}/v1/x?ticket=secret")).body(empty()).unwrap();
        let error = Http::new().fetch(request, CONNECT).await.unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains(&format!("http://{free}/v1/x does not answer")), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
