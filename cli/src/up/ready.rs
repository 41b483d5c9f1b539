//! The ready file: what a program needs to use a running installation.
//!
//! Guarantee: it is there only while everything is healthy for the first time and the supervisor lives, it is whole, it
//! names the processes as they are, and only its owner can read it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::private_file;

/// The ready file's JSON.
#[derive(Clone, Serialize, Deserialize)]
pub struct Ready {
    /// Base URL of the API.
    pub gateway: String,
    /// The embedded endpoint.
    pub aws_endpoint: String,
    /// Region of queues, topics and buckets.
    pub region: String,
    /// Whatever lands here is processed.
    pub uploads_bucket: String,
    /// Everything that is made.
    pub outputs_bucket: String,
    /// Accepted by the endpoint.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The first API key.
    pub api_key: String,
    /// Where the notifier listens; clients use the gateway.
    pub notifier: String,
    /// Processes by role.
    pub pids: BTreeMap<String, Vec<u32>>,
    /// The supervisor.
    pub supervisor: u32,
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ready").field("gateway", &self.gateway).field("pids", &self.pids).finish_non_exhaustive()
    }
}

/// The ready file that is always there, for `status` and `upload`.
pub fn in_folder(folder: &Path) -> PathBuf {
    folder.join("ready.json")
}

impl Ready {
    /// Reads a ready file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes =
            fs::read(path).with_context(|| format!("{} can't be read: is `reelfleet up` running?", path.display()))?;
        serde_json::from_slice(&bytes).with_context(|| format!("{} is no ready file", path.display()))
    }
}

/// The places where the ready file stands; they are cleared when this is dropped.
pub struct Places(Vec<PathBuf>);

impl Places {
    /// In the folder, and where the caller wants it. What an earlier run left there goes now.
    pub fn new(folder: &Path, wanted: Option<PathBuf>) -> anyhow::Result<Self> {
        let places: Vec<PathBuf> = [Some(in_folder(folder)), wanted].into_iter().flatten().collect();
        for place in &places {
            match fs::remove_file(place) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("{} can't be removed", place.display()));
                }
                _ => {}
            }
        }
        Ok(Self(places))
    }

    /// Writes it everywhere.
    pub fn write(&self, ready: &Ready) -> anyhow::Result<()> {
        let mut json = serde_json::to_vec(ready)?;
        json.push(b'\n');
        self.0.iter().try_for_each(|place| private_file::write(place, &json))
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        for place in &self.0 {
            let _ = fs::remove_file(place);
        }
    }
}
