//! A real SMTP server for tests: it takes every mail and keeps it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// One mail as it came.
#[derive(Debug, Clone)]
pub struct Mail {
    /// The recipient of the envelope.
    pub to: String,
    /// All header lines.
    pub headers: String,
    /// The text, decoded.
    pub text: String,
}

/// Where mails arrive.
#[derive(Debug, Clone)]
pub struct Sink {
    /// As `REELFLEET_SMTP_URL` takes it.
    pub url: String,
    kept: Arc<Mutex<Vec<Mail>>>,
    arrived: Arc<Notify>,
}

impl Mail {
    /// Every URL in it.
    pub fn urls(&self) -> Vec<String> {
        let words = self.text.split_whitespace();
        words.filter(|word| word.contains("://")).map(str::to_owned).collect()
    }

    /// The six digits that stand after "code:".
    pub fn code(&self) -> String {
        let (_, after) = self.text.split_once("code: ").unwrap_or_else(|| panic!("no code: {}", self.text));
        after.chars().take(6).collect()
    }
}

impl Sink {
    /// Listens on a port of its own.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        let sink = Self { url, kept: Arc::default(), arrived: Arc::default() };
        let taking = sink.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sink = taking.clone();
                tokio::spawn(async move { sink.talk(stream).await });
            }
        });
        sink
    }

    /// Waits for the first mail that fits, among those that came and those to come.
    pub async fn wait(&self, within: Duration, fits: impl Fn(&Mail) -> bool) -> Mail {
        let found = async {
            loop {
                let arrived = self.arrived.notified();
                if let Some(mail) = self.mails().into_iter().find(|mail| fits(mail)) {
                    return mail;
                }
                arrived.await;
            }
        };
        let found = tokio::time::timeout(within, found).await;
        found.unwrap_or_else(|_| panic!("no such mail within {within:?}; there are:\n{:#?}", self.mails()))
    }

    /// Everything that came.
    pub fn mails(&self) -> Vec<Mail> {
        self.kept.lock().unwrap().clone()
    }

    async fn talk(&self, mut stream: TcpStream) {
        let (read, mut write) = stream.split();
        let mut lines = BufReader::new(read).lines();
        let _ = write.write_all(b"220 sink\r\n").await;
        let mut to = String::new();
        while let Ok(Some(line)) = lines.next_line().await {
            let answer = match line.get(..4).unwrap_or(&line).to_ascii_uppercase().as_str() {
                "RCPT" => {
                    to = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                    "250 fine"
                }
                "DATA" => {
                    let _ = write.write_all(b"354 go on\r\n").await;
                    let mut data = Vec::new();
                    while let Ok(Some(line)) = lines.next_line().await {
                        if line == "." {
                            break;
                        }
                        data.push(line.strip_prefix("..").map_or(line.clone(), |rest| format!(".{rest}")));
                    }
                    self.keep(&to, &data.join("\n"));
                    "250 taken"
                }
                "QUIT" => "221 bye",
                _ => "250 fine",
            };
            if write.write_all(format!("{answer}\r\n").as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn keep(&self, to: &str, data: &str) {
        let (headers, body) = data.split_once("\n\n").unwrap_or((data, ""));
        let quoted = headers.to_lowercase().contains("content-transfer-encoding: quoted-printable");
        let text = if quoted { unquoted(body) } else { body.to_owned() };
        self.kept.lock().unwrap().push(Mail { to: to.to_owned(), headers: headers.to_owned(), text });
        self.arrived.notify_waiters();
    }
}

/// Quoted-printable (RFC 2045 section 6.7), read.
fn unquoted(text: &str) -> String {
    let joined = text.replace("=\n", "");
    let mut bytes = Vec::new();
    let mut rest = joined.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'=') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
