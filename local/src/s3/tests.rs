//! The store without HTTP, on a clock that the test sets: lifecycle, garbage, reads that race overwrites.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::SeqCst},
};

use bytes::Bytes;
use futures::StreamExt as _;
use s3s::{S3Request, dto::*};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{Store, buckets, completion, deletes, lifecycle, listings, multipart, objects, reads, rows};
use crate::{
    db::{Db, DbError},
    faults::Faults,
    sns, sqs,
    state::{Clock, Endpoint, Ids, QueueWakes},
    stats::Stats,
};

const DAY_MS: i64 = 24 * 3_600_000;
/// A midnight.
const START: i64 = 20_000 * DAY_MS;

struct World {
    store: Arc<Store>,
    now: Arc<AtomicI64>,
    folder: TempDir,
}

fn request<T>(input: T) -> S3Request<T> {
    S3Request {
        input,
        method: http::Method::GET,
        uri: http::Uri::from_static("/"),
        headers: http::HeaderMap::new(),
        extensions: http::Extensions::new(),
        credentials: None,
        region: None,
        service: None,
        trailing_headers: None,
    }
}

async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicI64::new(START));
    let clock = Arc::clone(&now);
    let wakes = Arc::new(QueueWakes::default());
    let db = Db::open(&folder.path().join("local.sqlite"), Arc::clone(&wakes), |conn| {
        super::migrate(conn)?;
        sqs::migrate(conn)?;
        sns::migrate(conn)?;
        Ok::<_, DbError>(())
    });
    let state = Arc::new(Endpoint {
        db: db.unwrap(),
        clock: Clock::from_fn(move || clock.load(SeqCst)),
        ids: Ids,
        region: "us-east-1".into(),
        account_id: "000000000000".into(),
        base_url: "http://127.0.0.1:1".into(),
        wakes,
        shutdown: CancellationToken::new(),
        faults: Faults::default(),
    });
    let store = Store::open(state, Arc::new(Stats::default()), folder.path(), 0).await.unwrap();
    let made = CreateBucketInput { bucket: "b".into(), ..Default::default() };
    buckets::create(&store, request(made)).await.unwrap();
    World { store, now, folder }
}

impl World {
    async fn put(&self, key: &str, body: &'static [u8]) {
        let body = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(body))]);
        let input = PutObjectInput {
            bucket: "b".into(),
            key: key.into(),
            body: Some(StreamingBlob::wrap(body)),
            ..Default::default()
        };
        objects::put(&self.store, request(input), "ObjectCreated:Put").await.unwrap();
    }

    async fn get(&self, key: &str) -> Option<StreamingBlob> {
        let input = GetObjectInput { bucket: "b".into(), key: key.into(), ..Default::default() };
        Some(reads::get(&self.store, request(input)).await.ok()?.output.body.unwrap())
    }

    async fn versions(&self) -> Vec<(String, bool)> {
        let input = ListObjectVersionsInput { bucket: "b".into(), ..Default::default() };
        let found = listings::versions(&self.store, request(input)).await.unwrap().output;
        let versions = found.versions.into_iter().flatten().map(|v| (v.key.unwrap(), false));
        let markers = found.delete_markers.into_iter().flatten().map(|m| (m.key.unwrap(), true));
        versions.chain(markers).collect()
    }

    async fn rule(&self, rule: serde_json::Value) {
        let config: BucketLifecycleConfiguration =
            serde_json::from_value(serde_json::json!({"rules": [rule]})).unwrap();
        self.store.put_config("b".into(), buckets::kind::LIFECYCLE, config).await.unwrap();
    }

    async fn version(&self, status: &'static str) {
        let input = PutBucketVersioningInput {
            bucket: "b".into(),
            versioning_configuration: VersioningConfiguration {
                status: Some(BucketVersioningStatus::from_static(status)),
                ..Default::default()
            },
            checksum_algorithm: None,
            content_md5: None,
            expected_bucket_owner: None,
            mfa: None,
        };
        buckets::put_versioning(&self.store, request(input)).await.unwrap();
    }

    async fn upkeep_at(&self, now: i64) {
        self.now.store(now, SeqCst);
        lifecycle::expire_all(&self.store).await.unwrap();
        self.now.fetch_add(60_000, SeqCst);
        lifecycle::collect_garbage(&self.store).await.unwrap();
    }

    fn blobs(&self) -> usize {
        let folders = std::fs::read_dir(self.folder.path().join("blobs")).unwrap();
        folders.map(|f| std::fs::read_dir(f.unwrap().path()).unwrap().count()).sum()
    }
}

async fn bytes(body: StreamingBlob) -> Vec<u8> {
    let pieces: Vec<Bytes> = body.map(|piece| piece.unwrap()).collect().await;
    pieces.concat()
}

#[tokio::test]
async fn a_read_that_races_an_overwrite_gets_the_old_bytes() {
    let world = world().await;
    world.put("a", b"old").await;
    let old = world.get("a").await.unwrap();
    world.put("a", b"new").await;
    world.upkeep_at(START + 2 * 60_000).await;
    assert_eq!(world.blobs(), 2, "the old blob is being read");
    assert_eq!(bytes(old).await, b"old");
    world.upkeep_at(START + 4 * 60_000).await;
    assert_eq!(world.blobs(), 1);
    assert_eq!(bytes(world.get("a").await.unwrap()).await, b"new");
}

#[tokio::test]
async fn objects_expire_at_the_midnight_after_their_days() {
    let world = world().await;
    world.rule(serde_json::json!({"status": "Enabled", "filter": {"prefix": "tmp/"}, "expiration": {"days": 1}})).await;
    world.now.store(START + 1, SeqCst);
    world.put("tmp/a", b"1").await;
    world.put("kept", b"2").await;
    world.upkeep_at(START + 2 * DAY_MS - 120_000).await;
    assert!(world.get("tmp/a").await.is_some());
    world.upkeep_at(START + 2 * DAY_MS).await;
    assert!(world.get("tmp/a").await.is_none());
    assert!(world.get("kept").await.is_some());
    world.upkeep_at(START + 2 * DAY_MS + 120_000).await;
    assert_eq!(world.blobs(), 1);
}

#[tokio::test]
async fn with_versioning_a_marker_comes_and_what_is_noncurrent_goes() {
    let world = world().await;
    world.version(BucketVersioningStatus::ENABLED).await;
    world
        .rule(serde_json::json!({"status": "Enabled", "filter": {}, "expiration": {"days": 1},
            "noncurrent_version_expiration": {"noncurrent_days": 3}}))
        .await;
    world.put("a", b"1").await;
    world.upkeep_at(START + DAY_MS).await;
    assert!(world.get("a").await.is_none());
    assert_eq!(world.versions().await, [("a".to_owned(), false), ("a".to_owned(), true)]);
    world.upkeep_at(START + 5 * DAY_MS).await;
    assert_eq!(world.versions().await, [("a".to_owned(), true)]);
    world
        .rule(serde_json::json!({"status": "Enabled", "filter": {},
            "expiration": {"expired_object_delete_marker": true}}))
        .await;
    world.upkeep_at(START + 6 * DAY_MS).await;
    assert_eq!(world.versions().await, []);
    assert_eq!(world.blobs(), 0);
}

#[tokio::test]
async fn stale_uploads_end_with_their_parts() {
    let world = world().await;
    let rule = serde_json::json!({"status": "Enabled", "filter": {},
        "abort_incomplete_multipart_upload": {"days_after_initiation": 2}});
    world.rule(rule).await;
    let input = CreateMultipartUploadInput { bucket: "b".into(), key: "m".into(), ..Default::default() };
    let upload = multipart::create(&world.store, request(input)).await.unwrap().output.upload_id.unwrap();
    let body = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"part"))]);
    let input = UploadPartInput {
        bucket: "b".into(),
        key: "m".into(),
        upload_id: upload.clone(),
        part_number: 1,
        body: Some(StreamingBlob::wrap(body)),
        ..Default::default()
    };
    let etag = multipart::upload_part(&world.store, request(input)).await.unwrap().output.e_tag;
    world.upkeep_at(START + DAY_MS).await;
    assert_eq!(world.blobs(), 1);
    world.upkeep_at(START + 2 * DAY_MS).await;
    assert_eq!(world.blobs(), 0);
    let part = CompletedPart { part_number: Some(1), e_tag: etag, ..Default::default() };
    let input = CompleteMultipartUploadInput {
        bucket: "b".into(),
        key: "m".into(),
        upload_id: upload,
        multipart_upload: Some(CompletedMultipartUpload { parts: Some(vec![part]) }),
        ..Default::default()
    };
    let refused = completion::complete(&world.store, request(input)).await.unwrap_err();
    assert_eq!(refused.code().as_str(), "NoSuchUpload");
}

#[tokio::test]
async fn deletion_leaves_no_file_and_no_row() {
    let world = world().await;
    world.put("a", b"1").await;
    let input = DeleteObjectInput { bucket: "b".into(), key: "a".into(), ..Default::default() };
    deletes::delete(&world.store, request(input)).await.unwrap();
    world.upkeep_at(START + 1).await;
    assert_eq!(world.blobs(), 0);
    let left = world.store.state.db.read(|conn| {
        let sql =
            "SELECT (SELECT count(*) FROM object) + (SELECT count(*) FROM piece) + (SELECT count(*) FROM garbage)";
        Ok::<i64, super::Fault>(conn.query_row(sql, [], |row| row.get(0))?)
    });
    assert_eq!(left.await.unwrap(), 0);
    let bucket = world.store.state.db.read(|conn| rows::bucket(conn, "b")).await.unwrap();
    assert_eq!(bucket.versioning, rows::Versioning::Never);
}
