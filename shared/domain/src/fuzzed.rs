//! What holds of playlists for any segments at all. Compiled for tests and for fuzzing alone (`fuzz/`).

use crate::playlist::{Media, Segment, extends};

#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;

/// A playlist says what it was made of, read by a reader of its own, and a longer one extends it.
pub fn playlist(data: &[u8]) {
    let Some((flags, rest)) = data.split_first() else { return };
    let segments: Vec<Segment> = rest.chunks_exact(12).take(400).map(segment).collect();
    let media = Media { init: "t/task/1/init-720p.mp4".to_owned(), segments, ended: flags & 1 == 1 };
    let text = media.render();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.first(), Some(&"#EXTM3U"));
    assert_eq!(lines.contains(&"#EXT-X-ENDLIST"), media.ended);
    let told = |tag: &str| lines.iter().find_map(|line| line.strip_prefix(tag)).unwrap_or_default();
    assert_eq!(told("#EXT-X-PLAYLIST-TYPE:"), if media.ended { "VOD" } else { "EVENT" });
    let target: u64 = told("#EXT-X-TARGETDURATION:").parse().unwrap_or_else(|_| panic!("{text}"));
    let keys: Vec<&str> = lines.iter().copied().filter(|line| !line.starts_with('#')).collect();
    let seconds: Vec<f64> =
        lines.iter().filter_map(|line| line.strip_prefix("#EXTINF:")?.split(',').next()?.parse().ok()).collect();
    assert!(keys.iter().eq(media.segments.iter().map(|s| &s.key)), "{text}");
    assert_eq!(seconds.len(), keys.len());
    for (said, segment) in seconds.iter().zip(&media.segments) {
        let is = segment.duration as f64 / f64::from(segment.timescale);
        assert!((said - is).abs() <= 1e-6_f64.max(is * 1e-9), "{said} is not {is}");
        // RFC 8216, 4.3.3.1: rounded to the nearest second, no segment is longer.
        assert!(said.round() as u64 <= target, "{said} is longer than {target}");
    }
    let (peak, mean) = media.bandwidth();
    assert!(mean <= peak, "{mean} is above {peak}");
    let cut = usize::from(*flags >> 1) % (media.segments.len() + 1);
    let earlier = Media { segments: media.segments[..cut].to_vec(), ended: false, ..media.clone() };
    let grows = media.ended || cut < media.segments.len();
    if grows {
        assert!(extends(&earlier.render(), &text), "{text}");
        assert!(!extends(&text, &earlier.render()), "{text}");
    }
}

/// A segment as runs commit them: their keys are ours, their numbers have passed the parent's check of the decoder.
fn segment(bytes: &[u8]) -> Segment {
    let number = |from: usize, len: usize| bytes[from..from + len].iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
    Segment {
        key: format!("t/task/{}/720p-{}.m4s", number(0, 1), number(1, 2)),
        duration: number(3, 5).max(1),
        timescale: (number(8, 3) % 1_000_000) as u32 + 1,
        bytes: number(11, 1) << 12,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn playlists() {
        super::replay::seeds("playlist", super::playlist);
    }
}
