//! Accounts at the edge: cookies, origins, limits, and what is off. Whole stories are told to real processes.

use super::*;

fn post(path: &str, body: &Value, headers: &[(&'static str, &str)]) -> Request<Body> {
    let mut request =
        Request::post(path).header("content-type", "application/json").body(body.to_string().into()).unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    request
}

fn refresh_token(number: i64) -> String {
    SessionKey::new(SECRET, "http://localhost:8080").unwrap().refresh(&SESSION.parse().unwrap(), number)
}

#[tokio::test]
async fn a_refresh_wants_its_cookie_and_one_of_our_pages() {
    let gateway = Gateway::with(World::default()).await;
    let cookie = format!("rf_refresh={}", refresh_token(1));
    let ours = ("origin", "http://localhost:8080");
    for (origin, status) in [
        (None, 403),
        (Some("https://evil.example"), 403),
        (Some("null"), 403),
        (Some("http://localhost:8081"), 403),
        (Some("https://web.example"), 200),
        (Some("http://localhost:8080"), 200),
    ] {
        for path in ["/v1/auth/refresh", "/v1/auth/sign-out"] {
            let mut headers = vec![("cookie", cookie.as_str())];
            headers.extend(origin.map(|origin| ("origin", origin)));
            let (got, _, body) = gateway.send(post(path, &json!({}), &headers)).await;
            let wanted = if status == 200 && path.ends_with("out") { 204 } else { status };
            assert_eq!(got, wanted, "{path} {origin:?} {body}");
        }
    }
    let request = post("/v1/auth/refresh", &json!({}), &[ours, ("cookie", &cookie)]);
    let (_, headers, body) = gateway.send(request).await;
    let set = headers["set-cookie"].to_str().unwrap();
    assert!(set.starts_with(&format!("rf_refresh={};", refresh_token(2))), "{set}");
    for part in ["HttpOnly", "SameSite=Strict", "Path=/v1/auth"] {
        assert!(set.contains(part), "{set}");
    }
    assert_eq!((&body["user"]["email"], &body["user"]["roles"]), (&json!("ann@example.org"), &json!(["user"])));
    assert_eq!(body["expires_at"], "2027-01-15T08:10:00.000Z");
    let access = body["access_token"].as_str().unwrap();
    let (status, _, me) = gateway.send(with_token(access, "GET", "/v1/me", Value::Null)).await;
    assert_eq!((status.as_u16(), &me["id"], &me["by"]), (200, &json!(USER), &json!("session")), "{me}");
    for bad in ["rf_refresh=nonsense", "a=b", "rf_refresh="] {
        let (status, headers, problem) =
            gateway.send(post("/v1/auth/refresh", &json!({}), &[ours, ("cookie", bad)])).await;
        assert_eq!((status.as_u16(), &problem["code"]), (401, &json!("unauthenticated")), "{bad}");
        assert!(headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"), "the cookie goes");
    }
}

#[tokio::test]
async fn a_cookie_opens_nothing_else_and_a_bearer_refreshes_nothing() {
    let gateway = Gateway::with(World::default()).await;
    let mut request = keyed("GET", "/v1/me", Value::Null);
    request.headers_mut().remove("authorization");
    request.headers_mut().insert("cookie", format!("rf_refresh={}", refresh_token(1)).parse().unwrap());
    assert_eq!(gateway.send(request).await.0, 401);
    let mut request = with_token(&token(), "POST", "/v1/auth/refresh", json!({}));
    request.headers_mut().insert("origin", "http://localhost:8080".parse().unwrap());
    assert_eq!(gateway.send(request).await.0, 401);
    let (status, ..) = gateway.send(with_token(&refresh_token(1), "GET", "/v1/me", Value::Null)).await;
    assert_eq!(status, 401, "a refresh token is no access token");
}

#[tokio::test]
async fn a_wrong_password_is_a_wrong_password_and_guessing_ends() {
    let gateway = Gateway::with(World::default()).await;
    let body = json!({ "email": "Ann@Example.org", "password": "wrong password" });
    for _ in 0..10 {
        let (status, headers, problem) = gateway.send(post("/v1/auth/sign-in", &body, &[])).await;
        assert_eq!((status.as_u16(), &problem["code"]), (401, &json!("invalid_credentials")));
        assert!(!headers.contains_key("set-cookie"));
    }
    let (status, headers, problem) = gateway.send(post("/v1/auth/sign-in", &body, &[])).await;
    assert_eq!((status.as_u16(), &problem["code"]), (429, &json!("rate_limited")));
    assert!(headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() >= 1);
    let form = Request::post("/v1/auth/sign-in").body("email=a".into()).unwrap();
    assert_eq!(gateway.send(form).await.0, 415, "no form of another site signs anybody in");
}

#[tokio::test]
async fn a_key_that_asks_too_often_waits() {
    let gateway = Gateway::with(World::default()).await;
    let mut refused = None;
    for _ in 0..2_000 {
        let (status, headers, problem) = gateway.send(keyed("GET", "/v1/uploads", Value::Null)).await;
        if status != 200 {
            refused = Some((status.as_u16(), headers.contains_key("retry-after"), problem["code"].clone()));
            break;
        }
    }
    assert_eq!(refused, Some((429, true, json!("rate_limited"))));
    let (status, ..) = gateway.send(with_token(&token(), "GET", "/v1/uploads", Value::Null)).await;
    assert_eq!(status, 200, "somebody else does not");
}

#[tokio::test]
async fn an_address_that_shows_nothing_waits_too() {
    let gateway = Gateway::with(World::default()).await;
    let ask = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    let mut refused = None;
    for n in 0..1_000 {
        let path = ["/v1/explore", "/v1/explore?q=a", &format!("/v1/explore/{ASSET}")][n % 3].to_owned();
        let (status, headers, problem) = gateway.send(ask(&path)).await;
        if !matches!(status.as_u16(), 200 | 404) {
            refused = Some((status.as_u16(), headers.contains_key("retry-after"), problem["code"].clone()));
            break;
        }
    }
    assert_eq!(refused, Some((429, true, json!("rate_limited"))));
    assert_eq!(gateway.send(ask("/v1/openapi.json")).await.0, 200);
    let (status, ..) = gateway.send(keyed("GET", "/v1/assets", Value::Null)).await;
    assert_eq!(status, 200, "who is known is counted apart");
}

#[tokio::test]
async fn an_account_is_changed_by_who_saw_it_and_nobody_ends_oneself() {
    let gateway = Gateway::with(World { roles: "user admin", ..World::default() }).await;
    let path = format!("/v1/users/{USER}");
    let change = |version: Option<&str>, body: Value| {
        let mut request = with_token(&token(), "PATCH", &path, body);
        if let Some(version) = version {
            request.headers_mut().insert("if-match", version.parse().unwrap());
        }
        request
    };
    for (version, body, status, code) in [
        (None, json!({ "name": "B" }), 428, "precondition_required"),
        (Some("\"6\""), json!({ "name": "B" }), 412, "edited_meanwhile"),
        (Some("\"7\""), json!({ "state": "disabled" }), 409, "not_oneself"),
        (Some("\"7\""), json!({ "roles": ["user"] }), 409, "not_oneself"),
        (Some("\"7\""), json!({ "roles": ["admin", "operator", "user"] }), 403, "scope_missing"),
        (Some("\"7\""), json!({ "roles": [] }), 400, "invalid_request"),
        (Some("\"7\""), json!({ "roles": ["root"] }), 400, "invalid_request"),
        (Some("\"7\""), json!({ "state": "gone" }), 400, "invalid_request"),
    ] {
        let (got, _, problem) = gateway.send(change(version, body.clone())).await;
        assert_eq!((got.as_u16(), &problem["code"]), (status, &json!(code)), "{body}");
    }
    assert!(gateway.sql().iter().all(|sql| sql.starts_with("SELECT")), "nothing was written");
}

#[tokio::test]
async fn a_key_holds_no_more_than_its_maker() {
    let gateway = Gateway::with(World::default()).await;
    for (body, status) in [
        (json!({ "name": "k", "scopes": ["ops"] }), 403),
        (json!({ "name": "k", "scopes": ["admin"] }), 403),
        (json!({ "name": "k", "scopes": [] }), 400),
        (json!({ "name": "k", "scopes": ["root"] }), 400),
        (json!({ "name": "", "scopes": ["assets:read"] }), 400),
        (json!({ "name": "k", "scopes": ["assets:read"], "expires_at": "2001-01-01T00:00:00Z" }), 400),
        (json!({ "name": "k", "scopes": ["assets:read"], "expires_at": "soon" }), 400),
    ] {
        let (got, _, problem) = gateway.send(with_token(&token(), "POST", "/v1/keys", body.clone())).await;
        assert_eq!(got, status, "{body} {problem}");
    }
    assert!(gateway.sql().iter().all(|sql| sql.starts_with("SELECT")), "nothing was written");
}

#[tokio::test]
async fn into_another_tenant_only_an_operator_invites() {
    let tenant_of = |gateway: &Gateway| {
        let statements = gateway.statements.lock().unwrap();
        let sql = |call: &&Value| call["sql"].as_str().unwrap().starts_with("INSERT INTO invitation");
        let call = statements.iter().find(sql)?;
        let mut parameters = call["parameters"].as_array().unwrap().iter();
        Some(parameters.find(|p| p["name"] == "tenant")?["value"]["stringValue"].clone())
    };
    for (roles, wanted, status, code) in [
        ("admin", json!({ "tenant": "theirs" }), 403, "scope_missing"),
        ("operator", json!({ "tenant": "theirs" }), 403, "scope_missing"),
        ("admin operator", json!({ "tenant": "a/b" }), 400, "invalid_request"),
        ("admin operator", json!({ "tenant": ".." }), 400, "invalid_request"),
        ("admin operator", json!({ "tenant": "" }), 400, "invalid_request"),
        ("admin operator", json!({ "tenant": "x".repeat(65) }), 400, "invalid_request"),
    ] {
        let gateway = Gateway::with(World { roles, ..World::default() }).await;
        let (got, _, problem) = gateway.send(with_token(&token(), "POST", "/v1/invitations", wanted.clone())).await;
        assert_eq!((got.as_u16(), &problem["code"]), (status, &json!(code)), "{roles}: {wanted}");
        assert!(gateway.sql().iter().all(|sql| sql.starts_with("SELECT")), "nothing was written");
    }
    for (roles, wanted, tenant) in [
        ("admin", json!({}), "mine"),
        ("admin", json!({ "tenant": "mine" }), "mine"),
        ("admin operator", json!({ "tenant": "theirs", "roles": ["admin"] }), "theirs"),
    ] {
        let gateway = Gateway::with(World { roles, ..World::default() }).await;
        let (got, _, made) = gateway.send(with_token(&token(), "POST", "/v1/invitations", wanted.clone())).await;
        assert_eq!((got.as_u16(), &made["tenant"]), (201, &json!(tenant)), "{roles}: {wanted} {made}");
        assert_eq!(tenant_of(&gateway), Some(json!(tenant)), "{roles}: {wanted}");
    }
}
