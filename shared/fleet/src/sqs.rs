//! [`Queue`] on Amazon SQS.
//!
//! A receive has its own attempt timeout (its wait + 5 s) and no retries of the SDK: the poll loop backs off itself.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{DisplayErrorContext, SdkError};
use aws_sdk_sqs::operation::change_message_visibility::ChangeMessageVisibilityError;
use aws_sdk_sqs::operation::receive_message::ReceiveMessageError;
use aws_sdk_sqs::types::{Message, MessageAttributeValue, MessageSystemAttributeName};
use reelfleet_messages::Letter;

use crate::aws::{no_retries, timeouts};
use crate::queue::{BoxFuture, Delivery, Queue, QueueError};

/// A message has at most ten attributes.
const MAX_ATTRIBUTES: usize = 10;

/// One queue and its dead-letter queue.
#[derive(Clone, Debug)]
pub struct SqsQueue {
    client: Client,
    url: String,
    dlq_url: String,
}

impl SqsQueue {
    /// The queue at `url`, whose rejected messages go to the one at `dlq_url`.
    pub fn new(client: Client, url: impl Into<String>, dlq_url: impl Into<String>) -> Self {
        Self { client, url: url.into(), dlq_url: dlq_url.into() }
    }

    /// The queue's URL.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Queue for SqsQueue {
    fn receive(
        &self,
        max: usize,
        visibility: Duration,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Vec<Delivery>, QueueError>> {
        Box::pin(async move {
            let answer = self
                .client
                .receive_message()
                .queue_url(&self.url)
                .max_number_of_messages(i32::try_from(max.clamp(1, 10)).unwrap_or(1))
                .visibility_timeout(seconds(visibility))
                .wait_time_seconds(seconds(wait))
                .message_system_attribute_names(MessageSystemAttributeName::All)
                .message_attribute_names("All")
                .customize()
                .config_override(
                    aws_sdk_sqs::config::Builder::new()
                        .timeout_config(timeouts(wait + Duration::from_secs(5)))
                        .retry_config(no_retries()),
                )
                .send()
                .await
                .map_err(receive_error)?;
            Ok(answer.messages.unwrap_or_default().into_iter().filter_map(delivery).collect())
        })
    }

    fn delete<'a>(&'a self, receipt: &'a str) -> BoxFuture<'a, Result<(), QueueError>> {
        Box::pin(async move {
            self.client
                .delete_message()
                .queue_url(&self.url)
                .receipt_handle(receipt)
                .send()
                .await
                .map(|_| ())
                .map_err(|error| call_error("DeleteMessage", &error))
        })
    }

    fn change_visibility<'a>(
        &'a self,
        receipt: &'a str,
        visibility: Duration,
    ) -> BoxFuture<'a, Result<(), QueueError>> {
        Box::pin(async move {
            self.client
                .change_message_visibility()
                .queue_url(&self.url)
                .receipt_handle(receipt)
                .visibility_timeout(seconds(visibility))
                .send()
                .await
                .map(|_| ())
                .map_err(visibility_error)
        })
    }

    fn send_dead_letter<'a>(
        &'a self,
        delivery: &'a Delivery,
        letter: &'a Letter,
    ) -> BoxFuture<'a, Result<(), QueueError>> {
        Box::pin(async move {
            let mut attributes = std::collections::HashMap::new();
            for (name, value) in letter_attributes(delivery, letter) {
                let value = MessageAttributeValue::builder()
                    .data_type("String")
                    .string_value(value)
                    .build()
                    .map_err(|error| call_error("SendMessage", &error))?;
                attributes.insert(name, value);
            }
            self.client
                .send_message()
                .queue_url(&self.dlq_url)
                .message_body(&delivery.body)
                .set_message_attributes(Some(attributes))
                .set_message_group_id(delivery.group.clone())
                .send()
                .await
                .map(|_| ())
                .map_err(|error| call_error("SendMessage", &error))
        })
    }
}

/// Whole seconds as SQS takes them, at most its 12 h. Rounded up, so that a back-off of half a second is not none.
fn seconds(duration: Duration) -> i32 {
    let up = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    i32::try_from(up.min(43_200)).unwrap_or(43_200)
}

/// The letter first, then as many of the message's own attributes (trace context) as there is room for. A task's letter
/// that comes back says what it said.
fn letter_attributes(delivery: &Delivery, letter: &Letter) -> BTreeMap<String, String> {
    let is_letter = Letter::read(&delivery.attributes).token.is_some();
    let mut attributes = if is_letter { BTreeMap::new() } else { letter.attributes() };
    for (name, value) in &delivery.attributes {
        if attributes.len() < MAX_ATTRIBUTES && !value.is_empty() && name != "AWSTraceHeader" {
            attributes.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    attributes
}

/// A delivery, unless the answer lacks what makes one (the service never does that).
fn delivery(message: Message) -> Option<Delivery> {
    let system = message.attributes.unwrap_or_default();
    let number = |name: &MessageSystemAttributeName| -> Option<i64> { system.get(name)?.parse().ok() };
    let mut attributes: BTreeMap<String, String> = message
        .message_attributes
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.string_value?)))
        .collect();
    if let Some(trace) = system.get(&MessageSystemAttributeName::AwsTraceHeader) {
        attributes.insert("AWSTraceHeader".to_owned(), trace.clone());
    }
    Some(Delivery {
        receipt: message.receipt_handle?,
        message_id: message.message_id.unwrap_or_default(),
        receive_count: number(&MessageSystemAttributeName::ApproximateReceiveCount)
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(1),
        first_received_ms: number(&MessageSystemAttributeName::ApproximateFirstReceiveTimestamp).unwrap_or(0),
        sent_ms: number(&MessageSystemAttributeName::SentTimestamp).unwrap_or(0),
        group: system.get(&MessageSystemAttributeName::MessageGroupId).cloned(),
        attributes,
        body: message.body.unwrap_or_default(),
    })
}

fn receive_error(error: SdkError<ReceiveMessageError>) -> QueueError {
    if error.as_service_error().is_some_and(ReceiveMessageError::is_over_limit) {
        QueueError::OverLimit
    } else {
        call_error("ReceiveMessage", &error)
    }
}

fn visibility_error(error: SdkError<ChangeMessageVisibilityError>) -> QueueError {
    let detail = DisplayErrorContext(&error).to_string();
    let gone = error.as_service_error().is_some_and(|service| {
        service.is_message_not_inflight()
            || service.is_receipt_handle_is_invalid()
            // "Value … for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for
            // visibility timeout change", and the 12 h cap: both come as InvalidParameterValue.
            || service.meta().code().is_some_and(|code| {
                code.ends_with("InvalidParameterValue") || code.ends_with("InvalidParameterValueException")
            })
    });
    if gone { QueueError::NotInFlight(detail) } else { QueueError::Call { call: "ChangeMessageVisibility", detail } }
}

pub(crate) fn call_error(call: &'static str, error: &(impl std::error::Error + Send + Sync + 'static)) -> QueueError {
    QueueError::Call { call, detail: DisplayErrorContext(error).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_keeps_its_own_attributes_and_what_else_fits() {
        let delivery = Delivery {
            body: "{}".into(),
            message_id: "m-1".into(),
            receipt: "r".into(),
            receive_count: 3,
            first_received_ms: 0,
            sent_ms: 0,
            attributes: (0..9).map(|n| (format!("a{n}"), "v".to_owned())).collect(),
            group: None,
        };
        let letter = Letter {
            reason: "no task".into(),
            queue: "reelfleet-probe".into(),
            attempts: Some(3),
            ..Letter::default()
        };
        let attributes = letter_attributes(&delivery, &letter);
        assert_eq!(attributes.len(), MAX_ATTRIBUTES);
        assert_eq!(Letter::read(&attributes), letter);
        assert_eq!(attributes["a0"], "v");

        let sent = Letter { reason: "decoder_crashed: thrice".into(), token: Some(4), ..letter.clone() };
        let back = Delivery { attributes: sent.attributes(), ..delivery };
        assert_eq!(Letter::read(&letter_attributes(&back, &letter)), sent, "a letter is never edited");
    }

    #[tokio::test]
    async fn a_receive_that_is_not_answered_ends_five_seconds_after_its_wait_and_is_not_repeated_below_the_poll_loop() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut accepted = tokio::spawn(async move {
            // Taken, and never answered.
            let first = listener.accept().await.unwrap();
            (first, listener.accept().await.unwrap())
        });
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
            .region(aws_sdk_sqs::config::Region::new("us-east-1"))
            .credentials_provider(aws_sdk_sqs::config::Credentials::new("a", "b", None, None, "test"))
            .endpoint_url(&url)
            .build();
        let queue = SqsQueue::new(Client::from_conf(config), format!("{url}/0/q"), format!("{url}/0/d"));
        let began = std::time::Instant::now();
        let answer = queue.receive(1, Duration::from_secs(30), Duration::ZERO).await;
        assert!(matches!(answer, Err(QueueError::Call { call: "ReceiveMessage", .. })), "{answer:?}");
        assert!((4.9..7.0).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
        assert!(tokio::time::timeout(Duration::from_millis(200), &mut accepted).await.is_err(), "asked again");
    }

    #[test]
    fn part_seconds_count_as_whole_ones() {
        assert_eq!(seconds(Duration::ZERO), 0);
        assert_eq!(seconds(Duration::from_millis(300)), 1);
        assert_eq!(seconds(Duration::from_secs(90)), 90);
        assert_eq!(seconds(Duration::MAX), 43_200);
    }
}
