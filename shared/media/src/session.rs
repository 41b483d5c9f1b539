//! One decoder at work.
//!
//! Guarantee: a session ends in exactly one of two ways, `Done` or an error; its child never outlives it; and waiting
//! for the next output can be given up and taken up again without losing one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reelfleet_telemetry::DecoderCrashed;
use reelfleet_wire::{OutputHeader, Request};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::clocks::{Clocks, Meter};
use crate::error::DecodeError;
use crate::output::{self, End, Output, Outputs};
use crate::source::{self, Source};
use crate::zygote::{Exit, Life, Made};

/// Outputs that wait for the consumer besides the one it holds. Each may be a whole segment.
const WAITING: usize = 2;
/// How much of stderr is kept.
const TAIL: usize = 8 << 10;
/// How long the news of an end may take after the pipe has closed. It is on its way; this bounds a broken host.
const NEWS: std::time::Duration = std::time::Duration::from_secs(5);

/// This process's ends of a decoder's descriptors.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) source: UnixStream,
    pub(crate) output: pipe::Receiver,
    pub(crate) stderr: pipe::Receiver,
}

/// A running request. Dropping it kills the decoder.
#[derive(Debug)]
pub struct Session {
    outputs: mpsc::Receiver<Result<Output, DecodeError>>,
    state: State,
    pid: u32,
    reads: Arc<AtomicU64>,
    /// Comes when a decoder that was done has ended.
    ended: Option<oneshot::Receiver<u64>>,
    cpu_ms: u64,
    task: AbortHandle,
}

/// What a decoder has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Milliseconds of a processor, over all its threads, as the kernel counts them.
    pub cpu_ms: u64,
    /// Reads of the source.
    pub reads: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Done,
    Failed,
}

impl Session {
    pub(crate) fn begin(
        made: Made,
        ends: Ends,
        request: Request,
        packet: Vec<u8>,
        source: Source,
        clocks: Clocks,
    ) -> Self {
        let (to, outputs) = mpsc::channel(WAITING);
        let pid = made.pid;
        let reads = Arc::new(AtomicU64::new(0));
        let source = source.counted(Arc::clone(&reads));
        let (say, ended) = oneshot::channel();
        let task = tokio::spawn(drive(made, ends, request, packet, source, clocks, to, say)).abort_handle();
        Self { outputs, state: State::Running, pid, reads, ended: Some(ended), cpu_ms: 0, task }
    }

    /// The next output; `None` after `Done`. May be dropped while it waits, as in `select!`.
    ///
    /// # Errors
    /// The one reason why the session failed. What came before it is whole and may be used.
    pub async fn next(&mut self) -> Result<Option<Output>, DecodeError> {
        match self.state {
            State::Done => return Ok(None),
            State::Failed => {
                return Err(DecodeError::Protocol("the session had failed before".into()));
            }
            State::Running => {}
        }
        let next = self.outputs.recv().await;
        let ended = || DecodeError::Protocol("the session ended without a result".into());
        let result = next.unwrap_or_else(|| Err(ended()));
        match &result {
            Ok(output) if matches!(output.header, OutputHeader::Done { .. }) => self.state = State::Done,
            Ok(_) => {}
            Err(_) => self.state = State::Failed,
        }
        result.map(Some)
    }

    /// What the decoder has used until now; after `Done`, all that it used.
    pub async fn usage(&mut self) -> Usage {
        match (self.state, self.ended.take()) {
            (State::Done, Some(ended)) => self.cpu_ms = ended.await.unwrap_or(self.cpu_ms).max(self.cpu_ms),
            (State::Running, ended) => {
                self.ended = ended;
                self.cpu_ms = self.cpu_ms.max(cpu_ms_of(self.pid).unwrap_or(0));
            }
            _ => {}
        }
        Usage { cpu_ms: self.cpu_ms, reads: self.reads.load(Ordering::Relaxed) }
    }

    /// The decoder's process id, for logs.
    pub fn pid(&self) -> u32 {
        self.pid
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort(); // which drops the child's `Life`
    }
}

/// Processor time of a process that runs, all its threads together (proc(5): `utime` and `stime`, in hundredths).
fn cpu_ms_of(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, which may hold anything, is in brackets.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks * 10)
}

#[expect(clippy::too_many_arguments, reason = "called once; a struct would only rename them")]
async fn drive(
    made: Made,
    ends: Ends,
    request: Request,
    packet: Vec<u8>,
    source: Source,
    clocks: Clocks,
    to: Outputs,
    say: oneshot::Sender<u64>,
) {
    let Made { exited, life, .. } = made;
    let work = attend(exited, life, ends, &request, packet, source, clocks, &to, say);
    let result = match tokio::time::timeout(clocks.wall, work).await {
        Ok(result) => result,
        Err(_) => Err(DecodeError::TimedOut { after: clocks.wall }),
    };
    if let Err(e) = result {
        if let Some(cause) = e.cause() {
            DecoderCrashed { op: op(&request), cause, detail: &e.to_string() }.emit();
        }
        let _ = to.send(Err(e)).await;
    }
}

fn op(request: &Request) -> &'static str {
    match request {
        Request::Probe { .. } => "probe",
        Request::Index { .. } => "index",
        Request::Encode(_) => "encode",
        Request::Audio(_) => "audio",
        Request::Pictures(_) => "pictures",
        Request::Still(_) => "still",
    }
}

#[expect(clippy::too_many_arguments, reason = "called once; a struct would only rename them")]
async fn attend(
    exited: oneshot::Receiver<Exit>,
    life: Life,
    ends: Ends,
    request: &Request,
    packet: Vec<u8>,
    source: Source,
    clocks: Clocks,
    to: &Outputs,
    say: oneshot::Sender<u64>,
) -> Result<(), DecodeError> {
    let meter = Meter::new();
    let Ends { source: socket, output, mut stderr } = ends;
    let mut tail = Vec::new();
    let relayed = {
        let reading = keep_tail(&mut stderr, &mut tail);
        let serving = source::serve(socket, packet, source, &meter);
        let relaying = output::relay(output, request, clocks.max_output_bytes, to, &meter);
        tokio::pin!(reading, serving, relaying);
        let mut speaks = true;
        loop {
            // Outputs first: what has come whole is handed on before an error is looked at.
            tokio::select! {
                biased;
                end = &mut relaying => break end,
                e = &mut serving => break Err(e),
                () = meter.stalled(clocks.no_progress) => break Err(DecodeError::Stalled { after: clocks.no_progress }),
                () = &mut reading, if speaks => speaks = false,
            }
        }
    };
    if matches!(relayed, Ok(End::Done)) {
        // It has said all and is about to end: how much it used is known then.
        if let Ok(Ok(exit)) = tokio::time::timeout(NEWS, exited).await {
            let _ = say.send(exit.cpu_ms);
        }
        drop(life);
        return Ok(());
    }
    if !matches!(relayed, Ok(End::Closed)) {
        drop(life);
        return relayed.map(drop);
    }
    // The pipe is closed without a result: the child is dead, or has closed it and is made dead.
    let exit = match tokio::time::timeout(NEWS, exited).await {
        Ok(exit) => exit.ok(),
        Err(_) => None,
    };
    drop(life);
    let _ = tokio::time::timeout(NEWS, keep_tail(&mut stderr, &mut tail)).await;
    Err(DecodeError::Crashed {
        signal: exit.and_then(|e| e.signal),
        exit: exit.and_then(|e| e.exit),
        stderr_tail: String::from_utf8_lossy(&tail).trim().to_owned(),
    })
}

/// Reads to the end and keeps the last bytes. May be dropped and called again.
async fn keep_tail(stderr: &mut pipe::Receiver, tail: &mut Vec<u8>) {
    let mut part = [0; 4096];
    while let Ok(read @ 1..) = stderr.read(&mut part).await {
        tail.extend_from_slice(part.get(..read).unwrap_or_default());
        tail.drain(..tail.len().saturating_sub(TAIL));
    }
}
