//! AUDIO: the sound as AAC-LC, stereo, 48 kHz, on a grid of 1024 samples whose sample 0 is t0.
//!
//! Guarantees: AAC frame n decodes to samples `1024 n .. 1024 (n + 1)`; gaps in the source are silence, overlaps are
//! cut; a request that resumes from a run's anchor continues the sound of that run without a missing or doubled sample.

mod encode;
mod place;
mod resample;
mod run;

pub use encode::codec as encoder;
pub use run::run;
