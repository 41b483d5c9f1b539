//! Subscriptions: who gets what a topic publishes, and in which form.
//!
//! Guarantee: a subscription that is stored can be served: its endpoint is a queue's ARN and its filter is understood.
//! Other protocols are refused when subscribing, never silently dropped when publishing.

use std::{collections::BTreeMap, sync::Arc};

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Value, json};

use super::{
    Answer, SnsError,
    filter::{FilterPolicy, Scope},
    topics::{PAGE, Topic, page_token},
    wire::{Form, Xml},
};
use crate::state::Endpoint;

const COLUMNS: &str = "arn, topic_arn, endpoint, base_url, attributes";

/// One subscription of a queue to a topic, as stored.
pub struct Subscription {
    pub arn: String,
    pub topic_arn: String,
    /// ARN of the queue.
    pub endpoint: String,
    /// Where the endpoint was reached when it was subscribed; links in messages begin with it.
    pub base_url: String,
    attributes: BTreeMap<String, String>,
}

impl Subscription {
    fn from_row(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            arn: row.get(0)?,
            topic_arn: row.get(1)?,
            endpoint: row.get(2)?,
            base_url: row.get(3)?,
            attributes: serde_json::from_str(&row.get::<_, String>(4)?).unwrap_or_default(),
        })
    }

    fn load(conn: &Connection, arn: &str) -> Result<Self, SnsError> {
        let mut select = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM sns_subscription WHERE arn = ?1"))?;
        select.query_row([arn], Self::from_row).optional()?.ok_or(SnsError::NotFound("Subscription"))
    }

    /// All subscriptions of a topic, in a fixed order.
    pub fn of_topic(conn: &Connection, topic_arn: &str) -> Result<Vec<Self>, SnsError> {
        let mut select =
            conn.prepare_cached(&format!("SELECT {COLUMNS} FROM sns_subscription WHERE topic_arn = ?1 ORDER BY arn"))?;
        Ok(select.query_map([topic_arn], Self::from_row)?.collect::<Result<_, _>>()?)
    }

    /// Whether the message goes out as it is, without the envelope.
    pub fn raw(&self) -> bool {
        self.attributes.get("RawMessageDelivery").is_some_and(|value| value == "true")
    }

    /// What the filter looks at.
    pub fn scope(&self) -> Scope {
        scope_of(&self.attributes)
    }

    /// The filter, if there is one.
    pub fn filter(&self) -> Option<FilterPolicy> {
        FilterPolicy::parse(self.attributes.get("FilterPolicy")?, self.scope()).ok()
    }

    /// ARN of the queue that takes what the endpoint could not.
    pub fn dead_letter_arn(&self) -> Option<String> {
        dead_letter_target(self.attributes.get("RedrivePolicy")?)
    }

    fn describe(&self, owner: &str) -> Xml {
        Xml::default()
            .text("SubscriptionArn", &self.arn)
            .text("Owner", owner)
            .text("Protocol", "sqs")
            .text("Endpoint", &self.endpoint)
            .text("TopicArn", &self.topic_arn)
    }
}

fn scope_of(attributes: &BTreeMap<String, String>) -> Scope {
    match attributes.get("FilterPolicyScope").map(String::as_str) {
        Some("MessageBody") => Scope::Body,
        _ => Scope::Attributes,
    }
}

fn dead_letter_target(policy: &str) -> Option<String> {
    let policy: Value = serde_json::from_str(policy).ok()?;
    policy["deadLetterTargetArn"].as_str().filter(|arn| is_queue_arn(arn)).map(str::to_owned)
}

fn is_queue_arn(arn: &str) -> bool {
    let parts: Vec<&str> = arn.split(':').collect();
    matches!(parts.as_slice(), ["arn", _, "sqs", region, account, name] if ![region, account, name].iter().any(|p| p.is_empty()))
}

/// Sets attributes on top of those that are there, each checked, and the filter against its scope.
fn set(attributes: &mut BTreeMap<String, String>, changes: &BTreeMap<String, String>) -> Result<(), SnsError> {
    let refuse = |name: &str, reason: &str| Err(SnsError::InvalidParameter(format!("{name}: {reason}")));
    for (name, value) in changes {
        match name.as_str() {
            "RawMessageDelivery" if !matches!(value.to_ascii_lowercase().as_str(), "true" | "false") => {
                return refuse(name, &format!("Invalid value [{value}]. Must be true or false."));
            }
            "FilterPolicyScope" if !matches!(value.as_str(), "MessageAttributes" | "MessageBody") => {
                return refuse(
                    name,
                    &format!("Invalid value [{value}]. Please use either MessageBody or MessageAttributes"),
                );
            }
            "RedrivePolicy" if !value.is_empty() && dead_letter_target(value).is_none() => {
                return refuse(name, "it must be a JSON object whose deadLetterTargetArn is the ARN of an SQS queue");
            }
            "DeliveryPolicy" if !value.is_empty() => {
                return refuse(name, "Delivery policy is only supported on HTTP/S subscriptions.");
            }
            "RawMessageDelivery" => {
                attributes.insert(name.clone(), value.to_ascii_lowercase());
            }
            "FilterPolicy" | "FilterPolicyScope" | "RedrivePolicy" | "DeliveryPolicy" => {
                if value.is_empty() || (name == "FilterPolicy" && value == "{}") {
                    attributes.remove(name);
                } else {
                    attributes.insert(name.clone(), value.clone());
                }
            }
            _ => return Err(SnsError::InvalidParameter("AttributeName".into())),
        }
    }
    if let Some(policy) = attributes.get("FilterPolicy")
        && let Err(reason) = FilterPolicy::parse(policy, scope_of(attributes))
    {
        return refuse("FilterPolicy", &reason);
    }
    Ok(())
}

pub async fn subscribe(state: &Arc<Endpoint>, form: Form) -> Answer {
    let topic_arn = form.need("TopicArn")?.to_owned();
    let protocol = form.need("Protocol")?;
    let endpoint = form.need("Endpoint")?.to_owned();
    if protocol != "sqs" {
        return Err(SnsError::InvalidParameter(format!(
            "Protocol Reason: this endpoint delivers to the protocol sqs only, not to {protocol}"
        )));
    }
    if !is_queue_arn(&endpoint) {
        return Err(SnsError::InvalidParameter("SQS endpoint ARN".into()));
    }
    if endpoint.ends_with(".fifo") {
        return Err(SnsError::InvalidParameter(
            "Endpoint Reason: FIFO SQS Queues can not be subscribed to standard SNS topics".into(),
        ));
    }
    let mut attributes = BTreeMap::new();
    set(&mut attributes, &form.map("Attributes"))?;
    let (base_url, arn, now) = (state.base_url.clone(), format!("{topic_arn}:{}", state.ids.uuid()), state.now());
    let arn = state
        .db
        .write(move |tx| {
            Topic::load(tx, &topic_arn)?;
            let there = Subscription::of_topic(tx, &topic_arn)?.into_iter().find(|s| s.endpoint == endpoint);
            if let Some(there) = there {
                return if same(&there.attributes, &attributes) {
                    Ok(there.arn)
                } else {
                    Err(SnsError::InvalidParameter(
                        "Attributes Reason: Subscription already exists with different attributes".into(),
                    ))
                };
            }
            tx.prepare_cached(
                "INSERT INTO sns_subscription (arn, topic_arn, endpoint, base_url, attributes, created_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![arn, topic_arn, endpoint, base_url, json!(attributes).to_string(), now])?;
            Ok(arn)
        })
        .await?;
    Ok(Xml::default().text("SubscriptionArn", &arn))
}

/// Whether two sets of attributes mean the same: defaults spelt out, JSON by value.
fn same(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> bool {
    let meaning = |attributes: &BTreeMap<String, String>| -> BTreeMap<String, Value> {
        let mut all: BTreeMap<String, Value> = [
            ("RawMessageDelivery".to_owned(), json!(false)),
            ("FilterPolicyScope".to_owned(), json!("MessageAttributes")),
        ]
        .into();
        let value = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| json!(text));
        all.extend(attributes.iter().map(|(name, text)| (name.clone(), value(text))));
        all
    };
    meaning(a) == meaning(b)
}

/// Subscriptions of queues need no confirmation, so no token was ever given.
pub async fn confirm(state: &Arc<Endpoint>, form: Form) -> Answer {
    let arn = form.need("TopicArn")?.to_owned();
    form.need("Token")?;
    state.db.read(move |conn| Topic::load(conn, &arn)).await?;
    Err(SnsError::InvalidParameter("Token Reason: no subscription of this topic awaits confirmation".into()))
}

pub async fn unsubscribe(state: &Arc<Endpoint>, form: Form) -> Answer {
    let arn = form.need("SubscriptionArn")?.to_owned();
    state
        .db
        .write(move |tx| {
            // Deleting what is gone succeeds, as on SNS.
            tx.prepare_cached("DELETE FROM sns_subscription WHERE arn = ?1")?.execute([arn])?;
            Ok::<_, SnsError>(())
        })
        .await?;
    Ok(Xml::default())
}

/// ListSubscriptions, and ListSubscriptionsByTopic when `by_topic`.
pub async fn list(state: &Arc<Endpoint>, form: Form, by_topic: bool) -> Answer {
    let topic_arn = if by_topic { Some(form.need("TopicArn")?.to_owned()) } else { None };
    let after = page_token(&form)?;
    let mut page = state
        .db
        .read(move |conn| {
            if let Some(arn) = &topic_arn {
                Topic::load(conn, arn)?;
            }
            let mut select = conn.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM sns_subscription WHERE arn > ?1 AND topic_arn = coalesce(?2, topic_arn)
                 ORDER BY arn LIMIT ?3"
            ))?;
            let rows = select.query_map(params![after, topic_arn, PAGE as i64 + 1], Subscription::from_row)?;
            Ok::<_, SnsError>(rows.collect::<Result<Vec<_>, _>>()?)
        })
        .await?;
    let more = page.len() > PAGE;
    page.truncate(PAGE);
    let next = page.last().filter(|_| more).map(|last| hex::encode(&last.arn));
    let result = Xml::default().list("Subscriptions", &page, |one| one.describe(&state.account_id));
    Ok(result.maybe("NextToken", next.as_deref()))
}

pub async fn get_attributes(state: &Arc<Endpoint>, form: Form) -> Answer {
    let arn = form.need("SubscriptionArn")?.to_owned();
    let subscription = state.db.read(move |conn| Subscription::load(conn, &arn)).await?;
    let mut all: BTreeMap<&str, String> = [
        ("SubscriptionArn", subscription.arn.clone()),
        ("TopicArn", subscription.topic_arn.clone()),
        ("Owner", state.account_id.clone()),
        ("Protocol", "sqs".into()),
        ("Endpoint", subscription.endpoint.clone()),
        ("ConfirmationWasAuthenticated", "true".into()),
        ("PendingConfirmation", "false".into()),
        ("SubscriptionPrincipal", format!("arn:aws:iam::{}:root", state.account_id)),
        ("RawMessageDelivery", "false".into()),
    ]
    .into();
    if subscription.attributes.contains_key("FilterPolicy") {
        all.insert("FilterPolicyScope", "MessageAttributes".into());
    }
    all.extend(subscription.attributes.iter().map(|(name, value)| (name.as_str(), value.clone())));
    Ok(Xml::default().map("Attributes", all))
}

pub async fn set_attributes(state: &Arc<Endpoint>, form: Form) -> Answer {
    let arn = form.need("SubscriptionArn")?.to_owned();
    let name = form.need("AttributeName")?.to_owned();
    let changes = [(name, form.get("AttributeValue").unwrap_or_default().to_owned())].into();
    state
        .db
        .write(move |tx| {
            let mut subscription = Subscription::load(tx, &arn)?;
            set(&mut subscription.attributes, &changes)?;
            tx.prepare_cached("UPDATE sns_subscription SET attributes = ?2 WHERE arn = ?1")?
                .execute(params![arn, json!(subscription.attributes).to_string()])?;
            Ok::<_, SnsError>(())
        })
        .await?;
    Ok(Xml::default())
}
