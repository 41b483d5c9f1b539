//! SNS: topics that fan out to queues of this endpoint, spoken as AWS Query.
//!
//! Guarantee: publishing and all the queue entries it causes are one commit: either every subscriber that the filters
//! let through gets the message, or none and the publisher is told. Delivery is to SQS only; other protocols and FIFO
//! topics are refused.

mod error;
mod filter;
#[cfg(any(test, fuzzing))]
mod fuzzed;
mod publish;
mod subscriptions;
mod topics;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension};

use crate::state::{Endpoint, Response};

pub use error::SnsError;
#[cfg(any(test, fuzzing))]
pub(crate) use fuzzed::fuzzed;
pub use publish::publish_in;

type Answer = Result<wire::Xml, SnsError>;

/// Makes the tables of topics and subscriptions.
pub fn migrate(conn: &Connection) -> Result<(), rusqlite::Error> {
    conn.execute_batch(
        "CREATE TABLE IF NOT EXISTS sns_topic (
           arn TEXT PRIMARY KEY,
           attributes TEXT NOT NULL,
           created_ms INTEGER NOT NULL
         ) STRICT;
         CREATE TABLE IF NOT EXISTS sns_tag (
           topic_arn TEXT NOT NULL REFERENCES sns_topic ON DELETE CASCADE,
           key TEXT NOT NULL,
           value TEXT NOT NULL,
           PRIMARY KEY (topic_arn, key)
         ) STRICT, WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS sns_subscription (
           arn TEXT PRIMARY KEY,
           topic_arn TEXT NOT NULL REFERENCES sns_topic ON DELETE CASCADE,
           endpoint TEXT NOT NULL,
           base_url TEXT NOT NULL,
           attributes TEXT NOT NULL,
           created_ms INTEGER NOT NULL,
           UNIQUE (topic_arn, endpoint)
         ) STRICT;",
    )
}

/// Answers one request of AWS Query; `form` is its body.
pub async fn handle(state: &Arc<Endpoint>, form: Bytes) -> Response {
    match wire::Form::parse(&form) {
        Ok(form) => {
            let action = form.get("Action").unwrap_or_default().to_owned();
            match act(state, &action, form).await {
                Ok(result) => wire::success(&action, result, state.ids),
                Err(error) => refuse(&error, state),
            }
        }
        Err(error) => refuse(&error, state),
    }
}

/// Action and topic ARN of a request, as far as it names them.
pub(crate) fn action_of(form: &[u8]) -> (String, String) {
    let Ok(form) = wire::Form::parse(form) else {
        return Default::default();
    };
    let get = |name| form.get(name).unwrap_or_default().to_owned();
    (get("Action"), form.get("TargetArn").map_or_else(|| get("TopicArn"), str::to_owned))
}

fn refuse(error: &SnsError, state: &Endpoint) -> Response {
    if matches!(error, SnsError::Db(_)) {
        tracing::error!(%error, "SNS request failed");
    }
    wire::failure(error, state.ids)
}

async fn act(state: &Arc<Endpoint>, action: &str, form: wire::Form) -> Answer {
    match action {
        "CreateTopic" => topics::create(state, form).await,
        "DeleteTopic" => topics::delete(state, form).await,
        "ListTopics" => topics::list(state, form).await,
        "GetTopicAttributes" => topics::get_attributes(state, form).await,
        "SetTopicAttributes" => topics::set_attributes(state, form).await,
        "TagResource" => topics::tag(state, form).await,
        "UntagResource" => topics::untag(state, form).await,
        "ListTagsForResource" => topics::list_tags(state, form).await,
        "Subscribe" => subscriptions::subscribe(state, form).await,
        "ConfirmSubscription" => subscriptions::confirm(state, form).await,
        "Unsubscribe" => subscriptions::unsubscribe(state, form).await,
        "ListSubscriptions" => subscriptions::list(state, form, false).await,
        "ListSubscriptionsByTopic" => subscriptions::list(state, form, true).await,
        "GetSubscriptionAttributes" => subscriptions::get_attributes(state, form).await,
        "SetSubscriptionAttributes" => subscriptions::set_attributes(state, form).await,
        "Publish" => publish::one(state, form).await,
        "PublishBatch" => publish::batch(state, form).await,
        other => Err(SnsError::InvalidAction(other.to_owned())),
    }
}

/// Whether a topic has this ARN.
pub fn topic_exists(conn: &Connection, topic_arn: &str) -> Result<bool, rusqlite::Error> {
    let found =
        conn.prepare_cached("SELECT 1 FROM sns_topic WHERE arn = ?1")?.query_row([topic_arn], |_| Ok(())).optional()?;
    Ok(found.is_some())
}
