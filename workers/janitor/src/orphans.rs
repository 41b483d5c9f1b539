//! Output objects that no row names, as a scan of the bucket noted them: loners of an unknown asset, late writes of an
//! attempt that was swept.
//!
//! Guarantee: an orphan is deleted only after its grace, if it is still the object that was found, and if by the rows of
//! this moment nothing can name it any more: its asset is unknown or deleted, or its attempt is fenced and swept, or no
//! task of its asset can ever write again. Only keys below `out/{asset}/` are touched.

use std::time::Duration;

use reelfleet_catalog::holdings::{Holdings, Judge, Standing, place_of};
use reelfleet_catalog::scan::Orphan;
use reelfleet_messages::AssetId;
use reelfleet_objects::{ObjectError, head};

use crate::{Janitor, passed_over};

/// Orphans of one round.
const PAGE: i64 = 500;

/// The rows of the asset that was asked for last.
type Asked = Option<(AssetId, Option<Holdings>)>;

impl Janitor {
    /// Answers how many objects were deleted.
    pub(crate) async fn sweep_orphans(&self) -> anyhow::Result<u64> {
        let grace = Duration::from_secs(u64::from(self.options.orphan_grace_seconds));
        let found = self.catalog.orphans(self.before(grace), PAGE).await?;
        let mut judge = Judge::new(&self.catalog);
        let mut asked = None;
        let (mut garbage, mut forgotten) = (Vec::new(), Vec::new());
        for orphan in found {
            self.beat.tick();
            match self.is_orphan(&mut judge, &mut asked, &orphan).await {
                Ok(true) => garbage.push(orphan.key),
                Ok(false) => forgotten.push(orphan.key),
                Err(error) => passed_over("orphans", &orphan.key, format_args!("{error:#}")),
            }
        }
        for key in &garbage {
            tracing::info!(key, "an orphan is deleted");
        }
        let deleted = self.outputs.delete_keys(&garbage).await?;
        forgotten.extend(garbage);
        self.catalog.forget_orphans(&forgotten).await?;
        Ok(deleted)
    }

    async fn is_orphan(&self, judge: &mut Judge<'_>, asked: &mut Asked, orphan: &Orphan) -> anyhow::Result<bool> {
        let Some((asset, key)) = place_of(&orphan.key) else { return Ok(false) };
        // Seen before the rows are asked: see `holdings`. Rows that were read for an earlier orphan of the asset will do,
        // since what nobody can write any more stays so.
        match head(&self.context.clients.s3, self.outputs.bucket(), &orphan.key, None).await {
            Ok(there) if is_the_same(orphan, &there.etag, there.last_modified_ms) => {}
            Ok(_) | Err(ObjectError::Gone { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        if asked.as_ref().is_none_or(|(last, _)| *last != asset) {
            let id = asset.to_string();
            *asked = Some((asset, self.catalog.holdings(&id, &id).await?.remove(&asset)));
        }
        let holdings = asked.as_ref().and_then(|(_, holdings)| holdings.as_ref());
        Ok(judge.standing(self.context.clock.now_ms(), holdings, key).await? == Standing::Orphan)
    }
}

/// Written again since: then it is looked at anew.
fn is_the_same(orphan: &Orphan, etag: &str, last_modified_ms: i64) -> bool {
    etag == orphan.etag && last_modified_ms <= orphan.found_at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_again_is_another_object() {
        let orphan = Orphan { key: "k".into(), etag: "e".into(), found_at: 10 };
        assert!(is_the_same(&orphan, "e", 10));
        assert!(!is_the_same(&orphan, "f", 10));
        assert!(!is_the_same(&orphan, "e", 11), "the same bytes, written by an attempt that may name them");
    }
}
