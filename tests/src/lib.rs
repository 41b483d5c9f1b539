//! The harness: real processes, real sockets, real FFmpeg. Tests wait for named events, never for time.
//!
//! Guarantee: a [`Fleet`] is one `reelfleet up` over a folder of its own; it dies with its value, and every wait has an
//! end that says what was missing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod boxes;
pub mod clients;
pub mod collector;
pub mod events;
pub mod exact;
pub mod faulty;
pub mod ffmpeg;
pub mod fleet;
pub mod hls;
pub mod pattern;
pub mod postgres;
pub mod receiver;
pub mod smtp;
pub mod worker;

pub use events::Events;
pub use exact::{Wanted, check};
pub use faulty::{Fault, Faulty, Stage};
pub use fleet::{Fleet, Options};
pub use worker::Worker;

use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The executable under test.
pub fn executable() -> PathBuf {
    std::env::var_os("REELFLEET_BIN").map_or_else(|| root().join("target/debug/reelfleet"), PathBuf::from)
}

/// A folder for media that tests make once and keep between runs.
pub fn media() -> PathBuf {
    let folder = root().join(".reelfleet/test-media");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A path as FFmpeg takes it.
pub fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
