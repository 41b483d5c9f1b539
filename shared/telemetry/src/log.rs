//! Log lines on standard error, filtered by `REELFLEET_LOG`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

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
            lines.json().flatten_event(true).with_current_span(true).with_span_list(false).finish().try_init()?
        }
    }
    tracing::info!(service, version = env!("CARGO_PKG_VERSION"), "starting");
    Ok(())
}
