//! This worker's end of the zygote.
//!
//! Guarantee: the zygote dies with this process. The kernel ties it to the thread that started it, so that thread lives
//! exactly as long as the zygote does: it reads the zygote's reports until the socket closes, then waits for it.

use std::collections::HashMap;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use reelfleet_wire::zygote::{Command, DESCRIPTORS, Landlock, MAX_MESSAGE, Missing, Report, decode, encode};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType,
};
use tokio::sync::oneshot;

use crate::error::MediaError;
use crate::limits::ChildLimits;
use crate::memory::Room;

/// How strong the jail is that a trial child closed.
#[derive(Debug, Clone)]
pub(crate) struct Jail {
    /// In words.
    pub(crate) text: String,
    pub(crate) landlock: Landlock,
    pub(crate) landlock_abi: u32,
    /// Said with it: what the decoder's FFmpeg was built without.
    pub(crate) missing: Missing,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) signal: Option<i32>,
    pub(crate) exit: Option<i32>,
    pub(crate) cpu_ms: u64,
}

/// A child that was made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) pid: u32,
    /// Comes when it has ended; an error where the zygote died first.
    pub(crate) exited: oneshot::Receiver<Exit>,
    pub(crate) life: Life,
}

/// Kills its child when dropped.
#[derive(Debug)]
pub(crate) struct Life {
    zygote: Arc<Zygote>,
    ticket: u64,
    /// The memory that is its.
    pub(crate) room: Option<Room>,
}

impl Drop for Life {
    fn drop(&mut self) {
        // It may have ended, and the zygote may have died; then there is nothing to kill.
        let _ = self.zygote.send(&Command::Kill { ticket: self.ticket }, &[]);
    }
}

/// One running zygote. Dropping the last reference ends it and all its children.
#[derive(Debug)]
pub(crate) struct Zygote {
    control: Arc<OwnedFd>,
    waiting: Arc<Mutex<Waiting>>,
    next: AtomicU64,
    pub(crate) jail: Jail,
}

#[derive(Debug, Default)]
struct Waiting {
    dead: bool,
    children: HashMap<u64, Waiter>,
}

#[derive(Debug)]
struct Waiter {
    forked: Option<oneshot::Sender<Result<u32, String>>>,
    exited: oneshot::Sender<Exit>,
}

fn locked(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Zygote {
    /// Starts one and waits (some 100 ms) until it has proven that the jail closes. Blocks the thread.
    pub(crate) fn start(program: &Path) -> Result<Arc<Self>, MediaError> {
        let (tell, told) = mpsc::sync_channel(1);
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let (path, children) = (program.to_owned(), Arc::clone(&waiting));
        let failed = |e: io::Error| MediaError::Start { program: program.to_owned(), why: e.to_string() };
        std::thread::Builder::new()
            .name("decoder-zygote".into())
            .spawn(move || live_with(path, &children, &tell))
            .map_err(failed)?;
        let (control, jail) = told.recv().map_err(|_| failed(io::Error::other("its thread ended")))??;
        Ok(Arc::new(Self { control, waiting, next: AtomicU64::new(1), jail }))
    }

    pub(crate) fn is_dead(&self) -> bool {
        locked(&self.waiting).dead
    }

    /// Makes a child that gets these descriptors: source socket, output pipe, stderr pipe.
    pub(crate) async fn fork(
        self: &Arc<Self>,
        limits: ChildLimits,
        given: [OwnedFd; DESCRIPTORS],
    ) -> Result<Made, MediaError> {
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        let (forked_tx, forked) = oneshot::channel();
        let (exited_tx, exited) = oneshot::channel();
        {
            let mut waiting = locked(&self.waiting);
            if waiting.dead {
                return Err(MediaError::Zygote("the zygote has died".into()));
            }
            waiting.children.insert(ticket, Waiter { forked: Some(forked_tx), exited: exited_tx });
        }
        // From here on the child is killed if this future is dropped.
        let life = Life { zygote: Arc::clone(self), ticket, room: None };
        let fds = given.each_ref().map(AsFd::as_fd);
        let ChildLimits { address_space, cpu_seconds, nice } = limits;
        if let Err(e) = self.send(&Command::Fork { ticket, address_space, cpu_seconds, nice }, &fds) {
            locked(&self.waiting).children.remove(&ticket);
            return Err(MediaError::Zygote(e.to_string()));
        }
        drop(given);
        match forked.await {
            Ok(Ok(pid)) => Ok(Made { pid, exited, life }),
            Ok(Err(why)) => Err(MediaError::Zygote(why)),
            Err(_) => Err(MediaError::Zygote("the zygote has died".into())),
        }
    }

    fn send(&self, command: &Command, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let packet = encode(command).map_err(io::Error::other)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::other("descriptors don't fit"));
        }
        rustix::net::sendmsg(&self.control, &[IoSlice::new(&packet)], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(&self.control, Shutdown::Both);
    }
}

type Told = Result<(Arc<OwnedFd>, Jail), MediaError>;

/// The life of the thread that is the zygote's parent.
fn live_with(program: PathBuf, waiting: &Mutex<Waiting>, tell: &mpsc::SyncSender<Told>) {
    let (control, mut child) = match spawn(&program) {
        Ok(started) => started,
        Err(e) => {
            let _ = tell.send(Err(MediaError::Start { program, why: e.to_string() }));
            return;
        }
    };
    let control = Arc::new(control);
    let first = next_report(&control);
    let said = match first {
        Some(Report::Ready { jail: text, landlock, landlock_abi, missing }) => {
            let _ = tell.send(Ok((Arc::clone(&control), Jail { text, landlock, landlock_abi, missing })));
            while let Some(report) = next_report(&control) {
                hear(report, waiting);
            }
            None
        }
        Some(Report::Refused { why }) => Some(MediaError::Jail(why)),
        _ => None,
    };
    // The socket is closed: the zygote has ended, or does now, and its children with it.
    {
        let mut waiting = locked(waiting);
        waiting.dead = true;
        waiting.children.clear();
    }
    drop(control);
    let mut text = String::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(16 << 10).read_to_string(&mut text);
    }
    let ending = child.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
    if !text.is_empty() {
        tracing::warn!(%ending, stderr = text.trim(), "the decoder zygote ended");
    }
    // Where it never became ready, somebody still waits for the reason; else nobody listens.
    let why = format!("{ending}; {}", text.trim());
    let _ = tell.try_send(Err(said.unwrap_or(MediaError::Start { program, why })));
}

fn spawn(program: &Path) -> io::Result<(OwnedFd, Child)> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let child = std::process::Command::new(program)
        .env_clear()
        .current_dir("/")
        .process_group(0) // an interrupt from the terminal is for the worker, which drains
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    Ok((ours, child))
}

fn next_report(control: &OwnedFd) -> Option<Report> {
    let mut packet = [0; MAX_MESSAGE];
    let (bytes, _) = rustix::io::retry_on_intr(|| rustix::net::recv(control, &mut packet, RecvFlags::empty())).ok()?;
    let packet = packet.get(..bytes).filter(|p| !p.is_empty())?;
    decode(packet).inspect_err(|e| tracing::error!(error = %e, "the decoder zygote sent nonsense")).ok()
}

fn hear(report: Report, waiting: &Mutex<Waiting>) {
    let mut waiting = locked(waiting);
    match report {
        Report::Forked { ticket, pid } => {
            if let Some(forked) = waiting.children.get_mut(&ticket).and_then(|w| w.forked.take()) {
                let _ = forked.send(Ok(pid));
            }
        }
        Report::Failed { ticket, why } => {
            if let Some(forked) = waiting.children.remove(&ticket).and_then(|w| w.forked) {
                let _ = forked.send(Err(why));
            }
        }
        Report::Exited { ticket, signal, exit, cpu_ms, max_rss_kib } => {
            tracing::debug!(ticket, signal, exit, cpu_ms, max_rss_kib, "decoder ended");
            if let Some(waiter) = waiting.children.remove(&ticket) {
                let _ = waiter.exited.send(Exit { signal, exit, cpu_ms });
            }
        }
        Report::Ready { .. } | Report::Refused { .. } => {}
    }
}
