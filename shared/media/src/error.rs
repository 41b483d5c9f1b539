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
    /// Other decoders have this machine's memory; another time will do.
    #[error("a decoder of this would take {mib} MiB of the {of_mib} MiB that decoders share, and others have them")]
    NoRoom {
        /// What it would take.
        mib: u64,
        /// What all of them share.
        of_mib: u64,
    },
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

impl DecodeError {
    /// One word for a metric where the decoder crashed, hung or reached a limit.
    pub(crate) fn cause(&self) -> Option<&'static str> {
        match self {
            Self::Crashed { signal: Some(_), .. } => Some("signal"),
            Self::Crashed { .. } => Some("exit"),
            Self::Stalled { .. } => Some("stalled"),
            Self::TimedOut { .. } => Some("timed_out"),
            Self::OutputLimit => Some("output_limit"),
            Self::Protocol(_) => Some("protocol"),
            Self::Refused { .. } | Self::Source(_) => None,
        }
    }

    /// How the decoder ended, in a few words for the task's row and its dead letter, where it crashed, hung or reached a
    /// limit; `None` where it spoke for itself or the source failed.
    pub fn exit(&self) -> Option<String> {
        match self {
            Self::Crashed { signal, exit, .. } => Some(ending(signal, exit)),
            Self::Stalled { after } => Some(format!("stall: no progress for {after:?}")),
            Self::TimedOut { after } => Some(format!("timeout: not done after {after:?}")),
            Self::OutputLimit => Some("limit: bytes given out".into()),
            Self::Protocol(_) => Some("protocol broken".into()),
            Self::Refused { .. } | Self::Source(_) => None,
        }
    }
}

fn ending(signal: &Option<i32>, exit: &Option<i32>) -> String {
    match (signal, exit) {
        // What the kernel does at RLIMIT_CPU.
        (Some(24), _) => "limit: processor time (signal SIGXCPU)".into(),
        (Some(signal), _) => format!("signal {}", signal_name(*signal)),
        (None, Some(exit)) => format!("exit code {exit}"),
        (None, None) => "its zygote died".into(),
    }
}

/// Names of signal(7), whose numbers x86-64 and AArch64 share.
fn signal_name(number: i32) -> String {
    let name = match number {
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        other => return other.to_string(),
    };
    name.into()
}
