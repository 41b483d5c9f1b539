//! The way out: one POST to an endpoint that somebody named.
//!
//! Guarantees: no connection is made to an address that is not of the public internet, but for hosts that the operator
//! has named; what a name resolves to is looked at for every connection, and it is that address which is connected to; no
//! redirect is followed, and no proxy of the environment is used. An attempt ends within its limit.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::RETRY_AFTER;
use hyper::{HeaderMap, Request, Response};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use reelfleet_access::targets::{Exceptions, target};
use reelfleet_domain::webhook::is_global;
use tower_service::Service;

const CONNECT: Duration = Duration::from_secs(5);
/// An answer's body is read up to this (bytes), so that its connection can be used again.
const MAX_ANSWER: usize = 16 << 10;
/// Of a refusal this much is kept for the log (characters).
const SAID: usize = 300;

/// What is sent.
#[derive(Debug, Clone)]
pub(super) struct Letter<'l> {
    pub(super) url: &'l str,
    pub(super) id: &'l str,
    /// Epoch seconds.
    pub(super) timestamp: i64,
    pub(super) signature: &'l str,
    pub(super) body: &'l str,
}

/// What came back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reply {
    /// None: there was no answer.
    pub(super) status: Option<u16>,
    /// Seconds, as `Retry-After` says.
    pub(super) retry_after_s: Option<u64>,
    /// For people: what was said, or why there was no answer.
    pub(super) said: String,
    pub(super) took: Duration,
}

/// Sends letters.
pub(super) struct Post {
    client: Result<Client<HttpsConnector<HttpConnector<Guarded>>, Full<Bytes>>, String>,
    exceptions: Exceptions,
    limit: Duration,
}

impl Post {
    pub(super) fn new(exceptions: Exceptions, limit: Duration) -> Self {
        Self::resolved_by(exceptions, limit, look_up)
    }

    fn resolved_by(exceptions: Exceptions, limit: Duration, names: LookUp) -> Self {
        let guarded = Guarded { exceptions: Arc::new(exceptions.clone()), names };
        let mut connector = HttpConnector::new_with_resolver(guarded);
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT.min(limit)));
        connector.set_nodelay(true);
        let builder = hyper_rustls::HttpsConnectorBuilder::new().with_native_roots();
        let client = builder.map_err(|error| format!("no root certificates ({error}): install ca-certificates"));
        let client = client.map(|builder| {
            let connector = builder.https_or_http().enable_http1().wrap_connector(connector);
            Client::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(30)).build(connector)
        });
        Self { client, exceptions, limit }
    }

    /// One attempt.
    pub(super) async fn send(&self, letter: &Letter<'_>) -> Reply {
        let begun = Instant::now();
        let reply = match tokio::time::timeout(self.limit, self.exchange(letter)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(why)) => Reply { said: why, ..Reply::default() },
            Err(_) => Reply { said: format!("no answer within {} s", self.limit.as_secs()), ..Reply::default() },
        };
        Reply { took: begun.elapsed(), ..reply }
    }

    async fn exchange(&self, letter: &Letter<'_>) -> Result<Reply, String> {
        // Rules may have become stricter since the URL was stored; an address in it is never resolved.
        let url = target(letter.url, &self.exceptions).map_err(|error| error.to_string())?;
        let request = Request::post(url.as_str())
            .header("content-type", "application/json")
            .header("user-agent", concat!("reelfleet-webhooks/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", letter.id)
            .header("webhook-timestamp", letter.timestamp)
            .header("webhook-signature", letter.signature)
            .body(Full::new(Bytes::copy_from_slice(letter.body.as_bytes())))
            .map_err(|error| error.to_string())?;
        let client = self.client.as_ref().map_err(Clone::clone)?;
        let answer = client.request(request).await.map_err(|error| crate::mail::chain(&error))?;
        let status = answer.status().as_u16();
        let retry_after_s = wish(answer.headers());
        // Whether it was taken is said by now: a body that breaks off changes nothing.
        let said = if answer.status().is_redirection() {
            "it redirects, which is not followed: change the URL".to_owned()
        } else {
            body(answer).await
        };
        Ok(Reply { status: Some(status), retry_after_s, said, took: Duration::ZERO })
    }
}

/// `Retry-After` in seconds; the form with a date is as good as none.
fn wish(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// The beginning of what an answer says.
async fn body(answer: Response<Incoming>) -> String {
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
    let bytes = body.map(|body| body.to_bytes()).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SAID).collect()
}

type Addresses = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
/// Who knows the addresses of a name: the system's resolver.
type LookUp = fn(Name) -> Addresses;

fn look_up(name: Name) -> Addresses {
    Box::pin(async move { Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect()) })
}

/// Resolves names to public addresses only.
#[derive(Clone)]
struct Guarded {
    exceptions: Arc<Exceptions>,
    names: LookUp,
}

impl Service<Name> for Guarded {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (exceptions, found) = (self.exceptions.clone(), (self.names)(name.clone()));
        Box::pin(async move {
            let found = found.await?;
            // One private address among public ones is a trick.
            if !exceptions.name(name.as_str()) && found.iter().any(|address| !is_global(address.ip())) {
                let why = format!("{} is no host of the public internet", name.as_str());
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
            }
            Ok(found.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_leads_home_is_refused() {
        let name = || "localhost".parse::<Name>().unwrap();
        let refused = Guarded { exceptions: Arc::default(), names: look_up }.call(name()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        let mut excepted = Guarded { exceptions: Arc::new("localhost:1".parse().unwrap()), names: look_up };
        assert!(excepted.call(name()).await.unwrap().next().is_some());
    }

    /// A name of the public internet whose owner points it at us, alone or among public addresses: nobody connects.
    #[tokio::test]
    async fn a_public_name_with_a_private_address_is_never_connected_to() {
        let home = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://hooks.example.com:{}/", home.local_addr().unwrap().port());
        let letter = Letter { url: &url, id: "evt_1", timestamp: 1, signature: "v1,x", body: "{}" };
        let private: LookUp = |_| Box::pin(async { Ok(vec![SocketAddr::from(([127, 0, 0, 1], 0))]) });
        let among: LookUp =
            |_| Box::pin(async { Ok([[203, 0, 114, 1], [127, 0, 0, 1]].map(|ip| SocketAddr::from((ip, 0))).to_vec()) });
        for names in [private, among] {
            let limit = Duration::from_secs(5);
            let reply = Post::resolved_by(Exceptions::default(), limit, names).send(&letter).await;
            assert_eq!(reply.status, None);
            assert!(reply.said.contains("hooks.example.com is no host of the public internet"), "{}", reply.said);
            let excepted = "hooks.example.com".parse().unwrap();
            let post = Post::resolved_by(excepted, limit, private);
            let (reply, met) = tokio::join!(post.send(&letter), async { home.accept().await.map(drop) });
            assert!(reply.status.is_none() && met.is_ok(), "an excepted one is: {reply:?}");
        }
        let more = tokio::time::timeout(Duration::ZERO, home.accept()).await;
        assert!(more.is_err(), "nobody else has knocked");
    }

    #[test]
    fn the_wish_is_read_in_seconds() {
        let of = |text: &'static str| wish(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]));
        assert_eq!(of("120"), Some(120));
        assert_eq!(of("99999999999999999999999"), Some(u64::MAX));
        assert_eq!(of("-1"), None);
        assert_eq!(of("Wed, 21 Oct 2015 07:28:00 GMT"), None);
    }
}
