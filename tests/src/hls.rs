//! Playlists as a player reads them (RFC 8216).

use reqwest::Url;

use crate::boxes::{self, Fragment};
use crate::clients::Clients;

/// One variant of a master playlist.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// Where its media playlist is.
    pub url: Url,
    /// `RESOLUTION`; a variant of sound alone has none.
    pub resolution: Option<(u32, u32)>,
    /// `BANDWIDTH`.
    pub bandwidth: u64,
    /// `CODECS`.
    pub codecs: String,
}

/// A master playlist.
#[derive(Debug, Clone, PartialEq)]
pub struct Master {
    /// Its variants, as listed.
    pub variants: Vec<Variant>,
    /// The audio rendition.
    pub audio: Option<Url>,
    /// Captions: name, language, URL of the playlist.
    pub captions: Vec<(String, String, Url)>,
    /// Its text.
    pub text: String,
}

/// A media playlist.
#[derive(Debug, Clone, PartialEq)]
pub struct Media {
    /// `EVENT` or `VOD`.
    pub kind: String,
    /// `EXT-X-TARGETDURATION` in seconds.
    pub target: u64,
    /// Whether it has `EXT-X-ENDLIST`.
    pub ended: bool,
    /// `TIME-OFFSET` of `EXT-X-START`.
    pub start: Option<f64>,
    /// The init segment.
    pub init: Url,
    /// (Seconds as written, URL).
    pub segments: Vec<(String, Url)>,
}

/// All of one rendition at box level.
#[derive(Debug, Clone)]
pub struct Track {
    /// The playlist.
    pub list: Media,
    /// Ticks per second.
    pub timescale: u32,
    /// A fragment for each segment.
    pub fragments: Vec<Fragment>,
}

impl Track {
    /// Presentation times in seconds.
    pub fn times(&self) -> Vec<f64> {
        let ticks = self.fragments.iter().flat_map(Fragment::times);
        ticks.map(|tick| tick as f64 / f64::from(self.timescale)).collect()
    }

    /// Seconds at which the segments begin, by `tfdt`, and at which the last one ends.
    pub fn borders(&self) -> Vec<f64> {
        let last = self.fragments.last().map(|last| last.base + last.duration());
        let ticks = self.fragments.iter().map(|fragment| fragment.base).chain(last);
        ticks.map(|tick| tick as f64 / f64::from(self.timescale)).collect()
    }
}

/// An attribute of a tag (RFC 8216, 4.2).
fn attribute<'t>(line: &'t str, name: &str) -> Option<&'t str> {
    let (_, list) = line.split_once(':')?;
    let mut rest = list;
    loop {
        let (key, after) = rest.split_once('=')?;
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => {
                let (value, next) = quoted.split_once('"')?;
                (value, next.strip_prefix(',').unwrap_or(next))
            }
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key.trim() == name {
            return Some(value);
        }
        rest = next;
    }
}

/// Fetches by GET; panics with what came instead.
pub async fn fetch(clients: &Clients, url: &Url) -> Vec<u8> {
    let answer = clients.http.get(url.clone()).send().await.unwrap();
    let status = answer.status();
    let bytes = answer.bytes().await.unwrap().to_vec();
    assert!(status.is_success(), "{url}: {status} {}", String::from_utf8_lossy(&bytes));
    bytes
}

/// Fetches a master playlist.
pub async fn master(clients: &Clients, url: &str) -> Master {
    let url: Url = url.parse().unwrap();
    let text = String::from_utf8(fetch(clients, &url).await).unwrap();
    assert!(text.starts_with("#EXTM3U\n"), "{text}");
    let (mut variants, mut audio, mut captions, mut told) = (Vec::new(), None, Vec::new(), None);
    for line in text.lines() {
        if line.starts_with("#EXT-X-MEDIA:") && attribute(line, "TYPE") == Some("AUDIO") {
            audio = Some(url.join(attribute(line, "URI").unwrap()).unwrap());
        } else if line.starts_with("#EXT-X-MEDIA:") && attribute(line, "TYPE") == Some("SUBTITLES") {
            assert!(told.is_none() && variants.is_empty(), "before what makes use of it: {text}");
            let [name, language] = ["NAME", "LANGUAGE"].map(|name| attribute(line, name).unwrap().to_owned());
            captions.push((name, language, url.join(attribute(line, "URI").unwrap()).unwrap()));
        } else if line.starts_with("#EXT-X-STREAM-INF:") {
            told = Some(line);
        } else if !line.starts_with('#') && !line.is_empty() {
            let told = told.take().unwrap_or_else(|| panic!("{line} has no EXT-X-STREAM-INF: {text}"));
            assert_eq!(attribute(told, "SUBTITLES"), (!captions.is_empty()).then_some("captions"), "{text}");
            let resolution = attribute(told, "RESOLUTION").map(|size| {
                let (width, height) = size.split_once('x').unwrap();
                (width.parse().unwrap(), height.parse().unwrap())
            });
            variants.push(Variant {
                url: url.join(line).unwrap(),
                resolution,
                bandwidth: attribute(told, "BANDWIDTH").unwrap().parse().unwrap(),
                codecs: attribute(told, "CODECS").unwrap_or_default().to_owned(),
            });
        }
    }
    Master { variants, audio, captions, text }
}

/// Reads the text of a media playlist that lies at `url`.
pub fn media(text: &str, url: &Url) -> Media {
    let tag = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let map =
        text.lines().find(|line| line.starts_with("#EXT-X-MAP:")).unwrap_or_else(|| panic!("no init segment: {text}"));
    let start = text.lines().find(|line| line.starts_with("#EXT-X-START:"));
    let mut segments = Vec::new();
    let mut seconds = None;
    for line in text.lines() {
        if let Some(told) = line.strip_prefix("#EXTINF:") {
            seconds = Some(told.split(',').next().unwrap().to_owned());
        } else if !line.starts_with('#') && !line.is_empty() {
            segments.push((seconds.take().unwrap(), url.join(line).unwrap()));
        }
    }
    Media {
        kind: tag("#EXT-X-PLAYLIST-TYPE:").unwrap_or_default().to_owned(),
        target: tag("#EXT-X-TARGETDURATION:").unwrap().parse().unwrap(),
        ended: text.contains("#EXT-X-ENDLIST"),
        start: start.and_then(|line| attribute(line, "TIME-OFFSET")).map(|offset| offset.parse().unwrap()),
        init: url.join(attribute(map, "URI").unwrap()).unwrap(),
        segments,
    }
}

/// Fetches a media playlist and every segment that it names.
pub async fn track(clients: &Clients, url: &Url) -> Track {
    let text = String::from_utf8(fetch(clients, url).await).unwrap();
    let list = media(&text, url);
    let init = boxes::init(&fetch(clients, &list.init).await);
    let mut fragments = Vec::new();
    for (_, segment) in &list.segments {
        let found = boxes::fragments(&fetch(clients, segment).await, init);
        assert_eq!(found.len(), 1, "{segment} has {} fragments", found.len());
        fragments.extend(found);
    }
    Track { list, timescale: init.timescale, fragments }
}
