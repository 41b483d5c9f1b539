//! Webhooks: where they may go, what an answer means, and when they are tried again.
//!
//! Guarantee: an address that is not on the public internet is never global here, in whatever form it is written; only a
//! 2xx is a yes; a redirect is a no.
//!
//! Sources: IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890); Standard Webhooks 1.0.0 ("Operational
//! considerations"); RFC 9110 section 10.2.3 (Retry-After).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Waits before the second, third … attempt (seconds), as Standard Webhooks recommends: nine waits, 75 hours in all.
pub const PAUSES_S: [u64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// The type of an event of no asset, sent once to try an endpoint.
pub const PING: &str = "webhook.ping.v1";
/// A receiver's `Retry-After` is honoured up to this (seconds).
pub const LONGEST_WISH_S: u64 = 86_400;
/// Waits are longer by up to this part of themselves, so that what failed together does not come back together.
const JITTER: f64 = 0.1;

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Taken: never sent again.
    Taken,
    /// The receiver wants nothing more, ever.
    Gone,
    /// To be tried again.
    Again,
}

/// What a status code means. Redirects are not followed: a receiver that moves is told to its owner.
pub fn verdict(status: u16) -> Verdict {
    match status {
        200..=299 => Verdict::Taken,
        410 => Verdict::Gone,
        _ => Verdict::Again,
    }
}

/// Milliseconds until the next attempt after the `attempts`th; none: it was the last.
///
/// `random` is in 0..=1, `wish_s` what the receiver's `Retry-After` said.
pub fn pause_ms(pauses_s: &[u64], attempts: i64, random: f64, wish_s: Option<u64>) -> Option<i64> {
    let index = usize::try_from(attempts.saturating_sub(1)).ok()?;
    let pause = *pauses_s.get(index)?;
    let pause = pause.max(wish_s.unwrap_or(0).min(LONGEST_WISH_S)) as f64 * 1_000.0;
    Some((pause * (1.0 + JITTER * random.clamp(0.0, 1.0))) as i64)
}

/// Whether an address is one of the public internet.
pub fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_global_v4(ip),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => is_global_v4(ip),
            None => is_global_v6(ip),
        },
    }
}

fn is_global_v4(ip: Ipv4Addr) -> bool {
    let special = match ip.octets() {
        // "this network", private, loopback, link-local (with the clouds' metadata services), shared by providers
        [0 | 10 | 127, ..] | [169, 254, ..] | [192, 168, ..] => true,
        [172, second, ..] => (16..32).contains(&second),
        [100, second, ..] => (64..128).contains(&second),
        // protocol assignments, documentation, 6to4 relays, benchmarks
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        // multicast, reserved, broadcast
        [first, ..] => first >= 224,
    };
    !special
}

fn is_global_v6(ip: Ipv6Addr) -> bool {
    let [first, second, ..] = ip.segments();
    // Global unicast is 2000::/3; the rest is loopback, unique local, link-local, multicast, NAT64, unassigned.
    let unicast = first & 0xe000 == 0x2000;
    let special = match first {
        // protocol assignments (Teredo among them), documentation
        0x2001 => second < 0x0200 || second == 0x0db8,
        // 6to4: an IPv4 address inside
        0x2002 => true,
        // documentation (3fff::/20)
        0x3fff => second < 0x1000,
        _ => false,
    };
    unicast && !special
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_public_internet_is_global() {
        for global in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
        ] {
            assert!(is_global(global.parse().unwrap()), "{global}");
        }
        for special in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "64:ff9b::a00:1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "100::1",
        ] {
            assert!(!is_global(special.parse().unwrap()), "{special}");
        }
    }

    #[test]
    fn only_a_2xx_is_a_yes() {
        for (status, wanted) in [
            (200, Verdict::Taken),
            (204, Verdict::Taken),
            (301, Verdict::Again),
            (304, Verdict::Again),
            (400, Verdict::Again),
            (404, Verdict::Again),
            (410, Verdict::Gone),
            (429, Verdict::Again),
            (503, Verdict::Again),
        ] {
            assert_eq!(verdict(status), wanted, "{status}");
        }
    }

    #[test]
    fn the_receivers_wish_is_honoured_within_a_day() {
        assert_eq!(pause_ms(&PAUSES_S, 1, 0.0, None), Some(5_000));
        assert_eq!(pause_ms(&PAUSES_S, 1, 1.0, None), Some(5_500));
        assert_eq!(pause_ms(&PAUSES_S, 1, 0.0, Some(60)), Some(60_000));
        assert_eq!(pause_ms(&PAUSES_S, 3, 0.0, Some(60)), Some(1_800_000), "never sooner than planned");
        assert_eq!(pause_ms(&PAUSES_S, 1, 0.0, Some(u64::MAX)), Some(86_400_000));
        assert_eq!(pause_ms(&PAUSES_S, 9, 0.0, None), Some(86_400_000));
        assert_eq!(pause_ms(&PAUSES_S, 10, 0.0, Some(1)), None, "the tenth attempt is the last");
        let hours = PAUSES_S.iter().sum::<u64>() / 3_600;
        assert_eq!(hours, 75);
    }

    proptest! {
        #[test]
        fn an_address_means_the_same_in_both_families(bits in any::<u32>()) {
            let ip = Ipv4Addr::from(bits);
            prop_assert_eq!(is_global(ip.into()), is_global(ip.to_ipv6_mapped().into()));
        }
    }
}
