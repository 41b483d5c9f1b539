//! Serves the endpoint alone: `endpoint DATA_DIR LISTEN`, keys from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and
//! REELFLEET_LOCAL_POSTGRES, REELFLEET_LOCAL_RESERVE_MIB and REELFLEET_LOCAL_FAULTS as `local` has them.

use reelfleet_local::{LocalConfig, RdsBackend, bind};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(folder), Some(listen)) = (args.next(), args.next()) else {
        return Err("usage: endpoint DATA_DIR LISTEN".into());
    };
    let key = std::env::var("AWS_ACCESS_KEY_ID").map_err(|_| "AWS_ACCESS_KEY_ID is not set")?;
    let secret = std::env::var("AWS_SECRET_ACCESS_KEY").map_err(|_| "AWS_SECRET_ACCESS_KEY is not set")?;
    let rds = std::env::var("REELFLEET_LOCAL_POSTGRES").ok();
    let reserve = std::env::var("REELFLEET_LOCAL_RESERVE_MIB").map_or(Ok(256), |mib| mib.parse::<u64>())?;
    let config = LocalConfig {
        listen: listen.parse()?,
        rds: rds.map(|url| RdsBackend::Postgres { url }),
        reserve_bytes: reserve << 20,
        faults: std::env::var_os("REELFLEET_LOCAL_FAULTS").map(Into::into),
        ..LocalConfig::new(folder, key, secret)
    };
    let bound = bind(config).await?;
    println!("listening on {}", bound.url());
    bound
        .serve(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await;
    Ok(())
}
