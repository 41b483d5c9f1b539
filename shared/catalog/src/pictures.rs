//! Pictures of an asset: poster, storyboard, sizes of a still image.

use reelfleet_domain::TaskState;
use reelfleet_messages::{AssetId, Letter};

use crate::Step;
use crate::costs;
use crate::error::CatalogError;
use crate::events::{self, Emission};
use crate::statement::{Params, Row, Statement, one_of};
use crate::store::{Atomic, Catalog};
use crate::tasks::{self, Lease};

/// One picture, or the storyboard's cue file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Key relative to the generation's folder: `poster-640.jpg`.
    pub name: String,
    /// `poster`, `storyboard`, `cues`, `size`.
    pub kind: String,
    /// `jpeg`, `webp`, `png`, `vtt`.
    pub format: String,
    /// Pixels; 0 for cues.
    pub width: i64,
    /// Pixels; 0 for cues.
    pub height: i64,
    /// Bytes.
    pub bytes: i64,
}

/// Rows of pictures, in the asset's generation of that moment.
pub(crate) fn insert(asset: &str, pictures: &[Picture]) -> Statement {
    Statement::batch(
        "INSERT INTO picture (asset_id, generation, name, kind, format, width, height, bytes) \
         SELECT id, generation, :name, :kind, :format, :width, :height, :bytes FROM asset WHERE id = :asset \
         ON CONFLICT (asset_id, generation, name) DO UPDATE SET width = :width, height = :height, bytes = :bytes",
        pictures.iter().map(|p| {
            Params::new()
                .text("asset", asset)
                .text("name", &p.name)
                .text("kind", &p.kind)
                .text("format", &p.format)
                .int("width", p.width)
                .int("height", p.height)
                .int("bytes", p.bytes)
        }),
    )
}

impl Catalog {
    /// Commits what a thumbnailing task made.
    pub async fn pictured(
        &self,
        step: &Step,
        lease: &Lease,
        pictures: &[Picture],
        still: bool,
        emissions: &[Emission],
    ) -> Result<(), CatalogError> {
        let (asset, job) = (lease.envelope.work.asset().to_string(), lease.envelope.job.to_string());
        let mut statements = vec![tasks::settle(step, lease, TaskState::Done)];
        if !pictures.is_empty() {
            statements.push(insert(&asset, pictures));
        }
        if still {
            statements.push(
                Statement::new(
                    "UPDATE asset SET state = 'ready', ready_at = :now, version = version + 1, op_id = :op, updated_at = :now \
                     WHERE id = :id AND state = 'processing'",
                )
                .int("now", step.now)
                .text("op", &step.op)
                .text("id", &asset)
                .expect(1),
            );
            statements.push(
                Statement::new(
                    "UPDATE job SET state = 'succeeded', percent = 100.0, updated_at = :now WHERE id = :id AND state IN ('queued', 'running')",
                )
                .int("now", step.now)
                .text("id", &job)
                .expect(1),
            );
        } else {
            statements.push(
                Statement::new(
                    "UPDATE asset SET version = version + 1, updated_at = :now WHERE id = :id AND state NOT IN ('deleting', 'deleted')",
                )
                .int("now", step.now)
                .text("id", &asset)
                .expect(1),
            );
        }
        statements.extend(costs::used(step, lease));
        statements.extend(events::emit(step, emissions));
        let settled = tasks::settled(step, &lease.envelope.task);
        self.commit(Atomic { what: "recording pictures", statements, settled }).await
    }

    /// Gives a task up without ending its asset: a video without a poster is still a video. Without a letter it ends as
    /// done: there was nothing to be done.
    pub async fn give_up(
        &self,
        step: &Step,
        lease: &Lease,
        letter: Option<&Letter>,
        emissions: &[Emission],
    ) -> Result<(), CatalogError> {
        let mut statements = match letter {
            Some(letter) => tasks::fail(step, lease, letter)?,
            None => vec![tasks::settle(step, lease, TaskState::Done)],
        };
        statements.extend(events::emit(step, emissions));
        let settled = tasks::settled(step, &lease.envelope.task);
        self.commit(Atomic { what: "giving a task up", statements, settled }).await
    }

    /// Pictures of an asset.
    pub async fn pictures(&self, asset: &AssetId, generation: i64) -> Result<Vec<Picture>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT name, kind, format, width, height, bytes FROM picture WHERE asset_id = :asset AND generation = :generation ORDER BY kind, width, name",
                )
                .text("asset", asset.to_string())
                .int("generation", generation),
            )
            .await?;
        rows.iter().map(|row| picture(row, 0)).collect()
    }

    /// Posters, storyboards and sizes of several assets, in their present generations, the smallest first.
    pub async fn pictures_of_each(&self, assets: &[AssetId]) -> Result<Vec<(AssetId, Picture)>, CatalogError> {
        let sql = concat!(
            "SELECT p.asset_id, p.name, p.kind, p.format, p.width, p.height, p.bytes \
             FROM asset a JOIN picture p ON p.asset_id = a.id AND p.generation = a.generation WHERE a.id IN ",
            one_of!(),
            " ORDER BY p.width, p.name"
        );
        let rows = self.read_each(sql, assets).await?;
        rows.iter().map(|row| Ok((row.parsed(0, "an asset's id")?, picture(row, 1)?))).collect()
    }
}

fn picture(row: &Row, from: usize) -> Result<Picture, CatalogError> {
    Ok(Picture {
        name: row.text(from)?,
        kind: row.text(from + 1)?,
        format: row.text(from + 2)?,
        width: row.int(from + 3)?,
        height: row.int(from + 4)?,
        bytes: row.int(from + 5)?,
    })
}
