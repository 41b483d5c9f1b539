//! The header `Range` of a GET (RFC 9110 section 14.2).
//!
//! Guarantee: what the RFC lets a server ignore is ignored (several ranges, another unit, what can't be parsed), and the
//! answer is the whole; what is left is one range in the form that S3 takes.

/// Asks for no byte, which nothing satisfies.
pub(crate) const NOTHING: &str = "bytes=-0";
/// Beyond the end of any object: 50 TB fit fifteen digits.
const BEYOND: u64 = 999_999_999_999_999;

/// The one range that is asked for; none: the whole.
pub(crate) fn of(header: &str) -> Option<String> {
    let (unit, set) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim_matches([' ', '\t']).split_once('-')?;
    match (first, last) {
        ("", last) => Some(format!("bytes=-{}", number(last)?)),
        (first, "") => Some(format!("bytes={}-", number(first)?)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            // An int-range whose end lies before its beginning is invalid (section 14.1.1).
            (first <= last).then(|| format!("bytes={first}-{last}"))
        }
    }
}

/// Digits alone; however many.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(BEYOND).min(BEYOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_of_bytes_is_taken_and_nothing_else() {
        for (header, wanted) in [
            ("bytes=2-3", "bytes=2-3"),
            ("Bytes = 2-3", "bytes=2-3"),
            ("bytes=0-", "bytes=0-"),
            ("bytes=-5", "bytes=-5"),
            ("bytes=-0", NOTHING),
            ("bytes=5-99999999999999999999999", "bytes=5-999999999999999"),
        ] {
            assert_eq!(of(header).as_deref(), Some(wanted), "{header}");
        }
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-1",
            "bytes=0-1,3-4",
            "bytes=0-1, -2",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=1--2",
            "items=0-1",
            "2-3",
            "bytes 2-3",
        ] {
            assert_eq!(of(header), None, "{header:?}");
        }
    }
}
