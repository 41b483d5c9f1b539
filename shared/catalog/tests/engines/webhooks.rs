//! Webhooks: made, handed events, leased in order, delivered, given up, sent again.

use reelfleet_catalog::Catalog;
use reelfleet_catalog::deliveries::{Answer, Leased, NewDelivery};
use reelfleet_catalog::mail::NewMail;
use reelfleet_catalog::webhooks::{Change, Webhook};
use reelfleet_messages::{EventId, MailId, WebhookId};

use crate::story::{NOW, id, step};

const LEASE: i64 = 1_000;

async fn made(catalog: &Catalog, stream: &str) -> Webhook {
    let webhook = Webhook {
        id: WebhookId::from_uuid(id()),
        tenant: "default".into(),
        owner: "hooker".into(),
        name: "mine".into(),
        url: "https://example.com/hook".into(),
        events: String::new(),
        stream: stream.into(),
        position: 0,
        enabled: true,
        reason: None,
        secret_version: 1,
        rotated_at: NOW,
        created_at: NOW,
        user: None,
    };
    catalog.add_webhook(NOW, &webhook).await.unwrap();
    catalog.add_webhook(NOW, &webhook).await.unwrap();
    catalog.webhook(&webhook.id).await.unwrap().unwrap()
}

fn delivery(position: i64, asset: &str) -> NewDelivery {
    let event = EventId::from_uuid(id());
    NewDelivery {
        event,
        position,
        asset: asset.into(),
        kind: "asset.ready.v1".into(),
        body: format!("{{\"n\":{position}}}"),
    }
}

fn answer(status: u16) -> Answer {
    Answer { status: Some(status), error: (status >= 300).then(|| "no".to_owned()), took_ms: 5 }
}

async fn lease(catalog: &Catalog, webhook: &Webhook, now: i64) -> Vec<Leased> {
    let mut leased = catalog.lease_deliveries(&step(now), &webhook.id, LEASE, 10).await.unwrap();
    leased.sort_by_key(|leased| leased.event.to_string());
    leased
}

/// All of it. `stream` has events in it already.
pub async fn tell(catalog: &Catalog, stream: &str) {
    let (head, _) = catalog.stream_bounds(stream).await.unwrap();
    assert!(head > 0);
    let webhook = made(catalog, stream).await;
    assert_eq!((webhook.position, webhook.enabled, webhook.is_of_tenant()), (head, true, stream == "ops"));
    let behind = |list: Vec<Webhook>| list.iter().any(|found| found.id == webhook.id);
    assert!(catalog.has_webhooks().await.unwrap());
    assert!(!behind(catalog.webhooks_behind(100).await.unwrap()), "it begins where the stream stands");
    assert_eq!(catalog.webhooks_of("default", "hooker", 10).await.unwrap().len(), 1);
    assert!(catalog.webhooks_of("other", "hooker", 10).await.unwrap().is_empty());

    // A stretch is handed over once.
    let (first, second, other) = (delivery(1, "a"), delivery(2, "a"), delivery(3, "b"));
    let stretch = [first.clone(), second.clone(), other.clone()];
    let back = Webhook { position: head, ..webhook.clone() };
    catalog.fan_out(&step(NOW), &back, head - 1, &stretch).await.unwrap();
    assert!(catalog.fan_out(&step(NOW), &back, head - 1, &stretch).await.unwrap_err().is_conflict());
    assert!(behind(catalog.webhooks_behind(100).await.unwrap()), "one behind the head now");
    let now_at = catalog.webhook(&webhook.id).await.unwrap().unwrap();
    catalog.fan_out(&step(NOW), &now_at, head, &stretch).await.unwrap();
    assert_eq!(catalog.deliveries_of(&webhook.id, None, 10).await.unwrap().len(), 3, "an event is one delivery");

    assert_eq!(catalog.pending_of(&webhook.id, "asset.ready.v1", 2).await.unwrap(), 2, "counted so far");

    // Of each asset the oldest alone.
    assert!(catalog.webhooks_due(NOW, 100).await.unwrap().iter().any(|due| due.id == webhook.id));
    let leased = lease(catalog, &webhook, NOW).await;
    assert_eq!(leased.iter().map(|leased| leased.event).collect::<Vec<_>>(), [first.event, other.event]);
    assert_eq!((leased[0].attempt, leased[0].body.as_str()), (1, "{\"n\":1}"));
    assert!(lease(catalog, &webhook, NOW + LEASE - 1).await.is_empty(), "they are leased");
    catalog.delivered(NOW + 1, &webhook.id, &leased[1], &answer(204)).await.unwrap();
    catalog.not_delivered(NOW + 1, &webhook.id, &leased[0], &answer(500), Some(NOW + 5_000)).await.unwrap();
    assert!(lease(catalog, &webhook, NOW + 4_999).await.is_empty(), "the second of the asset waits for the first");
    let due = async |now: i64| catalog.webhooks_due(now, 100).await.unwrap().iter().any(|due| due.id == webhook.id);
    assert!(!due(NOW + 4_999).await && due(NOW + 5_000).await, "and nobody looks at it meanwhile");
    let again = lease(catalog, &webhook, NOW + 5_000).await;
    assert_eq!((again.len(), again[0].event, again[0].attempt), (1, first.event, 2));
    // A lease that is over ends nothing.
    catalog.delivered(NOW, &webhook.id, &leased[0], &answer(200)).await.unwrap();
    let line = catalog.delivery(&webhook.id, &first.event).await.unwrap().unwrap();
    assert_eq!((line.state.as_str(), line.status), ("pending", Some(500)));
    catalog.delivered(NOW + 5_001, &webhook.id, &again[0], &answer(200)).await.unwrap();
    let line = catalog.delivery(&webhook.id, &first.event).await.unwrap().unwrap();
    assert_eq!((line.state.as_str(), line.status, line.error, line.took_ms), ("delivered", Some(200), None, Some(5)));
    let next = lease(catalog, &webhook, NOW + 5_001).await;
    assert_eq!(next[0].event, second.event);
    catalog.not_delivered(NOW + 5_002, &webhook.id, &next[0], &answer(500), None).await.unwrap();
    assert!(catalog.webhooks_due(NOW + 9_000, 100).await.unwrap().iter().all(|due| due.id != webhook.id));

    assert_eq!(catalog.pending_of(&webhook.id, "asset.ready.v1", 10).await.unwrap(), 0);

    // The log, page by page; what has ended can be sent again.
    let page = catalog.deliveries_of(&webhook.id, None, 2).await.unwrap();
    assert_eq!(page.iter().map(|line| line.event).collect::<Vec<_>>(), [other.event, second.event]);
    let rest = catalog.deliveries_of(&webhook.id, Some(&second.event), 2).await.unwrap();
    assert_eq!(rest.iter().map(|line| line.event).collect::<Vec<_>>(), [first.event]);
    assert!(catalog.redeliver(NOW + 6_000, &webhook.id, &second.event).await.unwrap());
    assert!(!catalog.redeliver(NOW + 6_000, &webhook.id, &second.event).await.unwrap(), "it is under way");
    assert_eq!(lease(catalog, &webhook, NOW + 6_000).await[0].attempt, 1);

    // Given up: not while something was taken, and its owner is told in the same transaction.
    let text = NewMail {
        id: MailId::from_uuid(id()),
        tenant: "default",
        to: "ann@example.com",
        kind: "webhook",
        subject: "off",
        text: "it is off",
        expires_at: NOW + 99_000,
    };
    catalog.give_up_webhook(&step(NOW), &webhook.id, "silent", NOW, Some(&text)).await.unwrap();
    assert!(catalog.webhook(&webhook.id).await.unwrap().unwrap().enabled, "it took something since");
    catalog.give_up_webhook(&step(NOW), &webhook.id, "silent", NOW + 60_000, Some(&text)).await.unwrap();
    let off = catalog.webhook(&webhook.id).await.unwrap().unwrap();
    assert_eq!((off.enabled, off.reason.as_deref()), (false, Some("silent")));
    assert_eq!(catalog.mail_state(&text.id).await.unwrap().unwrap().state, "unsent");
    assert!(lease(catalog, &webhook, NOW + 50_000).await.is_empty(), "it is off");
    let change = Change { name: "n", url: "https://example.org/", events: "asset.ready.v1", enabled: true };
    assert!(catalog.change_webhook(NOW + 50_000, &webhook.id, &change).await.unwrap());
    let on = catalog.webhook(&webhook.id).await.unwrap().unwrap();
    assert_eq!((on.enabled, on.reason, on.url.as_str()), (true, None, "https://example.org/"));
    assert_eq!(lease(catalog, &webhook, NOW + 50_000).await.len(), 1, "what waited goes on");

    // Secrets, and the end.
    assert!(catalog.rotate_webhook(NOW + 7, &webhook.id, 1).await.unwrap());
    assert!(!catalog.rotate_webhook(NOW + 8, &webhook.id, 1).await.unwrap(), "somebody was first");
    let rotated = catalog.webhook(&webhook.id).await.unwrap().unwrap();
    assert_eq!((rotated.secret_version, rotated.rotated_at), (2, NOW + 7));
    catalog.try_webhook(NOW, &webhook.id, delivery(0, "p")).await.unwrap();
    assert_eq!(catalog.trim_deliveries(NOW + 1).await.unwrap(), 1, "those that nobody touched since");
    catalog.remove_webhook(&webhook.id).await.unwrap();
    catalog.remove_webhook(&webhook.id).await.unwrap();
    assert!(catalog.webhook(&webhook.id).await.unwrap().is_none());
    assert!(catalog.deliveries_of(&webhook.id, None, 10).await.unwrap().is_empty());
    assert!(!catalog.change_webhook(NOW, &webhook.id, &change).await.unwrap());
}
