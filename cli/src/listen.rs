//! Addresses to listen on, as people write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`, or a port alone, which is one of this machine.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let port = text.strip_prefix("localhost:").or_else(|| text.strip_prefix(':')).unwrap_or(text);
    match port.parse::<u16>() {
        Ok(port) => Ok((Ipv4Addr::LOCALHOST, port).into()),
        Err(_) => Err("an address is 127.0.0.1:8080, 0.0.0.0:8080, localhost:8080 or a port alone".to_owned()),
    }
}

/// An address as a client on this machine dials it.
pub fn dialled(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_understood_or_answered_with_an_example() {
        for (text, wanted) in [
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
            ("localhost:8080", "127.0.0.1:8080"),
            ("8080", "127.0.0.1:8080"),
            (":8080", "127.0.0.1:8080"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), wanted);
        }
        for text in ["", "example.org:80", "localhost", "99999", "http://127.0.0.1:80"] {
            assert!(address(text).unwrap_err().contains("127.0.0.1:8080"), "{text}");
        }
    }

    #[test]
    fn every_interface_is_dialled_on_this_one() {
        assert_eq!(dialled("0.0.0.0:80".parse().unwrap()).to_string(), "127.0.0.1:80");
        assert_eq!(dialled("[::]:80".parse().unwrap()).to_string(), "[::1]:80");
        assert_eq!(dialled("10.1.2.3:80".parse().unwrap()).to_string(), "10.1.2.3:80");
    }
}
