//! Playback: who may fetch what, and how it is sent.

use super::*;

#[tokio::test]
async fn playback_needs_a_live_token_of_an_asset_that_exists() {
    let signer = PlaybackKey::new(SECRET).unwrap();
    let grant = |expires_at| Grant { asset: ASSET.parse().unwrap(), generation: 1, expires_at, open: false };
    let live = signer.sign(&grant(NOW / 1_000 + 1));
    let forged = PlaybackKey::new(&SECRET.replace('0', "1")).unwrap().sign(&grant(NOW));
    let gateway = Gateway::with(World { asset_state: AssetState::Deleting, ..World::default() }).await;
    for (token, path, status, code) in [
        (live.clone(), "master.m3u8", 410, "asset_gone"),
        (live.clone(), "secret.json", 404, "not_found"),
        (live.clone(), "%2e%2e/g2/master.m3u8", 404, "not_found"),
        (signer.sign(&grant(NOW / 1_000)), "master.m3u8", 403, "playback_token_expired"),
        (forged, "master.m3u8", 403, "playback_token_invalid"),
    ] {
        let request = Request::get(format!("/p/{token}/{path}")).body(Body::empty()).unwrap();
        let (got, headers, problem) = gateway.send(request).await;
        assert_eq!((got.as_u16(), &problem["code"]), (status, &code.into()), "{path}");
        assert_eq!(headers["access-control-allow-origin"], "*");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["cache-control"], "no-store");
    }
    let head = Request::head(format!("/p/{live}/master.m3u8")).body(Body::empty()).unwrap();
    assert_eq!(gateway.send(head).await.0, 410);
    let options = Request::options(format!("/p/{live}/master.m3u8")).body(Body::empty()).unwrap();
    assert_eq!(gateway.send(options).await.0, 204);
}

#[tokio::test]
async fn what_strangers_were_given_ends_when_its_owner_closes_it() {
    let playlist = Script { method: "GET", wants: "/g1/720p.m3u8", status: 200, headers: &[], body: "#EXTM3U\n" };
    let mut world =
        World { asset_state: AssetState::Ready, visibility: "unlisted", s3: vec![playlist], ..World::default() };
    let gateway = Gateway::with(world.clone()).await;
    let (status, _, shown) =
        gateway.send(Request::get(format!("/v1/explore/{ASSET}")).body(Body::empty()).unwrap()).await;
    assert_eq!(status, 200, "{shown}");
    let strangers = shown["playback"]["url"].as_str().unwrap().replace("http://localhost:8080", "");
    let (_, owners) = gateway.call("GET", &format!("/v1/assets/{ASSET}"), Value::Null).await;
    let owners = owners["playback"]["url"].as_str().unwrap().replace("http://localhost:8080", "");
    let play = async |gateway: &Gateway, url: &str| {
        let url = url.replace("master", "720p");
        let (status, _, problem) = gateway.send(Request::get(url).body(Body::empty()).unwrap()).await;
        (status.as_u16(), problem["code"].clone())
    };
    for url in [&strangers, &owners] {
        assert_eq!(play(&gateway, url).await.0, 200, "{url}");
    }
    world.visibility = "private";
    let closed = Gateway::with(world).await;
    assert_eq!(play(&closed, &strangers).await, (403, json!("playback_token_expired")));
    assert_eq!(play(&closed, &owners).await.0, 200);
}

fn live(path: &str) -> String {
    let grant = Grant { asset: ASSET.parse().unwrap(), generation: 1, expires_at: NOW / 1_000 + 60, open: false };
    format!("/p/{}/{path}", PlaybackKey::new(SECRET).unwrap().sign(&grant))
}

#[tokio::test]
async fn an_output_is_streamed_with_our_type_and_cache_rules() {
    let playlist = Script {
        method: "GET",
        wants: "/g1/720p.m3u8",
        status: 200,
        headers: &[("etag", "\"e\""), ("content-type", "text/html")],
        body: "#EXTM3U\n",
    };
    for (state, cache) in [(AssetState::Playable, "public, max-age=1"), (AssetState::Ready, "public, max-age=60")] {
        let gateway = Gateway::with(World { asset_state: state, s3: vec![playlist], ..World::default() }).await;
        let request = Request::get(live("720p.m3u8")).body(Body::empty()).unwrap();
        let (status, headers, body) = gateway.raw(request).await;
        assert_eq!((status.as_u16(), body.as_slice()), (200, &b"#EXTM3U\n"[..]));
        assert_eq!(headers["cache-control"], cache);
        assert_eq!(headers["content-type"], "application/vnd.apple.mpegurl");
        assert_eq!((&headers["etag"], &headers["content-length"]), (&"\"e\"".parse().unwrap(), &"8".parse().unwrap()));
        let asked = gateway.requests.lock().unwrap()[0].1.clone();
        assert!(asked.starts_with(&format!("/reelfleet-outputs/out/{ASSET}/g1/720p.m3u8")), "{asked}");
    }
}

#[tokio::test]
async fn ranges_and_conditions_are_s3s_to_answer() {
    let segment = |method, status, headers| Script { method, wants: "720p-00000-0000.m4s", status, headers, body: "" };
    let part = Script {
        body: "cd",
        ..segment("GET", 206, &[("content-range", "bytes 2-3/9"), ("content-length", "2"), ("etag", "\"e\"")])
    };
    for (script, status) in [
        (part, 206),
        (segment("GET", 304, &[("etag", "\"e\"")]), 304),
        (segment("GET", 416, &[]), 416),
        (segment("GET", 404, &[]), 404),
        (segment("HEAD", 200, &[("content-length", "9"), ("etag", "\"e\"")]), 200),
    ] {
        let gateway = Gateway::with(World { s3: vec![script], ..World::default() }).await;
        let request = Request::builder()
            .method(script.method)
            .uri(live("t/tsk_1/2/720p-00000-0000.m4s"))
            .header("range", "bytes=2-3")
            .header("if-none-match", "\"e\"")
            .body(Body::empty())
            .unwrap();
        let (got, headers, body) = gateway.raw(request).await;
        assert_eq!(got, status);
        let sent = gateway.requests.lock().unwrap()[0].2.clone();
        assert_eq!(sent["if-none-match"], "\"e\"");
        assert_eq!(sent.get("range").is_some_and(|range| range == "bytes=2-3"), script.method == "GET");
        if status == 206 {
            assert_eq!(headers["content-range"], "bytes 2-3/9");
            assert_eq!(headers["content-length"], "2");
            assert_eq!(headers["content-type"], "video/mp4");
            assert!(headers["cache-control"].to_str().unwrap().contains("immutable"));
            assert_eq!(body, b"cd");
        }
    }
}

#[tokio::test]
async fn a_range_that_may_be_ignored_is_answered_with_the_whole() {
    let headers: &[_] = &[("content-length", "4")];
    let whole = Script { method: "GET", wants: "720p.m3u8", status: 200, headers, body: "abcd" };
    for range in ["bytes=0-1,3-3", "bytes=5-1", "bytes=x", "items=0-1", "bytes=-", "nonsense"] {
        let gateway = Gateway::with(World { s3: vec![whole], ..World::default() }).await;
        let request = Request::get(live("720p.m3u8")).header("range", range).body(Body::empty()).unwrap();
        let (status, headers, body) = gateway.raw(request).await;
        assert_eq!((status.as_u16(), body.as_slice()), (200, &b"abcd"[..]), "{range}");
        assert!(!headers.contains_key("content-range"), "{range}");
        assert!(!gateway.requests.lock().unwrap()[0].2.contains_key("range"), "{range}");
    }
    let gateway = Gateway::with(World { s3: vec![whole], ..World::default() }).await;
    let request = Request::get(live("720p.m3u8")).header("range", "bytes=-0").body(Body::empty()).unwrap();
    let (status, _, problem) = gateway.send(request).await;
    assert_eq!((status.as_u16(), &problem["code"]), (416, &"range_not_satisfiable".into()));
}

#[tokio::test]
async fn a_master_has_the_captions_that_there_are_now() {
    const MASTER: &str = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9\n720p.m3u8\n";
    let length: &[_] = &[("content-length", "48"), ("etag", "\"e\"")];
    let head = Script { method: "HEAD", wants: "/g1/master.m3u8", status: 200, headers: length, body: "" };
    assert_eq!(MASTER.len(), 48);
    let range: &[_] = &[("content-length", "48"), ("content-range", "bytes 0-47/48"), ("etag", "\"e\"")];
    let get = Script { method: "GET", status: 206, headers: range, body: MASTER, ..head };
    let with = "#EXTM3U\n#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"captions\",NAME=\"Deutsch\",LANGUAGE=\"de\",DEFAULT=NO,\
                AUTOSELECT=YES,FORCED=NO,URI=\"captions/de-0f.m3u8\"\n\
                #EXT-X-STREAM-INF:BANDWIDTH=9,SUBTITLES=\"captions\"\n720p.m3u8\n";
    let mut tags = Vec::new();
    for (captions, state, text, cache) in [
        (false, AssetState::Ready, MASTER, "public, max-age=60"),
        (true, AssetState::Ready, with, "public, max-age=60"),
        (true, AssetState::Playable, with, "public, max-age=1"),
    ] {
        let world = World { captions, asset_state: state, s3: vec![head, get], ..World::default() };
        let gateway = Gateway::with(world).await;
        // A range is not looked at: it was made of other bytes.
        let request = Request::get(live("master.m3u8")).header("range", "bytes=0-3").body(Body::empty()).unwrap();
        let (status, headers, body) = gateway.raw(request).await;
        assert_eq!((status.as_u16(), String::from_utf8(body).unwrap()), (200, text.to_owned()));
        assert_eq!(headers["cache-control"], cache);
        assert_eq!(headers["content-type"], "application/vnd.apple.mpegurl");
        let request = Request::head(live("master.m3u8")).body(Body::empty()).unwrap();
        let (status, told, body) = gateway.raw(request).await;
        assert_eq!((status.as_u16(), body.len(), &told["etag"]), (200, 0, &headers["etag"]));
        assert_eq!(told["content-length"], text.len().to_string());
        let known = Request::get(live("master.m3u8")).header("if-none-match", &headers["etag"]);
        assert_eq!(gateway.raw(known.body(Body::empty()).unwrap()).await.0, 304);
        tags.push(headers["etag"].clone());
    }
    assert!(tags[0] != tags[1] && tags[1] == tags[2], "the tag is of what was sent");
    let gateway = Gateway::with(World { captions: true, ..World::default() }).await;
    let nothing = Request::get(live("master.m3u8")).body(Body::empty()).unwrap();
    assert_eq!(gateway.send(nothing).await.0, 404, "there is none yet");
}

#[tokio::test]
async fn captions_have_a_list_as_long_as_they_are_the_assets() {
    let length: &[_] = &[("content-length", "60")];
    let file = |wants| Script { method: "HEAD", wants, status: 200, headers: length, body: "" };
    let both = vec![file("/captions/de-0f.vtt"), file("/captions/de-0e.vtt")];
    let gateway = Gateway::with(World { captions: true, s3: both, ..World::default() }).await;
    let list = Request::get(live("captions/de-0f.m3u8")).body(Body::empty()).unwrap();
    let (status, headers, body) = gateway.raw(list).await;
    let text = String::from_utf8(body).unwrap();
    assert_eq!((status.as_u16(), &headers["cache-control"]), (200, &"public, max-age=1".parse().unwrap()));
    assert!(text.ends_with(",\nde-0f.vtt\n#EXT-X-ENDLIST\n"), "{text}");
    let asked = gateway.requests.lock().unwrap()[0].1.clone();
    assert!(asked.starts_with(&format!("/reelfleet-outputs/out/{ASSET}/captions/de-0f.vtt")), "{asked}");
    // Taken away or replaced: gone, though the file may still lie there.
    for path in ["captions/de-0e.m3u8", "captions/de-0e.vtt", "captions/fr-00.m3u8"] {
        let request = Request::get(live(path)).body(Body::empty()).unwrap();
        assert_eq!(gateway.send(request).await.0, 404, "{path}");
    }
    assert_eq!(gateway.requests.lock().unwrap().len(), 1, "S3 was not asked");
}
