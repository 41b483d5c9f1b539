//! Processor time of this process and of the decoders that it had made.
//!
//! Guarantee: what [`Account::cpu_s`] tells includes every decoder whose session has ended: it waits until the zygote has
//! waited for them.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// How long ended decoders may take to be waited for.
const REAPING: Duration = Duration::from_secs(5);

/// What had been used when it was opened.
pub struct Account {
    before: f64,
}

impl Account {
    pub fn open() -> anyhow::Result<Self> {
        Ok(Self { before: used_s()? })
    }

    /// CPU seconds since it was opened. To the hundredth of a second, as the kernel counts.
    pub async fn cpu_s(&self) -> anyhow::Result<f64> {
        let began = Instant::now();
        while !zygotes_rest()? && began.elapsed() < REAPING {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(used_s()? - self.before)
    }
}

struct Process {
    pid: u32,
    parent: u32,
    ticks: u64,
}

/// A process's own time and that of the children it has waited for.
fn read(pid: &str) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let ticks = (11..=14).filter_map(number).sum();
    Some(Process { pid: pid.parse().ok()?, parent: number(1)? as u32, ticks })
}

fn all() -> anyhow::Result<Vec<Process>> {
    let entries = fs::read_dir("/proc").context("/proc")?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter(|name| name.bytes().all(|b| b.is_ascii_digit())).filter_map(|name| read(&name)).collect())
}

fn used_s() -> anyhow::Result<f64> {
    let me = std::process::id();
    let ticks: u64 = all()?.iter().filter(|p| p.pid == me || p.parent == me).map(|p| p.ticks).sum();
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// No child of ours has a child of its own.
fn zygotes_rest() -> anyhow::Result<bool> {
    let me = std::process::id();
    let all = all()?;
    let zygotes: Vec<u32> = all.iter().filter(|p| p.parent == me).map(|p| p.pid).collect();
    Ok(!all.iter().any(|p| zygotes.contains(&p.parent)))
}
