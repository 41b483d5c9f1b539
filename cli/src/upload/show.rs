//! What a person sees while files go up and are worked on: bars on a terminal, lines elsewhere.
//!
//! Guarantee: all of it goes to standard error; standard output is for results.

use std::sync::Arc;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::follow::{Outcome, Tracked};
use super::transfer::Moved;
use crate::table;

/// Columns of a name; the templates say the same.
const NAME: usize = 28;

/// Bars or lines.
#[derive(Debug, Clone)]
pub struct Show {
    bars: MultiProgress,
    lines: bool,
}

impl Show {
    /// Bars on a terminal, lines elsewhere, nothing if `quiet`.
    pub fn new(quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bars = MultiProgress::with_draw_target(target);
        Self { lines: bars.is_hidden() && !quiet, bars }
    }

    /// Bytes on their way.
    pub fn upload(&self, name: &str, size: u64) -> ProgressBar {
        let template = "{prefix:28} {bar:30.cyan/dim} {bytes}/{total_bytes} {binary_bytes_per_sec} {msg}";
        self.line(name, "uploading");
        self.bar(name, size, template)
    }

    /// Work on an asset, in percent.
    pub fn work(&self, name: &str) -> ProgressBar {
        self.bar(name, 100, "{prefix:28} {bar:30.green/dim} {percent:>3} % {elapsed} {msg}")
    }

    fn bar(&self, name: &str, length: u64, template: &str) -> ProgressBar {
        // A template of ours; were it wrong, the default style still shows the bar.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = self.bars.add(ProgressBar::new(length).with_style(style.progress_chars("━━╌")));
        bar.set_prefix(table::shown(name, NAME));
        bar
    }

    /// Something happened to an asset.
    pub fn step(&self, tracked: &Tracked, what: &str) {
        tracked.bar.set_message(what.to_owned());
        self.line(&tracked.name, what);
    }

    /// A file is up.
    pub fn uploaded(&self, bar: &ProgressBar, name: &str) {
        bar.finish_with_message("uploaded");
        self.line(name, "uploaded");
    }

    /// An asset has come to its end.
    pub fn ended(&self, bar: &ProgressBar, outcome: &Outcome) {
        let what = match outcome.reason() {
            Some(reason) => format!("✗ {}: {}", outcome.state(), table::shown(&reason, 120)),
            None => format!("✓ {} after {}", outcome.state(), table::seconds(outcome.ready_ms())),
        };
        if outcome.state() == "ready" {
            bar.set_position(100);
        }
        bar.abandon_with_message(what.clone());
        self.line(&outcome.name, &what);
    }

    /// A line to be seen, above the bars where there are some.
    pub fn note(&self, name: &str, what: &str) {
        let line = format!("{}: {what}", table::shown(name, 60));
        if self.lines {
            eprintln!("{line}");
        } else {
            let _ = self.bars.println(line);
        }
    }

    /// A line, where there are no bars.
    pub fn line(&self, name: &str, what: &str) {
        if self.lines {
            eprintln!("{}: {what}", table::shown(name, 60));
        }
    }
}

/// A bar that counts bytes.
pub struct Bytes(pub ProgressBar);

impl Moved for Bytes {
    fn forth(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    fn back(&self, bytes: u64) {
        self.0.dec(bytes);
    }
}

impl Bytes {
    /// To be handed to a transfer.
    pub fn shared(bar: &ProgressBar) -> Arc<dyn Moved> {
        Arc::new(Self(bar.clone()))
    }
}
