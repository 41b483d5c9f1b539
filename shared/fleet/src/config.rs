//! The configuration that every role shares. Flags and environment say the same things; a flag wins.
//!
//! Guarantee: after [`Config::validate`] the values fit together, and each refusal says which variable to change.
//! Defaults are those of the embedded endpoint on one machine.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};
use reelfleet_domain::approval::{ApprovalPolicy, check_address};
use reelfleet_domain::policy::Policy;
use reelfleet_domain::price::Prices;
use reelfleet_domain::tenants::TenantLimits;

use crate::services::Services;
use crate::shutdown::MAX_GRACE;

/// What every role needs to know.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Upload buckets and whose they are: `bucket[/prefix]=tenant`, separated by commas
    #[arg(long, env = "REELFLEET_UPLOADS", value_delimiter = ',', default_value = "reelfleet-uploads=default")]
    pub uploads: Vec<UploadRoute>,
    /// Days after which originals expire, by a lifecycle rule of their bucket; 8 at least, since a review may take 7 [default: never]
    #[arg(long, env = "REELFLEET_ORIGINAL_DAYS", value_parser = clap::value_parser!(i32).range(8..=36_500))]
    pub original_days: Option<i32>,
    /// Bucket for everything the fleet makes
    #[arg(long, env = "REELFLEET_OUTPUTS_BUCKET", default_value = "reelfleet-outputs")]
    pub outputs_bucket: String,
    /// Prefix of the names of queues and topics
    #[arg(long, env = "REELFLEET_PREFIX", default_value = "reelfleet")]
    pub prefix: String,
    /// AWS region
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1")]
    pub region: String,
    /// AWS account that owns queues and topics
    #[arg(long, env = "REELFLEET_ACCOUNT", default_value = "000000000000")]
    pub account: String,
    /// ARN of the database cluster behind the RDS Data API
    #[arg(
        long,
        env = "REELFLEET_DB_RESOURCE_ARN",
        default_value = "arn:aws:rds:us-east-1:000000000000:cluster:reelfleet"
    )]
    pub db_resource_arn: String,
    /// ARN of the secret with the database's credentials
    #[arg(
        long,
        env = "REELFLEET_DB_SECRET_ARN",
        default_value = "arn:aws:secretsmanager:us-east-1:000000000000:secret:reelfleet"
    )]
    pub db_secret_arn: String,
    /// Name of the database
    #[arg(long, env = "REELFLEET_DB_NAME", default_value = "reelfleet")]
    pub db_name: String,
    /// URL at which people reach the gateway, without a trailing slash
    #[arg(long, env = "REELFLEET_PUBLIC_URL", default_value = "http://localhost:8080")]
    pub public_url: String,
    /// URL at which browsers reach S3, where it differs from the fleet's own endpoint
    #[arg(long, env = "REELFLEET_S3_PUBLIC_ENDPOINT")]
    pub s3_public_endpoint: Option<String>,
    /// Name of this process in leases, logs and dead letters [default: host-pid-random]
    #[arg(long, env = "REELFLEET_INSTANCE")]
    pub instance: Option<String>,
    /// Seconds from SIGTERM to the end: running tasks finish, or are given back shortly before
    #[arg(long, env = "REELFLEET_GRACE_SECONDS", default_value_t = 25)]
    pub grace_seconds: u64,
    /// Seconds a message is hidden by each receive and extension (60-120 in production)
    #[arg(long, env = "REELFLEET_VISIBILITY_SECONDS", default_value_t = 90)]
    pub visibility_seconds: u64,
    /// Seconds after the end of another's lease before it is taken over: how far clocks of hosts may differ
    #[arg(long, env = "REELFLEET_TAKEOVER_GRACE_SECONDS", default_value_t = 30)]
    pub takeover_grace_seconds: u64,
    /// Address for /livez, /readyz, /healthz and /metrics of a worker
    #[arg(long, env = "REELFLEET_HEALTH_LISTEN")]
    pub health_listen: Option<SocketAddr>,
    /// Limits on what may be uploaded
    #[command(flatten)]
    pub limits: Limits,
    /// Limits of tenants, as JSON, `*` for all: {"*": {"stored_bytes": 10000000000}, "press": {"max_seconds": 600}}
    #[arg(long, env = "REELFLEET_TENANT_LIMITS", default_value = "{}")]
    pub tenant_limits: TenantLimits,
    /// Whether a source that browsers play as it is becomes the top rendition without being encoded
    #[arg(long, env = "REELFLEET_STREAM_COPY", default_value_t = true, action = clap::ArgAction::Set)]
    pub stream_copy: bool,
    /// A file of prices like schema/prices.json [default: list prices of one region, as of its date]
    #[arg(long, env = "REELFLEET_PRICES", value_name = "FILE", default_value = "", hide_default_value = true, value_parser = prices)]
    pub prices: Prices,
    /// What waits for a verdict: `none`, `always`, or a JSON list of rules of which the first that fits decides
    #[arg(long, env = "REELFLEET_APPROVAL", default_value = "none")]
    pub approval: ApprovalPolicy,
    /// Mail addresses of reviewers, separated by commas: each is sent a link and a code of their own
    #[arg(long, env = "REELFLEET_REVIEWERS", value_delimiter = ',')]
    pub reviewers: Vec<String>,
    /// On AWS: the ECS cluster of the services that an operator may scale
    #[arg(long, env = "REELFLEET_ECS_CLUSTER", default_value = "", hide_default_value = true)]
    pub ecs_cluster: String,
    /// On AWS: the ECS services that run the pools, as JSON: {"transcoder": {"service": "reelfleet-transcoder", "min": 0, "max": 10}}
    #[arg(long, env = "REELFLEET_ECS_SERVICES", default_value = "{}")]
    pub ecs_services: Services,
}

/// Reads a file of prices; no name: the embedded ones.
fn prices(file: &str) -> Result<Prices, String> {
    if file.is_empty() {
        return Ok(Prices::embedded());
    }
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    text.parse().map_err(|error| format!("{file}: {error}"))
}

/// What an upload may be.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest source, in bytes
    #[arg(long, env = "REELFLEET_MAX_BYTES", default_value_t = 100 << 30)]
    pub max_bytes: u64,
    /// Longest source, in seconds
    #[arg(long, env = "REELFLEET_MAX_DURATION_S", default_value_t = 12 * 3600)]
    pub max_duration_s: u64,
    /// Most pixels in a frame
    #[arg(long, env = "REELFLEET_MAX_PIXELS", default_value_t = 8192 * 4352)]
    pub max_pixels: u64,
    /// Most streams in a file
    #[arg(long, env = "REELFLEET_MAX_STREAMS", default_value_t = 32)]
    pub max_streams: u32,
    /// Kinds of media that are processed
    #[arg(long, env = "REELFLEET_ALLOWED_KINDS", value_delimiter = ',', default_value = "video,audio,image")]
    pub allowed_kinds: Vec<MediaKind>,
}

/// A kind of media, as the limits name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MediaKind {
    /// Moving pictures, with or without sound.
    Video,
    /// Sound alone.
    Audio,
    /// A still picture.
    Image,
}

/// Whose objects land under a bucket or a prefix of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadRoute {
    /// Bucket name.
    pub bucket: String,
    /// Key prefix, empty for the whole bucket.
    pub prefix: String,
    /// The tenant of raw drops there.
    pub tenant: String,
}

impl FromStr for UploadRoute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape = || format!("{text:?} is not bucket[/prefix]=tenant");
        let (place, tenant) = text.trim().rsplit_once('=').ok_or_else(shape)?;
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() || tenant.is_empty() {
            return Err(shape());
        }
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned(), tenant: tenant.to_owned() })
    }
}

/// A value that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct ConfigError {
    /// The environment variable to change.
    pub variable: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

#[derive(Parser)]
#[command(no_binary_name = true)]
struct FromEnvironment {
    #[command(flatten)]
    config: Config,
}

impl Config {
    /// The configuration from environment variables alone.
    pub fn from_env() -> Result<Self, clap::Error> {
        Ok(FromEnvironment::try_parse_from(std::iter::empty::<String>())?.config)
    }

    /// Checks that the values fit together.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |variable, problem: String| Err(ConfigError { variable, problem });
        if self.uploads.is_empty() {
            return refuse("REELFLEET_UPLOADS", "no upload bucket".into());
        }
        if self.is_upload_bucket(&self.outputs_bucket) {
            return refuse(
                "REELFLEET_OUTPUTS_BUCKET",
                format!("{} is an upload bucket: every output would be processed again, for ever", self.outputs_bucket),
            );
        }
        for (index, route) in self.uploads.iter().enumerate() {
            let twice = |other: &&UploadRoute| other.bucket == route.bucket && other.prefix == route.prefix;
            if let Some(other) = self.uploads.iter().skip(index + 1).find(twice) {
                return refuse(
                    "REELFLEET_UPLOADS",
                    format!("{}/{} belongs to both {} and {}", route.bucket, route.prefix, route.tenant, other.tenant),
                );
            }
        }
        // "-notifier-" and an instance must still fit into the 80 characters of a queue's name.
        let name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.prefix.is_empty() || self.prefix.len() > 24 || !self.prefix.chars().all(name) {
            return refuse("REELFLEET_PREFIX", "1 to 24 letters, digits, - and _".into());
        }
        if let Some(instance) = &self.instance
            && (instance.is_empty() || instance.len() > 40 || !instance.chars().all(name))
        {
            return refuse("REELFLEET_INSTANCE", "1 to 40 letters, digits, - and _".into());
        }
        if self.grace_seconds > MAX_GRACE.as_secs() {
            return refuse(
                "REELFLEET_GRACE_SECONDS",
                format!(
                    "{} is more than {}: the platform kills a task after 120 s",
                    self.grace_seconds,
                    MAX_GRACE.as_secs()
                ),
            );
        }
        if !(3..=600).contains(&self.visibility_seconds) {
            return refuse("REELFLEET_VISIBILITY_SECONDS", "3 to 600, in production 60 to 120".into());
        }
        if self.takeover_grace_seconds > 600 {
            return refuse("REELFLEET_TAKEOVER_GRACE_SECONDS", "0 to 600, in production 30".into());
        }
        for (variable, url) in [
            ("REELFLEET_PUBLIC_URL", Some(&self.public_url)),
            ("REELFLEET_S3_PUBLIC_ENDPOINT", self.s3_public_endpoint.as_ref()),
        ] {
            if let Some(url) = url
                && (!(url.starts_with("http://") || url.starts_with("https://")) || url.ends_with('/'))
            {
                return refuse(variable, format!("{url:?} is not an http(s) URL without a trailing slash"));
            }
        }
        for address in &self.reviewers {
            check_address(address).map_err(|problem| ConfigError { variable: "REELFLEET_REVIEWERS", problem })?;
        }
        if !self.ecs_services.is_empty() && !(1..=255).contains(&self.ecs_cluster.len()) {
            return refuse("REELFLEET_ECS_CLUSTER", "the cluster of REELFLEET_ECS_SERVICES".into());
        }
        if self.limits.allowed_kinds.is_empty() {
            return refuse("REELFLEET_ALLOWED_KINDS", "nothing would be allowed".into());
        }
        Ok(())
    }

    /// Whether notifications about `bucket` are accepted at all.
    pub fn is_upload_bucket(&self, bucket: &str) -> bool {
        self.uploads.iter().any(|route| route.bucket == bucket)
    }

    /// What uploads of a tenant may be.
    pub fn policy(&self, tenant: &str) -> Policy {
        let limits = &self.limits;
        let kinds = limits.allowed_kinds.iter().map(|kind| match kind {
            MediaKind::Video => "video".to_owned(),
            MediaKind::Audio => "audio".to_owned(),
            MediaKind::Image => "image".to_owned(),
        });
        let installation = Policy {
            max_bytes: limits.max_bytes,
            max_duration_ms: limits.max_duration_s.saturating_mul(1_000),
            max_pixels: limits.max_pixels,
            kinds: kinds.collect(),
        };
        self.tenant_limits.policy(&installation, tenant)
    }

    /// Whether a source's own stream becomes its top rendition, as far as is known; never, where that is turned off.
    pub fn copied(&self, known: Option<bool>) -> Option<bool> {
        if self.stream_copy { known } else { Some(false) }
    }

    /// The tenant of a raw drop: that of the longest prefix that fits. `None` for a place nobody was given.
    pub fn tenant_of(&self, bucket: &str, key: &str) -> Option<&str> {
        self.uploads
            .iter()
            .filter(|route| route.bucket == bucket && key.starts_with(&route.prefix))
            .max_by_key(|route| route.prefix.len())
            .map(|route| route.tenant.as_str())
    }

    /// ARN of the topic `{prefix}-{name}`.
    pub fn topic_arn(&self, name: &str) -> String {
        format!("arn:{}:sns:{}:{}:{}-{name}", self.partition(), self.region, self.account, self.prefix)
    }

    /// ARN of the queue called `full_name`.
    pub fn queue_arn(&self, full_name: &str) -> String {
        format!("arn:{}:sqs:{}:{}:{full_name}", self.partition(), self.region, self.account)
    }

    fn partition(&self) -> &'static str {
        if self.region.starts_with("cn-") {
            "aws-cn"
        } else if self.region.starts_with("us-gov-") {
            "aws-us-gov"
        } else {
            "aws"
        }
    }

    /// The grace of a shutdown.
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_seconds)
    }

    /// How long after its end another's lease is taken over.
    pub fn takeover_grace(&self) -> Duration {
        Duration::from_secs(self.takeover_grace_seconds)
    }

    /// The visibility of each receive and extension.
    pub fn visibility(&self) -> Duration {
        Duration::from_secs(self.visibility_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Config {
        FromEnvironment::try_parse_from(arguments).unwrap().config
    }

    #[test]
    fn defaults_fit_together() {
        let config = parsed(&[]);
        config.validate().unwrap();
        assert_eq!(config.tenant_of("reelfleet-uploads", "in/x"), Some("default"));
        assert_eq!(config.tenant_of("elsewhere", "in/x"), None);
        assert_eq!(config.topic_arn("events"), "arn:aws:sns:us-east-1:000000000000:reelfleet-events");
    }

    #[test]
    fn the_longest_prefix_decides_whose_a_drop_is() {
        let config = parsed(&["--uploads", "a=one,a/in/two/=two,b/x=three"]);
        config.validate().unwrap();
        assert_eq!(config.tenant_of("a", "in/two/f.mp4"), Some("two"));
        assert_eq!(config.tenant_of("a", "in/tw"), Some("one"));
        assert_eq!(config.tenant_of("b", "y"), None);
    }

    #[test]
    fn what_cannot_work_is_refused_by_its_variable() {
        for (arguments, variable) in [
            (&["--outputs-bucket", "reelfleet-uploads"][..], "REELFLEET_OUTPUTS_BUCKET"),
            (&["--uploads", "a=one,a=two"], "REELFLEET_UPLOADS"),
            (&["--grace-seconds", "111"], "REELFLEET_GRACE_SECONDS"),
            (&["--prefix", "a/b"], "REELFLEET_PREFIX"),
            (&["--public-url", "localhost"], "REELFLEET_PUBLIC_URL"),
            (&["--visibility-seconds", "0"], "REELFLEET_VISIBILITY_SECONDS"),
            (&["--takeover-grace-seconds", "601"], "REELFLEET_TAKEOVER_GRACE_SECONDS"),
            (&["--reviewers", "ann@example.com,bob"], "REELFLEET_REVIEWERS"),
        ] {
            let error = parsed(arguments).validate().unwrap_err();
            assert_eq!(error.variable, variable, "{error}");
        }
        assert!(FromEnvironment::try_parse_from(["--uploads", "bucket"]).is_err());
        let refused = FromEnvironment::try_parse_from(["--tenant-limits", "{\"a\": {\"kinds\": []}}"]).err().unwrap();
        assert!(refused.to_string().contains("a: kinds holds at least one"), "{refused}");
        let limited = parsed(&["--tenant-limits", "{\"a\": {\"max_seconds\": 5}}", "--max-duration-s", "9"]);
        assert_eq!((limited.policy("a").max_duration_ms, limited.policy("b").max_duration_ms), (5_000, 9_000));
        let refused = FromEnvironment::try_parse_from(["--approval", "[{}, {\"votes\": 3}]"]).err().unwrap();
        assert!(refused.to_string().contains("rule 2: votes is 0"), "{refused}");
    }
}
