//! Scans of buckets, page by page and in turns, and what they found.
//!
//! Guarantee: one process at a time goes on with a scan; one that dies in the middle is followed by another from the last
//! page that was finished. Pages may be looked at twice, never passed over.

use std::collections::HashSet;

use crate::Step;
use crate::error::CatalogError;
use crate::statement::{Params, Statement};
use crate::store::Catalog;

/// Whoever has a turn finishes a page within this (milliseconds), or another goes on.
const TURN_MS: i64 = 60_000;
/// Identities of one question.
const ASKED: usize = 50;

/// A turn in a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The scan.
    pub name: String,
    /// Where the page begins; empty at the beginning.
    pub after: String,
    /// Pages of this pass so far.
    pub pages: i64,
    /// When this pass began (epoch milliseconds).
    pub begun_at: i64,
    op: String,
}

/// An output object that no row names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Key in the outputs bucket.
    pub key: String,
    /// ETag as found.
    pub etag: String,
    /// When it was first found (epoch milliseconds).
    pub found_at: i64,
}

impl Catalog {
    /// Takes the turn in a scan, if it is due and nobody has it.
    pub async fn take_turn(&self, step: &Step, name: &str) -> Result<Option<Turn>, CatalogError> {
        let (rows, _) = self
            .write(
                Statement::new(
                    "INSERT INTO scan (name, after, pages, begun_at, op_id, next_at) VALUES (:name, '', 0, :now, :op, :until) \
                     ON CONFLICT (name) DO UPDATE SET op_id = :op, next_at = :until, \
                     begun_at = CASE WHEN scan.after = '' THEN :now ELSE scan.begun_at END WHERE scan.next_at <= :now OR scan.op_id = :op \
                     RETURNING after, pages, begun_at",
                )
                .text("name", name)
                .text("op", &step.op)
                .int("now", step.now)
                .int("until", step.now.saturating_add(TURN_MS)),
            )
            .await?;
        rows.first()
            .map(|row| {
                let (after, pages, begun_at) = (row.text(0)?, row.int(1)?, row.int(2)?);
                Ok(Turn { name: name.to_owned(), after, pages, begun_at, op: step.op.clone() })
            })
            .transpose()
    }

    /// A page is finished: the turn goes on after it. None: somebody else has it by now.
    pub async fn turn_page(&self, now: i64, turn: Turn, after: &str) -> Result<Option<Turn>, CatalogError> {
        let next = Turn { after: after.to_owned(), pages: turn.pages + 1, ..turn };
        let kept = self.move_turn(&next, now.saturating_add(TURN_MS)).await?;
        Ok(kept.then_some(next))
    }

    /// The scan has come to its end; the next pass may begin at `next_at`.
    pub async fn end_turn(&self, turn: Turn, next_at: i64) -> Result<(), CatalogError> {
        self.move_turn(&Turn { after: String::new(), pages: 0, ..turn }, next_at).await.map(drop)
    }

    async fn move_turn(&self, turn: &Turn, next_at: i64) -> Result<bool, CatalogError> {
        let (_, changed) = self
            .write(
                Statement::new(
                    "UPDATE scan SET after = :after, pages = :pages, next_at = :next WHERE name = :name AND op_id = :op",
                )
                .text("after", &turn.after)
                .int("pages", turn.pages)
                .int("next", next_at)
                .text("name", &turn.name)
                .text("op", &turn.op),
            )
            .await?;
        Ok(changed == 1)
    }

    /// Which of these identities belong to an asset.
    pub async fn known_identities(&self, identities: &[String]) -> Result<HashSet<String>, CatalogError> {
        const SQL: &str = "SELECT identity FROM asset WHERE identity IN (:i0, :i1, :i2, :i3, :i4, :i5, :i6, :i7, :i8, :i9, \
             :i10, :i11, :i12, :i13, :i14, :i15, :i16, :i17, :i18, :i19, :i20, :i21, :i22, :i23, :i24, :i25, :i26, :i27, :i28, :i29, \
             :i30, :i31, :i32, :i33, :i34, :i35, :i36, :i37, :i38, :i39, :i40, :i41, :i42, :i43, :i44, :i45, :i46, :i47, :i48, :i49)";
        let mut known = HashSet::new();
        for asked in identities.chunks(ASKED) {
            let values = (0..ASKED).fold(Params::new(), |values, place| {
                values.text(&format!("i{place}"), asked.get(place).map_or("", String::as_str))
            });
            for row in self.read(Statement::new(SQL).with(values)).await? {
                known.insert(row.text(0)?);
            }
        }
        Ok(known)
    }

    /// Notes orphans; one that is there under another ETag is a new one. Answers nothing new for what is known.
    pub async fn note_orphans(&self, found: &[Orphan]) -> Result<(), CatalogError> {
        if found.is_empty() {
            return Ok(());
        }
        let sets = found.iter().map(|orphan| {
            Params::new().text("key", &orphan.key).text("etag", &orphan.etag).int("now", orphan.found_at)
        });
        self.write(Statement::batch(
            "INSERT INTO orphan (object_key, etag, found_at) VALUES (:key, :etag, :now) ON CONFLICT (object_key) \
             DO UPDATE SET etag = :etag, found_at = :now WHERE orphan.etag <> :etag",
            sets,
        ))
        .await
        .map(drop)
    }

    /// Orphans that were found before `before`, the oldest first.
    pub async fn orphans(&self, before: i64, limit: i64) -> Result<Vec<Orphan>, CatalogError> {
        let rows = self
            .read(
                Statement::new(
                    "SELECT object_key, etag, found_at FROM orphan WHERE found_at < :before ORDER BY found_at, object_key LIMIT :limit",
                )
                .int("before", before)
                .int("limit", limit),
            )
            .await?;
        rows.iter().map(|row| Ok(Orphan { key: row.text(0)?, etag: row.text(1)?, found_at: row.int(2)? })).collect()
    }

    /// Forgets orphans: they are gone, or are none after all.
    pub async fn forget_orphans(&self, keys: &[String]) -> Result<(), CatalogError> {
        if keys.is_empty() {
            return Ok(());
        }
        let sets = keys.iter().map(|key| Params::new().text("key", key));
        self.write(Statement::batch("DELETE FROM orphan WHERE object_key = :key", sets)).await.map(drop)
    }
}
