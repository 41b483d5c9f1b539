//! A collector of traces for tests: it takes OTLP over HTTP as any collector does, and keeps every span.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// A span as it came.
#[derive(Debug, Clone)]
pub struct Span {
    /// `service.name`.
    pub service: String,
    /// Hexadecimal.
    pub trace: String,
    /// Hexadecimal.
    pub id: String,
    /// Hexadecimal; empty: it begins a trace.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// Trace and span that it links to.
    pub links: Vec<(String, String)>,
    /// All of it and of its resource, for a look at what must not be there.
    pub text: String,
}

/// Where spans arrive.
#[derive(Clone)]
pub struct Collector {
    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub endpoint: String,
    kept: Arc<Mutex<Vec<Span>>>,
    arrived: Arc<Notify>,
}

impl Collector {
    /// Listens on a port of its own.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self { endpoint, kept: Arc::default(), arrived: Arc::default() };
        let app = Router::new().route("/v1/traces", post(take)).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        collector
    }

    /// The spans of a trace.
    pub fn of(&self, trace: &str) -> Vec<Span> {
        self.kept.lock().unwrap().iter().filter(|span| span.trace == trace).cloned().collect()
    }

    /// All spans.
    pub fn all(&self) -> Vec<Span> {
        self.kept.lock().unwrap().clone()
    }

    /// Waits until the spans of a trace are as wanted.
    pub async fn wait(&self, trace: &str, within: Duration, wanted: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let found = async {
            loop {
                let arrived = self.arrived.notified();
                let spans = self.of(trace);
                if wanted(&spans) {
                    return spans;
                }
                arrived.await;
            }
        };
        let found = tokio::time::timeout(within, found).await;
        found.unwrap_or_else(|_| panic!("trace {trace} within {within:?}; there are:\n{}", shown(&self.all())))
    }
}

/// One line a span.
pub fn shown(spans: &[Span]) -> String {
    let line = |span: &Span| format!("{} {} {} <- {} {}", span.service, span.name, span.id, span.parent, span.trace);
    spans.iter().map(line).collect::<Vec<_>>().join("\n")
}

async fn take(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> StatusCode {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    for group in request.resource_spans {
        let resource = group.resource.unwrap_or_default();
        let service = texts(&resource.attributes).remove("service.name").unwrap_or_default();
        for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            let text = format!("{span:?} {:?}", resource.attributes);
            let links = span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect();
            let kept = Span {
                service: service.clone(),
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                attributes: texts(&span.attributes),
                name: span.name,
                links,
                text,
            };
            collector.kept.lock().unwrap().push(kept);
        }
    }
    collector.arrived.notify_waiters();
    StatusCode::OK
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    attributes.iter().map(|pair| (pair.key.clone(), text(pair.value.as_ref()))).collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(yes)) => yes.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
