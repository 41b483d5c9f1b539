//! Sessions: jailed, as in a worker, or in this process.
//!
//! Guarantee: both ways serve the same request over the same reads of the same file, and hand out the same outputs.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use reelfleet_media::wire::{
    MediaLimits, OutputHeader, ProbeReport, READ_AT_LEN, ReadAt, ReadStatus, Request, read_output, write_reply,
    write_request,
};
use reelfleet_media::{Clocks, DecoderConfig, Decoders, Output, Source, SourceError};
use tokio::sync::mpsc;

const CLOCKS: Clocks =
    Clocks { wall: Duration::from_secs(1_700), no_progress: Duration::from_secs(90), max_output_bytes: 8 << 30 };
/// Outputs that wait for the consumer, as in a session of the fleet.
const WAITING: usize = 2;

/// A local file, with what was read of it.
#[derive(Clone)]
pub struct LocalFile {
    file: Arc<File>,
    pub size: u64,
    fetched: Arc<AtomicU64>,
    reads: Arc<AtomicU64>,
    first: Arc<OnceLock<Instant>>,
}

impl LocalFile {
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        let size = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), size, fetched: Arc::default(), reads: Arc::default(), first: Arc::default() })
    }

    /// The same file, with counters of its own.
    pub fn anew(&self) -> Self {
        Self { fetched: Arc::default(), reads: Arc::default(), first: Arc::default(), ..self.clone() }
    }

    pub fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// When the first read was asked for.
    pub fn first_read(&self) -> Option<Instant> {
        self.first.get().copied()
    }

    fn read(&self, offset: u64, len: u32) -> std::io::Result<Vec<u8>> {
        let _ = self.first.get_or_init(Instant::now);
        let mut bytes = vec![0; len as usize];
        self.file.read_exact_at(&mut bytes, offset)?;
        self.fetched.fetch_add(u64::from(len), Ordering::Relaxed);
        self.reads.fetch_add(1, Ordering::Relaxed);
        Ok(bytes)
    }

    fn source(&self) -> Source {
        let file = self.clone();
        Source {
            size: self.size,
            pixels: 0,
            read: Arc::new(move |offset, len| {
                let read = file.read(offset, len).map(Bytes::from).map_err(|e| SourceError::Io(e.to_string()));
                Box::pin(std::future::ready(read))
            }),
        }
    }
}

/// Where sessions come from.
#[derive(Clone)]
pub enum Maker {
    Jailed(Decoders),
    InProcess,
}

/// The outputs of one request.
pub struct Outputs(mpsc::Receiver<anyhow::Result<Output>>);

impl Maker {
    pub fn start(in_process: bool) -> anyhow::Result<Self> {
        reelfleet_decoder::prepare();
        if in_process { Ok(Self::InProcess) } else { Ok(Self::Jailed(Decoders::start(DecoderConfig::default())?)) }
    }

    pub async fn ask(&self, request: Request, file: &LocalFile) -> anyhow::Result<Outputs> {
        let (to, outputs) = mpsc::channel(WAITING);
        match self {
            Self::Jailed(decoders) => {
                let mut session = decoders.open(request, file.source(), CLOCKS).await?;
                tokio::spawn(async move {
                    loop {
                        let output = match session.next().await {
                            Ok(Some(output)) => Ok(output),
                            Ok(None) => return,
                            Err(e) => Err(e.into()),
                        };
                        if to.send(output).await.is_err() {
                            return;
                        }
                    }
                });
            }
            Self::InProcess => in_process(request, file.clone(), to)?,
        }
        Ok(Outputs(outputs))
    }

    /// Everything that one request gives.
    pub async fn all(&self, request: Request, file: &LocalFile) -> anyhow::Result<Vec<Output>> {
        let mut outputs = self.ask(request, file).await?;
        let mut all = Vec::new();
        while let Some(output) = outputs.next().await? {
            all.push(output);
        }
        Ok(all)
    }

    pub async fn probe(&self, file: &LocalFile) -> anyhow::Result<ProbeReport> {
        let request = Request::Probe { size: file.size, limits: MediaLimits::default() };
        let outputs = self.all(request, file).await?;
        let probed = outputs.into_iter().find_map(|output| match output.header {
            OutputHeader::Probed(report) => Some(*report),
            _ => None,
        });
        probed.context("the decoder ended without a report")
    }
}

impl Outputs {
    /// The next one; `None` after `Done`.
    pub async fn next(&mut self) -> anyhow::Result<Option<Output>> {
        match self.0.recv().await {
            None => Ok(None),
            Some(Err(e)) => Err(e),
            Some(Ok(Output { header: OutputHeader::Failed { code, detail }, .. })) => bail!("{code}: {detail}"),
            Some(Ok(output)) => Ok(Some(output)),
        }
    }
}

/// Serves a request on threads of this process.
fn in_process(request: Request, file: LocalFile, to: mpsc::Sender<anyhow::Result<Output>>) -> anyhow::Result<()> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let (mut out, out_theirs) = std::io::pipe()?;
    let descriptor = |stream: UnixStream| File::from(OwnedFd::from(stream));
    let out_theirs = File::from(OwnedFd::from(out_theirs));
    std::thread::spawn(move || reelfleet_decoder::serve(descriptor(theirs), out_theirs));
    std::thread::spawn(move || -> anyhow::Result<()> {
        use std::io::Read as _;
        write_request(&mut ours, &request)?;
        let mut head = [0; READ_AT_LEN];
        while ours.read_exact(&mut head).is_ok() {
            let ask = ReadAt::from_bytes(head)?;
            match file.read(ask.offset, ask.len) {
                Ok(bytes) => write_reply(&mut ours, ReadStatus::Ok, &bytes)?,
                Err(_) => write_reply(&mut ours, ReadStatus::IoError, &[])?,
            }
        }
        Ok(())
    });
    std::thread::spawn(move || {
        loop {
            let output = match read_output(&mut out) {
                Ok(Some((header, body))) => Ok(Output { header, body: body.into() }),
                Ok(None) => return,
                Err(e) => Err(e.into()),
            };
            if to.blocking_send(output).is_err() {
                return;
            }
        }
    });
    Ok(())
}
