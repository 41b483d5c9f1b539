//! Mails: leased, sent, put off, given up, blanked.

use reelfleet_catalog::Catalog;
use reelfleet_catalog::mail::{Mail, MailState, NewMail};
use reelfleet_messages::MailId;

use crate::story::{NOW, id, step};

const TEXT: &str = "your code is 123456\n";
const LEASE: i64 = 1_000;
const EXPIRES: i64 = NOW + 100_000;

async fn post(catalog: &Catalog, subject: &str) -> MailId {
    let mail = NewMail {
        id: MailId::from_uuid(id()),
        tenant: "default",
        to: "ann@example.com\r\nBcc: bob@example.com",
        kind: "review",
        subject,
        text: TEXT,
        expires_at: EXPIRES,
    };
    let step = step(NOW);
    catalog.post(&step, &mail).await.unwrap();
    catalog.post(&step, &mail).await.unwrap();
    mail.id
}

/// Those of this story: other chapters write mails too.
async fn taken(catalog: &Catalog, now: i64) -> Vec<Mail> {
    let mut mails = catalog.lease_mail(&step(now), LEASE, 100).await.unwrap();
    mails.retain(|mail| mail.text == TEXT);
    mails
}

async fn state(catalog: &Catalog, id: &MailId) -> MailState {
    catalog.mail_state(id).await.unwrap().unwrap()
}

/// All of it.
pub async fn tell(catalog: &Catalog) {
    let before = catalog.unsent_mail().await.unwrap();
    let first = post(catalog, "one\r\nX-Evil: 1").await;
    assert_eq!(catalog.unsent_mail().await.unwrap(), before + 1, "a repeated call adds nothing");
    let mail = taken(catalog, NOW).await.remove(0);
    assert_eq!((mail.id, mail.attempt, mail.subject.as_str()), (first, 1, "one  X-Evil: 1"));
    assert!(!mail.to.contains(['\r', '\n']), "{:?}", mail.to);
    assert!(taken(catalog, NOW + LEASE - 1).await.is_empty(), "it is leased");
    let again = taken(catalog, NOW + LEASE).await.remove(0);
    assert_eq!(again.attempt, 2, "its sender fell silent");
    catalog.mail_sent(NOW, &mail).await.unwrap();
    assert_eq!(state(catalog, &first).await.state, "unsent", "the first lease is over");
    catalog.mail_failed(NOW, &again, Some(NOW + 5_000), "451 later").await.unwrap();
    let put_off = state(catalog, &first).await;
    assert_eq!((put_off.last_error.as_deref(), put_off.blank), (Some("451 later"), false));
    assert!(taken(catalog, NOW + 4_999).await.is_empty());
    let last = taken(catalog, NOW + 5_000).await.remove(0);
    catalog.mail_sent(NOW + 5_001, &last).await.unwrap();
    let sent = state(catalog, &first).await;
    assert_eq!((sent.state.as_str(), sent.attempts, sent.blank), ("sent", 3, true));

    let second = post(catalog, "two").await;
    let mail = taken(catalog, NOW).await.remove(0);
    catalog.mail_failed(NOW, &mail, None, "550 no such person").await.unwrap();
    let failed = state(catalog, &second).await;
    assert_eq!((failed.state.as_str(), failed.blank), ("failed", true));

    let third = post(catalog, "three").await;
    assert!(taken(catalog, EXPIRES).await.is_empty(), "nobody is helped by a link that is over");
    catalog.expire_mail(EXPIRES - 1).await.unwrap();
    assert_eq!(state(catalog, &third).await.state, "unsent");
    assert!(catalog.expire_mail(EXPIRES).await.unwrap() >= 1);
    assert_eq!((state(catalog, &third).await.state.as_str(), state(catalog, &third).await.blank), ("failed", true));
    assert!(catalog.trim_mail(NOW + 5_002).await.unwrap() >= 2);
    assert_eq!(catalog.mail_state(&first).await.unwrap(), None);
}
