//! Planning: the ladder, the chunk borders, one audio chain.

use std::time::Duration;

use reelfleet_catalog::Lease;
use reelfleet_catalog::assets::Asset;
use reelfleet_catalog::costs::Used;
use reelfleet_catalog::tasks::NewTask;
use reelfleet_domain::plan::{Chunk, CopiedChunk, chunks};
use reelfleet_domain::policy::{Refusal, Verdict};
use reelfleet_domain::price_work::{Amounts, Kind, looked};
use reelfleet_domain::{AssetState, retry};
use reelfleet_fleet::{Attempt, WorkError, Worked};
use reelfleet_media::wire::{IndexReport, MediaLimits, OutputHeader, ProbeReport, Request, VideoStream};
use reelfleet_media::{Clocks, Usage, copies};
use reelfleet_messages::event::{JobFact, ReasonCode};
use reelfleet_messages::task::{AssetTask, ChunkTask, Task, TaskEnvelope, TaskQueue, VERSION};
use reelfleet_messages::{Event, TaskId};

use crate::Transcoder;
use crate::recipe::{AudioRecipe, Recipe, VideoRecipe};

const CLOCKS: Clocks =
    Clocks { wall: Duration::from_secs(120), no_progress: Duration::from_secs(30), max_output_bytes: 16 << 20 };
const AUDIO_BITRATE: u32 = 128_000;
/// CPU seconds per second of sound, about.
const AUDIO_COST: f64 = 0.02;

impl Transcoder {
    /// Plans a job once; the plan and its tasks are one commit.
    pub(crate) async fn plan(&self, attempt: &Attempt) -> Result<Worked, WorkError> {
        let (asset, job) = self.subject(attempt).await?;
        if job.plan.is_some() {
            return Err(WorkError::Catalog(reelfleet_catalog::CatalogError::Conflict { what: "planning a job again" }));
        }
        let probe: ProbeReport = serde_json::from_str(asset.probe.as_deref().unwrap_or_default())
            .map_err(|error| WorkError::again(format!("the stored probe can't be read: {error}")))?;
        let (index, usage) = match &probe.video {
            Some(_) => Some(self.index(attempt, &asset).await?).unzip(),
            None => (None, None),
        };
        attempt.heart.beat();
        let duration_us = copies::duration_us(&probe, index.as_ref());
        let video =
            probe.video.as_ref().zip(index.as_ref()).map(|(stream, index)| video_recipe(stream, index, duration_us));
        let Earlier { misled, may_copy } = self.earlier(&asset).await?;
        let video = video.map(|video| VideoRecipe { sequential: video.sequential || misled, misled, ..video });
        let copied = match (&video, &probe.video, &index) {
            (Some(video), Some(stream), Some(index)) if may_copy => copied(video, stream, index),
            _ => None,
        };
        let (video, spans) = match (video, &index, copied) {
            (Some(video), _, _) if video.sequential => (Some(video), vec![open(Chunk { start_us: 0, end_us: None })]),
            (Some(_), _, Some((video, spans))) => (Some(video), spans),
            (Some(video), Some(index), None) => {
                (Some(video), chunks(duration_us, &index.keyframes_us).into_iter().map(open).collect())
            }
            _ => (None, Vec::new()),
        };
        let recipe = Recipe {
            t0_us: probe.start_us,
            video: video.map(|video| VideoRecipe { chunks: u32::try_from(spans.len()).unwrap_or(u32::MAX), ..video }),
            audio: probe.audio.as_ref().map(|stream| AudioRecipe {
                stream: stream.index,
                bitrate: AUDIO_BITRATE,
                sequential: misled || index.as_ref().is_some_and(|index| !index.seekable),
            }),
        };
        if recipe.video.is_none() && recipe.audio.is_none() {
            let why = Refusal::new(
                ReasonCode::NoDecodableStream,
                "there is neither a picture nor a sound that can be decoded",
            );
            return Err(WorkError::Refused(why));
        }
        let lease = match usage {
            Some(usage) => {
                let amounts = Amounts { cpu_ms: usage.cpu_ms, gets: usage.reads, tasks: 1, ..Amounts::default() };
                attempt.lease.having_used(Used { kind: Some(Kind::Index), model: looked(), amounts })
            }
            None => attempt.lease.clone(),
        };
        self.write_plan(attempt, &lease, &asset, &recipe, &spans, duration_us).await?;
        Ok(Worked::Committed)
    }

    /// What earlier generations teach: what is not yet ready is made anew only because one could not be copied, or its index
    /// misled it; what is, because somebody wants it so, and the plan of the present generation knows.
    async fn earlier(&self, asset: &Asset) -> Result<Earlier, WorkError> {
        let video = |plan: Option<String>| {
            plan.and_then(|plan| Recipe::read(Some(&plan)).ok()).and_then(|recipe| recipe.video).unwrap_or_default()
        };
        let allowed = self.context.config.stream_copy;
        if asset.state == AssetState::Ready {
            let present = video(self.catalog.present_plan(&asset.id).await?);
            let misled = present.misled || present.seam.is_some();
            return Ok(Earlier { misled, may_copy: allowed && present.copy_delay_us.is_some() });
        }
        if asset.generation == 1 {
            return Ok(Earlier { misled: false, may_copy: allowed });
        }
        let before = video(self.catalog.plan_of(&asset.id, asset.generation - 1).await?);
        Ok(Earlier { misled: before.copy_delay_us.is_none(), may_copy: false })
    }

    async fn index(&self, attempt: &Attempt, asset: &Asset) -> Result<(IndexReport, Usage), WorkError> {
        let request = Request::Index { size: asset.size.unsigned_abs(), limits: MediaLimits::default() };
        let mut session = self.decoders.open(request, self.source(asset), CLOCKS).await.map_err(Verdict::from)?;
        attempt.heart.beat();
        let mut report = None;
        while let Some(output) = session.next().await.map_err(Verdict::from)? {
            if let OutputHeader::Indexed(index) = output.header {
                report = Some(index);
            }
        }
        let report = report.ok_or_else(|| WorkError::again("the decoder ended without an index"))?;
        Ok((report, session.usage().await))
    }

    async fn write_plan(
        &self,
        attempt: &Attempt,
        lease: &Lease,
        asset: &Asset,
        recipe: &Recipe,
        spans: &[CopiedChunk],
        duration_us: i64,
    ) -> Result<(), WorkError> {
        let id = asset.id;
        let generation = u32::try_from(asset.generation).unwrap_or(1);
        let publish = Task::PublishPlaylist(AssetTask { asset: id, generation });
        let publish = self.new_task(attempt, publish, 0.5, None, false);
        let mut encode = Vec::new();
        let chunk_task = |chunk: usize, span: &Chunk, cuts: &[i64]| ChunkTask {
            asset: id,
            generation,
            chunk: u32::try_from(chunk).unwrap_or(u32::MAX),
            start_us: span.start_us,
            end_us: span.end_us,
            cuts_us: cuts.to_vec(),
        };
        let seconds =
            |span: &Chunk| (span.end_us.unwrap_or(duration_us).saturating_sub(span.start_us)).max(0) as f64 / 1e6;
        let whole = Chunk { start_us: 0, end_us: None };
        if recipe.audio.is_some() {
            let work = Task::EncodeAudio(chunk_task(0, &whole, &[]));
            encode.push(self.new_task(
                attempt,
                work,
                (seconds(&whole) * AUDIO_COST).max(0.2),
                Some(("audio", 0)),
                true,
            ));
        }
        if let Some(video) = &recipe.video {
            let rate = video.pixels_per_s();
            for (chunk, CopiedChunk { chunk: span, cuts_us }) in spans.iter().enumerate() {
                let cost = retry::encode_cost_s(seconds(span), rate);
                let work = Task::EncodeChunk(chunk_task(chunk, span, cuts_us));
                let place = ("video", i64::try_from(chunk).unwrap_or(i64::MAX));
                let task = self.new_task(attempt, work, cost, Some(place), true);
                // The first chunk goes first of all: it opens the stream.
                if chunk == 0 { encode.insert(0, task) } else { encode.push(task) }
            }
        }
        let tracks = i64::from(recipe.audio.is_some()) + i64::from(recipe.video.is_some());
        let plan = serde_json::to_string(recipe).map_err(WorkError::again)?;
        let started = Event::JobStarted(JobFact { asset: id, job: attempt.lease.envelope.job, code: None });
        let emissions = [attempt.emission(&asset.owner, started)];
        let total_us = duration_us.saturating_mul(tracks).max(1);
        self.catalog.planned(&attempt.step("planned"), lease, &plan, total_us, &publish, &encode, &emissions).await?;
        tracing::info!(chunks = spans.len(), audio = recipe.audio.is_some(), "planned");
        Ok(())
    }

    pub(crate) fn new_task(
        &self,
        attempt: &Attempt,
        work: Task,
        cost_s: f64,
        place: Option<(&'static str, i64)>,
        armed: bool,
    ) -> NewTask {
        let from = &attempt.lease.envelope;
        let envelope = TaskEnvelope {
            v: VERSION,
            task: TaskId::from_uuid(self.context.ids.uuid()),
            job: from.job,
            tenant: from.tenant.clone(),
            cost_s,
            traceparent: attempt.traceparent(),
            work,
        };
        // What a campaign's task leads to is a campaign's too.
        NewTask { envelope, place, armed, backfill: attempt.lease.queue == TaskQueue::Backfill.as_str() }
    }
}

/// A chunk in which nothing is copied.
fn open(chunk: Chunk) -> CopiedChunk {
    CopiedChunk { chunk, cuts_us: Vec::new() }
}

/// What earlier generations teach.
struct Earlier {
    /// No keyframe of the container can be believed.
    misled: bool,
    /// The stream may be copied, as far as is known.
    may_copy: bool,
}

/// The same with its first rung copied, where the source's stream is already what that would be.
fn copied(video: &VideoRecipe, stream: &VideoStream, index: &IndexReport) -> Option<(VideoRecipe, Vec<CopiedChunk>)> {
    let (copy, top) = (index.copy.as_ref()?, video.rungs.first().filter(|_| !video.sequential)?);
    let spans = copies::copied_into(top, stream, index)?;
    let mut rungs = video.rungs.clone();
    rungs[0].maxrate = top.maxrate.max(copy.peak_bps);
    Some((VideoRecipe { rungs, copy_delay_us: Some(index.reorder_us), ..video.clone() }, spans))
}

fn video_recipe(stream: &VideoStream, index: &IndexReport, duration_us: i64) -> VideoRecipe {
    let (rungs, fps) = copies::ladder_of(stream, index, duration_us);
    VideoRecipe {
        stream: stream.index,
        rungs,
        rotation: stream.rotation,
        flipped: stream.flipped,
        deinterlace: stream.interlaced,
        tone_map: stream.hdr,
        fps,
        sequential: !index.seekable,
        chunks: 0,
        seam: None,
        misled: false,
        copy_delay_us: None,
    }
}
