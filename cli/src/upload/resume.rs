//! Resume records: how an upload goes on after a crash, a closed laptop, Ctrl-C.
//!
//! Guarantee: a record holds the request key under which the upload was (or will be) reserved, and is written before the
//! reservation, so the same file finds the same upload whenever it is tried again. What has arrived is not in it: S3 is
//! asked. A file is known by name, size, time of change and the SHA-256 of its first and last MiB.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::Context as _;
use reelfleet_fleet::Ids;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::private_file;

const EDGE: u64 = 1 << 20;

/// A file on its way, as it was when the upload began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its last part, for people.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Milliseconds since the epoch.
    pub modified_ms: u128,
    /// Tells it from other files.
    pub fingerprint: String,
}

impl LocalFile {
    /// Looks at a file.
    pub fn look(path: &Path) -> anyhow::Result<Self> {
        let cant = || format!("{} can't be read", path.display());
        let mut file = File::open(path).with_context(cant)?;
        let facts = file.metadata().with_context(cant)?;
        anyhow::ensure!(facts.is_file(), "{} is no file", path.display());
        let size = facts.len();
        let modified_ms =
            facts.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(0, |at| at.as_millis());
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut edges = Sha256::new();
        for start in [0, size.saturating_sub(EDGE)] {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(start)).with_context(cant)?;
            (&mut file).take(EDGE).read_to_end(&mut bytes).with_context(cant)?;
            edges.update(&bytes);
        }
        let edges = hex::encode(&edges.finalize()[..16]);
        // The name may be long; the gateway takes 512 bytes.
        let short: String = name.chars().take(100).collect();
        let fingerprint = format!("{short}:{size}:{modified_ms}:{edges}");
        Ok(Self { path: path.to_owned(), name, size, modified_ms, fingerprint })
    }

    /// Fails if the file is no longer the one that was looked at.
    pub fn unchanged(&self) -> anyhow::Result<()> {
        let now = fs::metadata(&self.path).with_context(|| format!("{} can't be read", self.path.display()))?;
        let modified_ms =
            now.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(0, |at| at.as_millis());
        anyhow::ensure!(
            now.len() == self.size && modified_ms == self.modified_ms,
            "{} changed while it was uploaded",
            self.path.display()
        );
        Ok(())
    }
}

/// What is kept of an upload on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Whose gateway.
    pub gateway: String,
    /// The file's.
    pub fingerprint: String,
    /// The Idempotency-Key of the reservation.
    pub request_key: String,
}

/// The records of this user.
#[derive(Debug, Clone)]
pub struct Records(PathBuf);

impl Records {
    /// In `$XDG_STATE_HOME/reelfleet/uploads`, or `~/.local/state/…` (XDG Base Directory Specification).
    pub fn of_user() -> anyhow::Result<Self> {
        let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
        Ok(Self(
            state
                .context("neither XDG_STATE_HOME nor HOME is set: no place for resume records")?
                .join("reelfleet/uploads"),
        ))
    }

    /// In this folder.
    pub fn within(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// The file's record at this gateway, made if there is none.
    pub fn open(&self, gateway: &str, fingerprint: &str, ids: &Ids) -> anyhow::Result<Record> {
        let path = self.path(gateway, fingerprint);
        // A damaged record is worth as much as none: the file goes up from its beginning.
        let kept = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
        match kept {
            Some(record) if record.gateway == gateway && record.fingerprint == fingerprint => Ok(record),
            _ => self.begin(gateway, fingerprint, ids),
        }
    }

    /// A new record in place of what there was.
    pub fn begin(&self, gateway: &str, fingerprint: &str, ids: &Ids) -> anyhow::Result<Record> {
        private_file::make_folder(&self.0)?;
        let record = Record {
            gateway: gateway.to_owned(),
            fingerprint: fingerprint.to_owned(),
            request_key: format!("cli-{}", ids.token()),
        };
        private_file::write(&self.path(gateway, fingerprint), &serde_json::to_vec(&record)?)?;
        Ok(record)
    }

    /// Forgets an upload that is complete.
    pub fn forget(&self, record: &Record) {
        let _ = fs::remove_file(self.path(&record.gateway, &record.fingerprint));
    }

    fn path(&self, gateway: &str, fingerprint: &str) -> PathBuf {
        let name = Sha256::digest(format!("{gateway}\n{fingerprint}"));
        self.0.join(format!("{}.json", hex::encode(&name[..16])))
    }
}

#[cfg(test)]
mod tests {
    use reelfleet_fleet::Clock;

    use super::*;

    #[test]
    fn the_same_file_finds_its_record_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let (records, ids) = (Records::within(folder.path().join("uploads")), Ids::new(Clock::system()));
        let first = records.open("http://g", "f", &ids).unwrap();
        assert_eq!(records.open("http://g", "f", &ids).unwrap(), first);
        assert_ne!(records.open("http://other", "f", &ids).unwrap().request_key, first.request_key);
        assert_ne!(records.open("http://g", "f2", &ids).unwrap().request_key, first.request_key);
        fs::write(records.path("http://g", "f2"), "{").unwrap();
        records.open("http://g", "f2", &ids).unwrap();
        let anew = records.begin("http://g", "f", &ids).unwrap();
        assert_ne!(anew.request_key, first.request_key);
        assert_eq!(records.open("http://g", "f", &ids).unwrap(), anew);
        records.forget(&anew);
        assert_ne!(records.open("http://g", "f", &ids).unwrap(), anew);
    }

    #[test]
    fn a_file_is_known_by_its_edges_and_a_change_shows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a 🎬.mp4");
        let mut bytes = vec![7_u8; 3 << 20];
        fs::write(&path, &bytes).unwrap();
        let file = LocalFile::look(&path).unwrap();
        assert_eq!((file.name.as_str(), file.size), ("a 🎬.mp4", 3 << 20));
        assert_eq!(LocalFile::look(&path).unwrap(), file);
        file.unchanged().unwrap();
        if let Some(last) = bytes.last_mut() {
            *last = 8;
        }
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, &bytes).unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_ne!(LocalFile::look(&path).unwrap().fingerprint, file.fingerprint, "same size and time, other end");
        fs::write(&path, b"short").unwrap();
        assert!(file.unchanged().unwrap_err().to_string().contains("changed"));
        assert!(LocalFile::look(folder.path()).is_err());
    }
}
