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

/// A variable of a process's environment.
fn variable(pid: i64, name: &str) -> Option<String> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    let mut variables = environment.split('\0').filter_map(|pair| pair.split_once('='));
    variables.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
}

/// The name of a process in leases.
pub fn instance(pid: i64) -> String {
    variable(pid, "REELFLEET_INSTANCE").unwrap_or_default()
}

/// A running fleet.
pub struct Fleet {
    /// What the ready file says.
    pub ready: Value,
    /// Clients of it.
    pub clients: Clients,
    process: Child,
    options: Options,
    data: Folder,
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
        Self::over(TempDir::new().unwrap(), options).await
    }

    /// The same over a folder that holds one already, as `data`.
    pub async fn over(folder: TempDir, options: Options) -> Self {
        Self::on(Folder(folder), options).await
    }

    /// SIGKILLs the supervisor alone and starts another on the same folder, with the same options.
    pub async fn start_again(mut self) -> Self {
        self.process.kill().await.unwrap();
        let Self { data, options, .. } = self;
        std::fs::remove_file(data.0.path().join("ready.json")).unwrap();
        Self::on(data, options).await
    }

    async fn on(data: Folder, options: Options) -> Self {
        let ready_file = data.0.path().join("ready.json");
        let log = std::fs::File::options().create(true).append(true).open(data.0.path().join("up.log")).unwrap();
        let mut process = Command::new(executable())
            .arg("up")
            .arg("--data")
            .arg(data.0.path().join("data"))
            .args(["--listen", "127.0.0.1:0", "--ready-file"])
            .arg(&ready_file)
            .args(&options.args)
            .envs(options.env.iter().map(|(name, value)| (name, value)))
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
                    panic!("up ended ({status}):\n{}", std::fs::read_to_string(data.0.path().join("up.log")).unwrap());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(HEALTHY_WITHIN, healthy).await.is_err() {
            panic!("not healthy:\n{}", std::fs::read_to_string(data.0.path().join("up.log")).unwrap());
        }
        let ready: Value = serde_json::from_slice(&std::fs::read(&ready_file).unwrap()).unwrap();
        let clients = Clients::new(&ready);
        Self { ready, clients, process, options, data }
    }

    /// The processes of a role as they are now: another one is another id.
    pub fn pids_now(&self, role: &str) -> Vec<i64> {
        let text = std::fs::read(self.data.0.path().join("ready.json")).unwrap_or_default();
        let ready: Value = serde_json::from_slice(&text).unwrap_or_default();
        let pids = ready["pids"][role].as_array().map(|pids| pids.iter().filter_map(Value::as_i64).collect());
        pids.unwrap_or_default()
    }

    /// Waits until another process stands in for this one, and is ready.
    pub async fn replaced(&self, role: &str, pid: i64, count: usize, within: Duration) -> Vec<i64> {
        let another = async {
            loop {
                let pids = self.pids_now(role);
                if pids.len() == count && !pids.contains(&pid) && self.all_ready(&pids).await {
                    return pids;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let found = tokio::time::timeout(within, another).await;
        found.unwrap_or_else(|_| panic!("{role} {pid} was not replaced within {within:?}:\n{}", self.log()))
    }

    /// Whether these processes are ready: where each listens is in its environment.
    async fn all_ready(&self, pids: &[i64]) -> bool {
        for pid in pids {
            let of = |name: &str| variable(*pid, name);
            // The notifier alone serves both on one port.
            let url = match of("REELFLEET_HEALTH_LISTEN").or_else(|| of("REELFLEET_NOTIFIER_LISTEN")) {
                Some(address) => format!("http://{address}/readyz"),
                None => format!("{}/_reelfleet/health", self.clients.endpoint),
            };
            let answer = self.clients.http.get(url).send().await;
            if !answer.is_ok_and(|answer| answer.status().is_success()) {
                return false;
            }
        }
        true
    }

    /// What the supervisor has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.0.path().join("up.log")).unwrap()
    }

    /// The process ids of a role, as the ready file names them.
    pub fn pids(&self, role: &str) -> Vec<i64> {
        self.ready["pids"][role]
            .as_array()
            .map(|pids| pids.iter().filter_map(Value::as_i64).collect())
            .unwrap_or_default()
    }

    /// The folder of everything, as `--data` takes it.
    pub fn folder(&self) -> PathBuf {
        self.data.0.path().join("data")
    }

    /// The folder of logs.
    pub fn logs(&self) -> PathBuf {
        self.data.0.path().join("data/logs")
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

/// Sends a signal to a process.
pub fn signal(pid: i64, name: &str) {
    let sent = std::process::Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(sent.success(), "kill -{name} {pid}");
}

/// The folder of everything; keeps its logs where a test fails.
struct Folder(TempDir);

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What a person needs to see why.
            let path = std::env::temp_dir().join(format!("reelfleet-test-{}", std::process::id()));
            let _ = std::process::Command::new("cp").arg("-r").arg(self.0.path().join("data/logs")).arg(&path).status();
            eprintln!("logs of the fleet: {}", path.display());
        }
    }
}
