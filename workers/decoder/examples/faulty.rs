//! A decoder that does wrong when a source tells it to: for tests of the jail around it and of whoever waits for it.
//!
//! It is the product's zygote, jail and server; only the work of a child is changed. A source whose first 256 bytes hold
//! `FAULT:op:what;` (op: `probe`, `encode` …, or `any`) makes the child do `what` when it is asked for `op`; any other
//! source is served as ever. What a jailed child tries and is refused ends it with that error number as its exit code.

#![allow(unsafe_code, clippy::unwrap_used)]

use std::fs::File;
use std::io::Write;
use std::ptr::null;
use std::sync::atomic::{AtomicU32, Ordering};

use reelfleet_wire::{
    OutputHeader, ProgressReport, ReadAt, ReadStatus, Request, read_reply, read_request, write_output, write_read_at,
};

static ZYGOTE: AtomicU32 = AtomicU32::new(0);

fn main() {
    ZYGOTE.store(std::process::id(), Ordering::Relaxed);
    std::process::exit(reelfleet_decoder::zygote::run(reelfleet_decoder::prepare, work));
}

fn work(mut source: File, output: File) -> i32 {
    let request = read_request(&mut source);
    let told = request.as_ref().ok().and_then(|request| told(&mut source, request));
    match told {
        Some(what) => fault(&what, output),
        None => reelfleet_decoder::serve_request(request, source, output),
    }
}

/// What the source says to do wrong at this request.
fn told(source: &mut File, request: &Request) -> Option<String> {
    let len = u32::try_from(request.size().min(256)).ok().filter(|len| *len > 0)?;
    let (ask, mut head) = (ReadAt { offset: 0, len }, Vec::new());
    write_read_at(source, ask).ok()?;
    if read_reply(source, ask, &mut head).ok()? != ReadStatus::Ok {
        return None;
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let (op, rest) = text.split_once("FAULT:")?.1.split_once(':')?;
    let what = rest.split_once(';')?.0;
    let asked = match request {
        Request::Probe { .. } => "probe",
        Request::Index { .. } => "index",
        Request::Encode(_) => "encode",
        Request::Audio(_) => "audio",
        Request::Pictures(_) => "pictures",
        Request::Still(_) => "still",
    };
    (op == asked || op == "any").then(|| what.to_owned())
}

fn fault(what: &str, mut output: File) -> i32 {
    // SAFETY: every call takes numbers, static text or null; none of them is meant to succeed, and the process ends.
    unsafe {
        match what {
            // Faults of a decoder.
            "segv" => std::ptr::read_volatile(std::ptr::without_provenance::<i32>(8)),
            "abort" => std::process::abort(),
            "panic" => panic!("on purpose"),
            "exit" => 3,
            "kill" => libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), libc::SIGKILL) as i32,
            "hang" => loop {
                std::thread::park();
            },
            "spin" => loop {
                std::hint::spin_loop();
            },
            "memory" => {
                // Until the limit on the address space says no, and then as any allocation that is not checked.
                let mut all: Vec<Vec<u8>> = Vec::new();
                loop {
                    all.push(vec![0; 64 << 20]);
                }
            }
            "nonsense" => i32::from(output.write_all(&[0xff; 4096]).is_err()),
            // Says that it moves, for ever, and does not.
            "flood" => {
                let same = OutputHeader::Progress(ProgressReport { done_us: 1, frames: 1, fps: 1.0 });
                while write_output(&mut output, &same, &[]).is_ok() {}
                4
            }
            // What an exploit would try next.
            "open" => errno(libc::open(c"/etc/passwd".as_ptr(), libc::O_RDONLY)),
            "create" => errno(libc::open(c"/tmp/reelfleet-escape".as_ptr(), libc::O_CREAT | libc::O_WRONLY, 0o600)),
            "environ" => {
                // The zygote's own. A child can't ask for its number any more, so it was taken down before.
                let path = format!("/proc/{}/environ\0", ZYGOTE.load(Ordering::Relaxed));
                errno(libc::open(path.as_ptr().cast(), libc::O_RDONLY))
            }
            "socket" => errno(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0)),
            "connect" => errno(libc::connect(3, null(), 0)),
            "exec" => errno(libc::execve(c"/bin/sh".as_ptr(), null(), null())),
            "fork" => errno(libc::fork()),
            "ptrace" => errno(libc::ptrace(libc::PTRACE_ATTACH, 1, 0, 0) as i32),
            "readv" => errno(libc::process_vm_readv(1, null(), 0, null(), 0, 0) as i32),
            "killer" => errno(libc::kill(1, 0)),
            other => panic!("no fault {other}"),
        }
    }
}

fn errno(result: i32) -> i32 {
    if result == -1 { std::io::Error::last_os_error().raw_os_error().unwrap() } else { 0 }
}
