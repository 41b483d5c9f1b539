//! `reelfleet up` as a process of this one: what a demonstration or a storm runs on.
//!
//! Guarantee: it ends with its owner, however that ends: its lifeline is a pipe whose other end the kernel closes.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{sleep, timeout};

use super::ready::{self, Ready};
use crate::lifeline;

const STARTUP: Duration = Duration::from_secs(150);
/// Longer than `up` itself gives its processes.
const SHUTDOWN: Duration = Duration::from_secs(60);

/// A running `reelfleet up`.
pub struct Fleet {
    child: Child,
    /// Closed with its owner, however it ends. Waiting for a child would close it otherwise.
    _lifeline: Option<ChildStdin>,
    log: PathBuf,
}

impl Fleet {
    /// Starts one over a folder, with more arguments and environment.
    pub fn start(folder: &Path, args: &[String], env: &[(&str, String)]) -> anyhow::Result<Self> {
        let log = folder.join("up.log");
        let file = std::fs::File::create(&log).with_context(|| format!("{} can't be written", log.display()))?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("up")
            .arg("--data")
            .arg(folder)
            .args(["--listen", "127.0.0.1:0"])
            .args(args)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .env(lifeline::VARIABLE, "stdin")
            .env_remove("REELFLEET_PUBLIC_URL")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("`reelfleet up` can't be started")?;
        Ok(Self { _lifeline: child.stdin.take(), child, log })
    }

    /// The ready file, once it is there.
    pub async fn ready(&mut self, folder: &Path) -> anyhow::Result<Ready> {
        let place = ready::in_folder(folder);
        let written = async {
            while !place.exists() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            () = written => Ready::read(&place),
            _ = self.child.wait() => bail!("`reelfleet up` ended: {}", self.last_words()),
            () = sleep(STARTUP) => bail!("`reelfleet up` was not ready within {} s: {}", STARTUP.as_secs(), self.last_words()),
        }
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let refusal = lines.iter().rev().find_map(|line| line.strip_prefix("reelfleet: "));
        refusal.or(lines.last().copied()).unwrap_or("it said nothing").to_owned()
    }

    /// SIGTERM, and SIGKILL where that does not help.
    pub async fn stop(&mut self) {
        if let Some(pid) = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(SHUTDOWN, self.child.wait()).await.is_err() {
            eprintln!("reelfleet: `reelfleet up` did not end: killed");
            let _ = self.child.kill().await;
        }
    }
}
