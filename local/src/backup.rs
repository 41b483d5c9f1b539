//! A copy of a data folder, taken while the endpoint serves.
//!
//! Guarantees: the copy is one that a power cut could have left: each database as of one moment, every object of its rows whole.
//! The application's rows are copied first, so what they name is in the copy unless it was deleted meanwhile. Nothing that
//! is served is changed or held up. A copy that was broken off has no `local.sqlite`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

/// Objects may be deleted, a minute later for good, while they are copied: then it begins again.
const ATTEMPTS: u32 = 5;
/// How long a write of the endpoint may make it wait.
const BUSY: Duration = Duration::from_secs(30);
const BLOBS: &str = "SELECT blob FROM piece UNION SELECT blob FROM part";

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is no endpoint's data.
    #[error("{} holds no data of the endpoint", .0.display())]
    Absent(PathBuf),
    /// What is there is not written over.
    #[error("{} is not empty: give a folder that is to be made", .0.display())]
    Occupied(PathBuf),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A database could not be copied.
    #[error("database: {0}")]
    Database(#[from] rusqlite::Error),
    /// Objects went faster than they could be copied.
    #[error("objects were deleted faster than they could be copied, {ATTEMPTS} times")]
    Restless,
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files of object bytes.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether the application's rows are among it; they are not if they lie in PostgreSQL.
    pub rows: bool,
}

/// Copies the data folder of an endpoint, which may be running, to a folder that is made.
///
/// # Errors
/// As [`BackupError`]; what was copied so far stays, without `local.sqlite`.
pub fn backup(from: &Path, to: &Path) -> Result<Copied, BackupError> {
    let (rows, objects) = (from.join("app.sqlite"), from.join("local.sqlite"));
    if !objects.is_file() {
        return Err(BackupError::Absent(from.to_owned()));
    }
    if fs::read_dir(to).is_ok_and(|mut files| files.next().is_some()) {
        return Err(BackupError::Occupied(to.to_owned()));
    }
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(to);
    made.map_err(at(to))?;
    for _ in 0..ATTEMPTS {
        // Most bytes, before the moment that counts.
        link(&open(&objects)?, from, to)?;
        let has_rows = rows.is_file();
        if has_rows {
            snapshot(&rows, &to.join("app.sqlite"))?;
        }
        let part = to.join("local.sqlite.part");
        snapshot(&objects, &part)?;
        if let (copied, true) = link(&open(&part)?, from, to)? {
            // The name says that all of it is there.
            let whole = to.join("local.sqlite");
            fs::rename(&part, &whole).map_err(at(&whole))?;
            sync(to)?;
            return Ok(Copied { rows: has_rows, ..copied });
        }
    }
    Err(BackupError::Restless)
}

fn at(path: &Path) -> impl Fn(io::Error) -> BackupError + '_ {
    |source| BackupError::File { path: path.to_owned(), source }
}

fn open(path: &Path) -> Result<Connection, BackupError> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    conn.busy_timeout(BUSY)?;
    Ok(conn)
}

/// A database as of one moment, in a file without a log.
fn snapshot(from: &Path, to: &Path) -> Result<(), BackupError> {
    if let Err(error) = fs::remove_file(to)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(at(to)(error));
    }
    open(from)?.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
    File::open(to).and_then(|file| file.sync_all()).map_err(at(to))
}

/// Brings every blob that the rows name into the copy: as a link where both are on one disk, since blobs never change. Says
/// whether all were there.
fn link(rows: &Connection, from: &Path, to: &Path) -> Result<(Copied, bool), BackupError> {
    let (mut copied, mut all) = (Copied::default(), true);
    let mut statement = rows.prepare(BLOBS)?;
    let mut named = statement.query([])?;
    while let Some(row) = named.next()? {
        let id: String = row.get(0)?;
        let below = Path::new("blobs").join(id.get(..2).unwrap_or("00"));
        let (source, folder) = (from.join(&below).join(&id), to.join(&below));
        let target = folder.join(&id);
        if !target.exists() {
            fs::create_dir_all(&folder).map_err(at(&folder))?;
            match bring(&source, &target) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    all = false;
                    continue;
                }
                Err(error) => return Err(at(&target)(error)),
            }
        }
        copied.blobs += 1;
        copied.bytes += fs::metadata(&target).map_err(at(&target))?.len();
    }
    Ok((copied, all))
}

fn bring(source: &Path, target: &Path) -> io::Result<()> {
    match fs::hard_link(source, target) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let part = target.with_extension("part");
            fs::copy(source, &part)?;
            File::open(&part)?.sync_all()?;
            fs::rename(&part, target)
        }
        outcome => outcome,
    }
}

fn sync(folder: &Path) -> Result<(), BackupError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}
