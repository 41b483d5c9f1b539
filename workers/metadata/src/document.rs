//! `metadata.json`: what is known of an asset, for programs.
//!
//! Guarantee: `schema` names the form; within it fields are only added. `version` is that of the asset's row and only
//! grows. Keys are relative to the file's own folder, `out/{asset}/`. Times are RFC 3339 in UTC with milliseconds.
//! The golden sample lies in `golden/metadata.json`.

use std::time::{Duration, UNIX_EPOCH};

use reelfleet_catalog::assets::Asset;
use reelfleet_catalog::pictures::Picture;
use reelfleet_catalog::publishing::Rendition;
use reelfleet_domain::AssetState;
use serde::Serialize;
use serde_json::Value;

/// The form of the file.
pub const SCHEMA: &str = "reelfleet.metadata/1";

/// The file.
#[derive(Debug, Serialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The asset's id.
    pub asset: String,
    /// Version of the asset's row that this describes.
    pub version: i64,
    /// Whose it is.
    pub tenant: String,
    /// The user who uploaded it.
    pub owner: String,
    /// Its name for people.
    pub name: String,
    /// Where it is on its way: `processing`, `playable`, `ready`, `refused`, `failed`.
    pub state: &'static str,
    /// Why it was refused or failed.
    pub reason: Option<Reason>,
    /// `video`, `audio` or `image`; none before the probe.
    pub media: Option<String>,
    /// Milliseconds; images have none.
    pub duration_ms: Option<i64>,
    /// Pixels as shown.
    pub width: Option<i64>,
    /// Pixels as shown.
    pub height: Option<i64>,
    /// The object that landed.
    pub source: Source,
    /// What the decoder said of it.
    pub probe: Option<Value>,
    /// What was made.
    pub outputs: Outputs,
    /// When.
    pub times: Times,
}

/// Why an asset has no result.
#[derive(Debug, Serialize)]
pub struct Reason {
    /// Stable code.
    pub code: String,
    /// For a person.
    pub detail: String,
}

/// The object that landed.
#[derive(Debug, Serialize)]
pub struct Source {
    /// Bucket name.
    pub bucket: String,
    /// Key.
    pub key: String,
    /// Version id where the bucket is versioned.
    pub version_id: Option<String>,
    /// ETag without quotes.
    pub etag: String,
    /// Bytes.
    pub size: i64,
    /// The upload through the API that it came by.
    pub upload: Option<String>,
}

/// What was made.
#[derive(Debug, Serialize)]
pub struct Outputs {
    /// They lie under `g{generation}/`.
    pub generation: i64,
    /// The master playlist, once it can be played.
    pub master: Option<String>,
    /// Finished renditions, the largest first.
    pub renditions: Vec<RenditionEntry>,
    /// Posters, storyboards with their cues, sizes of a still image.
    pub pictures: Vec<PictureEntry>,
}

/// A finished rendition.
#[derive(Debug, Serialize)]
pub struct RenditionEntry {
    /// `720p`, `audio`.
    pub name: String,
    /// Its media playlist.
    pub playlist: String,
    /// RFC 6381.
    pub codecs: String,
    /// Pixels; audio has none.
    pub width: Option<i64>,
    /// Pixels; audio has none.
    pub height: Option<i64>,
    /// Peak bits per second.
    pub bandwidth: i64,
    /// Video frames, or AAC frames.
    pub frames: i64,
    /// Bytes of its segments.
    pub bytes: i64,
}

/// A picture, or the storyboard's cue file.
#[derive(Debug, Serialize)]
pub struct PictureEntry {
    /// Its key.
    pub key: String,
    /// `poster`, `storyboard`, `cues`, `size`.
    pub kind: String,
    /// `jpeg`, `webp`, `png`, `vtt`.
    pub format: String,
    /// Pixels; 0 for cues.
    pub width: i64,
    /// Pixels; 0 for cues.
    pub height: i64,
    /// Bytes.
    pub bytes: i64,
}

/// When it happened.
#[derive(Debug, Serialize)]
pub struct Times {
    /// The object landed.
    pub landed: String,
    /// A player could start.
    pub playable: Option<String>,
    /// Everything was made.
    pub ready: Option<String>,
    /// The row last changed.
    pub updated: String,
    /// Milliseconds from landing to playable.
    pub playable_after_ms: Option<i64>,
    /// Milliseconds from landing to ready.
    pub ready_after_ms: Option<i64>,
}

/// The file's key in the outputs bucket.
pub fn key(asset: &reelfleet_messages::AssetId) -> String {
    format!("out/{asset}/metadata.json")
}

impl Document {
    /// Describes an asset by its rows.
    pub fn new(asset: Asset, renditions: Vec<Rendition>, pictures: Vec<Picture>) -> Result<Self, serde_json::Error> {
        let folder = format!("g{}", asset.generation);
        let playable = matches!(asset.state, AssetState::Playable | AssetState::Ready);
        let has_stream = playable && asset.media.as_deref() != Some("image");
        let probe = asset.probe.as_deref().map(serde_json::from_str).transpose()?;
        let reason = asset.reason_code.map(|code| Reason { code, detail: asset.reason_detail.unwrap_or_default() });
        let after = |at: Option<i64>| at.map(|at| at.saturating_sub(asset.landed_at).max(0));
        Ok(Self {
            schema: SCHEMA,
            asset: asset.id.to_string(),
            version: asset.version,
            tenant: asset.tenant,
            owner: asset.owner,
            name: asset.name,
            state: asset.state.as_str(),
            reason,
            media: asset.media,
            duration_ms: asset.duration_ms,
            width: asset.width,
            height: asset.height,
            source: Source {
                bucket: asset.bucket,
                key: asset.key,
                version_id: asset.version_id,
                etag: asset.etag,
                size: asset.size,
                upload: asset.upload_id,
            },
            probe,
            outputs: Outputs {
                generation: asset.generation,
                master: has_stream.then(|| format!("{folder}/master.m3u8")),
                renditions: renditions.into_iter().map(|rendition| rendition_entry(&folder, rendition)).collect(),
                pictures: pictures.into_iter().map(|picture| picture_entry(&folder, picture)).collect(),
            },
            times: Times {
                landed: rfc3339(asset.landed_at),
                playable: asset.playable_at.map(rfc3339),
                ready: asset.ready_at.map(rfc3339),
                updated: rfc3339(asset.updated_at),
                playable_after_ms: after(asset.playable_at),
                ready_after_ms: after(asset.ready_at),
            },
        })
    }
}

fn rendition_entry(folder: &str, rendition: Rendition) -> RenditionEntry {
    RenditionEntry {
        playlist: format!("{folder}/{}.m3u8", rendition.name),
        name: rendition.name,
        codecs: rendition.codecs,
        width: rendition.size.map(|size| size.0),
        height: rendition.size.map(|size| size.1),
        bandwidth: rendition.bandwidth,
        frames: rendition.frames,
        bytes: rendition.bytes,
    }
}

fn picture_entry(folder: &str, picture: Picture) -> PictureEntry {
    PictureEntry {
        key: format!("{folder}/{}", picture.name),
        kind: picture.kind,
        format: picture.format,
        width: picture.width,
        height: picture.height,
        bytes: picture.bytes,
    }
}

fn rfc3339(ms: i64) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    humantime::format_rfc3339_millis(at).to_string()
}

#[cfg(test)]
mod tests {
    use reelfleet_catalog::details::Visibility;

    use super::*;

    fn asset(state: AssetState) -> Asset {
        Asset {
            id: "ast_01h455vb4pex5vsknk084sn02q".parse().unwrap(),
            tenant: "default".into(),
            owner: "anna".into(),
            upload_id: None,
            bucket: "reelfleet-uploads".into(),
            key: "in/Ferien & Meer.mov".into(),
            version_id: None,
            etag: "9b2cf535f27731c974343645a3985328".into(),
            size: 12_345_678,
            name: "Ferien & Meer.mov".into(),
            state,
            media: Some("video".into()),
            probe: Some(r#"{"container":"mov","streams":2}"#.into()),
            duration_ms: Some(30_033),
            width: Some(1080),
            height: Some(1920),
            generation: 2,
            reason_code: None,
            reason_detail: None,
            version: 5,
            described: 3,
            description: String::new(),
            tags: Vec::new(),
            visibility: Visibility::Private,
            edition: 1,
            landed_at: 1_767_225_600_000,
            playable_at: Some(1_767_225_602_500),
            ready_at: Some(1_767_225_631_000),
            updated_at: 1_767_225_631_000,
        }
    }

    fn golden(name: &str, document: &Document) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
        let text = format!("{}\n", serde_json::to_string_pretty(document).unwrap());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap();
        assert_eq!(kept, text, "{} differs; a published file may only gain fields", path.display());
    }

    #[test]
    fn a_finished_video() {
        let rendition = |name: &str, size| Rendition {
            name: name.into(),
            codecs: if name == "audio" { "mp4a.40.2" } else { "avc1.64001f" }.into(),
            size,
            bandwidth: 2_400_000,
            frames: 900,
            bytes: 7_654_321,
        };
        let picture = |name: &str, kind: &str, format: &str, width, height| Picture {
            name: name.into(),
            kind: kind.into(),
            format: format.into(),
            width,
            height,
            bytes: 1_234,
        };
        let document = Document::new(
            asset(AssetState::Ready),
            vec![rendition("720p", Some((406, 720))), rendition("audio", None)],
            vec![
                picture("storyboard.vtt", "cues", "vtt", 0, 0),
                picture("poster-640.jpg", "poster", "jpeg", 640, 1138),
            ],
        );
        golden("metadata.json", &document.unwrap());
    }

    #[test]
    fn a_refused_file_says_why_and_promises_nothing() {
        let mut refused = asset(AssetState::Refused);
        (refused.media, refused.probe, refused.duration_ms) = (None, None, None);
        (refused.width, refused.height, refused.playable_at, refused.ready_at) = (None, None, None, None);
        (refused.reason_code, refused.reason_detail) = (Some("not_media".into()), Some("this is no video".into()));
        let document = Document::new(refused, Vec::new(), Vec::new()).unwrap();
        assert_eq!(document.outputs.master, None);
        golden("metadata-refused.json", &document);
    }

    #[test]
    fn a_picture_has_no_playlist() {
        let mut image = asset(AssetState::Ready);
        image.media = Some("image".into());
        assert_eq!(Document::new(image, Vec::new(), Vec::new()).unwrap().outputs.master, None);
        let mut broken = asset(AssetState::Ready);
        broken.probe = Some("{".into());
        assert!(Document::new(broken, Vec::new(), Vec::new()).is_err());
    }
}
