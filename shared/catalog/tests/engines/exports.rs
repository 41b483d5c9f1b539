//! What is kept of one person, page by page.

use reelfleet_catalog::Catalog;
use reelfleet_catalog::accounts::{ACTIVE, NewAccount, NewSession, User};
use reelfleet_catalog::audit::AuditEntry;
use reelfleet_catalog::mail::NewMail;
use reelfleet_messages::{MailId, SessionId, UserId};

use crate::story::{NOW, id, step};

/// All of it; the other stories have left their assets, votes and mails.
pub async fn tell(catalog: &Catalog) {
    let user = User {
        id: UserId::from_uuid(id()),
        tenant: "exported".into(),
        email: "zoe@exported.example".into(),
        name: "Z".into(),
        roles: "user".into(),
        state: ACTIVE.into(),
        password_hash: "h".into(),
        version: 1,
        created_at: NOW,
    };
    let session = NewSession { id: SessionId::from_uuid(id()), expires_at: NOW + 9 };
    let deed = |what: &str, at| AuditEntry {
        id: id().to_string(),
        at,
        who: user.id.to_string(),
        what: what.into(),
        subject: "s".into(),
        detail: "{}".into(),
        tenant: Some("exported".into()),
    };
    let new = NewAccount { user: &user, session: &session, first_roles: "user", invitation: None, identity: None };
    catalog.sign_up(&step(NOW), &new, &deed("one", NOW)).await.unwrap();
    let second = SessionId::from_uuid(id());
    catalog.begin_session(NOW + 1, &second, &user.id, NOW + 9).await.unwrap();
    catalog.end_session(NOW + 2, &second).await.unwrap();
    let sessions = catalog.sessions_of(&user.id, "", 9).await.unwrap();
    assert_eq!(sessions.len(), 2);
    assert_eq!((sessions[0].ended_at, sessions[1].ended_at), (None, Some(NOW + 2)));
    assert_eq!(catalog.sessions_of(&user.id, &sessions[0].id, 9).await.unwrap(), sessions[1..]);

    let someone = AuditEntry { who: "somebody else".into(), ..deed("theirs", NOW + 1) };
    catalog.audit(&[deed("two", NOW + 1), someone]).await.unwrap();
    let who = user.id.to_string();
    let deeds = catalog.audit_by("exported", &who, None, 9).await.unwrap();
    assert_eq!(deeds.iter().map(|deed| deed.what.as_str()).collect::<Vec<_>>(), ["two", "one"]);
    let rest = catalog.audit_by("exported", &who, Some((deeds[0].at, &deeds[0].id)), 9).await.unwrap();
    assert_eq!(rest, deeds[1..]);
    assert_eq!(catalog.audit_by("default", &who, None, 9).await.unwrap(), []);

    let mut seen = 0;
    let mut after = String::new();
    loop {
        let page = catalog.assets_of_owner("default", "ann", &after, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.iter().all(|asset| asset.owner == "ann" && asset.id.to_string() > after));
        seen += page.len();
        after = last.id.to_string();
    }
    assert!(seen > 3, "{seen}");
    assert!(catalog.assets_of_owner("exported", "ann", "", 3).await.unwrap().is_empty());

    let votes = catalog.votes_of("bob", "", 99).await.unwrap();
    assert!(votes.iter().any(|vote| vote.approves) && votes.iter().any(|vote| !vote.approves), "{votes:?}");
    assert_eq!(catalog.votes_of("bob", &votes[0].review, 99).await.unwrap(), votes[1..]);
    assert_eq!(catalog.mails_to(&user.email, "", 99).await.unwrap(), []);
    for hash in ["export-1", "export-2"] {
        let mail = NewMail {
            id: MailId::from_uuid(id()),
            tenant: "exported",
            to: &user.email,
            kind: "password_reset",
            subject: "s",
            text: "a secret",
            expires_at: NOW + 10,
        };
        catalog.wish_password(&step(NOW), &user.id, hash, NOW + 10, &mail).await.unwrap();
    }
    let mails = catalog.mails_to(&user.email, "", 99).await.unwrap();
    assert_eq!(mails.iter().map(|mail| mail.kind.as_str()).collect::<Vec<_>>(), ["password_reset"; 2]);
    assert_eq!(catalog.mails_to(&user.email, &mails[0].id, 99).await.unwrap(), mails[1..]);
    for mail in &catalog.lease_mail(&step(NOW), 1_000, 10).await.unwrap() {
        catalog.mail_sent(NOW, mail).await.unwrap();
    }
}
