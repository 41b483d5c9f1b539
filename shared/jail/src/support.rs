//! What this kernel offers, asked without changing anything.
//!
//! Guarantee: [`probe`] has no side effect on the process and can be called at any time, with any number of threads.

use std::io;

/// What the kernel says it can do. A container's own profile may still refuse: the proof is a child that closes the jail
/// around itself, which the decoder makes at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Support {
    /// Whether filters exist and may kill a process; if not, why.
    pub seccomp: Result<(), String>,
    /// Version of the Landlock interface, 0 where there is none. 6 and later (Linux 6.12) is all we ask for.
    pub landlock_abi: u32,
    /// Whether there is a system call list for this processor.
    pub architecture: bool,
}

impl Support {
    /// Whether the decoder may start at all.
    pub fn usable(&self) -> bool {
        self.seccomp.is_ok() && self.architecture
    }
}

/// Asks the kernel.
pub fn probe() -> Support {
    Support { seccomp: seccomp(), landlock_abi: landlock_abi(), architecture: crate::filter::architecture().is_ok() }
}

fn seccomp() -> Result<(), String> {
    // include/uapi/linux/seccomp.h: SECCOMP_GET_ACTION_AVAIL, since Linux 4.14, as SECCOMP_RET_KILL_PROCESS is.
    let action: u32 = libc::SECCOMP_RET_KILL_PROCESS;
    // SAFETY: asks whether an action exists; the pointer is to a live u32 that the kernel only reads.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    match answer {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error().to_string()),
    }
}

fn landlock_abi() -> u32 {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1; // include/uapi/linux/landlock.h
    // SAFETY: with this flag and no attributes the call only returns a number.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(version).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn asking_changes_nothing() {
        let first = super::probe();
        assert_eq!(first, super::probe());
        // A jailed process could not read this.
        assert!(std::fs::read_to_string("/proc/self/status").unwrap().contains("Seccomp:"));
    }
}
