//! Signing in by a real OpenID provider through real processes: who comes in, whose account it is, and what is not believed.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use reelfleet_tests::clients::Clients;
use reelfleet_tests::{Fleet, Options, root};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

const SOON: Duration = Duration::from_secs(60);
const PASSWORD: &str = "correct horse battery";

/// The provider's process.
struct Provider {
    issuer: String,
    http: reqwest::Client,
    /// It has things to say as it goes.
    _output: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Provider {
    async fn start() -> Self {
        let mut process = Command::new("node")
            .arg(root().join("tests/browser/oidc.mjs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("node is installed by `make setup-test`");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(SOON, lines.next_line()).await.expect("the provider does not start");
        let said: Value = serde_json::from_str(&line.unwrap().expect("the provider ended at once")).unwrap();
        let issuer = said["issuer"].as_str().unwrap().to_owned();
        Self { issuer, http: reqwest::Client::new(), _output: lines, _process: process }
    }

    async fn control(&self, change: Value) {
        let sent = self.http.post(format!("{}/control", self.issuer)).json(&change).send().await.unwrap();
        assert!(sent.status().is_success());
    }

    /// Who signs in there from now on, at an address that it has verified.
    async fn account(&self, sub: &str, groups: &[&str]) {
        let email = format!("{sub}@example.org");
        self.control(json!({ "account": {
            "sub": sub, "email": email, "email_verified": true, "name": format!("The {sub}"), "groups": groups,
        } }))
        .await;
    }
}

/// A fleet whose people may come by this provider.
async fn fleet(provider: &Provider, sign_up: &str) -> Fleet {
    let mut options = Options::args(&["--transcoders", "1"]);
    for (name, value) in [
        ("REELFLEET_SIGN_UP", sign_up),
        ("REELFLEET_OIDC_ISSUER", &provider.issuer),
        ("REELFLEET_OIDC_CLIENT_ID", "films"),
        ("REELFLEET_OIDC_CLIENT_SECRET", "s3cret:with/odd chars"),
        ("REELFLEET_OIDC_NAME", "Example ID"),
        ("REELFLEET_OIDC_ROLES_CLAIM", "groups"),
        ("REELFLEET_OIDC_ROLES", r#"{"staff": ["user", "reviewer"], "chiefs": ["user", "admin"]}"#),
    ] {
        options.env.push((name.into(), value.into()));
    }
    let fleet = Fleet::start(options).await;
    provider.control(json!({ "redirect": format!("{}/v1/auth/oidc/callback", fleet.clients.gateway) })).await;
    fleet
}

/// A browser as far as this needs one: cookies by origin and path, and redirects that are seen.
#[derive(Clone)]
struct Browser {
    http: reqwest::Client,
    gateway: String,
    /// By origin and name: path and value.
    cookies: BTreeMap<(String, String), (String, String)>,
}

impl Browser {
    fn new(clients: &Clients) -> Self {
        let http = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
        Self { http, gateway: clients.gateway.clone(), cookies: BTreeMap::new() }
    }

    fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.iter().find(|((_, known), _)| known == name).map(|(_, (_, value))| value.as_str())
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> reqwest::Response {
        let mut request = request.build().unwrap();
        let url = request.url().clone();
        let origin = url.origin().ascii_serialization();
        let fits = |((at, _), (path, _)): &(&(String, String), &(String, String))| {
            *at == origin && url.path().starts_with(path.as_str())
        };
        let jar: Vec<_> =
            self.cookies.iter().filter(fits).map(|((_, name), (_, value))| format!("{name}={value}")).collect();
        if !jar.is_empty() {
            request.headers_mut().insert(COOKIE, jar.join("; ").parse().unwrap());
        }
        let answer = self.http.execute(request).await.unwrap();
        for set in answer.headers().get_all(SET_COOKIE) {
            let mut parts = set.to_str().unwrap().split(';').map(str::trim);
            let (name, value) = parts.next().unwrap().split_once('=').unwrap();
            let parts: Vec<_> = parts.collect();
            let path =
                parts.iter().find_map(|part| part.to_lowercase().strip_prefix("path=").map(|_| part[5..].to_owned()));
            let key = (origin.clone(), name.to_owned());
            if value.is_empty() || parts.contains(&"Max-Age=0") {
                self.cookies.remove(&key);
            } else {
                self.cookies.insert(key, (path.unwrap_or_else(|| "/".to_owned()), value.to_owned()));
            }
        }
        answer
    }

    async fn get(&mut self, url: &str) -> reqwest::Response {
        self.send(self.http.get(url)).await
    }

    /// Follows redirects until the next one would lead to where `stop` says, or to a page of ours; answers that.
    async fn follow(&mut self, mut url: String, stop: impl Fn(&Url) -> bool) -> Url {
        for _ in 0..12 {
            let answer = self.get(&url).await;
            let (status, to) =
                (answer.status(), answer.headers().get(LOCATION).map(|to| to.to_str().unwrap().to_owned()));
            let Some(to) = to else { panic!("{url} answered {status}: {}", answer.text().await.unwrap()) };
            let to = Url::parse(&url).unwrap().join(&to).unwrap();
            let ours = to.as_str().starts_with(&self.gateway) && !to.path().starts_with("/v1/");
            if stop(&to) || ours {
                return to;
            }
            url = to.into();
        }
        panic!("it goes round in circles");
    }

    /// Presses the button, and is somewhere in the end.
    async fn sign_in(&mut self, query: &str) -> Url {
        self.follow(format!("{}/v1/auth/oidc/start{query}", self.gateway), |_| false).await
    }

    /// Presses the button, and stops where the provider sends it back.
    async fn until_callback(&mut self) -> Url {
        let start = format!("{}/v1/auth/oidc/start", self.gateway);
        self.follow(start, |to| to.path() == "/v1/auth/oidc/callback").await
    }

    async fn door(&mut self, path: &str, body: Value) -> (u16, Value) {
        let request = self.http.post(format!("{}/v1/auth/{path}", self.gateway)).json(&body);
        let answer = self.send(request.header("origin", &self.gateway)).await;
        (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null))
    }

    /// Who is signed in here: the page asks so when it loads.
    async fn me(&mut self) -> Option<Value> {
        let (status, session) = self.door("refresh", json!({})).await;
        (status == 200).then(|| session["user"].clone())
    }
}

/// What the sign-in page is told.
fn failed(url: &Url) -> Option<String> {
    let found = url.query_pairs().find(|(name, _)| name == "failed").map(|(_, value)| value.into_owned());
    assert!(found.is_none() || url.path() == "/sign-in", "{url}");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn people_come_in_by_their_provider_and_nobody_by_a_trick() {
    let provider = Provider::start().await;
    let fleet = fleet(&provider, "open").await;
    let clients = &fleet.clients;
    let ways: Value =
        clients.http.get(format!("{}/v1/auth/ways", clients.gateway)).send().await.unwrap().json().await.unwrap();
    assert_eq!((&ways["provider"]["name"], &ways["sign_up"]), (&json!("Example ID"), &json!("open")), "{ways}");

    let ann = comes_in(clients, &provider).await;
    keys_change(clients, &provider, &ann).await;
    lies(clients, &provider).await;
    strangers(clients, &provider).await;
    once(clients, &provider).await;
    linked(clients, &provider).await;
    shut_out(clients, &provider, &ann).await;
    let users = clients.rows("SELECT email FROM user_account ORDER BY email").await;
    let users: Vec<_> = users.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(users, ["ann@example.org", "bob@example.org", "eve@example.org"], "nothing else made an account");
}

/// Ann: made, found again, followed when her groups change.
async fn comes_in(clients: &Clients, provider: &Provider) -> Value {
    provider.account("ann", &["staff"]).await;
    let mut browser = Browser::new(clients);
    let to = browser.sign_in("?next=%2Fwatch%2Fast_1%3Ft%3D5").await;
    assert_eq!((to.path(), to.query()), ("/watch/ast_1", Some("t=5")));
    assert_eq!(browser.cookie("rf_oidc"), None, "it is over");
    let ann = browser.me().await.expect("the session is one like any other");
    assert_eq!((&ann["email"], &ann["name"]), (&json!("ann@example.org"), &json!("The ann")));
    assert_eq!(ann["roles"], json!(["user", "reviewer"]), "by her groups, though she is the first");

    provider.account("ann", &["staff", "chiefs"]).await;
    let mut other = Browser::new(clients);
    for (next, path) in [("?next=//evil.example/x", "/"), ("?next=https://evil.example", "/"), ("", "/")] {
        assert_eq!(other.sign_in(next).await.path(), path, "{next}");
    }
    let again = other.me().await.unwrap();
    assert_eq!(again["id"], ann["id"]);
    assert_eq!(again["roles"], json!(["user", "reviewer", "admin"]), "as her groups are now");
    // Another address there is no other person here.
    let moved = json!({ "sub": "ann", "email": "ann.b@example.org", "email_verified": true, "groups": ["chiefs"] });
    provider.control(json!({ "account": moved })).await;
    other.sign_in("").await;
    assert_eq!(other.me().await.unwrap()["id"], ann["id"]);
    let (status, _) = other.door("sign-in", json!({ "email": "ann@example.org", "password": "" })).await;
    assert_eq!(status, 401, "she has no password, and the empty one is none");
    again
}

async fn keys_change(clients: &Clients, provider: &Provider, ann: &Value) {
    for change in [json!({ "sign_by": "ES256" }), json!({ "rotate": true }), json!({ "sign_by": "RS256" })] {
        provider.control(change.clone()).await;
        let mut browser = Browser::new(clients);
        browser.sign_in("").await;
        assert_eq!(browser.me().await.map(|me| me["id"].clone()), Some(ann["id"].clone()), "{change}");
    }
}

/// Tokens that say something else than they have to, signed by the provider's own key; and by another.
async fn lies(clients: &Clients, provider: &Provider) {
    for (lie, sign_by) in [
        (json!({ "nonce": "another" }), "RS256"),
        (json!({ "aud": "other" }), "RS256"),
        (json!({ "aud": ["films", "other"] }), "RS256"),
        (json!({ "azp": "other" }), "RS256"),
        (json!({ "iss": "https://other.example" }), "RS256"),
        (json!({ "exp": 1_700_000_000 }), "ES256"),
        (json!({}), "stranger"),
    ] {
        provider.control(json!({ "tamper": lie, "sign_by": sign_by })).await;
        let mut browser = Browser::new(clients);
        assert_eq!(failed(&browser.sign_in("").await).as_deref(), Some("provider"), "{lie} {sign_by}");
        assert_eq!(browser.me().await, None, "{lie}");
    }
    provider.control(json!({ "tamper": {}, "sign_by": "RS256" })).await;
}

/// Whom the provider does not quite vouch for.
async fn strangers(clients: &Clients, provider: &Provider) {
    for account in [
        json!({ "sub": "mallory", "email": "mallory@example.org", "email_verified": false }),
        json!({ "sub": "mallory", "email": "mallory@example.org" }),
        json!({ "sub": "mallory" }),
        json!({ "sub": "mallory", "email": "no address", "email_verified": true }),
    ] {
        provider.control(json!({ "account": account })).await;
        let mut browser = Browser::new(clients);
        assert_eq!(failed(&browser.sign_in("").await).as_deref(), Some("email_unverified"), "{account}");
        assert_eq!(browser.me().await, None);
    }
    let mut browser = Browser::new(clients);
    let mut callback = browser.until_callback().await;
    let state = callback.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    callback.set_query(Some(&format!("error=access_denied&state={state}&iss={}", provider.issuer)));
    let to = browser.follow(callback.into(), |_| false).await;
    assert_eq!(failed(&to).as_deref(), Some("denied"));
}

/// A return is good once, in the browser that went there.
async fn once(clients: &Clients, provider: &Provider) {
    provider.account("ann", &["chiefs"]).await;
    let mut browser = Browser::new(clients);
    let callback = browser.until_callback().await;
    assert!(callback.query().unwrap().contains("code="), "{callback}");
    let before = browser.clone();
    let mut without = Browser::new(clients);
    assert_eq!(failed(&without.follow(callback.to_string(), |_| false).await).as_deref(), Some("state"), "no cookie");
    let mut others = Browser::new(clients);
    others.until_callback().await;
    assert_eq!(failed(&others.follow(callback.to_string(), |_| false).await).as_deref(), Some("state"), "another's");
    let mut elsewhere = browser.clone();
    let query = callback.query().unwrap().replace("iss=http", "iss=https");
    let mut mixed = callback.clone();
    mixed.set_query(Some(&query));
    assert_eq!(failed(&elsewhere.follow(mixed.into(), |_| false).await).as_deref(), Some("state"), "another issuer's");

    // The try with another issuer's answer has used the return up: a fresh one.
    let callback = browser.until_callback().await;
    let kept = browser.clone();
    assert_eq!(browser.follow(callback.to_string(), |_| false).await.as_str(), format!("{}/", clients.gateway));
    assert!(browser.me().await.is_some());
    for mut thief in [before, kept, browser.clone()] {
        thief.cookies.retain(|(_, name), _| name != "rf_refresh");
        let to = thief.follow(callback.to_string(), |_| false).await;
        assert_eq!(failed(&to).as_deref(), Some("state"), "a second time");
        assert_eq!(thief.me().await, None);
    }
    // A code that was used, with a state that was not.
    let code = callback.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let mut thief = Browser::new(clients);
    let mut fresh = thief.until_callback().await;
    let pairs: Vec<(String, String)> = fresh.query_pairs().into_owned().collect();
    fresh
        .query_pairs_mut()
        .clear()
        .extend_pairs(pairs.iter().map(|(name, value)| (name, if name == "code" { &code } else { value })));
    assert_eq!(failed(&thief.follow(fresh.into(), |_| false).await).as_deref(), Some("provider"), "an old code");
    assert_eq!(thief.me().await, None);
}

/// Bob has an account with a password. The provider vouches for his address: that alone gives nobody his account.
async fn linked(clients: &Clients, provider: &Provider) {
    let account = |name: &str| json!({ "email": format!("{name}@example.org"), "password": PASSWORD, "name": name });
    let mut bob = Browser::new(clients);
    let (status, made) = bob.door("sign-up", account("bob")).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(Browser::new(clients).door("sign-up", account("eve")).await.0, 201);

    provider.account("bob", &["staff"]).await;
    let mut browser = Browser::new(clients);
    let to = browser.sign_in("").await;
    assert_eq!((to.path(), to.query()), ("/sign-in", Some("link=provider")));
    assert_eq!(browser.me().await, None, "not yet");
    let sign_in = |name: &str, password: &str| json!({ "email": format!("{name}@example.org"), "password": password });
    assert_eq!(browser.door("sign-in", sign_in("bob", "wrong password")).await.0, 401);
    let mut eve = browser.clone();
    assert_eq!(eve.door("sign-in", sign_in("eve", PASSWORD)).await.0, 200);
    let links = async || clients.rows("SELECT user_id FROM user_identity WHERE subject = 'bob'").await;
    assert!(links().await.is_empty(), "neither a wrong password nor another's links");

    let (status, session) = browser.door("sign-in", sign_in("bob", PASSWORD)).await;
    assert_eq!((status, &session["user"]["id"]), (200, &made["user"]["id"]), "{session}");
    assert_eq!(browser.cookie("rf_link"), None, "it is over");
    assert_eq!(links().await.len(), 1);
    let told = clients.rows("SELECT to_address FROM mail WHERE kind = 'identity_linked'").await;
    assert_eq!(told, [["bob@example.org"]], "his address is told");
    let noted = clients.rows("SELECT subject FROM audit WHERE what = 'user.linked'").await;
    assert_eq!(noted[0][0], made["user"]["id"].as_str().unwrap());
    let mut next = Browser::new(clients);
    assert_eq!(next.sign_in("").await.path(), "/");
    let me = next.me().await.unwrap();
    assert_eq!((&me["id"], &me["roles"]), (&made["user"]["id"], &json!(["user", "reviewer"])), "from now on");
}

async fn shut_out(clients: &Clients, provider: &Provider, ann: &Value) {
    let path = format!("/v1/users/{}", ann["id"].as_str().unwrap());
    let (_, user) = clients.api(Method::GET, &path, None).await;
    let answer = clients
        .http
        .patch(format!("{}{path}", clients.gateway))
        .bearer_auth(&clients.api_key)
        .header("if-match", format!("\"{}\"", user["version"]))
        .json(&json!({ "state": "disabled" }))
        .send();
    assert_eq!(answer.await.unwrap().status(), 200);
    provider.account("ann", &["chiefs"]).await;
    let mut browser = Browser::new(clients);
    assert_eq!(failed(&browser.sign_in("").await).as_deref(), Some("disabled"));
    assert_eq!(browser.me().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_invited_is_not_let_in_by_a_provider() {
    let provider = Provider::start().await;
    let fleet = fleet(&provider, "invited").await;
    let clients = &fleet.clients;
    provider.account("ann", &["staff"]).await;
    let mut browser = Browser::new(clients);
    assert_eq!(failed(&browser.sign_in("").await).as_deref(), Some("sign_up_closed"));
    let invite = async |email: &str| {
        let (status, made) = clients.api(Method::POST, "/v1/invitations", Some(json!({ "email": email }))).await;
        assert!(status.is_success(), "{made}");
        made["url"].as_str().unwrap().rsplit('=').next().unwrap().to_owned()
    };
    let (hers, anothers) = (invite("ann@example.org").await, invite("bob@example.org").await);
    let with = |token: &str| format!("?invitation={token}");
    assert_eq!(failed(&browser.sign_in(&with(&anothers)).await).as_deref(), Some("invitation_invalid"));
    assert_eq!(browser.sign_in(&with(&hers)).await.path(), "/");
    assert_eq!(browser.me().await.unwrap()["email"], "ann@example.org");
    assert_eq!(Browser::new(clients).sign_in("").await.path(), "/", "who is known needs none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_comes_by_another_site() {
    let provider = Provider::start().await;
    let fleet = fleet(&provider, "open").await;
    let script = Command::new("node")
        .arg(root().join("tests/browser/oidc-person.mjs"))
        .args([&fleet.clients.gateway, &provider.issuer])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(2 * SOON, script).await.expect("it took too long").unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "it failed, and said {said}");
    let last: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(last["wrong"], json!([]));
}
