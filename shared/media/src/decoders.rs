//! Where a worker gets its decoders from.
//!
//! Guarantee: [`Decoders::start`] succeeds only where a child has proven that the jail closes. A zygote that dies takes
//! its running sessions with it (they end as crashed) and is replaced at the next opening.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reelfleet_telemetry::JailClosed;
use reelfleet_wire::zygote::{Landlock, Missing};
use reelfleet_wire::{Invalid, Request, encode_request};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::Mutex;

use crate::clocks::Clocks;
use crate::error::MediaError;
use crate::limits;
use crate::memory::Memory;
use crate::session::{Ends, Session};
use crate::source::Source;
use crate::zygote::{Jail, Zygote};

/// How long a request waits for memory that others have: shorter than any task may be without progress.
const PATIENCE: Duration = Duration::from_secs(45);
/// The program's name.
const PROGRAM: &str = "reelfleet-decoder";

/// How decoders are made.
#[derive(Debug, Clone, Default)]
pub struct DecoderConfig {
    /// The program `reelfleet-decoder`. Without it: `REELFLEET_DECODER`, else beside this executable, else one folder up
    /// (where test programs find it).
    pub program: Option<PathBuf>,
    /// No session may be without progress for longer than this, whatever its clocks say. Without it:
    /// `REELFLEET_DECODER_NO_PROGRESS_SECONDS`, else the clocks alone.
    pub no_progress: Option<Duration>,
}

/// Makes decoders; one for each worker process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Decoders {
    program: PathBuf,
    no_progress: Option<Duration>,
    memory: Arc<Memory>,
    zygote: Arc<Mutex<Arc<Zygote>>>,
}

impl Decoders {
    /// Starts the zygote and has it prove the jail. Blocks for some 100 ms: call it while the worker starts.
    ///
    /// # Errors
    /// `NotFound`, `Start`, and `Jail` where no jail can be closed: the worker must then not run.
    pub fn start(config: DecoderConfig) -> Result<Self, MediaError> {
        let program = match config.program {
            Some(program) => program,
            None => find()?,
        };
        let no_progress = match config.no_progress {
            Some(limit) => Some(limit),
            None => wanted("REELFLEET_DECODER_NO_PROGRESS_SECONDS", "seconds")?.map(Duration::from_secs),
        };
        let memory = wanted("REELFLEET_DECODER_MEMORY_MIB", "MiB")?.map_or_else(Memory::of_machine, Memory::of_mib);
        let memory = Arc::new(memory);
        let zygote = Zygote::start(&program)?;
        let Jail { text, landlock, landlock_abi, missing } = &zygote.jail;
        if *missing != Missing::default() {
            let (encoders, decoders) = (missing.encoders.join(","), missing.decoders.join(","));
            tracing::warn!(encoders, decoders, "this FFmpeg was built without codecs that are wanted");
        }
        let landlock = match landlock {
            Landlock::Full => "full",
            Landlock::Partial => "partial",
            Landlock::None => "none",
        };
        let program_name = program.display().to_string();
        JailClosed { program: &program_name, jail: text, landlock, landlock_abi: *landlock_abi }.emit();
        Ok(Self { program, no_progress, memory, zygote: Arc::new(Mutex::new(zygote)) })
    }

    /// How strong the jail is, in words, such as `seccomp, Landlock ABI 6`.
    pub async fn jail(&self) -> String {
        self.zygote.lock().await.jail.text.clone()
    }

    /// What the FFmpeg of the decoder was built without.
    pub async fn missing(&self) -> Missing {
        self.zygote.lock().await.jail.missing.clone()
    }

    /// Gives one request to a decoder of its own.
    ///
    /// # Errors
    /// `Request` where it makes no sense or is about another size than the source's; `NoRoom` where others have the memory
    /// for longer than [`PATIENCE`]; else why no decoder could be made.
    pub async fn open(&self, request: Request, source: Source, clocks: Clocks) -> Result<Session, MediaError> {
        request.validate()?;
        let clocks = match self.no_progress {
            Some(limit) => Clocks { no_progress: clocks.no_progress.min(limit), ..clocks },
            None => clocks,
        };
        if request.size() != source.size {
            let (said, is) = (request.size(), source.size);
            return Err(Invalid(format!("size is {said}, but the source has {is} bytes")).into());
        }
        let packet = encode_request(&request).map_err(|e| Invalid(e.to_string()))?;
        let descriptor = |e: std::io::Error| MediaError::Zygote(e.to_string());
        let (source_end, theirs) = std::os::unix::net::UnixStream::pair().map_err(descriptor)?;
        let (output_end, output) = std::io::pipe().map_err(descriptor)?;
        let (stderr_end, stderr) = std::io::pipe().map_err(descriptor)?;
        // Fewer turns of a segment through the pipe; the default is 64 KiB and where more is not granted it stays.
        let _ = rustix::pipe::fcntl_setpipe_size(&output, 1 << 20);
        source_end.set_nonblocking(true).map_err(descriptor)?;
        let ends = Ends {
            source: UnixStream::from_std(source_end).map_err(descriptor)?,
            output: pipe::Receiver::from_owned_fd(output_end.into()).map_err(descriptor)?,
            stderr: pipe::Receiver::from_owned_fd(stderr_end.into()).map_err(descriptor)?,
        };
        let limits = limits::of(&request, clocks.wall);
        let room = self.memory.take(limits::memory_mib(&request, source.pixels), PATIENCE).await?;
        let zygote = self.zygote().await?;
        let mut made = zygote.fork(limits, [theirs.into(), output.into(), stderr.into()]).await?;
        made.life.room = Some(room);
        Ok(Session::begin(made, ends, request, packet, source, clocks))
    }

    /// The zygote that runs, or a new one.
    async fn zygote(&self) -> Result<Arc<Zygote>, MediaError> {
        let mut current = self.zygote.lock().await;
        if current.is_dead() {
            let program = self.program.clone();
            let started = tokio::task::spawn_blocking(move || Zygote::start(&program)).await;
            *current = started.map_err(|e| MediaError::Zygote(e.to_string()))??;
            tracing::warn!("the decoder zygote had died and was started again");
        }
        Ok(Arc::clone(&current))
    }
}

/// A number from 1 in the environment.
fn wanted(name: &str, unit: &str) -> Result<Option<u64>, MediaError> {
    let Some(text) = std::env::var_os(name).filter(|v| !v.is_empty()) else { return Ok(None) };
    match text.to_str().and_then(|text| text.parse().ok()) {
        Some(number @ 1..) => Ok(Some(number)),
        _ => Err(Invalid(format!("{name} is {text:?}, not a number of {unit} from 1")).into()),
    }
}

fn find() -> Result<PathBuf, MediaError> {
    if let Some(given) = std::env::var_os("REELFLEET_DECODER").filter(|v| !v.is_empty()) {
        return Ok(given.into());
    }
    let me = std::env::current_exe().unwrap_or_default();
    let looked: Vec<PathBuf> = me.ancestors().skip(1).take(2).map(|folder| folder.join(PROGRAM)).collect();
    match looked.iter().find(|path| Path::is_file(path)) {
        Some(found) => Ok(found.clone()),
        None => Err(MediaError::NotFound { looked }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_is_no_zygote_is_told_apart() {
        let absent = DecoderConfig { program: Some("/nonexistent/decoder".into()), ..DecoderConfig::default() };
        assert!(matches!(Decoders::start(absent), Err(MediaError::Start { .. })));
        let other = DecoderConfig { program: Some("/bin/false".into()), ..DecoderConfig::default() };
        let Err(MediaError::Start { why, .. }) = Decoders::start(other) else { panic!("no start error") };
        assert!(why.contains("exit status: 1"), "{why}");
    }
}
