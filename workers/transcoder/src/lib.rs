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

use reelfleet_catalog::assets::Asset;
use reelfleet_catalog::jobs::Job;
use reelfleet_catalog::{Catalog, CatalogError};
use reelfleet_domain::policy::Refusal;
use reelfleet_events::Progress;
use reelfleet_fleet::{Attempt, BoxFuture, Context, QueueName, Settings, TaskHandler, TaskRunner, WorkError, Worked};
use reelfleet_media::{DecoderConfig, Decoders, Source};
use reelfleet_messages::event::ReasonCode;
use reelfleet_messages::task::Task;
use reelfleet_objects::{ObjectWriter, RangedReader};

/// Plans, openings and playlists at work at once, besides the chunks: each is short.
const EXPRESS: usize = 3;

/// Runs until the context's shutdown, with this many chunks at work at once.
pub async fn run(context: Context, catalog: Catalog, progress: Progress, slots: usize) -> anyhow::Result<()> {
    let decoders = Decoders::start(DecoderConfig::default())?;
    let outputs = ObjectWriter::new(context.clients.s3.clone(), &context.config.outputs_bucket);
    let encoding = context.consumer(QueueName::Transcode, Settings { slots, ..Settings::default() }).await?;
    let express = context.consumer(QueueName::Express, Settings { slots: EXPRESS, ..Settings::default() }).await?;
    let transcoder = Transcoder { context: context.clone(), catalog: catalog.clone(), decoders, outputs, progress };
    let runner = Arc::new(TaskRunner::new(context, catalog, transcoder));
    tokio::join!(encoding.run(runner.clone()), express.run(runner));
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
    /// The asset and its job, if work on them may still be committed: the asset lives, and no newer generation is made.
    async fn subject(&self, attempt: &Attempt) -> Result<(Asset, Job), WorkError> {
        let envelope = &attempt.lease.envelope;
        let over = || WorkError::Catalog(CatalogError::Conflict { what: "working on an asset" });
        let current = |a: &Asset| a.state.is_live() && a.generation == i64::from(envelope.work.generation());
        let asset = self.catalog.asset(&envelope.work.asset()).await?.filter(current).ok_or_else(over)?;
        let job = self.catalog.job(&envelope.job).await?.ok_or_else(over)?;
        Ok((asset, job))
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
        Source::of_object(reader)
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
