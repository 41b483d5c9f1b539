//! What the children say: into `DIR/logs/<role>.log`, and onto standard error if asked.
//!
//! Guarantee: a line is written whole, with the process it came from before it; a log never grows beyond
//! [`LARGEST`] twice (itself and the one before it).

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Bytes of a log before it is put aside.
const LARGEST: u64 = 32 << 20;
/// Last lines of a process that are told when it does not start.
const TAIL: usize = 5;

/// The logs of all children. Cheap to clone.
#[derive(Clone)]
pub struct Logs {
    folder: PathBuf,
    verbose: bool,
    files: Arc<Mutex<BTreeMap<&'static str, RoleLog>>>,
}

struct RoleLog {
    path: PathBuf,
    file: File,
    bytes: u64,
}

/// The last lines of one process.
#[derive(Clone, Default)]
pub struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    fn push(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == TAIL {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    /// What a process that refused to run said last: its own refusal, or the last line.
    pub fn last_words(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let refusal = lines.iter().rev().find_map(|line| line.strip_prefix("reelfleet: "));
        refusal.or(lines.back().map(String::as_str)).unwrap_or("it said nothing").to_owned()
    }
}

impl Logs {
    /// Logs in this folder, which is made.
    pub fn new(folder: &Path, verbose: bool) -> anyhow::Result<Self> {
        crate::private_file::make_folder(folder)?;
        Ok(Self { folder: folder.to_owned(), verbose, files: Arc::default() })
    }

    /// Where a role's lines go.
    pub fn path(&self, role: &str) -> PathBuf {
        self.folder.join(format!("{role}.log"))
    }

    /// Copies lines until the stream ends.
    pub async fn copy(self, role: &'static str, process: String, stream: impl AsyncRead + Unpin, tail: Tail) {
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            tail.push(text);
            let whole = format!("{process} | {text}\n");
            if self.verbose {
                let _ = std::io::stderr().lock().write_all(whole.as_bytes());
            }
            if let Err(error) = self.append(role, whole.as_bytes()) {
                tracing::warn!(role, %error, "a log line was lost");
            }
            line.clear();
        }
    }

    fn append(&self, role: &'static str, line: &[u8]) -> anyhow::Result<()> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let log = match files.remove(role) {
            Some(log) if log.bytes < LARGEST => log,
            full => {
                if let Some(log) = full {
                    fs::rename(&log.path, log.path.with_extension("log.1"))?;
                }
                RoleLog::open(self.path(role))?
            }
        };
        let log = files.entry(role).or_insert(log);
        log.file.write_all(line)?;
        log.bytes += line.len() as u64;
        Ok(())
    }
}

impl RoleLog {
    fn open(path: PathBuf) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("{} can't be opened", path.display()))?;
        let bytes = file.metadata()?.len();
        Ok(Self { path, file, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_prefixed_and_the_refusal_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::new(&folder.path().join("logs"), false).unwrap();
        let tail = Tail::default();
        let said = &b"one\nreelfleet: no seccomp\ntwo"[..];
        logs.clone().copy("transcoder", "transcoder-1".into(), said, tail.clone()).await;
        let text = fs::read_to_string(logs.path("transcoder")).unwrap();
        assert_eq!(text, "transcoder-1 | one\ntranscoder-1 | reelfleet: no seccomp\ntranscoder-1 | two\n");
        assert_eq!(tail.last_words(), "no seccomp");
        assert_eq!(Tail::default().last_words(), "it said nothing");
    }

    #[test]
    fn a_full_log_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::new(folder.path(), false).unwrap();
        logs.append("a", b"first\n").unwrap();
        logs.files.lock().unwrap().get_mut("a").unwrap().bytes = LARGEST;
        logs.append("a", b"second\n").unwrap();
        assert_eq!(fs::read_to_string(logs.path("a")).unwrap(), "second\n");
        assert_eq!(fs::read_to_string(folder.path().join("a.log.1")).unwrap(), "first\n");
    }
}
