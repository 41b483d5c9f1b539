//! Where a worker gets its decoders from.
//!
//! Guarantee: [`Decoders::start`] succeeds only where a child has proven that the jail closes. A zygote that dies takes
//! its running sessions with it (they end as crashed) and is replaced at the next opening.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reelfleet_wire::{Invalid, Request, encode_request};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::Mutex;

use crate::clocks::Clocks;
use crate::error::MediaError;
use crate::limits;
use crate::session::{Ends, Session};
use crate::source::Source;
use crate::zygote::Zygote;

/// The program's name.
const PROGRAM: &str = "reelfleet-decoder";

/// How decoders are made.
#[derive(Debug, Clone, Default)]
pub struct DecoderConfig {
    /// The program `reelfleet-decoder`. Without it: `REELFLEET_DECODER`, else beside this executable, else one folder up
    /// (where test programs find it).
    pub program: Option<PathBuf>,
}

/// Makes decoders; one for each worker process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Decoders {
    program: PathBuf,
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
        let zygote = Zygote::start(&program)?;
        tracing::info!(program = %program.display(), jail = zygote.jail, "decoder ready");
        Ok(Self { program, zygote: Arc::new(Mutex::new(zygote)) })
    }

    /// How strong the jail is, in words, such as `seccomp, Landlock ABI 6`.
    pub async fn jail(&self) -> String {
        self.zygote.lock().await.jail.clone()
    }

    /// Gives one request to a decoder of its own.
    ///
    /// # Errors
    /// `Request` where it makes no sense or is about another size than the source's; else why no decoder could be made.
    pub async fn open(&self, request: Request, source: Source, clocks: Clocks) -> Result<Session, MediaError> {
        request.validate()?;
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
        let zygote = self.zygote().await?;
        let made = zygote.fork(limits, [theirs.into(), output.into(), stderr.into()]).await?;
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
        let absent = DecoderConfig { program: Some("/nonexistent/decoder".into()) };
        assert!(matches!(Decoders::start(absent), Err(MediaError::Start { .. })));
        let other = DecoderConfig { program: Some("/bin/false".into()) };
        let Err(MediaError::Start { why, .. }) = Decoders::start(other) else { panic!("no start error") };
        assert!(why.contains("exit status: 1"), "{why}");
    }
}
