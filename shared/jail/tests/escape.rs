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

    // Network.
    check("makes no socket", EPERM, || errno(|| unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) }));
    check("makes no local socket", EPERM, || errno(|| unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0) }));
    check("connects nowhere", KILLED, || errno(|| unsafe { libc::connect(3, std::ptr::null(), 0) }));
    check("sends no datagram", KILLED, || {
        errno(|| unsafe { libc::sendto(3, std::ptr::null(), 0, 0, std::ptr::null(), 0) as i32 })
    });
    check("passes no descriptor", KILLED, || errno(|| unsafe { libc::sendmsg(3, std::ptr::null(), 0) as i32 }));

    // Processes.
    check("runs no program", EPERM, || {
        errno(|| unsafe { libc::execve(c"/bin/true".as_ptr(), std::ptr::null(), std::ptr::null()) })
    });
    check("does not fork", KILLED, || errno(|| unsafe { libc::fork() }));
    check("traces nobody", EPERM, || errno(|| unsafe { libc::ptrace(libc::PTRACE_ATTACH, parent(), 0, 0) as i32 }));
    check("signals nobody", EPERM, || errno(|| unsafe { libc::kill(parent(), libc::SIGTERM) }));
    check("signals nobody by thread", KILLED, || {
        errno(|| unsafe { libc::syscall(libc::SYS_tgkill, parent(), parent(), libc::SIGTERM) as i32 })
    });
    check("signals nobody by a descriptor's owner", KILLED, || {
        errno(|| unsafe { libc::fcntl(3, libc::F_SETOWN, parent()) })
    });
    check("reads nobody's memory", KILLED, || {
        errno(|| unsafe { libc::process_vm_readv(parent(), std::ptr::null(), 0, std::ptr::null(), 0, 0) as i32 })
    });
    check("opens no process", KILLED, || errno(|| unsafe { libc::syscall(libc::SYS_pidfd_open, parent(), 0) as i32 }));

    // Memory and the jail itself.
    check("maps no executable memory", KILLED, executable_map);
    check("makes no memory executable", KILLED, executable_protect);
    check("makes no memory file", KILLED, || errno(|| unsafe { libc::memfd_create(c"x".as_ptr(), 0) }));
    check("lifts no limit", EPERM, lift_limit);
    check("becomes dumpable no more", KILLED, || errno(|| unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) }));
    check("has no environment", FINE, || i32::try_from(std::env::vars_os().count()).unwrap());
    check("has no other descriptor", End::Exit(libc::EBADF), || {
        errno(|| unsafe { libc::fcntl(KEPT as i32, libc::F_GETFD) })
    });
    check("stays within its memory", FINE, memory);
    check("stays within its processor time", End::Signal(libc::SIGXCPU), || {
        loop {
            std::hint::spin_loop()
        }
    });

    failed += refused_with_threads();
    assert_eq!(failed, 0, "{failed} cases failed");
}

/// Descriptors 0 to 2 as the test has them, 3 a pipe.
const KEPT: u32 = 4;

/// Forks, closes the jail in the child, runs the case and reports how the child ended.
fn in_jail(case: fn() -> i32) -> End {
    let (reader, writer) = std::io::pipe().unwrap();
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
