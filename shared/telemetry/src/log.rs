//! Log lines on standard error, filtered by `REELFLEET_LOG`.

use std::io::IsTerminal;

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::trace;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For a person at a terminal; coloured only where standard error is one.
    #[default]
    Pretty,
    /// One JSON object a line, for a log store.
    Json,
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "pretty" => Ok(Self::Pretty),
            "json" => Ok(Self::Json),
            other => Err(format!("unknown log format {other:?}: pretty or json")),
        }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// `REELFLEET_LOG` holds something that is no filter.
    #[error("REELFLEET_LOG is not a log filter (try \"info\" or \"info,reelfleet_fleet=debug\"): {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// `REELFLEET_LOG` is not valid UTF-8.
    #[error("REELFLEET_LOG is not valid UTF-8")]
    NotUnicode,
    /// Another part of the process has set a subscriber already.
    #[error("logging is set up already: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets up logging of this process, once, and says who started.
///
/// The filter comes from `REELFLEET_LOG` (syntax of `tracing_subscriber::EnvFilter`), `info` when it is unset or empty.
pub fn init(service: &'static str, format: Format) -> Result<(), InitError> {
    init_from(LevelFilter::INFO, service, format)
}

/// The same for a program that a person watches: without a filter of their own, warnings and errors alone.
pub fn init_quiet(service: &'static str, format: Format) -> Result<(), InitError> {
    init_from(LevelFilter::WARN, service, format)
}

fn init_from(level: LevelFilter, service: &'static str, format: Format) -> Result<(), InitError> {
    use tracing_subscriber::util::SubscriberInitExt;

    let directives = match std::env::var("REELFLEET_LOG") {
        Ok(text) => text,
        Err(std::env::VarError::NotPresent) => String::new(),
        Err(std::env::VarError::NotUnicode(_)) => return Err(InitError::NotUnicode),
    };
    let filter = EnvFilter::builder().with_default_directive(level.into()).parse(directives)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        Format::Pretty => lines.with_ansi(std::io::stderr().is_terminal()).finish().try_init()?,
        Format::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(true).with_span_list(false);
            lines.map_event_format(Traced).finish().try_init()?;
        }
    }
    tracing::info!(service, version = env!("CARGO_PKG_VERSION"), "starting");
    Ok(())
}

/// JSON lines that name the trace and the span at work, where spans are sent.
struct Traced<F>(F);

impl<S, N, F> FormatEvent<S, N> for Traced<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let Some((trace_id, span_id)) = trace::ids() else { return self.0.format_event(context, writer, event) };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        match line.strip_prefix('{') {
            Some(rest) => write!(writer, r#"{{"trace_id":"{trace_id}","span_id":"{span_id}",{rest}"#),
            None => writer.write_str(&line),
        }
    }
}
