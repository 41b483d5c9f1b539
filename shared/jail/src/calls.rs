//! The system calls of a jailed decoder, as data to be reviewed: each with the reason why it is there.
//!
//! Guarantee: what is on no list here kills the process. Adding a line widens the jail: say why, narrow it by an argument
//! where one can tell, and look at what the call does on a descriptor and to another process of the same user.
//!
//! Numbers come from the `libc` crate for the processor that is built for; calls that newer processors lack are marked.

/// One system call and its reason.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Name, as in the manual pages.
    pub name: &'static str,
    /// Number on this processor.
    pub number: i64,
    /// Which arguments are let through.
    pub only: Only,
    /// Who calls it and what for.
    pub why: &'static str,
}

/// A rule on one argument (counted from 0), compared over its whole 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Only {
    /// No rule.
    Any,
    /// None of these bits may be set.
    Clear {
        /// Which argument.
        argument: u8,
        /// The bits.
        bits: u64,
    },
    /// All of these bits must be set.
    Set {
        /// Which argument.
        argument: u8,
        /// The bits.
        bits: u64,
    },
    /// One of these values.
    OneOf {
        /// Which argument.
        argument: u8,
        /// The values.
        values: &'static [u64],
    },
    /// These arguments must be 0, and one, of which 32 bits count, is at most so large without a sign.
    ZeroAndAtMost {
        /// Which are 0.
        zero: &'static [u8],
        /// Which is bounded.
        argument: u8,
        /// By what.
        most: u32,
    },
    /// The id of the jailed process itself.
    Myself {
        /// Which argument.
        argument: u8,
    },
}

/// Calls that work.
pub const ALLOWED: &[Call] = &[
    // Descriptors that the child was given
    Call {
        name: "read",
        number: libc::SYS_read,
        only: Only::Any,
        why: "range answers from the parent on descriptor 3",
    },
    Call { name: "write", number: libc::SYS_write, only: Only::Any, why: "range requests, output frames, log lines" },
    Call {
        name: "readv",
        number: libc::SYS_readv,
        only: Only::Any,
        why: "vectored reads of the C library and Rust's standard library",
    },
    Call {
        name: "writev",
        number: libc::SYS_writev,
        only: Only::Any,
        why: "vectored writes of the C library and the standard library",
    },
    Call {
        name: "pread64",
        number: libc::SYS_pread64,
        only: Only::Any,
        why: "standard library on seekable descriptors; ours are not, and it then fails by itself",
    },
    Call {
        name: "lseek",
        number: libc::SYS_lseek,
        only: Only::Any,
        why: "asked by the standard library before reading to the end; a pipe says ESPIPE",
    },
    Call { name: "close", number: libc::SYS_close, only: Only::Any, why: "end of a descriptor" },
    Call { name: "fstat", number: libc::SYS_fstat, only: Only::Any, why: "C library before it buffers a stream" },
    Call {
        name: "fcntl",
        number: libc::SYS_fcntl,
        only: Only::OneOf {
            argument: 1,
            values: &[libc::F_DUPFD_CLOEXEC as u64, libc::F_GETFD as u64, libc::F_GETFL as u64, libc::F_SETFD as u64],
        },
        why: "copies of a given descriptor, and its flags (debug builds check them before close). Never F_SETOWN: it could send signals to others",
    },
    #[cfg(target_arch = "x86_64")]
    Call {
        name: "poll",
        number: libc::SYS_poll,
        only: Only::Any,
        why: "standard library at start, and blocking input or output",
    },
    Call { name: "ppoll", number: libc::SYS_ppoll, only: Only::Any, why: "as poll, where there is none" },
    // Memory
    Call {
        name: "mmap",
        number: libc::SYS_mmap,
        only: Only::Clear { argument: 2, bits: libc::PROT_EXEC as u64 },
        why: "allocation and thread stacks; never executable",
    },
    Call {
        name: "mprotect",
        number: libc::SYS_mprotect,
        only: Only::Clear { argument: 2, bits: libc::PROT_EXEC as u64 },
        why: "guard pages and allocator arenas; never executable",
    },
    Call { name: "munmap", number: libc::SYS_munmap, only: Only::Any, why: "frees what mmap gave" },
    Call { name: "mremap", number: libc::SYS_mremap, only: Only::Any, why: "large reallocations" },
    Call { name: "brk", number: libc::SYS_brk, only: Only::Any, why: "small allocations" },
    Call {
        name: "madvise",
        number: libc::SYS_madvise,
        only: Only::Any,
        why: "allocator and thread stacks give pages back",
    },
    // Threads: decoding, filters and encoders start them after the jail stands
    Call {
        name: "clone",
        number: libc::SYS_clone,
        only: Only::Set { argument: 0, bits: libc::CLONE_THREAD as u64 },
        why: "new threads of this process only; a clone without CLONE_THREAD would be a fork",
    },
    Call { name: "futex", number: libc::SYS_futex, only: Only::Any, why: "locks, condition variables, joining" },
    Call {
        name: "set_robust_list",
        number: libc::SYS_set_robust_list,
        only: Only::Any,
        why: "C library at the start of a thread",
    },
    Call { name: "rseq", number: libc::SYS_rseq, only: Only::Any, why: "C library at the start of a thread" },
    Call { name: "sched_yield", number: libc::SYS_sched_yield, only: Only::Any, why: "spinning locks" },
    Call {
        name: "sched_getaffinity",
        number: libc::SYS_sched_getaffinity,
        only: Only::Any,
        why: "how many processors may be used",
    },
    Call { name: "exit", number: libc::SYS_exit, only: Only::Any, why: "end of a thread" },
    Call { name: "exit_group", number: libc::SYS_exit_group, only: Only::Any, why: "end of the process" },
    Call {
        name: "prctl",
        number: libc::SYS_prctl,
        only: Only::OneOf { argument: 0, values: &[libc::PR_SET_NAME as u64] },
        why: "PR_SET_NAME alone: names of threads",
    },
    Call {
        name: "gettid",
        number: libc::SYS_gettid,
        only: Only::Any,
        why: "C library when it names or signals its own thread",
    },
    Call { name: "getpid", number: libc::SYS_getpid, only: Only::Any, why: "C library when it signals itself" },
    // Signals to itself: abort and panics
    Call { name: "rt_sigaction", number: libc::SYS_rt_sigaction, only: Only::Any, why: "abort resets the handler" },
    Call {
        name: "rt_sigprocmask",
        number: libc::SYS_rt_sigprocmask,
        only: Only::Any,
        why: "C library around thread start and abort",
    },
    Call {
        name: "rt_sigreturn",
        number: libc::SYS_rt_sigreturn,
        only: Only::Any,
        why: "return from the stack-overflow handler",
    },
    Call {
        name: "sigaltstack",
        number: libc::SYS_sigaltstack,
        only: Only::Any,
        why: "standard library gives each thread a stack for that handler",
    },
    Call {
        name: "tgkill",
        number: libc::SYS_tgkill,
        only: Only::Myself { argument: 0 },
        why: "abort raises SIGABRT in this very process",
    },
    Call {
        name: "restart_syscall",
        number: libc::SYS_restart_syscall,
        only: Only::Any,
        why: "the kernel's own way to go on after a stop",
    },
    // Time, chance, size of the machine
    Call {
        name: "clock_gettime",
        number: libc::SYS_clock_gettime,
        only: Only::Any,
        why: "where the clock source can't be read without a call",
    },
    Call {
        name: "clock_getres",
        number: libc::SYS_clock_getres,
        only: Only::Any,
        why: "resolution of the clock, same condition",
    },
    Call {
        name: "gettimeofday",
        number: libc::SYS_gettimeofday,
        only: Only::Any,
        why: "as clock_gettime, the older form that FFmpeg uses",
    },
    Call {
        name: "clock_nanosleep",
        number: libc::SYS_clock_nanosleep,
        only: Only::Any,
        why: "waiting in encoder threads",
    },
    Call { name: "nanosleep", number: libc::SYS_nanosleep, only: Only::Any, why: "waiting, older form" },
    Call { name: "getrandom", number: libc::SYS_getrandom, only: Only::Any, why: "seeds of hash maps" },
    Call {
        name: "sysinfo",
        number: libc::SYS_sysinfo,
        only: Only::Any,
        why: "qsort of the C library asks for the memory size",
    },
    Call {
        name: "getrusage",
        number: libc::SYS_getrusage,
        only: Only::Any,
        why: "processor time for the statistics of encoders",
    },
    Call {
        name: "getpriority",
        number: libc::SYS_getpriority,
        only: Only::ZeroAndAtMost { zero: &[0, 1], argument: 1, most: 0 },
        why: "its own nice value, before it makes way",
    },
    Call {
        name: "setpriority",
        number: libc::SYS_setpriority,
        only: Only::ZeroAndAtMost { zero: &[0, 1], argument: 2, most: 19 },
        why: "a thread makes way for others of its process: its own nice value alone (PRIO_PROCESS, 0), and no negative one",
    },
];

/// Calls that fail with EPERM: libraries try them and go on without.
pub const REFUSED: &[Call] = &[
    // Files: libraries look for configuration and processor lists and live without
    #[cfg(target_arch = "x86_64")]
    Call { name: "open", number: libc::SYS_open, only: Only::Any, why: "configuration, /proc and /sys files" },
    Call {
        name: "openat",
        number: libc::SYS_openat,
        only: Only::Any,
        why: "configuration, /proc and /sys files, from newer C libraries",
    },
    Call { name: "openat2", number: libc::SYS_openat2, only: Only::Any, why: "as openat, with more flags" },
    #[cfg(target_arch = "x86_64")]
    Call { name: "stat", number: libc::SYS_stat, only: Only::Any, why: "existence of files" },
    #[cfg(target_arch = "x86_64")]
    Call {
        name: "lstat",
        number: libc::SYS_lstat,
        only: Only::Any,
        why: "existence of files, without following links",
    },
    Call {
        name: "newfstatat",
        number: libc::SYS_newfstatat,
        only: Only::Any,
        why: "existence of files; newer C libraries use it for fstat as well",
    },
    Call { name: "statx", number: libc::SYS_statx, only: Only::Any, why: "existence of files, newest form" },
    #[cfg(target_arch = "x86_64")]
    Call { name: "access", number: libc::SYS_access, only: Only::Any, why: "whether a file may be read" },
    Call {
        name: "faccessat",
        number: libc::SYS_faccessat,
        only: Only::Any,
        why: "whether a file may be read, newer form",
    },
    Call { name: "faccessat2", number: libc::SYS_faccessat2, only: Only::Any, why: "as faccessat, newer form" },
    #[cfg(target_arch = "x86_64")]
    Call {
        name: "readlink",
        number: libc::SYS_readlink,
        only: Only::Any,
        why: "where the program lies: /proc/self/exe",
    },
    Call {
        name: "readlinkat",
        number: libc::SYS_readlinkat,
        only: Only::Any,
        why: "where the program lies, newer form",
    },
    Call { name: "getcwd", number: libc::SYS_getcwd, only: Only::Any, why: "a panic message shortens paths with it" },
    #[cfg(target_arch = "x86_64")]
    Call { name: "unlink", number: libc::SYS_unlink, only: Only::Any, why: "removal of temporary files" },
    Call {
        name: "unlinkat",
        number: libc::SYS_unlinkat,
        only: Only::Any,
        why: "removal of temporary files, newer form",
    },
    Call {
        name: "ioctl",
        number: libc::SYS_ioctl,
        only: Only::Any,
        why: "isatty on stderr before a log line; anything else on a device",
    },
    // Network
    Call { name: "socket", number: libc::SYS_socket, only: Only::Any, why: "name look-ups and log daemons" },
    // Processes
    Call { name: "execve", number: libc::SYS_execve, only: Only::Any, why: "starting another program" },
    Call { name: "kill", number: libc::SYS_kill, only: Only::Any, why: "signals to other processes" },
    Call { name: "ptrace", number: libc::SYS_ptrace, only: Only::Any, why: "reading another process" },
    #[cfg(target_arch = "x86_64")]
    Call { name: "fork", number: libc::SYS_fork, only: Only::Any, why: "starting a second process" },
    #[cfg(target_arch = "x86_64")]
    Call { name: "vfork", number: libc::SYS_vfork, only: Only::Any, why: "a second process that borrows memory" },
    // Scheduling and limits
    Call {
        name: "sched_setscheduler",
        number: libc::SYS_sched_setscheduler,
        only: Only::Any,
        why: "real-time priority",
    },
    Call { name: "sched_setaffinity", number: libc::SYS_sched_setaffinity, only: Only::Any, why: "pinning of threads" },
    Call {
        name: "prlimit64",
        number: libc::SYS_prlimit64,
        only: Only::Any,
        why: "reading limits for stack sizes; setting them is refused with it",
    },
];

/// Calls that fail with ENOSYS, as on an older kernel.
pub const MISSING: &[Call] = &[Call {
    name: "clone3",
    number: libc::SYS_clone3,
    only: Only::Any,
    why: "flags lie in memory where a filter can't look; the C library falls back to clone",
}];
