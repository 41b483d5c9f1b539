//! The web app in headless Chromium, as people use it: from an empty installation to a film that was deleted for good.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use reelfleet_tests::smtp::Sink;
use reelfleet_tests::{Fleet, Options, ffmpeg, media, pattern, root};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

const WITHIN: Duration = Duration::from_secs(300);

/// A film of 45 s, which takes longer to make than to begin, and 300 MB: behind it lies a box that players skip.
fn film() -> PathBuf {
    const SIZE: u64 = 300_000_000;
    let path = media().join("browser-300mb.mp4");
    if path.metadata().is_ok_and(|file| file.len() == SIZE) {
        return path;
    }
    let mut bytes = std::fs::read(noisy_film()).unwrap();
    let rest = u32::try_from(SIZE - bytes.len() as u64).unwrap();
    bytes.extend_from_slice(&rest.to_be_bytes());
    bytes.extend_from_slice(b"free");
    std::fs::write(&path, bytes).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(SIZE).unwrap();
    path
}

fn noisy_film() -> PathBuf {
    let path = media().join("browser-45.mp4");
    let video = format!("{},noise=alls=24:allf=t", pattern::pictures(640, 360, "25", 45.0));
    let sound = pattern::sound(45.0, 48_000);
    let encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-c:a", "aac"];
    ffmpeg::make(&path, &[&["-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &sound][..], &encoder].concat());
    path
}

fn captions(folder: &Path) -> PathBuf {
    let path = folder.join("captions.srt");
    std::fs::write(&path, "1\n00:00:00,000 --> 00:00:44,000\nThe sea is calm.\n").unwrap();
    path
}

/// A script of `tests/browser`, which says one JSON object at its end.
struct Script(Child);

impl Script {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let process = Command::new("node")
            .arg(root().join("tests/browser").join(name))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .expect("node is installed by `make setup-test`");
        Self(process)
    }

    async fn tell(&mut self, line: &Value) {
        self.0.stdin.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn end(self) -> Value {
        let output = tokio::time::timeout(WITHIN, self.0.wait_with_output()).await.expect("it took too long").unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "it failed, and said {said}");
        let last = said.trim().lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {said}"))
    }
}

fn shots() -> String {
    root().join(".reelfleet/screenshots").to_str().unwrap().to_owned()
}

/// Every address that shows a page of its own, as the app's router has them; `*` is any other.
fn routes() -> Vec<String> {
    let app = std::fs::read_to_string(root().join("web/src/app.tsx")).unwrap();
    let between = |before: &str, after: &str| -> Vec<String> {
        app.split(before).skip(1).filter_map(|rest| rest.split_once(after)).map(|(found, _)| found.to_owned()).collect()
    };
    let mut routes = between("<Route path=\"", "\"");
    assert!(routes.len() >= 14, "{routes:?}");
    // What is told apart before the router is asked.
    let gate = between("const pages: Record<string, ComponentType> = {", "}");
    let gates: Vec<_> = gate.iter().flat_map(|keys| keys.split('"').skip(1).step_by(2)).map(str::to_owned).collect();
    let links: Vec<_> = between("/^\\/", "\\/([^/]+)$/").iter().map(|word| format!("/{word}/:id")).collect();
    assert!(gates.len() >= 3 && links.len() >= 2, "{gates:?} {links:?}");
    routes.extend(gates.into_iter().chain(links));
    routes.extend(app.contains("<Route><").then(|| "*".to_owned()));
    routes
}

/// Whether a route shows what lies at an address: `:id` is any word, `:tab?` any or none.
fn shows(route: &str, path: &str) -> bool {
    let (mut words, mut at) = (path.split('/'), route.split('/'));
    loop {
        match (at.next(), words.next()) {
            (None, None) => return true,
            (Some(name), None) => return name.starts_with(':') && name.ends_with('?'),
            (Some(name), Some(word)) if name.starts_with(':') || name == word => {}
            _ => return false,
        }
    }
}

/// The routes of which a script has no picture.
fn unseen(said: &Value) -> Vec<String> {
    let routes = routes();
    let looks = said["looks"].as_array().unwrap();
    let paths: Vec<&str> = looks.iter().map(|look| look["path"].as_str().unwrap()).collect();
    let nowhere = paths.iter().any(|path| !routes.iter().any(|route| shows(route, path)));
    let seen = |route: &str| if route == "*" { nowhere } else { paths.iter().any(|path| shows(route, path)) };
    routes.iter().filter(|route| !seen(route)).cloned().collect()
}

/// The only page that it takes several people to see.
const OF_REVIEWERS: &str = "/reviews/:id";

#[test]
fn a_route_without_a_picture_is_found() {
    assert!(shows("/operations/:tab?", "/operations") && shows("/operations/:tab?", "/operations/jobs"));
    assert!(shows("/watch/:id", "/watch/ast_1") && !shows("/watch/:id", "/watch") && !shows("/", "/watch"));
    let looks = |paths: &[&str]| {
        unseen(&json!({ "looks": paths.iter().map(|path| json!({ "path": path })).collect::<Vec<_>>() }))
    };
    assert_eq!(looks(&[]), routes());
    let without = looks(&["/", "/settings", "/embed/ast_1", "/no/such/page"]);
    assert!(without.contains(&"/keys".to_owned()) && without.contains(&OF_REVIEWERS.to_owned()), "{without:?}");
    for seen in ["/", "/settings", "/embed/:id", "*"] {
        assert!(!without.contains(&seen.to_owned()), "{seen} {without:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_does_everything_in_a_browser() {
    let film = tokio::task::spawn_blocking(film).await.unwrap();
    let mut options = Options::args(&["--transcoders", "1"]);
    for name in ["REELFLEET_JANITOR_SECONDS", "REELFLEET_LOSER_AGE_SECONDS"] {
        options.env.push((name.into(), "2".into()));
    }
    let fleet = Fleet::start(options).await;
    let folder = tempfile::tempdir().unwrap();
    let captions = captions(folder.path());
    let (film, captions) = (film.to_str().unwrap(), captions.to_str().unwrap());
    let said = Script::start("app.mjs", &[&fleet.clients.gateway, film, captions, &shots()]).end().await;
    assert_eq!(said["wrong"], json!([]), "{said:#}");
    assert_eq!(unseen(&said), [OF_REVIEWERS], "of every page there is a picture");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_in_another_tab_after_a_reload_and_on_another_device() {
    let fleet = Fleet::start(Options::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let said = Script::start("uploads.mjs", &[&fleet.clients.gateway, folder.path().to_str().unwrap(), &shots()]);
    let said = said.end().await;
    assert_eq!(said["wrong"], json!([]), "{said:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reviewers_decide_at_the_desk_and_by_mail_and_a_scanner_with_scripts_does_not() {
    let sink = Sink::start().await;
    let mut options = Options::default();
    for (name, value) in [
        ("REELFLEET_APPROVAL", "[{}]"),
        ("REELFLEET_REVIEWERS", "eve@example.com"),
        ("REELFLEET_SMTP_URL", &sink.url),
        ("REELFLEET_MAIL_FROM", "Reelfleet <noreply@reel.example>"),
        ("REELFLEET_MAIL_SECONDS", "1"),
    ] {
        options.env.push((name.into(), value.into()));
    }
    let folder = tempfile::tempdir().unwrap();
    let names = ["good.mp4", "bad.mp4", "fine.mp4"];
    let films = names.map(|name| {
        let path = folder.path().join(name);
        ffmpeg::make(&path, &["-f", "lavfi", "-i", "testsrc2=s=320x180:d=3", "-f", "lavfi", "-i", "sine=d=3"]);
        path.to_str().unwrap().to_owned()
    });
    let fleet = Fleet::start(options).await;
    let (gateway, shots) = (&fleet.clients.gateway, shots());
    let arguments = [gateway, &shots, &films[0], &films[1], &films[2]].map(String::as_str);
    let mut script = Script::start("review.mjs", &arguments);
    for name in names {
        let mail = sink.wait(WITHIN, |mail| mail.to == "eve@example.com" && mail.text.contains(name)).await;
        script.tell(&json!({ "name": name, "link": mail.urls()[0], "code": mail.code() })).await;
    }
    let mail = sink.wait(WITHIN, |mail| mail.to == "bob@example.org" && mail.text.contains("/reset?token=")).await;
    script.tell(&json!({ "name": "reset", "link": mail.urls()[0] })).await;
    let said = script.end().await;
    assert!(!unseen(&said).contains(&OF_REVIEWERS.to_owned()), "of the page of one review there is a picture");
    assert_eq!(said["wrong"], json!([]), "{said:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_is_served_with_a_strict_policy_and_lasting_files() {
    let fleet = Fleet::start(Options::default()).await;
    let (http, gateway) = (&fleet.clients.http, &fleet.clients.gateway);
    let get =
        |path: &str, accept: &str| http.get(format!("{gateway}{path}")).header("accept", accept.to_owned()).send();
    let html = "text/html,application/xhtml+xml,*/*;q=0.8";
    for path in ["/", "/sign-in", "/watch/ast_1", "/review/secret", "/reviews/rev_1", "/settings"] {
        let page = get(path, html).await.unwrap();
        assert_eq!(page.status(), 200, "{path}: is web/dist part of the build? `make build` makes it");
        let headers = page.headers().clone();
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
        assert!(policy.contains(&fleet.clients.endpoint) && !policy.contains("unsafe"), "{policy}");
        assert_eq!(
            (&headers["x-content-type-options"], &headers["referrer-policy"]),
            (&"nosniff".parse().unwrap(), &"no-referrer".parse().unwrap())
        );
        assert_eq!(headers["cache-control"], "no-cache");
        let text = page.text().await.unwrap();
        let scripts: Vec<&str> = text.split("src=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(!scripts.is_empty() && scripts.iter().all(|src| src.starts_with("/assets/")), "{text}");
        assert!(!text.contains("<style") && !text.contains("onload="), "nothing inline: {text}");
        let script = get(scripts[0], "*/*").await.unwrap();
        assert_eq!(script.headers()["cache-control"], "public, max-age=31536000, immutable");
        let etag = script.headers()["etag"].clone();
        let again = http.get(format!("{gateway}{}", scripts[0])).header("if-none-match", etag).send().await.unwrap();
        assert_eq!(again.status(), 304);
    }
    let about = get("/", "application/json").await.unwrap();
    assert_eq!(about.json::<Value>().await.unwrap()["service"], "reelfleet");
    for nothing in ["/assets/none.js", "/assets/..%2findex.html", "/nowhere", "/v1/nowhere"] {
        assert_eq!(get(nothing, html).await.unwrap().status(), 404, "{nothing}");
    }
}
