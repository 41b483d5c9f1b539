//! Kind, size and orientation of an uploaded picture, from its first bytes. Nothing is decoded here.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

use image::metadata::Orientation;
use reelfleet_wire::{FailCode, MAX_STILL_SIDE, MediaKind, MediaLimits, ProbeReport, VideoStream};

use crate::fail::Failure;
use crate::pictures::still::turns;
use crate::source::Source;

/// Markers of a JPEG looked at before its frame header; metadata can fill many.
const MOST_MARKERS: usize = 256;

/// The report of a picture; `None` where the source is none that we know.
///
/// # Errors
/// `SourceRead`, `SourceChanged`; `Truncated` where the size cannot be found; `TooManyPixels`.
pub fn probe(source: &mut Source, limits: &MediaLimits) -> Result<Option<ProbeReport>, Failure> {
    let mut head = [0; 32];
    let have = read_up_to(source, &mut head)?;
    let head = &head[..have];
    let mut orientation = Orientation::NoTransforms;
    let (mut animated, mut truncated) = (false, false);
    let (codec, size) = if head.starts_with(&[0xff, 0xd8, 0xff]) {
        ("jpeg", jpeg(source, &mut orientation)?)
    } else if head.starts_with(b"\x89PNG\r\n\x1a\n") {
        ("png", png(head))
    } else if head.starts_with(b"GIF87a") || head.starts_with(b"GIF89a") {
        ("gif", gif(head))
    } else if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        // RFC 9649 section 2.7.1: bit 1 of the flags.
        animated = head.get(12..16) == Some(b"VP8X") && head.get(20).is_some_and(|flags| flags & 2 != 0);
        let riff = head.get(4..8).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
        truncated = u64::from(riff) + 8 > source.size();
        ("webp", webp(head))
    } else {
        return Ok(None);
    };
    let Some((width, height)) = size.filter(|(w, h)| *w > 0 && *h > 0) else {
        return Err(Failure::new(FailCode::Truncated, format!("a {codec} picture without a size")));
    };
    let pixels = u64::from(width) * u64::from(height);
    if pixels > limits.max_pixels {
        return Err(Failure::new(
            FailCode::TooManyPixels,
            format!("{pixels} pixels; at most {} are allowed", limits.max_pixels),
        ));
    }
    if width.max(height) > MAX_STILL_SIDE {
        return Err(Failure::new(
            FailCode::TooManyPixels,
            format!("{width} × {height} pixels; at most {MAX_STILL_SIDE} a side are allowed"),
        ));
    }
    let (rotation, flipped) = turns(orientation);
    let sideways = matches!(rotation, 90 | 270);
    let (display_width, display_height) = if sideways { (height, width) } else { (width, height) };
    let mut tags = BTreeMap::new();
    if animated {
        tags.insert("animated".to_owned(), "true".to_owned());
    }
    Ok(Some(ProbeReport {
        container: codec.to_owned(),
        kind: MediaKind::Image,
        duration_ms: None,
        start_us: 0,
        bit_rate: None,
        video: Some(VideoStream {
            codec: codec.to_owned(),
            width,
            height,
            display_width,
            display_height,
            rotation,
            flipped,
            sar_num: 1,
            sar_den: 1,
            fps_den: 1,
            time_base_num: 1,
            time_base_den: 1,
            bit_depth: 8,
            frames: Some(1),
            ..VideoStream::default()
        }),
        audio: None,
        streams: 1,
        tags,
        truncated,
    }))
}

fn seek(source: &mut Source, at: u64) -> Result<(), Failure> {
    source.seek(SeekFrom::Start(at)).map(drop).map_err(|e| Failure::internal(e.to_string()))
}

fn read_up_to(source: &mut Source, buf: &mut [u8]) -> Result<usize, Failure> {
    let mut have = 0;
    while let Some(rest) = buf.get_mut(have..).filter(|r| !r.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) => {
                source.watch().failure()?;
                return Err(Failure::internal(e.to_string()));
            }
        }
    }
    Ok(have)
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn le16(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?).into())
}

fn le24(bytes: &[u8], at: usize) -> Option<u32> {
    let b = bytes.get(at..at + 3)?;
    Some(u32::from(b[0]) | u32::from(b[1]) << 8 | u32::from(b[2]) << 16)
}

/// IHDR stands first (PNG section 11.2.2).
fn png(head: &[u8]) -> Option<(u32, u32)> {
    Some((be32(head, 16)?, be32(head, 20)?))
}

fn gif(head: &[u8]) -> Option<(u32, u32)> {
    Some((le16(head, 6)?, le16(head, 8)?))
}

/// RFC 9649: lossy (VP8), lossless (VP8L) and extended (VP8X) files.
fn webp(head: &[u8]) -> Option<(u32, u32)> {
    match head.get(12..16)? {
        b"VP8 " => Some((le16(head, 26)? & 0x3fff, le16(head, 28)? & 0x3fff)),
        b"VP8L" => {
            let bits = u32::from_le_bytes(head.get(21..25)?.try_into().ok()?);
            Some(((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1))
        }
        b"VP8X" => Some((le24(head, 24)? + 1, le24(head, 27)? + 1)),
        _ => None,
    }
}

/// Walks the markers to the frame header (ITU-T T.81 section B.2.2). `None` where it is not there.
fn jpeg(source: &mut Source, orientation: &mut Orientation) -> Result<Option<(u32, u32)>, Failure> {
    let mut at = 2u64;
    for _ in 0..MOST_MARKERS {
        let mut marker = [0; 9];
        seek(source, at)?;
        if read_up_to(source, &mut marker)? < marker.len() {
            return Ok(None);
        }
        let [lead, kind, l0, l1, _, h0, h1, w0, w1] = marker;
        if lead != 0xff {
            return Ok(None);
        }
        match kind {
            0xff => at += 1,
            0x01 | 0xd0..=0xd8 => at += 2,
            // All frame headers but those of tables (DHT, JPG, DAC), which share their range.
            0xc0..=0xcf if !matches!(kind, 0xc4 | 0xc8 | 0xcc) => {
                let size = |a, b| u32::from(u16::from_be_bytes([a, b]));
                return Ok(Some((size(w0, w1), size(h0, h1))));
            }
            0xd9 | 0xda => return Ok(None),
            // Exif in APP1 (CIPA DC-008 section 4.5.4): its TIFF stands behind six bytes.
            0xe1 => {
                let len = u16::from_be_bytes([l0, l1]);
                let mut segment = vec![0; usize::from(len).saturating_sub(2)];
                seek(source, at + 4)?;
                read_up_to(source, &mut segment)?;
                if let Some(found) = segment.strip_prefix(b"Exif\0\0").and_then(Orientation::from_exif_chunk) {
                    *orientation = found;
                }
                at += 2 + u64::from(len);
            }
            _ => at += 2 + u64::from(u16::from_be_bytes([l0, l1])),
        }
    }
    Ok(None)
}
