//! How often somebody may ask: token buckets in memory.
//!
//! Guarantee: a bucket is as many calls at once, and so many a second from then on; a refusal says when the next one is
//! free. The store does not grow beyond [`MOST`]: full buckets say nothing and go first. Each gateway counts by itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use axum::http::HeaderMap;

use crate::problem::{Code, Problem};
use crate::serve::Peer;

const MOST: usize = 20_000;

/// Buckets of one kind, by a text that says whose.
#[derive(Debug)]
pub(crate) struct Buckets {
    per_second: f64,
    burst: f64,
    held: Mutex<HashMap<String, (f64, Instant)>>,
}

impl Buckets {
    /// `per_second` calls for ever, `burst` of them at once.
    pub(crate) fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, held: Mutex::default() }
    }

    /// Takes one call, or says in how many seconds there is one.
    pub(crate) fn take(&self, whose: &str, now: Instant) -> Result<(), u32> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MOST && !held.contains_key(whose) {
            held.retain(|_, (tokens, at)| self.filled(*tokens, *at, now) < self.burst);
            if held.len() >= MOST {
                // Every bucket is in use by somebody: the count begins anew rather than grow.
                held.clear();
            }
        }
        let entry = held.entry(whose.to_owned()).or_insert((self.burst, now));
        let tokens = self.filled(entry.0, entry.1, now);
        if tokens < 1.0 {
            *entry = (tokens, now);
            return Err(((1.0 - tokens) / self.per_second).ceil().min(3_600.0) as u32);
        }
        *entry = (tokens - 1.0, now);
        Ok(())
    }

    /// Gives a call back.
    pub(crate) fn give_back(&self, whose: &str) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((tokens, _)) = held.get_mut(whose) {
            *tokens = (*tokens + 1.0).min(self.burst);
        }
    }

    fn filled(&self, tokens: f64, at: Instant, now: Instant) -> f64 {
        (tokens + now.saturating_duration_since(at).as_secs_f64() * self.per_second).min(self.burst)
    }
}

/// The refusal.
pub(crate) fn too_often(seconds: u32) -> Problem {
    Problem::new(Code::RateLimited, "too many calls: wait for as long as Retry-After says").after(seconds)
}

/// Whose address a request counts for: the peer's, or what the right-most trusted proxy says of its own peer. What is to
/// the left of that is anybody's invention. An IPv6 network of 64 bits counts as one.
pub(crate) fn address(peer: Option<Peer>, headers: &HeaderMap, trusted_proxies: u8) -> String {
    let told = || {
        let lists = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<&str> = lists.flat_map(|list| list.split(',')).map(str::trim).collect();
        let at = hops.len().checked_sub(usize::from(trusted_proxies))?;
        hops.get(at)?.parse::<IpAddr>().ok()
    };
    let direct = peer.map(|Peer(peer)| peer.ip());
    let found = if trusted_proxies > 0 { told().or(direct) } else { direct };
    match found.map(|ip| ip.to_canonical()) {
        Some(IpAddr::V4(ip)) => ip.to_string(),
        Some(IpAddr::V6(ip)) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        None => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_again() {
        let (buckets, start) = (Buckets::new(0.5, 3.0), Instant::now());
        for _ in 0..3 {
            assert_eq!(buckets.take("a", start), Ok(()));
        }
        assert_eq!(buckets.take("a", start), Err(2));
        assert_eq!(buckets.take("b", start), Ok(()), "another's is another's");
        assert_eq!(buckets.take("a", start + Duration::from_secs(1)), Err(1));
        assert_eq!(buckets.take("a", start + Duration::from_secs(2)), Ok(()));
        assert!(buckets.take("a", start + Duration::from_secs(2)).is_err());
        buckets.give_back("a");
        assert_eq!(buckets.take("a", start + Duration::from_secs(2)), Ok(()));
        let later = start + Duration::from_secs(3_600);
        for _ in 0..3 {
            assert_eq!(buckets.take("a", later), Ok(()));
        }
        assert!(buckets.take("a", later).is_err(), "no more than the burst is saved up");
    }

    #[test]
    fn the_store_does_not_grow() {
        let (buckets, start) = (Buckets::new(1.0, 2.0), Instant::now());
        for n in 0..2 * MOST {
            let _ = buckets.take(&n.to_string(), start);
        }
        assert!(buckets.held.lock().unwrap().len() <= MOST);
    }

    #[test]
    fn only_trusted_hops_are_believed() {
        let peer = Some(Peer("192.0.2.1:5".parse().unwrap()));
        let mut headers = HeaderMap::new();
        assert_eq!(address(peer, &headers, 0), "192.0.2.1");
        headers.append("x-forwarded-for", "6.6.6.6, 198.51.100.7".parse().unwrap());
        headers.append("x-forwarded-for", "203.0.113.9".parse().unwrap());
        assert_eq!(address(peer, &headers, 0), "192.0.2.1", "nobody was told to believe it");
        assert_eq!(address(peer, &headers, 1), "203.0.113.9");
        assert_eq!(address(peer, &headers, 2), "198.51.100.7");
        assert_eq!(address(peer, &headers, 9), "192.0.2.1", "fewer hops than said");
        let v6 = |text: &str| address(Some(Peer(text.parse().unwrap())), &HeaderMap::new(), 0);
        assert_eq!(v6("[2001:db8:1:2:3:4:5:6]:1"), v6("[2001:db8:1:2::9]:1"), "one network");
        assert_ne!(v6("[2001:db8:1:3::9]:1"), v6("[2001:db8:1:2::9]:1"));
        assert_eq!(v6("[::ffff:192.0.2.1]:1"), "192.0.2.1");
    }
}
