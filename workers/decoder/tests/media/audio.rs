//! Sound: length, place on the grid, and runs that join without a click.

use std::path::{Path, PathBuf};

use reelfleet_wire::{AudioRequest, Request};

use crate::boxes::timeline;
use crate::files::{self, make, open_gop, remuxed, sound};
use crate::parent::{self, Answer};

fn ask(path: &Path, request: &AudioRequest) -> Answer {
    let answer = parent::ask(path, &Request::Audio(request.clone()));
    answer.failed().unwrap();
    answer
}

fn joined(path: &Path, answers: &[&Answer], name: &str) -> PathBuf {
    let mut behind = 0;
    for (info, body) in answers.iter().flat_map(|a| a.segments("audio")) {
        let line = timeline(body, 0);
        assert_eq!(line.start, behind, "sound without a gap, from 0");
        assert_eq!(line.start % 1024, 0);
        assert_eq!(line.times.len(), info.frames as usize);
        behind = line.end;
    }
    let to = files::path(&format!("{}.{name}.mp4", path.file_name().unwrap().display()));
    assert!(parent::write_joined(answers, "audio", &to));
    to
}

/// The whole sound in one request.
fn whole(path: &Path) -> Vec<f32> {
    let report = parent::probe(path).unwrap();
    let answer = ask(path, &parent::audio(path, &report));
    sound(&joined(path, &[&answer], "whole"))
}

/// The same as a chain of requests of one run each.
fn chained(path: &Path, sequential: bool) -> (Vec<f32>, usize) {
    let report = parent::probe(path).unwrap();
    let mut request = parent::audio(path, &report);
    request.stop_after_ms = Some(0);
    request.sequential = sequential;
    request.run_ms = 2_000;
    let mut answers = Vec::new();
    loop {
        let answer = ask(path, &request);
        let end = answer.done().0;
        if let Some(run) = answer.runs().last() {
            request.from_frame = run.next_frame.unwrap();
            request.anchor = run.anchor;
        }
        answers.push(answer);
        if end {
            break;
        }
        assert!(answers.len() < 20);
    }
    let links = answers.len();
    let all: Vec<&Answer> = answers.iter().collect();
    (sound(&joined(path, &all, "chained")), links)
}

/// Loudness of the difference against loudness of the sound.
fn noise(a: &[f32], b: &[f32]) -> f64 {
    let power = |x: &mut dyn Iterator<Item = f32>| x.map(|v| f64::from(v) * f64::from(v)).sum::<f64>();
    let apart = power(&mut a.iter().zip(b).map(|(a, b)| a - b));
    apart / power(&mut a.iter().copied()).max(1e-9)
}

fn same_in_one_and_in_links(path: &Path, sequential: bool) {
    let whole = whole(path);
    let (chained, links) = chained(path, sequential);
    assert!(links >= 3, "{links} links");
    assert_eq!(whole.len(), chained.len(), "{}", path.display());
    let apart = noise(&whole, &chained);
    assert!(apart < 1e-3, "{}: {apart}", path.display());
    let click = whole.iter().zip(&chained).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
    assert!(click < 0.05, "{}: {click}", path.display());
}

/// Within one frame of the source's own length.
fn has_the_length_of(path: &Path) {
    let ours = whole(path).len();
    let theirs = sound(path).len();
    assert!((theirs..theirs + 1024).contains(&ours), "{ours} for {theirs}");
}

fn tone(name: &str, options: &str) -> PathBuf {
    // A sweep: any shift of time changes it.
    make(name, &format!("-f lavfi -i aevalsrc=0.4*sin(2*PI*(200+60*t)*t)|0.3*sin(2*PI*330*t):s=44100:d=9 {options}"))
}

#[test]
fn aac_in_mp4_is_the_same_in_links() {
    let path = open_gop();
    has_the_length_of(&path);
    same_in_one_and_in_links(&path, false);
}

#[test]
fn another_rate_is_the_same_in_links() {
    let path = tone("sweep.mp4", "-c:a aac -b:a 160k");
    has_the_length_of(&path);
    same_in_one_and_in_links(&path, false);
    same_in_one_and_in_links(&path, true);
}

#[test]
fn other_codecs_are_the_same_in_links() {
    same_in_one_and_in_links(&tone("sweep.mp3", "-c:a libmp3lame"), false);
    same_in_one_and_in_links(&tone("sweep.ts", "-c:a mp2"), false);
    same_in_one_and_in_links(&tone("sweep.wav", "-c:a pcm_s16le"), false);
    same_in_one_and_in_links(&tone("sweep.webm", "-ar 48000 -c:a libopus"), false);
    same_in_one_and_in_links(&tone("sweep.ogg", "-c:a libvorbis"), false);
    same_in_one_and_in_links(&tone("sweep.flac", "-c:a flac"), false);
}

#[test]
fn what_is_heard_is_what_was_there() {
    let path = tone("sweep.wav", "-c:a pcm_s16le");
    let (ours, theirs) = (whole(&path), sound(&path));
    // The first frame lacks its priming and is left out.
    let apart = noise(&theirs[2048..], &ours[2048..]);
    assert!(apart < 0.01, "{apart}");
}

#[test]
fn sound_that_starts_late_begins_with_silence() {
    let from = open_gop();
    let path = make("late.mp4", &format!("-i {0} -itsoffset 0.7 -i {0} -map 0:v -map 1:a -c copy", from.display()));
    let report = parent::probe(&path).unwrap();
    assert_eq!(report.start_us, 0);
    let start = report.audio.unwrap().start_us;
    let ours = whole(&path);
    let silent = ours.iter().position(|v| v.abs() > 0.01).unwrap();
    let expected = (start * 48 / 1000) as usize;
    assert!(silent.abs_diff(expected) < 1500, "{silent} for {expected}");
    same_in_one_and_in_links(&path, false);
}

#[test]
fn a_gap_is_filled_with_silence() {
    let a = make("gap-a.ts", "-f lavfi -i sine=500:d=2:r=48000 -c:a aac");
    let b = make("gap-b.ts", "-f lavfi -i sine=500:d=2:r=48000 -c:a aac -output_ts_offset 3.5");
    let path = files::path("gap.ts");
    let mut bytes = std::fs::read(a).unwrap();
    bytes.extend(std::fs::read(b).unwrap());
    std::fs::write(&path, bytes).unwrap();
    let ours = whole(&path);
    assert!(ours.len().abs_diff(48_000 * 55 / 10) < 4096, "{}", ours.len());
    let middle = &ours[48_000 * 5 / 2..48_000 * 3];
    assert!(middle.iter().all(|v| v.abs() < 0.01));
}

#[test]
fn six_channels_and_one_become_two() {
    for (name, layout) in [("six.mkv", "5.1"), ("one.mkv", "mono")] {
        let path =
            make(name, &format!("-f lavfi -i sine=440:d=3:r=48000 -af aformat=channel_layouts={layout} -c:a ac3"));
        assert!(whole(&path).len() >= 3 * 48_000);
    }
}

#[test]
fn a_cover_is_no_video() {
    let cover = make("cover.jpg", "-f lavfi -i testsrc2=s=320x180 -frames:v 1");
    let sweep = tone("sweep.mp3", "-c:a libmp3lame");
    let path = make(
        "covered.mp3",
        &format!("-i {} -i {} -map 0 -map 1 -c copy -disposition:v attached_pic", sweep.display(), cover.display()),
    );
    let report = parent::probe(&path).unwrap();
    assert!(report.video.is_none());
    has_the_length_of(&path);
}

#[test]
fn sound_of_a_transport_stream_lies_with_its_pictures() {
    let path = remuxed("av.ts", "");
    let report = parent::probe(&path).unwrap();
    let (video, audio) = (report.video.unwrap(), report.audio.unwrap());
    assert_eq!(report.start_us, video.start_us.min(audio.start_us));
    same_in_one_and_in_links(&path, false);
}
