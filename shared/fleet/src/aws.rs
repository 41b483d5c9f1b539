//! The AWS clients of a process, on AWS and on one machine alike: only the endpoint differs.
//!
//! Guarantees:
//! - every call has a connect and an attempt timeout (the SDK sets none for reads); callers of long operations override
//!   them per call with [`timeouts`];
//! - the SDK's own protection from stalled streams is off: it would look at every call in flight ten times a second, and
//!   parked receives are always in flight; bodies of S3 are watched where they are read, and resumed, not failed;
//! - SQS, SNS, S3 and Application Auto Scaling retry as the SDK does (standard mode, three attempts); the Data API never retries by itself, since a
//!   statement whose answer was lost may have been committed: the catalog decides that.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};

use crate::config::Config;

const CONNECT: Duration = Duration::from_secs(3);
const ATTEMPT: Duration = Duration::from_secs(10);
/// A statement may wait for a lock and for a paused cluster; the service itself ends one after 45 s.
const STATEMENT: Duration = Duration::from_secs(20);
const MAX_ATTEMPTS: u32 = 3;

/// One client for each service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clients {
    /// S3, for this process.
    pub s3: aws_sdk_s3::Client,
    /// SQS.
    pub sqs: aws_sdk_sqs::Client,
    /// SNS.
    pub sns: aws_sdk_sns::Client,
    /// The RDS Data API, without retries.
    pub rds: aws_sdk_rdsdata::Client,
    /// Application Auto Scaling: how many tasks an ECS service has.
    pub autoscaling: aws_sdk_applicationautoscaling::Client,
    /// S3 as browsers reach it: signs URLs, never calls.
    pub presign: aws_sdk_s3::Client,
}

impl Clients {
    /// Clients from the environment (`AWS_ENDPOINT_URL`, credentials as the SDK finds them) and the configuration.
    pub async fn connect(config: &Config) -> Self {
        let shared = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(config.region.clone()))
            .timeout_config(timeouts(ATTEMPT))
            .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
            .load()
            .await;
        Self::from_sdk(&shared, config)
    }

    /// Clients from an SDK configuration made elsewhere (a test's endpoint and credentials).
    pub fn from_sdk(shared: &SdkConfig, config: &Config) -> Self {
        let shared = &shared.to_builder().stalled_stream_protection(StalledStreamProtectionConfig::disabled()).build();
        let s3 = s3_config(shared);
        let presign = match &config.s3_public_endpoint {
            Some(endpoint) => s3.clone().endpoint_url(endpoint).force_path_style(true),
            None => s3.clone(),
        };
        let rds = aws_sdk_rdsdata::config::Builder::from(shared)
            .timeout_config(timeouts(STATEMENT))
            .retry_config(no_retries());
        Self {
            s3: aws_sdk_s3::Client::from_conf(s3.build()),
            sqs: aws_sdk_sqs::Client::new(shared),
            sns: aws_sdk_sns::Client::new(shared),
            rds: aws_sdk_rdsdata::Client::from_conf(rds.build()),
            autoscaling: aws_sdk_applicationautoscaling::Client::new(shared),
            presign: aws_sdk_s3::Client::from_conf(presign.build()),
        }
    }
}

/// Path style where an endpoint is set: `bucket.localhost` does not resolve everywhere.
fn s3_config(shared: &SdkConfig) -> aws_sdk_s3::config::Builder {
    let builder = aws_sdk_s3::config::Builder::from(shared);
    let own_endpoint =
        shared.endpoint_url().is_some() || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some_and(|url| !url.is_empty());
    if own_endpoint { builder.force_path_style(true) } else { builder }
}

/// Timeouts whose attempt may take `attempt`: connect 3 s, first byte and whole answer within it. A streamed body is not
/// part of the attempt.
pub fn timeouts(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT).read_timeout(attempt).operation_attempt_timeout(attempt).build()
}

/// A retry configuration that tries once.
pub fn no_retries() -> RetryConfig {
    RetryConfig::disabled()
}
