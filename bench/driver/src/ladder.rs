//! The ladder of a file: one session for the pictures or one for each chunk, and one for the sound.
//!
//! Guarantee: rungs, caps, segment length and chunk borders are the product's own, but for what is asked otherwise.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Args;
use reelfleet_domain::{
    chunks,
    plan::{self, copied_chunks},
};
use reelfleet_media::wire::{
    AudioRequest, CopySpec, EncodeRequest, IndexReport, MediaLimits, OutputHeader, ProbeReport, Request, Rung,
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::account::Account;
use crate::make::{LocalFile, Maker};

const AUDIO_BITRATE: u32 = 128_000;
const DECODER_THREADS: u32 = 2;

/// Which source and which of its rungs.
#[derive(Args, Clone)]
pub struct Wanted {
    file: PathBuf,
    /// Shorter sides of the rungs; without them the whole ladder.
    #[arg(long, value_delimiter = ',')]
    rungs: Vec<u32>,
    #[arg(long)]
    crf: Option<u8>,
}

#[derive(Args, Clone)]
pub struct LadderArgs {
    #[command(flatten)]
    wanted: Wanted,
    /// Cut at the keyframe nearest to every so many seconds; 0 for the product's own plan. Without it: one session.
    #[arg(long)]
    chunks: Option<u32>,
    /// Chunks at work at once.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Copy the first rung, cut as the product would.
    #[arg(long, conflicts_with = "chunks")]
    copy: bool,
    #[arg(long, default_value = "veryfast")]
    preset: String,
    #[arg(long)]
    no_audio: bool,
    /// Where segments are written, as `RUNG-CHUNK-NUMBER.m4s` behind `RUNG-init.mp4`.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What one session gave.
#[derive(Default)]
struct Given {
    bytes: BTreeMap<String, u64>,
    first_s: BTreeMap<String, f64>,
    frames: u64,
}

fn chosen(report: &ProbeReport, wanted: &Wanted) -> anyhow::Result<Vec<Rung>> {
    let video = report.video.as_ref().context("the source has no pictures")?;
    let fps = f64::from(video.fps_num) / f64::from(video.fps_den.max(1));
    let all = reelfleet_domain::ladder(video.display_width, video.display_height, fps);
    let asked = |rung: &reelfleet_domain::Rung| {
        wanted.rungs.is_empty() || wanted.rungs.iter().any(|side| rung.name == format!("{side}p"))
    };
    let rungs: Vec<Rung> = all.into_iter().filter(asked).map(|rung| of_ladder(rung, wanted.crf)).collect();
    ensure!(!rungs.is_empty(), "none of these rungs is in the source's ladder");
    Ok(rungs)
}

fn of_ladder(rung: reelfleet_domain::Rung, crf: Option<u8>) -> Rung {
    let reelfleet_domain::Rung { name, width, height, maxrate, bufsize, .. } = rung;
    Rung { name, width, height, crf: crf.unwrap_or(rung.crf), maxrate, bufsize }
}

pub async fn rungs(maker: &Maker, wanted: &Wanted) -> anyhow::Result<Value> {
    let report = maker.probe(&LocalFile::open(&wanted.file)?).await?;
    Ok(json!({
        "rungs": chosen(&report, wanted)?,
        "segment_s": f64::from(plan::SEGMENT_MS) / 1000.0,
        "audio_bitrate": AUDIO_BITRATE,
        "probe": report,
    }))
}

async fn index(maker: &Maker, file: &LocalFile) -> anyhow::Result<IndexReport> {
    let request = Request::Index { size: file.size, limits: MediaLimits::default() };
    let outputs = maker.all(request, file).await?;
    let found = outputs.into_iter().find_map(|output| match output.header {
        OutputHeader::Indexed(report) => Some(report),
        _ => None,
    });
    found.context("the decoder ended without an index")
}

/// Borders at the keyframes nearest to multiples of `seconds`, or the product's plan.
fn spans(seconds: Option<u32>, duration_us: i64, keyframes_us: &[i64]) -> Vec<(i64, Option<i64>)> {
    let borders: Vec<i64> = match seconds {
        None => vec![0],
        Some(0) => chunks(duration_us, keyframes_us).into_iter().map(|chunk| chunk.start_us).collect(),
        Some(seconds) => {
            let length = i64::from(seconds) * 1_000_000;
            let near = |at: i64| keyframes_us.iter().copied().min_by_key(|key| (key - at).abs());
            let mut borders: Vec<i64> = (1..=(duration_us - length / 2) / length)
                .filter_map(|n| near(n * length))
                .filter(|at| *at > 0)
                .collect();
            borders.insert(0, 0);
            borders.dedup();
            borders
        }
    };
    let ends = borders.iter().skip(1).copied().map(Some).chain([None]);
    borders.iter().copied().zip(ends).collect()
}

pub async fn ladder(maker: &Maker, args: &LadderArgs) -> anyhow::Result<Value> {
    let file = LocalFile::open(&args.wanted.file)?;
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder)?;
    }
    let account = Account::open()?;
    let began = Instant::now();
    let report = maker.probe(&file).await?;
    let duration_us = i64::try_from(report.duration_ms.unwrap_or(0))? * 1000;
    let (mut keyframes, mut cuts_us, mut copied) = (Vec::new(), Vec::new(), None);
    if args.chunks.is_some() || args.copy {
        let index = index(maker, &file).await?;
        if args.copy {
            let (last_us, copy) = index.last_us.zip(index.copy.as_ref()).context("it is of no kind that is copied")?;
            let plan = copied_chunks(last_us, &copy.keyframes_us).context("its keyframes are too far apart")?;
            cuts_us = plan.into_iter().flat_map(|part| part.cuts_us.into_iter().chain(part.chunk.end_us)).collect();
            copied = Some(CopySpec { delay_us: index.reorder_us });
        }
        keyframes = index.keyframes_us;
    }
    let spans = spans(args.chunks, duration_us, &keyframes);
    let rungs = chosen(&report, &args.wanted)?;
    let video = report.video.as_ref().context("the source has no pictures")?;

    let mut work = Vec::new();
    if let Some(audio) = report.audio.as_ref().filter(|_| !args.no_audio) {
        work.push((0, Request::Audio(sound(file.size, report.start_us, audio.index))));
    }
    for (number, (start_us, end_us)) in spans.iter().enumerate() {
        let request = EncodeRequest {
            size: file.size,
            limits: MediaLimits::default(),
            t0_us: report.start_us,
            start_us: *start_us,
            end_us: *end_us,
            sequential: false,
            stop_after_ms: None,
            run_ms: plan::RUN_MS,
            segment_ms: plan::SEGMENT_MS,
            cuts_us: cuts_us.clone(),
            copy: copied,
            rungs: rungs.clone(),
            preset: args.preset.clone(),
            rotation: video.rotation,
            flipped: video.flipped,
            deinterlace: video.interlaced,
            tone_map: video.hdr,
            video_stream: video.index,
            threads_decode: DECODER_THREADS,
        };
        work.push((number, Request::Encode(request)));
    }
    let sessions = work.len();
    let slots = Arc::new(Semaphore::new(args.workers));
    let mut running = Vec::new();
    for (chunk, request) in work {
        let (maker, file, out, slots) = (maker.clone(), file.clone(), args.out.clone(), Arc::clone(&slots));
        // The sound goes beside the pictures, as on an express worker.
        let waits = matches!(request, Request::Encode(_));
        running.push(tokio::spawn(async move {
            let _slot = if waits { Some(slots.acquire().await?) } else { None };
            follow(&maker, request, &file, chunk, out.as_deref(), began).await
        }));
    }
    let mut total = Given::default();
    for one in running {
        let given = one.await??;
        total.frames += given.frames;
        for (rung, bytes) in given.bytes {
            *total.bytes.entry(rung).or_default() += bytes;
        }
        for (rung, at) in given.first_s {
            let first = total.first_s.entry(rung).or_insert(at);
            *first = first.min(at);
        }
    }
    let wall_s = began.elapsed().as_secs_f64();
    Ok(json!({
        "wall_s": wall_s, "cpu_s": account.cpu_s().await?, "frames": total.frames, "bytes": total.bytes,
        "first_s": total.first_s, "sessions": sessions, "fetched": file.fetched(), "reads": file.reads(),
        "spans": spans, "size": file.size,
    }))
}

fn sound(size: u64, t0_us: i64, audio_stream: u32) -> AudioRequest {
    AudioRequest {
        size,
        limits: MediaLimits::default(),
        t0_us,
        from_frame: 0,
        anchor: None,
        sequential: false,
        stop_after_ms: None,
        run_ms: plan::RUN_MS,
        first_run_ms: plan::FIRST_AUDIO_RUN_MS,
        segment_ms: plan::SEGMENT_MS,
        bitrate: AUDIO_BITRATE,
        audio_stream,
    }
}

async fn follow(
    maker: &Maker,
    request: Request,
    file: &LocalFile,
    chunk: usize,
    out: Option<&Path>,
    began: Instant,
) -> anyhow::Result<Given> {
    let pictures = matches!(request, Request::Encode(_));
    let mut outputs = maker.ask(request, file).await?;
    let mut given = Given::default();
    let mut whole = false;
    while let Some(output) = outputs.next().await? {
        let (rung, name) = match output.header {
            OutputHeader::Init { rendition, .. } => {
                let name = format!("{rendition}-init.mp4");
                (rendition, name)
            }
            OutputHeader::Segment(info) => {
                given.first_s.entry(info.rendition.clone()).or_insert_with(|| began.elapsed().as_secs_f64());
                let name = format!("{}-{chunk:04}-{:05}.m4s", info.rendition, info.index);
                (info.rendition, name)
            }
            OutputHeader::Done { end, frames, .. } => {
                whole = end;
                given.frames = if pictures { frames } else { 0 };
                continue;
            }
            _ => continue,
        };
        *given.bytes.entry(rung).or_default() += output.body.len() as u64;
        if let Some(folder) = out {
            tokio::fs::write(folder.join(name), &output.body).await?;
        }
    }
    ensure!(whole, "the decoder stopped before the end");
    Ok(given)
}
