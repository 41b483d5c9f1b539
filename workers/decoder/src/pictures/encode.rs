//! Picture files. JPEG at quality 80 and WebP at 75 unless said; PNG without loss.

use reelfleet_wire::PictureFormat;

use crate::fail::Failure;
use crate::pictures::canvas::{Canvas, Layout};

/// jpeg-encoder's scale, 1–100.
const JPEG_QUALITY: u8 = 80;
/// libwebp's scale, 0–100.
pub const WEBP_QUALITY: f32 = 75.0;

/// # Errors
/// `Encode`.
pub fn encode(canvas: &Canvas, format: PictureFormat) -> Result<Vec<u8>, Failure> {
    match format {
        PictureFormat::Jpeg => jpeg(canvas),
        PictureFormat::Webp => webp(canvas, WEBP_QUALITY),
        PictureFormat::Png => png(canvas),
    }
}

/// Without alpha: on white.
fn jpeg(canvas: &Canvas) -> Result<Vec<u8>, Failure> {
    let side = |n: u32| u16::try_from(n).map_err(|_| Failure::encode("a side too long for JPEG"));
    let (width, height) = (side(canvas.width)?, side(canvas.height)?);
    let flat = canvas.flattened();
    let mut file = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut file, JPEG_QUALITY);
    // Half the colour resolution in both directions, as every camera does.
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2);
    encoder
        .encode(&flat.pixels, width, height, jpeg_encoder::ColorType::Rgb)
        .map_err(|e| Failure::encode(format!("JPEG: {e}")))?;
    Ok(file)
}

/// # Errors
/// `Encode`.
pub fn webp(canvas: &Canvas, quality: f32) -> Result<Vec<u8>, Failure> {
    let encoder = match canvas.layout {
        Layout::Rgb => webp::Encoder::from_rgb(&canvas.pixels, canvas.width, canvas.height),
        Layout::Rgba => webp::Encoder::from_rgba(&canvas.pixels, canvas.width, canvas.height),
    };
    let file = encoder.encode_simple(false, quality).map_err(|e| Failure::encode(format!("WebP: {e:?}")))?;
    Ok(file.to_vec())
}

fn png(canvas: &Canvas) -> Result<Vec<u8>, Failure> {
    use image::ImageEncoder;
    let color = match canvas.layout {
        Layout::Rgb => image::ExtendedColorType::Rgb8,
        Layout::Rgba => image::ExtendedColorType::Rgba8,
    };
    let mut file = Vec::new();
    image::codecs::png::PngEncoder::new(&mut file)
        .write_image(&canvas.pixels, canvas.width, canvas.height, color)
        .map_err(|e| Failure::encode(format!("PNG: {e}")))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_is_what_it_says() {
        let canvas = Canvas::filled(33, 17, 200);
        assert!(encode(&canvas, PictureFormat::Jpeg).unwrap().starts_with(&[0xff, 0xd8, 0xff]));
        assert_eq!(&encode(&canvas, PictureFormat::Webp).unwrap()[8..12], b"WEBP");
        assert!(encode(&canvas, PictureFormat::Png).unwrap().starts_with(b"\x89PNG"));
    }
}
