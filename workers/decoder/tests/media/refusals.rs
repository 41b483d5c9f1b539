//! What is refused, and with which reason.

use std::fs;
use std::path::{Path, PathBuf};

use reelfleet_wire::{FailCode, MediaKind, MediaLimits, Request};

use crate::files::{self, make, open_gop, remuxed};
use crate::parent;

fn written(name: &str, bytes: &[u8]) -> PathBuf {
    let path = files::path(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn refused(path: &Path) -> FailCode {
    parent::probe(path).unwrap_err().0
}

#[test]
fn what_is_no_media() {
    assert_eq!(refused(&written("empty", b"")), FailCode::Empty);
    assert_eq!(refused(&written("text", b"hello\n")), FailCode::NotMedia);
    let noise: Vec<u8> = (0..100_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    assert_eq!(refused(&written("noise", &noise)), FailCode::NotMedia);
}

#[test]
fn playlists_in_disguise_open_nothing() {
    let victim = remuxed("victim.ts", "");
    let victim = victim.display();
    let hls = format!("#EXTM3U\n#EXT-X-TARGETDURATION:8\n#EXTINF:8,\nfile://{victim}\n#EXT-X-ENDLIST\n");
    let plain = format!("#EXTM3U\n#EXT-X-TARGETDURATION:8\n#EXTINF:8,\n{victim}\n#EXT-X-ENDLIST\n");
    let concat = format!("ffconcat version 1.0\nfile '{victim}'\n");
    let dash = "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\"><Period>\
                <BaseURL>http://127.0.0.1:9/</BaseURL></Period></MPD>";
    for (name, text) in [("a.mp4", hls.as_str()), ("b.mp4", &plain), ("c.mp4", &concat), ("d.mp4", dash)] {
        assert_eq!(refused(&written(name, text.as_bytes())), FailCode::NotMedia, "{name}");
    }
}

#[test]
fn what_was_cut_off() {
    let whole = fs::read(open_gop()).unwrap();
    assert_eq!(refused(&written("no-index.mp4", &whole[..whole.len() / 2])), FailCode::Truncated);
    let fast = make("indexed.mp4", &format!("-i {} -c copy -movflags +faststart", open_gop().display()));
    let fast = fs::read(fast).unwrap();
    assert_eq!(refused(&written("a-third.mp4", &fast[..fast.len() / 3])), FailCode::Truncated);
    let report = parent::probe(&written("most.mp4", &fast[..fast.len() * 4 / 5])).unwrap();
    assert!(report.truncated);
    assert!((5_000..7_500).contains(&report.duration_ms.unwrap()), "{:?}", report.duration_ms);
}

#[test]
fn what_is_encrypted() {
    let path = make(
        "cenc.mp4",
        &format!(
            "-i {} -c copy -encryption_scheme cenc-aes-ctr -encryption_key 76a6c65c5ea762046bd749a2e632ccbb \
             -encryption_kid a7e61c373e219033c21091fa607bf3b8",
            open_gop().display()
        ),
    );
    assert_eq!(refused(&path), FailCode::Encrypted);
}

#[test]
fn nothing_to_decode() {
    fs::write(files::path("s.srt"), "1\n00:00:00,000 --> 00:00:01,000\nhello\n").unwrap();
    let path = make("words.mkv", "-i s.srt -c:s srt");
    assert_eq!(refused(&path), FailCode::NoDecodableStream);
}

#[test]
fn limits_hold() {
    let path = open_gop();
    let with = |change: fn(&mut MediaLimits)| {
        let mut limits = MediaLimits::default();
        change(&mut limits);
        let request = Request::Probe { size: parent::size(&path), limits };
        parent::ask(&path, &request).failed().unwrap_err().0
    };
    assert_eq!(with(|l| l.max_duration_ms = 3_000), FailCode::TooLong);
    assert_eq!(with(|l| l.max_fps = 20), FailCode::TooManyFramesPerSecond);
    assert_eq!(with(|l| l.max_streams = 1), FailCode::TooManyStreams);
    assert_eq!(with(|l| l.max_pixels = 320 * 180 - 1), FailCode::TooManyPixels);
}

#[test]
fn requests_that_make_no_sense() {
    let path = open_gop();
    let report = parent::probe(&path).unwrap();
    let mut request = parent::encode(&path, &report, &[90]);
    request.video_stream = 9;
    let code = |r: Request| parent::ask(&path, &r).failed().unwrap_err().0;
    assert_eq!(code(Request::Encode(request.clone())), FailCode::NoDecodableStream);
    request.video_stream = 1;
    assert_eq!(code(Request::Encode(request.clone())), FailCode::NoDecodableStream);
    request.video_stream = 0;
    request.run_ms = 5_001;
    assert_eq!(code(Request::Encode(request)), FailCode::Internal);
    let mut request = parent::audio(&path, &report);
    request.audio_stream = 0;
    assert_eq!(code(Request::Audio(request)), FailCode::NoDecodableStream);
}

#[test]
fn pictures_are_known_by_their_first_bytes() {
    for (name, codec) in [("still.png", "png"), ("still.jpg", "jpeg"), ("still.gif", "gif"), ("still.webp", "webp")] {
        let path = make(name, "-f lavfi -i testsrc2=s=322x182 -frames:v 1");
        let report = parent::probe(&path).unwrap();
        assert_eq!(report.kind, MediaKind::Image);
        let video = report.video.unwrap();
        assert_eq!((video.codec.as_str(), video.width, video.height), (codec, 322, 182));
    }
}

#[test]
fn probing_reads_a_small_part() {
    let path = make("long.mp4", &format!("-stream_loop 40 -i {} -c copy", open_gop().display()));
    let request = Request::Probe { size: parent::size(&path), limits: MediaLimits::default() };
    let answer = parent::ask(&path, &request);
    assert!(answer.fetched * 10 < parent::size(&path), "{} bytes", answer.fetched);
}

#[test]
fn a_clock_that_goes_back_is_said_and_never_a_shorter_film() {
    let half = make("half.ts", "-f lavfi -i testsrc2=s=320x180:r=25:d=4 -f lavfi -i sine=d=4 -c:v mpeg2video -c:a mp2");
    let mut bytes = fs::read(half).unwrap();
    bytes.extend_from_within(..);
    let path = written("twice.ts", &bytes);
    let report = parent::probe(&path).unwrap();
    let mut encode = parent::encode(&path, &report, &[180]);
    encode.sequential = true;
    let mut audio = parent::audio(&path, &report);
    audio.sequential = true;
    for request in [Request::Encode(encode), Request::Audio(audio)] {
        let (code, why) = parent::ask(&path, &request).failed().unwrap_err();
        assert_eq!(code, FailCode::Decode, "{why}");
        assert!(why.contains("clock goes back by"), "{why}");
    }
}
