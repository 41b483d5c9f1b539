//! Which objects rows name, and what an object is that none names.
//!
//! Guarantee: an object is called garbage only when nothing can name it any more. First it is asked whether anybody can
//! still write, then what is named: what is named in between is seen.

use std::collections::{BTreeMap, HashMap, HashSet};

use reelfleet_domain::AssetState;
use reelfleet_messages::AssetId;

use crate::error::CatalogError;
use crate::runs::renditions_of;
use crate::statement::{Row, Statement};
use crate::store::Catalog;

/// Rows of one answer: a run's stay below 64 KiB, an answer below 1 MiB.
const PAGE: i64 = 15;
/// Rows of one answer where each is short.
const SHORT_PAGE: i64 = 500;
/// A loser that the janitor has not swept after a day (milliseconds) has been forgotten.
const SWEPT_WITHIN_MS: i64 = 86_400_000;

/// What rows say of the objects of one asset. Keys are relative to `out/{asset}/`.
#[derive(Debug, Clone)]
pub struct Holdings {
    /// The asset's state.
    pub state: AssetState,
    /// Generation of its outputs.
    pub generation: i64,
    /// Whether a task of it may still write: it waits, is leased, or is a dead letter that may be redriven.
    pub open: bool,
    /// Every key that a row names; of playlists with their ETag.
    pub named: BTreeMap<String, Option<String>>,
    /// Playlists by (generation, name): segments, ended.
    pub lists: BTreeMap<(i64, String), (i64, bool)>,
    /// Committed segments by (generation, rendition).
    pub segments: BTreeMap<(i64, String), i64>,
}

/// What an output object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A row names it.
    Named,
    /// A row may name it yet.
    Open,
    /// Of an attempt that lost; the janitor will sweep it.
    Loser,
    /// No row names it, and none will.
    Orphan,
}

/// Tells what objects are; remembers attempts that it asked for.
#[derive(Debug)]
pub struct Judge<'c> {
    catalog: &'c Catalog,
    attempts: HashMap<(String, i64), (Standing, HashSet<String>)>,
}

/// The asset and the key relative to its folder; none for what lies elsewhere.
pub fn place_of(key: &str) -> Option<(AssetId, &str)> {
    let (asset, rest) = key.strip_prefix("out/")?.split_once('/')?;
    Some((asset.parse().ok()?, rest))
}

/// The generation's folder, task and token of a key below an attempt's own folder: `g1/t/{task}/{token}/…`.
fn attempt_of(key: &str) -> Option<(&str, &str, i64)> {
    let (generation, rest) = key.split_once("/t/")?;
    let mut parts = rest.splitn(3, '/');
    let (task, token, _name) = (parts.next()?, parts.next()?, parts.next()?);
    Some((generation, task, token.parse().ok()?))
}

impl<'c> Judge<'c> {
    /// By the rows of this catalog.
    pub fn new(catalog: &'c Catalog) -> Self {
        Self { catalog, attempts: HashMap::new() }
    }

    /// What the object at this key, relative to the asset's folder, is. `holdings` were read after it was seen.
    pub async fn standing(
        &mut self,
        now: i64,
        holdings: Option<&Holdings>,
        key: &str,
    ) -> Result<Standing, CatalogError> {
        let Some(holdings) = holdings else { return Ok(Standing::Orphan) };
        match holdings.state {
            AssetState::Deleting => return Ok(Standing::Open),
            AssetState::Deleted => return Ok(Standing::Orphan),
            _ if holdings.named.contains_key(key) => return Ok(Standing::Named),
            _ => {}
        }
        let Some((generation, task, token)) = attempt_of(key) else {
            return Ok(if holdings.open { Standing::Open } else { Standing::Orphan });
        };
        let place = (task.to_owned(), token);
        if !self.attempts.contains_key(&place) {
            let known = self.attempt(now, task, token).await?;
            self.attempts.insert(place.clone(), known);
        }
        let Some((standing, named)) = self.attempts.get(&place) else { return Ok(Standing::Open) };
        let own = key.strip_prefix(generation).and_then(|key| key.strip_prefix('/'));
        Ok(if own.is_some_and(|own| named.contains(own)) { Standing::Named } else { *standing })
    }

    /// What an attempt's garbage is, and what of it is named: asked in this order, since a fenced attempt commits no more.
    async fn attempt(&self, now: i64, task: &str, token: i64) -> Result<(Standing, HashSet<String>), CatalogError> {
        let rows = self
            .catalog
            .read(
                Statement::new(
                    "SELECT a.started_at, a.swept_at, t.lease_token, t.state FROM attempt a JOIN task t ON t.id = a.task_id \
                     WHERE a.task_id = :task AND a.token = :token",
                )
                .text("task", task)
                .int("token", token),
            )
            .await?;
        let Some(row) = rows.first() else { return Ok((Standing::Orphan, HashSet::new())) };
        let over = matches!(row.text(3)?.as_str(), "done" | "failed" | "cancelled");
        if row.int(2)? <= token && !over {
            return Ok((Standing::Open, HashSet::new()));
        }
        let awaits = row.opt_int(1)?.is_none() && row.int(0)? > now.saturating_sub(SWEPT_WITHIN_MS);
        let named = self.catalog.keys_of_attempt(task, token).await?.into_iter().collect();
        Ok((if awaits { Standing::Loser } else { Standing::Orphan }, named))
    }
}

impl Catalog {
    /// The last of the next `limit` asset ids after this one.
    pub async fn last_asset_of_page(&self, after: &str, limit: i64) -> Result<Option<String>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT max(id) FROM (SELECT id FROM asset WHERE id > :after ORDER BY id LIMIT :limit) AS page",
                )
                .text("after", after)
                .int("limit", limit),
            )
            .await?;
        rows.first().map_or(Ok(None), |row| row.opt_text(0))
    }

    /// What rows say of the objects of all assets from one id to another, both included.
    pub async fn holdings(&self, from: &str, to: &str) -> Result<BTreeMap<AssetId, Holdings>, CatalogError> {
        let range = |sql| Statement::new(sql).text("from", from).text("to", to);
        // First who can still write: see the guarantee.
        let open: HashSet<String> = self
            .read(range(
                "SELECT DISTINCT asset_id FROM task WHERE asset_id >= :from AND asset_id <= :to AND state IN ('pending', 'leased', 'failed')",
            ))
            .await?
            .iter()
            .map(|row| row.text(0))
            .collect::<Result<_, _>>()?;
        let mut all = BTreeMap::new();
        for row in self
            .read(range(
                "SELECT id, state, generation, described FROM asset WHERE id >= :from AND id <= :to ORDER BY id",
            ))
            .await?
        {
            let state = row.text(1)?;
            let mut holdings = Holdings {
                state: AssetState::parse(&state).ok_or(CatalogError::Column {
                    column: 1,
                    wanted: "an asset's state",
                    found: state,
                })?,
                generation: row.int(2)?,
                open: open.contains(&row.text(0)?),
                named: BTreeMap::new(),
                lists: BTreeMap::new(),
                segments: BTreeMap::new(),
            };
            if row.int(3)? > 0 {
                holdings.named.insert("metadata.json".into(), None);
            }
            all.insert(row.parsed::<AssetId>(0, "an asset's id")?, holdings);
        }
        self.add_runs(from, to, &mut all).await?;
        self.add_lists(from, to, &mut all).await?;
        self.add_pictures(from, to, &mut all).await?;
        self.add_captions(from, to, &mut all).await?;
        Ok(all)
    }

    async fn add_runs(&self, from: &str, to: &str, all: &mut BTreeMap<AssetId, Holdings>) -> Result<(), CatalogError> {
        let mut last = (String::new(), 0, String::new(), -1, -1);
        loop {
            let rows = self
                .read(
                    Statement::new(
                        "SELECT j.asset_id, j.generation, r.track, r.chunk, r.run, r.renditions FROM job j JOIN run r ON r.job_id = j.id \
                         WHERE j.asset_id >= :from AND j.asset_id <= :to \
                         AND (j.asset_id, j.generation, r.track, r.chunk, r.run) > (:asset, :generation, :track, :chunk, :run) \
                         ORDER BY j.asset_id, j.generation, r.track, r.chunk, r.run LIMIT :limit",
                    )
                    .text("from", from)
                    .text("to", to)
                    .text("asset", &last.0)
                    .int("generation", last.1)
                    .text("track", &last.2)
                    .int("chunk", last.3)
                    .int("run", last.4)
                    .int("limit", PAGE),
                )
                .await?;
            for row in &rows {
                last = (row.text(0)?, row.int(1)?, row.text(2)?, row.int(3)?, row.int(4)?);
                let Some(holdings) = all.get_mut(&row.parsed(0, "an asset's id")?) else { continue };
                for rendition in renditions_of(row, 5)? {
                    let count = holdings.segments.entry((last.1, rendition.name)).or_default();
                    *count += rendition.segments.len() as i64;
                    let keys = rendition.segments.into_iter().map(|segment| segment.key).chain([rendition.init]);
                    holdings.named.extend(keys.map(|key| (format!("g{}/{key}", last.1), None)));
                }
            }
            if (rows.len() as i64) < PAGE {
                return Ok(());
            }
        }
    }

    async fn add_lists(&self, from: &str, to: &str, all: &mut BTreeMap<AssetId, Holdings>) -> Result<(), CatalogError> {
        let sql = "SELECT j.asset_id, j.generation, p.name, p.etag, p.segments, p.ended FROM job j JOIN playlist p ON p.job_id = j.id \
             WHERE j.asset_id >= :from AND j.asset_id <= :to AND (j.asset_id, j.generation, p.name) > (:asset, :generation, :name) \
             ORDER BY j.asset_id, j.generation, p.name LIMIT :limit";
        self.each(sql, from, to, all, |row, holdings| {
            let (generation, name) = (row.int(1)?, row.text(2)?);
            holdings.named.insert(format!("g{generation}/{name}.m3u8"), Some(row.text(3)?));
            holdings.lists.insert((generation, name), (row.int(4)?, row.bool(5)?));
            Ok(())
        })
        .await
    }

    async fn add_pictures(
        &self,
        from: &str,
        to: &str,
        all: &mut BTreeMap<AssetId, Holdings>,
    ) -> Result<(), CatalogError> {
        let sql = "SELECT asset_id, generation, name FROM picture WHERE asset_id >= :from AND asset_id <= :to \
             AND (asset_id, generation, name) > (:asset, :generation, :name) ORDER BY asset_id, generation, name LIMIT :limit";
        self.each(sql, from, to, all, |row, holdings| {
            holdings.named.insert(format!("g{}/{}", row.int(1)?, row.text(2)?), None);
            Ok(())
        })
        .await
    }

    async fn add_captions(
        &self,
        from: &str,
        to: &str,
        all: &mut BTreeMap<AssetId, Holdings>,
    ) -> Result<(), CatalogError> {
        let sql = "SELECT asset_id, 0, name FROM caption WHERE asset_id >= :from AND asset_id <= :to \
             AND (asset_id, 0, name) > (:asset, :generation, :name) ORDER BY asset_id, name LIMIT :limit";
        self.each(sql, from, to, all, |row, holdings| {
            holdings.named.insert(row.text(2)?, None);
            Ok(())
        })
        .await
    }

    /// Rows of assets that begin with (asset, generation, name), page by page in this order.
    async fn each(
        &self,
        sql: &'static str,
        from: &str,
        to: &str,
        all: &mut BTreeMap<AssetId, Holdings>,
        mut add: impl FnMut(&Row, &mut Holdings) -> Result<(), CatalogError>,
    ) -> Result<(), CatalogError> {
        let mut last = (String::new(), 0, String::new());
        loop {
            let statement = Statement::new(sql).text("from", from).text("to", to).int("limit", SHORT_PAGE);
            let rows =
                self.read(statement.text("asset", &last.0).int("generation", last.1).text("name", &last.2)).await?;
            for row in &rows {
                last = (row.text(0)?, row.int(1)?, row.text(2)?);
                if let Some(holdings) = all.get_mut(&row.parsed(0, "an asset's id")?) {
                    add(row, holdings)?;
                }
            }
            if (rows.len() as i64) < SHORT_PAGE {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_apart() {
        let asset = "ast_01h455vb4pex5vsknk084sn02q";
        assert_eq!(place_of(&format!("out/{asset}/g1/a.m4s")), Some((asset.parse().unwrap(), "g1/a.m4s")));
        for other in ["", "out/", "out/x/y", "in/a", "out/ast_/x", asset] {
            assert_eq!(place_of(other), None, "{other}");
        }
        assert_eq!(attempt_of("g1/t/tsk_1/7/240p.m4s"), Some(("g1", "tsk_1", 7)));
        for other in ["g1/t/tsk_1/7", "g1/t/tsk_1/x/y", "g1/init/x.mp4", "metadata.json"] {
            assert_eq!(attempt_of(other), None, "{other}");
        }
    }
}
