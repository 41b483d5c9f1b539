//! The thumbnailer: poster and storyboard of a video, sizes of a still image.
//!
//! Guarantee: pictures are made from key frames by a few range reads; the poster comes first and reads less than half a
//! percent of a large file. A video without a poster is still a video: its processing does not end for it.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod vtt;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reelfleet_catalog::assets::Asset;
use reelfleet_catalog::costs::Used;
use reelfleet_catalog::pictures::Picture;
use reelfleet_catalog::{Catalog, CatalogError, Lease};
use reelfleet_domain::AssetState;
use reelfleet_domain::policy::{Refusal, Verdict};
use reelfleet_domain::price_estimate::Media;
use reelfleet_domain::price_work::{self, Amounts, Kind, Pictures};
use reelfleet_fleet::{Attempt, BoxFuture, Context, QueueName, Settings, TaskHandler, TaskRunner, WorkError, Worked};
use reelfleet_media::wire::{
    MediaLimits, OutputHeader, PictureFormat, PictureKind, PicturesRequest, ProbeReport, Request, StillRequest,
    StoryboardSpec,
};
use reelfleet_media::{Clocks, DecoderConfig, Decoders, Source, Usage, facts};
use reelfleet_messages::Event;
use reelfleet_messages::event::{AssetReady, JobFact, ReasonCode, ThumbnailReady};
use reelfleet_messages::task::Task;
use reelfleet_objects::{ObjectWriter, RangedReader};
use reelfleet_telemetry::trace::Span;

const CLOCKS: Clocks =
    Clocks { wall: Duration::from_secs(540), no_progress: Duration::from_secs(60), max_output_bytes: 512 << 20 };
const POSTER_WIDTHS: [u32; 3] = [320, 640, 1280];
const STILL_WIDTHS: [u32; 4] = [320, 640, 1280, 1920];
const STORYBOARD: StoryboardSpec =
    StoryboardSpec { max_tiles: 100, columns: 10, rows: 10, tile_width: 160, quality: 70 };
/// Pictures are written once per generation; a second attempt writes the same ones.
const CACHE: &str = "public, max-age=3600";

/// What to make.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Tasks at work at once.
    pub slots: usize,
    /// Whether videos get a storyboard: it reads a few percent of the file.
    pub storyboard: bool,
}

/// Runs until the context's shutdown.
pub async fn run(context: Context, catalog: Catalog, options: Options) -> anyhow::Result<()> {
    let decoders = Decoders::start(DecoderConfig::default())?;
    let outputs = ObjectWriter::new(context.clients.s3.clone(), &context.config.outputs_bucket);
    let consumer =
        context.consumer(QueueName::Thumbnail, Settings { slots: options.slots, ..Settings::default() }).await?;
    let thumbnailer = Thumbnailer { context: context.clone(), catalog: catalog.clone(), decoders, outputs, options };
    consumer.run(Arc::new(TaskRunner::new(context, catalog, thumbnailer))).await;
    Ok(())
}

/// The handler of the thumbnail queue.
struct Thumbnailer {
    context: Context,
    catalog: Catalog,
    decoders: Decoders,
    outputs: ObjectWriter,
    options: Options,
}

impl Thumbnailer {
    async fn render(&self, attempt: &Attempt) -> Result<Worked, WorkError> {
        let over = || WorkError::Catalog(CatalogError::Conflict { what: "making pictures of an asset" });
        let id = attempt.lease.envelope.work.asset();
        let asset = self.catalog.asset(&id).await?.ok_or_else(over)?;
        let probe: ProbeReport = serde_json::from_str(asset.probe.as_deref().unwrap_or_default())
            .map_err(|error| WorkError::again(format!("the stored probe can't be read: {error}")))?;
        let still = asset.media.as_deref() == Some("image");
        let (request, span) = if still {
            (still_request(&asset), "sizes")
        } else {
            (pictures_request(&asset, &probe, self.options.storyboard)?, "pictures")
        };
        let (pictures, usage) = Span::child(span).within(self.session(attempt, &asset, request)).await?;
        if pictures.is_empty() {
            return Err(WorkError::Failed(Refusal::new(ReasonCode::DecodeFailed, "no picture could be made of it")));
        }
        // Before the verdict a still picture is only to be looked at; once it is granted, a task of its own ends the job. Of
        // what is ready they are made again, and nothing ends.
        let lease = attempt.lease.having_used(used(&asset, &probe, &pictures, usage));
        self.commit(attempt, &lease, &asset, &pictures, still && asset.state == AssetState::Processing).await
    }

    /// Stores what one decoder makes.
    async fn session(
        &self,
        attempt: &Attempt,
        asset: &Asset,
        request: Request,
    ) -> Result<(Vec<Picture>, Usage), WorkError> {
        let reader = RangedReader::pinned(
            self.context.clients.s3.clone(),
            &asset.bucket,
            &asset.key,
            asset.version_id.as_deref(),
            &asset.etag,
            asset.size.unsigned_abs(),
        );
        let source = Source::of_object(reader).with_pixels(asset.pixels());
        let mut session = self.decoders.open(request, source, CLOCKS).await.map_err(Verdict::from)?;
        attempt.heart.beat();
        let mut pictures = Vec::new();
        while let Some(output) = session.next().await.map_err(Verdict::from)? {
            attempt.heart.beat();
            let made = match output.header {
                OutputHeader::Picture { kind, index, width, height, format, .. } => {
                    let (name, kind) = named(kind, index, width, format);
                    Some((picture(name, kind, format_name(format), width, height, &output.body), output.body))
                }
                OutputHeader::Storyboard { cues } => {
                    let body = Bytes::from(vtt::render(&cues));
                    Some((picture("storyboard.vtt".into(), "cues", "vtt", 0, 0, &body), body))
                }
                _ => None,
            };
            if let Some((picture, body)) = made {
                self.store(asset, &picture, body).await?;
                pictures.push(picture);
            }
        }
        Ok((pictures, session.usage().await))
    }

    async fn store(&self, asset: &Asset, picture: &Picture, body: Bytes) -> Result<(), WorkError> {
        let key = format!("out/{}/g{}/{}", asset.id, asset.generation, picture.name);
        let content_type = match picture.format.as_str() {
            "jpeg" => "image/jpeg",
            "webp" => "image/webp",
            "png" => "image/png",
            _ => "text/vtt",
        };
        self.outputs.put(&key, body, content_type, Some(CACHE)).await.map_err(WorkError::again).map(drop)
    }

    async fn commit(
        &self,
        attempt: &Attempt,
        lease: &Lease,
        asset: &Asset,
        pictures: &[Picture],
        still: bool,
    ) -> Result<Worked, WorkError> {
        let job = attempt.lease.envelope.job;
        let generation = u32::try_from(asset.generation).unwrap_or(1);
        let step = attempt.step("pictured");
        let made =
            ThumbnailReady { asset: asset.id, generation, pictures: u32::try_from(pictures.len()).unwrap_or(u32::MAX) };
        let mut facts = vec![Event::ThumbnailReady(made)];
        if still {
            facts.push(Event::JobSucceeded(JobFact { asset: asset.id, job, code: None }));
            let after_ms = step.now.saturating_sub(asset.landed_at).unsigned_abs();
            facts.push(Event::AssetReady(AssetReady { asset: asset.id, generation, after_ms, renditions: Vec::new() }));
        }
        let emissions: Vec<_> = facts.into_iter().map(|fact| attempt.emission(&asset.owner, fact)).collect();
        self.catalog.pictured(&step, lease, pictures, still, &emissions).await?;
        if still {
            attempt.job_ended(asset, "succeeded");
        }
        tracing::info!(pictures = pictures.len(), still, "pictures are made");
        Ok(Worked::Committed)
    }
}

impl TaskHandler for Thumbnailer {
    fn work<'a>(&'a self, attempt: &'a Attempt) -> BoxFuture<'a, Result<Worked, WorkError>> {
        Box::pin(async move {
            match &attempt.lease.envelope.work {
                Task::RenderThumbnails(_) => self.render(attempt).await,
                other => Err(WorkError::Failed(Refusal::new(
                    ReasonCode::DecodeFailed,
                    format!("a task of kind {} lies on the wrong queue", other.kind()),
                ))),
            }
        })
    }

    fn is_vital(&self, asset: &Asset, _task: &Task) -> bool {
        asset.media.as_deref() == Some("image")
    }
}

/// What an attempt used, and what the model says of the same work.
fn used(asset: &Asset, probe: &ProbeReport, pictures: &[Picture], usage: Usage) -> Used {
    let known = facts(asset.size.unsigned_abs(), probe, None);
    let (width, height) = (known.width.unwrap_or(0), known.height.unwrap_or(0));
    let (kind, model) = if known.media == Some(Media::Image) {
        (Kind::Still, price_work::sized(width, height, known.size))
    } else {
        let shown = Pictures { width, height, fps: 1.0, bytes_per_s: 0.0 };
        (Kind::Pictures, shown.shown(known.duration_ms.unwrap_or(0)))
    };
    let bytes = pictures.iter().map(|picture| picture.bytes.unsigned_abs()).sum();
    let amounts = Amounts {
        cpu_ms: usage.cpu_ms,
        output_bytes: bytes,
        puts: pictures.len() as u64,
        gets: usage.reads,
        tasks: 1,
        ..Amounts::default()
    };
    Used { kind: Some(kind), model, amounts }
}

fn still_request(asset: &Asset) -> Request {
    Request::Still(StillRequest {
        size: asset.size.unsigned_abs(),
        limits: MediaLimits::default(),
        widths: STILL_WIDTHS.to_vec(),
        formats: vec![PictureFormat::Jpeg, PictureFormat::Webp],
    })
}

/// The decoder takes the keyframes from the container's index as it opens it, and what it has decoded for the poster serves the
/// storyboard too.
fn pictures_request(asset: &Asset, probe: &ProbeReport, storyboard: bool) -> Result<Request, WorkError> {
    let video = probe.video.as_ref().ok_or_else(|| WorkError::again("the probe has no pictures"))?;
    Ok(Request::Pictures(PicturesRequest {
        size: asset.size.unsigned_abs(),
        limits: MediaLimits::default(),
        t0_us: probe.start_us,
        video_stream: video.index,
        rotation: video.rotation,
        flipped: video.flipped,
        sequential: false,
        tone_map: video.hdr,
        duration_ms: video.duration_ms.or(probe.duration_ms),
        poster_widths: POSTER_WIDTHS.to_vec(),
        formats: vec![PictureFormat::Jpeg, PictureFormat::Webp],
        storyboard: storyboard.then_some(STORYBOARD),
    }))
}

fn picture(name: String, kind: &str, format: &str, width: u32, height: u32, body: &Bytes) -> Picture {
    Picture {
        name,
        kind: kind.to_owned(),
        format: format.to_owned(),
        width: i64::from(width),
        height: i64::from(height),
        bytes: i64::try_from(body.len()).unwrap_or(i64::MAX),
    }
}

fn named(kind: PictureKind, index: u32, width: u32, format: PictureFormat) -> (String, &'static str) {
    let ending = match format {
        PictureFormat::Jpeg => "jpg",
        PictureFormat::Webp => "webp",
        PictureFormat::Png => "png",
    };
    match kind {
        PictureKind::Poster => (format!("poster-{width}.{ending}"), "poster"),
        PictureKind::Storyboard => (format!("{}.{ending}", vtt::sprite(index)), "storyboard"),
        PictureKind::Size => (format!("image-{width}.{ending}"), "size"),
    }
}

fn format_name(format: PictureFormat) -> &'static str {
    match format {
        PictureFormat::Jpeg => "jpeg",
        PictureFormat::Webp => "webp",
        PictureFormat::Png => "png",
    }
}
