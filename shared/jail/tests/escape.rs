//! What a jailed process can and can't do, each case in a real child of its own.
//!
//! No test harness: it would start threads, and the jail is refused where threads already run.
#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};

use reelfleet_jail::{JailError, Limits, apply, probe};

/// How a child ended.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum End {
    Exit(i32),
    Signal(i32),
}

/// The jail stood and the attempt was refused by an error number; the number is what the child reports.
const EPERM: End = End::Exit(libc::EPERM);
const KILLED: End = End::Signal(libc::SIGSYS);
const FINE: End = End::Exit(0);

fn main() {
    // The listing that cargo-nextest asks for: all cases are one test, since each forks from a single thread.
    if std::env::args().any(|argument| argument == "--list") {
        if !std::env::args().any(|argument| argument == "--ignored") {
            println!("escape: test");
        }
        return;
    }
    let support = probe();
    assert!(support.usable(), "this kernel offers no seccomp filters: {support:?}");
    let mut failed = 0;
    let mut check = |name: &str, expected: End, case: fn() -> i32| {
        let end = in_jail(case);
        let verdict = if end == expected { "ok" } else { "FAILED" };
        println!("{name} ... {verdict} ({end:?})");
        failed += i32::from(end != expected);
    };

    // What must work.
    check("computes, allocates, and writes to a given pipe", FINE, works);
    check("starts threads and joins them", FINE, threads);
    check("panics without harm", FINE, || i32::from(std::panic::catch_unwind(|| panic!("on purpose")).is_ok()));
    check("lowers its own priority", FINE, || errno(|| unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 5) }));
    check("aborts by its own signal", End::Signal(libc::SIGABRT), || std::process::abort());

    // Files.
    check("opens no file", EPERM, || errno(|| unsafe { libc::open(c"/etc/passwd".as_ptr(), libc::O_RDONLY) }));
    check("makes no file", EPERM, || {
        errno(|| unsafe { libc::open(c"/tmp/escape".as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600) })
    });
    check("asks for no file", EPERM, || {
        std::fs::metadata("/etc/passwd").err().and_then(|e| e.raw_os_error()).unwrap_or(0)
    });
    check("reads no environment of its parent", EPERM, parents_environment);
    check("lists no folder", EPERM, || std::fs::read_dir("/").err().and_then(|e| e.raw_os_error()).unwrap_or(0));
    check("renames nothing", KILLED, || errno(|| unsafe { libc::rename(c"/tmp/a".as_ptr(), c"/tmp/b".as_ptr()) }));

    check("opens no file by openat", EPERM, || {
        errno(|| unsafe { libc::openat(libc::AT_FDCWD, c"/etc/passwd".as_ptr(), libc::O_RDONLY) })
    });
    check("opens no file by openat2", EPERM, || {
        errno(|| unsafe {
            let how = [0u64; 3];
            let path = c"/etc/passwd".as_ptr();
            libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path, how.as_ptr(), size_of_val(&how)) as i32
        })
    });
    check("opens no file from a thread that it starts", EPERM, || {
        std::thread::spawn(|| errno(|| unsafe { libc::open(c"/etc/passwd".as_ptr(), libc::O_RDONLY) })).join().unwrap()
    });
    check("reads no memory of its parent by a file", EPERM, || open_of_parent("mem"));
    check("finds no descriptors of its parent", EPERM, || open_of_parent("fd"));
    check("reads not even its own memory by a file", EPERM, || {
        errno(|| unsafe { libc::open(c"/proc/self/mem".as_ptr(), libc::O_RDWR) })
    });
    check("makes no folder", KILLED, || errno(|| unsafe { libc::mkdir(c"/tmp/escape".as_ptr(), 0o700) }));
    check("changes no mode", KILLED, || errno(|| unsafe { libc::chmod(c"/tmp".as_ptr(), 0o777) }));
    check("changes no root", KILLED, || errno(|| unsafe { libc::chroot(c"/tmp".as_ptr()) }));
    check("mounts nothing", KILLED, || {
        errno(|| unsafe { libc::mount(c"a".as_ptr(), c"/tmp".as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null()) })
    });
    check("watches no file", KILLED, || errno(|| unsafe { libc::inotify_init1(0) }));

    // Network.
    check("makes no socket", EPERM, || errno(|| unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) }));
    check("makes no local socket", EPERM, || errno(|| unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0) }));
    check("connects nowhere", KILLED, || errno(|| unsafe { libc::connect(3, std::ptr::null(), 0) }));
    check("makes no pair of sockets", KILLED, || {
        errno(|| unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, [0; 2].as_mut_ptr()) })
    });
    check("binds nothing", KILLED, || errno(|| unsafe { libc::bind(3, std::ptr::null(), 0) }));
    check("listens nowhere", KILLED, || errno(|| unsafe { libc::listen(3, 1) }));
    check("accepts nobody", KILLED, || {
        errno(|| unsafe { libc::accept4(3, std::ptr::null_mut(), std::ptr::null_mut(), 0) })
    });
    check("takes no descriptor that is passed", KILLED, || {
        errno(|| unsafe { libc::recvmsg(3, std::ptr::null_mut(), 0) as i32 })
    });
    check("sends no datagram", KILLED, || {
        errno(|| unsafe { libc::sendto(3, std::ptr::null(), 0, 0, std::ptr::null(), 0) as i32 })
    });
    check("passes no descriptor", KILLED, || errno(|| unsafe { libc::sendmsg(3, std::ptr::null(), 0) as i32 }));

    // Processes.
    check("runs no program", EPERM, || {
        errno(|| unsafe { libc::execve(c"/bin/true".as_ptr(), std::ptr::null(), std::ptr::null()) })
    });
    check("runs no program by its descriptor", KILLED, || {
        let arguments: [*const libc::c_char; 1] = [std::ptr::null()];
        let (path, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
        errno(|| unsafe {
            libc::syscall(libc::SYS_execveat, 3, path, arguments.as_ptr(), arguments.as_ptr(), flags) as i32
        })
    });
    check("does not fork by its own call", EPERM, || raw(FORK, [0; 4]));
    check("does not fork by clone", KILLED, || raw(libc::SYS_clone, [libc::SIGCHLD as usize, 0, 0, 0]));
    check("does not share its memory with a new process", KILLED, || {
        raw(libc::SYS_clone, [(libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD) as usize, 0, 0, 0])
    });
    check("does not fork by clone3", End::Exit(libc::ENOSYS), || raw(libc::SYS_clone3, [0; 4]));
    check("makes no namespace", KILLED, || errno(|| unsafe { libc::unshare(libc::CLONE_NEWUSER) }));
    check("enters no namespace", KILLED, || errno(|| unsafe { libc::setns(3, 0) }));
    check("becomes nobody else", KILLED, || raw(libc::SYS_setuid, [0; 4]));
    check("leaves no group", KILLED, || errno(|| unsafe { libc::setsid() }));
    check("does not fork", KILLED, || errno(|| unsafe { libc::fork() }));
    check("traces nobody", EPERM, || errno(|| unsafe { libc::ptrace(libc::PTRACE_ATTACH, parent(), 0, 0) as i32 }));
    check("signals nobody", EPERM, || errno(|| unsafe { libc::kill(parent(), libc::SIGTERM) }));
    check("signals not everybody", EPERM, || errno(|| unsafe { libc::kill(-1, libc::SIGTERM) }));
    check("queues no signal", KILLED, || raw(libc::SYS_rt_sigqueueinfo, [parent() as usize, 15, 0, 0]));
    check("signals nobody by an old call", KILLED, || raw(libc::SYS_tkill, [parent() as usize, 15, 0, 0]));
    check("lowers nobody's priority", KILLED, || {
        errno(|| unsafe { libc::setpriority(libc::PRIO_PROCESS, parent().unsigned_abs(), 19) })
    });
    check("comes not before others", KILLED, || errno(|| unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) }));
    check("lowers not its group's priority", KILLED, || errno(|| unsafe { libc::setpriority(libc::PRIO_PGRP, 0, 19) }));
    check("lowers not its user's priority", KILLED, || errno(|| unsafe { libc::setpriority(libc::PRIO_USER, 0, 19) }));
    check("limits nobody", EPERM, || {
        let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        errno(|| unsafe { libc::prlimit(parent(), libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) })
    });
    check("signals nobody by thread", KILLED, || {
        errno(|| unsafe { libc::syscall(libc::SYS_tgkill, parent(), parent(), libc::SIGTERM) as i32 })
    });
    check("signals nobody by a descriptor's owner", KILLED, || {
        errno(|| unsafe { libc::fcntl(3, libc::F_SETOWN, parent()) })
    });
    check("reads nobody's memory", KILLED, || {
        errno(|| unsafe { libc::process_vm_readv(parent(), std::ptr::null(), 0, std::ptr::null(), 0, 0) as i32 })
    });
    check("writes nobody's memory", KILLED, || {
        errno(|| unsafe { libc::process_vm_writev(parent(), std::ptr::null(), 0, std::ptr::null(), 0, 0) as i32 })
    });
    check("takes no descriptor of a process", KILLED, || raw(libc::SYS_pidfd_getfd, [3, 0, 0, 0]));
    check("opens no process", KILLED, || errno(|| unsafe { libc::syscall(libc::SYS_pidfd_open, parent(), 0) as i32 }));

    // Memory and the jail itself.
    check("maps no executable memory", KILLED, executable_map);
    check("makes no memory executable", KILLED, executable_protect);
    check("makes no memory file", KILLED, || errno(|| unsafe { libc::memfd_create(c"x".as_ptr(), 0) }));
    check("maps no file as a program", KILLED, memory_file);
    check("makes no memory executable by a key", KILLED, || {
        raw(libc::SYS_pkey_mprotect, [0, 4096, (libc::PROT_READ | libc::PROT_EXEC) as usize, 0])
    });
    check("makes not all memory executable", KILLED, || errno(|| unsafe { libc::personality(0x0040_0000) }));
    check("has no rings into the kernel", KILLED, || raw(libc::SYS_io_uring_setup, [8, 0, 0, 0]));
    check("loads no program into the kernel", KILLED, || raw(libc::SYS_bpf, [0; 4]));
    check("measures nobody", KILLED, || raw(libc::SYS_perf_event_open, [0; 4]));
    check("handles no page faults", KILLED, || raw(libc::SYS_userfaultfd, [0; 4]));
    check("reaches no keys", KILLED, || raw(libc::SYS_keyctl, [0; 4]));
    check("shares no memory by name", KILLED, || raw(libc::SYS_shmget, [0, 4096, 0o1777, 0]));
    check("controls no device", EPERM, || errno(|| unsafe { libc::ioctl(2, libc::TIOCSTI, c"x".as_ptr()) }));
    check("takes back no promise", KILLED, || errno(|| unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0) }));
    check("changes no filter by prctl", KILLED, || {
        errno(|| unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, 0, 0, 0) })
    });
    check("changes no filter by seccomp", KILLED, || raw(libc::SYS_seccomp, [1, 0, 0, 0]));
    check("lets nobody attach", KILLED, || {
        errno(|| unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::c_ulong::MAX, 0, 0, 0) })
    });
    check("survives its zygote not by choice", KILLED, || {
        errno(|| unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0, 0, 0, 0) })
    });
    check("lifts no limit", EPERM, lift_limit);
    check("becomes dumpable no more", KILLED, || errno(|| unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) }));
    check("has no environment", FINE, || i32::try_from(std::env::vars_os().count()).unwrap());
    check("has no other descriptor", End::Exit(libc::EBADF), || {
        errno(|| unsafe { libc::fcntl(KEPT as i32, libc::F_GETFD) })
    });
    check("has no descriptor that was open before", End::Exit(libc::EBADF), inherited);
    check("makes few copies of its descriptors", End::Exit(libc::EMFILE), || {
        loop {
            match errno(|| unsafe { libc::fcntl(3, libc::F_DUPFD_CLOEXEC, 0) }) {
                0 => {}
                e => return e,
            }
        }
    });
    check("stays within its memory", FINE, memory);
    check("stays within its processor time", End::Signal(libc::SIGXCPU), || {
        loop {
            std::hint::spin_loop()
        }
    });

    failed += stays_back();
    failed += refused_with_threads();
    failed += refused_without_seccomp();
    assert_eq!(failed, 0, "{failed} cases failed");
}

/// Descriptors 0 to 2 as the test has them, 3 a pipe.
const KEPT: u32 = 4;

/// Forks, closes the jail in the child, runs the case and reports how the child ended.
fn in_jail(case: fn() -> i32) -> End {
    let (reader, writer) = std::io::pipe().unwrap();
    // What an exec would have closed, a fork does not.
    let secret = std::fs::File::open("/proc/self/environ").unwrap();
    INHERITED.store(secret.as_raw_fd(), std::sync::atomic::Ordering::Relaxed);
    // SAFETY: this process has one thread; the child leaves by _exit and never returns from here.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        PARENT.store(unsafe { libc::getppid() }, std::sync::atomic::Ordering::Relaxed);
        unsafe { libc::dup2(writer.as_raw_fd(), 3) };
        let limits = Limits { address_space: 512 << 20, cpu_seconds: 1, nice: 10, descriptors: KEPT };
        let code = match apply(&limits) {
            Ok(_) => case(),
            Err(e) => {
                eprintln!("{e}");
                125
            }
        };
        unsafe { libc::_exit(code) };
    }
    drop((reader, writer));
    wait(pid)
}

fn wait(pid: i32) -> End {
    let mut status = 0;
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    if libc::WIFSIGNALED(status) { End::Signal(libc::WTERMSIG(status)) } else { End::Exit(libc::WEXITSTATUS(status)) }
}

/// getppid is not on the list, so the number is taken before.
static PARENT: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(0);

fn parent() -> i32 {
    PARENT.load(std::sync::atomic::Ordering::Relaxed)
}

/// The error number of a call that must fail; 0 where it worked.
fn errno(call: impl FnOnce() -> i32) -> i32 {
    if call() == -1 { std::io::Error::last_os_error().raw_os_error().unwrap() } else { 0 }
}

fn works() -> i32 {
    let big = vec![7u8; 100 << 20];
    assert_eq!(big.iter().map(|b| u64::from(*b)).sum::<u64>(), 7 * (100 << 20));
    let mut pipe = unsafe { std::fs::File::from_raw_fd(3) };
    // Whether the reading end is still open is the parent's affair: both are an answer, not a kill.
    let _ = pipe.write(b"x");
    i32::from(std::time::Instant::now().elapsed().as_secs() != 0)
}

fn threads() -> i32 {
    let running: Vec<_> = (0..4)
        .map(|i| {
            std::thread::Builder::new()
                .name(format!("t{i}"))
                .spawn(move || vec![i; 1 << 20].iter().sum::<i32>())
                .unwrap()
        })
        .collect();
    let sum: i32 = running.into_iter().map(|t| t.join().unwrap()).sum();
    i32::from(sum != 6 << 20)
}

fn parents_environment() -> i32 {
    // The path of the parent that the host sees, and by number.
    let path = format!("/proc/{}/environ", parent());
    match std::fs::File::open(path) {
        Ok(mut file) => {
            let mut text = Vec::new();
            let _ = file.read_to_end(&mut text);
            0
        }
        Err(e) => e.raw_os_error().unwrap(),
    }
}

fn executable_map() -> i32 {
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    i32::from(at != libc::MAP_FAILED)
}

fn executable_protect() -> i32 {
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    errno(|| unsafe { libc::mprotect(at, 4096, libc::PROT_READ | libc::PROT_EXEC) })
}

fn lift_limit() -> i32 {
    let limit = libc::rlimit { rlim_cur: 1 << 40, rlim_max: 1 << 40 };
    errno(|| unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) })
}

fn memory() -> i32 {
    // More than the limit at once: the allocator says no instead of the host dying.
    let mut big: Vec<u8> = Vec::new();
    i32::from(big.try_reserve_exact(1 << 30).is_ok())
}

#[cfg(target_arch = "x86_64")]
const FORK: libc::c_long = libc::SYS_fork;
/// Where there is no such call, the C library's own way to it.
#[cfg(not(target_arch = "x86_64"))]
const FORK: libc::c_long = libc::SYS_kill;

/// A call as the kernel sees it, whatever the C library would make of it.
fn raw(number: libc::c_long, [a, b, c, d]: [usize; 4]) -> i32 {
    errno(|| unsafe { libc::syscall(number, a, b, c, d, 0, 0) as i32 })
}

fn open_of_parent(file: &str) -> i32 {
    let path = std::ffi::CString::new(format!("/proc/{}/{file}", parent())).unwrap();
    errno(|| unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) })
}

/// A program in memory that is no file: made, written and mapped to be run.
fn memory_file() -> i32 {
    let file = unsafe { libc::memfd_create(c"x".as_ptr(), 0) };
    let rights = libc::PROT_READ | libc::PROT_EXEC;
    let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, rights, libc::MAP_PRIVATE, file, 0) };
    i32::from(at == libc::MAP_FAILED)
}

/// The number of a descriptor that the parent opened before it forked.
static INHERITED: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(-1);

fn inherited() -> i32 {
    errno(|| unsafe { libc::fcntl(INHERITED.load(std::sync::atomic::Ordering::Relaxed), libc::F_GETFD) })
}

/// A worker of campaigns gives way to all others, and so do its decoders: without privileges nobody comes forward again.
fn stays_back() -> i32 {
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let code = unsafe {
            assert_eq!(libc::setpriority(libc::PRIO_PROCESS, 0, 15), 0);
            // Root could; whoever is not root stays who they are.
            libc::setuid(65_534);
            match apply(&Limits { nice: 5, descriptors: KEPT, ..Limits::default() }) {
                Ok(_) => i32::from(libc::getpriority(libc::PRIO_PROCESS, 0) != 15),
                Err(e) => {
                    eprintln!("{e}");
                    2
                }
            }
        };
        unsafe { libc::_exit(code) };
    }
    match wait(pid) {
        End::Exit(code) => code,
        End::Signal(_) => 3,
    }
}

/// Where a filter around us denies seccomp(2) and prctl(2)'s way to it, as a container's profile may, nothing runs.
fn refused_without_seccomp() -> i32 {
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    };
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let mode = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::PR_SET_SECCOMP as u64);
        let by_prctl = SeccompRule::new(vec![mode.unwrap()]).unwrap();
        let denied = [(libc::SYS_seccomp, Vec::new()), (libc::SYS_prctl, vec![by_prctl])].into();
        let eperm = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(denied, SeccompAction::Allow, eperm, arch).unwrap();
        seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
        let code = match (probe().seccomp, apply(&Limits { descriptors: KEPT, ..Limits::default() })) {
            (Err(_), Err(JailError::Seccomp(why))) if !why.is_empty() => 0,
            other => {
                eprintln!("{other:?}");
                1
            }
        };
        unsafe { libc::_exit(code) };
    }
    let end = wait(pid);
    println!("is refused where no filter can be set ... {end:?}");
    i32::from(end != FINE)
}

/// A jail with another thread outside would be no jail.
fn refused_with_threads() -> i32 {
    let (reader, writer) = std::io::pipe().unwrap();
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let mut reader = reader;
        let _other = std::thread::spawn(move || reader.read(&mut [0])); // until the parent closes its end
        let code = match apply(&Limits { descriptors: 64, ..Limits::default() }) {
            Err(JailError::Threads(2)) => 0,
            other => {
                eprintln!("{other:?}");
                1
            }
        };
        unsafe { libc::_exit(code) };
    }
    drop(reader);
    let end = wait(pid);
    drop(writer);
    println!("is refused beside another thread ... {end:?}");
    i32::from(end != FINE)
}
