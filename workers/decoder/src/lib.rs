//! The program that touches what strangers send. It runs in the jail, speaks to its parent over two descriptors, and
//! serves one request.
//!
//! Guarantees: every request ends with exactly one `Done` or `Failed`, unless the process is killed; no file, address
//! or credential is ever reached for; hostile bytes give a `Failed`, and a fault of FFmpeg takes this process alone.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod audio;
mod boxes;
mod cmaf;
mod color;
mod fail;
mod ff;
mod index;
mod input;
mod jumps;
mod output;
mod pictures;
mod probe;
mod process;
mod serve;
mod source;
mod still;
mod stream;
mod video;
pub mod zygote;

pub use serve::{prepare, serve, serve_request};
