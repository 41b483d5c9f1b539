//! The secrets of an installation on one machine.
//!
//! Guarantee: made once for a folder, of random bits, kept in files that only their owner can read; every later `up`
//! uses the same ones, so that clients, keys and playback URLs stay good.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use reelfleet_fleet::Ids;
use reelfleet_messages::ApiKeyId;
use serde::{Deserialize, Serialize};

use crate::private_file;

/// What `DIR/secrets.json` holds.
#[derive(Clone, Serialize, Deserialize)]
pub struct Secrets {
    /// Access key of the endpoint.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// Signs playback tokens.
    pub playback_secret: String,
    /// Signs the sessions of people. A folder of before there were accounts has none yet.
    #[serde(default)]
    pub session_secret: String,
    /// Makes the secrets of webhooks. A folder of before there were webhooks has none yet.
    #[serde(default)]
    pub webhook_secret: String,
    /// The public part of the first API key.
    pub api_key_id: ApiKeyId,
    /// Its secret part, 64 hexadecimal digits.
    pub api_key_secret: String,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

impl Secrets {
    /// The folder's secrets, and whether they were made just now.
    pub fn of(folder: &Path, ids: &Ids) -> anyhow::Result<(Self, bool)> {
        let path = folder.join("secrets.json");
        match fs::read(&path) {
            Ok(bytes) => {
                let secrets = serde_json::from_slice(&bytes);
                let mut secrets: Self = secrets.with_context(|| format!("{} is damaged", path.display()))?;
                let younger = [&mut secrets.session_secret, &mut secrets.webhook_secret];
                let missing: Vec<_> = younger.into_iter().filter(|secret| secret.is_empty()).collect();
                if !missing.is_empty() {
                    missing.into_iter().for_each(|secret| *secret = ids.secret());
                    private_file::write(&path, &serde_json::to_vec_pretty(&secrets)?)?;
                }
                Ok((secrets, false))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let secrets = Self::draw(ids);
                private_file::write(&path, &serde_json::to_vec_pretty(&secrets)?)?;
                Ok((secrets, true))
            }
            Err(error) => Err(error).with_context(|| format!("{} can't be read", path.display())),
        }
    }

    fn draw(ids: &Ids) -> Self {
        Self {
            access_key_id: format!("RF{}", ids.token()[..18].to_uppercase()),
            secret_access_key: ids.secret(),
            playback_secret: ids.secret(),
            session_secret: ids.secret(),
            webhook_secret: ids.secret(),
            api_key_id: ApiKeyId::from_uuid(ids.uuid()),
            api_key_secret: ids.secret(),
        }
    }
}

/// Keeps the text of the first API key, for `reelfleet upload --api-key-file`.
pub fn keep_api_key(folder: &Path, text: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join("api-key");
    private_file::write(&path, format!("{text}\n").as_bytes())?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use reelfleet_fleet::Clock;

    use super::*;

    #[test]
    fn they_are_made_once_and_do_not_show() {
        let folder = tempfile::tempdir().unwrap();
        let ids = Ids::new(Clock::system());
        let (first, made) = Secrets::of(folder.path(), &ids).unwrap();
        let (second, again) = Secrets::of(folder.path(), &ids).unwrap();
        assert!(made && !again);
        assert_eq!(first.playback_secret, second.playback_secret);
        assert_eq!(first.session_secret, second.session_secret);
        let path = folder.path().join("secrets.json");
        let mut older: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for younger in ["session_secret", "webhook_secret"] {
            older.as_object_mut().unwrap().remove(younger);
        }
        fs::write(&path, older.to_string()).unwrap();
        let (third, _) = Secrets::of(folder.path(), &ids).unwrap();
        assert_eq!(third.webhook_secret.len(), 64);
        assert_ne!(third.webhook_secret, third.session_secret);
        assert_eq!((third.session_secret.len(), third.playback_secret), (64, first.playback_secret.clone()));
        assert_eq!(Secrets::of(folder.path(), &ids).unwrap().0.session_secret, third.session_secret, "once");
        assert_eq!(first.api_key_id, second.api_key_id);
        assert!(!format!("{first:?}").contains(&first.secret_access_key));
        fs::write(folder.path().join("secrets.json"), "{").unwrap();
        assert!(Secrets::of(folder.path(), &ids).unwrap_err().to_string().contains("damaged"));
    }
}
