//! For tests: an HTTP/1.1 server that gives one scripted answer a request and remembers what it was asked.

use std::sync::Arc;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

pub(crate) struct Answer {
    bytes: Vec<u8>,
    silence: bool,
}

impl Answer {
    /// 206 with `content_range`, a promise of `length` bytes, and `body`.
    pub(crate) fn part(content_range: &str, length: usize, body: &[u8]) -> Self {
        Self::with_head(
            &format!("HTTP/1.1 206 Partial Content\r\nContent-Range: {content_range}\r\nContent-Length: {length}\r\n"),
            body,
        )
    }

    /// 200 with the whole body.
    pub(crate) fn whole(body: &[u8]) -> Self {
        Self::with_head(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", body.len()), body)
    }

    /// A status and no body.
    pub(crate) fn status(status: u16) -> Self {
        Self::with_head(&format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n"), b"")
    }

    /// 200 with these headers, each ending in CRLF, and no body.
    pub(crate) fn headers(headers: &str) -> Self {
        Self::with_head(&format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{headers}"), b"")
    }

    fn with_head(head: &str, body: &[u8]) -> Self {
        let mut bytes = format!("{head}Connection: close\r\n\r\n").into_bytes();
        bytes.extend_from_slice(body);
        Self { bytes, silence: false }
    }

    pub(crate) fn then_close(self) -> Self {
        self
    }

    /// Keeps the connection open and says nothing more.
    pub(crate) fn then_silence(mut self) -> Self {
        self.silence = true;
        self
    }
}

pub(crate) struct Request {
    pub(crate) line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

pub(crate) struct Server {
    address: std::net::SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            let mut open = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                seen.lock().await.push(request);
                stream.write_all(&answer.bytes).await.unwrap();
                if answer.silence {
                    open.push(stream);
                }
            }
            std::future::pending::<()>().await;
            drop(open);
        });
        Self { address, requests }
    }

    pub(crate) fn client(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .endpoint_url(format!("http://{}", self.address))
            .force_path_style(true)
            .build();
        aws_sdk_s3::Client::from_conf(config)
    }

    pub(crate) async fn requests(&self) -> tokio::sync::MutexGuard<'_, Vec<Request>> {
        self.requests.lock().await
    }
}

async fn read_request(stream: &mut tokio::net::TcpStream) -> Request {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let mut lines = head.lines();
    let line = lines.next().unwrap().to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length =
        headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
    while bytes.len() < head_end + 4 + length {
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
    }
    Request { line, headers, body: bytes[head_end + 4..].to_vec() }
}
