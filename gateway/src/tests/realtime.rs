//! Tickets, and the way to the notifier through real sockets.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

#[tokio::test]
async fn a_ticket_is_stored_hashed_and_bound_to_the_page() {
    let gateway = Gateway::with(World::default()).await;
    let mut request = keyed("POST", "/v1/realtime/tickets", json!({ "origin": "https://liar.example" }));
    request.headers_mut().insert("origin", "https://web.example".parse().unwrap());
    let (status, _, ticket) = gateway.send(request).await;
    assert_eq!(status, 201, "{ticket}");
    let text = ticket["ticket"].as_str().unwrap();
    assert_eq!(ticket["url"], format!("ws://localhost:8080/v1/realtime?ticket={text}"));
    let insert = gateway.statements.lock().unwrap().last().unwrap().to_string();
    assert!(insert.contains("https://web.example") && !insert.contains("liar"));
    assert!(!insert.contains(text.strip_prefix("rt_").unwrap()), "only its hash is stored");
}

#[tokio::test]
async fn without_a_notifier_realtime_is_unavailable_and_the_rest_lives() {
    let gateway = Gateway::with(World::default()).await;
    let request = Request::get("/v1/events?ticket=t").body(Body::empty()).unwrap();
    let (status, headers, problem) = gateway.send(request).await;
    assert_eq!((status.as_u16(), &problem["code"]), (503, &"unavailable".into()));
    assert!(headers.contains_key("retry-after"));
    let (status, ..) = gateway.send(Request::get("/").body(Body::empty()).unwrap()).await;
    assert_eq!(status, 200);
}

/// A line-by-line notifier: it reads one request's head, answers with `head`, then does what the test does with it.
async fn notifier(head: &'static str) -> (String, tokio::sync::oneshot::Receiver<(String, TcpStream)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(head.as_bytes()).await.unwrap();
        sender.send((request, stream)).unwrap();
    });
    (url, receiver)
}

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).ends_with(end) {
        text.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(text).unwrap()
}

/// A gateway on a real socket in front of such a notifier, a client that has sent `request` to it, and the server.
async fn proxied(
    head: &'static str,
    request: &str,
) -> (Gateway, TcpStream, String, TcpStream, tokio::task::JoinHandle<()>) {
    let (url, accepted) = notifier(head).await;
    let gateway = Gateway::with(World { notifier: url, ..World::default() }).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (router, shutdown) = (gateway.router.clone(), gateway.context.shutdown.clone());
    let server = tokio::spawn(async move { crate::serve::serve(listener, router, &shutdown).await });
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    let (seen, behind) = accepted.await.unwrap();
    (gateway, client, seen, behind, server)
}

#[tokio::test]
async fn a_websocket_passes_both_ways_and_ends_with_either() {
    let request = "GET /v1/realtime?ticket=t HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Origin: https://web.example\r\nSec-WebSocket-Key: k\r\n\r\n";
    let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: a\r\n\r\n";
    let (_gateway, mut client, seen, mut behind, _server) = proxied(head, request).await;
    let seen = seen.to_ascii_lowercase();
    for line in [
        "get /v1/realtime?ticket=t ",
        "upgrade: websocket",
        "connection: upgrade",
        "x-forwarded-for: 127.0.0.1",
        "origin: https://web.example",
    ] {
        assert!(seen.contains(line), "{line} in {seen}");
    }
    let answer = read_until(&mut client, "\r\n\r\n").await.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 101") && answer.contains("sec-websocket-accept: a"), "{answer}");
    client.write_all(b"ping.").await.unwrap();
    assert_eq!(read_until(&mut behind, ".").await, "ping.");
    behind.write_all(b"pong.").await.unwrap();
    assert_eq!(read_until(&mut client, ".").await, "pong.");
    drop(behind);
    assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0, "the other end has closed");
}

#[tokio::test]
async fn events_pass_one_by_one_and_the_grace_ends_them() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let request = "GET /v1/events?ticket=t HTTP/1.1\r\nHost: h\r\n\r\n";
    let (gateway, mut client, _, mut behind, server) = proxied(head, request).await;
    let answer = read_until(&mut client, "\r\n\r\n").await.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200") && answer.contains("text/event-stream"), "{answer}");
    for data in ["data: 1\n\n", "data: 2\n\n"] {
        behind.write_all(format!("{:x}\r\n{data}\r\n", data.len()).as_bytes()).await.unwrap();
        // It comes through while the stream is open, or this waits for ever.
        assert!(read_until(&mut client, "\n\n\r\n").await.ends_with(&format!("{data}\r\n")));
    }
    gateway.context.shutdown.abort();
    server.await.unwrap();
}
