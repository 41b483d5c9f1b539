//! An asset as the API shows it.
//!
//! Guarantee: what is shown of an unchanged asset stays byte for byte the same for an hour, so that `ETag` works: the
//! expiry of its playback URL moves in whole hours.

use reelfleet_access::{Grant, PlaybackKey};
use reelfleet_catalog::assets::Asset;
use reelfleet_catalog::pictures::Picture;
use reelfleet_catalog::publishing::Rendition;
use reelfleet_domain::AssetState;
use reelfleet_messages::JobId;
use serde_json::{Value, json};

use crate::app::rfc3339;

const HOUR_S: i64 = 3_600;

/// The right to play one asset, and its URLs.
pub(crate) struct Playback {
    /// `{public URL}/p/{token}`.
    base: String,
    expires_at: i64,
}

impl Playback {
    /// A right that lives at least `ttl_s` from `now` (epoch milliseconds); `open`: no longer than the asset is open to
    /// strangers. None for an asset that is gone.
    pub(crate) fn of(
        asset: &Asset,
        key: &PlaybackKey,
        public_url: &str,
        now: i64,
        ttl_s: i64,
        open: bool,
    ) -> Option<Self> {
        if matches!(asset.state, AssetState::Deleting | AssetState::Deleted) {
            return None;
        }
        let expires_at = (now / 1_000 + ttl_s).div_euclid(HOUR_S).saturating_add(1) * HOUR_S;
        let generation = u32::try_from(asset.generation).ok()?;
        let token = key.sign(&Grant { asset: asset.id, generation, expires_at, open });
        Some(Self { base: format!("{public_url}/p/{token}"), expires_at })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }
}

/// The fields that lists show too.
pub(crate) fn summary(asset: &Asset) -> Value {
    let reason = asset.reason_code.as_ref().map(|code| json!({ "code": code, "detail": asset.reason_detail }));
    // How long it took, from the object's landing.
    let after = |at: Option<i64>| at.map(|at| at.saturating_sub(asset.landed_at).max(0));
    json!({
        "id": asset.id.to_string(),
        "name": asset.name,
        "description": asset.description,
        "tags": asset.tags,
        "visibility": asset.visibility.as_str(),
        "edition": asset.edition,
        "state": asset.state.as_str(),
        "reason": reason,
        "media": asset.media,
        "owner": asset.owner,
        "upload": asset.upload_id,
        "duration_ms": asset.duration_ms,
        "width": asset.width,
        "height": asset.height,
        "generation": asset.generation,
        "version": asset.version,
        "source": {
            "bucket": asset.bucket,
            "key": asset.key,
            "version_id": asset.version_id,
            "etag": asset.etag,
            "size": asset.size,
        },
        "landed_at": rfc3339(asset.landed_at),
        "playable_at": asset.playable_at.map(rfc3339),
        "ready_at": asset.ready_at.map(rfc3339),
        "updated_at": rfc3339(asset.updated_at),
        "timings": {
            "playable_ms": after(asset.playable_at),
            "ready_ms": after(asset.ready_at),
        },
    })
}

/// All of it.
pub(crate) fn full(
    asset: &Asset,
    job: Option<&(JobId, String, f64)>,
    renditions: &[Rendition],
    pictures: &[Picture],
    playback: Option<&Playback>,
) -> Value {
    let mut shown = summary(asset);
    // Stored by us; were it unreadable, the rest is still worth showing.
    let probe = asset.probe.as_deref().map(serde_json::from_str::<Value>);
    shown["probe"] = probe.and_then(Result::ok).unwrap_or(Value::Null);
    shown["progress"] = json!(job.map(|(_, _, percent)| percent));
    shown["job"] = json!(job.map(|(id, state, _)| json!({ "id": id.to_string(), "state": state })));
    shown["renditions"] = renditions.iter().map(rendition).collect();
    with_playback(shown, asset, pictures, playback)
}

/// The same with where it plays, and its pictures.
pub(crate) fn with_playback(
    mut shown: Value,
    asset: &Asset,
    pictures: &[Picture],
    playback: Option<&Playback>,
) -> Value {
    shown["pictures"] = match playback {
        Some(playback) => pictures.iter().map(|p| picture(p, playback)).collect(),
        None => json!([]),
    };
    let plays =
        matches!(asset.state, AssetState::Playable | AssetState::Ready) && asset.media.as_deref() != Some("image");
    shown["playback"] = json!(playback.filter(|_| plays).map(|playback| {
        json!({
            "url": playback.url("master.m3u8"),
            "expires_at": rfc3339(playback.expires_at.saturating_mul(1_000)),
        })
    }));
    shown
}

/// An asset of a list: with its smallest poster (or size of a still picture), and its storyboard's cues.
pub(crate) fn listed(mut shown: Value, pictures: &[&Picture], playback: Option<&Playback>) -> Value {
    let url = |kinds: [&str; 2], format: &str| {
        let fits = |p: &&&Picture| kinds.contains(&p.kind.as_str()) && p.format == format;
        playback.zip(pictures.iter().find(fits)).map(|(playback, picture)| playback.url(&picture.name))
    };
    shown["thumbnail"] = json!(url(["poster", "size"], "jpeg"));
    shown["storyboard"] = json!(url(["cues", "cues"], "vtt"));
    shown
}

/// What strangers see of an asset that is open: nothing of its source, its owner's account or its work.
pub(crate) fn open(asset: &Asset) -> Value {
    json!({
        "id": asset.id.to_string(),
        "name": asset.name,
        "description": asset.description,
        "tags": asset.tags,
        "visibility": asset.visibility.as_str(),
        "state": asset.state.as_str(),
        "media": asset.media,
        "duration_ms": asset.duration_ms,
        "width": asset.width,
        "height": asset.height,
        "playable_at": asset.playable_at.map(rfc3339),
    })
}

fn rendition(rendition: &Rendition) -> Value {
    json!({
        "name": rendition.name,
        "codecs": rendition.codecs,
        "width": rendition.size.map(|size| size.0),
        "height": rendition.size.map(|size| size.1),
        "bandwidth": rendition.bandwidth,
        "frames": rendition.frames,
        "bytes": rendition.bytes,
    })
}

fn picture(picture: &Picture, playback: &Playback) -> Value {
    json!({
        "name": picture.name,
        "kind": picture.kind,
        "format": picture.format,
        "width": picture.width,
        "height": picture.height,
        "bytes": picture.bytes,
        "url": playback.url(&picture.name),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use reelfleet_catalog::details::Visibility;

    use super::*;

    pub(crate) fn asset(state: AssetState) -> Asset {
        Asset {
            id: "ast_01h455vb4pex5vsknk084sn02q".parse().unwrap(),
            tenant: "t".into(),
            owner: "o".into(),
            upload_id: None,
            bucket: "b".into(),
            key: "k".into(),
            version_id: None,
            etag: "e".into(),
            size: 5,
            name: "n".into(),
            state,
            media: Some("video".into()),
            probe: Some("{\"container\":\"mp4\"}".into()),
            duration_ms: Some(1),
            width: Some(2),
            height: Some(2),
            generation: 1,
            reason_code: None,
            reason_detail: None,
            version: 3,
            described: 0,
            description: String::new(),
            tags: Vec::new(),
            visibility: Visibility::Private,
            edition: 1,
            landed_at: 1_000,
            playable_at: Some(3_500),
            ready_at: None,
            updated_at: 3_500,
        }
    }

    fn key() -> PlaybackKey {
        PlaybackKey::new("0123456789abcdef0123456789abcdef").unwrap()
    }

    #[test]
    fn what_can_be_played_has_urls() {
        let asset = asset(AssetState::Playable);
        let playback = Playback::of(&asset, &key(), "http://h", 0, 60, false).unwrap();
        let shown = full(&asset, None, &[], &[], Some(&playback));
        let url = shown["playback"]["url"].as_str().unwrap();
        let token = url.strip_prefix("http://h/p/").unwrap().strip_suffix("/master.m3u8").unwrap();
        assert_eq!(key().check(0, token).unwrap().asset, asset.id);
        assert_eq!(shown["timings"]["playable_ms"], 2_500);
        assert_eq!(shown["probe"]["container"], "mp4");
        for state in [AssetState::Processing, AssetState::Failed] {
            let asset = Asset { state, ..asset.clone() };
            assert!(full(&asset, None, &[], &[], Some(&playback))["playback"].is_null());
        }
    }

    #[test]
    fn what_is_gone_has_no_token() {
        for state in [AssetState::Deleting, AssetState::Deleted] {
            assert!(Playback::of(&asset(state), &key(), "http://h", 0, 60, false).is_none());
        }
    }

    #[test]
    fn urls_stay_the_same_for_the_hour_and_live_long_enough() {
        let asset = asset(AssetState::Ready);
        let at = |now| Playback::of(&asset, &key(), "", now, 60, false).unwrap();
        assert_eq!(at(0).base, at(3_539_000).base);
        assert_ne!(at(0).base, at(3_600_000).base);
        for now in [0, 3_539_999, 3_540_000, 7_199_999] {
            assert!(at(now).expires_at * 1_000 >= now + 60_000, "{now}");
        }
    }
}
