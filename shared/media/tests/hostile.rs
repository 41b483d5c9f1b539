//! Hostile media through the real decoder in its jail, asked what the workers ask: probe, then index, pictures and the
//! first chunk, or the sound, or the sizes of a still picture.
//!
//! Held here: each input ends in a result or in a reason about the source, within its clocks; no decoder is killed for a
//! call that the jail forbids, none panics, and the process that holds the sessions lives on. A crash inside FFmpeg
//! would be a result too (the worker counts three and gives up with a reason), but none is known: one is a finding.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../tests/hostile/mod.rs"]
mod corpus;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use corpus::{Case, Corpus};
use reelfleet_domain::ladder::ladder;
use reelfleet_domain::plan::{self, chunks};
use reelfleet_media::wire::{
    AudioRequest, EncodeRequest, FailCode, IndexReport, MediaKind, MediaLimits, OutputHeader, PictureFormat,
    PicturesRequest, ProbeReport, Request, Rung, StillRequest, StoryboardSpec,
};
use reelfleet_media::{Clocks, DecodeError, DecoderConfig, Decoders, Output, Source};

/// The workers' clocks, by what is asked: intake, planning, thumbnails, encoding.
const fn clocks(wall: u64, no_progress: u64, output: u64) -> Clocks {
    Clocks {
        wall: Duration::from_secs(wall),
        no_progress: Duration::from_secs(no_progress),
        max_output_bytes: output << 20,
    }
}
const PROBE: Clocks = clocks(60, 20, 4);
const PLAN: Clocks = clocks(120, 30, 16);
const THUMBNAIL: Clocks = clocks(300, 60, 512);
const ENCODE: Clocks = clocks(1_700, 90, 8 << 10);

/// Processor time used up (signal(7)).
const SIGXCPU: i32 = 24;
const SIGKILL: i32 = 9;
/// Inputs in hand at once.
const AT_ONCE: usize = 3;
/// Of `make test`.
const SHORT: u64 = 300;
const LONG: u64 = 10_000;

/// How one request ended.
struct End {
    case: String,
    op: &'static str,
    /// `done`, `refused …`, or what is a finding.
    outcome: String,
    finding: bool,
    took: Duration,
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.reelfleet")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn decoders() -> Decoders {
    let me = std::env::current_exe().unwrap();
    let beside = me.parent().and_then(Path::parent).unwrap().join("reelfleet-decoder");
    let program = std::env::var_os("REELFLEET_DECODER").map_or(beside, PathBuf::from);
    if !program.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo).args(["build", "--quiet", "-p", "reelfleet-decoder"]).status().unwrap();
        assert!(built.success(), "the decoder does not build");
    }
    Decoders::start(DecoderConfig { program: Some(program), ..DecoderConfig::default() }).unwrap()
}

/// One request to its end.
async fn ask(
    decoders: &Decoders,
    case: &Case,
    request: Request,
    source: &Source,
    clocks: Clocks,
    ends: &mut Vec<End>,
) -> Option<Vec<Output>> {
    let op = match &request {
        Request::Probe { .. } => "probe",
        Request::Index { .. } => "index",
        Request::Encode(_) => "encode",
        Request::Audio(_) => "audio",
        Request::Pictures(_) => "pictures",
        Request::Still(_) => "still",
    };
    let began = Instant::now();
    let result = async {
        let mut session = match decoders.open(request, source.clone(), clocks).await {
            Ok(session) => session,
            Err(e) => return Err((format!("no decoder: {e}"), true)),
        };
        let mut outputs = Vec::new();
        while let Some(output) = session.next().await.map_err(|e| told(&e))? {
            outputs.push(output);
        }
        Ok(outputs)
    };
    let result = result.await;
    let (outcome, finding) = match &result {
        Ok(_) => ("done".to_owned(), false),
        Err((why, finding)) => (why.clone(), *finding),
    };
    ends.push(End { case: case.name.clone(), op, outcome, finding, took: began.elapsed() });
    result.ok()
}

/// Words for an error, and whether somebody has to look at it.
fn told(error: &DecodeError) -> (String, bool) {
    match error {
        DecodeError::Refused { code: FailCode::Internal, detail } => (format!("internal: {detail}"), true),
        DecodeError::Refused { code, .. } => (format!("refused {code}"), false),
        // A limit that was reached is a reason; the worker gives up after three.
        DecodeError::Stalled { .. } | DecodeError::TimedOut { .. } | DecodeError::OutputLimit => {
            (error.to_string(), false)
        }
        DecodeError::Crashed { signal: Some(SIGKILL | SIGXCPU), .. } => (error.to_string(), false),
        other => (other.to_string(), true),
    }
}

/// What the workers would do with it, one request after the other.
async fn work(decoders: &Decoders, case: &Case) -> Vec<End> {
    let mut ends = Vec::new();
    let (size, limits) = (case.bytes.len() as u64, MediaLimits::default());
    let source = Source::from_bytes(Bytes::from(case.bytes.clone()));
    let probe = Request::Probe { size, limits: limits.clone() };
    let Some(probed) = ask(decoders, case, probe, &source, PROBE, &mut ends).await else { return ends };
    let Some(OutputHeader::Probed(report)) = probed.into_iter().map(|o| o.header).next() else {
        panic!("{}: a probe without a report", case.name)
    };
    if report.kind == MediaKind::Image {
        let formats = vec![PictureFormat::Jpeg, PictureFormat::Webp];
        let still = StillRequest { size, limits, widths: vec![320, 640, 1280, 1920], formats };
        ask(decoders, case, Request::Still(still), &source, THUMBNAIL, &mut ends).await;
        return ends;
    }
    let mut seekable = true;
    if report.video.is_some() {
        let index = Request::Index { size, limits: limits.clone() };
        let indexed = ask(decoders, case, index, &source, PLAN, &mut ends).await;
        let index = indexed.and_then(|outputs| {
            outputs
                .into_iter()
                .find_map(|o| if let OutputHeader::Indexed(index) = o.header { Some(index) } else { None })
        });
        ask(decoders, case, pictures(size, &report), &source, THUMBNAIL, &mut ends).await;
        if let Some(index) = index {
            seekable = index.seekable;
            ask(decoders, case, encode(size, &report, &index), &source, ENCODE, &mut ends).await;
        }
    }
    if let Some(audio) = &report.audio {
        let sound = AudioRequest {
            size,
            limits,
            t0_us: report.start_us,
            from_frame: 0,
            anchor: None,
            sequential: !seekable,
            stop_after_ms: Some(plan::OPENING_BUDGET_MS),
            run_ms: plan::RUN_MS,
            first_run_ms: plan::FIRST_AUDIO_RUN_MS,
            segment_ms: plan::SEGMENT_MS,
            bitrate: 128_000,
            audio_stream: audio.index,
        };
        ask(decoders, case, Request::Audio(sound), &source, ENCODE, &mut ends).await;
    }
    ends
}

fn pictures(size: u64, report: &ProbeReport) -> Request {
    let video = report.video.clone().unwrap();
    Request::Pictures(PicturesRequest {
        size,
        limits: MediaLimits::default(),
        t0_us: report.start_us,
        video_stream: video.index,
        rotation: video.rotation,
        flipped: video.flipped,
        sequential: false,
        tone_map: video.hdr,
        duration_ms: video.duration_ms.or(report.duration_ms),
        poster_widths: vec![320, 640, 1280],
        formats: vec![PictureFormat::Jpeg, PictureFormat::Webp],
        storyboard: Some(StoryboardSpec { max_tiles: 100, columns: 10, rows: 10, tile_width: 160, quality: 70 }),
    })
}

/// The first chunk of the plan, in every rendition of the ladder.
fn encode(size: u64, report: &ProbeReport, index: &IndexReport) -> Request {
    let video = report.video.as_ref().unwrap();
    let fps = if video.fps_num > 0 { f64::from(video.fps_num) / f64::from(video.fps_den) } else { 25.0 };
    let rungs = ladder(video.display_width, video.display_height, fps).into_iter();
    let rungs = rungs.map(|r| Rung {
        name: r.name,
        width: r.width,
        height: r.height,
        crf: r.crf,
        maxrate: r.maxrate,
        bufsize: r.bufsize,
    });
    let told = report.duration_ms.map_or(0, |ms| i64::try_from(ms).unwrap() * 1000);
    let end_us = if index.seekable { chunks(told, &index.keyframes_us)[0].end_us } else { None };
    Request::Encode(EncodeRequest {
        size,
        limits: MediaLimits::default(),
        t0_us: report.start_us,
        start_us: 0,
        end_us,
        sequential: !index.seekable,
        stop_after_ms: Some(if index.seekable { plan::CHAIN_BUDGET_MS } else { 0 }),
        run_ms: if index.seekable { plan::RUN_MS } else { 8_000 },
        segment_ms: plan::SEGMENT_MS,
        cuts_us: Vec::new(),
        copy: None,
        rungs: rungs.collect(),
        preset: "veryfast".into(),
        rotation: video.rotation,
        flipped: video.flipped,
        deinterlace: video.interlaced,
        tone_map: video.hdr,
        video_stream: video.index,
        threads_decode: 2,
    })
}

/// A number from the environment, to make a finding again or to go on with another seed.
fn told_by_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

async fn run(from: u64, count: u64) {
    let seed = told_by_environment("REELFLEET_HOSTILE_SEED", 1);
    let from = told_by_environment("REELFLEET_HOSTILE_FROM", from);
    let count = told_by_environment("REELFLEET_HOSTILE_COUNT", count);
    let corpus = Arc::new(tokio::task::spawn_blocking(|| Corpus::make(&folder("hostile-bases"))).await.unwrap());
    let decoders = decoders();
    println!("jail: {}; {} crafted, seed {seed}, {count} from {from}", decoders.jail().await, corpus.crafted());
    let next = Arc::new(AtomicU64::new(from));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (corpus, decoders, next) = (Arc::clone(&corpus), decoders.clone(), Arc::clone(&next));
        workers.spawn(async move {
            let mut all = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= from + count {
                    return all;
                }
                let case = corpus.case(seed, n);
                let ends = work(&decoders, &case).await;
                for end in ends.iter().filter(|end| end.finding) {
                    println!("FINDING {} {} after {:?}: {}", end.case, end.op, end.took, end.outcome);
                    std::fs::write(folder("hostile-findings").join(format!("{seed}-{n}")), &case.bytes).unwrap();
                }
                all.extend(ends);
            }
        });
    }
    report(workers.join_all().await.into_iter().flatten().collect());
}

fn report(ends: Vec<End>) {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for end in &ends {
        *counts.entry((end.op, &end.outcome)).or_default() += 1;
    }
    for ((op, outcome), count) in &counts {
        println!("{count:>7} {op:<9} {outcome}");
    }
    let mut slowest: Vec<&End> = ends.iter().collect();
    slowest.sort_by_key(|end| std::cmp::Reverse(end.took));
    for end in slowest.iter().take(12) {
        println!("{:>9.2?} {} {} ({})", end.took, end.op, end.case, end.outcome);
    }
    let findings: Vec<String> =
        ends.iter().filter(|e| e.finding).map(|e| format!("{} {}: {}", e.case, e.op, e.outcome)).collect();
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_media_ends_in_a_result_or_a_reason() {
    run(0, SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn ten_thousand_hostile_inputs_end_in_a_result_or_a_reason() {
    run(0, LONG).await;
}
