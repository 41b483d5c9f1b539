//! Which committed segments a playlist may name, and the text of the playlists (RFC 8216).
//!
//! Guarantee: playlists name a contiguous prefix of committed runs, all video renditions the same one. A list that is
//! written later strictly extends the earlier one. Target duration is fixed; `EVENT` while growing, `VOD` at the end.
//! Captions are no part of what is written: a master gets them as it is handed out, and is the same text without them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::plan::TARGET_DURATION_S;

/// One segment as a run committed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Key relative to the generation's folder.
    pub key: String,
    /// Ticks of `timescale`.
    pub duration: u64,
    /// Ticks per second.
    pub timescale: u32,
    /// Bytes.
    pub bytes: u64,
}

/// A media playlist: the segments of one rendition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// Key of the init segment, relative to the generation's folder.
    pub init: String,
    /// The prefix.
    pub segments: Vec<Segment>,
    /// Whether nothing follows.
    pub ended: bool,
}

impl Media {
    /// The playlist's text.
    pub fn render(&self) -> String {
        let kind = if self.ended { "VOD" } else { "EVENT" };
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:{kind}\n\
             #EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-START:TIME-OFFSET=0,PRECISE=YES\n#EXT-X-MAP:URI=\"{}\"\n",
            self.target_duration(),
            self.init
        );
        for segment in &self.segments {
            // Writing to a String can't fail.
            let _ = write!(text, "#EXTINF:{:.6},\n{}\n", segment.seconds(), segment.key);
        }
        if self.ended {
            text.push_str("#EXT-X-ENDLIST\n");
        }
        text
    }

    /// The fixed target duration; a longer segment (none is made) would be told truly.
    fn target_duration(&self) -> u64 {
        let longest = self.segments.iter().map(|s| s.seconds().round() as u64).max().unwrap_or(0);
        longest.max(u64::from(TARGET_DURATION_S))
    }

    /// Bits per second: (the largest of any segment, the mean).
    pub fn bandwidth(&self) -> (u64, u64) {
        let rate =
            |bytes: u64, seconds: f64| if seconds > 0.0 { (bytes as f64 * 8.0 / seconds).ceil() as u64 } else { 0 };
        // Segments much shorter than the rest (a last one of two frames) say nothing of the bandwidth needed.
        let peak = self.segments.iter().filter(|s| s.seconds() >= 0.5).map(|s| rate(s.bytes, s.seconds())).max();
        let seconds: f64 = self.segments.iter().map(Segment::seconds).sum();
        let mean = rate(self.segments.iter().map(|s| s.bytes).sum(), seconds);
        (peak.unwrap_or(mean).max(mean), mean)
    }

    /// Seconds in all.
    pub fn seconds(&self) -> f64 {
        self.segments.iter().map(Segment::seconds).sum()
    }
}

impl Segment {
    /// Seconds.
    pub fn seconds(&self) -> f64 {
        self.duration as f64 / f64::from(self.timescale.max(1))
    }
}

/// Whether `new` is the text `old` with more at its end, apart from the type and the end mark: what a writer that
/// finds another's list may put in its place.
pub fn extends(old: &str, new: &str) -> bool {
    let entries = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| {
                line.starts_with("#EXTINF")
                    || line.starts_with("#EXT-X-MAP")
                    || (!line.starts_with('#') && !line.is_empty())
            })
            .map(str::to_owned)
            .collect()
    };
    let (old_entries, new_entries) = (entries(old), entries(new));
    let ended = |text: &str| text.contains("#EXT-X-ENDLIST");
    new_entries.starts_with(&old_entries) && (ended(new) || !ended(old))
}

/// One line of the master playlist.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// URI of the media playlist.
    pub uri: String,
    /// RFC 6381, video only: `avc1.640028`.
    pub codecs: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Peak bits per second with audio.
    pub bandwidth: u64,
    /// Mean bits per second with audio, where it was measured.
    pub average: Option<u64>,
    /// Frames per second, where known.
    pub fps: Option<f64>,
}

/// The audio rendition.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioRendition {
    /// URI of its media playlist.
    pub uri: String,
    /// RFC 6381: `mp4a.40.2`.
    pub codecs: String,
    /// Bits per second.
    pub bandwidth: u64,
}

/// The master playlist's text.
pub fn master(variants: &[Variant], audio: Option<&AudioRendition>) -> String {
    let mut text = String::from(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-START:TIME-OFFSET=0,PRECISE=YES\n",
    );
    if let Some(audio) = audio {
        if variants.is_empty() {
            let _ = write!(
                text,
                "#EXT-X-STREAM-INF:BANDWIDTH={},CODECS=\"{}\"\n{}\n",
                audio.bandwidth.max(1),
                audio.codecs,
                audio.uri
            );
            return text;
        }
        let _ = writeln!(
            text,
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Main\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\",URI=\"{}\"",
            audio.uri
        );
    }
    for variant in variants {
        let _ = write!(text, "#EXT-X-STREAM-INF:BANDWIDTH={}", variant.bandwidth.max(1));
        if let Some(average) = variant.average {
            let _ = write!(text, ",AVERAGE-BANDWIDTH={}", average.max(1));
        }
        let codecs = audio.map_or_else(|| variant.codecs.clone(), |a| format!("{},{}", variant.codecs, a.codecs));
        let _ = write!(text, ",CODECS=\"{codecs}\",RESOLUTION={}x{}", variant.width, variant.height);
        if let Some(fps) = variant.fps {
            let _ = write!(text, ",FRAME-RATE={fps:.3}");
        }
        if audio.is_some() {
            text.push_str(",AUDIO=\"audio\"");
        }
        let _ = write!(text, "\n{}\n", variant.uri);
    }
    text
}

/// Captions in one language, as a master names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subtitles {
    /// URI of their media playlist.
    pub uri: String,
    /// A language tag (BCP 47).
    pub language: String,
    /// For people.
    pub label: String,
}

/// A master playlist of ours with captions in it: one group, of which every variant makes use (RFC 8216, 4.3.4.1 and
/// 4.3.4.2.1). None is shown unless the viewer, or the viewer's system, asks for its language.
pub fn with_subtitles(master: &str, subtitles: &[Subtitles]) -> String {
    if subtitles.is_empty() {
        return master.to_owned();
    }
    let mut group = Some(group_of(subtitles));
    let mut text = String::new();
    for line in master.lines() {
        if line.starts_with("#EXT-X-STREAM-INF:") {
            text.push_str(&group.take().unwrap_or_default());
            let _ = writeln!(text, "{line},SUBTITLES=\"captions\"");
        } else {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

/// A quoted string holds neither quotes nor line ends; names of one group differ (RFC 8216, 4.2 and 4.3.4.1.1).
fn group_of(subtitles: &[Subtitles]) -> String {
    let (mut text, mut names) = (String::new(), BTreeSet::new());
    for Subtitles { uri, language, label } in subtitles {
        let mut name: String = label.chars().filter(|c| !c.is_control()).collect::<String>().replace('"', "'");
        while !names.insert(name.clone()) {
            let _ = write!(name, " ({language})");
        }
        let _ = writeln!(
            text,
            "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"captions\",NAME=\"{name}\",LANGUAGE=\"{language}\",DEFAULT=NO,\
             AUTOSELECT=YES,FORCED=NO,URI=\"{uri}\""
        );
    }
    text
}

/// The media playlist of a captions file: one segment as long as the asset, whole from the first moment on. Only a list
/// that is `VOD` may have another target duration than the pictures' (RFC 8216, 6.2.4).
pub fn captions_list(file: &str, duration_ms: u64) -> String {
    let seconds = duration_ms.max(1) as f64 / 1_000.0;
    format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n\
         #EXTINF:{seconds:.3},\n{file}\n#EXT-X-ENDLIST\n",
        seconds.ceil()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(count: usize, ended: bool) -> Media {
        let segments = (0..count)
            .map(|i| Segment {
                key: format!("t/a/1/720p-00000-{i:04}.m4s"),
                duration: 360_000,
                timescale: 90_000,
                bytes: 100_000,
            })
            .collect();
        Media { init: "init/720p-00.mp4".into(), segments, ended }
    }

    #[test]
    fn a_growing_list_is_an_event_that_starts_at_its_beginning() {
        let text = media(2, false).render();
        assert!(text.contains("#EXT-X-PLAYLIST-TYPE:EVENT\n") && text.contains("#EXT-X-START:TIME-OFFSET=0"));
        assert!(text.contains("#EXTINF:4.000000,\nt/a/1/720p-00000-0001.m4s\n") && !text.contains("ENDLIST"));
        assert!(media(2, true).render().ends_with("#EXT-X-ENDLIST\n"));
    }

    #[test]
    fn only_a_longer_list_with_the_same_beginning_extends() {
        let (short, long, ended) = (media(2, false).render(), media(3, false).render(), media(3, true).render());
        assert!(extends(&short, &long) && extends(&long, &ended) && extends(&long, &long));
        assert!(!extends(&long, &short) && !extends(&ended, &long));
        assert!(!extends(&short, &long.replace("0001.m4s", "other.m4s")));
    }

    #[test]
    fn bandwidth_is_measured() {
        assert_eq!(media(3, true).bandwidth(), (200_000, 200_000));
    }

    #[test]
    fn the_master_names_audio_once() {
        let variant = Variant {
            uri: "720p.m3u8".into(),
            codecs: "avc1.64001f".into(),
            width: 1280,
            height: 720,
            bandwidth: 9,
            average: Some(8),
            fps: Some(25.0),
        };
        let audio = AudioRendition { uri: "audio.m3u8".into(), codecs: "mp4a.40.2".into(), bandwidth: 128_000 };
        let text = master(&[variant], Some(&audio));
        assert!(text.contains(
            "CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1280x720,FRAME-RATE=25.000,AUDIO=\"audio\"\n720p.m3u8\n"
        ));
        let alone = master(&[], Some(&audio));
        assert!(alone.contains("#EXT-X-STREAM-INF:BANDWIDTH=128000,CODECS=\"mp4a.40.2\"\naudio.m3u8\n"));
    }
    #[test]
    fn captions_make_one_group_that_every_variant_uses() {
        let variant = |name: &str| Variant {
            uri: format!("{name}.m3u8"),
            codecs: "avc1.64001f".into(),
            width: 16,
            height: 9,
            bandwidth: 9,
            average: None,
            fps: None,
        };
        let audio = AudioRendition { uri: "audio.m3u8".into(), codecs: "mp4a.40.2".into(), bandwidth: 1 };
        let subtitles = |language: &str, label: &str| Subtitles {
            uri: format!("captions/{language}.m3u8"),
            language: language.into(),
            label: label.into(),
        };
        let all = [subtitles("de", "Deut\"sch\n"), subtitles("de-AT", "Deut'sch"), subtitles("en", "English")];
        for (plain, variants) in [
            (master(&[variant("720p"), variant("360p")], Some(&audio)), 2),
            (master(&[variant("720p")], None), 1),
            (master(&[], Some(&audio)), 1),
        ] {
            assert_eq!(with_subtitles(&plain, &[]), plain);
            let text = with_subtitles(&plain, &all);
            assert_eq!(text.matches(",SUBTITLES=\"captions\"\n").count(), variants);
            let (before, after) = text.split_once("#EXT-X-STREAM-INF:").unwrap();
            assert!(!after.contains("TYPE=SUBTITLES"));
            let names: Vec<&str> = before.split("GROUP-ID=\"captions\",NAME=\"").skip(1).collect();
            assert!(names[0].starts_with("Deut'sch\",LANGUAGE=\"de\",DEFAULT=NO,"), "{before}");
            assert!(names[1].starts_with("Deut'sch (de-AT)\",LANGUAGE=\"de-AT\","), "{before}");
            assert!(names[2].ends_with("FORCED=NO,URI=\"captions/en.m3u8\"\n"), "{before}");
            let without: String = text
                .lines()
                .filter(|line| !line.contains("TYPE=SUBTITLES"))
                .map(|line| format!("{}\n", line.trim_end_matches(",SUBTITLES=\"captions\"")))
                .collect();
            assert_eq!(without, plain, "nothing else has changed");
        }
    }

    #[test]
    fn a_captions_file_is_one_segment_as_long_as_the_asset() {
        let text = captions_list("en-01.vtt", 61_250);
        assert!(text.contains("#EXT-X-TARGETDURATION:62\n") && text.contains("#EXT-X-PLAYLIST-TYPE:VOD\n"));
        assert!(text.ends_with("#EXTINF:61.250,\nen-01.vtt\n#EXT-X-ENDLIST\n"), "{text}");
    }
}
