//! Notifications of our own, for objects whose own was lost.
//!
//! Guarantee: they take intake's one path, so an object that was announced after all lands once: its identity decides.

use aws_sdk_sqs::error::DisplayErrorContext;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reelfleet_fleet::{Context, QueueName};
use serde_json::json;

use crate::audit::Lost;

/// Puts the object onto the intake queue.
pub(crate) async fn announce(context: &Context, lost: &Lost) -> anyhow::Result<()> {
    let url = context.queues.url(QueueName::Intake).await?;
    let sent = context.clients.sqs.send_message().queue_url(url).message_body(body(lost)).send().await;
    sent.map_err(|error| anyhow::anyhow!("SendMessage: {}", DisplayErrorContext(&error)))?;
    Ok(())
}

/// In the form of S3, with the key encoded as S3 does.
fn body(lost: &Lost) -> String {
    let object = &lost.object;
    let mut entry = json!({
        "key": utf8_percent_encode(&object.key, NON_ALPHANUMERIC).to_string(),
        "size": object.size,
        "eTag": object.etag,
    });
    if let Some(version) = &object.version_id {
        entry["versionId"] = json!(version);
    }
    json!({
        "Records": [{
            "eventVersion": "2.1",
            "eventSource": "reelfleet:reconciler",
            "eventName": "ObjectCreated:Reconciled",
            "s3": { "bucket": { "name": lost.bucket }, "object": entry },
        }],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelfleet_messages::ObjectChange;
    use reelfleet_messages::notification::{Notification, parse};
    use reelfleet_objects::ListedVersion;

    #[test]
    fn intake_reads_the_object_that_was_found() {
        for (key, version_id) in [("in/a b+c&d=ü%/🎬\n.mp4", None), ("plain", Some("v1".to_owned()))] {
            let object = ListedVersion { key: key.into(), version_id, etag: "e1".into(), size: 7, last_modified_ms: 0 };
            let lost = Lost { bucket: "up".into(), object: object.clone() };
            let Ok(Notification::Objects(events)) = parse(&body(&lost)) else { panic!("{}", body(&lost)) };
            let [event] = events.as_slice() else { panic!("{events:?}") };
            assert_eq!(event.change, ObjectChange::Created);
            assert_eq!((event.bucket.as_str(), event.key.as_str()), ("up", key));
            assert_eq!((&event.version_id, event.size), (&object.version_id, Some(7)));
        }
    }
}
