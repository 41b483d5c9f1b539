//! Mails to uploaders: who wants them, and how far the log has been told.

use reelfleet_catalog::Catalog;
use reelfleet_catalog::mail::NewMail;
use reelfleet_catalog::notices::Wishes;
use reelfleet_messages::{MailId, UserId};

use crate::story::{NOW, id, step};

/// All of it.
pub async fn tell(catalog: &Catalog) {
    let user = UserId::from_uuid(id());
    assert_eq!(catalog.wishes(&user).await.unwrap(), Wishes { ready: true, failed: true });
    for wishes in [Wishes { ready: false, failed: true }, Wishes { ready: true, failed: false }] {
        catalog.wish(&user, wishes).await.unwrap();
        assert_eq!(catalog.wishes(&user).await.unwrap(), wishes);
    }

    assert_eq!(catalog.told_until().await.unwrap(), 0, "from the log's beginning: the first upload is news too");
    let mail = MailId::from_uuid(id());
    let notice = NewMail {
        id: mail,
        tenant: "default",
        to: "ann@example.com",
        kind: "notice",
        subject: "Ready",
        text: "it is",
        expires_at: NOW + 1_000,
    };
    catalog.tell(&step(NOW), 0, 12, std::slice::from_ref(&notice)).await.unwrap();
    assert_eq!(catalog.mail_state(&mail).await.unwrap().unwrap().state, "unsent");
    let late = NewMail { id: MailId::from_uuid(id()), ..notice };
    assert!(catalog.tell(&step(NOW), 0, 12, std::slice::from_ref(&late)).await.unwrap_err().is_conflict(), "told once");
    assert_eq!(catalog.mail_state(&late.id).await.unwrap(), None);
    assert_eq!(catalog.told_until().await.unwrap(), 12);
}
