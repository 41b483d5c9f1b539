//! Which gateway, and as whom: the same for every command that talks to one.
//!
//! Guarantee: what is said on the command line wins over the environment, and the environment over the defaults of
//! `reelfleet up`; a key that is missing is asked for in one line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;

use crate::http_client::Http;
use crate::up::ready::{self, Ready};
use crate::upload::client::Api;

/// Where `reelfleet up` listens if it is not told otherwise.
const GATEWAY: &str = "http://127.0.0.1:8080";

/// Options that name a gateway.
#[derive(Args)]
pub struct Place {
    /// Base URL of the gateway [default: the variable REELFLEET_GATEWAY, or http://127.0.0.1:8080]
    #[arg(long, global = true, value_name = "URL")]
    gateway: Option<String>,
    /// File that holds the API key [default: the variable REELFLEET_API_KEY]
    #[arg(long, global = true, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Folder of a running `reelfleet up`: gateway and API key come from there
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Place {
    /// The API there.
    pub fn api(&self) -> anyhow::Result<Api> {
        let ready = self.data.as_deref().map(|folder| Ready::read(&ready::in_folder(folder))).transpose()?;
        let (gateway, key) = self.choose(ready, |name| std::env::var(name).ok().filter(|value| !value.is_empty()))?;
        Ok(Api::new(Arc::new(Http::new()), &gateway, &key))
    }

    fn choose(
        &self,
        ready: Option<Ready>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<(String, String)> {
        let (there, its_key) = ready.map(|ready| (ready.gateway, ready.api_key)).unzip();
        let gateway = self.gateway.clone().or(there).or_else(|| variable("REELFLEET_GATEWAY"));
        let key = match &self.api_key_file {
            Some(file) => read(file)?,
            None => its_key.or_else(|| variable("REELFLEET_API_KEY")).context(
                "no API key: give --data DIR of a running `reelfleet up`, or --api-key-file FILE, or set REELFLEET_API_KEY",
            )?,
        };
        Ok((gateway.unwrap_or_else(|| GATEWAY.to_owned()), key))
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("{} can't be read", file.display()))
}

/// This program as the caller named it, for commands to paste.
pub fn program() -> String {
    std::env::args().next().filter(|name| !name.is_empty()).unwrap_or_else(|| "reelfleet".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(gateway: Option<&str>) -> Place {
        Place { gateway: gateway.map(str::to_owned), api_key_file: None, data: None }
    }

    #[test]
    fn the_command_line_wins_over_the_environment_and_that_over_the_default() {
        let all = |name: &str| Some(if name == "REELFLEET_GATEWAY" { "http://env" } else { "rf_env" }.to_owned());
        let key_alone = |name: &str| (name == "REELFLEET_API_KEY").then(|| "rf_env".to_owned());
        let chosen = |place: &Place, ready, env: &dyn Fn(&str) -> Option<String>| place.choose(ready, env).unwrap();
        let pair = |gateway: &str, key: &str| (gateway.to_owned(), key.to_owned());
        assert_eq!(chosen(&place(None), None, &key_alone), pair(GATEWAY, "rf_env"));
        assert_eq!(chosen(&place(None), None, &all), pair("http://env", "rf_env"));
        assert_eq!(chosen(&place(Some("http://flag")), None, &all), pair("http://flag", "rf_env"));
        let ready: Ready = serde_json::from_value(serde_json::json!({
            "gateway": "http://up", "api_key": "rf_up", "aws_endpoint": "", "region": "", "uploads_bucket": "",
            "outputs_bucket": "", "access_key_id": "", "secret_access_key": "", "notifier": "", "pids": {},
            "supervisor": 1,
        }))
        .unwrap();
        assert_eq!(chosen(&place(None), Some(ready.clone()), &all), pair("http://up", "rf_up"));
        assert_eq!(chosen(&place(Some("http://flag")), Some(ready), &all), pair("http://flag", "rf_up"));
        let error = place(None).choose(None, |_| None).unwrap_err().to_string();
        assert!(error.contains("--data") && error.contains("REELFLEET_API_KEY"), "{error}");
    }
}
