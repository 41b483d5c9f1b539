//! The weekly mail, to those who asked for it: what became ready, what came to nothing, what waits for a verdict.
//!
//! Guarantee: at most one per person and week, on Monday; a week that brought nothing brings no mail.

use std::fmt::Write as _;

use reelfleet_access::{Roles, Scope};
use reelfleet_catalog::mail::NewMail;
use reelfleet_catalog::weekly::{Outcome, Reader};
use reelfleet_catalog::{Catalog, CatalogError};
use reelfleet_domain::{AssetState, week};
use reelfleet_fleet::Context;
use reelfleet_messages::MailId;

/// Readers of one round.
const PAGE: i64 = 50;
/// Assets that are looked at for one mail.
const LOOK: i64 = 500;
/// Assets of a kind that a mail names; more are counted.
const MOST: usize = 20;
/// A week is old news after two days.
const LIFE_MS: i64 = 2 * 86_400_000;

/// Writes what is due. Answers whether there is more.
pub(super) async fn round(context: &Context, catalog: &Catalog) -> Result<bool, CatalogError> {
    let this = week::number(context.clock.now_ms());
    let readers = catalog.weekly_readers(this, PAGE).await?;
    for reader in &readers {
        match tell(context, catalog, reader, this).await {
            // Another process was first, or it is not wanted any more.
            Err(error) if error.is_conflict() => {}
            told => told?,
        }
    }
    Ok(readers.len() as i64 == PAGE)
}

async fn tell(context: &Context, catalog: &Catalog, reader: &Reader, this: i64) -> Result<(), CatalogError> {
    let (from, until) = (week::begins(reader.week.saturating_add(1)), week::begins(this));
    let outcomes = catalog.outcomes(reader, from, until, LOOK).await?;
    let reviews = Roles::stored(&reader.roles).scopes().hold(Scope::Reviews);
    let desk = if reviews { catalog.waiting_at_the_desk(&reader.tenant).await? } else { 0 };
    let step = context.step();
    let words = words(&outcomes, desk, &context.config.public_url);
    let mail = words.as_ref().map(|(subject, text)| NewMail {
        id: MailId::from_uuid(context.ids.uuid()),
        tenant: &reader.tenant,
        to: &reader.email,
        kind: "weekly",
        subject,
        text,
        expires_at: step.now.saturating_add(LIFE_MS),
    });
    catalog.tell_week(&step, reader, this, mail.as_ref()).await
}

/// Subject and text; none where there is nothing to tell.
fn words(outcomes: &[Outcome], desk: i64, public_url: &str) -> Option<(String, String)> {
    let of = |states: &[AssetState]| -> Vec<&Outcome> {
        outcomes.iter().filter(|outcome| states.contains(&outcome.state)).collect()
    };
    let ready = of(&[AssetState::Ready]);
    let failed = of(&[AssetState::Failed, AssetState::Refused]);
    let waiting = of(&[AssetState::AwaitingApproval]);
    if outcomes.is_empty() && desk == 0 {
        return None;
    }
    let counted = [(ready.len(), "ready"), (failed.len(), "not processed"), (waiting.len(), "waiting for review")];
    let mut counts: Vec<String> =
        counted.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if counts.is_empty() {
        counts.push(format!("{desk} to review"));
    }
    let mut text = String::new();
    for (title, list) in [("Became ready:", ready), ("Was not processed:", failed), ("Waits for a reviewer:", waiting)]
    {
        if list.is_empty() {
            continue;
        }
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{title}\n");
        for outcome in list.iter().take(MOST) {
            let name: String = outcome.name.chars().filter(|c| !c.is_control()).collect();
            let _ = writeln!(text, "  {name}\n  {public_url}/watch/{}", outcome.asset);
            if let Some(reason) = &outcome.reason {
                let _ = writeln!(text, "  {}", reason.replace(char::is_control, " "));
            }
            text.push('\n');
        }
        if list.len() > MOST {
            let _ = writeln!(text, "  and {} more\n", list.len() - MOST);
        }
    }
    if desk > 0 {
        let _ = writeln!(text, "For you to review: {desk}\n\n  {public_url}/review\n");
    }
    let _ = writeln!(text, "You can turn this mail off in your settings:\n{public_url}/settings");
    Some((format!("Your week: {}", counts.join(", ")), text))
}

#[cfg(test)]
mod tests {
    use reelfleet_messages::AssetId;
    use uuid::Uuid;

    use super::*;

    fn outcome(name: &str, state: AssetState, reason: Option<&str>) -> Outcome {
        let asset = AssetId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
        Outcome { asset, name: name.into(), state, reason: reason.map(str::to_owned) }
    }

    #[test]
    fn a_week_of_nothing_brings_no_mail() {
        assert_eq!(words(&[], 0, "https://r"), None);
        let (subject, text) = words(&[], 3, "https://r").unwrap();
        assert_eq!(subject, "Your week: 3 to review");
        assert!(text.contains("https://r/review\n") && text.contains("https://r/settings"), "{text}");
    }

    #[test]
    fn each_asset_stands_where_it_belongs() {
        let mut all = vec![
            outcome("a.mp4", AssetState::Ready, None),
            outcome("b\n.mp4", AssetState::Refused, Some("it is\nempty")),
            outcome("c.mp4", AssetState::Failed, None),
            outcome("d.mp4", AssetState::AwaitingApproval, None),
        ];
        let (subject, text) = words(&all, 0, "https://r").unwrap();
        assert_eq!(subject, "Your week: 1 ready, 2 not processed, 1 waiting for review");
        assert!(text.contains("  b.mp4\n  https://r/watch/ast_") && text.contains("  it is empty\n"), "{text}");
        let at = |what: &str| text.find(what).unwrap();
        assert!(
            at("Became") < at("a.mp4")
                && at("a.mp4") < at("Was not")
                && at("c.mp4") < at("Waits")
                && at("Waits") < at("d.mp4")
        );
        all.extend((0..30).map(|n| outcome(&format!("{n}.mp4"), AssetState::Ready, None)));
        assert!(words(&all, 0, "").unwrap().1.contains("and 11 more"));
    }
}
