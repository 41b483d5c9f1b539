//! The event log: numbered per stream, written in the transaction of the change.
//!
//! Guarantee: positions of a stream appear in order. Each is taken from the stream's counter row, whose lock is held
//! until the commit, and the counters are touched in the order of their names, so two transactions never wait for one
//! another.

use std::collections::BTreeMap;

use reelfleet_messages::trace::TraceParent;
use reelfleet_messages::{AssetId, CloudEvent, Event, EventId};

use crate::Step;
use crate::error::CatalogError;
use crate::outbox;
use crate::statement::{Params, Statement};
use crate::store::{Catalog, first_int};

/// A fact and its audience.
#[derive(Debug, Clone)]
pub struct Emission {
    /// What is published and logged.
    pub event: CloudEvent,
    /// The streams that it is logged in.
    pub streams: Vec<String>,
}

/// A logged event.
#[derive(Debug, Clone, PartialEq)]
pub struct Logged {
    /// Its place in its stream, from 1.
    pub position: i64,
    /// The CloudEvent.
    pub body: String,
}

/// The stream of a user: what the topic `me` means.
pub fn user_stream(tenant: &str, owner: &str) -> String {
    format!("user:{tenant}/{owner}")
}

/// The stream of an asset.
pub fn asset_stream(asset: AssetId) -> String {
    format!("asset:{asset}")
}

/// The stream of a tenant's reviewers.
pub fn review_stream(tenant: &str) -> String {
    format!("tenant:{tenant}:review")
}

/// The operators' stream.
pub const OPS_STREAM: &str = "ops";

impl Emission {
    /// A fact about an asset: its owner, whoever watches the asset, and the operators hear of it.
    pub fn new(id: EventId, now: i64, tenant: &str, owner: &str, trace: Option<TraceParent>, event: Event) -> Self {
        let mut streams = vec![asset_stream(event.asset()), OPS_STREAM.to_owned(), user_stream(tenant, owner)];
        streams.sort();
        Self { event: CloudEvent::new(id, tenant, now, trace, event), streams }
    }

    /// The same for the tenant's reviewers too.
    #[must_use]
    pub fn to_reviewers(mut self) -> Self {
        self.streams.push(review_stream(&self.event.tenant));
        self.streams.sort();
        self
    }
}

/// Statements that log and publish: they go last into a transaction. Three calls, however many facts there are.
pub(crate) fn emit(step: &Step, emissions: &[Emission]) -> Vec<Statement> {
    if emissions.is_empty() {
        return Vec::new();
    }
    let mut events_of: BTreeMap<&str, Vec<&CloudEvent>> = BTreeMap::new();
    for emission in emissions {
        for stream in &emission.streams {
            events_of.entry(stream).or_default().push(&emission.event);
        }
    }
    let counts = events_of
        .iter()
        .map(|(stream, events)| Params::new().text("stream", *stream).int("count", events.len() as i64));
    let rows = events_of.iter().flat_map(|(stream, events)| {
        // Each stands as far behind the stream's new position as there are events after it.
        events.iter().rev().enumerate().rev().map(move |(behind, event)| {
            let set = Params::new().text("stream", *stream).int("behind", behind as i64);
            set.text("id", event.id.to_string()).text("body", event.to_json()).int("now", step.now)
        })
    });
    vec![
        outbox::publish(step, &emissions.iter().map(|e| &e.event).collect::<Vec<_>>()),
        Statement::batch(
            "INSERT INTO stream (name, position) VALUES (:stream, :count) \
             ON CONFLICT (name) DO UPDATE SET position = stream.position + :count",
            counts,
        ),
        Statement::batch(
            "INSERT INTO event_log (stream, position, event_id, body, logged_at) \
             SELECT name, position - :behind, :id, :body, :now FROM stream WHERE name = :stream",
            rows,
        ),
    ]
}

impl Catalog {
    /// Events of a stream after a position, in order.
    pub async fn events_since(&self, stream: &str, position: i64, limit: i64) -> Result<Vec<Logged>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT position, body FROM event_log WHERE stream = :stream AND position > :position ORDER BY position LIMIT :limit",
                )
                .text("stream", stream)
                .int("position", position)
                .int("limit", limit),
            )
            .await?;
        rows.iter().map(|row| Ok(Logged { position: row.int(0)?, body: row.text(1)? })).collect()
    }

    /// Events of a stream before a position (all of them, without one), the latest first.
    pub async fn events_before(
        &self,
        stream: &str,
        position: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Logged>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT position, body FROM event_log WHERE stream = :stream AND position < :position ORDER BY position DESC LIMIT :limit",
                )
                .text("stream", stream)
                .int("position", position.unwrap_or(i64::MAX))
                .int("limit", limit),
            )
            .await?;
        rows.iter().map(|row| Ok(Logged { position: row.int(0)?, body: row.text(1)? })).collect()
    }

    /// Where a stream stands, and its oldest kept position (the log is kept for a time).
    pub async fn stream_bounds(&self, stream: &str) -> Result<(i64, i64), CatalogError> {
        let head = self
            .read(Statement::new("SELECT position FROM stream WHERE name = :stream").text("stream", stream))
            .await?;
        let oldest = self
            .read(Statement::new("SELECT min(position) FROM event_log WHERE stream = :stream").text("stream", stream))
            .await?;
        let head = first_int(&head)?.unwrap_or(0);
        Ok((head, first_int(&oldest)?.unwrap_or(head + 1)))
    }

    /// The epoch of all positions; made by the first who asks.
    pub async fn epoch(&self, fresh: &str) -> Result<String, CatalogError> {
        self.write(
            Statement::new(
                "INSERT INTO installation (name, value) VALUES ('epoch', :fresh) ON CONFLICT (name) DO NOTHING",
            )
            .text("fresh", fresh),
        )
        .await?;
        let rows = self.read(Statement::new("SELECT value FROM installation WHERE name = 'epoch'")).await?;
        rows.first().map_or_else(|| Ok(fresh.to_owned()), |row| row.text(0))
    }

    /// Forgets events older than `before` (epoch milliseconds), and in the streams of users older than `own`. Positions
    /// go on.
    pub async fn trim_events(&self, before: i64, own: i64) -> Result<u64, CatalogError> {
        let others = "DELETE FROM event_log WHERE substr(stream, 1, 5) <> 'user:' AND logged_at < :before";
        let users = "DELETE FROM event_log WHERE substr(stream, 1, 5) = 'user:' AND logged_at < :before";
        let mut count = 0;
        for (sql, before) in [(others, before), (users, own)] {
            count += self.write(Statement::new(sql).int("before", before)).await?.1;
        }
        Ok(count)
    }

    /// Up to which position a stream was read by whom it belongs to.
    pub async fn seen(&self, stream: &str) -> Result<i64, CatalogError> {
        let rows = self
            .read(Statement::new("SELECT position FROM seen WHERE stream = :stream").text("stream", stream))
            .await?;
        Ok(first_int(&rows)?.unwrap_or(0))
    }

    /// Notes that a stream was read up to a position: never less than was noted, never more than there is.
    pub async fn see(&self, stream: &str, position: i64) -> Result<(), CatalogError> {
        self.write(
            Statement::new(
                "INSERT INTO seen (stream, position) SELECT name, CASE WHEN position < :position THEN position ELSE :position END \
                 FROM stream WHERE name = :stream ON CONFLICT (stream) DO UPDATE SET position = excluded.position \
                 WHERE excluded.position > seen.position",
            )
            .int("position", position)
            .text("stream", stream),
        )
        .await
        .map(drop)
    }
}
