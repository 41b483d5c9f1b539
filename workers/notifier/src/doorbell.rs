//! The doorbell: a queue of this process's own on the events topic.
//!
//! Guarantee: losing it loses nothing, since the log is the truth; a queue that is gone is made anew. It is deleted and
//! unsubscribed at shutdown; what a crash leaves is found by its old heartbeat and cleared away by the janitor.
//!
//! Source: "Fanout to Amazon SQS queues" (policy with aws:SourceArn, raw message delivery) in the SNS developer guide.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::types::{Message, QueueAttributeName};
use reelfleet_events::doorbell::{self, HEARTBEAT_TAG};
use reelfleet_fleet::aws::{no_retries, timeouts};
use reelfleet_fleet::health::{Beat, Flag};
use reelfleet_fleet::{Clock, Shutdown, batch, full_jitter, trace};
use reelfleet_telemetry::trace::{Consumed, Span};
use serde_json::json;
use tokio::time::Instant;

use crate::frame::Fact;
use crate::hub::{Hub, PROGRESS};

const WAIT: Duration = Duration::from_secs(15);
const RENEW: Duration = Duration::from_secs(60);
/// Unsubscribing and deleting take no longer.
const LEAVE: Duration = Duration::from_secs(5);

/// Listens to the events topic.
pub struct Doorbell {
    sqs: aws_sdk_sqs::Client,
    sns: aws_sdk_sns::Client,
    hub: Hub,
    clock: Clock,
    topic_arn: String,
    name: String,
    arn: String,
    beat: Beat,
    reachable: Flag,
}

/// A queue that is subscribed.
struct Subscribed {
    url: String,
    subscription: String,
    renewed: Instant,
}

impl Doorbell {
    /// A doorbell for `hub`.
    pub fn new(context: &reelfleet_fleet::Context, hub: Hub) -> Self {
        let name = doorbell::queue_name(&context.config.prefix, &context.instance);
        Self {
            sqs: context.clients.sqs.clone(),
            sns: context.clients.sns.clone(),
            clock: context.clock.clone(),
            topic_arn: context.config.topic_arn("events"),
            arn: context.config.queue_arn(&name),
            beat: context.health.beat("notifier doorbell"),
            reachable: context.health.flag("notifier doorbell"),
            name,
            hub,
        }
    }

    /// Makes the queue, listens until draining, clears the queue away. While there is none the log is looked at instead.
    pub async fn run(self, shutdown: Shutdown) {
        let mut queue = None;
        let mut failures = 0;
        loop {
            self.beat.tick();
            let round = tokio::select! {
                biased;
                () = shutdown.draining().cancelled() => break,
                round = self.round(&mut queue) => round,
            };
            match round {
                Ok(()) => {
                    self.reachable.set(true);
                    failures = 0;
                }
                Err(why) => {
                    self.reachable.set(false);
                    tracing::warn!(
                        queue = self.name,
                        why,
                        "the doorbell is out of order; the event log is looked at meanwhile"
                    );
                    let pause = full_jitter(Duration::from_secs(1), Duration::from_secs(15), failures);
                    failures += 1;
                    tokio::select! {
                        () = shutdown.draining().cancelled() => break,
                        () = tokio::time::sleep(pause) => {}
                    }
                }
            }
        }
        self.beat.end();
        if let Some(queue) = queue
            && tokio::time::timeout(LEAVE, self.leave(&queue)).await.is_err()
        {
            tracing::warn!(queue = self.name, "the doorbell's queue was not deleted in time; the janitor will");
        }
    }

    /// One receive and its messages.
    async fn round(&self, queue: &mut Option<Subscribed>) -> Result<(), String> {
        let subscribed = match queue {
            Some(subscribed) => subscribed,
            None => {
                *queue = Some(self.make().await?);
                tracing::info!(queue = self.name, "doorbell subscribed");
                // Whoever waits for the flag does not wait for the first receive, which may be a long poll.
                return Ok(());
            }
        };
        if subscribed.renewed.elapsed() >= RENEW {
            self.renew(&subscribed.url).await?;
            subscribed.renewed = Instant::now();
        }
        let wait = WAIT.as_secs().try_into().unwrap_or(15);
        let received = self.sqs.receive_message().queue_url(&subscribed.url).max_number_of_messages(10);
        let received = received.message_attribute_names(trace::ATTRIBUTE);
        let received = received.wait_time_seconds(wait).customize().config_override(
            aws_sdk_sqs::config::Builder::new()
                .timeout_config(timeouts(WAIT + Duration::from_secs(5)))
                .retry_config(no_retries()),
        );
        let received = match received.send().await {
            Ok(received) => received,
            Err(error) => {
                if error.as_service_error().is_some_and(|service| service.is_queue_does_not_exist()) {
                    *queue = None;
                }
                return Err(DisplayErrorContext(&error).to_string());
            }
        };
        let messages = received.messages.unwrap_or_default();
        for message in &messages {
            match Fact::parse(message.body.as_deref().unwrap_or_default()) {
                Ok(fact) => {
                    let span = self.span(message, &fact);
                    if let Err(error) = span.within(self.hub.heard(&fact)).await {
                        tracing::warn!(event = fact.id, %error, "an event's streams were not found; the log is looked at soon");
                    }
                }
                Err(error) => tracing::warn!(%error, "not an event on the doorbell's queue"),
            }
        }
        let receipts: Vec<String> = messages.into_iter().filter_map(|message| message.receipt_handle).collect();
        // Those that stay ring once more, which does no harm; the shortfall is counted where it is found.
        batch::delete(&self.sqs, &subscribed.url, &receipts).await;
        Ok(())
    }

    /// The span of an event that is handed to whoever listens. Progress has none: it comes twice a second.
    fn span(&self, message: &Message, fact: &Fact) -> Span {
        if fact.kind == PROGRESS {
            return Span::none();
        }
        let attribute = message.message_attributes.as_ref().and_then(|all| all.get(trace::ATTRIBUTE)?.string_value());
        // The queue is this process's own: the topic is what all of them have in common.
        let span = Span::consumer(&Consumed {
            queue: self.topic_arn.rsplit(':').next().unwrap_or_default(),
            message_id: message.message_id.as_deref().unwrap_or_default(),
            receive_count: 1,
            traceparent: attribute.or(fact.traceparent.as_deref()),
        });
        span.set("messaging.destination.subscription.name", self.name.as_str());
        span.set("reelfleet.event.type", fact.kind.as_str());
        span.set("reelfleet.asset.id", fact.subject.as_str());
        span
    }

    /// Makes the queue and subscribes it. Both are harmless to repeat.
    async fn make(&self) -> Result<Subscribed, String> {
        let policy = json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": { "Service": "sns.amazonaws.com" },
                "Action": "sqs:SendMessage",
                "Resource": self.arn,
                "Condition": { "ArnEquals": { "aws:SourceArn": self.topic_arn } },
            }],
        });
        let attributes = HashMap::from([
            (QueueAttributeName::MessageRetentionPeriod, "300".to_owned()),
            (QueueAttributeName::VisibilityTimeout, "30".to_owned()),
            (QueueAttributeName::Policy, policy.to_string()),
        ]);
        let made = self.sqs.create_queue().queue_name(&self.name).set_attributes(Some(attributes));
        let made = made.tags(HEARTBEAT_TAG, self.heartbeat()).send().await;
        let made = made.map_err(|error| format!("CreateQueue: {}", DisplayErrorContext(&error)))?;
        let url = made.queue_url.ok_or("CreateQueue answered no URL")?;
        self.renew(&url).await?;
        let subscribed = self
            .sns
            .subscribe()
            .topic_arn(&self.topic_arn)
            .protocol("sqs")
            .endpoint(&self.arn)
            .attributes("RawMessageDelivery", "true")
            .return_subscription_arn(true)
            .send()
            .await
            .map_err(|error| format!("Subscribe: {}", DisplayErrorContext(&error)))?;
        let subscription = subscribed.subscription_arn.ok_or("Subscribe answered no ARN")?;
        Ok(Subscribed { url, subscription, renewed: Instant::now() })
    }

    async fn renew(&self, url: &str) -> Result<(), String> {
        let tagged = self.sqs.tag_queue().queue_url(url).tags(HEARTBEAT_TAG, self.heartbeat()).send().await;
        tagged.map(drop).map_err(|error| format!("TagQueue: {}", DisplayErrorContext(&error)))
    }

    fn heartbeat(&self) -> String {
        (self.clock.now_ms() / 1_000).to_string()
    }

    /// Unsubscribes first: a deleted queue leaves a dead subscription.
    async fn leave(&self, queue: &Subscribed) {
        if let Err(error) = self.sns.unsubscribe().subscription_arn(&queue.subscription).send().await {
            tracing::warn!(error = %DisplayErrorContext(&error), "the doorbell was not unsubscribed; the janitor will");
        }
        if let Err(error) = self.sqs.delete_queue().queue_url(&queue.url).send().await {
            tracing::warn!(error = %DisplayErrorContext(&error), "the doorbell's queue was not deleted; the janitor will");
        }
    }
}
