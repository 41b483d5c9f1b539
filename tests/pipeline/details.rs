//! What owners say of their assets: edits, searches, what strangers see, captions, the original back.

use std::path::Path;
use std::time::Duration;

use reelfleet_tests::Events;
use reelfleet_tests::clients::Clients;
use reelfleet_tests::{ffmpeg, hls};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(90);
const SRT: &str = "1\r\n00:00:00,500 --> 00:00:01,000\r\n<font color=\"red\">Hallo</font> & <i>Welt\r\n\r\n";

/// All of it, over an asset of its own.
pub async fn keep_their_word(clients: &Clients, events: &mut Events, film: &Path) {
    let asset = clients.upload(film).await;
    assert_eq!(events.ended(&asset, SOON).await.kind, "asset.ready.v1");
    let url = format!("/v1/assets/{asset}");
    let stranger = async |path: String| {
        let answer = clients.http.get(format!("{}{path}", clients.gateway)).send().await.unwrap();
        (answer.status(), answer.json::<Value>().await.unwrap())
    };
    edited(clients, &url).await;

    // Nobody else's, then for whoever has its id, then for everybody.
    let (open, list) = (format!("/v1/explore/{asset}"), || "/v1/explore?q=WOLKEN".to_owned());
    assert_eq!(stranger(open.clone()).await.0, StatusCode::NOT_FOUND);
    for (visibility, listed) in [("unlisted", 0), ("public", 1)] {
        let (status, _) = clients.api(Method::PATCH, &url, Some(json!({ "visibility": visibility }))).await;
        assert_eq!(status, StatusCode::OK);
        let (status, shown) = stranger(open.clone()).await;
        assert_eq!((status, &shown["name"]), (StatusCode::OK, &json!("Über den Wolken")), "{shown}");
        assert!(shown.get("source").is_none() && shown.get("owner").is_none() && shown.get("probe").is_none());
        let playlist = clients.http.get(shown["playback"]["url"].as_str().unwrap()).send().await.unwrap();
        assert_eq!(playlist.status(), StatusCode::OK);
        let (_, page) = stranger(list()).await;
        assert_eq!(page["assets"].as_array().unwrap().len(), listed, "{page}");
        if listed == 1 {
            let poster = page["assets"][0]["thumbnail"].as_str().unwrap().to_owned();
            assert_eq!(clients.http.get(poster).send().await.unwrap().headers()["content-type"], "image/jpeg");
        }
    }
    captioned(clients, &url, &open).await;
    original(clients, &url, film).await;

    let (status, _) = clients.api(Method::PATCH, &url, Some(json!({ "visibility": "private" }))).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(stranger(open.clone()).await.0, StatusCode::NOT_FOUND);
    assert_eq!(stranger(list()).await.1["assets"], json!([]));
    original_expired(clients, &asset).await;
}

async fn edited(clients: &Clients, url: &str) {
    let edit = json!({ "name": " Über den Wolken ", "description": "ein Flug", "tags": ["Ferien", "ferien", "2026"] });
    let (status, first) = clients.api(Method::PATCH, url, Some(edit)).await;
    assert_eq!((status, &first["edition"]), (StatusCode::OK, &json!(2)), "{first}");
    assert_eq!(first["tags"], json!(["Ferien", "2026"]));
    let (_, again) = clients.api(Method::PATCH, url, Some(json!({ "description": "ein Flug" }))).await;
    assert_eq!(again["edition"], 2, "nothing was changed");
    let of = async |edition: &str| {
        let request = clients.http.patch(format!("{}{url}", clients.gateway)).bearer_auth(&clients.api_key);
        let answer = request.header("if-match", edition).json(&json!({ "description": edition })).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    assert_eq!(of("\"2\"").await.0, 200);
    let (status, problem) = of("\"2\"").await;
    assert_eq!((status, &problem["code"]), (412, &json!("edited_meanwhile")));
    let (status, problem) = clients.api(Method::PATCH, url, Some(json!({ "visibility": "all" }))).await;
    assert_eq!((status.as_u16(), &problem["code"]), (400, &json!("invalid_request")));
    for (text, count) in [("wolken", 1), ("FERIEN", 1), ("100%25", 0)] {
        let (_, page) = clients.api(Method::GET, &format!("/v1/assets?q={text}"), None).await;
        assert_eq!(page["assets"].as_array().unwrap().len(), count, "{text}: {page}");
    }
}

async fn captioned(clients: &Clients, url: &str, open: &str) {
    let put = async |language: &str, text: &'static str| {
        let path = format!("{}{url}/captions/{language}?label=Deutsch", clients.gateway);
        let answer = clients.http.put(path).bearer_auth(&clients.api_key).body(text).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, captions) = put("DE", SRT).await;
    assert_eq!((status, &captions["language"], &captions["cues"]), (201, &json!("de"), &json!(1)), "{captions}");
    for (language, text, status, code) in [
        ("de", "WEBVTT\n\nno cue", 422, "invalid_captions"),
        ("de", "00:02.000 --> 00:01.000\nx", 422, "invalid_captions"),
        ("d", SRT, 400, "invalid_request"),
    ] {
        let (got, problem) = put(language, text).await;
        assert_eq!((got, &problem["code"]), (status, &json!(code)), "{problem}");
    }
    for path in [format!("{}{url}", clients.gateway), format!("{}{open}", clients.gateway)] {
        let answer = clients.http.get(path).bearer_auth(&clients.api_key).send().await.unwrap();
        let shown: Value = answer.json().await.unwrap();
        let track = &shown["captions"][0];
        assert_eq!((&track["label"], &track["cues"]), (&json!("Deutsch"), &json!(1)), "{shown}");
        let file = clients.http.get(track["url"].as_str().unwrap()).send().await.unwrap();
        assert_eq!(file.headers()["content-type"], "text/vtt; charset=utf-8");
        let text = file.text().await.unwrap();
        let header = "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n";
        assert_eq!(text, format!("{header}\n00:00:00.500 --> 00:00:01.000\nHallo &amp; <i>Welt</i>\n"));
    }
    let (_, detail) = clients.api(Method::GET, url, None).await;
    let url_of_master = detail["playback"]["url"].as_str().unwrap();
    let found = hls::master(clients, url_of_master).await;
    let [(name, language, list)] = &found.captions[..] else { panic!("{}", found.text) };
    assert_eq!((name.as_str(), language.as_str()), ("Deutsch", "de"));
    let list = list.to_string();
    // It refuses captions in a master; what the master names it reads, with times of its own clock.
    assert_eq!(ffmpeg::probe(&list, "s:0", "codec_name"), "webvtt");
    assert_eq!(ffmpeg::cues(&list), [(0.5, 0.5, "Hallo & <i>Welt</i>".to_owned())]);
    assert_eq!(ffmpeg::start_time(url_of_master, "v:0"), Some(0.0), "which is that of the pictures");
    for _ in 0..2 {
        let path = format!("{}{url}/captions/de", clients.gateway);
        let answer = clients.http.delete(path).bearer_auth(&clients.api_key).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    }
    assert_eq!(clients.api(Method::GET, url, None).await.1["captions"], json!([]));
    let after = hls::master(clients, url_of_master).await;
    assert!(after.captions.is_empty() && !after.text.contains("SUBTITLES"), "{}", after.text);
    for gone in [list.clone(), list.replace(".m3u8", ".vtt")] {
        let answer = clients.http.get(gone).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "whoever knows its name");
    }
}

async fn original(clients: &Clients, url: &str, film: &Path) {
    let (status, link) = clients.api(Method::GET, &format!("{url}/original"), None).await;
    assert_eq!(status, StatusCode::OK, "{link}");
    let answer = clients.http.get(link["url"].as_str().unwrap()).send().await.unwrap();
    let named = answer.headers()["content-disposition"].to_str().unwrap().to_owned();
    assert_eq!(named, "attachment; filename*=UTF-8''%C3%9Cber%20den%20Wolken");
    assert_eq!(answer.bytes().await.unwrap(), std::fs::read(film).unwrap());
}

/// What a lifecycle rule does: the original is gone, and so said; what was made of it plays on.
async fn original_expired(clients: &Clients, asset: &str) {
    let key = format!("SELECT object_key FROM asset WHERE id = '{asset}'");
    let key = clients.rows(&key).await.remove(0).remove(0);
    clients.s3.delete_object().bucket(&clients.uploads).key(key).send().await.unwrap();
    let url = format!("/v1/assets/{asset}");
    let (status, problem) = clients.api(Method::GET, &format!("{url}/original"), None).await;
    assert_eq!((status, &problem["code"]), (StatusCode::GONE, &json!("original_gone")), "{problem}");
    let (_, shown) = clients.api(Method::GET, &url, None).await;
    assert_eq!(shown["state"], "ready", "{shown}");
    let playlist = clients.http.get(shown["playback"]["url"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(playlist.status(), StatusCode::OK);
}
