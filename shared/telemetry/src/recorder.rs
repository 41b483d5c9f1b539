//! The Prometheus recorder of this process.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::facts::describe;

/// How often samples of histograms are folded into buckets when nobody scrapes: without it they pile up in memory.
const UPKEEP: Duration = Duration::from_secs(5);

/// Seconds, from a fast acknowledgement to the longest chain of a film.
const SECONDS: [f64; 14] = [0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0, 3600.0];

/// Why metrics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The recorder was refused, mostly because another one is installed in this process.
    #[error("the Prometheus recorder could not be installed: {0}")]
    Recorder(#[from] BuildError),
    /// The thread that folds samples could not be started.
    #[error("the metrics upkeep thread could not be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// A handle on the metrics of this process. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// The recorder of this process, installed at the first call; later calls return the same one, so several roles may
    /// live in one process.
    pub fn install() -> Result<Self, MetricsError> {
        static INSTALLED: OnceLock<Metrics> = OnceLock::new();
        static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(metrics) = INSTALLED.get() {
            return Ok(metrics.clone());
        }
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
            .install_recorder()?;
        describe();
        metrics::describe_gauge!("reelfleet_build_info", "1, by the version of the program.");
        metrics::gauge!("reelfleet_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        let folding = handle.clone();
        std::thread::Builder::new().name("metrics-upkeep".into()).spawn(move || {
            loop {
                std::thread::park_timeout(UPKEEP);
                folding.run_upkeep();
            }
        })?;
        Ok(INSTALLED.get_or_init(|| Self { handle }).clone())
    }

    /// All metrics in the Prometheus text exposition format (version 0.0.4).
    pub fn render(&self) -> String {
        self.handle.render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{MessageFinished, MessageReceived, SegmentBytes};

    #[test]
    fn every_metric_has_the_prefix_and_a_help_text() {
        let metrics = Metrics::install().unwrap();
        Metrics::install().unwrap();
        MessageReceived { queue: "reelfleet-probe", message_id: "m", receive_count: 1, wait_seconds: Some(0.3) }.emit();
        MessageFinished { queue: "reelfleet-probe", message_id: "m", outcome: "done", seconds: 1.5, why: "" }.emit();
        SegmentBytes { rendition: "720p", bytes: 7 }.emit();
        let text = metrics.render();
        let mut names = 0;
        for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
            let name = line.split(' ').nth(2).unwrap();
            assert!(name.starts_with("reelfleet_"), "{name}");
            assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help text");
            names += 1;
        }
        assert!(names >= 5, "{text}");
        assert!(text.contains("reelfleet_messages_finished_total{queue=\"reelfleet-probe\",outcome=\"done\"} 1"));
        assert!(text.contains("reelfleet_message_duration_seconds_bucket"));
        assert!(text.contains("reelfleet_segment_bytes_total{rendition=\"720p\"} 7"));
        // Message ids belong in the log, never in a label.
        assert!(!text.contains("message_id"));
    }
}
