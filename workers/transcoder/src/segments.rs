//! What an attempt makes of the decoder's output: objects under its own prefix, and the rows that name them.
//!
//! Guarantee: a run is handed out for commit only when each of its objects is in S3.

use std::collections::BTreeMap;

use bytes::Bytes;
use reelfleet_catalog::runs::RunRendition;
use reelfleet_domain::playlist::Segment;
use reelfleet_fleet::WorkError;
use reelfleet_media::Usage;
use reelfleet_media::wire::SegmentInfo;
use reelfleet_objects::{ObjectError, ObjectWriter};
use reelfleet_telemetry::SegmentBytes;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

/// Uploads under way at once: enough to hide their latency, few enough to bound their memory.
const IN_FLIGHT: usize = 8;
const CONTENT_TYPE: &str = "video/mp4";
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// The segments of the run in hand.
pub(crate) struct Segments {
    outputs: ObjectWriter,
    /// The generation's folder.
    base: String,
    /// Under `base`: the attempt's own folder.
    folder: String,
    chunk: u32,
    inits: BTreeMap<String, Init>,
    run: BTreeMap<String, Vec<Segment>>,
    uploads: JoinSet<Result<(), ObjectError>>,
    count: u32,
    written: Written,
    /// What the decoder had used when the run before ended.
    before: Usage,
}

/// Objects of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Written {
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
}

struct Init {
    codecs: String,
    key: String,
}

impl Segments {
    pub(crate) fn new(outputs: ObjectWriter, base: String, folder: String, chunk: u32) -> Self {
        Self {
            outputs,
            base,
            folder,
            chunk,
            inits: BTreeMap::new(),
            run: BTreeMap::new(),
            uploads: JoinSet::new(),
            count: 0,
            written: Written::default(),
            before: Usage::default(),
        }
    }

    /// What the decoder used since the run before.
    pub(crate) fn since(&mut self, now: Usage) -> Usage {
        let before = std::mem::replace(&mut self.before, now);
        Usage { cpu_ms: now.cpu_ms.saturating_sub(before.cpu_ms), reads: now.reads.saturating_sub(before.reads) }
    }

    /// An init segment. Equal bytes have equal keys: whichever run turns out to be the first with media, its own is there,
    /// and whoever writes it again changes nothing.
    pub(crate) async fn init(&mut self, rendition: String, codecs: String, body: Bytes) -> Result<(), WorkError> {
        let sum = hex::encode(Sha256::digest(&body));
        let key = format!("init/{rendition}-{}.mp4", &sum[..16]);
        self.put(key.clone(), body).await?;
        self.inits.insert(rendition, Init { codecs, key });
        Ok(())
    }

    /// A media segment.
    pub(crate) async fn segment(&mut self, info: SegmentInfo, body: Bytes) -> Result<(), WorkError> {
        let key = format!("{}{}-{:05}-{:04}.m4s", self.folder, info.rendition, self.chunk, info.index);
        let segment =
            Segment { key: key.clone(), duration: info.duration, timescale: info.timescale, bytes: body.len() as u64 };
        SegmentBytes { rendition: &info.rendition, bytes: body.len() as u64 }.emit();
        self.run.entry(info.rendition).or_default().push(segment);
        self.count += 1;
        self.put(key, body).await
    }

    async fn put(&mut self, key: String, body: Bytes) -> Result<(), WorkError> {
        while self.uploads.len() >= IN_FLIGHT {
            self.one_uploaded().await?;
        }
        self.written.objects += 1;
        self.written.bytes = self.written.bytes.saturating_add(body.len() as u64);
        let (outputs, key) = (self.outputs.clone(), format!("{}{key}", self.base));
        self.uploads.spawn(async move { outputs.put(&key, body, CONTENT_TYPE, Some(IMMUTABLE)).await.map(drop) });
        Ok(())
    }

    async fn one_uploaded(&mut self) -> Result<(), WorkError> {
        match self.uploads.join_next().await {
            Some(Ok(Ok(()))) | None => Ok(()),
            Some(Ok(Err(error))) => Err(WorkError::again(error)),
            Some(Err(error)) => Err(WorkError::again(error)),
        }
    }

    /// The run's renditions, once all is in S3; the next run begins.
    pub(crate) async fn finish(&mut self) -> Result<(Vec<RunRendition>, Written), WorkError> {
        while !self.uploads.is_empty() {
            self.one_uploaded().await?;
        }
        let mut run = std::mem::take(&mut self.run);
        let renditions = self
            .inits
            .iter()
            .map(|(name, init)| RunRendition {
                name: name.clone(),
                codecs: init.codecs.clone(),
                init: init.key.clone(),
                segments: run.remove(name).unwrap_or_default(),
            })
            .collect();
        Ok((renditions, std::mem::take(&mut self.written)))
    }
}
