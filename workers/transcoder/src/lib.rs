//! The transcoder: plans chunks, encodes them, publishes playlists.
//!
//! Guarantee: any transcoder on any machine takes any chunk. Segments lie under keys of the attempt; one conditional
//! write of the run's row commits them, and playlists are written from committed rows only.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod encode;
mod fallback;
mod plan;
mod prefix;
mod publish;
mod recipe;
mod segments;

use std::sync::Arc;

use futures::future::OptionFuture;
use reelfleet_catalog::assets::Asset;
use reelfleet_catalog::jobs::Job;
use reelfleet_catalog::{Catalog, CatalogError};
use reelfleet_domain::policy::Refusal;
use reelfleet_domain::{AssetState, JobState};
use reelfleet_events::Progress;
use reelfleet_fleet::{Attempt, BoxFuture, Context, QueueName, Settings, TaskHandler, TaskRunner, WorkError, Worked};
use reelfleet_media::{DecoderConfig, Decoders, Source};
use reelfleet_messages::event::ReasonCode;
use reelfleet_messages::task::Task;
use reelfleet_objects::{ObjectWriter, RangedReader};

/// Plans, openings and playlists at work at once, besides the chunks: each is short.
const EXPRESS: usize = 3;

/// Runs until the context's shutdown, with this many chunks at work at once; `backfill`: those of campaigns, and no others.
pub async fn run(
    context: Context,
    catalog: Catalog,
    progress: Progress,
    slots: usize,
    backfill: bool,
) -> anyhow::Result<()> {
    let decoders = Decoders::start(DecoderConfig::default())?;
    let outputs = ObjectWriter::new(context.clients.s3.clone(), &context.config.outputs_bucket);
    let consumer = async |queue, slots| context.consumer(queue, Settings { slots, ..Settings::default() }).await;
    let (encoding, express) = if backfill {
        (consumer(QueueName::Backfill, slots).await?, None)
    } else {
        (consumer(QueueName::Transcode, slots).await?, Some(consumer(QueueName::Express, EXPRESS).await?))
    };
    let transcoder = Transcoder { context: context.clone(), catalog: catalog.clone(), decoders, outputs, progress };
    let runner = Arc::new(TaskRunner::new(context, catalog, transcoder));
    let express = OptionFuture::from(express.map(|express| express.run(runner.clone())));
    tokio::join!(encoding.run(runner), express);
    Ok(())
}

/// The handler of the transcode queue.
struct Transcoder {
    context: Context,
    catalog: Catalog,
    decoders: Decoders,
    outputs: ObjectWriter,
    progress: Progress,
}

impl Transcoder {
    /// The asset, in the generation that is worked on, and its job, if work on them may still be committed: the asset lives
    /// and no newer generation is made, or it is ready and this is a newer one, which is made beside it.
    async fn subject(&self, attempt: &Attempt) -> Result<(Asset, Job), WorkError> {
        let envelope = &attempt.lease.envelope;
        let over = || WorkError::Catalog(CatalogError::Conflict { what: "working on an asset" });
        let generation = i64::from(envelope.work.generation());
        let asset = self.catalog.asset(&envelope.work.asset()).await?.ok_or_else(over)?;
        let job = self.catalog.job(&envelope.job).await?.ok_or_else(over)?;
        let beside = asset.state == AssetState::Ready && asset.generation < generation;
        let goes_on = matches!(JobState::parse(&job.state), Some(JobState::Queued | JobState::Running));
        if beside && goes_on || asset.state.is_live() && asset.generation == generation {
            return Ok((Asset { generation, ..asset }, job));
        }
        Err(over())
    }

    /// The source by range, pinned to the bytes that were probed.
    fn source(&self, asset: &Asset) -> Source {
        let reader = RangedReader::pinned(
            self.context.clients.s3.clone(),
            &asset.bucket,
            &asset.key,
            asset.version_id.as_deref(),
            &asset.etag,
            asset.size.unsigned_abs(),
        );
        Source::of_object(reader).with_pixels(asset.pixels())
    }
}

impl TaskHandler for Transcoder {
    fn work<'a>(&'a self, attempt: &'a Attempt) -> BoxFuture<'a, Result<Worked, WorkError>> {
        Box::pin(async move {
            match &attempt.lease.envelope.work {
                Task::PlanRenditions(_) => self.plan(attempt).await,
                Task::EncodeChunk(chunk) => self.encode_video(attempt, chunk).await,
                Task::EncodeAudio(chunk) => self.encode_audio(attempt, chunk).await,
                Task::PublishPlaylist(_) => self.publish(attempt).await,
                other => Err(WorkError::Failed(Refusal::new(
                    ReasonCode::DecodeFailed,
                    format!("a task of kind {} lies on the wrong queue", other.kind()),
                ))),
            }
        })
    }
}

/// The folder of a generation's outputs, with its slash.
fn generation_prefix(asset: &Asset) -> String {
    format!("out/{}/g{}/", asset.id, asset.generation)
}
