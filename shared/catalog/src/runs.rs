//! Runs: what encoding tasks committed. The row is the truth; objects that no row names are garbage.

use reelfleet_domain::TaskState;
use reelfleet_domain::playlist::Segment;
use reelfleet_messages::{JobId, TaskId};
use serde::{Deserialize, Serialize};

use crate::Step;
use crate::costs;
use crate::error::CatalogError;
use crate::outbox;
use crate::statement::{Params, Row, Statement};
use crate::store::{Atomic, Catalog, first_int};
use crate::tasks::{self, Lease};

/// The segments of one rendition in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRendition {
    /// `720p`, `audio`.
    pub name: String,
    /// RFC 6381.
    pub codecs: String,
    /// Key of the init segment, relative to the generation's folder: made of its bytes, so equal over all runs of a
    /// rendition.
    pub init: String,
    /// In order.
    pub segments: Vec<Segment>,
}

/// A run of media, committed.
#[derive(Debug, Clone)]
pub struct Run {
    /// `video` or `audio`.
    pub track: String,
    /// Chunk of the track.
    pub chunk: i64,
    /// Run of the chunk, from 0.
    pub run: i64,
    /// First instant (microseconds from the asset's zero).
    pub start_us: i64,
    /// The instant after its last.
    pub end_us: i64,
    /// Frames made.
    pub frames: i64,
    /// Packets of the span in the source.
    pub packets: i64,
    /// Damaged or undated frames that were passed over.
    pub errors: i64,
    /// First frame's time (microseconds).
    pub first_pts_us: i64,
    /// Last frame's time (microseconds).
    pub last_pts_us: i64,
    /// When the source's first picture behind this run is shown, as its decoder saw it (microseconds). None: the source
    /// ends, or it is sound.
    pub next_pts_us: Option<i64>,
    /// For audio: the AAC frame that follows.
    pub next_frame: Option<i64>,
    /// For audio: where the source stood (JSON), so that a continuation fits without a seam.
    pub anchor: Option<String>,
    /// What was made.
    pub renditions: Vec<RunRendition>,
    /// Whether the chunk ends with it.
    pub is_last: bool,
}

impl Catalog {
    /// Commits a run, once, and asks for publishing. The last run of a task also ends it and counts it off its job.
    ///
    /// A chain's attempt that committed a run starts counting its attempts anew: it makes progress.
    pub async fn commit_run(
        &self,
        step: &Step,
        lease: &Lease,
        run: &Run,
        publish_task: &TaskId,
    ) -> Result<(), CatalogError> {
        let renditions =
            serde_json::to_string(&run.renditions).map_err(|source| CatalogError::Stored { what: "run", source })?;
        let task = lease.envelope.task.to_string();
        let guard = if run.is_last {
            tasks::settle(step, lease, TaskState::Done)
        } else {
            Statement::new(
                "UPDATE task SET attempts = 1, op_id = :op, updated_at = :now WHERE id = :id AND lease_token = :token AND state = 'leased'",
            )
            .text("op", &step.op)
            .int("now", step.now)
            .text("id", &task)
            .int("token", lease.token)
            .expect(1)
        };
        let mut statements = vec![
            guard,
            Statement::new(
                "INSERT INTO run (job_id, track, chunk, run, task_id, token, start_us, end_us, frames, packets, errors, first_pts_us, last_pts_us, \
                 next_pts_us, next_frame, anchor, renditions, is_last, committed_at) VALUES (:job, :track, :chunk, :run, :task, :token, :start, :end, :frames, \
                 :packets, :errors, :first, :last, :next_pts, :next, :anchor, :renditions, :is_last, :now)",
            )
            .text("job", lease.envelope.job.to_string())
            .text("track", &run.track)
            .int("chunk", run.chunk)
            .int("run", run.run)
            .text("task", &task)
            .int("token", lease.token)
            .int("start", run.start_us)
            .int("end", run.end_us)
            .int("frames", run.frames)
            .int("packets", run.packets)
            .int("errors", run.errors)
            .int("first", run.first_pts_us)
            .int("last", run.last_pts_us)
            .with(
                Params::new()
                    .opt_int("next_pts", run.next_pts_us)
                    .opt_int("next", run.next_frame)
                    .opt_text("anchor", run.anchor.as_deref())
                    .bool("is_last", run.is_last),
            )
            .text("renditions", &renditions)
            .int("now", step.now)
            .expect(1),
        ];
        if run.is_last {
            statements.push(
                Statement::new(
                    "UPDATE job SET remaining = remaining - 1, updated_at = :now WHERE id = :id AND state = 'running'",
                )
                .int("now", step.now)
                .text("id", lease.envelope.job.to_string())
                .expect(1),
            );
        }
        // The row lock of the publishing task puts committers and the publisher in line: see `publishing`.
        statements.push(
            Statement::new(
                "UPDATE task SET wanted = wanted + 1, state = CASE WHEN state = 'done' THEN 'pending' ELSE state END, \
                 attempts = CASE WHEN state = 'done' THEN 0 ELSE attempts END, updated_at = :now WHERE id = :id",
            )
            .int("now", step.now)
            .text("id", publish_task.to_string()),
        );
        statements.extend(costs::used(step, lease));
        statements.push(outbox::wake_up_stored(step, publish_task));
        let settled = tasks::settled(step, &lease.envelope.task);
        self.commit(Atomic { what: "committing a run", statements, settled }).await
    }

    /// All committed runs of a job, in order.
    pub async fn runs(&self, job: &JobId) -> Result<Vec<Run>, CatalogError> {
        const PAGE: i64 = 50;
        let mut runs: Vec<Run> = Vec::new();
        loop {
            let (track, chunk, run) =
                runs.last().map_or((String::new(), -1, -1), |r| (r.track.clone(), r.chunk, r.run));
            let rows = self
                .read(
                    Statement::new(
                        "SELECT track, chunk, run, start_us, end_us, frames, packets, errors, first_pts_us, last_pts_us, next_pts_us, next_frame, anchor, \
                         renditions, is_last FROM run WHERE job_id = :job AND (track > :track OR (track = :track AND (chunk > :chunk OR \
                         (chunk = :chunk AND run > :run)))) ORDER BY track, chunk, run LIMIT :limit",
                    )
                    .text("job", job.to_string())
                    .text("track", track)
                    .int("chunk", chunk)
                    .int("run", run)
                    .int("limit", PAGE),
                )
                .await?;
            for row in &rows {
                runs.push(run_from(row)?);
            }
            if (rows.len() as i64) < PAGE {
                return Ok(runs);
            }
        }
    }

    /// The last committed run of one chunk: where a chain goes on.
    pub async fn last_run(&self, job: &JobId, track: &str, chunk: i64) -> Result<Option<Run>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT track, chunk, run, start_us, end_us, frames, packets, errors, first_pts_us, last_pts_us, next_pts_us, next_frame, anchor, \
                     renditions, is_last FROM run WHERE job_id = :job AND track = :track AND chunk = :chunk ORDER BY run DESC LIMIT 1",
                )
                .text("job", job.to_string())
                .text("track", track)
                .int("chunk", chunk),
            )
            .await?;
        rows.first().map(run_from).transpose()
    }

    /// Media that is committed, all tracks together (microseconds).
    pub async fn committed_us(&self, job: &JobId) -> Result<i64, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT CAST(coalesce(sum(end_us - start_us), 0) AS BIGINT) FROM run WHERE job_id = :job",
                )
                .text("job", job.to_string()),
            )
            .await?;
        Ok(first_int(&rows)?.unwrap_or(0))
    }

    /// Keys (relative to the generation's folder) that committed runs of one attempt name.
    pub async fn keys_of_attempt(&self, task: &str, token: i64) -> Result<Vec<String>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT renditions FROM run WHERE task_id = :task AND token = :token ORDER BY run LIMIT 1000",
                )
                .text("task", task)
                .int("token", token),
            )
            .await?;
        let mut keys = Vec::new();
        for row in &rows {
            for rendition in renditions_of(row, 0)? {
                keys.push(rendition.init);
                keys.extend(rendition.segments.into_iter().map(|segment| segment.key));
            }
        }
        Ok(keys)
    }
}

pub(crate) fn renditions_of(row: &Row, column: usize) -> Result<Vec<RunRendition>, CatalogError> {
    serde_json::from_str(&row.text(column)?).map_err(|source| CatalogError::Stored { what: "run", source })
}

fn run_from(row: &Row) -> Result<Run, CatalogError> {
    Ok(Run {
        track: row.text(0)?,
        chunk: row.int(1)?,
        run: row.int(2)?,
        start_us: row.int(3)?,
        end_us: row.int(4)?,
        frames: row.int(5)?,
        packets: row.int(6)?,
        errors: row.int(7)?,
        first_pts_us: row.int(8)?,
        last_pts_us: row.int(9)?,
        next_pts_us: row.opt_int(10)?,
        next_frame: row.opt_int(11)?,
        anchor: row.opt_text(12)?,
        renditions: renditions_of(row, 13)?,
        is_last: row.bool(14)?,
    })
}
