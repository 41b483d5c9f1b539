//! Publishing: playlists, and the two facts that wait for them.
//!
//! Guarantee: one publisher per job at a time (its task's lease); a commit that comes while it works raises `wanted`,
//! and its last step is a compare-and-set on `wanted`, so no commit is left unpublished. `asset.playable` and
//! `asset.ready` are written only after their objects are in S3, once each per generation.

use reelfleet_messages::{AssetId, JobId};

use crate::Step;
use crate::error::CatalogError;
use crate::events::{self, Emission};
use crate::statement::{Params, Statement};
use crate::store::{Atomic, Catalog};
use crate::tasks::{self, Lease};

/// A playlist as last written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Playlist {
    /// `master`, `720p`, `audio`.
    pub name: String,
    /// What the next writer must meet.
    pub etag: String,
    /// Segments in it.
    pub segments: i64,
    /// Whether it is the final one.
    pub ended: bool,
}

/// A finished rendition.
#[derive(Debug, Clone)]
pub struct Rendition {
    /// `720p`, `audio`.
    pub name: String,
    /// RFC 6381.
    pub codecs: String,
    /// Pixels; audio has none.
    pub size: Option<(i64, i64)>,
    /// Peak bits per second.
    pub bandwidth: i64,
    /// Frames.
    pub frames: i64,
    /// Bytes of its segments.
    pub bytes: i64,
}

/// Rows of renditions, in the asset's generation of that moment.
pub(crate) fn insert_renditions(asset: &str, renditions: &[Rendition]) -> Statement {
    Statement::batch(
        "INSERT INTO rendition (asset_id, generation, name, codecs, width, height, bandwidth, frames, bytes) \
         SELECT id, generation, :name, :codecs, CAST(:width AS BIGINT), CAST(:height AS BIGINT), :bandwidth, :frames, :bytes FROM asset WHERE id = :asset",
        renditions.iter().map(|r| {
            Params::new()
                .text("asset", asset)
                .text("name", &r.name)
                .text("codecs", &r.codecs)
                .opt_int("width", r.size.map(|s| s.0))
                .opt_int("height", r.size.map(|s| s.1))
                .int("bandwidth", r.bandwidth)
                .int("frames", r.frames)
                .int("bytes", r.bytes)
        }),
    )
}

impl Catalog {
    /// The playlists of a job.
    pub async fn playlists(&self, job: &JobId) -> Result<Vec<Playlist>, CatalogError> {
        let rows = self
            .read(
                Statement::new("SELECT name, etag, segments, ended FROM playlist WHERE job_id = :job ORDER BY name")
                    .text("job", job.to_string()),
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Playlist { name: row.text(0)?, etag: row.text(1)?, segments: row.int(2)?, ended: row.bool(3)? })
            })
            .collect()
    }

    /// Notes a playlist that is in S3. A stale writer's note is refused by the lease.
    pub async fn wrote_playlist(&self, step: &Step, lease: &Lease, list: &Playlist) -> Result<(), CatalogError> {
        let (_, changed) = self
            .write(
                Statement::new(
                    "INSERT INTO playlist (job_id, name, etag, segments, ended, updated_at) \
                     SELECT job_id, :name, :etag, :segments, :ended, :now FROM task WHERE id = :task AND lease_token = :token AND state = 'leased' \
                     ON CONFLICT (job_id, name) DO UPDATE SET etag = :etag, segments = :segments, ended = :ended, updated_at = :now",
                )
                .text("name", &list.name)
                .text("etag", &list.etag)
                .int("segments", list.segments)
                .with(Params::new().bool("ended", list.ended))
                .int("now", step.now)
                .text("task", lease.envelope.task.to_string())
                .int("token", lease.token),
            )
            .await?;
        if changed == 1 { Ok(()) } else { Err(CatalogError::Conflict { what: "noting a playlist" }) }
    }

    /// The first prefix of a generation is in S3. Conflict: it was playable already, has ended, or a newer generation is
    /// being made.
    pub async fn playable(
        &self,
        step: &Step,
        asset: &AssetId,
        generation: i64,
        emissions: &[Emission],
    ) -> Result<(), CatalogError> {
        let mut statements = vec![
            Statement::new(
                "UPDATE asset SET state = 'playable', playable_at = :now, version = version + 1, op_id = :op, updated_at = :now \
                 WHERE id = :id AND state = 'processing' AND generation = :generation",
            )
            .int("generation", generation)
            .int("now", step.now)
            .text("op", &step.op)
            .text("id", asset.to_string())
            .expect(1),
        ];
        statements.extend(events::emit(step, emissions));
        let settled = Statement::new("SELECT id FROM asset WHERE id = :id AND op_id = :op")
            .text("id", asset.to_string())
            .text("op", &step.op);
        self.commit(Atomic { what: "marking an asset playable", statements, settled }).await
    }

    /// Ends a publisher's step if nothing was committed meanwhile; `false`: go round again.
    pub async fn published(&self, step: &Step, lease: &Lease, wanted: i64) -> Result<bool, CatalogError> {
        let (_, changed) = self
            .write(
                Statement::new(
                    "UPDATE task SET state = 'done', op_id = :op, updated_at = :now \
                     WHERE id = :id AND lease_token = :token AND state = 'leased' AND wanted = :wanted",
                )
                .text("op", &step.op)
                .int("now", step.now)
                .text("id", lease.envelope.task.to_string())
                .int("token", lease.token)
                .int("wanted", wanted),
            )
            .await?;
        if changed == 1 {
            return Ok(true);
        }
        let rows = self
            .read(
                Statement::new("SELECT op_id, lease_token, state FROM task WHERE id = :id")
                    .text("id", lease.envelope.task.to_string()),
            )
            .await?;
        match rows.first() {
            Some(row) if row.text(0)? == step.op => Ok(true),
            Some(row) if row.int(1)? == lease.token && row.text(2)? == "leased" => Ok(false),
            _ => Err(CatalogError::Conflict { what: "ending a publisher's step" }),
        }
    }

    /// How often publishing has been asked for: read before the runs are read.
    pub async fn wanted(&self, lease: &Lease) -> Result<i64, CatalogError> {
        let rows = self
            .read(
                Statement::new("SELECT wanted FROM task WHERE id = :id AND lease_token = :token AND state = 'leased'")
                    .text("id", lease.envelope.task.to_string())
                    .int("token", lease.token),
            )
            .await?;
        crate::store::first_int(&rows)?.ok_or(CatalogError::Conflict { what: "reading a publisher's task" })
    }

    /// Everything is in S3: renditions, the asset's and the job's end, and the facts. `publisher` is the leased task.
    pub async fn ready(
        &self,
        step: &Step,
        lease: &Lease,
        renditions: &[Rendition],
        emissions: &[Emission],
    ) -> Result<(), CatalogError> {
        let (asset, job) = (lease.envelope.work.asset().to_string(), lease.envelope.job.to_string());
        let mut statements = vec![
            tasks::settle(step, lease, reelfleet_domain::TaskState::Done),
            Statement::new(
                "UPDATE asset SET state = 'ready', ready_at = :now, playable_at = coalesce(playable_at, :now), version = version + 1, op_id = :op, \
                 updated_at = :now WHERE id = :id AND state IN ('processing', 'playable')",
            )
            .int("now", step.now)
            .text("op", &step.op)
            .text("id", &asset)
            .expect(1),
            Statement::new(
                "UPDATE job SET state = 'succeeded', percent = 100.0, progress_seq = progress_seq + 1, updated_at = :now \
                 WHERE id = :id AND state IN ('queued', 'running') AND remaining = 0",
            )
            .int("now", step.now)
            .text("id", &job)
            .expect(1),
        ];
        if !renditions.is_empty() {
            statements.push(insert_renditions(&asset, renditions));
        }
        statements.extend(events::emit(step, emissions));
        let settled = tasks::settled(step, &lease.envelope.task);
        self.commit(Atomic { what: "marking an asset ready", statements, settled }).await
    }

    /// Finished renditions of an asset, the largest first.
    pub async fn renditions(&self, asset: &AssetId, generation: i64) -> Result<Vec<Rendition>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT name, codecs, width, height, bandwidth, frames, bytes FROM rendition WHERE asset_id = :asset AND generation = :generation \
                     ORDER BY height DESC NULLS LAST, name",
                )
                .text("asset", asset.to_string())
                .int("generation", generation),
            )
            .await?;
        rows.iter()
            .map(|row| {
                let size = row.opt_int(2)?.zip(row.opt_int(3)?);
                Ok(Rendition {
                    name: row.text(0)?,
                    codecs: row.text(1)?,
                    size,
                    bandwidth: row.int(4)?,
                    frames: row.int(5)?,
                    bytes: row.int(6)?,
                })
            })
            .collect()
    }
}
