//! The outputs bucket ↔ rows: objects that no row names, rows whose object is not there or is another.
//!
//! Guarantee: rows are read after the listing, so that what was committed in between is known; an object that the listing
//! lacks is asked for by HEAD before it is called missing.

use std::collections::{BTreeMap, HashMap, HashSet};

use reelfleet_catalog::holdings::{Holdings, Judge, Standing, place_of};
use reelfleet_domain::AssetState;
use reelfleet_messages::AssetId;
use reelfleet_objects::{ListedObject, ObjectError, head};

use super::{AuditContext, AuditError, Code, Finding};

/// Assets of one page.
const PAGE: i64 = 20;
/// More findings of one page are only counted: the next pass tells them.
const MOST: usize = 5_000;
/// Sorts after every key of an asset's folder.
const LAST: char = '\u{10ffff}';

/// A page of the outputs bucket.
#[derive(Debug, Default)]
pub(crate) struct OutputsPage {
    pub(crate) assets: u64,
    pub(crate) objects: u64,
    pub(crate) findings: Vec<Finding>,
    /// Objects that no row names, and none will.
    pub(crate) orphans: Vec<ListedObject>,
    /// Findings that are not in the list because it is full.
    pub(crate) untold: u64,
    /// Where the next page begins; none at the end.
    pub(crate) next: Option<String>,
}

/// Some assets' part of the bucket: what is there, then what rows say.
struct Part {
    listed: Vec<ListedObject>,
    holdings: BTreeMap<AssetId, Holdings>,
    /// Whether the listing holds all of these assets' objects.
    whole: bool,
}

impl OutputsPage {
    fn tell(&mut self, finding: Finding) {
        if self.findings.len() < MOST { self.findings.push(finding) } else { self.untold += 1 }
    }
}

/// The assets after the one whose id is `after`, and every object up to the last of them. Objects that were written after
/// `before` are no orphans yet.
pub(crate) async fn page(audit: &AuditContext, after: &str, before: i64) -> Result<OutputsPage, AuditError> {
    let last = audit.catalog.last_asset_of_page(after, PAGE).await?;
    let end = last.as_ref().map(|id| format!("out/{id}/{LAST}"));
    let mut from = if after.is_empty() { String::new() } else { format!("out/{after}/{LAST}") };
    let mut page = OutputsPage { next: last.clone(), ..OutputsPage::default() };
    let mut listed: Vec<ListedObject> = Vec::new();
    loop {
        let more = audit.outputs.list_page("", (!from.is_empty()).then_some(from.as_str()), 1000).await?;
        let Some(past) = more.last() else { break };
        from.clone_from(&past.key);
        let beyond = end.as_ref().is_some_and(|end| past.key > *end);
        let within = more.into_iter().filter(|object| end.as_ref().is_none_or(|end| object.key <= *end));
        // What lies in no asset's folder, or behind the last asset, is looked at page by page: it may be any number.
        let (own, strangers): (Vec<_>, Vec<_>) =
            within.partition(|object| end.is_some() && place_of(&object.key).is_some());
        listed.extend(own);
        let holdings = holdings_of(audit, &strangers).await?;
        examine(audit, before, Part { listed: strangers, holdings, whole: false }, &mut page).await?;
        if beyond {
            break;
        }
    }
    if let Some(last) = last {
        let holdings = audit.catalog.holdings(after, &last).await?;
        let holdings: BTreeMap<_, _> = holdings.into_iter().filter(|(id, _)| id.to_string() != after).collect();
        page.assets += holdings.len() as u64;
        examine(audit, before, Part { listed, holdings, whole: true }, &mut page).await?;
    }
    Ok(page)
}

/// Rows of the assets that these objects belong to. Assets that landed since the page began are among them.
async fn holdings_of(audit: &AuditContext, listed: &[ListedObject]) -> Result<BTreeMap<AssetId, Holdings>, AuditError> {
    let mut all = BTreeMap::new();
    let mut last = None;
    for (asset, _) in listed.iter().filter_map(|object| place_of(&object.key)) {
        if last != Some(asset) {
            last = Some(asset);
            let id = asset.to_string();
            all.append(&mut audit.catalog.holdings(&id, &id).await?);
        }
    }
    Ok(all)
}

async fn examine(audit: &AuditContext, before: i64, part: Part, page: &mut OutputsPage) -> Result<(), AuditError> {
    page.objects += part.listed.len() as u64;
    let mut judge = Judge::new(&audit.catalog);
    let mut there: HashMap<AssetId, HashSet<&str>> = HashMap::new();
    for object in &part.listed {
        let standing = match place_of(&object.key) {
            Some((asset, key)) => {
                let holdings = part.holdings.get(&asset);
                there.entry(asset).or_default().insert(key);
                if let Some(finding) = differs(audit, object, key, holdings).await? {
                    page.tell(finding);
                }
                judge.standing(audit.now(), holdings, key).await?
            }
            None => Standing::Orphan,
        };
        if object.last_modified_ms > before {
            continue;
        }
        let subject = || format!("s3://{}/{}", audit.outputs.bucket(), object.key);
        match standing {
            Standing::Named | Standing::Open => {}
            Standing::Loser => {
                let detail = "an attempt that lost wrote it; the janitor will sweep it";
                page.tell(Finding::new(Code::LoserOutput, subject(), detail));
            }
            Standing::Orphan => {
                page.tell(Finding::new(Code::OrphanOutput, subject(), "no row names this object"));
                if page.orphans.len() < MOST {
                    page.orphans.push(object.clone());
                }
            }
        }
    }
    let standing = part.holdings.iter().filter(|(_, h)| !matches!(h.state, AssetState::Deleting | AssetState::Deleted));
    for (asset, holdings) in standing.filter(|_| part.whole) {
        lacking(*asset, holdings).into_iter().for_each(|finding| page.tell(finding));
        let listed = there.get(asset);
        let unseen = holdings.named.keys().filter(|key| !listed.is_some_and(|there| there.contains(key.as_str())));
        missing(audit, *asset, unseen).await?.into_iter().for_each(|finding| page.tell(finding));
    }
    Ok(())
}

/// A playlist of a ready asset that is not the one its row tells of. Before that, its writer may be about to note it.
async fn differs(
    audit: &AuditContext,
    object: &ListedObject,
    key: &str,
    holdings: Option<&Holdings>,
) -> Result<Option<Finding>, AuditError> {
    let Some(holdings) = holdings.filter(|holdings| holdings.state == AssetState::Ready) else { return Ok(None) };
    // Of an earlier generation the last list may have been given up before it was noted.
    let current = key.starts_with(&format!("g{}/", holdings.generation));
    let Some(Some(etag)) = holdings.named.get(key).filter(|_| current) else { return Ok(None) };
    if *etag == object.etag {
        return Ok(None);
    }
    // The listing is older than the row.
    match head(&audit.context.clients.s3, audit.outputs.bucket(), &object.key, None).await {
        Ok(now) if now.etag != *etag => {
            let subject = format!("s3://{}/{}", audit.outputs.bucket(), object.key);
            let detail = format!("its ETag is {}, its row tells of {etag}", now.etag);
            Ok(Some(Finding::new(Code::PlaylistDiffers, subject, detail)))
        }
        Ok(_) | Err(ObjectError::Gone { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Which of these keys of an asset are not there, although rows name them after that was seen.
async fn missing(
    audit: &AuditContext,
    asset: AssetId,
    unseen: impl Iterator<Item = &String>,
) -> Result<Vec<Finding>, AuditError> {
    let mut gone = Vec::new();
    for key in unseen {
        let full = format!("out/{asset}/{key}");
        match head(&audit.context.clients.s3, audit.outputs.bucket(), &full, None).await {
            Ok(_) => {}
            Err(ObjectError::Gone { .. }) => gone.push(key),
            Err(error) => return Err(error.into()),
        }
    }
    if gone.is_empty() {
        return Ok(Vec::new());
    }
    // It may have been deleted with its asset since, or given up with its run.
    let id = asset.to_string();
    let Some(holdings) = audit.catalog.holdings(&id, &id).await?.remove(&asset) else { return Ok(Vec::new()) };
    if matches!(holdings.state, AssetState::Deleting | AssetState::Deleted) {
        return Ok(Vec::new());
    }
    gone.retain(|key| holdings.named.contains_key(*key));
    let bucket = audit.outputs.bucket();
    let told = gone.into_iter().map(|key| {
        let subject = format!("s3://{bucket}/out/{asset}/{key}");
        Finding::new(Code::OutputMissing, subject, "a row names this object, and it is not there")
    });
    Ok(told.collect())
}

/// What a ready asset's playlists lack of what is committed.
fn lacking(asset: AssetId, holdings: &Holdings) -> Vec<Finding> {
    if holdings.state != AssetState::Ready {
        return Vec::new();
    }
    let own = holdings.segments.iter().filter(|((generation, _), _)| *generation == holdings.generation);
    own.filter(|(_, count)| **count > 0)
        .filter_map(|(place, committed)| {
            let (listed, _) = holdings.lists.get(place).copied().unwrap_or((0, false));
            let detail = format!("{} of {committed} segments are in playlist {}", listed, place.1);
            (listed != *committed).then(|| Finding::new(Code::ReadyIncomplete, asset.to_string(), detail))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_asset_lists_what_is_committed() {
        let video = (1, "270p".to_owned());
        let mut holdings = Holdings {
            state: AssetState::Ready,
            generation: 1,
            open: false,
            named: BTreeMap::new(),
            lists: BTreeMap::from([(video.clone(), (4, true))]),
            segments: BTreeMap::from([(video.clone(), 4), ((1, "audio".into()), 0)]),
        };
        let asset = "ast_01h455vb4pex5vsknk084sn02q".parse().unwrap();
        assert!(lacking(asset, &holdings).is_empty(), "a sound of which nothing was made is left out");
        holdings.segments.insert(video, 5);
        assert_eq!(lacking(asset, &holdings)[0].code, Code::ReadyIncomplete);
        holdings.state = AssetState::Playable;
        assert!(lacking(asset, &holdings).is_empty());
    }
}
