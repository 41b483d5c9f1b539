//! From a bucket to a player: one fleet per scenario, real media in, independent readers out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod accounts;
mod api;
mod approval;
mod browser;
mod chaos;
mod crash;
mod dead_letters;
mod deletion;
mod details;
mod doctor;
mod doors;
mod drain;
mod economy;
mod fallback;
mod figures;
mod first;
mod hostile;
mod joints;
mod limits;
mod matrix;
mod metrics;
mod migrate;
mod notifications;
mod oidc;
mod prices;
mod realtime;
mod reconcile;
mod refusals;
mod replay;
mod restart;
mod scale;
mod sources;
mod traces;
mod web;
mod webhooks;
