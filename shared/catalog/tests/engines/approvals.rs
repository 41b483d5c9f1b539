//! Assets that wait for a verdict: asked, counted, granted, declined, expired; links and their codes.

use reelfleet_catalog::Catalog;
use reelfleet_catalog::approval::{DECLINED, EXPIRED, GRANTED, NewReview, Review, WAITING};
use reelfleet_catalog::assets::Probed;
use reelfleet_catalog::audit::AuditEntry;
use reelfleet_catalog::review_links::{MAX_TRIES, NewLink, Tried, code_hash, link_hash};
use reelfleet_catalog::tasks::NewTask;
use reelfleet_catalog::votes::{Ballot, Next};
use reelfleet_domain::AssetState;
use reelfleet_domain::approval::OnReject;
use reelfleet_messages::task::Task;
use reelfleet_messages::{AssetId, MailId, ReviewId, SourceIdentity};

use crate::story::{Landed, NOW, emission, id, land, lease, step, task};

const EXPIRES: i64 = NOW + 100_000;

fn link(token: &str, address: &str) -> NewLink {
    NewLink {
        hash: link_hash(token),
        code_hash: code_hash(token, "123456"),
        address: address.into(),
        expires_at: EXPIRES,
        mail: MailId::from_uuid(id()),
        tenant: "default".into(),
        subject: "review".into(),
        text: "text".into(),
    }
}

async fn waiting(
    catalog: &Catalog,
    key: &str,
    needed: i64,
    on_reject: OnReject,
    links: &[NewLink],
) -> (Landed, Review) {
    let film = land(catalog, key, None, AssetId::from_uuid(id())).await;
    let probe = lease(catalog, NOW, &film.probe).await;
    let probed = Probed { media: "video", report: "{}", duration_ms: None, width: None, height: None, cost: None };
    let source = SourceIdentity::of("up", key, None, "e1");
    let review = NewReview {
        id: ReviewId::from_uuid(id()),
        tenant: "default",
        owner: "ann",
        source: source.as_str(),
        needed,
        on_reject,
        expires_at: EXPIRES,
        remind_at: Some(NOW + 10),
        escalate_at: Some(NOW + 20),
        escalate_to: &["boss@example.com".to_owned()],
        links,
    };
    let pictures = task(film.asset, film.job, Task::RenderThumbnails);
    let facts = [emission(film.asset, NOW)];
    catalog.probed_and_waiting(&step(NOW), &probe, &probed, &review, &[pictures], &facts).await.unwrap();
    assert_eq!(state(catalog, &film).await, AssetState::AwaitingApproval);
    let read = catalog.review(&review.id).await.unwrap().unwrap();
    assert_eq!(catalog.review_of(&film.asset).await.unwrap().as_ref(), Some(&read));
    (film, read)
}

async fn state(catalog: &Catalog, film: &Landed) -> AssetState {
    catalog.asset(&film.asset).await.unwrap().unwrap().state
}

async fn again(catalog: &Catalog, review: &Review) -> Review {
    catalog.review(&review.id).await.unwrap().unwrap()
}

fn ballot<'b>(reviewer: &'b str, review: &Review, link: Option<&'b str>) -> Ballot<'b> {
    let noted = noted(reviewer, "review.approved", review);
    Ballot { reviewer, shown: reviewer, reason: Some("why"), link, noted }
}

fn starts(task: NewTask) -> Next {
    Next::Starts(Box::new(task), None)
}

fn noted(who: &str, what: &str, review: &Review) -> AuditEntry {
    AuditEntry {
        id: id().to_string(),
        at: NOW,
        who: who.into(),
        what: what.into(),
        subject: review.id.to_string(),
        detail: "{}".into(),
        tenant: Some("default".into()),
    }
}

/// All of it.
pub async fn tell(catalog: &Catalog) {
    granted(catalog).await;
    two_of_n(catalog).await;
    declined(catalog).await;
    expired(catalog).await;
    codes(catalog).await;
}

async fn granted(catalog: &Catalog) {
    let (film, review) = waiting(catalog, "r/one", 1, OnReject::Keep, &[]).await;
    let desk = catalog.reviews_waiting("default", "", 100).await.unwrap();
    assert!(desk.iter().any(|r| r.id == review.id));
    assert!(catalog.reviews_waiting("other", "", 100).await.unwrap().is_empty());
    let before = catalog.approved_of("default", "ann").await.unwrap();
    let plan = || task(film.asset, film.job, Task::PlanRenditions);
    let late =
        catalog.grant(&step(EXPIRES), &review, &ballot("bob", &review, None), &film.job, starts(plan()), &[]).await;
    assert!(late.unwrap_err().is_conflict(), "its time is over");
    let facts = [emission(film.asset, NOW)];
    catalog.grant(&step(NOW), &review, &ballot("bob", &review, None), &film.job, starts(plan()), &facts).await.unwrap();
    let second =
        catalog.grant(&step(NOW), &review, &ballot("eve", &review, None), &film.job, starts(plan()), &[]).await;
    assert!(second.unwrap_err().is_conflict(), "decided once");
    assert_eq!(state(catalog, &film).await, AssetState::Processing);
    let read = again(catalog, &review).await;
    assert_eq!((read.state.as_str(), read.version, read.decided_by.as_deref()), (GRANTED, 2, Some("bob")));
    assert_eq!(catalog.approved_of("default", "ann").await.unwrap(), before + 1);
    assert_eq!(catalog.votes(&review.id).await.unwrap().len(), 1);
    assert!(catalog.voted_on(&film.asset, "bob").await.unwrap());
    assert!(!catalog.voted_on(&film.asset, "eve").await.unwrap());
    assert_eq!(catalog.audit_of(&review.id.to_string(), 10).await.unwrap().len(), 1, "what failed left nothing");
    assert_eq!(catalog.reviewer_of("nobody").await.unwrap(), None);
}

async fn two_of_n(catalog: &Catalog) {
    let links = [link("two-a", "bob@example.com"), link("two-b", "eve@example.com")];
    let (film, review) = waiting(catalog, "r/two", 2, OnReject::Keep, &links).await;
    let plan = || task(film.asset, film.job, Task::PlanRenditions);
    let hash = link_hash("two-a");
    catalog.count_approval(&step(NOW), &review, &ballot("bob", &review, Some(&hash))).await.unwrap();
    let half = again(catalog, &review).await;
    assert_eq!((half.given, half.version), (1, review.version), "what is decided about has not changed");
    assert_eq!(catalog.review_link("two-a").await.unwrap().unwrap().state, "used");
    let stale = catalog.count_approval(&step(NOW), &review, &ballot("eve", &review, None)).await;
    assert!(stale.unwrap_err().is_conflict(), "somebody voted meanwhile");
    let twice = catalog.grant(&step(NOW), &half, &ballot("bob", &half, None), &film.job, starts(plan()), &[]).await;
    assert!(twice.unwrap_err().is_conflict(), "nobody votes twice");
    assert_eq!(state(catalog, &film).await, AssetState::AwaitingApproval);
    catalog.grant(&step(NOW), &half, &ballot("eve", &half, None), &film.job, starts(plan()), &[]).await.unwrap();
    assert_eq!(state(catalog, &film).await, AssetState::Processing);
    assert_eq!(catalog.review_link("two-b").await.unwrap().unwrap().state, "revoked");
}

async fn declined(catalog: &Catalog) {
    let (film, review) = waiting(catalog, "r/kept", 2, OnReject::Quarantine, &[]).await;
    catalog.decline(&step(NOW), &review, &ballot("bob", &review, None), 0, &[emission(film.asset, NOW)]).await.unwrap();
    let asset = catalog.asset(&film.asset).await.unwrap().unwrap();
    assert_eq!((asset.state, asset.reason_code.as_deref()), (AssetState::Refused, Some("rejected")));
    assert_eq!(asset.reason_detail.as_deref(), Some("why"));
    assert_eq!(again(catalog, &review).await.state, DECLINED);
    let tag = catalog.to_quarantine(10).await.unwrap();
    assert!(tag.iter().any(|(id, _, key, _)| *id == review.id && key == "r/kept"));
    catalog.quarantined(NOW, &review.id).await.unwrap();
    assert!(!catalog.to_quarantine(10).await.unwrap().iter().any(|(id, ..)| *id == review.id));

    let (film, review) = waiting(catalog, "r/deleted", 1, OnReject::Delete, &[]).await;
    catalog.decline(&step(NOW), &review, &ballot("bob", &review, None), NOW + 50, &[]).await.unwrap();
    let asset = catalog.asset(&film.asset).await.unwrap().unwrap();
    let deletion = catalog.deletion(&film.asset).await.unwrap().unwrap();
    assert_eq!((asset.state, deletion.state_before), (AssetState::Deleting, AssetState::Refused));
    catalog.restore(&step(NOW), &asset, &deletion, &[]).await.unwrap();
    assert_eq!(state(catalog, &film).await, AssetState::Refused, "restored, it is refused all the same");

    let (film, review) = waiting(catalog, "r/gone", 1, OnReject::Keep, &[]).await;
    let asset = catalog.asset(&film.asset).await.unwrap().unwrap();
    catalog.mark_deleted(&step(NOW), &asset, "ann", NOW, &[]).await.unwrap();
    let plan = task(film.asset, film.job, Task::PlanRenditions);
    let late = catalog.grant(&step(NOW), &review, &ballot("bob", &review, None), &film.job, starts(plan), &[]).await;
    assert!(late.unwrap_err().is_conflict(), "it was deleted while it waited");
    let late = catalog.decline(&step(NOW), &review, &ballot("bob", &review, None), 0, &[]).await;
    assert!(late.unwrap_err().is_conflict());
    assert!(!catalog.reviews_waiting("default", "", 100).await.unwrap().iter().any(|r| r.id == review.id));
}

async fn expired(catalog: &Catalog) {
    let links = [link("late-a", "bob@example.com")];
    let (film, review) = waiting(catalog, "r/late", 1, OnReject::Keep, &links).await;
    let due = async |now| {
        let due = catalog.reviews_to_remind(now, 100).await.unwrap();
        due.into_iter().find(|r| r.id == review.id)
    };
    assert_eq!(due(NOW + 9).await, None);
    let reminded = due(NOW + 10).await.unwrap();
    assert_eq!(reminded.escalate_to, ["boss@example.com"]);
    let open = catalog.open_links(&review.id).await.unwrap();
    assert_eq!(open.len(), 1);
    let replaced = [open[0].hash.clone()];
    let word = || [noted("janitor", "review.reminded", &review)];
    let anew = [link("late-b", "bob@example.com")];
    catalog.remind(&step(NOW + 10), &reminded, &replaced, &anew, &word()).await.unwrap();
    let twice = catalog.remind(&step(NOW + 10), &reminded, &[], &[], &word()).await;
    assert!(twice.unwrap_err().is_conflict(), "once");
    assert_eq!(catalog.review_link("late-a").await.unwrap().unwrap().state, "revoked");
    assert_eq!(catalog.review_link("late-b").await.unwrap().unwrap().state, "open");
    assert_eq!(due(NOW + 19).await, None);
    let escalated = due(NOW + 20).await.unwrap();
    catalog.remind(&step(NOW + 20), &escalated, &[], &[], &[]).await.unwrap();
    assert_eq!(due(NOW + 30).await, None);

    let due = catalog.reviews_to_expire(EXPIRES - 1, 100).await.unwrap();
    assert!(!due.iter().any(|r| r.id == review.id));
    let word = || noted("janitor", "review.expired", &review);
    assert!(catalog.expire_review(&step(EXPIRES - 1), &review, word(), &[]).await.unwrap_err().is_conflict());
    let due = catalog.reviews_to_expire(EXPIRES, 100).await.unwrap();
    let due = due.into_iter().find(|r| r.id == review.id).unwrap();
    catalog.expire_review(&step(EXPIRES), &due, word(), &[emission(film.asset, NOW)]).await.unwrap();
    let lines = catalog.audit_of(&review.id.to_string(), 9).await.unwrap();
    let mut lines: Vec<_> = lines.iter().map(|line| line.what.as_str()).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["review.expired", "review.reminded"], "each once, and nothing of what failed");
    assert_eq!(again(catalog, &review).await.state, EXPIRED);
    assert_eq!(state(catalog, &film).await, AssetState::AwaitingApproval, "it stays blocked");
    assert_eq!(catalog.review_link("late-b").await.unwrap().unwrap().state, "revoked");
    let plan = task(film.asset, film.job, Task::PlanRenditions);
    let late = catalog.grant(&step(NOW), &review, &ballot("bob", &review, None), &film.job, starts(plan), &[]).await;
    assert!(late.unwrap_err().is_conflict(), "by a clock that is late, too");

    let over = again(catalog, &review).await;
    assert_eq!(catalog.addresses_of(&review.id).await.unwrap(), ["bob@example.com"]);
    let noted = || noted("ann", "review.asked_again", &review);
    let until = (EXPIRES + 50, EXPIRES + 100);
    let stale = catalog.ask_again(&step(EXPIRES), &review, until, &[], noted(), &[]).await;
    assert!(stale.unwrap_err().is_conflict(), "as it was read before it expired");
    let anew = [link("late-c", "bob@example.com")];
    catalog.ask_again(&step(EXPIRES), &over, until, &anew, noted(), &[emission(film.asset, NOW)]).await.unwrap();
    let twice = catalog.ask_again(&step(EXPIRES), &over, until, &[], noted(), &[]).await;
    assert!(twice.unwrap_err().is_conflict(), "once");
    let open = again(catalog, &review).await;
    assert_eq!((open.state.as_str(), open.expires_at, open.decided_at), (WAITING, EXPIRES + 100, None));
    assert_eq!(catalog.review_link("late-c").await.unwrap().unwrap().state, "open");
    assert!(catalog.reviews_to_remind(EXPIRES + 50, 100).await.unwrap().iter().any(|r| r.id == review.id));
    let plan = task(film.asset, film.job, Task::PlanRenditions);
    catalog.grant(&step(EXPIRES + 1), &open, &ballot("bob", &open, None), &film.job, starts(plan), &[]).await.unwrap();
    let late = catalog.ask_again(&step(EXPIRES), &again(catalog, &review).await, until, &[], noted(), &[]).await;
    assert!(late.unwrap_err().is_conflict(), "it was decided");
}

async fn codes(catalog: &Catalog) {
    let links = [link("c-a", "bob@example.com"), link("c-b", "eve@example.com")];
    let (_, review) = waiting(catalog, "r/codes", 1, OnReject::Keep, &links).await;
    assert_eq!(catalog.review_link("c-a").await.unwrap().unwrap().review, review.id);
    assert_eq!(catalog.review_link("c-x").await.unwrap(), None);
    assert_eq!(catalog.try_code(NOW, "c-x", "123456").await.unwrap(), Tried::Closed);
    for left in (0..MAX_TRIES).rev() {
        assert_eq!(catalog.try_code(NOW, "c-a", "000000").await.unwrap(), Tried::Wrong(left));
    }
    assert_eq!(catalog.try_code(NOW, "c-a", "123456").await.unwrap(), Tried::Closed, "the fifth was the last");
    assert_eq!(catalog.try_code(EXPIRES, "c-b", "123456").await.unwrap(), Tried::Closed, "out of date");
    assert_eq!(catalog.try_code(NOW, "c-b", "123456").await.unwrap(), Tried::Right);
}
