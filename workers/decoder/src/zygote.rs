//! The zygote: makes one jailed child per attempt in milliseconds, and never touches media itself.
//!
//! Guarantee: the process that forks has one thread, holds nothing but its control socket, and reads no byte of any
//! source; a child reads its first byte only behind the jail. Whoever's parent dies, dies: the zygote with the worker's
//! thread that started it, a child with the zygote.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use reelfleet_jail::Limits;
use reelfleet_wire::zygote::{Command, DESCRIPTORS, Landlock, MAX_MESSAGE, Missing, Report, decode, encode};
use reelfleet_wire::{FailCode, OutputHeader, write_output};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, SocketType};

use crate::process;

/// What a child does, given its source socket and its output pipe.
pub type Work = fn(File, File) -> i32;

/// Exit codes of `sysexits.h`: used wrongly, and a fault of the system.
const EX_USAGE: i32 = 64;
const EX_OSERR: i32 = 71;

/// Where a child finds its source socket and its output pipe; stderr is 2, and 0 and 1 are null.
pub const SOURCE: RawFd = 3;
pub const OUTPUT: RawFd = 4;
/// Descriptors of a child that stay open: 0 to 4.
const KEPT: u32 = 5;

/// Serves the worker until it goes away. `prepare` initialises the libraries (it must start no thread and read no
/// media) and says what they lack; `work` is run in each child, behind the jail, on its source socket and its output pipe, and its result is
/// the child's exit code.
pub fn run(prepare: fn() -> Missing, work: Work) -> i32 {
    let control =
        match process::become_zygote().and_then(|control| match rustix::net::sockopt::socket_type(&control)? {
            SocketType::SEQPACKET => Ok(control),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }) {
            Ok(control) => control,
            Err(_) => {
                eprintln!("reelfleet-decoder is started by reelfleet; its standard input must be the control socket");
                return EX_USAGE;
            }
        };
    let lacking = prepare();
    let mut ready = trial();
    if let Report::Ready { missing, .. } = &mut ready {
        *missing = lacking;
    }
    let usable = matches!(ready, Report::Ready { .. });
    let zygote = Zygote { control, work, children: HashMap::new() };
    if zygote.say(&ready).is_err() || !usable {
        return EX_OSERR;
    }
    match zygote.run() {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("zygote: {e}");
            EX_OSERR
        }
    }
}

/// Lets one child close the jail, so that a place where it can't be closed is known before any work is taken.
fn trial() -> Report {
    let try_it = || -> io::Result<Vec<u8>> {
        let (reader, writer) = io::pipe()?;
        let pid = process::fork(|| {
            let mut to = process::borrowed_file(writer.as_raw_fd());
            let limits = Limits { descriptors: writer.as_raw_fd().unsigned_abs() + 1, ..Limits::default() };
            let report = match reelfleet_jail::apply(&limits) {
                Ok(level) => ready(level),
                Err(e) => Report::Refused { why: e.to_string() },
            };
            to.write_all(&encode(&report).map_err(io::Error::other)?)?;
            Ok(0)
        })?;
        drop(writer);
        let mut report = Vec::new();
        let read = reader.take(MAX_MESSAGE as u64).read_to_end(&mut report);
        process::wait(pid)?;
        read.map(|_| report)
    };
    match try_it() {
        Ok(report) => {
            decode(&report).unwrap_or_else(|_| Report::Refused { why: "a child died when it closed the jail".into() })
        }
        Err(e) => Report::Refused { why: format!("no child can be made: {e}") },
    }
}

fn ready(level: reelfleet_jail::Level) -> Report {
    let landlock = match level.landlock {
        reelfleet_jail::Landlock::Full => Landlock::Full,
        reelfleet_jail::Landlock::Partial => Landlock::Partial,
        reelfleet_jail::Landlock::None => Landlock::None,
    };
    let (jail, landlock_abi, missing) = (level.to_string(), level.landlock_abi, Missing::default());
    Report::Ready { jail, landlock, landlock_abi, missing }
}

struct Zygote {
    control: OwnedFd,
    work: Work,
    /// Live children by ticket. An entry goes when its child has been waited for, so a pid here is never another's.
    children: HashMap<u64, i32>,
}

impl Zygote {
    /// Returns when the worker has closed its end. Children are killed then.
    fn run(mut self) -> io::Result<()> {
        let ended = process::watch_children()?;
        loop {
            let mut ready = [PollFd::new(&self.control, PollFlags::IN), PollFd::new(&ended, PollFlags::IN)];
            match poll(&mut ready, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            let (command, end) = (!ready[0].revents().is_empty(), !ready[1].revents().is_empty());
            if end {
                process::drain(&ended)?;
                self.reap()?;
            }
            if command && !self.obey()? {
                for pid in self.children.values() {
                    process::kill(*pid);
                }
                return Ok(());
            }
        }
    }

    /// Takes one command; false at the end of the socket.
    fn obey(&mut self) -> io::Result<bool> {
        let mut packet = [0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let got = rustix::net::recvmsg(
            &self.control,
            &mut [IoSliceMut::new(&mut packet)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        if got.bytes == 0 {
            return Ok(false);
        }
        let mut descriptors: Vec<OwnedFd> = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::other("a command does not fit"));
        }
        let bytes = packet.get(..got.bytes).unwrap_or_default();
        match decode(bytes).map_err(io::Error::other)? {
            Command::Kill { ticket } => {
                if let Some(pid) = self.children.get(&ticket) {
                    process::kill(*pid);
                }
            }
            Command::Fork { ticket, address_space, cpu_seconds, nice } => {
                let limits = Limits { address_space, cpu_seconds, nice, descriptors: KEPT };
                let made = match <[OwnedFd; DESCRIPTORS]>::try_from(descriptors) {
                    Ok(given) => self.fork(given, limits),
                    Err(_) => Err(io::Error::other("three descriptors belong to a fork")),
                };
                let report = match made {
                    Ok(pid) => {
                        self.children.insert(ticket, pid);
                        Report::Forked { ticket, pid: pid.unsigned_abs() }
                    }
                    Err(e) => Report::Failed { ticket, why: e.to_string() },
                };
                self.say(&report)?;
            }
        }
        Ok(true)
    }

    fn fork(&self, given: [OwnedFd; DESCRIPTORS], limits: Limits) -> io::Result<i32> {
        let work = self.work;
        process::fork(|| {
            let [source, output, stderr] = &given;
            process::arrange(source.as_fd(), output.as_fd(), stderr.as_fd())?;
            match reelfleet_jail::apply(&limits) {
                Ok(_) => Ok(work(process::own_file(SOURCE), process::own_file(OUTPUT))),
                Err(e) => {
                    let failed = OutputHeader::Failed { code: FailCode::Internal, detail: e.to_string() };
                    let _ = write_output(&mut *process::borrowed_file(OUTPUT), &failed, &[]);
                    Ok(EX_OSERR)
                }
            }
        })
    }

    /// Reports every child that has ended.
    fn reap(&mut self) -> io::Result<()> {
        while let Some(end) = process::next_end()? {
            let Some(ticket) = self.children.iter().find(|(_, pid)| **pid == end.pid).map(|(ticket, _)| *ticket) else {
                continue;
            };
            self.children.remove(&ticket);
            self.say(&Report::Exited {
                ticket,
                signal: end.signal,
                exit: end.exit,
                cpu_ms: end.cpu_ms,
                max_rss_kib: end.max_rss_kib,
            })?;
        }
        Ok(())
    }

    fn say(&self, report: &Report) -> io::Result<()> {
        let packet = encode(report).map_err(io::Error::other)?;
        let to: BorrowedFd<'_> = self.control.as_fd();
        rustix::io::retry_on_intr(|| rustix::net::send(to, &packet, SendFlags::NOSIGNAL))?;
        Ok(())
    }
}
