//! Queues, topics, subscriptions and buckets, held against `schema/topology.json`.

use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::types::QueueAttributeName as Name;
use reelfleet_fleet::{Context, QueueName, QueuesError};
use serde_json::Value;

use super::Chart;
use crate::up::topology::{Subscription, Topology};

const REMAKE: &str =
    "run `reelfleet provision` (on AWS: terraform apply); it makes what is missing and sets what differs";

/// All of it.
pub async fn look(chart: &mut Chart, context: &Context) {
    let topology = match Topology::load() {
        Ok(topology) => topology,
        Err(error) => {
            return chart.fail("build", "schema/topology.json", format!("{error:#}"), "this build is damaged");
        }
    };
    for queue in QueueName::ALL {
        look_at_queue(chart, context, &topology, queue).await;
    }
    for (queue, facts) in &topology.subscriptions {
        subscription(chart, context, queue, facts).await;
    }
    let mut buckets: Vec<&str> = context.config.uploads.iter().map(|route| route.bucket.as_str()).collect();
    buckets.sort_unstable();
    buckets.dedup();
    topic_policy(chart, context, &buckets).await;
    for bucket in buckets {
        if exists(chart, context, bucket).await {
            notifications(chart, context, bucket).await;
            cors(chart, context, &topology, bucket).await;
        }
    }
    exists(chart, context, &context.config.outputs_bucket).await;
}

async fn attributes(context: &Context, name: &str) -> Result<impl Fn(Name) -> Option<String> + use<>, QueuesError> {
    let url = context.queues.url_of(name).await?;
    let asked = context.clients.sqs.get_queue_attributes().queue_url(url).attribute_names(Name::All).send().await;
    let failed = |detail: String| QueuesError::Call { name: name.to_owned(), detail };
    let answer = asked.map_err(|error| match error.as_service_error() {
        Some(service) if service.is_queue_does_not_exist() => QueuesError::Missing(name.to_owned()),
        _ => failed(DisplayErrorContext(&error).to_string()),
    })?;
    Ok(move |attribute: Name| answer.attributes().and_then(|all| all.get(&attribute)).cloned())
}

async fn look_at_queue(chart: &mut Chart, context: &Context, topology: &Topology, queue: QueueName) {
    let (name, dlq) = (context.queues.name(queue), context.queues.dlq_name(queue));
    let own = match attributes(context, &name).await {
        Ok(own) => own,
        Err(error) => return unreached(chart, &name, &error),
    };
    let dead = match attributes(context, &dlq).await {
        Ok(dead) => dead,
        Err(error) => return unreached(chart, &dlq, &error),
    };
    let redrive = own(Name::RedrivePolicy).and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let target = redrive.as_ref().and_then(|policy| policy["deadLetterTargetArn"].as_str());
    if target.is_none_or(|target| !target.ends_with(&format!(":{dlq}"))) {
        chart.fail("queue_redrive", &name, format!("messages that fail for ever do not move to {dlq}"), REMAKE);
        return;
    }
    let seconds = |text: Option<String>| text.and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    let (kept, dead_kept) = (seconds(own(Name::MessageRetentionPeriod)), seconds(dead(Name::MessageRetentionPeriod)));
    if dead_kept <= kept {
        let said = format!(
            "it keeps messages {dead_kept} s, and {name} {kept} s: a dead letter brings its age along and may vanish at once"
        );
        chart.fail("dlq_retention", &dlq, said, REMAKE);
        return;
    }
    let visible = seconds(own(Name::VisibilityTimeout));
    let wanted = topology.queues.get(queue.as_str()).map_or(0, |facts| facts.visibility_seconds);
    if visible < wanted {
        let said = format!("a message is hidden for {visible} s, and its work may take {wanted}");
        chart.warn("queue_visibility", &name, said, REMAKE);
        return;
    }
    chart.ok("queue", &name, "it is there, with its dead-letter queue");
}

fn unreached(chart: &mut Chart, name: &str, error: &QueuesError) {
    match error {
        QueuesError::Missing(_) => chart.fail("queue_missing", name, "there is no such queue", REMAKE),
        QueuesError::Call { detail, .. } => {
            let cure = "give the role sqs:GetQueueUrl and sqs:GetQueueAttributes on it";
            chart.fail("queue_closed", name, detail.clone(), cure);
        }
    }
}

async fn subscription(chart: &mut Chart, context: &Context, queue: &str, facts: &Subscription) {
    let Ok(name) = queue.parse::<QueueName>().map(|queue| context.queues.name(queue)) else { return };
    let (topic, arn) = (context.config.topic_arn(&facts.topic), context.config.queue_arn(&name));
    let sns = &context.clients.sns;
    let mut pages = sns.list_subscriptions_by_topic().topic_arn(&topic).into_paginator().send();
    let mut found = None;
    while let Some(page) = pages.next().await {
        match page {
            Ok(page) => {
                let one = page.subscriptions().iter().find(|one| one.endpoint() == Some(arn.as_str()));
                found = found.or(one.and_then(|one| one.subscription_arn()).map(str::to_owned));
            }
            Err(error) => {
                if error.as_service_error().is_some_and(|service| service.is_not_found_exception()) {
                    return chart.fail("topic_missing", topic, "there is no such topic", REMAKE);
                }
                let cure = "give the role sns:ListSubscriptionsByTopic on it";
                return chart.fail("topic_closed", topic, DisplayErrorContext(&error).to_string(), cure);
            }
        }
    }
    let Some(found) = found else {
        return chart.fail("subscription_missing", &name, format!("it does not hear {topic}"), REMAKE);
    };
    let told = sns.get_subscription_attributes().subscription_arn(&found).send().await;
    let raw = told.ok().and_then(|told| told.attributes()?.get("RawMessageDelivery").cloned());
    if facts.raw && raw.as_deref() != Some("true") {
        let said = format!("what comes from {topic} has the envelope of SNS around it");
        return chart.fail("subscription_raw", &name, said, REMAKE);
    }
    let policy = match attributes(context, &name).await {
        Ok(own) => own(Name::Policy).unwrap_or_default(),
        // Told where queues are.
        Err(_) => return,
    };
    if !policy.contains(&topic) {
        return chart.fail("queue_policy", &name, format!("its policy does not let {topic} send"), REMAKE);
    }
    chart.ok("subscription", &name, format!("it hears {topic}"));
}

async fn topic_policy(chart: &mut Chart, context: &Context, buckets: &[&str]) {
    let topic = context.config.topic_arn("uploads");
    let asked = context.clients.sns.get_topic_attributes().topic_arn(&topic).send().await;
    // A topic that is not there is told by its subscription.
    let Ok(answer) = asked else { return };
    let policy = answer.attributes().and_then(|all| all.get("Policy")).cloned().unwrap_or_default();
    let missing: Vec<&str> =
        buckets.iter().copied().filter(|bucket| !policy.contains(&format!(":s3:::{bucket}"))).collect();
    if missing.is_empty() {
        chart.ok("topic_policy", topic, "buckets may publish to it");
    } else {
        chart.fail("topic_policy", topic, format!("its policy does not let {} publish", missing.join(", ")), REMAKE);
    }
}

async fn exists(chart: &mut Chart, context: &Context, bucket: &str) -> bool {
    match context.clients.s3.head_bucket().bucket(bucket).send().await {
        Ok(_) => {
            chart.ok("bucket", bucket, "it is there");
            true
        }
        Err(error) if error.as_service_error().is_some_and(|service| service.is_not_found()) => {
            chart.fail("bucket_missing", bucket, "there is no such bucket", REMAKE);
            false
        }
        Err(error) => {
            let cure = "give the role s3:ListBucket on it, and see that it is in this account and region";
            chart.fail("bucket_closed", bucket, DisplayErrorContext(&error).to_string(), cure);
            false
        }
    }
}

async fn notifications(chart: &mut Chart, context: &Context, bucket: &str) {
    let topic = context.config.topic_arn("uploads");
    let asked = context.clients.s3.get_bucket_notification_configuration().bucket(bucket).send().await;
    let told = asked.is_ok_and(|answer| {
        let ours = |one: &&aws_sdk_s3::types::TopicConfiguration| one.topic_arn() == topic;
        let created = |one: &aws_sdk_s3::types::TopicConfiguration| {
            one.events().iter().any(|event| event.as_str().starts_with("s3:ObjectCreated"))
        };
        answer.topic_configurations().iter().find(ours).is_some_and(created)
    });
    if told {
        chart.ok("bucket_notification", bucket, "what lands is told");
    } else {
        chart.fail("bucket_notification", bucket, format!("what lands there is not told to {topic}"), REMAKE);
    }
}

async fn cors(chart: &mut Chart, context: &Context, topology: &Topology, bucket: &str) {
    let asked = context.clients.s3.get_bucket_cors().bucket(bucket).send().await;
    let allows = asked.is_ok_and(|answer| {
        answer.cors_rules().iter().any(|rule| {
            rule.allowed_methods().iter().any(|method| method == "PUT")
                && topology.upload_cors.expose_headers.iter().all(|header| rule.expose_headers().contains(header))
        })
    });
    if allows {
        chart.ok("bucket_cors", bucket, "browsers may upload");
    } else {
        let said = "browsers may not PUT to it, or not read the ETag of the answer: uploads from web pages fail";
        chart.fail("bucket_cors", bucket, said, REMAKE);
    }
}
