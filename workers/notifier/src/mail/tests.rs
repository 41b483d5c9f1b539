//! Against a server over a real socket that answers as it is told.

use lettre::message::Mailbox;
use reelfleet_messages::MailId;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::*;

/// One conversation: the answer to `RCPT TO`, then what was sent as data. An empty answer hangs up.
async fn server(to_rcpt: &'static str) -> (SmtpServer, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}", listener.local_addr().unwrap());
    let talk = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (read, mut write) = stream.split();
        let mut lines = BufReader::new(read).lines();
        write.write_all(b"220 here\r\n").await.unwrap();
        let mut heard = String::new();
        while let Ok(Some(line)) = lines.next_line().await {
            heard.push_str(&line);
            heard.push('\n');
            let answer = match line.split([' ', ':']).next().unwrap().to_ascii_uppercase().as_str() {
                "RCPT" if to_rcpt.is_empty() => break,
                "RCPT" => to_rcpt,
                "DATA" => {
                    write.write_all(b"354 go on\r\n").await.unwrap();
                    while let Ok(Some(line)) = lines.next_line().await {
                        if line == "." {
                            break;
                        }
                        heard.push_str(&line);
                        heard.push('\n');
                    }
                    "250 taken"
                }
                _ => "250 fine",
            };
            write.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
        }
        heard
    });
    (url.parse().unwrap(), talk)
}

fn mail() -> Mail {
    Mail {
        id: MailId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0007)),
        to: "ann@example.com".into(),
        kind: "review".into(),
        subject: "„Fahrt“  Bcc: all@example.com".into(),
        text: "Code: 123456\n.\nhttps://reel.example/review/abc\n".into(),
        attempt: 1,
        created_at: 1_790_000_000_000,
    }
}

async fn attempt(server: &SmtpServer, mail: &Mail) -> Attempted {
    let from: Mailbox = "Reelfleet <noreply@reel.example>".parse().unwrap();
    Office { from, transport: server.transport(ATTEMPT) }.attempt(mail).await
}

#[tokio::test]
async fn a_mail_arrives_as_one_plain_letter_that_names_itself_the_same_each_time() {
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (url, talk) = server("250 fine").await;
        assert_eq!(attempt(&url, &mail()).await, Attempted::Sent);
        let heard = talk.await.unwrap();
        assert!(heard.contains("RCPT TO:<ann@example.com>"), "{heard}");
        assert_eq!(heard.matches("RCPT TO").count(), 1, "nobody else");
        assert!(heard.contains("Auto-Submitted: auto-generated"), "{heard}");
        assert!(heard.contains("Content-Type: text/plain; charset=utf-8"), "{heard}");
        assert!(heard.contains("https://reel.example/review/abc"), "{heard}");
        assert!(heard.contains("\n..\n"), "a line of one dot does not end it: {heard}");
        let headers = heard.split("\n\n").next().unwrap();
        assert!(!headers.lines().any(|line| line.to_lowercase().starts_with("bcc")), "{headers}");
        ids.push(heard.lines().find(|line| line.starts_with("Message-ID")).unwrap().to_owned());
    }
    assert_eq!(ids[0], ids[1]);
    assert!(ids[0].ends_with("@reel.example>"), "{}", ids[0]);
}

#[tokio::test]
async fn what_the_server_says_decides_whether_it_is_tried_again() {
    for (answer, again) in [("451 busy", true), ("", true), ("550 nobody", false), ("530 sign in first", true)] {
        let (url, talk) = server(answer).await;
        let attempted = attempt(&url, &mail()).await;
        assert_eq!(matches!(attempted, Attempted::Later(_)), again, "{answer:?}: {attempted:?}");
        assert_eq!(matches!(attempted, Attempted::Never(_)), !again, "{answer:?}: {attempted:?}");
        talk.await.unwrap();
    }
}

#[tokio::test]
async fn what_is_no_address_is_given_up_without_asking_anybody() {
    let url: SmtpServer = "smtp://127.0.0.1:1".parse().unwrap();
    for to in ["nobody", "ann@example.com\r\nBcc: bob@example.com", ""] {
        let attempted = attempt(&url, &Mail { to: to.into(), ..mail() }).await;
        assert!(matches!(attempted, Attempted::Never(_)), "{to:?}: {attempted:?}");
    }
    assert!(matches!(attempt(&url, &mail()).await, Attempted::Later(_)), "nobody listens there");
}

#[test]
fn pauses_grow_to_an_hour() {
    assert_eq!(pause_ms(1, 1.0), 5_000);
    assert_eq!(pause_ms(1, 0.0), 2_500);
    assert_eq!(pause_ms(6, 1.0), 3_600_000);
    assert_eq!(pause_ms(600, 1.0), 3_600_000);
}
