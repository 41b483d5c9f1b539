//! An object lands: asset, job and first task, once per identity.
//!
//! Guarantee: however often and in whatever order an object is announced, there is one asset and one job. A tombstone
//! keeps its identity, so a late notification resurrects nothing.

use reelfleet_messages::notification::ObjectEvent;
use reelfleet_messages::{AssetId, JobId, ObjectRef};

use crate::Step;
use crate::error::CatalogError;
use crate::events::{self, Emission};
use crate::statement::{Params, Statement};
use crate::store::{Atomic, Catalog};
use crate::tasks::{self, NewTask};

/// A new asset.
#[derive(Debug)]
pub struct Landing<'l> {
    /// Reserved by the upload, or fresh.
    pub asset: AssetId,
    /// Its job.
    pub job: JobId,
    /// From the upload's row, or from the configuration of the bucket; never from the key.
    pub tenant: &'l str,
    /// The same.
    pub owner: &'l str,
    /// The upload through the API.
    pub upload: Option<&'l str>,
    /// As HEAD reported it.
    pub object: &'l ObjectRef,
    /// The record that announced it.
    pub event: &'l ObjectEvent,
    /// For people.
    pub name: &'l str,
    /// The message, kept for inspection.
    pub raw: &'l str,
    /// The probing task.
    pub task: NewTask,
}

impl Catalog {
    /// Writes it all, or answers [`CatalogError::Conflict`] if the object (or the reserved id) is known, or its upload was
    /// aborted.
    pub async fn land(&self, step: &Step, landing: &Landing<'_>, emissions: &[Emission]) -> Result<(), CatalogError> {
        let identity = landing.object.identity();
        let mut statements = vec![
            Statement::new(
                "INSERT INTO asset (id, identity, tenant, owner, upload_id, bucket, object_key, version_id, etag, sequencer, size, name, state, \
                 generation, version, op_id, described, description, tags, visibility, edition, search, landed_at, updated_at) \
                 VALUES (:id, :identity, :tenant, :owner, :upload, :bucket, :key, :version_id, :etag, :sequencer, :size, :name, 'uploaded', \
                 1, 1, :op, 0, '', '[]', 'private', 1, :search, :now, :now) ON CONFLICT DO NOTHING",
            )
            .text("id", landing.asset.to_string())
            .text("identity", identity.as_str())
            .text("tenant", landing.tenant)
            .text("owner", landing.owner)
            .with(
                Params::new()
                    .opt_text("upload", landing.upload)
                    .opt_text("version_id", landing.object.version_id.as_deref())
                    .opt_text("sequencer", landing.event.sequencer.as_deref()),
            )
            .text("bucket", &landing.object.bucket)
            .text("key", &landing.object.key)
            .text("etag", &landing.object.etag)
            .int("size", i64::try_from(landing.object.size).unwrap_or(i64::MAX))
            .text("name", landing.name)
            .text("search", landing.name.to_lowercase())
            .text("op", &step.op)
            .int("now", step.now)
            .expect(1),
            Statement::new("INSERT INTO inbox (identity, body, received_at) VALUES (:identity, :body, :now) ON CONFLICT (identity) DO NOTHING")
                .text("identity", identity.as_str())
                .text("body", landing.raw)
                .int("now", step.now),
            Statement::new(
                "INSERT INTO job (id, asset_id, tenant, generation, state, remaining, total_us, percent, progress_seq, progress_at, created_at, updated_at) \
                 VALUES (:job, :asset, :tenant, 1, 'queued', 0, 0, 0.0, 0, 0, :now, :now)",
            )
            .text("job", landing.job.to_string())
            .text("asset", landing.asset.to_string())
            .text("tenant", landing.tenant)
            .int("now", step.now),
        ];
        if let Some(upload) = landing.upload {
            statements.push(
                // An upload that was aborted meanwhile makes nothing.
                Statement::new(
                    "UPDATE upload SET state = 'landed', updated_at = :now WHERE id = :id AND state <> 'aborted'",
                )
                .int("now", step.now)
                .text("id", upload)
                .expect(1),
            );
        }
        statements.extend(tasks::insert(step, std::slice::from_ref(&landing.task)));
        statements.extend(events::emit(step, emissions));
        let settled = Statement::new("SELECT id FROM asset WHERE id = :id AND op_id = :op")
            .text("id", landing.asset.to_string())
            .text("op", &step.op);
        self.commit(Atomic { what: "landing an object", statements, settled }).await
    }
}
