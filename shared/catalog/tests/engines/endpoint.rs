//! The real endpoint as a process.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use aws_sdk_rdsdata::Client;
use aws_sdk_rdsdata::config::{BehaviorVersion, Credentials, Region};
use reelfleet_catalog::Catalog;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

/// `reelfleet local`; it dies with this value.
pub struct Endpoint {
    url: String,
    _process: Child,
    _data: tempfile::TempDir,
}

/// Of the cluster, and of its secret.
const ARNS: [&str; 2] =
    ["arn:aws:rds:us-east-1:000000000000:reelfleet", "arn:aws:secretsmanager:us-east-1:000000000000:reelfleet"];
const DATABASE: &str = "reelfleet";

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn executable() -> PathBuf {
    std::env::var_os("REELFLEET_BIN").map_or_else(|| root().join("target/debug/reelfleet"), PathBuf::from)
}

impl Endpoint {
    pub async fn start(postgres: Option<&str>) -> Self {
        let data = tempfile::tempdir().unwrap();
        Self::run(data, &postgres.map_or_else(Vec::new, |url| vec!["--postgres", url])).await
    }

    /// On SQLite, with these faults.
    pub async fn faulty(rules: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("faults.json");
        std::fs::write(&file, rules).unwrap();
        Self::run(data, &["--faults", file.to_str().unwrap()]).await
    }

    async fn run(data: tempfile::TempDir, more: &[&str]) -> Self {
        let mut command = tokio::process::Command::new(executable());
        command.args(["local", "--listen", "127.0.0.1:0", "--data"]).arg(data.path()).args(more);
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test-secret");
        let mut process = command
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; run `make build` first", executable().display()));
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("first line: {line:?}"));
        Self { url: ready["aws_endpoint"].as_str().unwrap().to_owned(), _process: process, _data: data }
    }

    pub fn catalog(&self) -> Catalog {
        let [resource, secret] = ARNS.map(str::to_owned);
        Catalog::new(self.client(), resource, secret, Some(DATABASE.into()))
    }

    /// One statement that the catalog has no words for.
    pub async fn execute(&self, sql: &str) {
        let [resource, secret] = ARNS;
        let call = self.client().execute_statement().database(DATABASE).resource_arn(resource).secret_arn(secret);
        call.sql(sql).send().await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    fn client(&self) -> Client {
        let config = aws_sdk_rdsdata::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test-secret", None, None, "test"))
            .endpoint_url(&self.url)
            .retry_config(aws_config::retry::RetryConfig::disabled())
            .build();
        Client::from_conf(config)
    }
}
