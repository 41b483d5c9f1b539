//! Who is let in, whose things are seen, and what errors look like.

use super::*;
use axum::http::HeaderName;

use crate::serve::Peer;

#[tokio::test]
async fn an_administrator_reaches_the_uploads_of_the_tenant() {
    let rows = World { scopes: "admin".into(), upload_owner: "other", ..World::default() };
    let gateway = Gateway::with(rows).await;
    let (status, upload) = gateway.call("GET", &format!("/v1/uploads/{UPLOAD}"), Value::Null).await;
    assert_eq!((status.as_u16(), &upload["mode"]), (200, &"single".into()));
}

#[tokio::test]
async fn bad_requests_say_what_is_wrong() {
    let gateway = Gateway::with(World::default()).await;
    let parts = format!("/v1/uploads/{UPLOAD}/parts");
    let many: Vec<_> = (1..=17).map(|n| json!({ "n": n })).collect();
    for (method, path, body, status, code) in [
        ("POST", "/v1/uploads", json!({ "name": "a" }), 400, "invalid_request"),
        ("POST", "/v1/uploads", json!({ "name": "a", "size": 0 }), 422, "empty"),
        ("POST", "/v1/uploads", json!({ "name": "a", "size": 1_u64 << 50 }), 422, "too_large"),
        ("POST", "/v1/uploads", json!({ "name": "a", "size": 1, "type": "text/html" }), 422, "type_not_allowed"),
        ("POST", "/v1/uploads", json!({ "name": "x".repeat(70_000), "size": 1 }), 413, "body_too_large"),
        ("POST", parts.as_str(), json!({ "parts": [] }), 400, "invalid_request"),
        ("POST", parts.as_str(), json!({ "parts": many }), 400, "invalid_request"),
        ("POST", parts.as_str(), json!({ "parts": [{ "n": 2 }] }), 422, "invalid_part"),
        ("POST", parts.as_str(), json!({ "parts": [{ "n": 1, "len": 6 }] }), 422, "invalid_part"),
        ("POST", "/v1/realtime/tickets", json!({ "origin": "https://a/b" }), 400, "invalid_request"),
        ("GET", "/v1/assets?limit=101", Value::Null, 400, "invalid_request"),
        ("GET", "/v1/assets?limit=x", Value::Null, 400, "invalid_request"),
        ("GET", "/v1/assets?state=gone", Value::Null, 400, "invalid_request"),
        ("GET", "/v1/assets?owner=eve", Value::Null, 400, "invalid_request"),
        ("GET", "/v1/assets?cursor=1", Value::Null, 400, "invalid_request"),
        ("GET", "/v1/assets?bucket=b", Value::Null, 400, "invalid_request"),
        ("PUT", "/v1/uploads", Value::Null, 405, "method_not_allowed"),
        ("GET", "/v1/nothing", Value::Null, 404, "not_found"),
        ("POST", "/v1/uploads", json!([]), 400, "invalid_request"),
        ("GET", "/v1/assets/%ff%fe", Value::Null, 400, "invalid_request"),
        ("GET", "/p/%ff/master.m3u8", Value::Null, 400, "invalid_request"),
    ] {
        let (got, problem) = gateway.call(method, path, body).await;
        assert_eq!((got.as_u16(), &problem["code"]), (status, &code.into()), "{method} {path}: {problem}");
        assert_eq!(problem["type"], format!("urn:reelfleet:problem:{code}"));
    }
    let (_, headers, _) = gateway.send(keyed("PUT", "/v1/uploads", Value::Null)).await;
    let allow = headers["allow"].to_str().unwrap();
    assert!(allow.contains("POST") && allow.contains("GET"), "{allow}");
    let mut form = keyed("POST", "/v1/uploads", json!({}));
    form.headers_mut().insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
    assert_eq!(gateway.send(form).await.0, 415);
}

#[tokio::test]
async fn health_is_for_load_balancers_and_metrics_for_operators() {
    let gateway = Gateway::with(World::default()).await;
    for path in ["/livez", "/readyz", "/healthz"] {
        let (status, ..) = gateway.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert!(status == 200 || status == 503, "{path}: {status}");
    }
    let from = |peer: &str, header: Option<&str>| {
        let mut request = Request::get("/metrics").body(Body::empty()).unwrap();
        request.extensions_mut().insert(Peer(peer.parse().unwrap()));
        if let Some(header) = header {
            request.headers_mut().insert(header.parse::<HeaderName>().unwrap(), "192.0.2.7".parse().unwrap());
        }
        request
    };
    assert_eq!(gateway.send(from("127.0.0.1:5", None)).await.0, 200);
    assert_eq!(gateway.send(from("[::ffff:127.0.0.1]:5", None)).await.0, 200);
    assert_eq!(gateway.send(from("192.0.2.7:5", None)).await.0, 401);
    assert_eq!(gateway.send(from("127.0.0.1:5", Some("x-forwarded-for"))).await.0, 401, "a proxy handed it on");
    assert_eq!(gateway.send(keyed("GET", "/metrics", Value::Null)).await.0, 403, "a key without the scope");
    let operator = Gateway::with(World { scopes: "ops".into(), ..World::default() }).await;
    assert_eq!(operator.send(keyed("GET", "/metrics", Value::Null)).await.0, 200);
}

#[tokio::test]
async fn pages_of_configured_origins_may_call_and_no_others() {
    let gateway = Gateway::with(World::default()).await;
    for (origin, allowed) in [("https://web.example", true), ("https://evil.example", false), ("null", false)] {
        let preflight = Request::builder()
            .method(Method::OPTIONS)
            .uri("/v1/uploads")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .body(Body::empty())
            .unwrap();
        let (status, headers, _) = gateway.send(preflight).await;
        assert_eq!(status == 204, allowed, "{origin}");
        assert_eq!(headers.contains_key("access-control-allow-origin"), allowed, "{origin}");
        let mut request = keyed("GET", "/v1/assets", Value::Null);
        request.headers_mut().insert("origin", origin.parse().unwrap());
        let (_, headers, _) = gateway.send(request).await;
        assert_eq!(headers.contains_key("access-control-allow-origin"), allowed, "{origin}");
    }
}

#[tokio::test]
async fn an_asset_is_shown_and_not_sent_twice() {
    let gateway = Gateway::with(World { asset_state: AssetState::Playable, ..World::default() }).await;
    let path = format!("/v1/assets/{ASSET}");
    let (status, headers, asset) = gateway.send(keyed("GET", &path, Value::Null)).await;
    assert_eq!((status.as_u16(), &asset["state"]), (200, &"playable".into()), "{asset}");
    assert!(asset["playback"]["url"].as_str().unwrap().starts_with("http://localhost:8080/p/ast_"));
    let mut again = keyed("GET", &path, Value::Null);
    again.headers_mut().insert("if-none-match", headers["etag"].clone());
    assert_eq!(gateway.send(again).await.0, 304);
}
