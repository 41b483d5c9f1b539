//! Ports of an installation on one machine.
//!
//! Guarantees:
//! - a folder keeps its ports over restarts as long as they are free, so that links and `AWS_ENDPOINT_URL` stay good;
//! - a port that was drawn is nobody else's as long as it is held, whether its process listens at the moment or not.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::net::TcpSocket;

/// What `DIR/ports.json` holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Ports {
    /// The embedded endpoint's.
    aws: u16,
    /// The notifier's.
    notifier: u16,
}

/// An address held for a process of ours.
///
/// The socket is bound and never listens, with SO_REUSEADDR: Linux then lets a listener with SO_REUSEADDR (ours have
/// it) bind the address too, refuses connections while there is none, and gives the port to nobody who asks for any.
#[derive(Debug)]
pub struct Held {
    /// The address, its port drawn.
    pub address: SocketAddr,
    _socket: TcpSocket,
}

impl Held {
    /// Holds an address that nobody listens on; port 0 draws one.
    pub fn new(address: SocketAddr) -> anyhow::Result<Self> {
        Self::bound(address).with_context(|| format!("{address} can't be listened on"))
    }

    /// Holds a loopback port, the wished one if it is free.
    pub fn loopback(wished: u16) -> anyhow::Result<Self> {
        let at = |port| Self::bound((Ipv4Addr::LOCALHOST, port).into());
        at(wished).or_else(|_| at(0)).context("no free loopback port")
    }

    fn bound(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self { address: socket.local_addr()?, _socket: socket })
    }
}

/// The folder's own ports, held: the endpoint's (unless it is to listen elsewhere) and the notifier's.
pub fn of_folder(folder: &Path, aws: Option<Held>) -> anyhow::Result<(Held, Held)> {
    let path = folder.join("ports.json");
    // Not there or damaged: nothing is lost by drawing new ones.
    let had: Ports = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let notifier = Held::loopback(had.notifier)?;
    let (aws, drawn) = match aws {
        Some(held) => (held, had.aws),
        None => {
            let held = Held::loopback(had.aws)?;
            let port = held.address.port();
            (held, port)
        }
    };
    let ports = Ports { aws: drawn, notifier: notifier.address.port() };
    if ports != had {
        fs::write(&path, serde_json::to_vec(&ports)?)
            .with_context(|| format!("{} can't be written", path.display()))?;
    }
    Ok((aws, notifier))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_folder_keeps_its_ports_unless_they_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let ports = |of: &(Held, Held)| (of.0.address, of.1.address);
        let first = ports(&of_folder(folder.path(), None).unwrap());
        assert_eq!(ports(&of_folder(folder.path(), None).unwrap()), first);
        let _taken = TcpListener::bind(first.0).unwrap();
        let second = ports(&of_folder(folder.path(), None).unwrap());
        assert_ne!(second.0, first.0);
        assert_eq!(second.1, first.1);
        assert!(Held::new(first.0).is_err());
    }

    #[test]
    fn a_held_port_is_for_whoever_is_told_of_it_and_is_drawn_by_nobody() {
        let held = Held::loopback(0).unwrap();
        let refused = std::net::TcpStream::connect(held.address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let drawn: Vec<Held> = (0..2000).map(|_| Held::loopback(0).unwrap()).collect();
        assert!(drawn.iter().all(|other| other.address != held.address));
        for _ in 0..2 {
            let listener = TcpListener::bind(held.address).unwrap();
            std::net::TcpStream::connect(held.address).unwrap();
            listener.accept().unwrap();
        }
    }
}
