//! Cookies, and whose pages may make use of that which refreshes.
//!
//! Guarantee: the refresh cookie is not for scripts, not for other sites, not for other paths, and over https alone where
//! the public URL is https. A request that makes use of it comes from a page of this gateway: its `Origin` is that of the
//! public URL, a configured one, or names the very host that the request was sent to.

use axum::http::{HeaderMap, HeaderValue, header};
use reelfleet_access::sessions::IDLE_MS;

use crate::app::App;
use crate::caller::text_of;
use crate::problem::{Code, Problem};

/// The refresh token.
pub(super) const REFRESH: Cookie = Cookie { name: "rf_refresh", path: "/v1/auth", same_site: SameSite::Strict };

/// Which requests a browser sends a cookie with.
#[derive(Debug, Clone, Copy)]
pub(super) enum SameSite {
    /// Those of our own pages.
    Strict,
    /// And when somebody comes here from elsewhere by a link.
    Lax,
}

/// A kind of cookie: for no script, for no other path, over https alone where the public URL is https.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cookie {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    pub(super) same_site: SameSite,
}

impl Cookie {
    /// The header that stores a value for so many seconds.
    pub(super) fn set(&self, value: &str, max_age: i64, public_url: &str) -> String {
        let Self { name, path, same_site } = self;
        let secure = if public_url.starts_with("https://") { "; Secure" } else { "" };
        format!("{name}={value}; Path={path}; Max-Age={max_age}; HttpOnly; SameSite={same_site:?}{secure}")
    }

    /// The header that takes the cookie away.
    pub(super) fn clear(&self, public_url: &str) -> String {
        self.set("", 0, public_url)
    }

    /// The value that a request brings; of two, none.
    pub(super) fn of<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut found = pairs
            .flat_map(|list| list.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == self.name)
            .map(|(_, value)| value);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }
}

/// The header that stores a refresh token.
pub(super) fn set(token: &str, public_url: &str) -> String {
    REFRESH.set(token, IDLE_MS / 1_000, public_url)
}

/// Refuses what no page of ours has sent (OWASP Cross-Site Request Forgery Prevention, "verifying origin").
pub(super) fn must_be_ours(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    let origin = headers.get(header::ORIGIN).map(HeaderValue::as_bytes);
    let host = text_of(headers, header::HOST.as_str());
    if origin.is_some_and(|origin| is_ours(origin, host, &app.context.config.public_url, &app.options.web_origins)) {
        return Ok(());
    }
    Err(Problem::new(Code::OriginForbidden, "only a page of this site may do this: it sends its Origin"))
}

fn is_ours(origin: &[u8], host: Option<&str>, public_url: &str, web_origins: &[String]) -> bool {
    let Ok(origin) = std::str::from_utf8(origin) else { return false };
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let public =
        public_url.split_once("://").map(|(scheme, rest)| (scheme, rest.split('/').next().unwrap_or_default()));
    public == Some((scheme, authority))
        || web_origins.iter().any(|known| known == origin)
        // A cookie belongs to a host: who reaches us by another name has another cookie, and its own pages.
        || (matches!(scheme, "http" | "https") && !authority.is_empty() && host == Some(authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_for_refreshing_alone() {
        let cookie = set("rs_1", "https://h");
        assert_eq!(cookie, "rf_refresh=rs_1; Path=/v1/auth; Max-Age=2592000; HttpOnly; SameSite=Strict; Secure");
        assert!(!set("rs_1", "http://h").contains("Secure"));
        assert!(REFRESH.clear("http://h").starts_with("rf_refresh=; Path=/v1/auth; Max-Age=0;"));
    }

    #[test]
    fn one_cookie_is_read() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::COOKIE, HeaderValue::from_static(value));
            }
            REFRESH.of(&headers).map(str::to_owned)
        };
        assert_eq!(of(&["a=b; rf_refresh=x"]).as_deref(), Some("x"));
        assert_eq!(of(&["a=b", "rf_refresh=x"]).as_deref(), Some("x"));
        for none in [&[][..], &["a=b"], &["xrf_refresh=x"], &["rf_refresh=x; rf_refresh=y"], &["rf_refresh"]] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }

    #[test]
    fn other_sites_pages_are_refused() {
        let configured = ["https://web.example".to_owned()];
        let ours =
            |origin: &str, host: Option<&str>| is_ours(origin.as_bytes(), host, "https://films.example", &configured);
        assert!(ours("https://films.example", None) && ours("https://web.example", None));
        assert!(ours("http://127.0.0.1:8080", Some("127.0.0.1:8080")));
        for (origin, host) in [
            ("http://films.example", Some("films.example:1")),
            ("https://films.example.evil.example", Some("films.example")),
            ("https://evil.example", Some("films.example")),
            ("http://127.0.0.1:8081", Some("127.0.0.1:8080")),
            ("null", Some("films.example")),
            ("", Some("")),
            ("http://", Some("")),
        ] {
            assert!(!ours(origin, host), "{origin} {host:?}");
        }
    }
}
