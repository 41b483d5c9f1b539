//! The independent reader: the `ffmpeg` and `ffprobe` command lines.

use std::path::Path;
use std::process::Command;

/// One decoded frame's time and fingerprint.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Seconds.
    pub at: f64,
    /// MD5 of its pixels.
    pub md5: String,
}

/// Runs `ffmpeg` and gives its standard output; panics with its words where it fails.
pub fn ffmpeg(args: &[&str]) -> Vec<u8> {
    let output =
        Command::new("ffmpeg").args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"]).args(args).output();
    let output = output.expect("ffmpeg is installed by `make setup-test`");
    assert!(output.status.success(), "ffmpeg {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// As [`ffmpeg`], with the arguments in two parts.
pub fn ffmpeg_to(args: &[&str], more: &[&str]) -> Vec<u8> {
    ffmpeg(&[args, more].concat())
}

/// Every picture of an input's first video stream, as decoded, none dropped or doubled.
pub fn frames(input: &str) -> Vec<Frame> {
    let args =
        ["-i", input, "-map", "0:v:0", "-vsync", "passthrough", "-enc_time_base", "1/90000", "-f", "framemd5", "-"];
    md5_lines(&String::from_utf8(ffmpeg(&args)).unwrap())
}

/// The frames of a `framemd5` file.
pub fn md5_lines(text: &str) -> Vec<Frame> {
    let mut base = 1.0 / 90_000.0;
    let mut frames = Vec::new();
    for line in text.lines() {
        if let Some(tb) = line.strip_prefix("#tb 0: ") {
            let (num, den) = tb.split_once('/').unwrap();
            base = num.parse::<f64>().unwrap() / den.parse::<f64>().unwrap();
        } else if !line.starts_with('#') {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            frames.push(Frame { at: fields[2].parse::<f64>().unwrap() * base, md5: fields[5].to_owned() });
        }
    }
    frames
}

/// Samples of an input's first audio stream: 48 kHz, mono, as decoded.
pub fn samples(input: &str) -> Vec<f32> {
    floats(&ffmpeg(&["-i", input, "-map", "0:a:0", "-ac", "1", "-ar", "48000", "-f", "f32le", "-"]))
}

/// 32-bit little-endian floats.
pub fn floats(raw: &[u8]) -> Vec<f32> {
    raw.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
}

/// A field of one stream (`v:0`, `a:0`) by `ffprobe`; empty where there is none.
pub fn probe(input: &str, stream: &str, field: &str) -> String {
    let entry = format!("stream={field}");
    let args = ["-v", "error", "-select_streams", stream, "-show_entries", &entry, "-of", "csv=p=0", input];
    let output = Command::new("ffprobe").args(args).output().unwrap();
    assert!(output.status.success(), "ffprobe {input}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    // Playlists have programs, some of which are without the stream: empty lines.
    text.lines().find(|line| !line.is_empty()).unwrap_or_default().trim_end_matches(',').to_owned()
}

/// When one stream begins on the input's clock, in seconds; `None` where there is no such stream.
pub fn start_time(input: &str, stream: &str) -> Option<f64> {
    probe(input, stream, "start_time").parse().ok()
}

/// Every caption of an input's first subtitles: (begins, lasts, text), in seconds.
pub fn cues(input: &str) -> Vec<(f64, f64, String)> {
    let text = String::from_utf8(ffmpeg(&["-i", input, "-map", "0:s:0", "-f", "webvtt", "-"])).unwrap();
    let seconds = |stamp: &str| stamp.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap());
    let blocks = text.split("\n\n").filter_map(|block| block.trim().split_once('\n'));
    let timed = blocks.filter_map(|(times, text)| Some((times.split_once(" --> ")?, text)));
    timed.map(|((from, to), text)| (seconds(from), seconds(to) - seconds(from), text.to_owned())).collect()
}

/// Makes a file by `ffmpeg` unless it is there.
pub fn make(path: &Path, args: &[&str]) {
    if !path.exists() {
        let part = path.with_extension(format!(
            "{}.part.{}",
            std::process::id(),
            path.extension().unwrap_or_default().to_string_lossy()
        ));
        let mut all: Vec<&str> = args.to_vec();
        let name = part.to_string_lossy().into_owned();
        all.push(&name);
        ffmpeg(&all);
        std::fs::rename(&part, path).unwrap();
    }
}
