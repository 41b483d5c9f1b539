//! Doorbells of notifiers that died: their queues, and the subscriptions that these leave.
//!
//! Guarantee: a queue is deleted only if its owner's heartbeat is older than [`STALE`]; a notifier that was only asleep
//! makes itself a new one. A subscription of a doorbell goes with its queue, or when its queue is gone.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::types::QueueAttributeName;
use reelfleet_events::doorbell::{self, HEARTBEAT_TAG};

use crate::{Janitor, passed_over};

/// A heartbeat is renewed every minute; one that is older has no owner.
const STALE: Duration = Duration::from_secs(600);

impl Janitor {
    /// Answers how many queues and subscriptions went.
    pub(crate) async fn sweep_doorbells(&self) -> anyhow::Result<u64> {
        let prefix = doorbell::queue_prefix(&self.context.config.prefix);
        // Subscriptions first: one whose queue is made between the two listings is not taken for an orphan.
        let subscriptions = self.subscriptions(&self.context.config.queue_arn(&prefix)).await?;
        let mut live = HashSet::new();
        let mut count = 0;
        for (name, url) in self.queues(&prefix).await? {
            self.beat.tick();
            match self.is_stale(&url).await {
                Ok(false) => {
                    live.insert(self.context.config.queue_arn(&name));
                }
                Ok(true) => match self.delete(&url).await {
                    Ok(()) => count += 1,
                    Err(error) => passed_over("doorbells", &name, format_args!("{error:#}")),
                },
                Err(error) => {
                    live.insert(self.context.config.queue_arn(&name));
                    passed_over("doorbells", &name, format_args!("{error:#}"));
                }
            }
        }
        for (endpoint, subscription) in orphans(subscriptions, &live) {
            match self.context.clients.sns.unsubscribe().subscription_arn(&subscription).send().await {
                Ok(_) => count += 1,
                Err(error) => passed_over("doorbells", &endpoint, DisplayErrorContext(&error)),
            }
        }
        Ok(count)
    }

    /// Doorbells by name and URL.
    async fn queues(&self, prefix: &str) -> anyhow::Result<Vec<(String, String)>> {
        let mut pages =
            self.context.clients.sqs.list_queues().queue_name_prefix(prefix).max_results(1_000).into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| anyhow!("ListQueues: {}", DisplayErrorContext(&error)))?;
            for url in page.queue_urls.unwrap_or_default() {
                if let Some(name) = url.rsplit('/').next().filter(|name| name.starts_with(prefix)) {
                    found.push((name.to_owned(), url.clone()));
                }
            }
        }
        Ok(found)
    }

    /// Whether the owner has been silent for too long. A queue without a heartbeat counts from its making.
    async fn is_stale(&self, url: &str) -> anyhow::Result<bool> {
        let sqs = &self.context.clients.sqs;
        let tags = sqs.list_queue_tags().queue_url(url).send().await;
        let tags = tags.map_err(|error| anyhow!("ListQueueTags: {}", DisplayErrorContext(&error)))?;
        let heartbeat = tags.tags.and_then(|mut tags| tags.remove(HEARTBEAT_TAG));
        let since = match heartbeat {
            Some(seconds) => seconds,
            None => {
                let made = QueueAttributeName::CreatedTimestamp;
                let answer = sqs.get_queue_attributes().queue_url(url).attribute_names(made.clone()).send().await;
                let answer = answer.map_err(|error| anyhow!("GetQueueAttributes: {}", DisplayErrorContext(&error)))?;
                answer.attributes.and_then(|mut all| all.remove(&made)).context("the queue has no date")?
            }
        };
        let since: i64 = since.parse().with_context(|| format!("{since:?} is no time in seconds"))?;
        Ok(is_stale(since, self.context.clock.now_ms()))
    }

    async fn delete(&self, url: &str) -> anyhow::Result<()> {
        match self.context.clients.sqs.delete_queue().queue_url(url).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(|service| service.is_queue_does_not_exist()) => Ok(()),
            Err(error) => Err(anyhow!("DeleteQueue: {}", DisplayErrorContext(&error))),
        }
    }

    /// Subscriptions of doorbells to the events topic, by endpoint.
    async fn subscriptions(&self, arn_prefix: &str) -> anyhow::Result<HashMap<String, String>> {
        let topic = self.context.config.topic_arn("events");
        let mut pages = self.context.clients.sns.list_subscriptions_by_topic().topic_arn(topic).into_paginator().send();
        let mut found = HashMap::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| anyhow!("ListSubscriptionsByTopic: {}", DisplayErrorContext(&error)))?;
            for subscription in page.subscriptions.unwrap_or_default() {
                if let (Some(endpoint), Some(arn)) = (subscription.endpoint, subscription.subscription_arn)
                    && endpoint.starts_with(arn_prefix)
                    // One that awaits confirmation has no ARN yet.
                    && arn.starts_with("arn:")
                {
                    found.insert(endpoint, arn);
                }
            }
        }
        Ok(found)
    }
}

fn is_stale(heartbeat_s: i64, now_ms: i64) -> bool {
    let age = now_ms.saturating_sub(heartbeat_s.saturating_mul(1_000));
    age > reelfleet_fleet::clock::millis(STALE)
}

/// Subscriptions whose queue is not among the living.
fn orphans(subscriptions: HashMap<String, String>, live: &HashSet<String>) -> Vec<(String, String)> {
    subscriptions.into_iter().filter(|(endpoint, _)| !live.contains(endpoint)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_stale_after_ten_minutes() {
        let now = 1_767_225_600_000;
        assert!(!is_stale(now / 1_000, now));
        assert!(!is_stale(now / 1_000 - 600, now));
        assert!(is_stale(now / 1_000 - 601, now));
        assert!(!is_stale(now / 1_000 + 30, now), "another host's clock is ahead");
    }

    #[test]
    fn subscriptions_go_with_their_queues() {
        let live = HashSet::from(["arn:aws:sqs:r:a:p-notifier-1".to_owned()]);
        let all = HashMap::from([
            ("arn:aws:sqs:r:a:p-notifier-1".to_owned(), "arn:1".to_owned()),
            ("arn:aws:sqs:r:a:p-notifier-2".to_owned(), "arn:2".to_owned()),
        ]);
        assert_eq!(orphans(all, &live), [("arn:aws:sqs:r:a:p-notifier-2".to_owned(), "arn:2".to_owned())]);
    }
}
