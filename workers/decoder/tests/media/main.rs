//! The decoder against sources made with the ffmpeg command line, judged by ffprobe and by a box reader of its own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod audio;
mod boxes;
mod chunks;
mod copies;
#[allow(dead_code)] // a part of it is for the tests of what stands around the decoder
#[path = "../../../../tests/hostile/mod.rs"]
mod corpus;
mod files;
mod looks;
mod parent;
mod references;
mod refusals;
