//! The inputs: small, several chunks long each, every picture numbered. Made by FFmpeg, once.

use std::path::{Path, PathBuf};

use reelfleet_tests::{Wanted, ffmpeg, media, pattern, text};

/// One input.
pub struct Input {
    /// For people.
    pub name: &'static str,
    /// What is to come of it.
    pub wanted: Wanted,
}

/// The input whose fields differ.
pub const COMBED: &str = "interlaced H.264 in MP4";
/// The input of high dynamic range.
pub const HDR: &str = "HDR10";
const LONG: f64 = 12.0;
const X264: [&str; 8] = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "26", "-g", "50"];
/// An open GOP with a pyramid of B-frames, keyframes every two seconds.
const OPEN_GOP: [&str; 8] = [
    "-c:v",
    "libx264",
    "-preset",
    "veryfast",
    "-crf",
    "26",
    "-x264-params",
    "open-gop=1:keyint=50:min-keyint=50:scenecut=0:bframes=3:b-pyramid=normal",
];
const AAC: [&str; 4] = ["-c:a", "aac", "-b:a", "128k"];

struct Maker {
    folder: PathBuf,
}

impl Maker {
    /// Numbered pictures with the tone, encoded as told.
    fn film(&self, name: &str, size: (u32, u32), rate: &str, seconds: f64, encoder: &[&str]) -> PathBuf {
        let (video, audio) = (pattern::pictures(size.0, size.1, rate, seconds), pattern::sound(seconds, 48_000));
        self.run(name, &[&["-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &audio], encoder].concat())
    }

    /// The same without sound.
    fn silent(&self, name: &str, size: (u32, u32), rate: &str, seconds: f64, encoder: &[&str]) -> PathBuf {
        let video = pattern::pictures(size.0, size.1, rate, seconds);
        self.run(name, &[&["-f", "lavfi", "-i", &video], encoder].concat())
    }

    fn run(&self, name: &str, args: &[&str]) -> PathBuf {
        let path = self.folder.join(name);
        ffmpeg::make(&path, args);
        path
    }

    /// The streams of another input in another container.
    fn copy(&self, name: &str, from: &Path, before: &[&str], after: &[&str]) -> PathBuf {
        let from = text(from);
        self.run(name, &[before, &["-i", &from, "-c", "copy"], after].concat())
    }
}

fn with<'a>(parts: &[&[&'a str]]) -> Vec<&'a str> {
    parts.concat()
}

/// All videos and sounds of the matrix.
pub fn all() -> Vec<Input> {
    let maker = Maker { folder: media() };
    let (wide, small) = ((640, 360), (320, 180));
    let mut inputs = Vec::new();
    let mut add = |name, wanted| inputs.push(Input { name, wanted });

    let base = maker.film("moov-last.mp4", wide, "25", 20.0, &with(&[&X264, &AAC]));
    add("H.264/AAC MP4, moov last", Wanted::new(&base, wide));
    let first = maker.copy("moov-first.mp4", &base, &[], &["-movflags", "+faststart"]);
    add("H.264/AAC MP4, moov first", Wanted::new(&first, wide));
    let b_frames = maker.film("b-frames.mp4", small, "24", LONG, &with(&[&OPEN_GOP, &AAC]));
    add("open GOP, pyramid of B-frames", Wanted::new(&b_frames, small));
    let mkv = maker.copy("open-gop.mkv", &b_frames, &[], &[]);
    add("MKV", Wanted::new(&mkv, small));
    let ts = maker.copy("open-gop.ts", &b_frames, &[], &[]);
    add("MPEG-TS, open GOP", Wanted::new(&ts, small));
    let edited = maker.copy("edit-list.mp4", &b_frames, &["-ss", "1.3"], &[]);
    add("edit list", Wanted::new(&edited, small));
    let from = text(&b_frames);
    let shifted = ["-itsoffset", "5", "-i", &from, "-i", &from, "-map", "0:v", "-map", "1:a", "-c", "copy"];
    let late = maker.run("late.mkv", &shifted);
    add("pictures that begin 5 s after the sound", Wanted::new(&late, small));
    let mov = maker.copy("quicktime.mov", &base, &[], &["-f", "mov"]);
    add("MOV", Wanted::new(&mov, wide));
    let vp9 = [
        "-c:v",
        "libvpx-vp9",
        "-b:v",
        "300k",
        "-auto-alt-ref",
        "1",
        "-lag-in-frames",
        "16",
        "-g",
        "60",
        "-deadline",
        "good",
        "-cpu-used",
        "8",
        "-c:a",
        "libopus",
    ];
    add("WebM VP9/Opus", Wanted::new(&maker.film("vp9.webm", small, "25", LONG, &vp9), small));
    let variable = ["-vf", "select='lt(mod(n\\,48)\\,20)+not(mod(n\\,3))'", "-vsync", "passthrough"];
    let rate = ["-enc_time_base", "1/24000"];
    add(
        "variable frame rate",
        Wanted::new(&maker.film("variable.mp4", small, "24", LONG, &with(&[&variable, &rate, &X264, &AAC])), small),
    );
    add("29.97", Wanted::new(&maker.film("ntsc.mp4", small, "30000/1001", LONG, &with(&[&X264, &AAC])), small));
    add("59.94", Wanted::new(&maker.film("ntsc60.mp4", small, "60000/1001", LONG, &with(&[&X264, &AAC])), small));
    let upright = ["-vf", "transpose=clock"];
    let turned = maker.film("turned.mp4", (360, 640), "30", LONG, &with(&[&upright, &X264, &AAC]));
    let phone = maker.copy("phone.mp4", &turned, &[], &["-metadata:s:v", "rotate=90"]);
    add("rotated phone video", Wanted::new(&phone, (360, 640)));
    let fields = [
        "-vf",
        "setfield=tff",
        "-flags",
        "+ildct+ilme",
        "-top",
        "1",
        "-c:v",
        "mpeg2video",
        "-b:v",
        "2M",
        "-g",
        "12",
        "-bf",
        "2",
        "-c:a",
        "mp2",
    ];
    add(
        "interlaced MPEG-2 in MPEG-TS",
        Wanted::new(&maker.film("interlaced.ts", (720, 576), "25", LONG, &fields), (720, 576)),
    );
    add(COMBED, Wanted::new(&interlaced(&maker), (640, 480)));
    let planar = ["-vf", "scale=479:269:flags=neighbor,setsar=1", "-pix_fmt", "yuv444p"];
    add(
        "odd dimensions, 4:4:4",
        Wanted::new(&maker.film("odd.mp4", (478, 268), "24", LONG, &with(&[&planar, &X264, &AAC])), (478, 268)),
    );
    let anamorphic = ["-vf", "setsar=4/3"];
    add(
        "non-square pixels",
        Wanted::new(&maker.film("anamorphic.mp4", (480, 360), "25", LONG, &with(&[&anamorphic, &X264, &AAC])), wide),
    );
    add(
        "10-bit H.264",
        Wanted::new(
            &maker.film("10-bit.mp4", small, "25", LONG, &with(&[&["-pix_fmt", "yuv420p10le"], &X264, &AAC])),
            small,
        ),
    );
    add(HDR, Wanted::new(&maker.film("hdr10.mp4", small, "24", LONG, &with(&[&HDR10, &AAC])), small));
    let deaf = maker.silent("silent.mp4", small, "25", LONG, &X264);
    add("no audio", Wanted::new(&deaf, small).silent());
    add("one single frame", Wanted::new(&maker.silent("one.mp4", small, "25", 0.04, &X264), small).silent());
    add(
        "one keyframe",
        Wanted::new(
            &maker.silent(
                "one-keyframe.mp4",
                small,
                "25",
                20.0,
                &["-c:v", "libx264", "-preset", "ultrafast", "-g", "9999", "-sc_threshold", "0"],
            ),
            small,
        )
        .silent(),
    );
    odd_ones(&maker, &b_frames, &mut add);
    sounds(&maker, &base, &mut add);
    inputs
}

/// Not on everybody's list, and on everybody's disk.
fn odd_ones(maker: &Maker, b_frames: &Path, add: &mut impl FnMut(&'static str, Wanted)) {
    let small = (320, 180);
    let hevc = [
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-x265-params",
        "log-level=none:keyint=48:min-keyint=48:open-gop=1:bframes=4:scenecut=0",
        "-tag:v",
        "hvc1",
    ];
    let film = maker.film("hevc.mp4", small, "24", LONG, &with(&[&hevc, &AAC]));
    add("HEVC, open GOP with leading pictures", Wanted::new(&film, small));
    let asp = ["-c:v", "mpeg4", "-bf", "2", "-g", "50", "-q:v", "3", "-c:a", "libmp3lame"];
    add("AVI without packet times", Wanted::new(&maker.film("asp.avi", small, "25", LONG, &asp), small));
    let program = ["-c:v", "mpeg2video", "-b:v", "2M", "-g", "12", "-bf", "2", "-c:a", "mp2"];
    add("MPEG program stream", Wanted::new(&maker.film("program.mpg", small, "25", LONG, &program), small));
    let words = maker.folder.join("words-in.srt");
    std::fs::write(&words, "1\n00:00:01,000 --> 00:00:02,000\nwords\n").unwrap();
    let (from, words, attached) = (
        text(b_frames),
        text(&words),
        maker.run("cover.jpg", &["-f", "lavfi", "-i", "testsrc2=s=64x64", "-frames:v", "1"]),
    );
    let attached = text(&attached);
    let everything = maker.run(
        "everything.mkv",
        &[
            "-i",
            &from,
            "-i",
            &from,
            "-i",
            &words,
            "-map",
            "0:v",
            "-map",
            "0:a",
            "-map",
            "1:a",
            "-map",
            "2:s",
            "-c",
            "copy",
            "-c:s",
            "srt",
            "-attach",
            &attached,
            "-metadata:s:t",
            "mimetype=image/jpeg",
        ],
    );
    add("MKV with two sounds, words and a picture", Wanted::new(&everything, small));
    let mixed = [
        "-vf",
        "scale=300:170:flags=neighbor,setsar=1",
        "-pix_fmt",
        "yuva420p",
        "-c:v",
        "libvpx-vp9",
        "-b:v",
        "200k",
        "-deadline",
        "realtime",
        "-cpu-used",
        "8",
        "-c:a",
        "libvorbis",
    ];
    add("VP9 with transparency, Vorbis", Wanted::new(&maker.film("alpha.webm", small, "25", LONG, &mixed), (300, 170)));
}

const HDR10: [&str; 12] = [
    "-vf",
    "scale=out_color_matrix=bt2020nc,format=yuv420p10le",
    "-color_primaries",
    "bt2020",
    "-color_trc",
    "smpte2084",
    "-c:v",
    "libx265",
    "-preset",
    "ultrafast",
    "-x265-params",
    "log-level=none:keyint=48:min-keyint=48:open-gop=1:bframes=4:scenecut=0:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:hdr10=1:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400",
];

/// Two fields of different times in each frame: a bar at the upper edge moves from field to field. The numbers change
/// from frame to frame alone.
fn interlaced(maker: &Maker) -> PathBuf {
    let (video, audio) = (pattern::pictures(640, 480, "25", LONG), pattern::sound(LONG, 48_000));
    let bars = format!(
        "color=black:s=640x24:r=50:d={LONG}[back];color=white:s=48x24:r=50:d={LONG}[bar];[back][bar]overlay=x='mod(n*16,640)'"
    );
    let graph = format!(
        "{video},fps=50[numbers];{bars}[strip];[numbers][strip]overlay=0:0,interlace=lowpass=off,setfield=tff[out]"
    );
    let encoder = ["-map", "[out]", "-map", "0:a", "-flags", "+ildct+ilme", "-top", "1"];
    let path = maker.folder.join("interlaced.mp4");
    ffmpeg::make(&path, &with(&[&["-f", "lavfi", "-i", &audio, "-filter_complex", &graph], &encoder, &X264, &AAC]));
    path
}

fn sounds(maker: &Maker, base: &Path, add: &mut impl FnMut(&'static str, Wanted)) {
    let alone = |path: PathBuf| Wanted { size: None, ..Wanted::new(&path, (0, 0)) };
    let tone = pattern::sound(40.0, 44_100);
    add(
        "audio only, MP3",
        alone(maker.run("tone.mp3", &["-f", "lavfi", "-i", &tone, "-c:a", "libmp3lame", "-b:a", "192k"])),
    );
    let cover = text(&maker.folder.join("cover.jpg"));
    let tagged = [
        "-i",
        &text(&maker.folder.join("tone.mp3")),
        "-i",
        &cover,
        "-map",
        "0",
        "-map",
        "1",
        "-c",
        "copy",
        "-disposition:v",
        "attached_pic",
    ]
    .map(str::to_owned);
    let tagged: Vec<&str> = tagged.iter().map(String::as_str).collect();
    add("audio with a cover picture", alone(maker.run("tagged.mp3", &tagged)));
    let flac = pattern::sound(40.0, 48_000);
    add("audio only, FLAC", alone(maker.run("tone.flac", &["-f", "lavfi", "-i", &flac])));
    let t = pattern::tone();
    let channels = format!("aevalsrc='{t}|0.5*({t})|0.7*({t})|0|0.2*({t})|0.2*({t})':s=48000:d=20:c=5.1");
    let video = pattern::pictures(320, 180, "25", 20.0);
    let args = ["-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &channels];
    let surround = maker.run("surround.mkv", &with(&[&args, &X264, &["-c:a", "ac3", "-b:a", "448k"]]));
    add("5.1 audio", Wanted::new(&surround, (320, 180)).mixed());
    let from = text(base);
    let late = ["-i", &from, "-itsoffset", "0.7", "-i", &from, "-map", "0:v", "-map", "1:a", "-c", "copy"];
    add("sound that begins later", Wanted::new(&maker.run("late-sound.mp4", &late), (640, 360)));
}

/// Three hours, which no time of day allows to decode twice.
pub fn three_hours() -> Input {
    let maker = Maker { folder: media() };
    let encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25"];
    let path = maker.silent("three-hours.mp4", (128, 72), "5", 10_800.0, &encoder);
    Input { name: "three hours", wanted: Wanted::new(&path, (128, 72)).silent() }
}

/// Still pictures: (name, file).
pub fn stills() -> Vec<(&'static str, PathBuf)> {
    let maker = Maker { folder: media() };
    let picture = ["-f", "lavfi", "-i", "testsrc2=s=900x600:r=1:d=1", "-frames:v", "1"];
    let still = |name: &str, more: &[&str]| maker.run(name, &with(&[&picture, more]));
    let moving = ["-f", "lavfi", "-i", "testsrc2=s=900x600:r=10:d=1"];
    vec![
        ("JPEG", still("still.jpg", &["-q:v", "3"])),
        ("PNG", still("still.png", &[])),
        ("WebP", still("still.webp", &["-c:v", "libwebp"])),
        ("GIF", maker.run("still.gif", &moving)),
    ]
}
