//! tmp
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]
#[path = "/tmp/parent_trace.rs"]
mod parent;
use reelfleet_wire::*;
fn main() {
    let path = std::path::PathBuf::from(std::env::args().nth(1).unwrap());
    eprintln!("-- probe");
    let report = parent::probe(&path).unwrap();
    eprintln!("-- pictures");
    let video = report.video.as_ref().unwrap();
    let a = parent::ask(&path, &Request::Pictures(PicturesRequest { size: parent::size(&path), limits: MediaLimits::default(), t0_us: report.start_us, video_stream: video.index, rotation: 0, flipped: false, sequential: false, tone_map: false, duration_ms: report.duration_ms, keyframes_us: vec![], poster_widths: vec![320,640,1280], formats: vec![PictureFormat::Jpeg], storyboard: None }));
    eprintln!("fetched {}", a.fetched);
}
