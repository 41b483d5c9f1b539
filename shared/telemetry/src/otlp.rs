//! Spans on their way to a collector, by OTLP over HTTP.
//!
//! Guarantees:
//! - ending a span costs a push into a bounded queue; what finds it full is dropped and counted;
//! - batches are made and sent by a thread of their own, each attempt within [`ATTEMPT`]; a collector that is slow, down
//!   or never there is told once, counted, and felt by nobody else;
//! - the last batch leaves at the end of the process, if that takes no longer than [`LAST_WORDS`].
//!
//! Configured by OpenTelemetry's own variables (`OTEL_*`), as its SDK reads them.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{ExporterBuildError, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor,
};
use tokio::runtime::Handle;

use crate::facts::{SpanDropped, SpansSent};

/// Spans that wait to be sent, at most.
const MAX_WAITING: usize = 2_048;
/// One attempt to hand a batch over.
const ATTEMPT: Duration = Duration::from_secs(10);
/// The last batch, at the end of the process.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Largest answer of a collector (bytes).
const MAX_ANSWER: usize = 1 << 20;

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// What makes spans, once there is a collector.
pub(crate) fn tracer() -> Option<&'static SdkTracer> {
    TRACER.get()
}

/// Why tracing could not begin.
#[derive(Debug, thiserror::Error)]
pub enum TracingError {
    /// `OTEL_EXPORTER_OTLP_PROTOCOL` asks for another one.
    #[error("{variable}={asked}: spans are sent by http/protobuf alone (the collector's port is 4318, mostly)")]
    Protocol {
        /// The variable.
        variable: &'static str,
        /// What it says.
        asked: String,
    },
    /// The endpoint is no URL, or a header no header.
    #[error(transparent)]
    Exporter(#[from] ExporterBuildError),
    /// `https` needs the machine's root certificates.
    #[error("the machine's root certificates, for the collector's https: {0}")]
    Roots(std::io::Error),
}

/// Spans of this process. Keep it, and [`Tracing::end`] it last.
#[derive(Debug)]
pub struct Tracing {
    provider: Option<SdkTracerProvider>,
}

impl Tracing {
    /// Begins to send spans if a collector is configured. `role` names the service (`reelfleet-gateway`) unless
    /// `OTEL_SERVICE_NAME` does. Call it inside a tokio runtime.
    pub fn start(role: &str, instance: &str) -> Result<Self, TracingError> {
        let Some(endpoint) = endpoint() else { return Ok(Self { provider: None }) };
        for variable in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
            if let Some(asked) = set(variable).filter(|asked| asked != "http/protobuf") {
                return Err(TracingError::Protocol { variable, asked });
            }
        }
        let post = Post { runtime: Handle::current(), way: Way::to(&endpoint)? };
        let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().with_http_client(post).build()?;
        let provider = provider(exporter, resource(role, instance));
        let _ = TRACER.set(provider.tracer("reelfleet"));
        tracing::info!("spans go to a collector");
        Ok(Self { provider: Some(provider) })
    }

    /// Sends what is left.
    pub async fn end(self) {
        if let Some(provider) = self.provider {
            // Its own thread does it; this one only waits. Lost spans are counted there.
            let ending = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_WORDS));
            let _ = tokio::time::timeout(LAST_WORDS, ending).await;
        }
    }
}

fn provider(exporter: impl SpanExporter + 'static, resource: Resource) -> SdkTracerProvider {
    let waiting = Arc::new(AtomicUsize::new(0));
    let counted = Counted { next: exporter, waiting: waiting.clone(), failing: AtomicBool::new(false) };
    let config = BatchConfigBuilder::default().with_max_queue_size(MAX_WAITING).build();
    let batches = BatchSpanProcessor::builder(counted).with_batch_config(config).build();
    let bounded = Bounded { next: batches, waiting };
    SdkTracerProvider::builder().with_span_processor(bounded).with_resource(resource).build()
}

/// A variable that says something.
fn set(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

/// Where spans go, if anywhere.
fn endpoint() -> Option<String> {
    let off = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || set("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
    let named = || set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT"));
    if off { None } else { named() }
}

fn resource(role: &str, instance: &str) -> Resource {
    let named = set("OTEL_SERVICE_NAME").is_some()
        || set("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|attributes| attributes.contains("service.name="));
    let resource = Resource::builder()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()));
    if named { resource.build() } else { resource.with_service_name(format!("reelfleet-{role}")).build() }
}

/// Keeps the queue bounded, and counts what finds it full.
#[derive(Debug)]
struct Bounded {
    next: BatchSpanProcessor,
    waiting: Arc<AtomicUsize>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.next.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            SpanDropped.emit();
            return;
        }
        self.next.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

/// Counts what was sent and what was not.
#[derive(Debug)]
struct Counted<E> {
    next: E,
    waiting: Arc<AtomicUsize>,
    failing: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let sent = self.next.export(batch).await;
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        let error = sent.as_ref().err().map(ToString::to_string);
        let changed = self.failing.swap(error.is_some(), Ordering::Relaxed) != error.is_some();
        SpansSent { count: count as u64, error: error.as_deref(), changed }.emit();
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

/// HTTP to the collector, with the client and the TLS that are in the executable anyway.
#[derive(Debug)]
struct Post {
    runtime: Handle,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

impl Way {
    /// TLS is made only where it is asked for: a machine without root certificates talks to a collector beside it.
    fn to(endpoint: &str) -> Result<Self, TracingError> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new());
        if !endpoint.starts_with("https:") {
            return Ok(Self::Plain(client.build(connector)));
        }
        connector.enforce_http(false);
        let tls = hyper_rustls::HttpsConnectorBuilder::new().with_native_roots().map_err(TracingError::Roots)?;
        Ok(Self::Tls(client.build(tls.https_only().enable_http1().wrap_connector(connector))))
    }
}

#[async_trait]
impl HttpClient for Post {
    /// From the thread of batches; the exchange itself is done by the runtime.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = request.map(Full::new);
        let answer = match &self.way {
            Way::Plain(client) => client.request(request),
            Way::Tls(client) => client.request(request),
        };
        let exchange = async move {
            let (head, body) = answer.await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(head, body))
        };
        // The clock of the limit is the runtime's, too: it is not to be wound up on this thread.
        self.runtime.spawn(async { tokio::time::timeout(ATTEMPT, exchange).await }).await??
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use opentelemetry::trace::{Span as _, Tracer as _};

    use super::*;
    use crate::trace::{Consumed, Span as Part, current, link};

    /// Takes a batch only when it is let; keeps what it took.
    #[derive(Debug)]
    struct Slow {
        let_go: Mutex<Receiver<()>>,
        kept: Arc<Mutex<Vec<SpanData>>>,
    }

    fn slow() -> (Slow, Sender<()>, Arc<Mutex<Vec<SpanData>>>) {
        let (sender, receiver) = channel();
        let kept = Arc::default();
        (Slow { let_go: Mutex::new(receiver), kept: Arc::clone(&kept) }, sender, kept)
    }

    impl SpanExporter for Slow {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            let _ = self.let_go.lock().unwrap().recv();
            self.kept.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    #[test]
    fn a_collector_that_hangs_holds_nobody_up_and_what_is_dropped_is_counted() {
        let metrics = crate::Metrics::install().unwrap();
        let (exporter, collector, kept) = slow();
        let provider = provider(exporter, Resource::builder_empty().build());
        let tracer = provider.tracer("test");
        let more = 100;
        for _ in 0..MAX_WAITING + more {
            tracer.start("step").end();
        }
        let dropped = format!("reelfleet_spans_total{{outcome=\"dropped\"}} {more}");
        assert!(metrics.render().contains(&dropped), "{}", metrics.render());
        drop(collector);
        provider.shutdown_with_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(kept.lock().unwrap().len(), MAX_WAITING);
        let exported = format!("reelfleet_spans_total{{outcome=\"exported\"}} {MAX_WAITING}");
        assert!(metrics.render().contains(&exported), "{}", metrics.render());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn batches_leave_by_http_from_a_thread_without_a_runtime() {
        use opentelemetry_otlp::WithExportConfig as _;
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let post = Post { runtime: Handle::current(), way: Way::to(&endpoint).unwrap() };
        let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().with_http_client(post);
        let provider = provider(exporter.with_endpoint(endpoint).build().unwrap(), resource("gateway", "me"));
        provider.tracer("test").start("step").end();
        let answered = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let (mut asked, mut some) = (Vec::new(), [0; 4_096]);
            while !asked.windows(7).any(|part| part == b"gateway") {
                let read = socket.read(&mut some).await.unwrap();
                assert!(read > 0, "{}", String::from_utf8_lossy(&asked));
                asked.extend_from_slice(&some[..read]);
            }
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            asked
        };
        let flushed = tokio::task::spawn_blocking(move || provider.force_flush());
        let (asked, flushed) = tokio::join!(answered, flushed);
        flushed.unwrap().unwrap();
        assert!(asked.starts_with(b"POST /v1/traces HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&asked));
    }

    #[tokio::test]
    async fn a_trace_goes_on_from_its_header_through_messages_to_parts() {
        let of = |traceparent| Consumed { queue: "q", message_id: "m", receive_count: 1, traceparent };
        let none = Part::consumer(&of(None));
        assert_eq!(none.within(async { current() }).await, None, "without a collector there are no spans");
        let (exporter, collector, kept) = slow();
        let provider = provider(exporter, Resource::builder_empty().build());
        TRACER.set(provider.tracer("test")).unwrap();
        drop(collector);

        assert_eq!(current(), None);
        assert_eq!(Part::child("orphan").within(async { current() }).await, None, "a part needs a whole");
        let (trace, caller) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let from = format!("00-{trace}-{caller}-01");
        let asked = Part::server("POST", "/v1/uploads", Some(&from));
        let sent = asked.within(async { current() }).await.unwrap();
        assert!(sent.starts_with(&format!("00-{trace}-")) && sent.ends_with("-01") && sent != from, "{sent}");
        let worked = Part::consumer(&of(Some(&sent)));
        worked.fail("retry");
        let elsewhere = format!("00-{}-{caller}-01", trace.replace('4', "5"));
        let part = async {
            link(&from);
            link(&elsewhere);
            link("nonsense");
            Part::child("part").within(async { tokio::task::yield_now().await }).await;
            current()
        };
        let within = worked.within(part).await.unwrap();
        let strange = Part::consumer(&of(Some("not a traceparent"))).within(async { current() }).await.unwrap();
        assert!(!strange.contains(trace), "begins a trace of its own: {strange}");
        let unsampled = format!("00-{trace}-{caller}-00");
        let quiet = Part::consumer(&of(Some(&unsampled))).within(async { current() }).await.unwrap();
        assert!(quiet.contains(trace) && quiet.ends_with("-00"), "who is not sampled stays so: {quiet}");

        provider.force_flush().unwrap();
        let kept = kept.lock().unwrap();
        let named = |name: &str| kept.iter().find(|span| span.name == name).unwrap();
        let id = |span: &SpanData| span.span_context.span_id().to_string();
        assert_eq!(kept.len(), 4, "{kept:?}");
        assert_eq!(named("POST /v1/uploads").parent_span_id.to_string(), caller);
        let process = kept.iter().find(|span| span.links.len() == 1).unwrap();
        assert_eq!(process.parent_span_id.to_string(), id(named("POST /v1/uploads")));
        assert!(within.contains(&id(process)));
        assert_eq!(process.links[0].span_context.trace_id().to_string(), trace.replace('4', "5"));
        assert_eq!(named("part").parent_span_id.to_string(), id(process));
    }
}
