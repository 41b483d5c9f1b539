//! How a file goes up: one signed PUT or parts, and how large the parts are.
//!
//! Guarantee: never more than 10,000 parts, every part but the last at least 5 MiB and at most 5 GiB.
//! Source: "Amazon S3 multipart upload limits".

const MIB: u64 = 1024 * 1024;
/// Files below this go up in one PUT (bytes).
pub const SINGLE_PUT_BELOW: u64 = 16 * MIB;
/// S3's limit of parts.
pub const MAX_PARTS: u64 = 10_000;
/// S3's largest part (bytes).
pub const MAX_PART: u64 = 5 * 1024 * MIB;
/// S3's largest object in parts of that size (bytes).
pub const MAX_OBJECT: u64 = MAX_PARTS * MAX_PART;
const MIN_PART: u64 = 8 * MIB;

/// Bytes of each part but the last: a power of two near a five-thousandth of the file; `None` if no size will do.
pub fn part_size(size: u64) -> Option<u64> {
    if size == 0 || size > MAX_OBJECT {
        return None;
    }
    let wished = size.div_ceil(5_000).next_power_of_two().clamp(MIN_PART, MAX_PART);
    Some(wished.max(size.div_ceil(MAX_PARTS)))
}

/// Number of parts of that size.
pub fn parts_total(size: u64, part_size: u64) -> u64 {
    size.div_ceil(part_size.max(1)).max(1)
}

/// Bytes of part `number` (from 1).
pub fn part_len(size: u64, part_size: u64, number: u64) -> Option<u64> {
    if number == 0 || number > parts_total(size, part_size) {
        return None;
    }
    Some((size - (number - 1) * part_size).min(part_size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_sizes() {
        assert_eq!(part_size(16 * MIB), Some(8 * MIB));
        assert_eq!(part_size(0), None);
        assert_eq!(part_size(MAX_OBJECT), Some(MAX_PART));
        assert_eq!(part_size(MAX_OBJECT + 1), None);
    }

    proptest! {
        #[test]
        fn parts_fit_the_limits_and_add_up(size in 1u64..MAX_OBJECT) {
            let part = part_size(size).unwrap();
            let total = parts_total(size, part);
            prop_assert!(total <= MAX_PARTS && (5 * MIB..=MAX_PART).contains(&part));
            let last = part_len(size, part, total).unwrap();
            prop_assert_eq!((total - 1) * part + last, size);
            prop_assert!(last > 0 && last <= part);
            prop_assert_eq!(part_len(size, part, total + 1), None);
        }
    }
}
