//! Where webhooks may be sent.
//!
//! Guarantee: what [`target`] lets through is `https` without credentials to a host of the public internet, or a host that
//! the operator has named. A name may still resolve to a private address: whoever connects asks
//! [`reelfleet_domain::webhook::is_global`] about every address, and follows no redirect.
//!
//! Source: OWASP Server-Side Request Forgery Prevention Cheat Sheet.

use std::str::FromStr;

use reelfleet_domain::webhook::is_global;
use url::{Host, Url};

/// Longest URL (bytes).
pub const MAX_URL: usize = 2_048;

/// Hosts that may be private, or be talked to without TLS: `host` or `host:port`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exceptions(Vec<(String, Option<u16>)>);

/// Why a URL is not taken, for its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not a URL, or too long.
    #[error("url is an absolute URL of at most {MAX_URL} bytes: https://example.com/hooks")]
    Malformed,
    /// Plain text on the wire.
    #[error("url begins with https://")]
    Plain,
    /// Credentials in URLs end up in logs.
    #[error("url holds no user and no password: the signature says who sends")]
    Credentials,
    /// A private address, or a name that only a private network knows.
    #[error("url names a host of the public internet")]
    Private,
}

impl FromStr for Exceptions {
    type Err = String;

    /// Separated by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let read = entries.map(|entry| {
            let url =
                Url::parse(&format!("http://{entry}/")).map_err(|_| format!("{entry:?} is not host or host:port"))?;
            let host = url.host_str().ok_or_else(|| format!("{entry:?} names no host"))?.to_owned();
            // The parser drops a scheme's own port.
            let port = url.port().or_else(|| entry.ends_with(":80").then_some(80));
            Ok((host, port))
        });
        read.collect::<Result<Vec<_>, String>>().map(Self)
    }
}

impl Exceptions {
    fn hold(&self, url: &Url) -> bool {
        let (host, port) = (url.host_str(), url.port_or_known_default());
        self.0.iter().any(|(name, wanted)| Some(name.as_str()) == host && (wanted.is_none() || *wanted == port))
    }

    /// Whether a name is excepted, by whatever port: [`target`] has looked at the port.
    pub fn name(&self, host: &str) -> bool {
        self.0.iter().any(|(name, _)| name == host)
    }
}

/// Reads where a webhook goes.
///
/// # Errors
/// What the owner has to change.
pub fn target(text: &str, exceptions: &Exceptions) -> Result<Url, TargetError> {
    if text.len() > MAX_URL {
        return Err(TargetError::Malformed);
    }
    let url = Url::parse(text).map_err(|_| TargetError::Malformed)?;
    if !matches!(url.scheme(), "http" | "https") || url.fragment().is_some() {
        return Err(TargetError::Malformed);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(TargetError::Credentials);
    }
    if exceptions.hold(&url) {
        return Ok(url);
    }
    let private = match url.host().ok_or(TargetError::Malformed)? {
        Host::Ipv4(ip) => !is_global(ip.into()),
        Host::Ipv6(ip) => !is_global(ip.into()),
        Host::Domain(name) => is_private_name(name),
    };
    match (private, url.scheme()) {
        (true, _) => Err(TargetError::Private),
        (false, "http") => Err(TargetError::Plain),
        _ => Ok(url),
    }
}

/// Names that no public resolver knows (RFC 6761, RFC 6762, RFC 8375, ICANN's `internal`), and names without a dot.
fn is_private_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    let last = name.rsplit('.').next().unwrap_or(name);
    !name.contains('.') || ["localhost", "local", "internal", "arpa", "test", "invalid", "onion"].contains(&last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Option<TargetError> {
        target(text, &Exceptions::default()).err()
    }

    #[test]
    fn only_https_to_the_public_internet() {
        assert_eq!(refused("https://example.com/hook?x=1"), None);
        assert_eq!(refused("https://1.1.1.1:8443/hook"), None);
        assert_eq!(refused("http://example.com/hook"), Some(TargetError::Plain));
        for text in
            ["", "example.com", "ftp://example.com", "https://", "https://example.com/#x", "javascript:alert(1)"]
        {
            assert_eq!(refused(text), Some(TargetError::Malformed), "{text}");
        }
        for text in ["https://u@example.com", "https://:p@example.com"] {
            assert_eq!(refused(text), Some(TargetError::Credentials), "{text}");
        }
        assert_eq!(refused(&format!("https://example.com/{}", "a".repeat(MAX_URL))), Some(TargetError::Malformed));
    }

    #[test]
    fn a_private_address_is_one_in_every_spelling() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "169.254.169.254",
            "10.0.0.1",
            "localhost",
            "a.localhost",
            "LOCALHOST.",
            "metadata.google.internal",
            "nas.local",
            "gateway",
            "1.0.0.127.in-addr.arpa",
        ] {
            assert_eq!(refused(&format!("https://{host}/hook")), Some(TargetError::Private), "{host}");
        }
    }

    #[test]
    fn the_operator_may_name_hosts() {
        let exceptions: Exceptions = "127.0.0.1:9000, hooks.internal".parse().unwrap();
        let open = |text: &str| target(text, &exceptions).is_ok();
        assert!(
            open("http://127.0.0.1:9000/hook")
                && open("http://hooks.internal/x")
                && open("https://hooks.internal:99/x")
        );
        assert!(
            !open("http://127.0.0.1:9001/hook") && !open("http://127.0.0.1/hook") && !open("http://a.hooks.internal/")
        );
        assert!(exceptions.name("hooks.internal") && !exceptions.name("hooks"));
        assert_eq!("h:80".parse::<Exceptions>().unwrap().0, [("h".to_owned(), Some(80))]);
        assert!("a b".parse::<Exceptions>().is_err());
    }
}
