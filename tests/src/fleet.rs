//! One fleet: `reelfleet up` with its endpoint, gateway and workers.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::clients::Clients;
use crate::executable;

/// A fleet that takes longer than this to be healthy is not.
const HEALTHY_WITHIN: Duration = Duration::from_secs(90);

/// How a fleet is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// More arguments of `up`.
    pub args: Vec<String>,
    /// More environment.
    pub env: Vec<(String, String)>,
}

/// A running fleet.
pub struct Fleet {
    /// What the ready file says.
    pub ready: Value,
    /// Clients of it.
    pub clients: Clients,
    process: Child,
    data: TempDir,
}

impl Options {
    /// With arguments of `up`.
    pub fn args(args: &[&str]) -> Self {
        Self { args: args.iter().map(|arg| (*arg).to_owned()).collect(), env: Vec::new() }
    }
}

impl Fleet {
    /// Starts one and waits until all of it is healthy.
    pub async fn start(options: Options) -> Self {
        let data = TempDir::new().unwrap();
        let ready_file = data.path().join("ready.json");
        let log = std::fs::File::create(data.path().join("up.log")).unwrap();
        let mut process = Command::new(executable())
            .arg("up")
            .arg("--data")
            .arg(data.path().join("data"))
            .args(["--listen", "127.0.0.1:0", "--ready-file"])
            .arg(&ready_file)
            .args(&options.args)
            .envs(options.env)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; run `make build` first", executable().display()));
        // The ready file is written whole, by a rename, once all is healthy: its appearance is the signal.
        let healthy = async {
            while !ready_file.exists() {
                if let Some(status) = process.try_wait().unwrap() {
                    panic!("up ended ({status}):\n{}", std::fs::read_to_string(data.path().join("up.log")).unwrap());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(HEALTHY_WITHIN, healthy).await.is_err() {
            panic!("not healthy:\n{}", std::fs::read_to_string(data.path().join("up.log")).unwrap());
        }
        let ready: Value = serde_json::from_slice(&std::fs::read(&ready_file).unwrap()).unwrap();
        let clients = Clients::new(&ready);
        Self { ready, clients, process, data }
    }

    /// The process ids of a role, as the ready file names them.
    pub fn pids(&self, role: &str) -> Vec<i64> {
        self.ready["pids"][role]
            .as_array()
            .map(|pids| pids.iter().filter_map(Value::as_i64).collect())
            .unwrap_or_default()
    }

    /// The folder of logs.
    pub fn logs(&self) -> PathBuf {
        self.data.path().join("data/logs")
    }

    /// SIGTERM, and the exit code once every process has drained.
    pub async fn stop(mut self) -> Option<i32> {
        if let Some(pid) = self.process.id() {
            let _ = std::process::Command::new("kill").args(["-TERM", &pid.to_string()]).status();
        }
        let status = tokio::time::timeout(Duration::from_secs(60), self.process.wait()).await;
        status.expect("up did not end within a minute of SIGTERM").unwrap().code()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What a person needs to see why.
            let path = std::env::temp_dir().join(format!("reelfleet-test-{}", std::process::id()));
            let _ = std::process::Command::new("cp").arg("-r").arg(self.logs()).arg(&path).status();
            eprintln!("logs of the fleet: {}", path.display());
        }
    }
}
