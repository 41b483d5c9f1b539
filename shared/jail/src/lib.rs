//! The jail in which strangers' media is parsed.
//!
//! Guarantee: after [`apply`] returned `Ok`, this process can compute, use the descriptors that it was told to keep, and
//! start threads; it can't name a file, reach a network, start or touch another process, map executable memory or get
//! a descriptor that is not a copy of those. It holds until the process ends: nothing here can be undone, not even by this process itself.
//!
//! Three walls stand behind each other: **seccomp** (mandatory: no seccomp, no start), **Landlock** (as far as the kernel
//! offers it, and the level is reported) and **rlimits**. Everything is synchronous and has no dependence on a runtime.
#![allow(unsafe_code)] // prctl, setrlimit and close_range are calls of the C library; each use says why it is sound
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod calls;
mod filter;
mod limits;
mod support;
mod wall;

use std::fmt;
use std::io;

pub use calls::{ALLOWED, Call, MISSING, Only, REFUSED};
pub use limits::{DUPLICATES, Limits};
pub use support::{Support, probe};

/// What the jail holds, once it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// How much of Landlock's file, network and scope rights the kernel took away. seccomp stands in any case.
    pub landlock: Landlock,
    /// The version of the kernel's Landlock interface, 0 without Landlock.
    pub landlock_abi: u32,
}

/// How much of Landlock is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landlock {
    /// Every right that we ask for (files, TCP, ioctl on devices, abstract sockets, signals): ABI 6 and later, Linux 6.12.
    Full,
    /// Those rights that an older kernel knows.
    Partial,
    /// The kernel has none, or it is switched off.
    None,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.landlock {
            Landlock::Full => write!(f, "seccomp, Landlock ABI {}", self.landlock_abi),
            Landlock::Partial => write!(f, "seccomp, Landlock ABI {} in part", self.landlock_abi),
            Landlock::None => f.write_str("seccomp, no Landlock"),
        }
    }
}

/// Why the jail could not be closed. The process must then end without touching the media.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// Landlock and seccomp bind the calling thread and those that it starts later: an older thread would stay free.
    #[error("the jail must be closed while the process has one thread; it has {0}")]
    Threads(usize),
    /// A resource limit could not be set.
    #[error("limit {what} could not be set: {source}")]
    Limit {
        /// Name of the limit, as in getrlimit(2).
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// One of the calls that prepare the process failed.
    #[error("{what}: {source}")]
    Process {
        /// The call.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Landlock is there but refused the rule set.
    #[error("Landlock: {0}")]
    Landlock(String),
    /// The kernel, or a container's own profile, does not let a process filter its system calls.
    #[error("seccomp filters can't be set here ({0}); the decoder does not run without them")]
    Seccomp(String),
    /// No list of system calls exists for this processor.
    #[error("no system call list for this architecture: {0}")]
    Architecture(&'static str),
}

/// Closes the jail around the calling process, for good. Call it in the decoder child before the first untrusted byte
/// and while there is one thread only; threads started later are inside.
///
/// Order: memory-pressure score, descriptors, environment, Landlock, priority, rlimits, not dumpable, seccomp. Files are out of
/// reach from Landlock on, so everything that opens one stands before it.
pub fn apply(limits: &Limits) -> Result<Level, JailError> {
    limits::single_thread()?;
    limits::first_to_go();
    limits::close_from(limits.descriptors)?;
    limits::clear_environment()?;
    limits::no_new_privs()?;
    let level = wall::landlock()?;
    limits::stand_back(limits)?;
    limits::rlimits(limits)?;
    limits::not_dumpable()?;
    filter::install()?;
    Ok(level)
}
