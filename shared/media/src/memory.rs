//! Room in this machine's memory for decoders.
//!
//! Guarantee: the decoders of all processes of a machine never expect more memory together than there is, however they
//! end. A unit of it is a name among the kernel's abstract sockets (unix(7)): it is whoever's bound it, until that socket
//! closes or its process dies. Who expects more than there is gets all but what is left to small work, which probes, sound and
//! the pictures of films up to 1080p are: it never waits behind one large film, where there are 512 MiB or more.
//!
//! Processes share a machine's memory as far as they share its network namespace and agree how much it is: containers
//! that have their own are told how much is theirs by their cgroup, or by `REELFLEET_DECODER_MEMORY_MIB`.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reelfleet_telemetry::MemoryAwaited;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::error::MediaError;

const UNIT_MIB: u64 = 64;
/// Units that only requests of so many take, where there are four times as many.
const FOR_SMALL: usize = 2;
/// How often to look whether another process has left room; this one's decoders ring.
const LOOK: Duration = Duration::from_millis(250);
/// What the kernel, page cache and everything but decoders is left: an eighth, and this.
const RESERVE_MIB: u64 = 512;

/// Memory that decoders share.
#[derive(Debug)]
pub(crate) struct Memory {
    units: usize,
    /// Where the next search begins, so that two rarely try the same units.
    next: AtomicUsize,
    freed: Arc<Notify>,
}

/// Some of it, taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    units: Vec<UnixDatagram>,
    freed: Arc<Notify>,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.units.clear();
        self.freed.notify_waiters();
    }
}

impl Memory {
    pub(crate) fn of_mib(mib: u64) -> Self {
        let units = usize::try_from(mib / UNIT_MIB).unwrap_or(usize::MAX).max(1);
        let next = AtomicUsize::new(std::process::id() as usize);
        Self { units, next, freed: Arc::new(Notify::new()) }
    }

    /// What this machine, or this process's cgroup, can spare.
    pub(crate) fn of_machine() -> Self {
        let all = machine_mib().into_iter().chain(cgroup_mib()).min().unwrap_or(4096);
        Self::of_mib(all - (all / 8) - RESERVE_MIB.min(all / 4))
    }

    /// Takes room for so many MiB, or for as many as there are for one; waits until others have left it.
    ///
    /// # Errors
    /// `NoRoom` where that takes longer than `patience`: nothing is wrong with the source, another time will do.
    pub(crate) async fn take(&self, mib: u64, patience: Duration) -> Result<Room, MediaError> {
        let units = usize::try_from(mib.div_ceil(UNIT_MIB)).unwrap_or(usize::MAX).clamp(1, self.most());
        let began = Instant::now();
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Told of from here on, so that what is left between the look and the wait is not missed.
            freed.as_mut().enable();
            let descriptor = |e: io::Error| MediaError::Zygote(format!("room in memory: {e}"));
            if let Some(units) = self.try_take(units).map_err(descriptor)? {
                if began.elapsed() > LOOK {
                    MemoryAwaited { mib, seconds: began.elapsed().as_secs_f64(), given: true }.emit();
                }
                return Ok(Room { units, freed: Arc::clone(&self.freed) });
            }
            if began.elapsed() >= patience {
                MemoryAwaited { mib, seconds: began.elapsed().as_secs_f64(), given: false }.emit();
                return Err(MediaError::NoRoom { mib, of_mib: self.units as u64 * UNIT_MIB });
            }
            let _ = timeout(LOOK, freed).await;
        }
    }

    /// What one decoder may have, and all large ones together.
    fn most(&self) -> usize {
        if self.units < 4 * FOR_SMALL { self.units } else { self.units - FOR_SMALL }
    }

    /// So many units, or none.
    fn try_take(&self, wanted: usize) -> io::Result<Option<Vec<UnixDatagram>>> {
        // Small work alone reaches the last ones.
        let open = if wanted > FOR_SMALL { self.most() } else { self.units };
        let from = self.next.fetch_add(wanted, Ordering::Relaxed);
        let mut taken = Vec::with_capacity(wanted);
        for offset in 0..open {
            if taken.len() == wanted {
                break;
            }
            let unit = from.wrapping_add(offset) % open;
            let name = SocketAddr::from_abstract_name(format!("reelfleet/memory/{}/{unit}", self.units))?;
            match UnixDatagram::bind_addr(&name) {
                Ok(bound) => taken.push(bound),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        Ok((taken.len() == wanted).then_some(taken))
    }
}

fn machine_mib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib / 1024)
}

/// The lowest limit of this process's cgroup (v2) and those around it, as far as they are seen from here.
fn cgroup_mib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = std::path::Path::new("/sys/fs/cgroup");
    let own = root.join(path);
    let limits = own.ancestors().take_while(|folder| folder.starts_with(root)).filter_map(|folder| {
        let limit = std::fs::read_to_string(folder.join("memory.max")).ok()?;
        limit.trim().parse::<u64>().ok().map(|bytes| bytes >> 20)
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_more_than_there_is_and_what_is_dropped_is_free_again() {
        let memory = Memory::of_mib(10 * UNIT_MIB);
        let first = memory.try_take(5).unwrap().unwrap();
        assert!(memory.try_take(4).unwrap().is_none(), "and nothing of it is kept");
        let rest = memory.try_take(3).unwrap().unwrap();
        assert!(memory.try_take(3).unwrap().is_none());
        drop(memory.try_take(2).unwrap().expect("as pictures of 1080p take it"));
        let small = [memory.try_take(1).unwrap().unwrap(), memory.try_take(1).unwrap().unwrap()];
        assert!(memory.try_take(1).unwrap().is_none(), "small work has its own, and no more than there is");
        drop((first, small));
        assert!(memory.try_take(5).unwrap().is_some());
        drop(rest);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told_and_who_waits_in_vain_too() {
        let memory = Memory::of_mib(11 * UNIT_MIB);
        let all = memory.take(u64::MAX, Duration::ZERO).await.unwrap();
        let small = memory.take(1, Duration::ZERO).await.unwrap();
        let error = memory.take(129, Duration::from_secs(2)).await.unwrap_err();
        assert!(matches!(error, MediaError::NoRoom { mib: 129, of_mib: 704 }), "{error}");
        let waits = memory.take(129, Duration::from_secs(3600));
        tokio::pin!(waits);
        assert!(timeout(Duration::ZERO, &mut waits).await.is_err());
        drop((all, small));
        assert!(timeout(Duration::ZERO, waits).await.is_ok(), "by a ring, not by a look");
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(machine_mib().unwrap() > 256);
        let all = Memory::of_machine().units as u64 * UNIT_MIB;
        assert!(all > 128 && all < machine_mib().unwrap());
    }
}
