//! What a player gets of an asset: every playlist, every segment, every picture, and what they come to.
//!
//! Guarantee: read through the gateway as a player reads it (RFC 8216); two readings are equal only if renditions,
//! segments, sample counts and presentation times are, and for pictures the bytes that are decoded.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::{Request, Uri};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::boxes;
use crate::http_client::{Http, empty};

const FETCH: Duration = Duration::from_secs(30);

/// An asset as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Renditions by the name of their playlist.
    pub renditions: BTreeMap<String, Track>,
    /// Pictures and cue files by name.
    pub pictures: BTreeMap<String, Picture>,
}

/// One rendition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Track {
    /// Attributes in the master playlist that do not depend on a run of the fleet.
    pub resolution: Option<String>,
    /// The same.
    pub codecs: String,
    /// `EXTINF` of each segment.
    pub seconds: Vec<String>,
    /// Ticks per second.
    pub timescale: u32,
    /// Samples.
    pub samples: usize,
    /// Presentation times in rising order, in ticks.
    #[serde(skip)]
    pub times: Vec<i64>,
    /// SHA-256 over the init segment and what decoders get.
    pub sha256: String,
    /// Init segment and segments in order, for an independent decoder.
    #[serde(skip)]
    pub bytes: Kept,
}

/// Kept for a decoder, and never compared: keys and fragment numbers may differ.
#[derive(Clone, Debug, Default)]
pub struct Kept(pub Bytes);

impl PartialEq for Kept {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Kept {}

/// One picture or cue file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Picture {
    /// Pixels.
    pub size: (u64, u64),
    /// SHA-256 of the file.
    pub sha256: String,
}

impl Shown {
    /// Reads all of an asset, given what the API says of it.
    pub async fn read(http: &Http, detail: &Value) -> anyhow::Result<Self> {
        let mut shown = Self::default();
        if let Some(master) = detail["playback"]["url"].as_str() {
            shown.renditions = renditions(http, master).await?;
        }
        for picture in detail["pictures"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let name = picture["name"].as_str().context("a picture without a name")?;
            let url = picture["url"].as_str().context("a picture without a URL")?;
            let bytes = fetch(http, url).await?;
            let size = (picture["width"].as_u64().unwrap_or(0), picture["height"].as_u64().unwrap_or(0));
            shown.pictures.insert(name.to_owned(), Picture { size, sha256: sum([&bytes[..]]) });
        }
        Ok(shown)
    }

    /// What differs from a reading of the same input, in words.
    pub fn differences(&self, wanted: &Self) -> Vec<String> {
        let mut found = names("renditions", &self.renditions, &wanted.renditions);
        for (name, track) in &self.renditions {
            if let Some(wanted) = wanted.renditions.get(name) {
                found.extend(track.differences(wanted).into_iter().map(|what| format!("{name}: {what}")));
            }
        }
        found.extend(names("pictures", &self.pictures, &wanted.pictures));
        for (name, picture) in &self.pictures {
            if wanted.pictures.get(name).is_some_and(|wanted| wanted != picture) {
                found.push(format!("{name} is another picture"));
            }
        }
        found
    }
}

fn names<T>(what: &str, is: &BTreeMap<String, T>, was: &BTreeMap<String, T>) -> Vec<String> {
    if is.keys().eq(was.keys()) {
        return Vec::new();
    }
    vec![format!("{what} {:?}, undisturbed {:?}", is.keys().collect::<Vec<_>>(), was.keys().collect::<Vec<_>>())]
}

impl Track {
    /// Whether it is sound alone. An audio chain that was cut off goes on with other bits of the same sound: an encoder
    /// that begins anew at a border knows less of what came before than one that never stopped.
    pub fn is_sound(&self) -> bool {
        self.resolution.is_none()
    }

    fn differences(&self, wanted: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.samples != wanted.samples {
            found.push(format!("{} samples, undisturbed {}", self.samples, wanted.samples));
        } else if let Some(at) = self.times.iter().zip(&wanted.times).position(|(is, was)| is != was) {
            found.push(format!("sample {at} at {} ticks, undisturbed {}", self.times[at], wanted.times[at]));
        }
        let outside = |t: &Self| (t.resolution.clone(), t.codecs.clone(), t.seconds.clone(), t.timescale);
        if outside(self) != outside(wanted) {
            found.push(format!("{:?}, undisturbed {:?}", outside(self), outside(wanted)));
        }
        if found.is_empty() && !self.is_sound() && self.sha256 != wanted.sha256 {
            found.push("the coded samples are others".to_owned());
        }
        found
    }
}

async fn renditions(http: &Http, master: &str) -> anyhow::Result<BTreeMap<String, Track>> {
    let text = String::from_utf8(fetch(http, master).await?.to_vec())?;
    ensure!(text.starts_with("#EXTM3U"), "{master} is no playlist");
    let mut tracks = BTreeMap::new();
    let mut told: Option<&str> = None;
    for line in text.lines() {
        if line.starts_with("#EXT-X-STREAM-INF:") {
            told = Some(line);
        } else if line.starts_with("#EXT-X-MEDIA:") {
            let uri = attribute(line, "URI").context("EXT-X-MEDIA without a URI")?;
            tracks.insert(uri.to_owned(), track(http, master, uri, "").await?);
        } else if !line.starts_with('#') && !line.is_empty() {
            let told = told.take().with_context(|| format!("{line} stands alone in the master playlist"))?;
            tracks.insert(line.to_owned(), track(http, master, line, told).await?);
        }
    }
    Ok(tracks)
}

/// One media playlist with all that it names.
async fn track(http: &Http, master: &str, uri: &str, told: &str) -> anyhow::Result<Track> {
    let url = beside(master, uri)?;
    let text = String::from_utf8(fetch(http, &url).await?.to_vec())?;
    ensure!(text.contains("#EXT-X-PLAYLIST-TYPE:VOD") && text.contains("#EXT-X-ENDLIST"), "{uri} is not finished");
    let map = text.lines().find(|line| line.starts_with("#EXT-X-MAP:")).and_then(|line| attribute(line, "URI"));
    let header = fetch(http, &beside(&url, map.with_context(|| format!("{uri} has no init segment"))?)?).await?;
    let init = boxes::init(&header).with_context(|| format!("init segment of {uri}"))?;
    let (mut seconds, mut times, mut bytes) = (Vec::new(), Vec::new(), header.to_vec());
    let mut digest = Sha256::new();
    digest.update(&header);
    let mut end: Option<u64> = None;
    for line in text.lines() {
        if let Some(extinf) = line.strip_prefix("#EXTINF:") {
            seconds.push(extinf.trim_end_matches(',').to_owned());
        } else if !line.starts_with('#') && !line.is_empty() {
            let file = fetch(http, &beside(&url, line)?).await?;
            let (fragments, payload) = boxes::segment(&file, init).with_context(|| line.to_owned())?;
            for fragment in fragments {
                if let Some(end) = end.filter(|end| *end != fragment.base) {
                    bail!("{line} begins at {} ticks, what comes before ends at {end}", fragment.base);
                }
                end = Some(fragment.base + fragment.duration);
                times.extend(fragment.times);
            }
            payload.iter().for_each(|part| digest.update(part));
            bytes.extend_from_slice(&file);
        }
    }
    ensure!(times.windows(2).all(|pair| pair[0] < pair[1]), "{uri}: presentation times do not rise");
    Ok(Track {
        resolution: attribute(told, "RESOLUTION").map(str::to_owned),
        codecs: attribute(told, "CODECS").unwrap_or_default().to_owned(),
        seconds,
        timescale: init.timescale,
        samples: times.len(),
        times,
        sha256: hex::encode(digest.finalize()),
        bytes: Kept(bytes.into()),
    })
}

/// An attribute of a tag (RFC 8216, 4.2).
fn attribute<'t>(line: &'t str, name: &str) -> Option<&'t str> {
    let (_, mut rest) = line.split_once(':')?;
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

/// A relative reference in a playlist. Ours never climb.
fn beside(url: &str, reference: &str) -> anyhow::Result<String> {
    ensure!(!reference.contains("://") && !reference.starts_with('/'), "{reference} is no relative reference");
    let (folder, _) = url.rsplit_once('/').context("a URL without a path")?;
    Ok(format!("{folder}/{reference}"))
}

async fn fetch(http: &Http, url: &str) -> anyhow::Result<Bytes> {
    let uri: Uri = url.parse().with_context(|| format!("{url} is no URL"))?;
    let answer = http.fetch(Request::get(&uri).body(empty())?, FETCH).await?;
    ensure!(answer.status().is_success(), "{}: {}", uri.path(), answer.status());
    Ok(answer.into_body())
}

fn sum<'b>(parts: impl IntoIterator<Item = &'b [u8]>) -> String {
    let mut digest = Sha256::new();
    parts.into_iter().for_each(|part| digest.update(part));
    hex::encode(digest.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_and_attributes() {
        let line = "#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"avc1,mp4a\",RESOLUTION=64x36";
        assert_eq!(attribute(line, "CODECS"), Some("avc1,mp4a"));
        assert_eq!(attribute(line, "RESOLUTION"), Some("64x36"));
        assert_eq!(attribute(line, "AUDIO"), None);
        assert_eq!(attribute("", "AUDIO"), None);
        assert_eq!(beside("http://h/p/t/master.m3u8", "a/b.m4s").unwrap(), "http://h/p/t/a/b.m4s");
        assert!(beside("http://h/p/t/master.m3u8", "http://other/").is_err());
    }

    #[test]
    fn a_missing_a_moved_and_another_sample_are_told_apart() {
        let track = Track {
            resolution: Some("64x36".into()),
            codecs: "avc1".into(),
            seconds: vec!["4.0".into()],
            timescale: 90_000,
            samples: 3,
            times: vec![0, 3_000, 6_000],
            sha256: "a".into(),
            bytes: Kept::default(),
        };
        let of =
            |track: &Track| Shown { renditions: BTreeMap::from([("v".into(), track.clone())]), ..Shown::default() };
        let told = |is: &Track| of(is).differences(&of(&track)).join("; ");
        assert_eq!(told(&track), "");
        let kept = Track { bytes: Kept(Bytes::from_static(b"other keys")), ..track.clone() };
        assert_eq!(told(&kept), "");
        assert!(told(&Track { samples: 2, times: vec![0, 3_000], ..track.clone() }).contains("2 samples"));
        assert!(told(&Track { times: vec![0, 3_001, 6_000], ..track.clone() }).contains("sample 1 at 3001"));
        assert!(told(&Track { sha256: "b".into(), ..track.clone() }).contains("coded samples"));
        let sound = Track { resolution: None, ..track.clone() };
        assert_eq!(of(&Track { sha256: "b".into(), ..sound.clone() }).differences(&of(&sound)), Vec::<String>::new());
        assert!(Shown::default().differences(&of(&track))[0].contains("renditions []"));
    }
}
