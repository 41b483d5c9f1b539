//! The API as a client meets it: uploads that are resumed, completed, aborted; keys; playback; Problem Details.

use std::time::Duration;

use reelfleet_tests::clients::Clients;
use reelfleet_tests::{Events, Fleet, Options, ffmpeg, media, pattern};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(90);
const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn uploads_keys_and_playback_keep_their_word() {
    let film = tokio::task::spawn_blocking(|| {
        let path = media().join("api.mp4");
        let video = pattern::pictures(160, 90, "25", 2.0);
        ffmpeg::make(&path, &["-f", "lavfi", "-i", &video, "-c:v", "libx264", "-preset", "ultrafast"]);
        path
    });
    let film = film.await.unwrap();
    let fleet = Fleet::start(Options::args(&["--transcoders", "1"])).await;
    let clients = &fleet.clients;
    let mut events = Events::of_everything(clients).await;
    keys(clients).await;
    problems(clients).await;
    parts(clients, &mut events).await;
    single(clients, &mut events, &film).await;
    aborted(clients).await;
    aborted_and_sent_all_the_same(&fleet, &film).await;
    playback(clients, &mut events, &film).await;
    crate::details::keep_their_word(clients, &mut events, &film).await;
    health(&fleet).await;
}

/// The answer to a request without, or with a wrong, API key.
async fn keys(clients: &Clients) {
    for authorization in [None, Some("Bearer "), Some("Bearer rf_nonsense"), Some("Basic eDp5")] {
        for path in ["/v1/assets", "/v1/uploads", "/v1/assets/ast_01h455vb4pex5vsknk084sn02q"] {
            let mut request = clients.http.get(format!("{}{path}", clients.gateway));
            if let Some(value) = authorization {
                request = request.header("authorization", value);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path} {authorization:?}");
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
            assert!(answer.headers().contains_key("www-authenticate"));
            let problem: Value = answer.json().await.unwrap();
            assert_eq!(problem["code"], "unauthenticated", "{problem}");
        }
    }
}

/// Errors are Problem Details with stable codes.
async fn problems(clients: &Clients) {
    let uploads = "/v1/uploads";
    let none = "upl_01h455vb4pex5vsknk084sn02q";
    for (method, path, body, status, code) in [
        (Method::GET, "/v1/nothing".to_owned(), None, 404, "not_found"),
        (Method::DELETE, "/v1/assets".to_owned(), None, 405, "method_not_allowed"),
        (Method::GET, "/v1/assets/ast_01h455vb4pex5vsknk084sn02q".to_owned(), None, 404, "not_found"),
        (Method::GET, "/v1/assets/nonsense".to_owned(), None, 404, "not_found"),
        (Method::GET, "/v1/assets?limit=0".to_owned(), None, 400, "invalid_request"),
        (Method::GET, "/v1/assets?state=odd".to_owned(), None, 400, "invalid_request"),
        (Method::GET, format!("{uploads}/{none}"), None, 404, "not_found"),
        (Method::DELETE, format!("{uploads}/{none}"), None, 404, "not_found"),
        (Method::POST, format!("{uploads}/{none}/complete"), Some(json!({})), 404, "not_found"),
        (Method::POST, uploads.to_owned(), Some(json!({ "name": "a" })), 400, "invalid_request"),
        (Method::POST, uploads.to_owned(), Some(json!({ "name": "", "size": 5 })), 400, "invalid_request"),
        (Method::POST, uploads.to_owned(), Some(json!({ "name": "a", "size": 0 })), 422, "empty"),
        (
            Method::POST,
            uploads.to_owned(),
            Some(json!({ "name": "a", "size": 5, "type": "text/html" })),
            422,
            "type_not_allowed",
        ),
    ] {
        let request =
            clients.http.request(method.clone(), format!("{}{path}", clients.gateway)).bearer_auth(&clients.api_key);
        let request = match &body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{method} {path} {body:?}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{method} {path}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["code"], code, "{method} {path}: {problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["type"], format!("urn:reelfleet:problem:{code}"));
        assert!(
            problem["detail"].as_str().is_some_and(|detail| detail.len() > 5) && problem["request_id"].is_string(),
            "{problem}"
        );
    }
}

async fn create(clients: &Clients, name: &str, size: usize) -> (String, Value) {
    let (status, upload) = clients
        .api(Method::POST, "/v1/uploads", Some(json!({ "name": name, "size": size, "type": "video/mp4" })))
        .await;
    assert_eq!(status, StatusCode::CREATED, "{upload}");
    (upload["id"].as_str().unwrap().to_owned(), upload)
}

async fn sign(clients: &Clients, id: &str, parts: Value) -> (StatusCode, Value) {
    clients.api(Method::POST, &format!("/v1/uploads/{id}/parts"), Some(json!({ "parts": parts }))).await
}

async fn put(clients: &Clients, signed: &Value, body: Vec<u8>) -> StatusCode {
    let mut request = clients.http.put(signed["url"].as_str().unwrap()).body(body);
    for (name, value) in signed["headers"].as_object().unwrap() {
        request = request.header(name, value.as_str().unwrap());
    }
    request.send().await.unwrap().status()
}

/// In parts: resumed from what S3 has, refused while something is missing, completed once and again.
async fn parts(clients: &Clients, events: &mut Events) {
    let bytes: Vec<u8> = (0..18 * MIB).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let (id, upload) = create(clients, "parts.mp4", bytes.len()).await;
    let size = usize::try_from(upload["part_size"].as_u64().unwrap()).unwrap();
    let cut: Vec<&[u8]> = bytes.chunks(size).collect();
    assert_eq!(cut.len(), 3);
    let path = format!("/v1/uploads/{id}");
    let complete = format!("{path}/complete");

    // Only its own parts, at their exact lengths, sixteen at a time.
    for bad in [json!([{ "n": 0 }]), json!([{ "n": 4 }]), json!([{ "n": 1, "len": 5 }])] {
        let (status, problem) = sign(clients, &id, bad).await;
        assert_eq!((status.as_u16(), &problem["code"]), (422, &json!("invalid_part")), "{problem}");
    }
    let many: Vec<Value> = (0..17).map(|_| json!({ "n": 1 })).collect();
    assert_eq!(sign(clients, &id, json!(many)).await.0, StatusCode::BAD_REQUEST);

    let (_, signed) = sign(clients, &id, json!([{ "n": 1 }, { "n": 3 }])).await;
    assert!(put(clients, &signed[0], cut[0].to_vec()).await.is_success());
    let short = put(clients, &signed[1], cut[2][..100].to_vec()).await;
    assert!(short.is_client_error(), "a part of another length than signed was taken: {short}");
    assert!(put(clients, &signed[1], cut[2].to_vec()).await.is_success());
    let (status, problem) = clients.api(Method::POST, &complete, Some(json!({}))).await;
    assert_eq!((status.as_u16(), &problem["code"]), (409, &json!("upload_incomplete")), "{problem}");

    // Another device asks what has arrived, sends the rest, completes; completing again says the same.
    let (_, shown) = clients.api(Method::GET, &path, None).await;
    let arrived: Vec<u64> = shown["parts"]
        .as_array()
        .unwrap_or_else(|| panic!("{shown}"))
        .iter()
        .filter_map(|part| part["n"].as_u64().or(part.as_u64()))
        .collect();
    assert_eq!(arrived, [1, 3], "{shown}");
    let (_, open) = clients.api(Method::GET, "/v1/uploads", None).await;
    assert!(open["uploads"].as_array().unwrap().iter().any(|upload| upload["id"] == id.as_str()), "{open}");
    let (_, signed) = sign(clients, &id, json!([{ "n": 2 }])).await;
    assert!(put(clients, &signed[0], cut[1].to_vec()).await.is_success());
    let (status, done) = clients.api(Method::POST, &complete, Some(json!({}))).await;
    assert!(status.is_success(), "{done}");
    let (status, again) = clients.api(Method::POST, &complete, Some(json!({}))).await;
    assert!(status.is_success() && again["asset"] == done["asset"], "{again}");
    // Noise: refused, under the id that was promised.
    let asset = upload["asset"].as_str().unwrap();
    assert_eq!(events.ended(asset, SOON).await.kind, "asset.refused.v1");
    let (status, problem) = clients.api(Method::DELETE, &path, None).await;
    assert_eq!((status.as_u16(), &problem["code"]), (409, &json!("upload_ended")), "{problem}");
}

/// In one PUT, with an Idempotency-Key.
async fn single(clients: &Clients, events: &mut Events, film: &std::path::Path) {
    let bytes = std::fs::read(film).unwrap();
    let ask = |size: usize| {
        let request = clients.http.post(format!("{}/v1/uploads", clients.gateway)).bearer_auth(&clients.api_key);
        request.header("idempotency-key", "one").json(&json!({ "name": "one.mp4", "size": size })).send()
    };
    let first: Value = ask(bytes.len()).await.unwrap().json().await.unwrap();
    let second: Value = ask(bytes.len()).await.unwrap().json().await.unwrap();
    assert_eq!(first["id"], second["id"]);
    assert_eq!(ask(bytes.len() + 1).await.unwrap().status().as_u16(), 422);
    let id = first["id"].as_str().unwrap();
    let complete = format!("/v1/uploads/{id}/complete");
    let (status, problem) = clients.api(Method::POST, &complete, Some(json!({}))).await;
    assert_eq!((status.as_u16(), &problem["code"]), (409, &json!("upload_incomplete")), "{problem}");
    let (_, signed) = sign(clients, id, json!([{ "n": 1 }])).await;
    assert!(put(clients, &signed[0], bytes.clone()).await.is_success());
    // The URL signs that nothing is there yet: it can't replace what it made.
    let again = put(clients, &signed[0], bytes).await;
    assert_eq!(again, StatusCode::PRECONDITION_FAILED);
    let (status, _) = clients.api(Method::POST, &complete, Some(json!({}))).await;
    assert!(status.is_success());
    assert_eq!(events.ended(first["asset"].as_str().unwrap(), SOON).await.kind, "asset.ready.v1");
}

async fn aborted(clients: &Clients) {
    let (id, _) = create(clients, "aborted.mp4", 20 * MIB).await;
    let path = format!("/v1/uploads/{id}");
    for _ in 0..2 {
        assert_eq!(clients.api(Method::DELETE, &path, None).await.0, StatusCode::NO_CONTENT);
    }
    let (status, problem) = sign(clients, &id, json!([{ "n": 1 }])).await;
    assert_eq!((status.as_u16(), &problem["code"]), (409, &json!("upload_ended")), "{problem}");
    let open = clients.s3.list_multipart_uploads().bucket(&clients.uploads).send().await.unwrap();
    assert!(open.uploads().is_empty(), "{:?}", open.uploads());
}

/// A link that was signed before the abort still takes a PUT: what lands by it is removed, and makes no asset.
async fn aborted_and_sent_all_the_same(fleet: &Fleet, film: &std::path::Path) {
    let clients = &fleet.clients;
    let bytes = std::fs::read(film).unwrap();
    let (id, upload) = create(clients, "late.mp4", bytes.len()).await;
    let (_, signed) = sign(clients, &id, json!([{ "n": 1 }])).await;
    assert_eq!(clients.api(Method::DELETE, &format!("/v1/uploads/{id}"), None).await.0, StatusCode::NO_CONTENT);
    assert!(put(clients, &signed[0], bytes).await.is_success());
    let is_there = async || {
        let listed = clients.s3.list_objects_v2().bucket(&clients.uploads).send().await.unwrap();
        listed.contents().iter().any(|object| object.key().is_some_and(|key| key.contains(&id)))
    };
    let gone = async {
        while is_there().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, gone).await.expect("the object stays");
    let asset = format!("/v1/assets/{}", upload["asset"].as_str().unwrap());
    assert_eq!(clients.api(Method::GET, &asset, None).await.0, StatusCode::NOT_FOUND);
    let (_, shown) = clients.api(Method::GET, &format!("/v1/uploads/{id}"), None).await;
    assert_eq!(shown["state"], "aborted");
    let log = std::fs::read_to_string(fleet.logs().join("intake.log")).unwrap();
    assert!(log.lines().any(|line| line.contains(&id) && line.contains("removed, not processed")), "{log}");
}

/// The right to play is in the URL: nothing else opens it, and it opens nothing else.
async fn playback(clients: &Clients, events: &mut Events, film: &std::path::Path) {
    let asset = clients.upload(film).await;
    assert_eq!(events.ended(&asset, SOON).await.kind, "asset.ready.v1");
    let detail = clients.asset(&asset).await;
    let url = detail["playback"]["url"].as_str().unwrap();
    let get = |url: String| {
        let http = clients.http.clone();
        async move {
            let answer = http.get(url).send().await.unwrap();
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            (status, headers, answer.bytes().await.unwrap())
        }
    };
    let (status, headers, _) = get(url.to_owned()).await;
    assert_eq!(status, 200);
    assert_eq!(headers["content-type"], "application/vnd.apple.mpegurl");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["access-control-allow-origin"], "*");
    assert!(headers["cache-control"].to_str().unwrap().contains("max-age=60"), "{headers:?}");
    let folder = url.strip_suffix("master.m3u8").unwrap();
    for (path, code) in [
        ("nothing.m3u8", "not_found"),
        ("../metadata.json", "not_found"),
        ("..%2f..%2fx", "not_found"),
        ("t/a/1/90p-00000-0000.m4s", "not_found"),
    ] {
        let (status, headers, body) = get(format!("{folder}{path}")).await;
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        assert_eq!((status, &problem["code"]), (404, &json!(code)), "{path}: {problem}");
        assert_eq!(headers["content-type"], "application/problem+json");
    }
    let (start, token) = folder.trim_end_matches('/').rsplit_once('/').unwrap();
    let mut forged = token.to_owned().into_bytes();
    let middle = forged.len() / 2;
    forged[middle] = if forged[middle] == b'A' { b'B' } else { b'A' };
    for token in [String::from_utf8(forged).unwrap(), "nonsense".to_owned()] {
        let (status, _, body) = get(format!("{start}/{token}/master.m3u8")).await;
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        assert_eq!((status, &problem["code"]), (403, &json!("playback_token_invalid")), "{problem}");
    }
    // Ranges and conditions, as players ask.
    let text = String::from_utf8(get(url.to_owned()).await.2.to_vec()).unwrap();
    let media = text.lines().find(|line| line.ends_with(".m3u8") && !line.starts_with('#')).unwrap();
    let (_, headers, body) = get(format!("{folder}{media}")).await;
    let etag = headers["etag"].clone();
    let cached = clients.http.get(format!("{folder}{media}")).header("if-none-match", etag).send().await.unwrap();
    assert_eq!(cached.status(), StatusCode::NOT_MODIFIED);
    let list = String::from_utf8(body.to_vec()).unwrap();
    let segment = list.lines().find(|line| line.ends_with(".m4s")).unwrap();
    let part = clients.http.get(format!("{folder}{segment}")).header("range", "bytes=4-7").send().await.unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert!(part.headers()["cache-control"].to_str().unwrap().contains("immutable"));
    assert_eq!(&part.bytes().await.unwrap()[..], b"styp");
    let whole = clients.http.get(format!("{folder}{segment}")).send().await.unwrap().bytes().await.unwrap();
    for range in ["bytes=0-1,3-4", "bytes=5-1", "bytes=x-y", "nonsense"] {
        let answer = clients.http.get(format!("{folder}{segment}")).header("range", range).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{range} may be ignored");
        assert_eq!(answer.bytes().await.unwrap(), whole, "{range}");
    }
    for range in ["bytes=99999999-", "bytes=999999999999999999999999-", "bytes=-0"] {
        let answer = clients.http.get(format!("{folder}{segment}")).header("range", range).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::RANGE_NOT_SATISFIABLE, "{range}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
    // An unchanged asset is not sent again.
    let shown = clients
        .http
        .get(format!("{}/v1/assets/{asset}", clients.gateway))
        .bearer_auth(&clients.api_key)
        .send()
        .await
        .unwrap();
    let etag = shown.headers()["etag"].clone();
    let same = clients
        .http
        .get(format!("{}/v1/assets/{asset}", clients.gateway))
        .bearer_auth(&clients.api_key)
        .header("if-none-match", etag)
        .send()
        .await
        .unwrap();
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
}

/// On the public port, to whoever is on this machine, and on an address of its own.
async fn health(fleet: &Fleet) {
    let clients = &fleet.clients;
    let pid = fleet.pids("gateway")[0];
    let environment = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    let listen = environment.split('\0').find_map(|pair| pair.strip_prefix("REELFLEET_HEALTH_LISTEN=")).unwrap();
    for path in ["/healthz", "/readyz", "/metrics"] {
        for base in [&clients.gateway, &format!("http://{listen}")] {
            let answer = clients.http.get(format!("{base}{path}")).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{base}{path}");
            if path == "/metrics" {
                assert!(answer.text().await.unwrap().contains("reelfleet_"));
            }
        }
    }
}
