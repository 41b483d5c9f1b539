//! Where mails go: the URL of an SMTP server.
//!
//! Guarantee: a password or a mail crosses a network only encrypted, unless the URL itself says `tls=none`. There is no
//! "encrypt if possible", which anybody on the way can turn off. The URL is never logged.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use lettre::transport::smtp::AsyncSmtpTransportBuilder;
use lettre::{AsyncSmtpTransport, Tokio1Executor};
use url::{Host, Url};

/// `smtps://user:password@host`, `smtp://host:587` (STARTTLS), `smtp://localhost:25` or `smtp://host?tls=none` (plain).
#[derive(Clone)]
pub struct SmtpServer {
    builder: AsyncSmtpTransportBuilder,
    host: String,
}

/// Why a URL names no server.
#[derive(Debug, thiserror::Error)]
pub enum SmtpServerError {
    /// Not a URL.
    #[error("it is not a URL: {0}")]
    Shape(#[from] url::ParseError),
    /// Not one of ours.
    #[error("it begins with smtp:// or smtps:// and names a host")]
    Scheme,
    /// A parameter that would mean less than it says.
    #[error("tls={0} is not known: tls=required, or tls=none for a server without it")]
    Tls(String),
    /// The TLS of this machine.
    #[error("it can't be used: {0}")]
    Transport(#[from] lettre::transport::smtp::Error),
}

impl SmtpServer {
    pub(crate) fn transport(&self, timeout: Duration) -> AsyncSmtpTransport<Tokio1Executor> {
        self.builder.clone().timeout(Some(timeout)).build()
    }
}

impl fmt::Debug for SmtpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SmtpServer").field(&self.host).finish()
    }
}

impl FromStr for SmtpServer {
    type Err = SmtpServerError;

    fn from_str(text: &str) -> Result<Self, SmtpServerError> {
        let url = in_the_form_of_the_library(Url::parse(text)?)?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.as_str())?;
        Ok(Self { builder, host })
    }
}

/// There `smtp://` without a parameter is plain; here it is STARTTLS, but to this very machine.
fn in_the_form_of_the_library(mut url: Url) -> Result<Url, SmtpServerError> {
    // A scheme that the standard does not name has an opaque host: an address is not recognised as one.
    let loopback = match url.host().ok_or(SmtpServerError::Scheme)? {
        Host::Domain(name) => {
            name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    };
    let tls = url.query_pairs().find(|(name, _)| name == "tls").map(|(_, value)| value.into_owned());
    match (url.scheme(), tls.as_deref()) {
        ("smtps", None | Some("required")) => url.set_query(None),
        ("smtp", None) if !loopback => url.set_query(Some("tls=required")),
        ("smtp", None | Some("required")) => {}
        ("smtp", Some("none")) => url.set_query(None),
        ("smtp" | "smtps", Some(other)) => return Err(SmtpServerError::Tls(other.to_owned())),
        _ => return Err(SmtpServerError::Scheme),
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_only_to_this_machine_or_where_the_url_says_so() {
        let read = |text: &str| in_the_form_of_the_library(Url::parse(text).unwrap()).map(|url| url.to_string());
        for (text, wanted) in [
            ("smtp://127.0.0.1:2525", "smtp://127.0.0.1:2525"),
            ("smtp://[::1]:2525", "smtp://[::1]:2525"),
            ("smtp://localhost", "smtp://localhost"),
            ("smtp://mail.example:587", "smtp://mail.example:587?tls=required"),
            ("smtp://localhost.example:587", "smtp://localhost.example:587?tls=required"),
            ("smtp://mail.example:25?tls=none", "smtp://mail.example:25"),
            ("smtps://u:p@mail.example", "smtps://u:p@mail.example"),
        ] {
            assert_eq!(read(text).unwrap(), wanted);
        }
        for text in ["http://mail.example", "smtp://mail.example?tls=opportunistic", "smtps://mail.example?tls=none"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_password_is_not_shown() {
        let server: SmtpServer = "smtps://ann:secret@mail.example".parse().unwrap();
        assert_eq!(format!("{server:?}"), "SmtpServer(\"mail.example\")");
    }
}
