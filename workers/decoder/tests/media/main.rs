//! The decoder against sources made with the ffmpeg command line, judged by ffprobe and by a box reader of its own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod audio;
mod boxes;
mod chunks;
mod files;
mod looks;
mod parent;
mod refusals;
