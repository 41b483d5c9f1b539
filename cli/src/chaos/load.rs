//! The clients: uploads as real ones make them, tried again until they are acknowledged or refused.
//!
//! Guarantee: an upload counts as acknowledged only by an answer of success (of the completion through the API, of the
//! PUT to the bucket); nothing is sent faster than the storm lets it, so that it lasts as long as the storm.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::primitives::ByteStream;
use futures::StreamExt;
use reelfleet_fleet::full_jitter;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::inputs::{Cargo, Input, Inputs, Way};
use crate::upload::Uploader;
use crate::upload::client::{Api, ApiError};
use crate::upload::show::Show;

/// A client that gets no answer for so long gives up.
const PATIENCE: Duration = Duration::from_secs(300);
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// What became of an upload, as its client knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is there. The API says which asset it becomes.
    Acknowledged {
        /// Of an upload through the API.
        asset: Option<String>,
    },
    /// Refused before anything was sent, with this code.
    Refused {
        /// Stable code.
        code: String,
    },
    /// The client gave up: the last error.
    GivenUp {
        /// In words.
        why: String,
    },
}

/// An upload that its client is done with.
#[derive(Clone, Debug)]
pub struct Sent {
    /// What was sent.
    pub cargo: Cargo,
    /// What came of it.
    pub fate: Fate,
    /// How often the client had to begin again.
    pub tries: u32,
}

/// What the clients work with.
pub struct Load {
    /// The gateway.
    pub api: Api,
    /// The bucket's.
    pub s3: aws_sdk_s3::Client,
    /// Whatever lands here is processed.
    pub bucket: String,
    /// Links with ugly names, resume records.
    pub folder: PathBuf,
    /// What there is to upload.
    pub inputs: Arc<Inputs>,
    /// One permit for each upload that may begin.
    pub gate: Arc<Semaphore>,
}

impl Load {
    /// Sends everything by so many clients at once.
    pub async fn run(&self, cargo: Vec<Cargo>, clients: usize) -> anyhow::Result<Vec<Sent>> {
        let records = self.folder.join("records");
        let todo = Mutex::new(VecDeque::from(cargo));
        let next = || todo.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let client = |_| async {
            let uploader = Uploader::with_records(self.api.clone(), records.clone(), Show::new(true));
            let mut sent = Vec::new();
            while let Some(cargo) = next() {
                self.gate.acquire().await?.forget();
                sent.push(self.send(&uploader, cargo).await?);
            }
            anyhow::Ok(sent)
        };
        let all: Vec<_> = futures::stream::iter(0..clients).map(client).buffer_unordered(clients).collect().await;
        let mut sent = all.into_iter().collect::<anyhow::Result<Vec<_>>>()?.concat();
        sent.sort_by_key(|sent| sent.cargo.number);
        Ok(sent)
    }

    async fn send(&self, uploader: &Uploader, cargo: Cargo) -> anyhow::Result<Sent> {
        let input = self.inputs.0.get(cargo.input).context("no such input")?;
        let link = match cargo.way {
            Way::Api => Some(self.link(input, &cargo)?),
            Way::Raw => None,
        };
        let (began, mut tries) = (Instant::now(), 0);
        loop {
            tries += 1;
            let outcome = match &link {
                Some(link) => through_the_api(uploader, link).await,
                None => self.put_in_bucket(&input.path, &cargo.name).await,
            };
            let fate = match outcome {
                Ok(fate) => fate,
                Err(error) if began.elapsed() > PATIENCE => Fate::GivenUp { why: format!("{error:#}") },
                Err(error) => {
                    tracing::debug!(number = cargo.number, %error, "a client tries again");
                    sleep(full_jitter(SHORTEST_PAUSE, LONGEST_PAUSE, tries)).await;
                    continue;
                }
            };
            return Ok(Sent { cargo, fate, tries });
        }
    }

    /// The input under the name of this upload.
    fn link(&self, input: &Input, cargo: &Cargo) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join("links");
        crate::private_file::make_folder(&folder)?;
        let link = folder.join(&cargo.name);
        std::os::unix::fs::symlink(&input.path, &link).with_context(|| format!("{} can't be made", link.display()))?;
        Ok(link)
    }

    /// One PUT by a client that knows nothing of the fleet; doing it again writes the same object.
    pub async fn put_in_bucket(&self, path: &Path, key: &str) -> anyhow::Result<Fate> {
        let body = ByteStream::from_path(path).await.with_context(|| format!("{} can't be read", path.display()))?;
        match self.s3.put_object().bucket(&self.bucket).key(key).body(body).send().await {
            Ok(_) => Ok(Fate::Acknowledged { asset: None }),
            Err(error) => anyhow::bail!("PutObject: {}", DisplayErrorContext(error)),
        }
    }
}

async fn through_the_api(uploader: &Uploader, path: &Path) -> anyhow::Result<Fate> {
    match uploader.upload(path, None).await {
        Ok(asset) => Ok(Fate::Acknowledged { asset: Some(asset) }),
        Err(error) => match error.downcast_ref::<ApiError>() {
            // What is said of the file itself; everything else may pass.
            Some(ApiError::Refused { status: 422, code, .. }) => Ok(Fate::Refused { code: code.clone() }),
            _ => Err(error),
        },
    }
}
