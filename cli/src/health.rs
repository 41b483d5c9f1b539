//! `reelfleet health`: whether a process of the fleet on this machine lives. What a container's health check runs: the images
//! hold no shell and no curl.
//!
//! Guarantee: exit code 0 only if the process said so in time; nothing but this machine is asked, unless a URL is given.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::bail;
use clap::Args;

use crate::http_client::Http;
use crate::listen;

/// Shorter than the time-out of the checks in docker/ and terraform/.
const LIMIT: Duration = Duration::from_secs(4);

/// Options of `health`.
#[derive(Args)]
pub struct HealthArgs {
    /// Where the process has its health
    #[arg(long, env = "REELFLEET_HEALTH_LISTEN", value_parser = listen::address, value_name = "ADDR:PORT")]
    address: Option<SocketAddr>,
    /// The URL to ask instead, such as that of `reelfleet local`: http://127.0.0.1:4566/_reelfleet/health
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// Asks once.
pub async fn run(args: HealthArgs) -> anyhow::Result<()> {
    let url = match (args.url, args.address) {
        (Some(url), _) => url,
        (None, Some(address)) => format!("http://{}/livez", listen::dialled(address)),
        (None, None) => bail!("whose health? Set REELFLEET_HEALTH_LISTEN, or give --url"),
    };
    if !Http::new().is_ok(&url, LIMIT).await {
        bail!("{url} does not answer 200");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::ports::Held;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// Answers one request with this status.
    async fn says(status: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /livez HTTP/1.1\r\n"));
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn it_says_what_the_process_says() {
        let at = |address| run(HealthArgs { address: Some(address), url: None });
        at(says("200 OK").await).await.unwrap();
        at(says("503 Service Unavailable").await).await.unwrap_err();
        let nobody = Held::loopback(0).unwrap();
        at(nobody.address).await.unwrap_err();
        let unsaid = run(HealthArgs { address: None, url: None }).await.unwrap_err();
        assert!(unsaid.to_string().contains("REELFLEET_HEALTH_LISTEN"));
    }
}
