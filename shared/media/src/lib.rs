//! The parent's side of decoding: jailed children that are given a source by range and give back frames.
//!
//! Guarantee: whatever a decoder does — send nonsense, hang, crash, grow without end — the session ends with an
//! [`DecodeError`] that says which, within its clocks, and this process neither panics nor holds more memory than the
//! limits named in `reelfleet-wire`. A decoder never learns a key, an URL or a credential: it asks for (offset, length)
//! and names kinds and numbers. Dropping a [`Session`] kills its decoder.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod check;
mod clocks;
pub mod copies;
mod decoders;
mod error;
mod facts;
mod limits;
mod memory;
mod output;
mod session;
mod source;
mod verdict;
mod zygote;

pub use clocks::Clocks;
pub use decoders::{DecoderConfig, Decoders};
pub use error::{DecodeError, MediaError};
pub use facts::facts;
pub use output::Output;
pub use reelfleet_wire as wire;
pub use session::{Session, Usage};
pub use source::{Source, SourceError};
