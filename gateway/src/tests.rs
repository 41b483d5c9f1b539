//! The router as a whole, against a catalog that answers from a table and an S3 that answers from a script.

mod accounts;
mod matrix;
mod playback;
mod realtime;
mod rights;
mod scaling;
mod uploads;
mod webhooks;

use std::sync::{Arc, Mutex};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use reelfleet_access::sessions::Subject;
use reelfleet_access::{Grant, PlaybackKey, Roles, Secret, SessionKey};
use reelfleet_catalog::Catalog;
use reelfleet_domain::AssetState;
use reelfleet_fleet::{Clients, Clock, Config, Context};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::app::App;
use crate::options::{GatewayOptions, SignUp};
use crate::router::router;
use crate::serve::answer;

const NOW: i64 = 1_800_000_000_000;
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const UPLOAD: &str = "upl_01h455vb4pex5vsknk084sn02q";
const USER: &str = "usr_01h455vb4pex5vsknk084sn02q";
const SESSION: &str = "ses_01h455vb4pex5vsknk084sn02q";
const REVIEW: &str = "rev_01h455vb4pex5vsknk084sn02q";
const KEY: &str = "key_01h455vb4pex5vsknk084sn02q";
const INVITATION: &str = "inv_01h455vb4pex5vsknk084sn02q";
const WEBHOOK: &str = "whk_01h455vb4pex5vsknk084sn02q";
const EVENT: &str = "evt_01h455vb4pex5vsknk084sn02q";
const ASSET: &str = "ast_01h455vb4pex5vsknk084sn02q";
const MIB: i64 = 1 << 20;

/// What S3 answers to a method and a piece of the path and query.
#[derive(Clone, Copy)]
struct Script {
    method: &'static str,
    wants: &'static str,
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
}

/// What the catalog and S3 hold.
#[derive(Clone)]
struct World {
    scopes: String,
    /// Of the one account there is, which is also signed in.
    roles: &'static str,
    user_state: &'static str,
    session_over: bool,
    key_tenant: &'static str,
    key_owner: &'static str,
    upload_tenant: &'static str,
    upload_owner: &'static str,
    upload_state: &'static str,
    /// 20 MiB in parts of 8 MiB rather than 5 bytes at once.
    multipart: bool,
    /// Announced with `checksum: "sha256"`.
    sums: bool,
    asset_tenant: &'static str,
    asset_owner: &'static str,
    asset_state: AssetState,
    /// Whose the one review is, if there is one.
    review_tenant: Option<&'static str>,
    /// The same of an invitation.
    invitation_tenant: Option<&'static str>,
    visibility: &'static str,
    request_key: bool,
    /// What the one webhook reads.
    webhook_stream: &'static str,
    /// Of the asset, in German.
    captions: bool,
    s3: Vec<Script>,
    notifier: String,
    /// More arguments of the configuration.
    config: &'static [&'static str],
    /// What other services of AWS answer to `x-amz-target`: status and body.
    aws: fn(&str) -> (u16, Value),
}

impl Default for World {
    fn default() -> Self {
        Self {
            scopes: "uploads:write assets:read assets:write realtime".into(),
            roles: "user",
            user_state: "active",
            session_over: false,
            key_tenant: "mine",
            key_owner: "me",
            upload_tenant: "mine",
            upload_owner: "me",
            upload_state: "open",
            multipart: false,
            sums: false,
            asset_tenant: "mine",
            asset_owner: "me",
            asset_state: AssetState::Processing,
            review_tenant: None,
            invitation_tenant: None,
            visibility: "private",
            request_key: false,
            webhook_stream: "user:mine/me",
            captions: false,
            s3: Vec::new(),
            notifier: "http://127.0.0.1:1".into(),
            config: &[],
            aws: |target| panic!("nobody asks for {target} here"),
        }
    }
}

fn secret() -> Secret {
    Secret::from_bytes([7; 32])
}

/// A field of the Data API.
fn field(value: &Value) -> Value {
    match value {
        Value::Null => json!({ "isNull": true }),
        Value::Number(number) => json!({ "longValue": number }),
        other => json!({ "stringValue": other }),
    }
}

impl World {
    /// The row that a statement finds, if it finds one.
    fn row(&self, sql: &str) -> Option<Value> {
        if sql.contains("FROM picture") || sql.contains("job_cost") || sql.contains("FROM speed") {
            return None;
        }
        if sql.contains("FROM caption") {
            return self.captions.then(|| json!(["de", "Deutsch", "captions/de-0f.vtt", 1, 60]));
        }
        if sql.contains("FROM webhook w") {
            let (tenant, owner) = (self.asset_tenant, self.asset_owner);
            let url = "https://example.com/hook";
            let stream = self.webhook_stream;
            return Some(json!([WEBHOOK, tenant, owner, "w", url, "", stream, 0, 1, null, 1, NOW, NOW, null, null]));
        }
        if sql.contains("FROM api_key") {
            let hash = secret().hash();
            let (tenant, owner, scopes) = (self.key_tenant, self.key_owner, &self.scopes);
            return Some(json!([KEY, tenant, owner, "n", hash, scopes, 0, null, NOW, null, null, null, null]));
        }
        if sql.contains("FROM approval r WHERE") {
            return self.review_tenant.map(|tenant| {
                let (owner, later) = (self.asset_owner, NOW + 1_000_000);
                json!([
                    REVIEW, ASSET, tenant, owner, "s", "waiting", 7, 1, 0, "keep", null, null, null, NOW, later, null,
                    null, "[]"
                ])
            });
        }
        if sql.contains("FROM invitation") {
            return self
                .invitation_tenant
                .map(|tenant| json!([INVITATION, "h", tenant, null, "user", "somebody", NOW, NOW + 1_000_000, null]));
        }
        if sql.contains("FROM session s") {
            let over = self.session_over.then_some(1);
            return Some(json!([SESSION, USER, 1, NOW, NOW + 1_000_000, over, "mine", self.roles, self.user_state]));
        }
        if sql.contains("FROM user_account") {
            let hash = "$argon2id$v=19$m=19456,t=2,p=1$AAAA$AAAA";
            let tenant = self.asset_tenant;
            return Some(json!([USER, tenant, "ann@example.org", "Ann", self.roles, self.user_state, hash, 7, NOW]));
        }
        if sql.contains("FROM upload") {
            let (size, part_size, s3_id) =
                if self.multipart { (20 * MIB, Some(8 * MIB), Some("s3id")) } else { (5, None, None) };
            let found = !sql.contains(":request_key") || self.request_key;
            return found.then(|| {
                json!([
                    UPLOAD,
                    self.upload_tenant,
                    self.upload_owner,
                    ASSET,
                    "reelfleet-uploads",
                    "in/mine/me/x/source",
                    "a.mp4",
                    "video/mp4",
                    size,
                    part_size,
                    s3_id,
                    null,
                    null,
                    self.sums.then_some("sha256"),
                    null,
                    self.upload_state,
                    NOW,
                    NOW + 60_000
                ])
            });
        }
        if sql.starts_with("SELECT state, visibility FROM asset") {
            return Some(json!([self.asset_state.as_str(), self.visibility]));
        }
        if sql.contains("FROM asset") && !sql.contains("JOIN picture") {
            let found = !sql.contains("tenant = :tenant") || self.asset_tenant == "mine";
            return found.then(|| {
                json!([
                    ASSET,
                    self.asset_tenant,
                    self.asset_owner,
                    null,
                    "b",
                    "k",
                    null,
                    "e",
                    5,
                    "n",
                    self.asset_state.as_str(),
                    "video",
                    null,
                    null,
                    null,
                    null,
                    1,
                    null,
                    null,
                    1,
                    0,
                    NOW,
                    null,
                    null,
                    NOW,
                    "",
                    "[]",
                    self.visibility,
                    1
                ])
            });
        }
        None
    }

    fn data_api(&self, call: &Value) -> Response {
        let row = self.row(call["sql"].as_str().unwrap());
        let records: Vec<Value> = row.iter().map(|row| row.as_array().unwrap().iter().map(field).collect()).collect();
        Json(json!({ "records": records, "numberOfRecordsUpdated": 1 })).into_response()
    }

    fn s3(&self, method: &Method, target: &str) -> Response {
        let found = self.s3.iter().find(|script| method == script.method && target.contains(script.wants));
        let Some(script) = found else { return StatusCode::NOT_FOUND.into_response() };
        let mut response = Response::builder().status(script.status);
        for (name, value) in script.headers {
            response = response.header(*name, *value);
        }
        response.body(script.body.into()).unwrap()
    }
}

/// A gateway in such a world, and what it asked of it.
struct Gateway {
    router: Router,
    context: Context,
    /// Calls of the Data API.
    statements: Arc<Mutex<Vec<Value>>>,
    /// Requests to S3: method, path and query, headers.
    requests: Arc<Mutex<Vec<(Method, String, HeaderMap)>>>,
    /// Calls of other services: `x-amz-target` and body.
    calls: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Gateway {
    async fn with(world: World) -> Self {
        let (statements, requests) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, asked, notifier) = (statements.clone(), requests.clone(), world.notifier.clone());
        let calls = Arc::<Mutex<Vec<_>>>::default();
        let (called, config) = (calls.clone(), config(world.config));
        let aws = Router::new().fallback(async move |request: Request<Body>| {
            let (parts, body) = request.into_parts();
            if parts.uri.path().starts_with("/reelfleet-") {
                let target = parts.uri.path_and_query().unwrap().to_string();
                let response = world.s3(&parts.method, &target);
                asked.lock().unwrap().push((parts.method, target, parts.headers));
                return response;
            }
            let call: Value = serde_json::from_slice(&axum::body::to_bytes(body, 1 << 20).await.unwrap()).unwrap();
            if let Some(target) = parts.headers.get("x-amz-target") {
                let target = target.to_str().unwrap().to_owned();
                let (status, answer) = (world.aws)(&target);
                called.lock().unwrap().push((target, call));
                return (StatusCode::from_u16(status).unwrap(), answer.to_string()).into_response();
            }
            if call["sql"].is_null() {
                // A transaction begins, or ends.
                return Json(json!({ "transactionId": "t", "transactionStatus": "done" })).into_response();
            }
            let response = world.data_api(&call);
            seen.lock().unwrap().push(call);
            response
        });
        tokio::spawn(async move { axum::serve(listener, aws).await });
        let sdk = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(format!("http://{address}"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::for_tests()))
            .build();
        let clients = Clients::from_sdk(&sdk, &config);
        let catalog = Catalog::new(clients.rds.clone(), "r".into(), "s".into(), None);
        let context = Context::with_clients(config, "gateway", clients, Clock::manual(NOW)).unwrap();
        let options = GatewayOptions {
            listen: address,
            playback_secret: SECRET.into(),
            playback_ttl_s: 3_600,
            notifier_url: notifier,
            web_origins: vec!["https://web.example".into()],
            upload_ttl_s: 3_600,
            restore_seconds: 3_600,
            session_secret: Some(SECRET.into()),
            sources: "[]".parse().unwrap(),
            webhook_secret: Some(SECRET.into()),
            webhook_allow: "127.0.0.1".parse().unwrap(),
            sign_up: SignUp::Open,
            trusted_proxies: 0,
            rate_per_second: 10,
            rate_burst: 200,
            oidc: crate::OidcOptions::default(),
        };
        let router = router(App::new(context.clone(), catalog, options).unwrap());
        Self { router, context, statements, requests, calls }
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, HeaderMap, Value) {
        let (status, headers, body) = self.raw(request).await;
        (status, headers, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn raw(&self, request: Request<Body>) -> (StatusCode, HeaderMap, Vec<u8>) {
        let (parts, body) = answer(&mut self.router.clone(), request).await.into_parts();
        (parts.status, parts.headers, axum::body::to_bytes(body, 1 << 20).await.unwrap().to_vec())
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let (status, _, body) = self.send(keyed(method, path, body)).await;
        (status, body)
    }

    fn sql(&self) -> Vec<String> {
        let statements = self.statements.lock().unwrap();
        statements.iter().map(|call| call["sql"].as_str().unwrap().to_owned()).collect()
    }
}

fn config(arguments: &[&str]) -> Config {
    use clap::{Args as _, FromArgMatches as _};
    let command = Config::augment_args(clap::Command::new("test"));
    Config::from_arg_matches(&command.get_matches_from([&["test"], arguments].concat())).unwrap()
}

fn key() -> String {
    format!("rf_01h455vb4pex5vsknk084sn02q_{}", secret().reveal())
}

/// The access token of the one account.
fn token() -> String {
    signed(SECRET, "http://localhost:8080", NOW)
}

fn signed(secret: &str, audience: &str, now: i64) -> String {
    let key = SessionKey::new(secret, audience).unwrap();
    let (user, session) = (USER.parse().unwrap(), SESSION.parse().unwrap());
    key.access(now, &Subject { user: &user, tenant: "mine", roles: Roles::all(), session: &session }).unwrap().text
}

/// A request with any bearer token.
fn with_token(token: &str, method: &str, path: &str, body: Value) -> Request<Body> {
    let mut request = keyed(method, path, body);
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

fn keyed(method: &str, path: &str, body: Value) -> Request<Body> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {}", key()))
        .header("content-type", "application/json");
    let body = if body.is_null() { Body::empty() } else { body.to_string().into() };
    request.body(body).unwrap()
}
