//! Ports of an installation on one machine.
//!
//! Guarantee: a folder keeps its ports over restarts as long as they are free, so that links and `AWS_ENDPOINT_URL`
//! stay good. Between the look and the listening somebody else may take one; then the process that wanted it says so.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// What `DIR/ports.json` holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// The embedded endpoint's.
    pub aws: u16,
    /// The notifier's.
    pub notifier: u16,
}

impl Ports {
    /// The folder's ports: the ones that it had, as far as they are free.
    pub fn of(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("ports.json");
        // Not there or damaged: nothing is lost by drawing new ones.
        let had: Ports = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let ports =
            Self { aws: free_loopback(Some(had.aws))?.port(), notifier: free_loopback(Some(had.notifier))?.port() };
        if ports != had {
            fs::write(&path, serde_json::to_vec(&ports)?)
                .with_context(|| format!("{} can't be written", path.display()))?;
        }
        Ok(ports)
    }
}

/// A free loopback port, the wished one if it is.
pub fn free_loopback(wished: Option<u16>) -> anyhow::Result<SocketAddr> {
    let wished = wished.and_then(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    let listener = match wished {
        Some(listener) => listener,
        None => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free loopback port")?,
    };
    Ok(listener.local_addr()?)
}

/// The address with its port drawn, if it can be listened on now.
pub fn listenable(address: SocketAddr) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(address).with_context(|| format!("{address} can't be listened on"))?;
    Ok(listener.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_ports_unless_they_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let first = Ports::of(folder.path()).unwrap();
        assert_eq!(Ports::of(folder.path()).unwrap(), first);
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first.aws)).unwrap();
        let second = Ports::of(folder.path()).unwrap();
        assert_ne!(second.aws, first.aws);
        assert_eq!(second.notifier, first.notifier);
        assert!(listenable(([127, 0, 0, 1], first.aws).into()).is_err());
    }
}
