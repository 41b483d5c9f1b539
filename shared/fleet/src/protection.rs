//! ECS task protection: a scale-in or a deployment does not take a worker that is at work.
//!
//! Guarantees: protection is asked for when the process turns busy, renewed while it stays so, however many short tasks
//! that is, and dropped when it has been idle for a while, so an idle worker never blocks a deployment for long; it
//! expires by itself when the process dies. Without `ECS_AGENT_URI` (not on ECS) nothing is done. A failure is told and costs no work: the drain is what
//! keeps work safe, protection only makes it rare.
//!
//! Source: Amazon ECS Developer Guide, "Amazon ECS task scale-in protection endpoint".

use std::sync::Arc;
use std::time::Duration;

use reelfleet_telemetry::ScaleInProtected;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

/// Longer than any visibility, so that a renewal may be missed.
const EXPIRES_IN_MINUTES: u64 = 10;
const RENEW: Duration = Duration::from_secs(EXPIRES_IN_MINUTES * 60 / 3);
/// The agent did not take it.
const AGAIN: Duration = Duration::from_secs(10);
/// Tasks that follow one another are one busy time.
const IDLE: Duration = Duration::from_secs(15);
const CALL: Duration = Duration::from_secs(5);

/// The protection of this ECS task. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ScaleInProtection {
    busy: Arc<watch::Sender<usize>>,
}

/// Counts as work until it is dropped.
#[derive(Debug)]
pub struct Working(Arc<watch::Sender<usize>>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.send_modify(|busy| *busy = busy.saturating_sub(1));
    }
}

impl ScaleInProtection {
    /// Protection through the agent at `ECS_AGENT_URI`; `None` where there is none. Call it inside a tokio runtime.
    pub fn from_env() -> Option<Self> {
        let uri = std::env::var("ECS_AGENT_URI").ok()?;
        let agent = Agent::parse(&uri);
        if agent.is_none() {
            tracing::warn!(uri, "ECS_AGENT_URI is not an http URL: no scale-in protection");
        }
        Some(Self::start(agent?))
    }

    fn start(agent: impl Protect) -> Self {
        let (busy, seen) = watch::channel(0);
        tokio::spawn(keep(agent, seen));
        Self { busy: Arc::new(busy) }
    }

    /// Work begins; it ends when the guard is dropped.
    pub fn work(&self) -> Working {
        self.busy.send_modify(|busy| *busy += 1);
        Working(Arc::clone(&self.busy))
    }
}

/// Who protects: the agent, but in tests.
trait Protect: Send + 'static {
    /// Asks for protection, or drops it; whether that was taken.
    fn protect(&self, on: bool) -> impl Future<Output = bool> + Send;
}

/// Protects while it is busy. Ends when the last handle is dropped.
async fn keep(agent: impl Protect, mut seen: watch::Receiver<usize>) {
    while turned(&mut seen, true).await {
        let mut due = Instant::now();
        loop {
            match timeout_at(due, turned(&mut seen, false)).await {
                Err(_elapsed) => due = Instant::now() + if agent.protect(true).await { RENEW } else { AGAIN },
                // Idle: let go, unless work comes again at once.
                Ok(true) if timeout(IDLE, turned(&mut seen, true)).await == Ok(true) => {}
                Ok(_) => break,
            }
        }
        agent.protect(false).await;
    }
}

/// Waits until the process is busy, or idle; false when no handle is left.
async fn turned(seen: &mut watch::Receiver<usize>, busy: bool) -> bool {
    seen.wait_for(|now| (*now > 0) == busy).await.is_ok()
}

/// The agent's address: plain HTTP on a link-local address.
struct Agent {
    authority: String,
    path: String,
}

impl Agent {
    fn parse(uri: &str) -> Option<Self> {
        let rest = uri.strip_prefix("http://")?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        (!authority.is_empty()).then(|| Self {
            authority: authority.to_owned(),
            path: format!("/{}/task-protection/v1/state", path.trim_end_matches('/')).replace("//", "/"),
        })
    }

    async fn put(&self, on: bool) -> std::io::Result<()> {
        let body = if on {
            serde_json::json!({"ProtectionEnabled": true, "ExpiresInMinutes": EXPIRES_IN_MINUTES})
        } else {
            serde_json::json!({"ProtectionEnabled": false})
        }
        .to_string();
        let address =
            if self.authority.contains(':') { self.authority.clone() } else { format!("{}:80", self.authority) };
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "PUT {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.path,
            self.authority,
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(64 << 10).read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).unwrap_or_default();
        // The agent answers 200 with a "failure" when the service refused.
        if status == "200" && !answer.contains("\"failure\"") {
            Ok(())
        } else {
            let last = answer.lines().last().unwrap_or_default();
            Err(std::io::Error::other(format!("status {status}: {last}")))
        }
    }
}

impl Protect for Agent {
    async fn protect(&self, on: bool) -> bool {
        let problem = match timeout(CALL, self.put(on)).await {
            Ok(Ok(())) => String::new(),
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "no answer in time".to_owned(),
        };
        ScaleInProtected { on, problem: &problem }.emit();
        problem.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn next_request(listener: &TcpListener) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
        String::from_utf8(request).unwrap()
    }

    #[tokio::test]
    async fn busy_protects_and_the_last_handle_gone_lets_go() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/api/abc", listener.local_addr().unwrap());
        let protection = ScaleInProtection::start(Agent::parse(&uri).unwrap());
        let working = protection.work();
        let on = next_request(&listener).await;
        assert!(on.starts_with("PUT /api/abc/task-protection/v1/state HTTP/1.1\r\n"));
        assert!(on.contains(r#""ProtectionEnabled":true"#) && on.contains(r#""ExpiresInMinutes":10"#));
        drop((working, protection));
        let off = next_request(&listener).await;
        assert!(off.ends_with(r#"{"ProtectionEnabled":false}"#));
    }

    /// What was asked, and how many seconds after the beginning.
    type Asked = Arc<std::sync::Mutex<Vec<(u64, bool)>>>;

    /// Keeps what was asked; refuses the first so many times.
    struct Told {
        began: Instant,
        asked: Asked,
        refusals: std::sync::atomic::AtomicU64,
    }

    impl Protect for Told {
        async fn protect(&self, on: bool) -> bool {
            use std::sync::atomic::Ordering::SeqCst;
            self.asked.lock().unwrap().push((self.began.elapsed().as_secs(), on));
            self.refusals.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_err()
        }
    }

    fn told(refusals: u64) -> (ScaleInProtection, Asked) {
        let asked = Asked::default();
        let agent = Told { began: Instant::now(), asked: Arc::clone(&asked), refusals: refusals.into() };
        (ScaleInProtection::start(agent), asked)
    }

    #[tokio::test(start_paused = true)]
    async fn many_short_tasks_are_one_busy_time_that_is_renewed() {
        let (protection, asked) = told(0);
        // Each shorter than the time to a renewal, with short pauses, over an hour.
        for _ in 0..60 {
            let working = protection.work();
            tokio::time::sleep(Duration::from_secs(55)).await;
            drop(working);
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        let asked = asked.lock().unwrap().clone();
        let (last, on) = asked.split_last().unwrap();
        assert_eq!(*last, (59 * 60 + 55 + IDLE.as_secs(), false), "idle for a while");
        assert!(on.iter().all(|(_, on)| *on), "never dropped in between: {on:?}");
        let least = EXPIRES_IN_MINUTES * 60;
        assert!(on.windows(2).all(|pair| pair[1].0 - pair[0].0 < least), "it expired: {on:?}");
        assert!(on.last().unwrap().0 > 3_000 && on.len() < 25, "{on:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_agent_did_not_take_is_asked_for_again_soon() {
        let (protection, asked) = told(2);
        let _working = protection.work();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(*asked.lock().unwrap(), [(0, true), (10, true), (20, true)]);
    }

    #[test]
    fn only_plain_http_is_an_agent() {
        assert!(Agent::parse("https://x/api").is_none());
        assert!(Agent::parse("http:///api").is_none());
        assert_eq!(Agent::parse("http://169.254.170.2").unwrap().path, "/task-protection/v1/state");
    }
}
