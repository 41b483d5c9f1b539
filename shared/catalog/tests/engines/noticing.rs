//! Mails to uploaders: who wants them, and how far the log has been told.

use reelfleet_catalog::Catalog;
use reelfleet_catalog::events::OPS_STREAM;
use reelfleet_catalog::mail::NewMail;
use reelfleet_catalog::notices::Wishes;
use reelfleet_catalog::statement::Statement;
use reelfleet_catalog::topic_mail::TopicMail;
use reelfleet_catalog::weekly::Reader;
use reelfleet_domain::AssetState;
use reelfleet_messages::{AssetId, EventId, MailId, UserId};

use crate::story::{NOW, id, step};

/// All of it.
pub async fn tell(catalog: &Catalog) {
    let user = UserId::from_uuid(id());
    assert_eq!(catalog.wishes(&user).await.unwrap(), Wishes { ready: true, failed: true, weekly: false });
    for (ready, weekly) in [(false, true), (true, false)] {
        let wishes = Wishes { ready, failed: !ready, weekly };
        catalog.wish(&user, wishes, 7).await.unwrap();
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
    topic(catalog).await;
    weekly(catalog).await;
}

/// From the log's head on, each stretch once, with what subscriptions filter by.
async fn topic(catalog: &Catalog) {
    let (head, _) = catalog.stream_bounds(OPS_STREAM).await.unwrap();
    assert_eq!(catalog.topic_told_until(&step(NOW)).await.unwrap(), head, "what was before is no news");
    let mail = TopicMail {
        event: EventId::from_uuid(id()).to_string(),
        kind: "asset.ready.v1".into(),
        tenant: "press".into(),
        subject: "Ready: a.mp4".into(),
        text: "it is".into(),
    };
    let told = step(NOW);
    catalog.tell_topic(&told, head, head + 5, std::slice::from_ref(&mail)).await.unwrap();
    assert!(catalog.tell_topic(&step(NOW), head, head + 5, &[]).await.unwrap_err().is_conflict(), "told once");
    assert_eq!(catalog.topic_told_until(&step(NOW)).await.unwrap(), head + 5);
    let out = catalog.own_outgoing(&told.instance, 1_000).await.unwrap();
    let row = out.into_iter().find(|row| row.id == format!("{}/mail", mail.event)).unwrap();
    assert_eq!((row.target.as_str(), row.body.as_str(), row.tenant.as_str()), ("mails", "it is", "press"));
    let wanted = [("subject", "Ready: a.mp4"), ("tenant", "press"), ("type", "asset.ready.v1")];
    assert!(row.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(wanted));
    catalog.sent(&[row.id]).await.unwrap();
}

/// One mail a week and person, from the week on in which it is wanted.
async fn weekly(catalog: &Catalog) {
    let user = UserId::from_uuid(id());
    let email = format!("{user}@example.com");
    let sql = "INSERT INTO user_account (id, tenant, email, name, roles, state, password_hash, version, op_id, created_at, updated_at) \
               VALUES (:id, 'default', :email, 'Week', 'user', 'active', '', 1, '', :now, :now)";
    let account = Statement::new(sql).text("id", user.to_string()).text("email", &email).int("now", NOW);
    catalog.write(account).await.unwrap();
    let mine = async |week| {
        let readers = catalog.weekly_readers(week, 100).await.unwrap();
        readers.into_iter().find(|reader| reader.user == user)
    };
    assert_eq!(mine(1_000).await, None, "nobody who has not asked for it");
    let wishes = Wishes { weekly: true, ..Wishes::default() };
    catalog.wish(&user, wishes, 100).await.unwrap();
    assert_eq!(mine(100).await, None, "that week is not over");
    let reader = mine(101).await.unwrap();
    assert_eq!((reader.email.as_str(), reader.week), (email.as_str(), 99));
    catalog.wish(&user, Wishes { ready: false, ..wishes }, 101).await.unwrap();
    assert_eq!(mine(101).await.as_ref(), Some(&reader), "another wish changes nothing of it");

    let landed = crate::story::land(catalog, "weekly/a", None, AssetId::from_uuid(id())).await;
    let ann = Reader { user: reader.user, tenant: "default".into(), ..reader.clone() };
    assert!(catalog.outcomes(&ann, 0, i64::MAX, 10).await.unwrap().is_empty(), "that is somebody else's");
    let sql = "UPDATE asset SET owner = :owner, state = 'failed', reason_detail = 'no' WHERE id = :id";
    let fail = Statement::new(sql).text("owner", user.to_string()).text("id", landed.asset.to_string());
    catalog.write(fail).await.unwrap();
    let outcomes = catalog.outcomes(&reader, NOW, NOW + 1, 10).await.unwrap();
    assert_eq!((outcomes.len(), outcomes[0].state, outcomes[0].reason.as_deref()), (1, AssetState::Failed, Some("no")));
    assert!(catalog.outcomes(&reader, NOW + 1, NOW + 2, 10).await.unwrap().is_empty(), "in another week");
    assert_eq!(catalog.waiting_at_the_desk("nobody's").await.unwrap(), 0);

    let mail = MailId::from_uuid(id());
    let letter = NewMail {
        id: mail,
        tenant: "default",
        to: &email,
        kind: "weekly",
        subject: "Your week",
        text: "it was",
        expires_at: NOW + 1_000,
    };
    catalog.tell_week(&step(NOW), &reader, 101, Some(&letter)).await.unwrap();
    let late = NewMail { id: MailId::from_uuid(id()), ..letter };
    let twice = catalog.tell_week(&step(NOW), &reader, 101, Some(&late)).await;
    assert!(twice.unwrap_err().is_conflict() && catalog.mail_state(&late.id).await.unwrap().is_none(), "once");
    assert_eq!((mine(101).await, mine(102).await.map(|reader| reader.week)), (None, Some(100)));
    let reader = mine(103).await.unwrap();
    catalog.wish(&user, Wishes { weekly: false, ..wishes }, 103).await.unwrap();
    let unwanted = catalog.tell_week(&step(NOW), &reader, 103, None).await;
    assert!(unwanted.unwrap_err().is_conflict());
    catalog.wish(&user, wishes, 200).await.unwrap();
    assert_eq!(mine(200).await, None, "not of what was while it was off");
}
