//! Playback: who may fetch what, and how it is sent.

use super::*;

#[tokio::test]
async fn playback_needs_a_live_token_of_an_asset_that_exists() {
    let signer = PlaybackKey::new(SECRET).unwrap();
    let grant = |expires_at| Grant { asset: ASSET.parse().unwrap(), generation: 1, expires_at };
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

fn live(path: &str) -> String {
    let grant = Grant { asset: ASSET.parse().unwrap(), generation: 1, expires_at: NOW / 1_000 + 60 };
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
