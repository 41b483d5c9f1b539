//! Media that carry their own proof: every picture shows its number, every fifth second flashes and beeps.
//!
//! The picture is a grid of 4 × 4 cells: two references (dark and bright), twelve bits of the number, their parity, and
//! the flash. It is read back relative to its references, so scaling, tone mapping and other levels do not matter.

use crate::ffmpeg::{ffmpeg, ffmpeg_to};

/// Numbers repeat after this many pictures.
pub const NUMBERS: usize = 4096;
/// Seconds between two flashes, and between two beeps.
pub const BEAT: f64 = 5.0;
/// Cells that hold the number's bits, the lowest first.
const BITS: [usize; 12] = [1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14];
const DARK: usize = 0;
const FLASH: usize = 3;
const PARITY: usize = 12;
const BRIGHT: usize = 15;
/// Side of the picture that is read back: ten pixels for each cell.
const SIDE: usize = 40;

/// One picture as read back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shown {
    /// Seconds, as the reader gives them.
    pub at: f64,
    /// The number, unless the picture is damaged or not upright.
    pub number: Option<usize>,
    /// Whether it flashes.
    pub flash: bool,
}

/// The source of numbered pictures as a graph of libavfilter. `rate` as FFmpeg takes it.
pub fn pictures(width: u32, height: u32, rate: &str, seconds: f64) -> String {
    let parity: Vec<String> = (0..BITS.len()).map(|bit| format!("bitand(floor(N/{}),1)", 1 << bit)).collect();
    let cell = |lit: &str| format!("40+160*({lit})");
    let luma = format!(
        "st(0,X+4*Y);if(eq(ld(0),{DARK}),{},if(eq(ld(0),{BRIGHT}),{},if(eq(ld(0),{FLASH}),{},if(eq(ld(0),{PARITY}),{},{}))))",
        cell("0"),
        cell("1"),
        cell(&format!("lt(mod(T+0.001,{BEAT}),1/({rate}))")),
        cell(&format!("mod({},2)", parity.join("+"))),
        cell("mod(floor(N/pow(2,ld(0)-1-gt(ld(0),3)-gt(ld(0),12))),2)"),
    );
    format!(
        "nullsrc=s=4x4:r={rate}:d={seconds},format=gray,geq=lum='{luma}',scale={width}:{height}:flags=neighbor,format=yuv420p,setsar=1"
    )
}

/// A tone of 440 Hz with a beep at each flash but the first, as an expression of libavfilter.
pub fn tone() -> String {
    format!("0.2*sin(2*PI*440*t)+0.4*sin(2*PI*1760*t)*lt(mod(t,{BEAT}),0.1)*gt(t,1)")
}

/// The source of [`tone`], mono.
pub fn sound(seconds: f64, rate: u32) -> String {
    format!("aevalsrc='{}':s={rate}:d={seconds}", tone())
}

/// Reads every picture of an input's first video stream, none dropped or doubled. `before` are options of the input.
pub fn read(input: &str, before: &[&str]) -> Vec<Shown> {
    let times = tempfile::NamedTempFile::new().unwrap();
    let path = times.path().to_string_lossy().into_owned();
    let graph = format!("scale={SIDE}:{SIDE}:flags=area,format=gray");
    let passthrough = ["-map", "0:v:0", "-vsync", "passthrough", "-enc_time_base", "1/90000"];
    let mut args = before.to_vec();
    args.extend(["-i", input]);
    args.extend(passthrough);
    args.extend(["-vf", &graph, "-f", "rawvideo", "-"]);
    args.extend(passthrough);
    args.extend(["-vf", &graph, "-f", "framemd5", &path]);
    let pixels = ffmpeg(&args);
    let text = std::fs::read_to_string(times.path()).unwrap();
    let at = crate::ffmpeg::md5_lines(&text).into_iter().map(|frame| frame.at);
    let shown: Vec<Shown> = at.zip(pixels.chunks_exact(SIDE * SIDE)).map(|(at, picture)| decode(at, picture)).collect();
    assert_eq!(shown.len() * SIDE * SIDE, pixels.len(), "{input}: times and pictures differ in number");
    shown
}

fn decode(at: f64, picture: &[u8]) -> Shown {
    let cell = |index: usize| {
        let (x, y) = (index % 4 * 10, index / 4 * 10);
        let inner = (3..7).flat_map(|dy| (3..7).map(move |dx| (y + dy) * SIDE + x + dx));
        inner.map(|at| f64::from(picture[at])).sum::<f64>() / 16.0
    };
    let (dark, bright) = (cell(DARK), cell(BRIGHT));
    let lit = |index: usize| cell(index) > f64::midpoint(dark, bright);
    let number: usize = BITS.iter().enumerate().filter(|(_, index)| lit(**index)).map(|(bit, _)| 1 << bit).sum();
    let whole = bright - dark > 40.0 && lit(PARITY) == (number.count_ones() % 2 == 1);
    Shown { at, number: whole.then_some(number), flash: lit(FLASH) }
}

/// The first picture that flashes after the first second.
pub fn flash(shown: &[Shown]) -> Option<f64> {
    let begin = shown.first()?.at;
    shown.iter().find(|picture| picture.flash && picture.at > begin + 1.0).map(|picture| picture.at)
}

/// Where in the samples (48 kHz) the first beep begins, in seconds.
pub fn beep(samples: &[f32]) -> Option<f64> {
    let peak = samples.iter().fold(0.0f32, |peak, sample| peak.max(sample.abs()));
    // The tone alone reaches a third of the peak.
    samples.iter().position(|sample| peak > 0.1 && sample.abs() > peak * 0.5).map(|index| index as f64 / 48_000.0)
}

/// An input's sound on its own clock: sample 0 is its time zero (48 kHz, mono).
pub fn sound_from_zero(input: &str) -> Vec<f32> {
    let args = ["-copyts", "-i", input, "-map", "0:a:0", "-af", "aresample=48000:async=1:first_pts=0"];
    let raw = ffmpeg_to(&args, &["-ac", "1", "-f", "f32le", "-"]);
    crate::ffmpeg::floats(&raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mkv");
        let path = path.to_string_lossy().into_owned();
        let graph = pictures(160, 90, "30000/1001", 6.0);
        ffmpeg(&["-f", "lavfi", "-i", &graph, "-c:v", "libx264", "-preset", "ultrafast", &path]);
        let shown = read(&path, &[]);
        let numbers: Vec<_> = shown.iter().map(|picture| picture.number).collect();
        assert_eq!(numbers, (0..180).map(Some).collect::<Vec<_>>());
        assert!((flash(&shown).unwrap() - 5.0).abs() < 0.034);
        ffmpeg(&[
            "-i",
            &path.clone(),
            "-vf",
            "transpose=1",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            &format!("{path}.mkv"),
        ]);
        let turned = read(&format!("{path}.mkv"), &[]);
        assert!(turned.iter().filter(|picture| picture.number.is_none()).count() > 60, "a turned picture is noticed");
    }
}
