//! Assets that are marked as deleted: their objects go, twice, and the proof stays.
//!
//! Guarantees:
//! - nothing is touched before its time to restore is over, and nothing is restored once this has begun;
//! - only what is the asset's own goes: its outputs by their prefix; of its source every version of a key that we made,
//!   else the very version (or the very bytes, by ETag) that it was made from;
//! - the second sweep comes after the longest task and the longest link, and after every lease that was called off, so that
//!   whoever wrote late is found; only when a listing after it is empty does the asset count as deleted.

use std::time::Duration;

use reelfleet_catalog::assets::Asset;
use reelfleet_catalog::deletion::Deletion;
use reelfleet_messages::Event;
use reelfleet_messages::event::AssetOnly;
use reelfleet_objects::{Multipart, ObjectError, ObjectTree};
use serde::{Deserialize, Serialize};

use crate::{Janitor, passed_over};

/// Deletions of one round.
const PAGE: i64 = 50;

/// What a sweep deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Sweep {
    /// When (epoch milliseconds).
    at_ms: i64,
    /// Objects under the asset's prefix.
    outputs: u64,
    /// Versions of its source.
    source_versions: u64,
    /// Multipart uploads of its key that were open.
    multiparts: u64,
}

/// What is kept for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Proof {
    /// The first sweep, and the second.
    sweeps: Vec<Sweep>,
    /// When both listings were empty (epoch milliseconds).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    empty_at_ms: Option<i64>,
}

impl Janitor {
    /// Answers how many assets were swept or are gone.
    pub(crate) async fn sweep_deletions(&self) -> anyhow::Result<u64> {
        let again = self.before(Duration::from_secs(u64::from(self.options.loser_age_seconds)));
        let due = self.catalog.due_deletions(self.context.clock.now_ms(), again, PAGE).await?;
        let mut count = 0;
        for deletion in due {
            self.beat.tick();
            match self.purge(&deletion).await {
                Ok(true) => count += 1,
                Ok(false) => {}
                Err(error) => passed_over("deletions", &deletion.asset.to_string(), format_args!("{error:#}")),
            }
        }
        Ok(count)
    }

    async fn purge(&self, deletion: &Deletion) -> anyhow::Result<bool> {
        let step = self.context.step();
        if !self.catalog.begin_purge(step.now, &deletion.asset).await? {
            return Ok(false);
        }
        let Some(asset) = self.catalog.asset(&deletion.asset).await? else { return Ok(false) };
        let mut proof = match &deletion.proof {
            Some(text) => serde_json::from_str(text)?,
            None => Proof { sweeps: Vec::new(), empty_at_ms: None },
        };
        proof.sweeps.push(self.sweep_asset(&asset).await?);
        if deletion.swept_at.is_none() {
            self.catalog.purge_swept(step.now, &asset.id, &serde_json::to_string(&proof)?).await?;
            return Ok(true);
        }
        anyhow::ensure!(self.is_empty(&asset).await?, "something was written again while it was swept");
        proof.empty_at_ms = Some(self.context.clock.now_ms());
        let fact = Event::AssetDeleted(AssetOnly { asset: asset.id });
        let emissions = [self.context.emission(&asset.tenant, &asset.owner, None, fact)];
        self.catalog.deleted(&step, &asset, &serde_json::to_string(&proof)?, &emissions).await?;
        Ok(true)
    }

    async fn sweep_asset(&self, asset: &Asset) -> anyhow::Result<Sweep> {
        let outputs = self.outputs.delete_prefix(&prefix(asset)).await?;
        self.beat.tick();
        let mut multiparts = 0;
        if asset.upload_id.is_some() {
            let multipart = Multipart::new(self.context.clients.s3.clone(), &asset.bucket);
            for open in multipart.open_uploads(&asset.key).await?.into_iter().filter(|open| open.key == asset.key) {
                match multipart.abort(&open.key, &open.upload_id).await {
                    Ok(()) => multiparts += 1,
                    Err(ObjectError::NoUpload { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let source_versions = self.delete_source(asset).await?;
        Ok(Sweep { at_ms: self.context.clock.now_ms(), outputs, source_versions, multiparts })
    }

    /// Answers how many versions went.
    async fn delete_source(&self, asset: &Asset) -> Result<u64, ObjectError> {
        let tree = ObjectTree::new(self.context.clients.s3.clone(), &asset.bucket);
        if asset.upload_id.is_some() {
            // A key of ours: nobody else's object ever lay there.
            return tree.delete_versions(&asset.key).await;
        }
        tree.delete_exactly(&asset.key, asset.version_id.as_deref(), &asset.etag).await.map(u64::from)
    }

    async fn is_empty(&self, asset: &Asset) -> Result<bool, ObjectError> {
        if !self.outputs.list_page(&prefix(asset), None, 1).await?.is_empty() {
            return Ok(false);
        }
        let tree = ObjectTree::new(self.context.clients.s3.clone(), &asset.bucket);
        if asset.upload_id.is_some() {
            return Ok(!tree.has_versions(&asset.key).await?);
        }
        tree.is_gone(&asset.key, asset.version_id.as_deref(), &asset.etag).await
    }
}

/// Everything that was ever made of it, in every generation.
fn prefix(asset: &Asset) -> String {
    format!("out/{}/", asset.id)
}
