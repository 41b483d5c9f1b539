//! One worker that a test starts itself, beside those of a fleet: with timings of its own, its exit code, its metrics.
//!
//! Guarantee: it is the real executable with the credentials of the fleet; it dies with its value.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::executable;
use crate::fleet::{Fleet, signal};

const READY_WITHIN: Duration = Duration::from_secs(30);

/// A loopback port that is drawn by nobody else while this is held: connections are refused until whoever is told of it
/// listens there.
pub fn held() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    socket
}

/// A running `reelfleet worker`.
pub struct Worker {
    process: Child,
    pid: i64,
    http: reqwest::Client,
    health: String,
    log: PathBuf,
    /// Its port: nobody else's while it lives.
    _held: TcpSocket,
}

impl Worker {
    /// Starts one called `name`, and waits until it is ready.
    pub async fn start(fleet: &Fleet, role: &str, name: &str, env: &[(&str, &str)]) -> Self {
        let held = held();
        let free = held.local_addr().unwrap();
        let log = fleet.logs().join(format!("{name}.log"));
        let file = std::fs::File::create(&log).unwrap();
        let said = |field: &str| fleet.ready[field].as_str().unwrap().to_owned();
        let process = Command::new(executable())
            .args(["worker", role])
            .env("AWS_ENDPOINT_URL", said("aws_endpoint"))
            .env("AWS_REGION", said("region"))
            .env("AWS_ACCESS_KEY_ID", said("access_key_id"))
            .env("AWS_SECRET_ACCESS_KEY", said("secret_access_key"))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("REELFLEET_INSTANCE", name)
            .env("REELFLEET_HEALTH_LISTEN", free.to_string())
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pid = i64::from(process.id().unwrap());
        let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
        let worker = Self { process, pid, http, health: format!("http://{free}"), log, _held: held };
        let ready = async {
            while !worker.is("readyz").await {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        };
        assert!(timeout(READY_WITHIN, ready).await.is_ok(), "{name} is not ready:\n{}", worker.log());
        worker
    }

    /// Sends a signal: `TERM`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        signal(self.pid, name);
    }

    /// Waits for its end.
    pub async fn exit(&mut self, within: Duration) -> ExitStatus {
        match timeout(within, self.process.wait()).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!("it has not ended within {within:?}:\n{}", self.log()),
        }
    }

    /// Whether `livez` or `readyz` is answered with success.
    pub async fn is(&self, probe: &str) -> bool {
        let answer = self.http.get(format!("{}/{probe}", self.health)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// All samples of a metric, together.
    pub async fn metric(&self, name: &str) -> f64 {
        let answer = self.http.get(format!("{}/metrics", self.health)).send().await.unwrap();
        let text = answer.text().await.unwrap();
        let samples =
            text.lines().filter(|line| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} ")));
        samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// What it has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}
