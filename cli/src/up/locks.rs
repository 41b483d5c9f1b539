//! Who has a folder.
//!
//! Guarantees: one folder has one supervisor; a supervisor begins only when no process of the run before is left, however
//! that ended. Both are locks that the kernel lets go of: the first with the supervisor, the second with the last process
//! that inherited its descriptor.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::io::{FdFlags, fcntl_setfd};
use tokio::time::timeout;

/// What a run that was killed leaves ends within this time: see the lifeline.
const LEFTOVERS: Duration = Duration::from_secs(45);

/// The folder is this supervisor's, and its processes'.
#[derive(Debug)]
pub struct Locks {
    _supervisor: File,
    _fleet: File,
}

impl Locks {
    /// Takes the folder; refused at once where another supervisor has it, and only after a while where processes of one
    /// that was killed are still ending.
    pub async fn of(folder: &Path) -> anyhow::Result<Self> {
        let supervisor = supervisor(folder)?;
        let path = folder.join("fleet.lock");
        let fleet = open(&path)?;
        match fleet.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{} can't be locked", path.display()));
            }
            Err(TryLockError::WouldBlock) => {
                tracing::warn!("processes of the run before have not ended yet: waiting for them");
                let waiting = fleet.try_clone()?;
                let ended = tokio::task::spawn_blocking(move || waiting.lock());
                match timeout(LEFTOVERS, ended).await {
                    Ok(locked) => locked?.with_context(|| format!("{} can't be locked", path.display()))?,
                    Err(_) => bail!("processes of the run before on {} do not end", folder.display()),
                }
            }
        }
        // Inherited from here on by every process that is started, and by theirs.
        fcntl_setfd(&fleet, FdFlags::empty())?;
        Ok(Self { _supervisor: supervisor, _fleet: fleet })
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    let opened = File::options().create(true).truncate(false).read(true).write(true).open(path);
    opened.with_context(|| format!("{} can't be opened", path.display()))
}

/// One supervisor per folder, by a lock that dies with it.
fn supervisor(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("up.lock");
    let mut file = open(&path)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0)?;
            write!(file, "{}", std::process::id())?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            bail!("{} is in use: another `reelfleet up` runs on it (process {holder})", folder.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("{} can't be locked", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[tokio::test]
    async fn a_folder_has_one_supervisor() {
        let folder = tempfile::tempdir().unwrap();
        let held = Locks::of(folder.path()).await.unwrap();
        let error = Locks::of(folder.path()).await.unwrap_err().to_string();
        assert!(error.contains("is in use") && error.contains(&std::process::id().to_string()), "{error}");
        drop(held);
        Locks::of(folder.path()).await.unwrap();
    }

    #[tokio::test]
    async fn the_next_supervisor_waits_for_what_the_last_one_left() {
        let folder = tempfile::tempdir().unwrap();
        let held = Locks::of(folder.path()).await.unwrap();
        // A process of that run, which outlives its supervisor until its standard input ends.
        let mut cat = std::process::Command::new("cat");
        let mut left = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // Only when it answers has it shed the descriptors that close on exec: `spawn` may return a moment before.
        let mut echo = [0; 1];
        left.stdin.as_mut().unwrap().write_all(b"!").unwrap();
        left.stdout.as_mut().unwrap().read_exact(&mut echo).unwrap();
        drop(held);
        let next = Locks::of(folder.path());
        tokio::pin!(next);
        assert!(timeout(Duration::from_millis(300), &mut next).await.is_err(), "it is still there");
        drop(left.stdin.take());
        next.await.unwrap();
        left.wait().unwrap();
    }
}
