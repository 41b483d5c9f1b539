//! ENCODE: the frames of a span, once decoded, in every rung of the ladder.
//!
//! Guarantees: exactly the frames with `start <= pts - t0 < end` come out, none dropped and none doubled; every rung is
//! cut at the same frames; segments of one run are written before its `RunEnd` and those of the next after it; the
//! same request gives the same bytes.

mod clock;
mod collect;
pub mod copy;
mod cut;
mod encode;
mod filter;
mod run;
mod seek;

pub use run::{Totals, run};
