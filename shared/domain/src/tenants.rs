//! Limits of each tenant: how large, how long, what kinds, how much in all.
//!
//! Guarantee: a tenant's own entry goes before the one for all (`*`), field by field, and neither goes beyond what the
//! installation takes; a configuration that says less than it seems to (a misspelt field, a limit of nothing) is refused with
//! the place of the error.

use std::collections::BTreeMap;
use std::str::FromStr;

use reelfleet_messages::event::ReasonCode;
use serde::Deserialize;

use crate::policy::{Policy, Refusal};

/// The entry for all tenants that say nothing else.
const ALL: &str = "*";
const KINDS: [&str; 3] = ["video", "audio", "image"];
/// A day, in milliseconds: what is counted by the day is counted over the last of these.
pub const DAY_MS: i64 = 24 * 3_600_000;

/// Limits of one tenant; what is left out is not limited here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    max_bytes: Option<u64>,
    max_seconds: Option<u64>,
    max_pixels: Option<u64>,
    kinds: Option<Vec<String>>,
    stored_bytes: Option<u64>,
    assets_a_day: Option<u64>,
}

/// The limits of an installation's tenants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TenantLimits {
    entries: BTreeMap<String, Entry>,
}

/// Why a text is not that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    /// Not JSON, or not of its shape.
    #[error("it is a JSON object, from tenant (or *) to limits: {0}")]
    Shape(String),
    /// A limit that can't be meant.
    #[error("{tenant}: {problem}")]
    Entry {
        /// Whose.
        tenant: String,
        /// What is wrong.
        problem: String,
    },
}

/// What a tenant takes in all; none: as much as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// Bytes of sources that are stored at once.
    pub stored_bytes: Option<u64>,
    /// Assets within a day.
    pub assets_a_day: Option<u64>,
}

/// What a tenant has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Use {
    /// Bytes of sources that are stored, or reserved.
    pub stored_bytes: u64,
    /// Assets of the last day, and uploads that will be some.
    pub assets_today: u64,
}

impl TenantLimits {
    /// What a tenant takes, of what the installation does.
    pub fn policy(&self, installation: &Policy, tenant: &str) -> Policy {
        let mut kinds = installation.kinds.clone();
        if let Some(own) = self.of(tenant, |entry| entry.kinds.clone()) {
            kinds.retain(|kind| own.contains(kind));
        }
        let least = |limit: u64, own: Option<u64>| own.map_or(limit, |own| own.min(limit));
        let ms = self.of(tenant, |entry| entry.max_seconds).map(|seconds| seconds.saturating_mul(1_000));
        Policy {
            max_bytes: least(installation.max_bytes, self.of(tenant, |entry| entry.max_bytes)),
            max_duration_ms: least(installation.max_duration_ms, ms),
            max_pixels: least(installation.max_pixels, self.of(tenant, |entry| entry.max_pixels)),
            kinds,
        }
    }

    /// What a tenant takes in all.
    pub fn room(&self, tenant: &str) -> Room {
        Room {
            stored_bytes: self.of(tenant, |entry| entry.stored_bytes),
            assets_a_day: self.of(tenant, |entry| entry.assets_a_day),
        }
    }

    fn of<T>(&self, tenant: &str, field: impl Fn(&Entry) -> Option<T>) -> Option<T> {
        [tenant, ALL].iter().find_map(|name| self.entries.get(*name).and_then(&field))
    }
}

impl Room {
    /// Whether anything has to be counted at all.
    pub fn is_limited(&self) -> bool {
        self.stored_bytes.is_some() || self.assets_a_day.is_some()
    }

    /// Whether one more of so many bytes fits beside what there is.
    pub fn check(&self, bytes: u64, used: &Use) -> Result<(), Refusal> {
        if let Some(most) = self.stored_bytes.filter(|most| used.stored_bytes.saturating_add(bytes) > *most) {
            let detail = format!(
                "{} of {most} bytes are used, and the file has {bytes}: delete something first",
                used.stored_bytes
            );
            return Err(Refusal::new(ReasonCode::StorageFull, detail));
        }
        if let Some(most) = self.assets_a_day.filter(|most| used.assets_today >= *most) {
            let detail = format!("{most} within 24 hours are allowed, and there were {}", used.assets_today);
            return Err(Refusal::new(ReasonCode::TooManyToday, detail));
        }
        Ok(())
    }
}

impl Entry {
    fn check(&self) -> Result<(), String> {
        let numbers = [
            ("max_bytes", self.max_bytes),
            ("max_seconds", self.max_seconds),
            ("max_pixels", self.max_pixels),
            ("stored_bytes", self.stored_bytes),
            ("assets_a_day", self.assets_a_day),
        ];
        if let Some((field, _)) = numbers.iter().find(|(_, limit)| *limit == Some(0)) {
            return Err(format!("{field} is 1 or more"));
        }
        if let Some(kinds) = &self.kinds {
            if kinds.is_empty() {
                return Err("kinds holds at least one, or nothing could be uploaded".to_owned());
            }
            if let Some(kind) = kinds.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
                return Err(format!("kinds holds {}, not {kind:?}", KINDS.join(", ")));
            }
        }
        Ok(())
    }
}

impl FromStr for TenantLimits {
    type Err = LimitsError;

    fn from_str(text: &str) -> Result<Self, LimitsError> {
        let text = if text.trim().is_empty() { "{}" } else { text };
        let entries: BTreeMap<String, Entry> =
            serde_json::from_str(text).map_err(|error| LimitsError::Shape(error.to_string()))?;
        for (tenant, entry) in &entries {
            entry.check().map_err(|problem| LimitsError::Entry { tenant: tenant.clone(), problem })?;
        }
        Ok(Self { entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installation() -> Policy {
        let kinds = ["video", "image"].map(str::to_owned).to_vec();
        Policy { max_bytes: 1_000, max_duration_ms: 60_000, max_pixels: 100, kinds }
    }

    #[test]
    fn a_tenants_own_limits_go_first_and_none_beyond_the_installations() {
        let limits: TenantLimits = r#"{
            "*": {"max_bytes": 500, "kinds": ["video", "audio"], "assets_a_day": 3},
            "press": {"max_bytes": 9000, "max_seconds": 5, "stored_bytes": 100}
        }"#
        .parse()
        .unwrap();
        let (others, press) = (limits.policy(&installation(), "x"), limits.policy(&installation(), "press"));
        assert_eq!((others.max_bytes, others.max_duration_ms, others.max_pixels), (500, 60_000, 100));
        assert_eq!((press.max_bytes, press.max_duration_ms, press.max_pixels), (1_000, 5_000, 100));
        assert_eq!((others.kinds, press.kinds), (vec!["video".to_owned()], vec!["video".to_owned()]), "of both");
        assert_eq!(limits.room("x"), Room { stored_bytes: None, assets_a_day: Some(3) });
        assert_eq!(limits.room("press"), Room { stored_bytes: Some(100), assets_a_day: Some(3) });
        let none = TenantLimits::default();
        assert_eq!(none.policy(&installation(), "x"), installation());
        assert!(!none.room("x").is_limited() && limits.room("x").is_limited());
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_code() {
        let room = Room { stored_bytes: Some(100), assets_a_day: Some(2) };
        let used = |stored_bytes, assets_today| Use { stored_bytes, assets_today };
        assert_eq!(room.check(40, &used(60, 1)), Ok(()));
        assert_eq!(room.check(41, &used(60, 1)).unwrap_err().code, ReasonCode::StorageFull);
        assert_eq!(room.check(u64::MAX, &used(60, 1)).unwrap_err().code, ReasonCode::StorageFull);
        assert_eq!(room.check(1, &used(0, 2)).unwrap_err().code, ReasonCode::TooManyToday);
        assert_eq!(Room::default().check(u64::MAX, &used(u64::MAX, u64::MAX)), Ok(()));
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        for (text, told) in [
            ("[]", "it is a JSON object"),
            (r#"{"a": {"max_byte": 1}}"#, "unknown field `max_byte`"),
            (r#"{"a": {"max_bytes": -1}}"#, "it is a JSON object"),
            (r#"{"a": {"stored_bytes": 0}}"#, "a: stored_bytes is 1 or more"),
            (r#"{"a": {"kinds": []}}"#, "a: kinds holds at least one"),
            (r#"{"a": {"kinds": ["film"]}}"#, "a: kinds holds video, audio, image, not \"film\""),
        ] {
            let refused = text.parse::<TenantLimits>().unwrap_err().to_string();
            assert!(refused.contains(told), "{text}: {refused}");
        }
        assert_eq!("".parse(), Ok(TenantLimits::default()));
    }
}
