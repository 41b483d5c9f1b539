//! What the fleet needs of an AWS-compatible endpoint before it can run: buckets, queues, topics, and who may send what.
//!
//! Guarantee: running it again changes nothing; queue and topic policies pin the sender's ARN and account, so nobody
//! else's bucket or topic can feed the fleet.
//!
//! Sources: "Granting permissions to publish event notification messages to a destination" (S3), "Access policy for SNS
//! to send to an SQS queue" (SNS), "Confused deputy" (IAM).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Context as _;
use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::types as s3;
use aws_sdk_sqs::types::QueueAttributeName;
use reelfleet_fleet::{Clients, Config, QueueName, Queues, QueuesError};
use reelfleet_gateway::Sources;
use serde_json::json;

use super::topology::{Subscription, Topology};

/// The janitor aborts what it knows of within 7 days; this takes what nobody knows of.
const UNFINISHED_DAYS: i32 = 8;

/// Makes what is missing and sets what differs. Buckets of which a source tells by webhook get no notification: their server
/// knows no topic of ours.
pub async fn provision(clients: &Clients, config: &Config, sources: &Sources) -> anyhow::Result<()> {
    let queues = Queues::new(clients.sqs.clone(), &config.prefix);
    let maker = Maker { clients, config, queues, topology: Topology::load()? };
    for queue in QueueName::ALL {
        maker.queue(queue).await.with_context(|| format!("queue {}", maker.queues.name(queue)))?;
    }
    let buckets: BTreeSet<&str> = config.uploads.iter().map(|route| route.bucket.as_str()).collect();
    for bucket in buckets.iter().copied().chain([config.outputs_bucket.as_str()]) {
        maker.bucket(bucket).await.with_context(|| format!("bucket {bucket}"))?;
        let days = config.original_days.filter(|_| config.is_upload_bucket(bucket));
        maker.lifecycle(bucket, days).await.with_context(|| format!("lifecycle of bucket {bucket}"))?;
    }
    let mut topics = BTreeMap::new();
    for name in &maker.topology.topics {
        topics.insert(name.as_str(), maker.topic(name).await.with_context(|| format!("topic {name}"))?);
    }
    let topic = |name: &str| topics.get(name).cloned().with_context(|| format!("there is no topic {name}"));
    let uploads = topic("uploads")?;
    maker.let_buckets_publish(&uploads, &buckets).await.context("policy of the uploads topic")?;
    for (queue, facts) in &maker.topology.subscriptions {
        let subscribed = maker.subscribe(&topic(&facts.topic)?, queue, facts).await;
        subscribed.with_context(|| format!("subscription of {queue}"))?;
    }
    for bucket in buckets.iter().filter(|bucket| !sources.tell_of(bucket)) {
        maker.uploads(bucket, &uploads).await.with_context(|| format!("notifications of bucket {bucket}"))?;
    }
    Ok(())
}

struct Maker<'m> {
    clients: &'m Clients,
    config: &'m Config,
    queues: Queues,
    topology: Topology,
}

impl Maker<'_> {
    /// A queue and its dead-letter queue.
    async fn queue(&self, queue: QueueName) -> anyhow::Result<()> {
        let dlq = self.existing(&self.queues.dlq_name(queue)).await?;
        let Topology { queues, retention_seconds, dead_letters, .. } = &self.topology;
        let facts = queues.get(queue.as_str()).context("schema/topology.json does not know it")?;
        let kept = dead_letters.retention_seconds.to_string();
        self.set(&dlq, [(QueueAttributeName::MessageRetentionPeriod, kept)]).await?;
        let url = self.existing(&self.queues.name(queue)).await?;
        let redrive = json!({
            "deadLetterTargetArn": self.config.queue_arn(&self.queues.dlq_name(queue)),
            "maxReceiveCount": dead_letters.max_receives,
        });
        let attributes = [
            (QueueAttributeName::VisibilityTimeout, facts.visibility_seconds.to_string()),
            (QueueAttributeName::MessageRetentionPeriod, retention_seconds.to_string()),
            (QueueAttributeName::RedrivePolicy, redrive.to_string()),
        ];
        self.set(&url, attributes).await
    }

    /// The URL of a queue, which is made if it is missing.
    async fn existing(&self, full_name: &str) -> anyhow::Result<String> {
        match self.queues.url_of(full_name).await {
            Ok(url) => Ok(url),
            Err(QueuesError::Missing(_)) => {
                let made = self.clients.sqs.create_queue().queue_name(full_name).send().await?;
                made.queue_url.context("the new queue has no URL")
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn set(
        &self,
        url: &str,
        attributes: impl IntoIterator<Item = (QueueAttributeName, String)>,
    ) -> anyhow::Result<()> {
        let attributes: HashMap<_, _> = attributes.into_iter().collect();
        self.clients.sqs.set_queue_attributes().queue_url(url).set_attributes(Some(attributes)).send().await?;
        Ok(())
    }

    async fn bucket(&self, name: &str) -> anyhow::Result<()> {
        let mut create = self.clients.s3.create_bucket().bucket(name);
        // The first region is the one that must not be named (S3 API Reference, CreateBucket).
        if self.config.region != "us-east-1" {
            let location = s3::BucketLocationConstraint::from(self.config.region.as_str());
            let settings = s3::CreateBucketConfiguration::builder().location_constraint(location).build();
            create = create.create_bucket_configuration(settings);
        }
        match create.send().await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_bucket_already_owned_by_you()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets what the bucket does by itself; rules of other names are somebody's own and stay.
    async fn lifecycle(&self, bucket: &str, original_days: Option<i32>) -> anyhow::Result<()> {
        let s3 = &self.clients.s3;
        let rules = match s3.get_bucket_lifecycle_configuration().bucket(bucket).send().await {
            Ok(found) => found.rules.unwrap_or_default(),
            Err(error) if error.code() == Some("NoSuchLifecycleConfiguration") => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let rules = with_ours(rules, original_days)?;
        let configuration = s3::BucketLifecycleConfiguration::builder().set_rules(Some(rules)).build()?;
        let put = s3.put_bucket_lifecycle_configuration().bucket(bucket);
        put.lifecycle_configuration(configuration).send().await?;
        Ok(())
    }

    /// The topic's ARN, which is made if it is missing.
    async fn topic(&self, name: &str) -> anyhow::Result<String> {
        let made = self.clients.sns.create_topic().name(format!("{}-{name}", self.config.prefix)).send().await?;
        made.topic_arn.context("the topic has no ARN")
    }

    async fn let_buckets_publish(&self, topic: &str, buckets: &BTreeSet<&str>) -> anyhow::Result<()> {
        let policy =
            allow("s3.amazonaws.com", "sns:Publish", topic, json!(bucket_arns(topic, buckets)), &self.config.account);
        self.clients
            .sns
            .set_topic_attributes()
            .topic_arn(topic)
            .attribute_name("Policy")
            .attribute_value(policy)
            .send()
            .await?;
        Ok(())
    }

    async fn subscribe(&self, topic: &str, queue: &str, facts: &Subscription) -> anyhow::Result<()> {
        let queue: QueueName = queue.parse().map_err(anyhow::Error::msg)?;
        // The parser of notifications takes them with and without the envelope; events are read as they were published.
        let filter = facts.filter.as_ref().map(ToString::to_string);
        let attributes = [("RawMessageDelivery", facts.raw.then(|| "true".to_owned())), ("FilterPolicy", filter)];
        let attributes: Vec<(&str, String)> =
            attributes.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let arn = self.config.queue_arn(&self.queues.name(queue));
        let policy = allow("sns.amazonaws.com", "sqs:SendMessage", &arn, json!(topic), &self.config.account);
        self.set(&self.queues.url(queue).await?, [(QueueAttributeName::Policy, policy)]).await?;
        let sns = &self.clients.sns;
        // A repeated Subscribe with other attributes than the subscription has is refused.
        let Some(subscription) = self.subscription(topic, &arn).await? else {
            let subscribe = sns.subscribe().topic_arn(topic).protocol("sqs").endpoint(&arn);
            let own = |(name, value): (&str, String)| (name.to_owned(), value);
            subscribe.set_attributes(Some(attributes.into_iter().map(own).collect())).send().await?;
            return Ok(());
        };
        for (name, value) in attributes {
            let set = sns.set_subscription_attributes().subscription_arn(&subscription);
            set.attribute_name(name).attribute_value(value).send().await?;
        }
        Ok(())
    }

    /// The ARN of the subscription of a queue to a topic.
    async fn subscription(&self, topic: &str, queue: &str) -> anyhow::Result<Option<String>> {
        let mut pages = self.clients.sns.list_subscriptions_by_topic().topic_arn(topic).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page?;
            let found = page.subscriptions().iter().find(|one| one.endpoint() == Some(queue));
            if let Some(arn) = found.and_then(|one| one.subscription_arn()) {
                return Ok(Some(arn.to_owned()));
            }
        }
        Ok(None)
    }

    /// What only upload buckets have: browsers may PUT, and what happens is told.
    async fn uploads(&self, bucket: &str, topic: &str) -> anyhow::Result<()> {
        // The pre-signed URL is the right; the page's origin adds nothing to it.
        let facts = &self.topology.upload_cors;
        let rule = s3::CorsRule::builder()
            .set_allowed_origins(Some(facts.allowed_origins.clone()))
            .set_allowed_methods(Some(facts.allowed_methods.clone()))
            .set_allowed_headers(Some(facts.allowed_headers.clone()))
            .set_expose_headers(Some(facts.expose_headers.clone()))
            .max_age_seconds(facts.max_age_seconds)
            .build()?;
        let cors = s3::CorsConfiguration::builder().cors_rules(rule).build()?;
        self.clients.s3.put_bucket_cors().bucket(bucket).cors_configuration(cors).send().await?;
        let told = s3::TopicConfiguration::builder()
            .id(format!("{}-uploads", self.config.prefix))
            .topic_arn(topic)
            .set_events(Some(self.topology.upload_events.iter().map(|event| s3::Event::from(event.as_str())).collect()))
            .build()?;
        let configuration = s3::NotificationConfiguration::builder().topic_configurations(told).build();
        let put = self.clients.s3.put_bucket_notification_configuration().bucket(bucket);
        put.notification_configuration(configuration).send().await?;
        Ok(())
    }
}

/// Rules of a bucket with ours anew, named as Terraform names them: uploads that nobody finishes, and originals.
fn with_ours(mut rules: Vec<s3::LifecycleRule>, original_days: Option<i32>) -> anyhow::Result<Vec<s3::LifecycleRule>> {
    rules.retain(|rule| !rule.id().is_some_and(|id| ["unfinished", "originals"].contains(&id)));
    let rule = |id: &str| {
        let everything = s3::LifecycleRuleFilter::builder().prefix("").build();
        s3::LifecycleRule::builder().id(id).status(s3::ExpirationStatus::Enabled).filter(everything)
    };
    let abort = s3::AbortIncompleteMultipartUpload::builder().days_after_initiation(UNFINISHED_DAYS).build();
    rules.push(rule("unfinished").abort_incomplete_multipart_upload(abort).build()?);
    if let Some(days) = original_days {
        let expiration = s3::LifecycleExpiration::builder().days(days).build();
        rules.push(rule("originals").expiration(expiration).build()?);
    }
    Ok(rules)
}

/// Bucket ARNs in the partition of the topic.
fn bucket_arns(topic: &str, buckets: &BTreeSet<&str>) -> Vec<String> {
    let partition = topic.split(':').nth(1).unwrap_or("aws");
    buckets.iter().map(|bucket| format!("arn:{partition}:s3:::{bucket}")).collect()
}

/// A policy that lets one service do one thing, for these sources of this account only.
fn allow(service: &str, action: &str, resource: &str, sources: serde_json::Value, account: &str) -> String {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Sid": "reelfleet",
            "Effect": "Allow",
            "Principal": { "Service": service },
            "Action": action,
            "Resource": resource,
            "Condition": {
                "ArnEquals": { "aws:SourceArn": sources },
                "StringEquals": { "aws:SourceAccount": account },
            },
        }],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_others_stay_and_ours_are_set_anew() {
        let other = s3::LifecycleRule::builder().id("mine").status(s3::ExpirationStatus::Disabled).build().unwrap();
        let first = with_ours(vec![other.clone()], Some(30)).unwrap();
        let ids = |rules: &[s3::LifecycleRule]| rules.iter().map(|r| r.id().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(ids(&first), ["mine", "unfinished", "originals"]);
        assert_eq!((&first[0], first[2].expiration().unwrap().days()), (&other, Some(30)));
        assert_eq!(ids(&with_ours(first.clone(), Some(9)).unwrap()), ids(&first));
        assert_eq!(ids(&with_ours(first, None).unwrap()), ["mine", "unfinished"], "they are kept from now on");
    }

    #[test]
    fn policies_name_the_source_and_the_account() {
        let arns = bucket_arns("arn:aws-cn:sns:cn-north-1:1:t", &BTreeSet::from(["b", "a"]));
        assert_eq!(arns, ["arn:aws-cn:s3:::a", "arn:aws-cn:s3:::b"]);
        let policy: serde_json::Value =
            serde_json::from_str(&allow("s3.amazonaws.com", "sns:Publish", "t", json!(arns), "123456789012")).unwrap();
        let statement = &policy["Statement"][0];
        assert_eq!(statement["Condition"]["StringEquals"]["aws:SourceAccount"], "123456789012");
        assert_eq!(statement["Condition"]["ArnEquals"]["aws:SourceArn"][1], "arn:aws-cn:s3:::b");
        assert_eq!(statement["Principal"]["Service"], "s3.amazonaws.com");
    }
}
