//! The few calls on processes and descriptors that the zygote needs, each with the reason why it is sound.
//!
//! Guarantee: [`fork`] is only ever called while the process has one thread, and the child's closure never returns into
//! the code of the zygote: it ends the process, whatever happens in it.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::zygote::{OUTPUT, SOURCE};

/// Above every number that a child gets, so that moving descriptors never overwrites one.
const SPARE: RawFd = 16;

/// A child that has ended.
pub struct End {
    pub pid: i32,
    pub signal: Option<i32>,
    pub exit: Option<i32>,
    pub cpu_ms: u64,
    pub max_rss_kib: u64,
}

fn ok(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Takes the control socket from standard input and leaves nothing else open but null, null and stderr. From here on
/// the process dies with the thread that started it, and signals meant for the worker's group don't end it.
pub fn become_zygote() -> io::Result<OwnedFd> {
    // SAFETY: calls with numbers only. The duplicated descriptor is new and owned by nobody else; the ranges closed
    // around it hold descriptors that were inherited by mistake, since this is the first thing the program does.
    unsafe {
        ok(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0))?;
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            if libc::signal(signal, libc::SIG_IGN) == libc::SIG_ERR {
                return Err(io::Error::last_os_error());
            }
        }
        // A few arenas instead of eight per processor: each reserves 64 MiB of the address space that is limited.
        libc::mallopt(libc::M_ARENA_MAX, 4);
        let control = ok(libc::fcntl(0, libc::F_DUPFD_CLOEXEC, SPARE))?;
        let null = ok(libc::open(c"/dev/null".as_ptr(), libc::O_RDWR))?;
        ok(libc::dup2(null, 0))?;
        ok(libc::dup2(null, 1))?;
        // Linux 5.9; on an older kernel whatever was inherited is closed in each child by the jail.
        libc::syscall(libc::SYS_close_range, 3, control - 1, 0);
        libc::syscall(libc::SYS_close_range, control + 1, u32::MAX, 0);
        Ok(OwnedFd::from_raw_fd(control))
    }
}

/// Forks. The child dies with this process, runs `child`, and ends with its result (101 after a panic).
pub fn fork(child: impl FnOnce() -> io::Result<i32>) -> io::Result<i32> {
    let parent = std::process::id();
    // SAFETY: one thread (the jail refuses otherwise), so the copy holds no lock of another thread.
    let pid = ok(unsafe { libc::fork() })?;
    if pid != 0 {
        return Ok(pid);
    }
    let result = catch_unwind(AssertUnwindSafe(|| {
        belong_to(parent)?;
        child()
    }));
    let code = match result {
        Ok(Ok(code)) => code,
        Ok(Err(e)) => {
            eprintln!("decoder child: {e}");
            libc::EXIT_FAILURE
        }
        Err(_) => 101,
    };
    // SAFETY: ends this copy at once, without running the exit handlers that belong to the zygote.
    unsafe { libc::_exit(code) }
}

/// Ties this process to its parent and undoes the signal mask of the zygote.
fn belong_to(parent: u32) -> io::Result<()> {
    // SAFETY: numbers only; the signal set is initialised before it is read.
    unsafe {
        ok(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0))?;
        if libc::getppid().unsigned_abs() != parent {
            libc::_exit(0); // it died between the fork and the call before
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        ok(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()))?;
    }
    Ok(())
}

/// Puts a child's descriptors on their numbers.
pub fn arrange(source: BorrowedFd<'_>, output: BorrowedFd<'_>, stderr: BorrowedFd<'_>) -> io::Result<()> {
    let wanted = [(source, SOURCE), (output, OUTPUT), (stderr, libc::STDERR_FILENO)];
    let mut aside = [(0, 0); 3];
    for (slot, (given, number)) in aside.iter_mut().zip(wanted) {
        // SAFETY: first every one is moved above all wanted numbers, then down: no one overwrites another.
        *slot = (ok(unsafe { libc::fcntl(given.as_raw_fd(), libc::F_DUPFD, SPARE) })?, number);
    }
    for (from, number) in aside {
        // SAFETY: 2, 3 and 4 of this child are free to be replaced; what stood there belongs to the zygote's copy.
        ok(unsafe { libc::dup2(from, number) })?;
    }
    Ok(())
}

/// The file on a descriptor that nobody else in this process uses any more.
pub fn own_file(number: RawFd) -> File {
    // SAFETY: called once for each number, in a child, for what `arrange` put there.
    unsafe { File::from_raw_fd(number) }
}

/// A file on a descriptor that stays open when the file is dropped.
pub fn borrowed_file(number: RawFd) -> ManuallyDrop<File> {
    // SAFETY: the number is open for the life of the process and the file never closes it.
    ManuallyDrop::new(unsafe { File::from_raw_fd(number) })
}

/// A descriptor that can be read whenever a child has ended.
pub fn watch_children() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised before use, and the descriptor is new.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        ok(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        let fd = ok(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Empties that descriptor.
pub fn drain(watch: &OwnedFd) -> io::Result<()> {
    let mut signals = [0u8; 16 * size_of::<libc::signalfd_siginfo>()];
    loop {
        match rustix::io::read(watch, &mut signals) {
            Ok(0) | Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// The next child that has ended, without waiting.
pub fn next_end() -> io::Result<Option<End>> {
    let mut status = 0;
    // SAFETY: both pointers are to live values of the right type; all-zero is a valid rusage.
    let (pid, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage), usage)
    };
    match pid {
        0 => Ok(None),
        -1 => match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::ECHILD) => Ok(None),
            e => Err(e),
        },
        pid => {
            let ms = |t: libc::timeval| (t.tv_sec * 1000 + t.tv_usec / 1000).unsigned_abs();
            Ok(Some(End {
                pid,
                signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
                exit: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
                cpu_ms: ms(usage.ru_utime) + ms(usage.ru_stime),
                max_rss_kib: usage.ru_maxrss.unsigned_abs(),
            }))
        }
    }
}

/// Waits for one child.
pub fn wait(pid: i32) -> io::Result<()> {
    let mut status = 0;
    // SAFETY: a pointer to a live integer.
    ok(unsafe { libc::waitpid(pid, &raw mut status, 0) })?;
    Ok(())
}

/// Kills a child that has not been waited for, so the number is still its own.
pub fn kill(pid: i32) {
    // SAFETY: numbers only.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}
