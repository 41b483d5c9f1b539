//! `reelfleet env`: what a shell needs to use a running `reelfleet up`, for `eval "$(reelfleet env --data DIR)"`.
//!
//! Guarantee: every line is one `export` whose value the shell takes as it is; secrets go to standard output, and only
//! because they were asked for.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;

use crate::up::ready::{self, Ready};

/// Options of `env`.
#[derive(Args)]
pub struct EnvArgs {
    /// Folder of a running `reelfleet up`
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// Prints the lines.
pub fn run(args: &EnvArgs) -> anyhow::Result<()> {
    let ready = Ready::read(&ready::in_folder(&args.data))?;
    std::io::stdout().lock().write_all(exports(&ready).as_bytes())?;
    Ok(())
}

fn exports(ready: &Ready) -> String {
    [
        ("AWS_ENDPOINT_URL", &ready.aws_endpoint),
        ("AWS_ACCESS_KEY_ID", &ready.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", &ready.secret_access_key),
        ("AWS_REGION", &ready.region),
        // The older name, which the AWS CLI and boto3 still read.
        ("AWS_DEFAULT_REGION", &ready.region),
        ("REELFLEET_GATEWAY", &ready.gateway),
        ("REELFLEET_API_KEY", &ready.api_key),
    ]
    .iter()
    .map(|(name, value)| format!("export {name}={}\n", quoted(value)))
    .collect()
}

/// A value as a POSIX shell takes it.
fn quoted(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@%+,[]".contains(&byte);
    if !value.is_empty() && value.bytes().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_meant() {
        let ready: Ready = serde_json::from_value(serde_json::json!({
            "gateway": "http://127.0.0.1:8080", "api_key": "rf_1", "aws_endpoint": "http://127.0.0.1:4566",
            "region": "us-east-1", "uploads_bucket": "", "outputs_bucket": "", "access_key_id": "RF1",
            "secret_access_key": "a $b 'c'\n\"d\"", "notifier": "", "pids": {}, "supervisor": 1,
        }))
        .unwrap();
        let script = format!(
            "{}printf '%s|%s|%s' \"$AWS_ENDPOINT_URL\" \"$AWS_SECRET_ACCESS_KEY\" \"$REELFLEET_API_KEY\"",
            exports(&ready)
        );
        let said = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(said.stdout).unwrap(), "http://127.0.0.1:4566|a $b 'c'\n\"d\"|rf_1");
        assert!(exports(&ready).contains("export REELFLEET_GATEWAY=http://127.0.0.1:8080\n"));
    }
}
