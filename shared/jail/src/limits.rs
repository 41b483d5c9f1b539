//! What bounds and strips the process: rlimits, descriptors, environment, dumpability, the memory-pressure score.
//!
//! Guarantee: each step either holds or is an error, but for the memory-pressure score, which is best effort (a
//! container may mount /proc read-only) and protects the host's comfort, not its safety.

use std::io;

use crate::JailError;

/// How often a descriptor that was given may be duplicated: a program reads one source through two readers.
pub const DUPLICATES: u32 = 4;

/// What one child may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Address space in bytes (RLIMIT_AS). Shared libraries and thread stacks count.
    pub address_space: u64,
    /// Processor seconds over all threads (RLIMIT_CPU); then SIGXCPU.
    pub cpu_seconds: u64,
    /// How far it stands back where processors are short, 0 to 19 (setpriority). It can't come forward again.
    pub nice: u8,
    /// Descriptors with numbers below this stay open, the others are closed; [`DUPLICATES`] of them can be made, and no
    /// other (RLIMIT_NOFILE).
    pub descriptors: u32,
}

impl Default for Limits {
    /// 3 GiB, 600 s, and descriptors 0 to 4: null twice, stderr, source, output.
    fn default() -> Self {
        Self { address_space: 3 << 30, cpu_seconds: 600, nice: 0, descriptors: 5 }
    }
}

/// Refuses where a second thread runs. Where /proc is not mounted the number can't be known and the caller's word holds.
pub(crate) fn single_thread() -> Result<(), JailError> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return Ok(());
    };
    match tasks.count() {
        1 => Ok(()),
        n => Err(JailError::Threads(n)),
    }
}

/// Under memory pressure the kernel shall take this process first, not the worker. Raising the score needs no right.
pub(crate) fn first_to_go() {
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

/// Stands back behind processes that somebody waits for. Giving way needs no right, coming forward does: who stands further
/// back already, as a worker of campaigns, stays there. Threads made later inherit it.
pub(crate) fn stand_back(limits: &Limits) -> Result<(), JailError> {
    // SAFETY: numbers only. An error looks like a nice value of -1, and is none here: a process may always ask for its own.
    let present = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    // SAFETY: numbers only.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, i32::from(limits.nice.min(19)).max(present)) } {
        0 => Ok(()),
        _ => Err(JailError::Process { what: "setpriority", source: io::Error::last_os_error() }),
    }
}

/// Closes every descriptor from `first` up.
pub(crate) fn close_from(first: u32) -> Result<(), JailError> {
    // SAFETY: descriptors are numbers; the caller hands the process over to the jail and owns no descriptor from `first` on.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    if done == 0 {
        return Ok(());
    }
    // close_range is there from Linux 5.9; before that one closes what /proc lists.
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .map_err(|source| JailError::Process { what: "close_range", source })?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| u32::try_from(*fd).is_ok_and(|fd| fd >= first))
        .collect();
    for fd in open {
        // SAFETY: as above. The descriptor of the listing itself is closed already and gives EBADF.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// Drops the environment of the process.
pub(crate) fn clear_environment() -> Result<(), JailError> {
    // SAFETY: one thread (checked before), so nobody reads the environment meanwhile.
    match unsafe { libc::clearenv() } {
        0 => Ok(()),
        _ => Err(JailError::Process { what: "clearenv", source: io::Error::last_os_error() }),
    }
}

/// No program started from here could gain rights; also the condition for a filter without privilege.
pub(crate) fn no_new_privs() -> Result<(), JailError> {
    // SAFETY: prctl with numbers only.
    match unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(JailError::Process { what: "PR_SET_NO_NEW_PRIVS", source: io::Error::last_os_error() }),
    }
}

/// No core file, and no process of the same user may attach or read the memory.
pub(crate) fn not_dumpable() -> Result<(), JailError> {
    // SAFETY: prctl with numbers only.
    match unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(JailError::Process { what: "PR_SET_DUMPABLE", source: io::Error::last_os_error() }),
    }
}

/// Sets the limits, soft and hard alike, so that they can't be raised again.
pub(crate) fn rlimits(limits: &Limits) -> Result<(), JailError> {
    let cpu = limits.cpu_seconds;
    // The hard CPU limit lies a second above: SIGXCPU first says what happened, SIGKILL follows.
    set("RLIMIT_CPU", libc::RLIMIT_CPU, cpu, cpu.saturating_add(1))?;
    set("RLIMIT_AS", libc::RLIMIT_AS, limits.address_space, limits.address_space)?;
    let descriptors = u64::from(limits.descriptors) + u64::from(DUPLICATES);
    set("RLIMIT_NOFILE", libc::RLIMIT_NOFILE, descriptors, descriptors)?;
    // No file can be opened, and should one be, it stays empty. (stderr must be a pipe: a file would mean SIGXFSZ.)
    set("RLIMIT_FSIZE", libc::RLIMIT_FSIZE, 0, 0)?;
    set("RLIMIT_CORE", libc::RLIMIT_CORE, 0, 0)?;
    set("RLIMIT_MEMLOCK", libc::RLIMIT_MEMLOCK, 0, 0)?;
    set("RLIMIT_MSGQUEUE", libc::RLIMIT_MSGQUEUE, 0, 0)
}

fn set(what: &'static str, resource: libc::__rlimit_resource_t, soft: u64, hard: u64) -> Result<(), JailError> {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid pointer to a value of the right type, which outlives the call.
    if unsafe { libc::getrlimit(resource, &raw mut now) } != 0 {
        return Err(JailError::Limit { what, source: io::Error::last_os_error() });
    }
    // The host may already allow less than we would: a limit is only ever lowered.
    let new = libc::rlimit { rlim_cur: soft.min(now.rlim_max), rlim_max: hard.min(now.rlim_max) };
    // SAFETY: as above.
    match unsafe { libc::setrlimit(resource, &raw const new) } {
        0 => Ok(()),
        _ => Err(JailError::Limit { what, source: io::Error::last_os_error() }),
    }
}
