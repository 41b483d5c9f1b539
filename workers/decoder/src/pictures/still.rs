//! Sizes of an uploaded picture.
//!
//! Guarantee: the size is known to be within the limits before a pixel is decoded; the decoder's own allocations are
//! capped; pictures come out upright (EXIF) and 8-bit. Colour profiles are left out: sRGB is assumed. Of an animation,
//! the first frame is taken.

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use reelfleet_wire::{FailCode, MediaLimits, OutputHeader, PictureKind, StillRequest};

use crate::fail::Failure;
use crate::output::Output;
use crate::pictures::Counts;
use crate::pictures::canvas::{Canvas, Layout, height_for, widths};
use crate::pictures::encode::encode;
use crate::source::{Reading, Source};
use crate::still::probe;

/// Bytes a decoder may allocate for each pixel: 16-bit RGBA, and as much again for its work.
const BYTES_PER_PIXEL: u64 = 16;
const SPARE_BYTES: u64 = 64 << 20;
/// Tallest picture made (WebP can do no more).
const MAX_SIDE: u32 = 16_383;

/// Serves a `Still` request.
///
/// # Errors
/// `NotMedia`, `Truncated`, `TooManyPixels`, `Decode`, `Encode`, `SourceRead`, `SourceChanged`.
pub fn run(socket: File, request: &StillRequest, output: &Output) -> Result<Counts, Failure> {
    let mut source = Source::new(socket, request.size, Reading::DENSE);
    let report = probe(&mut source, &request.limits)?
        .ok_or_else(|| Failure::new(FailCode::NotMedia, "no picture of a format that we know"))?;
    let format = match report.container.as_str() {
        "jpeg" => ImageFormat::Jpeg,
        "png" => ImageFormat::Png,
        "gif" => ImageFormat::Gif,
        _ => ImageFormat::WebP,
    };
    let (picture, orientation) = decode(source, format, &request.limits).map_err(|e| match e.code {
        FailCode::Decode if report.truncated => Failure::new(FailCode::Truncated, e.detail),
        _ => e,
    })?;
    let upright = canvas(picture)?;
    // Turned after scaling, when there is less to turn.
    let turns = turns(orientation);
    let sideways = matches!(turns.0, 90 | 270);
    let size = if sideways { (upright.height, upright.width) } else { (upright.width, upright.height) };
    for (index, width) in (0u32..).zip(widths(&request.widths, size.0)) {
        let height = height_for(width, size).min(MAX_SIDE);
        let (w, h) = if sideways { (height, width) } else { (width, height) };
        let made = upright.resized(w, h)?.turned(turns.0, turns.1);
        for format in &request.formats {
            let header = OutputHeader::Picture {
                kind: PictureKind::Size,
                index,
                width: made.width,
                height: made.height,
                format: *format,
                time_us: None,
            };
            output.write(&header, &encode(&made, *format)?)?;
        }
    }
    Ok(Counts { frames: 1, packets: 1, errors: 0 })
}

fn decode(
    mut source: Source,
    format: ImageFormat,
    limits: &MediaLimits,
) -> Result<(DynamicImage, Orientation), Failure> {
    let watch = source.watch();
    source.seek(SeekFrom::Start(0)).map_err(|e| Failure::internal(e.to_string()))?;
    let mut reader = ImageReader::with_format(BufReader::with_capacity(64 << 10, source), format);
    let mut allowed = Limits::default();
    let alloc = limits.max_pixels.saturating_mul(BYTES_PER_PIXEL).saturating_add(SPARE_BYTES);
    allowed.max_alloc = Some(alloc.min(2 << 30));
    reader.limits(allowed);
    let decoded = reader.into_decoder().and_then(|mut decoder| {
        let (width, height) = decoder.dimensions();
        // The probe looked at the head of the file; the decoder's word is what counts.
        if u64::from(width) * u64::from(height) > limits.max_pixels {
            return Ok(Err(Failure::new(FailCode::TooManyPixels, format!("{width} × {height} pixels"))));
        }
        // Metadata that can't be read turns nothing.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        Ok(Ok((DynamicImage::from_decoder(decoder)?, orientation)))
    });
    watch.failure()?;
    decoded.map_err(refusal)?
}

/// What a decoder's complaint means for whoever sent the picture.
fn refusal(error: ImageError) -> Failure {
    let text = error.to_string();
    let code = match &error {
        ImageError::Limits(_) => FailCode::TooManyPixels,
        ImageError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => FailCode::Truncated,
        // Decoders wrap the end of the file in words of their own.
        _ if ["unexpected end", "UnexpectedEof", "failed to fill", "Not enough", "No more bytes"]
            .iter()
            .any(|part| text.contains(part)) =>
        {
            FailCode::Truncated
        }
        ImageError::Unsupported(_) => FailCode::TypeNotAllowed,
        _ => FailCode::Decode,
    };
    Failure::new(code, text)
}

/// 8 bits, with alpha only where the picture has any.
fn canvas(picture: DynamicImage) -> Result<Canvas, Failure> {
    let (width, height) = (picture.width(), picture.height());
    if picture.color().has_alpha() {
        let pixels = picture.into_rgba8().into_raw();
        if pixels.chunks_exact(4).any(|p| p[3] != 255) {
            return Canvas::new(width, height, Layout::Rgba, pixels);
        }
        let opaque = pixels.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect();
        return Canvas::new(width, height, Layout::Rgb, opaque);
    }
    Canvas::new(width, height, Layout::Rgb, picture.into_rgb8().into_raw())
}

/// Clockwise degrees, and whether to mirror left to right after.
pub fn turns(orientation: Orientation) -> (u16, bool) {
    match orientation {
        Orientation::NoTransforms => (0, false),
        Orientation::Rotate90 => (90, false),
        Orientation::Rotate180 => (180, false),
        Orientation::Rotate270 => (270, false),
        Orientation::FlipHorizontal => (0, true),
        Orientation::FlipVertical => (180, true),
        Orientation::Rotate90FlipH => (90, true),
        Orientation::Rotate270FlipH => (270, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_agree_with_the_image_crate() {
        let pixels: Vec<u8> = (0..6).flat_map(|i| [i, i, i]).collect();
        for exif in 1..=8 {
            let orientation = Orientation::from_exif(exif).unwrap();
            let raw = image::RgbImage::from_raw(2, 3, pixels.clone()).unwrap();
            let mut theirs = DynamicImage::ImageRgb8(raw);
            theirs.apply_orientation(orientation);
            let (rotation, flipped) = turns(orientation);
            let ours = Canvas::new(2, 3, Layout::Rgb, pixels.clone()).unwrap().turned(rotation, flipped);
            assert_eq!(ours.pixels, theirs.to_rgb8().into_raw(), "EXIF {exif}");
        }
    }
}
