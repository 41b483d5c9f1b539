//! Uploads through the API: reserved before a byte moves.
//!
//! Guarantee: tenant, owner and asset id of an upload come from its row alone. A request repeated with the same key
//! finds the same upload.

use reelfleet_messages::trace::TraceParent;
use reelfleet_messages::{AssetId, UploadId};

use crate::Step;
use crate::error::CatalogError;
use crate::statement::{Params, Row, Statement};
use crate::store::Catalog;

/// An upload's row.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Its id.
    pub id: UploadId,
    /// Whose it is.
    pub tenant: String,
    /// The user.
    pub owner: String,
    /// Reserved for what lands.
    pub asset: AssetId,
    /// Uploads bucket.
    pub bucket: String,
    /// Made by us, never by the client.
    pub key: String,
    /// For people.
    pub name: String,
    /// A hint; the probe decides.
    pub content_type: String,
    /// Bytes announced; what is signed and checked.
    pub size: i64,
    /// Bytes of each part but the last; none for a single PUT.
    pub part_size: Option<i64>,
    /// S3's id of the multipart upload.
    pub s3_upload_id: Option<String>,
    /// The client's own mark of the file, for resuming.
    pub fingerprint: Option<String>,
    /// The client's Idempotency-Key.
    pub request_key: Option<String>,
    /// `sha256`: every part brings its SHA-256; none: a client may leave it out.
    pub checksum: Option<String>,
    /// Of the request that made it: what lands goes on with that trace.
    pub traceparent: Option<TraceParent>,
    /// `open`, `completed`, `landed`, `aborted`.
    pub state: String,
    /// Epoch milliseconds.
    pub created_at: i64,
    /// Epoch milliseconds; after that it is aborted.
    pub expires_at: i64,
}

macro_rules! columns {
    () => {
        "id, tenant, owner, asset_id, bucket, object_key, name, content_type, size, part_size, s3_upload_id, fingerprint, \
         request_key, checksum, traceparent, state, created_at, expires_at"
    };
}

impl Catalog {
    /// Reserves an upload. `Conflict`: the request key is taken; read it with [`Catalog::upload_of_request`].
    pub async fn reserve_upload(&self, step: &Step, upload: &Upload) -> Result<(), CatalogError> {
        let (_, changed) = self
            .write(
                Statement::new(
                    "INSERT INTO upload (id, tenant, owner, asset_id, bucket, object_key, name, content_type, size, part_size, s3_upload_id, fingerprint, \
                     request_key, checksum, traceparent, state, op_id, created_at, updated_at, expires_at) VALUES (:id, :tenant, :owner, :asset, :bucket, :key, :name, :type, :size, \
                     :part_size, :s3_upload_id, :fingerprint, :request_key, :checksum, :traceparent, 'open', :op, :now, :now, :expires) ON CONFLICT DO NOTHING",
                )
                .text("id", upload.id.to_string())
                .text("tenant", &upload.tenant)
                .text("owner", &upload.owner)
                .text("asset", upload.asset.to_string())
                .text("bucket", &upload.bucket)
                .text("key", &upload.key)
                .text("name", &upload.name)
                .text("type", &upload.content_type)
                .int("size", upload.size)
                .with(
                    Params::new()
                        .opt_int("part_size", upload.part_size)
                        .opt_text("s3_upload_id", upload.s3_upload_id.as_deref())
                        .opt_text("fingerprint", upload.fingerprint.as_deref())
                        .opt_text("request_key", upload.request_key.as_deref())
                        .opt_text("checksum", upload.checksum.as_deref())
                        .opt_text("traceparent", upload.traceparent.as_ref().map(TraceParent::as_str)),
                )
                .text("op", &step.op)
                .int("now", step.now)
                .int("expires", upload.expires_at),
            )
            .await?;
        if changed == 1 || self.upload(&upload.id).await?.is_some() {
            Ok(())
        } else {
            Err(CatalogError::Conflict { what: "reserving an upload" })
        }
    }

    /// One upload.
    pub async fn upload(&self, id: &UploadId) -> Result<Option<Upload>, CatalogError> {
        let sql = concat!("SELECT ", columns!(), " FROM upload WHERE id = :id");
        self.one_upload(Statement::new(sql).text("id", id.to_string())).await
    }

    /// The upload whose object this is.
    pub async fn upload_of_object(&self, bucket: &str, key: &str) -> Result<Option<Upload>, CatalogError> {
        let sql = concat!("SELECT ", columns!(), " FROM upload WHERE bucket = :bucket AND object_key = :key");
        self.one_upload(Statement::new(sql).text("bucket", bucket).text("key", key)).await
    }

    /// The upload that a request with this Idempotency-Key made.
    pub async fn upload_of_request(
        &self,
        tenant: &str,
        owner: &str,
        request_key: &str,
    ) -> Result<Option<Upload>, CatalogError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM upload WHERE tenant = :tenant AND owner = :owner AND request_key = :request_key"
        );
        let statement =
            Statement::new(sql).text("tenant", tenant).text("owner", owner).text("request_key", request_key);
        self.one_upload(statement).await
    }

    async fn one_upload(&self, statement: Statement) -> Result<Option<Upload>, CatalogError> {
        self.read(statement).await?.first().map(upload_from).transpose()
    }

    /// Unfinished uploads of a user, newest first: any device may go on.
    pub async fn open_uploads(&self, tenant: &str, owner: &str, limit: i64) -> Result<Vec<Upload>, CatalogError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM upload WHERE tenant = :tenant AND owner = :owner AND state = 'open' ORDER BY id DESC LIMIT :limit"
        );
        let statement = Statement::new(sql).text("tenant", tenant).text("owner", owner).int("limit", limit);
        self.read(statement).await?.iter().map(upload_from).collect()
    }

    /// Uploads that nobody finished in time.
    pub async fn expired_uploads(&self, now: i64, limit: i64) -> Result<Vec<Upload>, CatalogError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM upload WHERE state = 'open' AND expires_at < :now ORDER BY expires_at LIMIT :limit"
        );
        self.read(Statement::new(sql).int("now", now).int("limit", limit)).await?.iter().map(upload_from).collect()
    }

    /// Ends an open upload; `false` if it had ended before.
    pub async fn close_upload(&self, step: &Step, id: &UploadId, state: &'static str) -> Result<bool, CatalogError> {
        let (_, changed) = self
            .write(
                Statement::new("UPDATE upload SET state = :state, op_id = :op, updated_at = :now WHERE id = :id AND state = 'open'")
                    .text("state", state)
                    .text("op", &step.op)
                    .int("now", step.now)
                    .text("id", id.to_string()),
            )
            .await?;
        Ok(changed == 1)
    }
}

fn upload_from(row: &Row) -> Result<Upload, CatalogError> {
    Ok(Upload {
        id: row.parsed(0, "an upload's id")?,
        tenant: row.text(1)?,
        owner: row.text(2)?,
        asset: row.parsed(3, "an asset's id")?,
        bucket: row.text(4)?,
        key: row.text(5)?,
        name: row.text(6)?,
        content_type: row.text(7)?,
        size: row.int(8)?,
        part_size: row.opt_int(9)?,
        s3_upload_id: row.opt_text(10)?,
        fingerprint: row.opt_text(11)?,
        request_key: row.opt_text(12)?,
        checksum: row.opt_text(13)?,
        // One that can't be read is none: what lands begins a trace of its own.
        traceparent: row.opt_text(14)?.and_then(|text| text.try_into().ok()),
        state: row.text(15)?,
        created_at: row.int(16)?,
        expires_at: row.int(17)?,
    })
}
