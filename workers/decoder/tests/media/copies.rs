//! Copying: the source's own packets, exactly, in segments that begin where every other rendition's do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use reelfleet_wire::{CopySpec, EncodeRequest, FailCode, Request};

use crate::boxes::{edit, timeline};
use crate::files::{self, make, open_gop, remuxed};
use crate::parent::{self, Answer};

const LADDER: [u32; 2] = [180, 90];

/// H.264 with closed GOPs of two seconds and B-frames; 10 s.
fn closed_gop() -> PathBuf {
    make(
        "closed.mp4",
        "-f lavfi -i testsrc2=s=320x180:r=24:d=10 -c:v libx264 -preset veryfast \
         -x264-params keyint=48:scenecut=0:bframes=3:b-pyramid=normal -crf 26 -pix_fmt yuv420p",
    )
}

fn request(path: &Path, start_us: i64, end_us: Option<i64>, cuts_us: &[i64]) -> EncodeRequest {
    let (report, index) = (parent::probe(path).unwrap(), parent::index(path));
    let copy = Some(CopySpec { delay_us: index.reorder_us });
    let request = parent::encode(path, &report, &LADDER);
    EncodeRequest { start_us, end_us, cuts_us: cuts_us.to_vec(), copy, ..request }
}

fn ask(path: &Path, start_us: i64, end_us: Option<i64>, cuts_us: &[i64]) -> Answer {
    parent::ask(path, &Request::Encode(request(path, start_us, end_us, cuts_us)))
}

/// Hashes of the decoded pictures, by the ffmpeg command line.
fn pictures(path: &Path) -> Vec<String> {
    let out = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(path)
        .args(["-map", "0:v:0", "-vsync", "passthrough", "-f", "framemd5", "-"])
        .output()
        .expect("ffmpeg is installed");
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().filter(|l| !l.starts_with('#')).map(|l| l.rsplit(',').next().unwrap().trim().to_owned()).collect()
}

#[test]
fn what_is_copied_is_the_source_cut_where_the_others_are() {
    let path = closed_gop();
    let index = parent::index(&path);
    let copy = index.copy.expect("it is of the kind");
    assert_eq!(copy.keyframes_us, [0, 2_000_000, 4_000_000, 6_000_000, 8_000_000]);
    let bits = fs::metadata(&path).unwrap().len() * 8;
    assert!((bits / 10..bits / 4).contains(&copy.peak_bps), "{} of {bits}", copy.peak_bps);

    let answers = [
        ask(&path, 0, Some(2_000_000), &[]),
        ask(&path, 2_000_000, Some(8_000_000), &[4_000_000, 6_000_000]),
        ask(&path, 8_000_000, None, &[]),
    ];
    let mut cuts: Vec<Vec<(u64, u64)>> = Vec::new();
    let mut times = Vec::new();
    for name in ["180p", "90p"] {
        let edit = edit(answers[0].init(name).unwrap());
        let segments = answers.iter().flat_map(|answer| {
            answer.failed().unwrap();
            answer.segments(name)
        });
        let mut own = Vec::new();
        let lines = segments.map(|(info, body)| {
            let line = timeline(body, edit);
            assert_eq!((line.start, line.end - line.start), (info.start, info.duration));
            own.extend(line.times);
            (line.start, line.end)
        });
        cuts.push(lines.collect());
        times.push(own);
    }
    assert_eq!(cuts[0].iter().map(|(start, _)| start / 90_000).collect::<Vec<_>>(), [0, 2, 4, 6, 8]);
    assert!(cuts[0].windows(2).all(|pair| pair[0].1 == pair[1].0));
    assert_eq!((&cuts[0], &times[0]), (&cuts[1], &times[1]), "all renditions are cut alike");

    let joined = files::path("closed.joined.mp4");
    parent::write_joined(&answers.iter().collect::<Vec<_>>(), "180p", &joined);
    assert_eq!(pictures(&joined), pictures(&path), "every picture is the source's own");
    assert_eq!(files::times(&joined), files::times(&path));
    // Cut by the container's own times: not a byte of the pictures is another.
    let again = ask(&path, 4_000_000, Some(8_000_000), &[6_000_000]);
    let tails = |answer: &Answer, skip| {
        let bodies = answer.segments("180p").into_iter().skip(skip);
        bodies.map(|(_, body)| body[body.len() - 1_000..].to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(tails(&again, 0), tails(&answers[1], 1), "a continuation gives the same");
}

#[test]
fn what_does_not_stand_by_itself_is_not_copied() {
    let refused = |answer: Answer| {
        let (code, detail) = answer.failed().expect_err("it can't be copied");
        assert_eq!(code, FailCode::NotCopyable, "{detail}");
        assert!(answer.segments("180p").len() <= 1, "{detail}");
    };
    // A cut in the middle of a GOP, and at a keyframe whose neighbours reach over it.
    refused(ask(&closed_gop(), 0, None, &[3_000_000]));
    refused(ask(&closed_gop(), 1_000_000, None, &[]));
    refused(ask(&open_gop(), 0, None, &[2_000_000]));
    refused(ask(&open_gop(), 2_000_000, None, &[]));

    // Damage in the middle, which an encoder would conceal.
    let whole = fs::read(closed_gop()).unwrap();
    let mut bytes = whole.clone();
    let at = bytes.len() / 2;
    bytes[at..at + 600].fill(0x55);
    let damaged = files::path("closed.damaged.mp4");
    fs::write(&damaged, bytes).unwrap();
    refused(ask(&damaged, 0, None, &[2_000_000]));
}

#[test]
fn only_what_browsers_play_is_offered() {
    let source = "-f lavfi -i testsrc2=s=320x180:r=24:d=1 -c:v";
    for (name, line) in [
        ("tall.mp4", "libx264 -pix_fmt yuv420p -vf setsar=2/1"),
        ("full.mp4", "libx264 -pix_fmt yuvj420p"),
        ("rich.mp4", "libx264 -pix_fmt yuv422p"),
        ("deep.mp4", "libx264 -pix_fmt yuv420p10le"),
        ("other.mp4", "mpeg4"),
        ("growing.mp4", "libx264 -pix_fmt yuv420p -movflags +frag_keyframe+empty_moov"),
        ("plain.mkv", "libx264 -pix_fmt yuv420p"),
        ("slow.mp4", "libx264 -pix_fmt yuv420p -r 1"),
        ("uneven.mp4", "libx264 -pix_fmt yuv420p -vf select=gt(random(1)\\,0.3) -vsync vfr"),
    ] {
        let path = make(name, &format!("{source} {line}"));
        assert_eq!(parent::index(&path).copy, None, "{name}");
    }
    // What it is at the end counts too, and what is shorter than a window.
    let dense = make(
        "dense.mp4",
        "-f lavfi -i nullsrc=s=320x180:r=24:d=1.5,geq=random(1)*255:128:128 -c:v libx264 -qp 1 -pix_fmt yuv420p",
    );
    let bits = fs::metadata(&dense).unwrap().len() * 8;
    assert!(parent::index(&dense).copy.unwrap().peak_bps > bits / 2);
    assert_eq!(parent::index(&remuxed("edit.mp4", "-ss 1.3")).copy, None, "some of it is hidden");
}
