//! Events that change what is known of an asset.
//!
//! Guarantee: an event of another type, or of a newer build, is acknowledged; what is no event goes to the dead-letter
//! queue with the parse error.

use reelfleet_fleet::{BoxFuture, Delivery, Handler, Heart, Outcome};
use reelfleet_messages::AssetId;
use reelfleet_telemetry::trace::Span;
use serde::Deserialize;

use crate::describe::Describer;

/// Types whose assets are described anew, without their major version.
const TYPES: [&str; 6] =
    ["asset.probed.", "asset.playable.", "asset.ready.", "asset.refused.", "asset.failed.", "thumbnail.ready."];

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
    subject: String,
}

/// The envelope of an SNS delivery that is not raw.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope {
    r#type: String,
    message: String,
}

/// The asset to describe; none if the event is of no concern.
fn asset_of(body: &str) -> Result<Option<AssetId>, String> {
    let head = match serde_json::from_str::<Envelope>(body) {
        Ok(envelope) if envelope.r#type == "Notification" => serde_json::from_str::<Head>(&envelope.message),
        _ => serde_json::from_str(body),
    };
    let head = head.map_err(|error| format!("not an event: {error}"))?;
    if !TYPES.iter().any(|kind| head.kind.starts_with(kind)) {
        return Ok(None);
    }
    head.subject.parse().map(Some).map_err(|_| format!("the subject {:?} of {} is no asset", head.subject, head.kind))
}

/// The handler of the metadata queue.
pub(crate) struct Events {
    describer: Describer,
}

impl Events {
    pub(crate) fn new(describer: Describer) -> Self {
        Self { describer }
    }
}

impl Handler for Events {
    fn handle(&self, delivery: Delivery, _heart: Heart) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let asset = match asset_of(&delivery.body) {
                Ok(Some(asset)) => asset,
                Ok(None) => return Outcome::Done,
                Err(why) => return Outcome::reject(why),
            };
            let span = Span::child("write metadata.json");
            span.set("reelfleet.asset.id", asset.to_string());
            match span.within(self.describer.describe(&asset)).await {
                Ok(()) => Outcome::Done,
                Err(error) => Outcome::retry(delivery.receive_count, format_args!("describing {asset}: {error}")),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ASSET: &str = "ast_01h455vb4pex5vsknk084sn02q";

    #[test]
    fn what_is_of_no_concern_is_told_apart_from_what_is_no_event() {
        let event = |kind: &str, subject: &str| json!({ "type": kind, "subject": subject, "data": {} }).to_string();
        assert_eq!(asset_of(&event("asset.ready.v1", ASSET)), Ok(Some(ASSET.parse().unwrap())));
        assert_eq!(asset_of(&event("asset.ready.v9", ASSET)), Ok(Some(ASSET.parse().unwrap())), "the row is the truth");
        assert_eq!(asset_of(&event("job.progressed.v1", ASSET)), Ok(None));
        assert_eq!(asset_of(&event("user.invited.v1", "usr_1")), Ok(None));
        let wrapped = json!({ "Type": "Notification", "Message": event("thumbnail.ready.v1", ASSET) });
        assert!(asset_of(&wrapped.to_string()).unwrap().is_some());
        for bad in ["", "{}", "[]", "no", r#"{"type":1,"subject":2}"#] {
            assert!(asset_of(bad).unwrap_err().starts_with("not an event"), "{bad}");
        }
        assert!(asset_of(&event("asset.ready.v1", "tsk_1")).unwrap_err().contains("no asset"));
    }
}
