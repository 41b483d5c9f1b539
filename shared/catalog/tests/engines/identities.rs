//! Accounts that other providers vouch for, and things that are good once.

use reelfleet_catalog::Catalog;
use reelfleet_catalog::accounts::{ACTIVE, NewAccount, NewSession, User};
use reelfleet_catalog::audit::AuditEntry;
use reelfleet_catalog::identities::Identity;
use reelfleet_catalog::mail::NewMail;
use reelfleet_messages::{MailId, SessionId, UserId};

use crate::story::{NOW, id, step};

fn user(email: &str) -> User {
    User {
        id: UserId::from_uuid(id()),
        tenant: "vouched".into(),
        email: email.into(),
        name: "N".into(),
        roles: "user".into(),
        state: ACTIVE.into(),
        password_hash: String::new(),
        version: 1,
        created_at: NOW,
    }
}

fn noted(what: &str, subject: &UserId) -> AuditEntry {
    AuditEntry {
        id: id().to_string(),
        at: NOW,
        who: subject.to_string(),
        what: what.into(),
        subject: subject.to_string(),
        detail: "{}".into(),
        tenant: Some("vouched".into()),
    }
}

async fn made(catalog: &Catalog, user: &User, identity: Identity<'_>) -> bool {
    let session = NewSession { id: SessionId::from_uuid(id()), expires_at: NOW + 9 };
    let noted = noted("user.signed_up", &user.id);
    let account =
        NewAccount { user, session: &session, first_roles: "user", invitation: None, identity: Some(&identity) };
    match catalog.sign_up(&step(NOW), &account, &noted).await {
        Ok(()) => true,
        Err(error) if error.is_conflict() => false,
        Err(error) => panic!("{error}"),
    }
}

/// All of it.
pub async fn tell(catalog: &Catalog) {
    let (ann, bob) = (user("ann@vouched.example"), user("bob@vouched.example"));
    let of = |subject: &'static str| Identity { issuer: "https://id.example", subject };
    assert_eq!(catalog.user_of_identity(&of("1")).await.unwrap(), None);
    assert!(made(catalog, &ann, of("1")).await);
    assert_eq!(catalog.user_of_identity(&of("1")).await.unwrap(), Some(ann.id));
    let elsewhere = Identity { issuer: "https://other.example", subject: "1" };
    assert_eq!(catalog.user_of_identity(&elsewhere).await.unwrap(), None, "another provider's 1 is another");
    assert!(!made(catalog, &bob, of("1")).await, "an identity has one account");
    assert_eq!(catalog.user(&bob.id).await.unwrap(), None, "all or nothing");
    assert!(made(catalog, &bob, of("2")).await);

    let mail = NewMail {
        id: MailId::from_uuid(id()),
        tenant: "vouched",
        to: &ann.email,
        kind: "identity_linked",
        subject: "s",
        text: "t",
        expires_at: NOW + 9,
    };
    let link = async |subject| {
        let noted = noted("user.linked", &ann.id);
        catalog.link_identity(&step(NOW), &ann, &of(subject), &mail, &noted).await
    };
    assert!(link("2").await.unwrap_err().is_conflict(), "it is Bob's");
    link("3").await.unwrap();
    assert_eq!(catalog.user_of_identity(&of("3")).await.unwrap(), Some(ann.id));
    assert_eq!(catalog.identities_of(&ann.id).await.unwrap(), vec![("https://id.example".to_owned(), NOW); 2]);
    assert_eq!(catalog.audit_of(&ann.id.to_string(), 9).await.unwrap().len(), 2);
    for mail in &catalog.lease_mail(&step(NOW), 1_000, 10).await.unwrap() {
        catalog.mail_sent(NOW, mail).await.unwrap();
    }

    let (first, second) = (step(NOW), step(NOW));
    assert!(catalog.use_once(&first, "h", NOW + 5).await.unwrap());
    assert!(catalog.use_once(&first, "h", NOW + 5).await.unwrap(), "the same use, asked again");
    assert!(!catalog.use_once(&second, "h", NOW + 5).await.unwrap(), "used up");
    catalog.trim_credentials(NOW + 6).await.unwrap();
    assert!(catalog.use_once(&second, "h", NOW + 9).await.unwrap(), "forgotten when it is no good anyway");
}
