//! Encoding: one span of the pictures in every rendition, or a stretch of the sound.
//!
//! Guarantee: an attempt goes on from the last committed border; each run is committed by one transaction that compares
//! the lease; a chain that has worked for its budget, or whose process drains, hands over to a continuation.

use std::time::{Duration, Instant};

use reelfleet_catalog::assets::Asset;
use reelfleet_catalog::costs::Used;
use reelfleet_catalog::jobs::Job;
use reelfleet_catalog::runs::Run;
use reelfleet_domain::policy::Verdict;
use reelfleet_domain::price_work::{self, Amounts, Kind, Pictures};
use reelfleet_domain::{plan, progress};
use reelfleet_events::Advance;
use reelfleet_fleet::{Attempt, WorkError, Worked};
use reelfleet_media::wire::{
    AudioRequest, CopySpec, EncodeRequest, FailCode, MediaLimits, OutputHeader, Request, RunEndReport, Rung,
};
use reelfleet_media::{Clocks, DecodeError, Session, Usage};
use reelfleet_messages::TaskId;
use reelfleet_messages::task::ChunkTask;
use reelfleet_telemetry::{EncodeFinished, trace};

use crate::recipe::{Recipe, VideoRecipe};
use crate::segments::{Segments, Written};
use crate::{Transcoder, generation_prefix};

const CLOCKS: Clocks =
    Clocks { wall: Duration::from_secs(1_700), no_progress: Duration::from_secs(90), max_output_bytes: 8 << 30 };
const PRESET: &str = "veryfast";
/// Runs of a chain of pictures are shorter than those of a planned chunk, so that playing starts early (milliseconds).
const CHAIN_RUN_MS: u32 = 8_000;
const DECODER_THREADS: u32 = 2;

/// The span in hand.
struct Span<'s> {
    asset: &'s Asset,
    job: &'s Job,
    track: &'static str,
    chunk: u32,
    /// Number of the next run.
    run: i64,
    /// What is left of it; an open-ended one has no length.
    start_us: i64,
    end_us: i64,
    publish_task: TaskId,
    /// What of the pictures the model needs to know, and what is made of them.
    pictures: Option<(Pictures, &'s VideoRecipe)>,
}

impl Span<'_> {
    /// What a run of it used, and what the model says of the same.
    fn used(&self, report: &RunEndReport, usage: Usage, written: Written) -> Used {
        let (kind, model) = match self.pictures {
            Some((pictures, video)) if video.copy_delay_us.is_some() => {
                (Kind::Video, pictures.copied(&video.rungs, report.frames))
            }
            Some((pictures, video)) => (Kind::Video, pictures.encoded(&video.rungs, report.frames)),
            None => {
                let ms = report.end_us.saturating_sub(report.start_us).max(0).unsigned_abs() / 1_000;
                (Kind::Audio, price_work::sounded(ms, 0))
            }
        };
        let amounts = Amounts {
            cpu_ms: usage.cpu_ms,
            output_bytes: written.bytes,
            puts: written.objects,
            gets: usage.reads,
            tasks: 1,
            ..Amounts::default()
        };
        Used { kind: Some(kind), model, amounts }
    }
}

impl Transcoder {
    /// Encodes one chunk of the pictures.
    pub(crate) async fn encode_video(&self, attempt: &Attempt, chunk: &ChunkTask) -> Result<Worked, WorkError> {
        let (asset, job) = self.subject(attempt).await?;
        let recipe = Recipe::read(job.plan.as_deref())?;
        let video = recipe.video.as_ref().ok_or_else(|| WorkError::again("the plan has no pictures"))?;
        let last = self.catalog.last_run(&job.id, "video", i64::from(chunk.chunk)).await?;
        let start_us = last.as_ref().map_or(chunk.start_us, |run| run.end_us);
        let opens = last.is_none() && chunk.chunk == 0;
        // Where no keyframe can be believed, each continuation decodes all again that lies before it.
        let misled = video.seam.is_some() || video.misled;
        let budget_ms = if misled { plan::chain_budget_ms(start_us) } else { plan::CHAIN_BUDGET_MS };
        let request = EncodeRequest {
            size: asset.size.unsigned_abs(),
            limits: MediaLimits::default(),
            t0_us: recipe.t0_us,
            start_us,
            end_us: chunk.end_us,
            sequential: video.sequential,
            stop_after_ms: Some(if opens && video.sequential { 0 } else { budget_ms }),
            run_ms: if video.sequential { CHAIN_RUN_MS } else { plan::RUN_MS },
            segment_ms: plan::SEGMENT_MS,
            cuts_us: chunk.cuts_us.iter().copied().filter(|cut| *cut > start_us).collect(),
            copy: video.copy_delay_us.map(|delay_us| CopySpec { delay_us }),
            rungs: video.rungs.iter().map(rung).collect(),
            preset: PRESET.to_owned(),
            rotation: video.rotation,
            flipped: video.flipped,
            deinterlace: video.deinterlace,
            tone_map: video.tone_map,
            video_stream: video.stream,
            threads_decode: DECODER_THREADS,
        };
        let seconds = asset.duration_ms.filter(|ms| *ms > 0).map_or(1.0, |ms| ms as f64 / 1e3);
        let side = |pixels: Option<i64>| pixels.and_then(|pixels| u32::try_from(pixels).ok()).unwrap_or(0);
        let pictures = Pictures {
            width: side(asset.width),
            height: side(asset.height),
            fps: video.fps.unwrap_or(25.0),
            bytes_per_s: asset.size as f64 / seconds,
        };
        let mut span = self.span(&asset, &job, "video", chunk, last.as_ref())?;
        span.pictures = Some((pictures, video));
        self.encode(attempt, &span, Request::Encode(request)).await
    }

    /// Encodes the sound, from where the last run ended.
    pub(crate) async fn encode_audio(&self, attempt: &Attempt, chunk: &ChunkTask) -> Result<Worked, WorkError> {
        let (asset, job) = self.subject(attempt).await?;
        let recipe = Recipe::read(job.plan.as_deref())?;
        let audio = recipe.audio.as_ref().ok_or_else(|| WorkError::again("the plan has no sound"))?;
        let last = self.catalog.last_run(&job.id, "audio", i64::from(chunk.chunk)).await?;
        let anchor = last.as_ref().and_then(|run| run.anchor.as_deref()).map(serde_json::from_str).transpose();
        let request = AudioRequest {
            size: asset.size.unsigned_abs(),
            limits: MediaLimits::default(),
            t0_us: recipe.t0_us,
            from_frame: last.as_ref().and_then(|run| run.next_frame).unwrap_or(0).unsigned_abs(),
            anchor: anchor.map_err(|error| WorkError::again(format!("a run's anchor can't be read: {error}")))?,
            sequential: audio.sequential,
            stop_after_ms: Some(if last.is_none() { plan::OPENING_BUDGET_MS } else { plan::CHAIN_BUDGET_MS }),
            run_ms: plan::RUN_MS,
            first_run_ms: plan::FIRST_AUDIO_RUN_MS,
            segment_ms: plan::SEGMENT_MS,
            bitrate: audio.bitrate,
            audio_stream: audio.stream,
        };
        let span = self.span(&asset, &job, "audio", chunk, last.as_ref())?;
        self.encode(attempt, &span, Request::Audio(request)).await
    }

    fn span<'s>(
        &self,
        asset: &'s Asset,
        job: &'s Job,
        track: &'static str,
        chunk: &ChunkTask,
        last: Option<&Run>,
    ) -> Result<Span<'s>, WorkError> {
        let publish_task = job.publish_task.ok_or_else(|| WorkError::again("the job has no publishing task"))?;
        let start_us = last.map_or(chunk.start_us, |run| run.end_us);
        Ok(Span {
            asset,
            job,
            track,
            chunk: chunk.chunk,
            run: last.map_or(0, |run| run.run + 1),
            start_us,
            end_us: chunk.end_us.unwrap_or(start_us).max(start_us),
            publish_task,
            pictures: None,
        })
    }

    async fn encode(&self, attempt: &Attempt, span: &Span<'_>, request: Request) -> Result<Worked, WorkError> {
        let base = generation_prefix(span.asset);
        let folder = format!("t/{}/{}/", attempt.lease.envelope.task, attempt.lease.token);
        self.catalog.open_attempt(&attempt.step("open"), &attempt.lease, &format!("{base}{folder}")).await?;
        let session = self.decoders.open(request, self.source(span.asset), CLOCKS).await.map_err(Verdict::from)?;
        attempt.heart.beat();
        let segments = Segments::new(self.outputs.clone(), base, folder, span.chunk);
        self.follow(attempt, span, session, segments).await
    }

    /// Stores what the decoder gives out and commits run by run. A run is known to be the last only when the decoder
    /// says that nothing follows, so its commit waits for the next word.
    async fn follow(
        &self,
        attempt: &Attempt,
        span: &Span<'_>,
        mut session: Session,
        mut segments: Segments,
    ) -> Result<Worked, WorkError> {
        let mut ended: Option<RunEndReport> = None;
        let (mut run, mut began) = (span.run, Instant::now());
        let mut making = part(run);
        loop {
            let output = match session.next().await {
                Ok(Some(output)) => output,
                Ok(None) => break,
                Err(DecodeError::Refused { code: FailCode::NotCopyable, detail }) => {
                    return self.encode_instead(attempt, span.asset, &detail).await;
                }
                Err(error) => return Err(Verdict::from(error).into()),
            };
            attempt.heart.beat();
            if matches!(output.header, OutputHeader::Segment(_))
                && let Some(report) = ended.take()
            {
                self.commit(attempt, span, &mut session, &mut segments, &report, (run, false)).await?;
                encoded(attempt, span, &report, began, &making);
                (run, began) = (run + 1, Instant::now());
                making = part(run);
                if attempt.heart.draining().is_cancelled() {
                    return Ok(Worked::Continue);
                }
            }
            match output.header {
                OutputHeader::Init { rendition, codecs, .. } => segments.init(rendition, codecs, output.body).await?,
                OutputHeader::Segment(info) => segments.segment(info, output.body).await?,
                OutputHeader::RunEnd(report) => ended = Some(report),
                OutputHeader::Progress(told) => self.tell(attempt, span, told.done_us).await?,
                OutputHeader::Done { end, .. } => {
                    let Some(report) = ended.take().or_else(|| end.then(|| nothing(span))) else {
                        // Stopped between runs: what was committed stands.
                        return Ok(Worked::Continue);
                    };
                    self.commit(attempt, span, &mut session, &mut segments, &report, (run, end)).await?;
                    encoded(attempt, span, &report, began, &making);
                    self.tell(attempt, span, 0).await?;
                    return Ok(if end { Worked::Committed } else { Worked::Continue });
                }
                _ => {}
            }
        }
        Err(WorkError::again("the decoder ended without a word"))
    }

    async fn commit(
        &self,
        attempt: &Attempt,
        span: &Span<'_>,
        session: &mut Session,
        segments: &mut Segments,
        report: &RunEndReport,
        (run, is_last): (i64, bool),
    ) -> Result<(), WorkError> {
        let (renditions, written) = segments.finish().await?;
        let usage = segments.since(session.usage().await);
        let lease = attempt.lease.having_used(span.used(report, usage, written));
        let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let row = Run {
            track: span.track.to_owned(),
            chunk: i64::from(span.chunk),
            run,
            start_us: report.start_us,
            end_us: report.end_us,
            frames: count(report.frames),
            packets: count(report.packets),
            errors: count(report.errors),
            first_pts_us: report.first_pts_us,
            last_pts_us: report.last_pts_us,
            next_pts_us: report.next_pts_us,
            next_frame: report.next_frame.map(count),
            anchor: report.anchor.and_then(|anchor| serde_json::to_string(&anchor).ok()),
            renditions,
            is_last,
        };
        let step = attempt.step(format!("run-{run}"));
        Ok(self.catalog.commit_run(&step, &lease, &row, &span.publish_task).await?)
    }

    /// Says how far the job is; never fails the work for it.
    async fn tell(&self, attempt: &Attempt, span: &Span<'_>, in_hand_us: i64) -> Result<(), WorkError> {
        let committed = self.catalog.committed_us(&span.job.id).await?;
        let envelope = &attempt.lease.envelope;
        self.progress.say(Advance {
            job: envelope.job,
            asset: span.asset.id,
            tenant: envelope.tenant.clone(),
            percent: progress::percent(committed, in_hand_us, span.job.total_us),
            trace: attempt.traceparent(),
        });
        Ok(())
    }
}

/// The part of a trace that is one run.
fn part(run: i64) -> trace::Span {
    let part = trace::Span::child("encode run");
    part.set("reelfleet.run", run);
    part
}

/// States how long a run of pictures took.
fn encoded(attempt: &Attempt, span: &Span<'_>, report: &RunEndReport, began: Instant, making: &trace::Span) {
    making.set("reelfleet.frames", report.frames);
    making.set("reelfleet.media_us", report.end_us.saturating_sub(report.start_us));
    if span.track == "audio" {
        return;
    }
    let (task, media_us) = (attempt.lease.envelope.task.to_string(), report.end_us.saturating_sub(report.start_us));
    let (media_seconds, wall_seconds) = (media_us.max(0) as f64 / 1e6, began.elapsed().as_secs_f64());
    EncodeFinished { task: &task, frames: report.frames, media_seconds, wall_seconds }.emit();
}

/// The end of a span in which the source has nothing.
fn nothing(span: &Span<'_>) -> RunEndReport {
    tracing::info!(track = span.track, chunk = span.chunk, "the span is empty");
    RunEndReport {
        index: 0,
        start_us: span.start_us,
        end_us: span.end_us,
        frames: 0,
        packets: 0,
        errors: 0,
        first_pts_us: span.start_us,
        last_pts_us: span.start_us,
        next_pts_us: None,
        segments: 0,
        anchor: None,
        next_frame: None,
    }
}

fn rung(rung: &reelfleet_domain::Rung) -> Rung {
    Rung {
        name: rung.name.clone(),
        width: rung.width,
        height: rung.height,
        crf: rung.crf,
        maxrate: rung.maxrate,
        bufsize: rung.bufsize,
    }
}
