//! Every route × every credential that must not open it.
//!
//! The table below is held against the router's own source: a route that is missing here fails the first test.

use super::*;

/// What lets somebody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// Nothing: for everybody.
    Open,
    /// What the request itself holds: a password, a cookie, a secret from a mail or a link, a playback token.
    Own,
    /// A ticket or a key, which the notifier looks at.
    Notifier,
    /// Any valid credential.
    Anybody,
    /// Somebody who has signed in.
    SignedIn,
    /// Somebody who has signed in, or a key with the scope `admin`.
    Person,
    /// This scope.
    Scope(&'static str),
}

use Door::{Anybody, Notifier, Open, Own, Person, Scope, SignedIn};

/// Method, pattern, who is let in.
const ROUTES: &[(&str, &str, Door)] = &[
    ("POST", "/v1/uploads", Scope("uploads:write")),
    ("GET", "/v1/uploads", Scope("uploads:write")),
    ("GET", "/v1/uploads/{id}", Scope("uploads:write")),
    ("DELETE", "/v1/uploads/{id}", Scope("uploads:write")),
    ("PATCH", "/v1/uploads/{id}", Scope("uploads:write")),
    ("POST", "/v1/uploads/{id}/parts", Scope("uploads:write")),
    ("POST", "/v1/uploads/{id}/complete", Scope("uploads:write")),
    ("GET", "/v1/limits", Scope("uploads:write")),
    ("POST", "/v1/estimates", Scope("uploads:write")),
    ("GET", "/v1/assets", Scope("assets:read")),
    ("GET", "/v1/assets/{id}", Scope("assets:read")),
    ("DELETE", "/v1/assets/{id}", Scope("assets:write")),
    ("PATCH", "/v1/assets/{id}", Scope("assets:write")),
    ("PUT", "/v1/assets/{id}/captions/{language}", Scope("assets:write")),
    ("DELETE", "/v1/assets/{id}/captions/{language}", Scope("assets:write")),
    ("GET", "/v1/assets/{id}/original", Scope("assets:read")),
    ("POST", "/v1/assets/{id}/restore", Scope("assets:write")),
    ("POST", "/v1/assets/{id}/review", Scope("assets:write")),
    ("POST", "/v1/realtime/tickets", Scope("realtime")),
    ("GET", "/v1/reviews", Scope("reviews")),
    ("GET", "/v1/reviews/{id}", Scope("reviews")),
    ("POST", "/v1/reviews/{id}/verdict", Scope("reviews")),
    ("GET", "/v1/me", Anybody),
    ("PATCH", "/v1/me", SignedIn),
    ("GET", "/v1/me/events", Scope("realtime")),
    ("PUT", "/v1/me/events/seen", Scope("realtime")),
    ("GET", "/v1/me/export", SignedIn),
    ("GET", "/v1/me/notices", Anybody),
    ("PATCH", "/v1/me/notices", Anybody),
    ("POST", "/v1/me/password", SignedIn),
    ("GET", "/v1/keys", Person),
    ("POST", "/v1/keys", Person),
    ("DELETE", "/v1/keys/{id}", Person),
    ("POST", "/v1/keys/{id}/rotate", Person),
    ("GET", "/v1/webhooks", Person),
    ("POST", "/v1/webhooks", Person),
    ("GET", "/v1/webhooks/{id}", Person),
    ("PATCH", "/v1/webhooks/{id}", Person),
    ("DELETE", "/v1/webhooks/{id}", Person),
    ("GET", "/v1/webhooks/{id}/secret", Person),
    ("POST", "/v1/webhooks/{id}/rotate", Person),
    ("POST", "/v1/webhooks/{id}/ping", Person),
    ("GET", "/v1/webhooks/{id}/deliveries", Person),
    ("POST", "/v1/webhooks/{id}/deliveries/{event}/redeliver", Person),
    ("GET", "/v1/users", Scope("admin")),
    ("GET", "/v1/users/{id}", Scope("admin")),
    ("PATCH", "/v1/users/{id}", Scope("admin")),
    ("POST", "/v1/invitations", Scope("admin")),
    ("GET", "/v1/invitations", Scope("admin")),
    ("DELETE", "/v1/invitations/{id}", Scope("admin")),
    ("GET", "/v1/audit", Scope("admin")),
    ("GET", "/v1/ops", Scope("ops")),
    ("GET", "/v1/ops/audit", Scope("ops")),
    ("PUT", "/v1/ops/pools/{name}", Scope("ops")),
    ("POST", "/v1/ops/queues/{name}/pause", Scope("ops")),
    ("POST", "/v1/ops/queues/{name}/resume", Scope("ops")),
    ("GET", "/v1/ops/letters", Scope("ops")),
    ("GET", "/v1/ops/letters/fate", Scope("ops")),
    ("POST", "/v1/ops/letters/redrive", Scope("ops")),
    ("POST", "/v1/ops/letters/discard", Scope("ops")),
    ("GET", "/v1/ops/spent", Scope("ops")),
    ("PUT", "/v1/ops/budgets/{tenant}", Scope("ops")),
    ("GET", "/v1/ops/jobs", Scope("ops")),
    ("GET", "/v1/ops/assets/{id}/timeline", Scope("ops")),
    ("GET", "/v1/auth/ways", Open),
    ("GET", "/v1/auth/oidc/start", Open),
    ("GET", "/v1/auth/oidc/callback", Own),
    ("POST", "/v1/auth/sign-up", Own),
    ("POST", "/v1/auth/sign-in", Own),
    ("POST", "/v1/auth/refresh", Own),
    ("POST", "/v1/auth/sign-out", Own),
    ("POST", "/v1/auth/password-reset", Own),
    ("POST", "/v1/auth/password-reset/confirm", Own),
    ("POST", "/v1/sources/{name}", Own),
    ("GET", "/v1/reviews/link/{token}", Own),
    ("POST", "/v1/reviews/link/{token}/verdict", Own),
    ("GET", "/v1/openapi.json", Open),
    ("GET", "/v1/asyncapi.json", Open),
    ("GET", "/v1/explore", Open),
    ("GET", "/v1/explore/{id}", Open),
    ("GET", "/v1/realtime", Notifier),
    ("GET", "/v1/events", Notifier),
    ("GET", "/p/{token}/{*path}", Own),
    ("HEAD", "/p/{token}/{*path}", Own),
    ("OPTIONS", "/p/{token}/{*path}", Open),
    ("GET", "/", Open),
    ("GET", "/embed/{id}", Open),
    ("GET", "/assets/{name}", Open),
    ("GET", "/favicon.svg", Open),
];

/// A path of the pattern, and a body that the route would take.
fn example(method: &str, pattern: &str) -> (String, Value) {
    let id = match pattern.split('/').nth(2) {
        Some("uploads") => UPLOAD,
        Some("reviews") => REVIEW,
        Some("keys") => KEY,
        Some("users") => USER,
        Some("webhooks") => WEBHOOK,
        Some("invitations") => INVITATION,
        _ => ASSET,
    };
    let path = pattern
        .replace("{id}", id)
        .replace("{tenant}", "mine")
        .replace("{event}", EVENT)
        .replace("{language}", "en")
        .replace("{token}", "x")
        .replace("{*path}", "a.m3u8");
    let body = match (method, pattern) {
        ("POST", "/v1/uploads") => json!({ "name": "a.mp4", "size": 5, "type": "video/mp4" }),
        ("POST", "/v1/estimates") => json!({ "size": 5, "type": "video/mp4" }),
        ("PUT", "/v1/ops/budgets/{tenant}") => json!({ "micros": 5 }),
        ("PATCH", "/v1/uploads/{id}") => json!({ "name": "b.mp4" }),
        ("POST", "/v1/uploads/{id}/parts") => json!({ "parts": [{ "n": 1 }] }),
        ("PATCH", "/v1/assets/{id}") => json!({ "name": "b" }),
        ("POST", "/v1/reviews/{id}/verdict") => json!({ "verdict": "approve" }),
        ("PUT", "/v1/me/events/seen") => json!({ "position": 1 }),
        ("PATCH", "/v1/me") => json!({ "name": "b" }),
        ("POST", "/v1/me/password") => json!({ "current": "a", "new": "correct horse" }),
        ("POST", "/v1/keys") => json!({ "name": "k", "scopes": ["assets:read"] }),
        ("POST", "/v1/ops/letters/redrive" | "/v1/ops/letters/discard") => {
            json!({ "queue": "probe", "reason": "malformed", "why": "so" })
        }
        ("POST", "/v1/webhooks") => json!({ "name": "w", "url": "https://example.com/hook" }),
        ("PATCH", "/v1/webhooks/{id}") => json!({ "enabled": false }),
        ("PATCH", "/v1/users/{id}") => json!({ "state": "disabled" }),
        ("POST" | "PUT", _) => json!({}),
        _ => Value::Null,
    };
    (path, body)
}

/// The routes behind the one check of credentials.
fn keyed_routes() -> impl Iterator<Item = (&'static str, String, Value, Door)> {
    ROUTES.iter().filter(|(_, _, door)| !matches!(door, Open | Own | Notifier)).map(|(method, pattern, door)| {
        let (path, body) = example(method, pattern);
        (*method, path, body, *door)
    })
}

#[test]
fn the_document_names_every_route_and_its_scope() {
    let document: Value = serde_json::from_str(crate::openapi::DOCUMENT).unwrap();
    let mut told = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let scope = operation["description"].as_str().unwrap_or_default();
            let scope = scope.strip_prefix("Scope `").and_then(|text| text.strip_suffix("`."));
            let open = operation["security"].as_array().is_some_and(Vec::is_empty);
            told.push((path.clone(), method.to_uppercase(), scope.map(str::to_owned), open));
        }
    }
    let untold = ["/v1/realtime", "/v1/events", "/v1/openapi.json", "/v1/asyncapi.json"];
    let is_told = |path: &str| path.starts_with("/v1/") && !untold.contains(&path);
    let routes = ROUTES.iter().filter(|(_, path, _)| is_told(path)).map(|(method, path, door)| {
        let scope = if let Scope(scope) = door { Some((*scope).to_owned()) } else { None };
        ((*path).to_owned(), (*method).to_owned(), scope, matches!(door, Open | Own))
    });
    let mut routes: Vec<_> = routes.collect();
    told.sort();
    routes.sort();
    assert_eq!(told, routes);
}

#[test]
fn no_route_of_the_router_is_missing_here() {
    let source = include_str!("../router.rs");
    let mut found = Vec::new();
    for part in source.split(".route(").skip(1) {
        let (path, rest) = part.split_once(',').unwrap();
        let path = match path.trim() {
            "COMPLETION_ROUTE" => crate::front::COMPLETION_ROUTE,
            // The pages of the web app: for everybody, and the same file each.
            "path" => continue,
            literal => literal
                .strip_prefix('"')
                .and_then(|path| path.strip_suffix('"'))
                .unwrap_or_else(|| panic!("{literal} is neither a text nor a name that this test knows")),
        };
        let rest = rest.split(';').next().unwrap();
        let rest = rest.split(".route_layer(").next().unwrap().split(".layer(").next().unwrap();
        for method in ["get", "post", "put", "patch", "delete", "head", "options"] {
            let call = format!("{method}(");
            let starts = rest
                .match_indices(&call)
                .filter(|(at, _)| !rest[..*at].ends_with(|before: char| before.is_alphanumeric() || before == '_'));
            found.extend(starts.map(|_| (method.to_uppercase(), path.to_owned())));
        }
    }
    let mut known: Vec<_> = ROUTES.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    found.sort();
    known.sort();
    assert_eq!(found, known, "the left are the router's, the right are this table's");
}

#[tokio::test]
async fn without_a_valid_credential_no_route_does_anything() {
    let url = "http://localhost:8080";
    let other_key = key().replace("07", "08");
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let good = token();
    let parts: Vec<&str> = good.split('.').collect();
    for (what, world, credential) in [
        ("nothing", World::default(), None),
        ("garbage", World::default(), Some("Bearer nonsense".to_owned())),
        ("another scheme", World::default(), Some(format!("Basic {}", key()))),
        ("a token of another key", World::default(), Some(format!("Bearer {other_key}"))),
        ("another secret's", World::default(), Some(format!("Bearer {}", signed(&"x".repeat(32), url, NOW)))),
        ("an expired one", World::default(), Some(format!("Bearer {}", signed(SECRET, url, NOW - 600_000)))),
        ("another audience's", World::default(), Some(format!("Bearer {}", signed(SECRET, "http://other", NOW)))),
        ("an unsigned one", World::default(), Some(format!("Bearer {none}.{}.", parts[1]))),
        ("an ended session's", World { session_over: true, ..World::default() }, Some(format!("Bearer {good}"))),
        ("a disabled user's", World { user_state: "disabled", ..World::default() }, Some(format!("Bearer {good}"))),
        ("a realtime ticket", World::default(), Some(format!("Bearer rt_{}", secret().reveal()))),
    ] {
        let gateway = Gateway::with(world).await;
        for (method, path, body, _) in keyed_routes() {
            let mut request = keyed(method, &path, body);
            request.headers_mut().remove("authorization");
            if let Some(credential) = &credential {
                request.headers_mut().insert("authorization", credential.parse().unwrap());
            }
            let (status, headers, problem) = gateway.send(request).await;
            assert_eq!(
                (status.as_u16(), &problem["code"]),
                (401, &"unauthenticated".into()),
                "{what}: {method} {path}"
            );
            assert_eq!(problem["request_id"], headers["x-request-id"].to_str().unwrap());
            assert!(headers.contains_key("www-authenticate"));
        }
        let looked_up = |sql: &String| sql.contains("FROM api_key") || sql.contains("FROM session s");
        assert!(gateway.sql().iter().all(looked_up), "{what}: nothing but the credential was read");
    }
}

#[tokio::test]
async fn the_wrong_scope_opens_nothing() {
    let scopes = ["uploads:write", "assets:read", "assets:write", "realtime", "reviews", "ops"];
    for missing in scopes.into_iter().chain(["admin"]) {
        let held: Vec<_> = scopes.into_iter().filter(|scope| *scope != missing).collect();
        let gateway = Gateway::with(World { scopes: held.join(" "), ..World::default() }).await;
        for (method, path, body, door) in keyed_routes() {
            let code = match door {
                Scope(scope) if scope == missing => "scope_missing",
                Person if missing == "admin" => "scope_missing",
                SignedIn => "session_needed",
                _ => continue,
            };
            let (status, problem) = gateway.call(method, &path, body).await;
            assert_eq!((status.as_u16(), &problem["code"]), (403, &code.into()), "{missing}: {method} {path}");
        }
        assert!(gateway.sql().iter().all(|sql| sql.starts_with("SELECT")), "nothing was written");
    }
}

#[tokio::test]
async fn the_wrong_role_opens_nothing() {
    for (roles, closed) in [
        ("user", &["reviews", "admin"][..]),
        ("reviewer", &["uploads:write", "assets:write", "admin"]),
        ("operator", &["uploads:write", "assets:read", "assets:write", "reviews", "admin"]),
        ("", &["uploads:write", "assets:read", "assets:write", "realtime", "reviews", "admin"]),
    ] {
        let gateway = Gateway::with(World { roles, ..World::default() }).await;
        for (method, path, body, door) in keyed_routes() {
            if let Scope(scope) = door
                && closed.contains(&scope)
            {
                let (status, _, problem) = gateway.send(with_token(&token(), method, &path, body)).await;
                let seen = (status.as_u16(), &problem["code"]);
                assert_eq!(seen, (403, &"scope_missing".into()), "{roles:?}: {method} {path}");
            }
        }
        assert!(gateway.sql().iter().all(|sql| sql.starts_with("SELECT")), "nothing was written");
    }
}

/// The routes that name something, which an administrator who operates nothing may call.
fn naming_routes() -> impl Iterator<Item = (&'static str, String, Value, Door)> {
    let names = |path: &str| [UPLOAD, ASSET, REVIEW, USER, KEY, WEBHOOK, INVITATION].iter().any(|id| path.contains(id));
    // Operators see all tenants; nobody here is one.
    keyed_routes().filter(move |(_, path, _, door)| names(path) && !matches!(door, Scope("ops")))
}

/// As the one who is signed in, on the version that everything here has.
fn on_what_was_seen(method: &str, path: &str, body: Value) -> Request<Body> {
    let mut request = with_token(&token(), method, path, body);
    request.headers_mut().insert("if-match", "\"7\"".parse().unwrap());
    request
}

#[tokio::test]
async fn what_is_somebody_elses_does_not_exist() {
    let users = World { upload_owner: "other", asset_owner: "other", key_owner: "other", ..World::default() };
    // Who administers one tenant reaches nothing of another, were it by one's own name.
    let tenants = World {
        roles: "user reviewer admin",
        upload_tenant: "theirs",
        upload_owner: USER,
        asset_tenant: "theirs",
        asset_owner: USER,
        key_tenant: "theirs",
        key_owner: USER,
        review_tenant: Some("theirs"),
        invitation_tenant: Some("theirs"),
        ..World::default()
    };
    for (whose, world) in [("another user's", users), ("another tenant's", tenants)] {
        let admin = world.roles != "user";
        let gateway = Gateway::with(world).await;
        for (method, path, body, door) in naming_routes() {
            // What a role lets in is all of a tenant's: another user's is not told apart.
            if !admin && matches!(door, Scope("admin" | "reviews")) {
                continue;
            }
            let (status, _, problem) = gateway.send(on_what_was_seen(method, &path, body.clone())).await;
            let seen = (status.as_u16(), &problem["code"]);
            assert_eq!(seen, (404, &"not_found".into()), "{whose}: {method} {path} {problem}");
            let no_id =
                path.replace(UPLOAD, "upl_x").replace(ASSET, UPLOAD).replace(USER, ASSET).replace(REVIEW, ASSET);
            let no_id = no_id.replace(KEY, ASSET).replace(WEBHOOK, ASSET).replace(INVITATION, ASSET);
            let (_, _, problem) = gateway.send(with_token(&token(), method, &no_id, body)).await;
            assert_eq!(problem["code"], "not_found", "{whose}: {method} {no_id}");
        }
        let (status, _, page) =
            gateway.send(with_token(&token(), "GET", "/v1/assets?bucket=b&key=k", Value::Null)).await;
        assert_eq!((status.as_u16(), &page["assets"]), (200, &json!([])), "{whose}");
        assert!(gateway.sql().iter().all(|sql| sql.starts_with("SELECT")), "nothing was written");
    }
}

#[tokio::test]
async fn what_is_ones_own_does() {
    for (method, path, body, _) in naming_routes() {
        let own = World {
            roles: "user reviewer admin",
            upload_owner: USER,
            asset_owner: USER,
            key_owner: USER,
            review_tenant: Some("mine"),
            invitation_tenant: Some("mine"),
            ..World::default()
        };
        // One gateway each: what one call does is no matter to the next.
        let (_, _, problem) = Gateway::with(own).await.send(on_what_was_seen(method, &path, body)).await;
        assert_ne!(problem["code"], "not_found", "the test above proves nothing of it: {method} {path}");
    }
}

/// The doors that no account opens: what each of them says to whoever shows one nonetheless, and not what it wants.
const OWN: &[(&str, &str, u16, &str)] = &[
    // No provider is set up; what one's answer needs is tried with a real one.
    ("GET", "/v1/auth/oidc/callback", 404, "not_found"),
    ("POST", "/v1/auth/sign-up", 403, "invitation_invalid"),
    ("POST", "/v1/auth/sign-in", 401, "invalid_credentials"),
    ("POST", "/v1/auth/refresh", 401, "unauthenticated"),
    // There is nothing to end.
    ("POST", "/v1/auth/sign-out", 204, ""),
    // Without an address; with one the mail goes to whom it belongs, whoever asks.
    ("POST", "/v1/auth/password-reset", 400, "invalid_request"),
    ("POST", "/v1/auth/password-reset/confirm", 403, "reset_invalid"),
    ("POST", "/v1/sources/{name}", 401, "unauthenticated"),
    ("GET", "/v1/reviews/link/{token}", 404, "not_found"),
    ("POST", "/v1/reviews/link/{token}/verdict", 404, "not_found"),
    ("GET", "/p/{token}/{*path}", 403, "playback_token_invalid"),
    ("HEAD", "/p/{token}/{*path}", 403, ""),
];

#[tokio::test]
async fn no_account_opens_what_has_a_lock_of_its_own() {
    let told: Vec<_> = OWN.iter().map(|(method, path, ..)| (*method, *path)).collect();
    let known: Vec<_> = ROUTES.iter().filter(|(_, _, door)| *door == Own).map(|(m, path, _)| (*m, *path)).collect();
    assert_eq!(told, known, "each of them is tried here");
    for (who, credential) in [
        ("nobody", None),
        ("garbage", Some("nonsense".to_owned())),
        ("a good key", Some(key())),
        ("an administrator", Some(token())),
    ] {
        let world = World { roles: "user reviewer operator admin", review_tenant: Some("mine"), ..World::default() };
        let gateway = Gateway::with(world).await;
        for (method, pattern, status, code) in OWN {
            let (path, _) = example(method, pattern);
            let body = match *pattern {
                "/v1/auth/sign-up" => {
                    json!({ "email": "b@example.org", "password": "correct horse battery", "invitation": "x" })
                }
                "/v1/auth/sign-in" => json!({ "email": "ann@example.org", "password": "wrong password" }),
                "/v1/auth/password-reset" => json!({ "email": "b" }),
                "/v1/auth/password-reset/confirm" => json!({ "token": "x", "password": "correct horse battery" }),
                "/v1/reviews/link/{token}/verdict" => json!({ "verdict": "approve", "code": "000000" }),
                _ => json!({}),
            };
            let mut request = keyed(method, &path, body);
            request.headers_mut().remove("authorization");
            request.headers_mut().insert("origin", "http://localhost:8080".parse().unwrap());
            if let Some(credential) = &credential {
                request.headers_mut().insert("authorization", format!("Bearer {credential}").parse().unwrap());
            }
            let (got, _, problem) = gateway.send(request).await;
            let said = problem["code"].as_str().unwrap_or_default();
            assert_eq!((got.as_u16(), said), (*status, *code), "{who}: {method} {path} {problem}");
        }
        assert!(gateway.sql().iter().all(|sql| sql.starts_with("SELECT")), "nothing was written");
    }
}

#[tokio::test]
async fn a_list_asks_for_ones_own() {
    for (roles, query, owner) in [
        ("user", "", USER),
        ("user", "?owner=me", USER),
        ("user reviewer", "", USER),
        ("admin", "", ""),
        ("admin", "?owner=me", USER),
    ] {
        let gateway = Gateway::with(World { roles, ..World::default() }).await;
        let path = format!("/v1/assets{query}");
        let (status, ..) = gateway.send(with_token(&token(), "GET", &path, Value::Null)).await;
        assert_eq!(status, 200);
        let statements = gateway.statements.lock().unwrap();
        let listed = statements.iter().find(|call| call["sql"].as_str().unwrap().contains("FROM asset")).unwrap();
        let value = |name: &str| {
            let mut parameters = listed["parameters"].as_array().unwrap().iter();
            parameters.find(|p| p["name"] == name).unwrap()["value"]["stringValue"].clone()
        };
        assert_eq!((value("owner"), value("tenant")), (owner.into(), "mine".into()), "{roles} {query}");
    }
}
