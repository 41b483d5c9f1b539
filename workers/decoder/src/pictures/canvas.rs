//! A picture in memory: 8 bits per component, sRGB, upright, no padding.
//!
//! Guarantee: `pixels.len()` is always width × height × components.

use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::fail::Failure;

/// Components of a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    Rgb,
    Rgba,
}

impl Layout {
    pub const fn components(self) -> usize {
        match self {
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canvas {
    pub width: u32,
    pub height: u32,
    pub layout: Layout,
    pub pixels: Vec<u8>,
}

impl Canvas {
    /// # Errors
    /// `Internal` where the length is not that of the size.
    pub fn new(width: u32, height: u32, layout: Layout, pixels: Vec<u8>) -> Result<Self, Failure> {
        if pixels.len() != width as usize * height as usize * layout.components() || pixels.is_empty() {
            return Err(Failure::internal("a picture of another length than its size"));
        }
        Ok(Self { width, height, layout, pixels })
    }

    /// One colour all over.
    pub fn filled(width: u32, height: u32, value: u8) -> Self {
        Self { width, height, layout: Layout::Rgb, pixels: vec![value; width as usize * height as usize * 3] }
    }

    /// Turned clockwise by a quarter turn's multiple in degrees, then mirrored left to right.
    pub fn turned(self, rotation: u16, flipped: bool) -> Self {
        if rotation == 0 && !flipped {
            return self;
        }
        let (w, h, n) = (self.width as usize, self.height as usize, self.layout.components());
        let (width, height) = if matches!(rotation, 90 | 270) { (h, w) } else { (w, h) };
        let mut pixels = Vec::with_capacity(self.pixels.len());
        for y in 0..height {
            for x in 0..width {
                let x = if flipped { width - 1 - x } else { x };
                let (sx, sy) = match rotation {
                    90 => (y, h - 1 - x),
                    180 => (w - 1 - x, h - 1 - y),
                    270 => (w - 1 - y, x),
                    _ => (x, y),
                };
                let from = (sy * w + sx) * n;
                pixels.extend_from_slice(&self.pixels[from..from + n]);
            }
        }
        Self { width: width as u32, height: height as u32, pixels, ..self }
    }

    /// Scaled by Lanczos; alpha is taken into account.
    ///
    /// # Errors
    /// `Internal` where a size is out of range.
    pub fn resized(&self, width: u32, height: u32) -> Result<Self, Failure> {
        if (width, height) == (self.width, self.height) {
            return Ok(self.clone());
        }
        let kind = match self.layout {
            Layout::Rgb => PixelType::U8x3,
            Layout::Rgba => PixelType::U8x4,
        };
        let failed = |e: &dyn std::fmt::Display| Failure::internal(format!("resizing: {e}"));
        let from = fast_image_resize::images::ImageRef::new(self.width, self.height, &self.pixels, kind)
            .map_err(|e| failed(&e))?;
        let mut to = Image::new(width, height, kind);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
        Resizer::new().resize(&from, &mut to, &options).map_err(|e| failed(&e))?;
        Self::new(width, height, self.layout, to.into_vec())
    }

    /// Copies a smaller picture of the same layout into this one.
    pub fn place(&mut self, tile: &Self, x: u32, y: u32) {
        let n = self.layout.components();
        if tile.layout != self.layout || x + tile.width > self.width || y + tile.height > self.height {
            return;
        }
        let (row, stride) = (tile.width as usize * n, self.width as usize * n);
        for (i, line) in tile.pixels.chunks_exact(row).enumerate() {
            let at = (y as usize + i) * stride + x as usize * n;
            self.pixels[at..at + row].copy_from_slice(line);
        }
    }

    /// Variance of the brightness (0–16 256): low for flat, black or white pictures.
    pub fn variance(&self) -> f64 {
        let n = self.layout.components();
        let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
        for pixel in self.pixels.chunks_exact(n) {
            let luma = 0.2126 * f64::from(pixel[0]) + 0.7152 * f64::from(pixel[1]) + 0.0722 * f64::from(pixel[2]);
            sum += luma;
            squares += luma * luma;
            count += 1.0;
        }
        let mean = sum / count;
        squares / count - mean * mean
    }

    /// Without alpha, on white.
    pub fn flattened(&self) -> Self {
        if self.layout == Layout::Rgb {
            return self.clone();
        }
        let mut pixels = Vec::with_capacity(self.pixels.len() / 4 * 3);
        for pixel in self.pixels.chunks_exact(4) {
            let alpha = u32::from(pixel[3]);
            for value in &pixel[..3] {
                pixels.push(((u32::from(*value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8);
            }
        }
        Self { layout: Layout::Rgb, pixels, ..*self }
    }
}

/// The widths to make of a picture: those wanted that are smaller, and its own where a wanted one is as large or larger.
pub fn widths(wanted: &[u32], own: u32) -> Vec<u32> {
    let mut made: Vec<u32> = wanted.iter().map(|w| (*w).min(own).max(1)).collect();
    made.sort_unstable();
    made.dedup();
    made
}

/// The height that goes with a width, at least 1.
pub fn height_for(width: u32, (full_width, full_height): (u32, u32)) -> u32 {
    let (w, fw, fh) = (u64::from(width), u64::from(full_width.max(1)), u64::from(full_height));
    u32::try_from((w * fh + fw / 2) / fw).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2 × 3, each pixel its number.
    fn numbered() -> Canvas {
        let pixels = (1..=6u8).flat_map(|i| [i, i, i]).collect();
        Canvas::new(2, 3, Layout::Rgb, pixels).unwrap()
    }

    fn numbers(canvas: &Canvas) -> Vec<u8> {
        canvas.pixels.chunks(3).map(|p| p[0]).collect()
    }

    #[test]
    fn turns_are_clockwise_and_the_mirror_comes_after() {
        // 1 2
        // 3 4
        // 5 6
        let quarter = numbered().turned(90, false);
        assert_eq!((quarter.width, quarter.height, numbers(&quarter)), (3, 2, vec![5, 3, 1, 6, 4, 2]));
        assert_eq!(numbers(&numbered().turned(180, false)), [6, 5, 4, 3, 2, 1]);
        assert_eq!(numbers(&numbered().turned(270, false)), [2, 4, 6, 1, 3, 5]);
        assert_eq!(numbers(&numbered().turned(0, true)), [2, 1, 4, 3, 6, 5]);
        assert_eq!(numbers(&numbered().turned(90, true)), [1, 3, 5, 2, 4, 6]);
    }

    #[test]
    fn no_width_is_larger_than_the_source() {
        assert_eq!(widths(&[320, 640, 1280], 1920), [320, 640, 1280]);
        assert_eq!(widths(&[320, 640, 1280], 500), [320, 500]);
        assert_eq!(widths(&[320, 640], 8), [8]);
        assert_eq!(height_for(320, (1920, 1080)), 180);
        assert_eq!(height_for(1, (8000, 1)), 1);
    }

    #[test]
    fn what_is_transparent_becomes_white() {
        let clear = Canvas::new(2, 1, Layout::Rgba, vec![9, 9, 9, 0, 9, 8, 7, 255]).unwrap();
        assert_eq!(clear.flattened().pixels, [255, 255, 255, 9, 8, 7]);
    }

    #[test]
    fn a_flat_picture_has_no_variance() {
        assert!(Canvas::filled(8, 8, 77).variance() < 0.01);
        let mut half = Canvas::filled(8, 8, 0);
        half.place(&Canvas::filled(4, 8, 255), 0, 0);
        assert!(half.variance() > 16_000.0);
    }
}
