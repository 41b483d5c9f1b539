//! What became of spans.

use metrics::{counter, describe_counter};

/// A batch of spans left for the collector, or did not arrive. Tasks go on either way.
#[derive(Debug)]
pub struct SpansSent<'a> {
    pub count: u64,
    /// Why they did not arrive.
    pub error: Option<&'a str>,
    /// Whether that is another end than the last batch's: only then a person is told.
    pub changed: bool,
}

impl SpansSent<'_> {
    pub fn emit(&self) {
        let outcome = if self.error.is_some() { "failed" } else { "exported" };
        counter!("reelfleet_spans_total", "outcome" => outcome).increment(self.count);
        match self.error {
            Some(error) if self.changed => {
                tracing::warn!(
                    spans = self.count,
                    error,
                    "the collector does not take spans; they are lost, tasks go on"
                );
            }
            None if self.changed => tracing::info!("the collector takes spans again"),
            _ => {}
        }
    }
}

/// A span found the queue to the collector full.
#[derive(Debug)]
pub struct SpanDropped;

impl SpanDropped {
    pub fn emit(&self) {
        counter!("reelfleet_spans_total", "outcome" => "dropped").increment(1);
    }
}

pub(super) fn describe() {
    describe_counter!(
        "reelfleet_spans_total",
        "Spans for the collector of traces, by outcome: exported, failed, dropped."
    );
}
