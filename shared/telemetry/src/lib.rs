//! What an operator sees of the fleet: log lines on standard error and Prometheus metrics.
//!
//! Guarantees:
//! - one struct stands for one operational fact, and its `emit` writes the log line and the metric together, so that
//!   the two cannot drift apart ([`facts`]);
//! - every metric begins with `reelfleet_`, has a HELP text, and carries no id, key or tenant as a label: the number of
//!   series depends on the configuration, never on the traffic;
//! - spans of traces go to a collector where one is configured, and cost nothing where none is ([`trace`]);
//! - nothing here listens on a port: [`Metrics::render`] hands the exposition to whoever serves `/metrics`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod facts;
mod log;
#[cfg(feature = "otel")]
mod otlp;
mod recorder;
pub mod trace;
#[cfg(not(feature = "otel"))]
mod untraced;

pub use facts::*;
pub use log::{Format, InitError, init, init_quiet};
#[cfg(feature = "otel")]
pub use otlp::{Tracing, TracingError};
pub use recorder::{Metrics, MetricsError};
#[cfg(not(feature = "otel"))]
pub use untraced::{Tracing, TracingError};
