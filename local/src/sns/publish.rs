//! Publish and its batch: filtered, put into the form that each subscriber wants, and queued in one transaction.
//!
//! Guarantee: a message is in the queues of all subscribers that the filters let through, or it was not published. A
//! subscriber that cannot take it (its queue is gone, the message is too large for it) never stops the others: its
//! copy goes to the dead-letter queue of its redrive policy, or is dropped with a warning in the log.
//!
//! The envelope's `Signature` is the SHA-256 of the text that SNS would sign, not a signature: this endpoint has no
//! certificate that a client would trust.

use std::{collections::HashSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rusqlite::Connection;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    Answer, SnsError,
    subscriptions::Subscription,
    topics::Topic,
    wire::{Form, Xml},
};
use crate::{
    faults::{Call, Service},
    sqs::{self, MessageAttributes, NewMessage, SqsError},
    state::{Endpoint, Ids, Wake},
    timestamp::rfc3339_millis,
};

/// Most entries of a batch.
const MAX_ENTRIES: usize = 10;

/// What is published.
#[derive(Default)]
struct Message {
    subject: Option<String>,
    body: String,
    attributes: MessageAttributes,
    group: Option<String>,
}

impl Message {
    /// Reads the fields below `prefix`: none for Publish, that of the entry for PublishBatch.
    fn read(form: &Form, prefix: &str) -> Result<Self, SnsError> {
        let field = |name: &str| form.get(&format!("{prefix}{name}")).map(str::to_owned);
        let mut body = field("Message").unwrap_or_default();
        match field("MessageStructure").as_deref() {
            None | Some("") => {}
            Some("json") => body = per_protocol(&body)?,
            Some(_) => return Err(SnsError::InvalidParameter("MessageStructure".into())),
        }
        if field("MessageDeduplicationId").is_some() {
            return Err(SnsError::InvalidParameter(
                "MessageDeduplicationId Reason: the parameter is not valid for a standard topic".into(),
            ));
        }
        let attributes = form.attributes(&format!("{prefix}MessageAttributes"));
        let message = Self { subject: field("Subject"), body, attributes, group: field("MessageGroupId") };
        message.check()?;
        Ok(message)
    }

    fn check(&self) -> Result<(), SnsError> {
        let refuse = |text: String| Err(SnsError::InvalidParameter(text));
        if self.body.is_empty() {
            return refuse("Empty message".into());
        }
        if !self.body.chars().all(sqs::is_xml_char) {
            return refuse("Message Reason: it holds characters that are not valid".into());
        }
        if let Some(subject) = &self.subject {
            let printable = subject.chars().all(|c| !c.is_control());
            if subject.is_empty() || subject.chars().count() > 100 || !printable || subject.starts_with(' ') {
                return refuse("Subject".into());
            }
        }
        for (name, attribute) in &self.attributes {
            if attribute.data_type == "String.Array" {
                let list =
                    attribute.string_value.as_deref().and_then(|text| serde_json::from_str::<Vec<Value>>(text).ok());
                if list.is_none() {
                    return refuse(format!("Message attribute '{name}' of type String.Array is not a JSON array"));
                }
            }
            sqs::check_attribute(name, attribute).map_err(SnsError::InvalidParameter)?;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, a)| {
            let value = a.string_value.as_deref().or(a.binary_value.as_deref());
            name.len() + a.data_type.len() + value.map_or(0, str::len)
        });
        self.body.len() + attributes.sum::<usize>()
    }
}

/// With `MessageStructure=json`: the text for the protocol sqs, or the default one.
fn per_protocol(body: &str) -> Result<String, SnsError> {
    let refuse = |reason: &str| SnsError::InvalidParameter(format!("Message Structure - {reason}"));
    let texts: Value = serde_json::from_str(body).map_err(|_| refuse("JSON message body failed to parse"))?;
    let default = texts["default"].as_str().ok_or_else(|| refuse("No default entry in JSON message body"))?;
    Ok(texts["sqs"].as_str().unwrap_or(default).to_owned())
}

/// Publishes within the caller's transaction; the caller wakes the queues of the answer.
pub fn publish_in(
    conn: &Connection,
    topic_arn: &str,
    subject: Option<&str>,
    message: &str,
    attributes: &MessageAttributes,
    now: i64,
) -> Result<Vec<Wake>, SnsError> {
    let topic = Topic::load(conn, topic_arn)?;
    let message = Message {
        subject: subject.map(str::to_owned),
        body: message.to_owned(),
        attributes: attributes.clone(),
        group: None,
    };
    Ok(fan_out(conn, &topic, &message, now)?.1)
}

/// Answers the message's id and the queues that got it.
fn fan_out(conn: &Connection, topic: &Topic, message: &Message, now: i64) -> Result<(String, Vec<Wake>), SnsError> {
    let id = Ids.uuid();
    let mut wakes = Vec::new();
    let none = MessageAttributes::new();
    for subscription in Subscription::of_topic(conn, &topic.arn)? {
        let wanted = |filter: super::filter::FilterPolicy| {
            filter.matches(subscription.scope(), &message.attributes, &message.body)
        };
        if !subscription.filter().is_none_or(wanted) {
            continue;
        }
        let wrapped;
        let (body, attributes) = if subscription.raw() {
            (message.body.as_str(), &message.attributes)
        } else {
            wrapped = envelope(&subscription, &id, message, now);
            (wrapped.as_str(), &none)
        };
        let new = NewMessage { body, attributes, group: message.group.as_deref(), trace_header: None, delay_s: None };
        let targets = [Some(subscription.endpoint.clone()), subscription.dead_letter_arn()];
        let mut refusal = None;
        for target in targets.into_iter().flatten() {
            match sqs::deliver(conn, &target, &new, now) {
                Ok(wake) => {
                    wakes.push(wake);
                    refusal = None;
                    break;
                }
                Err(SqsError::Db(error)) => return Err(SnsError::Db(error)),
                Err(error) => refusal = Some(error),
            }
        }
        if let Some(error) = refusal {
            tracing::warn!(subscription = subscription.arn, %error, "SNS: a message could not be delivered and was dropped");
        }
    }
    Ok((id, wakes))
}

fn envelope(subscription: &Subscription, id: &str, message: &Message, now: i64) -> String {
    let timestamp = rfc3339_millis(now);
    let topic = &subscription.topic_arn;
    let subject = message.subject.as_ref().map(|subject| format!("Subject\n{subject}\n")).unwrap_or_default();
    let signed = format!(
        "Message\n{}\nMessageId\n{id}\n{subject}Timestamp\n{timestamp}\nTopicArn\n{topic}\nType\nNotification\n",
        message.body
    );
    let base = &subscription.base_url;
    let mut out = json!({
        "Type": "Notification",
        "MessageId": id,
        "TopicArn": topic,
        "Message": message.body,
        "Timestamp": timestamp,
        "SignatureVersion": "1",
        "Signature": STANDARD.encode(Sha256::digest(signed)),
        "SigningCertURL": format!("{base}/SimpleNotificationService.pem"),
        "UnsubscribeURL": format!("{base}/?Action=Unsubscribe&SubscriptionArn={}", subscription.arn),
    });
    if let Some(subject) = &message.subject {
        out["Subject"] = subject.as_str().into();
    }
    if !message.attributes.is_empty() {
        let attributes = message.attributes.iter().map(|(name, a)| {
            let value = a.string_value.as_deref().or(a.binary_value.as_deref()).unwrap_or_default();
            (name.clone(), json!({ "Type": a.data_type, "Value": value }))
        });
        out["MessageAttributes"] = attributes.collect::<serde_json::Map<_, _>>().into();
    }
    out.to_string()
}

fn topic_of(form: &Form) -> Result<String, SnsError> {
    if form.get("PhoneNumber").is_some() {
        return Err(SnsError::InvalidParameter("PhoneNumber Reason: this endpoint sends no text messages".into()));
    }
    match form.get("TargetArn") {
        Some(target) => Ok(target.to_owned()),
        None => form.need("TopicArn").map(str::to_owned),
    }
}

pub async fn one(state: &Arc<Endpoint>, form: Form) -> Answer {
    let topic_arn = topic_of(&form)?;
    let message = Message::read(&form, "")?;
    let now = state.now();
    let id = state
        .db
        .write(move |tx| {
            let topic = Topic::load(tx, &topic_arn)?;
            if message.bytes() > topic.max_bytes() {
                return Err(SnsError::InvalidParameter("Message too long".into()));
            }
            let (id, wakes) = fan_out(tx, &topic, &message, now)?;
            wakes.into_iter().for_each(|wake| tx.wake(wake));
            Ok(id)
        })
        .await?;
    Ok(Xml::default().text("MessageId", &id))
}

pub async fn batch(state: &Arc<Endpoint>, form: Form) -> Answer {
    let topic_arn = form.need("TopicArn")?.to_owned();
    let items = form.items("PublishBatchRequestEntries", "Id");
    if items.is_empty() {
        return Err(SnsError::EmptyBatchRequest);
    }
    if items.len() > MAX_ENTRIES {
        return Err(SnsError::TooManyEntriesInBatchRequest(items.len()));
    }
    let mut entries = Vec::new();
    let mut ids = HashSet::new();
    for item in &items {
        let id = form.get(&format!("{item}.Id")).unwrap_or_default().to_owned();
        let plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if id.is_empty() || id.len() > 80 || !plain {
            return Err(SnsError::InvalidBatchEntryId);
        }
        if !ids.insert(id.clone()) {
            return Err(SnsError::BatchEntryIdsNotDistinct);
        }
        entries.push((id, Message::read(&form, &format!("{item}."))));
    }
    let call = Call { service: Service::Sns, operation: "PublishBatch", method: "POST", path: &topic_arn };
    let failing = state.faults.fail_entries(&call, entries.len());
    let now = state.now();
    let (published, failed) = state
        .db
        .write(move |tx| {
            let topic = Topic::load(tx, &topic_arn)?;
            let bytes = entries.iter().filter_map(|(_, message)| message.as_ref().ok()).map(Message::bytes);
            if bytes.sum::<usize>() > topic.max_bytes() {
                return Err(SnsError::BatchRequestTooLong);
            }
            let (mut published, mut failed) = (Vec::new(), Vec::new());
            for ((entry, message), fails) in entries.into_iter().zip(failing) {
                match if fails { Err(SnsError::Injected) } else { message } {
                    Ok(message) => {
                        let (id, wakes) = fan_out(tx, &topic, &message, now)?;
                        wakes.into_iter().for_each(|wake| tx.wake(wake));
                        published.push((entry, id));
                    }
                    Err(error) => failed.push((entry, error)),
                }
            }
            Ok((published, failed))
        })
        .await?;
    Ok(Xml::default()
        .list("Successful", &published, |(entry, id)| Xml::default().text("Id", entry).text("MessageId", id))
        .list("Failed", &failed, |(entry, error)| {
            Xml::default()
                .text("Id", entry)
                .text("Code", error.wire().1)
                .text("Message", &error.to_string())
                .text("SenderFault", if error.wire().0.is_client_error() { "true" } else { "false" })
        }))
}
