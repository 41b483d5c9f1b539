//! Times as AWS writes them, from epoch milliseconds.

use time::{OffsetDateTime, format_description::FormatItem, macros::format_description};

const MILLIS: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// `2026-11-21T10:33:00.123Z`. Times outside of the calendar become the epoch.
pub(crate) fn rfc3339_millis(epoch_ms: i64) -> String {
    utc(epoch_ms).format(MILLIS).unwrap_or_default()
}

/// The same instant as a value of the `time` crate.
pub(crate) fn utc(epoch_ms: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(epoch_ms) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Epoch milliseconds of an instant.
pub(crate) fn epoch_ms(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}
