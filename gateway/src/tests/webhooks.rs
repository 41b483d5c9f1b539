//! `/v1/webhooks`: what is taken, what is shown to whom.

use super::*;

fn mine() -> World {
    World { asset_owner: USER, ..World::default() }
}

#[tokio::test]
async fn a_webhook_goes_to_the_public_internet_and_asks_for_events_that_there_are() {
    let gateway = Gateway::with(mine()).await;
    let send = async |body: Value| {
        let (status, _, answer) = gateway.send(with_token(&token(), "POST", "/v1/webhooks", body)).await;
        (status.as_u16(), answer)
    };
    for url in [
        "http://example.com",
        "https://10.0.0.1",
        "https://[::1]/",
        "https://167772161/",
        "https://localhost",
        "https://u:p@example.com",
        "https://metadata.google.internal/",
        "x",
    ] {
        let (status, problem) = send(json!({ "name": "w", "url": url })).await;
        assert_eq!((status, &problem["code"]), (422, &"webhook_url".into()), "{url}");
    }
    let (status, problem) = send(json!({ "name": "w", "url": "https://example.com", "events": ["asset.ready"] })).await;
    assert_eq!((status, &problem["code"]), (400, &"invalid_request".into()));
    assert!(problem["detail"].as_str().unwrap().contains("asset.ready.v1"), "{problem}");
    assert!(gateway.sql().iter().all(|sql| sql.starts_with("SELECT")), "nothing was written");
    let (status, problem) = send(json!({ "name": "w", "url": "https://example.com", "tenant": true })).await;
    assert_eq!((status, &problem["code"]), (403, &"scope_missing".into()), "the tenant is for administrators");
    let types = ["asset.ready.v1", "asset.failed.v1", "asset.ready.v1"];
    let (status, made) = send(json!({ "name": "w", "url": "https://example.com/h", "events": types })).await;
    assert_eq!((status, &made["events"]), (201, &json!(["asset.failed.v1", "asset.ready.v1"])));
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"), "{made}");
    let (status, _) = send(json!({ "name": "w", "url": "http://127.0.0.1:5/h" })).await;
    assert_eq!(status, 201, "the operator has named this host");
}

#[tokio::test]
async fn the_secret_is_for_its_owner_alone() {
    let gateway = Gateway::with(mine()).await;
    let path = format!("/v1/webhooks/{WEBHOOK}");
    let (status, _, shown) = gateway.send(with_token(&token(), "GET", &path, Value::Null)).await;
    assert_eq!((status.as_u16(), shown.get("secret")), (200, None));
    let (status, _, shown) = gateway.send(with_token(&token(), "GET", &format!("{path}/secret"), Value::Null)).await;
    assert!(status == 200 && shown["secret"].as_str().unwrap().starts_with("whsec_"), "{shown}");
    // An administrator of the tenant sees that there is one, and may turn it off; it goes where its owner says.
    let gateway = Gateway::with(World { roles: "admin", asset_owner: "bob", ..World::default() }).await;
    let send = async |method: &str, path: &str, body: Value| {
        let (status, ..) = gateway.send(with_token(&token(), method, path, body)).await;
        status.as_u16()
    };
    assert_eq!(send("GET", &path, Value::Null).await, 200);
    assert_eq!(send("PATCH", &path, json!({ "enabled": false })).await, 200);
    assert_eq!(send("PATCH", &path, json!({ "enabled": true })).await, 404);
    assert_eq!(send("PATCH", &path, json!({ "name": "n" })).await, 404);
    assert_eq!(send("PATCH", &path, json!({ "url": "https://example.org" })).await, 404);
    assert_eq!(send("GET", &format!("{path}/secret"), Value::Null).await, 404);
    assert_eq!(send("POST", &format!("{path}/rotate"), Value::Null).await, 404);
}

#[tokio::test]
async fn what_a_webhook_of_the_tenant_was_sent_is_for_administrators() {
    let path = format!("/v1/webhooks/{WEBHOOK}");
    for (roles, opens) in [("user", false), ("admin", true)] {
        let gateway = Gateway::with(World { roles, webhook_stream: "ops", ..mine() }).await;
        let send = async |method: &str, path: &str, body: Value| {
            let (status, _, answer) = gateway.send(with_token(&token(), method, path, body)).await;
            (status.as_u16(), answer["code"].as_str().unwrap_or_default().to_owned())
        };
        let refused = |seen: (u16, String)| seen == (403, "scope_missing".to_owned());
        assert_eq!(refused(send("GET", &format!("{path}/deliveries"), Value::Null).await), !opens, "{roles}");
        let again = format!("{path}/deliveries/{EVENT}/redeliver");
        assert_eq!(refused(send("POST", &again, Value::Null).await), !opens, "{roles}");
        assert_eq!(refused(send("PATCH", &path, json!({ "enabled": true })).await), !opens, "{roles}");
        // Whoever was one may still turn off, and take away, what they made.
        assert_eq!(send("PATCH", &path, json!({ "enabled": false })).await.0, 200, "{roles}");
        assert_eq!(send("DELETE", &path, Value::Null).await.0, 204, "{roles}");
    }
}
