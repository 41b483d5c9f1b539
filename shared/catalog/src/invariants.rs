//! What must hold between rows at every moment, as questions that find what breaks it.
//!
//! Guarantee: only reads; each question is one statement, so it sees one moment. Where a state is right for a while (a
//! task waits for its message), `before` says since when it is not.

use crate::error::CatalogError;
use crate::statement::Statement;
use crate::store::Catalog;

/// A rule over rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A live asset has a task that will move it.
    LiveAssetHasWork,
    /// A job with nothing remaining ends.
    FinishedJobEnds,
    /// The job of an ended asset has ended; a newer generation may be made beside one that is ready.
    JobEndsWithAsset,
    /// Tasks of an asset that came to nothing are over.
    TaskEndsWithAsset,
    /// A task that is due, or whose lease is over, is taken up. While its queue holds messages it may wait its turn.
    DueTaskIsTaken,
    /// `remaining` counts the encoding tasks that are not over. Those that a fallback called off no longer count.
    RemainingCounts,
    /// What is ready has ended playlists of every rendition.
    ReadyIsWhole,
    /// `metadata.json` follows the row.
    DescriptionFollows,
    /// What has to leave leaves.
    OutboxEmpties,
    /// A completed upload becomes an asset.
    CompletedUploadLands,
    /// Positions of a stream have no gap.
    PositionsAreWhole,
    /// An event stands in a stream once.
    EventsAreUnique,
    /// What is ready has said so.
    ReadyIsSaid,
}

/// (Rule, question, sentence). A question answers what breaks the rule and one word about it, which stands for `{}`.
const QUESTIONS: &[(Rule, &str, &str)] = &[
    (
        Rule::LiveAssetHasWork,
        "SELECT a.id, a.state FROM asset a WHERE a.state IN ('uploaded', 'processing', 'playable') AND a.updated_at < :before AND NOT EXISTS \
         (SELECT 1 FROM task t WHERE t.asset_id = a.id AND t.state IN ('pending', 'leased')) ORDER BY a.id LIMIT :limit",
        "the asset is {} and no task is left that could move it",
    ),
    (
        Rule::FinishedJobEnds,
        "SELECT j.id, j.asset_id FROM job j WHERE j.state = 'running' AND j.remaining = 0 AND j.updated_at < :before ORDER BY j.id LIMIT :limit",
        "every chunk of {} is committed, and the job has not ended",
    ),
    (
        Rule::JobEndsWithAsset,
        "SELECT j.id, a.state FROM job j JOIN asset a ON a.id = j.asset_id WHERE j.state IN ('queued', 'running') \
         AND a.state IN ('ready', 'refused', 'failed', 'deleted') AND NOT (a.state = 'ready' AND j.generation > a.generation) ORDER BY j.id LIMIT :limit",
        "the job goes on although its asset is {}",
    ),
    (
        Rule::TaskEndsWithAsset,
        "SELECT t.id, a.state FROM task t JOIN asset a ON a.id = t.asset_id WHERE t.state IN ('pending', 'leased') \
         AND a.state IN ('refused', 'failed', 'deleted') ORDER BY t.id LIMIT :limit",
        "the task goes on although its asset is {}",
    ),
    (
        Rule::DueTaskIsTaken,
        "SELECT id, queue FROM task WHERE (state = 'pending' AND next_at < :before AND updated_at < :before) OR \
         (state = 'leased' AND lease_until < :before AND updated_at < :before) ORDER BY id LIMIT :limit",
        "a task for {} is due, and nothing on the queue would wake anybody",
    ),
    (
        Rule::RemainingCounts,
        "SELECT j.id, CAST(j.remaining AS TEXT) FROM job j WHERE j.state = 'running' AND j.remaining <> (SELECT count(*) FROM task t \
         WHERE t.job_id = j.id AND t.kind IN ('encode_chunk', 'encode_audio') AND t.state NOT IN ('done', 'cancelled')) ORDER BY j.id LIMIT :limit",
        "the job counts {} chunks as remaining, its tasks say otherwise",
    ),
    (
        Rule::ReadyIsWhole,
        "SELECT a.id, coalesce(j.state, 'missing') FROM asset a LEFT JOIN job j ON j.asset_id = a.id AND j.generation = a.generation \
         WHERE a.state = 'ready' AND (j.state IS NULL OR j.state <> 'succeeded' OR j.remaining <> 0) ORDER BY a.id LIMIT :limit",
        "the asset is ready, its job is {}",
    ),
    (
        Rule::ReadyIsWhole,
        "SELECT a.id, p.name FROM asset a JOIN job j ON j.asset_id = a.id AND j.generation = a.generation JOIN playlist p ON p.job_id = j.id \
         WHERE a.state = 'ready' AND NOT p.ended ORDER BY a.id, p.name LIMIT :limit",
        "the asset is ready, its playlist {} has not ended",
    ),
    (
        Rule::ReadyIsWhole,
        "SELECT a.id, a.media FROM asset a LEFT JOIN job j ON j.asset_id = a.id AND j.generation = a.generation WHERE a.state = 'ready' \
         AND a.media IN ('video', 'audio') AND NOT EXISTS (SELECT 1 FROM playlist p WHERE p.job_id = j.id AND p.name = 'master') \
         ORDER BY a.id LIMIT :limit",
        "the {} is ready without a master playlist",
    ),
    (
        Rule::ReadyIsWhole,
        "SELECT a.id, r.name FROM rendition r JOIN asset a ON a.id = r.asset_id AND a.generation = r.generation \
         JOIN job j ON j.asset_id = a.id AND j.generation = a.generation WHERE a.state = 'ready' AND NOT EXISTS \
         (SELECT 1 FROM playlist p WHERE p.job_id = j.id AND p.name = r.name) ORDER BY a.id, r.name LIMIT :limit",
        "the asset is ready, its rendition {} has no playlist",
    ),
    (
        Rule::DescriptionFollows,
        "SELECT id, CAST(version AS TEXT) FROM asset WHERE described < version AND updated_at < :before \
         AND state NOT IN ('uploaded', 'deleting', 'deleted') ORDER BY id LIMIT :limit",
        "metadata.json does not tell of version {}",
    ),
    (
        Rule::OutboxEmpties,
        "SELECT id, target FROM outbox WHERE created_at < :before ORDER BY created_at, id LIMIT :limit",
        "a message for {} does not leave",
    ),
    (
        Rule::CompletedUploadLands,
        "SELECT u.id, u.object_key FROM upload u WHERE u.state = 'completed' AND u.updated_at < :before AND NOT EXISTS \
         (SELECT 1 FROM asset a WHERE a.id = u.asset_id) ORDER BY u.id LIMIT :limit",
        "the upload of {} was completed and became no asset",
    ),
    (
        // At the old end the janitor trims by time, and the clocks of two writers may differ: not a gap.
        Rule::PositionsAreWhole,
        "SELECT s.name, CAST(e.low AS TEXT) || ' to ' || CAST(e.high AS TEXT) FROM stream s JOIN (SELECT stream, count(*) AS n, \
         min(position) AS low, max(position) AS high FROM event_log GROUP BY stream) e ON e.stream = s.name WHERE e.high <> s.position \
         OR (e.low = 1 AND e.n <> e.high) OR (e.low > 1 AND e.n <> e.high - e.low + 1 AND EXISTS (SELECT 1 FROM event_log g \
         WHERE g.stream = s.name AND g.position < e.high AND g.logged_at > (SELECT min(logged_at) + 60000 FROM event_log o WHERE o.stream = s.name) AND NOT EXISTS \
         (SELECT 1 FROM event_log h WHERE h.stream = g.stream AND h.position = g.position + 1))) ORDER BY s.name LIMIT :limit",
        "of positions {} some are missing",
    ),
    (
        Rule::EventsAreUnique,
        "SELECT stream, event_id FROM event_log GROUP BY stream, event_id HAVING count(*) > 1 ORDER BY stream, event_id LIMIT :limit",
        "event {} is logged more than once",
    ),
    (
        Rule::ReadyIsSaid,
        "SELECT a.id, CAST(a.generation AS TEXT) FROM asset a JOIN (SELECT stream, min(position) AS low FROM event_log GROUP BY stream) e \
         ON e.stream = 'asset:' || a.id WHERE a.state = 'ready' AND e.low = 1 AND NOT EXISTS (SELECT 1 FROM event_log r \
         WHERE r.stream = e.stream AND r.body LIKE '%\"asset.ready.v%') ORDER BY a.id LIMIT :limit",
        "generation {} is ready, and no event says so",
    ),
];

/// Something that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub rule: Rule,
    /// The row: an id, or the name of a stream.
    pub subject: String,
    /// One word about it: a state, a name, a queue.
    pub word: String,
    /// What is wrong, for a person.
    pub detail: String,
}

/// An `asset.ready` in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadySaid {
    /// The asset's stream.
    pub stream: String,
    /// Its place there.
    pub position: i64,
    /// The event's id.
    pub event: String,
    /// The CloudEvent.
    pub body: String,
}

impl Catalog {
    /// Asks every question; at most `limit` answers each.
    pub async fn broken(&self, before: i64, limit: i64) -> Result<Vec<Broken>, CatalogError> {
        let mut broken = Vec::new();
        for (rule, sql, sentence) in QUESTIONS {
            let statement = Statement::new(sql).int("limit", limit);
            let statement = if sql.contains(":before") { statement.int("before", before) } else { statement };
            for row in self.read(statement).await? {
                let word = row.text(1)?;
                broken.push(Broken { rule: *rule, subject: row.text(0)?, detail: sentence.replace("{}", &word), word });
            }
        }
        Ok(broken)
    }

    /// Every `asset.ready` of the streams of assets, in the order of (stream, position), after the given one.
    pub async fn ready_said(&self, stream: &str, position: i64, limit: i64) -> Result<Vec<ReadySaid>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT stream, position, event_id, body FROM event_log WHERE (stream > :stream OR (stream = :stream AND position > :position)) \
                     AND stream LIKE 'asset:%' AND body LIKE '%\"asset.ready.v%' ORDER BY stream, position LIMIT :limit",
                )
                .text("stream", stream)
                .int("position", position)
                .int("limit", limit),
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(ReadySaid { stream: row.text(0)?, position: row.int(1)?, event: row.text(2)?, body: row.text(3)? })
            })
            .collect()
    }

    /// How much is unfinished: (tasks that are not over, messages that wait to leave).
    pub async fn unfinished(&self) -> Result<(i64, i64), CatalogError> {
        let rows = self
            .read(Statement::new(
                "SELECT (SELECT count(*) FROM task WHERE state IN ('pending', 'leased')), (SELECT count(*) FROM outbox)",
            ))
            .await?;
        rows.first().map_or(Ok((0, 0)), |row| Ok((row.int(0)?, row.int(1)?)))
    }

    /// Failed tasks by queue.
    pub async fn failed_by_queue(&self) -> Result<Vec<(String, i64)>, CatalogError> {
        let rows = self
            .read(Statement::new(
                "SELECT queue, count(*) FROM task WHERE state = 'failed' GROUP BY queue ORDER BY queue",
            ))
            .await?;
        rows.iter().map(|row| Ok((row.text(0)?, row.int(1)?))).collect()
    }
}
