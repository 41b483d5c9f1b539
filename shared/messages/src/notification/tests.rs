//! Golden shapes and hostile ones.

use super::*;
use proptest::prelude::*;

fn s3_record(key: &str) -> String {
    format!(
        r#"{{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{{"bucket":{{"name":"up"}},"object":{{"key":"{key}","size":5,"eTag":"\"abc\"","sequencer":"00AB"}}}}}}"#
    )
}

fn one(body: &str) -> ObjectEvent {
    match parse(body).unwrap() {
        Notification::Objects(mut events) => events.remove(0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn raw_and_sns_wrapped_read_the_same() {
    let raw = format!(r#"{{"Records":[{}]}}"#, s3_record("a+b%2Bc%26%F0%9F%8E%AC"));
    let wrapped = serde_json::json!({"Type": "Notification", "TopicArn": "t", "Message": raw}).to_string();
    let event = one(&raw);
    assert_eq!(event.key, "a b+c&🎬");
    assert_eq!(event.etag.as_deref(), Some("abc"));
    assert_eq!(event, one(&wrapped));
}

#[test]
fn event_bridge_keys_are_not_decoded() {
    let body = r#"{"version":"0","source":"aws.s3","detail-type":"Object Created","detail":{"bucket":{"name":"up"},"object":{"key":"a+b%20c","size":1,"etag":"e","version-id":"v"}}}"#;
    let event = one(body);
    assert_eq!((event.key.as_str(), event.version_id.as_deref()), ("a+b%20c", Some("v")));
}

#[test]
fn a_test_event_is_told_from_records_raw_and_wrapped() {
    let raw = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"t","Bucket":"up","RequestId":"r","HostId":"h"}"#;
    assert_eq!(parse(raw), Ok(Notification::Test { bucket: "up".into() }));
    let wrapped = serde_json::json!({"Type": "Notification", "Message": raw}).to_string();
    assert_eq!(parse(&wrapped), Ok(Notification::Test { bucket: "up".into() }));
}

#[test]
fn every_record_is_read() {
    let body = format!(r#"{{"Records":[{},{}]}}"#, s3_record("a"), s3_record("b"));
    assert!(matches!(parse(&body).unwrap(), Notification::Objects(events) if events.len() == 2));
    assert_eq!(parse(r#"{"Records":[]}"#), Ok(Notification::Objects(vec![])));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let body = format!(
        r#"{{"Records":[{},{{"eventName":"ObjectCreated:Put","s3":{{"bucket":{{"name":"b"}},"object":{{}}}}}}]}}"#,
        s3_record("a")
    );
    assert_eq!(parse(&body).unwrap_err().to_string(), "Records[1].s3.object.key: is missing");
    let bad = format!(r#"{{"Records":[{}]}}"#, s3_record("%FF"));
    assert!(matches!(parse(&bad), Err(NotificationError::Key { .. })));
    let version = s3_record("a").replace("2.1", "3.0");
    assert!(matches!(parse(&format!(r#"{{"Records":[{version}]}}"#)), Err(NotificationError::Version { .. })));
    assert!(matches!(parse("[]"), Err(NotificationError::Shape { .. })));
    assert!(matches!(parse("{"), Err(NotificationError::NotJson(_))));
}

/// As Ceph's RADOS Gateway 16.2.15 sent it, but for the bucket.
const OF_CEPH: &str = include_str!("../../../../tests/src/ceph.json");

#[test]
fn keys_of_ceph_are_not_decoded() {
    let event = one(OF_CEPH);
    assert_eq!((event.key.as_str(), event.change), ("in/a film+100%.mp4", ObjectChange::Created));
    assert_eq!(event.version_id.as_deref(), Some("5pogAnuFS0gPzfMiBs7aqnHL2Syi386"));
    let empty = OF_CEPH.replace("in/a film+100%.mp4", "");
    assert!(matches!(parse(&empty), Err(NotificationError::Key { .. })));
}

proptest! {
    #[test]
    fn any_text_is_refused_or_read_but_never_panics(body in ".{0,300}") {
        let _ = parse(&body);
    }

    #[test]
    fn a_form_encoded_key_reads_back(key in "\\PC{1,200}") {
        let encoded: String = key.bytes().map(|b| match b {
            b' ' => "+".to_owned(),
            b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        }).collect();
        prop_assert_eq!(decode_key(&encoded), Some(key));
    }
}
