//! Buckets and their configurations. A configuration is stored as it came and given back equal; Terraform's provider
//! compares.

use std::sync::Arc;

use rusqlite::{OptionalExtension as _, params};
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result, dto::*};
use serde::{Serialize, de::DeserializeOwned};

use super::{Store, error::Fault, events, objects::stamp, rows};

/// Kinds of configuration that are kept and given back without being acted on, or acted on elsewhere.
pub(crate) mod kind {
    pub(crate) const CORS: &str = "cors";
    pub(crate) const ENCRYPTION: &str = "encryption";
    pub(crate) const LIFECYCLE: &str = "lifecycle";
    pub(crate) const OWNERSHIP: &str = "ownershipControls";
    pub(crate) const POLICY: &str = "policy";
    pub(crate) const PUBLIC_ACCESS: &str = "publicAccessBlock";
    pub(crate) const TAGGING: &str = "tagging";
    pub(crate) const TRANSITION: &str = "transitionDefaultMinimumObjectSize";
}

pub(crate) async fn create(
    store: &Store,
    req: S3Request<CreateBucketInput>,
) -> S3Result<S3Response<CreateBucketOutput>> {
    let (name, now) = (req.input.bucket, store.state.now());
    if req.input.object_lock_enabled_for_bucket.unwrap_or(false) {
        return Err(Fault::new(S3ErrorCode::NotImplemented, "Object Lock is not offered by this endpoint.").into());
    }
    let location = format!("/{name}");
    let ownership = req.input.object_ownership.map(|ownership| vec![ownership.as_str().to_owned()]);
    let write = store.state.db.write(move |tx| {
        let sql = "INSERT OR IGNORE INTO bucket (name, created) VALUES (?1, ?2)";
        if tx.prepare_cached(sql)?.execute(params![name, now])? == 0 {
            let message = "Your previous request to create the named bucket succeeded and you already own it.";
            return Err(Fault::new(S3ErrorCode::BucketAlreadyOwnedByYou, message));
        }
        if let Some(ownership) = ownership {
            set(tx, &name, kind::OWNERSHIP, &ownership)?;
        }
        Ok(())
    });
    write.await?;
    Ok(S3Response::new(CreateBucketOutput { location: Some(location) }))
}

pub(crate) async fn delete(
    store: &Store,
    req: S3Request<DeleteBucketInput>,
) -> S3Result<S3Response<DeleteBucketOutput>> {
    let name = req.input.bucket;
    let now = store.state.now();
    let write = store.state.db.write(move |tx| {
        rows::bucket(tx, &name)?;
        let used = "SELECT EXISTS (SELECT 1 FROM object WHERE bucket = ?1)";
        if tx.prepare_cached(used)?.query_row([&name], |row| row.get(0))? {
            let message = "The bucket you tried to delete is not empty. You must delete all versions in the bucket.";
            return Err(Fault::new(S3ErrorCode::BucketNotEmpty, message));
        }
        // Uploads that were never completed do not keep a bucket; they end with it.
        let uploads: Vec<String> = tx
            .prepare_cached("SELECT id FROM upload WHERE bucket = ?1")?
            .query_map([&name], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for upload in uploads {
            super::multipart::forget(tx, &upload, now)?;
        }
        tx.prepare_cached("DELETE FROM bucket WHERE name = ?1")?.execute([&name])?;
        Ok(())
    });
    write.await?;
    Ok(S3Response::with_status(DeleteBucketOutput::default(), http::StatusCode::NO_CONTENT))
}

pub(crate) async fn head(store: &Store, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
    store.bucket(&req.input.bucket).await?;
    let output = HeadBucketOutput { bucket_region: Some(store.state.region.clone()), ..Default::default() };
    Ok(S3Response::new(output))
}

pub(crate) async fn list(store: &Store, req: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
    let (input, region) = (req.input, store.state.region.clone());
    let prefix = input.prefix.clone().unwrap_or_default();
    let after = input.continuation_token.unwrap_or_default();
    let max = input.max_buckets.unwrap_or(10_000).clamp(1, 10_000);
    let read = store.state.db.read(move |conn| rows::buckets(conn, &prefix, &after, i64::from(max) + 1));
    let mut found: Vec<_> = read.await?;
    let truncated = found.len() > max.cast_unsigned() as usize;
    found.truncate(max.cast_unsigned() as usize);
    let output = ListBucketsOutput {
        continuation_token: found.last().filter(|_| truncated).map(|bucket| bucket.name.clone()),
        buckets: Some(
            found
                .into_iter()
                .map(|bucket| Bucket {
                    name: Some(bucket.name),
                    creation_date: Some(stamp(bucket.created)),
                    bucket_region: Some(region.clone()),
                })
                .collect(),
        ),
        owner: Some(store.owner()),
        prefix: input.prefix,
    };
    Ok(S3Response::new(output))
}

pub(crate) async fn location(
    store: &Store,
    req: S3Request<GetBucketLocationInput>,
) -> S3Result<S3Response<GetBucketLocationOutput>> {
    store.bucket(&req.input.bucket).await?;
    // us-east-1 has no location constraint.
    let region = Some(store.state.region.clone()).filter(|region| region != "us-east-1");
    Ok(S3Response::new(GetBucketLocationOutput { location_constraint: region.map(BucketLocationConstraint::from) }))
}

pub(crate) async fn put_versioning(
    store: &Store,
    req: S3Request<PutBucketVersioningInput>,
) -> S3Result<S3Response<PutBucketVersioningOutput>> {
    let input = req.input;
    let status = input.versioning_configuration.status.ok_or_else(Fault::malformed_xml)?;
    if ![BucketVersioningStatus::ENABLED, BucketVersioningStatus::SUSPENDED].contains(&status.as_str()) {
        return Err(Fault::malformed_xml().into());
    }
    let write = store.state.db.write(move |tx| {
        rows::bucket(tx, &input.bucket)?;
        tx.prepare_cached("UPDATE bucket SET versioning = ?2 WHERE name = ?1")?
            .execute([input.bucket.as_str(), status.as_str()])?;
        Ok::<_, Fault>(())
    });
    write.await?;
    Ok(S3Response::new(PutBucketVersioningOutput {}))
}

pub(crate) async fn get_versioning(
    store: &Store,
    req: S3Request<GetBucketVersioningInput>,
) -> S3Result<S3Response<GetBucketVersioningOutput>> {
    let bucket = store.bucket(&req.input.bucket).await?;
    let status = match bucket.versioning {
        rows::Versioning::Never => None,
        rows::Versioning::Enabled => Some(BucketVersioningStatus::from_static(BucketVersioningStatus::ENABLED)),
        rows::Versioning::Suspended => Some(BucketVersioningStatus::from_static(BucketVersioningStatus::SUSPENDED)),
    };
    Ok(S3Response::new(GetBucketVersioningOutput { status, ..Default::default() }))
}

fn set<T: Serialize>(conn: &rusqlite::Connection, bucket: &str, kind: &str, body: &T) -> Result<(), Fault> {
    conn.prepare_cached("INSERT OR REPLACE INTO bucket_config (bucket, kind, body) VALUES (?1, ?2, ?3)")?
        .execute(params![bucket, kind, serde_json::to_string(body)?])?;
    Ok(())
}

impl Store {
    /// Stores a configuration of a bucket.
    pub(crate) async fn put_config<T>(&self, bucket: String, kind: &'static str, body: T) -> Result<(), Fault>
    where
        T: Serialize + Send + 'static,
    {
        let write = self.state.db.write(move |tx| {
            rows::bucket(tx, &bucket)?;
            set(tx, &bucket, kind, &body)
        });
        write.await
    }

    /// A configuration of a bucket, if it was set.
    pub(crate) async fn get_config<T>(&self, bucket: String, kind: &'static str) -> Result<Option<T>, Fault>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let read = self.state.db.read(move |conn| {
            rows::bucket(conn, &bucket)?;
            rows::config(conn, &bucket, kind)
        });
        read.await
    }

    /// A configuration of a bucket, or the error that S3 has for its absence.
    pub(crate) async fn need_config<T>(
        &self,
        bucket: String,
        kind: &'static str,
        absent: fn() -> Fault,
    ) -> Result<T, Fault>
    where
        T: DeserializeOwned + Send + 'static,
    {
        self.get_config(bucket, kind).await?.ok_or_else(absent)
    }

    /// Forgets a configuration of a bucket; that it was not there is no error.
    pub(crate) async fn delete_config(&self, bucket: String, kind: &'static str) -> Result<(), Fault> {
        let write = self.state.db.write(move |tx| {
            rows::bucket(tx, &bucket)?;
            tx.prepare_cached("DELETE FROM bucket_config WHERE bucket = ?1 AND kind = ?2")?.execute([&bucket, kind])?;
            Ok(())
        });
        write.await
    }
}

pub(crate) async fn put_notification(
    store: &Arc<Store>,
    req: S3Request<PutBucketNotificationConfigurationInput>,
) -> S3Result<S3Response<PutBucketNotificationConfigurationOutput>> {
    let (input, shared) = (req.input, Arc::clone(store));
    let write = store.state.db.write(move |tx| {
        rows::bucket(tx, &input.bucket)?;
        let mut config = input.notification_configuration;
        let validate = !input.skip_destination_validation.unwrap_or(false);
        events::accept(tx, &shared.state, &input.bucket, &mut config, validate)?;
        set(tx, &input.bucket, events::KIND, &config)
    });
    write.await?;
    Ok(S3Response::new(PutBucketNotificationConfigurationOutput {}))
}

pub(crate) async fn get_notification(
    store: &Store,
    req: S3Request<GetBucketNotificationConfigurationInput>,
) -> S3Result<S3Response<GetBucketNotificationConfigurationOutput>> {
    let config: Option<NotificationConfiguration> = store.get_config(req.input.bucket, events::KIND).await?;
    let config = config.unwrap_or_default();
    Ok(S3Response::new(GetBucketNotificationConfigurationOutput {
        event_bridge_configuration: config.event_bridge_configuration,
        lambda_function_configurations: None,
        queue_configurations: config.queue_configurations,
        topic_configurations: config.topic_configurations,
    }))
}

pub(crate) async fn put_ownership(
    store: &Store,
    req: S3Request<PutBucketOwnershipControlsInput>,
) -> S3Result<S3Response<PutBucketOwnershipControlsOutput>> {
    let rules = req.input.ownership_controls.rules.into_iter();
    let rules: Vec<String> = rules.map(|rule| rule.object_ownership.as_str().to_owned()).collect();
    store.put_config(req.input.bucket, kind::OWNERSHIP, rules).await?;
    Ok(S3Response::new(PutBucketOwnershipControlsOutput {}))
}

pub(crate) async fn get_ownership(
    store: &Store,
    req: S3Request<GetBucketOwnershipControlsInput>,
) -> S3Result<S3Response<GetBucketOwnershipControlsOutput>> {
    let absent =
        || Fault::new(S3ErrorCode::OwnershipControlsNotFoundError, "The bucket ownership controls were not found");
    let rules: Vec<String> = store.need_config(req.input.bucket, kind::OWNERSHIP, absent).await?;
    let rules = rules.into_iter().map(|rule| OwnershipControlsRule { object_ownership: rule.into() }).collect();
    Ok(S3Response::new(GetBucketOwnershipControlsOutput { ownership_controls: Some(OwnershipControls { rules }) }))
}

/// Checks a policy as far as S3 does before it stores it: JSON of at most 20 KB with statements.
pub(crate) fn check_policy(policy: &str) -> Result<(), Fault> {
    let parsed: Option<serde_json::Value> = serde_json::from_str(policy).ok();
    let malformed =
        |message: &'static str| Err(Fault::custom("MalformedPolicy", http::StatusCode::BAD_REQUEST, message));
    match parsed {
        _ if policy.len() > 20 << 10 => malformed("Policies must be at most 20 KB"),
        None => malformed("Policies must be valid JSON and the first byte must be '{'"),
        Some(policy) if policy.get("Statement").is_none() => malformed("Missing required field Statement"),
        Some(_) => Ok(()),
    }
}

/// The CORS rules of a bucket; none when there is no such bucket.
pub(crate) async fn cors_rules(store: &Store, bucket: String) -> Result<Option<Vec<CORSRule>>, Fault> {
    let read = store.state.db.read(move |conn| {
        let sql = "SELECT body FROM bucket_config WHERE bucket = ?1 AND kind = ?2";
        let body: Option<String> =
            conn.prepare_cached(sql)?.query_row([bucket.as_str(), kind::CORS], |row| row.get(0)).optional()?;
        Ok::<_, Fault>(body.map(|body| serde_json::from_str::<CORSConfiguration>(&body)).transpose()?)
    });
    Ok(read.await?.map(|config| config.cors_rules))
}
