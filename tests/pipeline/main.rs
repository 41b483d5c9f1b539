//! From a bucket to a player: one fleet per scenario, real media in, independent readers out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
mod browser;
mod crash;
mod economy;
mod figures;
mod first;
mod matrix;
mod notifications;
mod realtime;
mod refusals;
