//! The processes of a fleet, as they are at this moment, and signals to them.
//!
//! Guarantee: a signal reaches only a process that was started by this fleet's supervisor, or by such a one: it is held
//! by a descriptor (pidfd) before its parentage is looked at, so that an id that was given away since hits nobody else.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::up::ready::{self, Ready};

/// A process that can be signalled.
#[derive(Debug)]
pub struct Held {
    /// Its id.
    pub pid: u32,
    descriptor: OwnedFd,
}

impl Held {
    /// Sends a signal; `false` if the process is gone.
    pub fn signal(&self, signal: Signal) -> bool {
        pidfd_send_signal(&self.descriptor, signal).is_ok()
    }
}

/// Looks at the processes of the fleet in one folder.
#[derive(Clone, Debug)]
pub struct Processes {
    folder: PathBuf,
    supervisor: u32,
}

impl Processes {
    /// Of the supervisor that wrote this ready file.
    pub fn new(folder: PathBuf, ready: &Ready) -> Self {
        Self { folder, supervisor: ready.supervisor }
    }

    /// Ids by role, as the supervisor names them now.
    pub fn by_role(&self) -> BTreeMap<String, Vec<u32>> {
        Ready::read(&ready::in_folder(&self.folder)).map(|ready| ready.pids).unwrap_or_default()
    }

    /// All of one role.
    pub fn role(&self, role: &str) -> Vec<u32> {
        self.by_role().remove(role).unwrap_or_default()
    }

    /// Zygotes: children of workers.
    pub fn zygotes(&self) -> Vec<u32> {
        let workers: Vec<u32> = self.by_role().into_values().flatten().collect();
        children_of(&workers)
    }

    /// Decoders at work: children of zygotes.
    pub fn decoders(&self) -> Vec<u32> {
        children_of(&self.zygotes())
    }

    /// Takes hold of a process if it is of this fleet.
    pub fn hold(&self, pid: u32) -> Option<Held> {
        let id = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let descriptor = pidfd_open(id, PidfdFlags::empty()).ok()?;
        let mut ancestor = pid;
        // Decoder, zygote, worker, supervisor.
        for _ in 0..3 {
            ancestor = parent_of(ancestor)?;
            if ancestor == self.supervisor {
                return Some(Held { pid, descriptor });
            }
        }
        None
    }
}

fn children_of(parents: &[u32]) -> Vec<u32> {
    let Ok(listed) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let mut children: Vec<u32> =
        pids.filter(|pid| parent_of(*pid).is_some_and(|parent| parents.contains(&parent))).collect();
    children.sort_unstable();
    children
}

/// The parent of a process that runs (proc_pid_stat(5)); none for what is dead and not yet waited for.
fn parent_of(pid: u32) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything.
    let (_, after) = text.rsplit_once(')')?;
    let mut fields = after.split_ascii_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_descendants_of_the_supervisor_are_held() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let of = |supervisor| Processes { folder: PathBuf::from("/nowhere"), supervisor };
        assert_eq!(parent_of(child.id()), Some(std::process::id()));
        assert!(children_of(&[std::process::id()]).contains(&child.id()));
        assert!(of(child.id()).hold(child.id()).is_none(), "somebody else's");
        let held = of(std::process::id()).hold(child.id()).unwrap();
        assert!(held.signal(Signal::KILL));
        child.wait().unwrap();
        assert!(!held.signal(Signal::KILL), "gone");
        assert!(of(std::process::id()).hold(child.id()).is_none());
    }
}
