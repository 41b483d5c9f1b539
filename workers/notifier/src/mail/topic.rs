//! Mails by the topic `mails`: what happened, to whoever has subscribed an address there.
//!
//! Guarantees: a mail is plain text with a name and one link, which asks who one is: it holds no token and no code, since it
//! is the same for all subscribers and can be forwarded; what an uploader or a reviewer has written is no URL and turns no
//! line around; subscriptions filter by the attributes `type` and `tenant`.

use reelfleet_catalog::events::OPS_STREAM;
use reelfleet_catalog::topic_mail::TopicMail;
use reelfleet_catalog::{Catalog, CatalogError};
use reelfleet_fleet::Context;
use reelfleet_messages::{CloudEvent, Event};

use super::first;

/// Events of one round.
const PAGE: i64 = 100;
/// SNS takes less than a hundred characters.
const SUBJECT: usize = 99;

/// Tells the next stretch of the event log. Answers whether there is more.
pub(super) async fn round(context: &Context, catalog: &Catalog) -> Result<bool, CatalogError> {
    let step = context.step();
    let at = catalog.topic_told_until(&step).await?;
    let page = catalog.events_since(OPS_STREAM, at, PAGE).await?;
    let Some(to) = page.last().map(|logged| logged.position) else {
        // What the log no longer keeps is passed over.
        let (head, oldest) = catalog.stream_bounds(OPS_STREAM).await?;
        if at < oldest.saturating_sub(1) {
            first(catalog.tell_topic(&step, at, head, &[]).await)?;
        }
        return Ok(false);
    };
    let mut mails = Vec::new();
    for logged in &page {
        let Ok(told) = serde_json::from_str::<CloudEvent>(&logged.body) else { continue };
        let Some(news) = News::of(&told.event) else { continue };
        let Some(asset) = catalog.asset(&told.event.asset()).await? else { continue };
        let page = news.page.unwrap_or_else(|| format!("{}/watch/{}", context.config.public_url, asset.id));
        mails.push(TopicMail {
            event: told.id.to_string(),
            kind: told.event.type_name().to_owned(),
            tenant: told.tenant,
            subject: subject(news.what, &asset.name),
            text: text(&news.says, &asset.name, &asset.tenant, &page),
        });
    }
    first(catalog.tell_topic(&step, at, to, &mails).await)?;
    Ok(page.len() as i64 == PAGE)
}

/// What an event is worth to somebody who has no account perhaps.
struct News {
    /// Before the name.
    what: &'static str,
    says: String,
    /// The page to look at; none: the asset's own.
    page: Option<String>,
}

impl News {
    /// None: nobody is written to. `schema/topology.json` lists those that somebody is.
    fn of(event: &Event) -> Option<Self> {
        let (what, says, page) = match event {
            Event::ApprovalRequested(asked) => {
                let says = match asked.votes {
                    0 | 1 => "It waits for a verdict.".to_owned(),
                    votes => format!("It waits for the verdict of {votes} reviewers."),
                };
                ("Please review", says, Some(asked.link.clone()))
            }
            Event::ApprovalGranted(_) => ("Approved", "It is processed now.".to_owned(), None),
            Event::ApprovalDeclined(said) => ("Rejected", format!("The reviewer says: {}", said.reason), None),
            Event::ApprovalExpired(_) => {
                ("Not reviewed", "Nobody decided in time: it stays unprocessed.".to_owned(), None)
            }
            Event::AssetUploaded(_) => ("Uploaded", "It is looked at now.".to_owned(), None),
            Event::AssetReady(_) => ("Ready", "It can be watched.".to_owned(), None),
            Event::AssetRefused(stopped) => ("Refused", stopped.detail.clone(), None),
            Event::AssetFailed(stopped) => ("Failed", stopped.detail.clone(), None),
            Event::AssetParked(stopped) => ("Waiting", stopped.detail.clone(), None),
            _ => return None,
        };
        Some(Self { what, says, page })
    }
}

/// A name in other letters stands in the text alone: the API's reference promises ASCII only.
fn subject(what: &str, name: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() || c == ' ';
    if name.is_empty() || !name.chars().all(plain) {
        return format!("{what}: an upload");
    }
    format!("{what}: {}", line(name)).chars().take(SUBJECT).collect()
}

fn text(says: &str, name: &str, tenant: &str, page: &str) -> String {
    format!(
        "Name: {}\n{}\n\nSee it here, signed in. Opening it changes nothing:\n{page}\n\nTenant: {tenant}\n",
        line(name),
        line(says)
    )
}

/// One line of somebody else's words, without a URL and without a change of direction
/// (Unicode Standard Annex #9).
fn line(words: &str) -> String {
    let breaks = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    words.replace(breaks, " ").replace("://", ": //")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topology_lists_what_is_written_about() {
        let topology: serde_json::Value =
            serde_json::from_str(include_str!("../../../../schema/topology.json")).unwrap();
        let listed: Vec<String> = serde_json::from_value(topology["mailed_events"].clone()).unwrap();
        let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schema/messages/samples");
        let mut written = Vec::new();
        for sample in std::fs::read_dir(samples).unwrap() {
            let read = std::fs::read_to_string(sample.unwrap().path()).unwrap();
            if let Ok(event) = serde_json::from_str::<CloudEvent>(&read)
                && News::of(&event.event).is_some()
            {
                written.push(event.event.type_name().to_owned());
            }
        }
        written.sort();
        written.dedup();
        assert_eq!(written, listed);
    }

    #[test]
    fn a_subject_is_one_line_that_sns_takes() {
        assert_eq!(subject("Please review", "a b.mp4"), "Please review: a b.mp4");
        for other in ["é.mp4", "a\nBcc: x@example.com", ""] {
            assert_eq!(subject("Ready", other), "Ready: an upload", "{other:?}");
        }
        assert_eq!(subject("Ready", &"x".repeat(200)).len(), 99);
    }

    #[test]
    fn what_an_uploader_wrote_is_no_link_and_turns_nothing_around() {
        let text =
            text("https://evil.example/why", "https://evil.example/\u{202e}4pm.a\u{2028}b", "acme", "https://r/x");
        assert_eq!(text.matches("://").count(), 1, "{text}");
        assert!(text.starts_with("Name: https: //evil.example/ 4pm.a b\nhttps: //evil.example/why\n"), "{text}");
        assert_eq!(subject("Ready", "http://evil.example"), "Ready: http: //evil.example");
    }

    #[test]
    fn a_text_has_the_name_and_one_link() {
        let text = text("no\nsound", "é\n.mp4", "acme", "https://r/watch/ast_1");
        assert!(text.starts_with("Name: é .mp4\nno sound\n"), "{text}");
        assert!(text.contains("\nhttps://r/watch/ast_1\n") && text.ends_with("Tenant: acme\n"), "{text}");
    }
}
