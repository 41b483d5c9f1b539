//! People through real processes: the first becomes administrator, the second sees nothing of the first's by any route
//! or topic, sessions rotate and end, keys do no more than their makers, mail links work once.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use reelfleet_messages::realtime::{SUBPROTOCOL, ServerFrame, close};
use reelfleet_tests::clients::Clients;
use reelfleet_tests::{Events, Fleet, Options, ffmpeg, media, pattern};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const SOON: Duration = Duration::from_secs(60);
const PASSWORD: &str = "correct horse battery";

/// Somebody at a browser: what the page holds in memory, and the cookie jar.
#[derive(Debug, Clone)]
struct Person {
    id: String,
    token: String,
    cookie: String,
    roles: Value,
}

struct Answer {
    status: StatusCode,
    cookie: Option<String>,
    body: Value,
}

async fn door(clients: &Clients, path: &str, body: &Value, cookie: Option<&str>) -> Answer {
    let mut request = clients.http.post(format!("{}/v1/auth/{path}", clients.gateway)).json(body);
    request = request.header("origin", &clients.gateway);
    if let Some(cookie) = cookie {
        request = request.header("cookie", cookie);
    }
    let answer = request.send().await.unwrap();
    let set = answer.headers().get("set-cookie").map(|value| value.to_str().unwrap().to_owned());
    let cookie = set.map(|set| set.split(';').next().unwrap().to_owned());
    let status = answer.status();
    Answer { status, cookie, body: serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null) }
}

fn person(answer: Answer) -> Person {
    assert!(answer.status.is_success(), "{} {}", answer.status, answer.body);
    Person {
        id: answer.body["user"]["id"].as_str().unwrap().to_owned(),
        token: answer.body["access_token"].as_str().unwrap().to_owned(),
        roles: answer.body["user"]["roles"].clone(),
        cookie: answer.cookie.unwrap(),
    }
}

async fn sign_up(clients: &Clients, name: &str) -> Person {
    let body = json!({ "email": format!("{name}@example.org"), "password": PASSWORD, "name": name });
    person(door(clients, "sign-up", &body, None).await)
}

async fn sign_in(clients: &Clients, name: &str, password: &str) -> Answer {
    door(clients, "sign-in", &json!({ "email": format!("{name}@example.org"), "password": password }), None).await
}

/// The API as this person.
async fn call(clients: &Clients, who: &Person, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    call_as(clients, &who.token, method, path, body, None).await
}

async fn call_as(
    clients: &Clients,
    token: &str,
    method: Method,
    path: &str,
    body: Option<Value>,
    if_match: Option<&str>,
) -> (u16, Value) {
    let mut request = clients.http.request(method, format!("{}{path}", clients.gateway)).bearer_auth(token);
    if let Some(tag) = if_match {
        request = request.header("if-match", tag);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null))
}

fn picture() -> std::path::PathBuf {
    let path = media().join("account.png");
    let source = pattern::pictures(320, 180, "25", 1.0);
    ffmpeg::make(&path, &["-f", "lavfi", "-i", &source, "-frames:v", "1"]);
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn each_person_has_what_is_theirs_and_nobody_elses() {
    let picture = tokio::task::spawn_blocking(picture).await.unwrap();
    let fleet = Fleet::start(Options::args(&["--transcoders", "1"])).await;
    let clients = &fleet.clients;
    let ann = sign_up(clients, "ann").await;
    assert_eq!(ann.roles, json!(["user", "reviewer", "operator", "admin"]), "the first");
    let (bob, eve) = (sign_up(clients, "bob").await, sign_up(clients, "eve").await);
    assert_eq!((&bob.roles, &eve.roles), (&json!(["user"]), &json!(["user"])), "nobody else");
    let again = json!({ "email": " BOB@example.org ", "password": PASSWORD });
    let taken = door(clients, "sign-up", &again, None).await;
    assert_eq!((taken.status.as_u16(), &taken.body["code"]), (409, &json!("email_taken")));
    let weak = json!({ "email": "zoe@example.org", "password": "password123" });
    assert_eq!(door(clients, "sign-up", &weak, None).await.status, 422);

    let asset = owned(clients, &picture, &ann, &bob, &eve).await;
    topics(clients, &asset, &ann, &bob, &eve).await;
    sessions(clients, &bob).await;
    keys(clients, &ann, &bob, &eve, &asset).await;
    administered(clients, &ann, &eve).await;
    connections(clients, &ann).await;
    exported(clients, &ann, &bob, &asset).await;
    invited_and_forgotten(clients, &ann).await;

    // No secret of any of it is in the rows.
    let rows = clients.rows("SELECT password_hash FROM user_account").await;
    assert!(rows.iter().all(|row| row[0].starts_with("$argon2id$v=19$m=19456,t=2,p=1$")), "{rows:?}");
}

/// Bob uploads; Eve finds none of it by any route, Ann, who administers, does.
async fn owned(clients: &Clients, picture: &std::path::Path, ann: &Person, bob: &Person, eve: &Person) -> String {
    let as_bob = Clients { api_key: bob.token.clone(), ..clients.clone() };
    let mut witness = Events::of_everything(clients).await;
    let open = json!({ "name": "open.png", "size": 5, "type": "image/png" });
    let (status, open) = call(clients, bob, Method::POST, "/v1/uploads", Some(open)).await;
    assert_eq!(status, 201, "{open}");
    let upload = open["id"].as_str().unwrap();
    let asset = as_bob.upload(picture).await;
    witness.ended(&asset, SOON).await;
    let (status, detail) = call(clients, bob, Method::GET, &format!("/v1/assets/{asset}"), None).await;
    assert_eq!((status, &detail["owner"], &detail["state"]), (200, &json!(bob.id), &json!("ready")), "{detail}");
    let key = detail["source"]["key"].as_str().unwrap();
    assert!(key.starts_with(&format!("in/default/{}/", bob.id)), "{key}");

    let object = format!("/v1/assets?bucket={}&key={key}", clients.uploads);
    for (method, path, body) in [
        (Method::GET, format!("/v1/assets/{asset}"), None),
        (Method::PATCH, format!("/v1/assets/{asset}"), Some(json!({ "name": "mine now" }))),
        (Method::DELETE, format!("/v1/assets/{asset}"), None),
        (Method::POST, format!("/v1/assets/{asset}/restore"), None),
        (Method::GET, format!("/v1/assets/{asset}/original"), None),
        (Method::GET, format!("/v1/explore/{asset}"), None),
        (Method::GET, format!("/v1/uploads/{upload}"), None),
        (Method::PATCH, format!("/v1/uploads/{upload}"), Some(json!({ "name": "mine now" }))),
        (Method::POST, format!("/v1/uploads/{upload}/parts"), Some(json!({ "parts": [{ "n": 1 }] }))),
        (Method::POST, format!("/v1/uploads/{upload}/complete"), Some(json!({}))),
        (Method::DELETE, format!("/v1/uploads/{upload}"), None),
    ] {
        let (status, problem) = call(clients, eve, method.clone(), &path, body).await;
        assert_eq!((status, &problem["code"]), (404, &json!("not_found")), "{method} {path}");
    }
    for path in ["/v1/assets", &object, "/v1/uploads", "/v1/explore"] {
        let (status, page) = call(clients, eve, Method::GET, path, None).await;
        let text = page.to_string();
        assert!(status == 200 && !text.contains(&asset) && !text.contains(upload), "{path} {status} {page}");
    }
    for who in [ann, bob] {
        for path in ["/v1/assets", &object] {
            let (status, page) = call(clients, who, Method::GET, path, None).await;
            assert!(status == 200 && page.to_string().contains(&asset), "{path} {status} {page}");
        }
    }
    asset
}

/// The topics of the same asset, over tickets.
async fn topics(clients: &Clients, asset: &str, ann: &Person, bob: &Person, eve: &Person) {
    let topic = format!("asset:{asset}");
    for (who, topic, wanted) in [
        (bob, topic.as_str(), Ok(())),
        (ann, &topic, Ok(())),
        (eve, &topic, Err(close::FORBIDDEN)),
        (eve, "me", Ok(())),
        (eve, "ops", Err(close::FORBIDDEN)),
        (bob, "ops", Err(close::FORBIDDEN)),
        (ann, "ops", Ok(())),
    ] {
        let as_who = Clients { api_key: who.token.clone(), ..clients.clone() };
        assert_eq!(hello(&as_who, topic).await, wanted, "{topic}");
    }
    // Eve's own stream from its very beginning: it never heard of Bob's.
    let as_eve = Clients { api_key: eve.token.clone(), ..clients.clone() };
    let stream = format!("user:default/{}", eve.id);
    let hers = Events::connect(&as_eve, &["me"], None, BTreeMap::from([(stream, 0)])).await;
    let ServerFrame::Welcome { positions, .. } = &hers.welcome else { panic!("{:?}", hers.welcome) };
    assert_eq!(positions.values().copied().collect::<Vec<_>>(), [0], "nothing was ever in it");
    // An access token is no ticket, and opens no stream in a URL.
    for path in [format!("/v1/events?ticket={}", bob.token), "/v1/events?user_id=bob".to_owned()] {
        let answer = clients.http.get(format!("{}{path}", clients.gateway)).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{path}");
    }
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// Says hello over a ticket of this caller's: nothing, or the close code.
async fn hello(clients: &Clients, topic: &str) -> Result<(), u16> {
    greeted(clients, topic).await.map(drop)
}

/// The same with the connection, while it is open.
async fn greeted(clients: &Clients, topic: &str) -> Result<Socket, u16> {
    let (status, ticket) = clients.api(Method::POST, "/v1/realtime/tickets", Some(json!({}))).await;
    assert!(status.is_success(), "{ticket}");
    let mut request = ticket["url"].as_str().unwrap().into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let hello = json!({ "op": "hello", "since": {}, "topics": [topic] });
    socket.send(Message::text(hello.to_string())).await.unwrap();
    let answer = async {
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Text(text) => {
                    if let ServerFrame::Welcome { .. } = serde_json::from_str(&text).unwrap() {
                        return Ok(socket);
                    }
                }
                Message::Close(Some(frame)) => return Err(u16::from(frame.code)),
                _ => {}
            }
        }
        Err(0)
    };
    tokio::time::timeout(SOON, answer).await.expect("no answer")
}

/// All that is kept of Bob, for Bob.
async fn exported(clients: &Clients, ann: &Person, bob: &Person, asset: &str) {
    let bob = person(sign_in(clients, "bob", "another horse entirely").await).of(bob);
    let (status, whole) = call(clients, &bob, Method::GET, "/v1/me/export", None).await;
    assert_eq!(status, 200, "{whole}");
    assert_eq!((&whole["account"]["id"], &whole["account"]["has_password"]), (&json!(bob.id), &json!(true)));
    let of = |list: &str, field: &str| -> Vec<Value> {
        whole[list]
            .as_array()
            .unwrap_or_else(|| panic!("{list}: {whole}"))
            .iter()
            .map(|row| row[field].clone())
            .collect()
    };
    assert_eq!(of("assets", "id"), [json!(asset)]);
    assert_eq!(of("uploads", "name"), [json!("open.png")]);
    assert!(of("sessions", "ended_at").iter().any(Value::is_null), "this one");
    assert!(of("sessions", "ended_at").iter().any(Value::is_string), "those that ended");
    for what in ["user.signed_up", "user.password_changed", "key.created", "key.rotated", "key.revoked"] {
        assert!(of("audit", "what").contains(&json!(what)), "{what}: {whole}");
    }
    for list in ["api_keys", "webhooks", "votes", "mails"] {
        assert_eq!(whole[list], json!([]), "{list}");
    }
    let text = whole.to_string();
    assert!(!text.contains("argon2") && !text.contains(&ann.id), "nobody else's, and no secret: {text}");
    let key =
        call(clients, &bob, Method::POST, "/v1/keys", Some(json!({ "name": "k", "scopes": ["assets:read"] }))).await.1;
    let by_key = call_as(clients, key["key"].as_str().unwrap(), Method::GET, "/v1/me/export", None, None).await;
    assert_eq!((by_key.0, &by_key.1["code"]), (403, &json!("session_needed")), "for the person alone");
    let (_, whole) = call(clients, &bob, Method::GET, "/v1/me/export", None).await;
    assert_eq!(whole["api_keys"][0]["id"], key["id"]);
    let secret = key["key"].as_str().unwrap().rsplit('_').next().unwrap();
    assert!(!whole.to_string().contains(secret), "{whole}");
}

/// What opened a connection ends: so does the connection, and no other.
async fn connections(clients: &Clients, ann: &Person) {
    let opened = async |token: &str| {
        let as_who = Clients { api_key: token.to_owned(), ..clients.clone() };
        greeted(&as_who, "me").await.unwrap()
    };
    // Ends within the bound and a read, though a slow machine may take longer.
    let why = async |mut socket: Socket| {
        let closed = async {
            while let Some(Ok(message)) = socket.next().await {
                if let Message::Close(Some(frame)) = message {
                    return u16::from(frame.code);
                }
            }
            0
        };
        tokio::time::timeout(SOON, closed).await.expect("the connection stays open")
    };
    let out = sign_up(clients, "kim").await;
    let (other, own) = (sign_in(clients, "kim", PASSWORD).await, sign_in(clients, "kim", PASSWORD).await);
    let (other, own) = (person(other), person(own));
    let wanted = json!({ "name": "listens", "scopes": ["realtime"] });
    let (_, key) = call(clients, &own, Method::POST, "/v1/keys", Some(wanted)).await;
    let (first, second) = (opened(&out.token).await, opened(&other.token).await);
    let (mut third, fourth) = (opened(&own.token).await, opened(key["key"].as_str().unwrap()).await);
    let events = format!("{}/v1/events", clients.gateway);
    let events = clients.http.get(events).bearer_auth(key["key"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(events.status(), 200);

    assert_eq!(door(clients, "sign-out", &json!({}), Some(&out.cookie)).await.status, 204);
    let change = json!({ "current": PASSWORD, "new": "another horse entirely" });
    assert_eq!(call(clients, &own, Method::POST, "/v1/me/password", Some(change)).await.0, 204);
    let path = format!("/v1/keys/{}", key["id"].as_str().unwrap());
    let fifth = {
        let wanted = json!({ "name": "rotates", "scopes": ["realtime"] });
        let (_, key) = call(clients, &own, Method::POST, "/v1/keys", Some(wanted)).await;
        let socket = opened(key["key"].as_str().unwrap()).await;
        let rotate = format!("/v1/keys/{}/rotate", key["id"].as_str().unwrap());
        assert_eq!(call(clients, &own, Method::POST, &rotate, None).await.0, 200);
        socket
    };
    assert_eq!(call(clients, &own, Method::DELETE, &path, None).await.0, 204);
    for (socket, what) in
        [(first, "signed out"), (second, "a new password"), (fourth, "a revoked key"), (fifth, "a rotated one")]
    {
        assert_eq!(why(socket).await, close::UNAUTHENTICATED, "{what}");
    }
    let heard = tokio::time::timeout(SOON, events.text()).await.expect("the events go on").unwrap();
    assert!(heard.trim_end().ends_with("}") && heard.contains(r#""code":"unauthenticated""#), "{heard}");
    third.send(Message::text(r#"{"op":"ping"}"#)).await.unwrap();
    let pong = async {
        while let Some(Ok(message)) = third.next().await {
            if matches!(&message, Message::Text(text) if text.contains("pong")) {
                return true;
            }
        }
        false
    };
    assert!(tokio::time::timeout(SOON, pong).await.unwrap(), "whoever changed the password listens on");

    let path = format!("/v1/users/{}", own.id);
    let (_, user) = call(clients, ann, Method::GET, &path, None).await;
    let (tag, body) = (format!("\"{}\"", user["version"]), json!({ "state": "disabled" }));
    let (status, user) = call_as(clients, &ann.token, Method::PATCH, &path, Some(body), Some(&tag)).await;
    assert_eq!(status, 200, "{user}");
    assert_eq!(why(third).await, close::UNAUTHENTICATED, "shut out");
}

/// Refresh tokens rotate; a lost answer signs nobody out; one that is used again much later, or that was made up, does.
async fn sessions(clients: &Clients, bob: &Person) {
    let refresh = async |cookie: &str| door(clients, "refresh", &json!({}), Some(cookie)).await;
    let one = person(refresh(&bob.cookie).await);
    assert_ne!(one.cookie, bob.cookie, "it rotates");
    let lost = person(refresh(&bob.cookie).await);
    assert_eq!(lost.cookie, one.cookie, "whoever lost the answer gets the same next one");
    let two = person(refresh(&one.cookie).await);
    let reused = refresh(&bob.cookie).await;
    assert_eq!((reused.status.as_u16(), reused.cookie.as_deref()), (401, Some("rf_refresh=")), "in two hands");
    assert_eq!(refresh(&two.cookie).await.status, 401, "it ended for both");
    let (status, problem) = call(clients, &two, Method::GET, "/v1/me", None).await;
    assert_eq!((status, &problem["code"]), (401, &json!("unauthenticated")), "the access token too");

    let wrong = sign_in(clients, "bob", "wrong password").await;
    let unknown = sign_in(clients, "nobody", "wrong password").await;
    assert_eq!((wrong.status, unknown.status), (StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED));
    let told = |answer: &Answer| ["code", "title", "detail"].map(|field| answer.body[field].clone());
    assert_eq!(told(&wrong), told(&unknown), "the same words");

    let (first, second) =
        (person(sign_in(clients, "bob", PASSWORD).await), person(sign_in(clients, "bob", PASSWORD).await));
    let change = |current: &str| Some(json!({ "current": current, "new": "another horse entirely" }));
    let (status, _) = call(clients, &first, Method::POST, "/v1/me/password", change("wrong password")).await;
    assert_eq!(status, 401);
    let (status, body) = call(clients, &first, Method::POST, "/v1/me/password", change(PASSWORD)).await;
    assert_eq!(status, 204, "{body}");
    assert_eq!(sign_in(clients, "bob", PASSWORD).await.status, 401);
    assert_eq!(refresh(&second.cookie).await.status, 401, "every other session has ended");
    let first = person(refresh(&first.cookie).await);
    let out = door(clients, "sign-out", &json!({}), Some(&first.cookie)).await;
    assert_eq!((out.status.as_u16(), out.cookie.as_deref()), (204, Some("rf_refresh=")));
    assert_eq!(refresh(&first.cookie).await.status, 401);
    assert_eq!(call(clients, &first, Method::GET, "/v1/me", None).await.0, 401, "signed out");
}

async fn keys(clients: &Clients, ann: &Person, bob: &Person, eve: &Person, asset: &str) {
    let bob = person(sign_in(clients, "bob", "another horse entirely").await).of(bob);
    let wanted = |scopes: Value| Some(json!({ "name": "script", "scopes": scopes }));
    assert_eq!(call(clients, &bob, Method::POST, "/v1/keys", wanted(json!(["admin"]))).await.0, 403);
    let (status, made) = call(clients, &bob, Method::POST, "/v1/keys", wanted(json!(["assets:read"]))).await;
    assert_eq!(status, 201, "{made}");
    let (id, text) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap().to_owned());
    assert!(text.starts_with(made["prefix"].as_str().unwrap()), "{made}");
    let read = format!("/v1/assets/{asset}");
    let try_key = async |text: &str, path: &str| call_as(clients, text, Method::GET, path, None, None).await.0;
    assert_eq!(try_key(&text, &read).await, 200, "it acts as Bob");
    assert_eq!(try_key(&text, "/v1/uploads").await, 403, "and does no more than it says");
    assert_eq!(try_key(&text, "/v1/keys").await, 403, "least of all make keys");
    let (_, listed) = call(clients, &bob, Method::GET, "/v1/keys", None).await;
    assert_eq!(listed["keys"][0]["id"], made["id"]);
    assert!(listed["keys"][0]["last_used_at"].is_string(), "{listed}");
    assert!(!listed.to_string().contains(text.rsplit('_').next().unwrap()), "the secret was shown once");
    let path = format!("/v1/keys/{id}");
    for (who, method, path) in [
        (eve, Method::DELETE, path.clone()),
        (eve, Method::POST, format!("{path}/rotate")),
        (ann, Method::POST, format!("{path}/rotate")),
    ] {
        assert_eq!(call(clients, who, method, &path, None).await.0, 404, "{path}");
    }
    let (status, rotated) = call(clients, &bob, Method::POST, &format!("{path}/rotate"), None).await;
    assert_eq!((status, &rotated["prefix"]), (200, &made["prefix"]), "{rotated}");
    let newer = rotated["key"].as_str().unwrap();
    assert_eq!((try_key(&text, &read).await, try_key(newer, &read).await), (401, 200), "the old one is no good");
    assert_eq!(call(clients, &bob, Method::DELETE, &path, None).await.0, 204);
    assert_eq!(call(clients, &bob, Method::DELETE, &path, None).await.0, 204, "may be repeated");
    assert_eq!(try_key(newer, &read).await, 401);
}

impl Person {
    /// The same person, signed in anew.
    fn of(self, before: &Person) -> Self {
        assert_eq!(self.id, before.id);
        self
    }
}

/// Ann shuts Eve out and lets her in again; all of it is in the audit.
async fn administered(clients: &Clients, ann: &Person, eve: &Person) {
    let path = format!("/v1/users/{}", eve.id);
    let (status, page) = call(clients, ann, Method::GET, "/v1/users", None).await;
    assert_eq!((status, page["users"].as_array().unwrap().len()), (200, 3), "{page}");
    assert!(!page.to_string().contains("argon2"), "{page}");
    for (path, method) in [("/v1/users", Method::GET), (path.as_str(), Method::GET), ("/v1/audit", Method::GET)] {
        assert_eq!(call(clients, eve, method, path, None).await.0, 403, "{path}");
    }
    let change = async |version: i64, body: Value| {
        let tag = format!("\"{version}\"");
        call_as(clients, &ann.token, Method::PATCH, &path, Some(body), Some(&tag)).await
    };
    let (status, changed) = change(1, json!({ "state": "disabled" })).await;
    assert_eq!((status, &changed["version"]), (200, &json!(2)), "{changed}");
    assert_eq!(change(1, json!({ "state": "active" })).await.0, 412);
    assert_eq!(sign_in(clients, "eve", PASSWORD).await.status, 401, "shut out");
    assert_eq!(door(clients, "refresh", &json!({}), Some(&eve.cookie)).await.status, 401);
    let (status, changed) = change(2, json!({ "state": "active", "roles": ["user", "reviewer"] })).await;
    assert_eq!((status, &changed["roles"]), (200, &json!(["user", "reviewer"])), "{changed}");
    let eve = person(sign_in(clients, "eve", PASSWORD).await);
    assert_eq!(eve.roles, json!(["user", "reviewer"]));
    assert_eq!(call(clients, &eve, Method::GET, "/v1/reviews", None).await.0, 200);
    let (status, audit) = call(clients, ann, Method::GET, "/v1/audit?limit=100", None).await;
    let entries = audit["entries"].as_array().unwrap();
    assert_eq!(status, 200);
    for what in ["user.signed_up", "user.changed", "user.password_changed", "key.created", "key.rotated", "key.revoked"]
    {
        assert!(entries.iter().any(|entry| entry["what"] == what), "{what}: {audit}");
    }
    let changed = entries.iter().find(|entry| entry["what"] == "user.changed").unwrap();
    assert_eq!((&changed["who"], &changed["subject"]), (&json!(ann.id), &json!(eve.id)));
}

/// The links of mails, as they stand in the rows while nobody sends them.
async fn invited_and_forgotten(clients: &Clients, ann: &Person) {
    let wanted = json!({ "email": "guest@example.org", "roles": ["user", "reviewer"] });
    let (status, invitation) = call(clients, ann, Method::POST, "/v1/invitations", Some(wanted)).await;
    assert_eq!(status, 201, "{invitation}");
    let token = invitation["url"].as_str().unwrap().rsplit('=').next().unwrap().to_owned();
    let with =
        |name: &str| json!({ "email": format!("{name}@example.org"), "password": PASSWORD, "invitation": token });
    let other = door(clients, "sign-up", &with("other"), None).await;
    assert_eq!((other.status.as_u16(), &other.body["code"]), (403, &json!("invitation_invalid")), "another's");
    let guest = person(door(clients, "sign-up", &with("guest"), None).await);
    assert_eq!(guest.roles, json!(["user", "reviewer"]));
    assert_eq!(door(clients, "sign-up", &with("guest"), None).await.status, 403, "good once");
    let (_, taken) = call(clients, ann, Method::POST, "/v1/invitations", Some(json!({}))).await;
    let (_, listed) = call(clients, ann, Method::GET, "/v1/invitations", None).await;
    assert_eq!(listed["invitations"].as_array().map(Vec::len), Some(1), "the used one is not open: {listed}");
    assert_eq!((&listed["invitations"][0]["id"], &listed["invitations"][0]["url"]), (&taken["id"], &Value::Null));
    let path = format!("/v1/invitations/{}", taken["id"].as_str().unwrap());
    assert_eq!(call(clients, ann, Method::DELETE, &path, None).await.0, 204);
    assert_eq!(call(clients, ann, Method::DELETE, &path, None).await.0, 404);
    let late = taken["url"].as_str().unwrap().rsplit('=').next().unwrap();
    let late = json!({ "email": "late@example.org", "password": PASSWORD, "invitation": late });
    assert_eq!(door(clients, "sign-up", &late, None).await.status, 403, "taken back");

    for email in ["nobody@example.org", "guest@example.org"] {
        let asked = door(clients, "password-reset", &json!({ "email": email }), None).await;
        assert_eq!(asked.status, 202, "the same for {email}");
    }
    let sql = "SELECT text FROM mail WHERE kind = 'password_reset'";
    let written = async {
        loop {
            let rows = clients.rows(sql).await;
            if !rows.is_empty() {
                return rows;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let rows = tokio::time::timeout(SOON, written).await.expect("no mail was written");
    assert_eq!(rows.len(), 1, "nobody else is mailed");
    let token = rows[0][0].split("/reset?token=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let confirm = async |token: &str, password: &str| {
        door(clients, "password-reset/confirm", &json!({ "token": token, "password": password }), None).await
    };
    assert_eq!(confirm(&"0".repeat(64), "a new password here").await.status, 403);
    assert_eq!(confirm(&token, "short").await.status, 422, "the link is still good");
    assert_eq!(confirm(&token, "a new password here").await.status, 204);
    let again = confirm(&token, "a newer password here").await;
    assert_eq!((again.status.as_u16(), &again.body["code"]), (403, &json!("reset_invalid")), "good once");
    assert_eq!(door(clients, "refresh", &json!({}), Some(&guest.cookie)).await.status, 401, "every session has ended");
    assert!(sign_in(clients, "guest", "a new password here").await.status.is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_invited_stays_outside() {
    let mut options = Options::args(&["--transcoders", "1"]);
    options.env.push(("REELFLEET_SIGN_UP".into(), "invited".into()));
    let fleet = Fleet::start(options).await;
    let clients = &fleet.clients;
    let body = json!({ "email": "ann@example.org", "password": PASSWORD });
    let closed = door(clients, "sign-up", &body, None).await;
    assert_eq!((closed.status.as_u16(), &closed.body["code"]), (403, &json!("sign_up_closed")));
    // The operator's key opens the door to the first.
    let (status, invitation) = clients.api(Method::POST, "/v1/invitations", Some(json!({}))).await;
    assert!(status.is_success(), "{invitation}");
    let token = invitation["url"].as_str().unwrap().rsplit('=').next().unwrap();
    let body = json!({ "email": "ann@example.org", "password": PASSWORD, "invitation": token });
    let ann = person(door(clients, "sign-up", &body, None).await);
    assert_eq!(ann.roles, json!(["user", "reviewer", "operator", "admin"]), "the first all the same");
}
