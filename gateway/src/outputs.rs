//! The outputs of an asset: their keys, types and how long they may be kept.
//!
//! Guarantee: a path leads only below the generation's own folder and only to the kinds of file that the fleet makes;
//! the content type comes from this list, never from what is stored beside the object.

use reelfleet_messages::AssetId;

const LONGEST: usize = 512;

/// A kind of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Output {
    /// Content-Type.
    pub(crate) content_type: &'static str,
    /// Whether it is written again while the asset is made.
    pub(crate) grows: bool,
}

impl Output {
    /// What lies at this path, relative to the generation's folder. `None`: nothing that is handed out.
    pub(crate) fn at(path: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let good = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain);
        if path.len() > LONGEST || !path.split('/').all(good) {
            return None;
        }
        let name = path.rsplit('/').next()?;
        let (_, extension) = name.rsplit_once('.')?;
        let (content_type, grows) = match extension {
            "m3u8" => ("application/vnd.apple.mpegurl", true),
            "m4s" | "mp4" if name.starts_with("audio") => ("audio/mp4", false),
            "m4s" | "mp4" => ("video/mp4", false),
            "jpg" => ("image/jpeg", false),
            "png" => ("image/png", false),
            "webp" => ("image/webp", false),
            "vtt" => ("text/vtt; charset=utf-8", false),
            _ => return None,
        };
        Some(Self { content_type, grows })
    }

    /// Cache-Control. A growing playlist is asked for again at once, a final one within a minute: that bounds how long
    /// a deleted asset is seen at a cache. Segments and pictures never change under their names.
    pub(crate) fn cache_control(self, ended: bool) -> &'static str {
        match (self.grows, ended) {
            (true, false) => "public, max-age=1",
            (true, true) => "public, max-age=60",
            (false, _) => "public, max-age=31536000, immutable",
        }
    }
}

/// The key of an output. Captions are the same for every generation.
pub(crate) fn key(asset: &AssetId, generation: u32, path: &str) -> String {
    if path.starts_with("captions/") {
        return format!("out/{asset}/{path}");
    }
    format!("out/{asset}/g{generation}/{path}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn types_come_from_the_name() {
        let kind = |path| Output::at(path).map(|output| output.content_type);
        assert_eq!(kind("master.m3u8"), Some("application/vnd.apple.mpegurl"));
        assert_eq!(kind("t/tsk_1/2/720p-00001-0003.m4s"), Some("video/mp4"));
        assert_eq!(kind("init/audio-0123456789abcdef.mp4"), Some("audio/mp4"));
        assert_eq!(kind("storyboard.vtt"), Some("text/vtt; charset=utf-8"));
        assert_eq!(kind("poster-640.jpg"), Some("image/jpeg"));
        for bad in [
            "",
            "/",
            "master",
            "a.html",
            "a.svg",
            "a.json",
            "../g2/master.m3u8",
            "a/../b.m3u8",
            "a//b.m3u8",
            "/master.m3u8",
            ".m3u8",
            "a\\b.m3u8",
            "a b.m3u8",
            "a%2e.m3u8",
            "é.m3u8",
            "a\n.m3u8",
        ] {
            assert_eq!(Output::at(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_playlists_of_unfinished_assets_are_young() {
        let cache = |path, ended| Output::at(path).unwrap().cache_control(ended);
        assert_eq!(cache("720p.m3u8", false), "public, max-age=1");
        assert_eq!(cache("720p.m3u8", true), "public, max-age=60");
        assert!(cache("poster-640.webp", false).contains("immutable"));
    }

    proptest! {
        #[test]
        fn no_path_leaves_the_folder(path in ".{0,40}\\.m3u8") {
            if Output::at(&path).is_some() {
                prop_assert!(path.split('/').all(|part| part != ".." && part != "." && !part.is_empty()));
            }
        }
    }
}
