//! Every realtime topic × everybody, and × every credential that is nobody's, over both transports: each hears what is
//! theirs, and is refused the rest with the right code. The same for every route is beside the gateway's router.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use reelfleet_messages::realtime::{ClientFrame, SUBPROTOCOL, ServerFrame, TOPICS, close};
use reelfleet_tests::clients::Clients;
use reelfleet_tests::{Events, Fleet, Options, executable, ffmpeg, media, pattern};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const SOON: Duration = Duration::from_secs(60);

/// Somebody who has signed up.
struct Person {
    name: &'static str,
    id: String,
    tenant: &'static str,
    token: String,
}

/// What is shown at the door.
#[derive(Debug, Clone, Default)]
struct Shown {
    ticket: Option<String>,
    bearer: Option<String>,
    /// The page that it comes from.
    origin: Option<String>,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
enum Door {
    /// This stream is heard.
    Hears(String),
    /// Who is that?
    Unauthenticated,
    /// Not yours.
    Forbidden,
}

#[derive(Debug, Clone, Copy)]
enum Transport {
    WebSocket,
    Events,
}

/// Who hears a topic. One that is not here ends the test.
fn wanted(topic: &str, who: &Person, asset: &str) -> Door {
    let may = |names: &[&str], stream: String| {
        if names.contains(&who.name) { Door::Hears(stream) } else { Door::Forbidden }
    };
    let everybody = ["ann", "bob", "eve", "rev", "opr", "mallory"];
    match topic {
        "me" => may(&everybody, format!("user:{}/{}", who.tenant, who.id)),
        // Its owner, and who administers its tenant; not who administers another, nor reviewers once nothing waits.
        "asset:<id>" => may(&["ann", "bob"], format!("asset:{asset}")),
        // Each those of the own tenant.
        "reviews" => may(&["ann", "rev", "mallory"], format!("tenant:{}:review", who.tenant)),
        // Over all tenants: no administrator by that alone.
        "ops" => may(&["ann", "opr"], "ops".into()),
        other => panic!("who hears {other}?"),
    }
}

/// Signs up: as anybody may, or by an invitation into this tenant with these roles.
async fn sign_up(fleet: &Fleet, name: &'static str, tenant: &'static str, roles: &[&str]) -> Person {
    let clients = &fleet.clients;
    let mut body = json!({ "email": format!("{name}@example.org"), "password": "correct horse battery" });
    if !roles.is_empty() {
        body["invitation"] = invited(fleet, tenant, roles).await.into();
    }
    let request = clients.http.post(format!("{}/v1/auth/sign-up", clients.gateway)).json(&body);
    let answer = request.header("origin", &clients.gateway).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["user"]["tenant"], tenant);
    let id = body["user"]["id"].as_str().unwrap().to_owned();
    Person { name, id, tenant, token: body["access_token"].as_str().unwrap().to_owned() }
}

/// What an invitation's link holds, made as an operator makes it.
async fn invited(fleet: &Fleet, tenant: &str, roles: &[&str]) -> String {
    let mut command = Command::new(executable());
    command.args(["invite", "--tenant", tenant, "--data"]).arg(fleet.folder());
    for role in roles {
        command.args(["--role", role]);
    }
    let made = command.output().await.unwrap();
    let link = String::from_utf8(made.stdout).unwrap();
    let (_, token) =
        link.trim().split_once("/sign-up?invitation=").unwrap_or_else(|| panic!("{link} {:?}", made.stderr));
    token.to_owned()
}

/// Draws a ticket, from a page of this origin.
async fn ticket(clients: &Clients, token: &str, origin: Option<&str>) -> String {
    let mut request = clients.http.post(format!("{}/v1/realtime/tickets", clients.gateway)).bearer_auth(token);
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    let drawn: Value = request.json(&json!({})).send().await.unwrap().json().await.unwrap();
    drawn["ticket"].as_str().unwrap_or_else(|| panic!("{drawn}")).to_owned()
}

async fn at_the_door(clients: &Clients, transport: Transport, shown: &Shown, topic: &str) -> Door {
    let tried = async {
        match transport {
            Transport::WebSocket => by_socket(clients, shown, topic).await,
            Transport::Events => by_events(clients, shown, topic).await,
        }
    };
    tokio::time::timeout(SOON, tried).await.expect("no answer")
}

fn heard(text: &str) -> Option<Door> {
    match serde_json::from_str(text).unwrap() {
        ServerFrame::Welcome { positions, .. } => {
            assert_eq!(positions.len(), 1, "{positions:?}");
            positions.into_keys().next().map(Door::Hears)
        }
        ServerFrame::Event { .. } => panic!("before any welcome: {text}"),
        _ => None,
    }
}

async fn by_socket(clients: &Clients, shown: &Shown, topic: &str) -> Door {
    let query = shown.ticket.as_ref().map(|ticket| format!("?ticket={ticket}")).unwrap_or_default();
    let url = format!("{}/v1/realtime{query}", clients.gateway.replace("http://", "ws://"));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
    if let Some(bearer) = &shown.bearer {
        request.headers_mut().insert("authorization", format!("Bearer {bearer}").parse().unwrap());
    }
    if let Some(origin) = &shown.origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let hello = ClientFrame::Hello { ticket: None, epoch: None, since: [].into(), topics: vec![topic.into()] };
    // One that is not let in may be gone by now; the close code is still to be read.
    let _ = socket.send(Message::text(serde_json::to_string(&hello).unwrap())).await;
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) => {
                if let Some(door) = heard(&text) {
                    return door;
                }
            }
            Message::Close(Some(frame)) => match u16::from(frame.code) {
                close::UNAUTHENTICATED => return Door::Unauthenticated,
                close::FORBIDDEN => return Door::Forbidden,
                other => panic!("closed by {other}: {}", frame.reason),
            },
            _ => {}
        }
    }
    panic!("the connection broke off")
}

async fn by_events(clients: &Clients, shown: &Shown, topic: &str) -> Door {
    let query = shown.ticket.as_ref().map(|ticket| format!("&ticket={ticket}")).unwrap_or_default();
    let mut request = clients.http.get(format!("{}/v1/events?topics={topic}{query}", clients.gateway));
    if let Some(bearer) = &shown.bearer {
        request = request.bearer_auth(bearer);
    }
    if let Some(origin) = &shown.origin {
        request = request.header("origin", origin);
    }
    let mut answer = request.send().await.unwrap();
    match answer.status().as_u16() {
        401 => return Door::Unauthenticated,
        403 => return Door::Forbidden,
        other => assert_eq!(other, 200),
    }
    let mut text = String::new();
    while let Some(chunk) = answer.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        let first = text.split_once("data: ").and_then(|(_, data)| data.split_once('\n'));
        if let Some(door) = first.and_then(|(data, _)| heard(data)) {
            return door;
        }
    }
    panic!("the stream broke off after {text}")
}

fn picture() -> std::path::PathBuf {
    let path = media().join("account.png");
    let source = pattern::pictures(320, 180, "25", 1.0);
    ffmpeg::make(&path, &["-f", "lavfi", "-i", &source, "-frames:v", "1"]);
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn every_topic_opens_to_whom_it_should_and_to_nobody_else() {
    let picture = tokio::task::spawn_blocking(picture).await.unwrap();
    let mut options = Options::args(&["--transcoders", "1"]);
    options.env.push(("REELFLEET_RATE_BURST".into(), "100000".into()));
    let fleet = Fleet::start(options).await;
    let clients = &fleet.clients;
    let people = [
        sign_up(&fleet, "ann", "default", &[]).await,
        sign_up(&fleet, "bob", "default", &[]).await,
        sign_up(&fleet, "eve", "default", &[]).await,
        sign_up(&fleet, "rev", "default", &["reviewer"]).await,
        sign_up(&fleet, "opr", "default", &["operator"]).await,
        sign_up(&fleet, "mallory", "other", &["user", "reviewer", "admin"]).await,
    ];
    let bob = &people[1];
    let as_bob = Clients { api_key: bob.token.clone(), ..clients.clone() };
    let mut witness = Events::of_everything(clients).await;
    let asset = as_bob.upload(&picture).await;
    witness.ended(&asset, SOON).await;

    // What was pushed to `me` is to be read as well, by the same person alone.
    for who in &people {
        let as_who = Clients { api_key: who.token.clone(), ..clients.clone() };
        let (status, page) = as_who.api(Method::GET, "/v1/me/events?limit=100", None).await;
        assert_eq!(status, 200, "{page}");
        let events = page["events"].as_array().unwrap();
        let ready = events.iter().find(|event| event["type"] == "asset.ready.v1");
        assert_eq!(ready.map(|event| &event["name"]), (who.name == "bob").then_some(&json!("account.png")), "{page}");
        assert_eq!(events.is_empty(), who.name != "bob", "{}: {page}", who.name);
        assert!(events.iter().zip(events.iter().skip(1)).all(|(a, b)| a["position"].as_i64() > b["position"].as_i64()));
    }

    // What is read is read on every device, and by nobody else.
    let read = as_bob.api(Method::PUT, "/v1/me/events/seen", Some(json!({ "position": 2 }))).await;
    assert_eq!(read.0, 204, "{}", read.1);
    for (who, seen) in [(bob, 2), (&people[2], 0)] {
        let as_who = Clients { api_key: who.token.clone(), ..clients.clone() };
        let (_, page) = as_who.api(Method::GET, "/v1/me/events?limit=1", None).await;
        assert_eq!(page["seen"], seen, "{}: {page}", who.name);
    }

    let topics = TOPICS.map(|word| (word, word.replace("<id>", &asset)));
    for (word, topic) in &topics {
        for transport in [Transport::WebSocket, Transport::Events] {
            for who in &people {
                let shown = Shown { ticket: Some(ticket(clients, &who.token, None).await), ..Shown::default() };
                let door = at_the_door(clients, transport, &shown, topic).await;
                assert_eq!(door, wanted(word, who, &asset), "{transport:?}: {} at {word}", who.name);
            }
            for (what, shown, door) in nobodys(clients, bob).await {
                let said = at_the_door(clients, transport, &shown, topic).await;
                assert_eq!(said, door, "{transport:?}: {what} at {word}: {shown:?}");
            }
        }
    }
}

/// Credentials that let nobody in, each made anew: a ticket is used up by showing it.
async fn nobodys(clients: &Clients, bob: &Person) -> Vec<(&'static str, Shown, Door)> {
    let by_ticket = |ticket: String| Shown { ticket: Some(ticket), ..Shown::default() };
    let by_bearer = |bearer: String| Shown { bearer: Some(bearer), ..Shown::default() };
    let key = async |scopes: Value| {
        let as_bob = Clients { api_key: bob.token.clone(), ..clients.clone() };
        let wanted = json!({ "name": "door", "scopes": scopes });
        let (status, made) = as_bob.api(Method::POST, "/v1/keys", Some(wanted)).await;
        assert_eq!(status, 201, "{made}");
        (made["id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned())
    };
    let (expired_id, expired) = key(json!(["realtime"])).await;
    let (revoked_id, revoked) = key(json!(["realtime"])).await;
    let (_, deaf) = key(json!(["assets:read"])).await;
    let (_, good) = key(json!(["realtime"])).await;
    clients.rows(&format!("UPDATE api_key SET expires_at = 1 WHERE id = '{expired_id}'")).await;
    clients.rows(&format!("UPDATE api_key SET revoked_at = 1 WHERE id = '{revoked_id}'")).await;
    let flipped = |text: &str| {
        let last = if text.ends_with('0') { '1' } else { '0' };
        format!("{}{last}", &text[..text.len() - 1])
    };
    let used = ticket(clients, &bob.token, None).await;
    assert!(matches!(at_the_door(clients, Transport::Events, &by_ticket(used.clone()), "me").await, Door::Hears(_)));
    let late = ticket(clients, &bob.token, None).await;
    // The only one that nobody has shown yet.
    clients.rows("UPDATE ticket SET expires_at = 1").await;
    let page = ticket(clients, &bob.token, Some(&clients.gateway)).await;
    let elsewhere = Shown { origin: Some("https://evil.example".into()), ..by_ticket(page) };
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let claims = bob.token.split('.').nth(1).unwrap();
    let refused = [
        ("nothing", Shown::default()),
        ("garbage", by_ticket("nonsense".into())),
        ("garbage as a key", by_bearer("nonsense".into())),
        ("a ticket that nobody drew", by_ticket(flipped(&ticket(clients, &bob.token, None).await))),
        ("a used ticket", by_ticket(used)),
        ("an expired ticket", by_ticket(late)),
        ("a ticket of another page", elsewhere),
        ("an access token in the URL", by_ticket(bob.token.clone())),
        ("an unsigned token", by_bearer(format!("{none}.{claims}."))),
        ("a key with another secret", by_bearer(flipped(&good))),
        ("an expired key", by_bearer(expired)),
        ("a revoked key", by_bearer(revoked)),
    ];
    let mut all: Vec<_> = refused.map(|(what, shown)| (what, shown, Door::Unauthenticated)).into();
    all.push(("a key that may not listen", by_bearer(deaf), Door::Forbidden));
    all
}
