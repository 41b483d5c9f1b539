//! S3: the protocol by s3s, the store by us.
//!
//! Guarantee: an object is there whole or not at all, its events are in their queues in the same commit, and an answer
//! `200` means that both are on disk. This module is the table of operations; each does its work in the module of its
//! subject.

mod blob_stream;
mod blobs;
mod buckets;
mod completion;
mod copies;
mod deletes;
pub(crate) mod digest;
mod error;
mod events;
mod lifecycle;
mod listings;
mod multipart;
mod objects;
mod reads;
mod rows;
mod schema;
mod store;
mod tagging;
#[cfg(test)]
mod tests;
mod walk;

use std::sync::Arc;

use s3s::{S3, S3ErrorCode, S3Request, S3Response, S3Result, dto::*};

use self::buckets::kind;
pub(crate) use self::{buckets::cors_rules, error::Fault, lifecycle::run as upkeep, schema::migrate, store::Store};

/// What s3s calls: the store behind an `Arc`, so that a request may hand it to a database write.
#[derive(Clone)]
pub(crate) struct Service(pub(crate) Arc<Store>);

/// Operations that are one call of a function elsewhere.
macro_rules! operations {
    ($($name:ident($input:ident) -> $output:ident = $path:path;)*) => {
        $(
            fn $name<'s, 'f>(
                &'s self,
                req: S3Request<$input>,
            ) -> ::std::pin::Pin<Box<dyn Future<Output = S3Result<S3Response<$output>>> + Send + 'f>>
            where
                's: 'f,
                Self: 'f,
            {
                Box::pin($path(&self.0, req))
            }
        )*
    };
}

fn no_content<T>(output: T) -> S3Result<S3Response<T>> {
    Ok(S3Response::with_status(output, http::StatusCode::NO_CONTENT))
}

fn not_found(code: S3ErrorCode, message: &'static str) -> Fault {
    let mut fault = Fault::new(code, message);
    fault.0.set_status_code(http::StatusCode::NOT_FOUND);
    fault
}

#[async_trait::async_trait]
impl S3 for Service {
    operations! {
        create_bucket(CreateBucketInput) -> CreateBucketOutput = buckets::create;
        delete_bucket(DeleteBucketInput) -> DeleteBucketOutput = buckets::delete;
        head_bucket(HeadBucketInput) -> HeadBucketOutput = buckets::head;
        list_buckets(ListBucketsInput) -> ListBucketsOutput = buckets::list;
        get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput = buckets::location;
        put_bucket_versioning(PutBucketVersioningInput) -> PutBucketVersioningOutput = buckets::put_versioning;
        get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput = buckets::get_versioning;
        put_bucket_notification_configuration(PutBucketNotificationConfigurationInput)
            -> PutBucketNotificationConfigurationOutput = buckets::put_notification;
        get_bucket_notification_configuration(GetBucketNotificationConfigurationInput)
            -> GetBucketNotificationConfigurationOutput = buckets::get_notification;
        put_bucket_ownership_controls(PutBucketOwnershipControlsInput)
            -> PutBucketOwnershipControlsOutput = buckets::put_ownership;
        get_bucket_ownership_controls(GetBucketOwnershipControlsInput)
            -> GetBucketOwnershipControlsOutput = buckets::get_ownership;
        get_object(GetObjectInput) -> GetObjectOutput = reads::get;
        head_object(HeadObjectInput) -> HeadObjectOutput = reads::head;
        delete_object(DeleteObjectInput) -> DeleteObjectOutput = deletes::delete;
        delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput = deletes::delete_many;
        copy_object(CopyObjectInput) -> CopyObjectOutput = copies::copy;
        get_object_tagging(GetObjectTaggingInput) -> GetObjectTaggingOutput = tagging::get;
        put_object_tagging(PutObjectTaggingInput) -> PutObjectTaggingOutput = tagging::put;
        delete_object_tagging(DeleteObjectTaggingInput) -> DeleteObjectTaggingOutput = tagging::delete;
        create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput = multipart::create;
        upload_part(UploadPartInput) -> UploadPartOutput = multipart::upload_part;
        upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput = multipart::upload_part_copy;
        complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput = completion::complete;
        abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput = multipart::abort;
        list_parts(ListPartsInput) -> ListPartsOutput = multipart::list_parts;
        list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput = listings::uploads;
        list_objects(ListObjectsInput) -> ListObjectsOutput = listings::objects_v1;
        list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output = listings::objects_v2;
        list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput = listings::versions;
    }

    /// Browser forms come here too, by s3s's `post_object`.
    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        if req.method != http::Method::POST {
            return objects::put(&self.0, req, "ObjectCreated:Put").await;
        }
        // s3s knows no region of a form that was signed by SigV2.
        if req.credentials.is_none() || req.region.is_none() {
            let message = "Forms must be signed with Signature Version 4 (AWS4-HMAC-SHA256).";
            return Err(Fault::new(S3ErrorCode::AccessDenied, message).into());
        }
        objects::put(&self.0, req, "ObjectCreated:Post").await
    }

    async fn put_bucket_cors(&self, req: S3Request<PutBucketCorsInput>) -> S3Result<S3Response<PutBucketCorsOutput>> {
        let methods = req.input.cors_configuration.cors_rules.iter().flat_map(|rule| &rule.allowed_methods);
        for method in methods {
            if !["GET", "PUT", "HEAD", "POST", "DELETE"].contains(&method.as_str()) {
                let message = format!("Found unsupported HTTP method in CORS config. Unsupported method is {method}");
                return Err(Fault::new(S3ErrorCode::InvalidRequest, message).into());
            }
        }
        self.0.put_config(req.input.bucket, kind::CORS, req.input.cors_configuration).await?;
        Ok(S3Response::new(PutBucketCorsOutput {}))
    }

    async fn get_bucket_cors(&self, req: S3Request<GetBucketCorsInput>) -> S3Result<S3Response<GetBucketCorsOutput>> {
        let absent = || not_found(S3ErrorCode::NoSuchCORSConfiguration, "The CORS configuration does not exist");
        let config: CORSConfiguration = self.0.need_config(req.input.bucket, kind::CORS, absent).await?;
        Ok(S3Response::new(GetBucketCorsOutput { cors_rules: Some(config.cors_rules) }))
    }

    async fn delete_bucket_cors(
        &self,
        req: S3Request<DeleteBucketCorsInput>,
    ) -> S3Result<S3Response<DeleteBucketCorsOutput>> {
        self.0.delete_config(req.input.bucket, kind::CORS).await?;
        no_content(DeleteBucketCorsOutput {})
    }

    async fn put_bucket_lifecycle_configuration(
        &self,
        req: S3Request<PutBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<PutBucketLifecycleConfigurationOutput>> {
        let input = req.input;
        let mut config = input.lifecycle_configuration.ok_or_else(Fault::malformed_xml)?;
        for rule in &mut config.rules {
            rule.id.get_or_insert_with(|| self.0.state.ids.uuid());
        }
        let size = input.transition_default_minimum_object_size;
        let size = size.map_or_else(|| "all_storage_classes_128K".to_owned(), |size| size.as_str().to_owned());
        self.0.put_config(input.bucket.clone(), kind::LIFECYCLE, config).await?;
        self.0.put_config(input.bucket, kind::TRANSITION, size.clone()).await?;
        let output =
            PutBucketLifecycleConfigurationOutput { transition_default_minimum_object_size: Some(size.into()) };
        Ok(S3Response::new(output))
    }

    async fn get_bucket_lifecycle_configuration(
        &self,
        req: S3Request<GetBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<GetBucketLifecycleConfigurationOutput>> {
        let bucket = req.input.bucket;
        let absent =
            || not_found(S3ErrorCode::NoSuchLifecycleConfiguration, "The lifecycle configuration does not exist");
        let config: BucketLifecycleConfiguration = self.0.need_config(bucket.clone(), kind::LIFECYCLE, absent).await?;
        let size: Option<String> = self.0.get_config(bucket, kind::TRANSITION).await?;
        Ok(S3Response::new(GetBucketLifecycleConfigurationOutput {
            rules: Some(config.rules),
            transition_default_minimum_object_size: size.map(Into::into),
        }))
    }

    async fn delete_bucket_lifecycle(
        &self,
        req: S3Request<DeleteBucketLifecycleInput>,
    ) -> S3Result<S3Response<DeleteBucketLifecycleOutput>> {
        self.0.delete_config(req.input.bucket, kind::LIFECYCLE).await?;
        no_content(DeleteBucketLifecycleOutput {})
    }

    async fn put_bucket_policy(
        &self,
        req: S3Request<PutBucketPolicyInput>,
    ) -> S3Result<S3Response<PutBucketPolicyOutput>> {
        buckets::check_policy(&req.input.policy)?;
        self.0.put_config(req.input.bucket, kind::POLICY, req.input.policy).await?;
        no_content(PutBucketPolicyOutput {})
    }

    async fn get_bucket_policy(
        &self,
        req: S3Request<GetBucketPolicyInput>,
    ) -> S3Result<S3Response<GetBucketPolicyOutput>> {
        let absent = || not_found(S3ErrorCode::NoSuchBucketPolicy, "The bucket policy does not exist");
        let policy: String = self.0.need_config(req.input.bucket, kind::POLICY, absent).await?;
        Ok(S3Response::new(GetBucketPolicyOutput { policy: Some(policy) }))
    }

    async fn get_bucket_policy_status(
        &self,
        req: S3Request<GetBucketPolicyStatusInput>,
    ) -> S3Result<S3Response<GetBucketPolicyStatusOutput>> {
        let absent = || not_found(S3ErrorCode::NoSuchBucketPolicy, "The bucket policy does not exist");
        let _: String = self.0.need_config(req.input.bucket, kind::POLICY, absent).await?;
        // Policies are kept, not acted on: nothing is public here.
        let policy_status = Some(PolicyStatus { is_public: Some(false) });
        Ok(S3Response::new(GetBucketPolicyStatusOutput { policy_status }))
    }

    async fn delete_bucket_policy(
        &self,
        req: S3Request<DeleteBucketPolicyInput>,
    ) -> S3Result<S3Response<DeleteBucketPolicyOutput>> {
        self.0.delete_config(req.input.bucket, kind::POLICY).await?;
        no_content(DeleteBucketPolicyOutput {})
    }

    async fn put_bucket_encryption(
        &self,
        req: S3Request<PutBucketEncryptionInput>,
    ) -> S3Result<S3Response<PutBucketEncryptionOutput>> {
        let config = req.input.server_side_encryption_configuration;
        self.0.put_config(req.input.bucket, kind::ENCRYPTION, config).await?;
        Ok(S3Response::new(PutBucketEncryptionOutput {}))
    }

    async fn get_bucket_encryption(
        &self,
        req: S3Request<GetBucketEncryptionInput>,
    ) -> S3Result<S3Response<GetBucketEncryptionOutput>> {
        let absent = || {
            not_found(
                S3ErrorCode::ServerSideEncryptionConfigurationNotFoundError,
                "The server side encryption configuration was not found",
            )
        };
        let config = self.0.need_config(req.input.bucket, kind::ENCRYPTION, absent).await?;
        Ok(S3Response::new(GetBucketEncryptionOutput { server_side_encryption_configuration: Some(config) }))
    }

    async fn delete_bucket_encryption(
        &self,
        req: S3Request<DeleteBucketEncryptionInput>,
    ) -> S3Result<S3Response<DeleteBucketEncryptionOutput>> {
        self.0.delete_config(req.input.bucket, kind::ENCRYPTION).await?;
        no_content(DeleteBucketEncryptionOutput {})
    }

    async fn put_public_access_block(
        &self,
        req: S3Request<PutPublicAccessBlockInput>,
    ) -> S3Result<S3Response<PutPublicAccessBlockOutput>> {
        let config = req.input.public_access_block_configuration;
        self.0.put_config(req.input.bucket, kind::PUBLIC_ACCESS, config).await?;
        Ok(S3Response::new(PutPublicAccessBlockOutput {}))
    }

    async fn get_public_access_block(
        &self,
        req: S3Request<GetPublicAccessBlockInput>,
    ) -> S3Result<S3Response<GetPublicAccessBlockOutput>> {
        let absent = || {
            Fault::custom(
                "NoSuchPublicAccessBlockConfiguration",
                http::StatusCode::NOT_FOUND,
                "The public access block configuration was not found",
            )
        };
        let config = self.0.need_config(req.input.bucket, kind::PUBLIC_ACCESS, absent).await?;
        Ok(S3Response::new(GetPublicAccessBlockOutput { public_access_block_configuration: Some(config) }))
    }

    async fn delete_public_access_block(
        &self,
        req: S3Request<DeletePublicAccessBlockInput>,
    ) -> S3Result<S3Response<DeletePublicAccessBlockOutput>> {
        self.0.delete_config(req.input.bucket, kind::PUBLIC_ACCESS).await?;
        no_content(DeletePublicAccessBlockOutput {})
    }

    async fn delete_bucket_ownership_controls(
        &self,
        req: S3Request<DeleteBucketOwnershipControlsInput>,
    ) -> S3Result<S3Response<DeleteBucketOwnershipControlsOutput>> {
        self.0.delete_config(req.input.bucket, kind::OWNERSHIP).await?;
        no_content(DeleteBucketOwnershipControlsOutput {})
    }

    async fn put_bucket_tagging(
        &self,
        req: S3Request<PutBucketTaggingInput>,
    ) -> S3Result<S3Response<PutBucketTaggingOutput>> {
        self.0.put_config(req.input.bucket, kind::TAGGING, req.input.tagging).await?;
        no_content(PutBucketTaggingOutput {})
    }

    async fn get_bucket_tagging(
        &self,
        req: S3Request<GetBucketTaggingInput>,
    ) -> S3Result<S3Response<GetBucketTaggingOutput>> {
        let absent = || not_found(S3ErrorCode::NoSuchTagSet, "The TagSet does not exist");
        let tagging: Tagging = self.0.need_config(req.input.bucket, kind::TAGGING, absent).await?;
        Ok(S3Response::new(GetBucketTaggingOutput { tag_set: tagging.tag_set }))
    }

    async fn delete_bucket_tagging(
        &self,
        req: S3Request<DeleteBucketTaggingInput>,
    ) -> S3Result<S3Response<DeleteBucketTaggingOutput>> {
        self.0.delete_config(req.input.bucket, kind::TAGGING).await?;
        no_content(DeleteBucketTaggingOutput {})
    }

    // Below: what a bucket answers that has never been configured in these respects, because it cannot be.

    async fn get_bucket_acl(&self, req: S3Request<GetBucketAclInput>) -> S3Result<S3Response<GetBucketAclOutput>> {
        self.0.bucket(&req.input.bucket).await?;
        let output = GetBucketAclOutput { grants: Some(self.0.owner_grants()), owner: Some(self.0.owner()) };
        Ok(S3Response::new(output))
    }

    async fn get_bucket_website(
        &self,
        req: S3Request<GetBucketWebsiteInput>,
    ) -> S3Result<S3Response<GetBucketWebsiteOutput>> {
        self.0.bucket(&req.input.bucket).await?;
        let message = "The specified bucket does not have a website configuration";
        Err(not_found(S3ErrorCode::NoSuchWebsiteConfiguration, message).into())
    }

    async fn get_bucket_logging(
        &self,
        req: S3Request<GetBucketLoggingInput>,
    ) -> S3Result<S3Response<GetBucketLoggingOutput>> {
        self.0.bucket(&req.input.bucket).await?;
        Ok(S3Response::new(GetBucketLoggingOutput { logging_enabled: None }))
    }

    async fn get_bucket_replication(
        &self,
        req: S3Request<GetBucketReplicationInput>,
    ) -> S3Result<S3Response<GetBucketReplicationOutput>> {
        self.0.bucket(&req.input.bucket).await?;
        let message = "The replication configuration was not found";
        Err(not_found(S3ErrorCode::ReplicationConfigurationNotFoundError, message).into())
    }

    async fn get_bucket_request_payment(
        &self,
        req: S3Request<GetBucketRequestPaymentInput>,
    ) -> S3Result<S3Response<GetBucketRequestPaymentOutput>> {
        self.0.bucket(&req.input.bucket).await?;
        let payer = Some(Payer::from_static(Payer::BUCKET_OWNER));
        Ok(S3Response::new(GetBucketRequestPaymentOutput { payer }))
    }

    async fn get_bucket_accelerate_configuration(
        &self,
        req: S3Request<GetBucketAccelerateConfigurationInput>,
    ) -> S3Result<S3Response<GetBucketAccelerateConfigurationOutput>> {
        self.0.bucket(&req.input.bucket).await?;
        Ok(S3Response::new(GetBucketAccelerateConfigurationOutput::default()))
    }

    async fn get_object_lock_configuration(
        &self,
        req: S3Request<GetObjectLockConfigurationInput>,
    ) -> S3Result<S3Response<GetObjectLockConfigurationOutput>> {
        self.0.bucket(&req.input.bucket).await?;
        let message = "Object Lock configuration does not exist for this bucket";
        Err(not_found(S3ErrorCode::ObjectLockConfigurationNotFoundError, message).into())
    }
}
