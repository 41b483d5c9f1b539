//! Uploads: what is signed, what is refused, and completion whatever got lost on the way.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::*;

#[tokio::test]
async fn a_small_upload_gets_one_url_that_signs_all_of_it() {
    let gateway = Gateway::with(World::default()).await;
    let wanted = json!({ "name": "../../x\n.mp4", "size": 5, "type": "video/mp4", "owner": "evil", "key": "evil" });
    let (status, headers, upload) = gateway.send(keyed("POST", "/v1/uploads", wanted)).await;
    assert_eq!(status, 201, "{upload}");
    assert_eq!((&upload["mode"], &upload["parts_total"], &upload["done"]), (&"single".into(), &1.into(), &json!([])));
    assert_eq!(headers["location"], format!("/v1/uploads/{}", upload["id"].as_str().unwrap()));
    let insert = gateway.statements.lock().unwrap().last().unwrap().clone();
    let value = |name: &str| {
        let all = insert["parameters"].as_array().unwrap();
        all.iter().find(|p| p["name"] == name).unwrap()["value"]["stringValue"].clone()
    };
    assert_eq!(value("key"), format!("in/mine/me/{}/source", upload["id"].as_str().unwrap()));
    assert_eq!((value("tenant"), value("owner")), ("mine".into(), "me".into()), "who comes from the key's row");
    let path = format!("/v1/uploads/{UPLOAD}/parts");
    let (status, urls) = gateway.call("POST", &path, json!({ "parts": [{ "n": 1 }] })).await;
    assert_eq!(status, 200, "{urls}");
    let url = urls[0]["url"].as_str().unwrap();
    assert!(url.contains("X-Amz-SignedHeaders=content-length%3Bcontent-type%3Bhost%3Bif-none-match"), "{url}");
    assert!(url.contains("X-Amz-Expires=900"), "{url}");
    assert_eq!(urls[0]["headers"], json!({ "content-type": "video/mp4", "if-none-match": "*" }));
    assert_eq!(urls[0]["len"], 5);
}

#[tokio::test]
async fn a_repeated_request_finds_the_first_upload_or_is_refused() {
    let gateway = Gateway::with(World { request_key: true, ..World::default() }).await;
    for (size, status, field) in [(5, 200, "id"), (6, 422, "code")] {
        let mut request = keyed("POST", "/v1/uploads", json!({ "name": "a.mp4", "size": size, "type": "video/mp4" }));
        request.headers_mut().insert("idempotency-key", "k".parse().unwrap());
        let (got, _, body) = gateway.send(request).await;
        assert_eq!(got, status, "{body}");
        let expected = if status == 200 { UPLOAD } else { "idempotency_key_reused" };
        assert_eq!(body[field], expected);
    }
}

#[tokio::test]
async fn what_has_ended_takes_no_more_parts() {
    for (state, completes) in [("completed", 200), ("landed", 200), ("aborted", 409)] {
        let gateway = Gateway::with(World { upload_state: state, ..World::default() }).await;
        let path = format!("/v1/uploads/{UPLOAD}/parts");
        let (status, problem) = gateway.call("POST", &path, json!({ "parts": [{ "n": 1 }] })).await;
        assert_eq!((status.as_u16(), &problem["code"]), (409, &"upload_ended".into()), "{state}");
        let path = format!("/v1/uploads/{UPLOAD}/complete");
        let (status, answer) = gateway.call("POST", &path, Value::Null).await;
        assert_eq!(status.as_u16(), completes, "{state}: {answer}");
    }
}

const PARTS: Script = Script {
    method: "GET",
    wants: "uploadId=s3id",
    status: 200,
    headers: &[],
    body: "<ListPartsResult><IsTruncated>false</IsTruncated>\
        <Part><PartNumber>1</PartNumber><Size>8388608</Size><ETag>\"a\"</ETag></Part>\
        <Part><PartNumber>2</PartNumber><Size>8388608</Size><ETag>\"b\"</ETag></Part>\
        <Part><PartNumber>3</PartNumber><Size>4194304</Size><ETag>\"c\"</ETag></Part></ListPartsResult>",
};
const ONE_PART: Script = Script {
    body: "<ListPartsResult><IsTruncated>false</IsTruncated>\
        <Part><PartNumber>2</PartNumber><Size>8388608</Size><ETag>\"b\"</ETag></Part></ListPartsResult>",
    ..PARTS
};
const NO_UPLOAD: Script = Script { status: 404, body: "<Error><Code>NoSuchUpload</Code></Error>", ..PARTS };
const COMPLETES: Script = Script {
    method: "POST",
    body: "<CompleteMultipartUploadResult><ETag>\"d-3\"</ETag></CompleteMultipartUploadResult>",
    ..PARTS
};
const EXISTS: Script =
    Script { method: "POST", status: 412, body: "<Error><Code>PreconditionFailed</Code></Error>", ..PARTS };
const WHOLE: Script =
    Script { method: "HEAD", wants: "/source", status: 200, headers: &[("content-length", "20971520")], body: "" };
const SHORT: Script = Script { headers: &[("content-length", "7")], ..WHOLE };
const ABORTS: Script = Script { method: "DELETE", wants: "uploadId=s3id", status: 204, headers: &[], body: "" };

async fn in_parts(s3: &[Script]) -> Gateway {
    Gateway::with(World { multipart: true, s3: s3.to_vec(), ..World::default() }).await
}

#[tokio::test]
async fn a_large_upload_is_begun_and_shows_what_has_arrived() {
    let begins = Script {
        method: "POST",
        wants: "?uploads",
        status: 200,
        headers: &[],
        body: "<InitiateMultipartUploadResult><UploadId>s3id</UploadId></InitiateMultipartUploadResult>",
    };
    let gateway = in_parts(&[begins, ONE_PART]).await;
    let wanted = json!({ "name": "a.mp4", "size": 20 * MIB, "type": "video/mp4", "checksum": "sha256" });
    let (status, upload) = gateway.call("POST", "/v1/uploads", wanted).await;
    assert_eq!(status, 201, "{upload}");
    assert_eq!(
        (&upload["mode"], &upload["part_size"], &upload["parts_total"]),
        (&"multipart".into(), &(8 * MIB).into(), &3.into())
    );
    let begun = gateway.requests.lock().unwrap()[0].clone();
    assert_eq!(begun.2["x-amz-checksum-algorithm"], "SHA256");
    assert_eq!(upload["checksum"], "sha256");
    let (_, upload) = gateway.call("GET", &format!("/v1/uploads/{UPLOAD}"), Value::Null).await;
    assert_eq!((&upload["done"], &upload["parts"][0]["size"]), (&json!([2]), &(8 * MIB).into()), "{upload}");
    let sum = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let parts = json!({ "parts": [{ "n": 1, "sha256": sum }, { "n": 3 }] });
    let (_, urls) = gateway.call("POST", &format!("/v1/uploads/{UPLOAD}/parts"), parts).await;
    assert_eq!(urls[0]["headers"], json!({ "x-amz-checksum-sha256": sum }), "{urls}");
    assert_eq!((&urls[1]["len"], &urls[1]["headers"]), (&(4 * MIB).into(), &json!({})));
}

#[tokio::test]
async fn completion_ends_in_one_object_whatever_was_lost() {
    for (what, s3, status, code) in [
        ("all is there", &[PARTS, COMPLETES][..], 200, ""),
        ("parts are missing", &[ONE_PART, COMPLETES], 409, "upload_incomplete"),
        ("the answer to an earlier completion was lost", &[NO_UPLOAD, WHOLE], 200, ""),
        ("another completion won", &[PARTS, EXISTS, WHOLE], 200, ""),
        ("something else lies there", &[PARTS, EXISTS, SHORT], 409, "upload_mismatch"),
        ("S3 has discarded it", &[NO_UPLOAD], 409, "upload_ended"),
    ] {
        let gateway = in_parts(s3).await;
        let (got, answer) = gateway.call("POST", &format!("/v1/uploads/{UPLOAD}/complete"), json!({})).await;
        assert_eq!(got, status, "{what}: {answer}");
        let closed = gateway.sql().iter().any(|sql| sql.starts_with("UPDATE upload"));
        assert_eq!(closed, status == 200, "{what}");
        if status == 200 {
            assert_eq!((&answer["asset"], &answer["state"]), (&ASSET.into(), &"completed".into()));
        } else {
            assert_eq!(answer["code"], code, "{what}");
        }
        let requests = gateway.requests.lock().unwrap();
        for (_, _, headers) in requests.iter().filter(|(method, ..)| method == "POST") {
            assert_eq!(headers["if-none-match"], "*", "{what}");
        }
    }
}

#[tokio::test]
async fn a_wrong_sum_of_parts_completes_nothing() {
    let gateway = in_parts(&[PARTS, COMPLETES]).await;
    let said = json!({ "sha256_of_parts": "AAAA" });
    let (status, problem) = gateway.call("POST", &format!("/v1/uploads/{UPLOAD}/complete"), said).await;
    assert_eq!((status.as_u16(), &problem["code"]), (422, &"checksum_mismatch".into()));
    assert!(gateway.requests.lock().unwrap().iter().all(|(method, ..)| method != "POST"));
}

#[tokio::test]
async fn a_single_put_is_complete_when_the_object_is_there_whole() {
    for (length, status) in [("5", 200), ("7", 409)] {
        let headers: &'static [(&str, &str)] = if length == "5" { &[("content-length", "5")] } else { SHORT.headers };
        let world = World { s3: vec![Script { headers, ..WHOLE }], ..World::default() };
        let gateway = Gateway::with(world).await;
        let path = format!("/v1/uploads/{UPLOAD}/complete");
        assert_eq!(gateway.call("POST", &path, Value::Null).await.0, status);
    }
    let (status, problem) = Gateway::with(World::default())
        .await
        .call("POST", &format!("/v1/uploads/{UPLOAD}/complete"), Value::Null)
        .await;
    assert_eq!((status.as_u16(), &problem["code"]), (409, &"upload_incomplete".into()));
}

#[tokio::test]
async fn an_upload_announced_with_sums_is_signed_and_completed_with_them_alone() {
    let sum = |parts: &[[u8; 32]]| STANDARD.encode(Sha256::digest(parts.concat()));
    let gateway = Gateway::with(World { sums: true, ..World::default() }).await;
    let path = format!("/v1/uploads/{UPLOAD}/parts");
    let (status, problem) = gateway.call("POST", &path, json!({ "parts": [{ "n": 1 }] })).await;
    assert_eq!((status.as_u16(), &problem["code"]), (422, &"checksum_required".into()), "{problem}");
    let one = json!({ "parts": [{ "n": 1, "sha256": STANDARD.encode([1; 32]) }] });
    assert_eq!(gateway.call("POST", &path, one).await.0, 200);
    // In parts: every one of them has its sum, and the sum of sums is compared.
    let with: &'static str = PARTS
        .body
        .replace("<ETag>", &format!("<ChecksumSHA256>{}</ChecksumSHA256><ETag>", STANDARD.encode([1; 32])))
        .leak();
    let with = Script { body: with, ..PARTS };
    let right = sum(&[[1; 32]; 3]);
    for (script, said, status, code) in [
        (PARTS, json!({}), 422, "checksum_required"),
        (with, json!({}), 200, ""),
        (with, json!({ "sha256_of_parts": right }), 200, ""),
        (with, json!({ "sha256_of_parts": sum(&[[2; 32]; 3]) }), 422, "checksum_mismatch"),
    ] {
        let world = World { multipart: true, sums: true, s3: vec![script, COMPLETES], ..World::default() };
        let complete = format!("/v1/uploads/{UPLOAD}/complete");
        let (got, answer) = Gateway::with(world).await.call("POST", &complete, said).await;
        assert_eq!(got, status, "{answer}");
        assert!(status == 200 || answer["code"] == code, "{answer}");
    }
    // By one PUT: it counts as one part.
    let stored: &'static str = STANDARD.encode([1; 32]).leak();
    let summed: &'static [_] = vec![("content-length", "5"), ("x-amz-checksum-sha256", stored)].leak();
    for (headers, said, status) in [
        (&[("content-length", "5")][..], json!({}), 422),
        (summed, json!({}), 200),
        (summed, json!({ "sha256_of_parts": sum(&[[1; 32]]) }), 200),
        (summed, json!({ "sha256_of_parts": sum(&[[2; 32]]) }), 422),
    ] {
        let world = World { sums: true, s3: vec![Script { headers, ..WHOLE }], ..World::default() };
        let complete = format!("/v1/uploads/{UPLOAD}/complete");
        let (got, answer) = Gateway::with(world).await.call("POST", &complete, said).await;
        assert_eq!(got, status, "{answer}");
    }
}

#[tokio::test]
async fn an_abort_does_not_undo_a_completion() {
    let gateway = in_parts(&[ABORTS]).await;
    assert_eq!(gateway.call("DELETE", &format!("/v1/uploads/{UPLOAD}"), Value::Null).await.0, 204);
    assert!(gateway.sql().iter().any(|sql| sql.starts_with("UPDATE upload")));
    let gateway = in_parts(&[ABORTS, WHOLE]).await;
    let (status, problem) = gateway.call("DELETE", &format!("/v1/uploads/{UPLOAD}"), Value::Null).await;
    assert_eq!((status.as_u16(), &problem["code"]), (409, &"upload_ended".into()));
    assert!(!gateway.sql().iter().any(|sql| sql.starts_with("UPDATE upload")));
}
