//! People: who is first, who is invited, who is shut out; sessions that rotate; passwords that are forgotten.

use reelfleet_catalog::Catalog;
use reelfleet_catalog::access::ApiKeyRow;
use reelfleet_catalog::accounts::{ACTIVE, DISABLED, Invitation, NewAccount, NewSession, User, UserChange};
use reelfleet_catalog::audit::AuditEntry;
use reelfleet_catalog::mail::NewMail;
use reelfleet_catalog::sessions::Rotated;
use reelfleet_messages::{ApiKeyId, InvitationId, MailId, SessionId, UserId};

use crate::story::{NOW, id, step};

const ALL: &str = "user reviewer operator admin";
const GRACE: i64 = 30_000;
const LIFE: i64 = 1_000_000;

fn user(email: &str) -> User {
    User {
        id: UserId::from_uuid(id()),
        tenant: "people".into(),
        email: email.into(),
        name: "N".into(),
        roles: "user".into(),
        state: ACTIVE.into(),
        password_hash: "$argon2id$1".into(),
        version: 1,
        created_at: NOW,
    }
}

fn session() -> NewSession {
    NewSession { id: SessionId::from_uuid(id()), expires_at: NOW + LIFE }
}

fn noted(what: &str, subject: &UserId) -> AuditEntry {
    AuditEntry {
        id: id().to_string(),
        at: NOW,
        who: "eve".into(),
        what: what.into(),
        subject: subject.to_string(),
        detail: "{}".into(),
        tenant: Some("people".into()),
    }
}

async fn sign_up(catalog: &Catalog, user: &User, invitation: Option<&InvitationId>) -> Option<SessionId> {
    let session = session();
    let noted = noted("user.signed_up", &user.id);
    let account = NewAccount { user, session: &session, first_roles: ALL, invitation, identity: None };
    match catalog.sign_up(&step(NOW), &account, &noted).await {
        Ok(()) => Some(session.id),
        Err(error) if error.is_conflict() => None,
        Err(error) => panic!("{error}"),
    }
}

/// All of it.
pub async fn tell(catalog: &Catalog) {
    let first = everybody_at_once(catalog).await;
    changed(catalog, &first).await;
    refreshed(catalog, &first).await;
    invited(catalog).await;
    forgotten(catalog).await;
    keys(catalog).await;
}

/// Eight sign up at the same moment; one of them is the first.
async fn everybody_at_once(catalog: &Catalog) -> User {
    let crowd: Vec<User> = (0..8).map(|n| user(&format!("u{n}@example.org"))).collect();
    let tasks: Vec<_> = crowd
        .iter()
        .cloned()
        .map(|user| {
            let catalog = catalog.clone();
            tokio::spawn(async move { sign_up(&catalog, &user, None).await })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap().is_some());
    }
    let all = catalog.users("people", "", 100).await.unwrap();
    assert_eq!(all.len(), 8);
    let firsts: Vec<&User> = all.iter().filter(|user| user.roles == ALL).collect();
    assert_eq!(firsts.len(), 1, "{all:?}");
    assert!(all.iter().filter(|user| user.roles == "user").count() == 7);
    assert_eq!(catalog.users("people", &all[5].id.to_string(), 100).await.unwrap(), all[6..]);
    assert_eq!(catalog.users("other", "", 100).await.unwrap(), []);
    let ids = [all[5].id.to_string(), "a key".to_owned()];
    let known = [(all[5].id.to_string(), all[5].email.clone())];
    assert_eq!(catalog.emails_of(None, &ids).await.unwrap(), known);
    assert_eq!(catalog.emails_of(Some("people"), &ids).await.unwrap(), known);
    assert_eq!(catalog.emails_of(Some("other"), &ids).await.unwrap(), [], "whose address it is");
    let taken = user("u3@example.org");
    assert_eq!(sign_up(catalog, &taken, None).await, None, "an e-mail has one account");
    assert_eq!(catalog.user(&taken.id).await.unwrap(), None);
    assert!(catalog.audit_of(&taken.id.to_string(), 9).await.unwrap().is_empty(), "all or nothing");
    assert_eq!(catalog.audit_of(&firsts[0].id.to_string(), 9).await.unwrap()[0].what, "user.signed_up");
    firsts[0].clone()
}

async fn changed(catalog: &Catalog, first: &User) {
    let second = catalog.user_by_email("u1@example.org").await.unwrap().unwrap();
    let second =
        if second.id == first.id { catalog.user_by_email("u2@example.org").await.unwrap().unwrap() } else { second };
    let begun = session();
    catalog.begin_session(NOW, &begun.id, &second.id, begun.expires_at).await.unwrap();
    let to = UserChange { version: 1, name: "M", roles: "user reviewer", state: ACTIVE };
    catalog.change_user(&step(NOW), &second.id, &to, &noted("user.changed", &second.id)).await.unwrap();
    let again = catalog.change_user(&step(NOW), &second.id, &to, &noted("user.changed", &second.id)).await;
    assert!(again.unwrap_err().is_conflict(), "of the version that was seen");
    let row = catalog.session(&begun.id).await.unwrap().unwrap();
    assert_eq!((row.roles.as_str(), row.is_live(NOW)), ("user reviewer", true), "at once");
    let out = UserChange { version: 2, name: "M", roles: "user", state: DISABLED };
    catalog.change_user(&step(NOW), &second.id, &out, &noted("user.changed", &second.id)).await.unwrap();
    let row = catalog.session(&begun.id).await.unwrap().unwrap();
    assert!(!row.is_live(NOW) && row.revoked_at == Some(NOW));
    let two = catalog.sessions(&[begun.id, SessionId::from_uuid(id())]).await.unwrap();
    assert_eq!(two, [row], "those that there are");
    let rotated = catalog.rotate_session(NOW, &begun.id, 1, GRACE, NOW + LIFE).await.unwrap();
    assert_eq!(rotated, Rotated::Over);
    let back = UserChange { version: 3, name: "M", roles: "user", state: ACTIVE };
    catalog.change_user(&step(NOW), &second.id, &back, &noted("user.changed", &second.id)).await.unwrap();
    assert!(!catalog.session(&begun.id).await.unwrap().unwrap().is_live(NOW), "what has ended stays ended");
}

async fn refreshed(catalog: &Catalog, first: &User) {
    let rotate =
        async |now, id: &SessionId, number| catalog.rotate_session(now, id, number, GRACE, now + LIFE).await.unwrap();
    let one = session();
    catalog.begin_session(NOW, &one.id, &first.id, one.expires_at).await.unwrap();
    assert_eq!(rotate(NOW + 1, &one.id, 1).await, Rotated::To(2));
    assert_eq!(rotate(NOW + GRACE, &one.id, 1).await, Rotated::To(2), "the answer was lost: the same next one");
    assert_eq!(rotate(NOW + GRACE, &one.id, 2).await, Rotated::To(3));
    assert_eq!(rotate(NOW + GRACE, &one.id, 9).await, Rotated::Over, "a number that was never given ends nothing");
    assert_eq!(rotate(NOW + GRACE + 1, &one.id, 3).await, Rotated::To(4));
    assert_eq!(rotate(NOW + GRACE + 1, &one.id, 2).await, Rotated::Reused, "in two hands");
    assert_eq!(rotate(NOW + GRACE + 2, &one.id, 4).await, Rotated::Over, "for both");

    let late = session();
    catalog.begin_session(NOW, &late.id, &first.id, late.expires_at).await.unwrap();
    assert_eq!(rotate(NOW, &late.id, 1).await, Rotated::To(2));
    assert_eq!(rotate(NOW + GRACE + 1, &late.id, 1).await, Rotated::Reused, "after its grace");

    let idle = session();
    catalog.begin_session(NOW, &idle.id, &first.id, idle.expires_at).await.unwrap();
    assert_eq!(rotate(NOW + LIFE, &idle.id, 1).await, Rotated::Over, "nobody came for long");
    assert_eq!(rotate(NOW, &SessionId::from_uuid(id()), 1).await, Rotated::Over);

    // Two tabs at once get the same one.
    let tabs = session();
    catalog.begin_session(NOW, &tabs.id, &first.id, tabs.expires_at).await.unwrap();
    let (a, b) = tokio::join!(rotate(NOW, &tabs.id, 1), rotate(NOW, &tabs.id, 1));
    assert_eq!((a, b), (Rotated::To(2), Rotated::To(2)));
    catalog.end_session(NOW, &tabs.id).await.unwrap();
    assert_eq!(rotate(NOW, &tabs.id, 2).await, Rotated::Over, "signed out");

    // What has expired is cleared away by the next signing-in.
    let next = session();
    catalog.begin_session(NOW + 3 * LIFE, &next.id, &first.id, NOW + 4 * LIFE).await.unwrap();
    assert_eq!(catalog.session(&idle.id).await.unwrap(), None);
    assert!(catalog.session(&next.id).await.unwrap().is_some());
}

async fn invited(catalog: &Catalog) {
    let invitation = Invitation {
        id: InvitationId::from_uuid(id()),
        hash: id().to_string(),
        tenant: "people".into(),
        email: Some("guest@example.org".into()),
        roles: "user reviewer".into(),
        invited_by: "eve".into(),
        created_at: NOW,
        expires_at: NOW + 5,
        used_by: None,
    };
    let entry = noted("user.invited", &UserId::from_uuid(id()));
    catalog.invite(&step(NOW), &invitation, None, std::slice::from_ref(&entry)).await.unwrap();
    assert_eq!(catalog.invitation(NOW, &invitation.hash).await.unwrap(), Some(invitation.clone()));
    assert_eq!(catalog.invitation(NOW + 5, &invitation.hash).await.unwrap(), None, "over");
    assert_eq!(catalog.invitation(NOW, "other").await.unwrap(), None);
    let (guest, other) = (user("guest@example.org"), user("guest2@example.org"));
    assert!(sign_up(catalog, &guest, Some(&invitation.id)).await.is_some());
    assert_eq!(sign_up(catalog, &other, Some(&invitation.id)).await, None, "good once");
    assert_eq!(catalog.user(&other.id).await.unwrap(), None);
    assert_eq!(catalog.invitation(NOW, &invitation.hash).await.unwrap(), None);

    // What nobody has used is listed to its tenant and to whom it was made by, and can be taken back, once.
    assert!(catalog.uninvite(&invitation.id, &entry).await.unwrap_err().is_conflict(), "it was used");
    let open = Invitation {
        id: InvitationId::from_uuid(id()),
        hash: id().to_string(),
        tenant: "elsewhere".into(),
        email: None,
        ..invitation
    };
    catalog.invite(&step(NOW), &open, None, std::slice::from_ref(&entry)).await.unwrap();
    let listed = async |tenant: &str, by: &str, now| catalog.invitations(now, tenant, by, "", 10).await.unwrap();
    for (tenant, by) in [("elsewhere", ""), ("people", "eve")] {
        assert_eq!(listed(tenant, by, NOW).await, std::slice::from_ref(&open), "{tenant} {by}");
    }
    assert_eq!(listed("people", "", NOW).await, [], "another tenant's, and a used one");
    assert_eq!(listed("people", "bob", NOW).await, []);
    assert_eq!(listed("elsewhere", "", NOW + 5).await, [], "over");
    assert_eq!(catalog.open_invitation(NOW, &open.id).await.unwrap().as_ref(), Some(&open));
    catalog.uninvite(&open.id, &noted("user.uninvited", &UserId::from_uuid(id()))).await.unwrap();
    assert_eq!(catalog.open_invitation(NOW, &open.id).await.unwrap(), None);
    assert_eq!(catalog.invitation(NOW, &open.hash).await.unwrap(), None);
    let again = catalog.uninvite(&open.id, &noted("user.uninvited", &UserId::from_uuid(id()))).await;
    assert!(again.unwrap_err().is_conflict());
}

async fn forgotten(catalog: &Catalog) {
    let user = catalog.user_by_email("guest@example.org").await.unwrap().unwrap();
    let (kept, other) = (session(), session());
    for session in [&kept, &other] {
        catalog.begin_session(NOW, &session.id, &user.id, session.expires_at).await.unwrap();
    }
    let mail = |id| NewMail {
        id,
        tenant: "people",
        to: "guest@example.org",
        kind: "password_reset",
        subject: "s",
        text: "t",
        expires_at: NOW + 10,
    };
    for hash in ["older", "newer"] {
        let mail = mail(MailId::from_uuid(id()));
        catalog.wish_password(&step(NOW), &user.id, hash, NOW + 10, &mail).await.unwrap();
    }
    assert_eq!(catalog.wished_password(NOW, "older").await.unwrap(), None, "only the newest");
    assert_eq!(catalog.wished_password(NOW + 10, "newer").await.unwrap(), None, "over");
    assert_eq!(catalog.wished_password(NOW, "newer").await.unwrap().as_ref(), Some(&user));
    let entry = noted("user.password_reset", &user.id);
    catalog.change_password(&step(NOW), &user, "$argon2id$2", Some(&kept.id), &entry).await.unwrap();
    let again = catalog.change_password(&step(NOW), &user, "$argon2id$3", None, &entry).await;
    assert!(again.unwrap_err().is_conflict(), "once");
    assert_eq!(catalog.wished_password(NOW, "newer").await.unwrap(), None, "good once");
    assert_eq!(catalog.user(&user.id).await.unwrap().unwrap().password_hash, "$argon2id$2");
    assert!(catalog.session(&kept.id).await.unwrap().unwrap().is_live(NOW));
    assert!(!catalog.session(&other.id).await.unwrap().unwrap().is_live(NOW), "every other session ends");
    // The janitor clears away what is over, and nothing else.
    catalog.trim_credentials(NOW).await.unwrap();
    assert!(catalog.session(&kept.id).await.unwrap().is_some());
    catalog.trim_credentials(NOW + 5 * LIFE).await.unwrap();
    assert_eq!(catalog.session(&kept.id).await.unwrap(), None);
    // The mails were part of it, and are not sent here.
    let leased = catalog.lease_mail(&step(NOW), 1_000, 10).await.unwrap();
    assert_eq!(leased.iter().filter(|mail| mail.kind == "password_reset").count(), 2);
    for mail in &leased {
        catalog.mail_sent(NOW, mail).await.unwrap();
    }
}

async fn keys(catalog: &Catalog) {
    let user = catalog.user_by_email("guest@example.org").await.unwrap().unwrap();
    let key = ApiKeyRow {
        id: ApiKeyId::from_uuid(id()),
        tenant: "people".into(),
        owner: user.id.to_string(),
        name: "script".into(),
        hash: "h1".into(),
        scopes: "assets:read".into(),
        created_at: NOW,
        expires_at: Some(NOW + 9),
        last_used_at: None,
        rotated_at: None,
        revoked_at: None,
        user: Some((user.roles.clone(), ACTIVE.into())),
    };
    catalog.add_api_key(&key).await.unwrap();
    assert_eq!(catalog.api_keys_of("people", &key.owner, 10).await.unwrap(), std::slice::from_ref(&key));
    let many: Vec<ApiKeyId> = (0..30).map(|_| ApiKeyId::from_uuid(id())).chain([key.id]).collect();
    assert_eq!(catalog.api_keys(&many).await.unwrap(), std::slice::from_ref(&key));
    assert_eq!(catalog.api_keys_of("people", "other", 10).await.unwrap(), []);
    assert_eq!(catalog.api_keys_of("other", &key.owner, 10).await.unwrap(), []);
    let used = async || catalog.api_key(&key.id).await.unwrap().unwrap().last_used_at;
    catalog.api_key_used(NOW, &key.id, 60_000).await.unwrap();
    catalog.api_key_used(NOW + 59_999, &key.id, 60_000).await.unwrap();
    assert_eq!(used().await, Some(NOW), "once a minute");
    catalog.api_key_used(NOW + 60_000, &key.id, 60_000).await.unwrap();
    assert_eq!(used().await, Some(NOW + 60_000));
    assert!(catalog.rotate_api_key(NOW + 3, &key.id, "h2").await.unwrap());
    let rotated = catalog.api_key(&key.id).await.unwrap().unwrap();
    assert_eq!((rotated.hash.as_str(), rotated.rotated_at), ("h2", Some(NOW + 3)));
    assert!(catalog.revoke_api_key(NOW, &key.id).await.unwrap());
    assert!(!catalog.revoke_api_key(NOW + 1, &key.id).await.unwrap(), "once");
    assert!(!catalog.rotate_api_key(NOW, &key.id, "h3").await.unwrap(), "it has ended");
    assert_eq!(catalog.api_key(&key.id).await.unwrap().unwrap().revoked_at, Some(NOW));
    assert_eq!(catalog.api_keys_of("people", &key.owner, 10).await.unwrap(), []);
}
