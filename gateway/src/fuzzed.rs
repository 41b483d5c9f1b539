//! What holds of the gateway's parsers for any bytes at all. Compiled for tests and for fuzzing alone (`fuzz/`).

use axum::http::HeaderValue;
use reelfleet_domain::policy::Policy;
use reelfleet_domain::upload::parts_total;

use crate::outputs::Output;
use crate::upload_rules::{NewUpload, WantedPart, idempotency_key};

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

/// What is announced and passes can be uploaded to S3; parts that are signed have their exact length.
pub fn upload(data: &[u8]) {
    let kinds = ["video", "audio", "image"].map(str::to_owned).to_vec();
    let policy = Policy { max_bytes: 50 << 40, max_duration_ms: 1, max_pixels: 1, kinds };
    if let Ok(Ok(announced)) = serde_json::from_slice::<NewUpload>(data).map(|upload| upload.check(&policy)) {
        assert!(!announced.name.is_empty() && announced.name.chars().count() <= 255);
        assert!(!announced.name.chars().any(char::is_control), "{:?}", announced.name);
        assert!(announced.content_type.bytes().all(|b| b.is_ascii_graphic()), "{:?}", announced.content_type);
        if let Some(each) = announced.part_size {
            assert!((5 << 20..=5 << 30).contains(&each) && parts_total(announced.size, each) <= 10_000);
        }
    }
    let (size, part_size) = (100 << 20, 8 << 20);
    if let Ok(part) = serde_json::from_slice::<WantedPart>(data) {
        if let Ok(len) = part.check(size, Some(part_size), false) {
            assert!((1..=part_size).contains(&len));
            assert!((u64::from(part.n) - 1) * part_size + len <= size);
        }
        let _ = (part.check(0, None, true), part.check(1, Some(1), false), part.check(u64::MAX, Some(1), true));
    }
    if let Ok(value) = HeaderValue::from_bytes(data)
        && let Ok(key) = idempotency_key(Some(&value))
    {
        assert!(key.is_some_and(|key| (1..=255).contains(&key.len())));
    }
}

/// A path of playback names something inside its asset's folder, or nothing.
pub fn playback_path(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    if Output::at(path).is_some() {
        assert!(path.split('/').all(|part| !part.is_empty() && !part.starts_with('.')), "{path}");
        assert!(path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\' && b != b'%'), "{path}");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn uploads() {
        super::replay::seeds("upload", super::upload);
    }

    #[test]
    fn playback_paths() {
        super::replay::seeds("playback_path", super::playback_path);
    }
}
