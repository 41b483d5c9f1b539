//! The real decoder, through the zygote and in its jail, on small files that ffmpeg makes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reelfleet_media::wire::{
    EncodeRequest, FailCode, MediaKind, MediaLimits, OutputHeader, PictureFormat, PictureKind, PicturesRequest,
    ProbeReport, Request, Rung, StillRequest, StoryboardSpec,
};
use reelfleet_media::{Clocks, DecodeError, DecoderConfig, Decoders, Output, Session, Source, SourceError};

/// Builds the decoder once, if need be, and starts it.
fn decoders() -> Decoders {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        if let Some(built) = std::env::var_os("REELFLEET_DECODER") {
            return Some(built.into());
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "-p", "reelfleet-decoder"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        let me = std::env::current_exe().unwrap();
        let folder = me.parent().and_then(|deps| deps.parent()).unwrap();
        build.status().unwrap().success().then(|| folder.join("reelfleet-decoder"))
    };
    let program = PROGRAM.get_or_init(build).clone();
    assert!(program.is_some(), "the decoder does not build");
    Decoders::start(DecoderConfig { program, ..DecoderConfig::default() }).unwrap()
}

/// What ffmpeg writes to standard output with these arguments.
fn ffmpeg(arguments: &str) -> Bytes {
    let made = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error"])
        .args(arguments.split_whitespace())
        .arg("pipe:1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout.into()
}

/// 6 s of a test picture with a keyframe each second, its index in front of nothing: fragments would have none.
fn video() -> Bytes {
    static VIDEO: OnceLock<Bytes> = OnceLock::new();
    let make = || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("video.mp4");
        let made = Command::new("ffmpeg")
            .args(
                "-hide_banner -loglevel error -f lavfi -i testsrc2=s=640x360:r=24:d=6 -f lavfi -i sine=d=6".split(' '),
            )
            .args("-c:v libx264 -preset ultrafast -g 24 -pix_fmt yuv420p -c:a aac -movflags +faststart".split(' '))
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        std::fs::read(path).unwrap().into()
    };
    VIDEO.get_or_init(make).clone()
}

fn limits() -> MediaLimits {
    MediaLimits::default()
}

/// Everything until `Done`.
async fn all(mut session: Session) -> Result<Vec<Output>, DecodeError> {
    let mut outputs = Vec::new();
    while let Some(output) = session.next().await? {
        outputs.push(output);
    }
    Ok(outputs)
}

async fn run(decoders: &Decoders, request: Request, source: Source) -> Result<Vec<Output>, DecodeError> {
    all(decoders.open(request, source, Clocks::default()).await.unwrap()).await
}

async fn probed(decoders: &Decoders, source: Source) -> Result<ProbeReport, DecodeError> {
    let outputs = run(decoders, Request::Probe { size: source.size, limits: limits() }, source).await?;
    match &outputs[0].header {
        OutputHeader::Probed(report) => Ok((**report).clone()),
        other => panic!("{other:?}"),
    }
}

fn encode(size: u64) -> Request {
    Request::Encode(EncodeRequest {
        size,
        limits: limits(),
        t0_us: 0,
        start_us: 0,
        end_us: None,
        sequential: false,
        stop_after_ms: None,
        run_ms: 4000,
        segment_ms: 2000,
        cuts_us: Vec::new(),
        copy: None,
        rungs: vec![Rung {
            name: "180p".into(),
            width: 320,
            height: 180,
            crf: 30,
            maxrate: 500_000,
            bufsize: 1_000_000,
        }],
        preset: "ultrafast".into(),
        rotation: 0,
        flipped: false,
        deinterlace: false,
        tone_map: false,
        video_stream: 0,
        threads_decode: 2,
    })
}

fn pictures(size: u64) -> PicturesRequest {
    PicturesRequest {
        size,
        limits: limits(),
        t0_us: 0,
        video_stream: 0,
        rotation: 0,
        flipped: false,
        sequential: false,
        tone_map: false,
        duration_ms: None,
        poster_widths: vec![320, 640, 1280],
        formats: vec![PictureFormat::Jpeg, PictureFormat::Webp],
        storyboard: Some(StoryboardSpec { max_tiles: 100, columns: 10, rows: 10, tile_width: 160, quality: 70 }),
    }
}

/// Kind, width, height of every picture.
fn sizes(outputs: &[Output]) -> Vec<(PictureKind, u32, u32)> {
    outputs
        .iter()
        .filter_map(|o| match &o.header {
            OutputHeader::Picture { kind, width, height, .. } => Some((*kind, *width, *height)),
            _ => None,
        })
        .collect()
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_video_is_probed_and_encoded_in_the_jail() {
    let decoders = decoders();
    let jail = decoders.jail().await;
    println!("{jail}");
    assert!(jail.starts_with("seccomp"));
    let report = probed(&decoders, Source::from_bytes(video())).await.unwrap();
    assert_eq!(report.kind, MediaKind::Video);
    let stream = report.video.unwrap();
    assert_eq!((stream.width, stream.height, stream.codec.as_str()), (640, 360, "h264"));

    let size = video().len() as u64;
    let outputs = run(&decoders, encode(size), Source::from_bytes(video())).await.unwrap();
    let segments: Vec<_> = outputs
        .iter()
        .filter_map(|o| if let OutputHeader::Segment(s) = &o.header { Some((s, &o.body)) } else { None })
        .collect();
    assert_eq!(segments.iter().map(|(s, _)| s.frames).sum::<u32>(), 144);
    assert!(segments.iter().all(|(_, body)| body.get(4..8) == Some(b"styp")));
    assert!(matches!(outputs.last().unwrap().header, OutputHeader::Done { end: true, .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_video_gives_posters_and_a_storyboard_from_few_bytes() {
    let decoders = decoders();
    let size = video().len() as u64;
    let request = PicturesRequest { duration_ms: Some(6000), ..pictures(size) };
    let outputs = run(&decoders, Request::Pictures(request), Source::from_bytes(video())).await.unwrap();
    use PictureKind::{Poster, Storyboard};
    let twice = |w, h| [(Poster, w, h); 2];
    let expected = [&twice(320, 180)[..], &twice(640, 360), &[(Storyboard, 960, 90)]].concat();
    assert_eq!(sizes(&outputs), expected);
    let cues =
        outputs.iter().find_map(|o| if let OutputHeader::Storyboard { cues } = &o.header { Some(cues) } else { None });
    let cues = cues.unwrap();
    assert_eq!(cues.len(), 6);
    assert!(cues.windows(2).all(|w| w[0].end_us == w[1].start_us && w[0].x + 160 == w[1].x));
    assert_eq!((cues[0].start_us, cues[5].end_us), (0, 6_000_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_frame_gives_a_poster_and_one_tile() {
    let decoders = decoders();
    let one = ffmpeg("-f lavfi -i testsrc2=s=180x320 -frames:v 1 -pix_fmt yuv420p -c:v libx264 -f matroska");
    let outputs = run(&decoders, Request::Pictures(pictures(one.len() as u64)), Source::from_bytes(one));
    let expected =
        [(PictureKind::Poster, 180, 320), (PictureKind::Poster, 180, 320), (PictureKind::Storyboard, 160, 284)];
    assert_eq!(sizes(&outputs.await.unwrap()), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_is_probed_and_scaled() {
    let decoders = decoders();
    for (arguments, codec) in [
        ("-f lavfi -i testsrc2=s=800x600 -frames:v 1 -f image2 -c:v mjpeg", "jpeg"),
        ("-f lavfi -i testsrc2=s=800x600 -frames:v 1 -f image2 -c:v png", "png"),
        ("-f lavfi -i testsrc2=s=800x600:r=2:d=2 -f gif", "gif"),
        ("-f lavfi -i testsrc2=s=800x600 -frames:v 1 -f webp", "webp"),
    ] {
        let file = ffmpeg(arguments);
        let source = Source::from_bytes(file.clone());
        let report = probed(&decoders, source.clone()).await.unwrap();
        assert_eq!((report.kind, report.video.unwrap().codec.as_str()), (MediaKind::Image, codec));
        let request = |limits| StillRequest {
            size: file.len() as u64,
            limits,
            widths: vec![320, 640, 1280],
            formats: vec![PictureFormat::Jpeg, PictureFormat::Webp, PictureFormat::Png],
        };
        let outputs = run(&decoders, Request::Still(request(limits())), source.clone()).await.unwrap();
        let made = sizes(&outputs);
        let widths: Vec<u32> = made.iter().step_by(3).map(|(_, w, _)| *w).collect();
        assert_eq!((made.len(), widths), (9, vec![320, 640, 800]), "{codec}");
        let small = MediaLimits { max_pixels: 1000, ..limits() };
        let refused = run(&decoders, Request::Still(request(small)), source).await.unwrap_err();
        assert!(matches!(refused, DecodeError::Refused { code: FailCode::TooManyPixels, .. }), "{refused}");
        let cut = file.slice(..file.len() / 2);
        let request = StillRequest { size: cut.len() as u64, ..request(limits()) };
        match run(&decoders, Request::Still(request), Source::from_bytes(cut)).await {
            Ok(_) => {} // what was there is shown
            Err(e) => assert!(matches!(e, DecodeError::Refused { code: FailCode::Truncated, .. }), "{codec}: {e}"),
        }
    }
}

/// The brightness of the pixels of a written picture, and its size, as ffmpeg sees them.
fn grey(picture: &Bytes, arguments: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture");
    std::fs::write(&path, picture).unwrap();
    let made = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-i"])
        .arg(&path)
        .args(arguments.split_whitespace())
        .args("-pix_fmt gray -f rawvideo pipe:1".split(' '))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

/// A video made by a file of ffmpeg's, because its container needs one.
fn made(name: &str, arguments: &str) -> Bytes {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let done = Command::new("ffmpeg")
        .args("-hide_banner -loglevel error".split(' '))
        .args(arguments.split_whitespace())
        .arg(&path)
        .status()
        .unwrap();
    assert!(done.success());
    std::fs::read(path).unwrap().into()
}

/// A `Pictures` request made from what probe and index say, as a worker makes it.
async fn pictures_of(decoders: &Decoders, file: &Bytes) -> Vec<Output> {
    let (source, size) = (Source::from_bytes(file.clone()), file.len() as u64);
    let report = probed(decoders, source.clone()).await.unwrap();
    let video = report.video.unwrap();
    let outputs = run(decoders, Request::Index { size, limits: limits() }, source.clone()).await.unwrap();
    let OutputHeader::Indexed(index) = &outputs[0].header else { panic!("{outputs:?}") };
    let request = PicturesRequest {
        t0_us: report.start_us,
        video_stream: video.index,
        rotation: video.rotation,
        flipped: video.flipped,
        sequential: !index.seekable,
        tone_map: video.hdr,
        duration_ms: report.duration_ms,
        ..pictures(size)
    };
    let outputs = run(decoders, Request::Pictures(request), source).await.unwrap();
    let poster = sizes(&outputs).into_iter().find(|(kind, ..)| *kind == PictureKind::Poster).unwrap();
    let ratio = f64::from(video.display_width) / f64::from(video.display_height);
    let off = f64::from(poster.1) / f64::from(poster.2) / ratio;
    assert!(
        (0.98..1.02).contains(&off),
        "{poster:?} is not shaped like {}x{}",
        video.display_width,
        video.display_height
    );
    outputs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posters_stand_upright_have_square_pixels_and_come_from_any_container() {
    let decoders = decoders();
    // Left half black, right half white; turned by a quarter, one of them is at the bottom: the one that ffmpeg says.
    let source = "-f lavfi -i color=black:s=320x180:r=12:d=3 -vf drawbox=x=160:y=0:w=160:h=180:c=white:t=fill";
    let plain = made("plain.mp4", &format!("{source} -c:v libx264 -g 12 -pix_fmt yuv420p"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain.mp4");
    std::fs::write(&path, &plain).unwrap();
    let turned = made("turned.mp4", &format!("-i {} -c copy -metadata:s:v rotate=90", path.display()));
    let outputs = pictures_of(&decoders, &turned).await;
    let poster = outputs.iter().find(|o| matches!(o.header, OutputHeader::Picture { .. })).unwrap();
    assert_eq!(sizes(&outputs)[0], (PictureKind::Poster, 180, 320));
    let pixels = grey(&poster.body, "");
    assert_eq!(pixels.len(), 180 * 320);
    let theirs = grey(&turned, "-frames:v 1");
    for at in [180 * 40 + 90, 180 * 280 + 90] {
        assert!(pixels[at].abs_diff(theirs[at]) < 30, "upside down");
    }
    assert!(theirs[180 * 40 + 90].abs_diff(theirs[180 * 280 + 90]) > 200);
    for (name, arguments) in [
        ("anamorphic.mkv", "-vf setsar=4/3 -c:v libx264 -g 12 -pix_fmt yuv420p"),
        ("stream.ts", "-c:v libx264 -g 12 -pix_fmt yuv420p"),
        ("program.mpg", "-c:v mpeg2video -g 12 -r 25"),
        ("old.avi", "-c:v mpeg4 -bf 2 -g 12"),
        ("web.webm", "-c:v libvpx -g 12 -b:v 300k"),
        ("odd.mp4", "-vf scale=319:179 -pix_fmt yuv444p -c:v libx264 -g 12"),
        ("one-key.mp4", "-c:v libx264 -g 1000 -pix_fmt yuv420p"),
    ] {
        let file = made(name, &format!("-f lavfi -i testsrc2=s=320x180:r=12:d=3 {arguments}"));
        let outputs = pictures_of(&decoders, &file).await;
        let last = outputs.iter().rev().find_map(|o| match &o.header {
            OutputHeader::Storyboard { cues } => Some(cues.len()),
            _ => None,
        });
        assert!(last.unwrap() >= 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_and_a_poster_read_little_of_a_large_file() {
    let decoders = decoders();
    // 4 s of a busy picture at some 6 Mb/s, thirty times over.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("part.mp4");
    let part = made(
        "part.mp4",
        "-f lavfi -i testsrc2=s=1280x720:r=24:d=4 -vf noise=alls=6:allf=t -c:v libx264 -preset veryfast -b:v 6M -g 48 \
         -pix_fmt yuv420p",
    );
    std::fs::write(&path, part).unwrap();
    let file = made("long.mp4", &format!("-stream_loop 29 -i {} -c copy", path.display()));
    let (whole, read) = (Source::from_bytes(file.clone()), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&read);
    let counted = move |offset, len| {
        count.fetch_add(u64::from(len), Ordering::SeqCst);
        (whole.read)(offset, len)
    };
    let (size, source) = (file.len() as u64, Source { size: file.len() as u64, pixels: 0, read: Arc::new(counted) });
    let report = probed(&decoders, source.clone()).await.unwrap();
    let probe = read.swap(0, Ordering::SeqCst);
    run(&decoders, Request::Index { size, limits: limits() }, source.clone()).await.unwrap();
    let index = read.swap(0, Ordering::SeqCst);
    let request = PicturesRequest { duration_ms: report.duration_ms, storyboard: None, ..pictures(size) };
    run(&decoders, Request::Pictures(request), source).await.unwrap();
    let poster = read.load(Ordering::SeqCst);
    println!("of {size} bytes: probe {probe}, index {index}, poster {poster}");
    // Neither grows with the media, only with its index and the size of a keyframe.
    assert!(probe < 3_000_000 && poster < 3_000_000, "of {size} bytes: probe {probe}, poster {poster}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hdr_video_gives_a_poster_of_ordinary_brightness() {
    let decoders = decoders();
    // PQ code 594 of 1023 (limited range) is about 203 cd/m², which is diffuse white.
    let file = made(
        "hdr.mp4",
        "-f lavfi -i color=gray:s=320x180:r=12:d=1 -vf format=yuv420p10le,geq=lum=573:cb=512:cr=512 -c:v libx265 \
         -x265-params log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc -color_trc smpte2084 \
         -color_primaries bt2020 -colorspace bt2020nc",
    );
    let outputs = pictures_of(&decoders, &file).await;
    let pixels = grey(&outputs[0].body, "");
    assert!((120..=225).contains(&pixels[180 * 160]), "{}", pixels[180 * 160]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_from_a_camera_is_turned_upright_and_transparency_becomes_white() {
    let decoders = decoders();
    let plain = ffmpeg("-f lavfi -i color=red:s=60x40 -frames:v 1 -f image2 -c:v mjpeg");
    // APP1 with the Exif tag "orientation" (0x0112) = 6: a quarter turn clockwise.
    let exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let length = (exif.len() as u16 + 2).to_be_bytes();
    let turned: Bytes = [&plain[..2], &[0xff, 0xe1], &length, exif, &plain[2..]].concat().into();
    let report = probed(&decoders, Source::from_bytes(turned.clone())).await.unwrap().video.unwrap();
    assert_eq!((report.display_width, report.display_height), (40, 60));
    let still = |size| StillRequest { size, limits: limits(), widths: vec![320], formats: vec![PictureFormat::Jpeg] };
    let outputs = run(&decoders, Request::Still(still(turned.len() as u64)), Source::from_bytes(turned)).await.unwrap();
    assert_eq!(sizes(&outputs), [(PictureKind::Size, 40, 60)]);

    let clear = ffmpeg("-f lavfi -i color=black@0:s=64x64,format=rgba -frames:v 1 -f image2 -c:v png");
    let outputs = run(&decoders, Request::Still(still(clear.len() as u64)), Source::from_bytes(clear)).await.unwrap();
    assert!(grey(&outputs[0].body, "").iter().all(|p| *p > 250));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_is_no_media_and_a_playlist_opens_nothing() {
    let decoders = decoders();
    for text in ["just text, ", "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile:///etc/passwd\n"] {
        let source = Source::from_bytes(text.repeat(100).into());
        let refused = probed(&decoders, source).await.unwrap_err();
        assert!(matches!(refused, DecodeError::Refused { code: FailCode::NotMedia, .. }), "{refused}");
    }
}

/// A source whose reads wait for ever from the second on, and the number of reads.
fn waiting() -> (Source, Arc<AtomicU64>) {
    let (whole, reads) = (Source::from_bytes(video()), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&reads);
    let read = move |offset, len| match count.fetch_add(1, Ordering::SeqCst) {
        0 => (whole.read)(offset, len),
        _ => Box::pin(std::future::pending()) as _,
    };
    (Source { size: video().len() as u64, pixels: 0, read: Arc::new(read) }, reads)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_decoder_is_a_crash_and_the_next_one_works() {
    let decoders = decoders();
    let (source, _) = waiting();
    let mut session = decoders.open(encode(source.size), source, Clocks::default()).await.unwrap();
    signal(session.pid(), "-KILL");
    let crashed = session.next().await.unwrap_err();
    assert!(matches!(crashed, DecodeError::Crashed { signal: Some(9), exit: None, .. }), "{crashed}");
    assert!(session.next().await.is_err(), "a failed session stays failed");
    probed(&decoders, Source::from_bytes(video())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decoder_that_stands_still_has_stalled() {
    let decoders = decoders();
    let clocks = Clocks { no_progress: Duration::from_millis(300), ..Clocks::default() };
    let source = Source::from_bytes(video());
    let mut session = decoders.open(encode(source.size), source, clocks).await.unwrap();
    signal(session.pid(), "-STOP");
    let stalled = loop {
        match session.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("done although stopped"),
            Err(e) => break e,
        }
    };
    assert!(matches!(stalled, DecodeError::Stalled { .. }), "{stalled}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_hangs_is_no_stall_but_ends_by_the_wall_clock() {
    let decoders = decoders();
    let clocks =
        Clocks { wall: Duration::from_millis(600), no_progress: Duration::from_millis(200), ..Clocks::default() };
    let (source, _) = waiting();
    let session = decoders.open(encode(source.size), source, clocks).await.unwrap();
    let late = all(session).await.unwrap_err();
    assert!(matches!(late, DecodeError::TimedOut { .. }), "{late}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_fails_is_the_sources_error_never_a_short_film() {
    let decoders = decoders();
    for error in [SourceError::Io("reset".into()), SourceError::Changed, SourceError::Gone] {
        let (whole, reads, said) = (Source::from_bytes(video()), AtomicU64::new(0), error.clone());
        let read = move |offset, len| match reads.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => (whole.read)(offset, len),
            _ => Box::pin(std::future::ready(Err(said.clone()))) as _,
        };
        let source = Source { size: video().len() as u64, pixels: 0, read: Arc::new(read) };
        match run(&decoders, encode(source.size), source).await {
            Err(DecodeError::Source(e)) => assert_eq!(e, error),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_output_than_the_cap_ends_the_session() {
    let decoders = decoders();
    let clocks = Clocks { max_output_bytes: 20_000, ..Clocks::default() };
    let source = Source::from_bytes(video());
    let session = decoders.open(encode(source.size), source, clocks).await.unwrap();
    assert!(matches!(all(session).await, Err(DecodeError::OutputLimit)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zygote_that_dies_takes_its_children_and_is_replaced() {
    let decoders = decoders();
    let (source, _) = waiting();
    let mut session = decoders.open(encode(source.size), source, Clocks::default()).await.unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", session.pid())).unwrap();
    let zygote = status.lines().find_map(|l| l.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
    signal(zygote, "-KILL");
    // What the child had said before stands; then comes its end.
    let crashed = loop {
        match session.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a killed decoder was done"),
            Err(crashed) => break crashed,
        }
    };
    assert!(matches!(crashed, DecodeError::Crashed { signal: None, exit: None, .. }), "{crashed}");
    probed(&decoders, Source::from_bytes(video())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_session_leaves_no_decoder() {
    let decoders = decoders();
    let (source, _) = waiting();
    let session = decoders.open(encode(source.size), source, Clocks::default()).await.unwrap();
    let process = rustix::process::Pid::from_raw(session.pid().cast_signed()).unwrap();
    let watch = rustix::process::pidfd_open(process, rustix::process::PidfdFlags::NONBLOCK).unwrap();
    drop(session);
    // A pidfd becomes readable when its process has ended.
    let ended = tokio::task::spawn_blocking(move || {
        let mut fds = [rustix::event::PollFd::new(&watch, rustix::event::PollFlags::IN)];
        let limit = rustix::event::Timespec { tv_sec: 5, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&limit)).unwrap()
    });
    assert_eq!(ended.await.unwrap(), 1, "the decoder lives on");
}
