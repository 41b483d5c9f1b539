//! From HDR to what every screen shows.
//!
//! Input is 16-bit R'G'B' with the transfer and the primaries of the video (PQ or HLG, BT.2020); output is 8-bit sRGB.
//! The curve is Hable's, on the light of the brightest component, so that hues hold; 1000 cd/m² becomes white.

use crate::color::HLG;

/// Light of diffuse white in cd/m² (ITU-R BT.2408).
const WHITE: f32 = 203.0;
/// Light that is mapped to full white.
const PEAK: f32 = 1000.0;

/// Maps pixels of three 16-bit components to three bytes each.
pub fn map(rgb48: &[u16], transfer: i32) -> Vec<u8> {
    let light = table(transfer);
    let white = hable(PEAK / WHITE);
    let mut out = Vec::with_capacity(rgb48.len());
    for pixel in rgb48.chunks_exact(3) {
        let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(|v| light[usize::from(v >> 4)] / WHITE);
        // BT.2020 to BT.709 primaries (ITU-R BT.2087).
        let linear = [
            1.6605 * r - 0.5876 * g - 0.0728 * b,
            -0.1246 * r + 1.1329 * g - 0.0083 * b,
            -0.0182 * r - 0.1006 * g + 1.1187 * b,
        ];
        let brightest = linear.into_iter().fold(1e-6, f32::max);
        let scale = hable(brightest) / white / brightest;
        out.extend(linear.map(|v| srgb(v * scale)));
    }
    out
}

/// Light in cd/m² for each 12-bit code.
fn table(transfer: i32) -> Vec<f32> {
    let eotf = if transfer == HLG { hlg } else { pq };
    (0..4096).map(|code| eotf(code as f32 / 4095.0)).collect()
}

/// SMPTE ST 2084.
fn pq(e: f32) -> f32 {
    let p = e.powf(1.0 / 78.84375);
    10_000.0 * ((p - 0.8359375).max(0.0) / (18.851_563 - 18.6875 * p)).powf(1.0 / 0.159_301_76)
}

/// ARIB STD-B67, on a screen of 1000 cd/m² (the system gamma taken per component, which is near enough for a picture).
fn hlg(e: f32) -> f32 {
    let scene = if e <= 0.5 { e * e / 3.0 } else { (((e - 0.559_910_7) / 0.178_832_77).exp() + 0.284_668_92) / 12.0 };
    1000.0 * scene.powf(1.2)
}

fn hable(x: f32) -> f32 {
    let (a, b, c, d, e, f) = (0.15, 0.50, 0.10, 0.20, 0.02, 0.30);
    (x * (a * x + c * b) + d * e) / (x * (a * x + b) + d * f) - e / f
}

/// IEC 61966-2-1.
fn srgb(v: f32) -> u8 {
    let v = v.clamp(0.0, 1.0);
    let e = if v <= 0.003_130_8 { 12.92 * v } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 };
    (e * 255.0 + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::color::PQ;

    #[test]
    fn the_curves_hit_their_known_points() {
        assert!((pq(0.508_078) - 100.0).abs() < 0.5, "BT.2408: 51 % is 100 cd/m²");
        assert!((pq(1.0) - 10_000.0).abs() < 1.0);
        assert!((hlg(1.0) - 1000.0).abs() < 1.0);
        assert_eq!(pq(0.0), 0.0);
    }

    #[test]
    fn black_stays_black_grey_stays_grey_and_white_is_reached() {
        for transfer in [PQ, HLG] {
            assert_eq!(map(&[0, 0, 0], transfer), [0, 0, 0]);
            let grey = map(&[30_000, 30_000, 30_000], transfer);
            assert!(grey[0].abs_diff(grey[1]) <= 1 && grey[1].abs_diff(grey[2]) <= 1, "{grey:?}");
            let brighter = map(&[40_000, 40_000, 40_000], transfer);
            assert!(brighter[0] > grey[0]);
        }
        assert_eq!(map(&[u16::MAX; 3], HLG), [255, 255, 255]);
    }
}
