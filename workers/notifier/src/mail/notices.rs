//! Mails to uploaders: what is ready, and what came to nothing.
//!
//! Guarantee: what happens within a round becomes one mail per person, however many files there were; who has no account,
//! or does not want it, is not written to.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use reelfleet_catalog::events::OPS_STREAM;
use reelfleet_catalog::mail::NewMail;
use reelfleet_catalog::notices::Wishes;
use reelfleet_catalog::{Catalog, CatalogError};
use reelfleet_fleet::Context;
use reelfleet_messages::event::ReasonCode;
use reelfleet_messages::{AssetId, CloudEvent, Event, MailId, UserId};

use super::first;

/// Events of one round.
const PAGE: i64 = 500;
/// Yesterday's news is not worth a mail.
const LIFE_MS: i64 = 86_400_000;
/// Files that a mail names; more are counted.
const MOST: usize = 20;

/// What became of one upload.
#[derive(Debug, Clone, PartialEq, Eq)]
struct News {
    asset: AssetId,
    name: String,
    /// Why it came to nothing.
    trouble: Option<String>,
}

/// Tells the next stretch of the event log. Answers whether there is more.
pub(super) async fn round(context: &Context, catalog: &Catalog) -> Result<bool, CatalogError> {
    let step = context.step();
    let (head, oldest) = catalog.stream_bounds(OPS_STREAM).await?;
    let at = catalog.told_until().await?;
    let page = catalog.events_since(OPS_STREAM, at, PAGE).await?;
    // What the log no longer keeps is passed over.
    let Some(to) = page.last().map(|logged| logged.position) else {
        if at < oldest.saturating_sub(1) {
            first(catalog.tell(&step, at, head, &[]).await)?;
        }
        return Ok(false);
    };
    let mut by_user: BTreeMap<String, (UserId, Vec<News>)> = BTreeMap::new();
    for logged in &page {
        let Ok(event) = serde_json::from_str::<CloudEvent>(&logged.body) else { continue };
        let Some((asset, trouble)) = news(&event.event) else { continue };
        let Some(asset) = catalog.asset(&asset).await? else { continue };
        let Ok(owner) = asset.owner.parse::<UserId>() else { continue };
        let told = News { asset: asset.id, name: asset.name, trouble };
        by_user.entry(asset.owner).or_insert_with(|| (owner, Vec::new())).1.push(told);
    }
    let mut written = Vec::new();
    for (id, news) in by_user.into_values() {
        let Some(user) = catalog.user(&id).await? else { continue };
        let wishes = catalog.wishes(&id).await?;
        if let Some((subject, text)) = words(&news, wishes, &context.config.public_url) {
            written.push((MailId::from_uuid(context.ids.uuid()), user.tenant, user.email, subject, text));
        }
    }
    let mails: Vec<NewMail<'_>> = written
        .iter()
        .map(|(id, tenant, to, subject, text)| NewMail {
            id: *id,
            tenant,
            to,
            kind: "notice",
            subject,
            text,
            expires_at: step.now.saturating_add(LIFE_MS),
        })
        .collect();
    first(catalog.tell(&step, at, to, &mails).await)?;
    Ok(page.len() as i64 == PAGE)
}

/// What an event means for the uploader: nothing, that it is ready, or why it came to nothing.
fn news(event: &Event) -> Option<(AssetId, Option<String>)> {
    match event {
        Event::AssetReady(ready) => Some((ready.asset, None)),
        Event::ApprovalDeclined(said) => Some((said.asset, Some(format!("rejected: {}", said.reason)))),
        // Told by the reviewer's word.
        Event::AssetRefused(stopped) if stopped.code == ReasonCode::Rejected => None,
        Event::AssetRefused(stopped) | Event::AssetFailed(stopped) => {
            Some((stopped.asset, Some(stopped.detail.clone())))
        }
        _ => None,
    }
}

/// Subject and text; none where nothing is wanted.
fn words(news: &[News], wishes: Wishes, public_url: &str) -> Option<(String, String)> {
    let (ready, failed): (Vec<&News>, Vec<&News>) = news.iter().partition(|news| news.trouble.is_none());
    let ready = if wishes.ready { ready } else { Vec::new() };
    let failed = if wishes.failed { failed } else { Vec::new() };
    let subject = match (ready.as_slice(), failed.as_slice()) {
        ([], []) => return None,
        ([one], []) => format!("Ready: {}", one.name),
        ([], [one]) => format!("Not processed: {}", one.name),
        (many, []) => format!("{} uploads are ready", many.len()),
        ([], many) => format!("{} uploads were not processed", many.len()),
        (some, others) => format!("Uploads: {} ready, {} not processed", some.len(), others.len()),
    };
    let mut text = String::new();
    for (title, list) in [("Ready to watch:", ready), ("Not processed:", failed)] {
        if list.is_empty() {
            continue;
        }
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{title}\n");
        for news in list.iter().take(MOST) {
            let name: String = news.name.chars().filter(|c| !c.is_control()).collect();
            let _ = writeln!(text, "  {name}\n  {public_url}/watch/{}", news.asset);
            if let Some(trouble) = &news.trouble {
                let _ = writeln!(text, "  {}", trouble.replace(char::is_control, " "));
            }
            text.push('\n');
        }
        if list.len() > MOST {
            let _ = writeln!(text, "  and {} more\n", list.len() - MOST);
        }
    }
    let _ = writeln!(text, "You can turn these mails off in your settings:\n{public_url}/settings");
    Some((subject, text))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn of(name: &str, trouble: Option<&str>) -> News {
        let asset = AssetId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
        News { asset, name: name.into(), trouble: trouble.map(str::to_owned) }
    }

    #[test]
    fn many_files_are_one_mail() {
        let all = Wishes::default();
        let (subject, text) = words(&[of("a.mp4", None)], all, "https://r").unwrap();
        assert_eq!(subject, "Ready: a.mp4");
        assert!(text.contains("https://r/watch/ast_") && text.contains("https://r/settings"), "{text}");
        let (subject, text) =
            words(&[of("a.mp4", None), of("b\n.mp4", Some("it is\nempty"))], all, "https://r").unwrap();
        assert_eq!(subject, "Uploads: 1 ready, 1 not processed");
        assert!(text.contains("  b.mp4\n") && text.contains("  it is empty\n"), "{text}");
        let many: Vec<News> = (0..30).map(|n| of(&format!("{n}.mp4"), None)).collect();
        let (subject, text) = words(&many, all, "https://r").unwrap();
        assert!(subject.starts_with("30 uploads") && text.contains("and 10 more"), "{subject} {text}");
    }

    #[test]
    fn who_wants_nothing_gets_nothing() {
        let both = [of("a.mp4", None), of("b.mp4", Some("empty"))];
        assert_eq!(words(&both, Wishes { ready: false, failed: false, weekly: true }, ""), None);
        let (subject, text) = words(&both, Wishes { ready: false, failed: true, weekly: false }, "").unwrap();
        assert_eq!(subject, "Not processed: b.mp4");
        assert!(!text.contains("a.mp4"), "{text}");
        assert_eq!(words(&both[..1], Wishes { ready: false, failed: true, weekly: false }, ""), None);
    }
}
