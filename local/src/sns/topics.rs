//! Topics themselves: made, listed, described, tagged, deleted.

use std::{collections::BTreeMap, sync::Arc};

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};

use super::{
    Answer, SnsError,
    wire::{Form, Xml},
};
use crate::state::Endpoint;

/// Topics and subscriptions of one page, as on SNS.
pub const PAGE: usize = 100;
/// Largest publish, bytes, unless the topic's `MaximumMessageSize` says otherwise.
const DEFAULT_MAX_BYTES: usize = 262_144;

/// One topic, as stored.
pub struct Topic {
    pub arn: String,
    pub attributes: BTreeMap<String, String>,
}

impl Topic {
    /// The topic of that ARN.
    pub fn load(conn: &Connection, arn: &str) -> Result<Self, SnsError> {
        let attributes: Option<String> = conn
            .prepare_cached("SELECT attributes FROM sns_topic WHERE arn = ?1")?
            .query_row([arn], |row| row.get(0))
            .optional()?;
        let attributes = attributes.ok_or(SnsError::NotFound("Topic"))?;
        Ok(Self { arn: arn.to_owned(), attributes: serde_json::from_str(&attributes).unwrap_or_default() })
    }

    /// Largest publish, bytes.
    pub fn max_bytes(&self) -> usize {
        self.attributes.get("MaximumMessageSize").and_then(|size| size.parse().ok()).unwrap_or(DEFAULT_MAX_BYTES)
    }
}

fn no_fifo() -> SnsError {
    SnsError::InvalidParameter(
        "Name Reason: FIFO topics are not offered by this endpoint; use a standard topic.".into(),
    )
}

fn check_name(name: &str) -> Result<(), SnsError> {
    if name.ends_with(".fifo") {
        return Err(no_fifo());
    }
    if name.is_empty()
        || name.len() > 256
        || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    {
        return Err(SnsError::InvalidParameter(
            "Topic Name Reason: it must be made up of only letters, digits, '_' and '-', and be 1 to 256 long".into(),
        ));
    }
    Ok(())
}

fn check_attribute(name: &str, value: &str) -> Result<(), SnsError> {
    let refuse = |reason: &str| SnsError::InvalidParameter(format!("{name} Reason: {reason}"));
    match name {
        "FifoTopic" | "ContentBasedDeduplication" | "FifoThroughputScope" | "ArchivePolicy" => Err(no_fifo()),
        "DisplayName" if value.chars().count() > 100 => Err(refuse("it is longer than 100 characters")),
        "Policy" | "DeliveryPolicy" | "DataProtectionPolicy" if !value.is_empty() => {
            let object = serde_json::from_str::<Value>(value).is_ok_and(|policy| policy.is_object());
            if object { Ok(()) } else { Err(refuse("failed to parse JSON")) }
        }
        "SignatureVersion" if !matches!(value, "1" | "2") => Err(refuse("it must be 1 or 2")),
        "TracingConfig" if !matches!(value, "PassThrough" | "Active") => {
            Err(refuse("it must be PassThrough or Active"))
        }
        "MaximumMessageSize" => match value.parse::<u32>() {
            Ok(1_024..=1_048_576) => Ok(()),
            _ => Err(refuse("it must be between 1024 and 1048576")),
        },
        "DisplayName"
        | "Policy"
        | "DeliveryPolicy"
        | "DataProtectionPolicy"
        | "SignatureVersion"
        | "TracingConfig"
        | "KmsMasterKeyId" => Ok(()),
        feedback if feedback.ends_with("FeedbackRoleArn") || feedback.ends_with("SuccessFeedbackSampleRate") => Ok(()),
        _ => Err(SnsError::InvalidParameter("AttributeName".into())),
    }
}

pub async fn create(state: &Arc<Endpoint>, form: Form) -> Answer {
    let name = form.need("Name")?.to_owned();
    check_name(&name)?;
    let attributes = form.map("Attributes");
    attributes.iter().try_for_each(|(name, value)| check_attribute(name, value))?;
    let tags = tags_of(&form);
    let (arn, now) = (state.topic_arn(&name), state.now());
    let result = Xml::default().text("TopicArn", &arn);
    state
        .db
        .write(move |tx| {
            // A topic of that name stays as it is, as on SNS.
            let made = tx
                .prepare_cached("INSERT OR IGNORE INTO sns_topic (arn, attributes, created_ms) VALUES (?1, ?2, ?3)")?
                .execute(params![arn, json!(attributes).to_string(), now])?;
            if made == 1 { put_tags(tx, &arn, &tags) } else { Ok(()) }
        })
        .await?;
    Ok(result)
}

pub async fn delete(state: &Arc<Endpoint>, form: Form) -> Answer {
    let arn = form.need("TopicArn")?.to_owned();
    state
        .db
        .write(move |tx| {
            // Deleting what is gone succeeds, as on SNS; the subscriptions go too.
            tx.prepare_cached("DELETE FROM sns_topic WHERE arn = ?1")?.execute([arn])?;
            Ok::<_, SnsError>(())
        })
        .await?;
    Ok(Xml::default())
}

/// A page of sorted ARNs after the token (the last ARN of the page before, in hexadecimal).
pub fn page_token(form: &Form) -> Result<String, SnsError> {
    let token = form.get("NextToken").unwrap_or_default();
    let bytes = hex::decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    bytes.ok_or_else(|| SnsError::InvalidParameter("NextToken".into()))
}

pub async fn list(state: &Arc<Endpoint>, form: Form) -> Answer {
    let after = page_token(&form)?;
    let mut arns = state
        .db
        .read(move |conn| {
            let mut select = conn.prepare_cached("SELECT arn FROM sns_topic WHERE arn > ?1 ORDER BY arn LIMIT ?2")?;
            let rows = select.query_map(params![after, PAGE as i64 + 1], |row| row.get(0))?;
            Ok::<_, SnsError>(rows.collect::<Result<Vec<String>, _>>()?)
        })
        .await?;
    let more = arns.len() > PAGE;
    arns.truncate(PAGE);
    let next = arns.last().filter(|_| more).map(hex::encode);
    let result = Xml::default().list("Topics", &arns, |arn| Xml::default().text("TopicArn", arn));
    Ok(result.maybe("NextToken", next.as_deref()))
}

pub async fn get_attributes(state: &Arc<Endpoint>, form: Form) -> Answer {
    let arn = form.need("TopicArn")?.to_owned();
    let (topic, confirmed) = state
        .db
        .read(move |conn| {
            let topic = Topic::load(conn, &arn)?;
            let count: i64 = conn
                .prepare_cached("SELECT count(*) FROM sns_subscription WHERE topic_arn = ?1")?
                .query_row([&arn], |row| row.get(0))?;
            Ok::<_, SnsError>((topic, count))
        })
        .await?;
    let owner = &state.account_id;
    let policy = json!({
        "Version": "2008-10-17", "Id": "__default_policy_ID",
        "Statement": [{
            "Effect": "Allow", "Sid": "__default_statement_ID", "Principal": { "AWS": "*" },
            "Action": ["SNS:GetTopicAttributes", "SNS:SetTopicAttributes", "SNS:AddPermission", "SNS:RemovePermission",
                "SNS:DeleteTopic", "SNS:Subscribe", "SNS:ListSubscriptionsByTopic", "SNS:Publish"],
            "Resource": topic.arn, "Condition": { "StringEquals": { "AWS:SourceOwner": owner } },
        }],
    });
    let mut all: BTreeMap<&str, String> = [
        ("TopicArn", topic.arn.clone()),
        ("Owner", owner.clone()),
        ("DisplayName", String::new()),
        ("Policy", policy.to_string()),
        ("SubscriptionsConfirmed", confirmed.to_string()),
        ("SubscriptionsPending", "0".into()),
        ("SubscriptionsDeleted", "0".into()),
    ]
    .into();
    all.extend(topic.attributes.iter().map(|(name, value)| (name.as_str(), value.clone())));
    Ok(Xml::default().map("Attributes", all))
}

pub async fn set_attributes(state: &Arc<Endpoint>, form: Form) -> Answer {
    let arn = form.need("TopicArn")?.to_owned();
    let name = form.need("AttributeName")?.to_owned();
    let value = form.get("AttributeValue").unwrap_or_default().to_owned();
    check_attribute(&name, &value)?;
    state
        .db
        .write(move |tx| {
            let mut topic = Topic::load(tx, &arn)?;
            if value.is_empty() {
                topic.attributes.remove(&name);
            } else {
                topic.attributes.insert(name, value);
            }
            tx.prepare_cached("UPDATE sns_topic SET attributes = ?2 WHERE arn = ?1")?
                .execute(params![arn, json!(topic.attributes).to_string()])?;
            Ok::<_, SnsError>(())
        })
        .await?;
    Ok(Xml::default())
}

fn tags_of(form: &Form) -> BTreeMap<String, String> {
    let value = |item: &str, field: &str| form.get(&format!("{item}.{field}")).unwrap_or_default().to_owned();
    form.items("Tags", "Key").iter().map(|item| (value(item, "Key"), value(item, "Value"))).collect()
}

fn put_tags(conn: &Connection, arn: &str, tags: &BTreeMap<String, String>) -> Result<(), SnsError> {
    for (key, value) in tags {
        conn.prepare_cached("INSERT OR REPLACE INTO sns_tag (topic_arn, key, value) VALUES (?1, ?2, ?3)")?
            .execute(params![arn, key, value])?;
    }
    Ok(())
}

fn need_resource(conn: &Connection, arn: &str) -> Result<(), SnsError> {
    if super::topic_exists(conn, arn)? { Ok(()) } else { Err(SnsError::ResourceNotFound) }
}

pub async fn tag(state: &Arc<Endpoint>, form: Form) -> Answer {
    let arn = form.need("ResourceArn")?.to_owned();
    let tags = tags_of(&form);
    state
        .db
        .write(move |tx| {
            need_resource(tx, &arn)?;
            put_tags(tx, &arn, &tags)
        })
        .await?;
    Ok(Xml::default())
}

pub async fn untag(state: &Arc<Endpoint>, form: Form) -> Answer {
    let arn = form.need("ResourceArn")?.to_owned();
    let keys = form.list("TagKeys");
    state
        .db
        .write(move |tx| {
            need_resource(tx, &arn)?;
            for key in keys {
                tx.prepare_cached("DELETE FROM sns_tag WHERE topic_arn = ?1 AND key = ?2")?
                    .execute(params![arn, key])?;
            }
            Ok::<_, SnsError>(())
        })
        .await?;
    Ok(Xml::default())
}

pub async fn list_tags(state: &Arc<Endpoint>, form: Form) -> Answer {
    let arn = form.need("ResourceArn")?.to_owned();
    let tags = state
        .db
        .read(move |conn| {
            need_resource(conn, &arn)?;
            let mut select = conn.prepare_cached("SELECT key, value FROM sns_tag WHERE topic_arn = ?1 ORDER BY key")?;
            let rows = select.query_map([arn], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok::<_, SnsError>(rows.collect::<Result<Vec<(String, String)>, _>>()?)
        })
        .await?;
    Ok(Xml::default().list("Tags", &tags, |(key, value)| Xml::default().text("Key", key).text("Value", value)))
}
