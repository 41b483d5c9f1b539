//! Short requests, again and again: facts, posters, storyboards, sizes.
//!
//! Guarantee: each time is a decoder of its own, as in the fleet; times are told one by one.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use reelfleet_media::Output;
use reelfleet_media::wire::{
    MediaLimits, OutputHeader, PictureFormat, PictureKind, PicturesRequest, Request, StillRequest, StoryboardSpec,
};
use serde_json::{Value, json};

use crate::account::Account;
use crate::make::{LocalFile, Maker};
use crate::{PicturesArgs, Repeated, StillArgs};

pub async fn probe(maker: &Maker, repeated: &Repeated) -> anyhow::Result<Value> {
    let file = LocalFile::open(&repeated.file)?;
    let request = Request::Probe { size: file.size, limits: MediaLimits::default() };
    again(maker, request, &file, repeated.times, None).await
}

pub async fn pictures(maker: &Maker, args: &PicturesArgs) -> anyhow::Result<Value> {
    let file = LocalFile::open(&args.repeated.file)?;
    let report = maker.probe(&file).await?;
    let video = report.video.as_ref().context("the source has no pictures")?;
    let request = PicturesRequest {
        size: file.size,
        limits: MediaLimits::default(),
        t0_us: report.start_us,
        video_stream: video.index,
        rotation: video.rotation,
        flipped: video.flipped,
        sequential: false,
        tone_map: video.hdr,
        duration_ms: video.duration_ms.or(report.duration_ms),
        poster_widths: args.posters.clone(),
        formats: args.formats.iter().copied().map(PictureFormat::from).collect(),
        storyboard: args.storyboard.map(|max_tiles| StoryboardSpec {
            max_tiles,
            columns: 10,
            rows: 10,
            tile_width: 160,
            quality: 70,
        }),
    };
    again(maker, Request::Pictures(request), &file, args.repeated.times, args.out.as_deref()).await
}

pub async fn still(maker: &Maker, args: &StillArgs) -> anyhow::Result<Value> {
    let file = LocalFile::open(&args.repeated.file)?;
    let request = StillRequest {
        size: file.size,
        limits: MediaLimits::default(),
        widths: args.widths.clone(),
        formats: args.formats.iter().copied().map(PictureFormat::from).collect(),
    };
    again(maker, Request::Still(request), &file, args.repeated.times, args.out.as_deref()).await
}

async fn again(
    maker: &Maker,
    request: Request,
    file: &LocalFile,
    times: u32,
    out: Option<&Path>,
) -> anyhow::Result<Value> {
    ensure!(times > 0, "at least once");
    let account = Account::open()?;
    let (mut walls, mut firsts, mut fetched, mut last) = (Vec::new(), Vec::new(), 0, Vec::new());
    for _ in 0..times {
        let file = file.anew();
        let began = Instant::now();
        last = maker.all(request.clone(), &file).await?;
        walls.push(began.elapsed().as_secs_f64());
        firsts.extend(file.first_read().map(|first| first.duration_since(began).as_secs_f64()));
        fetched = file.fetched();
    }
    let cpu_s = account.cpu_s().await?;
    let (mut pictures, mut cues) = (Vec::new(), Vec::new());
    for Output { header, body } in &last {
        match header {
            OutputHeader::Picture { kind, index, width, height, format, time_us } => {
                let ending = match format {
                    PictureFormat::Jpeg => "jpg",
                    PictureFormat::Webp => "webp",
                    PictureFormat::Png => "png",
                };
                let name = match kind {
                    PictureKind::Poster => format!("poster-{width}.{ending}"),
                    PictureKind::Storyboard => format!("storyboard-{index}.{ending}"),
                    PictureKind::Size => format!("image-{width}.{ending}"),
                };
                if let Some(folder) = out {
                    std::fs::create_dir_all(folder)?;
                    std::fs::write(folder.join(&name), body)?;
                }
                pictures.push(json!({
                    "name": name, "width": width, "height": height, "bytes": body.len(), "time_us": time_us,
                }));
            }
            OutputHeader::Storyboard { cues: made } => cues.extend(made.iter().copied()),
            _ => {}
        }
    }
    Ok(json!({
        "wall_s": walls, "first_read_s": firsts, "cpu_s": cpu_s / f64::from(times), "fetched": fetched,
        "size": file.size, "pictures": pictures, "cues": cues,
    }))
}
