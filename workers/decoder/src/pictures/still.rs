//! Sizes of an uploaded picture.
//!
//! Guarantee: the size is known to be within the limits before a pixel is decoded; the decoder's own allocations are
//! capped; pictures come out upright (EXIF) and 8-bit. Colour profiles are left out: sRGB is assumed. Of an animation,
//! the first frame is taken. A photo much larger than what is wanted of it is decoded at a half, a quarter or an eighth.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use reelfleet_wire::{FailCode, MediaLimits, OutputHeader, PictureFormat, PictureKind, StillRequest};

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
/// A JPEG of up to this size is held in memory while it is decoded.
const MOST_HELD: u64 = 64 << 20;

/// A picture as it was decoded.
struct Decoded {
    picture: DynamicImage,
    orientation: Orientation,
    /// Width and height of the whole picture; what was decoded may be smaller.
    size: (u32, u32),
}

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
    let largest = request.widths.iter().copied().max().unwrap_or(1);
    let Decoded { picture, orientation, size } =
        decode(source, format, &request.limits, largest).map_err(|e| match e.code {
            FailCode::Decode if report.truncated => Failure::new(FailCode::Truncated, e.detail),
            _ => e,
        })?;
    let base = canvas(picture)?;
    // Turned after scaling, when there is less to turn.
    let turns = turns(orientation);
    let sideways = matches!(turns.0, 90 | 270);
    let size = if sideways { (size.1, size.0) } else { size };
    let mut made: Vec<Canvas> = Vec::new();
    for width in widths(&request.widths, size.0).into_iter().rev() {
        let height = height_for(width, size).min(MAX_SIDE);
        let (w, h) = if sideways { (height, width) } else { (width, height) };
        // Of the smallest that is still twice as large: less to read, and nothing is lost that could be seen.
        let from = made.iter().rev().find(|larger| larger.width >= 2 * w && larger.height >= 2 * h);
        made.push(from.unwrap_or(&base).resized(w, h)?);
    }
    drop(base);
    let made: Vec<Canvas> = made.into_iter().map(|canvas| canvas.turned(turns.0, turns.1)).collect();
    give_out(&made, &request.formats, output)?;
    Ok(Counts { frames: 1, packets: 1, errors: 0 })
}

/// Encodes all of them at once, the largest first, and writes them with the smallest first.
fn give_out(made: &[Canvas], formats: &[PictureFormat], output: &Output) -> Result<(), Failure> {
    std::thread::scope(|scope| {
        let encode_all = |canvas| formats.iter().map(|format| encode(canvas, *format)).collect::<Result<Vec<_>, _>>();
        let at_work: Vec<_> = made.iter().map(|canvas| scope.spawn(move || encode_all(canvas))).collect();
        for (index, (canvas, work)) in (0u32..).zip(made.iter().zip(at_work).rev()) {
            let files = work.join().unwrap_or_else(|_| Err(Failure::internal("an encoder panicked")))?;
            for (format, file) in formats.iter().zip(files) {
                let header = OutputHeader::Picture {
                    kind: PictureKind::Size,
                    index,
                    width: canvas.width,
                    height: canvas.height,
                    format: *format,
                    time_us: None,
                };
                output.write(&header, &file)?;
            }
        }
        Ok(())
    })
}

fn decode(mut source: Source, format: ImageFormat, limits: &MediaLimits, largest: u32) -> Result<Decoded, Failure> {
    let watch = source.watch();
    source.seek(SeekFrom::Start(0)).map_err(|e| Failure::internal(e.to_string()))?;
    let decoded = if format == ImageFormat::Jpeg && source.size() <= MOST_HELD {
        let mut file = Vec::new();
        let read = source.read_to_end(&mut file);
        watch.failure()?;
        read.map_err(|e| Failure::internal(e.to_string()))?;
        if let Some(reduced) = reduced(&file, limits, largest) {
            return Ok(reduced);
        }
        whole(Cursor::new(file), format, limits)
    } else {
        whole(BufReader::with_capacity(64 << 10, source), format, limits)
    };
    watch.failure()?;
    decoded.map_err(refusal)?
}

/// What a decoder may allocate.
fn allowed(limits: &MediaLimits) -> u64 {
    limits.max_pixels.saturating_mul(BYTES_PER_PIXEL).saturating_add(SPARE_BYTES).min(2 << 30)
}

/// A JPEG decoded at a half, a quarter or an eighth of its size, which leaves out most of the work. `None` where that
/// would be too small, and for whatever is unusual or damaged: then it is decoded whole, and judged there.
fn reduced(file: &[u8], limits: &MediaLimits, largest: u32) -> Option<Decoded> {
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        let mut decoder = jpeg_decoder::Decoder::new(file);
        decoder.set_max_decoding_buffer_size(usize::try_from(allowed(limits)).ok()?);
        decoder.read_info().ok()?;
        let info = decoder.info()?;
        let full = (u32::from(info.width), u32::from(info.height));
        if u64::from(full.0) * u64::from(full.1) > limits.max_pixels {
            return None;
        }
        let orientation = decoder.exif_data().and_then(Orientation::from_exif_chunk);
        let orientation = orientation.unwrap_or(Orientation::NoTransforms);
        let across = if matches!(turns(orientation).0, 90 | 270) { full.1 } else { full.0 };
        // The side that the widths are about, and the other in proportion: neither is to be scaled up again.
        let side = |whole: u32| u16::try_from(height_for(largest, (across, whole))).ok().filter(|_| largest < across);
        let (w, h) = decoder.scale(side(full.0)?, side(full.1)?).ok()?;
        let (w, h) = (u32::from(w), u32::from(h));
        if (w, h) == full || w < u32::from(side(full.0)?) || h < u32::from(side(full.1)?) {
            return None;
        }
        let pixels = decoder.decode().ok()?;
        let picture = match info.pixel_format {
            jpeg_decoder::PixelFormat::RGB24 => DynamicImage::ImageRgb8(image::RgbImage::from_raw(w, h, pixels)?),
            jpeg_decoder::PixelFormat::L8 => DynamicImage::ImageLuma8(image::GrayImage::from_raw(w, h, pixels)?),
            _ => return None,
        };
        Some(Decoded { picture, orientation, size: full })
    }));
    decoded.ok().flatten()
}

fn whole(
    reader: impl std::io::BufRead + Seek,
    format: ImageFormat,
    limits: &MediaLimits,
) -> Result<Result<Decoded, Failure>, ImageError> {
    let mut reader = ImageReader::with_format(reader, format);
    let mut limited = Limits::default();
    limited.max_alloc = Some(allowed(limits));
    reader.limits(limited);
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    // The probe looked at the head of the file; the decoder's word is what counts.
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        return Ok(Err(Failure::new(FailCode::TooManyPixels, format!("{width} × {height} pixels"))));
    }
    // Metadata that can't be read turns nothing.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    Ok(Ok(Decoded { picture: DynamicImage::from_decoder(decoder)?, orientation, size: (width, height) }))
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
    fn a_reduced_photo_looks_like_the_whole_one_and_whatever_is_odd_is_decoded_whole() {
        let smooth =
            |x: u32, y: u32, c: u32| (128.0 + 100.0 * f64::from(x * (c + 1) + y * 2).mul_add(0.01, 0.0).sin()) as u8;
        let pixels: Vec<u8> =
            (0..800u32).flat_map(|y| (0..1200u32).flat_map(move |x| (0..3).map(move |c| smooth(x, y, c)))).collect();
        let file = encode(&Canvas::new(1200, 800, Layout::Rgb, pixels).unwrap(), PictureFormat::Jpeg).unwrap();
        let limits = MediaLimits::default();
        let quarter = reduced(&file, &limits, 300).unwrap();
        assert_eq!((quarter.picture.width(), quarter.picture.height(), quarter.size), (300, 200, (1200, 800)));
        let half = reduced(&file, &limits, 301).unwrap();
        assert_eq!((half.picture.width(), half.picture.height()), (600, 400));
        let whole = whole(Cursor::new(&file), ImageFormat::Jpeg, &limits).unwrap().unwrap();
        let (a, b) = (canvas(whole.picture).unwrap().resized(300, 200).unwrap(), canvas(quarter.picture).unwrap());
        let apart: u64 = a.pixels.iter().zip(&b.pixels).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        assert!(apart < a.pixels.len() as u64, "{apart} of {}", a.pixels.len());

        assert!(reduced(&file, &limits, 601).is_none(), "a half would be scaled up");
        assert!(reduced(&file, &limits, 5000).is_none());
        assert!(reduced(&file[..file.len() / 2], &limits, 300).is_none(), "cut off");
        assert!(reduced(&file, &MediaLimits { max_pixels: 1000, ..limits }, 300).is_none(), "beyond the limits");
    }

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
