//! A throw-away PostgreSQL on a Unix socket; it ends with its value.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A running server.
pub struct Postgres {
    /// `postgres://…` of its first database.
    pub url: String,
    data: tempfile::TempDir,
}

/// From any package of the repository.
fn script() -> PathBuf {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    above.map(|folder| folder.join("tests/postgres.sh")).find(|path| path.is_file()).unwrap()
}

/// Runs it to its good end.
pub fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

impl Postgres {
    /// Makes and starts one.
    pub fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let output = done(Command::new(script()).arg("start").arg(data.path()));
        let url = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        Self { url, data }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = Command::new(script()).arg("stop").arg(self.data.path()).output();
    }
}
