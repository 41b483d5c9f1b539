//! Notifications: each record is looked at by HEAD and lands once.

use std::time::Duration;

use reelfleet_catalog::assets::{Asset, End};
use reelfleet_catalog::landing::Landing as NewLanding;
use reelfleet_catalog::tasks::NewTask;
use reelfleet_catalog::uploads::Upload;
use reelfleet_catalog::{Catalog, CatalogError, Emission};
use reelfleet_domain::policy::Refusal;
use reelfleet_fleet::{BoxFuture, Context, Delivery, Handler, Heart, Outcome, QueueName, trace};
use reelfleet_messages::event::{AssetStopped, AssetUploaded, JobFact, ReasonCode};
use reelfleet_messages::notification::{self, Notification};
use reelfleet_messages::task::{AssetTask, Task, TaskEnvelope, VERSION};
use reelfleet_messages::trace::TraceParent;
use reelfleet_messages::{AssetId, Event, JobId, ObjectChange, ObjectEvent, ObjectRef, TaskId};
use reelfleet_objects::{ObjectError, ObjectTree, head};
use reelfleet_telemetry::DuplicateSuppressed;
use reelfleet_telemetry::trace::{Consumed, Span};

/// The owner of what nobody uploaded through the API.
const BUCKET_OWNER: &str = "bucket";
/// Names for people are cut here (characters).
const NAME_CHARS: usize = 200;

/// The handler of the intake queue.
pub(crate) struct Landing {
    context: Context,
    catalog: Catalog,
    /// Its name, for people.
    queue: String,
}

/// An object that no asset stands for yet.
struct Arrived<'a> {
    object: &'a ObjectRef,
    event: &'a ObjectEvent,
    /// The notification as it came.
    raw: &'a str,
    upload: Option<Upload>,
    came_with: Option<TraceParent>,
    span: Span,
}

/// Why a record could not be settled now.
#[derive(Debug, thiserror::Error)]
enum Unsettled {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Object(#[from] ObjectError),
}

impl Landing {
    pub(crate) fn new(context: Context, catalog: Catalog) -> Self {
        let queue = context.queues.name(QueueName::Intake);
        Self { context, catalog, queue }
    }

    async fn message(&self, delivery: &Delivery, heart: &Heart) -> Outcome {
        let events = match notification::parse(&delivery.body) {
            Ok(Notification::Test { bucket }) => {
                tracing::info!(bucket, "S3 tested its notifications");
                return Outcome::Done;
            }
            Ok(Notification::Objects(events)) => events,
            Err(error) => return Outcome::reject(error),
        };
        // Every record is tried, whatever becomes of the others; landing again what landed changes nothing.
        let mut failed = None;
        for event in &events {
            heart.beat();
            if let Err(error) = self.record(event, delivery).await {
                tracing::warn!(bucket = event.bucket, key = event.key, %error, "a record is not settled yet");
                failed = Some(format!("{}/{}: {error}", event.bucket, event.key));
            }
        }
        match failed {
            None => Outcome::Done,
            Some(why) => Outcome::Retry { after: Duration::from_secs(2), why },
        }
    }

    async fn record(&self, event: &ObjectEvent, delivery: &Delivery) -> Result<(), Unsettled> {
        if !self.context.config.is_upload_bucket(&event.bucket) {
            tracing::warn!(bucket = event.bucket, "a notification of a bucket that is not ours is ignored");
            return Ok(());
        }
        match event.change {
            ObjectChange::Other => Ok(()),
            ObjectChange::Removed => self.removed(event).await,
            ObjectChange::Created => self.created(event, delivery).await,
        }
    }

    async fn created(&self, event: &ObjectEvent, delivery: &Delivery) -> Result<(), Unsettled> {
        let found = match head(&self.context.clients.s3, &event.bucket, &event.key, event.version_id.as_deref()).await {
            Ok(found) => found,
            // Removed or overwritten since: its own notification tells the rest.
            Err(ObjectError::Gone { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let object = ObjectRef {
            bucket: event.bucket.clone(),
            key: event.key.clone(),
            version_id: found.version_id.filter(|version| version != "null"),
            etag: found.etag,
            size: found.size,
        };
        if self.catalog.asset_by_identity(object.identity().as_str()).await?.is_none() {
            self.land(&object, event, delivery).await?;
        } else {
            DuplicateSuppressed { place: "intake", what: &object.key }.emit();
        }
        if object.version_id.is_none() {
            self.end_replaced(&object).await?;
        }
        Ok(())
    }

    /// It goes on with the trace of its upload's request; what was dropped into the bucket begins one.
    async fn land(&self, object: &ObjectRef, event: &ObjectEvent, delivery: &Delivery) -> Result<(), Unsettled> {
        let upload = self.catalog.upload_of_object(&object.bucket, &object.key).await?;
        let asked = upload.as_ref().and_then(|upload| upload.traceparent.clone());
        let came_with = asked.or_else(|| trace::of_message(delivery));
        let span = Span::consumer(&Consumed {
            queue: &self.queue,
            message_id: &delivery.message_id,
            receive_count: delivery.receive_count,
            traceparent: came_with.as_ref().map(TraceParent::as_str),
        });
        let arrived = Arrived { object, event, raw: &delivery.body, upload, came_with, span: span.clone() };
        span.within(self.take(&arrived)).await
    }

    async fn take(&self, arrived: &Arrived<'_>) -> Result<(), Unsettled> {
        let Arrived { object, upload, .. } = arrived;
        if let Some(upload) = upload
            && upload.state == "aborted"
        {
            return self.unwanted(upload, object).await;
        }
        let fresh = || AssetId::from_uuid(self.context.ids.uuid());
        // The reserved id is for the upload's own bytes; whatever lands there later is another asset.
        let reserved = match upload {
            Some(upload) if self.catalog.asset(&upload.asset).await?.is_none() => upload.asset,
            _ => fresh(),
        };
        match self.land_as(reserved, arrived).await {
            Err(CatalogError::Conflict { .. })
                if self.catalog.asset_by_identity(object.identity().as_str()).await?.is_none() =>
            {
                Ok(self.land_as(fresh(), arrived).await?)
            }
            Err(CatalogError::Conflict { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What lands by a link that was signed before its upload was aborted, or expired: exactly that object goes.
    async fn unwanted(&self, upload: &Upload, object: &ObjectRef) -> Result<(), Unsettled> {
        let tree = ObjectTree::new(self.context.clients.s3.clone(), &object.bucket);
        let removed = tree.delete_exactly(&object.key, object.version_id.as_deref(), &object.etag).await?;
        tracing::warn!(
            upload = %upload.id,
            key = object.key,
            bytes = object.size,
            removed,
            "an object landed for an upload that had been aborted or had expired: it is removed, not processed"
        );
        Ok(())
    }

    async fn land_as(&self, asset: AssetId, arrived: &Arrived<'_>) -> Result<(), CatalogError> {
        let Arrived { object, event, raw, upload, came_with, span } = arrived;
        let (ids, upload) = (&self.context.ids, upload.as_ref());
        let (tenant, owner) = match upload {
            Some(upload) => (upload.tenant.as_str(), upload.owner.as_str()),
            None => match self.context.config.tenant_of(&object.bucket, &object.key) {
                Some(tenant) => (tenant, BUCKET_OWNER),
                None => {
                    tracing::warn!(bucket = object.bucket, key = object.key, "no tenant is configured for this place");
                    return Ok(());
                }
            },
        };
        let name = upload.map_or_else(|| last_part(&object.key), |upload| upload.name.clone());
        let job = JobId::from_uuid(ids.uuid());
        span.set("reelfleet.asset.id", asset.to_string());
        span.set("reelfleet.job.id", job.to_string());
        let fresh = || TraceParent::new(ids.uuid().as_u128(), ids.uuid().as_u64_pair().1);
        let trace = trace::going_on(came_with.as_ref()).unwrap_or_else(fresh);
        let envelope = TaskEnvelope {
            v: VERSION,
            task: TaskId::from_uuid(ids.uuid()),
            job,
            tenant: tenant.to_owned(),
            cost_s: 0.5,
            traceparent: Some(trace.clone()),
            work: Task::ProbeSource(AssetTask { asset, generation: 1 }),
        };
        let uploaded = AssetUploaded { asset, name: name.clone(), size: object.size, through_api: upload.is_some() };
        let emission = self.context.emission(tenant, owner, Some(trace), Event::AssetUploaded(uploaded));
        let upload_id = upload.map(|upload| upload.id.to_string());
        let landing = NewLanding {
            asset,
            job,
            tenant,
            owner,
            upload: upload_id.as_deref(),
            object,
            event,
            name: &name,
            raw,
            task: NewTask { envelope, place: None, armed: true, backfill: false },
        };
        self.catalog.land(&self.context.step(), &landing, &[emission]).await?;
        tracing::info!(%asset, bucket = object.bucket, key = object.key, bytes = object.size, "an object landed");
        Ok(())
    }

    /// An overwrite without versioning ends the unfinished assets of the bytes that are gone.
    async fn end_replaced(&self, object: &ObjectRef) -> Result<(), Unsettled> {
        let identity = object.identity();
        let why = Refusal::new(ReasonCode::SourceReplaced, "the object was overwritten before it was processed");
        for asset in self.catalog.live_assets_of_key(&object.bucket, &object.key).await? {
            if asset.version_id.is_none()
                && reelfleet_messages::SourceIdentity::of(&asset.bucket, &asset.key, None, &asset.etag) != identity
            {
                self.end(&asset, &why).await?;
            }
        }
        Ok(())
    }

    /// A source that is removed cancels what is unfinished. HEAD decides, since the removal may be old news.
    async fn removed(&self, event: &ObjectEvent) -> Result<(), Unsettled> {
        let why = Refusal::new(ReasonCode::SourceMissing, "the object was removed before it was processed");
        for asset in self.catalog.live_assets_of_key(&event.bucket, &event.key).await? {
            match head(&self.context.clients.s3, &asset.bucket, &asset.key, asset.version_id.as_deref()).await {
                Ok(found) if found.etag == asset.etag => {}
                Ok(_) | Err(ObjectError::Gone { .. }) => self.end(&asset, &why).await?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn end(&self, asset: &Asset, why: &Refusal) -> Result<(), Unsettled> {
        let stopped = AssetStopped { asset: asset.id, code: why.code, detail: why.detail.clone() };
        let mut facts = vec![Event::AssetFailed(stopped)];
        if let Some((job, ..)) = self.catalog.job_of(&asset.id).await? {
            facts.insert(0, Event::JobFailed(JobFact { asset: asset.id, job, code: Some(why.code) }));
        }
        let emissions: Vec<Emission> =
            facts.into_iter().map(|fact| self.context.emission(&asset.tenant, &asset.owner, None, fact)).collect();
        match self.catalog.end_asset(&self.context.step(), asset, None, End::Failed, why, &emissions).await {
            Ok(()) | Err(CatalogError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Handler for Landing {
    fn handle(&self, delivery: Delivery, heart: Heart) -> BoxFuture<'_, Outcome> {
        Box::pin(async move { self.message(&delivery, &heart).await })
    }

    /// A notification knows nothing of traces: the row of its upload does.
    fn begins_spans(&self) -> bool {
        true
    }
}

/// A name for people: the key's last part.
fn last_part(key: &str) -> String {
    let part = key.trim_end_matches('/').rsplit('/').next().unwrap_or(key);
    part.chars().filter(|c| !c.is_control()).take(NAME_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::last_part;

    #[test]
    fn a_name_is_the_last_part_without_control_characters() {
        assert_eq!(last_part("a/b/holiday 🎬.mp4"), "holiday 🎬.mp4");
        assert_eq!(last_part("a/b/"), "b");
        assert_eq!(last_part("x\n\u{7}y"), "xy");
        assert_eq!(last_part(&"z".repeat(900)).len(), 200);
    }
}
