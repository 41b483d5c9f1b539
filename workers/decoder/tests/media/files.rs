//! Sources made with the ffmpeg command line, once for all tests, in a folder that goes away.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

static DIR: OnceLock<tempfile::TempDir> = OnceLock::new();
/// One file is made at a time, so that no test sees half of one.
static MAKING: Mutex<()> = Mutex::new(());

pub fn dir() -> &'static Path {
    DIR.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

pub fn path(name: &str) -> PathBuf {
    dir().join(name)
}

/// Makes `name` unless it is there. `line` is split at spaces.
pub fn make(name: &str, line: &str) -> PathBuf {
    let _one = MAKING.lock().unwrap_or_else(|e| e.into_inner());
    let to = path(name);
    if !to.exists() {
        let out = Command::new("ffmpeg")
            .args(["-hide_banner", "-loglevel", "error", "-y"])
            .args(line.split_whitespace())
            .arg(&to)
            .current_dir(dir())
            .output()
            .expect("ffmpeg is installed");
        assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
    }
    to
}

/// H.264 with open GOPs of two seconds, and a tone; 8 s.
pub fn open_gop() -> PathBuf {
    make(
        "open.mp4",
        "-f lavfi -i testsrc2=s=320x180:r=24:d=8 -f lavfi -i sine=440:d=8:r=48000 -c:v libx264 -preset veryfast \
         -x264-params open-gop=1:keyint=48:scenecut=0:bframes=3:b-pyramid=normal -crf 26 -c:a aac -ac 2",
    )
}

/// The same packets in another container.
pub fn remuxed(name: &str, options: &str) -> PathBuf {
    let from = open_gop();
    make(name, &format!("{options} -i {} -c copy", from.display()))
}

/// Presentation times of the decoded frames, by ffprobe, from the first.
pub fn times(path: &Path) -> Vec<f64> {
    let out = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v:0", "-show_entries"])
        .args(["frame=best_effort_timestamp_time", "-of", "csv=p=0"])
        .arg(path)
        .output()
        .expect("ffprobe is installed");
    let text = String::from_utf8(out.stdout).unwrap();
    let all: Vec<f64> = text.lines().filter_map(|l| l.trim_end_matches(',').split(',').next()?.parse().ok()).collect();
    let first = all.first().copied().unwrap_or(0.0);
    all.iter().map(|t| t - first).collect()
}

/// One entry of the first stream, by ffprobe.
pub fn stream_entry(path: &Path, entry: &str) -> String {
    let out = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", &format!("stream={entry}")])
        .args(["-of", "csv=p=0"])
        .arg(path)
        .output()
        .expect("ffprobe is installed");
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// Decoded sound, mono at 48 kHz.
pub fn sound(path: &Path) -> Vec<f32> {
    let out = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(path)
        .args(["-map", "0:a:0", "-ac", "1", "-ar", "48000", "-f", "f32le", "-"])
        .output()
        .expect("ffmpeg is installed");
    assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    out.stdout.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// One frame as 8-bit RGB, scaled to a size.
pub fn picture(path: &Path, number: u32, width: u32, height: u32) -> Vec<u8> {
    let out = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(path)
        .arg("-vf")
        .arg(format!("select=eq(n\\,{number}),scale={width}:{height}"))
        .args(["-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
        .output()
        .expect("ffmpeg is installed");
    out.stdout
}

/// Mean absolute difference of two pictures of the same size.
pub fn difference(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    assert!(!a.is_empty());
    let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.len() as f64
}
