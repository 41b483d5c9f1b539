//! Spans: what one upload went through, over all processes, in a collector of OpenTelemetry's.
//!
//! Guarantees:
//! - without a collector ([`crate::Tracing::start`]), or in a build without the feature `otel`, a span is nothing: it
//!   allocates nothing, and what it is given is not even looked at;
//! - a span holds what is given to it here and nothing else: no log line, no field of another library's span gets into it;
//! - nothing waits for a collector, and nothing fails for want of one.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as Waker, Poll};

#[cfg(feature = "otel")]
use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _};
#[cfg(feature = "otel")]
use opentelemetry::{Context, KeyValue};

/// A step of the way. Cheap to clone; it ends with its last clone.
#[derive(Clone, Debug, Default)]
pub struct Span {
    #[cfg(feature = "otel")]
    context: Option<Context>,
}

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Int(i64),
    Float(f64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

/// A message that is worked on. `traceparent`: of whoever sent it.
#[derive(Debug)]
pub struct Consumed<'a> {
    pub queue: &'a str,
    pub message_id: &'a str,
    pub receive_count: u32,
    pub traceparent: Option<&'a str>,
}

/// Whether spans go anywhere in this process.
pub fn is_on() -> bool {
    #[cfg(feature = "otel")]
    return crate::otlp::tracer().is_some();
    #[cfg(not(feature = "otel"))]
    return false;
}

/// The `traceparent` (W3C Trace Context) of the span at work: what it sends is a child of it.
pub fn current() -> Option<String> {
    #[cfg(feature = "otel")]
    if is_on() {
        return Context::map_current(written);
    }
    None
}

/// Says that the span at work has to do with another one, unless both are of one trace.
pub fn link(traceparent: &str) {
    #[cfg(feature = "otel")]
    if is_on() {
        let other = remote(traceparent).span().span_context().clone();
        Context::map_current(|context| {
            let span = context.span();
            if other.is_valid() && other.trace_id() != span.span_context().trace_id() {
                span.add_link(other, Vec::new());
            }
        });
    }
    #[cfg(not(feature = "otel"))]
    let _ = traceparent;
}

/// Trace id and span id of the span at work, for log lines.
pub(crate) fn ids() -> Option<(String, String)> {
    #[cfg(feature = "otel")]
    if is_on() {
        return Context::map_current(|context| {
            let span = context.span();
            let ids = span.span_context();
            ids.is_valid().then(|| (ids.trace_id().to_string(), ids.span_id().to_string()))
        });
    }
    None
}

impl Span {
    /// None.
    pub fn none() -> Self {
        Self::default()
    }

    /// A request of somebody else's, which goes on with their trace, if they have one.
    pub fn server(method: &str, route: &str, traceparent: Option<&str>) -> Self {
        #[cfg(feature = "otel")]
        if is_on() {
            let span = Self::begin(SpanKind::Server, format!("{method} {route}").into(), &parent(traceparent));
            span.set("http.request.method", method);
            span.set("http.route", route);
            return span;
        }
        let _ = (method, route, traceparent);
        Self::none()
    }

    /// The work on one message, by OpenTelemetry's conventions for messaging on SQS.
    pub fn consumer(message: &Consumed<'_>) -> Self {
        #[cfg(feature = "otel")]
        if is_on() {
            let name = format!("process {}", message.queue);
            let span = Self::begin(SpanKind::Consumer, name.into(), &parent(message.traceparent));
            span.set("messaging.system", "aws_sqs");
            span.set("messaging.operation.name", "process");
            span.set("messaging.operation.type", "process");
            span.set("messaging.destination.name", message.queue);
            span.set("messaging.message.id", message.message_id);
            span.set("reelfleet.receive_count", message.receive_count);
            return span;
        }
        let _ = message;
        Self::none()
    }

    /// A request to somebody else, for what `traceparent` names.
    pub fn client(name: &'static str, traceparent: Option<&str>) -> Self {
        #[cfg(feature = "otel")]
        if is_on() {
            return Self::begin(SpanKind::Client, name.into(), &parent(traceparent));
        }
        let _ = (name, traceparent);
        Self::none()
    }

    /// A part of the span at work; none where none is.
    pub fn child(name: impl Into<Cow<'static, str>>) -> Self {
        #[cfg(feature = "otel")]
        if is_on() {
            let context = Context::current();
            if context.span().span_context().is_valid() {
                return Self::begin(SpanKind::Internal, name.into(), &context);
            }
        }
        let _ = name;
        Self::none()
    }

    /// Says something about it. Ids, numbers, names of a closed set: no secret, no URL, no header, no text of a stranger's.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        #[cfg(feature = "otel")]
        if let Some(context) = self.context.as_ref().filter(|context| context.span().is_recording()) {
            context.span().set_attribute(KeyValue::new(key, opentelemetry::Value::from(value.into())));
        }
        #[cfg(not(feature = "otel"))]
        let _ = (key, value);
    }

    /// It went wrong. `why` is of a closed set, too.
    pub fn fail(&self, why: &'static str) {
        #[cfg(feature = "otel")]
        if let Some(context) = &self.context {
            context.span().set_attribute(KeyValue::new("error.type", why));
            context.span().set_status(Status::error(why));
        }
        #[cfg(not(feature = "otel"))]
        let _ = why;
    }

    /// Does work in it: spans that the work begins are its children.
    pub fn within<F: Future>(self, work: F) -> Within<F> {
        Within { span: self, work }
    }

    #[cfg(feature = "otel")]
    fn begin(kind: SpanKind, name: Cow<'static, str>, parent: &Context) -> Self {
        let begun = crate::otlp::tracer().map(|tracer| {
            let span = tracer.span_builder(name).with_kind(kind).start_with_context(tracer, parent);
            // The ids of a trace that is not sampled go on too: nobody after us is to sample it either.
            let known = span.span_context().is_valid();
            if known { parent.with_span(span) } else { parent.clone() }
        });
        Self { context: begun }
    }
}

pin_project_lite::pin_project! {
    /// Work in a span.
    #[derive(Debug)]
    pub struct Within<F> {
        span: Span,
        #[pin]
        work: F,
    }
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, waker: &mut Waker<'_>) -> Poll<F::Output> {
        let this = self.project();
        #[cfg(feature = "otel")]
        let _at_work = this.span.context.clone().map(Context::attach);
        #[cfg(not(feature = "otel"))]
        let _ = this.span;
        this.work.poll(waker)
    }
}

#[cfg(feature = "otel")]
impl From<Value> for opentelemetry::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Text(text) => text.into(),
            Value::Int(number) => number.into(),
            Value::Float(number) => number.into(),
        }
    }
}

/// The context that a message names, or none: what begins there begins a trace.
#[cfg(feature = "otel")]
fn parent(traceparent: Option<&str>) -> Context {
    traceparent.map_or_else(Context::new, remote)
}

#[cfg(feature = "otel")]
fn remote(traceparent: &str) -> Context {
    use opentelemetry::propagation::TextMapPropagator as _;
    use opentelemetry_sdk::propagation::TraceContextPropagator;

    let carrier = std::collections::HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
}

#[cfg(feature = "otel")]
fn written(context: &Context) -> Option<String> {
    let span = context.span();
    let ids = span.span_context();
    ids.is_valid().then(|| format!("00-{}-{}-{:02x}", ids.trace_id(), ids.span_id(), u8::from(ids.is_sampled())))
}
