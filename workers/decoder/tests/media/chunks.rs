//! Spans: exactly their frames, at exactly their times, joined without a gap.

use std::fs;
use std::path::{Path, PathBuf};

use reelfleet_wire::{OutputHeader, ReadStatus, Request};

use crate::boxes::{edit, timeline};
use crate::files::{self, make, open_gop, remuxed};
use crate::parent::{self, Answer};

const LADDER: [u32; 2] = [180, 90];

/// Encodes in spans that begin at the borders (microseconds); the last has no end.
fn spans(path: &Path, borders: &[i64], sequential: bool) -> Vec<Answer> {
    let report = parent::probe(path).unwrap();
    borders
        .iter()
        .enumerate()
        .map(|(i, &start)| {
            let mut request = parent::encode(path, &report, &LADDER);
            request.start_us = start;
            request.end_us = borders.get(i + 1).copied();
            request.sequential = sequential;
            let answer = parent::ask(path, &Request::Encode(request));
            answer.failed().unwrap();
            answer
        })
        .collect()
}

/// Presentation times over all spans (90 kHz), after checking that segments join without a gap and that the rungs are
/// cut alike.
fn joined_times(answers: &[Answer]) -> Vec<i64> {
    let names = answers[0].renditions();
    let mut all: Vec<Vec<i64>> = Vec::new();
    let mut cuts: Vec<Vec<u64>> = Vec::new();
    for name in &names {
        let edit = edit(answers[0].init(name).unwrap());
        let (mut times, mut starts, mut behind) = (Vec::new(), Vec::new(), None);
        for (info, body) in answers.iter().flat_map(|a| a.segments(name)) {
            let line = timeline(body, edit);
            assert_eq!(line.start, info.start);
            assert_eq!(line.end - line.start, info.duration);
            assert_eq!(line.times.len(), info.frames as usize);
            assert_eq!(line.times[0], line.start as i64);
            if let Some(behind) = behind {
                assert_eq!(line.start, behind, "a gap before a segment of {name}");
            }
            behind = Some(line.end);
            starts.push(line.start);
            times.extend(line.times);
        }
        assert!(times.is_sorted());
        all.push(times);
        cuts.push(starts);
    }
    assert!(all.iter().all(|t| *t == all[0]) && cuts.iter().all(|c| *c == cuts[0]));
    all.swap_remove(0)
}

/// Both the whole and the spans have every frame of the source at its time.
fn exact(path: &Path, borders: &[i64], sequential: bool) {
    let expected = files::times(path);
    assert!(!expected.is_empty());
    let whole = joined_times(&spans(path, &[0], sequential));
    assert_eq!(whole.len(), expected.len(), "{}", path.display());
    for (ours, theirs) in whole.iter().zip(&expected) {
        let ours = (ours - whole[0]) as f64 / 90_000.0;
        assert!((ours - theirs).abs() < 0.0015, "{ours} is not {theirs}");
    }
    let answers = spans(path, borders, sequential);
    assert_eq!(joined_times(&answers), whole, "{}", path.display());
    for run in answers.iter().flat_map(Answer::runs) {
        assert_eq!((run.frames, run.errors), (run.packets, 0), "{run:?}");
    }
    let frames: u64 = answers.iter().map(|a| a.done().1).sum();
    assert_eq!(frames, expected.len() as u64);
    // And an independent decoder finds as many.
    let joined = files::path(&format!("{}.joined.mp4", path.file_name().unwrap().display()));
    parent::write_joined(&answers.iter().collect::<Vec<_>>(), &answers[0].renditions()[0], &joined);
    assert_eq!(files::times(&joined).len(), expected.len());
}

/// Not at keyframes, and the second a keyframe of the two-second grid.
const BORDERS: [i64; 4] = [0, 1_370_000, 4_000_000, 6_033_000];

#[test]
fn open_gop_mp4() {
    exact(&open_gop(), &BORDERS, false);
}

#[test]
fn matroska_by_seeking_and_by_reading_on() {
    let path = remuxed("open.mkv", "");
    exact(&path, &BORDERS, false);
    exact(&path, &[0, 4_100_000], true);
}

#[test]
fn mpeg_ts_lands_behind_the_keyframe() {
    let path = remuxed("open.ts", "");
    let index = parent::index(&path);
    assert!(index.seekable && index.keyframes_us.is_empty());
    exact(&path, &BORDERS, false);
}

#[test]
fn interlaced_mpeg_ps() {
    let path = make(
        "interlaced.mpg",
        "-f lavfi -i testsrc2=s=320x180:r=25:d=8 -vf setfield=tff -flags +ildct+ilme -c:v mpeg2video -q:v 6 -g 12 -bf 2",
    );
    assert!(parent::probe(&path).unwrap().video.unwrap().interlaced);
    exact(&path, &BORDERS, false);
}

#[test]
fn edit_list() {
    let path = remuxed("edit.mp4", "-ss 1.3");
    exact(&path, &[0, 1_000_000, 3_700_000], false);
}

#[test]
fn variable_frame_rate() {
    let path = make(
        "vfr.mp4",
        "-f lavfi -i testsrc2=s=320x180:r=24:d=8 -vf select='if(lt(mod(n,48),20),1,not(mod(n,3)))' -vsync passthrough \
         -enc_time_base 1/24000 -c:v libx264 -preset veryfast -g 48 -crf 26",
    );
    exact(&path, &BORDERS, false);
}

#[test]
fn vp9_with_hidden_frames() {
    let path = make(
        "vp9.webm",
        "-f lavfi -i testsrc2=s=320x180:r=25:d=8 -c:v libvpx-vp9 -b:v 200k -auto-alt-ref 1 -g 50 -deadline realtime -cpu-used 8",
    );
    exact(&path, &BORDERS, false);
}

#[test]
fn broadcast_rates() {
    for (name, rate) in [("ntsc30.mp4", "30000/1001"), ("ntsc60.mp4", "60000/1001")] {
        let path = make(
            name,
            &format!("-f lavfi -i testsrc2=s=320x180:r={rate}:d=5 -c:v libx264 -preset veryfast -g 60 -crf 26"),
        );
        exact(&path, &[0, 1_001_000, 3_003_000], false);
    }
}

#[test]
fn hevc_ten_bit_open_gop() {
    let path = make(
        "hevc10.mp4",
        "-f lavfi -i testsrc2=s=320x180:r=24:d=6 -pix_fmt yuv420p10le -c:v libx265 -preset ultrafast -x265-params \
         log-level=none:keyint=48:min-keyint=48:open-gop=1:bframes=4:scenecut=0",
    );
    exact(&path, &[0, 2_000_000, 4_125_000], false);
}

#[test]
fn avi_without_packet_times_is_read_from_the_beginning() {
    let path = make("asp.avi", "-f lavfi -i testsrc2=s=320x180:r=25:d=4 -c:v mpeg4 -bf 2 -g 25 -q:v 6");
    assert!(!parent::index(&path).seekable);
    let whole = joined_times(&spans(&path, &[0], true));
    assert_eq!(whole.len(), 100);
    assert_eq!(joined_times(&spans(&path, &[0, 1_980_000], true)), whole);
}

#[test]
fn one_keyframe_and_one_frame() {
    let path = make(
        "onekey.mp4",
        "-f lavfi -i testsrc2=s=320x180:r=24:d=4 -c:v libx264 -preset veryfast -g 10000 -sc_threshold 0 -crf 26",
    );
    assert_eq!(parent::index(&path).keyframes_us, [0]);
    exact(&path, &[0, 2_500_000], false);
    let path = make("one.mp4", "-f lavfi -i testsrc2=s=320x180:r=24 -frames:v 1 -c:v libx264 -preset veryfast");
    exact(&path, &[0], false);
}

#[test]
fn a_short_tail_behind_a_keyframe_is_not_lost() {
    // The last GOP is shorter than the decoder's delay, and decoding begins at it.
    let path = remuxed("tail.mp4", "-t 6.2");
    exact(&path, &[0, 6_083_000], false);
}

#[test]
fn a_picture_that_stands_still_gets_segments() {
    let path = make("slides.mp4", "-f lavfi -i testsrc2=s=320x180:r=1/7:d=28 -c:v libx264 -preset veryfast -g 2");
    let report = parent::probe(&path).unwrap();
    let mut request = parent::encode(&path, &report, &LADDER);
    request.segment_ms = 4_000;
    let answer = parent::ask(&path, &Request::Encode(request));
    assert_eq!(answer.done().1, 4, "source frames");
    let segments = answer.segments("180p");
    let longest = segments.iter().map(|s| s.0.duration).max().unwrap();
    assert!(longest <= 5 * 90_000, "{longest}");
    let total: u64 = segments.iter().map(|s| s.0.duration).sum();
    assert_eq!(total, 28 * 90_000);
}

#[test]
fn index_names_keyframes_at_or_just_behind_their_time() {
    let index = parent::index(&open_gop());
    assert!(index.seekable);
    assert_eq!(index.packets, Some(192));
    assert_eq!(index.keyframes_us.len(), 4);
    for (us, key) in index.keyframes_us.iter().zip([0, 2_000_000, 4_000_000, 6_000_000]) {
        assert!((0..200_000).contains(&(us - key)), "{us} for {key}");
    }
}

#[test]
fn the_same_request_gives_the_same_bytes() {
    let path = open_gop();
    let [a, b] = [0, 1].map(|_| spans(&path, &[1_370_000, 4_000_000], false));
    for (a, b) in a.iter().zip(&b) {
        for name in a.renditions() {
            assert_eq!(a.init(&name), b.init(&name));
            let bytes = |x: &Answer| -> Vec<Vec<u8>> { x.segments(&name).iter().map(|s| s.1.to_vec()).collect() };
            assert_eq!(bytes(a), bytes(b));
        }
    }
}

#[test]
fn runs_are_complete_when_they_end_and_can_be_continued() {
    let path = open_gop();
    let report = parent::probe(&path).unwrap();
    let whole = joined_times(&spans(&path, &[0], false));
    let mut request = parent::encode(&path, &report, &LADDER);
    request.stop_after_ms = Some(0);
    let mut answers = Vec::new();
    loop {
        let answer = parent::ask(&path, &Request::Encode(request.clone()));
        let (end, frames, ..) = answer.done();
        let runs = answer.runs();
        assert_eq!(runs.iter().map(|r| r.frames).sum::<u64>(), frames);
        request.start_us = runs.last().unwrap().end_us;
        answers.push(answer);
        if end {
            break;
        }
    }
    assert_eq!(answers.len(), 2);
    assert_eq!(joined_times(&answers), whole);

    // In one request, every segment of a run stands before its end and none of the next.
    let answer = &spans(&path, &[0], false)[0];
    let (mut seen, mut committed) = (0, 0);
    for (header, _) in &answer.frames {
        match header {
            OutputHeader::Segment(_) => seen += 1,
            OutputHeader::RunEnd(run) => {
                committed += run.segments as usize * LADDER.len();
                assert_eq!(seen, committed);
            }
            _ => {}
        }
    }
    assert_eq!(answer.runs().len(), 2);
}

#[test]
fn a_chunk_reads_little_more_than_its_bytes() {
    let from = open_gop();
    let path = make("long.mp4", &format!("-stream_loop 40 -i {} -c copy", from.display()));
    let report = parent::probe(&path).unwrap();
    let mut request = parent::encode(&path, &report, &[90]);
    (request.start_us, request.end_us) = (160_000_000, Some(172_000_000));
    let answer = parent::ask(&path, &Request::Encode(request));
    assert_eq!(answer.done().1, 288);
    let size = parent::size(&path);
    let share = size * 12 / 328;
    // Its own bytes, the index at the end of the file, and a block here and there.
    assert!(answer.fetched < share + (3 << 20), "{} of {size}", answer.fetched);
}

#[test]
fn a_failed_read_is_never_the_end_of_the_film() {
    let path = remuxed("fail.ts", "");
    let report = parent::probe(&path).unwrap();
    for (status, code) in [
        (ReadStatus::IoError, reelfleet_wire::FailCode::SourceRead),
        (ReadStatus::Changed, reelfleet_wire::FailCode::SourceChanged),
    ] {
        for at in 0..2 {
            let request = Request::Encode(parent::encode(&path, &report, &[90]));
            let answer = parent::ask_failing(&path, &request, Some((at, status)));
            assert_eq!(answer.failed().unwrap_err().0, code, "read {at}");
        }
    }
}

#[test]
fn damage_is_skipped_and_counted() {
    let from = remuxed("fast.mp4", "");
    let mut bytes = std::fs::read(&from).unwrap();
    let len = bytes.len();
    for i in 0..200 {
        // The index stands at the end; the media in front of it is hit all over.
        bytes[1000 + (i * 7919) % (len * 3 / 4)] ^= 0x55;
    }
    let path = files::path("corrupt.mp4");
    std::fs::write(&path, bytes).unwrap();
    let answer = &spans(&path, &[0], false)[0];
    let (end, frames, _, errors) = answer.done();
    assert!(end && errors > 0 && frames > 150, "{frames} frames, {errors} errors");
}

/// Every picture is called a keyframe, one in four seconds is one: an MP4 without `stss`.
fn without_keyframes(name: &str, encoder: &str) -> PathBuf {
    let honest = make(&format!("honest.{name}"), &format!("-f lavfi -i testsrc2=s=320x180:r=25:d=10 -c:v {encoder}"));
    let mut bytes = fs::read(honest).unwrap();
    let at = bytes.windows(4).position(|four| four == b"stss").unwrap();
    bytes[at..at + 4].copy_from_slice(b"free");
    let path = files::path(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn an_index_that_lies_gives_no_picture_made_of_nothing() {
    let codecs = [
        ("liar.mpeg4.mp4", "mpeg4 -q:v 5 -g 100 -sc_threshold 1000000000"),
        ("liar.mpeg2.mp4", "mpeg2video -q:v 5 -g 100 -bf 0 -sc_threshold 1000000000"),
        ("liar.hevc.mp4", "libx265 -preset ultrafast -x265-params keyint=100:min-keyint=100:scenecut=0:log-level=none"),
    ];
    for (name, encoder) in codecs {
        let path = without_keyframes(name, encoder);
        // A chain believes nothing, and has everything.
        exact(&path, &[0, 2_000_000], true);
        // A chunk has what follows the next real keyframe, or nothing; its neighbour saw what it lacks.
        let answers = spans(&path, &[0, 2_000_000, 5_000_000, 9_000_000], false);
        assert_eq!(answers[0].runs().last().unwrap().next_pts_us, Some(2_000_000), "{name}");
        for (answer, real) in answers[1..].iter().zip([4_000_000, 8_000_000, i64::MAX]) {
            if let Some(run) = answer.runs().first() {
                assert_eq!(run.first_pts_us, real, "{name}: a picture made of nothing");
            }
        }
    }
}
