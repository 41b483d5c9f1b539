//! Uploads that nobody finished.
//!
//! Guarantee: an upload through the API ends at its expiry, with its parts; a multipart upload that somebody else began
//! is aborted after some days, unless it belongs to an upload that is still open. Completing at the same moment either
//! wins, and the object is processed, or is told that the upload is gone.

use std::collections::BTreeSet;
use std::time::Duration;

use reelfleet_catalog::uploads::Upload;
use reelfleet_objects::{Multipart, ObjectError, OpenUpload, head};

use crate::{Janitor, passed_over};

/// Uploads of one round.
const PAGE: i64 = 100;

impl Janitor {
    /// Answers how many uploads were closed.
    pub(crate) async fn sweep_uploads(&self) -> anyhow::Result<u64> {
        let expired = self.catalog.expired_uploads(self.context.clock.now_ms(), PAGE).await?;
        let mut count = 0;
        for upload in expired {
            self.beat.tick();
            match self.close(&upload).await {
                Ok(true) => count += 1,
                Ok(false) => {}
                Err(error) => passed_over("uploads", &upload.id.to_string(), format_args!("{error:#}")),
            }
        }
        Ok(count)
    }

    /// The parts go first: an upload that can't be aborted stays open and is found again.
    async fn close(&self, upload: &Upload) -> anyhow::Result<bool> {
        if let Some(id) = &upload.s3_upload_id {
            let multipart = Multipart::new(self.context.clients.s3.clone(), &upload.bucket);
            aborted(multipart.abort(&upload.key, id).await)?;
        }
        // It arrived in time, and its notification is still on its way: it lands, and the upload with it.
        match head(&self.context.clients.s3, &upload.bucket, &upload.key, None).await {
            Ok(_) => return Ok(false),
            Err(ObjectError::Gone { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.catalog.close_upload(&self.context.step(), &upload.id, "aborted").await?)
    }

    /// Answers how many multipart uploads were aborted.
    pub(crate) async fn sweep_multiparts(&self) -> anyhow::Result<u64> {
        let config = &self.context.config;
        let mut buckets: BTreeSet<&str> = config.uploads.iter().map(|route| route.bucket.as_str()).collect();
        buckets.insert(&config.outputs_bucket);
        let mut count = 0;
        for bucket in buckets {
            self.beat.tick();
            match self.sweep_bucket(bucket).await {
                Ok(aborted) => count += aborted,
                Err(error) => passed_over("multiparts", bucket, format_args!("{error:#}")),
            }
        }
        Ok(count)
    }

    async fn sweep_bucket(&self, bucket: &str) -> anyhow::Result<u64> {
        let multipart = Multipart::new(self.context.clients.s3.clone(), bucket);
        let before = self.before(Duration::from_secs(u64::from(self.options.multipart_days) * 86_400));
        let open = multipart.open_uploads("").await?;
        let mut count = 0;
        for upload in open.into_iter().filter(|upload| is_old(upload, before)) {
            self.beat.tick();
            let ours = self.catalog.upload_of_object(bucket, &upload.key).await?;
            let awaited = ours.is_some_and(|ours| {
                ours.state == "open" && ours.s3_upload_id.as_deref() == Some(upload.upload_id.as_str())
            });
            if awaited {
                continue;
            }
            match aborted(multipart.abort(&upload.key, &upload.upload_id).await) {
                Ok(()) => count += 1,
                Err(error) => passed_over("multiparts", &upload.key, error),
            }
        }
        Ok(count)
    }
}

/// Without a date of its own an upload is never old.
fn is_old(upload: &OpenUpload, before: i64) -> bool {
    upload.initiated_ms > 0 && upload.initiated_ms < before
}

/// One that is gone already counts as aborted.
fn aborted(answer: Result<(), ObjectError>) -> Result<(), ObjectError> {
    match answer {
        Err(ObjectError::NoUpload { .. }) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certainly_old_is_aborted() {
        let upload = |initiated_ms| OpenUpload { key: "k".into(), upload_id: "u".into(), initiated_ms };
        assert!(is_old(&upload(1), 10));
        assert!(!is_old(&upload(10), 10));
        assert!(!is_old(&upload(0), 10), "the service did not say");
        let gone = ObjectError::NoUpload { bucket: "b".into(), key: "k".into() };
        assert_eq!(aborted(Err(gone)), Ok(()));
    }
}
