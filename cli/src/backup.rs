//! `reelfleet backup`: a copy of a folder of `up` or of `local`, taken while it runs.
//!
//! Guarantee: the copy is a folder to start from (`reelfleet up --data COPY`): rows and objects as a power cut could have left
//! them, and the secrets, readable by its owner alone. Without exit code 0 it is none.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use crate::private_file;

/// What an installation cannot make anew: keys and links that were handed out hang on it.
const KEPT: [&str; 2] = ["secrets.json", "api-key"];

/// Options of `backup`.
#[derive(Args)]
pub struct BackupArgs {
    /// Folder of `reelfleet up` or `reelfleet local`; it may be running
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Folder to be made. On the same disk objects are linked, not copied: that guards against mistakes, not against the disk
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

/// Copies, and says what.
pub async fn run(args: BackupArgs) -> anyhow::Result<()> {
    let BackupArgs { data, to } = args;
    let copied = tokio::task::spawn_blocking({
        let (data, to) = (data.clone(), to.clone());
        move || copy(&data, &to)
    });
    let copied = copied.await??;
    println!("{} files of objects, {} bytes, in {}", copied.blobs, copied.bytes, to.display());
    if !copied.rows {
        println!("the rows are in PostgreSQL: a pg_dump that was taken before this belongs to it");
    }
    Ok(())
}

fn copy(data: &Path, to: &Path) -> anyhow::Result<reelfleet_local::Copied> {
    let of_up = data.join("aws");
    if !of_up.is_dir() {
        return Ok(reelfleet_local::backup(data, to)?);
    }
    private_file::make_folder(to)?;
    let copied = reelfleet_local::backup(&of_up, &to.join("aws"))?;
    for name in KEPT {
        let path = data.join(name);
        if path.is_file() {
            let bytes = std::fs::read(&path).with_context(|| format!("{} can't be read", path.display()))?;
            private_file::write(&to.join(name), &bytes)?;
        }
    }
    Ok(copied)
}
