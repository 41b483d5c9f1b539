//! Objects of attempts that lost: written under keys of the attempt, and named by no run.
//!
//! Guarantee: only keys under `out/{asset}/g{n}/t/{task}/{token}/` are ever deleted, and of these only what no committed
//! run of that attempt names. The attempt is fenced (its token is no longer the task's, or the task has ended), so it
//! can commit no more, and it began longer ago than any task lasts, so it writes no more.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context as _;
use reelfleet_catalog::sweep::Loser;

use crate::{Janitor, passed_over};

/// Attempts of one round.
const PAGE: i64 = 100;

impl Janitor {
    /// Answers how many objects were deleted.
    pub(crate) async fn sweep_losers(&self) -> anyhow::Result<u64> {
        let age = Duration::from_secs(u64::from(self.options.loser_age_seconds));
        let losers = self.catalog.losers(self.before(age), PAGE).await?;
        let mut count = 0;
        for loser in losers {
            self.beat.tick();
            match self.sweep_loser(&loser).await {
                Ok(deleted) => count += deleted,
                Err(error) => passed_over("losers", &loser.prefix, format_args!("{error:#}")),
            }
        }
        Ok(count)
    }

    async fn sweep_loser(&self, loser: &Loser) -> anyhow::Result<u64> {
        let folder = folder_of(&loser.prefix, &loser.task, loser.token)
            .with_context(|| format!("{:?} is not the prefix of this attempt", loser.prefix))?;
        let listed = self.outputs.list(&loser.prefix).await?;
        let mut deleted = 0;
        if !listed.is_empty() {
            // Read after the listing: what was committed before is named now.
            let named = self.catalog.keys_of_attempt(&loser.task, loser.token).await?;
            let garbage = garbage(folder, listed.into_iter().map(|object| object.key), &named);
            deleted = self.outputs.delete_keys(&garbage).await?;
        }
        self.catalog.swept(self.context.clock.now_ms(), loser).await?;
        Ok(deleted)
    }
}

/// The generation's folder, `out/{asset}/g{n}/`, if the prefix is the attempt's own and nobody else's.
fn folder_of<'p>(prefix: &'p str, task: &str, token: i64) -> Option<&'p str> {
    let folder = prefix.strip_suffix(&format!("t/{task}/{token}/"))?;
    let mut parts = folder.strip_prefix("out/")?.strip_suffix('/')?.split('/');
    let (asset, generation) = (parts.next()?, parts.next()?);
    let number = generation.strip_prefix('g')?;
    let fits = asset.starts_with("ast_") && number.parse::<u32>().is_ok() && parts.next().is_none();
    fits.then_some(folder)
}

/// Keys that no run names. Runs name keys relative to the generation's folder.
fn garbage(folder: &str, listed: impl Iterator<Item = String>, named: &[String]) -> Vec<String> {
    let named: HashSet<&str> = named.iter().map(String::as_str).collect();
    listed.filter(|key| key.strip_prefix(folder).is_some_and(|key| !named.contains(key))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_attempts_own_folder_is_swept() {
        let task = "tsk_1";
        assert_eq!(folder_of("out/ast_1/g2/t/tsk_1/7/", task, 7), Some("out/ast_1/g2/"));
        for other in [
            "out/ast_1/g2/t/tsk_1/8/",
            "out/ast_1/g2/t/tsk_2/7/",
            "out/ast_1/g2/t/tsk_1/7",
            "out/ast_1/g2/",
            "out/ast_1/t/tsk_1/7/",
            "out/ast_1/g2/x/t/tsk_1/7/",
            "out/job_1/g2/t/tsk_1/7/",
            "out/ast_1/gx/t/tsk_1/7/",
            "in/ast_1/g2/t/tsk_1/7/",
            "t/tsk_1/7/",
            "",
        ] {
            assert_eq!(folder_of(other, task, 7), None, "{other}");
        }
    }

    #[test]
    fn what_a_run_names_stays() {
        let folder = "out/ast_1/g1/";
        let key = |name: &str| format!("{folder}t/tsk_1/3/{name}");
        let listed =
            ["720p-00000-0002.m4s", "720p-00000-0000.m4s", "720p-00000-0001.m4s", "audio-00000-0000.m4s"].map(key);
        let named = ["720p-00000-0002.m4s", "720p-00000-0000.m4s"].map(|name| format!("t/tsk_1/3/{name}"));
        let mut all = listed.to_vec();
        all.push("out/ast_2/g1/t/tsk_1/3/720p-00000-0002.m4s".into());
        assert_eq!(garbage(folder, all.into_iter(), &named), [key("720p-00000-0001.m4s"), key("audio-00000-0000.m4s")]);
    }
}
