//! The supervisor: one OS process per worker, kept alive.
//!
//! Guarantees:
//! - a process that ends or hangs is started again, after a pause that doubles up to
//!   [`Patience::longest_pause`]: never in a tight loop;
//! - when asked to stop, each process gets SIGTERM, time to drain, then SIGKILL;
//! - one that is no longer needed is retired (SIGUSR1): it finishes what it has, however long that takes, and is no more;
//! - no process outlives the supervisor: standard input of each is a pipe whose other end the kernel closes with it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use reelfleet_fleet::Ids;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::logs::{Logs, Tail};
use super::ports::Held;
use crate::http_client::Http;
use crate::lifeline;

const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
/// A process that lived so long starts with the shortest pause again.
const STEADY: Duration = Duration::from_secs(60);
/// A process that failed so often before it was ever ready will not come up.
const PATIENCE: u32 = 5;
const READY_EVERY: Duration = Duration::from_millis(100);
/// A process that is not ready for so long must at least live.
const SLOW_START: Duration = Duration::from_secs(60);
const PROBE: Duration = Duration::from_secs(5);
/// So many silent health listeners in a row are a process that hangs.
const SILENT: u32 = 3;
/// After SIGKILL was asked for by a second signal.
const AT_ONCE: Duration = Duration::from_secs(3);

/// How a process says that it works.
#[derive(Clone, Debug)]
pub enum Health {
    /// `{base}/readyz` and `{base}/livez`.
    At(String),
    /// The same on a free loopback port, drawn at each start and told by REELFLEET_HEALTH_LISTEN.
    Drawn,
    /// One URL for both.
    Url(String),
}

/// A process to keep alive.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What it is: the name of its log.
    pub role: &'static str,
    /// Which one: `transcoder-2`.
    pub name: String,
    /// Arguments of this executable.
    pub args: Vec<String>,
    /// Environment beyond what all get.
    pub env: Vec<(&'static str, String)>,
    /// How it says that it works.
    pub health: Health,
}

/// A process as it is now.
#[derive(Clone, Debug, Default)]
struct State {
    role: &'static str,
    pid: Option<u32>,
    /// Where it serves metrics: `host:port`.
    metrics: Option<String>,
    /// Its name in leases, another in each life.
    instance: String,
    ready: bool,
    was_ready: bool,
    failures: u32,
    why: String,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From SIGTERM to SIGKILL.
    pub drain: Duration,
    /// Two starts of one process lie at most this far apart.
    pub longest_pause: Duration,
    /// Two looks whether a process lives lie this far apart.
    pub live_every: Duration,
}

/// What all keepers share.
struct Shared {
    program: PathBuf,
    env: Vec<(&'static str, String)>,
    logs: Logs,
    http: Http,
    ids: Ids,
    patience: Patience,
    /// A second signal: no more waiting.
    aborted: CancellationToken,
    states: Mutex<BTreeMap<String, State>>,
    changed: watch::Sender<()>,
}

/// Keeps processes alive.
pub struct Supervisor {
    shared: Arc<Shared>,
    keepers: Vec<(CancellationToken, JoinHandle<()>)>,
}

/// A process that was started, and where it says how it is.
struct Started {
    child: Child,
    ready_url: String,
    live_url: String,
    /// Its drawn port: nobody else's while it lives.
    _held: Option<Held>,
}

/// How one life of a process ended.
enum Ended {
    AsAsked,
    Died(String),
}

impl Supervisor {
    /// A supervisor of processes of this executable, all with the given environment.
    pub fn new(
        env: Vec<(&'static str, String)>,
        logs: Logs,
        ids: Ids,
        patience: Patience,
        aborted: CancellationToken,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("the path of this executable is not known")?;
        let (changed, _) = watch::channel(());
        let http = Http::new();
        let states = Mutex::default();
        let shared = Shared { program, env, logs, http, ids, patience, aborted, states, changed };
        Ok(Self { shared: Arc::new(shared), keepers: Vec::new() })
    }

    /// Starts a process and keeps it alive until `stop`, or until what is returned is cancelled, which retires it.
    pub fn keep(&mut self, spec: Spec, stop: &CancellationToken) -> CancellationToken {
        let retired = CancellationToken::new();
        self.shared.update(&spec.name, |state| state.role = spec.role);
        let keeper = tokio::spawn(Arc::clone(&self.shared).keep(spec, stop.clone(), retired.clone()));
        self.keepers.retain(|(_, keeper)| !keeper.is_finished());
        self.keepers.push((stop.clone(), keeper));
        retired
    }

    /// The processes of a role that are kept or still retire: their names, and what each is called in leases.
    pub fn kept(&self, role: &str) -> BTreeMap<String, String> {
        let states = self.shared.lock();
        let of_role = states.iter().filter(|(_, state)| state.role == role);
        of_role.map(|(name, state)| (name.clone(), state.instance.clone())).collect()
    }

    /// Waits until everything that was started is ready.
    pub async fn ready(&self, limit: Duration) -> anyhow::Result<()> {
        let mut changed = self.shared.changed.subscribe();
        let all = async {
            loop {
                changed.borrow_and_update();
                if self.shared.all_ready()? {
                    return Ok(());
                }
                // The sender lives as long as `self`.
                let _ = changed.changed().await;
            }
        };
        match timeout(limit, all).await {
            Ok(outcome) => outcome,
            Err(_) => bail!("not ready within {} s: {}", limit.as_secs(), self.shared.not_ready().join(", ")),
        }
    }

    /// Told of every change of a process.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.shared.changed.subscribe()
    }

    /// Processes that run, by role.
    pub fn pids(&self) -> BTreeMap<String, Vec<u32>> {
        let mut pids: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for state in self.shared.lock().values() {
            pids.entry(state.role.to_owned()).or_default().extend(state.pid);
        }
        pids
    }

    /// Where the processes that run serve metrics: role and `host:port`.
    pub fn metrics(&self) -> Vec<(&'static str, String)> {
        let states = self.shared.lock();
        let running = states.values().filter(|state| state.pid.is_some());
        running.filter_map(|state| Some((state.role, state.metrics.clone()?))).collect()
    }

    /// Stops those that were started with `stop`, and waits for their end.
    pub async fn stop(&mut self, stop: &CancellationToken) {
        stop.cancel();
        for (token, keeper) in std::mem::take(&mut self.keepers) {
            if token.is_cancelled() {
                if let Err(error) = keeper.await {
                    tracing::error!(%error, "a keeper ended badly");
                }
            } else {
                self.keepers.push((token, keeper));
            }
        }
    }
}

impl Shared {
    async fn keep(self: Arc<Self>, spec: Spec, stop: CancellationToken, retired: CancellationToken) {
        let mut failures = 0;
        loop {
            let started = Instant::now();
            let why = match self.live(&spec, &stop, &retired).await {
                Ended::AsAsked => break,
                Ended::Died(why) => why,
            };
            failures = if started.elapsed() >= STEADY { 1 } else { failures + 1 };
            let pause = pause(failures, self.patience.longest_pause, self.ids.unit());
            tracing::warn!(process = spec.name, why, again_in_ms = pause.as_millis() as u64, "a process ended");
            self.update(&spec.name, |state| {
                (state.pid, state.ready, state.failures, state.why) = (None, false, failures, why);
            });
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => break,
                () = retired.cancelled() => break,
            }
        }
        if retired.is_cancelled() {
            self.lock().remove(&spec.name);
            self.changed.send_replace(());
        } else {
            self.update(&spec.name, |state| (state.pid, state.ready) = (None, false));
        }
    }

    /// One life of a process.
    async fn live(&self, spec: &Spec, stop: &CancellationToken, retired: &CancellationToken) -> Ended {
        let tail = Tail::default();
        // Another in each life: what the one before held must not look held by this one.
        let instance = format!("{}-{}", spec.name, &self.ids.token()[..6]);
        let Started { mut child, ready_url, live_url, _held } = match self.spawn(spec, &instance, &tail) {
            Ok(started) => started,
            Err(error) => return Ended::Died(format!("{error:#}")),
        };
        // The lifeline: dropped, and so closed, when this life is over.
        let _lifeline = child.stdin.take();
        let metrics = live_url.strip_prefix("http://").and_then(|url| url.strip_suffix("/livez")).map(str::to_owned);
        self.update(&spec.name, |state| {
            (state.pid, state.instance, state.metrics) = (child.id(), instance, metrics);
        });
        let watched = self.watch(&spec.name, &ready_url, &live_url);
        tokio::pin!(watched);
        let mut retires = false;
        loop {
            tokio::select! {
                status = child.wait() => return if retires { Ended::AsAsked } else { Ended::Died(match status {
                    // What it said last is a reason only where it ended by itself.
                    Ok(status) if status.code().is_some() => format!("{} ({})", describe(status), tail.last_words()),
                    Ok(status) => describe(status),
                    Err(error) => error.to_string(),
                }) },
                () = &mut watched => {
                    let _ = child.kill().await;
                    return Ended::Died("its health listener was silent: killed".to_owned());
                }
                () = retired.cancelled(), if !retires => {
                    retires = true;
                    signal(&child, Signal::USR1);
                }
                () = stop.cancelled() => {
                    self.end(&spec.name, child).await;
                    return Ended::AsAsked;
                }
            }
        }
    }

    fn spawn(&self, spec: &Spec, instance: &str, tail: &Tail) -> anyhow::Result<Started> {
        let mut command = Command::new(&self.program);
        // A profile or another endpoint of the caller's shell would lead the fleet astray.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        // One name for all of them would make one service of all of them.
        if let Some(name) = std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty()) {
            command.env("OTEL_SERVICE_NAME", format!("{name}-{}", spec.role));
        }
        command.env("REELFLEET_INSTANCE", instance);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.envs(spec.env.iter().map(|(name, value)| (name, value)));
        let both = |base: &str| (format!("{base}/readyz"), format!("{base}/livez"));
        let (ready_url, live_url, held) = match &spec.health {
            Health::At(base) => {
                let (ready, live) = both(base);
                (ready, live, None)
            }
            Health::Url(url) => (url.clone(), url.clone(), None),
            Health::Drawn => {
                let held = Held::loopback(0)?;
                command.env("REELFLEET_HEALTH_LISTEN", held.address.to_string());
                let (ready, live) = both(&format!("http://{}", held.address));
                (ready, live, Some(held))
            }
        };
        let mut child = command
            .args(&spec.args)
            .env(lifeline::VARIABLE, "stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C at a terminal reaches the supervisor alone, which then drains in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} can't be started", self.program.display()))?;
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(self.logs.clone().copy(spec.role, spec.name.clone(), stdout, Tail::default()));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(self.logs.clone().copy(spec.role, spec.name.clone(), stderr, tail.clone()));
        }
        Ok(Started { child, ready_url, live_url, _held: held })
    }

    /// Notes when it becomes ready; returns when it hangs.
    async fn watch(&self, name: &str, ready_url: &str, live_url: &str) {
        let every = self.patience.live_every;
        let (probe, slow) = (PROBE.min(every), Instant::now() + SLOW_START);
        let (mut ready, mut silent) = (false, 0);
        while silent < SILENT {
            if !ready && self.http.is_ok(ready_url, probe).await {
                ready = true;
                self.update(name, |state| (state.ready, state.was_ready) = (true, true));
            }
            if !ready && Instant::now() < slow {
                sleep(READY_EVERY).await;
                continue;
            }
            sleep(every).await;
            silent = if self.http.is_ok(live_url, probe).await { 0 } else { silent + 1 };
        }
    }

    /// SIGTERM, the time to drain, SIGKILL.
    async fn end(&self, name: &str, mut child: Child) {
        signal(&child, Signal::TERM);
        let drained = tokio::select! {
            _ = child.wait() => true,
            () = sleep(self.patience.drain) => false,
            () = self.aborted.cancelled() => {
                signal(&child, Signal::TERM);
                timeout(AT_ONCE, child.wait()).await.is_ok()
            }
        };
        if !drained {
            tracing::warn!(process = name, "it does not end: killed");
            let _ = child.kill().await;
        }
    }

    /// Whether everything is ready; an error if something will never be.
    fn all_ready(&self) -> anyhow::Result<bool> {
        let states = self.lock();
        for (name, state) in states.iter() {
            if !state.was_ready && state.failures >= PATIENCE {
                bail!("{name} does not start: {} (see {})", state.why, self.logs.path(state.role).display());
            }
        }
        Ok(states.values().all(|state| state.ready))
    }

    fn not_ready(&self) -> Vec<String> {
        let states = self.lock();
        let waiting = states.iter().filter(|(_, state)| !state.ready);
        waiting
            .map(|(name, state)| if state.why.is_empty() { name.clone() } else { format!("{name} ({})", state.why) })
            .collect()
    }

    fn update(&self, name: &str, change: impl FnOnce(&mut State)) {
        change(self.lock().entry(name.to_owned()).or_default());
        self.changed.send_replace(());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Signals a child that was not waited for yet, so that its id can't be another process's.
fn signal(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid
        && let Err(error) = kill_process(pid, signal)
    {
        tracing::warn!(%error, "a signal was not delivered");
    }
}

/// The pause after the `failures`th failure in a row: it doubles up to the longest, and half of it is left to chance
/// (`unit`, 0..1), so that processes that fell together do not rise together.
fn pause(failures: u32, longest: Duration, unit: f64) -> Duration {
    let doubled = SHORTEST_PAUSE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(longest).mul_f64(0.5 + unit.clamp(0.0, 1.0) / 2.0)
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_and_never_vanishes() {
        let longest = Duration::from_secs(30);
        let most: Vec<_> = (1..=8).map(|n| pause(n, longest, 1.0).as_millis()).collect();
        assert_eq!(most, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        for failures in [0, 1, 7, 40, u32::MAX] {
            let least = pause(failures, longest, 0.0);
            assert!(least >= SHORTEST_PAUSE / 2 && least <= longest / 2, "{failures}: {least:?}");
        }
    }

    #[test]
    fn an_end_is_described() {
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(describe(ExitStatus::from_raw(3 << 8)), "exit code 3");
        assert_eq!(describe(ExitStatus::from_raw(9)), "signal 9");
    }
}
