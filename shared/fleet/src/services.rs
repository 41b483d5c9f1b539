//! How many workers of a pool there are to be: told to what runs them.
//!
//! On one machine that is a row, which `up` follows. On AWS it is besides the bounds of the ECS service that runs the pool,
//! by RegisterScalableTarget of Application Auto Scaling: a number is both its least and its most, `auto` gives back the
//! bounds between which target tracking decides.
//!
//! Guarantees: the audit line is there before the deed; the row, which says what was asked, only once AWS has taken it;
//! asked again, the same comes of it. Only services that the configuration names are asked about, and never more than their
//! own bounds allow.

use std::collections::BTreeMap;
use std::str::FromStr;

use aws_sdk_applicationautoscaling::error::DisplayErrorContext;
use aws_sdk_applicationautoscaling::types::{ScalableDimension, ServiceNamespace};
use reelfleet_catalog::audit::AuditEntry;
use reelfleet_catalog::scaling::Desired;
use reelfleet_catalog::{Catalog, CatalogError};
use reelfleet_domain::scaling::POOLS;
use serde::Deserialize;

use crate::context::Context;
use crate::queues::{QueueName, QueuesError};

/// The service of one pool.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    service: String,
    min: Option<u32>,
    max: Option<u32>,
}

/// The ECS services that run pools, by pool.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Services(BTreeMap<String, Service>);

/// Why a wish can't be followed.
#[derive(Debug, thiserror::Error)]
pub enum ScaleError {
    /// There is no such pool.
    #[error("{0:?} is not scaled")]
    NoPool(String),
    /// More than may be.
    #[error("{pool} has at most {max} workers here")]
    TooMany {
        /// The pool.
        pool: String,
        /// The most that its service, or schema/scaling.json, allows.
        max: u32,
    },
    /// On AWS, and nobody said which service it is.
    #[error(
        "nobody here follows: on AWS, REELFLEET_ECS_CLUSTER and REELFLEET_ECS_SERVICES name the services \
         (`terraform output environment`)"
    )]
    Nobody,
    /// Application Auto Scaling did not take it.
    #[error("{service} was not scaled: {detail}")]
    Refused {
        /// `service/cluster/name`.
        service: String,
        /// The error with all its causes.
        detail: String,
    },
    /// Where the queues are is not known.
    #[error(transparent)]
    Queues(#[from] QueuesError),
    /// The row could not be written.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl Services {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fewest and the most workers of a pool that there may be.
    pub fn bounds(&self, pool: &str) -> Option<(u32, u32)> {
        let constants = POOLS.get(pool)?;
        let own = self.0.get(pool);
        let (min, max) = own.map_or((None, None), |service| (service.min, service.max));
        Some((min.unwrap_or(constants.min), max.unwrap_or(constants.max)))
    }
}

impl FromStr for Services {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = "it is a JSON object, from worker to {\"service\", \"min\", \"max\"}";
        let services: BTreeMap<String, Service> =
            serde_json::from_str(text).map_err(|error| format!("{shape}: {error}"))?;
        let services = Self(services);
        for (pool, service) in &services.0 {
            let (min, max) = services.bounds(pool).ok_or_else(|| format!("{pool:?} is not scaled"))?;
            let name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if service.service.is_empty() || !service.service.chars().all(name) {
                return Err(format!("{pool}: {:?} is not the name of a service", service.service));
            }
            if min > max || i32::try_from(max).is_err() {
                return Err(format!("{pool}: from {min} to {max} workers"));
            }
        }
        Ok(services)
    }
}

/// Notes an operator's word about a pool, and has it followed.
pub async fn scale(
    context: &Context,
    catalog: &Catalog,
    desired: &Desired,
    audit: AuditEntry,
) -> Result<(), ScaleError> {
    let (pool, services) = (&desired.pool, &context.config.ecs_services);
    let (min, max) = services.bounds(pool).ok_or_else(|| ScaleError::NoPool(pool.clone()))?;
    if desired.workers.is_some_and(|workers| workers > max) {
        return Err(ScaleError::TooMany { pool: pool.clone(), max });
    }
    match services.0.get(pool) {
        Some(service) => {
            catalog.audit(std::slice::from_ref(&audit)).await?;
            let bounds = desired.workers.map_or((min, max), |workers| (workers, workers));
            register(context, &service.service, bounds).await?;
        }
        // `up` follows the row; on AWS nobody would.
        None if context.queues.url(QueueName::Transcode).await?.contains(".amazonaws.com") => {
            return Err(ScaleError::Nobody);
        }
        None => {}
    }
    Ok(catalog.desire(desired, audit).await?)
}

async fn register(context: &Context, service: &str, (min, max): (u32, u32)) -> Result<(), ScaleError> {
    let count = |workers: u32| i32::try_from(workers).unwrap_or(i32::MAX);
    let resource = format!("service/{}/{service}", context.config.ecs_cluster);
    let call = context.clients.autoscaling.register_scalable_target();
    let sent = call
        .service_namespace(ServiceNamespace::Ecs)
        .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
        .resource_id(&resource)
        .min_capacity(count(min))
        .max_capacity(count(max))
        .send()
        .await;
    let refused = |error| ScaleError::Refused { service: resource, detail: DisplayErrorContext(&error).to_string() };
    sent.map(drop).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_the_services_own_or_those_of_the_formula() {
        let services: Services =
            r#"{"transcoder": {"service": "rf-transcoder", "max": 10}, "intake": {"service": "rf-intake"}}"#.parse().unwrap();
        assert_eq!(services.bounds("transcoder"), Some((0, 10)));
        assert_eq!(services.bounds("intake"), Some((1, 50)));
        assert_eq!(services.bounds("thumbnailer"), Some((0, 200)), "no service of its own");
        assert_eq!(services.bounds("gateway"), None);
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        for (wrong, why) in [
            ("[]", "from worker to"),
            (r#"{"gateway": {"service": "g"}}"#, "\"gateway\" is not scaled"),
            (r#"{"intake": {"service": "a/b"}}"#, "not the name of a service"),
            (r#"{"intake": {"service": "i", "maximum": 3}}"#, "unknown field"),
            (r#"{"intake": {"service": "i", "min": 3, "max": 2}}"#, "from 3 to 2"),
            (r#"{"intake": {"service": "i", "max": 4000000000}}"#, "4000000000"),
        ] {
            let error = wrong.parse::<Services>().unwrap_err();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }
}
