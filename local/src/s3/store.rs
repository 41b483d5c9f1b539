//! The object store that the operations share: database, blobs, counters.

use std::{path::Path, sync::Arc};

use s3s::dto::{Grant, Grantee, Owner, Permission, Type};

use super::{blobs::Blobs, error::Fault, multipart, rows};
use crate::{db::DbError, state::Endpoint, stats::Stats};

/// The object store.
pub(crate) struct Store {
    pub(super) state: Arc<Endpoint>,
    pub(super) blobs: Arc<Blobs>,
    pub(super) stats: Arc<Stats>,
}

impl Store {
    /// Opens the store and deletes the blobs that a crash left without a row, also on a disk that is full: there this
    /// may be what makes room. `reserve` are bytes that stay free.
    pub(crate) async fn open(
        state: Arc<Endpoint>,
        stats: Arc<Stats>,
        folder: &Path,
        reserve: u64,
    ) -> std::io::Result<Arc<Self>> {
        let blobs = Arc::new(Blobs::open(folder.join("blobs"), reserve)?);
        let files = Arc::clone(&blobs);
        let swept = state.db.read(move |conn| {
            let swept = files.sweep(|blob| rows::is_named(conn, blob).map_err(std::io::Error::other));
            swept.map_err(Fault::io)
        });
        let swept = swept.await.map_err(|fault| std::io::Error::other(fault.0))?;
        // What these rows name is deleted by now. The collector deletes them too, if there is no room for it now.
        let forgotten = state.db.write(|tx| Ok::<_, DbError>(tx.execute("DELETE FROM garbage", [])?));
        match forgotten.await {
            Err(error) if error.is_full() => tracing::warn!(%error, "the endpoint can only be read from"),
            forgotten => drop(forgotten.map_err(std::io::Error::other)?),
        }
        if swept > 0 {
            tracing::info!(blobs = swept, "deleted blobs that no object names");
        }
        Ok(Arc::new(Self { state, blobs, stats }))
    }

    pub(super) fn owner(&self) -> Owner {
        Owner { id: Some(self.state.account_id.clone()), display_name: Some("local".to_owned()) }
    }

    /// The bucket, or NoSuchBucket, before work is done for it.
    pub(super) async fn bucket(&self, name: &str) -> Result<rows::BucketRow, Fault> {
        let name = name.to_owned();
        self.state.db.read(move |conn| rows::bucket(conn, &name)).await
    }

    pub(super) async fn find_upload(&self, bucket: &str, key: &str, id: &str) -> Result<multipart::UploadRow, Fault> {
        let (bucket, key, id) = (bucket.to_owned(), key.to_owned(), id.to_owned());
        let read = self.state.db.read(move |conn| {
            rows::bucket(conn, &bucket)?;
            multipart::upload(conn, &bucket, &key, &id)
        });
        read.await
    }

    pub(super) fn owner_grants(&self) -> Vec<Grant> {
        vec![Grant {
            grantee: Some(Grantee {
                id: self.owner().id,
                display_name: self.owner().display_name,
                type_: Type::from_static(Type::CANONICAL_USER),
                email_address: None,
                uri: None,
            }),
            permission: Some(Permission::from_static(Permission::FULL_CONTROL)),
        }]
    }
}
