//! What a tenant has, counted.

use reelfleet_catalog::Catalog;
use reelfleet_catalog::uploads::Upload;
use reelfleet_catalog::usage::Usage;
use reelfleet_messages::{AssetId, UploadId};

use crate::story::{NOW, id, land, step};

/// All of it.
pub async fn tell(catalog: &Catalog) {
    let nobody = catalog.usage(NOW, "nobody", NOW - 1).await.unwrap();
    assert_eq!(nobody, Usage { bytes: 0, recent: 0 });
    let before = catalog.usage(NOW, "default", NOW - 1).await.unwrap();
    let asset = AssetId::from_uuid(id());
    let landed = land(catalog, "usage/film", None, asset).await;
    let after = catalog.usage(NOW, "default", NOW - 1).await.unwrap();
    assert_eq!(after, Usage { bytes: before.bytes + 10, recent: before.recent + 1 }, "ten bytes");
    assert_eq!(catalog.usage(NOW, "default", NOW).await.unwrap().bytes, after.bytes, "whenever it landed");
    assert_eq!(catalog.usage(NOW, "default", NOW).await.unwrap().recent, 0, "not of late");

    let row = catalog.asset(&landed.asset).await.unwrap().unwrap();
    let own = catalog.usage_before("default", &row.id, row.landed_at, NOW - 1).await.unwrap();
    let later = AssetId::from_uuid(id());
    land(catalog, "usage/later", None, later).await;
    assert_eq!(catalog.usage_before("default", &row.id, row.landed_at, NOW - 1).await.unwrap(), own, "what came later");
    let next = catalog.usage_before("default", &later, row.landed_at, NOW - 1).await.unwrap();
    assert_eq!((next.bytes, next.recent), (own.bytes + 10, own.recent + 1));

    let upload = |key: &str| Upload {
        id: UploadId::from_uuid(id()),
        tenant: "reserves".into(),
        owner: "ann".into(),
        asset: AssetId::from_uuid(id()),
        bucket: "up".into(),
        key: key.into(),
        name: "film".into(),
        content_type: "video/mp4".into(),
        size: 7,
        part_size: None,
        s3_upload_id: None,
        fingerprint: None,
        request_key: None,
        checksum: None,
        traceparent: None,
        state: "open".into(),
        created_at: NOW,
        expires_at: NOW + 100,
    };
    let (kept, given_up) = (upload("usage/kept"), upload("usage/given-up"));
    for upload in [&kept, &given_up] {
        catalog.reserve_upload(&step(NOW), upload).await.unwrap();
    }
    let of = async |now| catalog.usage(now, "reserves", NOW - 1).await.unwrap();
    assert_eq!(of(NOW).await, Usage { bytes: 14, recent: 2 });
    assert!(catalog.close_upload(&step(NOW), &given_up.id, "aborted").await.unwrap());
    assert!(catalog.close_upload(&step(NOW), &kept.id, "completed").await.unwrap());
    assert_eq!(of(NOW).await, Usage { bytes: 7, recent: 1 }, "until it lands");
    assert_eq!(of(NOW + 100).await, Usage { bytes: 0, recent: 0 }, "it never came");
}
