//! What can go wrong, in words for the person who has to act on it.

use std::path::PathBuf;
use std::time::Duration;

use reelfleet_wire::{FailCode, Invalid};

use crate::source::SourceError;

/// No decoder could be started. Nothing was decided about the source.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The decoder's executable is not where it should be.
    #[error("the program reelfleet-decoder was not found (looked at {}); set REELFLEET_DECODER", list(.looked))]
    NotFound {
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// It was found but could not be run, or ended before it was ready.
    #[error("the decoder {program:?} does not start: {why}")]
    Start {
        /// The program.
        program: PathBuf,
        /// The kernel's or the loader's words.
        why: String,
    },
    /// It runs, but no jail can be closed here: media is then not touched at all.
    #[error("the decoder refuses to run without its jail: {0}")]
    Jail(String),
    /// The request makes no sense, or is about another size than the source's.
    #[error(transparent)]
    Request(#[from] Invalid),
    /// The zygote could not make a child, or died while it should.
    #[error("no decoder could be made: {0}")]
    Zygote(String),
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// How one session failed.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The decoder looked at the source and said no. `code.is_about_source()`: no retry helps.
    #[error("{code}: {detail}")]
    Refused {
        /// The reason, for programs.
        code: FailCode,
        /// The reason, for people.
        detail: String,
    },
    /// The decoder ended without a result: by a signal (SIGSYS: it tried what the jail forbids; SIGXCPU: too much
    /// processor time) or with an exit code. Both are `None` where the zygote died with it.
    #[error("the decoder crashed ({}): {stderr_tail}", ending(.signal, .exit))]
    Crashed {
        /// Signal number.
        signal: Option<i32>,
        /// Exit code.
        exit: Option<i32>,
        /// The end of what it wrote to stderr, at most 8 KiB.
        stderr_tail: String,
    },
    /// No progress for this long, although it was waiting for nothing of ours.
    #[error("the decoder made no progress for {after:?}")]
    Stalled {
        /// The limit that was reached.
        after: Duration,
    },
    /// The whole session took too long.
    #[error("the decoder was not done after {after:?}")]
    TimedOut {
        /// The limit that was reached.
        after: Duration,
    },
    /// It gave out more bytes than it may.
    #[error("the decoder gave out more bytes than its cap")]
    OutputLimit,
    /// The source could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It sent what the protocol does not allow.
    #[error("the decoder broke the protocol: {0}")]
    Protocol(String),
}

fn ending(signal: &Option<i32>, exit: &Option<i32>) -> String {
    match (signal, exit) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(exit)) => format!("exit code {exit}"),
        (None, None) => "its zygote died".into(),
    }
}
